"""Pools of questions, how many of each a step draws, and whose turn it is (section 3.3, Fig. 2).

Left out: who is in stage 2's pools (curriculum.py), which its rounds of mining say.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from fleming.noise import generator
from fleming.records import DIFFICULTIES, Question
from fleming.settings.training import CurriculumConfig
from model.errors import InputError

Pools = dict[str, list[int]]  # name -> places of questions


def stage1_pools(questions: Sequence[Question], cfg: CurriculumConfig) -> Pools:
    """Split by graded difficulty; where nobody has graded any question, they are one pool.

    Raises InputError where questions are graded, but none as hard or simple.
    """
    if not any(q.difficulty for q in questions):
        return {"ungraded": list(range(len(questions)))}
    pools = {
        "hard": [i for i, q in enumerate(questions) if q.difficulty in cfg.hard],
        "simple": [i for i, q in enumerate(questions) if q.difficulty in cfg.simple],
    }
    if not any(pools.values()):
        found = sorted({q.difficulty for q in questions if q.difficulty}, key=DIFFICULTIES.index)
        raise InputError(
            f"stage 1 has nothing to draw: of {len(questions)} training questions those that are graded are "
            f"{', '.join(found)}; name one of these in grpo.curriculum.hard or simple, or set grpo.stage1.max_steps=0"
        )
    return pools


def shares(mix: Mapping[str, float], sizes: Mapping[str, int], count: int, step: int) -> dict[str, int]:
    """Return how many of the `count` questions of a stage's step (from 0) come from each pool of these sizes.

    By the parts of `mix` ({}: by size), exactly over steps: 64 in parts of 2 : 1 are 42 : 22, then 43 : 21 twice. No
    pool gives more than it has; what it lacks the others give, even those that were to give none.
    """
    parts = {name: (mix or sizes).get(name, 1) for name in sizes}
    total, before, drawn, wanted = sum(parts.values()), 0.0, 0, {}
    for name, part in parts.items():
        before += part
        upto = [int(count * n * before / total + 1e-9) for n in (step, step + 1)]
        wanted[name] = upto[1] - upto[0] - drawn
        drawn += wanted[name]
    taken = {name: min(n, sizes[name]) for name, n in wanted.items()}
    for name in taken:
        taken[name] += min(count - sum(taken.values()), sizes[name] - taken[name])
    return taken


@lru_cache(maxsize=64)
def lots(size: int, seed: int, key: str) -> np.ndarray:
    """Return `size` uniforms in [0, 1) fixed by (seed, key)."""
    return generator(seed, key).random(size)
