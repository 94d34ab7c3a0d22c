"""The ledger through train_grpo.py: killed across the switch and inside a round of mining, and by two processes."""

import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from support import warm
from support.ledger import LedgerChecker
from support.models import hf_folder
from support.places import ROOT
from support.runs import differences, records, result_of, torchrun

from fleming.config import load_config
from fleming.files import write_jsonl
from fleming.prompt import prompt_ids
from fleming.records import Question, to_json
from fleming.settings import Config
from fleming.training.checkpoint import checkpoints, read_state
from model.huggingface.tokenizer import Tokenizer

# A reward that tells answers apart and may kill its process, and a vote that agrees on one wrong option of some.
OWN = """
import os
from types import SimpleNamespace
import fleming.rl.rollout
calls = 0

def reward(response, finished, question, cfg):
    global calls
    calls += 1
    if os.environ.get("KILL_AT") == str(calls):
        os.kill(os.getpid(), 9)
    number = sum(map(ord, response))
    right = number % 3 if question.id in ("q1", "q3", "q5") else number % 3 and question.id not in ("q0", "q2")
    return {"correct": float(bool(right)), "format": 0.0, "total": number % 7 / 3}

def vote(response, finished, question, cfg):
    right = reward(response, finished, question, cfg)["correct"]
    return SimpleNamespace(choice=question.answer if right else "B")

fleming.rl.rollout.judge = vote
"""
COUNT, GROUP, A_STEP, MINED = 12, 2, 4, 2
SETTINGS = [
    "grpo.reward=own:reward",
    "grpo.questions_per_step=4",
    "grpo.stage1={max_steps: 9, group_size: 2}",
    "grpo.stage2={max_steps: 5, group_size: 2}",
    "grpo.curriculum.switch={when: slope, min_steps: 3, window: 1, max_slope: 0.05}",
    "grpo.curriculum={mine_every: 2, mine_samples: 2, review_rounds: 2, rest: true}",
    "grpo.draws=2",
    "grpo.reshuffle_options=true",
    "grpo.dev_every=3",
    "grpo.max_new_tokens=6",
    "grpo.learning_rate=1e-2",
    "grpo.warmup_steps=1",
    "grpo.save_every=2",
    "grpo.show_every=0",
    "parallel.device=cpu",
    "chat_format=chatml",
    "instruction=Think.",
    "threads=1",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ledger")
    (folder / "model").mkdir()
    hf_folder(folder / "model", "qwen3")
    (folder / "own.py").write_text(OWN)
    options = {"A": "yes", "B": "no", "C": "perhaps"}
    grades = ("easy", "moderate", "difficult")
    asked = [Question(f"q{i}", f"Is it {i}?", options, "A", difficulty=grades[i % 3]) for i in range(COUNT)]
    write_jsonl(folder / "questions.jsonl", map(to_json, asked))
    write_jsonl(folder / "dev.jsonl", [{**to_json(q), "split": "dev"} for q in asked[:5]])
    return folder


def settings(folder: Path, run_dir: Path, *more: str) -> list[str]:
    where = [
        f"run_dir={run_dir}",
        f"model={folder / 'model'}",
        f"data.questions={folder / 'questions.jsonl'}",
    ]
    return [*where, f"data.dev={folder / 'dev.jsonl'}", *SETTINGS, *more]


def train(folder: Path, run_dir: Path, *more: str, kill_at: int = 0):
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{folder}",
        "OMP_NUM_THREADS": "1",
        "KILL_AT": str(kill_at),
    }
    command = [sys.executable, str(ROOT / "train_grpo.py"), *settings(folder, run_dir, *more)]
    return warm.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("whole")
    result = train(folder, run_dir)
    assert result.returncode == 0, result.stderr[-3000:]
    return run_dir


def ledger_of(run_dir: Path) -> list[dict]:
    return records(run_dir / "grpo/curriculum.jsonl")


def test_the_ledger_of_a_run_holds_what_is_needed_to_decide_again(folder, whole):
    cfg = load_config(Config, None, settings(folder, whole))
    asked = [Question(**q) for q in records(folder / "questions.jsonl")]
    checker = LedgerChecker(asked, cfg.grpo)
    assert checker.check(ledger_of(whole)) == []
    assert min(checker.seen[event] for event in ("step", "switch", "round", "answers", "review")) > 0
    steps = [record for record in ledger_of(whole) if record["event"] == "step"]
    assert any(record["dropped"] for record in steps)
    for step in steps:  # what is drawn is what is sampled
        rollouts = records(whole / f"grpo/rollouts/step_{step['step']:06d}.jsonl")
        drawn = {name for ids in step["drawn"].values() for name in ids}
        assert {r["question_id"] for r in rollouts} == drawn - set(step["dropped"])
    metrics = records(whole / "grpo/metrics.jsonl")
    counted = [r["tokens"] for r in ledger_of(whole) if "tokens" in r]
    assert metrics[-1]["generated_tokens"] == sum(counted)
    measured = {r["step"]: r["dev_accuracy"] for r in metrics if "dev_accuracy" in r}
    assert set(measured) == {*range(3, len(metrics), 3), len(metrics)}
    kept = [read_state(path) for path in checkpoints(whole / "grpo/checkpoints")]
    assert {s["step"]: s["score"] for s in kept if "score" in s} == {
        s["step"]: measured[s["step"]] for s in kept if s["step"] in measured
    }
    assert (whole / "grpo/best/model/model.safetensors").exists()
    review = records(whole / "grpo/review.jsonl")
    assert {r["id"] for r in review} == {r["question"] for r in ledger_of(whole) if r["event"] == "review"}


def test_shown_orders_move_the_letter_and_the_record_keeps_them(folder, whole):
    rollouts = [r for path in sorted(whole.glob("grpo/rollouts/*.jsonl")) for r in records(path)]
    groups = {(r["step"], r["group"]) for r in rollouts}
    assert len(groups) == len(rollouts) / GROUP
    assert max(Counter(step for step, _ in groups).values()) <= A_STEP  # whatever was drawn in vain
    cfg, tokenizer = (
        load_config(Config, None, settings(folder, whole)),
        Tokenizer.from_folder(folder / "model"),
    )
    asked = {q["id"]: Question(**q) for q in records(folder / "questions.jsonl")}
    for r in rollouts:
        shown = asked[r["question_id"]].in_order(r.get("order") or "ABC")
        assert r["prompt_ids"] == prompt_ids(shown, tokenizer, cfg)
    orders = {(r["step"], r["question_id"]): r.get("order") for r in rollouts}
    assert len(set(orders.values())) > 3
    assert all(order is None or sorted(order) == ["A", "B", "C"] for order in orders.values())


def kills() -> dict[str, int]:
    """Which call of the reward kills: the trial call is the first, and each answer is one, a vote another."""
    return {"in stage 1": 12, "in the last step of stage 1": 40, "inside mining": 60, "in stage 2": 110}


@pytest.mark.parametrize("moment", kills())
def test_kill_9_and_the_same_command_end_with_the_same_bytes(folder, whole, tmp_path, moment):
    killed = train(folder, tmp_path, kill_at=kills()[moment])
    assert killed.returncode == -9
    print(moment, [r["event"] for r in ledger_of(tmp_path)][-5:])
    assert train(folder, tmp_path).returncode == 0
    assert differences(result_of(tmp_path), result_of(whole)) == []


def test_two_processes_mine_and_draw_what_one_does(folder, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    first = ["grpo.stage1={max_steps: 0, group_size: 2}", "grpo.stage2={max_steps: 1, group_size: 2}"]
    assert train(folder, one, *first).returncode == 0
    environment = {"PYTHONPATH": f"{ROOT}:{folder}"}
    result = torchrun(ROOT / "train_grpo.py", *settings(folder, two, *first), env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    assert (two / "grpo/curriculum.jsonl").read_bytes() == (one / "grpo/curriculum.jsonl").read_bytes()


def test_a_finished_run_says_so_and_goes_on_where_it_is_extended(folder, whole, tmp_path):
    again = train(folder, whole)
    assert (again.returncode, "already finished" in again.stdout) == (0, True)
    short = ["grpo.stage2={max_steps: 2, group_size: 2}", "grpo.save_every=100"]
    assert train(folder, tmp_path, *short).returncode == 0
    refused = train(folder, tmp_path, "grpo.stage2={max_steps: 1, group_size: 2}")
    assert refused.returncode == 2
    assert "grpo.stage2.max_steps = 1: stage 2 has already done 2 steps" in refused.stderr
    assert train(folder, tmp_path).returncode == 0
    for name in ("curriculum.jsonl", "stage2/model/model.safetensors"):
        assert (tmp_path / "grpo" / name).read_bytes() == (whole / "grpo" / name).read_bytes()


def test_other_questions_to_measure_on_are_refused_and_other_conditions_said(folder, whole):
    dev, before = folder / "dev.jsonl", (folder / "dev.jsonl").read_bytes()
    dev.write_bytes(before.replace(b"Is it", b"Was it"))
    refused = train(folder, whole)
    dev.write_bytes(before)
    assert (refused.returncode, "this run began with sha256 of data.dev = " in refused.stderr) == (2, True)
    again = train(folder, whole, "exact=off")
    assert "other than at the last start: exact False, was True;" in again.stdout
    assert "other than" not in train(folder, whole, "exact=off").stdout
