"""verify --segments: an honest run passes; what was forged is found where it was forged, as often as is said.

Here a segment's script runs in this process, and is asked to stop at its end; the command itself is tried once.
"""

import dataclasses
import functools
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support import runs
from support.forger import make_all_hashes_fit
from support.jsonl import read_lines, read_records
from support.places import ROOT

import train_grpo
import train_sft
from fleming.audit import segments, trace
from fleming.audit.__main__ import main
from fleming.audit.segments import (
    Segment,
    chance_to_escape,
    check,
    drawn,
    exported_at,
    prepare,
    segments_of,
    verify_segments,
)
from fleming.audit.verify import verify
from fleming.config import dump_yaml, load_config
from fleming.files import write_json
from fleming.manifest import read_manifest
from fleming.settings import Config
from fleming.training.run import Run
from model.errors import InputError

SCRIPTS = {"sft": train_sft, "grpo": train_grpo}


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Run a segment's script in this process."""

    def run_again(segment, run_dir, again, threads, exported):
        own = [f"run_dir={again}", f"{segment.stage}.keep_last={10**9}", f"threads={threads}", "logger=''"]
        command = ["--config", str(again / "config.yaml"), *own]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Run, "save", functools.partialmethod(save_and_stop, segment))
            status, said = runs.run_here(SCRIPTS[segment.stage], command)
        return "" if status in (0, STOPPED) else f"ended before it: {said[-1]}"

    monkeypatch.setattr(segments, "run_again", run_again)


STOPPED, save = 128 + signal.SIGTERM, Run.save


def save_and_stop(run, segment, step, due=False):
    if step == segment.last:
        run.stop.signal = signal.SIGTERM
    save(run, step, due)


def differ(run_dir, *names: str) -> list[bool]:
    """Return whether each of these segments differs, once every hash fits again."""
    make_all_hashes_fit(run_dir)
    assert verify(run_dir).faults == []  # hashes alone show nothing
    named = {str(segment): segment for segment in segments_of(run_dir)}
    return [bool(check(named[name], run_dir, 1)) for name in names]


def test_the_segments_lie_between_kept_checkpoints_and_an_honest_run_passes(finished):
    found = segments_of(finished)
    assert [(s.first, s.last) for s in found if s.stage == "grpo"] == [
        (0, 2),
        (2, 4),
        (4, 6),
        (6, 8),
        (8, 9),
    ]
    assert all(a.last == b.first for a, b in itertools.pairwise(found) if a.stage == b.stage)
    assert {str(segment): check(segment, finished, 1) for segment in found} == {str(s): [] for s in found}


def weights(run_dir, stage: str, step: int):
    [path] = (run_dir / stage / f"checkpoints/step_{step:06d}").glob("*.safetensors")
    return path


def test_a_stage_is_run_again_with_its_own_settings_not_those_of_the_last_command(copy, tmp_path):
    said = load_config(Config, copy / "config.yaml", [])
    other = dataclasses.replace(said, sft=dataclasses.replace(said.sft, learning_rate=0.001))
    (copy / "config.yaml").write_text(dump_yaml(other))
    prepare(Segment("sft", 5, 10), copy, tmp_path / "again")
    assert load_config(Config, tmp_path / "again/config.yaml", []) == said


def test_an_edited_weight_spoils_the_segments_on_both_sides_of_it(copy):
    path = weights(copy, "grpo", 6)
    tensors = load_file(path)
    name = next(name for name in tensors if name.startswith("model.") and tensors[name].ndim == 2)
    tensors[name][0, 0] = np.nextafter(tensors[name][0, 0], np.float32(9))  # one bit
    save_file(tensors, path, metadata=metadata_of(path))
    assert differ(copy, "grpo, steps 5 to 6", "grpo, steps 7 to 8", "grpo, steps 3 to 4") == [
        True,
        True,
        False,
    ]


def metadata_of(path) -> dict[str, str] | None:
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return header.get("__metadata__")


def test_a_skipped_step_is_found(copy):
    """The weights of the checkpoint before, under the number of the next."""
    shutil.copy(weights(copy, "grpo", 2), weights(copy, "grpo", 4))
    assert differ(copy, "grpo, steps 3 to 4") == [True]


def test_swapped_data_are_found(copy):
    """Every training question gets another answer once the run is over, of which the reward knows."""
    path = copy / "data/rl.jsonl"
    records = read_records(path)
    for record in records:
        record["answer"] = "B" if record["answer"] == "A" else "A"
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    assert differ(copy, "grpo, steps 1 to 2", "grpo, steps 7 to 8", "sft, steps 6 to 10") == [
        True,
        True,
        False,
    ]


def rewrite(path, change) -> None:
    records = read_records(path)
    for record in records:
        change(record)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


@pytest.mark.parametrize(
    ("change", "in_words"),
    [
        (lambda r: r.update(response="<think>\nSo.\n</think>\n<answer>A</answer>"), "rollouts rewritten"),
        (lambda r: r["reward"].update(correct=1.0, total=r["reward"]["total"] + 1), "rewards raised"),
    ],
)
def test_rewritten_rollouts_are_found_in_their_segment_alone(copy, change, in_words):
    rewrite(copy / "grpo/rollouts/step_000007.jsonl", change)
    assert differ(copy, "grpo, steps 7 to 8", "grpo, steps 9 to 9") == [True, False], in_words


def test_a_raised_figure_in_a_log_is_found(copy):
    lines = read_lines(copy / "grpo/metrics.jsonl")
    raised = re.sub(r'("reward": \d+\.)(\d)', lambda found: f"{found[1]}{(int(found[2]) + 1) % 10}", lines[2])
    assert raised != lines[2]
    lines[2] = raised
    (copy / "grpo/metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    assert differ(copy, "grpo, steps 3 to 4", "grpo, steps 1 to 2") == [True, False]


def test_another_account_of_what_was_learned_or_left_for_review_is_found(copy):
    learned = read_lines(copy / "sft/learned.jsonl")
    (copy / "sft/learned.jsonl").write_text("".join(f"{line}\n" for line in learned[1:]))
    (copy / "grpo/review.jsonl").write_text('{"id": "graph/0"}\n')
    rounds = [e["step"] for e in read_records(copy / "grpo/curriculum.jsonl") if e["event"] == "round"]
    segments = [s for s in segments_of(copy) if s.stage == "grpo" and s.first < rounds[-1] <= s.last]
    assert differ(copy, "sft, steps 6 to 10", *map(str, segments)) == [True, True]


def test_an_exported_model_that_is_not_its_checkpoint_is_found(copy):
    path = copy / "grpo/stage1/model/model.safetensors"
    tensors = load_file(path)
    name = next(iter(tensors))
    tensors[name] = tensors[name] * np.float32(1.5)
    save_file(tensors, path, metadata=metadata_of(path))
    assert differ(copy, "grpo, steps 5 to 6", "grpo, steps 7 to 8") == [True, False]


def test_a_stage_that_is_stopped_has_noted_its_exports_and_in_its_last_step_that_it_has_ended(
    copy, monkeypatch
):
    manifest = read_manifest(copy)
    whole = manifest.pop("grpo")[0]["outputs"], manifest.pop("evaluate")
    write_json(copy / "manifest.json", manifest)
    for left in ("eval", "grpo/stage1", "grpo/stage2", "grpo/best"):
        shutil.rmtree(copy / left)
    for step in (6, 8, 9):
        shutil.rmtree(copy / f"grpo/checkpoints/step_{step:06d}")

    def go_on_to(step: int) -> dict:
        monkeypatch.setattr(Run, "save", functools.partialmethod(save_and_stop, Segment("grpo", 4, step)))
        assert runs.run_here(train_grpo, ["--config", f"{copy}/config.yaml", f"run_dir={copy}"])[0] == STOPPED
        assert verify(copy).faults == []
        return read_manifest(copy)["grpo"][-1]

    stage1 = "grpo/stage1/model/model.safetensors"
    for step in (6, 8):  # the second start does not write it again
        entry = go_on_to(step)
        assert ("root" in entry, stage1 in entry["outputs"]) == (False, step == 6)
        assert exported_at(Segment("grpo", 4, 6), copy) == ["grpo/stage1/model"]
        assert trace.weights(trace.Index(copy), "grpo", 5).says["exported"] == {stage1: whole[0][stage1]}
    entry = go_on_to(9)
    assert entry["outputs"].keys() == whole[0].keys()
    assert verify(copy).root == entry["root"]


def test_a_person_s_later_decisions_are_no_difference(copy):
    (copy / "grpo/decisions.jsonl").write_text('{"id": "graph/0", "verdict": "drop"}\n')
    assert check(Segment("grpo", 6, 8), copy, 1) == []


# --- how often


def test_the_chance_to_escape_is_that_of_all_ways_to_draw():
    for total, count in ((6, 2), (7, 3), (8, 8)):
        for bad in range(total + 1):
            ways = list(itertools.combinations(range(total), count))
            missed = sum(min(way, default=bad) >= bad for way in ways)
            assert chance_to_escape(total, bad, count) == pytest.approx(missed / len(ways)), (
                total,
                bad,
                count,
            )


def test_forgeries_are_caught_at_the_rate_that_is_said(copy):
    """Three of nine segments forged: of 2,000 seeds as many miss them all as the formula says."""
    forged = {"grpo, steps 3 to 4", "grpo, steps 5 to 6", "grpo, steps 7 to 8"}
    for step in (3, 5, 7):
        rewrite(
            copy / f"grpo/rollouts/step_{step:06d}.jsonl", lambda r: r.update(advantage=r["advantage"] + 1)
        )
    found = dict(zip(forged, differ(copy, *forged), strict=True))
    assert all(found.values())
    names = [str(segment) for segment in segments_of(copy)]  # the others pass: the test of an honest run
    for count in (1, 3, 5):
        missed = sum(not forged & set(drawn(names, count, seed)) for seed in range(2000))
        expected = chance_to_escape(len(names), 3, count)
        assert abs(missed / 2000 - expected) < 4 * (expected * (1 - expected) / 2000) ** 0.5
    differ_, words = verify_segments(copy, len(names), 1, 2, checked=lambda s, *_: ["x"] * (str(s) in forged))
    assert (differ_, "6 of 9 segments as recorded" in words) == (3, True)
    assert "would have missed" not in words


def test_what_is_said_where_nothing_was_forged(finished):
    differ, words = verify_segments(finished, 5, 1, 1, checked=lambda *_: [])
    assert differ == 0
    assert "5 of 5 segments as recorded, drawn from 9 by seed 1" in words
    assert "had 20% of them (2) been forged, these 5 would have missed all of it in 16.7%" in words


def test_other_code_than_the_run_s_is_said(copy):
    assert segments.other_code(copy) == ""
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["grpo"][-1] |= {"code": "0" * 64, "commit": "abc"}
    write_json(copy / "manifest.json", manifest)
    assert segments.other_code(copy) == "commit abc"


# --- refusals


def test_no_segments_too_many_and_kernels_that_do_not_repeat_are_refused(copy):
    with pytest.raises(InputError, match="--segments 99: the run has 9 segments"):
        verify_segments(copy, 99, 1, 1)
    with pytest.raises(InputError, match="--jobs 0: expected at least 1"):
        verify_segments(copy, 1, 1, 0)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["grpo"][-1]["device"] = "cuda:0"
    write_json(copy / "manifest.json", manifest)
    with pytest.raises(InputError, match="grpo ran on cuda:0, whose kernels do not repeat their bits"):
        segments_of(copy)
    manifest["grpo"][-1]["device"] = "cpu"
    write_json(copy / "manifest.json", manifest)
    shutil.rmtree(copy / "sft/checkpoints")
    with pytest.raises(
        InputError, match="no checkpoints of sft are kept here"
    ):  # and not those of grpo alone
        segments_of(copy)
    write_json(copy / "manifest.json", {})
    shutil.rmtree(copy / "grpo/checkpoints")
    with pytest.raises(InputError, match="nothing was trained here"):
        segments_of(copy)


VERIFY = [sys.executable, "-m", "fleming.audit", "verify"]


def test_the_command_runs_segments_in_processes_of_their_own(finished, own_reward):
    command = [*VERIFY, str(finished), "--segments", "2", "--seed", "5"]
    environment = {**os.environ, "PYTHONPATH": str(own_reward)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert (done.returncode, "2 of 2 segments as recorded" in done.stdout) == (0, True), (
        done.stdout + done.stderr
    )


def test_segments_too_many_are_refused_before_all_files_are_read(finished, monkeypatch):
    monkeypatch.setattr("fleming.audit.__main__.verify", None)
    with pytest.raises(InputError, match="--segments 999"):
        main(["verify", str(finished), "--segments", "999"])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_is_told_to_leave_or_killed_takes_its_processes_with_it(finished, tmp_path, how):
    command = [*VERIFY, str(finished), "--segments", "2", "--jobs", "1"]
    environment = os.environ | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=runs.ROOT, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("segment_*/output")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(how)
    assert process.wait(20) == (130 if how == signal.SIGTERM else -how)
    assert how == signal.SIGKILL or list(tmp_path.iterdir()) == []
    while str(tmp_path) in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout:
        assert how == signal.SIGKILL
        assert time.monotonic() < deadline
        time.sleep(0.1)
