"""The path reward against its attackers: whatever is written, only a path that is stated is paid for."""

import dataclasses

import pytest
from support.path_attacks import ATTACKS, HONEST, NOTHING, Case, respond
from support.places import ROOT

from fleming.cold_start.template import TemplateTeacher
from fleming.config import load_config
from fleming.noise import generator
from fleming.questions.sampling import sample_questions
from fleming.rl.path_reward import path_reward
from fleming.settings import Config
from fleming.sources.handwritten import import_yaml

CFG = dataclasses.replace(Config(), answer_style="letter")


@pytest.fixture(scope="module")
def honest():
    """(question, the template teacher's trajectory) of the demo's graph; half take a wrong turn and mend it."""
    graph = import_yaml(str(ROOT / "assets" / "medical_graph.yaml"))
    synth = load_config(Config, ROOT / "configs/demo.yaml", []).synth
    questions = sample_questions(graph, 80, 5, synth)[0]
    teacher = TemplateTeacher(graph, wrong_turn_rate=0.5)
    return [(question, teacher.trajectory(question, generator(5, question.id))) for question in questions]


def thought(trajectory):
    return trajectory.response.removeprefix("<think>\n").split("\n</think>\n")[0]


def reward(response, question, finished=True):
    return path_reward(response, finished, question, CFG)


def cases(honest, name):
    """(case, honest reward) of each question; the other question's path has no fact of this one's."""
    for place, (question, trajectory) in enumerate(honest):
        names = {edge[end] for edge in question.provenance["path"] for end in ("head", "tail")}
        others = [t for q, t in honest if not names & {e[end] for e in q.provenance["path"] for end in ("head", "tail")}]
        rng = generator(name, place)
        other = thought(others[int(rng.integers(len(others)))])
        yield Case(question, thought(trajectory), other, rng), reward(trajectory.response, question)["total"]


def test_the_honest_answer_earns_all_there_is(honest):
    for question, trajectory in honest:
        parts = reward(trajectory.response, question)
        assert parts == {"correct": 1, "format": 1, "path": 1, "total": pytest.approx(1.0 + 0.1 + 0.3)}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_earns_more_than_the_honest_answer(honest, name):
    make, bound = ATTACKS[name]
    assert len(honest) >= 80
    for case, best in cases(honest, name):
        made = make(case)
        response = made if "<think>" in made else respond(made, case.question.answer)
        parts = reward(response, case.question)
        assert parts["path"] <= bound, (name, response)
        assert parts["total"] <= best + 1e-9
        if bound == NOTHING:
            assert parts["total"] <= best - 0.3 + 1e-9, (name, response)


def test_there_are_a_thousand_cases_or_more(honest):
    assert len(ATTACKS) * len(honest) >= 1000
    assert {bound for _, bound in ATTACKS.values()} == {NOTHING, HONEST}
