"""Questions of the demo's graph and of drawn clinics, each proved by question_checker, which shares no code."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from support.drawn_questions import SHARES, clinic_of, drawn_from, records_of, synth_of
from support.drawn_world import SOURCE
from support.places import ROOT
from support.question_checker import faults, faults_of_set, faults_of_splits

from fleming.config import load_config
from fleming.questions import posing
from fleming.questions.metapaths import kinds
from fleming.questions.query import Clue, Query
from fleming.questions.sampling import sample_questions
from fleming.questions.splitting import split_questions
from fleming.settings import Config
from fleming.settings.synth import QuestionRules, SynthConfig
from fleming.sources.handwritten import import_yaml

DEMO = load_config(Config, ROOT / "configs/demo.yaml", []).synth


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    graph = import_yaml(ROOT / "assets/medical_graph.yaml")
    return drawn_from(graph, tmp_path_factory.mktemp("demo"), DEMO, 600, 0)


@pytest.fixture(scope="module", params=range(3))
def drawn(request, tmp_path_factory):
    seed = request.param
    return drawn_from(clinic_of(seed), tmp_path_factory.mktemp("clinic"), synth_of(seed), 100, seed)


# --- every record is right


def test_the_independent_checker_finds_no_fault_in_the_demos_questions(demo):
    assert len(demo.questions) == demo.wanted
    assert faults_of_set(demo.facts, demo.records, demo.synth.rules, demo.wanted) == []
    assert {question.provenance["kind"] for question in demo.questions} == set(demo.synth.kinds)
    assert {question.provenance["hops"] for question in demo.questions} == {1, 2, 3}


def test_the_independent_checker_finds_no_fault_in_drawn_clinics(drawn):
    assert len(drawn.questions) > 80
    assert faults_of_set(drawn.facts, drawn.records, drawn.synth.rules, drawn.wanted) == []
    assert {"differential", "gene"} <= {q.provenance["kind"] for q in drawn.questions}


@pytest.mark.parametrize(("kind", "seed"), [("finding", 1), ("inheritance", 2)])
def test_what_all_diseases_decide_is_asked_for_where_it_can_be(kind, seed, tmp_path):
    synth = replace(synth_of(seed), kinds={kind: 1.0})
    drawn = drawn_from(clinic_of(seed), tmp_path, synth, 5, 1)
    assert drawn.questions
    assert faults_of_set(drawn.facts, drawn.records, drawn.synth.rules, drawn.wanted) == []


def test_defaults_hold_too_with_bounds_and_scores(tmp_path):
    rules = QuestionRules(min_bits=2, min_findings=5, similar_size=4, any_name=True, min_score=60, tries=1)
    graph = clinic_of(1)
    drawn = drawn_from(graph, tmp_path, SynthConfig(kinds=SHARES, rules=rules), 40, 4)
    assert drawn.questions
    assert faults_of_set(drawn.facts, drawn.records, rules, drawn.wanted) == []
    assert max(Counter(q.provenance["root"] for q in drawn.questions).values()) == 1


@pytest.mark.parametrize("seed", [4, 13])
def test_a_family_rules_out_some_options_and_never_all(tmp_path, seed):
    synth = synth_of(seed, differential=1, gene=1)
    easier = {"every_disease": False, "min_findings": 3, "min_frequency": 0.2, "min_found": 5}
    synth = replace(synth, rules=replace(synth.rules, min_family=1, **easier))
    drawn = drawn_from(clinic_of(seed), tmp_path, synth, 40, 0)
    assert len(drawn.questions) > 8
    assert faults_of_set(drawn.facts, drawn.records, synth.rules, drawn.wanted) == []
    stricter = replace(synth.rules, min_found=1e9)
    found = [fault for record in drawn.records for fault in faults(drawn.facts, record, stricter)]
    assert "told apart by a lack alone" in found
    clues = [clue for q in drawn.questions for clue in q.provenance["clues"]]
    assert {"complaint", "family"} <= {clue["role"] for clue in clues}


@pytest.mark.parametrize(
    ("stem", "answer", "gives"),
    [
        ("Raised desmosterol is found.", "desmosterolosis", True),
        ("The tibialis anterior is weak.", "tibial dystrophy", True),
        ("The tibialis anterior is weak.", "myopathy of the hand", False),  # another option has the word
        ("There is hypertension.", "hypertrophic scars", False),
        ("There is a rash.", "rash fever", False),  # a short word tells nothing
    ],
)
def test_a_stem_with_a_word_of_the_answer_or_its_beginning_gives_it_away(stem, answer, gives):
    others = ["tibial dystrophy", "gout"] if "hand" in answer else ["gout"]
    assert posing._gives_away(stem, answer, others, any_name=False) == gives
    assert not posing._gives_away(stem, answer, others, any_name=True)  # no whole word is the answer's
    assert posing._gives_away(f"{stem} {answer}", answer, others, any_name=True)


def test_what_is_denied_strikes_out_no_option_by_its_name():
    clues = (Clue("has_finding", "neuroendocrine neoplasm", "absent"),)
    query = Query(kinds()[0], ("papulosis",), clues)
    assert posing._denies_a_name(query, ["gout", "neuroendocrine tumor of stomach"])
    assert not posing._denies_a_name(query, ["gout", "neuropathy"])
    told = replace(query, clues=(clues[0]._replace(role="core"),))
    assert not posing._denies_a_name(told, ["neuroendocrine tumor of stomach"])


def test_grounds_are_as_declared(drawn):
    grounds = {
        wrong["ground"] for q in drawn.questions for wrong in q.provenance["certificate"]["distractors"]
    }
    declared = drawn.graph.declared
    assert ("absent" in grounds) == (not declared)
    assert bool({"other_value", "closed"} & grounds) == bool(declared)
    if declared.get((SOURCE, "has_onset"), ("", 1))[1]:  # open, or cut
        assert "onset" not in grounds
    assert "contradicted" in grounds
    roles = {clue["role"] for q in drawn.questions for clue in q.provenance.get("clues", ())}
    assert {"core", "discriminating"} <= roles


def test_the_report_counts_what_was_posed(drawn):
    kinds_posed = Counter(question.provenance["kind"] for question in drawn.questions)
    assert {name: count for name, count in drawn.report["kinds"].items() if count} == dict(kinds_posed)
    assert sum(drawn.report["questions"].values()) == len(drawn.questions)
    grounds = Counter(
        w["ground"] for q in drawn.questions for w in q.provenance["certificate"]["distractors"]
    )
    assert drawn.report["grounds"] == dict(grounds)


# --- over a set


def chi_square(letters) -> float:
    counts, expected = Counter(letters), len(letters) / 4
    return sum((counts[letter] - expected) ** 2 / expected for letter in "ABCD")


def test_the_right_option_stands_anywhere(demo, drawn):
    for questions in (demo.questions, drawn.questions):
        assert chi_square([question.answer for question in questions]) < 16.3  # 3 df, p = 0.001


def test_no_composition_and_no_id_occurs_twice(demo, drawn):
    for questions in (demo.questions, drawn.questions):
        compositions = {
            (tuple(sorted(q.provenance["visible"])), q.provenance["metapath"], q.provenance["answer"])
            for q in questions
        }
        assert len(compositions) == len({q.id for q in questions}) == len(questions)


def test_held_out_combinations_are_new_and_all_their_facts_are_taught(demo):
    parts = split_questions(demo.questions, 30, 45, 0, facts_in_training=True)
    assert [len(part) for part in parts[1:]] == [30, 45]
    records = records_of([question for part in parts for question in part])
    assert faults_of_splits(records, "combinations") == []
    assert Counter(q.provenance["hops"] for q in parts[2]) == {1: 15, 2: 15, 3: 15}
    assert faults_of_splits(records, "roots")  # which the demo's graph is too small for


def test_held_out_roots_and_last_facts_are_new(drawn):
    questions = [question for question in drawn.questions if question.provenance["hops"] < 3]
    parts = split_questions(questions, 9, 12, 0, facts_in_training=False)
    assert [len(part) for part in parts[1:]] == [9, 12]
    records = records_of([question for part in parts for question in part])
    assert faults_of_splits(records, "roots") == []
    records[0]["split"], records[0]["provenance"]["root"] = "test", records[1]["provenance"]["root"]
    assert faults_of_splits(records, "roots")


def test_the_options_alone_do_not_tell_the_answer(demo):
    """A guesser that knows how often each option was right in training, by what was asked, stays near chance."""
    order = np.random.default_rng(0).permutation(len(demo.questions))
    train, test = order[:400], order[400:]
    shown, right = Counter(), Counter()

    def of(number):
        question = demo.questions[number]
        return question, question.provenance["metapath"].split(" by ")[0].split(" > ")[-1]

    for question, asked in map(of, train):
        shown.update((asked, text) for text in question.options.values())
        right[asked, question.provenance["answer"]] += 1
    hits = 0
    for question, asked in map(of, test):
        rate = {k: (right[asked, t] + 1) / (shown[asked, t] + 4) for k, t in question.options.items()}
        hits += max(rate, key=rate.get) == question.answer
    assert hits / len(test) < 0.25 + 2.6 * (0.25 * 0.75 / len(test)) ** 0.5


# --- counted noise


def test_the_same_seed_draws_the_same_questions_and_another_others(drawn):
    np.random.seed(0)
    synth = replace(drawn.synth, kinds={"differential": 1, "gene": 1})
    draws = [sample_questions(drawn.graph, 8, seed, synth)[0] for seed in (1, 1, 2)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


HASHED = """
import hashlib
from support.drawn_questions import clinic_of, records_of, synth_of
from fleming.questions.sampling import sample_questions
posed, refused, report = sample_questions(clinic_of(2), 12, 0, synth_of(2, differential=1, gene=1))
print(hashlib.sha256(repr((records_of(posed), refused, report)).encode()).hexdigest())
"""


def test_the_order_of_sets_moves_nothing():
    path = f"{ROOT}:{ROOT / 'tests'}"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", HASHED],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    (one, why), (other, _) = (run.communicate(timeout=300) for run in runs)
    assert one, why
    assert one == other


def test_every_kind_that_is_declared_can_be_asked_for(demo, drawn):
    known = {kind.name for kind in kinds()}
    assert set(SHARES) | set(demo.synth.kinds) | set(SynthConfig().kinds) == known


# --- small worlds are asked nothing that they cannot answer


def test_an_empty_patient_of_the_demo_has_neither_age_nor_sex(demo):
    told = [q.provenance["patient"] for q in demo.questions if "patient" in q.provenance]
    assert told
    assert all(patient == {"age": None, "sex": ""} for patient in told)


def test_a_question_checked_against_another_graph_is_faulted(demo, drawn):
    stranger = next(record for record in drawn.records if record["provenance"]["kind"] == "gene")
    other = json.loads(json.dumps(stranger))
    other["provenance"]["path"][0]["evidence"][0]["record"] += 1
    assert faults(drawn.facts, other, drawn.synth.rules)
