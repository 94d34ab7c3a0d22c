"""Which questions are drawn: rare entities first, one question a composition, and a split by composition.

Every draw is counted noise (Philox keyed by a hash of what it is for). Left out: mixing with public questions.
"""

import dataclasses
import math
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.noise import generator
from fleming.questions.masking import BASIC, Rules, draw_query, draw_scenario, pose_question
from fleming.questions.metapaths import METAPATHS
from fleming.questions.wording import LISTED, pick
from fleming.records import Question
from model.errors import InputError


@dataclass(frozen=True)
class Seeds:
    """The entities at which a metapath may begin, to be drawn in proportion to `seed_weights`."""

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
    names = graph.of_type(kind.root)
    leads = graph.starts(kind.chain)[graph.numbers(names)] if names else []
    clued = [name for name, ok in zip(names, leads, strict=True) if ok]
    return [n for n in clued if sum(len(graph.tails(n, relation)) for relation in LISTED[kind.root]) > 1]


def sample_questions(
    graph: KnowledgeGraph,
    counts: dict[int, int],
    seed: int,
    rare_factor: float = 3.0,
    alpha: float = 0.5,
    patience: int = 3000,
    scenario: bool = False,
    rules: Rules = BASIC,
    max_answer_share: float = 1.0,
) -> tuple[list[Question], list[dict], dict]:
    """Draw `counts[hops]` questions of each chain length, no composition twice: basic ones, or scenarios.

    Each draw picks a metapath evenly and a root from `seeds`, for a scenario from those that are `supported`. A chain
    length ends early after `patience` draws in a row without a new question; a scenario's metapath does after a tenth
    of it. No more than `max_answer_share` of a length's questions have one answer, or one root: else "autosomal
    recessive" would be a good guess (codes `common_answer`, `common_root`). Of equally near competitors the one that is
    owed most comes first: three times wrong for each time right, so that the options alone do not tell the answer.

    Returns the questions, the rejected draws (a record with a `code` for each distinct one), and a report: questions
    and rejections by kind, and the share of rare roots that an even draw would give (`rare_even`), that was drawn
    (`rare_drawn`), and of questions with a rare root (`rare_roots`) or any rare entity (`rare_questions`).
    """
    questions: dict[tuple, Question] = {}
    rejected: dict[tuple, dict] = {}
    by_type: dict[str, Seeds] = {}
    even, drawn, roots = [], [], []
    progress = tqdm(total=sum(counts.values()), desc="questions", unit="question", dynamic_ncols=True)
    for hops, count in counts.items():
        rng = generator(seed, "draw", hops)
        owed: dict[str, Counter] = defaultdict(Counter)
        pools: dict[str, Seeds] = {}
        for name, kind in METAPATHS.items():
            if kind.hops != hops or kind.scenario != scenario:
                continue
            if scenario:
                pools[name] = seeds(graph, supported(graph, name), rare_factor, alpha)
                continue
            if kind.root not in by_type:
                by_type[kind.root] = seeds(graph, graph.of_type(kind.root), rare_factor, alpha)
            pools[name] = by_type[kind.root]
        metapaths = [name for name, pool in pools.items() if pool.names]
        wanted, idle, vain, answers, starts = len(questions) + count, 0, Counter(), Counter(), Counter()
        most = max(1, math.ceil(max_answer_share * count))
        while metapaths and len(questions) < wanted and idle < patience:
            idle += 1
            metapath = pick(rng, metapaths)
            pool = pools[metapath]
            i = pool.draw(rng)
            even.append(pool.rare_share)
            drawn.append(pool.rare[i])
            if scenario:
                vain[metapath] += 1
                if vain[metapath] > patience // 10:
                    metapaths.remove(metapath)
                query = draw_scenario(graph, metapath, pool.names[i], rng, rules)
            else:
                query = draw_query(graph, metapath, pool.names[i], rng)
            if isinstance(query, str):
                rejected[metapath, i, query] = {"code": query, "metapath": metapath, "nodes": [pool.names[i]]}
            elif (key := query.composition) not in questions and key not in rejected:
                due = owed[METAPATHS[metapath].chain[-1]]
                if answers[query.nodes[-1]] >= most:
                    question = "common_answer"
                elif starts[query.nodes[0]] >= most:
                    question = "common_root"
                else:
                    question = pose_question(graph, query, generator(seed, key), due, rules)
                if isinstance(question, str):
                    rejected[key] = {"code": question, "metapath": metapath, "nodes": list(query.nodes)}
                else:
                    questions[key], idle = question, 0
                    answers[query.nodes[-1]] += 1
                    starts[query.nodes[0]] += 1
                    vain[metapath] = 0
                    roots.append(pool.rare[i])
                    due.update(dict.fromkeys(question.options.values(), -1))
                    due[query.nodes[-1]] += 4
                    progress.update()
    progress.close()
    posed = list(questions.values())
    report = {
        "questions": dict(Counter(q.provenance["metapath"] for q in posed)),
        "rejected": dict(Counter(record["code"] for record in rejected.values())),
        "rare_even": float(np.mean(even or [0])),
        "rare_drawn": float(np.mean(drawn or [0])),
        "rare_roots": float(np.mean(roots or [0])),
        "rare_questions": float(np.mean([q.provenance["rare"] for q in posed] or [0])),
    }
    return posed, list(rejected.values()), report


def facts(question: Question) -> set[tuple[str, str, str]]:
    """Return the triples on the question's path, clues included."""
    return {(edge["head"], edge["relation"], edge["tail"]) for edge in question.provenance["path"]}


def combination(question: Question) -> tuple[str, ...]:
    """Return what held-out questions must not share with training.

    For a hidden root it is the set of its clues, whatever is asked about it: stricter than the composition. For a
    visible root it is the composition itself, since a name cannot be kept from training altogether.
    """
    provenance = question.provenance
    if not (clues := provenance["path"][: provenance["chain"][0]]):
        return provenance["metapath"], *provenance["visible"], provenance["answer"]
    return tuple(sorted(edge["tail"] for edge in clues))


def _kept_in_training(question: Question) -> set[tuple[str, ...]]:
    """Return what training must still hold where the question is held out: its facts, and its answer to such a step.

    Without the second, an option that is never right in training would be known for that, not for the facts.
    """
    return facts(question) | {(METAPATHS[question.provenance["metapath"]].chain[-1], question.provenance["answer"])}


def split_by_composition(
    questions: list[Question], dev: int, test: int, seed: int, facts_in_training: bool = True
) -> tuple[list[Question], list[Question], list[Question]]:
    """Return (train, dev, test), each question's `split` set; dev and test hold equal shares of each chain length.

    A combination lies in one split. With `facts_in_training` it is held out only where every fact of its questions
    stays on the path of a training question, so that a test asks for known facts put together anew, and where its
    answer stays the answer of one. Members of a held-out combination that exceed a share are dropped. InputError where
    the facts allow no split as large as asked.
    """
    units = defaultdict(list)
    for question in questions:
        units[combination(question)].append(question)
    keys = [list(units)[i] for i in generator(seed, "split").permutation(len(units))]
    left = Counter(kept for question in questions for kept in _kept_in_training(question))
    lengths = sorted({q.provenance["hops"] for q in questions})
    held: dict[str, list[Question]] = {}
    for split, total in (("test", test), ("dev", dev)):
        held[split] = []
        room = {hops: (total + i) // len(lengths) for i, hops in enumerate(lengths)}
        for key in [key for key in keys if key in units]:
            if not any(room.values()):
                break
            lost = Counter(kept for question in units[key] for kept in _kept_in_training(question))
            if not any(room[q.provenance["hops"]] for q in units[key]):
                continue
            if facts_in_training and any(left[kept] == n for kept, n in lost.items()):
                continue
            left -= lost
            for question in units.pop(key):
                if room[question.provenance["hops"]]:
                    room[question.provenance["hops"]] -= 1
                    held[split].append(question)
        if len(held[split]) < total:
            raise InputError(
                f"split: {total} {split} questions were asked for, but only {len(held[split])} can be held out"
                f"{' with every fact still in training' * facts_in_training} (short by chain length: {room}); "
                "ask for fewer, or sample more"
            )
    train = [question for unit in units.values() for question in unit]
    return tuple(
        [dataclasses.replace(question, split=split) for question in part]
        for split, part in (("train", train), ("dev", held["dev"]), ("test", held["test"]))
    )
