"""Decontamination as a gate (paper, 3.1): no benchmark question stands in what a model learns from.

A record leaks a benchmark question by one of four rules. All compare folded words (text.py; a Chinese character is a
word), and each text of a record by itself (stem, context, each message of a trajectory):

- ngrams: runs of RUN words in common carry RUN_SHARE of the benchmark stem's weight, and WORDS_SHARE of it is there in
  any order; the runs weigh ALONE, or weigh ENOUGH (a whole stem without options: BARE) and the stem is MOST of the text
- stem: a whole stem, however short or common, and the gold or half of the options too
- options: all options but one in any order, the same gold, and half of either stem's weight in any order
- context: as ngrams, of what is read before the stem (PubMedQA's abstracts)

A word's weight is its inverse document frequency over benchmarks and data: 1 for a word of one document, 0 for a word
of all, so that "which of the following is the most appropriate next step in management" weighs next to nothing.

Left out: translations, and rewrites that keep neither a run of words nor the options; which files are looked at, and
what follows from a leak (gate.py, which is the command).
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fleming.noise import generator
from fleming.records import Question, Trajectory, to_json
from fleming.refine.duplicates import GOLDEN
from fleming.text import option_key, words

RUN = 8  # words; runs of 13 (GPT-3's) find a third as many of HuatuoGPT-o1's rewritten questions
RUN_SHARE = 0.25  # below it are vital signs and other phrases of the trade
WORDS_SHARE = 0.65
WHOLE = 0.9  # of a stem: what is missing are phrases
ENOUGH, ALONE = 4.0, 8.0  # in words that no other document has; below 4 are the names of diseases
BARE = 2.0  # of a whole stem without options; below it "Which of the following is true?"
MOST = 0.4
COMMON, COMMON_OPTION = 50, 10  # a run or an option that more benchmark questions have is no evidence
RULES = {
    "run": RUN,
    "run_share": RUN_SHARE,
    "words_share": WORDS_SHARE,
    "whole": WHOLE,
    "most": MOST,
    "enough": ENOUGH,
    "alone": ALONE,
    "bare": BARE,
    "common": COMMON,
    "common_option": COMMON_OPTION,
}
BATCH_WORDS = 1 << 17  # looked up at once: bounds the memory
FIRST_BITS = np.uint64(40)  # shifted out, they leave the first 24
Record = Question | Trajectory | str


@dataclass(frozen=True)
class Match:
    """The benchmark question that a record leaks."""

    benchmark: str
    """The benchmark's name."""
    benchmark_id: str
    """The question's id in it."""
    rule: str
    """ngrams, stem, options or context."""
    score: float
    """The share of the benchmark text's weight that the record has: in runs; for the rule options, in words."""


@dataclass(frozen=True)
class _Item:
    benchmark: str
    id: str
    options: frozenset[str]
    gold: str
    stem: int  # number of its text


def _options(question: Question) -> tuple[frozenset[str], str]:
    """Return the options and the gold without punctuation, which must not hide a leak, except where that is all."""
    keys = {letter: " ".join(words(text)) or option_key(text) for letter, text in question.options.items()}
    return frozenset(keys.values()), keys.get(question.answer, " ".join(words(question.answer)))


def _texts(record: Record) -> list[str]:
    if isinstance(record, Question):
        return [record.question, record.context or ""]
    if isinstance(record, Trajectory):
        return [*(message["content"] for message in record.prompt), record.response]
    return [record]


class Index:
    """What records are looked up in: the runs of words of the benchmarks' texts, hashed and sorted, and the options.

    Arrays with a value for each place hold all texts, end to end: `ids`, and `before`, the weight up to there.
    """

    def __init__(self, benchmarks: Mapping[str, Sequence[Question]], data: Iterable[Record] = ()):
        """Index the questions of each benchmark by its name; `data` only adds to the words' document frequencies."""
        self.vocabulary: dict[str, int] = {}  # word -> id from 1; 0 is any other word
        self.items: list[_Item] = []
        self.with_option: dict[str, list[int]] = {}  # option -> numbers of items
        self.with_text: list[
            list[int]
        ] = []  # number of a text -> of items: one of several questions is there once
        self.is_context: list[bool] = []
        texts: dict[tuple[int, ...], int] = {}
        for name, questions in benchmarks.items():
            for question in questions:
                self._add(name, question, texts)

        lengths = np.array([len(ids) for ids in texts], np.int64)
        self.ids = np.fromiter((i for ids in texts for i in ids), np.int64, lengths.sum())
        self.end = np.cumsum(lengths)
        self.start = self.end - lengths
        self.run = np.minimum(lengths, RUN)  # a shorter text is one run
        self.weight = self._weigh(texts, data)
        self.before = np.append(0, np.cumsum(self.weight[self.ids]))
        self._hash_runs()

    def _add(self, benchmark: str, question: Question, texts: dict[tuple[int, ...], int]) -> None:
        item = len(self.items)
        stem = self._add_text(question.question, item, False, texts)
        if question.context:
            self._add_text(question.context, item, True, texts)
        options, gold = _options(question)
        for option in options:
            self.with_option.setdefault(option, []).append(item)
        self.items.append(_Item(benchmark, question.id, options, gold, stem))

    def _add_text(self, text: str, item: int, is_context: bool, texts: dict[tuple[int, ...], int]) -> int:
        ids = tuple(self.vocabulary.setdefault(word, len(self.vocabulary) + 1) for word in words(text))
        number = texts.setdefault(ids, len(texts))
        if number == len(self.with_text):
            self.with_text.append([])
            self.is_context.append(is_context)
        self.with_text[number].append(item)
        return number

    def _weigh(self, texts: Iterable[tuple[int, ...]], data: Iterable[Record]) -> np.ndarray:
        """Return each word's weight, by its id."""
        counts = np.zeros(len(self.vocabulary) + 1)
        documents = 0
        for ids in texts:
            counts[list(set(ids))] += 1
            documents += 1

        seen = set()
        for record in data:
            known = {self.vocabulary.get(word, 0) for text in _texts(record) for word in words(text)}
            digest = hashlib.blake2b(repr(sorted(known)).encode(), digest_size=8).digest()
            if digest in seen:  # a leak must not grow light by being there a thousand times
                continue
            seen.add(digest)
            counts[list(known)] += 1
            documents += 1
        return np.log((documents + 1) / np.maximum(counts, 1)) / np.log(max(documents, 1) + 1)

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

    def _shared(self, texts: Sequence[Sequence[str]]) -> Iterator[tuple[int, int, float]]:
        """Yield (number in `texts`, benchmark text, weight of that text's places which shared runs cover)."""
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
        yield from zip(ours[first].tolist(), theirs[first].tolist(), weight.tolist(), strict=True)

    def _common(self, text: int, ours: Sequence[str]) -> tuple[float, float]:
        """Return the share of the benchmark text's weight that both have, and of ours; each word once, in any order."""
        theirs = set(self.ids[self.start[text] : self.end[text]].tolist())
        known = {self.vocabulary[word] for word in ours if word in self.vocabulary}
        unknown = {word for word in ours if word not in self.vocabulary}
        common = self._weight_of(theirs & known)
        of_theirs = common / max(self._weight_of(theirs), 1e-9)
        of_ours = common / max(self._weight_of(known) + len(unknown), 1e-9)
        return of_theirs, of_ours

    def _weight_of(self, ids: set[int]) -> float:
        return float(self.weight[list(ids)].sum())

    def _judge(self, record: Record, ours: Sequence[str], text: int, weight: float) -> Match | None:
        """Return the leak of a benchmark's text of which shared runs carry so much weight, None where it is none."""
        whole = self.before[self.end[text]] - self.before[self.start[text]]
        if weight < RUN_SHARE * whole or not weight:
            return None
        share = float(weight / whole)
        items = [self.items[i] for i in self.with_text[text]]
        is_context, is_whole = self.is_context[text], share >= WHOLE

        if is_whole and not is_context:
            options, gold = _options(record) if isinstance(record, Question) else (frozenset(), None)
            padded = f" {' '.join(ours)} "
            for item in items:
                same = sum(option in options or f" {option} " in padded for option in item.options)
                if item.gold == gold or 2 * same >= len(item.options):
                    return Match(item.benchmark, item.id, "stem", share)

        # A question with other options is another question; a text that asks the same without any is not.
        enough = BARE if is_whole and not isinstance(record, Question) else ENOUGH
        of_theirs, of_ours = self._common(text, ours)
        is_evidence = weight >= ALONE or (weight >= enough and of_ours >= MOST)
        if of_theirs < WORDS_SHARE or not is_evidence:
            return None
        rule = "stem" if is_whole else "ngrams"
        return Match(items[0].benchmark, items[0].id, "context" if is_context else rule, share)

    def _by_options(self, question: Question, ours: Sequence[str]) -> Iterator[Match]:
        options, gold = _options(question)
        rare_in_common: Counter[int] = Counter()
        for option in options:
            items = self.with_option.get(option, [])
            if len(items) <= COMMON_OPTION:
                rare_in_common.update(items)

        for number, rare in sorted(rare_in_common.items()):
            item = self.items[number]
            all_but_one = max(len(options), len(item.options)) - 1
            if gold != item.gold or rare < 2 or len(options & item.options) < all_but_one:
                continue
            of_theirs, of_ours = self._common(item.stem, ours)
            if min(of_theirs, of_ours) >= 0.5:
                yield Match(item.benchmark, item.id, "options", of_theirs)

    def _batch(self, batch: Sequence[tuple[Record, list[list[str]]]]) -> Iterator[Match | None]:
        """Yield the likest match of each (record, words of its texts)."""
        found: list[list[Match]] = [[] for _ in batch]
        record_of = [number for number, (_, texts) in enumerate(batch) for _ in texts]
        flat = [text for _, texts in batch for text in texts]
        for ours, theirs, weight in self._shared(flat):
            number = record_of[ours]
            match = self._judge(batch[number][0], flat[ours], theirs, weight)
            if match:
                found[number].append(match)

        for (record, texts), matches in zip(batch, found, strict=True):
            if isinstance(record, Question):
                matches += self._by_options(record, texts[0])
            yield max(matches, key=lambda match: match.score, default=None)

    def leaks(self, records: Iterable[Record]) -> Iterator[Match | None]:
        """Yield for each record the benchmark question that it leaks, the likest of several, or None."""
        batch, size = [], 0
        for record in records:
            texts = [words(text) for text in _texts(record)]
            batch.append((record, texts))
            size += sum(map(len, texts))
            if size >= BATCH_WORDS:
                yield from self._batch(batch)
                batch, size = [], 0
        yield from self._batch(batch)


def find_leak(record: Record, index: Index) -> Match | None:
    """Return the benchmark question that a question, a trajectory or a text leaks, or None; see the module's rules."""
    return next(index.leaks([record]))


def decontaminate(questions: Sequence[Question], index: Index) -> tuple[list[Question], list[dict[str, Any]]]:
    """Return the questions that leak nothing, and a record of each other one: code, match, and the question."""
    kept, leaked = [], []
    for question, match in zip(questions, index.leaks(questions), strict=True):
        if match is None:
            kept.append(question)
        else:
            leaked.append({"code": "contaminated", **asdict(match), "question": to_json(question)})
    return kept, leaked
