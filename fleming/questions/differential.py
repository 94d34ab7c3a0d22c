"""Differential first, then clues: which diseases are plausible together, and the fewest facts that decide between them.

Some findings are core: the answer and its rivals have them. The others decide: findings that the answer mostly has and
a rival hardly ever, findings that a rival nearly always has and this patient has not, inheritance, age. Each rival must
be outweighed, and for a reason that a source states. Left out: the likelihoods (likelihood.py), words (wording.py).
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from fleming.graph.completeness import is_closed
from fleming.graph.knowledge_graph import KnowledgeGraph, Triple
from fleming.graph.naming import alike
from fleming.graph.open_world import ancestors, has, kin, may_be_one
from fleming.questions.likelihood import Findings
from fleming.questions.names import is_deniable, is_meaningless, is_no_patient_finding, is_soft, said
from fleming.questions.patient import is_tellable_pedigree, onset_range
from fleming.questions.query import Clue
from fleming.settings.synth import QuestionRules
from fleming.sources.vocabulary import FEATURES
from fleming.text import name_key

NEAREST = 200  # diseases looked at as rivals
OPTIONS = 3  # wrong ones
CORE_TRIES = 6  # sets of core findings tried for a root
RARE = 0.1  # a finding of no more of a disease's counted patients speaks against it
WORD = 5  # letters of a word that tells something
COMMON_ANCESTOR = 3.0  # bits: findings below one such ancestor say one thing


@dataclass(frozen=True)
class Rival:
    """A disease that a reader must rule out, and why it is ruled out."""

    name: str
    odds: float
    """Of the answer against it, given the clues."""
    ground: str
    """absent_finding, contradicted, rare_finding, other_value, onset, closed; or absent, which is none."""
    proof: Triple
    """The fact that the ground is about: the rival's own, or the one that it would need."""
    shares: tuple[Triple, ...]
    """The core findings that it has too."""


@dataclass(frozen=True)
class Differential:
    """A patient: clues of whom the root alone explains all, and the rivals in the order in which they were ruled out."""

    clues: tuple[Clue, ...]
    rivals: tuple[Rival, ...]
    posterior: float
    """Of the root among the options."""
    runner_up: str
    """The likeliest other disease of the graph."""
    runner_up_odds: float
    needed: tuple[str, ...]
    """Of each clue, what is lost without it."""
    likelihoods: dict[str, list[float]] = field(default_factory=dict)
    """Disease of each option, the root first -> the likelihood of each clue."""


def is_tellable(name: str) -> bool:
    """Whether a patient can be said to have the finding, and a reader knows what it means."""
    return not is_meaningless(name) and not is_no_patient_finding(name)


def shares_a_word(one: str, other: str) -> bool:
    """Whether a longer word stands in both names."""
    words = {word for word in name_key(one).split() if len(word) >= WORD}
    return not words.isdisjoint(name_key(other).split())


class Differentials:
    """Draws differentials on a graph."""

    def __init__(self, graph: KnowledgeGraph, rules: QuestionRules) -> None:
        self.graph = graph
        self.rules = rules
        self.findings = Findings(graph)
        self._near: dict[str, list[str]] = {}

    def rivals(self, root: str) -> list[str]:
        """Return the nearest diseases that are no form of the root by name, hierarchy, gene or most findings."""
        if root not in self._near:
            near = self.findings.near(root, NEAREST)
            self._near[root] = [name for name in near if not self._is_one(root, name)]
        return self._near[root]

    def _is_one(self, root: str, name: str) -> bool:
        graph = self.graph
        if may_be_one(graph, root, name) or alike(root, name):
            return True
        genes = graph.follow(root, "associated_gene")
        return any(gene in graph.follow(name, "associated_gene") for gene in genes)

    def draw(
        self, root: str, rivals: Sequence[str], untold: Sequence[str], rng: Generator
    ) -> Differential | str:
        """Draw clues of the root that three of `rivals` (the preferred first) are ruled out by.

        `untold`: relations that the clues must not speak of. Codes: `no_findings`, too few can be told;
        `no_rivals`, no three share the core findings; `rival_stands`, not three are outweighed by a positive ground;
        `not_first`, another disease of the graph explains the clues as well; `clue_idle`, a group of clues is not
        needed.
        """
        attempt = _Attempt(self, root, rng)
        if len(attempt.told) < self.rules.min_shared + 1:
            return "no_findings"
        code = "no_rivals"
        for _ in range(CORE_TRIES):
            core, sharing = attempt.core(rivals)
            if len(sharing) < OPTIONS:
                continue
            found = attempt.decide(core, sharing, untold)
            if isinstance(found, Differential):
                return found
            code = found
        return code

    @functools.cache  # noqa: B019
    def ground(self, rival: str, clue: Clue) -> str | None:
        """Return why the clue speaks against the rival, as a source states it; None where none does."""
        findings, graph = self.findings, self.graph
        if clue.relation in FEATURES:
            at = findings.place[rival]
            share = findings.column(clue.tail, clue.relation)[at]
            if clue.role == "absent":
                return "absent_finding" if share >= self.rules.negative_frequency else None
            noted = findings.noted(rival, clue.tail)
            if noted is not None and share <= RARE:
                return "rare_finding" if findings.stated[noted] else "contradicted"
            lacks = findings.closed[clue.relation][at] and share < self.rules.min_frequency / 2
            return "closed" if lacks else None
        level = "nearly_closed" if clue.role == "onset" else "closed"
        if not is_closed(graph, rival, clue.relation, level):
            return None
        values = graph.follow(rival, clue.relation)
        if not values or any(findings.may_be(clue.relation, clue.tail, value) for value in values):
            return None
        return "onset" if clue.role == "onset" else "other_value"

    @functools.cache  # noqa: B019
    def informative(self, name: str) -> frozenset[str]:
        """Return the finding and what it is a form of, but for what many diseases have."""
        above = {name, *ancestors(self.graph, name)}
        return frozenset(other for other in above if self.findings.information(other) >= COMMON_ANCESTOR)


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
        stated = (self.graph.names[self.findings.term[row]] for row in self._stated_rows())
        self.near = frozenset().union(*map(whole.informative, stated))
        """What its findings are forms of, but for what many diseases have."""
        rows = self.findings.rows(root)
        for row in rows[rng.permutation(len(rows))]:
            clue = self._finding(row, "core")
            if self.findings.share[row] >= self.rules.min_frequency and clue:
                self.told.append(clue)

    def _stated_rows(self) -> np.ndarray:
        rows = self.findings.rows(self.root)
        return rows[self.findings.stated[rows]]

    def _finding(self, row: int, role: str) -> Clue | None:
        """Return the row's finding as a clue; None for one that is denied, trusted too little, or cannot be told."""
        findings, name = self.findings, self.graph.names[self.findings.term[row]]
        if not findings.stated[row] or findings.trust[row] < max(self.rules.min_confidence, 1e-9):
            return None
        if not is_tellable(name):
            return None
        disease = findings.diseases[findings.disease[row]]
        relation = next(relation for relation in FEATURES if self.graph.states(disease, relation, name))
        return Clue(relation, name, role)

    def core(self, rivals: Sequence[str]) -> tuple[list[Clue], list[str]]:
        """Return core findings, and the rivals that have at least `min_shared` of them."""
        findings, least = self.findings, self.rules.min_shared
        places = np.array([findings.place[name] for name in rivals], dtype=int)
        order = [self.told[i] for i in self.rng.permutation(len(self.told))]
        chosen: list[Clue] = []
        shared = np.zeros(len(rivals), dtype=int)
        for clue in order:
            if len(chosen) > least or (len(chosen) >= least and (shared >= least).sum() >= OPTIONS):
                break
            has = self._has(clue)[places]
            useful = has.sum() >= OPTIONS if not chosen else (has & (shared > 0)).sum() >= OPTIONS
            if useful and self._adds(clue) and self._is_new(clue, chosen):
                chosen.append(clue)
                shared += has
        enough = shared >= least
        return chosen, [name for name, fits in zip(rivals, enough, strict=True) if fits]

    def _has(self, clue: Clue) -> np.ndarray:
        """Whether each disease is known to have the finding in enough of its patients: bool [diseases]."""
        diseases, share = self.findings.having(self.graph.place(clue.tail))
        has = np.zeros(len(self.findings.diseases), dtype=bool)
        has[diseases[share >= self.rules.min_frequency]] = True
        return has

    def _adds(self, clue: Clue) -> bool:
        return self.bits(clue) >= self.rules.min_bits

    def bits(self, clue: Clue) -> float:
        """Return how much likelier the clue is in the root than in a disease of the graph, in bits."""
        likelihood = self.findings.likelihood(clue)
        return float(np.log2(likelihood[self.at] / likelihood.mean()))

    def _is_new(self, clue: Clue, chosen: Sequence[Clue]) -> bool:
        """Whether the finding says nothing that a chosen one says: none is a form of the other, no near ancestor."""
        for other in chosen:
            if other.relation not in FEATURES:
                continue
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

    def decide(self, core: list[Clue], sharing: list[str], untold: Sequence[str]) -> Differential | str:
        """Return the differential of the core findings; a code where the rivals that share them cannot be ruled out."""
        clues = list(core)
        age = self._value("has_onset", "onset") if "has_onset" not in untold else None
        clues += [age] if age else []
        room = self.rules.max_facts - len(core)
        pool = self._deciding(core, sharing, untold)
        chosen = self._fewest(clues, pool, sharing, room)
        if chosen is None:
            return "rival_stands"
        clues, names = chosen
        if age and not any(self.whole.ground(name, age) for name in names):
            # Told all the same, as the patient's age; it decides nothing, so nothing is claimed of it.
            clues.remove(age)
        return self._proved(clues, names)

    def _value(self, relation: str, role: str) -> Clue | None:
        """Return the value that the root has of the relation, drawn where it has several ages, as a clue."""
        values = self.graph.follow(self.root, relation)
        if role == "onset":
            values = [value for value in values if onset_range(value)]
        elif len(values) != 1 or not is_closed(self.graph, self.root, relation):
            return None
        if not values:
            return None
        return Clue(relation, values[int(self.rng.integers(len(values)))], role)

    def _deciding(self, core: Sequence[Clue], sharing: Sequence[str], untold: Sequence[str]) -> list[Clue]:
        """Return what may be told beside the core: inheritance, more findings of the root, what it has not."""
        findings, rules = self.findings, self.rules
        pool = []
        family = self._value("inherited_as", "family") if "inherited_as" not in untold else None
        if family and is_tellable_pedigree(self.graph, self.root, family.tail):
            pool.append(family)
        for clue in self.told:
            share = findings.column(clue.tail, clue.relation)[self.at]
            if share >= rules.deciding_frequency and not is_soft(clue.tail) and self._is_new(clue, core):
                pool.append(Clue(clue.relation, clue.tail, "discriminating"))
        for name in sharing:
            for row in findings.rows(name):
                if findings.share[row] < rules.negative_frequency or findings.of[row] == 0:
                    continue
                clue = self._finding(row, "absent")
                if not clue or clue in pool or is_soft(clue.tail) or shares_a_word(clue.tail, name):
                    continue
                if self._may_lack(clue):
                    pool.append(clue)
        return pool

    def _may_lack(self, clue: Clue) -> bool:
        """Whether no source speaks of the finding in the root, nor of anything like it, nor does the root's name."""
        if shares_a_word(clue.tail, self.root) or not is_deniable(said(clue.tail)):
            return False
        if has(self.graph, self.root, clue.relation, clue.tail):
            return False
        share = self.findings.column(clue.tail, clue.relation)[self.at]
        return share <= RARE and self.near.isdisjoint(self.whole.informative(clue.tail))

    def _fewest(
        self, clues: list[Clue], pool: list[Clue], sharing: list[str], room: int
    ) -> tuple[list[Clue], list[str]] | None:
        """Add as few clues of the pool as rule three rivals out; return all clues and the three; None where none do."""
        least = math.log(self.rules.min_odds)
        names = sharing
        weights = {clue: self._weights(clue, names) for clue in [*clues, *pool]}
        grounds = {
            clue: np.array([self.whole.ground(name, clue) is not None for name in names]) for clue in weights
        }
        odds = sum((weights[clue] for clue in clues), np.zeros(len(names)))
        grounded = np.zeros(len(names), dtype=bool)
        for clue in clues:
            grounded |= grounds[clue]
        added: list[Clue] = []
        while True:
            out = grounded & (odds >= least)
            if out.sum() >= OPTIONS and any(clue.role == "discriminating" for clue in added):
                three = [names[i] for i in np.flatnonzero(out)[:OPTIONS]]
                return [*clues, *added], three
            roles = ("discriminating",) if not added else ("discriminating", "family", "absent")
            left = [
                clue
                for clue in pool
                if clue.role in roles and clue not in added and self._is_new(clue, [*clues, *added])
            ]
            if len(added) == room or not left:
                return None

            gains = [_progress(odds + weights[clue], grounded | grounds[clue], least) for clue in left]
            best = left[int(np.argmax(gains))]
            if not added and not (weights[best] >= math.log(self.rules.min_ratio)).any():
                return None
            if max(gains) <= _progress(odds, grounded, least) + 1e-9:
                return None
            added.append(best)
            odds = odds + weights[best]
            grounded = grounded | grounds[best]

    def _weights(self, clue: Clue, names: Sequence[str]) -> np.ndarray:
        """Return the log of how much likelier the clue is in the root than in each of the diseases."""
        likelihood = self.findings.likelihood(clue)
        return np.log(likelihood[self.at]) - np.log(likelihood[[self.findings.place[name] for name in names]])

    # proving

    def _proved(self, clues: list[Clue], names: list[str]) -> Differential | str:
        """Return the differential, its proofs recounted over all diseases; a code for one that does not hold."""
        joint = self.findings.joint(clues)
        others = joint.copy()
        others[self.at] = -np.inf
        runner_up = int(others.argmax())
        if others[runner_up] >= joint[self.at]:
            return "not_first"
        odds = self._odds(clues, names)
        posterior = 1 / (1 + sum(1 / value for value in odds))
        if min(odds) < self.rules.min_odds or posterior < self.rules.min_posterior:
            return "rival_stands"  # without an age that decides nothing, as like as not
        if not any(self._decides(clue, names) for clue in clues):
            return "rival_stands"
        if not self.rules.min_facts <= len(clues) <= self.rules.max_facts:
            return "clue_idle"
        needed = [self._needed(clue, clues, names, joint) for clue in clues]
        if not all(needed) or not self._every_group_is_needed(clues, names):
            return "clue_idle"
        places = [self.at, *(self.findings.place[name] for name in names)]
        table = np.array([self.findings.likelihood(clue)[places] for clue in clues]).T
        return Differential(
            tuple(clues),
            tuple(self._rival(name, value, clues) for name, value in zip(names, odds, strict=True)),
            posterior,
            self.findings.diseases[runner_up],
            float(np.exp(joint[self.at] - others[runner_up])),
            tuple(needed),
            {
                self.findings.diseases[place]: [round(float(p), 4) for p in row]
                for place, row in zip(places, table, strict=True)
            },
        )

    def _decides(self, clue: Clue, names: Sequence[str]) -> bool:
        """Whether the finding alone speaks strongly against one of the diseases."""
        is_strong = self._weights(clue, names).max() >= math.log(self.rules.min_ratio)
        return clue.role == "discriminating" and bool(is_strong)

    def _odds(self, clues: Sequence[Clue], names: Sequence[str]) -> list[float]:
        weights = sum((self._weights(clue, names) for clue in clues), np.zeros(len(names)))
        return np.exp(weights).tolist()

    def _standing(self, clues: Sequence[Clue], names: Sequence[str]) -> list[str]:
        """Return the rivals that the clues do not rule out."""
        odds = self._odds(clues, names)
        return [
            name
            for name, value in zip(names, odds, strict=True)
            if value < self.rules.min_odds or not any(self.whole.ground(name, clue) for clue in clues)
        ]

    def _needed(self, clue: Clue, clues: Sequence[Clue], names: Sequence[str], joint: np.ndarray) -> str:
        """Return what is lost without the clue, "" where nothing is."""
        rest = [other for other in clues if other != clue]
        standing = self._standing(rest, names)
        if standing:
            return f"without it {' and '.join(standing)} would not be ruled out"
        bits = self.bits(clue)
        if bits >= self.rules.min_bits:
            return f"{bits:.1f} bits"
        return ""

    def _every_group_is_needed(self, clues: Sequence[Clue], names: Sequence[str]) -> bool:
        """Whether without any one group a second option stands; without the core, which all share, another disease."""
        for role in {clue.role for clue in clues}:
            rest = [clue for clue in clues if clue.role != role]
            if role != "core" and not self._standing(rest, names):
                return False
            if role == "core" and not self._standing(rest, names):
                joint = self.findings.joint(rest)
                if (joint >= joint[self.at] - math.log(self.rules.min_odds)).sum() < 2:
                    return False
        return True

    def _rival(self, name: str, odds: float, clues: Sequence[Clue]) -> Rival:
        at = self.findings.place[name]
        core = [clue for clue in clues if clue.role == "core"]
        shares = [(name, clue.relation, clue.tail) for clue in core if self._has(clue)[at]]
        proofs = [(self.whole.ground(name, clue), (name, clue.relation, clue.tail)) for clue in clues]
        grounds = [(why, proof) for why, proof in proofs if why]
        why, proof = min(grounds, key=lambda pair: GROUNDS.index(pair[0]))
        return Rival(name, odds, why, proof, tuple(shares))


def _progress(odds: np.ndarray, grounded: np.ndarray, least: float) -> float:
    """Return how far the best three rivals are outweighed (log-odds, up to `least`) and grounded: 0 to 6."""
    return float(np.sort(np.minimum(odds, least) / least + grounded)[-OPTIONS:].sum())


GROUNDS = ("contradicted", "absent_finding", "rare_finding", "other_value", "onset", "closed", "absent")
