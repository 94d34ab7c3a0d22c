"""A person's word on a question, in review or seen on a card: `accept`, `relabel B` or `drop`.

A decision is one JSON object a line: {"id", "decision"}, and if wanted "by", "reason", and "text", the hash from
review.jsonl or a card, which makes it lapse where the question changes. Decisions hold for any question, with a label
check or without, and undecided questions are kept out of training. Left out: who is asked before (label_check.py), the
marks on cards (marks.py).
"""

import dataclasses
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleming.files import read_jsonl
from fleming.records import LETTERS, Question, to_json
from fleming.typed import from_json
from model.errors import InputError


def text_hash(question: Question) -> str:
    """Return a hash of all that a vote and a decision are about: context, stem, options, the answer given as right."""
    parts = [question.context, question.question, list(question.options.items()), question.answer]
    parts += [] if question.options else [question.aliases, question.tolerance]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()


@dataclass(frozen=True)
class Decision:
    """A line of the file of decisions."""

    id: str = ""
    """The question's."""
    decision: str = ""
    """accept, drop, or relabel and a letter, in any case."""
    text: str | None = None
    """The hash of the question that it is about; null: whatever the question's text."""
    by: str | None = None
    reason: str | None = None
    where: str = ""
    """File and line: told by the reader."""

    @property
    def verdict(self) -> str:
        """accept, drop, or relabel and a letter."""
        word, _, letter = " ".join(self.decision.split()).partition(" ")
        return f"{word.lower()} {letter.upper()}".strip()

    def check(self, where: str) -> None:
        """Raise InputError for another verdict, and where the question is not named."""
        verdict = self.verdict
        relabels = verdict[:-1] == "relabel " and verdict[-1] in LETTERS
        if not self.id or not (relabels or verdict in ("accept", "drop")):
            found = str({"id": self.id, "decision": self.decision})[:80]
            raise InputError(f"{where}: expected an id and accept, drop or relabel LETTER, found {found}")

    def contradicts(self, other: "Decision") -> bool:
        """Whether both are about the same text of a question and differ."""
        same_text = self.text == other.text or None in (self.text, other.text)
        return same_text and self.verdict != other.verdict


def read_decisions(path: str | Path) -> dict[str, list[Decision]]:
    """Return id -> decisions, one for each text of the question that was decided on.

    Raises InputError naming file and line for a record of another form, and for two on one text that differ.
    """
    found: dict[str, list[Decision]] = defaultdict(list)
    for where, record in read_jsonl(path):
        decision = dataclasses.replace(from_json(Decision, record, where), where=where)
        for other in found[decision.id]:
            if decision.contradicts(other):
                says = f"{decision.verdict} for {decision.id!r}, but {other.where} says {other.verdict}"
                raise InputError(f"{where}: {says}")
        found[decision.id].append(decision)
    return dict(found)


def before_relabelling(question: Question) -> Question:
    """Return the question with the answer that it had before a person gave it another."""
    note = (question.provenance or {}).get("label_check")
    was = note.get("relabelled_from") if isinstance(note, dict) else None
    if isinstance(was, str) and was in question.options:
        return dataclasses.replace(question, answer=was)
    return question


def ruling_on(question: Question, decisions: Sequence[Decision]) -> Decision | None:
    """Return the decision that holds: one on any text of the question, on this, or on this before it was relabelled."""
    for text in (text_hash(question), text_hash(before_relabelling(question))):
        for decision in decisions:
            if decision.text in (None, text):
                return decision
    return None


def relabel(question: Question, decision: Decision | None) -> Question:
    """Return the question with the answer that the decision gives it; InputError where it has no such option."""
    word, _, letter = decision.verdict.partition(" ") if decision else ("", "", "")
    if word != "relabel" or letter == question.answer:
        return question
    if letter not in question.options:
        letters = ", ".join(question.options)
        problem = f"cannot relabel {question.id!r} to {letter}: its options are {letters}"
        raise InputError(f"{decision.where}: {problem}")
    note = {"relabelled_from": question.answer, "by": decision.by, "reason": decision.reason}
    provenance = {**(question.provenance or {}), "label_check": note}
    return dataclasses.replace(question, answer=letter, provenance=provenance)


def dropped_record(question: Question, ruling: Decision) -> dict[str, Any]:
    """Return what rejected.jsonl says of a question that a person dropped."""
    said = {"code": "dropped_in_review", "by": ruling.by, "reason": ruling.reason}
    return {"id": question.id, **said, "question": to_json(question)}


def apply_decisions(
    questions: Sequence[Question], decided: Mapping[str, Sequence[Decision]], counts: Counter[str]
) -> tuple[list[Question], list[dict[str, Any]]]:
    """Return (the questions that were not dropped, relabelled as decided; records of the others): a step of refinement.

    `counts` is told how many of each verdict, and how many are `stale_decisions`, on another text of the question.
    Raises InputError for a relabelling to an option that there is not.
    """
    kept, dropped = [], []
    for question in questions:
        ruling = ruling_on(question, decided.get(question.id, ()))
        if ruling:
            counts[ruling.verdict.split()[0]] += 1
        elif question.id in decided:
            counts["stale_decisions"] += 1

        if ruling and ruling.verdict == "drop":
            dropped.append(dropped_record(question, ruling))
        else:
            kept.append(relabel(question, ruling))
    return kept, dropped
