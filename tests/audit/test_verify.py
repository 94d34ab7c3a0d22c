"""python -m fleming.audit verify: a folder as it was written passes; a changed byte is found in any file, by name."""

import hashlib
import json
import random
import shutil
from pathlib import Path

import pytest
from support.forger import make_all_hashes_fit
from support.runs import run_here

import evaluate
from benchmarks import audit
from fleming.audit.verify import said, verify
from fleming.files import AppendLog, run_lock, write_json
from fleming.manifest import current_outputs, merkle_root, read_manifest
from model.errors import InputError
from model.sums import digest, remove, sums_of, write_hashed


def test_a_run_as_it_was_written_has_no_fault_and_all_of_it_is_covered(finished):
    verdict = verify(finished)
    assert (verdict.faults, verdict.uncovered) == ([], [])
    assert verdict.files > 70
    assert verdict.root == read_manifest(finished)["evaluate"][-1]["root"]
    assert "all as written" in said(verdict, finished)


def test_the_run_that_the_benchmark_makes_up_has_no_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "QUESTIONS", 20)
    monkeypatch.setattr(audit, "EDGES", 100)
    audit.make_run(tmp_path, 200)
    assert verify(tmp_path).faults == []


def test_what_people_edit_is_said_to_have_no_hash_and_no_fault(copy):
    for name in ("cards.html", "grpo/decisions.jsonl"):
        (copy / name).write_text("a person's")
    assert (verify(copy).faults, verify(copy).uncovered) == ([], ["cards.html", "grpo/decisions.jsonl"])


def test_the_questions_that_choose_the_best_model_are_an_input(finished):
    [entry] = read_manifest(finished)["grpo"]
    assert entry["inputs"]["data.dev"] == digest(finished / "data/dev.jsonl")


def test_the_graph_that_answers_are_held_against_is_an_input_of_the_evaluation(copy):
    graph = copy / "data/graph.jsonl"
    command = ["--config", str(copy / "config.yaml"), f"run_dir={copy}", f"evaluate.graph={graph}"]
    assert run_here(evaluate, command)[0] == 0
    assert read_manifest(copy)["evaluate"][-1]["inputs"]["evaluate.graph"] == digest(graph)


def test_every_stage_names_all_that_it_wrote(finished):
    written = current_outputs(read_manifest(finished))
    ours = (
        "checkpoints/",
        "rollouts/",
        "metrics.jsonl",
        "curriculum.jsonl",
        "learned.jsonl",
        "answers.jsonl",
    )
    for part in (*ours, "config.yaml", "data/graph.jsonl", "grpo/best/model/config.json", "results.json"):
        assert any(part in name for name in written), part


def test_a_changed_byte_is_found_in_every_file_and_named(copy):
    rng = random.Random(0)
    files = sorted(p for p in copy.rglob("*") if p.is_file() and not p.name.startswith("."))
    assert len(files) > 120
    for path in files:
        data = path.read_bytes()
        if not data:
            continue
        at = rng.randrange(len(data))
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
        name = path.relative_to(copy).as_posix()
        try:
            faults = verify(copy).faults
        except InputError as error:  # of the manifest itself, which nothing can be read without
            assert name in ("manifest.json", "manifest.json.sha256"), name
            faults = [str(error).replace(f"{copy}/", "")]
        assert any(name in fault for fault in faults), (name, at, faults)
        path.write_bytes(data)
    assert verify(copy).faults == []


def test_what_is_missing_or_was_written_again_is_named(copy):
    (copy / "data/dev.jsonl").unlink()
    questions = copy / "data/rl.jsonl"
    questions.write_bytes(questions.read_bytes() + b"\n")
    digest = hashlib.sha256(questions.read_bytes()).hexdigest()
    (copy / "data/rl.jsonl.sha256").write_text(f"{digest}  rl.jsonl\n")
    (copy / "notes.txt").write_text("mine")
    verdict = verify(copy)
    assert [fault.split(":")[0] for fault in verdict.faults] == ["data/dev.jsonl", "data/rl.jsonl"]
    assert "is missing" in verdict.faults[0]
    assert "written again since its stage ended" in verdict.faults[1]
    assert verdict.uncovered == ["notes.txt"]


def test_a_manifest_that_was_changed_with_its_hash_no_longer_has_its_root(copy):
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["grpo"][-1]["outputs"]["grpo/rollouts/step_000003.jsonl"]
    path.write_text(json.dumps(manifest))
    (copy / "manifest.json.sha256").write_text(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  manifest.json\n"
    )
    assert verify(copy).faults == [
        "grpo/rollouts/step_000003.jsonl: by manifest.json no stage has written it",
        "manifest.json: its root is not that of the outputs that it names",
    ]


@pytest.mark.parametrize("beside", [True, False])
def test_what_no_stage_has_written_is_named_whether_a_hash_stands_beside_it_or_not(copy, beside):
    made_up = [
        "data/rubric.jsonl",
        "eval/base/decontamination.json",
        "eval/best_of_all/results.json",
        "grpo/inspect/a.json",
        "grpo/rollouts/step_000099.jsonl",
        "sft/model/chat_template.jinja",
    ]
    for name in made_up:
        write_hashed(copy / name, "{}\n")
        if not beside:
            sums_of(copy / name).unlink()
    # Of commands that have no entry; and a person's.
    for name in ("eval/base/rubrics.json", "data/decontamination.json", "eval/base/inspect/a.json"):
        write_hashed(copy / name, "{}")
    (copy / "grpo/curves.png").write_bytes(b"")
    assert verify(copy).faults == [f"{name}: by manifest.json no stage has written it" for name in made_up]


def test_a_manifest_whose_hash_is_gone_is_covered_by_none_and_checkpoints_contradict_its_settings(copy):
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["grpo"][-1]["config"]["grpo"]["learning_rate"] = 1.0
    manifest["sft"][-1]["config"]["seed"] = 5
    path.write_text(json.dumps(manifest))
    (copy / "manifest.json.sha256").unlink()
    verdict = verify(copy)
    assert verdict.uncovered == ["manifest.json"]
    assert [fault.split(", ")[0] for fault in verdict.faults] == [
        "manifest.json: sft has seed 5",
        "manifest.json: grpo has grpo.learning_rate 1.0",
    ]


@pytest.mark.parametrize("ended", [False, True])
def test_of_an_evaluation_that_has_not_ended_the_files_are_told_unless_it_has(copy, ended):
    manifest = json.loads((copy / "manifest.json").read_text())
    entry = manifest["evaluate"][-1]
    entry["outputs"] = {}
    del entry["root"]
    write_json(copy / "manifest.json", manifest)
    scores = f"eval/{entry['name']}/results.json"
    if not ended:
        remove(copy / scores)
    verdict = verify(copy)
    said_of = "by manifest.json no stage has written it; if its last command was stopped, run it again"
    assert verdict.faults == [f"{scores}: {said_of}"] * ended
    assert f"of a stage that has not ended: eval/{entry['name']}/answers.jsonl" in said(verdict, copy)


def test_what_has_begun_since_the_newest_root_is_no_part_of_it(copy):
    """A finished evaluation that is asked for more, and is killed."""
    manifest = json.loads((copy / "manifest.json").read_text())
    first = manifest["evaluate"][0]
    again = {name: value for name, value in first.items() if name != "root"}
    manifest["evaluate"].append(again | {"started": "9999", "outputs": {}})
    write_json(copy / "manifest.json", manifest)
    verdict = verify(copy)
    assert verdict.faults == []
    assert verdict.root == manifest["evaluate"][-2]["root"]
    assert f"eval/{first['name']}/results.json" in verdict.unrooted
    assert verdict.outgrown == sorted(first["outputs"])
    with open(copy / f"eval/{first['name']}/answers.jsonl", "ab") as log:
        log.write(b"{}\n")
    remove(sums_of(Path(log.name)))
    verdict = verify(copy)
    assert (verdict.faults, verdict.differ) == ([], 1)
    words = said(verdict, copy)
    assert f"the root is not of: {len(first['outputs'])} files" in words
    assert f"1 it has: eval/{first['name']}/answers.jsonl, " in words
    assert f"\nroot {verdict.root}" not in words
    assert "all as written" not in words


@pytest.mark.parametrize("stage", ["evaluate", "sft"])
def test_a_later_start_that_has_not_ended_does_not_speak_for_a_changed_file(copy, stage):
    name = "sft/model/config.json"
    write_hashed(copy / name, (copy / name).read_text() + "\n")
    remove(copy / "sft/model/SHA256SUMS")
    manifest = json.loads((copy / "manifest.json").read_text())
    claims = {name: digest(copy / name)} if stage == "evaluate" else {}
    later = {"started": "9999", "inputs": {}, "config": {}, "outputs": claims}
    manifest[stage].append(later)
    write_json(copy / "manifest.json", manifest)
    verdict = verify(copy)
    assert (verdict.outgrown[0], verdict.differ) == (name, 1)
    assert f"the root is not of: {len(verdict.outgrown)} files" in said(verdict, copy)
    assert f"\nroot {verdict.root}" not in said(verdict, copy)
    if stage == "evaluate":
        [fault] = verdict.faults
        assert fault.startswith(f"{name}: manifest.json's entry of evaluate, started 9999")


def test_a_stage_that_began_with_other_data_than_stand_here_is_named(copy):
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["grpo"][-1]["inputs"]["data.questions"] = "0" * 64
    path.write_text(json.dumps(manifest))
    (copy / "manifest.json.sha256").write_text(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  manifest.json\n"
    )
    by_state, by_outputs = verify(copy).faults
    assert "grpo has sha256 of data.questions '0000" in by_state
    assert "grpo read data.questions 0000000000000000..., which no stage here has written" in by_outputs


def test_of_a_stage_that_has_not_ended_the_logs_are_what_the_checkpoint_says(copy):
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    entry = manifest["grpo"][-1]
    entry["outputs"] = {"config.yaml": entry["outputs"]["config.yaml"]}
    del entry["root"], manifest["evaluate"]
    path.write_text(json.dumps(manifest))
    (copy / "manifest.json.sha256").unlink()
    with open(copy / "grpo/metrics.jsonl", "ab") as log:
        log.write(b"{}\n")  # of a step after the checkpoint
    assert [f for f in verify(copy).faults if "metrics" in f] == []
    data = (copy / "grpo/metrics.jsonl").read_bytes()
    (copy / "grpo/metrics.jsonl").write_bytes(data.replace(b'"loss": ', b'"loss":  ', 1)[: len(data)])
    [fault] = [f for f in verify(copy).faults if "metrics" in f]
    assert fault.startswith("grpo/metrics.jsonl: not what it was at step_")


def test_what_an_ended_stage_has_behind_its_last_checkpoint_is_named_for_no_segment_would_run_it_again(copy):
    for log in ("metrics", "curriculum"):
        with open(copy / f"grpo/{log}.jsonl", "a") as file:
            file.write('{"step": 10, "dev_accuracy": 0.99}\n')
    added = [f"grpo/rollouts/step_{step}.jsonl" for step in ("000010", "09")]
    manifest = read_manifest(copy)
    for name in added:
        shutil.copy(copy / "grpo/rollouts/step_000009.jsonl", copy / name)
        manifest["grpo"][-1]["outputs"][name] = digest(copy / name)
    write_json(copy / "manifest.json", manifest)
    make_all_hashes_fit(copy)
    assert verify(copy).faults == [
        "grpo/metrics.jsonl: not what it was at step_000009",
        "grpo/curriculum.jsonl: not what it was at step_000009",
        *(f"{name}: no step of this run, whose last is step_000009" for name in added),
    ]


def test_a_damaged_line_of_a_log_whose_lines_have_hashes_is_named(copy):
    log = AppendLog(copy / "data/label_votes.jsonl", hash_lines=True)
    for number in range(3):
        log.append({"id": f"q{number}"})
    log.close()
    assert verify(copy).faults == []
    path = copy / "data/label_votes.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"q1"', b'"q7"'))
    [fault] = verify(copy).faults
    assert fault.startswith("data/label_votes.jsonl:2: damaged")


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 8, 9, 31])
def test_the_root_is_that_of_rfc_6962(count):
    """By an oracle of another shape: pairs are joined level by level, an odd one goes up as it is."""
    hashes = {f"file {i:02}": f"{i:064x}" for i in range(count)}
    leaves = [hashlib.sha256(b"\x00" + f"{sha}  {name}\n".encode()).digest() for name, sha in hashes.items()]
    while len(leaves) > 1:
        pairs = [leaves[i : i + 2] for i in range(0, len(leaves), 2)]
        leaves = [
            hashlib.sha256(b"\x01" + b"".join(pair)).digest() if len(pair) == 2 else pair[0] for pair in pairs
        ]
    expected = leaves[0].hex() if leaves else hashlib.sha256(b"").hexdigest()
    assert merkle_root(dict(reversed(hashes.items()))) == expected


def test_what_is_no_run_or_is_under_way_is_one_line(tmp_path, copy):
    with pytest.raises(InputError, match=r"no manifest\.json here"):
        verify(tmp_path)
    with run_lock(copy, "train_grpo.py"), pytest.raises(InputError, match="in use by process"):
        verify(copy)


@pytest.mark.parametrize(
    ("file", "holds", "said"),
    [
        ("sft/model/SHA256SUMS", "0" * 64 + "  .\n", "sft/model: is missing; sft/model/SHA256SUMS has it"),
        ("grpo/checkpoints/step_000099/state.json", "[]", "state.json: expected a JSON object"),
        (
            "grpo/checkpoints/step_000099/state.json",
            '{"metrics_bytes": -1}',
            "metrics.jsonl: not what it was at",
        ),
    ],
)
def test_a_file_of_another_form_is_a_fault_and_no_end(copy, file, holds, said):
    (copy / file).parent.mkdir(exist_ok=True)
    (copy / file).write_text(holds)
    assert said in "\n".join(verify(copy).faults)


@pytest.mark.parametrize("entry", [{"name": [1]}, {"inputs": None}, {"config": []}, {"inputs": {"x": 3}}])
def test_a_manifest_of_another_form_is_one_line(tmp_path, entry):
    write_json(tmp_path / "manifest.json", {"evaluate": [entry]})
    with pytest.raises(InputError, match=f"manifest.json: evaluate.{next(iter(entry))}"):
        verify(tmp_path)


def test_what_lies_elsewhere_behind_a_link_is_read_too_and_a_circle_ends(copy):
    (copy / "grpo").rename(copy.parent / "other disk")
    (copy / "grpo").symlink_to(copy.parent / "other disk")
    (copy / "grpo/rollouts/circle").symlink_to(copy)
    assert verify(copy).faults == []
    with open(copy / "grpo/metrics.jsonl", "ab") as file:
        file.write(b"x")
    assert any(fault.startswith("grpo/metrics.jsonl") for fault in verify(copy).faults)


def test_a_files_name_does_not_steer_the_terminal(copy):
    (copy / "a\x1b[2J\nrun: all as written").write_text("")
    assert "\x1b" not in (words := said(verify(copy), copy))
    assert len(words.split("\n")) == 3
