"""Grading questions easy, moderate or difficult (paper, section 3.1) by any of three graders, and how far two agree.

- the graph: depth, margin and how well known the root is, for synthetic questions; needs no model
- a model's pass rate: the share of right answers in n samples (label_check.py asks for them)
- a teacher that is given the paper's three definitions and votes k times

A grader gives None where it cannot tell; then a question has the default of its part.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fleming.free_answer import RULES
from fleming.prompt import question_messages
from fleming.records import DIFFICULTIES, Question
from fleming.refine.label_check import Poll, pass_rates
from fleming.settings.synth import SynthConfig
from fleming.teachers.remembered import Completer, Remembered, complete_all

Graded = dict[str, str | None]
"""Question id -> easy, moderate, difficult, or None."""


def grade(
    questions: Sequence[Question], part_of: Mapping[str, str], poll: Poll | None, synth: SynthConfig
) -> tuple[list[Question], dict[str, Any]]:
    """Return the questions, graded as the settings choose, else by their part's default, and a report of the grades.

    The report says how many questions have each, and how far this way of grading agrees with the graph's.
    """
    by_graph = grade_by_graph(questions)
    chosen: Graded = by_graph
    if synth.grade_by == "pass_rate":
        chosen = grade_by_pass_rate(pass_rates(questions, poll))
    elif synth.grade_by == "rubric":
        grader = poll.voter  # a teacher remembers by itself
        if not isinstance(grader, Remembered):
            grader = Remembered(grader, Path(poll.folder, "grading_answers.jsonl"), "grading")
        chosen = grade_by_rubric(questions, grader)

    default = synth.default_grade
    graded = [replace(q, difficulty=chosen.get(q.id) or default.get(part_of[q.id])) for q in questions]
    grades = dict(Counter(str(q.difficulty) for q in graded))
    report = {"graded_by": synth.grade_by, "grades": grades}
    if chosen is not by_graph:
        report["agreement with graph"] = agreement(chosen, by_graph)
    return graded, report


def graph_score(question: Question) -> float | None:
    """Return how hard a synthetic question should be, None where its provenance does not say.

    Its depth (steps to the answer, groups of clues that are needed), less half of log10 of the smallest odds against a
    wrong option's disease, less half of log10 of the number of facts that the graph has about the root: what is well
    known and far from its rivals is easier.
    """
    provenance = question.provenance or {}
    depth, edges = provenance.get("depth"), provenance.get("root_edges")
    if type(depth) is not int or type(edges) is not int or edges < 0:
        return None
    certificate = provenance.get("certificate")
    rivals = certificate.get("rivals", []) if isinstance(certificate, dict) else []
    try:
        odds = min((float(rival["odds"]) for rival in rivals), default=1.0)
        return depth - 0.5 * math.log10(max(1.0, odds)) - 0.5 * math.log10(1 + edges)
    except (TypeError, KeyError, ValueError, OverflowError):
        return None  # another form of certificate, or no finite number


def grade_by_graph(questions: Sequence[Question]) -> Graded:
    """Return id -> grade by `graph_score`: the lowest third of the questions is easy, the highest third difficult."""
    scores = {q.id: graph_score(q) for q in questions}
    known = [score for score in scores.values() if score is not None]
    if not known:
        return scores
    moderate, difficult = np.quantile(known, [1 / 3, 2 / 3])
    return {key: _grade(score, moderate, difficult) for key, score in scores.items()}


def grade_by_pass_rate(rates: Mapping[str, float], moderate: float = 0.75, difficult: float = 0.25) -> Graded:
    """Return id -> grade: easy where more than `moderate` of the answers are right, difficult up to `difficult`."""
    return {key: _grade(-rate, -moderate, -difficult) for key, rate in rates.items()}


def _grade(score: float | None, moderate: float, difficult: float) -> str | None:
    if score is None:
        return None
    return DIFFICULTIES[int(score >= moderate) + int(score >= difficult)]


def grade_by_rubric(questions: Sequence[Question], teacher: Completer, k: int = 3) -> Graded:
    """Return id -> the grade that more than half of k votes of the teacher give, else None."""
    groups = complete_all(teacher, [question_messages(q, "letter", RULES["rubric"]) for q in questions], k)
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
