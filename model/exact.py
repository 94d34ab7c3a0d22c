"""The same bits for a token whatever is computed beside it, in fp32 on a CPU: then what is sampled is what is scored.

PyTorch's kernels for the CPU choose by shape. Two paddings leave them no choice:

- Rows. A product of fewer than four rows a thread is another kernel's, and the last elements of each thread's part of
  F.silu are computed one by one, by another exponential. So a forward computes tokens in whole multiples of `row_tile`,
  and so does the output matrix.
- Attention goes by tiles of queries and blocks of keys. So queries come in whole tiles and keys in whole blocks, or all
  in one length that no sequence of a run exceeds; in a decode step the heads that read one key head are a tile.

What is padded is behind what is real: no query sees it, and it is cut off. `Transformer.key_length` says how far keys
are padded, 0 that nothing is. Left out: CUDA, half precision, and processors on which exact_check.py finds it untrue.

Letters: B batch, T tokens, H heads, d head_dim.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

QUERY_TILE, KEY_BLOCK = 4, 512  # of the attention kernel
BOUND_STEP = 64  # a run's one length is a multiple of this

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def row_tile() -> int:
    """Return what the number of rows must be a multiple of: eight a thread, so that each thread's part is whole."""
    return max(16, 8 * torch.get_num_threads())


def whole(length: int, tile: int) -> int:
    """Return the least multiple of `tile` that is no less than `length`."""
    return -(-length // tile) * tile


def keys_read(length: int, key_length: int) -> int:
    """Return to how many keys `length` of them are padded."""
    if not key_length:
        return length
    return key_length if length <= key_length else whole(length, KEY_BLOCK)


def key_length_of(longest: int) -> int:
    """Return the `key_length` for sequences that are bounded."""
    return whole(longest, BOUND_STEP if longest <= KEY_BLOCK else KEY_BLOCK)


def pad_rows(x: Tensor) -> Tensor:
    """[rows, ...] -> as many whole tiles of rows as hold them, zeros behind."""
    missing = -len(x) % row_tile()
    return torch.cat((x, x.new_zeros(missing, *x.shape[1:]))) if missing else x


def pad_tokens(x: Tensor) -> Tensor:
    """[B, T] -> the same with zeros behind, B * T a whole number of tiles: more rows of one token, else more tokens."""
    return pad_rows(x) if x.shape[1] == 1 else F.pad(x, (0, -x.shape[1] % row_tile()))


def of_real(attend: Attend, rows: int, length: int) -> Attend:
    """Return `attend` for q, k, v that are padded behind [rows, length]."""

    def attend_real(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        real = attend(*(x[:rows, :length] for x in (q, k, v)))
        return F.pad(real, (0, 0, 0, 0, 0, q.shape[1] - length, 0, q.shape[0] - rows))

    return attend_real


def pad_places(x: Tensor, places: int) -> Tensor:
    """[B, H, T, d] -> [B, H, places, d], zeros behind."""
    return F.pad(x, (0, 0, 0, places - x.shape[2])) if places > x.shape[2] else x


def log_probs(logits: Tensor, ids: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the log-probs [n] of ids [n] under softmax(logits [n, V] / temperature), fp32, nats, as the scorer's are.

    A row's exponentials do not depend on where the row lies; of fewer rows than threads the sums would be divided.
    """
    n = len(ids)
    logits, ids = pad_rows(logits.float()), pad_rows(ids)
    if temperature != 1:
        logits = logits / temperature
    return (logits.gather(-1, ids[:, None])[:, 0] - logits.logsumexp(-1))[:n]
