"""What a voter, a grader and a teacher have in common: a conversation goes in, n answers come out.

Left out: who answers (cold_start/local_model.py, or anything else with such a method).
"""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

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


class Remembered:
    """A completer whose answers are kept in a file as they come: asked again, also by a later run, it gives those."""

    def __init__(self, completer: Completer, path: str | Path, doing: str) -> None:
        """`doing` stands before the progress bar. Raises InputError for a file of another kind."""
        self.completer, self.name, self.path, self.doing = completer, completer.name, Path(path), doing
        self.known: dict[str, list[str]] = {}
        if self.path.exists():
            for where, record in read_jsonl(self.path):
                key, answers = record.get("key"), record.get("answers")
                if not isinstance(key, str) or not isinstance(answers, list) or set(map(type, answers)) - {str}:
                    raise InputError(f"{where}: not a record of answers; delete the file to ask anew")
                self.known[key] = answers

    def complete(self, messages: Messages, n: int) -> list[str]:
        return self.complete_all([messages], n)[0]

    def complete_all(self, conversations: Sequence[Messages], n: int) -> list[list[str]]:
        """Return n answers to each; what is not known is asked for in chunks, each as a whole.

        A model's answers agree to rounding, not to the bit, with what is sampled beside them: so an interrupted chunk
        is asked again in full.
        """
        keys = [self._key(messages, n) for messages in conversations]
        bar = tqdm(total=len(keys), desc=self.doing, unit="question", dynamic_ncols=True)
        with contextlib.closing(AppendLog(self.path)) as log, bar:
            for start in range(0, len(keys), CHUNK):
                chunk = slice(start, start + CHUNK)
                if any(key not in self.known for key in keys[chunk]):
                    found = complete_all(self.completer, conversations[chunk], n)
                    for key, answers in zip(keys[chunk], found, strict=True):
                        if key not in self.known:
                            # Half a surrogate pair, which a model may write, could not be read again.
                            self.known[key] = [a.encode("utf-8", "replace").decode() for a in answers]
                            log.append({"key": key, "answers": self.known[key]})
                bar.update(len(keys[chunk]))
            log.sync()
        return [self.known[key] for key in keys]

    def _key(self, messages: Messages, n: int) -> str:
        asked = json.dumps([self.name, messages, n], ensure_ascii=True)
        return hashlib.blake2b(asked.encode(), digest_size=16).hexdigest()


CHUNK = 256  # conversations
