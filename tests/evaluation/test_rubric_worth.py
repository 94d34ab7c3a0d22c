"""What a rubric's score is worth: intervals of criteria that hang together, other people's prompts, empty answers."""

import json
import random

import pytest
from support.chat_server import ChatServer, said
from support.jsonl import read_records
from support.models import hf_folder
from support.runs import run_here

import evaluate
from fleming.evaluation.rubric_agreement import Label, agreement, human_agreement, read_labels
from fleming.evaluation.rubric_file import Check, Criterion, Rubric, is_conversation, read_rubrics
from fleming.evaluation.rubrics import describe, judge_answers, score, score_all
from fleming.evaluation.statistics import clustered_interval, wilson_interval
from fleming.files import read_json
from model.errors import InputError

YES, NO = (True, True), (True, False)


def asked(text):
    return [{"role": "user", "content": text}]


def write(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


# --- intervals


def test_verdicts_that_hang_together_count_as_one_and_others_as_many():
    def ends(groups):
        found = clustered_interval(groups)
        return found.low, found.high

    # Alone, each is a trial; where all agree nothing tells, and an answer of five is one.
    assert ends([[True]] * 6 + [[False]] * 4) == pytest.approx(wilson_interval(6, 10))
    assert ends([[True] * 5] * 10) == pytest.approx(wilson_interval(10, 10))
    # 60 whole answers of five right, 40 wrong: exactly as 60 of 100.
    assert ends([[True] * 5] * 60 + [[False] * 5] * 40) == pytest.approx(wilson_interval(60, 100), abs=1e-12)
    # Each answer has three of five: they vary less than by chance, and are trusted no more than chance.
    low, high = wilson_interval(300, 500)
    found = ends([[True, True, True, False, False]] * 100)
    assert found[0] <= low
    assert found[1] >= high
    assert found == pytest.approx((low, high), abs=0.001)
    with pytest.raises(ValueError, match="empty"):
        clustered_interval([[True], []])
    with pytest.raises(ValueError, match="groups"):
        clustered_interval([])


def test_the_interval_covers_where_the_usual_one_does_not():
    rng, covered, usual, runs = random.Random(3), 0, 0, 400
    for _ in range(runs):
        groups = []
        for _ in range(100):
            share = rng.betavariate(2.8, 1.2)  # mean 0.7, correlation within an answer 0.2
            groups.append([rng.random() < share for _ in range(rng.randint(1, 20))])
        found = clustered_interval(groups)
        covered += found.low <= 0.7 <= found.high
        low, high = wilson_interval(sum(map(sum, groups)), sum(map(len, groups)))
        usual += low <= 0.7 <= high
    assert 0.91 * runs <= covered <= 0.98 * runs
    assert usual < 0.8 * runs


def test_agreement_takes_an_answers_criteria_together():
    together = agreement([[YES] * 5] * 8 + [[NO] * 5] * 2 + [[]])
    alone = agreement([[YES]] * 40 + [[NO]] * 10)
    assert (together["n"], together["value"]) == (alone["n"], alone["value"]) == (50, 0.8)
    assert (together["low"], together["high"]) == pytest.approx(wilson_interval(8, 10), abs=0.02)
    assert (alone["low"], alone["high"]) == pytest.approx(wilson_interval(40, 50))


# --- people


def all_met(jobs):
    seen.extend(jobs)
    return [[YES] * len(criteria) for _, _, criteria in jobs]


seen: list = []


def test_a_label_may_bring_its_own_prompt_and_none_of_use_is_no_error():
    seen.clear()
    labels = [
        Label("p", "a", [True, True, False], "text"),
        Label("p", "b", [False], "text"),
        Label("elsewhere", "c", [True], "text", asked("its own")),
        Label("elsewhere", "d", [True], None),  # of this model's answer, which was never asked that
        Label("p", "e", [True], None),
        Label("p", "f", [True], None, asked("another")),  # the model's answer is to the prompt of that id
    ]
    found = human_agreement(labels, {"p": asked("q")}, {"p": "mine"}, all_met)
    assert seen == [
        (asked("q"), "text", ["a", "b"]),
        (asked("its own"), "text", ["c"]),
        (asked("q"), "mine", ["e", "f"]),
    ]
    assert (found["n"], found["value"], found["other_prompts"]) == (5, 4 / 5, 1)
    whole = clustered_interval([[True, False], [True], [True, True]])
    assert (found["low"], found["high"]) == (whole.low, whole.high)
    assert (found["raters"]["n"], found["raters"]["value"]) == (3, pytest.approx(1 / 3))
    assert (found["raters"]["low"], found["raters"]["high"]) == pytest.approx(
        wilson_interval(1 / 3, 1), abs=0.1
    )  # three people on one criterion of one answer are no three trials
    nothing = human_agreement(labels[3:4], {"p": asked("q")}, {"p": "mine"}, all_met)
    assert (nothing["n"], nothing["other_prompts"], nothing["raters"]) == (0, 1, None)


@pytest.mark.parametrize(
    "value",
    ["q", [], ["q"], [{"role": "user"}], [{"role": "user", "content": 1}], [{"role": "tool", "content": "q"}],
     [*asked("q"), {"role": "assistant", "content": "a"}], [{"role": "user", "content": "q", "name": "x"}]],
)  # fmt: skip
def test_what_is_no_conversation(value):
    assert not is_conversation(value)
    assert is_conversation([{"role": "system", "content": "s"}, *asked("q")])


def test_labels_in_healthbenchs_meta_form(tmp_path):
    meta = {
        "prompt_id": "h",
        "rubric": "x",
        "completion": "c",
        "binary_labels": [True, False],
        "category": "k",
    }
    rows = [{**meta, "prompt": asked("q")}, meta, {**meta, "prompt": []}, meta, meta, meta]
    found, flawed = read_labels(write(tmp_path / "a.jsonl", rows))
    assert ([label.prompt for label in found], flawed) == ([asked("q"), None, None, None, None], 1)
    path = write(tmp_path / "b.jsonl", [meta] * 9)
    path.write_text(path.read_text() + "no JSON\n")
    assert read_labels(path)[1] == 1
    with pytest.raises(InputError, match=r"c.jsonl: expected prompt_id"):
        read_labels(write(tmp_path / "c.jsonl", []))


# --- answers and points


def test_an_empty_answer_meets_nothing_and_nobody_is_asked():
    rubric = Rubric(
        "p", asked("q"), [Criterion("x", 3.0), Criterion("y", -1.0), Criterion("z", 1.0, check_=Check(["a"]))]
    )
    scored, said_ = judge_answers(None, [rubric], {"p": ""})
    assert ([met for _, met in scored[0]], said_) == ([0.0, 0.0, 0.0], [[]])


def test_points_without_bound_are_refused(tmp_path):
    def row(points):
        return {
            "prompt_id": str(points),
            "prompt": asked("q"),
            "rubrics": [{"criterion": "x", "points": points}],
        }

    rows = [row(points) for points in (1, 2, 3, 4, 1000, 1e308)]
    found, aside = read_rubrics(write(tmp_path / "r.jsonl", rows))
    assert ([rubric.rubrics[0].points for rubric in found], aside) == ([1, 2, 3, 4, 1000], {"bad_row": 1})


def test_a_tag_scores_the_prompts_that_have_it_alone():
    def c(points, *tags):
        return Criterion("x", points, list(tags))

    rows = [
        [(c(4.0, "a"), 1.0), (c(4.0, "b", "b"), 0.0), (c(4.0, "b"), 1.0)],
        [(c(2.0, "a"), 0.5)],
        [(c(1.0), 1.0)],
    ]
    found = score_all(rows, 0)
    assert list(found["by_tag"]) == ["a", "b"]
    assert (found["by_tag"]["a"]["n"], found["by_tag"]["a"]["value"]) == (2, 0.75)
    assert found["by_tag"]["b"]["value"] == 0.5


def test_the_scores_interval_is_that_of_resampled_prompts():
    rows = [[(Criterion("x", 1.0), float(i % 2))] for i in range(100)]
    found = score(rows, 0)
    assert (found["low"], found["high"]) == pytest.approx((0.4, 0.6), abs=0.015)


@pytest.mark.parametrize(
    ("check", "answer", "holds"),
    [
        (Check(number=7, unit="mg"), "give 5 to 7 mg", False),
        (Check(number=5, unit="mg"), "give 5 mg to 7 mg", False),
        (Check(number=7, unit="mg"), "give 5 mg – 7 mg", False),
        (Check(number=5, unit="mg"), "give 5mg to 7 mg", False),
        (Check(number=7, unit="mg"), "go to 7 mg", True),
        (Check(number=7, unit="mg"), "give 5 to 7 mg, at most 7 mg", True),
        (Check(number=5, unit="mg", tolerance=0.5), "about 5.5 mg", True),
        (Check(number=5, unit="mg", tolerance=0.4), "about 5.5 mg", False),
    ],
)
def test_a_range_is_no_number_and_a_tolerance_is_kept(check, answer, holds):
    assert check.holds(answer) is holds


def test_a_tolerance_needs_a_number():
    with pytest.raises(InputError, match="without a number"):
        Check(["a"], tolerance=1.0).check("here")


# --- a run


@pytest.fixture
def run(tmp_path):
    """Run on the first prompts of three, with more settings; return status, what was said and rubrics.json."""
    hf_folder(tmp_path / "m")
    names = ("p1", "p2", "p3")
    rows = [
        {"prompt_id": name, "prompt": asked(f"q {name}"), "rubrics": [{"criterion": "x", "points": 1}] * 2}
        for name in names
    ]
    file = write(tmp_path / "r.jsonl", rows)
    fixed = ["chat_format=chatml", "parallel.device=cpu", "teacher.kind=openai", "teacher.model=j"]

    def run(*more):
        argv = ["--model", str(tmp_path / "m"), "--rubrics", str(file), f"run_dir={tmp_path / 'run'}", *fixed]
        status, lines = run_here(evaluate, [*argv, "evaluate.max_new_tokens=6", *more])
        path = tmp_path / "run/eval/m/rubrics.json"
        return status, lines, read_json(path) if path.exists() else None

    run.folder, run.file, run.rows = tmp_path / "run/eval/m", file, rows
    return run


def test_more_prompts_add_to_what_is_there_and_a_changed_one_is_refused(run):
    with ChatServer(lambda text, n: said('{"met": {"1": true, "2": false}}')) as server:
        to = f"teacher.address={server.address}"
        assert run(to, "evaluate.limit=1")[0] == 0
        before = (run.folder / "rubric_answers.jsonl").read_text()
        status, lines, found = run(to)
        assert status == 0, lines
        assert (run.folder / "rubric_answers.jsonl").read_text().startswith(before)
        stored = read_records(run.folder / "rubric_answers.jsonl")
        assert sorted(record["prompt_id"] for record in stored) == ["p1", "p2", "p3"]
        assert (found["answers"], found["score"]["value"]) == (3, 0.5)
        assert found["met"] == {"p1": [0.5, 0.5], "p2": [0.5, 0.5], "p3": [0.5, 0.5]}
        whole = clustered_interval([[False, False]] * 3)
        assert {name: found["self_agreement"][name] for name in vars(whole)} == vars(whole)
        asked_before = len(server.requests)

        run.rows[1]["rubrics"][0]["points"] = 3  # criteria are no part of the question
        write(run.file, run.rows)
        assert run(to)[0] == 0
        assert len(server.requests) == asked_before
        run.rows[1]["prompt"] = asked("another")
        write(run.file, run.rows)
        status, lines, _ = run(to)
        assert status == 2
        assert "'p2' was another prompt" in lines[-1]


def test_labels_of_no_use_cost_no_score(run, tmp_path):
    row = {"prompt_id": "elsewhere", "criterion": "x", "completion": "c", "label": True}
    labels = write(tmp_path / "l.jsonl", [row])
    with ChatServer(lambda text, n: said('{"met": {"1": true, "2": true}}')) as server:
        status, lines, found = run(f"teacher.address={server.address}", f"evaluate.rubric_labels={labels}")
    assert status == 0, lines
    assert (found["score"]["value"], found["human_agreement"]["other_prompts"]) == (1.0, 1)
    assert sorted(found["sha256"]) == ["labels", "rubrics"]
    shown = describe(found)
    assert "judge with people's majority: none\n" in shown
    assert "0 empty" in shown


@pytest.mark.parametrize(
    "more",
    [
        ["evaluate.samples=2", "evaluate.temperature=1"],
        ["evaluate.thinking_tokens=9", "evaluate.max_new_tokens=400"],
    ],
)
def test_what_this_mode_does_not_do_is_refused(run, more):
    status, lines, found = run("teacher.address=http://127.0.0.1:9/v1", *more)
    assert (status, found) == (2, None)
    assert "--rubrics answers each prompt once" in lines[-1]
