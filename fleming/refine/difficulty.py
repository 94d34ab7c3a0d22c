"""Grading questions easy, moderate or difficult (paper, section 3.1) by any of three graders, and how far two agree.

- the graph: hops, rarity and likeness of the wrong options, for synthetic questions; needs no model
- a model's pass rate: the share of right answers in n samples (label_check.py asks for them)
- a teacher that is given the paper's three definitions and votes k times

A grader gives None where it cannot tell. Left out: choosing between graders.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fleming.prompt import question_messages
from fleming.records import DIFFICULTIES, Question
from fleming.teachers.remembered import Completer, complete_all

Graded = dict[str, str | None]
"""Question id -> easy, moderate, difficult, or None."""


def graph_score(question: Question) -> float | None:
    """Return hops x rarity x overlap of a synthetic question, None where its provenance does not say them.

    Rarity is 1.5 where the path touches something rare, else 1. Overlap is 1 plus the mean, over the wrong options,
    of shares / (shares + violates): how much of the right option's facts a wrong one has too. 1 to 2 a hop for common
    things, 1.5 to 3 for rare ones.
    """
    provenance = question.provenance or {}
    hops, rare, certificate = (provenance.get(key) for key in ("hops", "rare", "certificate"))
    try:
        counts = [(len(wrong["shares"]), len(wrong["violates"])) for wrong in certificate["distractors"]]
    except (TypeError, KeyError):  # no certificate, or another one
        return None
    if not counts or type(hops) is not int or not isinstance(rare, bool):
        return None
    overlap = sum(shared / max(1, shared + violated) for shared, violated in counts) / len(counts)
    return hops * (1.5 if rare else 1.0) * (1.0 + overlap)


def grade_by_graph(questions: Sequence[Question], moderate: float = 2.5, difficult: float = 5.0) -> Graded:
    """Return id -> grade by `graph_score`: easy below `moderate`, difficult from `difficult` on."""
    return {q.id: _grade(graph_score(q), moderate, difficult) for q in questions}


def grade_by_pass_rate(rates: Mapping[str, float], moderate: float = 0.75, difficult: float = 0.25) -> Graded:
    """Return id -> grade: easy where more than `moderate` of the answers are right, difficult up to `difficult`."""
    return {key: _grade(-rate, -moderate, -difficult) for key, rate in rates.items()}


def _grade(score: float | None, moderate: float, difficult: float) -> str | None:
    if score is None:
        return None
    return DIFFICULTIES[(score >= moderate) + (score >= difficult)]


RUBRIC = (
    "How difficult is the medical question above for someone who practises medicine? Do not answer it. Grade it:\n"
    "easy: it asks for basic knowledge that most practitioners have at hand.\n"
    "moderate: it asks for detailed understanding, or for clinical reasoning of a middling depth.\n"
    "difficult: it asks for a specialist's knowledge, for an inference of several steps, or it is about something "
    "rare.\n"
    "Reply with one word: easy, moderate or difficult."
)


def grade_by_rubric(questions: Sequence[Question], teacher: Completer, k: int = 3) -> Graded:
    """Return id -> the grade that more than half of k votes of the teacher give, else None."""
    groups = complete_all(teacher, [question_messages(q, "letter", RUBRIC) for q in questions], k)
    grades: Graded = {}
    for question, group in zip(questions, groups, strict=True):
        grade, votes = Counter(map(parse_grade, group)).most_common(1)[0]
        grades[question.id] = grade if 2 * votes > k else None
    return grades


def parse_grade(response: str) -> str | None:
    """Return the grade that is the one word after the last </think>, case, quotes, stop and ** aside; else None."""
    word = response.rpartition("</think>")[2].strip(" \t\r\n*`\"'.。").lower()
    return word if word in DIFFICULTIES else None


def agreement(one: Graded, other: Graded) -> dict[str, Any]:
    """Return {"n", "exact", "kappa"} over the questions that both graded.

    exact: the share of equal grades. kappa: Cohen's with linear weights, 1 - observed / expected disagreement, where
    easy and difficult are twice as far apart as neighbours; None where both always give one and the same grade.
    """
    both = [key for key in one if one[key] is not None and other.get(key) is not None]
    places = [(DIFFICULTIES.index(one[key]), DIFFICULTIES.index(other[key])) for key in both]
    n = len(places)
    firsts = Counter(a for a, _ in places)
    seconds = Counter(b for _, b in places)
    observed = n * sum(abs(a - b) for a, b in places)
    expected = sum(firsts[a] * seconds[b] * abs(a - b) for a in firsts for b in seconds)
    return {
        "n": n,
        "exact": sum(a == b for a, b in places) / n if n else None,
        "kappa": 1 - observed / expected if expected else None,
    }
