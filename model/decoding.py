"""Decode steps on the device: many rows, and on CUDA many steps, between two words with the host.

- what a step reads and writes lies in tensors of fixed address, so that a CUDA graph can replay it
- exact shapes (a CPU): a step runs for the rows in use and one step is a round
- fixed shapes (CUDA): a step runs for a number of rows and places out of a short list, each captured once as a graph;
  a round is ROUND_TOKENS tokens a row, and what a row draws behind its last token is dropped by the host
- left out: who decodes what, and when a sample ends (sampler.py)

Letters: R rows of the cache, n in use, B computed, V ids that exist in the tokenizer, J tokens a round at most.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.attention import Cached, NewestTokens
from model.drawing import SamplingParams, draw
from model.kv_cache import KVCache
from model.transformer import Transformer, rows_to_multiply

ROUND_TOKENS = 16
ROWS_STEP, SPAN_STEP = 8, 256  # the short lists: multiples of R/8 or of 8 rows, and of 256 places


def next_logits(hidden: Tensor, weight: Tensor, vocab_limit: int) -> Tensor:
    """Return the logits [n, V] of hidden [n, D] for the ids below vocab_limit."""
    return F.linear(hidden, weight[: rows_to_multiply(weight, vocab_limit)])[:, :vocab_limit]


class Decoder:
    def __init__(
        self, transformer: Transformer, cache: KVCache, params: SamplingParams, vocab_limit: int, fixed_shapes: bool
    ):
        rows, device = cache.capacity.rows, cache.keys.device
        self.transformer, self.cache, self.params, self.vocab_limit = transformer, cache, params, vocab_limit
        self.fixed_shapes, self.round_tokens = fixed_shapes, ROUND_TOKENS if fixed_shapes else 1
        self.state = torch.zeros(2, rows, dtype=torch.int64, device=device)  # newest token, its place in the cache
        self.noise = torch.zeros(self.round_tokens, rows, dtype=torch.float64, device=device)  # [J, R]
        self.drawn = torch.zeros(2, self.round_tokens, rows, dtype=torch.float64, device=device)  # ids, log-probs
        self.turn = torch.zeros(1, dtype=torch.int64, device=device)  # of the round: 0 .. J-1
        compiled = transformer.compiled and fixed_shapes  # where shapes never repeat it does not pay
        self.stance = "default" if compiled else "force_eager"
        self.draw = torch.compile(draw, dynamic=True) if compiled else draw
        self.graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}
        self.pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        self.side = torch.cuda.Stream() if device.type == "cuda" else None

    def round(self, state: np.ndarray, noise: np.ndarray, steps: int, first: Tensor | None = None) -> np.ndarray:
        """Run `steps` decode steps; return what they drew for each row, ids and log-probs [2, tokens, n] float64.

        state [2, n] int64: each row's newest token and its place. noise [tokens, n] float64. first [new, V]: logits
        for the first tokens of the last `new` rows, which are drawn before the steps: then tokens is steps + 1, and
        the other rows' first entry means nothing. This reads from the device once, at its end.
        """
        n, tokens = state.shape[1], noise.shape[0]
        self.state[:, :n].copy_(torch.from_numpy(state), non_blocking=True)
        self.noise[:tokens, :n].copy_(torch.from_numpy(noise), non_blocking=True)
        if first is not None:
            new = slice(n - first.shape[0], n)
            ids, logprobs = draw(first, self.noise[0, new], self.params)
            self.drawn[0, 0, new], self.drawn[1, 0, new], self.state[0, new] = ids, logprobs, ids
        self.turn.fill_(0 if first is None else 1)
        if steps:
            shape = self._shape(n, int(state[1].max()) + steps)
            with torch.compiler.set_stance(self.stance):
                step = self._graph(*shape).replay if self.pool else lambda: self._step(*shape)
                for _ in range(steps):
                    step()
        return self.drawn[:, :tokens, :n].cpu().numpy()

    def _shape(self, n: int, span: int) -> tuple[int, int]:
        """Return how many rows to compute and how many places to read."""
        if not self.fixed_shapes:
            return n, span
        rows, places = self.cache.capacity.rows, self.cache.capacity.places
        step = max(ROWS_STEP, -(-rows // 8))
        if NewestTokens.flash_reads(self.cache.keys.dtype, self.cache.keys.is_cuda):
            span = places  # the kernel reads what each row has, whatever is said here
        return min(-(-n // step) * step, rows), min(-(-span // SPAN_STEP) * SPAN_STEP, places)

    def _step(self, rows: int, span: int) -> None:
        """Feed the first `rows` rows' newest tokens and draw the next ones."""
        tokens, places = self.state[0, :rows], self.state[1, :rows]  # [B]
        heads, capacity = self.cache.keys.shape[2:4]
        newest = NewestTokens(places, heads, capacity, span, self.cache.keys.dtype)
        attends = [Cached(k, v, newest) for k, v in zip(self.cache.keys, self.cache.values, strict=True)]
        logits = self.transformer(
            tokens[:, None], places[:, None], attends, lambda h, w: next_logits(h[:, 0], w, self.vocab_limit)
        )  # [B, V]
        ids, logprobs = self.draw(logits, self.noise.index_select(0, self.turn)[0, :rows], self.params)
        self.drawn[:, :, :rows].index_copy_(1, self.turn, torch.stack((ids.double(), logprobs))[:, None])
        tokens.copy_(ids)
        places.add_(1).clamp_(max=capacity - 1)  # a row behind its last token may run on until the round ends
        self.turn.add_(1)

    def _graph(self, rows: int, span: int) -> torch.cuda.CUDAGraph:
        """Return the step of this shape, captured."""
        if (rows, span) not in self.graphs:
            state, turn, graph = self.state.clone(), self.turn.clone(), torch.cuda.CUDAGraph()
            self.side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.side):
                self._step(rows, span)  # lets libraries prepare, and writes what the replay will write again
                self.state.copy_(state)
                self.turn.copy_(turn)
                # torch.cuda.graph would collect garbage and empty the allocator's cache first, which takes longer.
                graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")  # NCCL has threads too
                self._step(rows, span)
                graph.capture_end()
            torch.cuda.current_stream().wait_stream(self.side)
            self.graphs[rows, span] = graph
        return self.graphs[rows, span]
