"""Which questions are drawn: rare entities first, one question a composition.

Every draw is counted noise (Philox keyed by a hash of what it is for). Left out: mixing with public questions.
"""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
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

    def draw(self, rng: Generator) -> int:
        return int(np.searchsorted(self.cumulative[:-1], rng.random(), side="right"))


def seeds(graph: KnowledgeGraph, names: list[str], rare_factor: float, alpha: float) -> Seeds:
    """Return the seeds with p proportional to (rare_factor where rare, else 1) * (1 + degree) ** -alpha."""
    rare = np.array([graph.entities[name].rare for name in names], dtype=bool)
    degree = np.array([graph.degree(name) for name in names])
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
    questions: dict[tuple, Question] = {}
    rejected: dict[tuple, dict] = {}
    even, drawn, roots = [], [], []
    progress = tqdm(total=sum(counts.values()), desc="questions", unit="question", dynamic_ncols=True)
    for hops, count in counts.items():
        rng = generator(seed, "draw", hops)
        pools = _pools(graph, hops, rules)
        balances = defaultdict(Counter)  # last step -> option -> how often it should still be wrong
        taken, in_vain, idle = Counter(), Counter(), 0
        most = max(1, math.ceil(rules.max_answer_share * count))
        enough = len(questions) + count
        while pools and len(questions) < enough and idle < rules.patience:
            idle += 1
            metapath = pick(rng, list(pools))
            pool = pools[metapath]
            place = pool.draw(rng)
            even.append(pool.rare_share)
            drawn.append(pool.rare[place])
            in_vain[metapath] += 1
            if rules.scenario and in_vain[metapath] > rules.patience // 10:
                del pools[metapath]

            root = pool.names[place]
            query = _draw(graph, metapath, root, rng, rules)
            if isinstance(query, str):
                rejected[metapath, place, query] = {"code": query, "metapath": metapath, "nodes": [root]}
                continue
            key, answer = query.composition, query.answer
            if key in questions or key in rejected:
                continue
            balance = balances[query.kind.chain[-1]]
            if taken["answer", answer] >= most:
                question = "common_answer"
            elif taken["root", root] >= most:
                question = "common_root"
            else:
                question = pose_question(graph, query, generator(seed, key), balance, rules)
            if isinstance(question, str):
                rejected[key] = {"code": question, "metapath": metapath, "nodes": list(query.nodes)}
                continue

            questions[key] = question
            roots.append(pool.rare[place])
            taken.update([("answer", answer), ("root", root)])
            balance.update(dict.fromkeys(question.options.values(), -1))
            balance[answer] += 4
            idle = in_vain[metapath] = 0
            progress.update()
    progress.close()

    posed, refused = list(questions.values()), list(rejected.values())
    report = {
        "questions": dict(Counter(question.provenance["metapath"] for question in posed)),
        "rejected": dict(Counter(record["code"] for record in refused)),
        "rare_even": _mean(even),
        "rare_drawn": _mean(drawn),
        "rare_roots": _mean(roots),
        "rare_questions": _mean([question.provenance["rare"] for question in posed]),
    }
    return posed, refused, report


def _mean(values: list) -> float:
    return float(np.mean(values or [0]))


def _pools(graph: KnowledgeGraph, hops: int, rules: Rules) -> dict[str, Seeds]:
    """Return where each metapath of the length may begin, for those that may begin anywhere."""
    pools = {}
    for name, kind in METAPATHS.items():
        if kind.hops == hops and kind.scenario == rules.scenario:
            names = supported(graph, name) if kind.scenario else graph.of_type(kind.root)
            pools[name] = seeds(graph, names, rules.rare_factor, rules.degree_exponent)
    return {name: pool for name, pool in pools.items() if pool.names}


def _draw(graph: KnowledgeGraph, metapath: str, root: str, rng: Generator, rules: Rules) -> Query | str:
    if rules.scenario:
        return draw_scenario(graph, metapath, root, rng, rules)
    return draw_query(graph, metapath, root, rng)
