"""How likely a clue is in each disease of the graph: counts of patients smoothed, silence weighed, forms included.

A finding's share of patients is Beta-smoothed, (k + .4 * 2) / (n + 2): .4 where no source counts, .6 for a single case.
Who has a form of the finding has the finding; who has something broader may have it; who lacks the broader lacks it. Of
what no source says anything, it is the finding's background, or more where the diseases that are most like this one
have it: sources note a part of what is true. Clues count as independent, which overstates: callers use margins. Left
out: which clues are told (differential.py).
"""

import functools
from collections.abc import Iterable

import numpy as np

from fleming.graph.completeness import is_closed
from fleming.graph.frequencies import frequencies
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.graph.open_world import ancestors, kin
from fleming.questions.patient import onset_range
from fleming.questions.query import Clue
from fleming.sources.vocabulary import FEATURES

PRIOR, PRIOR_WEIGHT = 0.4, 2.0  # of a finding that is on record without numbers
UNNOTED = 0.01  # a finding that no source notes, beside its share of all diseases
LACKED = 0.005  # the same where the source is complete
LIKE = 30  # diseases that are most like one
NOTED = 0.5  # of what is true of a disease, so much is on record
BROADER = 0.5  # of those who have the broader finding, so many have this form of it
# A value of which a disease mostly has one: as told, unknown, another. The last is what errors and exceptions leave.
FAMILY = (0.9, 0.3, 0.05)
ONSET = (0.6, 0.3, 0.05)
KEPT = 200_000_000  # bytes of logarithms kept, 2,000 findings of 12,581 diseases, and three times so many of shares
APART = 1.0  # years between two onsets that are not one


class Findings:
    """The diseases of a graph, and how likely each clue is in each of them: float64 [diseases]."""

    def __init__(self, graph: KnowledgeGraph) -> None:
        self.graph = graph
        self.diseases = graph.of_type("disease")
        self.place = {name: place for place, name in enumerate(self.diseases)}
        self.closed = {
            relation: np.array([is_closed(graph, name, relation) for name in self.diseases], dtype=bool)
            for relation in FEATURES
        }
        self._read()
        kept = KEPT // (8 * max(1, len(self.diseases)))
        self._columns = functools.lru_cache(3 * kept)(self._column)
        self.log_likelihood = functools.lru_cache(kept)(self._log_likelihood)
        """Of a clue: log of `likelihood`."""

    def column(self, name: str, relation: str) -> np.ndarray:
        """Return the share of each disease's patients who have the finding."""
        return self._columns(name, relation)

    @functools.cached_property
    def _like(self) -> tuple[np.ndarray, np.ndarray]:
        """Return, disease by disease, the places of those of whose LIKE nearest it is one, and where each begins."""
        nearest = [self._nearest(place) for place in range(len(self.diseases))]
        of = np.repeat(np.arange(len(nearest)), [len(found) for found in nearest])
        near = np.concatenate(nearest) if nearest else np.zeros(0, int)
        order = np.argsort(near, kind="stable")
        return of[order], np.searchsorted(near[order], np.arange(len(nearest) + 1))

    def _read(self) -> None:
        """Sort the graph's findings into rows by disease and by term, and spread them to what they are forms of."""
        graph, size = self.graph, len(self.graph.names)
        number = np.full(size, -1, np.int32)
        number[[graph.place(name) for name in self.diseases]] = np.arange(len(self.diseases))
        facts = frequencies(graph, FEATURES)
        head, tail = number[facts.head], facts.tail
        kept = head >= 0
        head, tail, negated = head[kept], tail[kept], facts.negated[kept]
        # A fact that is stated and denied is one row: the patients of both add up.
        pairs, row = np.unique(head.astype(np.int64) * size + tail, return_inverse=True)
        self.pairs = pairs
        self.seen = np.bincount(row, facts.seen[kept], len(pairs))
        self.of = np.bincount(row, facts.of[kept], len(pairs))
        self.trust = np.zeros(len(pairs))
        np.maximum.at(self.trust, row, np.where(negated, 0.0, facts.trust[kept]))
        self.stated = np.bincount(row, ~negated, len(pairs)) > 0
        self.disease, self.term = pairs // size, pairs % size
        self.share = (self.seen + PRIOR * PRIOR_WEIGHT) / (self.of + PRIOR_WEIGHT)
        self.first = np.searchsorted(self.disease, np.arange(len(self.diseases) + 1))

        # Each stated row is one of every broader term too.
        terms = np.unique(self.term)
        broader = {term: [term, *map(graph.place, ancestors(graph, graph.names[term]))] for term in terms}
        rows = np.flatnonzero(self.stated)
        above = [broader[term] for term in self.term[rows].tolist()]
        rows = np.repeat(rows, [len(found) for found in above])
        spread = np.fromiter((term for found in above for term in found), np.int64, len(rows))
        order = np.lexsort((-self.share[rows], self.disease[rows], spread))
        rows, spread = rows[order], spread[order]
        best = np.ones(len(rows), dtype=bool)
        best[1:] = (spread[1:] != spread[:-1]) | (self.disease[rows[1:]] != self.disease[rows[:-1]])
        rows, spread = rows[best], spread[best]
        self._implied = self.disease[rows], self.share[rows]
        self._implied_first = np.searchsorted(spread, np.arange(size + 1))
        self.count = np.diff(self._implied_first)  # diseases that have the term or a form of it
        self.background = UNNOTED + np.bincount(spread, self.share[rows], size) / max(1, len(self.diseases))
        by_term = np.argsort(self.term, kind="stable")
        self._by_term = by_term
        self._by_term_first = np.searchsorted(self.term[by_term], np.arange(size + 1))

    def rows(self, disease: str) -> np.ndarray:
        """Return the rows of what sources say of the disease's findings, denied ones too."""
        place = self.place[disease]
        return np.arange(self.first[place], self.first[place + 1])

    def noted(self, disease: str, name: str) -> int | None:
        """Return the row of what sources say of the finding in the disease, or of the surest denied broader one."""
        row = self._row(disease, name)
        if row is not None:
            return row
        above = (self._row(disease, other) for other in sorted(ancestors(self.graph, name)))
        denied = [row for row in above if row is not None and not self.stated[row]]
        return min(denied, key=lambda row: self.share[row], default=None)

    def are_noted(self, name: str) -> np.ndarray:
        """Whether `noted` finds a row in each disease: bool [diseases]."""
        noted = np.zeros(len(self.diseases), dtype=bool)
        noted[self.disease[self._of_term(self.graph.place(name))]] = True
        for other in ancestors(self.graph, name):
            rows = self._of_term(self.graph.place(other))
            noted[self.disease[rows[~self.stated[rows]]]] = True
        return noted

    def _row(self, disease: str, name: str) -> int | None:
        key = self.place[disease] * len(self.graph.names) + self.graph.place(name)
        row = int(np.searchsorted(self.pairs, key))
        return row if row < len(self.pairs) and self.pairs[row] == key else None

    def having(self, term: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (places of the diseases that have the term or a form of it, its share there)."""
        rows = slice(self._implied_first[term], self._implied_first[term + 1])
        diseases, share = self._implied
        return diseases[rows], share[rows]

    def _of_term(self, term: int) -> np.ndarray:
        return self._by_term[self._by_term_first[term] : self._by_term_first[term + 1]]

    def _column(self, name: str, relation: str) -> np.ndarray:
        """Return the share of each disease's patients who have the finding."""
        term = self.graph.place(name)
        closed = self.closed[relation]
        share = np.where(closed, LACKED, 0.0 if closed.all() else self._unnoted(term))
        above = [self.graph.place(other) for other in ancestors(self.graph, name)]
        for other in above:
            rows = self._of_term(other)
            rows = rows[self.stated[rows]]
            np.maximum.at(share, self.disease[rows], BROADER * self.share[rows])
        lacked = np.full(len(share), np.inf)  # of several denied ones the surest, in whatever order they come
        for other in (term, *above):
            rows = self._of_term(other)
            rows = rows[~self.stated[rows]]
            np.minimum.at(lacked, self.disease[rows], self.share[rows])
        share = np.where(np.isfinite(lacked), lacked, share)
        diseases, known = self.having(term)
        share[diseases] = known
        return share

    def _unnoted(self, term: int) -> np.ndarray:
        """Return the finding's share in each disease of which no source says whether it has it.

        With q the share in the diseases that are like it, and half of what is true on record, Bayes gives the chance
        that it is true and not on record: q (1 - NOTED) / (1 - q NOTED).
        """
        diseases, known = self.having(term)
        of, first = self._like
        size = first[diseases + 1] - first[diseases]
        skipped = np.repeat(first[diseases] - np.cumsum(size) + size, size)
        # Those that each of `diseases` is near to, one after another.
        like = of[np.arange(size.sum()) + skipped]
        q = np.bincount(like, np.repeat(known, size), len(self.diseases)) / LIKE
        return np.maximum(self.background[term], q * (1 - NOTED) / (1 - q * NOTED))

    def information(self, name: str) -> float:
        """Return the finding's information content in bits: -log2 of the share of diseases that have it."""
        count = self.count[self.graph.place(name)]
        return float(-np.log2(max(1, count) / len(self.diseases)))

    def likelihood(self, clue: Clue) -> np.ndarray:
        """Return how likely it is that a patient of each disease is as the clue says."""
        if clue.relation in FEATURES:
            share = self.column(clue.tail, clue.relation)
            return 1 - share if clue.role == "absent" else share
        return self._value(clue.relation, clue.tail)

    def _log_likelihood(self, clue: Clue) -> np.ndarray:
        return np.log(self.likelihood(clue))

    @functools.lru_cache(256)  # noqa: B019
    def _value(self, relation: str, tail: str) -> np.ndarray:
        """Return the likelihood of a value (inheritance, onset) in each disease."""
        told, unknown, another = FAMILY if relation == "inherited_as" else ONSET
        likelihood = np.full(len(self.diseases), unknown)
        for place, disease in enumerate(self.diseases):
            values = self.graph.follow(disease, relation)
            if values:
                fits = any(self.may_be(relation, tail, value) for value in values)
                likelihood[place] = told if fits else another
        return likelihood

    @functools.lru_cache(256)  # noqa: B019
    def having_value(self, relation: str, tail: str) -> np.ndarray:
        """Return the share of each disease's values of the relation that this one is: 0 where none is known."""
        values = [self.graph.follow(disease, relation) for disease in self.diseases]
        return np.array([(tail in found) / max(1, len(found)) for found in values])

    def may_be(self, relation: str, one: str, other: str) -> bool:
        """Whether the two values may stand for the same patient: one is a form of the other, or there is no year
        between the ages, which sources draw a little earlier or later."""
        if one == other or one in kin(self.graph, other):
            return True
        if relation != "has_onset":
            return False
        a, b = onset_range(one), onset_range(other)
        return not a or not b or (a[0] < b[1] + APART and b[0] < a[1] + APART)

    def near(self, root: str, most: int) -> list[str]:
        """Return the diseases that share most with the root: information content x the smaller share of patients."""
        return [self.diseases[place] for place in _highest(self._shared(self.place[root]), most)]

    def _shared(self, place: int) -> np.ndarray:
        score = np.zeros(len(self.diseases))
        for row in range(self.first[place], self.first[place + 1]):
            if self.stated[row]:
                diseases, share = self.having(self.term[row])
                bits = -np.log2(len(diseases) / len(self.diseases))
                score[diseases] += bits * np.minimum(share, self.share[row])
        score[place] = 0
        return score

    def _nearest(self, place: int) -> np.ndarray:
        """Return the places of the LIKE that share most, ties in order: they are ties in whatever order one adds."""
        return _highest(self._shared(place).round(9), LIKE)

    def joint(self, clues: Iterable[Clue], before: np.ndarray | None = None) -> np.ndarray:
        """Return the log-likelihood of all clues together in each disease, on top of another: float64 [diseases]."""
        start = np.zeros(len(self.diseases)) if before is None else before
        return sum(map(self.log_likelihood, clues), start)


def _highest(score: np.ndarray, most: int) -> np.ndarray:
    """Return the places of the `most` highest of the scores above 0, the highest first, ties in order."""
    some = np.flatnonzero(score > 0)
    if len(some) > most:
        some = some[score[some] >= np.partition(score[some], -most)[-most]]
    return some[np.argsort(-score[some], kind="stable")][:most]
