"""Packing without padding: sequences of any length lie end to end in one row of tokens.

A prompt that several sequences of a pack share is fed once: in a causal model its activations do not depend on what
follows, so a group of answers to one question costs one prompt. Attention alone sees every sequence whole.

Targets are shifted here and nowhere else. Worked example, three sequences with prompt | response:

    sequence      [5 6 | 7 8]    [9 | 3]    [5 6 | 4 2]
    tokens         5 6   7        9               4           a last response token predicts nothing and is not fed
    positions      0 1   2        0               2
    predict_at       1   2        3             1 4           the places whose logits predict the targets
    targets          7   8        3             4 2
    gather         0 1   2        3          0 1  4           each sequence whole, by places in `tokens`
    cu_seqlens     0              3          4      7         cuts of `gather`
    keep           0 1   2        3               6           where in `gather` each token stands first

Letters: T tokens of the pack, E entries of its sequences laid whole, N sequences, R response tokens (those scored).
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

import torch
from torch import Tensor

from fleming.training.parallel import World
from model.attention import PackedCausal


@dataclass(frozen=True)
class PackedBatch:
    """N sequences end to end. What is known per response token lies end to end in the same order, [R]."""

    tokens: Tensor  # [1, T] int64
    positions: Tensor  # [1, T] int64, from 0 in each sequence
    gather: Tensor  # [E] int64: the tokens of the sequences, whole and end to end, as places in the pack
    keep: Tensor  # [T] int64: the first entry of `gather` that is this token
    cu_seqlens: Tensor  # [N + 1] int32: where each sequence begins in [E]
    max_seqlen: int
    predict_at: Tensor  # [R] int64: the place in the pack whose logits predict the response token
    targets: Tensor  # [R] int64: the response tokens
    response_cu_seqlens: Tensor  # [N + 1] int64: where each sequence's response tokens begin in [R]

    def to(self, device: torch.device) -> "PackedBatch":
        """Return the batch with its tensors on `device`."""
        tensors = {name: x for name, x in vars(self).items() if isinstance(x, Tensor)}
        moved = {name: x.to(device, non_blocking=True) for name, x in tensors.items()}
        return dataclasses.replace(self, **moved)


def pack(
    prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], share: int | None = None
) -> PackedBatch:
    """Pack prompt + response pairs; every response token is a target, no prompt token is.

    The last response token (the stop id) is a target but predicts nothing, so it need not be fed: it is left out of
    `tokens`. Every prompt must have at least one token, every response too. Equal prompts are fed once; with `share`,
    so is what a prompt and the one before it begin with alike, where that is at least so many tokens.

    Of no pairs at all, the idle pack: two tokens are fed and none is scored. A rank that has run out of sequences
    takes part in the same collectives with it, and its gradient is exactly zero.
    """
    tokens, positions, gather, keep, predict_at, targets = [], [], [], [], [], []
    ends, response_ends, begins = [0], [0], {}

    def feed(ids: Sequence[int], first: int) -> range:
        places = range(len(tokens), len(tokens) + len(ids))
        tokens.extend(ids)
        positions.extend(range(first, first + len(ids)))
        keep.extend(range(len(gather), len(gather) + len(ids)))
        gather.extend(places)
        return places

    before: tuple[int, ...] = ()
    for prompt, response in zip(prompts, responses, strict=True):
        if (key := tuple(prompt)) in begins:
            gather += begins[key]
        else:
            alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, key, strict=False)))
            alike = alike if share is not None and share <= alike else 0
            gather += (known := begins.get(before, [])[:alike])
            begins[key] = [*known, *feed(key[alike:], alike)]
        before = key
        predict_at += [begins[key][-1], *feed(response[:-1], len(prompt))]
        targets += response
        ends.append(len(gather))
        response_ends.append(len(targets))
    if not prompts:
        feed([0, 0], 0)
        ends = [0, 2]
    return PackedBatch(
        tokens=torch.tensor(tokens)[None],
        positions=torch.tensor(positions)[None],
        gather=torch.tensor(gather),
        keep=torch.tensor(keep),
        cu_seqlens=torch.tensor(ends, dtype=torch.int32),
        max_seqlen=max(b - a for a, b in pairwise(ends)),
        predict_at=torch.tensor(predict_at, dtype=torch.int64),
        targets=torch.tensor(targets, dtype=torch.int64),
        response_cu_seqlens=torch.tensor(response_ends),
    )


def take(x: Tensor, dim: int, places: Tensor) -> Tensor:
    """Return x at `places` of a dimension, whose gradients add up in one order, where a place is taken several times.

    Of the two operations that do it each adds up as its threads come on one kind of device: index_select on CUDA, and
    indexing on a CPU of several threads.
    """
    return x[(slice(None),) * dim + (places,)] if x.is_cuda else x.index_select(dim, places)


class SharedPrompts:
    """Packed causal attention for a pack in which sequences share prompts: it sees every sequence whole."""

    def __init__(self, batch: PackedBatch, key_tile: int = 0):
        self.whole = PackedCausal(batch.cu_seqlens, batch.max_seqlen, key_tile)
        self.gather, self.keep = batch.gather, batch.keep

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [1, T, H, d], k and v [1, T, K, d] -> [1, T, H, d]."""
        if self.gather.numel() == self.keep.numel():
            return self.whole(q, k, v)
        q, k, v = (take(x, 1, self.gather) for x in (q, k, v))  # [1, E, heads, d]
        return self.whole(q, k, v)[:, self.keep]


def packs_of(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]], max_tokens: int, world: World
) -> Iterator[PackedBatch]:
    """Yield this rank's packs of prompts and responses, as many on every rank, the last of them possibly idle."""
    lengths = [len(prompt) + len(response) for prompt, response in pairs]
    for packs in micro_batches(lengths, max_tokens, world.size):
        members = [pairs[i] for i in packs[world.rank]]
        yield pack([p for p, _ in members], [r for _, r in members]).to(world.device)


def micro_batches(lengths: Sequence[int], max_tokens: int, ranks: int = 1) -> list[list[list[int]]]:
    """Split sequences of the given lengths into rounds of one pack a rank; return the indices in each.

    A pack holds at most `max_tokens`, or a single longer sequence. Every rank runs the same number of packs, and those
    of a round, which wait for one another, are balanced: longest first, each sequence goes to the emptiest pack. So a
    pack also holds neighbours in length, and laying them side by side wastes little. In the last round some packs may
    be empty.
    """
    rounds: list[list[list[int]]] = []
    filled: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        emptiest = min(range(ranks), key=filled.__getitem__) if rounds else 0
        if not rounds or (filled[emptiest] and filled[emptiest] + lengths[i] > max_tokens):
            rounds.append([[] for _ in range(ranks)])
            filled, emptiest = [0] * ranks, 0
        rounds[-1][emptiest].append(i)
        filled[emptiest] += lengths[i]
    return rounds
