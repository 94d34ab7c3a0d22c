"""A reward of one's own: what it may return, what is refused by name, and what happens where it raises."""

import math
import sys
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from support.jsonl import read_records
from support.models import hf_folder
from support.places import ROOT
from support.runs import ALONE, ours, run_here, torchrun

import train_grpo
from fleming.files import write_jsonl
from fleming.judge import load_function
from fleming.records import Question, to_json
from fleming.rl.dev import measure
from fleming.rl.mining import mine
from fleming.rl.reward import reward_parts, try_reward
from fleming.rl.rollout import REPORTS, Actor, sample_groups
from fleming.rl.sampled import rollout_metrics
from fleming.settings import Config
from fleming.training import run
from fleming.training.metrics import finite
from fleming.training.parallel import AgreedError
from model.errors import InputError
from model.sampler import Sample

RIGHT = "<think>\nIt is.\n</think>\n<answer>A</answer>"


def question(name: str) -> Question:
    return Question(id=name, question=f"Is it {name}?", options={"A": "yes", "B": "no"}, answer="A")


def make_rollouts(actor, asked, size, step, stage):
    return [r for group in sample_groups(actor, asked, size, step, stage) for r in group]


def pass_rates(actor, asked, step):
    return [mined.right / sum(mined.votes.values()) for mined in mine(actor, list(enumerate(asked)), step)]


def parts(returned, response: str = RIGHT) -> dict:
    return reward_parts(lambda *_: returned, response, True, question("q"), Config())


# --- what it returns


def test_any_numbers_by_name_are_parts_and_what_it_does_not_name_is_the_judges_verdict():
    assert parts({"total": 3, "brevity": -0.5}) == {
        "correct": 1.0, "format": 1.0, "total": 3.0, "brevity": -0.5
    }  # fmt: skip
    assert parts({"total": 0}, "<answer>A</answer>") == {"correct": 1.0, "format": 0.0, "total": 0.0}
    assert parts({"total": 0, "format": 7.0}, "<answer>B</answer>") == {
        "correct": 0.0, "format": 7.0, "total": 0.0
    }  # fmt: skip
    given = {"total": np.float32(0.5), "a": np.int64(2), "b": Fraction(1, 4)}
    found = parts(given)
    assert (found["total"], found["a"], found["b"]) == (0.5, 2.0, 0.25)
    assert {type(value) for value in found.values()} == {float}


WRONG = {
    "none": (None, "expected a dict of numbers, returned None"),
    "a number": (1.0, "returned 1.0"),
    "pairs": ([("total", 1.0)], "returned [('total', 1.0)]"),
    "nothing": ({}, "total is missing; returned nothing"),
    "no total": ({"correct": 1.0}, "total is missing; returned correct"),
    "nan": ({"total": math.nan}, "not finite: {'total': nan}"),
    "an infinite part": ({"total": 1.0, "path": -math.inf}, "not finite"),
    "true": ({"total": True}, "total: expected a number (write float(...)), returned True"),
    "a bool of numpy": ({"total": 1.0, "long": np.bool_(True)}, "long: expected a number"),
    "text": ({"total": "1"}, "total: expected a number"),
    "a missing number": ({"total": 1.0, "path": None}, "path: expected a number"),
    "a numbered part": ({"total": 1.0, 2: 1.0}, "expected names of printable text, returned 2"),
    "a name that cannot be written": ({"total": 1.0, "\ud800": 1.0}, "expected names of printable text"),
    "too large": ({"total": 10**400}, "too large"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_reward_is_said_in_the_trial_call_with_the_settings_name(case):
    returned, says = WRONG[case]
    with pytest.raises((TypeError, ValueError, OverflowError)):
        parts(returned)
    with pytest.raises(InputError) as raised:
        try_reward(lambda *_: returned, question("q7"), Config())
    for part in ("grpo.reward=", "q7", says, "total among them"):
        assert part in str(raised.value)


MODULE = """
import functools
class Judge:
    def __call__(self, *arguments):
        return {"total": 1.0}
class Waiting:
    async def __call__(self, *arguments):
        return {"total": 1.0}
async def waits(*arguments):
    return {"total": 1.0}
async def streams(*arguments):
    yield {"total": 1.0}
judge, waiting, number = Judge(), Waiting(), 7
bound, partly, waits_partly = judge.__call__, functools.partial(judge, 1), functools.partial(waits, 1)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_rewards.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("own_rewards", None)
    load_function.cache_clear()


@pytest.mark.parametrize("key", ["grpo.reward", "free.checker", "logger"])
def test_classes_and_async_functions_are_refused_by_name_and_instances_are_called(own, key):
    for name in ("judge", "bound", "partly"):
        assert load_function(f"own_rewards:{name}", key)(1, 2, 3) == {"total": 1.0}
    refused = dict.fromkeys(("waits", "streams", "waiting", "waits_partly"), "is async")
    for name, says in {**refused, "Judge": "is a class", "number": "is not a function"}.items():
        with pytest.raises(InputError, match=f"^{key}=own_rewards:{name} {says}"):
            load_function(f"own_rewards:{name}", key)


# --- what a step's record has of it


def test_every_part_is_logged_as_a_mean_whatever_its_name():
    def answer(**reward):
        reward = {"correct": 0.0, "format": 0.0, "total": 0.0} | reward
        return SimpleNamespace(reward=reward, token_ids=[1], advantage=0.0, entropy=0.0, finish_reason="stop")

    rollouts = [answer(loss=1.0, step=5.0), answer(loss=3.0, total=2.0)]
    record = rollout_metrics([rollouts[i : i + 2] for i in range(0, len(rollouts), 2)], 0)
    assert record["reward"] == 1.0
    assert record["reward_parts"] == {"correct": 0.0, "format": 0.0, "total": 1.0, "loss": 2.0, "step": 5.0}
    assert not {"loss", "step"} & record.keys()
    huge = rollout_metrics([[answer(path=1e308), answer(path=1e308)]], 0)
    assert finite(huge)["reward_parts"]["path"] is None


# --- one that raises


class Scripted:
    """Gives the texts of the groups in turn; a tokenizer whose ids are characters."""

    def __init__(self, *groups: list[str]):
        self.groups = list(groups)
        special = dict.fromkeys(("bos", "eos"), 0)
        self.tokenizer = SimpleNamespace(
            encode_chat=lambda messages: [1], decode=lambda ids: "".join(map(chr, ids)), **special
        )

    def generate(self, prompts, params, keys, on_finish=None):
        return [[Sample([*map(ord, x)], [0.0] * len(x), "stop", 0.0) for x in texts] for texts in self.groups]


def fails_on_x(response, finished, question, cfg):
    if "x" in response:
        raise KeyError("dose", response)
    return {"total": float(len(response))}


@pytest.fixture
def actor(monkeypatch):
    monkeypatch.setattr("fleming.rl.rollout.prompt_ids", lambda *_: [1])
    monkeypatch.setattr("fleming.rl.rollout.response_text", lambda s, _: "".join(map(chr, s.token_ids)))
    return lambda *groups, reward=fails_on_x: Actor(Scripted(*groups), reward, Config(), ALONE)


def test_some_failures_count_as_zero_and_are_counted_once_for_mining_and_answers(actor):
    rewarded = actor(["ab", "x", "abc"], ["x", "x", "x"])
    asked = [question("a"), question("b")]
    assert pass_rates(rewarded, asked, 3) == [0.0, 0.0]
    rollouts = make_rollouts(rewarded, asked, 3, 3, 2)
    assert [r.reward["total"] for r in rollouts] == [2.0, 0.0, 3.0, 0.0, 0.0, 0.0]
    assert rewarded.take_failures() == 8
    assert rewarded.take_failures() == 0


def test_a_checker_that_raises_as_votes_are_counted_is_a_failure_too(actor, monkeypatch, capsys):
    def raises_on_b(text, *_):
        if text == "b":
            raise KeyError("dose")
        return SimpleNamespace(choice=text)

    monkeypatch.setattr("fleming.rl.rollout.judge", raises_on_b)
    rewarded = actor(["a", "b", "a"], reward=lambda *_: {"correct": 1.0, "format": 0.0, "total": 1.0})
    [mined] = mine(rewarded, [(0, question("a"))], 3)
    assert (mined.right, mined.votes, mined.tokens) == (2, {"a": 2, "": 1}, 3)
    assert rewarded.take_failures() == 1
    assert "KeyError('dose')" in capsys.readouterr().err


def test_where_nothing_is_asked_nothing_fails(actor):
    assert mine(actor(), [], 3) == []


def test_where_all_answers_fail_the_first_failure_ends_the_run_and_so_it_does_when_mining(actor):
    for work in (
        lambda a, q: make_rollouts(a, q, 2, 7, 1),
        lambda a, q: pass_rates(a, q, 7),
        lambda a, q: measure(a, q, 7),
    ):
        with pytest.raises(AgreedError) as raised:
            work(actor(["x1", "x2"], ["x3", "x4"]), [question("a"), question("b")])
        for says in ("grpo.reward=", "all 4 answers", "step 7", "question a", "KeyError('dose', 'x1')"):
            assert says in str(raised.value)


def test_what_is_drawn_in_place_of_others_may_fail_whole_where_the_step_does_not(actor):
    rewarded = actor(["ab", "x1"])
    make_rollouts(rewarded, [question("a")], 2, 7, 1)
    rewarded.sampler.groups = [["x2", "x3"]]
    [redrawn] = sample_groups(rewarded, [question("b")], 2, 7, 1, first=1)
    assert [r.reward["total"] for r in redrawn] == [0.0, 0.0]
    assert rewarded.take_failures() == 3
    with pytest.raises(AgreedError, match="all 2 answers of step 8"):
        make_rollouts(rewarded, [question("b")], 2, 8, 1)


def test_a_reward_that_would_leave_the_process_has_failed(actor):
    def leaves(response, *_):
        sys.exit(0) if "x" in response or "trial" in response else None
        return {"total": 1.0}

    with pytest.raises(InputError, match=r"failed: SystemExit\(0\)"):
        try_reward(leaves, question("a"), Config())
    rollouts = make_rollouts(actor(["ab", "x"], reward=leaves), [question("a")], 2, 1, 1)
    assert [r.reward["total"] for r in rollouts] == [1.0, 0.0]


def test_reports_of_failures_are_bounded_in_number_and_length(actor, capsys):
    rewarded = actor(["x" * 5000] * 30 + ["fine"])
    make_rollouts(rewarded, [question("a")], 31, 1, 1)
    make_rollouts(rewarded, [question("a")], 31, 2, 1)
    lines = capsys.readouterr().err.rstrip("\n").split("\n")
    assert len(lines) == REPORTS
    assert all(len(line) < 1000 for line in lines)
    assert lines[-1].endswith("further ones are only counted")
    assert rewarded.take_failures() == 60


# --- in a run


FAILING = """
import itertools
calls = itertools.count()
def later(response, finished, question, cfg):
    n = next(calls)  # 0: the trial; then 4 answers a step on each rank
    if n == 2 or n > 8:
        raise RuntimeError("the scorer is away")
    return {"total": n % 2, "seen": n}
def on_dev(response, finished, question, cfg):
    if question.split == "dev" and question.id == "a":
        raise RuntimeError("the scorer does not know it")
    return {"total": len(response)}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    hf_folder(tmp_path / "model", "qwen3")
    write_jsonl(tmp_path / "questions.jsonl", [to_json(question(name)) for name in "abcd"])
    (tmp_path / "away.py").write_text(FAILING)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("away", None)
    load_function.cache_clear()


def settings(folder, questions: int) -> list[str]:
    return [
        f"model={folder / 'model'}",
        f"data.questions={folder / 'questions.jsonl'}",
        f"run_dir={folder / 'run'}",
        "grpo.reward=away:later",
        "grpo.stage1={max_steps: 5, group_size: 4}",
        "grpo.stage2.max_steps=0",
        f"grpo.questions_per_step={questions}",
        "grpo.max_new_tokens=4",
        "grpo.kl_estimator=none",
        "grpo.show_every=0",
        "grpo.curriculum={hard: [easy, moderate, difficult], simple: [], stage1_mix: {hard: 1, simple: 0}}",
        "chat_format=chatml",
        "parallel.device=cpu",
        "threads=1",
    ]


def check_run(folder, failures: int) -> None:
    """Two whole steps, in which some rewards raised, and nothing of the third."""
    (first, second) = read_records(folder / "run/grpo/metrics.jsonl")
    assert [first["reward_failures"], second["reward_failures"]] == [failures, 0]
    assert first["reward_parts"]["seen"] == pytest.approx((1 + 3 + 4) / 3)
    assert "seen" not in first
    assert len([*(folder / "run/grpo/rollouts").glob("*.jsonl")]) == 2


def test_a_reward_that_fails_on_a_whole_step_ends_the_run_with_its_own_error(folder):
    status, said = run_here(train_grpo, settings(folder, questions=1))
    assert status == 2
    assert [line.split(":")[0] for line in said] == ["reward failed, counted as 0"] * 5 + ["train_grpo.py"]
    for says in ("grpo.reward=away:later", "all 4 answers of step 3", "RuntimeError('the scorer is away')"):
        assert says in said[-1]
    check_run(folder, failures=1)


def test_dev_stays_in_the_bar_and_its_failures_count_in_the_step_that_measured(folder, monkeypatch):
    bars, describe = [], run.describe_step
    monkeypatch.setattr(run, "describe_step", lambda record: bars.append(describe(record)) or bars[-1])
    dev = folder / "dev.jsonl"
    write_jsonl(dev, [{**to_json(question(name)), "split": "dev"} for name in "ab"])
    more = ["grpo.reward=away:on_dev", f"data.dev={dev}", "grpo.dev_every=2"]
    more += ["grpo.stage1={max_steps: 4, group_size: 2}"]
    assert run_here(train_grpo, [*settings(folder, questions=1), *more])[0] == 0
    found = [r["reward_failures"] for r in read_records(folder / "run/grpo/metrics.jsonl")]
    assert found == [0, 1, 0, 1]
    assert [bar.get("dev") for bar in bars] == [None, *3 * ["0.0% [0.0%, 65.8%]"]]


def test_so_it_does_on_every_rank_and_failures_are_those_of_all_of_them(folder):
    path = {"PYTHONPATH": f"{ROOT}:{folder}"}
    result = torchrun(ROOT / "train_grpo.py", *settings(folder, questions=2), env=path)
    assert ours(result.stderr) == 2
    assert result.stderr.count("failed on all 8 answers of step 3") == 1
    assert result.stderr.count("Traceback") == result.stderr.count(
        "ChildFailedError:"
    )  # torchrun's own report
    check_run(folder, failures=2)
