"""Label check (paper, section 3.1): a strong model answers each question five times; a person sees what it never gets.

- each trial shows the options in another order, so that a liking for a letter does not pass for knowledge; a free
  answer is right as everywhere (judge.py)
- votes go to label_votes.jsonl as they come: a run that was stopped goes on there, and no vote is asked for twice
- what fails the rule stands in review.jsonl until a person has decided (decisions.py)

Left out: who votes (teachers/).
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fleming.files import write_jsonl
from fleming.judge import judge, style_of
from fleming.noise import generator
from fleming.prompt import question_messages
from fleming.records import LETTERS, Question, to_json
from fleming.refine.decisions import dropped_record, read_decisions, relabel, ruling_on, text_hash
from fleming.settings import Config
from fleming.teachers.answer_log import complete_log
from fleming.teachers.remembered import Completer, Remembered, answer_each, writable
from fleming.text import can_reorder
from model.errors import InputError

RULES = {  # rule -> whether a question with so many right votes of so many goes to review
    "none_right": lambda right, trials: right == 0,
    "any_wrong": lambda right, trials: right < trials,
}
CHUNK = 64  # questions that a voter with complete_all is asked at once
KEPT_CHARACTERS = 2000  # of a response, from its end, where the answer stands


@dataclass(frozen=True)
class Votes:
    """A line of label_votes.jsonl: the answers to one question."""

    id: str
    """The question's."""
    text: str
    """Its hash (decisions.py): votes on a question that has changed since are not used."""
    voter: str
    style: str
    """How an answer is asked for."""
    orders: list[str]
    """Of each trial: the letters of the file in the order shown."""
    votes: list[str | None] = field(default_factory=list)
    """Of each trial: the letter in the file's order, or of a free answer judge.Verdict's choice; None: unread."""
    responses: list[str] = field(default_factory=list)
    """Of each trial: the end of what was answered."""

    @property
    def key(self) -> tuple[str, ...]:
        """What was asked, whom and how."""
        return self.id, self.text, self.voter, self.style, *self.orders

    def check(self, where: str) -> None:
        """Raise InputError where there are not as many votes and responses as trials."""
        if not len(self.orders) == len(self.votes) == len(self.responses):
            raise InputError(f"{where}: expected as many votes and responses as orders")


@dataclass(frozen=True)
class Poll:
    """Who votes, how, and where the votes are kept."""

    voter: Completer
    folder: str | Path
    """That of label_votes.jsonl."""
    seed: int
    trials: int = 5
    cfg: Config = field(default_factory=Config)
    """How questions are asked and free answers judged."""

    def votes(self, questions: Sequence[Question]) -> list[Votes]:
        """Return each question's votes; the voter is asked for what the log lacks."""
        unanswered = [self._ballot(question) for question in questions]
        keys = [ballot.key for ballot in unanswered]
        chunk = CHUNK if hasattr(self.voter, "complete_all") else 1
        if isinstance(self.voter, Remembered):
            chunk = max(1, len(questions))  # it keeps what comes; nobody waits for the last of a few

        def ask(part: slice) -> list[Votes]:
            return self._ask(questions[part], unanswered[part])

        path = Path(self.folder, "label_votes.jsonl")
        return complete_log(path, Votes, "label check", keys, ask, chunk)

    def _ballot(self, question: Question) -> Votes:
        orders = trial_orders(question, self.seed, self.trials)
        style = style_of(question, self.cfg)
        if style not in ("letter", "text"):
            style += f" {self.cfg.free}"  # by other rules the same answer may be another vote
        return Votes(question.id, text_hash(question), self.voter.name, style, orders)

    def _ask(self, questions: Sequence[Question], ballots: Sequence[Votes]) -> list[Votes]:
        """Return the ballots with votes. An order that n trials show is one conversation of n answers."""
        shown = [
            question.in_order(order)
            for question, ballot in zip(questions, ballots, strict=True)
            for order in ballot.orders
        ]
        answers = iter(answer_each(self.voter, [question_messages(q, style_of(q, self.cfg)) for q in shown]))

        filled = []
        for place, ballot in enumerate(ballots):
            responses = [next(answers) for _ in ballot.orders]
            shown = zip(ballot.orders, responses, strict=True)
            votes = [self._vote(questions[place], order, text) for order, text in shown]
            ends = [writable(text[-KEPT_CHARACTERS:]) for text in responses]
            filled.append(dataclasses.replace(ballot, votes=votes, responses=ends))
        return filled

    def _vote(self, question: Question, order: str, response: str) -> str | None:
        """Return what a response to this order chooses, of options the letter in the file's order."""
        choice = judge(response, True, question.in_order(order), self.cfg).choice
        return order[LETTERS.index(choice)] if choice and question.options else choice


def trial_orders(question: Question, seed: int, trials: int, use: str = "label check") -> list[str]:
    """Return each trial's order as the letters of the file in the order shown: "CADB"; `use` is part of its key.

    They differ while there are orders left, then all may come again. Where an option speaks of others by place or
    letter, every trial shows the options as they are.
    """
    letters = "".join(question.options)
    if not can_reorder(question.options):
        return [letters] * trials

    orders: list[str] = []
    used: set[str] = set()  # since all orders were last used up
    for trial in range(trials):
        if len(used) == math.factorial(len(letters)):
            used = set()
        rng = generator(seed, use, question.id, trial)
        order = _shuffled(letters, rng)
        while order in used:
            order = _shuffled(letters, rng)
        used.add(order)
        orders.append(order)
    return orders


def _shuffled(letters: str, rng: Any) -> str:
    return "".join(letters[i] for i in rng.permutation(len(letters)))


def pass_rates(questions: Sequence[Question], poll: Poll) -> dict[str, float]:
    """Return id -> share of right votes; one that cannot be read is wrong. What the log has is not asked for again."""
    pairs = zip(questions, poll.votes(questions), strict=True)
    return {q.id: votes.votes.count(q.answer) / poll.trials for q, votes in pairs}


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


COUNTED = (
    "passed", "accept", "relabel", "drop", "undecided", "failed", "abstentions", "stale_decisions",
)  # fmt: skip


def check_labels(
    questions: Sequence[Question], poll: Poll, rule: str = "none_right", decisions: str | Path | None = None
) -> Checked:
    """Vote on each question, apply the decisions, write FOLDER/review.jsonl.

    rule: none_right sends to review what no trial gets right (an answer that cannot be read is wrong), any_wrong what
    any trial gets wrong. Raises InputError for a rule or a number of trials that cannot be, for a decisions file that
    is broken, contradicts itself or relabels to an option that there is not, and for a broken log of votes.
    """
    if rule not in RULES or poll.trials < 1:
        raise InputError(f"label check: {rule!r} with {poll.trials} trials; the rules are {', '.join(RULES)}")
    decided = read_decisions(decisions) if decisions else {}
    rulings = [ruling_on(question, decided.get(question.id, [])) for question in questions]
    settled = list(map(relabel, questions, rulings))  # may refuse: before votes

    checked, counts, by_right = Checked([], [], [], {}), Counter(), Counter()
    for i, votes in enumerate(poll.votes(questions)):
        question, ruling = questions[i], rulings[i]
        right = votes.votes.count(question.answer)
        failed = RULES[rule](right, poll.trials)
        outcome = "undecided" if failed else "passed"
        if ruling:
            outcome = ruling.verdict.split()[0]
        by_right[right] += 1
        counts[outcome] += 1
        counts["failed"] += failed
        counts["abstentions"] += votes.votes.count(None)
        counts["stale_decisions"] += question.id in decided and ruling is None

        if outcome == "drop":
            checked.dropped.append(dropped_record(question, ruling))
        elif outcome == "undecided":
            checked.review.append({"right": right, **asdict(votes), "question": to_json(question)})
        else:
            checked.kept.append(settled[i])

    write_jsonl(Path(poll.folder, "review.jsonl"), checked.review, hashed=True)
    checked.report.update(questions=len(questions), voter=poll.voter.name, rule=rule, trials=poll.trials)
    checked.report.update({name: counts[name] for name in COUNTED})
    checked.report["unknown_decisions"] = len(decided.keys() - {q.id for q in questions})
    checked.report["by_right"] = {str(n): by_right[n] for n in range(poll.trials + 1)}
    return checked
