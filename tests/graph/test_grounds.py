"""On what ground a fact is taken for false (fleming/questions/certificates.py: ground), a case a line."""

import pytest

from fleming.graph.completeness import declare
from fleming.graph.knowledge_graph import Edge, Entity, Evidence, KnowledgeGraph
from fleming.questions.certificates import ground
from fleming.sources.facts import Declared, Origin

SEEN = (Evidence(Origin("book", "book.txt"), 1),)
DISEASES = ("fever", "spotted fever", "mountain fever", "gout")
DRUGS = ("drug a", "drug b", "drug c")


@pytest.fixture
def graph() -> KnowledgeGraph:
    """What treats is a complete list, what causes is not; one fever is a form of another."""
    graph = KnowledgeGraph()
    for names, kind in ((DISEASES, "disease"), (DRUGS, "drug"), (("tick", "louse"), "organism")):
        for name in names:
            graph.add_entity(Entity(name, kind), "book")
    for head, relation, tail, *negated in [
        ("mountain fever", "subtype_of", "spotted fever"),
        ("spotted fever", "caused_by", "tick"),
        ("fever", "treated_by", "drug a"),
        ("fever", "treated_by", "drug b"),
        ("mountain fever", "treated_by", "drug a"),
        ("gout", "treated_by", "drug c"),
        ("gout", "caused_by", "tick", True),
    ]:
        graph.add_edge(Edge(head, relation, tail, SEEN, negated=bool(negated)), "book")
    declare(graph, {("book", "treated_by"): Declared("closed")})
    return graph


@pytest.mark.parametrize(
    ("fact", "found"),
    [
        (("fever", "treated_by", "drug a"), None),  # it holds
        (("gout", "caused_by", "tick"), "contradicted"),  # a source denies it
        (("gout", "caused_by", "louse"), "absent"),  # nobody says that the list is complete
        (("fever", "treated_by", "drug c"), "closed"),  # the list is complete and has others
        (("gout", "treated_by", "drug a"), "other_value"),  # and has one
        (("mountain fever", "caused_by", "tick"), None),  # it holds of what this is a form of
        (("spotted fever", "treated_by", "drug a"), None),  # and of a form of it
    ],
)
def test_the_ground_of_a_wrong_fact(graph, fact, found):
    assert ground(graph, fact) == found
