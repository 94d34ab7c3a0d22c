"""The runs of words that texts share with indexed ones, each word weighed by how rare it is.

Every run of RUN words of the indexed texts is hashed and sorted; a text's runs are looked up in one go. Left out: what
a text is of, and what follows from what is shared (decontamination.py).
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from fleming.noise import generator
from fleming.refine.duplicates import GOLDEN

RUN = 8  # words; runs of 13 (GPT-3's) find a third as many of HuatuoGPT-o1's rewritten questions
COMMON = 50  # a run that more places have is no evidence
CHARACTER = 0.5  # of a word's weight is a Chinese character's
FIRST_BITS = np.uint64(40)  # shifted out, they leave the first 24


class RunIndex:
    """Distinct texts, by their numbers.

    Arrays with a value for each place hold all texts, end to end: `ids`, and `before`, the weight up to there.
    """

    def __init__(self, texts: Sequence[Sequence[str]], documents: Iterable[set[str]] = ()):
        """Index the texts, given as words; `documents` only add to the words' document frequencies."""
        self.vocabulary: dict[str, int] = {}  # word -> id from 1; 0 is any other word
        known = self.vocabulary
        numbered = [[known.setdefault(word, len(known) + 1) for word in text] for text in texts]
        lengths = np.array([len(ids) for ids in numbered], np.int64)
        self.ids = np.fromiter((i for ids in numbered for i in ids), np.int64, lengths.sum())
        self.end = np.cumsum(lengths)
        self.start = self.end - lengths
        self.run = np.minimum(lengths, RUN)  # a shorter text is one run
        self.weight = self._weigh(numbered, documents)
        self.before = np.append(0, np.cumsum(self.weight[self.ids]))
        self._hash_runs()

    def weight_of(self, text: int) -> float:
        """Return the weight of a whole text."""
        return float(self.before[self.end[text]] - self.before[self.start[text]])

    def _weigh(self, texts: Iterable[Sequence[int]], others: Iterable[set[str]]) -> np.ndarray:
        """Return each word's weight, by its id."""
        counts = np.zeros(len(self.vocabulary) + 1)
        documents = 0
        for ids in texts:
            counts[list(set(ids))] += 1
            documents += 1

        seen = set()
        for words in others:
            known = {self.vocabulary.get(word, 0) for word in words}
            digest = hashlib.blake2b(repr(sorted(known)).encode(), digest_size=8).digest()
            if digest in seen:  # a leak must not grow light by being there a thousand times
                continue
            seen.add(digest)
            counts[list(known)] += 1
            documents += 1
        weight = np.log((documents + 1) / np.maximum(counts, 1)) / np.log(max(documents, 1) + 1)
        words = self.vocabulary.items()
        characters = [number for word, number in words if len(word) == 1 and word > "\u3000"]
        weight[characters] *= CHARACTER
        return weight

    def _hash_runs(self) -> None:
        self.random = generator("decontamination").integers(1 << 64, size=len(self.weight), dtype=np.uint64)
        text = np.repeat(np.arange(len(self.run)), self.end - self.start)
        hashes, places = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for length, hashed in self._runs(self.ids):
            place = np.arange(len(hashed))
            here = text[place]
            inside = (self.run[here] == length) & (place + length <= self.end[here])
            hashes.append(hashed[inside])
            places.append(place[inside])

        all_hashes, all_places = np.concatenate(hashes), np.concatenate(places)
        _, which, count = np.unique(all_hashes, return_inverse=True, return_counts=True)
        kept = np.flatnonzero(count[which] <= COMMON)
        kept = kept[np.argsort(all_hashes[kept], kind="stable")]
        self.hashes, self.places = all_hashes[kept], all_places[kept]
        # By a hash's first 24 bits: most runs of a record are in no benchmark.
        self.maybe = np.zeros(1 << 24, bool)
        self.maybe[self.hashes >> FIRST_BITS] = True

    def _runs(self, ids: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (n, hash of the n words from each place on) for each n that is the length of a run."""
        values = hashed = self.random[ids]
        lengths = set(self.run.tolist())
        for n in range(1, min(RUN, len(ids)) + 1):
            if n > 1:
                hashed = hashed[:-1] * GOLDEN + values[n - 1 :]
            if n in lengths:
                yield n, hashed

    def shared(self, texts: Sequence[Sequence[str]]) -> Iterator[tuple[int, int, float]]:
        """Yield (number in `texts`, benchmark text, weight of its places that shared runs cover)."""
        ids = []
        for text in texts:
            ids += [self.vocabulary.get(word, 0) for word in text]
            ids.append(0)  # no run goes over a text's end
        text_at = np.repeat(np.arange(len(texts)), [len(text) + 1 for text in texts])

        found = [np.zeros(0, np.int64)]  # our text and the run's place in theirs, as one number
        for _, hashed in self._runs(np.array(ids, np.int64)):
            at = np.flatnonzero(self.maybe[hashed >> FIRST_BITS])
            low = np.searchsorted(self.hashes, hashed[at], "left")
            count = np.searchsorted(self.hashes, hashed[at], "right") - low
            first = np.cumsum(count) - count
            # low .. low + count - 1, for every run.
            each = np.arange(count.sum()) + np.repeat(low - first, count)
            found.append(np.repeat(text_at[at], count) * len(self.ids) + self.places[each])
        pairs = np.unique(np.concatenate(found))
        if not len(pairs):
            return

        ours, place = np.divmod(pairs, len(self.ids))
        theirs = np.searchsorted(self.start, place, "right") - 1
        end = place + self.run[theirs]
        same = (ours[1:] == ours[:-1]) & (theirs[1:] == theirs[:-1])
        end[:-1][same] = np.minimum(end[:-1], place[1:])[same]  # where runs overlap a place counts once
        first = np.flatnonzero(np.append(True, ~same))
        weight = np.add.reduceat(self.before[end] - self.before[place], first)
        columns = ours[first], theirs[first], weight
        yield from zip(*(column.tolist() for column in columns), strict=True)

    def longest(self, text: int, ours: Sequence[str]) -> float:
        """Return the weight of the heaviest run that both have word for word, common phrases within it too."""
        ids = np.array([self.vocabulary.get(word, 0) for word in ours])
        here, heaviest = np.zeros(len(ids) + 1), 0.0  # of the run that ends before each of our words
        for word in self.ids[self.start[text] : self.end[text]]:
            here[1:] = np.where(ids == word, here[:-1] + self.weight[word], 0)
            heaviest = max(heaviest, float(here.max()))
        return heaviest

    def common(self, text: int, ours: Sequence[str]) -> tuple[float, float]:
        """Return the share of the benchmark text's weight that both have, and of ours; each word once, in any order."""
        theirs = set(self.ids[self.start[text] : self.end[text]].tolist())
        known = {self.vocabulary[word] for word in ours if word in self.vocabulary}
        unknown = {word for word in ours if word not in self.vocabulary}
        common = self._sum(theirs & known)
        of_theirs = common / max(self._sum(theirs), 1e-9)
        of_ours = common / max(self._sum(known) + len(unknown), 1e-9)
        return of_theirs, of_ours

    def _sum(self, ids: set[int]) -> float:
        return float(self.weight[list(ids)].sum())
