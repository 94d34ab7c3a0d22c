"""Batched sampling with a KV cache.

- each unique prompt is prefilled once, and its cache given to all samples of its group
- a finished row leaves at once and a waiting sample takes its place
- noise is counted, not consumed: a sample's uniforms depend on (seed, prompt key, sample index) alone, so its text
  does not depend on the batch, the order or the rank it was drawn in (up to rounding of the logits)
- the log-prob returned is that of the distribution sampled from
- left out: beam search, penalties, prefix sharing between different prompts

Letters: n rows in use, V ids that exist in the tokenizer, T packed prompt tokens, K key/value heads, d head_dim.
"""

import hashlib
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.attention import Cached, PackedCausal, PrefillInto
from model.errors import InputError
from model.kv_cache import KVCache, PrefilledPrompt
from model.transformer import Transformer

PREFILL_TOKENS = 16384  # prompts packed into one forward: bounds the prefill's activations


@dataclass(frozen=True)
class SamplingParams:
    n: int = 1
    """Samples a prompt."""
    max_new_tokens: int = 256
    """A sample is cut after this many tokens (finish_reason "length")."""
    temperature: float = 1.0
    """Logits are divided by it. 0 is greedy, with log-probs at temperature 1."""
    top_p: float = 1.0
    """Keep the smallest set of likeliest ids whose probability reaches this."""
    top_k: int = 0
    """Keep this many likeliest ids; 0 keeps all. Applied before top_p."""
    seed: int = 0
    """With prompt key and sample index it fixes a sample's noise."""
    stop_token_ids: tuple[int, ...] = ()
    """Ids that end a sample, besides the tokenizer's own stop ids."""

    def __post_init__(self):
        for name, ok in {
            "n": self.n >= 1,
            "max_new_tokens": self.max_new_tokens >= 1,
            "temperature": 0 <= self.temperature < float("inf"),
            "top_p": 0 < self.top_p <= 1,
            "top_k": self.top_k >= 0,
        }.items():
            if not ok:
                raise InputError(f"SamplingParams.{name} is {getattr(self, name)}, out of its range")


@dataclass(frozen=True)
class Sample:
    token_ids: list[int]
    """The new ids, the stop id included."""
    logprobs: list[float]
    """log-probability of each under the distribution that it was drawn from, nats."""
    finish_reason: str
    """stop or length."""


@dataclass
class _Row:
    prompt: int
    sample: int
    length: int  # tokens in the cache
    noise: np.ndarray  # [max_new_tokens] float64 in [0, 1)
    began: float  # by time.perf_counter
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


def sample_noise(seed: int, prompt_key: int | str, sample: int, count: int) -> np.ndarray:
    """Return `count` uniforms in [0, 1), float64, fixed by (seed, prompt key, sample index) and prefix-stable."""
    digest = hashlib.blake2b(repr((seed, prompt_key, sample)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little"))).random(count)


def filtered_logits(logits: Tensor, params: SamplingParams) -> Tensor:
    """Return the float64 logits [n, V] of the distribution to sample from, excluded ids at -inf."""
    logits = logits.double() / (params.temperature or 1.0)
    if params.top_k and params.top_k < logits.shape[-1]:
        kth = logits.topk(params.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < kth, float("-inf"))
    if params.top_p < 1:
        ordered, ids = logits.sort(dim=-1, descending=True, stable=True)
        p = ordered.softmax(-1)
        mass_before = p.cumsum(-1) - p
        excluded = torch.zeros_like(mass_before, dtype=torch.bool).scatter(-1, ids, mass_before >= params.top_p)
        logits = logits.masked_fill(excluded, float("-inf"))
    return logits


def draw(logits: Tensor, noise: Tensor, params: SamplingParams) -> tuple[Tensor, Tensor]:
    """Draw one id for each row by inverting the CDF. logits [n, V], noise [n] in [0, 1) -> ids, log-probs [n].

    float64 throughout: in fp32 a cumulative sum over 150,000 ids leaves unlikely ids unreachable and lets rounding
    of 1e-6 flip 1 % of the tokens.
    """
    logits = filtered_logits(logits, params)
    if params.temperature == 0:
        ids = logits.argmax(-1)
    else:
        p = logits.softmax(-1)
        cdf = p.cumsum(-1)  # [n, V]
        u = noise * cdf[:, -1]
        ids = torch.searchsorted(cdf, u[:, None], right=True)[:, 0]  # the first id with cdf > u has p > 0
        past_end = ids >= logits.shape[-1]  # u rounded up to the total
        if past_end.any():
            last = logits.shape[-1] - 1 - (p > 0).flip(-1).int().argmax(-1)
            ids = torch.where(past_end, last, ids)
    logprobs = logits.gather(-1, ids[:, None])[:, 0] - logits.logsumexp(-1)
    return ids, logprobs


OnFinish = Callable[[int, int, Sample, float], object]
"""Called with the prompt's place in the list, the sample's index, the sample, and the seconds that it was decoded."""


class Sampler:
    def __init__(self, transformer: Transformer, tokenizer, max_num_seqs: int = 64):
        """Samples with the transformer's own tensors, at most `max_num_seqs` sequences at once.

        Of the tokenizer only `size` and `stop_ids` are used.
        """
        self.transformer, self.tokenizer, self.max_num_seqs = transformer, tokenizer, max_num_seqs
        self.vocab_limit = min(tokenizer.size, transformer.vocab_limit)
        self.decode_seconds, self.decode_bytes = 0.0, 0
        """Of the last `generate`: time of its decode steps, and the weights and cache that they had to read."""

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams,
        prompt_keys: Sequence[int | str] | None = None,
        on_token: Callable[[int], None] | None = None,
        on_finish: OnFinish | None = None,
    ) -> list[list[Sample]]:
        """Return params.n samples for each prompt, in the order given.

        prompts: token ids. prompt_keys: one a prompt, seeds its noise (default: its position in the list).
        on_token(id) is called for each new token as it comes, on_finish as each sample ends.
        Raises InputError for an empty prompt, an id outside the vocabulary, or a prompt that leaves the model's
        context no room for max_new_tokens; nothing has run then.
        """
        self._check(prompts, params)
        self.decode_seconds, self.decode_bytes = 0.0, 0
        keys = prompt_keys if prompt_keys is not None else range(len(prompts))
        stop_ids = self.tokenizer.stop_ids | set(params.stop_token_ids)
        weight = self.transformer.lm_head.weight
        num_rows = min(self.max_num_seqs, len(prompts) * params.n)
        capacity = max(map(len, prompts), default=0) + params.max_new_tokens
        cache = KVCache(self.transformer.cfg, num_rows, capacity, weight.dtype, weight.device)

        results: list[list[Sample | None]] = [[None] * params.n for _ in prompts]
        waiting = deque((p, s) for p in range(len(prompts)) for s in range(params.n))
        still_waiting = Counter(tuple(prompts[p]) for p, _ in waiting)
        prefilled: dict[tuple[int, ...], PrefilledPrompt] = {}
        rows: list[_Row] = []

        while waiting or rows:
            # Refilling an eighth of the rows at a time lets several prompts share one prefill.
            free = num_rows - len(rows)
            if waiting and (not rows or free >= max(1, num_rows // 8)):
                new = [waiting.popleft() for _ in range(min(free, len(waiting)))]
                self._prefill({tuple(prompts[p]) for p, _ in new} - prefilled.keys(), prefilled)
                first = len(rows)
                for p, s in new:
                    noise = sample_noise(params.seed, keys[p], s, params.max_new_tokens)
                    rows.append(_Row(p, s, len(prompts[p]), noise, time.perf_counter()))
                logits = torch.stack([prefilled[tuple(prompts[p])].logits for p, _ in new])  # [new, V]
                self._give_rows(cache, new, first, prompts, prefilled, still_waiting)
                self._step(logits, rows[first:], params, on_token)
            else:
                began = time.perf_counter()
                self._step(self._decode(cache, rows), rows, params, on_token)
                self.decode_seconds += time.perf_counter() - began  # drawing has waited for the device
                self.decode_bytes += self._bytes_read(rows)
            self._retire(cache, rows, stop_ids, params, results, on_finish)
        return results  # type: ignore[return-value]  # every place has been filled

    def _check(self, prompts: Sequence[Sequence[int]], params: SamplingParams) -> None:
        if self.max_num_seqs < 1:
            raise InputError(f"max_num_seqs is {self.max_num_seqs}, expected at least 1")
        limit = self.transformer.cfg.max_position_embeddings
        for i, prompt in enumerate(prompts):
            if not len(prompt):
                raise InputError(f"prompt {i} is empty")
            if min(prompt) < 0 or max(prompt) >= self.transformer.cfg.vocab_size:
                raise InputError(f"prompt {i} has a token id outside the vocabulary")
            if len(prompt) + params.max_new_tokens > limit:
                raise InputError(
                    f"prompt {i} has {len(prompt)} tokens: with max_new_tokens {params.max_new_tokens} it exceeds the "
                    f"model's context of {limit}; shorten the prompt or lower max_new_tokens"
                )

    def _prefill(self, new: set[tuple[int, ...]], prefilled: dict[tuple[int, ...], PrefilledPrompt]) -> None:
        """Run the prompts in `new` through the model, packed end to end, and keep their caches."""
        pack: list[tuple[int, ...]] = []
        for prompt in sorted(new, key=lambda p: (len(p), p)):  # neighbours in length lie side by side with little waste
            if pack and (len(pack) + 1) * len(prompt) > PREFILL_TOKENS:
                self._prefill_pack(pack, prefilled)
                pack = []
            pack.append(prompt)
        if pack:
            self._prefill_pack(pack, prefilled)

    def _prefill_pack(self, pack: list[tuple[int, ...]], prefilled: dict[tuple[int, ...], PrefilledPrompt]) -> None:
        device = self.transformer.lm_head.weight.device
        lengths = [len(p) for p in pack]
        ends = np.cumsum([0, *lengths]).tolist()
        packed = PackedCausal(torch.tensor(ends, dtype=torch.int32, device=device), max(lengths))
        tokens = torch.tensor([t for p in pack for t in p], device=device)[None]  # [1, T]
        positions = torch.cat([torch.arange(n, device=device) for n in lengths])[None]  # [1, T]
        stored: list[tuple[Tensor, Tensor]] = []  # a (keys, values) [T, K, d] for each layer
        attends = [PrefillInto(packed, lambda k, v: stored.append((k, v)))] * len(self.transformer.layers)
        last = torch.tensor(ends[1:], device=device) - 1
        logits = self.transformer(
            tokens, positions, attends, lambda h, w: F.linear(h[0, last], w[: self.vocab_limit])
        )  # [prompts, V]
        keys, values = torch.stack([k for k, _ in stored]), torch.stack([v for _, v in stored])  # [L, T, K, d]
        for i, (begin, end) in enumerate(pairwise(ends)):
            prefilled[pack[i]] = PrefilledPrompt(keys[:, begin:end], values[:, begin:end], logits[i])

    def _give_rows(self, cache, new, first, prompts, prefilled, still_waiting) -> None:
        """Copy prompts' caches into the new samples' rows; forget a prompt that no sample waits for."""
        targets: dict[tuple[int, ...], list[int]] = {}
        for row, (p, _) in enumerate(new, start=first):
            targets.setdefault(tuple(prompts[p]), []).append(row)
        for prompt, row_numbers in targets.items():
            cache.fill(row_numbers, prefilled[prompt])
            still_waiting[prompt] -= len(row_numbers)
            if not still_waiting[prompt]:
                del prefilled[prompt]

    def _decode(self, cache: KVCache, rows: list[_Row]) -> Tensor:
        """Feed each row's newest token; return logits [n, V]."""
        device = cache.keys.device
        tokens = torch.tensor([[row.token_ids[-1]] for row in rows], device=device)  # [n, 1]
        places = torch.tensor([row.length for row in rows], device=device)  # [n]
        longest = max(row.length for row in rows) + 1
        mask = (torch.arange(longest, device=device) <= places[:, None])[:, None, None]  # [n, 1, 1, longest]
        view = slice(0, len(rows)), slice(0, longest)
        attends = [Cached(k[view], v[view], places, mask) for k, v in zip(cache.keys, cache.values, strict=True)]
        for row in rows:
            row.length += 1
        return self.transformer(tokens, places[:, None], attends, lambda h, w: F.linear(h[:, 0], w[: self.vocab_limit]))

    def _bytes_read(self, rows: list[_Row]) -> int:
        """What one decode step cannot help reading: all weights but an embedding of its own, and each row's cache."""
        cfg, weight = self.transformer.cfg, self.transformer.lm_head.weight
        looked_up = 0 if cfg.tie_word_embeddings else weight.numel()
        cached = sum(row.length for row in rows) * cfg.kv_bytes_per_token(weight.dtype)
        return (cfg.parameters - looked_up) * weight.itemsize + cached

    def _step(self, logits: Tensor, rows: list[_Row], params: SamplingParams, on_token) -> None:
        """Draw the next id of each row."""
        noise = torch.tensor([row.noise[len(row.token_ids)] for row in rows], dtype=torch.float64)
        ids, logprobs = draw(logits, noise.to(logits.device), params)
        for row, token, logprob in zip(rows, ids.tolist(), logprobs.tolist(), strict=True):
            row.token_ids.append(token)
            row.logprobs.append(logprob)
            if on_token:
                on_token(token)

    def _retire(self, cache: KVCache, rows: list[_Row], stop_ids, params: SamplingParams, results, on_finish) -> None:
        """Hand over finished rows; the last row in use moves into each gap."""
        for i in reversed(range(len(rows))):
            row = rows[i]
            stopped = row.token_ids[-1] in stop_ids
            if not stopped and len(row.token_ids) < params.max_new_tokens:
                continue
            sample = Sample(row.token_ids, row.logprobs, "stop" if stopped else "length")
            results[row.prompt][row.sample] = sample
            if on_finish:
                on_finish(row.prompt, row.sample, sample, time.perf_counter() - row.began)
            last = rows.pop()
            if last is not row:
                cache.move(len(rows), i, last.length)
                rows[i] = last
