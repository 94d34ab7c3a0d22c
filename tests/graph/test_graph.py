"""The graph, its importer, sampling and proofs, on six diseases whose facts can be checked by eye."""

import doctest
import json

import numpy as np
import pytest
from fleming.questions.masking import draw_query
from fleming.questions.rules import Rules

from fleming.graph import columns, knowledge_graph, naming, open_world
from fleming.graph.graph_files import load_graph, save_graph
from fleming.graph.knowledge_graph import Edge, Entity, KnowledgeGraph
from fleming.graph.open_world import has, heads
from fleming.noise import generator
from fleming.questions import query
from fleming.questions.certificates import bindings, solutions
from fleming.questions.metapaths import METAPATHS
from fleming.questions.phrases import read_phrases
from fleming.questions.posing import pose_question
from fleming.questions.query import Query
from fleming.questions.sampling import sample_questions, seeds
from fleming.questions.splitting import split_by_composition
from fleming.sources.handwritten import import_yaml
from model.errors import InputError

SAMPLE = """
diseases:
  - {name: Wilson disease, rare: true, symptoms: [tremor, jaundice], findings: [corneal rings, low ceruloplasmin],
     tests: [copper assay], drugs: [penicillamine, trientine], mechanism: [copper storage]}
  - {name: Parkinson disease, symptoms: [tremor, slowness], findings: [rigidity],
     tests: [dopamine scan], drugs: [levodopa], mechanism: [dopamine loss]}
  - {name: hepatitis A, symptoms: [jaundice, nausea], findings: [high transaminases],
     tests: [viral antibody], mechanism: [viral infection]}
  - {name: cystinuria, rare: true, symptoms: [flank pain, nausea], findings: [hexagonal crystals],
     tests: [cyanide test], drugs: [tiopronin], mechanism: [cystine loss]}
  - {name: gout, symptoms: [toe pain, tremor], findings: [urate crystals, rigidity],
     tests: [joint puncture], drugs: [allopurinol], mechanism: [urate storage]}
  - {name: myasthenia gravis, rare: true, symptoms: [double vision, slowness], findings: [fatigable ptosis],
     tests: [receptor antibody], drugs: [pyridostigmine], mechanism: [receptor blockade]}
drugs:
  - {name: penicillamine, mechanism: [copper chelation], contraindicated_in: [pregnancy, myasthenia gravis],
     adverse_effects: [rash, proteinuria]}
  - {name: trientine, mechanism: [intestinal copper binding], contraindicated_in: [lead poisoning],
     adverse_effects: [iron deficiency]}
  - {name: levodopa, mechanism: [dopamine replacement], contraindicated_in: [narrow-angle glaucoma],
     adverse_effects: [dyskinesia]}
  - {name: tiopronin, mechanism: [thiol exchange, copper chelation], contraindicated_in: [pregnancy],
     adverse_effects: [rash]}
  - {name: allopurinol, mechanism: [xanthine oxidase inhibition], contraindicated_in: [azathioprine use],
     adverse_effects: [rash, gout flare]}
  - {name: pyridostigmine, mechanism: [cholinesterase inhibition], contraindicated_in: [bowel obstruction],
     adverse_effects: [diarrhea]}
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "graph.yaml"
    file.write_text(SAMPLE)
    return str(file)


@pytest.fixture
def graph(path):
    return import_yaml(path)


def test_import_gives_each_fact_a_type_and_evidence(graph, path):
    assert graph.entities["tremor"] == Entity("tremor", "symptom")
    assert graph.entities["Wilson disease"] == Entity("Wilson disease", "disease", rare=True)
    (evidence,) = graph.edge("Wilson disease", "treated_by", "trientine").evidence
    assert evidence.origin.file == path.rpartition("/")[2]
    assert (evidence.record, evidence.note) == (1, "Wilson disease")
    assert heads(graph, "has_symptom", "tremor") == ["Wilson disease", "Parkinson disease", "gout"]
    assert graph.follow("penicillamine", "contraindicated_in") == ["pregnancy", "myasthenia gravis"]
    assert graph.entities["myasthenia gravis"].type == "disease"
    assert graph.degree("tremor") == 3
    assert not has(graph, "gout", "treated_by", "levodopa")


@pytest.mark.parametrize("module", [columns, knowledge_graph, naming, open_world, query])
def test_examples_in_docstrings_are_true(module):
    assert doctest.testmod(module).failed == 0


def test_a_drug_is_rare_where_all_that_it_treats_is_rare(graph):
    assert [d for d in graph.of_type("drug") if graph.entities[d].rare] == [
        "penicillamine",
        "trientine",
        "tiopronin",
        "pyridostigmine",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("symptoms: [tremor, jaundice]", "symptons: [tremor]", "unknown key diseases[0].symptons"),
        ("symptoms: [tremor, jaundice]", "symptoms: []", "Wilson disease: symptoms: the list is empty"),
        (
            "symptoms: [tremor, jaundice]",
            "symptoms: [tremor, 7]",
            "diseases[0].symptoms[1]: expected str, found int 7",
        ),
        (
            "symptoms: [tremor, jaundice]",
            "symptoms: [tremor, no]",
            "diseases[0].symptoms[1]: expected str, found bool",
        ),
        ("symptoms: [tremor, jaundice]", "symptoms: [tremor, tremor]", "is stated twice"),
        (
            "symptoms: [tremor, jaundice]",
            'symptoms: ["tremor "]',
            "symptoms: a name must be text without surplus spaces",
        ),
        (
            "symptoms: [tremor, jaundice]",
            "symptoms: [Tremor, jaundice]",
            "'tremor' is spelled 'Tremor' elsewhere",
        ),
        (
            "symptoms: [tremor, jaundice]",
            "symptoms: [rigidity]",
            "'rigidity' is finding (rare: False) here but symptom",
        ),
        (
            "symptoms: [tremor, jaundice]",
            "symptoms: [a], symptoms: [b]",
            "line 3, column 55: key 'symptoms' occurs",
        ),
        (
            "name: gout,",
            "name: Wilson disease,",
            "disease 5: an entry named 'Wilson disease' stands before it",
        ),
        ("\ndrugs:\n", "\ndrugs:\n  - {name: gout}\n", "drug 1: an entry named 'gout' stands before it"),
        ("name: gout,", "", "disease 5: a name must be text"),
        ("[allopurinol]", "[colchicine]", "gout: drug 'colchicine' has no entry under drugs"),
        ("rare: true", "rare: 1", "diseases[0].rare: expected bool, found int 1"),
        ("\ndrugs:\n", "\nmedicines:\n", "unknown key medicines"),
        ("diseases:\n", "diseases: [\n", "bad YAML"),
        (SAMPLE, "", "expected entries under diseases and drugs, found no disease"),
    ],
)
def test_a_bad_file_is_refused_with_file_and_entry(path, tmp_path, old, new, message):
    assert old in SAMPLE
    (tmp_path / "graph.yaml").write_text(SAMPLE.replace(old, new, 1))
    with pytest.raises(InputError) as error:
        import_yaml(path)
    assert str(error.value).startswith(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.yaml"):
        import_yaml(str(tmp_path / "nowhere.yaml"))


def test_saved_graph_loads_back_in_the_same_order(graph, tmp_path):
    save_graph(graph, tmp_path / "graph.jsonl")
    again = load_graph(tmp_path / "graph.jsonl")
    assert list(again.entities.values()) == list(graph.entities.values())
    assert list(again.edges()) == list(graph.edges())
    assert [edge.evidence for edge in again.edges()] == [edge.evidence for edge in graph.edges()]
    assert all(edge.evidence for edge in again.edges())
    save_graph(again, tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "graph.jsonl").read_bytes()


ENTITY = {"kind": "entity", "name": "tremor", "type": "symptom", "rare": False, "synonyms": [], "ids": []}
FACTS = {"kind": "facts", "head": "tremor", "facts": [["r", "tremor", False, []]]}


@pytest.mark.parametrize(
    "record",
    [
        {**ENTITY, "kind": "node"},
        {**ENTITY, "kind": ["entity"]},
        {**ENTITY, "kind": "facts"},
        {**FACTS, "kind": "entity"},
        {**ENTITY, "name": "a", "type": 3},
        {**ENTITY, "type": "drug"},
        {**ENTITY, "name": "a", "synonyms": [1]},
        {**ENTITY, "name": "a", "lay": "shake"},
        {**ENTITY, "name": "a", "lay": [None]},
        {key: value for key, value in ENTITY.items() if key != "rare"},
        {**FACTS, "head": "nobody"},
        {**FACTS, "facts": [["r", "nobody", False, []]]},
        {**FACTS, "facts": [["r", "tremor", False, "a book"]]},
        {**FACTS, "facts": [["r", "tremor", False, [[0, 1, -1, 1.0, -1.0, ""]]]]},  # there is no origin 0
        {**FACTS, "facts": [["r", "tremor", 0, []]]},
        {**FACTS, "facts": [["r", "tremor", False, []]] * 2},
        {**FACTS, "facts": {"r": "tremor"}},
        {"kind": "origin", "number": 1, "source": "s", "file": "f", "version": "", "extractor": ""},
    ],
)
def test_a_bad_graph_record_is_refused_with_its_line(tmp_path, record):
    (tmp_path / "graph.jsonl").write_text(f"{json.dumps(ENTITY)}\n{json.dumps(record)}\n")
    with pytest.raises(InputError, match=r"graph\.jsonl:2: "):
        load_graph(tmp_path / "graph.jsonl")


def test_bindings_are_the_joins_of_the_pattern(graph):
    pattern = [(0, "has_symptom", "tremor"), (0, "has_finding", "rigidity"), (0, "treated_by", 1)]
    assert list(bindings(graph, pattern, {})) == [
        {0: "Parkinson disease", 1: "levodopa"},
        {0: "gout", 1: "allopurinol"},
    ]
    assert solutions(graph, pattern, 0) == ["Parkinson disease", "gout"]
    with pytest.raises(ValueError, match="bound at neither end"):
        list(bindings(graph, [(0, "treated_by", 1)], {}))


def clues(graph, disease, *names):
    relation = {"symptom": "has_symptom", "finding": "has_finding"}
    return tuple((0, (disease, relation[graph.entities[name].type], name)) for name in names)


def test_a_question_whose_clues_fit_two_diseases_is_not_posed(graph):
    visible = clues(graph, "gout", "tremor", "rigidity")
    query = Query("features > disease > caused_by", ("gout", "urate storage"), visible)
    assert pose_question(graph, query, generator(0)) == "root_ambiguous"


def test_a_question_whose_drug_is_one_of_two_is_not_posed(graph):
    query = Query(
        "disease > drug > has_mechanism", ("Wilson disease", "trientine", "intestinal copper binding")
    )
    assert pose_question(graph, query, generator(0)) == "bridge_ambiguous"


def test_an_action_that_another_disease_shares_tells_two_drugs_of_one_disease_apart(graph):
    name = "features > disease > drug by action > has_adverse_effect"
    drawn = [draw_query(graph, name, "Wilson disease", generator(i)) for i in range(20)]
    assert "bridge_evident" in drawn  # the action of trientine names it without the disease
    query = next(query for query in drawn if not isinstance(query, str))
    question = pose_question(graph, query, generator(1))
    assert query.clues_of(1) == [("penicillamine", "has_mechanism", "copper chelation")]
    assert "copper chelation" in question.question
    assert question.provenance["hidden"] == ["Wilson disease", "penicillamine"]
    assert question.provenance["hops"] == 3
    assert draw_query(graph, name, "cystinuria", generator(0)) == "bridge_evident"  # it has one drug


def test_a_stem_that_contains_the_answer_is_not_posed(graph):
    graph.add_entity(Entity("rings", "mechanism"), "here")
    graph.add_edge(Edge("Wilson disease", "caused_by", "rings"), "here")
    visible = clues(graph, "Wilson disease", "tremor", "corneal rings")
    query = Query("features > disease > caused_by", ("Wilson disease", "rings"), visible)
    assert pose_question(graph, query, generator(0)) == "leak"


def test_the_nearest_competitor_comes_first_and_says_what_it_lacks(graph):
    visible = clues(graph, "Wilson disease", "tremor", "jaundice")
    query = Query("features > disease > diagnosed_by", ("Wilson disease", "copper assay"), visible)
    question = pose_question(graph, query, generator(0))
    by_option = {c["option"]: c for c in question.provenance["certificate"]["distractors"]}
    assert set(by_option) == {"dopamine scan", "viral antibody", "joint puncture"}
    assert by_option["viral antibody"] == {
        "option": "viral antibody",
        "shares": [
            ["hepatitis A", "has_symptom", "jaundice"],
            ["hepatitis A", "diagnosed_by", "viral antibody"],
        ],
        "violates": [
            ["hepatitis A", "has_symptom", "tremor"],
            ["Wilson disease", "diagnosed_by", "viral antibody"],
        ],
        "ground": "absent",
    }


def test_another_right_answer_is_never_a_distractor(graph):
    for i in range(50):
        query = Query("disease > treated_by", ("Wilson disease", "trientine"))
        assert "penicillamine" not in pose_question(graph, query, generator(i)).options.values()


def test_a_type_with_too_few_entities_gives_no_question():
    graph = KnowledgeGraph()
    for entity in (Entity("a", "disease"), Entity("x", "drug"), Entity("y", "drug")):
        graph.add_entity(entity, "here")
    graph.add_edge(Edge("a", "treated_by", "x"), "here")
    assert pose_question(graph, Query("disease > treated_by", ("a", "x")), generator(0)) == "few_distractors"


def test_each_metapath_has_six_surface_forms_or_more():
    assert {kind.hops for kind in METAPATHS.values() if not kind.scenario} == {1, 2, 3}
    assert {kind.hops for kind in METAPATHS.values() if kind.scenario} == {2, 3, 4}
    for kind in METAPATHS.values():
        assert len(set(read_phrases("wording").phrases[kind.chain[-1]])) >= 6


def test_seeds_are_drawn_by_the_formula(graph):
    names = ["Wilson disease", "gout"]  # degrees 8 and 7
    pool = seeds(graph, names, rare_factor=4.0, alpha=0.5)
    assert [graph.degree(name) for name in names] == [8, 7]
    weights = np.array([4 / 9**0.5, 1 / 8**0.5])
    assert np.allclose(pool.cumulative, (weights / weights.sum()).cumsum())
    rng = generator(0)
    assert np.mean([pool.draw(rng) == 0 for _ in range(4000)]) == pytest.approx(pool.cumulative[0], abs=0.03)


def test_sampling_favours_the_rare_and_repeats_itself(graph):
    counts = {1: 60, 2: 30, 3: 10}
    first, rejected, report = sample_questions(graph, counts, seed=5, rules=Rules(rare_factor=5.0))
    again, _, _ = sample_questions(graph, counts, seed=5, rules=Rules(rare_factor=5.0))
    assert first == again
    assert report["rare_drawn"] > report["rare_even"] + 0.1
    codes = {"no_path", "root_ambiguous", "bridge_ambiguous", "bridge_evident", "few_distractors", "leak"}
    assert {record["code"] for record in rejected} <= codes
    assert {question.difficulty for question in first} == {"easy", "moderate", "difficult"}


def test_a_question_does_not_depend_on_what_was_drawn_before_it(graph):
    both, _, _ = sample_questions(graph, {1: 40, 2: 25}, seed=5)
    alone, _, _ = sample_questions(graph, {2: 25}, seed=5)
    assert alone == [question for question in both if question.provenance["hops"] == 2]


def test_a_split_that_would_leave_facts_untaught_is_refused(graph):
    questions, _, _ = sample_questions(graph, {1: 200, 2: 200, 3: 200}, seed=0)
    with pytest.raises(InputError, match="test questions were asked for, but only"):
        split_by_composition(questions, 100, 400, seed=0)
