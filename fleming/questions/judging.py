"""What a clue says of a disease, what speaks against a rival, and whether a differential holds, counted over all.

Left out: drawing a differential (differential.py), the likelihoods (likelihood.py).
"""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fleming.graph.completeness import is_closed
from fleming.graph.knowledge_graph import KnowledgeGraph, Triple
from fleming.graph.open_world import ancestors
from fleming.questions.likelihood import Findings
from fleming.questions.names import is_soft, is_tellable, shares_a_word
from fleming.questions.patient import pedigree
from fleming.questions.query import Clue
from fleming.settings.synth import QuestionRules
from fleming.sources.vocabulary import FEATURES

FOUND = ("complaint", "core", "discriminating")  # roles of what the patient has
RARE = 0.1  # a finding of no more of a disease's counted patients speaks against it
COMMON_ANCESTOR = 3.0  # bits: findings below one such ancestor say one thing
ROUNDING = 1e-9  # odds that are the bound but for their last bits are the bound
POSITIVE_GROUNDS = ("contradicted", "absent_finding", "rare_finding", "other_value", "onset", "closed")
"""Why something is wrong, as a source states it, the surest first. Beside them, "absent": the graph does not say."""


@dataclass(frozen=True)
class Rival:
    """A disease that a reader must rule out, and why it is ruled out."""

    name: str
    odds: float
    """Of the answer against it, given the clues."""
    ground: str
    """One of POSITIVE_GROUNDS."""
    proof: Triple
    """The fact that the ground is about: the rival's own, or the one that it would need."""
    shares: tuple[Triple, ...]
    """The core findings that it has too."""


@dataclass(frozen=True)
class Differential:
    """A patient: clues that the root alone explains, and the rivals that they rule out."""

    clues: tuple[Clue, ...]
    rivals: tuple[Rival, ...]
    posterior: float
    """Of the root among the options."""
    runner_up: str
    """The likeliest other disease of the graph."""
    runner_up_odds: float
    needed: tuple[str, ...]
    """Of each clue, what is lost without it; "" of a complaint, of which nothing is claimed."""
    likelihoods: dict[str, list[float]] = field(default_factory=dict)
    """Disease of each option, the root first -> the likelihood of each clue."""


class Judge:
    """A graph's findings and the rules that a question is held to."""

    def __init__(self, graph: KnowledgeGraph, rules: QuestionRules) -> None:
        self.graph = graph
        self.rules = rules
        self.findings = Findings(graph)
        self.least_odds = rules.min_odds * (1 - ROUNDING)
        """Of the root against a rival that is outweighed."""
        self.least_found = rules.min_found * (1 - ROUNDING)
        """The same by findings alone."""

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

    def ground(self, rival: str, clue: Clue) -> str | None:
        """Return why the clue speaks against the rival, as a source states it; None where none does."""
        findings, at = self.findings, self.findings.place[rival]
        if not self.grounded(clue)[at]:
            return None
        if clue.relation not in FEATURES:
            return "onset" if clue.role == "onset" else "other_value"
        if clue.role == "absent":
            return "absent_finding"
        noted = findings.noted(rival, clue.tail)
        if noted is None or findings.column(clue.tail, clue.relation)[at] > RARE:
            return "closed"
        return "rare_finding" if findings.stated[noted] else "contradicted"

    @functools.lru_cache(4096)  # noqa: B019
    def grounded(self, clue: Clue) -> np.ndarray:
        """Whether the clue speaks against each disease, as a source states it: bool [diseases]."""
        findings = self.findings
        if clue.relation not in FEATURES:
            return np.array([self._has_another(name, clue) for name in findings.diseases], dtype=bool)
        share = findings.column(clue.tail, clue.relation)
        if clue.role == "absent":
            return share >= self.rules.negative_frequency
        lacks = findings.closed[clue.relation] & (share < self.rules.min_frequency / 2)
        return lacks | (findings.are_noted(clue.tail) & (share <= RARE))

    def _has_another(self, disease: str, clue: Clue) -> bool:
        """Whether all that a complete source knows of the disease's inheritance or onset is another one."""
        level = "nearly_closed" if clue.role == "onset" else "closed"
        if not is_closed(self.graph, disease, clue.relation, level):
            return False
        values = self.graph.follow(disease, clue.relation)
        return bool(values) and not any(
            self.findings.may_be(clue.relation, clue.tail, value) for value in values
        )

    @functools.cache  # noqa: B019
    def usual(self, disease: str) -> list[Clue]:
        """Return what nearly all counted patients of the disease have and its name does not say, as absent."""
        findings = self.findings
        rows = findings.rows(disease)
        often = (findings.share[rows] >= self.rules.negative_frequency) & (findings.of[rows] > 0)
        clues = filter(None, map(self.finding, rows[often].tolist()))
        return [
            clue._replace(role="absent")
            for clue in clues
            if not is_soft(clue.tail) and not shares_a_word(clue.tail, disease)
        ]

    @functools.cache  # noqa: B019
    def informative(self, name: str) -> frozenset[str]:
        """Return the finding and what it is a form of, but for what many diseases have."""
        above = {name, *ancestors(self.graph, name)}
        return frozenset(other for other in above if self.findings.information(other) >= COMMON_ANCESTOR)

    def around(self, name: str) -> frozenset[str]:
        """Return what the finding is a form of, but for what many diseases have and is not next to it."""
        return self.informative(name).union(self.graph.follow(name, "subtype_of"))

    @functools.cache  # noqa: B019
    def all_around(self, disease: str) -> frozenset[str]:
        """Return what the disease's findings are forms of, as `around`."""
        rows = self.findings.rows(disease)
        stated = (self.graph.names[term] for term in self.findings.term[rows[self.findings.stated[rows]]])
        return frozenset().union(*map(self.around, stated))

    @functools.lru_cache(4096)  # noqa: B019
    def has(self, clue: Clue) -> np.ndarray:
        """Whether each disease is known to have the finding in enough of its patients: bool [diseases]."""
        diseases, share = self.findings.having(self.graph.place(clue.tail))
        has = np.zeros(len(self.findings.diseases), dtype=bool)
        has[diseases[share >= self.rules.min_frequency]] = True
        return has

    @functools.lru_cache(4096)  # noqa: B019
    def bits(self, root: str, clue: Clue) -> float:
        """Return how much likelier the clue is in the root than in a disease of the graph, in bits."""
        likelihood = self.findings.likelihood(clue)
        return float(np.log2(likelihood[self.findings.place[root]] / likelihood.mean()))

    def weights(self, root: str, clue: Clue, places: Sequence[int]) -> np.ndarray:
        """Return the log of how much likelier the clue is in the root than in the diseases there: float64 [places]."""
        log = self.findings.log_likelihood(clue)
        return log[self.findings.place[root]] - log[places]

    def odds(self, root: str, clues: Sequence[Clue], names: Sequence[str]) -> list[float]:
        """Return the odds of the root against each of the diseases, given the clues."""
        places = [self.findings.place[name] for name in names]
        weights = sum((self.weights(root, clue, places) for clue in clues), np.zeros(len(names)))
        return np.exp(weights).tolist()

    def posterior(self, clues: Sequence[Clue]) -> np.ndarray:
        """Return how likely each disease of the graph is, all equally likely before: float64 [diseases], sum 1."""
        joint = self.findings.joint(clues)
        likelihood = np.exp(joint - joint.max())
        return likelihood / likelihood.sum()

    def lead(self, root: str, clues: Sequence[Clue], before: np.ndarray | None = None) -> tuple[str, float]:
        """Return the likeliest other disease of the graph, and the odds of the root against it.

        `before`: the log-likelihood of what was told before, in each disease.
        """
        joint, at = self.findings.joint(clues, before), self.findings.place[root]
        others = joint.copy()
        others[at] = -np.inf
        other = int(others.argmax())
        return self.findings.diseases[other], float(np.exp(joint[at] - joint[other]))

    def standing(self, root: str, clues: Sequence[Clue], names: Sequence[str]) -> list[str]:
        """Return the rivals that the clues do not rule out."""
        odds = self.odds(root, clues, names)
        return [
            name
            for name, value in zip(names, odds, strict=True)
            if value < self.least_odds or not any(self.ground(name, clue) for clue in clues)
        ]


def claimed(clues: Sequence[Clue]) -> list[Clue]:
    """Return the clues of which something is claimed: all but the complaint, which is told as age and sex are."""
    return [clue for clue in clues if clue.role != "complaint"]


def prove(
    judge: Judge, root: str, clues: list[Clue], rivals: Mapping[str, Sequence[str]]
) -> Differential | str:
    """Return the differential, its proofs counted over all diseases; a code for one that does not hold.

    `rivals`: each with the diseases that must be outweighed with it. Codes: `not_first`, another disease of the graph
    explains the clues as well; `rival_stands`, a rival is not outweighed, one that the family's history leaves not by
    what is found alone, no finding decides, or the family's history rules too few out, or all; `clue_idle`, there are
    too few or too many clues, or one, or a group of one role, is not needed.
    """
    rules, findings, names = judge.rules, judge.findings, list(rivals)
    runner_up, runner_up_odds = judge.lead(root, clues)
    if runner_up_odds <= 1 or runner_up_odds < rules.min_lead * (1 - ROUNDING):
        return "not_first"
    odds = judge.odds(root, clues, names)
    posterior = 1 / (1 + sum(1 / value for value in odds))
    every = list(itertools.chain(*rivals.values()))
    if min(judge.odds(root, clues, every)) < judge.least_odds or posterior < rules.min_posterior:
        return "rival_stands"  # without an age that decides nothing, as like as not
    if not any(_decides(judge, root, clue, names) for clue in clues):
        return "rival_stands"
    if rules.min_family:
        family = [clue for clue in clues if clue.role == "family"]
        left = [name for name in names if not any(judge.ground(name, clue) for clue in family)]
        if not left or len(names) - len(left) < rules.min_family:
            return "rival_stands"
        found = [clue for clue in clues if clue.role in FOUND]
        if min(judge.odds(root, found, [d for name in left for d in rivals[name]])) < judge.least_found:
            return "rival_stands"
    told = claimed(clues)
    if not rules.min_facts <= len(told) <= rules.max_facts:
        return "clue_idle"
    needed = {clue: _needed(judge, root, clue, clues, names) for clue in told}
    if not all(needed.values()) or not _every_group_is_needed(judge, root, clues, names):
        return "clue_idle"
    places = [findings.place[name] for name in (root, *names)]
    table = np.array([findings.likelihood(clue)[places] for clue in clues]).T  # [options, clues]
    return Differential(
        clues=tuple(clues),
        rivals=tuple(_rival(judge, name, value, clues) for name, value in zip(names, odds, strict=True)),
        posterior=posterior,
        runner_up=runner_up,
        runner_up_odds=runner_up_odds,
        needed=tuple(needed.get(clue, "") for clue in clues),
        likelihoods={
            findings.diseases[place]: [round(float(p), 4) for p in row]
            for place, row in zip(places, table, strict=True)
        },
    )


def _decides(judge: Judge, root: str, clue: Clue, names: Sequence[str]) -> bool:
    """Whether the finding alone speaks strongly against one of the diseases."""
    places = [judge.findings.place[name] for name in names]
    is_strong = judge.weights(root, clue, places).max() >= math.log(judge.rules.min_ratio)
    return clue.role == "discriminating" and bool(is_strong)


def _needed(judge: Judge, root: str, clue: Clue, clues: Sequence[Clue], names: Sequence[str]) -> str:
    """Return what is lost without the clue, "" where nothing is."""
    rest = [other for other in clues if other != clue]
    standing = judge.standing(root, rest, names)
    if standing:
        return f"without it {' and '.join(standing)} would not be ruled out"
    bits = judge.bits(root, clue)
    return f"{bits:.1f} bits" if bits >= judge.rules.min_bits else ""


def _every_group_is_needed(judge: Judge, root: str, clues: Sequence[Clue], names: Sequence[str]) -> bool:
    """Whether without any one group a second option stands; without the core, which all share, another disease."""
    for role in {clue.role for clue in claimed(clues)}:
        rest = [clue for clue in clues if clue.role != role]
        if judge.standing(root, rest, names):
            continue
        joint = judge.findings.joint(rest)
        least = joint[judge.findings.place[root]] - math.log(judge.rules.min_odds)
        if role != "core" or (joint >= least).sum() < 2:
            return False
    return True


def _rival(judge: Judge, name: str, odds: float, clues: Sequence[Clue]) -> Rival:
    at = judge.findings.place[name]
    core = [clue for clue in clues if clue.role == "core"]
    shares = [(name, clue.relation, clue.tail) for clue in core if judge.has(clue)[at]]
    proofs = [(judge.ground(name, clue), (name, clue.relation, clue.tail)) for clue in clues]
    grounds = [(why, proof) for why, proof in proofs if why]
    why, proof = min(grounds, key=lambda pair: POSITIVE_GROUNDS.index(pair[0]))
    return Rival(name, odds, why, proof, tuple(shares))
