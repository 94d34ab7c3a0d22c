"""Decontamination as a gate (paper, 3.1): no benchmark question stands in what a model learns from.

A record leaks a benchmark question by one of four rules. All compare words without disguise (disguises.py; a Chinese
character is a word), and each text of a record by itself (stem, context, each message of a trajectory):

- ngrams: runs of RUN words in common carry RUN_SHARE of the benchmark stem's weight, and WORDS_SHARE of it is there in
  any order; the runs weigh ALONE, or weigh ENOUGH (a whole stem without options: BARE), the stem is MOST of the text,
  and the answer is alike. Or half of the options and the gold are there too; or one run word for word weighs LONG and
  LONG_SHARE of the stem, or VERBATIM
- stem: a whole stem, however short or common, and the gold too; the SAME stem, and half of the options
- options: all options but one in any order, the same gold, and half of either stem's weight in any order
- context: as ngrams, of what is read before the stem (PubMedQA's abstracts)

A word's weight is its inverse document frequency over benchmarks and data: 1 for a word of one document, 0 for a word
of all, so that "which of the following is the most appropriate next step in management" weighs next to nothing.

Left out: translations, and rewrites that keep neither a run of words nor the options; which files are looked at, and
what follows from a leak (gate.py, which is the command).
"""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fleming.assets import ASSETS
from fleming.records import Question, Trajectory, to_json
from fleming.refine import disguises
from fleming.refine.disguises import costs_of, respaced, undisguised
from fleming.refine.shared_runs import COMMON, RUN, RunIndex
from fleming.text import option_key
from model.sums import digest

RUN_SHARE = 0.25  # below it are vital signs and other phrases of the trade
WORDS_SHARE = 0.65
WHOLE = 0.9  # of a stem: what is missing are phrases
SAME = 0.99  # of a stem; below it one word may be another: hepatitis A, hepatitis C
ENOUGH, ALONE = 4.0, 8.0  # in words that no other document has; below 4 are the names of diseases
BARE = 2.0  # of a whole stem without options; below it "Which of the following is true?"
MOST = 0.4
LONG = 10.0  # of one run word for word; a list of normal findings weighs up to 16,
LONG_SHARE = 0.35  # but less than this of a stem
VERBATIM = 18.0  # of one run, of however long a text
COMMON_OPTION = 10  # an option that more benchmark questions have is no evidence
# what a report says that it went by
RULES = {name.lower(): value for name, value in sorted(globals().items()) if isinstance(value, int | float)}
RULES |= {"run": RUN, "common": COMMON}
# A report of before a disguise was read clears nothing of it.
_READ_BY = Path(disguises.__file__), ASSETS / "lookalikes.yaml", ASSETS / "written.yaml"
RULES |= {path.name: digest(path) for path in _READ_BY}
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


def _closed(option: str) -> str:
    """Return the option as it is compared: letters that stood apart may have been taken for other words."""
    return option.replace(" ", "")


def _common(options: frozenset[str], others: frozenset[str]) -> int:
    return len(set(map(_closed, options)) & set(map(_closed, others)))


def _alike(one: str, other: str) -> bool:
    """Whether two options have half of the shorter one's words in common."""
    a, b = set(one.split()), set(other.split())
    return 2 * len(a & b) >= min(len(a), len(b))


def _within(one: str, other: str) -> bool:
    """Whether one of two options is the other with no more words around it than it has itself."""
    short, long = sorted((one, other), key=len)
    return 2 * len(short) >= len(long) and f" {short} " in f" {long} "


def _all_words(question: Question) -> Iterator[str]:
    for text in (*_texts(question), *question.options.values()):
        yield from undisguised(text)


def _texts(record: Record) -> list[str]:
    if isinstance(record, Question):
        return [record.question, record.context or ""]
    if isinstance(record, Trajectory):
        return [*(message["content"] for message in record.prompt), record.response]
    return [record]


class Index:
    """What records are looked up in: the benchmarks' texts, by their runs of words, and their options."""

    def __init__(self, benchmarks: Mapping[str, Sequence[Question]], data: Iterable[Record] = ()):
        """Index the questions of each benchmark by its name; `data` only adds to the words' document frequencies."""
        asked = [question for questions in benchmarks.values() for question in questions]
        counts = Counter(word for question in asked for word in _all_words(question))
        self.costs = costs_of(counts)
        self.items: list[_Item] = []
        self.with_option: dict[str, list[int]] = {}  # option -> numbers of items
        self.with_text: list[list[int]] = []  # number of a text, there once -> of its questions' items
        self.is_context: list[bool] = []
        texts: dict[tuple[str, ...], int] = {}
        for name, questions in benchmarks.items():
            for question in questions:
                self._add(name, question, texts)
        documents = ({word for text in _texts(record) for word in self._words(text)} for record in data)
        self.runs = RunIndex(list(texts), documents)

    def _words(self, text: str) -> list[str]:
        return respaced(undisguised(text), self.costs)

    def _options(self, question: Question) -> tuple[frozenset[str], str]:
        """Return the options and the gold without punctuation, which must not hide a leak, except where that is all."""
        keys = {k: " ".join(self._words(text)) or option_key(text) for k, text in question.options.items()}
        return frozenset(keys.values()), keys.get(question.answer, " ".join(self._words(question.answer)))

    def _add(self, benchmark: str, question: Question, texts: dict[tuple[str, ...], int]) -> None:
        item = len(self.items)
        stem = self._add_text(question.question, item, False, texts)
        if question.context:
            self._add_text(question.context, item, True, texts)
        options, gold = self._options(question)
        for option in options:
            self.with_option.setdefault(_closed(option), []).append(item)
        self.items.append(_Item(benchmark, question.id, options, gold, stem))

    def _add_text(self, text: str, item: int, is_context: bool, texts: dict[tuple[str, ...], int]) -> int:
        number = texts.setdefault(tuple(self._words(text)), len(texts))
        if number == len(self.with_text):
            self.with_text.append([])
            self.is_context.append(is_context)
        self.with_text[number].append(item)
        return number

    def _judge(self, record: Record, ours: Sequence[str], text: int, weight: float) -> Match | None:
        """Return the leak of a benchmark's text of which shared runs carry so much weight, None where it is none."""
        whole = self.runs.weight_of(text)
        long = min(VERBATIM, max(LONG, LONG_SHARE * whole))
        is_long = functools.cache(lambda: weight >= long / 2 and self.runs.longest(text, ours) >= long)
        if not weight or (weight < RUN_SHARE * whole and not is_long()):
            return None
        share = float(weight / whole)
        items = [self.items[i] for i in self.with_text[text]]
        is_context, is_whole = self.is_context[text], share >= WHOLE
        asks = isinstance(record, Question)
        options, gold = self._options(record) if asks else (frozenset(), "")

        rule = "stem" if is_whole else "ngrams"
        for item in items if not is_context else ():
            enough = 0.0 if is_whole else ENOUGH if asks else ALONE
            if weight >= enough and self._asks_for_the_same(item, options, gold, ours, share):
                return Match(item.benchmark, item.id, rule, share)

        # A question with another answer is another question; a text that asks the same without any is not.
        enough = BARE if is_whole and not asks else ENOUGH
        answers = not asks or is_context or any(_alike(gold, item.gold) for item in items)
        of_theirs, of_ours = self.runs.common(text, ours)
        is_evidence = weight >= ALONE or (weight >= enough and of_ours >= MOST and answers)
        if (of_theirs < WORDS_SHARE or not is_evidence) and not is_long():
            return None
        return Match(items[0].benchmark, items[0].id, "context" if is_context else rule, share)

    def _asks_for_the_same(
        self, item: _Item, options: frozenset[str], gold: str, ours: Sequence[str], share: float
    ) -> bool:
        """Whether a question has the item's gold and half of its options, or a text has these in it.

        The gold is enough beside a whole stem, half of the options beside the very same.
        """
        has_half = 2 * _common(options, item.options) >= len(item.options)
        if gold and (_closed(item.gold) == _closed(gold) or (share >= SAME and _within(item.gold, gold))):
            return has_half or share >= WHOLE
        if options:
            return has_half and share >= SAME
        padded = f" {' '.join(ours)} "
        inside = [option for option in item.options if f" {option} " in padded]
        is_telling = self.runs.run[item.stem] + sum(option.count(" ") + 1 for option in inside) >= RUN
        return is_telling and 2 * len(inside) >= len(item.options)

    def _by_options(self, question: Question, ours: Sequence[str]) -> Iterator[Match]:
        options, gold = self._options(question)
        rare_in_common: Counter[int] = Counter()
        for option in map(_closed, options):
            items = self.with_option.get(option, [])
            if len(items) <= COMMON_OPTION:
                rare_in_common.update(items)

        for number, rare in sorted(rare_in_common.items()):
            item = self.items[number]
            all_but_one = max(len(options), len(item.options)) - 1
            if rare < 2 or _closed(gold) != _closed(item.gold):
                continue
            if _common(options, item.options) < all_but_one:
                continue
            of_theirs, of_ours = self.runs.common(item.stem, ours)
            if min(of_theirs, of_ours) >= 0.5:
                yield Match(item.benchmark, item.id, "options", of_theirs)

    def _batch(self, batch: Sequence[tuple[Record, list[list[str]]]]) -> Iterator[Match | None]:
        """Yield the likest match of each (record, words of its texts)."""
        found: list[list[Match]] = [[] for _ in batch]
        record_of = [number for number, (_, texts) in enumerate(batch) for _ in texts]
        flat = [text for _, texts in batch for text in texts]
        for ours, theirs, weight in self.runs.shared(flat):
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
            texts = [self._words(text) for text in _texts(record)]
            batch.append((record, texts))
            size += sum(map(len, texts))
            if size >= BATCH_WORDS:
                yield from self._batch(batch)
                batch, size = [], 0
        yield from self._batch(batch)


def decontaminate(questions: Sequence[Question], index: Index) -> tuple[list[Question], list[dict[str, Any]]]:
    """Return the questions that leak nothing, and a record of each other one: code, match, and the question."""
    found = list(zip(questions, index.leaks(questions), strict=True))
    leaked = [
        {"code": "contaminated", **asdict(match), "question": to_json(q)} for q, match in found if match
    ]
    return [q for q, match in found if match is None], leaked
