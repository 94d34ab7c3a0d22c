"""Which questions are drawn: rare entities first, one question a composition, and a split by composition.

Every draw is counted noise (Philox keyed by a hash of what it is for). Left out: mixing with public questions.
"""

import dataclasses
from collections import Counter, defaultdict

import numpy as np

from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.graph.questions import METAPATHS, draw_query, pick, pose_question
from fleming.order import generator
from fleming.records import Question
from model.errors import InputError


def seed_probabilities(graph: KnowledgeGraph, names: list[str], rare_factor: float, alpha: float) -> np.ndarray:
    """Return p [len(names)], proportional to (rare_factor where rare, else 1) * (1 + degree) ** -alpha."""
    weights = np.array(
        [(rare_factor if graph.entities[name].rare else 1.0) * (1.0 + graph.degree(name)) ** -alpha for name in names]
    )
    return weights / weights.sum()


def sample_questions(
    graph: KnowledgeGraph,
    counts: dict[int, int],
    seed: int,
    rare_factor: float = 3.0,
    alpha: float = 0.5,
    patience: int = 3000,
) -> tuple[list[Question], list[dict], dict]:
    """Draw `counts[hops]` questions of each chain length, no composition twice.

    Each draw picks a metapath evenly and a root by `seed_probabilities`. A chain length ends early after `patience`
    draws in a row without a new question. Of equally near competitors the one that is owed most comes first: three
    times wrong for each time right, so that the options alone do not tell the answer.

    Returns the questions, the rejected draws (a record with a `code` for each distinct one), and a report: questions
    and rejections by kind, and the share of rare roots that an even draw would give (`rare_even`), that was drawn
    (`rare_drawn`), and of questions with a rare entity (`rare_questions`).
    """
    questions: dict[tuple, Question] = {}
    rejected: dict[tuple, dict] = {}
    roots = {root: graph.of_type(root) for root in {kind.root for kind in METAPATHS.values()}}
    cumulative = {t: seed_probabilities(graph, names, rare_factor, alpha).cumsum() for t, names in roots.items()}
    rare = {t: np.array([graph.entities[name].rare for name in names]) for t, names in roots.items()}
    even, drawn = [], []
    for hops, count in counts.items():
        rng = generator(seed, "draw", hops)
        owed: dict[str, Counter] = defaultdict(Counter)
        metapaths = [name for name, kind in METAPATHS.items() if kind.hops == hops and roots[kind.root]]
        wanted, idle = len(questions) + count, 0
        while metapaths and len(questions) < wanted and idle < patience:
            idle += 1
            metapath = pick(rng, metapaths)
            root_type = METAPATHS[metapath].root
            i = int(np.searchsorted(cumulative[root_type][:-1], rng.random(), side="right"))
            even.append(rare[root_type].mean())
            drawn.append(rare[root_type][i])
            query = draw_query(graph, metapath, roots[root_type][i], rng)
            if isinstance(query, str):
                rejected[metapath, i, query] = {"code": query, "metapath": metapath, "nodes": [roots[root_type][i]]}
            elif (key := query.composition) not in questions and key not in rejected:
                due = owed[METAPATHS[metapath].chain[-1]]
                question = pose_question(graph, query, generator(seed, key), due)
                if isinstance(question, str):
                    rejected[key] = {"code": question, "metapath": metapath, "nodes": list(query.nodes)}
                else:
                    questions[key], idle = question, 0
                    due.update(dict.fromkeys(question.options.values(), -1))
                    due[query.nodes[-1]] += 4
    posed = list(questions.values())
    report = {
        "questions": dict(Counter(q.provenance["metapath"] for q in posed)),
        "rejected": dict(Counter(record["code"] for record in rejected.values())),
        "rare_even": float(np.mean(even or [0])),
        "rare_drawn": float(np.mean(drawn or [0])),
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
    kind = METAPATHS[provenance["metapath"]]
    if not kind.clue_relations:
        return provenance["metapath"], *provenance["visible"], provenance["answer"]
    return tuple(sorted(provenance["visible"][: -1 if kind.bridge_relation else None]))


def _kept_in_training(question: Question) -> set[tuple[str, ...]]:
    """Return what training must still hold where the question is held out: its facts, and its answer to such a step.

    Without the second, an option that is never right in training would be known for that, not for the facts.
    """
    return facts(question) | {(METAPATHS[question.provenance["metapath"]].chain[-1], question.provenance["answer"])}


def split_by_composition(
    questions: list[Question], dev: int, test: int, seed: int
) -> tuple[list[Question], list[Question], list[Question]]:
    """Return (train, dev, test), each question's `split` set; dev and test hold equal shares of each chain length.

    A combination lies in one split. It is held out only where every fact of its questions stays on the path of a
    training question, so that a test asks for known facts put together anew, and where its answer stays the answer
    of one. Members of a held-out combination that
    exceed a share are dropped. InputError where the facts allow no split as large as asked.
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
            if not any(room[q.provenance["hops"]] for q in units[key]) or any(
                left[kept] == n for kept, n in lost.items()
            ):
                continue
            left -= lost
            for question in units.pop(key):
                if room[question.provenance["hops"]]:
                    room[question.provenance["hops"]] -= 1
                    held[split].append(question)
        if len(held[split]) < total:
            raise InputError(
                f"split: {total} {split} questions were asked for, but only {len(held[split])} can be held out with "
                f"every fact still in training (short by chain length: {room}); ask for fewer, or sample more"
            )
    train = [question for unit in units.values() for question in unit]
    return tuple(
        [dataclasses.replace(question, split=split) for question in part]
        for split, part in (("train", train), ("dev", held["dev"]), ("test", held["test"]))
    )
