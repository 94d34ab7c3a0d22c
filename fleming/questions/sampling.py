"""Which questions are drawn: rare entities first, one question a composition.

Every draw is counted noise (Philox keyed by a hash of what it is for). Left out: mixing with public questions.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.noise import generator
from fleming.questions.masking import draw_query, draw_scenario
from fleming.questions.metapaths import LISTED, METAPATHS
from fleming.questions.phrases import pick
from fleming.questions.posing import pose_question
from fleming.questions.query import Query
from fleming.questions.rules import BASIC, Rules
from fleming.records import Question


@dataclass(frozen=True)
class Seeds:
    """The entities at which a metapath may begin, and how likely each is drawn."""

    names: list[str]
    rare: np.ndarray
    """bool [names]"""
    rare_share: float
    """Of the names."""
    cumulative: np.ndarray
    """[names]"""

    def draw(self, rng: np.random.Generator) -> int:
        return int(np.searchsorted(self.cumulative[:-1], rng.random(), side="right"))


def seeds(graph: KnowledgeGraph, names: list[str], rare_factor: float, alpha: float) -> Seeds:
    """Return the seeds with p proportional to (rare_factor where rare, else 1) * (1 + degree) ** -alpha."""
    rare = np.array([graph.entities[name].rare for name in names], dtype=bool)
    degree = graph.degrees()[graph.numbers(names)] if names else np.zeros(0)
    weights = np.where(rare, rare_factor, 1.0) * (1.0 + degree) ** -alpha
    cumulative = (weights / weights.sum()).cumsum() if names else weights
    return Seeds(names, rare, float(rare.mean()) if names else 0.0, cumulative)


def supported(graph: KnowledgeGraph, metapath: str) -> list[str]:
    """Return the entities from which the metapath's chain leads somewhere and that have two findings as clues."""
    kind = METAPATHS[metapath]
    starts = graph.starts(kind.chain)

    def has_clues(name: str) -> bool:
        return sum(len(graph.follow(name, relation)) for relation in LISTED[kind.root]) > 1

    return [name for name in graph.of_type(kind.root) if starts[graph.place(name)] and has_clues(name)]


@dataclass
class _Drawn:
    """All questions so far, and how rare what was drawn is."""

    questions: dict[tuple, Question] = field(default_factory=dict)
    """By composition."""
    rejected: dict[Hashable, dict[str, Any]] = field(default_factory=dict)
    even: list[float] = field(default_factory=list)
    """Each draw's share of rare roots, were it an even one."""
    rare: list[bool] = field(default_factory=list)
    """Whether each draw's root is rare."""
    posed_rare: list[bool] = field(default_factory=list)
    """The same of each question's root."""

    def reject(self, key: Hashable, code: str, metapath: str, nodes: list[str]) -> None:
        self.rejected[key] = {"code": code, "metapath": metapath, "nodes": nodes}

    def report(self) -> dict[str, Any]:
        provenances = [question.provenance for question in self.questions.values()]
        return {
            "questions": dict(Counter(provenance["metapath"] for provenance in provenances)),
            "rejected": dict(Counter(record["code"] for record in self.rejected.values())),
            "rare_even": _mean(self.even),
            "rare_drawn": _mean(self.rare),
            "rare_roots": _mean(self.posed_rare),
            "rare_questions": _mean([provenance["rare"] for provenance in provenances]),
        }


def _mean(values: list) -> float:
    return float(np.mean(values or [0]))


class _Tally:
    """What the questions of one chain length have as answers, roots and options."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.answers: Counter[str] = Counter()
        self.roots: Counter[str] = Counter()
        self.balances: dict[str, Counter[str]] = defaultdict(Counter)
        """Last step -> option -> how often it should still be wrong: three times for each time right."""

    def balance(self, query: Query) -> Counter[str]:
        return self.balances[query.kind.chain[-1]]

    def too_common(self, query: Query) -> str | None:
        """Return the code of what has had its share."""
        if self.answers[query.answer] >= self.most:
            return "common_answer"
        return "common_root" if self.roots[query.nodes[0]] >= self.most else None

    def add(self, query: Query, question: Question) -> None:
        self.answers[query.answer] += 1
        self.roots[query.nodes[0]] += 1
        balance = self.balance(query)
        balance.update(dict.fromkeys(question.options.values(), -1))
        balance[query.answer] += 4


def sample_questions(
    graph: KnowledgeGraph, counts: dict[int, int], seed: int, rules: Rules = BASIC
) -> tuple[list[Question], list[dict], dict]:
    """Draw `counts[hops]` questions of each chain length, no composition twice: basic ones, or scenarios.

    Each draw picks a metapath evenly and a root from `seeds`, for a scenario from those that are `supported`. A chain
    length ends early after `patience` draws in a row without a new question; a scenario's metapath does after a tenth
    of it. No more than `max_answer_share` of a length's questions have one answer, or one root: else "autosomal
    recessive" would be a good guess (codes `common_answer`, `common_root`). Of equally near competitors the one that
    should most be wrong comes first: three times wrong for each time right, so that the options alone do not tell the
    answer.

    Returns the questions, the rejected draws (a record with a `code` for each distinct one), and a report: questions
    and rejections by kind, and the share of rare roots that an even draw would give (`rare_even`), that was drawn
    (`rare_drawn`), and of questions with a rare root (`rare_roots`) or any rare entity (`rare_questions`).
    """
    drawn = _Drawn()
    total = sum(counts.values())
    with tqdm(total=total, desc="questions", unit="question", dynamic_ncols=True) as progress:
        for hops, count in counts.items():
            _sample_length(graph, hops, count, seed, rules, drawn, progress)
    return list(drawn.questions.values()), list(drawn.rejected.values()), drawn.report()


def _sample_length(
    graph: KnowledgeGraph,
    hops: int,
    count: int,
    seed: int,
    rules: Rules,
    drawn: _Drawn,
    progress: tqdm,
) -> None:
    """Add questions of one chain length to `drawn`."""
    rng = generator(seed, "draw", hops)
    pools = _pools(graph, hops, rules)
    tally = _Tally(max(1, math.ceil(rules.max_answer_share * count)))
    enough = len(drawn.questions) + count
    idle, in_vain = 0, Counter()
    while pools and len(drawn.questions) < enough and idle < rules.patience:
        idle += 1
        metapath = pick(rng, list(pools))
        pool = pools[metapath]
        root = pool.draw(rng)
        is_rare = pool.rare[root]
        drawn.even.append(pool.rare_share)
        drawn.rare.append(is_rare)
        in_vain[metapath] += 1
        if rules.scenario and in_vain[metapath] > rules.patience // 10:
            del pools[metapath]

        query = _draw(graph, metapath, pool.names[root], rng, rules)
        if isinstance(query, str):
            drawn.reject((metapath, root, query), query, metapath, [pool.names[root]])
            continue
        key = query.composition
        if key in drawn.questions or key in drawn.rejected:
            continue
        question = tally.too_common(query)
        if question is None:
            question = pose_question(graph, query, generator(seed, key), tally.balance(query), rules)
        if isinstance(question, str):
            drawn.reject(key, question, metapath, list(query.nodes))
            continue
        idle = in_vain[metapath] = 0
        drawn.questions[key] = question
        drawn.posed_rare.append(is_rare)
        tally.add(query, question)
        progress.update()


def _pools(graph: KnowledgeGraph, hops: int, rules: Rules) -> dict[str, Seeds]:
    """Return where each metapath of the length may begin, for those that may begin anywhere."""
    pools = {}
    for name, kind in METAPATHS.items():
        if kind.hops == hops and kind.scenario == rules.scenario:
            names = supported(graph, name) if kind.scenario else graph.of_type(kind.root)
            pools[name] = seeds(graph, names, rules.rare_factor, rules.degree_exponent)
    return {name: pool for name, pool in pools.items() if pool.names}


def _draw(
    graph: KnowledgeGraph, metapath: str, root: str, rng: np.random.Generator, rules: Rules
) -> Query | str:
    if rules.scenario:
        return draw_scenario(graph, metapath, root, rng, rules)
    return draw_query(graph, metapath, root, rng)
