"""What training questions say of an option's text: shallow features that are learned, for shortcuts.py to judge by.

- priors: how often it was right and wrong, in questions of the same kind and in all
- clue votes: the same in questions that share a word or a named clue of the stem
- neighbours: the same in those whose stems are nearest by TF-IDF

Counts are kept by fold, so any training set is a sum over folds, and no question is learned from in its own fold. More
of a feature always means that training speaks for the option. N questions, R rows (an option each), K neighbours,
F features. Left out: what an option's own words say.
"""

from collections.abc import Sequence

import numpy as np

from fleming.noise import generator
from fleming.records import Question
from fleming.refine.duplicates import jaccard
from fleming.refine.shallow import Columns, kind_of, names_in, numbered, trigrams
from fleming.text import words

FOLDS = 5
NEIGHBOURS = 128  # kept of each question; those of excluded folds fall away
VOTERS = 20  # nearest training questions that vote,
SHARPNESS = 4  # with this power of their cosine
LEARNED = (
    "nearest_stem",
    "prior",
    "clue_votes",
    "strongest_vote",
    "prior_of_all",
    "near_right",
    "near_not_wrong",
    "closest_key",
    "closest_not_wrong",
)


def tokens_of(questions: Sequence[Question]) -> list[np.ndarray]:
    """Return the numbers of each stem's words and named clues, each once: N arrays."""
    said = []
    for question in questions:
        named = [("clue", name) for name in names_in(question, "visible")]
        said.append(dict.fromkeys([*words(question.question), *named]) or {"": None})
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
        distance = 1e-9 * noise.random(count) - cosine
        distance[i] = np.inf
        best = np.argpartition(distance, kept - 1)[:kept] if kept else np.zeros(0, np.int64)
        near[i] = best[np.argsort(distance[best], kind="stable")]
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
        self.options = columns.of * len(columns.texts) + columns.text  # [R] its question and text, packed

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

        nearest_stem: 2 for the nearest one's right option, up to 1 for what the next ones vote for, least for a text
        like the nearest one's. near_right, near_not_wrong: the log of the vote that it is right, less that it is wrong.
        closest_key, closest_not_wrong: how similar the closest is that it is right in, less that it is wrong in.
        """
        columns = self.columns
        asked = np.unique(columns.of[rows])
        order = np.argsort(~learned[self.near[asked]], axis=1, kind="stable")[:, :VOTERS]
        near = np.take_along_axis(self.near[asked], order, 1)  # [asked, VOTERS]
        alike = np.take_along_axis(self.alike[asked], order, 1) * learned[near]

        of, text = np.searchsorted(asked, columns.of[rows]), columns.text[rows]
        near, alike = near[of], alike[of]  # [rows, VOTERS]
        is_key = self.key[near] == text[:, None]
        is_wrong = np.isin(near * len(columns.texts) + text[:, None], self.options) & ~is_key
        weight = alike**SHARPNESS
        total = np.maximum(weight.sum(1), 1e-12)
        right, wrong = (weight * is_key).sum(1) / total, (weight * is_wrong).sum(1) / total

        nearest_stem = right.copy()
        for row in np.flatnonzero(alike[:, :1].any(1)).tolist():
            key = self.key[near[row, 0]]
            likeness = jaccard(self.trigrams[key], self.trigrams[text[row]])
            nearest_stem[row] += 2.0 if key == text[row] else 0.01 * likeness
        return {
            "nearest_stem": nearest_stem,
            "near_right": np.log(right + 0.01),
            "near_not_wrong": -np.log(wrong + 0.03),
            "closest_key": (alike * is_key).max(1, initial=0.0),
            "closest_not_wrong": -(alike * is_wrong).max(1, initial=0.0),
        }


def cross_fitted(learned: Learned, columns: Columns, fold: np.ndarray) -> list[np.ndarray]:
    """Return, for each test fold, the learned features of all rows: FOLDS arrays [R, F].

    The test fold's are learned from all others; those of a training fold from all but the test fold and itself.
    """
    of_row = fold[columns.of]
    tables = [np.zeros((len(of_row), len(LEARNED))) for _ in range(FOLDS)]
    for test in range(FOLDS):
        tables[test][of_row == test] = learned.without((test,), fold == test)
        for other in range(test):
            either = np.isin(of_row, (test, other))
            both = learned.without((test, other), np.isin(fold, (test, other)))
            is_test = of_row[either] == test
            tables[test][of_row == other] = both[~is_test]
            tables[other][of_row == test] = both[is_test]
    return tables
