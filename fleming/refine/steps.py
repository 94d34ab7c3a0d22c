"""Refine (paper, 3.1): each step looks at all questions, keeps some, and says of every other one why not.

Left out: the steps themselves, a module each.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from fleming.records import Question, to_json
from fleming.refine.anonymise import anonymise_question
from fleming.refine.format_filter import conflicting_stems, format_fault

Kept = list[Question]
Rejected = list[dict[str, Any]]
Step = Callable[[Sequence[Question]], tuple[Kept, Rejected]]


class Refinement:
    """What the steps rejected, and a count of each for the report."""

    def __init__(self) -> None:
        self.rejected: Rejected = []
        self.report: list[dict[str, Any]] = []

    def __call__(self, name: str, questions: Sequence[Question], step: Step, **more: Any) -> Kept:
        """Return what the step keeps; count it, with `more` to say beside it."""
        kept, rejected = step(questions)
        self.rejected += [{"step": name, **record} for record in rejected]
        codes = dict(Counter(record["code"] for record in rejected))
        counts = {"questions": len(questions), "kept": len(kept), "rejected": codes}
        self.report.append({"step": name, **counts, **more})
        return kept


def drop_faults(questions: Sequence[Question]) -> tuple[Kept, Rejected]:
    """(a) Leave out what is malformed, and every question whose stem stands with another right option elsewhere."""
    faults = {q.id: format_fault(q) for q in questions}
    faults |= conflicting_stems([q for q in questions if faults[q.id] is None])
    kept = [q for q in questions if faults[q.id] is None]
    return kept, [{"code": faults[q.id], "question": to_json(q)} for q in questions if faults[q.id]]


def anonymised(questions: Sequence[Question], counts: Counter[str]) -> tuple[Kept, Rejected]:
    """(c) Take identifiers out; `counts` is told how many of each kind. What asks for one is left out."""
    kept, rejected = [], []
    for question in questions:
        clean, found = anonymise_question(question)
        counts.update(found)
        if clean is None:
            rejected.append({"code": "asks_for_identifiers", "question": to_json(question)})
        else:
            kept.append(clean)
    return kept, rejected
