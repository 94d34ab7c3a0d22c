"""The difficulty that each question gets: by the grader that the settings choose, else its part's default.

Left out: the graders (difficulty.py).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fleming.records import Question
from fleming.refine.difficulty import Graded, agreement, grade_by_graph, grade_by_pass_rate, grade_by_rubric
from fleming.refine.label_check import Poll, pass_rates
from fleming.settings.synth import SynthConfig
from fleming.teachers.remembered import Remembered


def grade(
    questions: Sequence[Question], part_of: Mapping[str, str], poll: Poll | None, synth: SynthConfig
) -> tuple[list[Question], dict[str, Any]]:
    """Return the questions with their difficulty, and how many have each and how far two ways of grading agree."""
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
