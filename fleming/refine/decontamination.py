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
from fleming.records import Question, Trajectory
from fleming.text import option_key, words

RUN = 8  # words; runs of 13 (GPT-3's) find a third as many of HuatuoGPT-o1's rewritten questions
RUN_SHARE = 0.25  # below it are vital signs and other phrases of the trade
WORDS_SHARE = 0.65
WHOLE = 0.9  # of a stem: what is missing are phrases
ENOUGH, ALONE = 4.0, 8.0  # in words that no other document has; below 4 are the names of diseases
BARE = 2.0  # of a whole stem without options; below it "Which of the following is true?"
MOST = 0.4
COMMON, COMMON_OPTION = 50, 10  # a run or an option that more benchmark questions have is no evidence
RULES = {"run": RUN, "run_share": RUN_SHARE, "words_share": WORDS_SHARE, "whole": WHOLE, "most": MOST}
RULES |= {"enough": ENOUGH, "alone": ALONE, "bare": BARE, "common": COMMON, "common_option": COMMON_OPTION}
BATCH_WORDS = 1 << 17  # looked up at once: bounds the memory
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
    return frozenset(keys.values()), keys[question.answer]


def _texts(record: Record) -> list[str]:
    if isinstance(record, Question):
        return [record.question, record.context or ""]
    if isinstance(record, Trajectory):
        return [*(message["content"] for message in record.prompt), record.response]
    return [record]


class Index:
    """What records are looked up in: the runs of words of the benchmarks' texts, hashed and sorted, and the options."""

    def __init__(self, benchmarks: Mapping[str, Sequence[Question]], data: Iterable[Record] = ()):
        """Index the questions of each benchmark by its name; `data` only adds to the words' document frequencies."""
        self.vocabulary: dict[str, int] = {}  # word -> id from 1; 0 is any other word
        self.items: list[_Item] = []
        self.with_option: dict[str, list[int]] = {}
        self.with_text: list[list[int]] = []  # a text of several questions is there once
        self.is_context: list[bool] = []
        texts: dict[tuple[int, ...], int] = {}
        for name, questions in benchmarks.items():
            for q in questions:
                numbers = []
                for text in (q.question, *([q.context] if q.context else [])):
                    ids = tuple(self.vocabulary.setdefault(w, len(self.vocabulary) + 1) for w in words(text))
                    numbers.append(texts.setdefault(ids, len(texts)))
                    if len(texts) > len(self.with_text):
                        self.with_text.append([])
                        self.is_context.append(len(numbers) == 2)
                    self.with_text[numbers[-1]].append(len(self.items))
                options, gold = _options(q)
                for option in options:
                    self.with_option.setdefault(option, []).append(len(self.items))
                self.items.append(_Item(name, q.id, options, gold, numbers[0]))
        lengths = np.array([len(ids) for ids in texts], np.int64)
        self.ids = np.fromiter((i for ids in texts for i in ids), np.int64, lengths.sum())  # all texts, end to end
        self.end = np.cumsum(lengths)
        self.start = self.end - lengths
        self.run = np.minimum(lengths, RUN)  # a shorter text is one run
        self.weight = self._weigh(texts, data)
        self.before = np.append(0, np.cumsum(self.weight[self.ids]))  # weight of all places before this one
        self._hash_runs()

    def _weigh(self, texts: Iterable[tuple[int, ...]], data: Iterable[Record]) -> np.ndarray:
        counts, documents, seen = np.zeros(len(self.vocabulary) + 1), 0, set()
        for ids in texts:
            counts[list(set(ids))] += 1
            documents += 1
        for record in data:
            known = {self.vocabulary.get(w, 0) for text in _texts(record) for w in words(text)}
            digest = hashlib.blake2b(repr(sorted(known)).encode(), digest_size=8).digest()
            if digest not in seen:  # a leak must not grow light by being there a thousand times
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
            inside = (self.run[text[place]] == length) & (place + length <= self.end[text[place]])
            hashes.append(hashed[inside])
            places.append(place[inside])
        every = np.concatenate(hashes)
        _, which, count = np.unique(every, return_inverse=True, return_counts=True)
        kept = np.flatnonzero(count[which] <= COMMON)
        kept = kept[np.argsort(every[kept], kind="stable")]
        self.hashes, self.places = every[kept], np.concatenate(places)[kept]
        self.maybe = np.zeros(1 << 24, bool)  # by a hash's first 24 bits: most runs of a record are in no benchmark
        self.maybe[self.hashes >> np.uint64(40)] = True

    def _runs(self, ids: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (n, hash of the n words from each place on) for each n that is the length of a run."""
        values = hashed = self.random[ids]
        lengths = set(self.run.tolist())
        for n in range(1, min(RUN, len(ids)) + 1):
            hashed = hashed[:-1] * np.uint64(0x9E3779B97F4A7C15) + values[n - 1 :] if n > 1 else values
            if n in lengths:
                yield n, hashed

    def _shared(self, texts: Sequence[Sequence[str]]) -> Iterator[tuple[int, int, float]]:
        """Yield (number in `texts`, benchmark text, weight of that text's places which shared runs cover)."""
        ids = np.fromiter((i for text in texts for i in (*(self.vocabulary.get(w, 0) for w in text), 0)), np.int64)
        text_at = np.repeat(np.arange(len(texts)), [len(text) + 1 for text in texts])
        found = [np.zeros(0, np.int64)]
        for _, hashed in self._runs(ids):
            at = np.flatnonzero(self.maybe[hashed >> np.uint64(40)])
            low, high = (np.searchsorted(self.hashes, hashed[at], side) for side in ("left", "right"))
            count = high - low
            each = np.repeat(low, count) + np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            found.append(np.repeat(text_at[at], count) * len(self.ids) + self.places[each])
        if not sum(map(len, found)):
            return
        ours, place = np.divmod(np.unique(np.concatenate(found)), len(self.ids))
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
        known = {self.vocabulary[w] for w in ours if w in self.vocabulary}
        common, all_of_theirs, all_of_ours = (
            float(self.weight[list(ids)].sum()) for ids in (theirs & known, theirs, known)
        )
        others = len({w for w in ours if w not in self.vocabulary})
        return common / max(all_of_theirs, 1e-9), common / max(all_of_ours + others, 1e-9)

    def _judge(self, record: Record, ours: Sequence[str], text: int, weight: float) -> Match | None:
        whole = self.before[self.end[text]] - self.before[self.start[text]]
        if weight < RUN_SHARE * whole or not weight:
            return None
        share, items = float(weight / whole), [self.items[i] for i in self.with_text[text]]
        if share >= WHOLE and not self.is_context[text]:
            options, gold = _options(record) if isinstance(record, Question) else (frozenset(), None)
            padded = f" {' '.join(ours)} "
            for item in items:
                same = sum(option in options or f" {option} " in padded for option in item.options)
                if item.gold == gold or 2 * same >= len(item.options):
                    return Match(item.benchmark, item.id, "stem", share)
        # A question with other options is another question; a text that asks the same without any is not.
        enough = ENOUGH if share < WHOLE or isinstance(record, Question) else BARE
        there, here = self._common(text, ours)
        if there < WORDS_SHARE or (weight < ALONE and (weight < enough or here < MOST)):
            return None
        rule = "context" if self.is_context[text] else "stem" if share >= WHOLE else "ngrams"
        return Match(items[0].benchmark, items[0].id, rule, share)

    def _by_options(self, question: Question, ours: Sequence[str]) -> Iterator[Match]:
        options, gold = _options(question)
        postings = [self.with_option.get(option, []) for option in options]
        counts = Counter(i for numbers in postings if len(numbers) <= COMMON_OPTION for i in numbers)
        for item, telling in sorted((i, n) for i, n in counts.items()):
            item = self.items[item]
            all_but_one = max(len(options), len(item.options)) - 1
            if gold == item.gold and telling >= 2 and len(options & item.options) >= all_but_one:
                there, here = self._common(item.stem, ours)
                if min(there, here) >= 0.5:
                    yield Match(item.benchmark, item.id, "options", there)

    def _batch(self, batch: Sequence[tuple[Record, list[list[str]]]]) -> Iterator[Match | None]:
        found: list[list[Match | None]] = [[] for _ in batch]
        record_of = [number for number, (_, texts) in enumerate(batch) for _ in texts]
        flat = [text for _, texts in batch for text in texts]
        for ours, theirs, weight in self._shared(flat):
            number = record_of[ours]
            found[number].append(self._judge(batch[number][0], flat[ours], theirs, weight))
        for (record, texts), matches in zip(batch, found, strict=True):
            if isinstance(record, Question):
                matches += self._by_options(record, texts[0])
            yield max(filter(None, matches), key=lambda match: match.score, default=None)

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
            leaked.append({"code": "contaminated", **asdict(match), "question": asdict(question)})
    return kept, leaked
