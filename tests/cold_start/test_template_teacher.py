"""The template teacher's trajectories and their checks, on the embedded graph."""

import dataclasses
import pathlib
from collections import Counter

import pytest
import yaml

from fleming.cold_start.checks import check_trajectory
from fleming.cold_start.template import TemplateTeacher
from fleming.noise import generator
from fleming.prompt import question_messages
from fleming.questions.phrases import read_phrases
from fleming.questions.sampling import sample_questions
from fleming.sources.handwritten import import_yaml

ASSET = pathlib.Path(__file__).resolve().parents[2] / "assets" / "medical_graph.yaml"


@pytest.fixture(scope="module")
def graph():
    return import_yaml(str(ASSET))


@pytest.fixture(scope="module")
def questions(graph):
    return sample_questions(graph, {1: 200, 2: 200, 3: 200}, seed=3)[0]


@pytest.fixture(scope="module")
def pairs(graph, questions):
    return [
        (question, teacher.trajectory(question, generator(style, question.id)))
        for style in ("letter", "text")
        for teacher in (TemplateTeacher(graph, style, wrong_turn_rate=rate) for rate in (0.0, 1.0))
        for question in questions
    ]


def thought(trajectory):
    return trajectory.response.removeprefix("<think>\n").split("\n</think>\n")[0]


def test_every_trajectory_passes_its_checks(graph, pairs):
    for question, trajectory in pairs:
        assert check_trajectory(trajectory, question, graph) is None


def test_trajectories_are_short(pairs):
    words = [len(thought(trajectory).split()) for _, trajectory in pairs]
    assert min(words) >= 10
    assert sum(words) / len(words) < 60  # half of these take a wrong turn
    assert max(words) <= 115


def test_the_answer_stands_in_the_asked_style_after_text_and_letter_are_bound(pairs):
    for question, trajectory in pairs:
        text, letter = question.options[question.answer], question.answer
        style = trajectory.checks["answer_style"]
        assert trajectory.prompt == question_messages(question, style)
        assert f"\n{letter}. {text}\n" in trajectory.prompt[-1]["content"]
        assert trajectory.response.endswith(f"\n<answer>{letter if style == 'letter' else text}</answer>")
        conclusion = f" {text} ({letter})." if style == "letter" else f" {text}."
        assert thought(trajectory).endswith(conclusion)
        assert text in thought(trajectory).removesuffix(conclusion)  # named before it is chosen


def test_refinements_are_named_only_where_they_were_made(pairs):
    marks = {
        "backtracking": ("retract",),
        "path_exploration": ("compare",),
        "self_correction": ("correct",),
    }
    seen = Counter()
    for _, trajectory in pairs:
        for name, keys in marks.items():
            parts = [
                form.split("{")[0].rstrip(".")
                for key in keys
                for form in read_phrases("teacher").phrases[key]
            ]
            made = any(f". {part}" in thought(trajectory) for part in parts)
            assert made == (name in trajectory.refinements)
        seen.update(trajectory.refinements)
    assert min(seen[name] for name in marks) > 50


def test_a_wrong_turn_states_a_true_fact_of_a_rival_and_denies_one_that_the_file_lacks(pairs):
    content = yaml.safe_load(ASSET.read_text(encoding="utf-8"))
    diseases = {entry["name"]: entry for entry in content["diseases"]}
    seen = 0
    for question, trajectory in pairs:
        if "backtracking" in trajectory.refinements:
            rival, relation, clue = trajectory.checks["facts"][0]
            other, missing_relation, missing = trajectory.checks["denied"][0]
            key = {"has_symptom": "symptoms", "has_finding": "findings"}
            assert other == rival != question.provenance["hidden"][0]
            assert clue in diseases[rival][key[relation]]
            assert missing not in diseases[rival].get(key[missing_relation], [])
            assert {clue, missing} <= {*question.provenance["visible"]}
            seen += 1
    assert seen > 50


def test_about_the_asked_share_takes_a_wrong_turn(graph, questions):
    drawn = [
        TemplateTeacher(graph, wrong_turn_rate=0.25).trajectory(q, generator(9, q.id)) for q in questions
    ]
    share = sum(bool(trajectory.refinements) for trajectory in drawn) / len(drawn)
    assert 0.18 < share < 0.32  # 4 standard errors at n = 600


def test_wording_varies_and_every_step_has_four_phrasings(graph, questions):
    assert all(len(set(forms)) >= 4 for forms in read_phrases("teacher").phrases.values())
    drawn = {TemplateTeacher(graph).trajectory(questions[-1], generator(i)).response for i in range(30)}
    assert len(drawn) > 20


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("wrong_answer", lambda t: {"response": t.response.replace("<answer>", "<answer>not ")}),
        ("bad_format", lambda t: {"response": t.response + "\nDone."}),
        (
            "unsaid_fact",
            lambda t: {"checks": {**t.checks, "facts": [["gout", "treated_by", "a drug never named"]]}},
        ),
        ("false_fact", lambda t: {"checks": {**t.checks, "denied": t.checks["facts"]}}),
        ("false_fact", lambda t: {"checks": {**t.checks, "facts": [t.checks["facts"][0][::-1]]}}),
        ("too_long", lambda t: {"response": t.response.replace("<think>\n", "<think>\n" + "well " * 120)}),
    ],
)
def test_a_spoiled_trajectory_is_rejected_with_its_code(graph, questions, code, change):
    question = questions[0]
    trajectory = TemplateTeacher(graph, wrong_turn_rate=0.0).trajectory(question, generator(0))
    spoiled = dataclasses.replace(trajectory, **change(trajectory))
    assert check_trajectory(spoiled, question, graph) == code
