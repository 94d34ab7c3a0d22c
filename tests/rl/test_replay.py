"""python -m fleming.rl.replay: a run as it was is found so, and whatever is changed in its records is named."""

import json
import math
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from support import runs, warm
from support.jsonl import read_records
from support.places import ROOT

import train_grpo
from fleming.records import Question
from fleming.rl import replay
from model.errors import InputError

STEPS = 9  # 5 of 4 x 4 rollouts, 4 of 4 x 6; a checkpoint after every second one


@pytest.fixture(scope="module")
def patched(inputs):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(inputs))
        yield


@pytest.fixture(scope="module")
def run(inputs, patched, tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay") / "run"
    assert runs.run_here(train_grpo, runs.arguments(inputs, folder, "grpo.updates_per_rollout=2"))[0] == 0
    return folder


OFF_POLICY = {
    "gspo, masked": ["grpo.preset=gspo", "grpo.minibatches_per_rollout=3", "grpo.overlong=mask"],
    "cispo, penalty": [
        "grpo.preset=cispo",
        "grpo.minibatches_per_rollout=2",
        "grpo.updates_per_rollout=2",
        "grpo.overlong=penalty",
        "grpo.overlong_buffer=8",
    ],
}


@pytest.mark.parametrize("case", OFF_POLICY)
def test_steps_of_several_mini_batches_are_made_again(inputs, patched, tmp_path, capsys, case):
    more = [*OFF_POLICY[case], "grpo.kl_coef=null", "grpo.clip_high=null"]
    more += ["grpo.stage1.max_steps=3", "grpo.stage2.max_steps=0"]
    assert runs.run_here(train_grpo, runs.arguments(inputs, tmp_path / "run", *more))[0] == 0
    rollouts = [read_records(path) for path in sorted((tmp_path / "run/grpo/rollouts").glob("*.jsonl"))]
    assert len(rollouts) == 3
    cut = [r for step in rollouts for r in step if r["finish_reason"] == "length"]
    assert cut
    if "penalty" in case:
        assert {r["reward"]["overlong"] for r in cut} == {-1.0}
    capsys.readouterr()
    for step in (1, 2, 3):
        status, said = replayed(capsys, tmp_path / "run", "--step", step)
        assert (status, "16 of 16 rollouts identical" in said) == (0, True), said


def test_an_answer_on_which_the_reward_raises_is_nothing_again(run, capsys, monkeypatch):
    def raises(*_):
        raise KeyError("dose")

    monkeypatch.setattr(replay, "load_reward", lambda name: raises)
    status, said = replayed(capsys, run, "--step", 1, "--sample", 5)
    assert (status, "other reward" in said) == (1, True)


@pytest.fixture
def copy(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def replayed(capsys, run_dir, *arguments) -> tuple[int, str]:
    status = replay.main([str(run_dir), *map(str, arguments)])
    return status, capsys.readouterr().out


def test_rollouts_of_the_whole_run_are_drawn_again_alone(run, capsys):
    assert all(record["sampler_scorer_max"] == 0 for record in read_records(run / "grpo/metrics.jsonl"))
    status, said = replayed(capsys, run, "--random", 60, "--seed", 1)
    assert "60 of 60 rollouts identical" in said
    assert said.count("advantages, loss and gradient as recorded") == said.count("\n") - 1 > 5
    assert status == 0


@pytest.mark.parametrize("step", [1, STEPS])
def test_a_step_of_which_one_sample_is_asked_for(run, capsys, step):
    assert replayed(capsys, run, "--step", step, "--sample", 5)[0] == 0


def test_a_step_is_reached_from_the_checkpoint_before_it_or_from_the_start(copy, capsys):
    shutil.rmtree(copy / "grpo/checkpoints")
    status, said = replayed(capsys, copy, "--step", 4)
    assert (status, "16 of 16 rollouts identical" in said) == (0, True)


def edit(path, line, change):
    records = read_records(path)
    change(records[line])
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)


def nudged(name):
    def change(record):
        record[name] = math.nextafter(record[name], math.inf)

    return change


CHANGES = {  # what is said -> the file, and what is changed in it
    "other tokens": ("rollouts/step_000004.jsonl", lambda r: r["token_ids"].__setitem__(0, 7)),
    "other log-probs": (
        "rollouts/step_000004.jsonl",
        lambda r: r["logprobs"].__setitem__(1, math.nextafter(r["logprobs"][1], 0)),
    ),
    "other response": ("rollouts/step_000004.jsonl", lambda r: r.__setitem__("response", "as you like")),
    "other reward": ("rollouts/step_000004.jsonl", lambda r: r["reward"].__setitem__("total", 99.0)),
    "advantages": ("rollouts/step_000004.jsonl", nudged("advantage")),
    "loss": ("metrics.jsonl", nudged("loss")),
    "grad_norm": ("metrics.jsonl", nudged("grad_norm")),
}


@pytest.mark.parametrize("said", CHANGES)
def test_what_was_changed_is_named(copy, capsys, said):
    name, change = CHANGES[said]
    edit(copy / "grpo" / name, 3, change)  # of the rollouts the fourth, of the metrics step 4
    status, printed = replayed(capsys, copy, "--step", 4, "--sample", 3)
    assert status == 1
    assert said in printed


def test_what_was_changed_in_a_step_on_the_way_is_named(copy, capsys):
    shutil.rmtree(copy / "grpo/checkpoints")
    edit(copy / "grpo/metrics.jsonl", 1, nudged("loss"))
    status, said = replayed(capsys, copy, "--step", 4, "--sample", 3)
    assert (status, "step 2: loss not as recorded" in said) == (1, True)
    assert "1 of 1 rollouts identical" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--step", STEPS + 1), "no such step; the run has 9"),
        (("--step", 0), "no such step"),
        (("--step", 1, "--sample", 16), "rollouts 0 to 15"),
        (("--random", 0), "--random is 0"),
        (("--random", 10_000), "176 rollouts"),
        (("--random", 3, "--sample", 1), "--sample names one rollout of --step"),
    ],
)
def test_what_is_not_there_is_said(run, arguments, said):
    with pytest.raises(InputError, match=said):
        replay.main([str(run), *map(str, arguments)])


def test_a_question_is_shown_as_a_person_had_decided_before_the_steps_answers():
    asked = Question("q", "?", {"A": "yes", "B": "no"}, "A")
    decided = [{"question": "q", "step": 4, "verdict": "relabel B"}]
    run = SimpleNamespace(questions={"q": asked}, decisions=decided)
    rollout = lambda step, order=None: SimpleNamespace(question_id="q", step=step, order=order)  # noqa: E731
    assert [replay.Replay.question(run, rollout(step)).answer for step in (3, 4)] == ["A", "B"]
    assert replay.Replay.question(run, rollout(4, "BA")).answer == "A"


def test_two_processes_draw_what_one_does_and_can_be_replayed_behind_their_checkpoints(
    run, inputs, tmp_path, capsys
):
    more = ["grpo.updates_per_rollout=2", "grpo.stage1.max_steps=3", "grpo.stage2.max_steps=0"]
    command = [ROOT / "train_grpo.py", *runs.arguments(inputs, tmp_path / "two", *more)]
    done = runs.torchrun(*command, env={"PYTHONPATH": f"{ROOT}:{inputs}"})
    assert done.returncode == 0, done.stderr[-3000:]
    first = "grpo/rollouts/step_000001.jsonl"
    assert (tmp_path / "two" / first).read_bytes() == (run / first).read_bytes()
    capsys.readouterr()
    for step in (1, 3):
        said = replayed(capsys, tmp_path / "two", "--step", step)[1]
        assert "16 of 16 rollouts identical" in said
    with pytest.raises(InputError, match="right behind one: 1, 3, 4"):
        replayed(capsys, tmp_path / "two", "--step", 2)


def test_the_command_needs_nothing_but_the_folder(run, inputs):
    command = [sys.executable, "-m", "fleming.rl.replay", str(run), "--step", "2", "--sample", "1"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{inputs}", "PYTHONWARNINGS": "error"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=run, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("1 of 1 rollouts identical: tokens, log-probs, response, reward\n")
    command[3] = str(inputs)
    failed = warm.run(command, capture_output=True, text=True, cwd=run, env=environment)
    assert failed.returncode == 2
    assert "no RL has begun here" in failed.stderr
