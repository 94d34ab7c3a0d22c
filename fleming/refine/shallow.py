"""What can be told of an option without reading the question: shallow features, for shortcuts.py to judge by.

- surface: length, what the option shares with its stem and with the other options, its kinds of characters
- popularity in the knowledge graph, where there is one
- learned: what training questions say of an option's text; of questions of the same kind, of those that share a word
  or a clue with this one, of those whose stems are nearest

A question file lies in columns: N questions, R rows (an option each), K neighbours, F features. The learned features
are counted by fold, so that a training set is a sum over folds: `Learned.from_folds` never counts a question's own fold.
All point one way: more of it speaks for the option. Left out: the letter of an option; a language model of any size.
"""

import functools
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fleming.noise import generator
from fleming.records import Question
from fleming.text import fold, option_key, words

FOLDS = 5
NEIGHBOURS = 128  # kept of each question; those of excluded folds fall away
VOTERS = 20  # nearest training questions that vote


class Graph(Protocol):
    """What of a knowledge graph is asked here."""

    entities: Mapping[str, Any]

    def degree(self, name: str) -> int: ...

    def targets(self, name: str, step: str) -> np.ndarray: ...


# --- columns


@dataclass(frozen=True)
class Columns:
    """Questions laid end to end, a row an option."""

    questions: Sequence[Question]
    starts: np.ndarray
    """[N] each question's first row."""
    of: np.ndarray
    """[R] the question."""
    right: np.ndarray
    """bool [R]"""
    text: np.ndarray
    """[R] the number of the folded text."""
    texts: list[str]

    @classmethod
    def of_questions(cls, questions: Sequence[Question]) -> "Columns":
        sizes = np.array([len(q.options) for q in questions], np.int64)
        texts, number = numbered(option_key(text) for q in questions for text in q.options.values())
        right = np.array([letter == q.answer for q in questions for letter in q.options], bool)
        of = np.repeat(np.arange(len(questions)), sizes)
        return cls(questions, np.cumsum(sizes) - sizes, of, right, number, texts)

    def part(self, some: np.ndarray) -> "Columns":
        """Return the columns of some questions, bool [N]."""
        rows, sizes = some[self.of], self.sizes[some].astype(np.int64)
        return Columns(
            [q for q, kept in zip(self.questions, some.tolist(), strict=True) if kept],
            np.cumsum(sizes) - sizes,
            np.repeat(np.arange(len(sizes)), sizes),
            self.right[rows],
            self.text[rows],
            self.texts,
        )

    @property
    def sizes(self) -> np.ndarray:
        return self.sums(np.ones(len(self.of)))

    def sums(self, rows: np.ndarray) -> np.ndarray:
        """Return each question's sum over its options: [R, ...] -> [N, ...]."""
        return np.add.reduceat(rows, self.starts, axis=0)

    def centred(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows less their question's mean: [R, F] -> [R, F]. A softmax over options sees no more."""
        return rows - (self.sums(rows) / self.sizes[:, None])[self.of]

    def hits(self, scores: np.ndarray) -> np.ndarray:
        """Return how likely each question's highest score is the right option's, ties drawn by lot: [R] -> [N]."""
        best = np.maximum.reduceat(scores, self.starts)[self.of]
        tied = scores >= best - 1e-9
        return self.sums(tied & self.right) / self.sums(tied.astype(np.int64))


def numbered(keys: Iterable[Hashable]) -> tuple[list, np.ndarray]:
    """Return the different keys as they first come, and each key's place among them."""
    place: dict[Hashable, int] = {}
    numbers = np.array([place.setdefault(key, len(place)) for key in keys], np.int64)
    return list(place), numbers


# --- surface


def trigrams(text: str) -> frozenset[str]:
    """Return the runs of three characters of a folded text; a shorter text is one."""
    return frozenset(text[i : i + 3] for i in range(max(1, len(text) - 2)))


def share(part: Collection, whole: Collection) -> float:
    """Return how much of `part` is in `whole`."""
    return len(part & whole) / max(1, len(part))


def jaccard(a: Collection, b: Collection) -> float:
    return len(a & b) / max(1, len(a | b))


def likeness(sets: Sequence[frozenset]) -> list[float]:
    """Return how like the others each set is: the mean of its Jaccard similarities."""
    return [sum(jaccard(a, b) for b in sets) - jaccard(a, a) for a in sets]


SURFACE = (
    "length",
    "longest",
    "shortest",
    "word_overlap",
    "trigram_overlap",
    "word_likeness",
    "trigram_likeness",
    "words",
    "digits",
    "capitals",
    "marks",
    "beyond_ascii",
)


def surface(columns: Columns) -> np.ndarray:
    """Return the features of SURFACE: [R, F]."""
    rows = []
    word_set = functools.cache(lambda text: frozenset(words(text)))
    trigram_set = functools.cache(trigrams)
    for question in columns.questions:
        options = list(question.options.values())
        keys = [option_key(text) for text in options]
        of_words, of_trigrams = [word_set(key) for key in keys], [trigram_set(key) for key in keys]
        stem_words, stem_trigrams = frozenset(words(question.question)), trigrams(fold(question.question))
        lengths = [len(text.strip()) for text in options]
        like = zip(likeness(of_words), likeness(of_trigrams), strict=True)
        for i, (word_likeness, trigram_likeness) in enumerate(like):
            rows.append((
                np.log(lengths[i]),
                lengths[i] == max(lengths),
                lengths[i] == min(lengths),
                share(of_words[i], stem_words),
                share(of_trigrams[i], stem_trigrams),
                word_likeness / (len(options) - 1),
                trigram_likeness / (len(options) - 1),
                np.log1p(len(of_words[i])),
                *_characters(options[i]),
            ))  # fmt: skip
    return np.array(rows, np.float64)


def _characters(text: str) -> tuple[float, float, float, float]:
    """Return the shares of digits, capitals, marks, and of what is beyond ASCII."""
    size = len(text)
    marks = sum(not (char.isalnum() or char.isspace()) for char in text)
    return (
        sum(map(str.isdigit, text)) / size,
        sum(map(str.isupper, text)) / size,
        marks / size,
        sum(char > "\x7f" for char in text) / size,
    )


# --- provenance, which is anybody's


def edges_of(question: Question) -> list[tuple[str, str, str]]:
    """Return the facts of a synthetic question's path; an empty list where there are none or one is no fact."""
    path = (question.provenance or {}).get("path")
    path = path if isinstance(path, list) else []
    edges = [tuple(map(edge.get, ("head", "relation", "tail"))) for edge in path if isinstance(edge, dict)]
    whole = len(edges) == len(path) and all(isinstance(part, str) for edge in edges for part in edge)
    return edges if whole else []


def names_in(question: Question, key: str) -> list[str]:
    found = (question.provenance or {}).get(key)
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def kind_of(question: Question) -> tuple:
    """Return what questions of one kind share: source, kind and metapath."""
    provenance = question.provenance or {}
    return question.source, str(provenance.get("kind")), str(provenance.get("metapath"))


def root_of(question: Question) -> str:
    """Return the entity that a synthetic question starts from, of any other the right answer's text.

    A path that begins with clues begins with facts of its root. One that is all chain begins at the end of its first
    fact that the stem names.
    """
    edges, chain = edges_of(question), (question.provenance or {}).get("chain")
    if not edges:
        return f"answer {option_key(question.options[question.answer])}"
    head, _, tail = edges[0]
    if not (isinstance(chain, list) and 0 not in chain):
        named = names_in(question, "visible")
        head = tail if tail in named and head not in named else head
    return f"root {head}"


def asked_of(question: Question) -> set[str]:
    """Return the steps from the answer's side of the facts asked for: of the last one, or of a diagnosis' clues."""
    edges, chain = edges_of(question), (question.provenance or {}).get("chain")
    last = edges if chain == [] else edges[-1:]
    if isinstance(chain, list) and chain and chain[-1] in range(len(edges)):
        last = [edges[chain[-1]]]
    answer = option_key(question.options[question.answer])
    return {f"^{relation}" if option_key(tail) == answer else relation for _, relation, tail in last}


def popularity(columns: Columns, graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Return log(1 + edges) of each option, all and in the relation asked: [R, 2]; and which questions have them.

    bool [N, 2]: whether each option of a question is an entity; whether the relation asked is known too.
    """
    entity: dict[str, str] = {}
    for name in graph.entities:
        entity.setdefault(option_key(name), name)
    names = [entity.get(text) for text in columns.texts]
    edges = np.array([0 if name is None else graph.degree(name) for name in names])[columns.text]
    is_entity = np.array([name is not None for name in names])[columns.text]

    steps = [asked_of(question) for question in columns.questions]
    asked = np.array([
        sum(len(graph.targets(names[text], step)) for step in steps[of]) if names[text] else 0
        for text, of in zip(columns.text.tolist(), columns.of.tolist(), strict=True)
    ])  # fmt: skip
    known = columns.sums(~is_entity) == 0
    has_step = np.array([bool(found) for found in steps])
    return np.log1p(np.stack([edges, asked], 1)), np.stack([known, known & has_step], 1)


# --- learned


LEARNED = (
    "nearest_stem",
    "prior",
    "clue_votes",
    "strongest_vote",
    "prior_of_all",
    "near_right",
    "near_not_wrong",
)


def tokens_of(questions: Sequence[Question]) -> list[np.ndarray]:
    """Return the numbers of each stem's words and named clues, each once: N arrays."""
    said = [
        dict.fromkeys([*words(q.question), *(("clue", name) for name in names_in(q, "visible"))])
        for q in questions
    ]
    numbers = numbered(token for tokens in said for token in tokens)[1]
    return np.split(numbers, np.cumsum([len(tokens) for tokens in said])[:-1])


def nearest(tokens: Sequence[np.ndarray], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each question's most similar ones and how similar they are: [N, K], the most similar first.

    Cosine of TF-IDF, a token counted once a stem. What is equally similar comes in an order drawn by counted noise.
    """
    count, ends = len(tokens), np.cumsum([len(t) for t in tokens])
    flat = np.concatenate(tokens)
    frequency = np.bincount(flat)
    idf = np.log((1 + count) / frequency)
    lengths = np.sqrt(np.array([(idf[t] ** 2).sum() for t in tokens]))
    owner = np.repeat(np.arange(count), np.diff(ends, prepend=0))
    weight = idf[flat] / lengths[owner]
    order = np.argsort(flat, kind="stable")
    bounds = np.concatenate([[0], frequency.cumsum()])
    owner, weight = owner[order], weight[order]  # postings, by token

    kept = min(NEIGHBOURS, count - 1)
    near, alike = np.empty((count, kept), np.int64), np.empty((count, kept))
    noise = generator(seed, "shortcuts: nearest stems")
    for i, mine in enumerate(tokens):
        spans = [slice(bounds[t], bounds[t + 1]) for t in mine.tolist()]
        theirs = np.concatenate([weight[span] * w for span, w in zip(spans, idf[mine], strict=True)])
        cosine = np.bincount(np.concatenate([owner[span] for span in spans]), theirs, count) / lengths[i]
        cosine += 1e-9 * noise.random(count)
        cosine[i] = -1.0
        best = np.argpartition(-cosine, kept - 1)[:kept] if kept else np.zeros(0, np.int64)
        near[i] = best[np.argsort(-cosine[best], kind="stable")]
        alike[i] = cosine[near[i]]
    return near, alike


class Learned:
    """What other questions tell of each option, by which folds may be learned from.

    fold: [N] each question's, 0 to FOLDS - 1.
    """

    def __init__(self, columns: Columns, tokens: list[np.ndarray], fold: np.ndarray, near: tuple) -> None:
        self.columns, self.fold, (self.near, self.alike) = columns, fold, near
        self.chance = columns.right.mean()
        self.key = columns.text[columns.right]  # [N] the right option's text
        self.trigrams = [trigrams(text) for text in columns.texts]
        self.options = columns.of * len(columns.texts) + columns.text  # [R] which text is an option of which question

        rows, size = np.arange(len(columns.of)), len(columns.texts)
        kinds = numbered(map(kind_of, columns.questions))[1]
        lengths = np.array([len(t) for t in tokens])[columns.of]
        of_token = np.repeat(rows, lengths)
        token = np.concatenate([tokens[of] for of in columns.of.tolist()])
        self.counts = {
            "prior": self._count(rows, kinds[columns.of] * size + columns.text),
            "prior_of_all": self._count(rows, columns.text),
            "clue_votes": self._count(of_token, token * size + columns.text[of_token]),
        }

    def _count(self, rows: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return rows and places of the ids that come more than once, and how often each was right, wrong in each fold.

        rows, ids: [n]. Returns [m], [m], and [places, FOLDS] twice.
        """
        _, place, times = np.unique(ids, return_inverse=True, return_counts=True)
        several = times[place] > 1
        rows, place = rows[several], (np.cumsum(times > 1) - 1)[place[several]]
        right, cell = self.columns.right[rows], place * FOLDS + self.fold[self.columns.of[rows]]
        cells = int((times > 1).sum()) * FOLDS
        counts = [np.bincount(cell[r], minlength=cells).reshape(-1, FOLDS) for r in (right, ~right)]
        return rows, place, *counts

    def without(self, folds: Sequence[int], asked: np.ndarray) -> np.ndarray:
        """Return the features of the questions `asked` (bool [N]), learned from all folds but `folds`: [rows, F]."""
        rows = np.flatnonzero(asked[self.columns.of])
        learned = [fold for fold in range(FOLDS) if fold not in folds]
        size = len(self.columns.of)
        sums = {}
        for name, (at, place, right, wrong) in self.counts.items():
            here = asked[self.columns.of[at]]
            odds = self._log_odds(right[:, learned].sum(1), wrong[:, learned].sum(1))[place[here]]
            sums[name] = np.bincount(at[here], odds, size)[rows]
            if name == "clue_votes":
                strongest = np.zeros(size)
                np.maximum.at(strongest, at[here], odds)
                sums["strongest_vote"] = strongest[rows]
        sums |= self._neighbours(rows, np.isin(self.fold, learned))
        return np.stack([sums[name] for name in LEARNED], 1)

    def _log_odds(self, right: np.ndarray, wrong: np.ndarray) -> np.ndarray:
        """Return the log-odds of being right, less those of chance; one question's worth of chance is added."""
        p = self.chance
        return np.log((right + p) / (wrong + 1 - p)) - np.log(p / (1 - p))

    def _neighbours(self, rows: np.ndarray, learned: np.ndarray) -> dict[str, np.ndarray]:
        """Return what the nearest of the `learned` questions (bool [N]) say of the rows: [rows] by name.

        nearest_stem: 2 for the nearest one's right option, up to 1 for what the next ones vote for, least for a likeness to
        the nearest one's. near_right, near_not_wrong: the votes, by similarity, that it is right, and less those it is wrong.
        """
        columns = self.columns
        asked = np.unique(columns.of[rows])
        order = np.argsort(~learned[self.near[asked]], axis=1, kind="stable")[:, :VOTERS]
        near = np.take_along_axis(self.near[asked], order, 1)  # [asked, VOTERS]
        weight = np.take_along_axis(self.alike[asked], order, 1) * learned[near]

        of, text = np.searchsorted(asked, columns.of[rows]), columns.text[rows]
        is_key = self.key[near][of] == text[:, None]  # [rows, VOTERS]
        is_option = np.isin(near[of] * len(columns.texts) + text[:, None], self.options)
        right = (weight[of] * is_key).sum(1)
        wrong = (weight[of] * (is_option & ~is_key)).sum(1)

        there = weight[of, :1].any(1)
        nearest_stem = right / np.maximum(weight.sum(1), 1e-9)[of]
        for row in np.flatnonzero(there).tolist():
            key = self.key[near[of[row], 0]]
            alike = jaccard(self.trigrams[key], self.trigrams[text[row]])
            nearest_stem[row] += 2.0 if key == text[row] else 0.01 * alike
        return {"nearest_stem": nearest_stem, "near_right": right, "near_not_wrong": right - wrong}
