"""Batched sampling with a KV cache: which sample is decoded when, and when it ends.

- each unique prompt is prefilled once, and its cache given to all samples of its group
- a finished row leaves and a waiting sample takes its place: at once on a CPU, at the end of a round on CUDA
- what is drawn is drawing.py's, the steps decoding.py's
- left out: beam search, penalties, prefix sharing between different prompts

Letters: n rows in use, V ids that exist in the tokenizer, T packed prompt tokens, K key/value heads, d head_dim.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from model.attention import PackedCausal, PrefillInto
from model.decoding import Decoder, next_logits
from model.drawing import SamplingParams, sample_noise
from model.errors import InputError
from model.kv_cache import CACHE_SHARE, Capacity, KVCache, PrefilledPrompt, choose_capacity, free_memory
from model.transformer import Transformer

PREFILL_TOKENS = {"cpu": 2048, "cuda": 16384}  # prompts packed into one forward: as many as a CPU's cache likes


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
    prompt_length: int
    noise: np.ndarray  # [max_new_tokens] float64 in [0, 1)
    began: float  # by time.perf_counter
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    @property
    def place(self) -> int:
        """Where in the cache the newest token goes, or will once it is drawn; as many lie before it."""
        return self.prompt_length + max(0, len(self.token_ids) - 1)


OnFinish = Callable[[int, int, Sample, float], object]
"""Called with the prompt's place in the list, the sample's index, the sample, and the seconds that it was decoded."""


class Sampler:
    def __init__(
        self,
        transformer: Transformer,
        tokenizer,
        max_num_seqs: int = 64,
        capacity: Capacity | None = None,
        fixed_shapes: bool | None = None,
    ):
        """Samples with the transformer's own tensors, at most `max_num_seqs` sequences at once.

        Of the tokenizer only `size` and `stop_ids` are used. capacity: the cache's size, instead of what each
        `generate` needs and the free memory holds. fixed_shapes: how decoding.py works, on CUDA by default and on a
        CPU to test the same.
        """
        self.transformer, self.tokenizer = transformer, tokenizer
        self.max_num_seqs, self.capacity = max_num_seqs, capacity
        self.fixed_shapes = transformer.lm_head.weight.is_cuda if fixed_shapes is None else fixed_shapes
        self.vocab_limit = min(tokenizer.size, transformer.vocab_limit)
        self.decode_seconds, self.decode_bytes = 0.0, 0
        """Of the last `generate`: time of its rounds of decode steps, and the weights and cache that they had to
        read; rounds that also prefill are left out."""

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
        context or the cache no room for max_new_tokens; nothing has run then.
        """
        self._check(prompts, params)
        self.decode_seconds, self.decode_bytes = 0.0, 0
        keys = prompt_keys if prompt_keys is not None else range(len(prompts))
        stop_ids = self.tokenizer.stop_ids | set(params.stop_token_ids)
        weight = self.transformer.lm_head.weight
        cfg, size = self.transformer.cfg, self.capacity
        if size is None:
            places, memory = max(map(len, prompts), default=0) + params.max_new_tokens, free_memory(weight.device)
            size = choose_capacity(cfg, weight.dtype, places, self.max_num_seqs, CACHE_SHARE * memory)
        num_rows = min(size.rows, len(prompts) * params.n)
        cache = KVCache(cfg, Capacity(num_rows, size.places), weight.dtype, weight.device)
        decoder = Decoder(self.transformer, cache, params, self.vocab_limit, self.fixed_shapes)

        results: list[list[Sample | None]] = [[None] * params.n for _ in prompts]
        waiting = deque((p, s) for p in range(len(prompts)) for s in range(params.n))
        still_waiting = Counter(tuple(prompts[p]) for p, _ in waiting)
        prefilled: dict[tuple[int, ...], PrefilledPrompt] = {}
        rows: list[_Row] = []

        while waiting or rows:
            # Refilling an eighth of the rows at a time lets several prompts share one prefill.
            free, logits = num_rows - len(rows), None
            if waiting and (not rows or free >= max(1, num_rows // 8)):
                new = [waiting.popleft() for _ in range(min(free, len(waiting)))]
                self._prefill({tuple(prompts[p]) for p, _ in new} - prefilled.keys(), prefilled)
                first = len(rows)
                for p, s in new:
                    noise = sample_noise(params.seed, keys[p], s, params.max_new_tokens)
                    rows.append(_Row(p, s, len(prompts[p]), noise, time.perf_counter()))
                logits = torch.stack([prefilled[tuple(prompts[p])].logits for p, _ in new])  # [new, V]
                self._give_rows(cache, new, first, prompts, prefilled, still_waiting)
            self._round(decoder, rows, params, stop_ids, logits, on_token)
            self._retire(cache, rows, stop_ids, params, results, on_finish)
        return results  # type: ignore[return-value]  # every place has been filled

    def _round(self, decoder: Decoder, rows: list[_Row], params, stop_ids, first: Tensor | None, on_token) -> None:
        """Draw up to a round of tokens for each row; new rows, at the end, have logits [new, V] for their first one."""
        new = 0 if first is None else first.shape[0]
        begins = [bool(new)] * (len(rows) - new) + [0] * new  # an old row draws nothing while new ones draw their first
        wanted = [params.max_new_tokens - len(row.token_ids) for row in rows]
        tokens = min(decoder.round_tokens, max(b + w for b, w in zip(begins, wanted, strict=True)))
        noise = np.zeros((tokens, len(rows)))
        for i, (row, begin) in enumerate(zip(rows, begins, strict=True)):
            ahead = row.noise[len(row.token_ids) :][: tokens - begin]
            noise[begin : begin + len(ahead), i] = ahead
        state = np.array([[row.token_ids[-1] if row.token_ids else 0 for row in rows], [row.place for row in rows]])

        began, steps = time.perf_counter(), tokens - bool(new)
        ids, logprobs = decoder.round(state, noise, steps, first).transpose(0, 2, 1).tolist()  # [n, tokens] each
        if not new:
            self.decode_seconds += time.perf_counter() - began
            self.decode_bytes += self._bytes_read(rows, steps)
        for row, begin, its_ids, its_logprobs in zip(rows, begins, ids, logprobs, strict=True):
            for token, logprob in zip(its_ids[begin:], its_logprobs[begin:], strict=True):
                row.token_ids.append(int(token))
                row.logprobs.append(logprob)
                if on_token:
                    on_token(int(token))
                if token in stop_ids or len(row.token_ids) == params.max_new_tokens:
                    break

    def _check(self, prompts: Sequence[Sequence[int]], params: SamplingParams) -> None:
        if self.max_num_seqs < 1:
            raise InputError(f"max_num_seqs is {self.max_num_seqs}, expected at least 1")
        limit = self.transformer.cfg.max_position_embeddings
        places = self.capacity.places if self.capacity else limit
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
            if len(prompt) + params.max_new_tokens > places:
                raise InputError(
                    f"prompt {i} has {len(prompt)} tokens: with max_new_tokens {params.max_new_tokens} it exceeds the "
                    f"{places} places that each sequence has in the cache"
                )

    def _prefill(self, new: set[tuple[int, ...]], prefilled: dict[tuple[int, ...], PrefilledPrompt]) -> None:
        """Run the prompts in `new` through the model, packed end to end, and keep their caches."""
        pack: list[tuple[int, ...]] = []
        most = PREFILL_TOKENS[self.transformer.lm_head.weight.device.type]
        for prompt in sorted(new, key=lambda p: (len(p), p)):  # neighbours in length lie side by side with little waste
            if pack and (len(pack) + 1) * len(prompt) > most:
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
        with torch.compiler.set_stance("force_eager"):
            logits = self.transformer(
                tokens, positions, attends, lambda h, w: next_logits(h[0, last], w, self.vocab_limit)
            )  # [prompts, V]
        keys, values = (torch.stack(x).transpose(1, 2) for x in zip(*stored, strict=True))  # [L, K, T, d]
        for i, (begin, end) in enumerate(pairwise(ends)):
            prefilled[pack[i]] = PrefilledPrompt(keys[:, :, begin:end], values[:, :, begin:end], logits[i])

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

    def _bytes_read(self, rows: list[_Row], steps: int) -> int:
        """What the steps could not help reading: all weights but an embedding of its own, and each row's cache."""
        cfg, weight = self.transformer.cfg, self.transformer.lm_head.weight
        looked_up = 0 if cfg.tie_word_embeddings else weight.numel()
        cached = sum(row.place + (steps + 1) / 2 for row in rows) * cfg.kv_bytes_per_token(weight.dtype)
        return round(steps * ((cfg.parameters - looked_up) * weight.itemsize + cached))

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
                cache.move(len(rows), i, last.place)
                rows[i] = last
