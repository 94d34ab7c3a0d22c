"""Likelihoods, differentials, draws, splits and scores on worlds small enough to be worked out on paper."""

import itertools
import math
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from support.drawn_questions import clinic_of, synth_of
from support.drawn_world import ORIGIN, SOURCE

from fleming.graph.completeness import declare
from fleming.graph.joining import join_sources
from fleming.noise import generator
from fleming.questions import patient, sampling
from fleming.questions.differential import Differentials
from fleming.questions.judging import Differential
from fleming.questions.likelihood import Findings
from fleming.questions.metapaths import kinds
from fleming.questions.query import Clue
from fleming.questions.sampling import effective_number, sample_questions
from fleming.questions.score import depth, score
from fleming.questions.splitting import split_questions
from fleming.records import Question
from fleming.settings.synth import QuestionRules, SynthConfig
from fleming.sources.facts import Declared, Fact, Node
from model.errors import InputError


def graph_of(facts, parents=(), values=()):
    """Of (disease, finding, k/n, band, NOT or "?") rows, (narrower, broader) pairs and (disease, relation, value)."""

    def source():
        diseases = dict.fromkeys([row[0] for row in facts] + [row[0] for row in values])
        findings = dict.fromkeys([row[1] for row in facts] + [name for pair in parents for name in pair])
        kinds = {"has_onset": "onset", "inherited_as": "inheritance", "associated_gene": "gene"}
        ends = {value: kinds[relation] for _, relation, value in values}
        for kind, names in (("disease", diseases), ("finding", findings)):
            for name in names:
                yield Node(f"{kind}:{name}", name, kind)
        for name, kind in ends.items():
            yield Node(f"value:{name}", name, kind)
        records = itertools.count(1)
        for disease, finding, share in facts:
            more = {"note": f"frequency {share}"} if "/" in share else {}
            if share[0] == ".":
                more = {"frequency": float(share)}
            ends = f"disease:{disease}", "has_finding", f"finding:{finding}"
            negated = share.startswith("NOT")
            if negated and "/" in share:
                more = {"note": f"frequency {share[4:]}"}
            yield Fact(*ends, ORIGIN, next(records), negated=negated, **more)
        for narrower, broader in parents:
            yield Fact(f"finding:{narrower}", "subtype_of", f"finding:{broader}", ORIGIN, next(records))
        for disease, relation, value in values:
            yield Fact(f"disease:{disease}", relation, f"value:{value}", ORIGIN, next(records))

    return join_sources([source()], lambda *skipped: pytest.fail(str(skipped))).graph


PAPER = [
    ("gout", "focal seizures", "3/4"), ("rickets", "seizures", ".5"), ("scurvy", "seizures", "NOT"),
    ("gout", "rash", "?"), ("rickets", "rash", "1/1"),
]  # fmt: skip


@pytest.fixture
def paper():
    return graph_of(PAPER, [("focal seizures", "seizures")])


def column(graph, finding):
    findings = Findings(graph)
    return dict(zip(findings.diseases, findings.column(finding, "has_finding"), strict=True))


def test_shares_of_patients_worked_out_on_paper(paper):
    # counts 3/4: (3 + .8) / (4 + 2); a band of .5: 5 of 10; NOT: 0 of 10; no number: .4; a single case: .6
    focal, band, none = 3.8 / 6, 5.8 / 12, 0.8 / 12
    assert column(paper, "seizures") == pytest.approx({"gout": focal, "rickets": band, "scurvy": none})
    # who has focal seizures has seizures; of those with seizures half have focal ones; who has none has no focal ones
    assert column(paper, "focal seizures") == pytest.approx(
        {"gout": focal, "rickets": band / 2, "scurvy": none}
    )
    # no source speaks of scurvy's rash: .01 beside its share of all three diseases
    assert column(paper, "rash") == pytest.approx({"gout": 0.4, "rickets": 0.6, "scurvy": 0.01 + 1 / 3})


def test_where_the_source_is_complete_what_it_does_not_state_is_lacked(paper):
    declare(paper, {(SOURCE, "has_finding"): Declared("closed")})
    assert column(paper, "rash")["scurvy"] == 0.01 + 1 / 3  # of scurvy it states nothing at all
    graph = graph_of([*PAPER, ("scurvy", "cough", "2/2")], [("focal seizures", "seizures")])
    declare(graph, {(SOURCE, "has_finding"): Declared("closed")})
    assert column(graph, "rash") == pytest.approx({"gout": 0.4, "rickets": 0.6, "scurvy": 0.005})
    assert column(graph, "focal seizures")["scurvy"] == pytest.approx(
        0.8 / 12
    )  # denied is what a source says


def test_what_is_stated_and_denied_adds_up():
    graph = graph_of([("gout", "rash", "2/4"), ("gout", "rash", "NOT 0/6"), ("scurvy", "rash", "?")])
    assert column(graph, "rash") == pytest.approx({"gout": 2.8 / 12, "scurvy": 0.4})


def test_of_two_denied_broader_findings_the_surer_one_counts():
    """Whatever the order in which a set yields them."""
    parents = [
        (form, broader) for form in ("a fit", "b fit", "c fit") for broader in ("fits", "spells", "turns")
    ]
    facts = [("gout", "fits", "NOT 0/3"), ("gout", "spells", "NOT 0/30"), ("gout", "turns", "NOT 0/1")]
    graph = graph_of([*facts, ("scurvy", "a fit", "3/4")], parents)
    for finding in ("a fit", "b fit", "c fit"):
        assert column(graph, finding)["gout"] == pytest.approx(0.8 / 32)
    findings = Findings(graph)
    assert graph.names[findings.term[findings.noted("gout", "a fit")]] == "spells"


def test_information_and_likelihood_of_clues(paper):
    findings = Findings(paper)
    assert findings.information("rash") == pytest.approx(math.log2(3 / 2))
    assert findings.information("focal seizures") == pytest.approx(math.log2(3))
    rash, no_rash = (Clue("has_finding", "rash", role) for role in ("core", "absent"))
    assert findings.likelihood(rash) + findings.likelihood(no_rash) == pytest.approx(np.ones(3))
    assert findings.joint([rash, no_rash]) == pytest.approx(
        np.log(findings.likelihood(rash)) + np.log(findings.likelihood(no_rash))
    )
    assert findings.near("gout", 5) == ["rickets", "scurvy"][: len(findings.near("gout", 5))]


def test_values_are_told_unknown_or_others():
    onsets = [("gout", "childhood onset"), ("rickets", "pediatric onset"), ("scurvy", "adult onset")]
    values = [(name, "has_onset", onset) for name, onset in onsets]
    values += [("gout", "inherited_as", "autosomal recessive inheritance")]
    values += [("scurvy", "inherited_as", "autosomal dominant inheritance")]
    findings = Findings(graph_of(PAPER, values=values))
    assert findings.diseases == ["gout", "rickets", "scurvy"]
    # 1 to 5 years lie within 0 to 16; from 16 on lies apart
    assert findings.likelihood(Clue("has_onset", "childhood onset", "onset")).tolist() == [0.6, 0.6, 0.05]
    family = Clue("inherited_as", "autosomal recessive inheritance", "family")
    assert findings.likelihood(family).tolist() == [0.9, 0.3, 0.05]


# --- differentials


RULES = QuestionRules(
    min_facts=3, min_family=0, min_bits=1, markers=0, min_findings=2, min_lead=1, any_name=True
)
RIVALS = ["beriberi", "pellagra", "scurvy"]


def clinic_facts(denied="NOT 0/98"):
    """Gout and three rivals share edema and rash; stridor is gout's. Twenty others have a cough of their own."""
    facts = [(name, finding, "9/10") for name in ["gout", *RIVALS] for finding in ("edema", "rash")]
    facts += [("gout", "stridor", "9/10"), *((name, "stridor", denied) for name in RIVALS)]
    facts += [(name, f"{name} sign", "5/10") for name in RIVALS]
    facts += [(f"filler{i}itis", f"cough{i}ing", "9/10") for i in range(20)]
    return facts


def drawn(facts, rules=RULES, rivals=RIVALS, root="gout"):
    groups = {name: [name] for name in rivals}
    return Differentials(graph_of(facts), rules).draw(root, groups, (), generator(0, "test"))


def test_a_differential_worked_out_on_paper():
    found = drawn(clinic_facts())
    assert isinstance(found, Differential)
    assert {clue.tail: clue.role for clue in found.clues} == {
        "edema": "core",
        "rash": "core",
        "stridor": "discriminating",
    }
    often, never = 9.8 / 12, 0.8 / 100
    assert [rival.odds for rival in found.rivals] == pytest.approx([often / never] * 3)
    assert found.posterior == pytest.approx(1 / (1 + 3 * never / often))
    assert {rival.ground for rival in found.rivals} == {"contradicted"}
    assert all(len(rival.shares) == 2 for rival in found.rivals)
    assert found.runner_up in RIVALS
    assert found.runner_up_odds == pytest.approx(often / never)
    needed = dict(zip((clue.tail for clue in found.clues), found.needed, strict=True))
    assert needed["stridor"].startswith("without it")
    mean = (4 * often + 20 * (0.01 + 4 * often / 24)) / 24
    assert needed["edema"] == needed["rash"] == f"{math.log2(often / mean):.1f} bits"


@pytest.mark.parametrize(
    ("code", "change", "rules"),
    [
        ("no_findings", lambda facts: [row for row in facts if row[:2] != ("gout", "rash")], {}),
        ("no_rivals", lambda facts: [row for row in facts if row[:2] != ("scurvy", "rash")], {}),
        (
            "rival_stands",
            lambda facts: [(d, f, s.replace("0/98", "0/10")) for d, f, s in facts],
            {},
        ),  # odds of 12
        ("rival_stands", lambda facts: [row for row in facts if "NOT" not in row[2]], {}),  # no ground
        ("rival_stands", lambda facts: facts, {"min_posterior": 0.98}),
        (
            "not_first",
            lambda facts: facts + [("goutlike", f, "95/95") for f in ("edema", "rash", "stridor")],
            {},
        ),
        ("clue_idle", lambda facts: facts, {"min_facts": 4}),
    ],
)
def test_each_code_of_a_differential_that_fails(code, change, rules):
    assert drawn(change(clinic_facts()), replace(RULES, **rules)) == code


def test_an_age_that_decides_nothing_is_not_counted_on():
    """Each rival's onset is another, but no source's list of onsets is complete: the age is no ground, nor odds."""
    values = [
        ("gout", "has_onset", "adult onset"),
        *((name, "has_onset", "infantile onset") for name in RIVALS),
    ]
    facts = [(d, f, s.replace("0/98", "0/10")) for d, f, s in clinic_facts()]  # odds of 12 without the age
    rules = replace(RULES, min_posterior=0.5)
    groups = {name: [name] for name in RIVALS}
    found = Differentials(graph_of(facts, values=values), rules).draw(
        "gout", groups, (), generator(0, "test")
    )
    assert found == "rival_stands"


# --- draws


def test_each_root_of_a_group_once_before_any_twice():
    graph = clinic_of(1)
    pool = sampling.Pool(
        graph, next(kind for kind in kinds() if kind.name == "differential"), rare_factor=3.0
    )
    rare, asked = {name for name in pool.rare if pool.rare[name]}, Counter()
    assert 0 < len(rare) < len(pool.rare)
    for number in range(400):
        root = pool.draw(None, Counter(), generator(0, number))
        group = rare if root in rare else pool.rare.keys() - rare
        assert asked[root] == min(asked[name] for name in group)
        asked[root] += 1
        pool.note(root)
    share = 3 * len(rare) / (3 * len(rare) + len(pool.rare) - len(rare))
    drawn = sum(asked[name] for name in rare) / 400
    assert abs(drawn - share) < 3.3 * (share * (1 - share) / 400) ** 0.5
    pool.drop(root)
    assert all(pool.draw(None, Counter(), generator(1, number)) != root for number in range(100))


def test_a_root_is_asked_again_only_as_questions_grow(monkeypatch):
    """Once among the first five, twice among ten: of the few that a small graph gives none is asked often."""
    monkeypatch.setattr(sampling, "SCALE", 5)
    graph, synth = clinic_of(1), synth_of(1, gene=3, differential=1)
    synth = replace(synth, rules=replace(synth.rules, max_per_root=1))
    questions, _, _ = sample_questions(graph, 200, 0, synth)
    asked: Counter[str] = Counter()
    for number, question in enumerate(questions, 1):
        root = question.provenance["root"]
        asked[root] += 1
        assert asked[root] <= -(-number // 5)
    assert 5 < len(questions) < 200
    assert max(asked.values()) > 1


def test_what_is_told_of_neither_sex_is_no_patient(monkeypatch):
    monkeypatch.setattr(patient, "sexes", lambda *_: set())
    questions, refused, _ = sample_questions(clinic_of(1), 20, 0, synth_of(1, differential=1))
    assert not questions
    assert "no_patient" in {record["code"] for record in refused}


def test_kinds_are_drawn_by_their_shares():
    questions, _, report = sample_questions(clinic_of(1), 8, 0, synth_of(1, gene=3, differential=1))
    names = [question.provenance["kind"] for question in questions]
    assert report["kinds"] == {"gene": 6, "differential": 2}
    for length in range(1, 9):
        assert abs(names[:length].count("gene") - 0.75 * length) <= 1


def test_fewer_than_wanted_is_said_with_the_commonest_reasons(capsys):
    questions, refused, _ = sample_questions(clinic_of(1), 200, 0, synth_of(1, differential=1))
    assert 0 < len(questions) < 200
    said = capsys.readouterr().out
    code, count = Counter(record["code"] for record in refused).most_common(1)[0]
    assert f"questions: {len(questions)} of 200 posed; no more, by how many draws: {code} {count:,}" in said
    assert "no root from which the path of a kind" in sampling.why_not({})
    assert sampling.why_not({"clue_idle": 1, "no_pedigree": 2}).endswith(sampling.MEANING["no_pedigree"])
    assert sampling.why_not({"clue_idle": 2, "no_pedigree": 1}).endswith("no_pedigree 1")
    named = re.findall(r"synth\.rules\.(\w+)", str(sampling.MEANING))
    assert set(named) <= QuestionRules.__dataclass_fields__.keys()
    assert len(named) == 4


def test_caps_are_scaled_to_what_is_wanted():
    assert [sampling._scaled(3, wanted) for wanted in (1, 1000, 3000, 3001, 6000)] == [1, 1, 3, 4, 6]
    assert sampling._scaled(None, 3000) is None


def test_an_unknown_kind_is_refused_by_name():
    with pytest.raises(InputError, match=r"synth\.kinds\.gen: no kind has this name .*differential, gene, "):
        sample_questions(clinic_of(1), 5, 0, SynthConfig(kinds={"gene": 1, "gen": 1}))


def test_effective_number_is_the_exponential_of_the_entropy():
    assert effective_number([]) == 0
    assert effective_number(["a", "b", "b", "a"]) == pytest.approx(2)
    assert effective_number(["a", "a", "a", "b"]) == pytest.approx(4 / 3**0.75)


# --- splits and scores


def question(number, root, gene, hops=2):
    edge = {"head": root, "relation": "associated_gene", "tail": gene, "evidence": []}
    provenance = {
        "root": root, "path": [edge], "chain": [0], "hops": hops, "metapath": "findings > disease > associated_gene",
        "visible": [f"sign {number}"], "hidden": [root], "answer": gene, "clues": [{"tail": f"sign {number}"}],
    }  # fmt: skip
    return Question(f"q{number}", "?", {"A": gene, "B": "b"}, "A", provenance=provenance)


def test_what_shares_a_root_stays_together():
    questions = [question(i, f"root {i // 3}", f"GENE{i}") for i in range(30)]
    train, dev, test = split_questions(questions, 6, 6, 0, facts_in_training=False)
    roots = [{q.provenance["root"] for q in part} for part in (train, dev, test)]
    assert all(one.isdisjoint(other) for one, other in itertools.combinations(roots, 2))
    assert (len(dev), len(test)) == (6, 6)
    with pytest.raises(InputError, match="split: 31 test questions were asked for"):
        split_questions(questions, 0, 31, 0, facts_in_training=False)


def record(**changes):
    clue = {"role": "core", "counts": [3, 4], "needed": "3.1 bits"}
    clues = [
        clue,
        clue | {"counts": None},
        {"role": "discriminating", "counts": [9, 10], "needed": "without it x"},
    ]
    wrong = [{"ground": ground} for ground in ("closed", "onset", "absent")]
    certificate = {
        "distractors": wrong, "rivals": [{"odds": 10**1.25}, {"odds": 1e9}], "runner_up_odds": 10**0.5,
        "table": {"rows": {"gout": [0.5, 0.3, 0.45], "scurvy": [1, 1, 1]}},
    }  # fmt: skip
    return {"chain": [3], "clues": clues, "certificate": certificate, **changes}


def test_depth_counts_steps_and_groups_of_clues():
    assert depth(record()) == 3
    assert depth(record(clues=[])) == 1


def test_a_score_worked_out_on_paper():
    parts = score(record(), " ".join(["word"] * 30))
    assert parts["completeness"] == round(25 * (0.7 * 2 / 3 + 0.3 * 2 / 3))
    assert parts["margin"] == round(25 * (0.6 * 0.5 + 0.4 * 0.5))
    assert parts["necessity"] == round(20 * (1 / 3) / 0.6)
    assert parts["language"] == 15
    assert parts["relevance"] == round(15 * (0.5 * 3 / 4 + 0.5 * 2 / 3))
    assert parts["total"] == sum(parts[name] for name in parts if name != "total")
    assert score(record(), "too short")["language"] == 9
    assert score(record(clues=[]), "short")["total"] == round(25 * 2 / 3) + 75


def test_odds_that_are_the_bound_but_for_rounding_are_the_bound(monkeypatch):
    whole = Differentials(clinic_of(1), QuestionRules(min_odds=20))
    monkeypatch.setattr(whole, "odds", lambda *_: [20 * (1 - 1e-15), 20 * (1 - 1e-6)])
    monkeypatch.setattr(whole, "ground", lambda *_: "closed")
    assert whole.standing("root", [None], ["at the bound", "below it"]) == ["below it"]
