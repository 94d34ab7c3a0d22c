"""A trajectory whose sums are wrong is not taught; the template teacher's have none to get wrong."""

import dataclasses

import pytest
from support.places import ROOT

from fleming.checks.calculations import check
from fleming.cold_start.checks import check_trajectory
from fleming.cold_start.template import TemplateTeacher
from fleming.config import load_config
from fleming.noise import generator
from fleming.questions.sampling import sample_questions
from fleming.settings import Config
from fleming.sources.handwritten import import_yaml


def cfg_of(max_words):
    return dataclasses.replace(Config(), synth=dataclasses.replace(Config().synth, max_words=max_words))


@pytest.fixture(scope="module")
def taught():
    """(graph, [(question, trajectory)]) of the demo."""
    graph = import_yaml(str(ROOT / "assets/medical_graph.yaml"))
    synth = load_config(Config, ROOT / "configs/demo.yaml", []).synth
    questions = sample_questions(graph, 200, 3, synth)[0]
    teacher = TemplateTeacher(graph)
    return graph, [(q, teacher.trajectory(q, generator("sums", q.id))) for q in questions]


@pytest.mark.parametrize(
    ("sentence", "code"),
    [
        ("The dose is 70 kg × 5 mg/kg = 350 mg.", None),
        ("The dose is 70 kg × 5 mg/kg = 360 mg.", "wrong_calculation"),
        ("The dose is 70 kg × 5 mg/kg = 350 mcg.", "wrong_unit"),
        ("剂量为70千克×5毫克/千克等于360毫克。", "wrong_calculation"),
    ],
)
def test_a_wrong_sum_is_a_code_of_its_own(taught, sentence, code):
    graph, pairs = taught
    question, trajectory = pairs[0]
    changed = trajectory.response.replace("<think>\n", f"<think>\n{sentence} ")
    assert (
        check_trajectory(dataclasses.replace(trajectory, response=changed), question, graph, cfg_of(500))
        == code
    )


def test_no_template_trajectory_is_taken_for_a_sum(taught):
    graph, pairs = taught
    for question, trajectory in pairs:
        assert check(trajectory.response)["code"] is None
        assert check_trajectory(trajectory, question, graph, cfg_of(500)) is None
