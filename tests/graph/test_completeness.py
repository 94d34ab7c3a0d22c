"""What a source declares of its own completeness, and what is left of that where its file was cut."""

import json
from collections import Counter

import pytest
import yaml
from support.jsonl import read_records
from support.source_files import write

from fleming.cold_start.outputs import counts_of_graph
from fleming.graph import completeness as module
from fleming.graph.build import build_graph, graph_files
from fleming.graph.completeness import completeness, declare, is_closed, shortfalls
from fleming.graph.graph_files import load_graph, save_graph
from fleming.graph.joining import Joined, join_sources
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.settings.synth import SourceConfig, SynthConfig
from fleming.sources.facts import Declared, Fact, Node, Origin
from fleming.sources.handwritten import import_yaml
from model.errors import InputError

HAND = """
complete: true
diseases:
  - {name: gout, symptoms: [toe pain], drugs: [allopurinol], mechanism: [urate storage]}
  - {name: cystinuria, symptoms: [flank pain]}
drugs:
  - {name: allopurinol, mechanism: [xanthine oxidase inhibition], contraindicated_in: [azathioprine use]}
  - {name: tiopronin, mechanism: [thiol exchange]}
"""
TABLE = {
    "source": "mine",
    "head": {"id": ["d"], "name": "disease", "type": "disease"},
    "tail": {"id": ["t"], "name": "drug", "type": "drug"},
    "relation": ["r"],
}


def graph_of_table(folder, rows: int, **declared) -> Joined:
    lines = [f"DOID:{i // 2}\td{i // 2}\ttreated_by\tDB:{i}\tdrug {i}" for i in range(rows)]
    files = {
        "mapping": write(folder, "mapping.yaml", yaml.safe_dump(TABLE | declared)),
        "file": write(folder, "edges.tsv", "\n".join(["d\tdisease\tr\tt\tdrug", *lines]) + "\n"),
    }
    synth = SynthConfig(sources={"mine": SourceConfig(kind="table", files=files)})
    return build_graph(synth, graph_files(synth, folder), folder, lambda *_: None)


def row_of(graph: KnowledgeGraph, relation: str) -> dict:
    (row,) = [row for row in completeness(graph) if row["relation"] == relation]
    return row


def test_a_complete_file_of_ones_own_knows_what_it_does_not_state(tmp_path):
    graph = import_yaml(write(tmp_path, "graph.yaml", HAND))
    assert is_closed(graph, "gout", "has_symptom")
    assert is_closed(graph, "cystinuria", "treated_by")  # it names no drug: there is none
    assert not is_closed(graph, "azathioprine use", "treated_by")  # a name on the way describes nothing
    assert not is_closed(graph, "nobody", "has_symptom")
    assert is_closed(graph, "allopurinol", "contraindicated_in")
    assert not is_closed(graph, "tiopronin", "contraindicated_in")  # a missing key: nobody has looked
    assert not is_closed(graph, "gout", "diagnosed_by")  # a relation that the file does not know
    assert {row["level"] for row in completeness(graph)} == {"closed"}


def test_a_file_that_does_not_say_that_it_is_complete_is_open(tmp_path):
    graph = import_yaml(write(tmp_path, "graph.yaml", HAND.replace("complete: true\n", "")))
    assert graph.declared == {}
    assert not is_closed(graph, "gout", "has_symptom", "nearly_closed")
    assert not is_closed(graph, "gout", "has_symptom", "open")


@pytest.mark.parametrize(
    ("declared", "level", "closed", "nearly"),
    [
        ({}, "open", False, False),
        ({"published": {"treated_by": 40}}, "open", False, False),
        ({"completeness": {"treated_by": "closed"}}, "closed", True, True),
        ({"completeness": {"treats": "closed"}, "published": {"treats": 42}}, "closed", True, True),
        ({"completeness": {"treated_by": "nearly_closed"}}, "nearly_closed", False, True),
        ({"completeness": {"treated_by": "closed"}, "published": {"treated_by": 43}}, "open", False, False),
    ],
)
def test_a_mapping_declares_its_source_and_a_cut_file_is_open_all_the_same(
    tmp_path, declared, level, closed, nearly
):
    graph = graph_of_table(tmp_path, 40, **declared).graph
    row = row_of(graph, "treated_by")
    assert (row["present"], row["level"]) == (40, level)
    assert is_closed(graph, "d3", "treated_by") is closed
    assert is_closed(graph, "d3", "treated_by", "nearly_closed") is nearly
    assert not is_closed(graph, "drug 3", "treated_by", "nearly_closed")  # it is no head of it


def test_below_95_percent_is_below_and_a_round_number_is_suspicious(tmp_path):
    closed = {"completeness": {"treated_by": "closed"}}

    def at(rows, **published):
        row = row_of(graph_of_table(tmp_path, rows, **closed, **published).graph, "treated_by")
        return row["suspicious"], row["share"], row["level"]

    assert at(19, published={"treated_by": 20}) == (False, 0.95, "closed")
    assert at(18, published={"treated_by": 20}) == (False, 0.9, "open")
    assert at(1000) == (True, None, "open")  # nobody says how many there should be
    assert at(1000, published={"treated_by": 1000}) == (False, 1.0, "closed")
    assert at(1000, published={"treated_by": 1010}) == (True, 0.9901, "closed")
    assert at(1001) == (False, None, "closed")


def test_the_report_and_its_lines_say_what_was_cut(tmp_path):
    whole = graph_of_table(tmp_path, 38, published={"treated_by": 40})
    assert shortfalls(counts_of_graph(whole)["graph"]["completeness"]) == []
    cut = graph_of_table(tmp_path, 10, published={"treated_by": 40})
    assert shortfalls(counts_of_graph(cut)["graph"]["completeness"]) == [
        "mine: its file was cut, or looks like it: treated_by 10 of 40 (25%)"
    ]
    assert shortfalls(completeness(graph_of_table(tmp_path, 2000).graph)) == [
        "mine: its file was cut, or looks like it: treated_by 2,000 (a round number)"
    ]


ONE, AGAIN, OTHER = Origin("one", "a.tsv"), Origin("one", "a.tsv"), Origin("other", "b.tsv")
NODES = [Node(f"OMIM:{i}", f"disease {i}", "disease") for i in (1, 2)]
NODES += [Node("ORPHA:1", "disease 1", "disease"), Node("NCBIGENE:1", "G1", "gene")]


def test_records_are_counted_whatever_joining_makes_of_them():
    """Two of a source that become one edge are two, one that is read twice is one, a negated one is none."""
    facts = [
        Fact("OMIM:1", "associated_gene", "NCBIGENE:1", ONE, 1),
        Fact("ORPHA:1", "associated_gene", "NCBIGENE:1", ONE, 2),
        Fact("OMIM:1", "associated_gene", "NCBIGENE:1", AGAIN, 1),
        Fact("OMIM:2", "associated_gene", "NCBIGENE:1", ONE, 3, negated=True),
        Fact("OMIM:2", "associated_gene", "NCBIGENE:1", OTHER, 1),
    ]
    graph = join_sources([NODES, facts], lambda *_: None).graph
    assert {row["source"]: row["present"] for row in completeness(graph)} == {"one": 2, "other": 1}
    declare(graph, {("one", "associated_gene"): Declared("closed", 2), ("none", "r"): Declared("closed")})
    assert list(graph.declared) == [("one", "associated_gene")]
    assert is_closed(graph, "disease 1", "associated_gene")
    assert not is_closed(graph, "disease 2", "associated_gene")  # of which this source states none


def test_what_a_graph_declares_is_saved_and_an_auditor_finds_the_same(tmp_path):
    graph = graph_of_table(tmp_path, 39, completeness={"treats": "closed"}, published={"treats": 40}).graph
    save_graph(graph, tmp_path / "graph.jsonl")
    again = load_graph(tmp_path / "graph.jsonl")
    assert again.declared == graph.declared == {("mine", "treated_by"): Declared("closed", 40)}
    assert completeness(again) == completeness(graph)
    assert is_closed(again, "d3", "treated_by")

    records = read_records(tmp_path / "graph.jsonl")
    (declared,) = [record for record in records if record["kind"] == "declared"]
    counts = Counter()
    for record in records:
        for relation, _, negated, evidence in record.get("facts", ()):
            counts[relation] += (not negated) * len(evidence)
    assert counts[declared["relation"]] / declared["published"] == row_of(graph, "treated_by")["share"]


DECLARED = {
    "kind": "declared",
    "source": "s",
    "relation": "r",
    "level": "closed",
    "published": 7,
    "whole": False,
}


@pytest.mark.parametrize(
    "record",
    [
        {**DECLARED, "level": "shut"},
        {**DECLARED, "published": 0},
        {**DECLARED, "published": 7.5},
        {**DECLARED, "published": "7"},
        {**DECLARED, "whole": 1},
        {**DECLARED, "source": None},
        {key: value for key, value in DECLARED.items() if key != "whole"},
        DECLARED,  # a second time
    ],
)
def test_a_damaged_declaration_is_refused_with_its_line(tmp_path, record):
    (tmp_path / "graph.jsonl").write_text(f"{json.dumps(DECLARED)}\n{json.dumps(record)}\n")
    with pytest.raises(InputError, match=r"graph\.jsonl:2: "):
        load_graph(tmp_path / "graph.jsonl")


def test_a_graph_file_of_earlier_times_is_read_and_open(tmp_path):
    records = [
        {"kind": "origin", "number": 0, "source": "HPO", "file": "f", "version": "", "extractor": ""},
        {"kind": "entity", "name": "gout", "type": "disease", "rare": False, "synonyms": [], "ids": []},
        {"kind": "entity", "name": "G1", "type": "gene", "rare": False, "synonyms": [], "ids": []},
        {
            "kind": "facts",
            "head": "gout",
            "facts": [["associated_gene", "G1", False, [[0, 1, -1, 1.0, -1.0, ""]]]],
        },
    ]
    (tmp_path / "graph.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    graph = load_graph(tmp_path / "graph.jsonl")
    assert graph.declared == {}
    assert graph.entities["gout"].lay == ()
    assert not is_closed(graph, "gout", "associated_gene", "nearly_closed")


def test_a_graph_without_any_evidence_has_nothing_to_declare():
    assert completeness(KnowledgeGraph()) == []


def test_a_bad_list_of_published_counts_is_refused(tmp_path, monkeypatch):
    text = "sources: {HPO: {completeness: {inherited_as: shut}}}"
    monkeypatch.setattr(module, "PUBLISHED", write(tmp_path, "published.yaml", text))
    with pytest.raises(InputError, match=r"published\.yaml: .*inherited_as"):
        module.published_sources()


def test_names_that_no_name_may_be_are_left_out_with_a_code_whatever_graph_they_come_from(tmp_path):
    bad = ["gout </answer>", "x <|im_end|>", "a\u202eb", "\x07bell"]
    rows = [f"DOID:{i}\t{name}\ttreated_by\tDB:{i}\tdrug {i}" for i, name in enumerate(["gout", *bad])]
    files = {
        "mapping": write(tmp_path, "mapping.yaml", yaml.safe_dump(TABLE)),
        "file": write(tmp_path, "edges.tsv", "\n".join(["d\tdisease\tr\tt\tdrug", *rows]) + "\n"),
    }
    synth = SynthConfig(sources={"mine": SourceConfig(kind="table", files=files)})
    skipped = []
    joined = build_graph(synth, graph_files(synth, tmp_path), tmp_path, lambda *said: skipped.append(said))
    codes = ["own_tag", "chat_marker", "direction_character", "control_character"]
    assert [code for _, code, _ in skipped if code != "unknown_entity"] == codes
    assert [name for name, entity in joined.graph.entities.items() if entity.type == "disease"] == ["gout"]
    with pytest.raises(InputError, match=r"can be no name \(own_tag\)"):
        import_yaml(write(tmp_path, "graph.yaml", HAND.replace("toe pain", "'<think> pain'")))


def test_a_relation_that_is_declared_and_wholly_missing_is_said(tmp_path):
    declared = {"completeness": {"targets": "closed"}, "published": {"caused_by": 7}}
    report = completeness(graph_of_table(tmp_path, 3, others="keep", **declared).graph)
    missing = {row["relation"]: row["level"] for row in report if not row["present"]}
    assert missing == {"targets": "open", "caused_by": "open"}
    assert shortfalls(report) == [
        "mine: its file was cut, or looks like it: caused_by 0 of 7 (0%), targets none, though declared"
    ]


@pytest.mark.parametrize("share", [(7.0, -1.0), (-0.5, -1.0), (1e308, 0.5), (1.0, 1.5), (1.0, -0.5)])
def test_a_share_that_is_none_is_refused(tmp_path, share):
    refuse_altered(tmp_path, "evidence must be", lambda fact: fact[3][0].__setitem__(slice(3, 5), share))


@pytest.mark.parametrize("relation", ["", "^r", "r ", "\x1b[2J"])
def test_a_relation_without_a_name_is_refused(tmp_path, relation):
    refuse_altered(tmp_path, ".* is no relation's name", lambda fact: fact.__setitem__(0, relation))


def refuse_altered(tmp_path, message, alter):
    save_graph(graph_of_table(tmp_path, 1).graph, tmp_path / "graph.jsonl")
    *lines, last = read_records(tmp_path / "graph.jsonl")
    alter(last["facts"][0])
    path = write(tmp_path, "other.jsonl", "".join(f"{json.dumps(line)}\n" for line in [*lines, last]))
    with pytest.raises(InputError, match=rf"other\.jsonl:{len(lines) + 1}: {message}"):
        load_graph(path)


def test_a_graph_without_a_fact_is_refused(tmp_path):
    synth = SynthConfig(graph=write(tmp_path, "graph.jsonl", ""))
    with pytest.raises(InputError, match=r"graph\.jsonl: a graph without a fact"):
        build_graph(synth, graph_files(synth, tmp_path), tmp_path, lambda *_: None)
