"""What holds, may hold, or is denied on a graph beyond its edges: a graph states less than is true.

- who has focal seizures has seizures: a fact of a subtype of the tail is one of the tail too (`has`)
- of a patient with seizures nobody has said that they are not focal ones (`possible`)
- who has no seizures has no focal ones (`denied`); what is both stated and denied is `disputed`, and counts as stated

Left out: any other inference; of "is a form of", sources/vocabulary.py says for which relations it counts.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from fleming.graph.knowledge_graph import KnowledgeGraph, remembered
from fleming.graph.naming import alike
from fleming.sources.vocabulary import FEATURES, NOT_IMPLIED, like


@remembered
def _closure(graph: KnowledgeGraph, name: str, step: str) -> frozenset[str]:
    found, left = {name}, [name]
    while left:
        new = [there for there in graph.follow(left.pop(), step) if there not in found]
        found.update(new)
        left += new
    return frozenset(found - {name})


def ancestors(graph: KnowledgeGraph, name: str) -> frozenset[str]:
    """Return everything that it is a subtype of."""
    return _closure(graph, name, "subtype_of")


def descendants(graph: KnowledgeGraph, name: str) -> frozenset[str]:
    """Return every subtype of it. In no stable order."""
    return _closure(graph, name, "^subtype_of")


@remembered
def kin(graph: KnowledgeGraph, name: str) -> frozenset[str]:
    """Return its ancestors and descendants: what is a form of it, or of what it is a form."""
    return ancestors(graph, name) | descendants(graph, name)


def _broader(graph: KnowledgeGraph, relation: str, tail: str) -> frozenset[str]:
    return frozenset() if relation in NOT_IMPLIED else ancestors(graph, tail)


@remembered
def holders(graph: KnowledgeGraph, relation: str, tail: str) -> np.ndarray:
    """Return the places of all that `has` the relation to `tail`, in order: int32 [heads]."""
    found = [graph.targets(tail, "^" + relation)]
    if relation not in NOT_IMPLIED:
        found += [
            graph.targets(name, "^" + other) for name in descendants(graph, tail) for other in like(relation)
        ]
    return np.unique(np.concatenate(found))


def heads(graph: KnowledgeGraph, relation: str, tail: str) -> list[str]:
    """Return every head of which the relation to `tail` is stated, or implied by a stated subtype of it."""
    if relation in NOT_IMPLIED or not graph.follow(tail, "^subtype_of"):
        return graph.follow(tail, "^" + relation)
    return [graph.names[place] for place in holders(graph, relation, tail).tolist()]


def has(graph: KnowledgeGraph, head: str, relation: str, tail: str) -> bool:
    """Whether the fact is stated, or implied by a stated subtype of its tail."""
    if graph.states(head, relation, tail):
        return True
    if relation in NOT_IMPLIED or not graph.follow(tail, "^subtype_of"):
        return False
    return graph.place(head) in holders(graph, relation, tail)


def possible(graph: KnowledgeGraph, head: str, relation: str, tail: str) -> bool:
    """Whether the graph leaves the fact open or has it: something broader than `tail` counts too."""
    return has(graph, head, relation, tail) or any(
        graph.states(head, other, broader)
        for broader in _broader(graph, relation, tail)
        for other in like(relation)
    )


def _negated(graph: KnowledgeGraph, head: str, relation: str, tail: str) -> bool:
    tails = (tail, *_broader(graph, relation, tail))
    return any(graph.states(head, relation, name, negated=True) for name in tails)


def denied(graph: KnowledgeGraph, head: str, relation: str, tail: str) -> bool:
    """Whether the fact's negation is stated, or implied by that of a broader tail, and the fact itself is not."""
    return _negated(graph, head, relation, tail) and not has(graph, head, relation, tail)


def disputed(graph: KnowledgeGraph, head: str, relation: str, tail: str) -> bool:
    """Whether both the fact and its negation are stated or implied."""
    return _negated(graph, head, relation, tail) and has(graph, head, relation, tail)


def is_sure(graph: KnowledgeGraph, head: str, relation: str, tail: str) -> bool:
    """Whether the fact holds and no source disputes it."""
    return has(graph, head, relation, tail) and not _negated(graph, head, relation, tail)


def may_be_one(graph: KnowledgeGraph, one: str, *others: str) -> bool:
    """Whether one is a form of another, or may be, by name or by most findings: sources name one thing twice."""
    return any(True for _ in taken_for_one(graph, one, others))


def taken_for_one(graph: KnowledgeGraph, one: str, others: Iterable[str]) -> Iterator[str]:
    """Yield those of the others with which it `may_be_one`."""
    kind, forms, a = graph.entities[one].type, kin(graph, one), _findings(graph, one)

    def has_most(other: str) -> bool:
        b = _findings(graph, other) if a else a
        return 2 * len(a & b) > min(len(a), len(b))

    for other in others:
        if graph.entities[other].type == kind and (other in forms or alike(one, other) or has_most(other)):
            yield other


@remembered
def _findings(graph: KnowledgeGraph, name: str) -> frozenset[str]:
    return frozenset(tail for relation in FEATURES for tail in graph.follow(name, relation))
