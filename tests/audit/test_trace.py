"""python -m fleming.audit trace: what it says of a record is what a plain search through all files finds."""

import json
import os
import shutil
from collections import Counter

import numpy as np
import pytest
from support.jsonl import read_lines, read_records

from fleming.audit.index import KINDS, Index, edges_in, hash_of, read_cache
from fleming.audit.segments import segments_of
from fleming.audit.trace import Node, as_json, as_text, trace
from fleming.audit.verify import verify
from fleming.files import read_jsonl
from fleming.noise import shuffled
from model.errors import InputError


@pytest.fixture(scope="module")
def index(finished) -> Index:
    return Index(finished)


def rollouts(run_dir) -> list[dict]:
    return [r for path in sorted((run_dir / "grpo/rollouts").glob("*.jsonl")) for r in read_records(path)]


def titles(nodes: list[Node]) -> list[str]:
    return [node.title for node in nodes]


def test_a_question_rests_on_every_edge_of_its_path_with_file_and_line(finished, index):
    graph = {}
    for record in read_records(finished / "data/graph.jsonl"):
        for relation, tail, _, evidence in record.get("facts", ()):
            graph[record["head"], relation, tail] = {row[1] for row in evidence}
    for question in read_records(finished / "data/questions.jsonl")[:40]:
        node = trace(index, question["id"])
        for edge in question["provenance"]["path"]:
            triple = edge["head"], edge["relation"], edge["tail"]
            [above] = [n for n in node.rests_on if n.title == f"path: edge {' | '.join(triple)}"]
            lines = {int(source.title.rpartition("line ")[2]) for source in above.rests_on}
            assert lines == graph[triple]
        for option in question["provenance"]["certificate"]["distractors"]:
            for triple in option["violates"]:
                assert any(n.title.endswith(" | ".join(triple)) for n in node.rests_on)


def test_a_question_led_to_what_a_search_through_all_files_finds(finished, index):
    sampled = rollouts(finished)
    ids = list(dict.fromkeys(r["question_id"] for r in sampled))
    assert len(ids) > 10
    for name in ids[:12]:
        node = trace(index, name)
        groups = [n for n in node.led_to if n.title.startswith("rollout:")]
        mine = [r for r in sampled if r["question_id"] == name]
        steps = list(dict.fromkeys(r["step"] for r in mine))
        assert [int(n.says["file"][-12:-6]) for n in groups] == steps
        for group, step in zip(groups, steps, strict=True):
            right = [r["reward"]["correct"] > 0.5 for r in mine if r["step"] == step]
            assert group.says["right"] == f"{sum(right)} of {len(right)}"
        learned = [
            t["id"] for t in read_records(finished / "data/cold_start.jsonl") if t["question_id"] == name
        ]
        assert [n.title for n in node.led_to if n.title.startswith("trajectory")] == [
            f"trajectory {t}" for t in learned
        ]
        events = [e for e in read_records(finished / "grpo/curriculum.jsonl") if e.get("question") == name]
        mined = [n.title for n in node.led_to if n.title.startswith("mining")]
        assert mined == [f"mining, {event['event']}" for event in events]


def test_the_steps_that_learned_from_a_trajectory_are_those_of_the_loop(finished, index):
    """Against train_sft.py's own walk through the places of endless epochs, here with ids in the examples' stead."""
    ids = [record["id"] for record in read_records(finished / "sft/learned.jsonl")]
    steps = len(read_records(finished / "sft/metrics.jsonl"))
    drawn = {
        step: [shuffled(ids, place, 0, "sft epoch") for place in range((step - 1) * 16, step * 16)]
        for step in range(1, steps + 1)
    }
    for name in ids[::25]:
        node = trace(index, name)
        assert node.says["learned in steps"] == [step for step, names in drawn.items() if name in names]
        assert node.says["learned in steps"]
        assert node.rests_on[0].title.startswith("question ")
        assert node.led_to[0].title.startswith("weights of sft after step")


def test_a_rollout_rests_on_its_question_and_the_weights_before_it(finished, index):
    r = rollouts(finished)[-1]
    node = trace(index, f"rollout:{r['step']}/{r['group']}/{r['sample']}")
    assert (node.says["response"], node.says["reward"]) == (r["response"], r["reward"])
    assert titles(node.rests_on) == [
        f"question {r['question_id']}",
        f"weights of grpo after step {r['step'] - 1}",
    ]
    line = int(node.says["drawn again by"].partition("--sample ")[2])
    assert [other for other in rollouts(finished) if other["step"] == r["step"]][line] == r
    [after] = node.led_to
    assert after.says["next kept checkpoint"] == "step_000009"
    first = rollouts(finished)[0]
    node = trace(index, f"rollout:1/{first['group']}/0")
    assert node.rests_on[1].title == "grpo began with this model"
    assert node.rests_on[1].says["model/model.safetensors"] in (finished / "sft/model/SHA256SUMS").read_text()


def test_an_answer_rests_on_its_question_its_facts_and_the_stage_that_wrote_its_model(finished, index):
    given = read_records(finished / "eval/rl_stage2/answers.jsonl")[0]
    node = trace(index, f"answer:rl_stage2/{given['id']}")
    question, model = node.rests_on
    assert question.title == f"question {given['id']}"
    [stage] = model.rests_on
    assert (stage.title, stage.says["file"]) == ("written by grpo", "grpo/stage2/model/model.safetensors")
    questions = read_records(finished / "data/questions.jsonl")
    for fact in question.rests_on:
        triple = fact.title.partition("edge ")[2].split(" | ")
        named = [q for q in questions if q["split"] == "train" and tuple(triple) in edges_named(q)]
        assert fact.says["training questions that name it"] == len(named), triple


def edges_named(question: dict) -> set[tuple[str, ...]]:
    """All edges that a question names, part by part: an oracle that shares nothing with edges_in."""
    provenance = question["provenance"]
    certificate = provenance["certificate"]
    whole = list(provenance["path"])
    listed = []
    for option in certificate["distractors"]:
        whole += option["evidence"]
        listed += [*option["shares"], *option["violates"]]
    for rival in certificate.get("rivals", ()):
        listed += [rival["proof"], *rival["shares"]]
    return {(e["head"], e["relation"], e["tail"]) for e in whole} | {tuple(triple) for triple in listed}


def test_three_names_are_no_edge():
    provenance = {"certificate": {"solutions": ["gout", "lupus", "rickets"], "distractors": []}}
    assert list(edges_in(provenance)) == []
    provenance["certificate"]["distractors"] = [{"violates": [["gout", "has_finding", "rash"]]}]
    assert list(edges_in(provenance)) == [("gout", "has_finding", "rash")]


def test_an_edge_led_to_the_questions_that_name_it(finished, index):
    question = read_records(finished / "data/questions.jsonl")[0]
    edge = question["provenance"]["path"][0]
    triple = [edge["head"], edge["relation"], edge["tail"]]
    naming = [q for q in read_records(finished / "data/questions.jsonl") if tuple(triple) in edges_named(q)]
    node = trace(index, " | ".join(triple))
    assert sum(node.says["questions"].values()) == len(naming)
    assert set(titles(node.led_to)) <= {f"question {q['id']}" for q in naming}
    assert "medical_graph.yaml, line" in node.rests_on[0].title


@pytest.mark.parametrize(
    "name",
    [
        "graph/none",
        "a | b | c",
        "rollout:1/99/0",
        "rollout:9999/0/0",
        f"rollout:{'9' * 300}/0/0",
        "rollout:a/b/c",
        "answer:x/y",
    ],
)
def test_what_is_not_there_is_one_error(index, name):
    with pytest.raises(InputError):
        trace(index, name)


def test_a_name_that_may_mean_two_facts_is_refused_with_both(copy):
    path = copy / "data/graph.jsonl"
    facts = ("a | b", ["c", "d", False, []]), ("a", ["b", "c | d", False, []])
    lines = [json.dumps({"kind": "facts", "head": head, "facts": [fact]}) + "\n" for head, fact in facts]
    path.write_text(path.read_text() + "".join(lines))
    os.unlink(f"{path}.sha256")
    with pytest.raises(InputError, match=r"may be any of .*'a \| b', 'c', 'd'.*|.*'a', 'b', 'c \| d'"):
        trace(Index(copy), "a | b | c | d")


def test_all_questions_of_an_edge_are_in_its_json_and_the_text_says_how_many_it_leaves_out(
    index, monkeypatch
):
    monkeypatch.setattr("fleming.audit.trace.MANY", 2)
    named = (edges_in(q["provenance"]) for q in read_records(index.run_dir / "data/questions.jsonl"))
    [(edge, total)] = Counter(edge for edges in named for edge in set(edges)).most_common(1)
    node = trace(index, " | ".join(edge))
    assert len(json.loads(as_json(node))["led_to"]) == total
    assert f"and {total - 2} more, which --json has" in as_text(node)


def test_each_time_that_a_question_was_asked_is_told(copy):
    path = copy / "eval/base/answers.jsonl"
    [first, *_] = records = read_records(path)
    other = first | {"order": 1, "answer": "Z", "response": "in another order"}
    path.write_text("".join(json.dumps(r) + "\n" for r in [*records, other]))
    os.unlink(f"{path}.sha256")
    says = trace(Index(copy), f"answer:base/{first['id']}").says
    assert (says["order"], says["asked again"][0]["order"]) == (0, 1)
    assert says["asked again"][0]["response"] == "in another order"


def test_an_index_that_came_with_the_run_is_not_believed(copy, tmp_path):
    """It has the sizes and dates of the files, which a copy keeps, and not the places of one question."""
    question = f"question {read_records(copy / 'data/questions.jsonl')[0]['id']}"
    Index(copy)
    with np.load(copy / ".audit_index.npz") as arrays:
        kept = arrays["hashes"] != np.uint64(hash_of(question))
        forged = {
            "hashes": arrays["hashes"][kept],
            "places": arrays["places"][kept],
            "files": arrays["files"],
        }
    np.savez(copy / ".audit_index.npz", **forged)
    assert Index(copy).places_of(question) == []
    assert Index(shutil.copytree(copy, tmp_path / "fetched")).places_of(question)


def test_the_index_is_kept_and_follows_what_changes(copy):
    Index(copy)
    files, hashes, _ = read_cache(copy / ".audit_index.npz")
    assert set(files) - {""} == {
        p.relative_to(copy).as_posix() for pattern, _ in KINDS.values() for p in copy.glob(pattern)
    }
    given = copy / "eval/base/answers.jsonl"
    lines = read_lines(given)
    given.write_text("\n".join(lines[1:]) + "\n")
    asked = json.loads(lines[0])["id"]
    shutil.rmtree(copy / "eval/cold_start")
    again = Index(copy)
    assert [file for file, _ in again.records(f"question {asked}", "answer")] == [
        "eval/rl_stage1/answers.jsonl",
        "eval/rl_stage2/answers.jsonl",
    ]
    assert len(again.hashes) < len(hashes)
    fresh = shutil.copytree(copy, copy.with_name("fresh"))
    (fresh / ".audit_index.npz").unlink()
    for a, b in ((again.hashes, Index(fresh).hashes), (again.places, Index(fresh).places)):
        assert np.array_equal(a, b)
    (copy / ".audit_index.npz").write_bytes(b"no index")
    assert np.array_equal(Index(copy).hashes, again.hashes)


def test_what_a_model_or_a_source_says_cannot_steer_a_terminal(copy):
    path = copy / "grpo/rollouts/step_000001.jsonl"
    records = read_records(path)
    records[0]["response"] = "\x1b]0;owned\x07<b>\u2028\u202e"
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    os.unlink(f"{path}.sha256")
    node = trace(Index(copy), f"rollout:1/{records[0]['group']}/{records[0]['sample']}")
    assert "\x1b" not in as_text(node)
    assert json.loads(as_json(node))["says"]["response"] == records[0]["response"]


def test_a_record_of_another_form_is_named(copy):
    path = copy / "data/graph.jsonl"
    path.write_text(path.read_text() + '{"kind": "facts", "facts": [["has_finding", "x", false, []]]}\n')
    os.unlink(f"{path}.sha256")
    with pytest.raises(InputError, match=r"data/graph\.jsonl:\d+: no record of data/graph\.jsonl"):
        Index(copy)


def test_a_run_on_a_user_s_own_questions_is_traced_too(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    own = tmp_path / "mine.jsonl"
    shutil.move(run / "data/questions.jsonl", own)
    shutil.rmtree(run / "data")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["grpo"][-1]["config"]["data"]["questions"] = str(own)
    (run / "manifest.json").write_text(json.dumps(manifest))
    os.unlink(run / "manifest.json.sha256")
    name = rollouts(run)[0]["question_id"]
    node = trace(Index(run), name)
    assert node.says["file"] == str(own)
    assert any(title.startswith("rollout:1/") for title in titles(node.led_to))


def test_copies_that_somebody_made_are_no_steps_and_no_error(copy):
    """A backup of a checkpoint or of a step's answers lies beside the original, as file managers call it."""
    [rollout, *_] = sorted((copy / "grpo/rollouts").iterdir())
    checkpoints = sorted((copy / "grpo/checkpoints").iterdir())
    asked = f"question {rollouts(copy)[0]['question_id']}"
    before, segments = Index(copy).records(asked, "rollout"), segments_of(copy)
    assert before
    shutil.copy(rollout, rollout.with_name(f"{rollout.stem} (copy).jsonl"))
    for name in (f"{checkpoints[0].name} (copy)", "step_best"):
        shutil.copytree(checkpoints[0], checkpoints[0].with_name(name))
    assert Index(copy).records(asked, "rollout") == before
    assert segments_of(copy) == segments
    [weights] = trace(Index(copy), "rollout:1/0/0").led_to
    assert weights.says["next kept checkpoint"] == checkpoints[0].name
    verify(copy)


def test_the_half_last_line_of_a_killed_runs_ledger_is_no_fault(copy):
    with open(copy / "grpo/curriculum.jsonl", "a") as file:
        file.write('{"event": "ans')
    question = next(read_jsonl(copy / "data/questions.jsonl"))[1]["id"]
    assert trace(Index(copy), question).title == f"question {question}"


def test_a_name_that_is_no_text_is_one_that_nothing_has(finished):
    with pytest.raises(InputError, match="nothing here is called"):
        trace(Index(finished), "a\udcff")
