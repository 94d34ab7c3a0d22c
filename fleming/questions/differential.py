"""Differential first, then clues: which diseases are plausible together, what marks one, the fewest facts that decide.

Some findings are core: the answer and its rivals have them. Markers are what most other diseases lack. The others
decide: findings that the answer mostly has and a rival hardly ever, findings that a rival nearly always has and this
patient has not, inheritance, age. Each rival must be outweighed, and for a reason that a source states. Left out: the
proofs (judging.py), the likelihoods (likelihood.py).
"""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from fleming.graph.naming import alike
from fleming.graph.open_world import has, kin, may_be_one
from fleming.questions.judging import FOUND, RARE, Differential, Judge, claimed, prove
from fleming.questions.names import is_deniable, is_soft, said, shares_a_word
from fleming.questions.patient import onsets
from fleming.questions.phrases import pick
from fleming.questions.query import Clue
from fleming.sources.vocabulary import FEATURES

NEAREST = 400  # diseases looked at as rivals
NEGATIVES = 2  # findings that are said to be absent, at most
OPTIONS = 3  # wrong ones
CORE_LOOKED_AT = 24  # findings of which such a set is made, at most


class Differentials(Judge):
    """Draws differentials on a graph."""

    @functools.cache  # noqa: B019
    def rivals(self, root: str) -> list[str]:
        """Return the nearest diseases of which enough is known, and that are no form of the root by name, hierarchy,
        gene or most findings."""
        graph, genes = self.graph, self.graph.follow(root, "associated_gene")
        allelic = {name for gene in genes for name in graph.follow(gene, "^associated_gene")}
        near = self.findings.near(root, NEAREST)
        known = [name for name in near if self.known[self.findings.place[name]] and name not in allelic]
        return [name for name in known if not may_be_one(graph, root, name)]

    def draw(
        self, root: str, rivals: Mapping[str, Sequence[str]], untold: Sequence[str], rng: Generator
    ) -> Differential | str:
        """Draw clues of the root that three of `rivals` (the preferred first) are ruled out by, each with the diseases
        that must be outweighed with it.

        `untold`: relations that the clues must not speak of. Codes: `no_findings`, too few can be told; `no_family`,
        the family's history rules too few out, or all; `no_rivals`, no three share the core findings; `rival_stands`,
        not three are outweighed by a positive ground; those of `prove`.
        """
        attempt, least = _Attempt(self, root, rivals, rng), self.rules.min_family
        if len(attempt.told) < self.rules.min_shared + 1:
            return "no_findings"
        family = self.family(root) if "inherited_as" not in untold else None
        apart = attempt.grounds(family) if family else np.zeros(len(rivals), dtype=bool)
        if least and not least <= apart.sum() < len(rivals):
            return "no_family"
        code = "no_rivals"
        for _ in range(self.rules.core_tries):
            core, sharing = attempt.core(apart)
            if not core:
                break
            found = attempt.decide(core, sharing, untold)
            if isinstance(found, Differential):
                return found
            code = found
        return code


class _Against(NamedTuple):
    """What clues say against the rivals."""

    odds: np.ndarray
    """The log-odds of the root against each disease that must be outweighed."""
    found: np.ndarray
    """The same by what the patient has alone."""
    grounded: np.ndarray
    """Whether a source states something against each rival."""


class _Attempt:
    """One root and its rivals: its findings that can be told, in an order drawn, and what each says of each rival."""

    def __init__(
        self, whole: Differentials, root: str, rivals: Mapping[str, Sequence[str]], rng: Generator
    ) -> None:
        self.whole, self.root, self.rivals, self.rng = whole, root, rivals, rng
        self.graph, self.rules, self.findings = whole.graph, whole.rules, whole.findings
        place = self.findings.place
        self.at = place[root]
        self.names = list(rivals)
        # A rival is outweighed with all the diseases that come with it: they lie one behind the other.
        every = [place[name] for name in itertools.chain(*rivals.values())]
        self.size = [len(found) for found in rivals.values()]
        self.first = np.cumsum([0, *self.size])[:-1]
        self.weights = functools.cache(lambda clue: whole.weights(root, clue, every))
        """Of a clue, the log of how much likelier it is in the root: float64 [diseases that must be outweighed]."""
        self.places = np.array([place[name] for name in self.names], dtype=int)
        self.grounds = functools.cache(lambda clue: whole.grounded(clue)[self.places])
        """Of a clue, whether it speaks against each rival, as a source states it: bool [rivals]."""
        self.lacked = functools.cache(self._lacked)
        self.says = functools.cache(self._says)

        self.told: list[Clue] = []
        """Its findings, as core clues."""
        rows = self.findings.rows(root)
        for row in rows[rng.permutation(len(rows))].tolist():
            clue = whole.finding(row)
            if self.findings.share[row] >= self.rules.min_frequency and clue:
                self.told.append(clue)
        had = {clue: whole.has(clue)[self.places] for clue in self.told if self._adds(clue)}
        self.had = {clue: found for clue, found in had.items() if found.sum() >= OPTIONS}
        """Of each that may be core, which rivals have it too: bool [rivals]."""

    def core(self, apart: np.ndarray) -> tuple[list[Clue], np.ndarray]:
        """Return core findings, and whether each rival has at least `min_shared` of them: three or more do, among them
        `min_family` of those that the family's history sets `apart`, and one other. The first such set in a drawn
        order; none where there is none."""
        rules = self.rules
        order = [self.told[i] for i in self.rng.permutation(len(self.told))]
        order = [clue for clue in order if clue in self.had][:CORE_LOOKED_AT]
        has = np.array([self.had[clue] for clue in order], dtype=int).reshape(len(order), len(self.names))
        for size in (rules.min_shared, rules.min_shared + 1):
            for before in itertools.combinations(range(len(order)), size - 1):
                last = before[-1] + 1 if before else 0
                enough = has[last:] + has[list(before)].sum(0) >= rules.min_shared  # [findings, rivals]
                fits = (enough.sum(1) >= OPTIONS) & (enough[:, apart].sum(1) >= rules.min_family)
                fits &= enough[:, ~apart].any(1) | (rules.min_family == 0)
                for i in np.flatnonzero(fits):
                    chosen = [order[place] for place in (*before, last + i)]
                    if all(self._is_new(clue, chosen[:place]) for place, clue in enumerate(chosen)):
                        return chosen, enough[i]
        return [], apart

    def _adds(self, clue: Clue) -> bool:
        return self.whole.bits(self.root, clue) >= self.rules.min_bits

    def _is_new(self, clue: Clue, chosen: Sequence[Clue]) -> bool:
        """Whether the finding says nothing that a chosen one says."""
        return not any(self.says(clue, other) for other in chosen)

    def _says(self, clue: Clue, other: Clue) -> bool:
        """Whether one finding says what the other does: it is a form of it, or both are of one near ancestor."""
        if other.relation not in FEATURES:
            return False
        one, two = clue.tail, other.tail
        if clue.role == "absent" and shares_a_word(one, two):
            return True  # no thin lip where a thick one is told
        if one == two or two in kin(self.graph, one) or alike(two, one):
            return True
        return not self.whole.informative(one).isdisjoint(self.whole.informative(two))

    # deciding

    def decide(self, core: list[Clue], sharing: np.ndarray, untold: Sequence[str]) -> Differential | str:
        """Return the differential of the core findings; a code where the rivals that share them cannot be ruled out.

        `sharing`: whether each rival does, bool [rivals].
        """
        age = self._age() if "has_onset" not in untold else None
        clues = [*self._complaint(core), *core, *([age] if age else [])]
        clues += self._markers(clues)
        pool = self._deciding(clues, sharing, untold)
        chosen = self._fewest(clues, pool, sharing, self.rules.max_facts + bool(age))
        if chosen is None:
            return "rival_stands"
        clues, names = chosen
        if age and not any(self.whole.ground(name, age) for name in names):
            # Told all the same, as the patient's age; it decides nothing, so nothing is claimed of it.
            clues.remove(age)
        clues = self._leading(clues, pool)
        return prove(self.whole, self.root, clues, {name: self.rivals[name] for name in names})

    def _complaint(self, core: Sequence[Clue]) -> list[Clue]:
        """Return what brings the patient: of what most of the root's have, and so many others that it tells little,
        the commonest; what nearly all of the root's have first."""
        if not self.rules.patients:
            return []
        share = {clue: self.findings.likelihood(clue)[self.at] for clue in self.told}
        found = [clue for clue in self.told if share[clue] >= self.rules.deciding_frequency]
        found = [clue for clue in found if not self._adds(clue) and self._is_new(clue, core)]
        found.sort(key=lambda clue: self.whole.bits(self.root, clue))
        found.sort(key=lambda clue: share[clue] < self.rules.negative_frequency)
        return [clue._replace(role="complaint") for clue in found[:1]]

    def _markers(self, clues: Sequence[Clue]) -> list[Clue]:
        """Return findings that mark the root, drawn among twice as many of the most bits x share of its patients: what
        few others have is no hallmark where half of those who have the disease lack it."""
        most, whole, root = self.rules.markers, self.whole, self.root
        found = [clue for clue in self._strong if self._adds(clue)] if most else []
        found.sort(key=lambda clue: -whole.bits(root, clue) * self.findings.likelihood(clue)[self.at])
        best = found[: 2 * most]
        chosen: list[Clue] = []
        for i in self.rng.permutation(len(best)):
            if len(chosen) < most and self._is_new(best[i], [*clues, *chosen]):
                chosen.append(best[i])
        return chosen

    @functools.cached_property
    def _strong(self) -> list[Clue]:
        """The findings that most of the root's patients have, as clues that decide."""
        least, findings = self.rules.deciding_frequency, self.findings
        return [
            clue._replace(role="discriminating")
            for clue in self.told
            if findings.column(clue.tail, clue.relation)[self.at] >= least and not is_soft(clue.tail)
        ]

    def _leading(self, clues: list[Clue], pool: Sequence[Clue]) -> list[Clue]:
        """Return the clues with as many findings more as the root needs to lead over all diseases."""
        whole, root = self.whole, self.root
        while len(claimed(clues)) < self.rules.max_facts and whole.lead(root, clues)[1] < self.rules.min_lead:
            left = [clue for clue in pool if clue.role == "discriminating" and self._is_new(clue, clues)]
            left = [clue for clue in left if clue not in clues and self._adds(clue)]
            if not left:
                break
            joint = whole.findings.joint(clues)
            clues = [*clues, max(left, key=lambda clue: whole.lead(root, [clue], joint)[1])]
        return clues

    def _age(self) -> Clue | None:
        """Return an onset of the root, drawn where it has several, as a clue."""
        ages = onsets(self.graph, self.root, [clue.tail for clue in self.told])
        return Clue("has_onset", pick(self.rng, ages), "onset") if ages else None

    def _deciding(self, told: Sequence[Clue], sharing: np.ndarray, untold: Sequence[str]) -> list[Clue]:
        """Return what may be told beside that: inheritance, more findings of the root, what it has not."""
        family = self.whole.family(self.root) if "inherited_as" not in untold else None
        pool = [family] if family else []
        pool += [clue for clue in self._strong if self._is_new(clue, told)]
        lacked = (self.lacked(self.names[place]) for place in np.flatnonzero(sharing))
        return list(dict.fromkeys(itertools.chain(pool, *lacked)))

    def _lacked(self, rival: str) -> list[Clue]:
        """Return what nearly all counted patients of the rival have and one of the root may be said not to have."""
        findings, clues = self.findings, []
        rows = findings.rows(rival)
        often = (findings.share[rows] >= self.rules.negative_frequency) & (findings.of[rows] > 0)
        for row in rows[often].tolist():
            clue = self.whole.finding(row)
            if (
                clue
                and not is_soft(clue.tail)
                and not shares_a_word(clue.tail, rival)
                and self._may_lack(clue)
            ):
                clues.append(clue._replace(role="absent"))
        return clues

    def _may_lack(self, clue: Clue) -> bool:
        """Whether no source speaks of the finding in the root, nor of anything like it, nor does the root's name."""
        if shares_a_word(clue.tail, self.root) or not is_deniable(said(clue.tail)):
            return False
        if not self.whole.all_around(self.root).isdisjoint(self.whole.around(clue.tail)):
            return False
        if has(self.graph, self.root, clue.relation, clue.tail):
            return False
        return self.findings.column(clue.tail, clue.relation)[self.at] <= RARE

    def _fewest(
        self, clues: list[Clue], pool: list[Clue], sharing: np.ndarray, most: int
    ) -> tuple[list[Clue], list[str]] | None:
        """Add as few clues of the pool as rule three rivals out; return all clues and the three; None where none do."""
        added = list(clues)
        if self.rules.min_family:
            added.append(self.whole.family(self.root))
        each = self._with(_Against(np.zeros(1), np.zeros(1), np.zeros(1, dtype=bool)), added)
        against = _Against(each.odds.sum(0), each.found.sum(0), each.grounded.any(0))
        outweighed = np.repeat(sharing, self.size)
        least = math.log(self.rules.min_ratio)
        decides = {clue for clue in [*clues, *pool] if clue.role == "discriminating"}
        decides = {clue for clue in decides if self.weights(clue)[outweighed].max() >= least}
        left = [clue for clue in pool if clue not in added and self._is_new(clue, added)]
        while True:
            best, so_far = self._best(against, sharing)
            if so_far == 2 * OPTIONS and not decides.isdisjoint(added):
                return added, [self.names[place] for place in best]
            roles = (
                ("discriminating",) if decides.isdisjoint(added) else ("discriminating", "family", "absent")
            )
            if sum(clue.role == "absent" for clue in added) == NEGATIVES:
                roles = roles[:2]
            able = [clue for clue in left if clue.role in roles]
            if len(claimed(added)) >= most or not able:
                return None

            each = self._with(against, able)
            gains = self._best(each, sharing)[1]
            most_gained = int(gains.argmax())
            clue = able[most_gained]
            if decides.isdisjoint(added) and clue not in decides:
                return None
            if gains[most_gained] <= so_far + 1e-9:
                return None
            added.append(clue)
            against = _Against(*(field[most_gained] for field in each))
            left = [other for other in left if other != clue and self._is_new(other, [clue])]

    def _with(self, against: _Against, clues: Sequence[Clue]) -> _Against:
        """Return what is against the rivals with each of the clues, one a row."""
        weights = np.stack([self.weights(clue) for clue in clues])
        is_found = np.array([[clue.role in FOUND] for clue in clues])
        grounds = np.stack([self.grounds(clue) for clue in clues])
        return _Against(
            against.odds + weights, against.found + weights * is_found, against.grounded | grounds
        )

    def _best(self, against: _Against, sharing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the places of the three rivals that are best ruled out [..., 3], and how far [...]: 0 to 6, of each
        how far it is outweighed (log-odds, up to the least) and whether it is grounded.

        Where the family's history is to rule some out, it rules out two, where it can, and never all: it alone must not
        answer. Those that it leaves must be outweighed by what is found too: of a lack alone readers make little.
        """

        def share(odds: np.ndarray, least: float) -> np.ndarray:
            return np.minimum(np.minimum.reduceat(odds, self.first, -1), math.log(least)) / math.log(least)

        done = share(against.odds, self.whole.least_odds) + against.grounded  # [..., rivals]
        apart, wanted = np.zeros(len(self.names), dtype=bool), self.rules.min_family
        if wanted:
            apart = self.grounds(self.whole.family(self.root))
            done = np.where(apart, done, np.minimum(done, 2 * share(against.found, self.whole.least_found)))
        done = np.where(sharing, done, -np.inf)
        order = np.lexsort(
            (np.broadcast_to(~apart, done.shape), -done)
        )  # of those that are as far, the ones apart first
        out = apart[order]
        # First as many apart as are wanted, then one that is not, then the others.
        turn = np.where(out, 2 * (out.cumsum(-1) > wanted), 1 + ((~out).cumsum(-1) > 1))
        best = np.take_along_axis(order, turn.argsort(-1, kind="stable"), -1)[..., :OPTIONS]
        return best, np.sort(np.take_along_axis(done, best, -1), -1).sum(-1)
