"""The template teacher's trajectories and their checks: on the demo's graph, and on drawn patients with every clue."""

import dataclasses
import json
from collections import Counter

import pytest
import yaml
from support import drawn_patients
from support.places import ROOT

from fleming.cold_start.checks import check_trajectory
from fleming.cold_start.template import TemplateTeacher
from fleming.config import load_config
from fleming.noise import generator
from fleming.prompt import question_messages
from fleming.questions.phrases import read_phrases
from fleming.questions.sampling import sample_questions
from fleming.settings import Config
from fleming.settings.synth import QuestionRules, SynthConfig
from fleming.sources.handwritten import import_yaml

ASSET = ROOT / "assets" / "medical_graph.yaml"
KEYS = {"symptoms": "has_symptom", "findings": "has_finding", "tests": "diagnosed_by", "drugs": "treated_by",
        "contraindicated_in": "contraindicated_in", "adverse_effects": "has_adverse_effect"}  # fmt: skip
MECHANISM = {"diseases": "caused_by", "drugs": "has_mechanism"}
REFINEMENTS = {"backtracking": "retract", "path_exploration": "compare", "self_correction": "correct"}


@pytest.fixture(scope="module")
def demo():
    """(graph, questions) of the demo's settings."""
    graph = import_yaml(str(ASSET))
    synth = load_config(Config, ROOT / "configs/demo.yaml", []).synth
    return graph, sample_questions(graph, 150, 3, synth)[0]


@pytest.fixture(scope="module")
def drawn():
    """(graph, questions) of patients by the rules for real graphs, what is wrong by absence alone among them."""
    graph = drawn_patients.graph(1)
    bounds = {"max_per_root": None, "max_per_answer": None, "max_per_fact": None}
    rules = QuestionRules(open_world="mark", min_family=0, min_bits=2.8, min_score=0, **bounds)
    kinds = {"differential": 3.0, "gene": 1.0, "inheritance": 1.0, "cause": 1.0}
    synth = SynthConfig(kinds=kinds, registers=("clinical",), rules=rules)
    return graph, sample_questions(graph, 28, 0, synth)[0]


def answered(graph, questions):
    """Return (question, trajectory) in both styles, with no wrong turn and with one wherever there can be one."""
    return [
        (question, teacher.trajectory(question, generator(style, question.id)))
        for style in ("letter", "text")
        for teacher in (TemplateTeacher(graph, style, wrong_turn_rate=rate) for rate in (0.0, 1.0))
        for question in questions
    ]


@pytest.fixture(scope="module")
def pairs(demo):
    return answered(*demo)


@pytest.fixture(scope="module")
def cases(drawn):
    return answered(*drawn)


def asked_in(trajectory, max_words=120):
    """Return the settings by which it was asked."""
    return Config(answer_style=trajectory.checks["answer_style"], synth=SynthConfig(max_words=max_words))


def thought(trajectory):
    return trajectory.response.removeprefix("<think>\n").split("\n</think>\n")[0]


def facts_of_the_demo():
    """What the file states, read without the importer."""
    content = yaml.safe_load(ASSET.read_text(encoding="utf-8"))
    relations = {section: {**KEYS, "mechanism": name} for section, name in MECHANISM.items()}
    return {
        (entry["name"], relations[section][key], tail)
        for section in relations
        for entry in content[section]
        for key in relations[section].keys() & entry.keys()
        for tail in entry[key]
    }


def test_every_trajectory_passes_its_checks(demo, pairs, drawn, cases):
    for question, trajectory in pairs:
        assert check_trajectory(trajectory, question, demo[0], asked_in(trajectory)) is None
    for question, trajectory in cases:
        assert check_trajectory(trajectory, question, drawn[0], asked_in(trajectory, 150)) is None


def test_every_stated_fact_is_one_and_every_denied_one_is_none(pairs, drawn, cases):
    of_demo = facts_of_the_demo()
    graph = drawn[0]
    of_drawn = {triple for name in graph.names for triple in graph.incident(name)}
    for known, found in ((of_demo, pairs), (of_drawn, cases)):
        stated = {tuple(fact) for _, trajectory in found for fact in trajectory.checks["facts"]}
        denied = {tuple(fact) for _, trajectory in found for fact in trajectory.checks["denied"]}
        assert stated <= known
        assert denied
        assert not denied & known


def test_a_finding_is_said_as_its_question_says_it(drawn, cases):
    """A type that joining has put behind a name is for the graph, not for a reader."""
    graph, question = drawn[0], cases[0][0]
    name = next(clue["tail"] for clue in question.provenance["clues"] if clue["relation"] == "has_finding")
    renamed = json.loads(json.dumps(question.provenance).replace(f'"{name}"', f'"{name} (finding)"'))
    for register, has_type in (("clinical", False), ("plain", True)):
        renamed["register"] = register
        trajectory = TemplateTeacher(graph).trajectory(
            dataclasses.replace(question, provenance=renamed), generator(0)
        )
        assert name in thought(trajectory)
        assert (f"{name} (finding)" in thought(trajectory)) is has_type


def test_the_steps_to_the_answer_are_stated(pairs, cases):
    for question, trajectory in pairs + cases:
        path = question.provenance["path"]
        steps = [[path[i][key] for key in ("head", "relation", "tail")] for i in question.provenance["chain"]]
        stated = [fact for fact in trajectory.checks["facts"] if fact in steps]
        assert stated[len(stated) - len(steps) :] == steps


def test_trajectories_are_short(pairs):
    words = [len(thought(trajectory).split()) for _, trajectory in pairs]
    assert min(words) >= 10
    assert sum(words) / len(words) < 60  # half of these take a wrong turn
    assert max(words) <= 115


def test_the_answer_stands_in_the_asked_style_after_text_and_letter_are_bound(pairs, cases):
    for question, trajectory in pairs + cases:
        text, letter = question.options[question.answer], question.answer
        style = trajectory.checks["answer_style"]
        assert trajectory.prompt == question_messages(question, style)
        assert f"\n{letter}. {text}\n" in trajectory.prompt[-1]["content"]
        assert trajectory.response.endswith(f"\n<answer>{letter if style == 'letter' else text}</answer>")
        conclusion = f" {text} ({letter})." if style == "letter" else f" {text}."
        assert thought(trajectory).endswith(conclusion)
        assert text in thought(trajectory).removesuffix(conclusion)  # named before it is chosen


def said(key, trajectory):
    """Whether one of the key's sentences stands in the thought, by its beginning."""
    beginnings = [form.split("{")[0].rstrip(".") for form in read_phrases("teacher").phrases[key]]
    return any(f". {beginning}" in thought(trajectory) for beginning in beginnings)


def test_refinements_are_named_only_where_they_were_made(pairs, cases):
    for found in (pairs, cases):
        seen = Counter()
        for _, trajectory in found:
            for name, key in REFINEMENTS.items():
                assert said(key, trajectory) == (name in trajectory.refinements)
            seen.update(trajectory.refinements)
        assert min(seen[name] for name in REFINEMENTS) >= len(found) / 20


def test_backtracking_states_a_true_clue_of_a_rival_and_then_what_rules_it_out(pairs):
    known = facts_of_the_demo()
    seen = 0
    for question, trajectory in pairs:
        if "backtracking" in trajectory.refinements:
            rival, relation, clue = trajectory.checks["facts"][0]
            (other, missing_relation, missing), *_ = trajectory.checks["denied"]
            assert other == rival != question.provenance["hidden"][0]
            assert (rival, relation, clue) in known
            assert (rival, missing_relation, missing) not in known
            assert {clue, missing} <= {*question.provenance["visible"]}
            seen += 1
    assert seen > 50


def test_of_a_case_every_rival_is_ruled_out_by_what_its_certificate_says(cases):
    """Rule by rule, from the record: what speaks against a rival is stated of it, or denied."""
    grounds = Counter()
    for question, trajectory in cases:
        clues = question.provenance["clues"]
        if all(clue["role"] in ("core", "discriminating") for clue in clues):
            continue
        checks = trajectory.checks
        for rival in question.provenance["certificate"]["rivals"]:
            name, relation, tail = rival["proof"]
            assert any(share in checks["facts"] for share in rival["shares"])
            if rival["ground"] in ("other_value", "onset"):
                values = {fact[2] for fact in checks["facts"] if fact[:2] == [name, relation]}
                assert values
                assert tail not in values
            else:  # the rival nearly always has what is absent, hardly ever what is there
                assert rival["ground"] in ("absent_finding", "rare_finding")
                assert rival["proof"] in checks["facts"]
                key = "not here" if rival["ground"] == "absent_finding" else "rare"
                forms = read_phrases("teacher").phrases[key]
                assert any(form.format(x=tail, h=name, t=tail) in thought(trajectory) for form in forms)
            grounds[rival["ground"]] += 1
    assert set(grounds) == {"other_value", "onset", "absent_finding", "rare_finding"}
    roles = Counter(clue["role"] for question, _ in cases for clue in question.provenance["clues"])
    assert set(roles) == {"complaint", "core", "discriminating", "absent", "family", "onset"}


def test_what_is_absent_is_never_stated_of_the_patients_disease(cases):
    seen = 0
    for question, trajectory in cases:
        provenance = question.provenance
        root = next(iter(provenance["certificate"]["table"]["rows"]))
        for clue in provenance["clues"]:
            if clue["role"] == "absent":
                assert [root, clue["relation"], clue["tail"]] not in trajectory.checks["facts"]
                assert f"no {clue['tail']}" in thought(trajectory)
                seen += 1
    assert seen


def test_about_the_asked_share_takes_a_wrong_turn(demo):
    graph, questions = demo
    drawn = [
        TemplateTeacher(graph, wrong_turn_rate=0.25).trajectory(q, generator(number, q.id))
        for number in (9, 10)
        for q in questions
    ]
    share = sum(bool(trajectory.refinements) for trajectory in drawn) / len(drawn)
    assert 0.18 < share < 0.32  # 4 standard errors at n = 600


def test_wording_varies_and_every_step_has_four_phrasings(demo):
    graph, questions = demo
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
def test_a_spoiled_trajectory_is_rejected_with_its_code(demo, code, change):
    graph, (question, *_) = demo
    trajectory = TemplateTeacher(graph, wrong_turn_rate=0.0).trajectory(question, generator(0))
    spoiled = dataclasses.replace(trajectory, **change(trajectory))
    assert check_trajectory(spoiled, question, graph, asked_in(spoiled)) == code
