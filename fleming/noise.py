"""Order that is counted, not consumed: a key fixes it, so a resumed run has nothing to restore.

Left out: the noise itself, which the sampler's draws share (model/drawing.py).
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from model.drawing import generator

__all__ = ["generator", "permutation", "walk"]


@lru_cache(maxsize=8)
def permutation(size: int, seed: int, key: str) -> np.ndarray:
    """Return a permutation of 0 .. size - 1 fixed by (seed, key)."""
    return generator(seed, key).permutation(size)


def walk(pool: Sequence[int], place: int, seed: int, name: str) -> int:
    """Return the pool's element at `place` (from 0) of an endless walk, each lap in a fresh order of its own."""
    lap, offset = divmod(place, len(pool))
    return pool[permutation(len(pool), seed, f"{name} {lap}")[offset]]
