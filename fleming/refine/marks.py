"""A reviewer's marks on question cards, read back: as decisions for the next run, and as shares with their intervals.

The page of cards saves them as one JSON object (`MarkFile`); it is a stranger's file like any other. A mark is on one
text of a question, by its hash. What says that a question must not be learned from (not sound, two right answers, a
wrong key with no better one named, not useful) drops it, a wrong key with the right one named relabels it, and sound
alone accepts it. Left out: the page (questions/cards.py), what a decision does (decisions.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fleming.evaluation.statistics import wilson_interval
from fleming.files import read_json, read_jsonl, write_jsonl
from fleming.records import Question
from fleming.refine.decisions import Decision, before_relabelling, read_decisions, text_hash
from fleming.typed import from_json
from model.errors import InputError

KIND = "fleming question cards 1"


@dataclass(frozen=True)
class Mark:
    """What a reviewer says of one card."""

    id: str
    """The question's."""
    text: str
    """Its hash (decisions.py)."""
    sound: bool | None = None
    """The key is right, the only right one, and can be found without the graph; null: not said."""
    useful: bool | None = None
    """Worth learning from; null: not said."""
    two_right: bool = False
    wrong_key: bool = False
    right: str | None = None
    """The letter of the right option, where the key is wrong."""
    badly_worded: bool = False
    comment: str = ""

    @property
    def is_sound(self) -> bool | None:
        return False if self.two_right or self.wrong_key else self.sound

    def verdict(self, question: Question) -> str | None:
        """Return the decision on the question as it was posed, None where the mark says too little for one."""
        if self.two_right or self.useful is False:
            return "drop"
        if self.wrong_key and self.right:
            return f"relabel {self.right}"
        if self.is_sound:
            was_relabelled = before_relabelling(question) != question
            return f"relabel {question.answer}" if was_relabelled else "accept"
        return None if self.is_sound is None else "drop"

    @property
    def reason(self) -> str:
        said = {
            "not sound": self.is_sound is False,
            "two right answers": self.two_right,
            "wrong key": self.wrong_key,
            "not useful": self.useful is False,
            "badly worded": self.badly_worded,
        }
        words = ", ".join(name for name, holds in said.items() if holds) or "sound"
        return f"question card: {words}" + (f"; {self.comment.strip()}" if self.comment.strip() else "")


@dataclass(frozen=True)
class MarkFile:
    """The file that the page saves."""

    kind: Literal[KIND]
    by: str
    """Who marked."""
    marks: tuple[Mark, ...]

    def check(self, where: str) -> None:
        """Raise InputError where nobody has marked, a card is marked twice, or a mark contradicts itself."""
        if not self.by.strip():
            raise InputError(f"{where}: by is empty: expected the reviewer's name")
        seen: dict[str, int] = {}
        for place, mark in enumerate(self.marks):
            if mark.id in seen:
                raise InputError(
                    f"{where}: marks[{place}]: {mark.id!r} is marked in marks[{seen[mark.id]}] too"
                )
            seen[mark.id] = place
            if (mark.sound and not mark.is_sound) or (mark.right is not None and not mark.wrong_key):
                said = (
                    "is sound, but its key is not the one answer"
                    if mark.sound
                    else "has a right option beside its key"
                )
                raise InputError(f"{where}: marks[{place}]: {mark.id!r} {said}")


def read_marks(path: str | Path) -> MarkFile:
    """Return a file of marks. Raises InputError, naming file and place, for anything else."""
    return from_json(MarkFile, read_json(path), str(path))


def take_marks(
    path: str | Path, questions: Mapping[str, Question], decisions: Path
) -> tuple[list[Mark], list[str]]:
    """Write a file of marks into the file of decisions; return (the marks that hold, a line for each that does not).

    questions: id -> question of the run. A mark takes the place of what the same person has decided on the same text
    (or on any) before; all else in the file stays. A mark does not hold where the run has no such question, where its
    text has changed, where it names an option that cannot be the right one, and, as a decision, where another person
    has decided otherwise. Raises InputError for a file of either kind that cannot be read, and writes nothing then.
    """
    file = read_marks(path)
    earlier = read_decisions(decisions) if decisions.exists() else {}
    by, mine, new = file.by.strip(), {}, []
    held, faults = [], []
    for place, mark in enumerate(file.marks):
        question = questions.get(mark.id)
        fault = _fault(mark, question)
        if fault:
            faults.append(f"{path}: marks[{place}]: {mark.id!r}: {fault}")
            continue
        held.append(mark)
        text = text_hash(before_relabelling(question))
        verdict = mark.verdict(question)
        record = {"id": mark.id, "decision": verdict, "by": by, "reason": mark.reason, "text": text}
        others = [d for d in earlier.get(mark.id, ()) if d.by != by]
        against = _against(record, others)
        if against:
            faults.append(f"{path}: marks[{place}]: {mark.id!r}: {verdict}, but {against}")
            continue
        mine[mark.id] = text
        if verdict:
            new.append(record)

    lines = [record for _, record in read_jsonl(decisions)] if decisions.exists() else []
    gone = [r.get("by") == by and r["id"] in mine and r.get("text") in (None, mine[r["id"]]) for r in lines]
    if lines or new:
        write_jsonl(decisions, [*(r for r, goes in zip(lines, gone, strict=True) if not goes), *new])
    return held, faults


def _fault(mark: Mark, question: Question | None) -> str | None:
    """Return why the mark does not hold, None where it does."""
    if question is None:
        return "the run has no such question: another run's, or dropped since"
    if mark.text != text_hash(question):
        return "the question has changed since it was marked: mark it anew"
    if mark.right is not None and mark.right not in question.options:
        return f"the right option is to be {mark.right[:20]!r}; its options are {', '.join(question.options)}"
    if mark.right == question.answer:
        return f"the right option is to be {mark.right}, which is the key"
    return None


def _against(record: dict[str, Any], others: Sequence[Decision]) -> str | None:
    """Return which of other people's decisions speaks against this one."""
    if record["decision"] is None:
        return None
    decision = Decision(**record)
    for other in others:
        if decision.contradicts(other):
            return f"{other.where} says {other.verdict} ({other.by!r}), which stays: settle it there"
    return None


def summary(marks: Sequence[Mark]) -> list[str]:
    """Return a table of the marks: of how many cards each holds, with Wilson's 95 % interval."""
    judged = [mark for mark in marks if mark.is_sound is not None]
    weighed = [mark for mark in marks if mark.useful is not None]
    both = [mark for mark in judged if mark.useful is not None or not mark.is_sound]
    shares = {
        "sound": (sum(bool(mark.is_sound) for mark in judged), len(judged)),
        "useful": (sum(bool(mark.useful) for mark in weighed), len(weighed)),
        "sound and useful": (sum(bool(mark.is_sound and mark.useful) for mark in both), len(both)),
        "two right answers": (sum(mark.two_right for mark in judged), len(judged)),
        "wrong key": (sum(mark.wrong_key for mark in judged), len(judged)),
        "badly worded": (sum(mark.badly_worded for mark in marks), len(marks)),
    }
    lines = [f"{'mark':20}{'cards':>7}{'of':>7}{'share':>8}   95 % interval"]
    for name, (k, n) in shares.items():
        low, high = wilson_interval(k, n)
        share = f"{k / n:8.0%}" if n else f"{'-':>8}"
        lines.append(f"{name:20}{k:7}{n:7}{share}   {low:.0%} to {high:.0%}")
    return lines
