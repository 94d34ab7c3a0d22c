"""Order that is counted, not consumed: a key fixes it, so a resumed run has nothing to restore.

Left out: the noise itself, which the sampler's draws share (model/drawing.py).
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from model.noise import generator

__all__ = ["generator", "permutation", "shuffled"]


@lru_cache(maxsize=8)
def permutation(size: int, seed: int, key: str) -> np.ndarray:
    """Return a permutation of 0 .. size - 1 fixed by (seed, key)."""
    return generator(seed, key).permutation(size)


def shuffled(pool: Sequence[int], place: int, seed: int, name: str) -> int:
    """Return the pool's element at `place` (from 0) of endless epochs, each in a fresh order of its own."""
    epoch, offset = divmod(place, len(pool))
    return pool[permutation(len(pool), seed, f"{name} {epoch}")[offset]]
