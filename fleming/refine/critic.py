"""A critic of the keys: a wrong option for which somebody argues well sends its question to a person.

Two calls an option, and neither is told the right answer: an advocate argues for the option; a judge says in a strict
form whether the argument holds, and quotes what it rests on, which must stand in the question. Left out: who answers
(teachers/), what a person decides (decisions.py).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleming.assets import load_table
from fleming.files import read_jsonl, write_jsonl
from fleming.noise import generator
from fleming.prompt import question_messages
from fleming.records import Question, to_json
from fleming.refine.decisions import Decision, ruling_on, text_hash
from fleming.settings import Config
from fleming.teachers.remembered import Completer, Messages, answer_each, behind_thinking, read_reply
from fleming.text import fold, words

PROMPTS = load_table("critic.yaml")
QUOTED = 3  # words of a quotation at least


@dataclass(frozen=True)
class Verdict:
    """All that the judge's reply holds."""

    supported: bool
    quote: str


def criticise(
    questions: Sequence[Question],
    critic: Completer,
    cfg: Config,
    decided: Mapping[str, Sequence[Decision]],
    counts: Counter[str],
) -> tuple[list[Question], list[dict[str, Any]]]:
    """Return (the questions that stand, a code for each that a person must see): a step of refinement.

    Of each question `synth.critic` wrong options are drawn; what a person has decided on is not doubted again. Those
    doubted are added to review.jsonl with the arguments; `counts` is told how many were supported, refuted, unread.
    """
    doubted = [q for q in questions if not ruling_on(q, decided.get(q.id, ()))]
    claims = [(q, letter) for q in doubted for letter in _wrong_options(q, cfg)]
    arguments = map(behind_thinking, answer_each(critic, [_asked(*claim, "advocate") for claim in claims]))
    argued = [(*claim, text) for claim, text in zip(claims, arguments, strict=True) if text]
    replies = answer_each(critic, [_asked(q, letter, "judge", text) for q, letter, text in argued])
    counts.update(["unread"] * (len(claims) - len(argued)))
    supported: dict[str, list[dict[str, str]]] = {}
    for (question, letter, argument), reply in zip(argued, replies, strict=True):
        verdict = read_verdict(reply, question)
        counts["unread" if verdict is None else "supported" if verdict.supported else "refuted"] += 1
        if verdict and verdict.supported:
            found = {"option": letter, "argument": argument, "quote": verdict.quote}
            supported.setdefault(question.id, []).append(found)

    review = Path(cfg.run_dir, "data/review.jsonl")
    # What this run's label check has put there stays.
    waiting = [record for _, record in read_jsonl(review)] if cfg.synth.voter else []
    for question in (q for q in questions if q.id in supported):
        record = {"id": question.id, "text": text_hash(question), "critic": critic.name}
        waiting.append({**record, "supported": supported[question.id], "question": to_json(question)})
    write_jsonl(review, waiting, hashed=True)
    undecided = [{"code": "in_review", "id": name} for name in supported]
    return [q for q in questions if q.id not in supported], undecided


def read_verdict(reply: str, question: Question) -> Verdict | None:
    """Return what the judge says; None for another form, and for support by words that are not the question's."""
    verdict = read_reply(reply, Verdict)
    if verdict is None or not verdict.supported:
        return verdict
    text = fold(f"{question.context or ''} {question.question}")
    is_quoted = len(words(verdict.quote)) >= QUOTED and fold(verdict.quote) in text
    return verdict if is_quoted else None


def _wrong_options(question: Question, cfg: Config) -> list[str]:
    wrong = [letter for letter in question.options if letter != question.answer]
    order = generator(cfg.seed, "critic", question.id).permutation(len(wrong))
    return [wrong[i] for i in order[: cfg.synth.critic]]


def _asked(question: Question, letter: str, role: str, argument: str = "") -> Messages:
    prompt = PROMPTS.get(question.language, PROMPTS["en"])[role]
    option = f"{letter}. {question.options[letter]}"
    return question_messages(question, "letter", prompt.format(option=option, argument=argument))
