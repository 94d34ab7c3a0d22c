"""What RL is watched for: each warning comes from a policy built for it, once a run, and from no ordinary one."""

import collections
import itertools
import json
import math
import random
import types

import pytest
import torch
from support.jsonl import read_records
from support.models import hf_folder
from support.runs import ALONE

import train_grpo
from fleming.config import load_config
from fleming.files import write_jsonl
from fleming.records import Question, Rollout, to_json
from fleming.rl.sampled import Sampled
from fleming.rl.watch import FIRST, TABLE, WINDOW, habits, letter_distance, letters_of, option_words, watch
from fleming.settings import Config
from fleming.settings.training import GRPOConfig
from fleming.training.checkpoint import State
from fleming.training.metrics import describe_step
from fleming.training.run import Run
from fleming.typed import from_json

QUESTIONS, GROUP = 8, 4
DRUGS = ("azithromycin", "beta-blockers", "calcium gluconate", "doxycycline")
TEXT = "<think>\nThe fever and the rash came {}, so it is {}.\n</think>\n<answer>{}</answer>"


def asked(step: int) -> list[Question]:
    """The step's questions; their right letters go round."""
    return [
        Question(
            f"{step}/{i}",
            "Which drug?",
            dict(zip("ABCD", DRUGS, strict=True)),
            "ABCD"[random.Random(f"{step} {i}").randrange(4)],
        )
        for i in range(QUESTIONS)
    ]


def ordinary(step: int, question: Question, sample: int) -> str:
    """Right half the time, and no letter is liked."""
    letter = question.answer if sample % 2 else "ABCD"[random.Random(f"{question.id} {sample}").randrange(4)]
    return TEXT.format("first" if sample else "last", question.options[letter], letter)


class Watched:
    """A run as far as it is watched: what it keeps, and what it has said."""

    def __init__(self, **settings):
        self.cfg, self.state, self.said = Config(grpo=GRPOConfig(**settings)), {}, []

    def show(self, text: str) -> None:
        self.said.append(text)

    def step(self, step: int, policy=ordinary, count: int = QUESTIONS, **record) -> dict:
        questions = asked(step)[:count]
        rollouts = []
        for (g, question), i in itertools.product(enumerate(questions), range(GROUP)):
            text = policy(step, question, i)
            letter = text[-len("A</answer>")] if text.endswith("</answer>") else None
            place = (step, 1, question.id, g, i, 0)
            rollouts.append(Rollout(*place, [0], [0], [0.0], "stop", 0.3, text, letter, {}, 0.0))
        usual = {"step": step, "groups": QUESTIONS, "groups_with_variance": 6, "cut": 0.0}
        usual |= {"entropy": 0.3, "response_length": 40.0}
        return watch(self, usual | record, Sampled([rollouts], [], {}, dict(enumerate(questions))))


def after(step: int, before: float, then: float):
    return lambda now: before if now <= step else then


# warning -> policy, and the record's numbers by step, that are built for it
BUILT = {
    "several answers": (lambda s, q, i: f"<think>\nIt is.</think>{2 * f'<answer>{q.answer}</answer>'}", {}),
    "empty thinking": (lambda s, q, i: f"<think>\n ... \n</think>\n<answer>{q.answer}</answer>", {}),
    "echoed options": (
        lambda s, q, i: (
            f"<think>\nA. {DRUGS[0]} or B. {DRUGS[1]}: {DRUGS[3]}!</think><answer>{q.answer}</answer>"
        ),
        {},
    ),
    "letters": (lambda s, q, i: TEXT.format("now", "this", "B"), {}),
    "flat groups": (ordinary, {"groups_with_variance": lambda step: 0}),
    "cut": (ordinary, {"cut": lambda step: 0.6}),
    "kl": (ordinary, {"kl": lambda step: 3.0}),
    "entropy fell": (ordinary, {"entropy": after(FIRST, 0.3, 0.001)}),
    "entropy rose": (ordinary, {"entropy": after(FIRST, 0.3, 4.0)}),
    "length fell": (ordinary, {"response_length": after(FIRST, 40.0, 3.0)}),
    "length rose": (ordinary, {"response_length": after(FIRST, 40.0, 900.0)}),
}


def test_every_warning_has_a_policy_that_is_built_for_it():
    assert BUILT.keys() == TABLE["warnings"].keys()


@pytest.mark.parametrize("name", BUILT)
def test_a_policy_built_for_a_warning_is_warned_of_once_and_of_nothing_else(name):
    (policy, numbers), run = BUILT[name], Watched()
    for step in range(1, 3 * WINDOW):
        run.step(step, policy, **{key: value(step) for key, value in numbers.items()})
        if step < WINDOW:
            assert run.said == []
    assert run.state["warned"] == [name]
    says, of = TABLE["warnings"][name]["says"], TABLE["warnings"][name]["of"]
    (line,) = run.said
    assert line.startswith("watch: step ")
    assert f"{says} ({of} is " in line


def test_an_ordinary_policy_is_warned_of_nothing():
    run = Watched()
    for step in range(1, 6 * WINDOW):
        rng = random.Random(step)
        numbers = {"entropy": rng.uniform(0.15, 0.5), "response_length": rng.uniform(25, 70)}
        found = run.step(step, cut=rng.uniform(0, 0.2), kl=rng.uniform(0, 0.3), **numbers)
    assert (run.said, run.state["warned"]) == ([], [])
    assert found.keys() == {
        "several_answers", "empty_thinking", "echoed_options", "flat_groups", "letter_distance"
    }  # fmt: skip
    assert found["flat_groups"] == 0.25


def test_one_group_that_teaches_in_twenty_steps_is_enough_and_twenty_steps_without_are_not():
    run = Watched()
    for step in range(1, 2 * WINDOW):
        run.step(step, groups_with_variance=int(step == WINDOW))
        assert run.said == []
    run.step(2 * WINDOW, groups_with_variance=0)
    (line,) = run.said
    assert f"step {2 * WINDOW}: no group" in line


def test_numbers_of_a_step_that_was_skipped_are_left_out_and_a_kl_of_whole_answers_is_divided():
    run, whole = Watched(), Watched(aggregation="sequence_sum")
    for step in range(1, WINDOW + 1):
        run.step(step, kl=math.nan if step % 2 else 0.5)
        whole.step(step, kl=20.0)  # 0.5 a token
    assert run.said == whole.said == []
    assert "kl_per_token" not in run.state["watched"][0]
    json.dumps(run.state, allow_nan=False)


def test_a_resumed_run_says_what_a_whole_one_does():
    """At any step, through what a checkpoint holds."""

    def numbers(step: int) -> dict:
        return {"entropy": 0.3 if step < 12 else 0.002, "cut": 0.9, "kl": 0.1 * step}

    whole = Watched()
    measured = [whole.step(step, **numbers(step)) for step in range(1, 50)]
    assert len(whole.said) == 3
    for stopped in (3, FIRST, WINDOW - 1, WINDOW, 33):
        first, second = Watched(), Watched()
        again = [first.step(step, **numbers(step)) for step in range(1, stopped + 1)]
        kept = {"step": stopped, "identity": {}, "metrics_bytes": 0, "metrics_sha256": "", **first.state}
        second.state = {
            name: value
            for name, value in vars(from_json(State, json.loads(json.dumps(kept)), "state.json")).items()
            if value is not None
        }
        again += [second.step(step, **numbers(step)) for step in range(stopped + 1, 50)]
        assert again == measured
        assert first.said + second.said == whole.said


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("<think>so</think><answer>A</answer>", ""),
        ("<think>so</think><answer>A</answer><answer>A</answer>", "several_answers"),
        ("<think>I write <answer>B</answer> later</think><Answer>A</ANSWER>", "several_answers"),
        ("<think>\n\u200b — … \n</think><answer>A</answer>", "empty_thinking"),
        ("<THINK></THINK><answer>A</answer>", "empty_thinking"),
        ("<think>", "empty_thinking"),
        ("<answer>A</answer>", ""),  # does not think: the format's business
        ("</think><answer>A</answer>", ""),
        ("<think>Doxycycline.</think>", "echoed_options"),
        ("<think>(a) AZITHROMYCIN (b) beta-blockers then</think>", "echoed_options"),
        ("<think>azithromycin rather than doxycycline</think>", ""),
        ("<think>azithromycin, doxycycline, A then</think>", "echoed_options"),  # three words of four
        ("", ""),
    ],
)
def test_what_is_odd_about_a_response(response, expected):
    found = habits(response, option_words(asked(1)[0]))
    assert [name for name, odd in found.items() if odd] == [expected] * bool(expected)


def test_chinese_options_are_echoed_by_their_characters_and_a_question_without_options_by_nothing():
    question = Question("q", "哪种药？", {"A": "阿奇霉素", "B": "多西环素"}, "A", language="zh")
    assert habits("<think>阿奇霉素，多西环素。</think>", option_words(question))["echoed_options"]
    assert not habits("<think>发热伴皮疹，首选阿奇霉素</think>", option_words(question))["echoed_options"]
    free = Question("q", "How many?", {}, "7", answer_kind="number")
    assert not habits("<think>seven</think>", option_words(free))["echoed_options"]


def rollout(group: int, answer: str | None):
    return types.SimpleNamespace(group=group, answer=answer)


def test_letters_are_those_of_questions_that_have_options_and_an_answer():
    questions = [*asked(1)[:3], Question("free", "How many?", {}, "7", answer_kind="number")]
    rights = [question.answer for question in questions]
    rollouts = [rollout(0, "A"), rollout(0, None), rollout(1, "A"), rollout(1, "C"), rollout(3, "7")]
    chosen = collections.Counter("AAC")
    right = collections.Counter(rights[:2])  # nobody answered the third
    assert letters_of(rollouts, questions) == {x: [chosen[x], right[x]] for x in sorted(chosen | right)}


def test_the_distance_of_letters_is_half_the_sum_of_what_the_shares_differ_by():
    distance, chance = letter_distance([{"A": [6, 1]}, {"A": [2, 1], "B": [2, 2]}])
    assert distance == pytest.approx((abs(8 / 10 - 2 / 4) + abs(2 / 10 - 2 / 4)) / 2)
    assert chance > 1  # four questions
    assert letter_distance([]) == (0.0, 1.0)


@pytest.mark.parametrize(("letters", "questions"), [(2, 30), (4, 100), (10, 640)])
def test_chance_does_not_reach_its_bound_though_all_answers_to_a_question_are_alike(letters, questions):
    rng = random.Random(0)
    names = "ABCDEFGHIJ"[:letters]
    for _ in range(300):
        chosen, right = (collections.Counter(rng.choices(names, k=questions)) for _ in range(2))
        distance, chance = letter_distance([{x: [8 * chosen[x], right[x]] for x in names}])
        assert distance < 0.8 * chance
    always_one, chance = letter_distance([{x: [8 * questions * (x == "A"), right[x]] for x in names}])
    assert always_one > chance or questions < 100


def test_letters_of_a_single_question_a_step_are_never_beyond_chance():
    run = Watched()
    for step in range(1, 2 * WINDOW):
        found = run.step(step, BUILT["letters"][0], count=1)
    assert found["letter_distance"] > 2 * TABLE["warnings"]["letters"]["at_least"]
    assert run.said == []


def test_the_progress_bar_shows_groups_without_variance_and_what_is_no_longer_rare():
    record = {"stage": 1, "reward": 0.5, "correct": 0.5, "response_length": 40.0, "time": {"step": 1.0}}
    record |= {"flat_groups": 0.25, "cut": 0.04, "several_answers": 0.3, "empty_thinking": 0.0}
    shown = describe_step(record | {"echoed_options": 0.06})
    assert {name: shown.get(name) for name in ("flat", "cut", "several", "empty", "echoed")} == {
        "flat": "25%", "cut": None, "several": "30%", "empty": None, "echoed": "6%"
    }  # fmt: skip


def test_a_run_of_rl_warns_and_after_a_crash_goes_on_as_though_it_had_not(tmp_path, monkeypatch, capsys):
    """A random model never ends an answer, and a reward that is always the same teaches nothing."""
    (tmp_path / "model").mkdir()
    hf_folder(tmp_path / "model", "qwen3")
    write_jsonl(tmp_path / "questions.jsonl", map(to_json, asked(1)))
    monkeypatch.setattr(
        train_grpo, "load_reward", lambda name: lambda *_: {"correct": 0.0, "format": 0.0, "total": 0.5}
    )
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    steps = WINDOW + 4

    def train(run_dir) -> list[str]:
        given = [f"model={tmp_path / 'model'}", f"data.questions={tmp_path / 'questions.jsonl'}"]
        given += [f"grpo.stage1={{max_steps: {steps}, group_size: 2}}", "grpo.stage2.max_steps=0"]
        given += ["grpo.questions_per_step=2", "grpo.max_new_tokens=3", "grpo.kl_estimator=none"]
        given += ["grpo.show_every=0", "grpo.save_every=4", "chat_format=chatml", "parallel.device=cpu"]
        given += [f"run_dir={run_dir}", "grpo.curriculum.stage1_mix={hard: 1, simple: 0}"]
        given += ["grpo.curriculum.hard=[easy, moderate, difficult]", "grpo.curriculum.simple=[]"]
        train_grpo.train(load_config(Config, None, given), ALONE)
        return [line for line in capsys.readouterr().out.split("\n") if "watch: " in line]

    class CrashError(Exception):
        pass

    def crash(self, step: int, due: bool = False) -> None:
        save(self, step, due)
        if step == WINDOW + 2:  # two steps behind a checkpoint
            raise CrashError

    said, save = train(tmp_path / "whole"), Run.save
    assert len(said) == 2
    assert all(f"step {WINDOW}: " in line for line in said)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", crash)
        with pytest.raises(CrashError):
            train(tmp_path / "crashed")
    assert len([line for line in capsys.readouterr().out.split("\n") if "watch: " in line]) == 2
    assert train(tmp_path / "crashed") == []

    def counted(run_dir) -> list[dict]:
        records = read_records(run_dir / "grpo/metrics.jsonl")
        return [{name: value for name, value in r.items() if name != "time"} for r in records]

    whole = counted(tmp_path / "whole")
    assert counted(tmp_path / "crashed") == whole
    assert [r["flat_groups"] for r in whole] == [1.0] * steps
