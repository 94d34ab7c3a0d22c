"""Proofs on the graph: what solves a question, that hidden nodes are unique, and why each distractor is wrong.

A question is a conjunctive query: triples whose ends are names, or integers for the nodes that the reader must find,
numbered along the path. Everything is proved within the graph alone (closed world): a fact that the graph lacks
counts as false, so a certificate is as good as the graph is complete.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from fleming.graph.knowledge_graph import Edge, KnowledgeGraph

Term = str | int
Triple = tuple[Term, str, Term]


def bindings(graph: KnowledgeGraph, pattern: Sequence[Triple], bound: dict[int, str]) -> Iterator[dict[int, str]]:
    """Yield every assignment of names to the pattern's integers that makes all its triples facts of the graph.

    The triples are joined in order; each must have an end that is a name or was bound by a triple before it.
    """
    if not pattern:
        yield bound
        return
    (head, relation, tail), rest = pattern[0], pattern[1:]
    head, tail = bound.get(head, head), bound.get(tail, tail)
    if isinstance(head, int) and isinstance(tail, int):
        raise ValueError(f"the triple {pattern[0]} is bound at neither end")
    if isinstance(head, int):
        for name in graph.heads(relation, tail):
            yield from bindings(graph, rest, {**bound, head: name})
    elif isinstance(tail, int):
        for name in graph.tails(head, relation):
            yield from bindings(graph, rest, {**bound, tail: name})
    elif graph.has(head, relation, tail):
        yield from bindings(graph, rest, bound)


def solutions(graph: KnowledgeGraph, pattern: Sequence[Triple], node: int) -> list[str]:
    """Return every name that node `node` can take, sorted, by the triples that mention no later node."""
    known = [t for t in pattern if all(not isinstance(end, int) or end <= node for end in (t[0], t[2]))]
    return sorted({bound[node] for bound in bindings(graph, known, {})})


def look_alikes(graph: KnowledgeGraph, name: str, through: Iterable[Edge]) -> dict[str, list[Edge]]:
    """Return who shares an edge of `name` (its other end and relation), each with its own copies of those edges."""
    shared: dict[str, list[Edge]] = defaultdict(list)
    for edge in through:
        if edge.head == name:
            for rival in graph.heads(edge.relation, edge.tail):
                shared[rival].append(graph.edges[rival, edge.relation, edge.tail])
        else:
            for rival in graph.tails(edge.head, edge.relation):
                shared[rival].append(graph.edges[edge.head, edge.relation, rival])
    return dict(shared)


def walks(graph: KnowledgeGraph, start: str, chain: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every path that the steps of `chain` lead along from `start`, start included."""
    paths = [(start,)]
    for step in chain:
        paths = [(*path, name) for path in paths for name in graph.follow(path[-1], step)]
    return paths


def chain_triple(a: Term, step: str, b: Term) -> Triple:
    """Return the triple of one step from a to b, turned round where the step is an inverse one."""
    return (b, step[1:], a) if step.startswith("^") else (a, step, b)


def instantiate(pattern: Sequence[Triple], nodes: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return the pattern with each integer replaced by that node."""
    return [
        (nodes[h] if isinstance(h, int) else h, relation, nodes[t] if isinstance(t, int) else t)
        for h, relation, t in pattern
    ]


def certified_distractors(
    graph: KnowledgeGraph,
    pattern: Sequence[Triple],
    nodes: Sequence[str],
    chain: Sequence[str],
    clues: Sequence[Edge],
    rng: np.random.Generator,
    owed: Mapping[str, float],
    count: int = 3,
) -> list[dict]:
    """Return up to `count` certificates of wrong options, the nearest competitors first.

    `nodes` is the true path (root .. answer), `chain` its steps, `clues` the visible edges that stand for a hidden
    root. A competitor is another path of the same chain. It begins at an entity that shares a clue (or where the
    root is visible, any edge) with the root, or at the root itself. What competitors leave open is filled with
    entities of the answer's type, first those that share an edge with the answer. Ties go to the option with the
    largest `owed`, then to chance.

    Each certificate is {"option", "shares": triples that competitor and truth have in common or that lead from the
    competitor to the option, all in the graph, "violates": triples that the option would need and the graph lacks}.
    The last violated one, from the unique true path to the option, is a proof by itself. Needs unique hidden nodes.
    """
    answer = nodes[-1]
    answer_type = graph.entities[answer].type
    stated = {end for triple in pattern for end in (triple[0], triple[2]) if isinstance(end, str)}
    used = {*solutions(graph, pattern, len(nodes) - 1), *nodes, *stated}

    def turn(option: str) -> tuple[float, float]:
        return -owed.get(option, 0.0), rng.random()

    rivals = look_alikes(graph, nodes[0], clues or graph.incident(nodes[0]))
    candidates = []
    for rival, shared in rivals.items():
        paths = walks(graph, rival, chain)
        order = sorted(range(len(paths)), key=lambda i: turn(paths[i][-1]))
        # A competitor's second option comes after every other competitor's first.
        candidates += [(place, -len(shared), turn(paths[i][-1]), paths[i], shared) for place, i in enumerate(order)]

    def proposals() -> Iterator[tuple[str, list[Triple]]]:
        for *_, path, shared in sorted(candidates, key=lambda c: c[:3]):
            steps = [chain_triple(*step) for step in zip(path, chain, path[1:], strict=False)]
            yield path[-1], [*(edge.triple for edge in shared), *steps, *instantiate(pattern, path)]
        similar = look_alikes(graph, answer, graph.incident(answer))
        for option, shared in sorted(similar.items(), key=lambda item: (-len(item[1]), turn(item[0]))):
            yield option, [edge.triple for edge in shared]
        for option in sorted(graph.of_type(answer_type), key=turn):
            yield option, []

    certificates = []
    for option, triples in proposals():
        if option in used or graph.entities[option].type != answer_type:
            continue
        proof = chain_triple(nodes[-2], chain[-1], option)
        triples = dict.fromkeys([*(t for t in triples if t != proof), proof])
        certificates.append(
            {
                "option": option,
                "shares": [list(t) for t in triples if graph.has(*t)],
                "violates": [list(t) for t in triples if not graph.has(*t)],
            }
        )
        used.add(option)
        if len(certificates) == count:
            break
    return certificates
