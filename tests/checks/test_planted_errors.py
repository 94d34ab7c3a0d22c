"""What claims and path see of errors planted in right trajectories, in English and Chinese, and of right ones."""

import functools
import json
import re
from collections import Counter

import pytest
import yaml
from support.places import ROOT
from support.planted_errors import KINDS, Said, World, plant

from fleming.checks.claims import check_claims
from fleming.checks.path import follow_path
from fleming.cold_start.template import TemplateTeacher
from fleming.config import load_config
from fleming.noise import generator
from fleming.questions.phrases import read_phrases
from fleming.questions.sampling import sample_questions
from fleming.records import question_from_json, to_json
from fleming.settings import Config
from fleming.sources.handwritten import import_yaml

ASSET = ROOT / "assets" / "medical_graph.yaml"
SEEDS = {"tuned on": 11, "kept out": 12}
KEYS = {"symptoms": "has_symptom", "findings": "has_finding", "tests": "diagnosed_by", "drugs": "treated_by",
        "contraindicated_in": "contraindicated_in", "adverse_effects": "has_adverse_effect"}  # fmt: skip
MECHANISM = {"diseases": "caused_by", "drugs": "has_mechanism"}
CHINESE = {
    "has_symptom": ["{h}表现为{t}。", "{h}的症状包括{t}。", "{t}是{h}的症状。"],
    "has_finding": ["{h}可见{t}。", "{t}见于{h}。", "{t}支持{h}。"],
    "diagnosed_by": ["{h}靠{t}诊断。", "{t}可确诊{h}。"],
    "treated_by": ["{h}用{t}治疗。", "{t}治疗{h}。", "{t}用于{h}。"],
    "caused_by": ["{h}由{t}引起。", "{h}的病因是{t}。", "{t}导致{h}。"],
    "has_mechanism": ["{h}通过{t}起作用。", "{h}的作用机制是{t}。"],
    "contraindicated_in": ["{h}在{t}时禁用。", "{t}是{h}的禁忌。"],
    "has_adverse_effect": ["{h}引起{t}。", "{t}是{h}的副作用。"],
}
CHINESE_DENIALS = {
    "has_symptom": ["{h}没有{t}。", "{t}不是{h}的症状。"], "has_finding": ["{h}没有{t}。", "{t}不见于{h}。"],
    "diagnosed_by": ["{h}不靠{t}诊断。"], "treated_by": ["{h}不用{t}治疗。", "{t}不治疗{h}。"],
    "caused_by": ["{h}不由{t}引起。", "{h}的病因不是{t}。"], "has_mechanism": ["{h}不通过{t}起作用。"],
    "contraindicated_in": ["{t}不是{h}的禁忌。"], "has_adverse_effect": ["{h}不引起{t}。"],
}  # fmt: skip


def facts_of(content):
    """What the file states, read without the importer."""
    relations = {section: {**KEYS, "mechanism": name} for section, name in MECHANISM.items()}
    return frozenset(
        (entry["name"], relations[section][key], tail)
        for section in relations
        for entry in content[section]
        for key in relations[section].keys() & entry.keys()
        for tail in entry[key]
    )


@functools.cache
def english(seed):
    """(graph, world, [(question, sentences)]) of the template teacher's own trajectories."""
    graph, teacher = import_yaml(str(ASSET)), read_phrases("teacher")
    denials = {
        relation: [form.format(noun=teacher.nouns.get(relation, ""), h="{h}", t="{t}") for form in forms]
        for relation in {*KEYS.values(), *MECHANISM.values()}
        for forms in [teacher.phrases["denial" if relation in teacher.nouns else "feature denial"]]
    }
    facts = facts_of(yaml.safe_load(ASSET.read_text(encoding="utf-8")))
    taking_back = frozenset(form for key in ("retract", "correct") for form in teacher.phrases[key])
    world = World(facts, dict(teacher.phrases), denials, list(teacher.phrases["conclude"]), taking_back)
    synth = load_config(Config, ROOT / "configs/demo.yaml", []).synth
    found = []
    for question in sample_questions(graph, 120, seed, synth)[0]:
        trajectory = TemplateTeacher(graph, wrong_turn_rate=0.5).trajectory(
            question, generator(seed, question.id)
        )
        found.append((question, sentences(question, trajectory, teacher.phrases)))
    return graph, world, found


def sentences(question, trajectory, phrases):
    thought = trajectory.response.removeprefix("<think>\n").split("\n</think>\n")[0]
    known = {}
    for head, relation, tail in trajectory.checks["facts"]:
        known |= {form.format(h=head, t=tail): ((head, relation, tail), True) for form in phrases[relation]}
    noun = read_phrases("teacher").nouns
    for head, relation, tail in trajectory.checks["denied"]:
        forms = [form for key in ("denial", "feature denial", "open denial") for form in phrases[key]]
        known |= {
            form.format(h=head, t=tail, noun=noun.get(relation, "")): ((head, relation, tail), False)
            for form in forms
        }
    path = [(edge["head"], edge["relation"], edge["tail"]) for edge in question.provenance["path"]]
    said = []
    for text in re.split(r"(?<=\.) ", thought):
        fact, affirmed = known.get(text, (None, True))
        said.append(Said(text, fact, affirmed, is_step=affirmed and fact in path))
    assert sum(s.is_step for s in said) == len(path)
    return said


def chinese(seed):
    """The same questions under drawn names of Chinese characters, worked out in the sentences above."""
    content = yaml.safe_load(ASSET.read_text(encoding="utf-8"))
    facts, rng = facts_of(content), generator(seed, "names")
    names = sorted(
        {name for head, _, tail in facts for name in (head, tail)} | {e["name"] for e in content["diseases"]}
    )
    drawn = {}
    while len(drawn) < len(names):
        drawn["".join(chr(0x4E00 + int(i)) for i in rng.integers(0, 0x5000, int(rng.integers(3, 6))))] = None
    renamed = dict(zip(names, drawn, strict=True))

    def rename(value):
        if isinstance(value, dict):
            return {renamed.get(key, key): rename(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [rename(inner) for inner in value]
        return renamed.get(value, value) if isinstance(value, str) else value

    _, _, pairs = english(seed)
    world = World(frozenset(map(tuple, rename([list(fact) for fact in sorted(facts)]))), CHINESE, CHINESE_DENIALS,
                  ["所以答案是{x}。", "正确答案是{x}。"])  # fmt: skip
    found = []
    for question, said in pairs:
        question = question_from_json(rename(json.loads(json.dumps(to_json(question)))), "renamed")
        told = [Said("我们来看。")]
        for sentence in said:
            if sentence.fact:
                fact = tuple(rename(list(sentence.fact)))
                text = world.state(rng, fact) if sentence.affirmed else world.deny(rng, fact)
                told.append(Said(text, fact, sentence.affirmed, sentence.is_step))
        right = question.options[question.answer]
        found.append((question, [*told, Said(f"所以答案是{right}。")]))
    return rename(content), world, found


@pytest.fixture(scope="module", params=[(en, half) for en in ("en", "zh") for half in SEEDS], ids="-".join)
def corpus(request, tmp_path_factory):
    language, half = request.param
    seed = SEEDS[half]
    if language == "en":
        return english(seed)
    content, world, found = chinese(seed)
    path = tmp_path_factory.mktemp("graph") / "renamed.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return import_yaml(str(path)), world, found


def caught(kind, text, question, graph):
    path = follow_path(text, question, question.answer)
    if kind == "step dropped":
        return path.stated < path.facts
    if kind == "conclusion":
        return path.fault == "other_conclusion"
    return check_claims(text, graph)[0]["contradicted"] > 0


def test_right_trajectories_raise_no_alarm(corpus):
    graph, _, found = corpus
    alarms = []
    for question, said in found:
        text = " ".join(s.text for s in said)
        alarms += [(kind, text) for kind in KINDS if caught(kind, text, question, graph)]
    assert len(alarms) <= 0.02 * len(found), alarms[:5]


def test_planted_errors_are_seen(corpus):
    graph, world, found = corpus
    planted, seen, missed = Counter(), Counter(), []
    for question, said in found:
        right, options = question.options[question.answer], [*question.options.values()]
        for kind in KINDS:
            wrong = plant(kind, said, options, right, world, generator(kind, question.id))
            if wrong is None:
                continue
            text = " ".join(s.text for s in wrong)
            planted[kind] += 1
            found_out = caught(kind, text, question, graph)
            seen[kind] += found_out
            missed += [] if found_out else [(kind, text)]
    print(dict(planted), dict(seen))
    assert planted.total() >= 400
    for kind in KINDS:
        assert seen[kind] >= 0.95 * planted[kind], (
            kind,
            planted,
            seen,
            [m for m in missed if m[0] == kind][:5],
        )
