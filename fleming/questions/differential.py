"""Differential first, then clues: which diseases are plausible together, what marks one, the fewest facts that decide.

Some findings are core: the answer and its rivals have them. Markers are what most other diseases lack. The others
decide: findings that the answer mostly has and a rival hardly ever, findings that a rival nearly always has and this
patient has not, inheritance, age. Each rival must be outweighed, and for a reason that a source states. Left out: the
proofs (judging.py), the likelihoods (likelihood.py).
"""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from fleming.graph.completeness import is_closed
from fleming.graph.naming import alike
from fleming.graph.open_world import has, kin, may_be_one
from fleming.questions.judging import RARE, Differential, Judge, facts, prove
from fleming.questions.names import is_deniable, is_soft, is_tellable, said, shares_a_word
from fleming.questions.patient import onsets, pedigree
from fleming.questions.phrases import pick
from fleming.questions.query import Clue
from fleming.sources.vocabulary import FEATURES

NEAREST = 400  # diseases looked at as rivals
NEGATIVES = 2  # findings that are said to be absent, at most
OPTIONS = 3  # wrong ones
CORE_TRIES = 6  # sets of core findings tried for a root
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

    @functools.cached_property
    def known(self) -> np.ndarray:
        """Whether the lack of a finding says something of each disease, so many others being on record: bool."""
        findings = self.findings
        stated = np.bincount(findings.disease, findings.stated, len(findings.diseases))
        return stated >= self.rules.min_findings

    @functools.cache  # noqa: B019
    def family(self, root: str) -> Clue | None:
        """The one mode of inheritance, where a family can show it."""
        modes = self.graph.follow(root, "inherited_as")
        if len(modes) != 1 or not is_closed(self.graph, root, "inherited_as"):
            return None
        return Clue("inherited_as", modes[0], "family") if pedigree(self.graph, root, modes[0]) else None

    @functools.cache  # noqa: B019
    def finding(self, row: int) -> Clue | None:
        """Return the row's finding as a core clue; None for one that is denied, trusted too little, seen in too few
        patients or cannot be told."""
        findings, name = self.findings, self.graph.names[self.findings.term[row]]
        if 0 < findings.of[row] < self.rules.min_patients:
            return None
        if not findings.stated[row] or findings.trust[row] < max(self.rules.min_confidence, 1e-9):
            return None
        if not is_tellable(name):
            return None
        disease = findings.diseases[findings.disease[row]]
        relation = next(relation for relation in FEATURES if self.graph.states(disease, relation, name))
        return Clue(relation, name, "core")

    def draw(
        self, root: str, rivals: Mapping[str, Sequence[str]], untold: Sequence[str], rng: Generator
    ) -> Differential | str:
        """Draw clues of the root that three of `rivals` (the preferred first) are ruled out by, each with the diseases
        that must be outweighed with it.

        `untold`: relations that the clues must not speak of. Codes: `no_findings`, too few can be told; `no_family`,
        the family's history rules too few out, or all; `no_rivals`, no three share the core findings; `rival_stands`,
        not three are outweighed by a positive ground; those of `prove`.
        """
        attempt, least = _Attempt(self, root, rng), self.rules.min_family
        if len(attempt.told) < self.rules.min_shared + 1:
            return "no_findings"
        family = self.family(root) if "inherited_as" not in untold else None
        others = {name for name in rivals if family and self.ground(name, family)}
        if least and not least <= len(others) < len(rivals):
            return "no_family"
        code = "no_rivals"
        for _ in range(CORE_TRIES):
            core, sharing = attempt.core(list(rivals), others)
            if not core:
                break
            found = attempt.decide(core, {name: rivals[name] for name in sharing}, untold)
            if isinstance(found, Differential):
                return found
            code = found
        return code


class _Attempt:
    """One root, its findings that can be told, in an order drawn."""

    def __init__(self, whole: Differentials, root: str, rng: Generator) -> None:
        self.graph, self.rules, self.findings, self.root, self.rng = (
            whole.graph, whole.rules, whole.findings, root, rng,
        )  # fmt: skip
        self.whole = whole
        self.at = self.findings.place[root]
        self.told: list[Clue] = []
        """Its findings, as core clues."""
        rows = self.findings.rows(root)
        for row in rows[rng.permutation(len(rows))].tolist():
            clue = whole.finding(row)
            if self.findings.share[row] >= self.rules.min_frequency and clue:
                self.told.append(clue)

    def core(self, rivals: Sequence[str], others: Set[str]) -> tuple[list[Clue], list[str]]:
        """Return core findings, and the rivals that have at least `min_shared` of them: three or more, `min_family` of
        `others` and one more among them. The first such set in a drawn order; ([], []) where there is none."""
        findings, rules = self.findings, self.rules
        places = np.array([findings.place[name] for name in rivals], dtype=int)
        order = [self.told[i] for i in self.rng.permutation(len(self.told))]
        order = [clue for clue in order if self._adds(clue) and self.whole.has(clue)[places].sum() >= OPTIONS]
        order = order[:CORE_LOOKED_AT]
        has = np.array([self.whole.has(clue)[places] for clue in order], dtype=int)
        has = has.reshape(len(order), len(rivals))
        of_others = np.array([name in others for name in rivals])
        for size in (rules.min_shared, rules.min_shared + 1):
            for before in itertools.combinations(range(len(order)), size - 1):
                last = before[-1] + 1 if before else 0
                enough = has[last:] + has[list(before)].sum(0) >= rules.min_shared  # [findings, rivals]
                fits = (enough.sum(1) >= OPTIONS) & (enough[:, of_others].sum(1) >= rules.min_family)
                fits &= enough[:, ~of_others].any(1) | (rules.min_family == 0)
                for i in np.flatnonzero(fits):
                    chosen = [order[place] for place in (*before, last + i)]
                    if all(self._is_new(clue, chosen[:place]) for place, clue in enumerate(chosen)):
                        return chosen, [
                            name for name, shares in zip(rivals, enough[i], strict=True) if shares
                        ]
        return [], []

    def _adds(self, clue: Clue) -> bool:
        return self.whole.bits(self.root, clue) >= self.rules.min_bits

    def _is_new(self, clue: Clue, chosen: Sequence[Clue]) -> bool:
        """Whether the finding says nothing that a chosen one says: none is a form of the other, no near ancestor."""
        for other in chosen:
            if other.relation not in FEATURES:
                continue
            if clue.role == "absent" and shares_a_word(clue.tail, other.tail):
                return False  # no thin lip where a thick one is told
            if (
                other.tail == clue.tail
                or other.tail in kin(self.graph, clue.tail)
                or alike(other.tail, clue.tail)
            ):
                return False
            if not self.whole.informative(clue.tail).isdisjoint(self.whole.informative(other.tail)):
                return False
        return True

    # deciding

    def decide(
        self, core: list[Clue], rivals: Mapping[str, Sequence[str]], untold: Sequence[str]
    ) -> Differential | str:
        """Return the differential of the core findings; a code where the rivals that share them cannot be ruled out."""
        age = self._age() if "has_onset" not in untold else None
        clues = [*self._complaint(core), *core, *([age] if age else [])]
        clues += self._markers(clues)
        pool = self._deciding(clues, list(rivals), untold)
        room = self.rules.max_facts + bool(age)
        chosen = self._fewest(clues, pool, rivals, room)
        if chosen is None:
            return "rival_stands"
        clues, names = chosen
        if age and not any(self.whole.ground(name, age) for name in names):
            # Told all the same, as the patient's age; it decides nothing, so nothing is claimed of it.
            clues.remove(age)
        clues = self._leading(clues, pool)
        return prove(self.whole, self.root, clues, {name: rivals[name] for name in names})

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
        return [replace(clue, role="complaint") for clue in found[:1]]

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
            replace(clue, role="discriminating")
            for clue in self.told
            if findings.column(clue.tail, clue.relation)[self.at] >= least and not is_soft(clue.tail)
        ]

    def _leading(self, clues: list[Clue], pool: Sequence[Clue]) -> list[Clue]:
        """Return the clues with as many findings more as the root needs to lead over all diseases."""
        whole, root = self.whole, self.root
        while facts(clues) < self.rules.max_facts and whole.lead(root, clues)[1] < self.rules.min_lead:
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

    def _deciding(self, told: Sequence[Clue], sharing: Sequence[str], untold: Sequence[str]) -> list[Clue]:
        """Return what may be told beside that: inheritance, more findings of the root, what it has not."""
        findings, rules = self.findings, self.rules
        pool, family = [], self.whole.family(self.root)
        if family and "inherited_as" not in untold:
            pool.append(family)
        pool += [clue for clue in self._strong if self._is_new(clue, told)]
        for name in sharing:
            for row in findings.rows(name).tolist():
                if findings.share[row] < rules.negative_frequency or findings.of[row] == 0:
                    continue
                core = self.whole.finding(row)
                clue = replace(core, role="absent") if core else None
                if not clue or clue in pool or is_soft(clue.tail) or shares_a_word(clue.tail, name):
                    continue
                if self._may_lack(clue):
                    pool.append(clue)
        return pool

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
        self, clues: list[Clue], pool: list[Clue], rivals: Mapping[str, Sequence[str]], most: int
    ) -> tuple[list[Clue], list[str]] | None:
        """Add as few clues of the pool as rule three rivals out; return all clues and the three; None where none do."""
        names = list(rivals)
        # A rival is outweighed with all the diseases that come with it: they lie one behind the other.
        every = list(itertools.chain(*rivals.values()))
        first = np.cumsum([0, *map(len, rivals.values())])[:-1]
        places = [self.findings.place[name] for name in every]
        weights = {clue: self.whole.weights(self.root, clue, places) for clue in [*clues, *pool]}
        grounds = {
            clue: np.array([self.whole.ground(name, clue) is not None for name in names]) for clue in weights
        }
        family, apart = self.whole.family(self.root), None
        added = list(clues)
        if self.rules.min_family:
            added.append(family)
            apart = grounds[family]
        odds = sum((weights[clue] for clue in added), np.zeros(len(every)))
        grounded = np.zeros(len(names), dtype=bool)
        for clue in added:
            grounded |= grounds[clue]
        decides = {clue for clue in weights if clue.role == "discriminating"}
        decides = {clue for clue in decides if weights[clue].max() >= math.log(self.rules.min_ratio)}
        while True:
            best, so_far = self._best(np.minimum.reduceat(odds, first), grounded, apart)
            if so_far == 2 * OPTIONS and not decides.isdisjoint(added):
                return added, [names[i] for i in best]
            roles = (
                ("discriminating",) if decides.isdisjoint(added) else ("discriminating", "family", "absent")
            )
            if sum(clue.role == "absent" for clue in added) == NEGATIVES:
                roles = roles[:2]
            left = [
                clue
                for clue in pool
                if clue.role in roles and clue not in added and self._is_new(clue, added)
            ]
            if facts(added) >= most or not left:
                return None

            gains = []
            for clue in left:
                weakest = np.minimum.reduceat(odds + weights[clue], first)
                gains.append(self._best(weakest, grounded | grounds[clue], apart)[1])
            clue = left[int(np.argmax(gains))]
            if decides.isdisjoint(added) and clue not in decides:
                return None
            if max(gains) <= so_far + 1e-9:
                return None
            added.append(clue)
            odds = odds + weights[clue]
            grounded = grounded | grounds[clue]

    def _best(
        self, odds: np.ndarray, grounded: np.ndarray, apart: np.ndarray | None
    ) -> tuple[list[int], float]:
        """Return the places of the three rivals that are best ruled out, and how far: 0 to 6, of each how far it is
        outweighed (log-odds, up to the least) and whether it is grounded. Where the family's history is to rule some
        out (`apart`: whether it does), so many are among them, and one that it does not: it alone must not answer."""
        least = math.log(self.whole.least_odds)
        done = np.minimum(odds, least) / least + grounded
        order = np.argsort(-done, kind="stable")
        if apart is not None:
            is_apart = apart[order]
            chosen = [*order[is_apart][: self.rules.min_family], *order[~is_apart][:1]]
            order = [*chosen, *(place for place in order if place not in chosen)]
        best = [int(place) for place in order[:OPTIONS]]
        return best, float(np.sort(done[best]).sum())
