"""What a voter, a grader and a teacher have in common: a conversation goes in, n answers come out.

Left out: who answers (local_model.py, or anything else with such a method).
"""

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

from fleming.files import AppendLog, parse_object, read_jsonl
from fleming.typed import from_json
from model.errors import InputError

CHUNK = 256  # conversations asked at once
Messages = list[dict[str, str]]
R = TypeVar("R")  # a frozen dataclass: a record of answers with a `key`, or a reply


class Completer(Protocol):
    """A model or teacher that can be asked. One that can answer many at once also has `complete_all`, as below."""

    name: str
    """Who it is, with all that its answers depend on: answers under one name are never asked for again."""

    def complete(self, messages: Messages, n: int) -> list[str]:
        """Return n answers to the conversation."""


def complete_all(completer: Completer, conversations: Sequence[Messages], n: int) -> list[list[str]]:
    """Return n answers to each conversation: all at once where the completer can, else one after the other.

    Raises InputError where it gives anything but n texts to each.
    """
    if hasattr(completer, "complete_all"):
        groups = completer.complete_all(conversations, n)
    else:
        groups = [completer.complete(messages, n) for messages in conversations]

    complete = len(groups) == len(conversations) and all(len(answers) == n for answers in groups)
    if not complete or not all(isinstance(text, str) for answers in groups for text in answers):
        raise InputError(
            f"{completer.name} did not give {n} texts to each of {len(conversations)} conversations"
        )
    return groups


def answer_each(completer: Completer, conversations: Sequence[Messages]) -> list[str]:
    """Return one answer to each conversation; one that stands here n times is asked once, for n answers."""
    keys = [json.dumps(messages) for messages in conversations]
    times, first = Counter(keys), dict(zip(keys, conversations, strict=True))
    answers: dict[str, Iterator[str]] = {}
    for n in sorted(set(times.values())):
        asked = [key for key in times if times[key] == n]
        groups = complete_all(completer, [first[key] for key in asked], n)
        answers |= zip(asked, map(iter, groups), strict=True)
    return [next(answers[key]) for key in keys]


def behind_thinking(text: str) -> str:
    """Return what an answer says behind its think block."""
    return text.rpartition("</think>")[2].strip()


def read_reply(text: str, kind: type[R]) -> R | None:
    """Return the one JSON object, fenced or not, that an answer consists of; None where it is none of this kind."""
    reply = behind_thinking(text).removeprefix("```json").removeprefix("```").removesuffix("```")
    try:
        return from_json(kind, parse_object(reply.encode("utf-8", "replace"), "reply"), "reply")
    except InputError:
        return None


def writable(text: str) -> str:
    """Return the text without half surrogate pairs, which a model may write and no file can hold."""
    return text.encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class AnswerLog:
    """A file of answers, a record each, that is added to as they come."""

    path: Path
    kind: type[R]
    """Of its records."""
    doing: str
    """Stands before the progress bar."""

    def complete(self, keys: Sequence[Any], ask: Callable[[slice], Sequence[R]], chunk: int) -> list[R]:
        """Return the record of each key: those that the file has, the others as `ask` gives them.

        A model's answers agree to rounding, not to the bit, with what is sampled beside them: so a chunk is always
        asked as a whole, also where an interrupted run has logged a part of it. InputError for a file of another kind.
        """
        bar = tqdm(total=len(keys), desc=self.doing, unit="question", dynamic_ncols=True)
        with (
            contextlib.closing(AppendLog(self.path, hash_lines=True)) as log,
            bar,
        ):  # opened first: it drops a torn last line
            known = self._read()
            for start in range(0, len(keys), chunk):
                part = slice(start, start + chunk)
                if any(key not in known for key in keys[part]):
                    for record in ask(part):
                        if record.key not in known:
                            known[record.key] = record
                            log.append(asdict(record))
                bar.update(len(keys[part]))
            log.sync()
        return [known[key] for key in keys]

    def _read(self) -> dict[Any, R]:
        known = {}
        for where, value in read_jsonl(self.path):
            try:
                record = from_json(self.kind, value, where)
            except InputError as error:
                raise InputError(f"{error}; delete the file to ask anew") from error
            known.setdefault(record.key, record)
        return known


@dataclass(frozen=True)
class Answers:
    """A line of `Remembered`'s file."""

    key: str
    """A hash of who was asked what, and how often."""
    answers: list[str]


class Remembered:
    """A completer whose answers are kept in a file as they come: asked again, also by a later run, it gives those."""

    def __init__(self, completer: Completer, path: str | Path, doing: str) -> None:
        """`doing` stands before the progress bar."""
        self.completer, self.name = completer, completer.name
        self.log = AnswerLog(Path(path), Answers, doing)

    def complete(self, messages: Messages, n: int) -> list[str]:
        return self.complete_all([messages], n)[0]

    def complete_all(self, conversations: Sequence[Messages], n: int) -> list[list[str]]:
        """Return n answers to each; what the file lacks is asked for. Raises InputError for a file of another kind."""
        keys = [self._key(messages, n) for messages in conversations]

        def ask(part: slice) -> list[Answers]:
            groups = complete_all(self.completer, conversations[part], n)
            readable = [list(map(writable, answers)) for answers in groups]
            return [Answers(key, answers) for key, answers in zip(keys[part], readable, strict=True)]

        return [record.answers for record in self.log.complete(keys, ask, CHUNK)]

    def _key(self, messages: Messages, n: int) -> str:
        asked = json.dumps([self.name, messages, n], ensure_ascii=True)
        return hashlib.blake2b(asked.encode(), digest_size=16).hexdigest()
