"""The same bits for a token whatever is computed beside it, in fp32 on a CPU: then what is sampled is what is scored.

PyTorch's kernels for the CPU choose by shape. Two paddings leave them no choice:

- Rows. A product of fewer than four rows a thread is another kernel's, and the last elements of each thread's part of
  F.silu are computed one by one, by another exponential. So a forward computes tokens in whole multiples of `row_tile`,
  as many that no part has last elements, and so does the output matrix.
- Attention goes by tiles of queries and blocks of keys, and in a block its product of weights and values adds up all
  keys in a row, or cuts them in halves where they are few for two parts. So queries and keys come in whole tiles, and
  no block of keys has a size that would be halved; in a decode step the heads that read one key head are a tile. A
  tile that is the only one is computed twice, since threads would divide its products.

What is padded is behind what is real: no query sees it, and it is cut off. `Transformer.key_tile` says to which tiles
keys are padded, 0 that nothing is; tiles.KEYS stands for tiles.py, which is for other devices and for half precision.
Left out: processors that exact_check.py finds to differ.

Letters: B batch, T tokens, H heads, d head_dim.
"""

from collections.abc import Callable

import torch
from torch import Tensor

QUERY_TILE, KEY_BLOCK = 4, 512  # of the attention kernel
KEYS_IN_A_ROW = 192  # which its product with the values adds up one after the other
KEY_TILES = (16, KEY_BLOCK)  # what `key_tile` may be, the cheapest first
A_THREAD = 32768  # elements from which on an operation on each of them is divided among threads, one more for as many
LANES = 32  # elements that its loop takes at a time, at most

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def row_tile() -> int:
    """Return what the number of rows must be a multiple of: eight a thread, so that each thread's part is whole."""
    return max(16, 8 * torch.get_num_threads())


def whole(length: int, tile: int) -> int:
    """Return the least multiple of `tile` that is no less than `length`."""
    return -(-length // tile) * tile


def rows_computed(rows: int, width: int) -> int:
    """Return as many whole tiles of rows as hold `rows`, and in which threads divide rows * width into whole lanes."""
    rows = whole(rows, row_tile())
    while rows * width % (LANES * min(torch.get_num_threads(), -(-rows * width // A_THREAD))):
        rows += row_tile()
    return rows


def keys_read(length: int, key_tile: int) -> int:
    """Return to how many keys `length` of them are padded."""
    if not key_tile:
        return length
    blocks, rest = divmod(length, KEY_BLOCK)
    if KEYS_IN_A_ROW < rest < 2 * KEYS_IN_A_ROW:  # they would be added up in halves
        rest = 2 * KEYS_IN_A_ROW
    return blocks * KEY_BLOCK + whole(rest, key_tile)


def pad(x: Tensor, size: int, dim: int) -> Tensor:
    """Return x with zeros behind in dimension `dim`, to `size` there; x itself where it has that."""
    missing = size - x.shape[dim]
    if not missing:
        return x
    shape = (*x.shape[:dim], missing, *x.shape[dim + 1 :])
    return torch.cat((x, x.new_zeros(1).expand(shape)), dim)


def pad_rows(x: Tensor) -> Tensor:
    """[rows, ...] -> as many whole tiles of rows as hold them, zeros behind."""
    return pad(x, whole(len(x), row_tile()), 0)


def pad_tokens(x: Tensor, width: int) -> Tensor:
    """[B, T] -> the same with zeros behind, for F.silu of `width` a token: more rows of one token, else more tokens."""
    if x.shape[1] == 1:
        return pad(x, rows_computed(len(x), width), 0)
    return pad(x, rows_computed(x.shape[1], len(x) * width), 1)


def of_real(attend: Attend, rows: int, length: int) -> Attend:
    """Return `attend` for q, k, v that are padded behind [rows, length]."""

    def attend_real(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        real = attend(*(x[:rows, :length] for x in (q, k, v)))
        return pad(pad(real, q.shape[1], 1), q.shape[0], 0)

    return attend_real
