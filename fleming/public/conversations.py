"""Worked answers for the cold start in the forms that people have: Alpaca, ShareGPT, messages, prompt and completion.

Of a conversation of several turns each answer is an example of its own, with all that was said before it as its prompt:
what the model will be given when it answers, and each token is learned once. Left out: encoding them
(training/examples.py), and what the forms are called (assets/forms.yaml).
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from fleming.public.own import FORMS_KNOWN, flat, listed, plain, told_of
from fleming.public.tables import Row, number_in, stem_of
from fleming.public.values import (
    FORMS,
    SetAsideError,
    as_text,
    literal_of,
    messages_of,
    plain_text,
    text_of,
    thought,
    value_of,
)
from fleming.records import Message, Trajectory
from fleming.settings import Config
from fleming.typed import from_json
from model.errors import InputError

FIELDS = sorted({"messages", "prompt", "response", *FORMS["beside"]})
OURS = ("teacher", "gold_visible", "attempts", "refinements", "checks")
TEXTS = {"input": as_text, "reasoning": lambda value: value if isinstance(value, str) else None}
"""In a usual column of these what is no text is something else: a flag, a list of passages."""


def reader(path: Path, first: Row, cfg: Config) -> Callable[[Row, str], list[Trajectory]]:
    """Return what reads a record. Raises InputError where the first one has not what any form has, or is told."""
    told = told_of(cfg, FIELDS, worked=True)
    forms = [told] if told else FORMS["conversations"].values()
    fits = (form for form in forms if None not in _parts(first, form).values())
    if (form := next(fits, None)) is None:
        raise InputError(f"{path}: no form of worked answers has the columns {listed(first)}; {FORMS_KNOWN}")
    form = FORMS["beside"] | form

    def read(row: Row, where: str) -> list[Trajectory]:
        parts = _parts(row, form)
        beside = {field: row[field] for field in OURS if field in row}
        key = plain_text(parts["id"]) or f"{stem_of(path)}/{number_in(where)}"
        about = plain_text(parts["question_id"]) or key
        said = _conversation(parts)
        turns = _learned(said, last="messages" not in form or cfg.data.assistant_turns == "last")
        context = _context(parts)
        turns = [i for i in turns if i - len(said) not in context]
        if not turns:
            raise SetAsideError("no_answer", "each of its answers is marked as not to be learned")
        read = []
        for turn, i in enumerate(turns, start=1):
            fields = {"id": f"{key}/{turn}" if len(turns) > 1 else key, "question_id": about}
            fields |= {"prompt": said[:i], "response": said[i]["content"], **beside}
            read.append(from_json(Trajectory, fields, where))
        return read

    return read


def _parts(row: Row, form: dict[str, str | list[str]]) -> dict[str, Any]:
    """Return field -> what stands in the first of its columns in which something does; "" where they are empty."""
    by_name, parts = {plain(name): value for name, value in row.items()}, {}
    for field, columns in form.items():
        values = [value_of(row, column) or by_name.get(plain(column)) for column in flat([columns])]
        if field in TEXTS and columns == FORMS["beside"][field]:
            values = map(TEXTS[field], values)
        found = [value for value in values if value is not None]
        parts[field] = next(filter(None, found), next(iter(found), None))
    return parts


def _context(parts: dict[str, Any]) -> set[int]:
    """Return the places, from the end, of the messages that are said not to be learned from."""
    messages = literal_of(parts.get("messages"))
    if not isinstance(messages, list):
        return set()
    marks = FORMS["not_learned"]
    return {i - len(messages) for i, m in enumerate(messages) if any(m.get(mark, 1) == 0 for mark in marks)}


def _learned(said: list[Message], last: bool) -> list[int]:
    """Return the places of the answers that are learned, all of them or the last."""
    answers = [i for i, message in enumerate(said) if message["role"] == "assistant"]
    if not answers or said[0]["role"] == "assistant":
        raise SetAsideError("no_answer", "a conversation must begin with a question, and hold an answer")
    if any(one["role"] == other["role"] != "user" for one, other in pairwise(said)):
        raise SetAsideError("turns", "an answer, or a system message, follows another")
    return answers[-1:] if last else answers


def _conversation(parts: dict[str, Any]) -> list[Message]:
    """Return all messages of a row, given field -> what its form's column holds."""
    said = [{"role": "system", "content": parts["system"]}] if parts["system"] else []
    if "messages" in parts:
        messages = messages_of(literal_of(parts["messages"]))  # in a table's cell they are JSON
        return messages if messages[0]["role"] == "system" else said + messages
    history = parts["history"] or []
    if not isinstance(history, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in history):
        raise SetAsideError("no_messages", f"history must be pairs of texts, found {str(history)[:80]!r}")
    for asked, answered in history:
        said += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    prompt, response = messages_of(parts["prompt"]), parts["response"]
    if str(parts["input"] or "").strip():
        prompt[-1]["content"] += f"\n\n{text_of(parts, 'input')}"
    if not isinstance(response, str):
        return said + prompt + messages_of(response)
    if not response.strip():
        raise SetAsideError("no_text", "the response is empty")
    return [*said, *prompt, {"role": "assistant", "content": thought(parts["reasoning"], response)}]
