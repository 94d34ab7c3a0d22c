"""The graph, its importer, and questions about what is named, on six diseases whose facts can be checked by eye."""

import dataclasses
import doctest
import json
from collections import Counter
from pathlib import Path

import pytest
from support.places import ROOT

from fleming.graph import columns, knowledge_graph, naming, open_world
from fleming.graph.graph_files import load_graph, save_graph
from fleming.graph.knowledge_graph import Edge, Entity, Evidence, KnowledgeGraph
from fleming.graph.open_world import has, heads
from fleming.noise import generator
from fleming.questions import query
from fleming.questions.certificates import bindings, solutions
from fleming.questions.differential import Differentials
from fleming.questions.metapaths import kinds
from fleming.questions.paths import draw_path, may_be_option
from fleming.questions.posing import Poser
from fleming.questions.query import Query
from fleming.questions.sampling import Pool, sample_questions
from fleming.questions.splitting import split_questions
from fleming.settings.synth import QuestionRules, SynthConfig
from fleming.sources.facts import Origin
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
    assert evidence.note == "Wilson disease"
    assert heads(graph, "has_symptom", "tremor") == ["Wilson disease", "Parkinson disease", "gout"]
    assert graph.follow("penicillamine", "contraindicated_in") == ["pregnancy", "myasthenia gravis"]
    assert graph.entities["myasthenia gravis"].type == "disease"
    assert graph.degree("tremor") == 3
    assert not has(graph, "gout", "treated_by", "levodopa")


def test_evidence_names_the_line_on_which_a_name_stands(path, tmp_path):
    merged = tmp_path / "merged.yaml"
    flu = "  - &flu {name: flu,\n     symptoms: [fatigue,\n       fever]}\n  - {<<: *flu, name: cold}\n"
    merged.write_text(SAMPLE.replace("diseases:\n", f"diseases:\n{flu}", 1))
    for file in (path, merged, ROOT / "assets/medical_graph.yaml"):
        lines = Path(file).read_text().split("\n")
        edges = list(import_yaml(file).edges())
        assert len(edges) > 10
        for edge in edges:
            line = edge.evidence[0].record - 1
            assert edge.tail in " ".join(" ".join(lines[line : line + 2]).split()), edge  # it may be folded


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
            "symptoms: [Kayser–Fleischer ring, Kayser-Fleischer ring]",
            "is spelled 'Kayser–Fleischer ring' elsewhere",
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
        ("[urate storage]", "[unknown]", "this can be no name (blank)"),
        ("symptoms: [tremor, jaundice]", f"symptoms: [{'x' * 2001}]", "this can be no name (too_long)"),
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


def test_what_a_merge_key_brings_has_its_line(path, tmp_path):
    diseases, drugs = SAMPLE.split("\ndrugs:\n")
    merged = diseases.replace("diseases:", "<<:\n diseases:").replace("\n  ", "\n    ")
    (tmp_path / "graph.yaml").write_text(f"{merged}\ndrugs:\n{drugs}")
    lines = [e.evidence[0].record for e in import_yaml(path).edges() if e.head == "gout"]
    (tmp_path / "graph.yaml").write_text(SAMPLE)
    assert lines == [e.evidence[0].record + 1 for e in import_yaml(path).edges() if e.head == "gout"]


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


def kind_of(metapath):
    return next(kind for kind in kinds() if kind.metapath == metapath)


def test_bindings_are_the_joins_of_the_pattern(graph):
    pattern = [(0, "has_symptom", "tremor"), (0, "has_finding", "rigidity"), (0, "treated_by", 1)]
    assert list(bindings(graph, pattern, {})) == [
        {0: "Parkinson disease", 1: "levodopa"},
        {0: "gout", 1: "allopurinol"},
    ]
    with pytest.raises(ValueError, match="bound at neither end"):
        list(bindings(graph, [(0, "treated_by", 1)], {}))


def test_solutions_are_what_the_steps_lead_to_once_the_root_is_known(graph):
    chain = kind_of("disease > treated_by > has_mechanism")
    query = Query(chain, ("Wilson disease", "trientine", "intestinal copper binding"))
    assert solutions(graph, query, 1) == ["penicillamine", "trientine"]
    assert solutions(graph, query, 2) == ["copper chelation", "intestinal copper binding"]


FEW = QuestionRules(
    markers=0, min_family=0, min_findings=1, min_lead=1, every_disease=False,
    max_per_root=None, max_per_answer=None, max_per_fact=None, min_score=0, similar_size=1000.0,
    any_name=True, tries=30, open_world="mark",
)  # fmt: skip
SEEN = (Evidence(Origin("a book", "a book"), 1),)
NAMED = {"named disease": 3.0, "drug of a named disease": 1.0}


@pytest.fixture
def poser(graph):
    return Poser(Differentials(graph, FEW), ("plain",))


def test_a_disease_is_an_option_where_enough_is_known_of_it_and_its_name_tells_nothing():
    graph = KnowledgeGraph()
    for name, findings in {"gout": 3, "rare gout": 2, "gout 7": 3, "gout with ataxia": 3}.items():
        graph.add_entity(Entity(name, "disease"), "a book")
        for i in range(findings):
            if f"f{i}" not in graph.entities:
                graph.add_entity(Entity(f"f{i}", "finding"), "a book")
            graph.add_edge(Edge(name, "has_finding", f"f{i}", SEEN), "a book")
    graph.add_entity(Entity("GENE 7", "gene"), "a book")

    def options(any_name):
        whole = Differentials(graph, dataclasses.replace(FEW, min_findings=3, any_name=any_name))
        return [name for name in graph.entities if may_be_option(whole, name) and name[0] != "f"]

    assert options(any_name=False) == ["gout", "GENE 7"]
    assert options(any_name=True) == ["gout", "gout 7", "gout with ataxia", "GENE 7"]


def drawn(poser, metapath, root, seeds=40):
    """What so many draws give, questions and codes: options are about as long as the answer, so not each gives one."""
    return [poser.pose(kind_of(metapath), root, generator(seed), {}) for seed in range(seeds)]


def question_of(poser, metapath, root):
    return next(found for found in drawn(poser, metapath, root) if not isinstance(found, str))


def test_a_question_whose_drug_is_one_of_two_is_not_posed(poser):
    chain = "disease > treated_by > has_mechanism"
    assert set(drawn(poser, chain, "Wilson disease")) == {"bridge_ambiguous"}
    posed = question_of(poser, chain, "cystinuria")
    assert posed.provenance["hidden"] == ["tiopronin"]
    assert posed.provenance["certificate"]["solutions"] == ["copper chelation", "thiol exchange"]


def test_an_action_tells_two_drugs_of_one_disease_apart_and_is_not_needed_for_one(graph):
    """Wilson disease has two drugs; the action of the one is its clue, that of the other would name it by itself."""
    kind = kind_of("findings > disease > treated_by > has_adverse_effect by has_mechanism")
    whole = Differentials(graph, FEW)
    drawn = [draw_path(whole, kind, "Wilson disease", generator(i)) for i in range(20)]
    assert "bridge_ambiguous" in drawn
    queries = [query for query in drawn if not isinstance(query, str)]
    assert {(query.nodes[1], query.clues[0].tail) for query in queries} == {
        ("penicillamine", "copper chelation")
    }
    assert {solutions(graph, query, 1)[0] for query in queries} == {"penicillamine"}
    assert draw_path(whole, kind, "cystinuria", generator(0)) == "bridge_ambiguous"  # it has one drug


def test_a_stem_that_contains_the_answer_is_not_posed(graph):
    graph.add_entity(Entity("staring", "mechanism"), "here")
    graph.add_entity(Entity("staring sickness", "disease"), "here")
    graph.add_edge(Edge("staring sickness", "caused_by", "staring", SEEN), "here")
    poser = Poser(Differentials(graph, FEW), ("plain",))
    assert set(drawn(poser, "disease > caused_by", "staring sickness")) == {"few_distractors", "leak"}


def test_another_right_answer_is_never_a_distractor(poser):
    posed = [q for q in drawn(poser, "disease > treated_by", "Wilson disease", 200) if not isinstance(q, str)]
    assert len(posed) > 20
    for question in posed:
        drugs = {"trientine", "penicillamine"} & set(question.options.values())
        assert drugs == {question.options[question.answer]}


def test_each_wrong_option_names_the_fact_that_it_would_need(poser, graph):
    question = question_of(poser, "disease > diagnosed_by", "Wilson disease")
    wrong = question.provenance["certificate"]["distractors"]
    assert {w["option"] for w in wrong} == set(question.options.values()) - {"copper assay"}
    for option in wrong:
        assert option["violates"] == [["Wilson disease", "diagnosed_by", option["option"]]]
        assert option["shares"] == [[option["disease"], "diagnosed_by", option["option"]]]
        assert has(graph, *option["shares"][0])
        assert option["ground"] == "absent"  # the file does not say of itself that it is complete


EXCLUDING = dataclasses.replace(FEW, open_world="exclude")


def test_a_file_that_is_complete_by_its_own_word_gives_positive_grounds(path, tmp_path):
    (tmp_path / "graph.yaml").write_text("complete: true\n" + SAMPLE)
    poser = Poser(Differentials(import_yaml(path), EXCLUDING), ("plain",))
    for chain, ground in (("disease > diagnosed_by", "other_value"), ("disease > treated_by", "closed")):
        question = question_of(poser, chain, "Wilson disease")
        assert {w["ground"] for w in question.provenance["certificate"]["distractors"]} == {ground}


def test_what_is_wrong_by_absence_alone_is_refused_where_the_settings_say_so(graph):
    poser = Poser(Differentials(graph, EXCLUDING), ("plain",))
    assert set(drawn(poser, "disease > diagnosed_by", "Wilson disease")) == {"few_distractors"}


def test_a_type_with_too_few_entities_gives_no_question():
    graph = KnowledgeGraph()
    for entity in (Entity("a", "disease"), Entity("x", "drug"), Entity("y", "drug")):
        graph.add_entity(entity, "here")
    graph.add_edge(Edge("a", "treated_by", "x", SEEN), "here")
    poser = Poser(Differentials(graph, FEW), ("plain",))
    assert poser.pose(kind_of("disease > treated_by"), "a", generator(0), {}) == "few_distractors"


def test_kinds_take_one_to_four_hops_and_the_default_quotas_name_some():
    found = kinds()
    assert len({(kind.name, kind.metapath) for kind in found}) == len(found)
    assert {kind.hops for kind in found if not kind.hidden} == {1, 2}
    assert {kind.hops for kind in found if kind.hidden} == {1, 2, 3, 4}
    assert {kind.name for kind in found} >= SynthConfig().kinds.keys()


def test_rare_roots_are_drawn_the_asked_times_as_often_and_those_least_asked_first(graph):
    pool = Pool(graph, kind_of("disease > has_symptom"), rare_factor=4.0)
    rng = generator(0)
    found = [pool.draw(None, Counter(), rng) for _ in range(4000)]
    assert sum(graph.entities[name].rare for name in found) / 4000 == pytest.approx(
        0.8, abs=0.03
    )  # 3 x 4 of 15
    for name in ("gout", "Wilson disease", "cystinuria"):
        pool.note(name)
    assert {pool.draw(None, Counter(), rng) for _ in range(200)} == {
        "Parkinson disease",
        "hepatitis A",
        "myasthenia gravis",
    }
    pool.drop("myasthenia gravis")  # then the other rare ones come again
    assert {pool.draw(None, Counter(), rng) for _ in range(200)} >= {
        "Wilson disease",
        "cystinuria",
        "hepatitis A",
    }
    for name in graph.of_type("disease"):
        pool.drop(name)
    assert not pool.has_root(None)


def test_sampling_favours_the_rare_and_repeats_itself(graph):
    synth = SynthConfig(kinds=NAMED, registers=("plain",), rules=FEW, rare_factor=5.0)
    first, rejected, report = sample_questions(graph, 10, 5, synth)
    again, _, _ = sample_questions(graph, 10, 5, synth)
    assert first == again
    assert first != sample_questions(graph, 10, 6, synth)[0]
    assert report["rare_drawn"] > report["rare_even"] + 0.1
    assert {record["code"] for record in rejected} <= {
        "no_path",
        "bridge_ambiguous",
        "few_distractors",
        "repeated",
    }
    compositions = [
        (*sorted(q.provenance["visible"]), q.provenance["metapath"], q.provenance["answer"]) for q in first
    ]
    assert len(set(compositions)) == len(compositions)


def test_a_kind_that_no_file_has_is_refused_by_name(graph):
    synth = SynthConfig(kinds={"riddle": 1.0}, registers=("plain",), rules=FEW)
    with pytest.raises(
        InputError, match=r"synth\.kinds\.riddle: no kind has this name \(the kinds: differential, "
    ):
        sample_questions(graph, 10, 0, synth)


def test_a_split_that_would_leave_facts_untaught_is_refused(graph):
    synth = SynthConfig(kinds=NAMED, registers=("plain",), rules=FEW)
    questions, _, _ = sample_questions(graph, 60, 0, synth)
    with pytest.raises(InputError, match="test questions were asked for, but only"):
        split_questions(questions, 10, 30, seed=0)
