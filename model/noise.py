"""Random numbers that are counted, not consumed: a key fixes them, whatever else was drawn. Needs no torch."""

import hashlib

import numpy as np


def generator(*key: object) -> np.random.Generator:
    """Return a Philox generator keyed by a hash of the parts of `key` (numbers, strings, tuples of them)."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest)))
