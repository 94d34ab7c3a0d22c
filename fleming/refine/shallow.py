"""What can be told of an option without reading the question: shallow features, for shortcuts.py to judge by.

- surface: length, what the option shares with its stem and with the other options, its kinds of characters
- how common it is in the file, and how popular in the knowledge graph, where there is one

A question file lies in columns: N questions, R rows (an option each), F features. Left out: the letter of an option;
what training questions say of it (learned.py).
"""

import functools
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fleming.records import Question
from fleming.refine.duplicates import jaccard
from fleming.text import fold, option_key, words


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

    def extremes(self, rows: np.ndarray) -> np.ndarray:
        """Return which options have their question's largest, and which its smallest value: [R] -> [R, 2]."""
        ends = [limit.reduceat(rows, self.starts)[self.of] for limit in (np.maximum, np.minimum)]
        return np.stack([np.abs(rows - end) < 1e-9 for end in ends], 1) * 1.0

    def part(self, some: np.ndarray) -> "Columns":
        """Return the columns of some questions, bool [N]."""
        rows, sizes = some[self.of], self.sizes[some]
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
        """[N] how many options."""
        return np.bincount(self.of)

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
        return self.sums((tied & self.right) * 1.0) / self.sums(tied * 1.0)


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


def likeness(sets: Sequence[frozenset]) -> list[float]:
    """Return how like the others each set is: the mean of its Jaccard similarities."""
    return [sum(jaccard(a, b) for b in sets) - jaccard(a, a) for a in sets]


def surface(columns: Columns) -> dict[str, np.ndarray]:
    """Return name -> feature of each option: [R]. Of characters, shares: digits, capitals, marks and non-ASCII."""
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
            text, size = options[i], len(options[i])
            marks = sum(not (char.isalnum() or char.isspace()) for char in text)
            rows.append({
                "length": np.log(lengths[i]),
                "longest": lengths[i] == max(lengths),
                "shortest": lengths[i] == min(lengths),
                "word_overlap": share(of_words[i], stem_words),
                "trigram_overlap": share(of_trigrams[i], stem_trigrams),
                "word_likeness": word_likeness / (len(options) - 1),
                "trigram_likeness": trigram_likeness / (len(options) - 1),
                "words": np.log1p(len(of_words[i])),
                "digits": sum(map(str.isdigit, text)) / size,
                "capitals": sum(map(str.isupper, text)) / size,
                "marks": marks / size,
                "beyond_ascii": sum(char > "\x7f" for char in text) / size,
            })  # fmt: skip
    return {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}


def commonness(columns: Columns) -> np.ndarray:
    """Return the log of how many questions have the option, of its kind and of any: [R, 2]. No label is looked at."""
    kinds = numbered(map(kind_of, columns.questions))[1][columns.of]
    _, place, times = np.unique(
        kinds * len(columns.texts) + columns.text, return_inverse=True, return_counts=True
    )
    return np.log(np.stack([times[place], np.bincount(columns.text)[columns.text]], 1))


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
    """Return the steps from the answer's side of the facts asked for: of the chain's last, or of a diagnosis' clues."""
    edges, provenance = edges_of(question), question.provenance or {}
    chain = provenance.get("chain")
    asked = edges if chain == [] else edges[-1:]
    if isinstance(chain, list) and chain and type(chain[-1]) is int and 0 <= chain[-1] < len(edges):
        asked = [edges[chain[-1]]]
    answer = {option_key(question.options[question.answer]), option_key(str(provenance.get("answer")))}
    return {f"^{relation}" if option_key(tail) in answer else relation for _, relation, tail in asked}


def popularity(columns: Columns, graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Return log(1 + edges) of each option, all and in the relation asked: [R, 2]; and which questions have them.

    bool [N, 2]: whether each option of a question is an entity; whether the relation asked is known too.
    """
    entity = {option_key(name): name for name in reversed(graph.entities)}
    for name, described in graph.entities.items():
        for synonym in described.synonyms:
            entity.setdefault(option_key(synonym), name)
    names = [entity.get(text) for text in columns.texts]
    edges = np.array([0 if name is None else graph.degree(name) for name in names])[columns.text]
    unknown = np.array([name is None for name in names])[columns.text]

    steps = [asked_of(question) for question in columns.questions]
    in_relation = [
        sum(len(graph.targets(names[text], step)) for step in steps[of]) if names[text] else 0
        for text, of in zip(columns.text.tolist(), columns.of.tolist(), strict=True)
    ]
    known = columns.sums(unknown.astype(np.int64)) == 0
    has_step = np.array([bool(found) for found in steps])
    return np.log1p(np.stack([edges, in_relation], 1)), np.stack([known, known & has_step], 1)
