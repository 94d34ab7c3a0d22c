"""Removal of exact and near duplicates from a set of questions (paper, 3.1, refine). The first in order stays.

- exact: same stem and context (text.stem_key), marks, options in any order, and gold
- near: Jaccard similarity of the SHINGLE-word shingles of context and stem at least SIMILAR, the same marks (numbers,
  comparators, negations: text.marks) and gold, and all options but one the same

Candidates are found by MinHash and banding (Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4)
and each is verified exactly: what is rejected is a duplicate; one that is as similar as SIMILAR is missed with a
probability of 1 % ((1 - s^ROWS)^BANDS), a more similar one with less. Left out: questions in other words, which share
no shingles; one question in two languages.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np

from fleming.noise import generator
from fleming.records import Question
from fleming.text import marks, option_key, stem_key, words

SHINGLE = 3  # words; Chinese characters
SIMILAR = 0.7
BANDS, ROWS = 16, 4
CHUNK = 256  # questions whose shingles are hashed at once
MOST_COMPARED = 50  # questions of a bucket that one is compared with: bounds the time on a template's thousands


def _text(question: Question) -> str:
    return f"{question.context or ''}\n{question.question}"


def shingles(text: str) -> set[tuple[str, ...]]:
    """Return the runs of SHINGLE words of a text; a shorter text is one."""
    found = words(text)
    return {tuple(found[i : i + SHINGLE]) for i in range(max(1, len(found) - SHINGLE + 1))}


def jaccard(a: set, b: set) -> float:
    """Return the size of the intersection over that of the union."""
    return len(a & b) / max(1, len(a | b))


@lru_cache(maxsize=1 << 17)
def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def signatures(texts: Sequence[str]) -> np.ndarray:
    """Return the MinHash signatures [texts, BANDS * ROWS] uint32; two agree in a column as often as their Jaccard says.

    Multiply-shift hashing (Dietzfelbinger et al. 1997) of the shingles' 64-bit hashes.
    """
    factors = generator("minhash").integers(1 << 64, size=(2, BANDS * ROWS, 1), dtype=np.uint64)
    factor, offset = factors[0] | np.uint64(1), factors[1]
    minima = np.empty((len(texts), BANDS * ROWS), np.uint32)
    for begin in range(0, len(texts), CHUNK):
        found = [words(text) for text in texts[begin : begin + CHUNK]]
        found = [each + [""] * (SHINGLE - len(each)) for each in found]
        numbers = np.array([_number(word) for each in found for word in each], np.uint64)
        sizes = np.array([len(each) - SHINGLE + 1 for each in found])
        starts = np.cumsum(sizes) - sizes
        first = np.arange(sizes.sum()) + np.repeat(np.arange(len(found)) * (SHINGLE - 1), sizes)
        hashed = numbers[first]
        for i in range(1, SHINGLE):
            hashed = hashed * np.uint64(0x9E3779B97F4A7C15) + numbers[first + i]
        for i in range(BANDS * ROWS):
            mixed = (hashed * factor[i] + offset[i]) >> np.uint64(32)
            minima[begin : begin + CHUNK, i] = np.minimum.reduceat(mixed, starts)
    return minima


def _buckets(questions: Sequence[Question], same: Sequence[tuple]) -> Iterator[tuple[int, list[int]]]:
    """Yield (question, the buckets that it shares with another), in order; a bucket has one band and one `same`."""
    salt = np.array([_number(repr(key)) for key in same], np.uint64)
    bands = signatures([_text(q) for q in questions]).reshape(len(questions), BANDS, ROWS)
    keys = np.repeat(salt[:, None], BANDS, axis=1) + np.arange(BANDS, dtype=np.uint64)
    for row in range(ROWS):
        keys = (keys ^ bands[:, :, row]) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    _, which, count = np.unique(keys, return_inverse=True, return_counts=True)
    which = which.reshape(keys.shape)
    for i, shared in enumerate(count[which] > 1):
        yield i, which[i][shared].tolist()


def drop_duplicates(questions: Sequence[Question]) -> tuple[list[Question], list[dict[str, Any]]]:
    """Return the questions that stay, and of each other one its code, the id of the one that stays, and the question.

    code: exact_duplicate or near_duplicate, with the similarity.
    """
    options = [frozenset(map(option_key, q.options.values())) for q in questions]
    same = [(option_key(q.options[q.answer]), *marks(_text(q))) for q in questions]
    exact: dict[tuple, int] = {}
    in_bucket: dict[int, list[int]] = {}
    kept, rejected = [], []
    for i, buckets in _buckets(questions, same):
        q = questions[i]

        def reject(code: str, first: int, similarity: float, q: Question = q) -> None:
            of = {"code": code, "duplicate_of": questions[first].id, "similarity": round(similarity, 4)}
            rejected.append({**of, "question": asdict(q)})

        key = (stem_key(_text(q)), same[i], options[i])
        if (first := exact.setdefault(key, i)) != i:
            reject("exact_duplicate", first, 1.0)
            continue
        ours, near = None, None
        for j in sorted({j for bucket in buckets for j in in_bucket.get(bucket, ())}):
            if same[i] != same[j] or len(options[i] & options[j]) < max(len(options[i]), len(options[j])) - 1:
                continue
            ours = ours or shingles(_text(q))
            if (similarity := jaccard(ours, shingles(_text(questions[j])))) >= SIMILAR:
                near = (j, similarity)
                break
        if near:
            exact[key] = near[0]  # what equals this one is told the one that stays
            reject("near_duplicate", *near)
            continue
        kept.append(q)
        for bucket in buckets:
            if len(members := in_bucket.setdefault(bucket, [])) < MOST_COMPARED:
                members.append(i)
    return kept, rejected
