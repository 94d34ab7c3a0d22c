"""The checks where they are used: a trajectory before it is taught, and what is printed of the whole."""

import dataclasses

import pytest
from support.places import ROOT

from fleming.cold_start.checks import check_trajectory
from fleming.cold_start.teach import teach
from fleming.cold_start.template import TemplateTeacher
from fleming.config import load_config
from fleming.noise import generator
from fleming.questions.sampling import sample_questions
from fleming.settings import Config
from fleming.sources.handwritten import import_yaml


@pytest.fixture(scope="module")
def demo():
    graph = import_yaml(str(ROOT / "assets" / "medical_graph.yaml"))
    cfg = load_config(Config, ROOT / "configs/demo.yaml", [])
    return graph, sample_questions(graph, 40, 3, cfg.synth)[0], cfg


def cfg_of(**synth):
    return dataclasses.replace(Config(), synth=dataclasses.replace(Config().synth, **synth))


@pytest.mark.parametrize(
    ("added", "code"),
    [
        ("The drug colchicine treats myasthenia gravis.", "contradicted_claim"),
        ("A drug for pyridostigmine is myasthenia gravis.", "contradicted_claim"),
        ("The drug for myasthenia gravis is not pyridostigmine.", "contradicted_claim"),
        ("The drug colchicine treats myasthenia gravis. That was a mistake.", None),
        ("Does the drug colchicine treat myasthenia gravis?", None),
        ("Some say that the drug colchicine treats myasthenia gravis.", None),
        ("It is a fine day and all is well here now. " * 4, "loop"),
        ("So the answer is {wrong}.", "other_conclusion"),
    ],
)
def test_a_sentence_that_is_added_to_a_right_trajectory(demo, added, code):
    graph, questions, _ = demo
    assert "colchicine" in graph.entities
    for question in questions[:5]:
        trajectory = TemplateTeacher(graph, wrong_turn_rate=0.0).trajectory(question, generator(0))
        wrong = next(text for letter, text in question.options.items() if letter != question.answer)
        response = trajectory.response.replace("\n</think>", f" {added.format(wrong=wrong)}\n</think>")
        changed = dataclasses.replace(trajectory, response=response)
        assert check_trajectory(changed, question, graph, cfg_of(max_words=200)) == code


def test_uncertainty_is_asked_for_where_the_settings_say_so(demo):
    graph, (question, *_), _ = demo
    trajectory = TemplateTeacher(graph, wrong_turn_rate=0.0).trajectory(question, generator(0))
    certificate = question.provenance["certificate"]
    distractors = [{**wrong, "ground": "absent"} for wrong in certificate["distractors"]]
    provenance = {**question.provenance, "certificate": {**certificate, "distractors": distractors}}
    unsure = dataclasses.replace(question, provenance=provenance)
    assert check_trajectory(trajectory, unsure, graph, cfg_of()) is None
    assert check_trajectory(trajectory, unsure, graph, cfg_of(state_uncertainty=True)) == "unsure_unsaid"
    assert check_trajectory(trajectory, question, graph, cfg_of(state_uncertainty=True)) is None


def test_how_much_was_read_is_reported(demo):
    graph, questions, cfg = demo
    taught = teach(questions, graph, cfg, None)
    assert taught.kept
    assert not taught.rejected
    claims = taught.report["claims"]
    assert claims["supported"] > claims["unknown"]
    assert "contradicted" not in claims
    assert 0 < claims["read"] <= claims["sentences"]
