"""A question's record: what was asked of whom, and everything that an auditor needs to count again.

Left out: how it was found (posing.py).
"""

from collections.abc import Sequence
from typing import Any

from numpy.random import Generator

from fleming.graph.knowledge_graph import KnowledgeGraph, Triple
from fleming.graph.open_world import ancestors, descendants
from fleming.questions.differential import Differentials
from fleming.questions.judging import Differential, Rival
from fleming.questions.options import Option
from fleming.questions.paths import right_answers
from fleming.questions.query import Query, instantiate
from fleming.questions.score import depth, score
from fleming.records import LETTERS, Question
from fleming.sources.vocabulary import FEATURES, like


def make_question(
    whole: Differentials,
    query: Query,
    options: Sequence[Option],
    differential: Differential | None,
    stem: str,
    said: dict[str, str],
    rng: Generator,
) -> Question:
    """Return the question, its options in a drawn order; `said`: register and language of the stem."""
    graph, kind = whole.graph, query.kind
    edges = [graph.edge(*triple) for triple in _stated(graph, query)]
    names = [query.nodes[0], *(name for edge in edges for name in (edge.head, edge.tail))]
    provenance: dict[str, Any] = {
        "kind": kind.name,
        "metapath": kind.metapath,
        "hops": kind.hops,
        "root": query.nodes[0],
        "path": [edge.to_json() for edge in edges],
        "chain": [place for place, (is_step, _) in enumerate(query.parts) if is_step],
        "visible": query.visible,
        "hidden": query.hidden,
        "answer": query.answer,
        "rare": any(graph.entities[name].rare for name in names),
        "register": said["register"],
        "certificate": _certificate(whole, query, options, differential),
    }
    if differential:
        provenance["patient"] = {"age": query.patient.age, "sex": query.patient.sex}
        provenance["clues"] = _clues(whole, query, differential)
    provenance["root_edges"] = graph.degree(query.nodes[0])
    provenance["depth"] = depth(provenance)
    provenance["score"] = score(provenance, stem)
    texts = [option.name for option in options]
    right = int(rng.integers(len(texts) + 1))
    texts.insert(right, query.answer)
    return Question(
        id=query.id,
        question=stem,
        options=dict(zip(LETTERS, texts, strict=False)),
        answer=LETTERS[right],
        source="graph",
        language=said["language"],
        provenance=provenance,
    )


def _stated(graph: KnowledgeGraph, query: Query) -> list[Triple]:
    """Return the facts of the path, a step to a finding by the relation that states it."""
    triples = instantiate(query.pattern, query.nodes)
    if query.kind.answers == "findings":
        head, _, tail = triples[-1]
        relation = next(name for name in FEATURES if graph.states(head, name, tail))
        triples[-1] = head, relation, tail
    return triples


def _clues(whole: Differentials, query: Query, differential: Differential) -> list[dict[str, Any]]:
    """Return what each clue is, on how many patients it rests, and what is lost without it."""
    findings, found = whole.findings, []
    for clue, needed in zip(differential.clues, differential.needed, strict=True):
        row = findings.noted(query.nodes[0], clue.tail) if clue.relation in FEATURES else None
        counts = None if row is None or not findings.of[row] else [findings.seen[row], findings.of[row]]
        record = {"relation": clue.relation, "tail": clue.tail, "role": clue.role}
        found.append({**record, "counts": counts, "needed": needed})
    return found


def _certificate(
    whole: Differentials, query: Query, options: Sequence[Option], differential: Differential | None
) -> dict[str, Any]:
    certificate: dict[str, Any] = {"solutions": right_answers(whole, query)}
    rivals: dict[str, Rival] = {}
    if differential:
        rivals = {rival.name: rival for rival in differential.rivals}
        clues = [f"no {clue.tail}" if clue.role == "absent" else clue.tail for clue in differential.clues]
        certificate |= {
            "rank": 1,
            "posterior": round(differential.posterior, 4),
            "runner_up": differential.runner_up,
            "runner_up_odds": round(differential.runner_up_odds, 2),
            "table": {"clues": clues, "rows": differential.likelihoods},
            "rivals": [_rival(rival) for rival in differential.rivals],
        }
    return {**certificate, "distractors": [_distractor(whole.graph, option, rivals) for option in options]}


def _rival(rival: Rival) -> dict[str, Any]:
    return {
        "disease": rival.name,
        "odds": round(rival.odds, 1),
        "ground": rival.ground,
        "proof": list(rival.proof),
        "shares": [list(triple) for triple in rival.shares],
    }


def _distractor(graph: KnowledgeGraph, option: Option, rivals: dict[str, Rival]) -> dict[str, Any]:
    root = option.path[0]
    rival = rivals.get(root)
    rests_on = dict.fromkeys([option.proof, *([rival.proof] if rival else [])])
    return {
        "option": option.name,
        "disease": root if len(option.path) > 1 or rival else None,
        "odds": round(rival.odds, 1) if rival else None,
        "ground": option.ground,
        "shares": [list(triple) for triple in option.shares],
        "violates": [list(option.proof)],
        "evidence": [edge for triple in rests_on for edge in _evidence(graph, triple)],
    }


def _evidence(graph: KnowledgeGraph, triple: Triple) -> list[dict[str, Any]]:
    """Return the edges that speak of the triple: itself or its negation, else what implies either, else the head's
    facts of the relation."""
    head, relation, tail = triple
    found = []
    implying = [[(tail, False), (tail, True)], [(name, False) for name in sorted(descendants(graph, tail))],
                [(name, True) for name in sorted(ancestors(graph, tail))]]  # fmt: skip
    for names in implying:
        for name, negated in names if not found else ():
            for other in like(relation):
                if graph.states(head, other, name, negated):
                    found.append({**graph.edge(head, other, name, negated).to_json(), "negated": negated})
    if not found and relation not in FEATURES:
        for other in graph.follow(head, relation)[:3]:
            found.append({**graph.edge(head, relation, other).to_json(), "negated": False})
    return found
