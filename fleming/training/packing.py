"""Packing without padding: sequences of any length lie end to end in one row of tokens.

Targets are shifted here and nowhere else. Worked example, two sequences with prompt | response:

    sequence      [5 6 | 7 8]           [9 | 3]
    tokens         5 6 7 8               9 3
    positions      0 1 2 3               0 1
    predict_at       1 2  (the places whose logits predict 7 and 8)      4  (predicts 3)
    targets          7 8                 3
    cu_seqlens     0       4     6      response_cu_seqlens  0 2 3

Letters: T tokens of the pack, N sequences, R response tokens (the ones that are scored).
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class PackedBatch:
    """N sequences end to end. What is known per response token lies end to end in the same order, [R]."""

    tokens: Tensor  # [1, T] int64
    positions: Tensor  # [1, T] int64, from 0 in each sequence
    cu_seqlens: Tensor  # [N + 1] int32
    max_seqlen: int
    predict_at: Tensor  # [R] int64: the place in the pack whose logits predict the response token
    targets: Tensor  # [R] int64: the response tokens
    response_cu_seqlens: Tensor  # [N + 1] int64: where each sequence's response tokens begin in [R]

    def to(self, device: torch.device) -> "PackedBatch":
        """Return the batch with its tensors on `device`."""
        moved = {name: x.to(device, non_blocking=True) for name, x in vars(self).items() if isinstance(x, Tensor)}
        return dataclasses.replace(self, **moved)


def pack(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> PackedBatch:
    """Pack prompt + response pairs; every response token is a target, no prompt token is.

    The last response token (the stop id) is a target but predicts nothing, so it need not be fed: it is left out of
    `tokens`. Every prompt must have at least one token, every response too.

    Of no pairs at all, the idle pack: two tokens are fed and none is scored. A rank that has run out of sequences
    takes part in the same collectives with it, and its gradient is exactly zero.
    """
    tokens, positions, predict_at, targets, ends, response_ends = [], [], [], [], [0], [0]
    for prompt, response in zip(prompts, responses, strict=True):
        fed = [*prompt, *response[:-1]]
        predict_at += range(len(tokens) + len(prompt) - 1, len(tokens) + len(fed))
        tokens += fed
        positions += range(len(fed))
        targets += response
        ends.append(len(tokens))
        response_ends.append(len(targets))
    if not prompts:
        tokens, positions, ends = [0, 0], [0, 1], [0, 2]
    return PackedBatch(
        tokens=torch.tensor(tokens)[None],
        positions=torch.tensor(positions)[None],
        cu_seqlens=torch.tensor(ends, dtype=torch.int32),
        max_seqlen=max(b - a for a, b in pairwise(ends)),
        predict_at=torch.tensor(predict_at, dtype=torch.int64),
        targets=torch.tensor(targets, dtype=torch.int64),
        response_cu_seqlens=torch.tensor(response_ends),
    )


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
