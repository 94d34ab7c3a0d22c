"""The difficulty that each question gets: by the grader that the settings choose, else its part's default.

Left out: the graders (difficulty.py).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fleming.records import Question
from fleming.refine.difficulty import (
    Graded,
    agreement,
    grade_by_graph,
    grade_by_pass_rate,
    grade_by_rubric,
)
from fleming.refine.label_check import pass_rates
from fleming.settings import Config
from fleming.teachers.remembered import Completer, Remembered


def grade(
    questions: Sequence[Question], part_of: Mapping[str, str], voter: Completer | None, cfg: Config
) -> tuple[list[Question], dict[str, Any]]:
    """Return the questions with their difficulty, and how many have each and how far two ways of grading agree."""
    by_hops: Graded = {q.id: q.difficulty for q in questions}
    by_graph = grade_by_graph(questions)
    chosen = _chosen(questions, by_hops, by_graph, voter, cfg)
    default = cfg.synth.default_grade
    graded = [replace(q, difficulty=chosen.get(q.id) or default.get(part_of[q.id])) for q in questions]

    other_name, other = ("hops", by_hops) if cfg.synth.grade_by == "graph" else ("graph", by_graph)
    report = {
        "graded_by": cfg.synth.grade_by,
        "grades": dict(Counter(str(q.difficulty) for q in graded)),
        f"agreement with {other_name}": agreement(chosen, other),
    }
    return graded, report


def _chosen(
    questions: Sequence[Question], by_hops: Graded, by_graph: Graded, voter: Completer | None, cfg: Config
) -> Graded:
    folder, synth = Path(cfg.run_dir, "data"), cfg.synth
    if synth.grade_by == "graph":
        return by_graph
    if synth.grade_by == "pass_rate":
        rates = pass_rates(questions, voter, folder, cfg.seed, synth.trials, cfg.answer_style)
        return grade_by_pass_rate(rates)
    if synth.grade_by == "rubric":
        return grade_by_rubric(questions, Remembered(voter, folder / "grading_answers.jsonl", "grading"))
    return by_hops
