"""What a voter, a grader and a teacher have in common: a conversation goes in, n answers come out.

Left out: who answers (cold_start/local_model.py, or anything else with such a method).
"""

from collections.abc import Sequence
from typing import Protocol

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
