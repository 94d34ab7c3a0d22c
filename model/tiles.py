"""exact.py's claim by calls of one shape each, for devices whose kernels padding cannot lead (CUDA): `exact=tiles`.

A library chooses its kernel by a product's shape, so here every product of a kind has the same one, whatever the batch:
ROWS rows against a weight, PAIRS pairs of a tile of queries and a block of keys. A query takes its blocks in order; a
block's exponentials are summed by the product that weighs its values, as one more column. Of a block that a query does
not see its maximum stays and zeros are added, which changes no bit: so it may be read or not. What goes over the
vocabulary row by row (a softmax, drawing) comes ROWS rows at a time too, each beginning where it is aligned.

Forwards only: gradients are the usual kernels', as the claim is about what is sampled and scored. Left out: speed. It
was never run on CUDA: its cost there is unmeasured, and exact_check.py says at the start of a run whether it holds.

Letters: B batch, K key/value heads, g query heads a key head, Q queries, S keys, d head_dim, n tiles of queries.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from model.exact import pad, whole

ROWS = 64
QUERIES, KEYS = 16, 64
PAIRS = 512
ALIGNED = 16  # elements of a row that a kernel may read at once, at most


def by_rows(function: Callable[..., tuple[Tensor, ...]], *rows: Tensor) -> tuple[Tensor, ...]:
    """Return function(*rows), whose results have a row for each row, by calls with ROWS rows."""
    count = len(rows[0])
    tiles = zip(*(pad(x, whole(count, ROWS), 0).split(ROWS) for x in rows), strict=True)
    found = [function(*tile) for tile in tiles]
    return tuple(torch.cat(parts)[:count] for parts in zip(*found, strict=True))


def one_shape(key_tile: int) -> AbstractContextManager:
    """Inside of it each F.linear and log_softmax is done by tiles of rows, where `key_tile` asks for that."""
    return _OneShape() if key_tile == KEYS else nullcontext()


class _OneShape(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is F.linear:
            return with_gradient_of(F.linear, _linear, *args, **kwargs)
        if function is Tensor.log_softmax:
            return _log_softmax(*args, **kwargs)
        return function(*args, **kwargs)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    (out,) = by_rows(lambda tile: (F.linear(tile, weight, bias),), x.flatten(0, -2))
    return out.view(*x.shape[:-1], -1)


def _log_softmax(x: Tensor, _: int) -> Tensor:
    """[..., V] -> the same, of the last dimension."""
    size = x.shape[-1]
    x = F.pad(x, (0, whole(size, ALIGNED) - size), value=float("-inf"))
    (out,) = by_rows(lambda tile: (tile.log_softmax(-1),), x.flatten(0, -2))
    return out.view(x.shape)[..., :size]


class _Replaced(torch.autograd.Function):
    """A value, with the gradient of another that differs from it by rounding."""

    @staticmethod
    def forward(ctx, value, usual):
        return value

    @staticmethod
    def backward(ctx, grad):
        return None, grad


def with_gradient_of(
    usual: Callable[..., Tensor], exact: Callable[..., Tensor], *args: Tensor, **kwargs: Tensor
) -> Tensor:
    """Return exact(*args), whose gradient is that of usual(*args)."""
    with torch.no_grad():
        value = exact(*args, **kwargs)
    return _Replaced.apply(value, usual(*args, **kwargs)) if torch.is_grad_enabled() else value


def attend(q: Tensor, k: Tensor, v: Tensor, last: Tensor) -> Tensor:
    """q [B, K, Q, d], k and v [B, K, S, d] -> [B, K, Q, d]; last [B, Q] or [1, Q]: the last key that a query sees."""
    count, d = q.shape[2:]
    queries = pad(q, whole(count, QUERIES), 2).float() * d**-0.5
    queries = queries.unflatten(2, (-1, QUERIES))  # [B, K, n, 16, d]
    last = pad(last, whole(count, QUERIES), 1).view(len(last), 1, -1, QUERIES, 1)
    size = whole(k.shape[2], KEYS)
    keys, values = pad(k, size, 2).float(), pad(v, size, 2).float()
    values = torch.cat((values, torch.ones_like(values[..., :1])), -1)  # [B, K, S, d + 1]

    out = torch.zeros((), device=q.device)
    top = torch.full((), float("-inf"), device=q.device)
    for begin in range(0, size, KEYS):
        block = slice(begin, begin + KEYS)
        scores = _product(queries, keys[:, :, None, block].mT)  # [B, K, n, 16, KEYS]
        places = torch.arange(begin, begin + KEYS, device=q.device)
        scores = scores.masked_fill(places > last, float("-inf"))
        higher = torch.maximum(top, scores.amax(-1, keepdim=True))
        weighted = _product((scores - higher).exp(), values[:, :, None, block])  # [B, K, n, 16, d + 1]
        out = out * (top - higher).exp() + weighted
        top = higher
    out = out[..., :d] / out[..., d:]
    return out.flatten(2, 3)[:, :, :count].to(q.dtype)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """[B, K, n, r, c] x [B, K, 1, c, m] -> [B, K, n, r, m]."""
    count = a.shape[:3]
    found = []
    for left, right in zip(
        a.flatten(0, 2).split(PAIRS), b.expand(*count, -1, -1).flatten(0, 2).split(PAIRS), strict=True
    ):
        pairs = torch.bmm(pad(left, PAIRS, 0), pad(right, PAIRS, 0))
        found.append(pairs[: len(left)])
    return torch.cat(found).unflatten(0, count)


def causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """[B, T, H, d] x [B, T, K, d] -> [B, T, H, d], each row alone."""
    heads, length = k.shape[2], q.shape[1]
    group = q.shape[2] // heads
    queries = q.unflatten(2, (heads, group)).permute(0, 2, 1, 3, 4).flatten(2, 3)  # [B, K, T * g, d]
    last = torch.arange(length, device=q.device).repeat_interleave(group)[None]
    out = attend(queries, k.transpose(1, 2), v.transpose(1, 2), last)
    return out.unflatten(2, (length, group)).permute(0, 2, 1, 3, 4).flatten(2, 3)
