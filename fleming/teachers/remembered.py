"""What a voter, a grader and a teacher have in common: a conversation goes in, n answers come out.

Left out: who answers (cold_start/local_model.py, or anything else with such a method).
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from fleming.files import AppendLog, read_jsonl
from model.errors import InputError

Messages = list[dict[str, str]]


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
        answers = completer.complete_all(conversations, n)
    else:
        answers = [completer.complete(messages, n) for messages in conversations]
    good = len(answers) == len(conversations) and all(len(given) == n for given in answers)
    if not good or not all(isinstance(text, str) for given in answers for text in given):
        raise InputError(f"{completer.name} did not give {n} texts to each of {len(conversations)} conversations")
    return answers


def ask_missing(
    keys: Sequence[Hashable],
    ask: Callable[[slice], Sequence[dict[str, Any]]],
    log_path: Path,
    key_of: Callable[[dict[str, Any], str], Hashable],
    chunk: int,
    doing: str,
) -> list[dict[str, Any]]:
    """Return the record of each key: those that the log has, the others as `ask` gives them, each logged as it comes.

    A model's answers agree to rounding, not to the bit, with what is sampled beside them: so a chunk is always asked as
    a whole, also where an interrupted run has logged a part of it. `key_of` reads a logged record, and refuses one of
    another kind; `doing` stands before the progress bar.
    """
    known: dict[Hashable, dict[str, Any]] = {}
    bar = tqdm(total=len(keys), desc=doing, unit="question", dynamic_ncols=True)
    with contextlib.closing(AppendLog(log_path)) as log, bar:  # opened first: it drops a torn last line
        for where, record in read_jsonl(log_path):
            known.setdefault(key_of(record, where), record)
        for start in range(0, len(keys), chunk):
            part = slice(start, start + chunk)
            if any(key not in known for key in keys[part]):
                for key, record in zip(keys[part], ask(part), strict=True):
                    if key not in known:
                        known[key] = record
                        log.append(record)
            bar.update(len(keys[part]))
        log.sync()
    return [known[key] for key in keys]


class Remembered:
    """A completer whose answers are kept in a file as they come: asked again, also by a later run, it gives those."""

    def __init__(self, completer: Completer, path: str | Path, doing: str) -> None:
        """`doing` stands before the progress bar."""
        self.completer, self.name, self.path, self.doing = completer, completer.name, Path(path), doing

    def complete(self, messages: Messages, n: int) -> list[str]:
        return self.complete_all([messages], n)[0]

    def complete_all(self, conversations: Sequence[Messages], n: int) -> list[list[str]]:
        """Return n answers to each; what the file lacks is asked for. Raises InputError for a file of another kind."""
        keys = [self._key(messages, n) for messages in conversations]

        def ask(part: slice) -> list[dict[str, Any]]:
            found = complete_all(self.completer, conversations[part], n)
            # Half a surrogate pair, which a model may write, could not be read again.
            readable = [[text.encode("utf-8", "replace").decode() for text in answers] for answers in found]
            return [{"key": key, "answers": answers} for key, answers in zip(keys[part], readable, strict=True)]

        records = ask_missing(keys, ask, self.path, _answers_key, CHUNK, self.doing)
        return [record["answers"] for record in records]

    def _key(self, messages: Messages, n: int) -> str:
        asked = json.dumps([self.name, messages, n], ensure_ascii=True)
        return hashlib.blake2b(asked.encode(), digest_size=16).hexdigest()


def _answers_key(record: dict[str, Any], where: str) -> str:
    key, answers = record.get("key"), record.get("answers")
    if not isinstance(key, str) or not isinstance(answers, list) or set(map(type, answers)) - {str}:
        raise InputError(f"{where}: not a record of answers; delete the file to ask anew")
    return key


CHUNK = 256  # conversations
