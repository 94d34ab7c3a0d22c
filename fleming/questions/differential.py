"""Differential first, then clues: which diseases are plausible together, what marks one, the fewest facts that decide.

Some findings are core: the answer and its rivals have them. Markers are what most other diseases lack. The others
decide: findings that the answer mostly has and a rival hardly ever, findings that a rival nearly always has and this
patient has not, inheritance, age. Each rival must be outweighed, and for a reason that a source states. Left out: how
few of them do (deciding.py), the proofs (judging.py), the likelihoods (likelihood.py).
"""

import functools
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.random import Generator

from fleming.graph.naming import alike
from fleming.graph.open_world import has, kin, taken_for_one
from fleming.questions.deciding import OPTIONS, Contest
from fleming.questions.judging import RARE, Differential, Judge, claimed, prove
from fleming.questions.names import is_deniable, is_soft, said, shares_a_word
from fleming.questions.patient import onsets
from fleming.questions.phrases import pick
from fleming.questions.query import Clue
from fleming.sources.vocabulary import FEATURES

NEAREST = 800  # diseases looked at as rivals
CORE_LOOKED_AT = 24  # findings of which such a set is made, at most


class Differentials(Judge):
    """Draws differentials on a graph."""

    @functools.cache  # noqa: B019
    def rivals(self, root: str) -> list[str]:
        """Return the nearest diseases of which enough is known, that share what may be core, and that are no form of
        the root by name, hierarchy, gene or most findings."""
        graph, findings, genes = self.graph, self.findings, self.graph.follow(root, "associated_gene")
        allelic = {name for gene in genes for name in graph.follow(gene, "^associated_gene")}
        core = (clue for clue in self.told(root).values() if self.adds(root, clue))
        shared = sum(map(self.has, core), np.zeros(len(findings.diseases), dtype=int))
        able = self.known & (shared >= self.rules.min_shared)
        near = findings.near(root, NEAREST)
        found = [name for name in near if able[findings.place[name]] and name not in allelic]
        forms = set(taken_for_one(graph, root, found))
        return [name for name in found if name not in forms]

    @functools.cache  # noqa: B019
    def told(self, root: str) -> dict[int, Clue]:
        """Return the findings that enough of the root's patients have and that can be told, by row, as core clues."""
        rows = self.findings.rows(root)
        often = rows[self.findings.share[rows] >= self.rules.min_frequency].tolist()
        return {row: clue for row in often if (clue := self.finding(row))}

    def adds(self, root: str, clue: Clue) -> bool:
        """Whether the clue tells enough of the root from other diseases."""
        return self.bits(root, clue) >= self.rules.min_bits

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
        apart = attempt.contest.apart
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


class _Attempt:
    """One root and its rivals: its findings that can be told, in an order drawn, and what each says of each rival."""

    def __init__(
        self, whole: Differentials, root: str, rivals: Mapping[str, Sequence[str]], rng: Generator
    ) -> None:
        self.whole, self.root, self.rivals, self.rng = whole, root, rivals, rng
        self.graph, self.rules, self.findings = whole.graph, whole.rules, whole.findings
        self.at = self.findings.place[root]
        self.tried: dict[frozenset[Clue], Differential | str] = {}
        """What came of what was told."""
        self.contest = Contest(whole, root, rivals, self.is_new)
        self.may_lack = functools.cache(self._may_lack)
        self.says = functools.cache(self._says)

        told, rows = whole.told(root), self.findings.rows(root)
        self.told = [told[row] for row in rows[rng.permutation(len(rows))].tolist() if row in told]
        had = {clue: whole.has(clue)[self.contest.places] for clue in self.told if whole.adds(root, clue)}
        self.had = {clue: found for clue, found in had.items() if found.sum() >= OPTIONS}
        """Of each that may be core, which rivals have it too: bool [rivals]."""

    def core(self, apart: np.ndarray) -> tuple[list[Clue], np.ndarray]:
        """Return core findings, and whether each rival has at least `min_shared` of them: three or more do, among them
        `min_family` of those that the family's history sets `apart`, and one other. The first such set in a drawn
        order; none where there is none."""
        rules = self.rules
        order = [self.told[i] for i in self.rng.permutation(len(self.told))]
        order = [clue for clue in order if clue in self.had][:CORE_LOOKED_AT]
        has = np.array([self.had[clue] for clue in order], dtype=int).reshape(len(order), len(self.rivals))
        for size in (rules.min_shared, rules.min_shared + 1):
            for before in itertools.combinations(range(len(order)), size - 1):
                last = before[-1] + 1 if before else 0
                enough = has[last:] + has[list(before)].sum(0) >= rules.min_shared  # [findings, rivals]
                fits = (enough.sum(1) >= OPTIONS) & (enough[:, apart].sum(1) >= rules.min_family)
                fits &= enough[:, ~apart].any(1) | (rules.min_family == 0)
                for i in np.flatnonzero(fits):
                    chosen = [order[place] for place in (*before, last + i)]
                    if all(self.is_new(clue, chosen[:place]) for place, clue in enumerate(chosen)):
                        return chosen, enough[i]
        return [], apart

    def is_new(self, clue: Clue, chosen: Sequence[Clue]) -> bool:
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
        ages = self._ages if "has_onset" not in untold else []
        age = [Clue("has_onset", pick(self.rng, ages), "onset")] if ages else []
        clues = [*self._complaint(core), *core, *age]
        clues += self._markers(clues)
        told = frozenset(clues)
        if told not in self.tried:  # half of the draws come again
            self.tried[told] = self._decide(clues, sharing, untold)
        return self.tried[told]

    def _decide(self, clues: list[Clue], sharing: np.ndarray, untold: Sequence[str]) -> Differential | str:
        age = next((clue for clue in clues if clue.role == "onset"), None)
        contest, most = self.contest.among(sharing), self.rules.max_facts + bool(age)
        has_room = len(claimed([*clues, *contest.family])) < most
        pool = self._pool(contest.names, untold) if has_room else []
        chosen = contest.fewest(clues, pool, most)
        if chosen is None:
            return "rival_stands"
        clues, names = chosen
        if age and not any(self.whole.ground(name, age) for name in names):
            # Told all the same, as the patient's age; it decides nothing, so nothing is claimed of it.
            clues.remove(age)
        clues = self._leading(clues, pool)
        return prove(self.whole, self.root, clues, {name: self.rivals[name] for name in names})

    def _complaint(self, core: Sequence[Clue]) -> list[Clue]:
        """Return what brings the patient, where something does that says nothing the core does."""
        found = (clue for clue in self._complaints if self.is_new(clue, core))
        return [clue._replace(role="complaint") for clue in itertools.islice(found, 1)]

    @functools.cached_property
    def _complaints(self) -> list[Clue]:
        """What most of the root's have, and so many others that it tells little, the commonest first; before them what
        nearly all of the root's have."""
        if not self.rules.patients:
            return []
        share = {clue: self.findings.likelihood(clue)[self.at] for clue in self.told}
        found = [clue for clue in self.told if share[clue] >= self.rules.deciding_frequency]
        found = [clue for clue in found if not self.whole.adds(self.root, clue)]
        found.sort(key=lambda clue: self.whole.bits(self.root, clue))
        return sorted(found, key=lambda clue: share[clue] < self.rules.negative_frequency)

    def _markers(self, clues: Sequence[Clue]) -> list[Clue]:
        """Return findings that mark the root, drawn among its hallmarks."""
        chosen: list[Clue] = []
        for i in self.rng.permutation(len(self._hallmarks)):
            clue = self._hallmarks[i]
            if len(chosen) < self.rules.markers and self.is_new(clue, [*clues, *chosen]):
                chosen.append(clue)
        return chosen

    @functools.cached_property
    def _hallmarks(self) -> list[Clue]:
        """Twice as many findings as are told to mark the root, of the most bits x share of its patients: what few
        others have is no hallmark where half of those who have the disease lack it."""
        most, whole, root = self.rules.markers, self.whole, self.root
        found = [clue for clue in self._strong if whole.adds(root, clue)] if most else []
        found.sort(key=lambda clue: -whole.bits(root, clue) * self.findings.likelihood(clue)[self.at])
        return found[: 2 * most]

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
            left = [clue for clue in pool if clue.role == "discriminating" and self.is_new(clue, clues)]
            left = [clue for clue in left if clue not in clues and whole.adds(root, clue)]
            if not left:
                break
            joint = whole.findings.joint(clues)
            clues = [*clues, max(left, key=lambda clue: whole.lead(root, [clue], joint)[1])]
        return clues

    @functools.cached_property
    def _ages(self) -> list[str]:
        """Onsets of the root that may be told."""
        return onsets(self.graph, self.root, [clue.tail for clue in self.told])

    def _pool(self, rivals: Sequence[str], untold: Sequence[str]) -> list[Clue]:
        """Return what may be told beside the core: inheritance, findings of the root, what nearly all counted patients
        of a rival have and one of the root may be said not to have."""
        family = self.whole.family(self.root) if "inherited_as" not in untold else None
        usual = itertools.chain(*map(self.whole.usual, rivals))
        lacked = filter(self.may_lack, usual)
        return list(dict.fromkeys(itertools.chain([family] if family else [], self._strong, lacked)))

    def _may_lack(self, clue: Clue) -> bool:
        """Whether no source speaks of the finding in the root, nor of anything like it, nor does the root's name."""
        if shares_a_word(clue.tail, self.root) or not is_deniable(said(clue.tail)):
            return False
        if not self.whole.all_around(self.root).isdisjoint(self.whole.around(clue.tail)):
            return False
        if has(self.graph, self.root, clue.relation, clue.tail):
            return False
        return self.findings.column(clue.tail, clue.relation)[self.at] <= RARE
