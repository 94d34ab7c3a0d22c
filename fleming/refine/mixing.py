"""Mixing public and synthetic questions in chosen proportions (paper, section 3.1).

The counts are exact, by largest remainder; nothing is drawn twice. Which questions are taken and in which order they
stand is fixed by the seed and the parts' names, not by the order in which the parts are given. Left out: repeating a
small part, and balancing inside a part.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from fleming.noise import generator
from fleming.records import Question
from model.errors import InputError


def mix(
    parts: Mapping[str, Sequence[Question]], proportions: Mapping[str, float], total: int | None, seed: int
) -> tuple[list[Question], dict[str, Any]]:
    """Return the mixed questions, shuffled, and {"total", "parts": {name: {"available", "share", "taken"}}}.

    proportions: one for each part, of any sum; 0 leaves a part out, and 0.1 is exactly a tenth. total: None takes as
    many as there can be without a part running out. Raises InputError for a part without proportion or a proportion
    without part, for one that is no finite number of 0 or more, for a part that is too small, and for an id that is
    in two parts.
    """
    names = sorted(proportions)
    _check(parts, proportions)
    weights = _whole_weights([proportions[name] for name in names])
    sizes = [len(parts[name]) for name in names]
    counts = _largest(weights, sizes, names) if total is None else _apportion(weights, total)
    for name, count, size in zip(names, counts, sizes, strict=True):
        if count > size:
            raise InputError(f"mixing {name!r}: it has {size} questions, {count} of {total} are wanted")

    taken, table = [], {}
    for name, size, weight, count in zip(names, sizes, weights, counts, strict=True):
        chosen = generator(seed, "mix", name).permutation(size)[:count]
        taken += [parts[name][i] for i in chosen.tolist()]
        table[name] = {"available": size, "share": weight / sum(weights), "taken": count}
    order = generator(seed, "mix order").permutation(len(taken))
    mixed = [taken[i] for i in order.tolist()]
    return mixed, {"total": len(mixed), "parts": table}


def _check(parts: Mapping[str, Sequence[Question]], proportions: Mapping[str, float]) -> None:
    odd = sorted(proportions.keys() ^ parts.keys())
    if odd:
        known = "this part has no proportion (0 leaves it out)"
        if odd[0] in proportions:
            known = "no part has this name"
        raise InputError(f"mixing {odd[0]!r}: {known}; the parts are {', '.join(sorted(parts))}")
    for name, proportion in sorted(proportions.items()):
        if not (math.isfinite(proportion) and proportion >= 0):
            raise InputError(f"mixing {name!r}: the proportion must be 0 or more, found {proportion}")

    owner: dict[str, str] = {}
    for name, questions in sorted(parts.items()):
        for question in questions:
            if question.id in owner:
                other = owner[question.id]
                raise InputError(f"mixing {name!r}: id {question.id[:200]!r} is also in {other!r}")
            owner[question.id] = name


def _whole_weights(proportions: Sequence[float]) -> list[int]:
    """Return whole numbers in the same proportions, each taken as the decimal that it is written as."""
    exact = [Fraction(str(p)) for p in proportions]
    if not sum(exact):
        raise InputError("mixing: no part has a proportion above 0")
    scale = math.lcm(*(p.denominator for p in exact))
    return [int(p * scale) for p in exact]


def _apportion(weights: Sequence[int], total: int) -> list[int]:
    """Divide by largest remainder (Hamilton's method); of equal remainders the first name's comes first."""
    if total < 1:
        raise InputError(f"mixing: the total must be at least 1, found {total}")
    shares = [divmod(weight * total, sum(weights)) for weight in weights]
    counts = [whole for whole, _ in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: (-shares[i][1], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


def _largest(weights: Sequence[int], sizes: Sequence[int], names: Sequence[str]) -> list[int]:
    """Return the counts of the largest total for which every part is large enough."""
    drawn_from = [part for part in zip(names, weights, sizes, strict=True) if part[1]]
    for name, _, size in drawn_from:
        if not size:
            raise InputError(f"mixing {name!r}: it has no questions, and its proportion is above 0")

    # A count is its exact share rounded down or up, so no larger total fits; from there down to the first that does.
    most = min(((size + 1) * sum(weights) - 1) // weight for _, weight, size in drawn_from)
    total = min(most, sum(sizes))
    counts = _apportion(weights, total)
    while any(count > size for count, size in zip(counts, sizes, strict=True)):
        total -= 1
        counts = _apportion(weights, total)
    return counts
