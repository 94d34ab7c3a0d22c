"""Decode steps on the device: many rows, and on CUDA many steps, between two words with the host.

- what a step reads and writes lies in tensors of fixed address, so that a CUDA graph can replay it
- exact shapes (a CPU): a step runs for the rows in use and one step is a round
- fixed shapes (CUDA): a step runs for a number of rows and places out of a short list, each captured once as
  a graph; a round is ROUND_TOKENS steps, and what a row draws behind its last token is dropped by the host
- left out: who decodes what, and when a sample ends (sampler.py)

Letters: R rows of the cache, n in use, B computed, V ids that exist in the tokenizer, J steps a round.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.attention import Cached, NewestTokens, flash_reads_cache
from model.drawing import SamplingParams, draw, nan_where_broken
from model.exact import keys_read, pad_rows, whole
from model.kv_cache import KVCache
from model.transformer import Transformer, rows_to_multiply

ROUND_TOKENS = 16
ROWS_STEP, SPAN_STEP = 8, 256  # the short lists: multiples of R/8 or of 8 rows, and of 256 places


def next_logits(hidden: Tensor, weight: Tensor, vocab_limit: int, key_tile: int = 0) -> Tensor:
    """Return the logits [n, V] of hidden [n, D] for the ids below vocab_limit. key_tile: exact.py's."""
    rows = rows_to_multiply(weight, vocab_limit)
    n = len(hidden)
    hidden = pad_rows(hidden) if key_tile else hidden
    return F.linear(hidden, weight[:rows])[:n, :vocab_limit]


class Decoder:
    """Decodes the rows of a cache, as many steps a round as the host has noise for."""

    def __init__(
        self,
        transformer: Transformer,
        cache: KVCache,
        params: SamplingParams,
        vocab_limit: int,
        fixed_shapes: bool,
    ):
        self.transformer, self.cache, self.params = transformer, cache, params
        self.vocab_limit, self.fixed_shapes = vocab_limit, fixed_shapes
        self.round_tokens = ROUND_TOKENS if fixed_shapes else 1
        steps, rows, device = self.round_tokens, cache.capacity.rows, cache.keys.device
        integers = {"dtype": torch.int64, "device": device}
        numbers = {"dtype": torch.float64, "device": device}
        self.state = torch.zeros(2, rows, **integers)  # [2, R]: newest token, its place in the cache
        self.step_index = torch.zeros(1, **integers)  # of the round: 0 .. J-1
        self.noise = torch.zeros(steps, rows, **numbers)  # [J, R]
        self.drawn = torch.zeros(3, steps, rows, **numbers)  # [3, J, R]: ids, log-probs, entropies

        compiled = transformer.compiled and fixed_shapes  # where shapes never repeat it does not pay
        self.stance = "default" if compiled else "force_eager"
        self.draw = torch.compile(draw, dynamic=True) if compiled else draw
        self.graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}
        self.on_cuda = device.type == "cuda"
        if self.on_cuda:
            self.pool = torch.cuda.graph_pool_handle()
            self.capture_stream = torch.cuda.Stream()

    def round(
        self, state: np.ndarray, noise: np.ndarray
    ) -> tuple[list[list[int]], list[list[float]], list[list[float]]]:
        """Run decode steps; return what they drew for each of n rows, [n, steps] ids, log-probs and entropies.

        state [2, n] int64: each row's newest token and its place. noise [steps, n] float64: as many steps are
        run. This reads from the device once, at its end.
        """
        steps, n = noise.shape
        self.state[:, :n].copy_(torch.from_numpy(state), non_blocking=True)
        self.noise[:steps, :n].copy_(torch.from_numpy(noise), non_blocking=True)
        self.step_index.zero_()
        furthest = int(state[1].max()) + steps
        rows, span = self._shape(n, furthest)
        with torch.compiler.set_stance(self.stance):
            graph = self._graph(rows, span) if self.on_cuda else None
            for _ in range(steps):
                if graph:
                    graph.replay()
                else:
                    self._step(rows, span)
        ids, logprobs, entropies = self.drawn[:, :steps, :n].cpu().mT  # [n, steps]
        return ids.long().tolist(), logprobs.tolist(), entropies.tolist()

    def _shape(self, n: int, span: int) -> tuple[int, int]:
        """Return how many rows to compute and how many places to read."""
        if not self.fixed_shapes:
            return n, keys_read(span, self.transformer.key_tile)
        rows, places = self.cache.capacity.rows, self.cache.capacity.places
        rows_step = max(ROWS_STEP, whole(rows, 8) // 8)
        computed = min(whole(n, rows_step), rows)
        if flash_reads_cache(self.cache.keys) and not self.transformer.key_tile:
            return computed, places  # the kernel reads what each row has, whatever is said here
        return computed, keys_read(min(whole(span, SPAN_STEP), places), self.transformer.key_tile)

    def _step(self, rows: int, span: int) -> None:
        """Feed the first `rows` rows' newest tokens and draw the next ones."""
        tokens, places = self.state[0, :rows], self.state[1, :rows]  # [B]
        key_tile = self.transformer.key_tile
        newest = NewestTokens(places, self.cache.keys, span, key_tile)
        attends = [Cached(k, v, newest) for k, v in zip(self.cache.keys, self.cache.values, strict=True)]

        def readout(hidden: Tensor, weight: Tensor) -> Tensor:
            return next_logits(hidden[:, 0], weight, self.vocab_limit, key_tile)

        logits = self.transformer(tokens[:, None], places[:, None], attends, readout)  # [B, V]
        noise = self.noise.index_select(0, self.step_index)[0, :rows]
        ids, logprobs, entropies = self.draw(logits, noise, self.params, key_tile)
        logprobs = nan_where_broken(logprobs, logits)
        drawn = torch.stack((ids.double(), logprobs, entropies))[:, None]  # [3, 1, B]
        self.drawn[:, :, :rows].index_copy_(1, self.step_index, drawn)
        tokens.copy_(ids)
        last_place = self.cache.capacity.places - 1
        places.add_(1).clamp_(max=last_place)  # a row behind its last token may run on until the round ends
        self.step_index.add_(1)

    def _graph(self, rows: int, span: int) -> torch.cuda.CUDAGraph:
        """Return the step of this shape, captured."""
        if (rows, span) in self.graphs:
            return self.graphs[rows, span]
        graph = torch.cuda.CUDAGraph()
        state, step_index = self.state.clone(), self.step_index.clone()
        self.capture_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.capture_stream):
            self._step(rows, span)  # lets libraries prepare, and writes what the replay will write again
            self.state.copy_(state)
            self.step_index.copy_(step_index)
            # torch.cuda.graph would collect garbage and empty the allocator's cache first, which is slower.
            graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")  # NCCL has threads too
            self._step(rows, span)
            graph.capture_end()
        torch.cuda.current_stream().wait_stream(self.capture_stream)
        self.graphs[rows, span] = graph
        return graph
