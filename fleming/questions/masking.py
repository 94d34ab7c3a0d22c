"""From an entity to a masked path (paper, Fig. 3): which edges stay visible, so that what is hidden can be found.

Left out: which entities are drawn (sampling.py), the proofs (certificates.py), the words (wording.py).
"""

import re
from collections.abc import Iterable

import numpy as np
from numpy.random import Generator

from fleming.graph.knowledge_graph import KnowledgeGraph, Triple
from fleming.graph.naming import alike, is_plain
from fleming.graph.open_world import (
    disputed,
    heads,
    holders,
    kin,
    may_be_one,
    may_follow,
    possible,
    possible_holders,
)
from fleming.questions.metapaths import CLUES, LISTED, METAPATHS, Metapath
from fleming.questions.phrases import pick
from fleming.questions.query import Query, chain_triple
from fleming.questions.rules import Rules

SINGLING_OUT = 2  # at most so many clues beside a bridge or the answer
LOOKED_AT = 60  # of a hub's edges, so many are considered as clues, drawn at random


def draw_query(graph: KnowledgeGraph, metapath: str, root: str, rng: Generator) -> Query | str:
    """Draw one basic path of the metapath from `root` and mask it; return why not (a rejection code) where none is.

    Codes: `no_path`; `root_ambiguous`, no two clues, nor three of which each is needed, belong to the root alone;
    `bridge_evident`, a clue should single out one of several bridges, but there is one, or the clue alone names it.
    """
    kind = METAPATHS[metapath]
    nodes = [root]
    for step in kind.chain:
        onward = graph.follow(nodes[-1], step)
        if not onward:
            return "no_path"
        nodes.append(pick(rng, onward))
    root_clues = _fewest_clues(graph, root, kind, rng)
    if root_clues is None:
        return "root_ambiguous"
    clues = [(0, clue) for clue in root_clues]

    relation = kind.bridge_relation
    if relation:
        before, bridge = nodes[-3], nodes[-2]
        ambiguous = [tail for tail in graph.follow(bridge, relation) if len(heads(graph, relation, tail)) > 1]
        if not ambiguous or len(graph.follow(before, kind.chain[-2])) == 1:
            return "bridge_evident"
        clues.append((len(nodes) - 2, (bridge, relation, pick(rng, ambiguous))))
    return Query(metapath, tuple(nodes), tuple(clues))


def _fewest_clues(graph: KnowledgeGraph, root: str, kind: Metapath, rng: Generator) -> list[Triple] | None:
    """Return two edges that only the root has together, else three of which each is needed, else None; by name.

    At least one is shared with another entity where the root has such a one: a competitor for the reader to rule out.
    """
    if not kind.clue_relations:
        return []
    edges = _edges_of(graph, root, kind.clue_relations)
    if len(edges) < 2:
        return None
    edges = [edges[i] for i in rng.permutation(len(edges))]
    shared = next((i for i, (_, _, tail) in enumerate(edges) if graph.degree(tail) > 1), 0)
    edges.insert(0, edges.pop(shared))

    owners = [set(heads(graph, relation, tail)) for _, relation, tail in edges]
    first, second = owners[:2]
    if first & second == {root}:
        return _by_name(edges[:2])
    for edge, third in zip(edges[2:], owners[2:], strict=True):
        alone = first & second & third == {root}
        each_needed = first & third != {root} != second & third
        if alone and each_needed:
            return _by_name([*edges[:2], edge])
    return None


def _edges_of(graph: KnowledgeGraph, name: str, relations: Iterable[str]) -> list[Triple]:
    return [(name, relation, tail) for relation in relations for tail in graph.follow(name, relation)]


def _by_name(edges: list[Triple]) -> list[Triple]:
    return sorted(edges, key=lambda edge: edge[2])


def draw_scenario(
    graph: KnowledgeGraph, metapath: str, root: str, rng: Generator, rules: Rules
) -> Query | str:
    """Draw one path from `root` with as many visible neighbours as make each node on it, the answer too, unique.

    Unique even if every fact that the graph leaves open held, but for forms of the answer. No node is a form of one
    before it. Codes: `no_path`; `root_ambiguous`, `bridge_ambiguous`, `answer_ambiguous`: no clues tell the node from
    its rivals.
    """
    kind = METAPATHS[metapath]
    root_clues = _root_clues(graph, root, kind, rng, rules)
    if root_clues is None:
        return "root_ambiguous"
    nodes, clues = [root], [(0, clue) for clue in root_clues]
    for place, step in enumerate(kind.chain, 1):
        taken = {*nodes, *(tail for _, (_, _, tail) in clues)}
        onward = graph.follow(nodes[-1], step)
        new = [name for name in onward if name not in taken]
        fit = [name for name in new if _may_come_next(graph, nodes, step, name, rules)]
        if not fit:
            return "no_path"
        node = pick(rng, fit)

        is_answer = place == len(kind.chain)
        rivals = _of_its_type(graph, node, may_follow(graph, nodes[-1], step))
        if is_answer:
            rivals -= kin(graph, node)
        rivals = (rivals | {*onward}) - {node}
        steps = (step.strip("^"), *kind.chain[place : place + 1])
        relations = [name for name in CLUES.get(graph.entities[node].type, ()) if name not in steps]
        edges = [edge for edge in _edges_of(graph, node, relations) if edge[2] not in taken]
        chosen = _single_out(graph, edges, rivals, rng, rules)
        if chosen is None:
            return "answer_ambiguous" if is_answer else "bridge_ambiguous"
        clues += [(place, clue) for clue in chosen]
        nodes.append(node)
    return Query(metapath, tuple(nodes), tuple(clues))


def _may_come_next(graph: KnowledgeGraph, nodes: list[str], step: str, name: str, rules: Rules) -> bool:
    """Whether the step to `name` may be used, and a reader would not take it for a node before it."""
    if not _is_usable(graph, chain_triple(nodes[-1], step, name), rules) or not is_plain(
        graph.entities[name]
    ):
        return False
    return step == "subtype_of" or not any(may_be_one(graph, name, before) for before in nodes)


def _of_its_type(graph: KnowledgeGraph, node: str, names: Iterable[str]) -> set[str]:
    kind = graph.entities[node].type
    return {name for name in names if graph.entities[name].type == kind}


# What breaks a drug down or carries it about is bound by it, and sources count it among its targets; it is none.
CARRIERS = re.compile(
    r"(CYP|ABC[A-G]|UGT|SULT|SLCO|SLC15A|SLC16A|SLC22A|SLC28A|SLC29A|SLC47A)\d|(ALB|ORM1|ORM2|AHSG|SERPINA6)\Z"
)


def _is_usable(graph: KnowledgeGraph, triple: Triple, rules: Rules) -> bool:
    _, relation, tail = triple
    if relation == "targets" and CARRIERS.match(tail):
        return False
    return graph.trust(*triple) >= max(rules.min_confidence, 1e-9) and not disputed(graph, *triple)


def _drawn_clues(graph: KnowledgeGraph, edges: list[Triple], rng: Generator, rules: Rules) -> list[Triple]:
    """Return some of the edges, drawn at random, that may be shown to a reader."""
    edges = [edges[i] for i in rng.permutation(len(edges))[:LOOKED_AT]]
    return [edge for edge in edges if _is_usable(graph, edge, rules) and is_plain(graph.entities[edge[2]])]


def _root_clues(
    graph: KnowledgeGraph, root: str, kind: Metapath, rng: Generator, rules: Rules
) -> list[Triple] | None:
    """Return 2 to max_clues edges that only the root can have together, at least two of them findings; else None.

    The third says something else where it can: how a disease is inherited, what a drug acts on.
    """
    edges = _drawn_clues(graph, _edges_of(graph, root, kind.clue_relations), rng, rules)
    edges = [edge for edge in edges if not 0 <= graph.frequency(*edge) < rules.min_frequency]
    findings = [edge for edge in edges if edge[1] in LISTED[kind.root]]
    others = [edge for edge in edges if edge[1] not in LISTED[kind.root]]
    if len(findings) < 2:
        return None

    chosen: list[Triple] = []
    owners = np.zeros(0, np.int32)
    for edge in dict.fromkeys([*findings[:2], *others[:1], *edges]):
        _, relation, tail = edge
        if any(name in kin(graph, tail) or alike(name, tail) for _, _, name in chosen):
            continue
        if edge in others and relation in [told for _, told, _ in chosen]:
            continue
        having = possible_holders(graph, relation, tail)
        owners = np.intersect1d(owners, having, assume_unique=True) if chosen else having
        chosen.append(edge)
        if len(chosen) == rules.max_clues or (len(owners) == 1 and len(chosen) > 2):
            break
    if len(owners) != 1 or sum(edge in findings for edge in chosen) < 2:
        return None
    return sorted(chosen, key=lambda edge: (len(holders(graph, *edge[1:])), edge[2]))


def _single_out(
    graph: KnowledgeGraph, edges: list[Triple], rivals: set[str], rng: Generator, rules: Rules
) -> list[Triple] | None:
    """Return as few edges as tell their head from every rival, none where there is no rival; None where none do."""
    if not rivals:
        return []
    chosen: list[Triple] = []
    edges = _drawn_clues(graph, edges, rng, rules)
    while rivals and edges and len(chosen) < SINGLING_OUT:
        left = [{rival for rival in rivals if possible(graph, rival, *edge[1:])} for edge in edges]
        best = min(range(len(edges)), key=lambda i: len(left[i]))
        if len(left[best]) == len(rivals):
            return None
        rivals = left[best]
        chosen.append(edges.pop(best))
    return None if rivals else chosen
