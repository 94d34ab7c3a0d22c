"""Proofs on the graph: what solves a question, and on what ground a wrong option is wrong.

What the graph lacks counts as false only of a relation that its source declares complete (graph/completeness.py); of
any other it is an open question, and said so. So a certificate is as good as the sources' declarations are. Left out:
which disease the clues speak of (differential.py).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from fleming.graph.completeness import is_closed
from fleming.graph.knowledge_graph import KnowledgeGraph, Triple
from fleming.graph.naming import is_plain
from fleming.graph.open_world import denied, disputed, has, heads, kin, may_be_one, possible
from fleming.questions.query import Query, TriplePattern, chain_triple

NEAREST = 200  # entities looked at as rivals of a named one, those that share most
# Of these a disease with several values is asked nothing: of several genes one may only modify the illness.
ONE_VALUE = ("inherited_as", "associated_gene")


def bindings(
    graph: KnowledgeGraph, pattern: Sequence[TriplePattern], bound: dict[int, str]
) -> Iterator[dict[int, str]]:
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
        for name in heads(graph, relation, tail):
            yield from bindings(graph, rest, {**bound, head: name})
    elif isinstance(tail, int):
        for name in graph.follow(head, relation):
            yield from bindings(graph, rest, {**bound, tail: name})
    elif has(graph, head, relation, tail):
        yield from bindings(graph, rest, bound)


def solutions(graph: KnowledgeGraph, query: Query, node: int) -> list[str]:
    """Return every name that node `node` of the path can take once the root is known, sorted."""

    def is_known(triple: TriplePattern) -> bool:
        return all(isinstance(end, str) or end <= node for end in (triple[0], triple[2]))

    known = [triple for triple in query.beyond_root if is_known(triple)]
    return sorted({bound[node] for bound in bindings(graph, known, {0: query.nodes[0]})})


def paths_along(graph: KnowledgeGraph, start: str, chain: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield every path that the steps of `chain` lead along from `start`, start included."""
    if not chain:
        yield (start,)
        return
    for name in graph.follow(start, chain[0]):
        for rest in paths_along(graph, name, chain[1:]):
            yield start, *rest


def look_alikes(graph: KnowledgeGraph, name: str) -> list[str]:
    """Return the entities of the name's type that share edges with it, those that share most first."""
    shared: dict[str, int] = defaultdict(int)
    kind = graph.entities[name].type
    for head, relation, tail in graph.incident(name):
        others = heads(graph, relation, tail) if head == name else graph.follow(head, relation)
        for other in others:
            if other != name and graph.entities[other].type == kind:
                shared[other] += 1
    return sorted(shared, key=lambda other: -shared[other])[:NEAREST]


def ground(graph: KnowledgeGraph, triple: Triple) -> str | None:
    """Return why the fact is taken for false (judging.POSITIVE_GROUNDS, or absent), None where it holds or may.

    It may well hold where it does of a form of the head: what causes spotted fever may cause Rocky Mountain's.
    """
    if denied(graph, *triple):
        return "contradicted"
    head, relation, tail = triple
    if any(possible(graph, name, relation, tail) for name in (head, *kin(graph, head))):
        return None
    if not is_closed(graph, head, relation):
        return "absent"
    return "other_value" if len(graph.follow(head, relation)) == 1 else "closed"


def asked(query: Query, option: str) -> Triple:
    """Return the fact that makes the option right: the path's last step, to it."""
    return chain_triple(query.nodes[-2], query.kind.chain[-1], option)


def is_fair(graph: KnowledgeGraph, query: Query, option: str, told_apart_from: Sequence[str]) -> bool:
    """Whether the option is of the answer's type, has a name of its own, and is no form of what is right or told."""
    entity = graph.entities[option]
    if entity.type != graph.entities[query.answer].type or not is_plain(entity):
        return False
    if may_be_one(graph, option, *told_apart_from):
        return False
    # Prednisolone beside prednisone: what helps is seldom one drug of its class alone.
    classes = [set(graph.follow(name, "subtype_of")) for name in (option, query.answer)]
    return query.kind.chain[-1:] != ("treated_by",) or classes[0].isdisjoint(classes[1])


def is_usable(graph: KnowledgeGraph, triple: Triple, min_confidence: float) -> bool:
    """Whether a path may take the step: it is trusted enough, and no source disputes it."""
    return graph.trust(*triple) >= max(min_confidence, 1e-9) and not disputed(graph, *triple)
