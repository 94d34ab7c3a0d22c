"""Verdicts: supported, contradicted on a ground, and unknown where the graph only lacks it."""

import pytest

from fleming.checks.claims import check_claims
from fleming.graph.knowledge_graph import Edge, Entity, Evidence, KnowledgeGraph
from fleming.sources.facts import Declared, Origin

ORIGIN = Origin("made up", "made_up.tsv", "1", "test")


def evidence(frequency=-1.0):
    return (Evidence(ORIGIN, 1, frequency=frequency),)


@pytest.fixture(scope="module")
def graph():
    """Gout is treated by colchicine alone, as a closed list says; its findings are open."""
    graph = KnowledgeGraph()
    for name, kind in {"gout": "disease", "gouty flare": "disease", "colchicine": "drug", "warfarin": "drug",
                       "fever": "symptom", "high fever": "symptom", "toe pain": "symptom", "rash": "symptom",
                       "hand tremor": "symptom", "podagra": "disease", "night pain": "symptom"}.items():  # fmt: skip
        graph.add_entity(Entity(name, kind, synonyms=("foot gout",) if name == "podagra" else ()), "test")
    for head, relation, tail, negated, frequency in [
        ("gout", "treated_by", "colchicine", False, -1.0),
        ("gout", "has_symptom", "toe pain", False, 0.9),
        ("gout", "has_symptom", "hand tremor", False, 0.2),
        ("gout", "has_symptom", "fever", True, -1.0),
        ("high fever", "subtype_of", "fever", False, -1.0),
        ("gouty flare", "subtype_of", "gout", False, -1.0),
        ("podagra", "has_symptom", "rash", False, -1.0),
        ("podagra", "has_symptom", "rash", True, -1.0),
        ("colchicine", "interacts_with", "warfarin", False, -1.0),
    ]:
        graph.add_edge(Edge(head, relation, tail, evidence(frequency), negated), "test")
    graph.declared[("made up", "treated_by")] = Declared("closed", 1, False)
    return graph


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Gout is treated with colchicine.", "supported"),
        ("Gout presents with toe pain.", "supported"),
        (
            "A finding in gout is toe pain.",
            "supported",
        ),  # of findings and symptoms the words are not told apart
        ("Colchicine interacts with warfarin.", "supported"),
        ("Warfarin interacts with colchicine.", "supported"),
        ("Gout is treated with warfarin.", "contradicted"),  # the closed list has one other drug
        ("Colchicine is treated with gout.", "contradicted"),  # the other way round
        ("A finding of toe pain is gout.", "contradicted"),  # and of findings by any of their names
        ("For gout we give warfarin.", "contradicted"),
        ("Patients with gout receive colchicine.", "supported"),
        ("Gout is a type of gouty flare.", "contradicted"),
        ("Gout presents with fever.", "contradicted"),  # a source denies it
        ("Gout presents with high fever.", "contradicted"),  # and so of what is a form of it
        ("Gout is not treated with colchicine.", "contradicted"),
        ("Warfarin is the drug of choice for acute gout.", "contradicted"),
        ("Gout should be treated with warfarin.", "contradicted"),
        ("Colchicine has no role in gout.", "contradicted"),
        ("I know no link from gout to colchicine.", "contradicted"),
        ("Gout does not typically show toe pain.", "contradicted"),
        ("Gout does not typically show hand tremor.", "unknown"),  # one patient in five
        ("Gout is not treated with warfarin.", "supported"),
        ("Gout does not typically show fever.", "supported"),
        ("Gout presents with rash.", "unknown"),  # the graph only lacks it
        ("Gout does not typically show rash.", "unknown"),
        ("Podagra is treated with warfarin.", "unknown"),  # nobody lists its drugs
        ("Foot gout presents with rash.", "unknown"),  # stated and denied
        ("Colchicine is contraindicated in gout.", "unknown"),
    ],
)
def test_verdict(graph, text, verdict):
    counts, ((_, found),) = check_claims(text, graph)
    assert found == verdict
    assert counts == {verdict: 1, "sentences": 1, "read": 1}


def test_what_is_taken_back_is_no_claim_and_what_is_not_read_is_counted(graph):
    counts, claims = check_claims("Gout presents with fever. That was a mistake. Gout is nasty.", graph)
    assert claims == []
    assert counts == {"sentences": 3, "read": 2}


@pytest.mark.parametrize(
    "text",
    [
        "There is no evidence that {}.",
        "My first thought was that {}.",
        "I initially assumed that {}.",
        "I am not sure that {}.",
        "According to option A, {}.",
        "Rarely, {}.",
        "Not: {}.",
        "{}. Actually, it does not.",
        "{}. That cannot be.",
        "{}. Let me correct myself.",
        "{}. Wait, that's incorrect.",
        "{}. No, it isn’t.",
        "{}. On second thought, that's wrong.",
        "{}. Oops.",
    ],
)
def test_what_is_doubted_in_the_same_sentence_or_taken_back_in_the_next_is_no_claim(graph, text):
    counts, _ = check_claims(text.format("gout presents with fever"), graph)
    assert not counts["contradicted"]


@pytest.mark.parametrize(
    "text",
    ["Gout is not mainly treated with colchicine.", "Colchicine is not the drug of choice for gout.",
     "Colchicine is not generally used for gout.", "Gout does not often cause toe pain."],
)  # fmt: skip
def test_what_denies_only_how_often_or_how_well_is_no_claim(graph, text):
    assert check_claims(text, graph)[1] == []


def test_what_a_name_in_passing_is_said_to_be_is_a_claim(graph):
    counts, _ = check_claims("The patient has gout, which is treated with warfarin.", graph)
    assert counts["contradicted"] == 1


@pytest.mark.parametrize(
    ("text", "contradicted"),
    [
        ("Gout presents with toe pain, rash, and fever.", 1),
        ("So gout is treated with colchicine and warfarin, which fits.", 1),
        ("Gout presents with toe pain and fever suggests sepsis.", 0),
        ("Gout is treated with colchicine, warfarin for clots.", 0),
        ("Gout presents with toe pain and no fever.", 0),
        ("In gout, which is treated with colchicine, warfarin and rash, fever is seen.", 0),
        ("As gout presents with toe pain, rash and fever, warfarin is given.", 0),
        ("As gout presents with toe pain, rash and fever, signs of sepsis, wait.", 0),
        ("Gout presents with toe pain, rash and fever, so it is nasty.", 1),
        ("Gout never presents with toe pain and fever.", 0),
    ],
)
def test_each_name_of_a_list_is_claimed(graph, text, contradicted):
    assert check_claims(text, graph)[0]["contradicted"] == contradicted
