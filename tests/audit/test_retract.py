"""A source withdrawn: what depended on it is listed, and the data made anew are without it, and do not deny it."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest
from support import runs
from support.jsonl import read_records

import synth_data
from fleming.audit.index import Index, edges_in
from fleming.audit.retract import retract, seconds_of, to_run_again
from fleming.audit.trace import trace
from fleming.files import parse_line, write_json, write_jsonl
from fleming.graph.knowledge_graph import Edge, Entity, Evidence, KnowledgeGraph
from fleming.graph.open_world import disputed, is_sure
from fleming.graph.retracted import read_retractions, without
from fleming.sources.facts import Declared, Origin
from model.errors import InputError

A, B = Origin("A", "a.csv"), Origin("B", "b.csv")
TREMOR, RASH = ("gout", "has_finding", "tremor"), ("gout", "has_finding", "rash")


def small_graph() -> KnowledgeGraph:
    graph = KnowledgeGraph()
    for name, kind in (("gout", "disease"), ("tremor", "finding"), ("rash", "finding"), ("fever", "finding")):
        graph.add_entity(Entity(name, kind), "test")
    graph.add_edge(Edge(*TREMOR, (Evidence(A, 1), Evidence(B, 7))), "test")
    graph.add_edge(Edge(*RASH, (Evidence(A, 2),)), "test")
    graph.add_edge(Edge("gout", "has_finding", "fever", (Evidence(B, 8),), negated=True), "test")
    graph.declared = {("A", "has_finding"): Declared("closed", whole=True), ("B", "has_finding"): Declared()}
    return graph


def after(tmp_path, *retractions: dict) -> tuple[KnowledgeGraph, list[str]]:
    skipped: list[str] = []
    write_jsonl(tmp_path / "list.jsonl", retractions)
    graph = without(
        small_graph(), tmp_path / "list.jsonl", lambda _, code, detail: skipped.append(f"{code}: {detail}")
    )
    return graph, skipped


def test_a_whole_file_is_as_though_it_had_never_been_read(tmp_path):
    graph, skipped = after(tmp_path, {"file": "a.csv"})
    assert [edge.triple for edge in graph.edges()] == [TREMOR, ("gout", "has_finding", "fever")]
    assert [e.origin for e in graph.edge(*TREMOR).evidence] == [B]
    assert set(graph.declared) == {("B", "has_finding")}  # A is silent now, and its silence says nothing
    assert skipped == [
        "retracted: gout | has_finding | tremor: 1 of 2 pieces of evidence",
        "retracted: gout | has_finding | rash: 1 of 1 pieces of evidence",
    ]


def test_a_fact_or_record_that_is_withdrawn_is_neither_true_nor_false(tmp_path):
    for retraction in (
        dict(zip(("head", "relation", "tail"), RASH, strict=True)),
        {"file": "a.csv", "record": 2},
    ):
        graph, _ = after(tmp_path, retraction)
        assert disputed(graph, *RASH)
        assert not is_sure(graph, *RASH)
        assert [e.origin.source for e in graph.edge(*RASH).evidence] == ["retracted"]
        assert is_sure(graph, *TREMOR)
        assert graph.edge(*TREMOR).sources == 2


def test_a_fact_with_other_evidence_stands_by_that(tmp_path):
    graph, _ = after(tmp_path, {"file": "b.csv", "record": 7})
    assert is_sure(graph, *TREMOR)
    assert [e.record for e in graph.edge(*TREMOR).evidence] == [1]


def test_a_long_list_is_not_gone_through_for_each_fact(tmp_path):
    def calls(size: int) -> int:
        graph, count = KnowledgeGraph(), 0
        for name in ("gout", *map(str, range(size))):
            graph.add_entity(Entity(name, "finding"), "test")
        for i in range(size):
            graph.add_edge(Edge("gout", "has_finding", str(i), (Evidence(A, i + 1),)), "test")
        write_jsonl(tmp_path / "list.jsonl", ({"file": "a.csv", "record": i + 1} for i in range(size)))

        def note(*_) -> None:
            nonlocal count
            count += 1

        sys.setprofile(note)
        try:
            without(graph, tmp_path / "list.jsonl", lambda *_: None)
        finally:
            sys.setprofile(None)
        return count

    calls(1)  # what is made once
    assert 5 * calls(50) > calls(200)


@pytest.mark.parametrize(
    ("retraction", "said"),
    [
        ({"file": "c.csv"}, "list.jsonl:1: withdraws nothing"),
        (
            {"head": "gout", "relation": "has_finding"},
            "expected either file, and record or not, or head, relation and tail",
        ),
        ({"file": 7}, "list.jsonl:1"),
        ({"files": "a.csv"}, "list.jsonl:1"),
    ],
)
def test_a_bad_list_is_refused_with_its_line(tmp_path, retraction, said):
    with pytest.raises(InputError, match=said):
        after(tmp_path, retraction)


def facts_of_first_question(run_dir) -> list[str]:
    path = read_records(run_dir / "data/rl.jsonl")[0]["provenance"]["path"][0]
    return [path["head"], path["relation"], path["tail"]]


def test_all_that_depends_on_an_edge_is_listed(copy):
    triple = facts_of_first_question(copy)
    found, path = retract(Index(copy), " | ".join(triple), "read wrongly")
    questions = {
        q["id"]
        for q in read_records(copy / "data/questions.jsonl")
        if tuple(triple) in set(edges_in(q["provenance"]))
    }
    assert found["edges"] == [" | ".join(triple)]
    assert found["questions"] == sorted(questions)
    learned = read_records(copy / "data/cold_start.jsonl")
    assert found["trajectories"] == sorted(t["id"] for t in learned if t["question_id"] in questions)
    sampled = [r for p in (copy / "grpo/rollouts").glob("*.jsonl") for r in read_records(p)]
    assert found["rl_steps"] == sorted({r["step"] for r in sampled if r["question_id"] in questions})
    assert found["sft_steps"]
    assert read_records(path)[0]["reason"] == "read wrongly"
    commands = list(to_run_again(Index(copy), found, path))
    assert [command.split()[1] for command in commands] == [
        "synth_data.py",
        "train_sft.py",
        "train_grpo.py",
        "evaluate.py",
    ]
    assert all(seconds_of(Index(copy), stage) > 0 for stage in ("synth", "sft", "grpo", "evaluate"))


def test_a_whole_file_takes_each_question_up_once_however_many_facts_it_has(copy, monkeypatch):
    index, read = Index(copy), Counter()
    monkeypatch.setattr(
        "fleming.audit.index.parse_line",
        lambda line, where: (read.update([where]), parse_line(line, where))[1],
    )
    found, _ = retract(index, "medical_graph.yaml", "")
    assert len(found["questions"]) == len(read_records(copy / "data/questions.jsonl"))
    times = [count for where, count in read.items() if where.startswith("data/questions.jsonl")]
    assert times == [1] * len(found["questions"])


def test_a_line_a_file_and_what_is_neither(copy):
    graph = read_records(copy / "data/graph.jsonl")
    at_line = [(r["head"], f[0], f[1]) for r in graph for f in r.get("facts", ()) if f[3][0][1] == 60]
    found, _ = retract(Index(copy), "medical_graph.yaml:60", "")
    assert found["edges"] == [" | ".join(triple) for triple in at_line]
    whole, path = retract(Index(copy), "medical_graph.yaml", "")
    assert len(whole["edges"]) == sum(len(r.get("facts", ())) for r in graph)
    assert len(read_records(path)) == 2
    retract(Index(copy), "medical_graph.yaml", "")
    assert len(read_records(path)) == 2  # once
    for source in ("other.yaml", "medical_graph.yaml:x", "gout | has_finding | nothing"):
        with pytest.raises(InputError, match="--source"):
            retract(Index(copy), source, "")


def test_a_fact_whose_last_evidence_is_withdrawn_is_lost_though_another_source_was_withdrawn_before(copy):
    path = copy / "data/graph.jsonl"
    graph = read_records(path)
    graph.insert(0, {**graph[0], "number": 1, "file": "other.csv"})
    fact = next(record for record in graph if record["kind"] == "facts")
    fact["facts"][0][3].append([1, 5, -1, 1.0, -1.0, ""])
    write_jsonl(path, graph, hashed=True)
    name = " | ".join([fact["head"], *fact["facts"][0][:2]])
    first, _ = retract(Index(copy), "other.csv", "")
    assert (first["edges"], first["weakened"]) == ([], 1)
    second, _ = retract(Index(copy), f"medical_graph.yaml:{fact['facts'][0][3][0][1]}", "")
    assert name in second["edges"]
    assert second["questions"]


def test_the_list_goes_on_from_the_one_with_which_the_data_were_made(copy, tmp_path):
    earlier = tmp_path / "earlier.jsonl"
    write_jsonl(earlier, [{"file": "withdrawn.csv"}])
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["synth"][-1]["config"]["synth"]["retracted"] = str(earlier)
    write_json(copy / "manifest.json", manifest)
    _, path = retract(Index(copy), "medical_graph.yaml:60", "")
    assert [record["file"] for record in read_records(path)] == ["withdrawn.csv", "medical_graph.yaml"]


def test_the_data_made_anew_are_without_it(copy, tmp_path):
    triple = facts_of_first_question(copy)
    found, path = retract(Index(copy), " | ".join(triple), "")
    assert found["questions"]
    command = [
        "--config",
        str(copy / "config.yaml"),
        f"run_dir={tmp_path / 'again'}",
        f"synth.retracted={path}",
    ]
    assert runs.run_here(synth_data, command) == (0, [])
    named = [
        e for q in read_records(tmp_path / "again/data/questions.jsonl") for e in edges_in(q["provenance"])
    ]
    assert named
    assert tuple(triple) not in named
    assert " ".join(triple) not in (tmp_path / "again/data/cold_start.jsonl").read_text()
    codes = [r for r in read_records(tmp_path / "again/data/rejected.jsonl") if r["code"] == "retracted"]
    assert [r["detail"] for r in codes] == [f"{' | '.join(triple)}: 1 of 1 pieces of evidence"]
    manifest = json.loads((tmp_path / "again/manifest.json").read_text())
    assert "synth.retracted" in manifest["synth"][-1]["inputs"]


def test_a_killed_runs_half_line_keeps_no_source_from_being_withdrawn(copy):
    with open(copy / "grpo/metrics.jsonl", "a") as file:
        file.write('{"step": 7, "ti')
    found, path = retract(index := Index(copy), "medical_graph.yaml", "")
    assert any("train_grpo.py" in command for command in to_run_again(index, found, path))


def test_a_line_number_is_one_of_ordinary_digits(finished):
    with pytest.raises(InputError, match="no file, page or fact of this graph"):
        retract(Index(finished), "medical_graph.yaml:²", "")


def test_a_line_that_names_a_file_and_a_fact_is_refused_for_it_would_withdraw_the_file(tmp_path):
    (tmp_path / "r.jsonl").write_text(
        '{"file": "a.csv", "head": "gout", "relation": "has_symptom", "tail": "pain"}\n'
    )
    with pytest.raises(InputError, match=r"r\.jsonl:1: expected either file"):
        read_retractions(tmp_path / "r.jsonl")


def test_a_fact_without_evidence_stays(tmp_path):
    graph = small_graph()
    graph.add_edge(Edge("gout", "resembles", "fever"), "test")
    write_jsonl(tmp_path / "r.jsonl", [{"file": "a.csv"}])
    assert without(graph, tmp_path / "r.jsonl", lambda *_: None).states("gout", "resembles", "fever")


def test_what_is_withdrawn_again_for_another_reason_stands_in_the_list_once(copy):
    for reason in ("false", "false, says its author"):
        _, path = retract(Index(copy), "medical_graph.yaml", reason)
    assert len(read_records(path)) == 1


def test_a_name_with_bars_is_traced_and_withdrawn(copy):
    question = read_records(copy / "data/test.jsonl")[0]
    root, named = question["provenance"]["root"], "a rare | rather|odd disease"
    for name in ("graph", "questions"):
        path = copy / f"data/{name}.jsonl"
        path.write_text(path.read_text().replace(json.dumps(root), json.dumps(named)))
        Path(f"{path}.sha256").unlink()
    index, edge = Index(copy), question["provenance"]["path"][0]
    fact = f"{named} | {edge['relation']} | {edge['tail']}"
    for asked in (fact, fact.replace(f" | {edge['relation']} | ", f"|{edge['relation']}|")):
        assert "line" in trace(index, asked).rests_on[0].title
    answer = trace(index, f"answer:base/{question['id']}")
    assert next(n for n in answer.rests_on[0].rests_on if fact in n.title).says[
        "training questions that name it"
    ]
    found, path = retract(index, fact, "")
    assert (found["edges"], read_records(path)[0]["head"]) == ([fact], named)
