"""Which questions are drawn: each kind its share, each rare root once before any twice, no answer too often.

Every draw is counted noise (Philox keyed by a hash of what it is for). Left out: mixing with public questions.
"""

import bisect
import itertools
import math
from collections import Counter, defaultdict
from typing import Any

import numpy as np
from numpy.random import Generator
from tqdm import tqdm

from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.noise import generator
from fleming.questions.differential import Differentials
from fleming.questions.metapaths import Kind, kinds
from fleming.questions.phrases import pick
from fleming.questions.posing import Poser
from fleming.questions.query import Query
from fleming.records import Question
from fleming.settings.synth import QuestionRules, SynthConfig
from model.errors import InputError

SCALE = 3000  # the bounds on repeats are for so many questions


class Pool:
    """The roots of one kind of path that may still be asked about: rare and common ones, or by the few answers."""

    def __init__(self, graph: KnowledgeGraph, kind: Kind, rare_factor: float) -> None:
        starts = graph.starts(kind.chain)
        self.names = [name for name in graph.of_type(kind.root) if starts[graph.place(name)]]
        self.kind = kind
        self.rare = {name: graph.entities[name].rare for name in self.names}
        self.rare_share = sum(self.rare.values()) / max(1, len(self.names))
        self.rare_factor = rare_factor
        self.in_vain: Counter[str] = Counter()
        self.left: dict[Any, list[list[int]]] = defaultdict(lambda: [[]])
        """group -> places of its names by how often they were asked about: none, once, ..., each level in order."""
        self.at: dict[str, tuple[Any, int, int]] = {}
        """name -> its group, level and place."""
        for place, name in enumerate(self.names):
            group = graph.follow(name, kind.chain[-1]) if kind.answers == "values" else [self.rare[name]]
            if len(group) == 1:
                self.left[group[0]][0].append(place)
                self.at[name] = group[0], 0, place

    def has_root(self, most: int | None) -> bool:
        """Whether one of its roots was asked about fewer than `most` times."""
        return any(level for levels in self.left.values() for level in levels[:most])

    def draw(self, most: int | None, balance: Counter[str], rng: Generator) -> str:
        """Return one of the roots that were asked about least, of a few answers the one most often wrong by now."""
        sizes = {group: sum(map(len, levels[:most])) for group, levels in self.left.items()}
        groups = [group for group, size in sizes.items() if size]
        if self.kind.answers == "values":
            group = min(groups, key=lambda value: (balance[value], value))
        else:
            weights = [sizes[group] * (self.rare_factor if group else 1.0) for group in groups]
            group = groups[
                int(np.searchsorted(np.cumsum(weights) / sum(weights), rng.random(), side="right"))
            ]
        return self.names[pick(rng, next(level for level in self.left[group] if level))]

    def drop(self, root: str) -> None:
        """Never ask about the root again."""
        if root in self.at:
            group, level, place = self.at.pop(root)
            places = self.left[group][level]
            places.pop(bisect.bisect_left(places, place))

    def note(self, root: str) -> None:
        """Take note that a question was posed about the root, of this kind or another."""
        if root in self.at:
            group, level, place = self.at[root]
            self.drop(root)
            levels = self.left[group]
            if level + 1 == len(levels):
                levels.append([])
            bisect.insort(levels[level + 1], place)
            self.at[root] = group, level + 1, place


class Repeats:
    """How often each answer of a kind of path was right, and each last fact was asked for."""

    def __init__(self, rules: QuestionRules, wanted: int) -> None:
        self.per_answer = _scaled(rules.max_per_answer, wanted)
        self.per_fact = rules.max_per_fact
        self.answers: Counter[tuple[str, str]] = Counter()
        self.facts: Counter[frozenset[str]] = Counter()

    def code(self, query: Query) -> str | None:
        """Return the code of what was asked too often, None for a path that may be asked about."""
        kind = query.kind
        often = self.answers[kind.metapath, query.answer]
        if self.per_answer and often >= self.per_answer and kind.chain[-1:] != ("inherited_as",):
            return "common_answer"
        asked = self.facts[frozenset(query.nodes[-2:])]
        return "common_fact" if self.per_fact and asked >= self.per_fact else None

    def note(self, provenance: dict[str, Any]) -> None:
        """Take note of a question that is kept."""
        self.answers[provenance["metapath"], provenance["answer"]] += 1
        edges = [provenance["path"][place] for place in provenance["chain"]]
        # The two ends stand for the fact: a finding may be asked for by a relation beside the one that states it.
        self.facts[frozenset((edges[-1]["head"], edges[-1]["tail"]) if edges else (provenance["root"],))] += 1


def sample_questions(
    graph: KnowledgeGraph, wanted: int, seed: int, synth: SynthConfig
) -> tuple[list[Question], list[dict], dict[str, Any]]:
    """Draw up to `wanted` questions by the shares of `synth.kinds`, no composition twice.

    The next question is of the kind that is furthest behind its share; a root is drawn among those asked about least,
    rare ones `rare_factor` times as likely as others. A root is left alone for a kind of path after `tries` draws in
    vain, and while it has been asked `max_per_root` times (3 of 3,000, of as many as are posed by then). What a kind
    cannot fill, the others do.

    Returns the questions, the rejected draws (a record with a `code` for each distinct one), and a report.
    """
    rules, shares = synth.rules, synth.kinds
    poser = Poser(Differentials(graph, rules), synth.registers)
    pools = _pools(graph, shares, synth.rare_factor)
    questions = poser.posed
    rejected: dict[tuple, dict] = {}
    repeats = Repeats(rules, wanted)
    posed: Counter[str] = Counter()
    balances: dict[str, Counter[str]] = defaultdict(Counter)
    even, drawn, roots = [], [], []
    rng = generator(seed, "draw")
    progress = tqdm(total=wanted, desc="questions", unit="question", dynamic_ncols=True)
    while len(questions) < wanted:
        most = _scaled(rules.max_per_root, len(questions) + 1)
        able = {
            name: found for name, group in pools.items() if (found := [p for p in group if p.has_root(most)])
        }
        if not able:
            break
        name = min(able, key=lambda name: (posed[name] / shares[name], name))
        pool = pick(rng, able[name])
        balance = balances[_asked_for(pool.kind)]
        root = pool.draw(most, balance, rng)
        rare = pool.rare[root]
        even.append(pool.rare_share)
        drawn.append(rare)
        noise = generator(seed, name, root, pool.in_vain[root], posed[name])
        question = poser.pose(pool.kind, root, noise, balance, repeats.code)
        if isinstance(question, str):
            code = question
            pool.in_vain[root] += 1
            if pool.in_vain[root] >= rules.tries or code in FINAL:
                pool.drop(root)
            rejected[pool.kind.metapath, root, code] = {
                "code": code,
                "metapath": pool.kind.metapath,
                "nodes": [root],
            }
        else:
            questions[question.id] = question
            roots.append(root if rare else "")
            answer = question.provenance["answer"]
            for other in itertools.chain(*pools.values()):
                other.note(root)
            posed[name] += 1
            pool.in_vain[root] = 0
            repeats.note(question.provenance)
            balance.update(dict.fromkeys(question.options.values(), -1))
            balance[answer] += 4
            if pool.kind.answers == "values" and posed[name] >= _quota(name, shares, wanted):
                del pools[name]  # its few answers would come again and again
            progress.update()
    progress.close()
    report = _report(list(questions.values()), list(rejected.values()), shares, wanted)
    report |= {
        "rare_even": _mean(even),
        "rare_drawn": _mean(drawn),
        "rare_roots": _mean([bool(root) for root in roots]),
        "effective_rare_roots": effective_number([root for root in roots if root]),
    }
    return list(questions.values()), list(rejected.values()), report


FINAL = ("no_path", "no_name", "no_findings", "no_pedigree", "few_distractors")
"""Codes that another draw of the same root would meet again."""


def _pools(graph: KnowledgeGraph, shares: dict[str, float], rare_factor: float) -> dict[str, list[Pool]]:
    known = kinds()
    unknown = sorted(set(shares) - {kind.name for kind in known})
    if unknown:
        names = ", ".join(dict.fromkeys(kind.name for kind in known))
        raise InputError(f"synth.kinds.{unknown[0]}: no kind has this name (the kinds: {names})")
    pools: dict[str, list[Pool]] = defaultdict(list)
    for kind in known:
        if shares.get(kind.name):
            pools[kind.name].append(Pool(graph, kind, rare_factor))
    return pools


def _asked_for(kind: Kind) -> str:
    return kind.chain[-1] if kind.chain else "diagnosis"


def _scaled(most: int | None, questions: int) -> int | None:
    """Return the bound for so many questions, None for none."""
    return max(1, math.ceil(most * questions / SCALE)) if most else None


def effective_number(names: list[str]) -> float:
    """Return exp of the entropy of how often each name occurs: so many, were all equally frequent."""
    if not names:
        return 0.0
    shares = np.array(list(Counter(names).values())) / len(names)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _report(
    posed: list[Question], refused: list[dict], shares: dict[str, float], wanted: int
) -> dict[str, Any]:
    by_kind = Counter(question.provenance["kind"] for question in posed)
    grounds = Counter(
        wrong["ground"] for question in posed for wrong in question.provenance["certificate"]["distractors"]
    )
    for name in shares:
        count = by_kind[name]
        quota = _quota(name, shares, wanted)
        if count + 1 < quota:  # one is rounding
            print(
                f"questions: {name}: {count:,} of {quota:,} that its share asks for; the graph gives no more"
            )
    codes = Counter(record["code"] for record in refused)
    if len(posed) < wanted:
        print(f"questions: {len(posed):,} of {wanted:,} posed; {why_not(codes)}")
    return {
        "wanted": wanted,
        "kinds": {name: by_kind[name] for name in shares},
        "questions": dict(Counter(question.provenance["metapath"] for question in posed)),
        "rejected": dict(codes),
        "grounds": dict(grounds),
        "rare_questions": _mean([question.provenance["rare"] for question in posed]),
    }


MEANING = {
    "no_findings": "diseases with fewer findings than synth.rules.min_findings; a source with more, as HPO's, helps",
    "no_pedigree": "no mode of inheritance is on record, which synth.rules.min_family above 0 asks for",
    "no_rivals": "no three diseases share synth.rules.min_shared findings with the right one",
    "rival_stands": "no source gives a reason against three rivals, as how frequent a finding is",
    "few_distractors": "no three options of like size that a source calls wrong and whose diseases share enough "
    "findings (synth.rules.similar_size, similar_length, min_shared)",
}


def why_not(codes: dict[str, int]) -> str:
    """Return what stands against more questions: the codes of the draws in vain (docs/data.md), the commonest first."""
    if not codes:
        return "the graph has no root from which the path of a kind in synth.kinds leads to an answer"
    commonest = Counter(codes).most_common(5)
    meaning = f"; {commonest[0][0]}: {MEANING[commonest[0][0]]}" if commonest[0][0] in MEANING else ""
    return "no more, by how many draws: " + ", ".join(f"{code} {n:,}" for code, n in commonest) + meaning


def _quota(name: str, shares: dict[str, float], wanted: int) -> int:
    return round(wanted * shares[name] / sum(shares.values()))


def _mean(values: list) -> float:
    return float(np.mean(values or [0]))
