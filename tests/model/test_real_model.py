"""A real pretrained model (SmolLM2-135M-Instruct or another folder named by REAL_MODEL) through the scripts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.jsonl import read_records
from support.places import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder() -> Path:
    path = os.environ.get("REAL_MODEL")
    if not path:
        pytest.skip("needs a pretrained model folder: set REAL_MODEL=DIR")
    return Path(path)


def run(script: str, *arguments: object) -> str:
    result = subprocess.run(
        [sys.executable, str(ROOT / script), *map(str, arguments)], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


@torch.no_grad()
def test_logits_of_real_weights_equal_transformers(folder):
    from transformers import AutoModelForCausalLM

    from model import load_model

    ours, tokenizer = load_model(folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([tokenizer.encode("Copper builds up in the liver when ATP7B does not work. " * 8)])
    got, expected = ours(ids), theirs(ids).logits
    # Real weights give logits of 20 and more, where fp32 itself is coarser than 1e-5.
    assert (got - expected).abs().max() <= 2e-6 * expected.abs().max() * len(ours.layers) ** 0.5


def test_a_question_is_answered(folder):
    assert "Paris" in run("evaluate.py", "--model", folder, "--question", "What is the capital of France?")


def test_twenty_medqa_questions_are_evaluated(folder, shared, tmp_path):
    questions = shared / "data/benchmarks/medqa/phrases_no_exclude_test.jsonl"
    limits = ["evaluate.limit=20", "evaluate.max_new_tokens=64", "evaluate.max_num_seqs=20"]
    run("evaluate.py", "--model", folder, f"evaluate.questions={questions}", f"run_dir={tmp_path}", *limits)
    (results,) = tmp_path.glob("eval/*/results.json")
    (scored,) = json.loads(results.read_text())["benchmarks"].values()
    assert scored["cot"]["n"] == 20
    answers = read_records(results.parent / "answers.jsonl")
    assert [a["id"] for a in answers] == [f"medqa/{questions.stem}/{i}" for i in range(1, 21)]
    assert all(a["response"] and a["gold"] in "ABCD" for a in answers)


def test_two_grpo_steps_on_real_questions_score_what_was_sampled(folder, shared, tmp_path):
    questions = shared / "data/train/medqa_train_50.jsonl"
    settings = [
        "grpo.questions_per_step=2",
        "grpo.max_new_tokens=48",
        "grpo.stage1.max_steps=2",
        "grpo.kl_coef=0.001",
    ]
    settings += ["grpo.stage1.group_size=4", "grpo.stage2.max_steps=0", "grpo.micro_batch_tokens=2048"]
    run("train_grpo.py", f"data.questions={questions}", f"model={folder}", f"run_dir={tmp_path}", *settings)
    steps = read_records(tmp_path / "grpo/metrics.jsonl")
    assert len(steps) == 2
    assert all(s["sampler_scorer_max"] == 0 for s in steps)
    assert all(s["loss"] == s["loss"] and s["scored_tokens"] > 0 for s in steps)
