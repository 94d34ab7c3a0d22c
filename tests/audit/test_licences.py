"""Each source has a licence and an address, the user's own words first; the report says what forbids use for profit."""

import pytest
import yaml
from support.places import ROOT
from support.source_files import OBO, write

from fleming.assets import ASSETS, load_table
from fleming.cold_start.outputs import counts_of_sources, labels_checked
from fleming.graph.build import build_graph
from fleming.graph.graph_files import load_graph, save_graph
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.licences import NOT_STATED, Licence, commercial_use, licence_of
from fleming.records import Question
from fleming.settings.synth import SourceConfig, SynthConfig
from fleming.sources.handwritten import import_yaml
from fleming.sources.obo import RULES

TABLE = load_table("licences.yaml")
MAPPING = """
source: {name}
edges: {{header: [head, relation, tail]}}
head: {{id: [head], prefix: "A:", name: head, type: disease}}
tail: {{id: [tail], prefix: "B:", name: tail, type: symptom}}
relation: [relation]
rules: {{shows: {{relation: has_symptom}}}}
"""


def graph_of(folder, **sources: SourceConfig) -> KnowledgeGraph:
    files = {f"synth.sources.{name}": folder for name in sources}
    return build_graph(SynthConfig(sources=sources), files, folder, lambda *_: None).graph


def table(folder, name="SPOKE", **said) -> SourceConfig:
    mapping = write(folder, f"{name}.yaml", MAPPING.format(name=name))
    file = write(folder, f"{name}.csv", "gout,shows,toe pain\nflu,shows,fever\n")
    return SourceConfig("table", {"mapping": mapping, "file": file}, **said)


def test_the_table_has_every_source_that_can_be_read():
    graphs = {yaml.safe_load(path.read_text()).get("source") for path in (ASSETS / "mappings").glob("*.yaml")}
    graphs = graphs - {None} | set(RULES["names"].values()) | {"Wikipedia", "SPOKE"}
    sets = set(load_table("public_sets.yaml")) | {"huatuogpt_o1"}
    assert TABLE["sources"].keys() == graphs | sets


def test_each_row_says_whether_use_for_profit_is_allowed():
    answers = {"yes", "no", "mixed", NOT_STATED}
    assert {terms["commercial"] for terms in TABLE["licences"].values()} <= answers
    for source in TABLE["sources"]:
        known = licence_of(source)
        assert known.commercial in answers
        assert known.address.startswith("https://")
        assert all(isinstance(text, str) and text for text in vars(known).values())
        unsaid = known.licence not in TABLE["licences"] and known.licence != NOT_STATED
        assert not unsaid or "commercial" in TABLE["sources"][source], source


def test_what_the_user_says_of_a_copy_goes_first_and_what_nobody_says_is_not_stated():
    assert licence_of("nobody's").commercial == NOT_STATED
    assert licence_of("nobody's") == Licence()
    mine = licence_of("Hetionet", "CC-BY-NC-4.0", "shelf 3")
    assert (mine.licence, mine.address, mine.commercial) == ("CC-BY-NC-4.0", "shelf 3", "no")
    assert "profit" not in mine.condition  # Hetionet's terms are not this copy's
    assert licence_of("Hetionet", address="shelf 3").commercial == "mixed"
    assert licence_of("Hetionet", "CC0-1.0").commercial == "mixed"  # the listed one, said again
    assert licence_of("x", "contract 7").commercial == NOT_STATED


def test_a_graph_carries_the_licences_of_its_sources_and_a_file_of_it_brings_them_back(tmp_path):
    sources = {
        "spoke": table(tmp_path),
        "mine": table(tmp_path, "mine", licence="CC-BY-NC-4.0", address="shelf 3"),
        "doid": SourceConfig("obo", {"file": write(tmp_path, "d.obo", OBO)}),
    }
    graph = graph_of(tmp_path, **sources)
    found = {(o.source, o.licence, o.address) for o in graph.origins}
    spoke = TABLE["sources"]["SPOKE"]
    assert ("SPOKE", spoke["licence"], spoke["address"]) in found
    assert ("mine", "CC-BY-NC-4.0", "shelf 3") in found
    assert ("Disease Ontology", "CC0-1.0", "https://disease-ontology.org") in found
    save_graph(graph, tmp_path / "graph.jsonl")
    again = load_graph(tmp_path / "graph.jsonl")
    assert again.origins == graph.origins

    listed = counts_of_sources(again, {})["sources"]
    assert {row["source"]: row["records"] for row in listed if row["source"] != "Disease Ontology"} == {
        "SPOKE": 2,
        "mine": 2,
    }
    assert commercial_use(listed) == "forbidden by mine; parts may forbid it in SPOKE"


def test_a_graph_of_an_earlier_version_is_read_and_its_licences_looked_up(tmp_path):
    lines = [
        '{"kind": "origin", "number": 0, "source": "HPO", "file": "a", "version": "1", "extractor": "hpoa"}',
        '{"kind": "entity", "name": "gout", "type": "disease", "rare": false, "synonyms": [], "ids": []}',
        '{"kind": "entity", "name": "pain", "type": "symptom", "rare": false, "synonyms": [], "ids": []}',
        '{"kind": "facts", "head": "gout", "facts": [["has_symptom", "pain", false, [[0, 1, -1, 1.0, -1.0, ""]]]]}',
    ]
    path = tmp_path / "graph.jsonl"
    path.write_text("\n".join(lines))
    (row,) = counts_of_sources(load_graph(path), {})["sources"]
    assert (row["licence"], row["records"], row["commercial"]) == ("HPO licence", 1, NOT_STATED)


def test_a_question_says_where_to_look_a_fact_up_and_no_licence(tmp_path):
    graph = graph_of(tmp_path, mine=table(tmp_path, "mine", licence="MIT"))
    (evidence,) = graph.edge("gout", "has_symptom", "toe pain").to_json()["evidence"]
    assert [*evidence][:4] == ["source", "file", "version", "extractor"]
    assert not {"licence", "address"} & evidence.keys()


def test_only_a_file_that_says_so_has_the_demo_s_licence(tmp_path):
    demo = ROOT / "assets/medical_graph.yaml"
    assert {o.licence for o in import_yaml(demo).origins} == {"Apache-2.0"}
    other = tmp_path / "medical_graph.yaml"
    other.write_text(demo.read_text().replace("licence: Apache-2.0\n", "").replace("address: ", "# "))
    (row,) = counts_of_sources(import_yaml(other), {})["sources"]
    assert (row["source"], row["licence"], row["address"]) == ("medical_graph.yaml", NOT_STATED, "")


def question(source: str) -> Question:
    return Question("1", "?", {"A": "x", "B": "y"}, "A", source=source)


def test_public_sets_are_listed_with_their_questions_a_file_of_one_s_own_under_its_own_name():
    parts = {
        "exam": [question("medbullets")] * 3,
        "ward": [question("user")],
        "huatuogpt_o1": [question("user")],
    }
    found = counts_of_sources(KnowledgeGraph(), parts)
    rows = {row["source"]: row for row in found["sources"]}
    assert {name: row["records"] for name, row in rows.items()} == {
        "medbullets": 3,
        "ward": 1,
        "huatuogpt_o1": 1,
    }
    assert rows["huatuogpt_o1"]["licence"] == "Apache-2.0"
    assert found["commercial_use"] == "not stated by medbullets, ward"
    assert commercial_use([]) == "no source forbids it"


STEPS = {
    "none": [{"step": "format", "questions": 9}],
    "voter": [{"step": "labels", "questions": 9, "votes": {"drop": 0}}],
    "critic": [{"step": "critic", "questions": 7, "arguments": {}}],
    "people": [
        {"step": "labels", "questions": 9, "votes": {"drop": 2}},
        {
            "step": "decisions: rl",
            "questions": 9,
            "decisions": {"accept": 3, "relabel": 1, "stale_decisions": 5},
        },
        {"step": "decisions: dev", "questions": 9, "decisions": {"drop": 1, "unknown_decisions": 4}},
    ],
}


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("none", "not checked"),
        ("voter", {"voter": 9}),
        ("critic", {"critic": 7}),
        ("people", {"voter": 9, "people": 7}),
    ],
)
def test_who_looked_at_the_labels_is_counted(steps, said):
    assert labels_checked(STEPS[steps]) == said
