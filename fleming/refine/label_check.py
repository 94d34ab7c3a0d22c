"""Label check (paper, section 3.1): a strong model answers each question five times; a person sees what it never gets.

- each trial shows the options in another order, so that a liking for a letter does not pass for knowledge
- votes go to label_votes.jsonl as they come: a run that was stopped goes on there, and no vote is asked for twice
- what fails the rule stands in review.jsonl until a person has decided: `accept`, `relabel B` or `drop`

A decision is one JSON object a line: {"id", "decision"}, and if wanted "by", "reason", and "text", the hash from
review.jsonl, which makes it lapse where the question changes. Decisions hold for any question, in review or not, and
undecided questions are kept out of training. Left out: who votes (ask.py).
"""

import dataclasses
import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fleming.answer import parse_answer
from fleming.files import read_jsonl, write_jsonl
from fleming.noise import generator
from fleming.prompt import question_messages
from fleming.records import LETTERS, Question, to_json
from fleming.teachers.remembered import Completer, ask_missing, complete_all
from fleming.text import can_reorder
from model.errors import InputError

RULES = {  # rule -> whether a question with so many right votes of so many goes to review
    "none_right": lambda right, trials: right == 0,
    "any_wrong": lambda right, trials: right < trials,
}
CHUNK = 64  # questions that a voter with complete_all is asked together
KEPT_CHARACTERS = 2000  # of a response, from its end, where the answer stands


class Checked(NamedTuple):
    """What became of the questions."""

    kept: list[Question]
    """Those that passed or were accepted, and those relabelled, which say so in their provenance."""
    review: list[dict[str, Any]]
    """Those that wait for a decision, with all votes; they also stand in review.jsonl."""
    dropped: list[dict[str, Any]]
    """{"id", "code": "dropped_in_review", "by", "reason", "question"} of those that a person dropped."""
    report: dict[str, Any]
    """Counts."""


class Decision(NamedTuple):
    """A person's word on a question."""

    verdict: str
    """accept, drop, or relabel and a letter."""
    text: str | None
    by: str | None
    reason: str | None
    where: str


def check_labels(
    questions: Sequence[Question],
    voter: Completer,
    folder: str | Path,
    seed: int,
    trials: int = 5,
    rule: str = "none_right",
    decisions: str | Path | None = None,
    answer_style: str = "letter",
) -> Checked:
    """Vote on each question, apply the decisions, write FOLDER/review.jsonl.

    rule: none_right sends to review what no trial gets right (an answer that cannot be read is wrong), any_wrong what
    any trial gets wrong. Raises InputError for a rule or a number of trials that cannot be, for a decisions file that
    is broken, contradicts itself or relabels to an option that there is not, and for a broken log of votes.
    """
    if rule not in RULES or trials < 1:
        raise InputError(f"label check: {rule!r} with {trials} trials; the rules are {', '.join(RULES)}")
    folder = Path(folder)
    ruled = read_decisions(decisions) if decisions else {}
    rulings = [_ruling(q, ruled.get(q.id, [])) for q in questions]
    decided = [
        _relabel(q, decision) for q, decision in zip(questions, rulings, strict=True)
    ]  # may refuse: before votes
    asked = collect_votes(questions, voter, folder / "label_votes.jsonl", seed, trials, answer_style)
    counts, by_right = Counter(), Counter()
    checked = Checked([], [], [], {})
    for question, decision, settled, votes in zip(questions, rulings, decided, asked, strict=True):
        right = votes["votes"].count(question.answer)
        failed = RULES[rule](right, trials)
        by_right[right] += 1
        counts["abstentions"] += votes["votes"].count(None)
        counts["failed"] += failed
        counts["stale_decisions"] += question.id in ruled and decision is None
        counts[decision.verdict.split()[0] if decision else "undecided" if failed else "passed"] += 1
        if decision and decision.verdict == "drop":
            record = {"id": question.id, "code": "dropped_in_review", "by": decision.by, "reason": decision.reason}
            checked.dropped.append({**record, "question": to_json(question)})
        elif decision or not failed:
            checked.kept.append(settled)
        else:
            checked.review.append({"right": right, **votes, "question": to_json(question)})
    write_jsonl(folder / "review.jsonl", checked.review)
    names = ("passed", "accept", "relabel", "drop", "undecided", "failed", "abstentions", "stale_decisions")
    checked.report.update(
        questions=len(questions), voter=voter.name, rule=rule, trials=trials, **{name: counts[name] for name in names}
    )
    checked.report["unknown_decisions"] = len(ruled.keys() - {q.id for q in questions})
    checked.report["by_right"] = {str(n): by_right[n] for n in range(trials + 1)}
    return checked


def text_hash(question: Question) -> str:
    """Return a hash of all that a vote and a decision are about: context, stem, options, the answer given as right."""
    parts = [question.context, question.question, list(question.options.items()), question.answer]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()


def trial_orders(question: Question, seed: int, trials: int) -> list[str]:
    """Return each trial's order as the letters of the file in the order shown: "CADB".

    They differ while there are orders left, then all may come again. Where an option speaks of others by place or
    letter, every trial shows the options as they are.
    """
    letters = "".join(question.options)
    if not can_reorder(question.options):
        return [letters] * trials
    orders: list[str] = []
    used: set[str] = set()  # since all orders were last used up
    for trial in range(trials):
        rng = generator(seed, "label check", question.id, trial)
        if len(used) == math.factorial(len(letters)):
            used = set()
        while (order := "".join(letters[i] for i in rng.permutation(len(letters)))) in used:
            pass
        used.add(order)
        orders.append(order)
    return orders


def collect_votes(
    questions: Sequence[Question], voter: Completer, path: Path, seed: int, trials: int, answer_style: str = "letter"
) -> list[dict[str, Any]]:
    """Return each question's {"id", "text", "voter", "style", "orders", "votes", "responses"}.

    Asks for what the log lacks. votes: the letter in the file's order, None for an answer that cannot be read. Votes
    on a question that has changed since are not used.
    """
    common = {"voter": voter.name, "style": answer_style}
    heads = [{"id": q.id, "text": text_hash(q), **common, "orders": trial_orders(q, seed, trials)} for q in questions]

    def ask(part: slice) -> list[dict[str, Any]]:
        answers = _ask(questions[part], heads[part], voter)
        return [{**head, **given} for head, given in zip(heads[part], answers, strict=True)]

    size = CHUNK if hasattr(voter, "complete_all") else 1
    keys = [_key(head) for head in heads]
    return ask_missing(keys, ask, path, lambda record, where: _key(_checked_votes(record, where)), size, "label check")


def pass_rates(
    questions: Sequence[Question],
    voter: Completer,
    folder: str | Path,
    seed: int,
    trials: int = 5,
    answer_style: str = "letter",
) -> dict[str, float]:
    """Return id -> share of right votes; one that cannot be read is wrong. What the log has is not asked for again."""
    asked = collect_votes(questions, voter, Path(folder, "label_votes.jsonl"), seed, trials, answer_style)
    return {q.id: votes["votes"].count(q.answer) / trials for q, votes in zip(questions, asked, strict=True)}


def _ask(questions: Sequence[Question], heads: Sequence[dict], voter: Completer) -> list[dict[str, Any]]:
    """Return {"votes", "responses"} for each question. An order that n trials show is one conversation of n answers."""
    wanted: dict[int, list[tuple[int, str, Question]]] = defaultdict(list)
    for i, (question, head) in enumerate(zip(questions, heads, strict=True)):
        for order, n in Counter(head["orders"]).items():
            options = {LETTERS[place]: question.options[letter] for place, letter in enumerate(order)}
            shown = dataclasses.replace(question, options=options, answer=LETTERS[order.index(question.answer)])
            wanted[n].append((i, order, shown))
    given: dict[tuple[int, str], list[tuple[str | None, str]]] = {}
    for n, asked in sorted(wanted.items()):
        conversations = [question_messages(shown, heads[i]["style"]) for i, _, shown in asked]
        for (i, order, shown), texts in zip(asked, complete_all(voter, conversations, n), strict=True):
            letters = [parse_answer(text, shown.options) for text in texts]
            votes = [letter and order[LETTERS.index(letter)] for letter in letters]
            ends = [text[-KEPT_CHARACTERS:].encode("utf-8", "replace").decode() for text in texts]
            given[i, order] = list(zip(votes, ends, strict=True))
    rows = [[given[i, order].pop(0) for order in head["orders"]] for i, head in enumerate(heads)]
    return [{"votes": [v for v, _ in row], "responses": [r for _, r in row]} for row in rows]


def _key(record: dict[str, Any]) -> tuple[str, ...]:
    return record["id"], record["text"], record["voter"], record["style"], *record["orders"]


def _checked_votes(record: dict[str, Any], where: str) -> dict[str, Any]:
    texts, lists = ("id", "text", "voter", "style"), ("orders", "votes", "responses")
    good = all(isinstance(record.get(name), str) for name in texts)
    good = good and all(isinstance(record.get(name), list) for name in lists)
    good = good and len({len(record[name]) for name in lists}) == 1
    if not good or not all(isinstance(text, str | None) for name in lists for text in record[name]):
        raise InputError(f"{where}: not a record of votes; delete the file to vote anew")
    return record


def _ruling(question: Question, decisions: Sequence[Decision]) -> Decision | None:
    """The decision that holds: one on any text of the question, or on this."""
    return next((d for d in decisions if d.text in (None, text_hash(question))), None)


def _relabel(question: Question, decision: Decision | None) -> Question:
    relabels, _, letter = decision.verdict.partition(" ") if decision else ("", "", "")
    if relabels != "relabel" or letter == question.answer:
        return question
    if letter not in question.options:
        letters = ", ".join(question.options)
        raise InputError(f"{decision.where}: cannot relabel {question.id!r} to {letter}: its options are {letters}")
    note = {"relabelled_from": question.answer, "by": decision.by, "reason": decision.reason}
    provenance = {**(question.provenance or {}), "label_check": note}
    return dataclasses.replace(question, answer=letter, provenance=provenance)


def read_decisions(path: str | Path) -> dict[str, list[Decision]]:
    """Return id -> decisions, one for each text of the question that was decided on.

    Raises InputError naming file and line for a record of another form, and for two on one text that differ.
    """
    found: dict[str, list[Decision]] = defaultdict(list)
    for where, record in read_jsonl(path):
        if odd := [n for n, v in record.items() if n not in ("id", "decision", "by", "reason", "text") or not _text(v)]:
            raise InputError(f"{where}: {odd[0]!r} is not a text, or no field of a decision")
        words = (record.get("decision") or "").split()
        verdict = " ".join([word.lower() for word in words[:1]] + [word.upper() for word in words[1:]])
        relabels = verdict[:-1] == "relabel " and verdict[-1] in LETTERS
        if not record.get("id") or not (verdict in ("accept", "drop") or relabels):
            raise InputError(f"{where}: expected an id and accept, drop or relabel LETTER, found {str(record)[:80]}")
        decision = Decision(verdict, record.get("text"), record.get("by"), record.get("reason"), where)
        for other in found[record["id"]]:
            if other.verdict != verdict and (None in (other.text, decision.text) or other.text == decision.text):
                raise InputError(f"{where}: {verdict} for {record['id']!r}, but {other.where} says {other.verdict}")
        found[record["id"]].append(decision)
    return dict(found)


def _text(value: Any) -> bool:
    return isinstance(value, str | None)
