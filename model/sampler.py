"""Batched sampling with a KV cache: which sample is decoded when, and when it ends.

- schedule, then prefill the new rows or decode all of them, retire; over and over until no sample is left
- each unique prompt is prefilled once, and its cache given to all samples of its group
- a finished row leaves and a waiting sample takes its place: at once on a CPU, at the end of a round on CUDA
- what is drawn is drawing.py's, the steps decoding.py's
- left out: beam search, penalties, prefix sharing between different prompts

Letters: n rows in use, V ids that exist in the tokenizer, T packed prompt tokens, L layers, K key/value heads,
d head_dim.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain

import numpy as np
import torch
from torch import Tensor

from model.attention import PackedCausal, PrefillInto
from model.decoding import Decoder, next_logits
from model.drawing import SamplingParams, draw, nan_where_broken, sample_noise
from model.errors import InputError
from model.exact import keys_read
from model.kv_cache import CACHE_SHARE, Capacity, KVCache, PrefilledPrompt, choose_capacity, free_memory
from model.transformer import Transformer

# Of prompts packed into one forward: as many as a CPU's cache likes.
PREFILL_TOKENS = {"cpu": 2048, "cuda": 16384}

PromptIds = tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    token_ids: list[int]
    """The new ids, the stop id included."""
    logprobs: list[float]
    """log-probability of each under the distribution that it was drawn from, nats."""
    finish_reason: str
    """stop or length."""
    entropy: float
    """Sum over its tokens of the entropy of the distribution that each was drawn from, nats."""


OnFinish = Callable[[int, int, Sample, float], object]
"""Called with the prompt's place in the list, the sample's index, the sample, and the seconds of its decoding."""


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
        `generate` needs and the free memory holds. fixed_shapes: how decoding.py works, on CUDA by default
        and on a CPU to test the same.
        """
        self.transformer, self.tokenizer = transformer, tokenizer
        self.max_num_seqs, self.capacity = max_num_seqs, capacity
        self.fixed_shapes = transformer.lm_head.weight.is_cuda if fixed_shapes is None else fixed_shapes
        self.vocab_limit = min(tokenizer.size, transformer.vocab_limit)
        self.decode_seconds, self.decode_bytes = 0.0, 0
        """Of the last `generate`, prefill and first tokens left out: time of decoding, and the bytes of weights
        and cache that it had to read."""

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
        on_token(id) is called for each new token as it comes, on_finish as each sample ends. Raises
        InputError for an empty prompt, an id outside the vocabulary, or a prompt that leaves the model's
        context or the cache no room for max_new_tokens; nothing has run then. Raises it too for logits that are
        not finite.
        """
        keys = range(len(prompts)) if prompt_keys is None else prompt_keys
        self._check(prompts, params, len(keys))
        batch = _Batch(self, prompts, params, keys)
        results: list[list[Sample | None]] = [[None] * params.n for _ in prompts]

        while batch.waiting or batch.rows:
            new = batch.schedule()
            drawn = batch.prefill(new) if new else batch.decode()
            for token in drawn:
                if on_token:
                    on_token(token)
            for row, sample in batch.retire():
                results[row.prompt][row.sample] = sample
                if on_finish:
                    on_finish(row.prompt, row.sample, sample, time.perf_counter() - row.began)
        self.decode_seconds, self.decode_bytes = batch.decode_seconds, batch.decode_bytes
        return results  # type: ignore[return-value]  # every place has been filled

    def _check(self, prompts: Sequence[Sequence[int]], params: SamplingParams, keys: int) -> None:
        if keys != len(prompts):
            raise InputError(f"{keys} prompt keys for {len(prompts)} prompts, expected one for each")
        if self.max_num_seqs < 1:
            raise InputError(f"max_num_seqs is {self.max_num_seqs}, expected at least 1")
        cfg = self.transformer.cfg
        context = cfg.max_position_embeddings
        places = self.capacity.places if self.capacity else context
        for i, prompt in enumerate(prompts):
            if not len(prompt):
                raise InputError(f"prompt {i} is empty")
            if min(prompt) < 0 or max(prompt) >= cfg.vocab_size:
                raise InputError(f"prompt {i} has a token id outside the vocabulary")
            needed = len(prompt) + params.max_new_tokens
            for most, whose in ((context, "model's context"), (places, "cache's length")):
                if needed > most:
                    raise InputError(
                        f"prompt {i} has {len(prompt)} tokens: with max_new_tokens {params.max_new_tokens} it exceeds "
                        f"the {whose} of {most}; shorten the prompt or lower max_new_tokens"
                    )


@dataclass
class _Row:
    """A sample that is being decoded in a row of the cache."""

    prompt: int  # its prompt's place in the list
    sample: int
    prompt_ids: PromptIds
    noise: np.ndarray  # [max_new_tokens] float64 in [0, 1)
    began: float = 0.0  # by time.perf_counter, its prompt prefilled
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    entropy: float = 0.0

    @property
    def place(self) -> int:
        """Where in the cache the newest token goes; as many lie before it."""
        return len(self.prompt_ids) + len(self.token_ids) - 1

    def append(self, token: int, logprob: float, entropy: float) -> None:
        """Take a token. Raises InputError where the logits that it was drawn from were not finite."""
        if math.isnan(logprob):
            raise InputError("the model's logits are not finite: its weights are broken or have diverged")
        self.token_ids.append(token)
        self.logprobs.append(logprob)
        self.entropy += entropy


class _Batch:
    """One call of `generate`: who waits, which rows are in use, and what the device holds for them."""

    def __init__(
        self,
        sampler: Sampler,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams,
        keys: Sequence[int | str],
    ):
        self.prompts: list[PromptIds] = [tuple(prompt) for prompt in prompts]
        self.params, self.keys = params, keys
        self.transformer, self.vocab_limit = sampler.transformer, sampler.vocab_limit
        self.stop_ids = sampler.tokenizer.stop_ids | set(params.stop_token_ids)

        cfg, weight = self.transformer.cfg, self.transformer.lm_head.weight
        self.device = weight.device
        size = sampler.capacity
        if size is None:
            places = max(map(len, prompts), default=0) + params.max_new_tokens
            places = keys_read(places, self.transformer.key_tile)
            memory = CACHE_SHARE * free_memory(self.device)
            size = choose_capacity(cfg, weight.dtype, places, sampler.max_num_seqs, memory)
        self.num_rows = min(size.rows, len(prompts) * params.n)
        places = keys_read(size.places, self.transformer.key_tile)  # what a step reads must be there
        self.cache = KVCache(cfg, Capacity(self.num_rows, places), weight.dtype, self.device)
        self.decoder = Decoder(self.transformer, self.cache, params, self.vocab_limit, sampler.fixed_shapes)

        self.waiting = deque((i, j) for i in range(len(prompts)) for j in range(params.n))
        self.without_row = Counter(self.prompts * params.n)  # samples of each prompt that have no row yet
        self.prefilled: dict[PromptIds, PrefilledPrompt] = {}
        self.rows: list[_Row] = []
        self.decode_seconds, self.decode_bytes = 0.0, 0

    def schedule(self) -> list[_Row]:
        """Give free rows to waiting samples, an eighth of all rows at a time: so prompts share a prefill."""
        free = self.num_rows - len(self.rows)
        if self.rows and free < max(1, self.num_rows // 8):
            return []
        new = []
        while self.waiting and len(new) < free:
            prompt, sample = self.waiting.popleft()
            number = self.params.first + sample
            noise = sample_noise(self.params.seed, self.keys[prompt], number, self.params.max_new_tokens)
            new.append(_Row(prompt, sample, self.prompts[prompt], noise))
        self.rows += new
        return new

    def prefill(self, new: list[_Row]) -> list[int]:
        """Fill the new rows' part of the cache and draw the first token of each; return these.

        A prompt that is not there yet runs through the model, and is forgotten with its last sample's row.
        """
        missing = {row.prompt_ids for row in new} - self.prefilled.keys()
        most = PREFILL_TOKENS[self.device.type]
        for prompts in _packs(missing, most):
            self._run_prompts(prompts)
        logits = torch.stack([self.prefilled[row.prompt_ids].logits for row in new])  # [new, V]
        first_new = len(self.rows) - len(new)
        for i, row in enumerate(new, start=first_new):
            row.began = time.perf_counter()
            self.cache.fill(i, self.prefilled[row.prompt_ids])
            self.without_row[row.prompt_ids] -= 1
            if not self.without_row[row.prompt_ids]:
                del self.prefilled[row.prompt_ids]

        noise = torch.tensor([row.noise[0] for row in new], dtype=torch.float64, device=self.device)
        ids, logprobs, entropies = draw(logits, noise, self.params, self.transformer.key_tile)
        logprobs = nan_where_broken(logprobs, logits)
        firsts = ids.tolist()
        for row, *drawn in zip(new, firsts, logprobs.tolist(), entropies.tolist(), strict=True):
            row.append(*drawn)
        return firsts

    def _run_prompts(self, prompts: list[PromptIds]) -> None:
        """Run prompts through the model, packed end to end, and keep their keys, values and last logits."""
        device = self.device
        lengths = [len(prompt) for prompt in prompts]
        ends = list(accumulate(lengths, initial=0))
        key_tile = self.transformer.key_tile
        packed = PackedCausal(torch.tensor(ends, dtype=torch.int32, device=device), max(lengths), key_tile)
        tokens = torch.tensor(list(chain(*prompts)), device=device)  # [T]
        positions = torch.cat([torch.arange(n, device=device) for n in lengths])
        last = torch.tensor(ends[1:], device=device) - 1

        def readout(hidden: Tensor, weight: Tensor) -> Tensor:
            return next_logits(hidden[0, last], weight, self.vocab_limit, key_tile)

        stored_keys: list[Tensor] = []  # a [T, K, d] for each layer
        stored_values: list[Tensor] = []

        def store(keys: Tensor, values: Tensor) -> None:
            stored_keys.append(keys)
            stored_values.append(values)

        with torch.compiler.set_stance("force_eager"):
            attend = PrefillInto(packed, store)
            logits = self.transformer(tokens[None], positions[None], attend, readout)  # [prompts, V]
        keys = torch.stack(stored_keys).transpose(1, 2)  # [L, K, T, d]
        values = torch.stack(stored_values).transpose(1, 2)
        for i, prompt in enumerate(prompts):
            part = slice(ends[i], ends[i + 1])
            self.prefilled[prompt] = PrefilledPrompt(keys[:, :, part], values[:, :, part], logits[i])

    def decode(self) -> Iterator[int]:
        """Draw up to a round of tokens for each row, and yield them as they are given to their rows."""
        longest_left = max(self.params.max_new_tokens - len(row.token_ids) for row in self.rows)
        steps = min(self.decoder.round_tokens, longest_left)
        noise = np.zeros((steps, len(self.rows)))
        for i, row in enumerate(self.rows):
            ahead = row.noise[len(row.token_ids) :][:steps]
            noise[: len(ahead), i] = ahead
        newest = [row.token_ids[-1] for row in self.rows]
        places = [row.place for row in self.rows]

        began = time.perf_counter()
        drawn = self.decoder.round(np.array([newest, places]), noise)
        self.decode_seconds += time.perf_counter() - began
        self.decode_bytes += self._bytes_read(steps)
        for row, *of_row in zip(self.rows, *drawn, strict=True):
            for token, logprob, entropy in zip(*of_row, strict=True):
                row.append(token, logprob, entropy)
                yield token
                if self._finish_reason(row):  # what it drew behind its end is dropped
                    break

    def _bytes_read(self, steps: int) -> int:
        """What the steps had to read: all weights but an embedding of its own, and each row's cache."""
        cfg, weight = self.transformer.cfg, self.transformer.lm_head.weight
        looked_up = 0 if cfg.tie_word_embeddings else weight.numel()
        weights = (cfg.parameters - looked_up) * weight.itemsize
        places = sum(row.place + (steps + 1) / 2 for row in self.rows)
        return round(steps * (weights + places * cfg.kv_bytes_per_token(weight.dtype)))

    def _finish_reason(self, row: _Row) -> str | None:
        """Return why the row has ended, None where it goes on."""
        if row.token_ids[-1] in self.stop_ids:
            return "stop"
        return "length" if len(row.token_ids) == self.params.max_new_tokens else None

    def retire(self) -> Iterator[tuple[_Row, Sample]]:
        """Take the finished rows out, and yield them; the last row in use moves into each gap."""
        for i in reversed(range(len(self.rows))):
            row = self.rows[i]
            reason = self._finish_reason(row)
            if reason is None:
                continue
            last = self.rows.pop()
            if last is not row:
                self.cache.move(len(self.rows), i, last.place)
                self.rows[i] = last
            yield row, Sample(row.token_ids, row.logprobs, reason, row.entropy)


def _packs(prompts: Iterable[PromptIds], most: int) -> Iterator[list[PromptIds]]:
    """Yield the prompts in packs of about `most` tokens, neighbours in length together: little is wasted."""
    pack: list[PromptIds] = []
    for prompt in sorted(prompts, key=lambda ids: (len(ids), ids)):
        if pack and (len(pack) + 1) * len(prompt) > most:
            yield pack
            pack = []
        pack.append(prompt)
    if pack:
        yield pack
