"""The path reward against its attackers: whatever is written, only a path that is stated is paid for."""

import dataclasses
import time

import pytest
from support.path_attacks import (
    ATTACKS,
    FRAMES,
    HARMLESS,
    HONEST,
    MISJUDGED,
    NOTHING,
    UNSAYING,
    Case,
    respond,
)
from support.places import ROOT

from fleming.cold_start.template import TemplateTeacher
from fleming.config import load_config
from fleming.noise import generator
from fleming.questions.sampling import sample_questions
from fleming.rl.path_reward import path_reward
from fleming.rl.reward import load_reward, medical_reward, reward_parts, try_reward
from fleming.settings import Config
from fleming.sources.handwritten import import_yaml
from fleming.text import words
from model.errors import InputError

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
        others = [
            t
            for q, t in honest
            if not names & {e[end] for e in q.provenance["path"] for end in ("head", "tail")}
        ]
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


def test_the_facts_alone_are_enough_and_chatter_that_denies_nothing_costs_nothing(honest):
    """Whoever states the path in sentences of its own is paid for it, in whatever phrases."""
    for case, best in cases(honest, "facts alone"):
        for between in ("", " Let me go on.", " The picture is typical."):
            thought = " ".join(f"{fact}{between}" for fact in case.facts())
            assert reward(respond(thought, case.question.answer), case.question)["total"] == pytest.approx(
                best
            )


@pytest.mark.parametrize(
    "label", ["- ", "• ", "* ", "{}. ", "{}) ", "({}) ", "**Step {}:** ", "{}、", "第{}步："]
)
def test_a_label_before_a_fact_costs_nothing(honest, label):
    for case, best in cases(honest[:20], "labels"):
        lines = [label.format(number) + fact for number, fact in enumerate(case.facts(), 9)]
        assert reward(respond("\n".join(lines), case.question.answer), case.question)["total"] == best


def test_part_of_the_path_earns_part_of_the_pay(honest):
    for case, _ in cases(honest, "a part"):
        facts = case.facts()
        earned = reward(respond(facts[0], case.question.answer), case.question)["path"]
        assert earned == pytest.approx(1 / len(facts))


def test_no_wrong_answer_earns_as_much_as_any_right_one(honest):
    """The least that a right answer earns, without its form, is more than the most that a wrong one does."""
    for case, _ in cases(honest, "wrong"):
        question = case.question
        least = reward(f"<answer>{question.answer}</answer>", question)["total"]
        wrong = [
            reward(respond(case.thought, x), question)["total"]
            for x in question.options
            if x != question.answer
        ]
        assert max(wrong) < least
        facts = " ".join(case.facts())  # without a conclusion that would differ
        others = [x for x in question.options if x != question.answer]
        assert {reward(respond(facts, x), question)["path"] for x in others} == {0}


def test_nothing_is_paid_to_what_was_cut(honest):
    for question, trajectory in honest[:10]:
        assert reward(trajectory.response, question, finished=False)["path"] == 0


def test_a_question_without_a_certificate_is_rewarded_as_ever(honest):
    for case, _ in cases(honest[:10], "bare"):
        bare = dataclasses.replace(case.question, provenance=None)
        for answer in bare.options:
            response = respond(case.thought, answer)
            assert reward(response, bare)["total"] == medical_reward(response, True, bare, CFG)["total"]


def test_settings_that_would_pay_a_wrong_answer_more_are_refused():
    name = "grpo.reward=fleming.rl.path_reward:path_reward"
    assert load_config(Config, None, [name]).grpo.path_weight == 0.3
    for wrong in ("grpo.format_weight=1.0", "grpo.path_weight=1.5", "grpo.path_max_words=0"):
        with pytest.raises(InputError, match=wrong.split("=")[0].removeprefix("grpo.")):
            load_config(Config, None, [name, wrong])


def test_the_reward_can_be_named_and_its_part_is_kept(honest):
    question, trajectory = honest[0]
    found = load_reward("fleming.rl.path_reward:path_reward")
    assert found is path_reward
    try_reward(found, question, CFG)
    assert reward_parts(found, trajectory.response, True, question, CFG)["path"] == 1


def test_three_hundred_trajectories_a_second(honest):
    start = time.process_time()
    for _ in range(3):
        for question, trajectory in honest:
            reward(trajectory.response, question)
    assert 3 * len(honest) / (time.process_time() - start) > 300


def test_nothing_is_paid_beyond_the_longest_reasoning(honest):
    for question, trajectory in honest[:10]:
        said = thought(trajectory)
        for bound, path in ((400, 1), (401, 0)):
            fillers = [f"w{number}" for number in range(bound - len(words(said)))]
            hanzi = "".join(chr(0x9A00 + number) for number in range(len(fillers)))
            for filler in (" ".join(fillers), "-".join(fillers), "/".join(fillers), hanzi):
                assert reward(respond(f"{filler}.\n{said}", question.answer), question)["path"] == path
        for filler in ("w" * 8000, "," * 8000):
            assert reward(respond(f"{filler}.\n{said}", question.answer), question)["path"] == 0


def test_another_conclusion_than_the_answer_is_no_conclusion_about_it(honest):
    """The hidden disease is named in a question that asks for its drug."""
    others = 0
    for case, _ in cases(honest, "diagnosis"):
        disease = case.path[0][0]
        if disease in case.question.options.values():
            continue
        others += 1
        for told in (
            "The most likely diagnosis is {}.",
            "So the diagnosis is {}.",
            "The answer to that is {}.",
        ):
            text = f"{' '.join(case.facts())} {told.format(disease)}"
            assert reward(respond(text, case.question.answer), case.question)["path"] == 1
    assert others > 20


@pytest.mark.parametrize("sentence", HARMLESS)
def test_an_honest_sentence_of_another_matter_costs_nothing(honest, sentence):
    if sentence in MISJUDGED:
        pytest.xfail("told in the documents")
    for case, _ in cases(honest[:20], "harmless"):
        facts = case.facts()
        texts = [f"{sentence} {' '.join(facts)}"]
        if not sentence.endswith("\n"):  # a heading stands before
            texts += [f"{facts[0]} {sentence} {' '.join(facts[1:])}", f"{' '.join(facts)} {sentence}"]
        for text in texts:
            assert reward(respond(text, case.question.answer), case.question)["path"] == 1, text


@pytest.mark.parametrize("sentence", [*UNSAYING, *FRAMES])
def test_a_sentence_that_unsays_all_costs_all(honest, sentence):
    for case, best in cases(honest[:20], "unsaying"):
        facts = case.facts()
        text = f"{sentence}{' '.join(facts)}" if sentence in FRAMES else f"{' '.join(facts)} {sentence}"
        parts = reward(respond(text, case.question.answer), case.question)
        assert parts["total"] <= best + 1e-9
        assert parts["path"] == 0 or sentence in MISJUDGED, text


def test_an_answer_with_its_reasons_and_in_other_forms_is_one_answer(honest):
    for case, _ in cases(honest[:20], "forms"):
        letter, question = case.question.answer, case.question
        other = next(x for x in question.options if x != letter)
        text = question.options[letter]
        for told in (f"{letter}) {text}", f"{text} (option {letter})", f"({letter})", f"{letter}, not {other}",
                     f"{letter} because {other} is a drug for another disease"):  # fmt: skip
            thought = f"{' '.join(case.facts())} The answer is {told}."
            assert reward(respond(thought, letter), question)["path"] == 1, told
