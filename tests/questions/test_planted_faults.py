"""That the checker of questions sees what is wrong: in records that were spoiled, and from a generator that was."""

import copy
from collections import Counter
from dataclasses import replace

import pytest
from support.drawn_questions import clinic_of, drawn_from, records_of, synth_of
from support.question_checker import faults, faults_of_set, faults_of_splits

from fleming.questions import (
    certificates,
    differential,
    judging,
    likelihood,
    options,
    posing,
    sampling,
)
from fleming.questions.differential import Differentials
from fleming.questions.posing import Poser
from fleming.questions.sampling import sample_questions

PATIENTS = {"differential": 2, "gene": 2, "inheritance": 1, "finding": 1, "treatment": 1}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return drawn_from(clinic_of(1), tmp_path_factory.mktemp("clinic"), synth_of(1, **PATIENTS), 60, 1)


# --- spoiled records: each returns None where the record has nothing of the kind to spoil


def first(rows, **wanted):
    return next((row for row in rows if all(row[key] == value for key, value in wanted.items())), None)


def spoiled_odds(q, p):
    p["certificate"]["rivals"][0]["odds"] += 0.3


def spoiled_posterior(q, p):
    p["certificate"]["posterior"] -= 0.002


def spoiled_likelihood(q, p):
    next(iter(p["certificate"]["table"]["rows"].values()))[0] += 0.0003


def another_runner_up(q, p):
    p["certificate"]["runner_up"] = p["root"]


def another_ground(q, p):
    wrong = p["certificate"]["distractors"][0]
    wrong["ground"] = "onset" if wrong["ground"] != "onset" else "closed"


def another_ground_of_a_rival(q, p):
    rival = p["certificate"]["rivals"][0]
    rival["ground"] = "contradicted" if rival["ground"] != "contradicted" else "closed"


def a_swapped_answer(q, p):
    q["answer"] = next(letter for letter in q["options"] if letter != q["answer"])


def a_wrong_option_that_is_right(q, p):
    letter = next(letter for letter in q["options"] if letter != q["answer"])
    p["certificate"]["distractors"][0]["option"] = q["options"][letter] = p["answer"]


def a_rival_that_shares_one(q, p):
    p["certificate"]["rivals"][0]["shares"].pop()


def a_step_that_is_no_fact(q, p):
    p["path"][-1]["tail"] = p["path"][0]["tail"]


def other_evidence(q, p):
    p["path"][0]["evidence"][0]["note"] += "; frequency 9/9"


def a_clue_less(q, p):
    clue = p["clues"].pop()
    p["visible"].remove(clue["tail"])
    if clue["role"] != "absent":
        del p["path"][len([c for c in p["clues"] if c["role"] != "absent"])]
        p["chain"] = [place - 1 for place in p["chain"]]


def a_clue_that_is_idle(q, p):
    core = first(p["clues"], role="core")
    core["needed"] = "without it nobody would not be ruled out"


def other_counts(q, p):
    clue = p["clues"][0]
    clue["counts"] = [1, 1000] if clue["counts"] is None else None


def a_leaked_name(q, p):
    q["question"] += f" It is {p['answer']}."


def a_leaked_synonym(q, p):
    q["question"] += f" It is {p['root']}us."  # as every entity of the clinic is called too


def a_clue_that_is_not_said(q, p):
    clue = first(p["clues"], role="core")
    q["question"] = q["question"].replace(clue["tail"], "something")


def a_denied_finding_of_the_root(q, p):
    core = first(p["clues"], role="core")
    core["role"] = "absent"


def a_lower_depth(q, p):
    p["depth"] -= 1


def a_better_score(q, p):
    p["score"]["margin"] += 2
    p["score"]["total"] += 2


def another_total(q, p):
    p["score"]["total"] += 1


def another_kind(q, p):
    p["kind"] = "cause"


def another_age(q, p):
    p["patient"]["age"] = 30.0 if p["patient"]["age"] is None else None


def more_edges(q, p):
    p["root_edges"] += 1


def a_common_disease(q, p):
    p["rare"] = not p["rare"]


def another_solution(q, p):
    p["certificate"]["solutions"].append("zzz")


SPOILERS = [
    spoiled_odds, spoiled_posterior, spoiled_likelihood, another_runner_up, another_ground, another_ground_of_a_rival,
    a_swapped_answer, a_wrong_option_that_is_right, a_rival_that_shares_one, a_step_that_is_no_fact, other_evidence,
    a_clue_less, a_clue_that_is_idle, other_counts, a_leaked_name, a_leaked_synonym, a_clue_that_is_not_said,
    a_denied_finding_of_the_root, a_lower_depth, a_better_score, another_total, another_kind, another_age, more_edges,
    a_common_disease, another_solution,
]  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda spoil: spoil.__name__)
def test_a_spoiled_record_is_seen(drawn, spoil):
    for record in drawn.records:
        before = faults(drawn.facts, record, drawn.synth.rules)
        spoiled = copy.deepcopy(record)
        spoil(spoiled, spoiled["provenance"])
        assert set(faults(drawn.facts, spoiled, drawn.synth.rules)) - set(before), record["id"]


def test_what_is_asked_too_often_is_seen(drawn):
    record = next(record for record in drawn.records if record["provenance"]["chain"])
    rules = replace(drawn.synth.rules, max_per_root=1, max_per_answer=1, max_per_fact=1)
    found = faults_of_set(drawn.facts, [record, copy.deepcopy(record)], rules, 60)
    for what in ("id", "composition", "root", "last fact"):
        assert any(fault.startswith(what) for fault in found), what
    assert any(fault.startswith("answer") for fault in found) or record["provenance"]["kind"] == "inheritance"


def test_what_two_splits_share_is_seen(drawn):
    train, test = drawn.records[0], copy.deepcopy(drawn.records[0])
    test["split"] = "test"
    assert faults_of_splits([train, test], "roots")
    assert faults_of_splits([train, test], "combinations")
    other = next(
        record for record in drawn.records if record["provenance"]["root"] != train["provenance"]["root"]
    )
    assert faults_of_splits([train, other | {"split": "test"}], "roots") == []
    assert any(
        "not taught" in f for f in faults_of_splits([train, other | {"split": "test"}], "combinations")
    )


# --- spoiled generators


def without_broader_rows(monkeypatch):
    monkeypatch.setattr(likelihood, "BROADER", 0.0)


def without_forms(monkeypatch):
    monkeypatch.setattr(likelihood, "ancestors", lambda graph, name: frozenset())


def another_prior(monkeypatch):
    monkeypatch.setattr(likelihood, "PRIOR_WEIGHT", 3.0)


def another_background(monkeypatch):
    monkeypatch.setattr(likelihood, "UNNOTED", 0.02)


def no_ranks(monkeypatch):
    """Other diseases than the options are never as likely as the root."""
    proved = differential.prove

    def unranked(judge, root, clues, names):
        joint, at = judge.findings.joint, judge.findings.place[root]

        def lowered(clues, before=None):
            found = joint(clues, before) - 50.0
            found[at] += 50.0
            return found

        with monkeypatch.context() as patch:
            patch.setattr(judge.findings, "joint", lowered)
            return proved(judge, root, clues, names)

    monkeypatch.setattr(differential, "prove", unranked)


def nothing_needed(monkeypatch):
    monkeypatch.setattr(Differentials, "adds", lambda *_: True)
    monkeypatch.setattr(judging, "_needed", lambda *_: "9.9 bits")
    monkeypatch.setattr(judging, "_every_group_is_needed", lambda *_: True)


def any_ground(monkeypatch):
    monkeypatch.setattr(Differentials, "ground", lambda *_: "closed")


def another_pedigree(monkeypatch):
    monkeypatch.setattr(likelihood, "FAMILY", (0.95, 0.3, 0.01))
    monkeypatch.setattr(likelihood, "ONSET", (0.7, 0.3, 0.01))


def everything_complete(monkeypatch):
    monkeypatch.setattr(certificates, "is_closed", lambda *_: True)


def unequal_options(monkeypatch):
    monkeypatch.setattr(options, "_windows", lambda *_: lambda name: True)


def the_rival_alone(monkeypatch):
    monkeypatch.setattr(Poser, "_right_of", lambda self, query, option: [option.path[0]])


def leaks_allowed(monkeypatch):
    def leaking(query, graph, *_):
        named = [clue.tail for clue in query.clues]
        return f"{', '.join(named)}: what do you say to {query.answer}?"

    monkeypatch.setattr(posing, "word_question", leaking)
    monkeypatch.setattr(posing, "_leaks", lambda *_: False)
    monkeypatch.setattr(posing, "_gives_away", lambda *_: False)


SPOILED = {
    without_broader_rows: "likelihood of",
    without_forms: "likelihood of",
    another_prior: "likelihood of",
    another_background: "likelihood of",
    no_ranks: "runner_up",
    nothing_needed: "idle",
    any_ground: "is not its ground",
    another_pedigree: "likelihood of",
    everything_complete: "expected absent",
    unequal_options: "edges from",
    the_rival_alone: "against which the odds are",
    leaks_allowed: "stands in the text",
}


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__)
def test_a_spoiled_generator_is_seen(spoil, drawn, tmp_path, monkeypatch):
    seed, shares = 1, PATIENTS
    if spoil is everything_complete:
        seed, shares = 0, {"gene": 1, "treatment": 1}
    elif spoil is unequal_options:
        shares = {"treatment": 1, "gene": 1}
    elif spoil is the_rival_alone:
        seed, shares = 0, {"gene": 1}
    elif spoil is no_ranks:
        seed = 2
    synth = synth_of(seed, **shares)
    if spoil is unequal_options:
        synth = replace(synth, rules=replace(synth.rules, similar_size=1.5))
    elif spoil is nothing_needed:
        synth = replace(synth, rules=replace(synth.rules, min_bits=3.5))
    spoil(monkeypatch)
    spoiled = drawn_from(clinic_of(seed), tmp_path, synth, 40, 1)
    found = Counter(
        fault for record in spoiled.records for fault in faults(spoiled.facts, record, synth.rules)
    )
    assert any(SPOILED[spoil] in fault for fault in found), found.most_common(3)


def test_rules_that_the_generator_was_not_given_are_seen(drawn):
    """What was drawn by other rules breaks these, each in its own words."""
    for name, value, fault in (
        ("min_shared", 4, "shares too few"), ("min_odds", 1e6, "odds of"), ("min_posterior", 0.999999, "posterior of"),
        ("min_frequency", 0.95, "too rare"), ("max_facts", 3, "number of clues"), ("min_bits", 9.0, "idle"),
        ("min_ratio", 1e6, "no clue decides"), ("min_score", 99, "a low score"), ("similar_size", 1.01, "edges from"),
        ("patients", False, "sex"),
            ("min_lead", 1e6, "leads by"), ("min_findings", 99, "findings are known"),
        ("min_patients", 99, "seen in"), ("min_family", 2, "by the family"),
    ):  # fmt: skip
        rules = replace(drawn.synth.rules, **{name: value})
        found = [fault for record in drawn.records for fault in faults(drawn.facts, record, rules)]
        assert any(fault in one for one in found), name


def test_caps_that_are_not_kept_are_seen(drawn, monkeypatch):
    rules = replace(drawn.synth.rules, max_per_root=1, max_per_answer=1, max_per_fact=1)
    synth = replace(drawn.synth, rules=rules, kinds={"gene": 1})
    kept, _, _ = sample_questions(drawn.graph, 20, 3, synth)
    assert not [f for f in faults_of_set(drawn.facts, records_of(kept), rules, 20) if "at most" in f]
    monkeypatch.setattr(sampling.Repeats, "code", lambda *_: None)
    monkeypatch.setattr(sampling, "_scaled", lambda *_: None)
    loose, _, _ = sample_questions(drawn.graph, 40, 3, synth)
    assert [f for f in faults_of_set(drawn.facts, records_of(loose), rules, 40) if "at most" in f]
