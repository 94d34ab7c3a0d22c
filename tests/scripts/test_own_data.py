"""The scripts on files that people bring, as docs/your-data.md has them: cold start, RL with mining, evaluation."""

import json
from pathlib import Path

import pytest
from support import runs
from support.forms import lines

import evaluate
import train_grpo
import train_sft

Q = {"role": "user", "content": "What does Wilson disease store?"}
A = {"role": "assistant", "content": "<think>\nIt stores copper.\n</think>\n<answer>copper</answer>"}
SFT = {
    "alpaca": [{"instruction": Q["content"], "input": "", "output": A["content"]}],
    "sharegpt": [
        {"conversations": [{"from": "human", "value": "Hi."}, {"from": "gpt", "value": A["content"]}]}
    ],
    "messages": [{"messages": [Q, A, Q, A]}, {"messages": [Q, A]}],
    "completion": [{"prompt": Q["content"], "completion": A["content"]}],
}


@pytest.mark.parametrize("form", SFT)
def test_the_cold_start_learns_from_each_form(in_process, tmp_path, form):
    path = lines(tmp_path / "mine.jsonl", SFT[form] * 3)
    settings = [f"data.trajectories={path}", "sft.sequences_per_step=3", "parallel.device=cpu"]
    status, said = in_process(train_sft, tmp_path / "run", *settings)
    assert (status, said) == (0, [])
    (first, *_) = runs.records(tmp_path / "run/sft/metrics.jsonl")
    turns = (
        sum("assistant" in str(m) or "gpt" in str(m) for row in SFT[form] for m in row.get("messages", ()))
        or 1
    )
    total = len(runs.records(tmp_path / "run/sft/metrics.jsonl"))
    assert total == -(-3 * max(turns, len(SFT[form])) // 3)  # each answer is one sequence
    assert first["response_tokens"] > 0


@pytest.mark.parametrize("script", [train_sft, train_grpo, evaluate])
def test_an_id_of_the_hub_is_answered_by_how_to_download_it(script, tmp_path):
    path = lines(tmp_path / "mine.jsonl", [{"prompt": "Which?", "response": "copper"}])
    files = [f"data.trajectories={path}", f"data.questions={path}", f"evaluate.questions={path}"]
    for named in (["model=Owner/Model-7B"], []):
        asked = [*files, f"run_dir={tmp_path / 'run'}", "parallel.device=cpu", *named]
        status, said = runs.run_here(script, asked)
        assert status == 2
        wanted = "hf download Owner/Model-7B --local-dir Model-7B" if named else "model"
        assert any(wanted in line for line in said), said


FREE = [
    {"question": "How many days has a week?", "answer": "7", "why": "calendar"},
    {"prompt": "What does Wilson disease store?", "answer": "copper", "aliases": ["Cu"]},
    {"question": "Which?\nA. zinc\nB. copper", "answer": "B"},
    {"question": "How much is 1 g?", "answer": "1,000 mg"},
]
RIGHT = {"7": "7.0", "copper": "Cu", "B": "B", "1,000 mg": "1000"}


@pytest.fixture
def answers_in_turn(monkeypatch):
    """Make every other response right: the tiny model writes no answer, and what is judged is a text."""

    def make(module, gold):
        count = iter(range(10**9))

        def said(sample, tokenizer):
            return f"<think>r</think><answer>{gold() if next(count) % 2 else 'no idea'}</answer>"

        monkeypatch.setattr(module, "response_text", said)

    return make


def test_rl_rewards_free_answers_and_mines_by_them(in_process, tmp_path, monkeypatch, answers_in_turn):
    from fleming.rl import rollout

    current = []
    score = rollout.Actor._score

    def scored(self, prompt, sample, question, votes):
        current[:] = [RIGHT[question.answer]]
        return score(self, prompt, sample, question, votes)

    monkeypatch.setattr(rollout.Actor, "_score", scored)
    answers_in_turn(rollout, lambda: current[0])
    path = lines(tmp_path / "mine.jsonl", FREE)
    settings = [
        f"data.questions={path}",
        "grpo.reward=fleming.rl.reward:medical_reward",
        "grpo.stage1.max_steps=1",
    ]
    status, said = in_process(train_grpo, tmp_path / "run", *settings, "grpo.stage2.max_steps=1")
    assert (status, said) == (0, [])
    rollouts = runs.records(tmp_path / "run/grpo/rollouts/step_000001.jsonl")
    assert {r["reward"]["correct"] for r in rollouts} == {0.0, 1.0}
    assert {r["answer"] for r in rollouts if r["reward"]["correct"]} == set(RIGHT.values())
    assert all(
        r["reward"]["total"] == pytest.approx(r["reward"]["correct"] + 0.1 * r["reward"]["format"])
        for r in rollouts
    )
    ledger = runs.records(tmp_path / "run/grpo/curriculum.jsonl")
    mined = {r["question"]: r for r in ledger if r["event"] == "answers"}
    assert {name: r["pass_rate"] for name, r in mined.items()} == {f"mine/{i}": 0.5 for i in (1, 2, 3, 4)}


def results(run_dir: Path) -> dict:
    (path,) = run_dir.glob("eval/*/results.json")
    return json.loads(path.read_text())


def test_evaluation_scores_free_answers_and_their_pass_at_k(
    in_process, tmp_path, monkeypatch, answers_in_turn, inputs
):
    from fleming.evaluation import generation

    current = []
    read = generation.ChainOfThought._read

    def reading(self, asked, *more):
        current[:] = [RIGHT.get(asked.item.question.answer, asked.item.question.answer)]
        return read(self, asked, *more)

    monkeypatch.setattr(generation.ChainOfThought, "_read", reading)
    answers_in_turn(generation, lambda: current[0])
    path = lines(tmp_path / "mine.jsonl", FREE)
    settings = [
        f"evaluate.questions={path}",
        "evaluate.samples=4",
        "evaluate.temperature=1",
        "evaluate.reshuffles=1",
    ]
    folder = ["--model", str(inputs / "base/model")]
    status, said = in_process(evaluate, tmp_path / "run", *settings, "evaluate.max_new_tokens=4", *folder)
    assert status == 0, said
    found = results(tmp_path / "run")["benchmarks"]["mine"]["cot"]
    assert found["n"] == 4
    assert found["chance"] == pytest.approx(0.5 / 4)  # of the one with two options
    assert found["pass_at_k"]["4"] > found["pass_at_k"]["1"] > 0
    answers = runs.records(next((tmp_path / "run").glob("eval/*/answers.jsonl")))
    free = [a for a in answers if a["options"] == 0]
    assert len(free) == 3 * 4  # free answers have no other order
    for answer in free:
        assert answer["correct"] == (answer["choice"] == answer["gold"])
        assert answer["correct"] == (answer["answer"] != "no idea")
    assert sum(a["correct"] for a in free) in range(4, 9)
    status, said = in_process(
        evaluate, tmp_path / "other", *settings[:1], "evaluate.protocols=[loglikelihood]", *folder
    )
    assert status == 2
    assert "mine/1: has no options; evaluate.protocols loglikelihood chooses among options" in said[-1]


def test_a_failing_checker_ends_an_evaluation_and_other_rules_are_another_run(
    in_process, tmp_path, inputs, monkeypatch
):
    (tmp_path / "checks.py").write_text("def fails(answer, question):\n    raise KeyError(answer)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    from fleming.evaluation import generation

    path = lines(tmp_path / "mine.jsonl", FREE[:1])
    settings = [
        f"evaluate.questions={path}",
        "evaluate.max_new_tokens=4",
        "--model",
        str(inputs / "base/model"),
    ]
    assert in_process(evaluate, tmp_path / "run", *settings)[0] == 0
    status, said = in_process(
        evaluate, tmp_path / "run", *settings, "free.units=require", "free.absolute_tolerance=1"
    )
    assert (status, "this run began with cot.free." in said[-1]) == (2, True)
    monkeypatch.setattr(generation, "response_text", lambda *_: "<think>r</think><answer>7</answer>")
    free = ["answer_style=free", "free.checker=checks:fails"]
    status, said = in_process(evaluate, tmp_path / "free", *settings, *free)
    assert status == 2
    assert "mine/1: free.checker failed: KeyError('7')" in said[-1]
    status, said = in_process(
        evaluate, tmp_path / "none", *settings, "answer_style=free", "free.checker=checks:none"
    )
    assert (status, "free.checker=checks:none: cannot be imported" in said[-1]) == (2, True)
