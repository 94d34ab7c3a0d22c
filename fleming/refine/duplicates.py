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
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from functools import lru_cache
from typing import Any

import numpy as np

from fleming.noise import generator
from fleming.records import Question, to_json
from fleming.text import marks, option_key, stem_key, words

SHINGLE = 3  # words; Chinese characters
SIMILAR = 0.7
BANDS, ROWS = 16, 4
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: an odd factor that mixes a hash's bits
CHUNK = 256  # questions whose shingles are hashed at once
MOST_COMPARED = 50  # questions of a bucket that one is compared with: a template has thousands


def _text(question: Question) -> str:
    return f"{question.context or ''}\n{question.question}"


def shingles(text: str) -> set[tuple[str, ...]]:
    """Return the runs of SHINGLE words of a text; a shorter text is one."""
    found = words(text)
    return {tuple(found[i : i + SHINGLE]) for i in range(max(1, len(found) - SHINGLE + 1))}


def jaccard(a: Set, b: Set) -> float:
    """Return the size of the intersection over that of the union."""
    return len(a & b) / max(1, len(a | b))


@lru_cache(maxsize=1 << 17)
def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def signatures(texts: Sequence[str]) -> np.ndarray:
    """Return the MinHash signatures [texts, BANDS * ROWS] uint32; two agree in a column as often as their Jaccard says.

    Multiply-shift hashing (Dietzfelbinger et al. 1997) of the shingles' 64-bit hashes.
    """
    columns = BANDS * ROWS
    factors, offsets = generator("minhash").integers(1 << 64, size=(2, columns, 1), dtype=np.uint64)
    factors |= np.uint64(1)
    minima = np.empty((len(texts), columns), np.uint32)
    for begin in range(0, len(texts), CHUNK):
        chunk = slice(begin, begin + CHUNK)
        hashes, starts = _shingle_hashes(texts[chunk])
        for column in range(columns):
            mixed = (hashes * factors[column] + offsets[column]) >> np.uint64(32)
            minima[chunk, column] = np.minimum.reduceat(mixed, starts)
    return minima


def _shingle_hashes(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the hash of each shingle of all texts, end to end, and where each text's begin."""
    numbers, sizes = [], []
    for text in texts:
        found = words(text)
        found += [""] * (SHINGLE - len(found))
        numbers += map(_number, found)
        sizes.append(len(found) - SHINGLE + 1)
    numbers, sizes = np.array(numbers, np.uint64), np.array(sizes)

    starts = np.cumsum(sizes) - sizes
    lost = np.arange(len(texts)) * (SHINGLE - 1)  # no shingle begins with the last words of the texts before
    first = np.arange(sizes.sum()) + np.repeat(lost, sizes)
    hashes = numbers[first]
    for i in range(1, SHINGLE):
        hashes = hashes * GOLDEN + numbers[first + i]
    return hashes, starts


def _buckets(questions: Sequence[Question], same: Sequence[tuple]) -> list[list[int]]:
    """Return the buckets that each question shares with another; a bucket has one band and one `same`."""
    bands = signatures([_text(q) for q in questions]).reshape(len(questions), BANDS, ROWS)
    salt = np.array([_number(repr(key)) for key in same], np.uint64)
    keys = salt[:, None] + np.arange(BANDS, dtype=np.uint64)
    for row in range(ROWS):
        keys = (keys ^ bands[:, :, row]) * GOLDEN
        keys ^= keys >> np.uint64(29)
    _, which, count = np.unique(keys, return_inverse=True, return_counts=True)
    which = which.reshape(keys.shape)
    is_shared = count[which] > 1
    return [buckets[shared].tolist() for buckets, shared in zip(which, is_shared, strict=True)]


def drop_duplicates(questions: Sequence[Question]) -> tuple[list[Question], list[dict[str, Any]]]:
    """Return the questions that stay, and of each other one its code, the id of the one that stays, and the question.

    code: exact_duplicate or near_duplicate, with the similarity.
    """
    options = [frozenset(map(option_key, q.options.values())) for q in questions]
    same = [(option_key(q.right_text), *marks(_text(q))) for q in questions]

    def near(i: int, candidates: Iterable[int]) -> tuple[int, float] | None:
        """Return the first candidate that question i is a near duplicate of, and their similarity."""
        ours = None
        for j in candidates:
            all_but_one = max(len(options[i]), len(options[j])) - 1
            if same[i] != same[j] or len(options[i] & options[j]) < all_but_one:
                continue
            ours = ours or shingles(_text(questions[i]))
            similarity = jaccard(ours, shingles(_text(questions[j])))
            if similarity >= SIMILAR:
                return j, similarity
        return None

    first_of: dict[tuple, int] = {}  # what makes an exact duplicate -> the question that stays
    in_bucket: dict[int, list[int]] = defaultdict(list)
    kept, rejected = [], []
    for i, buckets in enumerate(_buckets(questions, same)):
        question = questions[i]
        key = (stem_key(_text(question)), same[i], options[i])
        if key in first_of:
            code, found = "exact_duplicate", (first_of[key], 1.0)
        else:
            candidates = {j for bucket in buckets for j in in_bucket[bucket]}
            code, found = "near_duplicate", near(i, sorted(candidates))
        if found is None:
            first_of[key] = i
            kept.append(question)
            for bucket in buckets:
                if len(in_bucket[bucket]) < MOST_COMPARED:
                    in_bucket[bucket].append(i)
            continue

        first, similarity = found
        first_of[key] = first  # what equals this one is told the one that stays
        of = {"code": code, "duplicate_of": questions[first].id, "similarity": round(similarity, 4)}
        rejected.append({**of, "question": to_json(question)})
    return kept, rejected
