"""A public set's form as data: which column has what of a question, and how its values are read.

Texts stay as they are, blanks included: a log-likelihood depends on each character. A record that can never be a
question with one right option (blank, several right options, no label) is set aside and counted; one that is broken
is refused with its place. Left out: which set has which forms (sets.py), and files (readers.py).
"""

import re
from dataclasses import dataclass, field
from typing import Any

from fleming.public.tables import Row
from fleming.records import LETTERS, Split
from model.errors import InputError

Options = list[tuple[str, str | None]]
"""(letter, text) as they stand in the file; None: missing."""


class SetAsideError(Exception):
    """The record can be no question with one right option; its argument is the code."""


@dataclass(frozen=True)
class Form:
    """In which columns one form of a set has what."""

    needs: tuple[str, ...]
    """The columns that it is known by, those first that only it has."""
    question: str = "question"
    options: tuple[str, ...] = ("options",)
    """One column that has all, or a column for each."""
    answer: str = "answer"
    """The letter of the right option."""
    answer_text: str | None = None
    """The text of the right option, where that is given too."""
    context: str | None = None
    key: str | None = None
    """The record's id."""
    groups: dict[str, str] = field(default_factory=dict)
    """Name of a group -> column."""
    tidy: str | None = None
    """The function of sets.py that makes these columns of a record that has them in another way."""

    def missing(self, row: Row) -> list[str]:
        """Return the needed columns that the row lacks."""
        return [column for column in self.needs if column not in row]

    def fields(self, row: Row, where: str) -> dict[str, Any]:
        """Return the fields of the record's Question, and its `key`. Raises SetAsideError or InputError."""
        if len(self.options) == 1:
            options = options_of(row[self.options[0]], where)
        else:
            lettered = zip(LETTERS, self.options, strict=False)
            options = options_of({letter: row[column] for letter, column in lettered if column in row}, where)
        answer = row[self.answer]
        if self.answer_text:
            _check_text(answer, row.get(self.answer_text), dict(options), where)
        question = text_of(row, self.question, where)
        if answer is None:
            raise SetAsideError("no_label")

        present = [(letter, text) for letter, text in options if text is not None and text.strip()]
        letters = [letter for letter, _ in present]
        if answer not in letters:
            found = str(answer)[:80]
            raise InputError(f"{where}: the right option is {found!r}, the options are {', '.join(letters)}")
        groups = {name: plain_text(row.get(column)) for name, column in self.groups.items()}
        provenance = {"groups": {name: text for name, text in groups.items() if text is not None}}
        new = dict(zip(letters, LETTERS, strict=False))
        if any(old != letter for old, letter in new.items()):
            provenance["letters"] = {letter: old for old, letter in new.items()}  # those of the file
        return {
            "question": question,
            "options": {new[letter]: text for letter, text in present},
            "answer": new[answer],
            "context": row[self.context] if self.context else None,
            "provenance": provenance,
            "key": row.get(self.key),
        }


@dataclass(frozen=True)
class PublicSet:
    """How a set's records are known and read."""

    forms: tuple[Form, ...]
    language: str = "en"
    split: Split = "train"
    """Of a file whose name does not say it: test for a set that is a benchmark alone, or that has test questions."""
    by_name_only: bool = False
    """Its columns are not its own."""

    def nearest(self, row: Row) -> Form:
        """Return the form of which the row lacks the least."""
        return min(self.forms, key=lambda form: len(form.missing(row)) / len(form.needs))

    def missing(self, row: Row) -> str | None:
        """Return the first column that the row lacks of its nearest form, None where it has all of one."""
        return next(iter(self.nearest(row).missing(row)), None)


# Values


def text_of(row: Row, column: str, where: str) -> str:
    """Return the column's text. Raises SetAsideError where it is missing, InputError where it is none."""
    value = row.get(column)
    if value is None:
        raise SetAsideError("incomplete")
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {column} must be a text, found {str(value)[:80]!r}")
    return value


def plain_text(value: Any) -> str | None:
    """An id or a group as text: 2804 also where a table tool has made 2804.0 of it; None for other types."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return re.sub(r"\A(-?[0-9]+)\.0\Z", r"\1", str(value))


def options_of(value: Any, where: str) -> Options:
    """Return the options: from {"A": text}, [text] or [{"letter" or "key": .., "content" or "value": ..}]."""
    pairs: Options = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list) and all(isinstance(option, dict) for option in value):
        pairs = [(o.get("letter", o.get("key")), o.get("content", o.get("value"))) for o in value]
    elif isinstance(value, list) and len(value) <= len(LETTERS):
        pairs = list(zip(LETTERS, value, strict=False))
    letters = [letter for letter, _ in pairs]
    if (
        not pairs
        or any(letter not in list(LETTERS) for letter in letters)
        or len(set(letters)) < len(letters)
    ):
        found = str(value)[:80]
        raise InputError(f"{where}: options must be up to 26 texts by letter or in a list, found {found!r}")
    for letter, text in pairs:
        if not isinstance(text, str | None):
            raise InputError(f"{where}: option {letter} must be a text, found {str(text)[:80]!r}")
    return sorted(pairs) if isinstance(value, dict) else pairs


def _check_text(letter: Any, answer: Any, options: dict[str, str | None], where: str) -> None:
    """Refuse an answer given as a text too that is not that of its letter; blanks at the ends do not count."""
    if answer is None:
        return
    text = (options.get(letter) if isinstance(letter, str) else None) or ""
    if not isinstance(answer, str) or text.strip() != answer.strip():
        raise InputError(
            f"{where}: answer {str(answer)[:80]!r} is not the text of option {str(letter)[:80]!r}"
        )


def whole_number(value: Any, column: str, where: str) -> int:
    """A whole number, also as the float or text that table tools make of it: 2.0, "2", "2.0"."""
    text = plain_text(value)
    if text is None or not re.fullmatch(r"-?[0-9]{1,9}", text.strip()):
        raise InputError(f"{where}: {column} must be a whole number, found {str(value)[:80]!r}")
    return int(text)
