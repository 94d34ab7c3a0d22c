"""Which questions a step draws: stage 1's balanced mix, stage 2's mix of the model's own failures (section 3.3).

Drawing is counted, not consumed: a pool is a seeded permutation for each pass over it, and a step knows its place
in it, so a resumed run draws what the uninterrupted one would have. Left out: the switch by plateau.
"""

from collections.abc import Sequence

from fleming.noise import walk
from fleming.records import Question

Pools = dict[str, list[int]]  # name -> indices of questions


def stage1_pools(questions: Sequence[Question], hard: Sequence[str], simple: Sequence[str]) -> Pools:
    """Split by graded difficulty. Questions of neither kind (or ungraded) are in no pool."""
    return {
        "hard": [i for i, q in enumerate(questions) if q.difficulty in hard],
        "simple": [i for i, q in enumerate(questions) if q.difficulty in simple],
    }


def stage2_pools(pass_rates: Sequence[float]) -> Pools:
    """Split by the current model's pass rate on each training question: wrong where most of its samples failed."""
    return {
        "wrong": [i for i, rate in enumerate(pass_rates) if rate < 0.5],
        "right": [i for i, rate in enumerate(pass_rates) if rate >= 0.5],
    }


def shares(mix: dict[str, float], pools: Pools, count: int) -> dict[str, int]:
    """Return how many of `count` come from each pool: proportional to `mix`, largest remainders rounded up.

    The part of an empty pool goes to the others, even to those that were to have none.
    """
    present = {name: part for name, part in mix.items() if pools[name] and part > 0}
    present = present or {name: 1.0 for name in mix if pools[name]}
    exact = {name: count * part / sum(present.values()) for name, part in present.items()}
    taken = {name: int(x) for name, x in exact.items()}
    for name in sorted(exact, key=lambda n: taken[n] - exact[n])[: count - sum(taken.values())]:
        taken[name] += 1
    return taken


def draw(pools: Pools, mix: dict[str, float], count: int, turn: int, seed: int) -> list[int]:
    """Return the `count` question indices of the pools' turn-th draw (from 0), each pool walked without repeats."""
    drawn = []
    for name, n in shares(mix, pools, count).items():
        drawn += [walk(pools[name], turn * n + i, seed, name) for i in range(n)]
    return drawn
