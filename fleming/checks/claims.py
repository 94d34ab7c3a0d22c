"""Claims against the graph: what a text states of the graph's entities, and whether the graph has it, denies it, or
leaves it open.

A graph states less than is true, so what it only lacks is unknown. A claim is contradicted where a source denies it,
where a list that is complete leaves it out, where the graph has it the other way round, and where a denial denies a
fact. Left out: reading the text (statements.py), facts that follow from several edges.
"""

from collections import Counter
from typing import Literal

from fleming.checks.statements import Names, Statement, Triple, read_statements
from fleming.graph.knowledge_graph import KnowledgeGraph, remembered
from fleming.graph.open_world import denied, has, is_sure
from fleming.questions.certificates import ground
from fleming.questions.names import said
from fleming.sources.vocabulary import FAMILIES, FEATURES, RELATIONS, like

Verdict = Literal["supported", "contradicted", "unknown"]
SYMMETRIC = ("interacts_with",)
TYPICAL = 0.5  # a disease does not typically show what fewer of its patients have


@remembered
def names_of(graph: KnowledgeGraph) -> Names:
    """Return every name of the graph's entities, synonyms and layperson's names included, to be looked for in a text.

    Not so of genes the symbols without a digit: SHE, REST and LARGE are words.
    """
    return Names(
        (name, entity.name)
        for entity in graph.entities.values()
        for name in dict.fromkeys((entity.name, said(entity.name), *entity.synonyms, *entity.lay))
        if entity.type != "gene" or any(map(str.isdigit, name))
    )


def verdict(graph: KnowledgeGraph, statement: Statement) -> Verdict:
    """Return what the graph says of a statement.

    Of several meanings those that fit the types of the relation's ends count, where any does. An affirmation is
    supported where one of them holds, and contradicted only where all are; a denial the other way about.
    """
    meanings = [triple for triple in statement.meanings if _fits(graph, triple)] or list(statement.meanings)
    if not meanings:
        return "unknown"
    if statement.affirmed:
        if any(is_sure(graph, *way) for triple in meanings for way in _ways(triple)):
            return "supported"
        return "contradicted" if all(_is_false(graph, triple) for triple in meanings) else "unknown"
    if any(_is_certain(graph, triple) for triple in meanings):
        return "contradicted"
    return "supported" if all(_is_false(graph, triple) for triple in meanings) else "unknown"


def _fits(graph: KnowledgeGraph, triple: Triple) -> bool:
    """Whether the ends are of the families of the relation's ends."""
    head, relation, tail = triple
    return all(
        FAMILIES.get(graph.entities[name].type) == FAMILIES[kind]
        for name, kind in zip((head, tail), RELATIONS[relation], strict=True)
    )


def _ways(triple: Triple) -> list[Triple]:
    """Return the triple in every relation, and in both directions of a symmetric one, that says the same."""
    head, relation, tail = triple
    both = [(head, tail), (tail, head)] if relation in SYMMETRIC else [(head, tail)]
    return [(h, other, t) for other in like(relation) for h, t in both]


def _is_certain(graph: KnowledgeGraph, triple: Triple) -> bool:
    """Whether the fact holds, and of most patients as far as anybody has counted."""
    return any(
        is_sure(graph, *way) and not 0 <= graph.frequency(*way) < TYPICAL * (way[1] in FEATURES)
        for way in _ways(triple)
    )


def _is_false(graph: KnowledgeGraph, triple: Triple) -> bool:
    """Whether there is a ground to say that the fact does not hold."""
    head, relation, tail = triple
    if any(has(graph, *way) for way in _ways(triple)):
        return False
    if relation not in SYMMETRIC and any(has(graph, tail, other, head) for other in like(relation)):
        return True  # the other way round
    if any(denied(graph, *way) for way in _ways(triple)):
        return True
    # A finding stands under one of the relations of findings: its list must be complete, not those of all.
    used = [way for way in _ways(triple) if way[1] in graph.relations] or [triple]
    ways = [way for way in used if len(graph.targets(way[2], "^" + way[1]))] or used
    return all(ground(graph, way) not in (None, "absent") for way in ways)


def check_claims(text: str, graph: KnowledgeGraph) -> tuple[Counter[str], list[tuple[Statement, Verdict]]]:
    """Return the counts and each claim with its verdict; what is taken back right afterwards is no claim.

    Counts: supported, contradicted, unknown; sentences, and of them `read`.
    """
    reading = read_statements(text, names_of(graph))
    claims = [(claim, verdict(graph, claim)) for claim in reading.statements if not claim.withdrawn]
    counts = Counter(answer for _, answer in claims)
    return counts + Counter(sentences=reading.sentences, read=reading.read), claims
