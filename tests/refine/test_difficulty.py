"""Three graders and how far two agree: worked cases, the demo's graph, scripted models."""

import itertools
from collections import Counter

import pytest

from fleming.records import DIFFICULTIES, Question
from fleming.refine.difficulty import (
    agreement,
    grade_by_graph,
    grade_by_pass_rate,
    grade_by_rubric,
    graph_score,
    parse_grade,
)


def synthetic(depth, edges, *odds, name="q"):
    rivals = [{"disease": "x", "odds": value, "ground": "onset"} for value in odds]
    certificate = {"solutions": ["a"], "rivals": rivals} if rivals else {"solutions": ["a"]}
    provenance = {"hops": 2, "depth": depth, "root_edges": edges, "certificate": certificate}
    return Question(name, "Which?", {"A": "iron", "B": "zinc"}, "A", provenance=provenance)


@pytest.mark.parametrize(
    ("question", "score"),
    [
        (synthetic(3, 9, 1e4, 100, 1e6), 3 - 0.5 * 2 - 0.5 * 1),  # by the nearest rival
        (synthetic(3, 0, 100), 3 - 0.5 * 2),
        (synthetic(4, 99, 0.5), 4 - 0.5 * 2),  # odds below 1 are no margin
        (synthetic(1, 99), 1 - 0.5 * 2),  # about a named root: no rivals
    ],
)
def test_the_graph_score_is_depth_less_margin_less_fame(question, score):
    assert graph_score(question) == pytest.approx(score)


def test_deeper_nearer_to_a_rival_and_less_known_is_harder():
    base = graph_score(synthetic(3, 20, 100.0))
    assert graph_score(synthetic(4, 20, 100.0)) > base
    assert graph_score(synthetic(3, 20, 25.0)) > base
    assert graph_score(synthetic(3, 5, 100.0)) > base


def test_thirds_of_the_questions_are_easy_moderate_and_difficult_whatever_their_order_and_others():
    questions = [synthetic(depth, 9, 100, name=f"q{depth}") for depth in (5, 1, 9, 3, 7, 2, 8, 4, 6)]
    unknown = Question("other", "Which?", {"A": "iron", "B": "zinc"}, "A")
    grades = grade_by_graph([*questions[:4], unknown, *questions[4:]])
    assert grades.pop("other") is None
    expected = dict(
        zip([f"q{depth}" for depth in range(1, 10)], [g for g in DIFFICULTIES for _ in "123"], strict=True)
    )
    assert grades == expected
    assert grade_by_graph([]) == {}


@pytest.mark.parametrize(
    "provenance",
    [
        None,
        {"groups": {"subject": "Surgery"}},
        {"hops": 2, "rare": True},
        # as files of before were: hops and rarity, no depth
        {
            "hops": 2,
            "rare": True,
            "certificate": {"distractors": [{"shares": [["a", "r", "b"]], "violates": []}]},
        },
        {"depth": 2},
        {"depth": "2", "root_edges": 3},
        {"depth": True, "root_edges": 3},
        {"depth": 2, "root_edges": -1},
        {"depth": 2, "root_edges": 3.5},
        {"depth": 10**400, "root_edges": 3},
        {"depth": 2, "root_edges": 3, "certificate": {"rivals": 1}},
        {"depth": 2, "root_edges": 3, "certificate": {"rivals": ["x"]}},
        {"depth": 2, "root_edges": 3, "certificate": {"rivals": [{"shares": []}]}},
        {"depth": 2, "root_edges": 3, "certificate": {"rivals": [{"odds": None}]}},
        {"depth": 2, "root_edges": 3, "certificate": {"rivals": [{"odds": 10**400}]}},
    ],
)
def test_a_question_without_such_provenance_gets_no_grade(provenance):
    question = Question("q", "Which?", {"A": "iron", "B": "zinc"}, "A", provenance=provenance)
    assert grade_by_graph([question]) == {"q": None}


def test_the_demos_questions_get_all_grades_and_more_hops_are_no_easier(inputs):
    from fleming.public.readers import read_questions

    questions = read_questions(inputs / "data/questions.jsonl")
    grades = grade_by_graph(questions)
    counts = Counter(grades.values())
    assert set(counts) == set(DIFFICULTIES)
    assert min(counts.values()) >= 0.15 * len(questions)
    by_hops = [
        [DIFFICULTIES.index(grades[q.id]) for q in questions if q.provenance["hops"] == h] for h in (1, 2, 3)
    ]
    means = [sum(places) / len(places) for places in by_hops]
    assert means == sorted(means)
    trained_on = Counter(q.difficulty for q in read_questions(inputs / "data/rl.jsonl"))
    assert set(trained_on) == set(DIFFICULTIES)
    assert min(trained_on.values()) >= 0.15 * sum(trained_on.values())


def test_pass_rates_are_graded_at_stated_thresholds():
    rates = {"a": 1.0, "b": 0.76, "c": 0.75, "d": 0.26, "e": 0.25, "f": 0.0}
    expected = dict(
        zip("abcdef", ["easy", "easy", "moderate", "moderate", "difficult", "difficult"], strict=True)
    )
    assert grade_by_pass_rate(rates) == expected
    assert grade_by_pass_rate({"c": 0.75}, moderate=0.5) == {"c": "easy"}


class Model:
    name = "scripted"

    def __init__(self, *answers):
        self.answers, self.seen = itertools.cycle(answers), []

    def complete(self, messages, n):
        self.seen.append(messages[-1]["content"])
        return list(itertools.islice(self.answers, n))


def ask(number):
    return Question(f"q{number}", f"Which metal {number}?", {"A": "iron", "B": "zinc"}, "B")


def test_the_rubric_takes_more_than_half_of_the_votes():
    teacher = Model(
        "easy", "Difficult.", "<think>easy?</think>\n**difficult**", "easy", "moderate", "difficult"
    )
    assert grade_by_rubric([ask(1), ask(2)], teacher) == {"q1": "difficult", "q2": None}
    assert "Which metal 1?" in teacher.seen[0]
    assert all(word in teacher.seen[0] for word in DIFFICULTIES)
    assert grade_by_rubric([ask(1)], Model("easy", "moderate"), k=2) == {"q1": None}
    assert grade_by_rubric([ask(1)], Model("easy", "?", "?"), k=3) == {"q1": None}
    assert grade_by_rubric([ask(1)], Model("?"), k=3) == {"q1": None}


@pytest.mark.parametrize(
    ("response", "grade"),
    [
        ("easy", "easy"),
        (" Moderate.\n", "moderate"),
        ("<think>\nnot easy\n</think>\n\n'difficult'", "difficult"),
        ("easy or moderate", None),
        ("Grade: easy", None),
        ("<think>easy", None),
        ("not easy", None),
        ("", None),
        ("." * 10**6, None),
    ],
)
def test_a_grade_is_one_word_or_none(response, grade):
    assert parse_grade(response) == grade


def test_agreement_on_a_case_worked_by_hand():
    # one: e e e m m d (and one that only it graded); other: e m e m d d
    one = dict(
        zip("abcdefg", ["easy", "easy", "easy", "moderate", "moderate", "difficult", "easy"], strict=True)
    )
    other = dict(
        zip("abcdefg", ["easy", "moderate", "easy", "moderate", "difficult", "difficult", None], strict=True)
    )
    # Observed disagreement: two neighbours, 2 x 1/2 of 6. Expected: e 3, m 2, d 1 against e 2, m 2, d 2 gives
    # (3*(2*1 + 2*2) + 2*(2*1 + 2*1) + 1*(2*2 + 2*1)) / 2 / 36 = 32 / 72. Kappa = 1 - (1/6) / (32/72) = 0.625.
    assert agreement(one, other) == {"n": 6, "exact": 4 / 6, "kappa": pytest.approx(0.625)}
    assert agreement(other, one) == agreement(one, other)


def test_agreement_at_its_ends():
    grades = {"a": "easy", "b": "moderate", "c": "difficult"}
    assert agreement(grades, grades) == {"n": 3, "exact": 1.0, "kappa": 1.0}
    turned = {"a": "difficult", "b": "moderate", "c": "easy"}
    assert agreement(grades, turned)["kappa"] == pytest.approx(1 - (4 / 6) / (8 / 18))
    assert agreement(grades, {}) == {"n": 0, "exact": None, "kappa": None}
    assert agreement({"a": "easy"}, {"a": "easy"}) == {"n": 1, "exact": 1.0, "kappa": None}
