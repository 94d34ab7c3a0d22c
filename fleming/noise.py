"""Order and noise that are counted, not consumed: a key fixes them, so a resumed run has nothing to restore."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np


def generator(*key: object) -> np.random.Generator:
    """Return a Philox generator keyed by a hash of the parts of `key` (numbers, strings, tuples of them)."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest)))


@lru_cache(maxsize=8)
def permutation(size: int, seed: int, key: str) -> np.ndarray:
    """Return a permutation of 0 .. size - 1 fixed by (seed, key)."""
    return generator(seed, key).permutation(size)


def walk(pool: Sequence[int], place: int, seed: int, name: str) -> int:
    """Return the pool's element at `place` (from 0) of an endless walk, each lap in a fresh order of its own."""
    lap, offset = divmod(place, len(pool))
    return pool[permutation(len(pool), seed, f"{name} {lap}")[offset]]
