"""A form of questions as data: which column has what of a question, and how its values are read.

Texts stay as they are, blanks included: a log-likelihood depends on each character. A record that is no question is
set aside with a code and what is wrong with it; nothing is guessed. Left out: which set has which forms (sets.py), the
forms of files that are no public set's (own.py), and files (readers.py).
"""

import ast
import json
import re
from dataclasses import dataclass, field
from typing import Any

from fleming.public.tables import Row
from fleming.records import LETTERS, Split
from fleming.text import reserved
from model.errors import InputError
from model.files import parse_json

Options = list[tuple[str, str | None]]
"""(letter, or what stands for it, and text) as in the file; None: missing."""
NO_LABEL = (None, "", "nan", "NaN")  # a table tool prints a missing value so


class SetAsideError(Exception):
    """The record is no question, or no worked answer."""

    def __init__(self, code: str, detail: str = ""):
        super().__init__(code, detail)
        self.code, self.detail = code, detail


@dataclass(frozen=True)
class Form:
    """In which columns one form has what; "a.b" is b inside a."""

    needs: tuple[str, ...] = ()
    """The columns that it is known by, those first that only it has."""
    question: str = "question"
    options: tuple[str, ...] = ("options",)
    """One column that has all, or a column for each."""
    answer: str = "answer"
    """The right option: its letter, its text or both; its number where `base` says so."""
    base: int | None = None
    """From what the number is counted."""
    letter_first: bool = True
    """Its answers are letters, even where a letter is another option's text."""
    also: str | None = None
    """A column that names the right option once more, where it is there."""
    published: bool = True
    """What is wrong with its texts is counted (benchmarks.py: defects), and its questions are asked all the same."""
    filler: str | None = None
    """An option that only fills up."""
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

    def fields(self, row: Row) -> dict[str, Any]:
        """Return the fields of the record's Question, and its `key`. Raises SetAsideError."""
        options = self.options_in(row)
        answer, also = value_of(row, self.answer), value_of(row, self.also)
        if answer in NO_LABEL or (self.base is not None and number_of(answer) == -1):  # -1: the hub hides it
            raise SetAsideError("no_label")
        question = text_of(row, self.question)

        present = [
            (letter, text) for letter, text in options if text not in (None, self.filler) and text.strip()
        ]
        letters = [letter for letter, _ in present]
        if len(present) < 2:
            raise SetAsideError("too_few_options", f"{len(present)} of two or more options")
        for letter, text in present:
            if not self.published and (code := reserved(text)):
                raise SetAsideError(code, f"in option {letter}: {text[:80]!r}")
        right = right_letter(answer, options, self.base, self.letter_first)
        if right not in letters:
            raise SetAsideError(
                "answer_no_option",
                f"the right option is {str(answer)[:80]!r}, the options are {', '.join(letters)}",
            )
        if also not in NO_LABEL and right not in letters_named(also, options):
            raise SetAsideError(
                "answers_differ",
                f"{self.also} {str(also)[:80]!r} is not option {right}, which {self.answer} names",
            )
        groups = {name: plain_text(row.get(column)) for name, column in self.groups.items()}
        provenance = {"groups": {name: text for name, text in groups.items() if text is not None}}
        new = dict(zip(letters, LETTERS, strict=False))
        if any(old != letter for old, letter in new.items()):
            provenance["letters"] = {letter: old for old, letter in new.items()}  # those of the file
        return {
            "question": question,
            "options": {new[letter]: text for letter, text in present},
            "answer": new[right],
            "context": value_of(row, self.context),
            "provenance": provenance,
            "key": value_of(row, self.key),
        }

    def options_in(self, row: Row) -> Options:
        """Return the record's options, none where it has none. Raises SetAsideError for what are no options."""
        if len(self.options) == 1:
            return options_of(value_of(row, self.options[0]))
        lettered = zip(LETTERS, self.options, strict=False)
        return options_of({letter: row[column] for letter, column in lettered if column in row})


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


def value_of(row: Row, column: str | None) -> Any:
    """Return what stands in a column, in "a.b" that of b inside a; None where there is none."""
    if column is None or column in row:
        return row.get(column)
    first, dot, rest = column.partition(".")
    inside = row.get(first)
    return value_of(inside, rest) if dot and isinstance(inside, dict) else None


def text_of(row: Row, column: str) -> str:
    """Return the column's text. Raises SetAsideError where it is missing or none."""
    value = value_of(row, column)
    if value is None:
        raise SetAsideError("incomplete", f"{column} is missing")
    if not isinstance(value, str) or not value.strip():
        raise SetAsideError("no_text", f"{column} must be a text, found {str(value)[:80]!r}")
    return value


def plain_text(value: Any) -> str | None:
    """An id or a group as text: 2804 also where a table tool has made 2804.0 of it; None for other types."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return re.sub(r"\A(-?[0-9]+)\.0\Z", r"\1", str(value))


def as_text(value: Any) -> str | None:
    """A value as text: a text as it is, a number as `plain_text` has it, None for other types."""
    return value if isinstance(value, str) else plain_text(value)


def number_of(value: Any) -> int | None:
    """A whole number, also as the float or text that table tools make of it: 2.0, "2", "2.0"; None for all else."""
    text = plain_text(value)
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]{1,9}", text.strip()) else None


_BREAK = r"(?:\r?\n|\\n)"  # some copies write a line break as the two characters \n
_HEAD = rf"[A-Z](?:[.．、:：][ \u3000]*|[ \u3000]+|(?={_BREAK}|$))"  # what follows is the option's text, ".5 mg" too


def _in_text(value: str) -> Any:
    """Return the options that a text holds: as JSON, as a Python literal, or a line each, beginning with its letter."""
    if value.lstrip()[:1] in ("{", "["):
        return literal_of(value)
    lines = re.split(rf"{_BREAK}[ \u3000]*(?={_HEAD})", value.strip())
    heads = [re.match(_HEAD, line) for line in lines]
    letters = [head[0][0] for head in heads if head]
    if len(letters) < len(lines) or letters != sorted(set(letters)):
        raise SetAsideError("options_unread", f"lines must begin with rising letters, found {letters}")
    return {head[0][0]: line[head.end() :] for head, line in zip(heads, lines, strict=True)}


def literal_of(value: Any) -> Any:
    """A value, read once more where it is a text that holds a list or an object of JSON or Python."""
    if not (isinstance(value, str) and value.lstrip()[:1] in ("{", "[") and len(value) < 100_000):
        return value
    try:
        try:
            return parse_json(value.encode(), "")
        except InputError:
            tree = ast.parse(value.strip(), mode="eval").body
            found = ast.literal_eval(tree)
        json.dumps(found, ensure_ascii=False).encode()  # half a surrogate pair could not be written again
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise SetAsideError("options_unread", f"not a Python literal: {value[:80]!r}") from error
    if isinstance(tree, ast.Dict) and len(found) < len(tree.keys):
        raise SetAsideError("options_unread", f"a key twice in {value[:80]!r}")
    return found


def options_of(value: Any) -> Options:
    """Return options from a text, {"A": ..}, [..], [{"letter": .., "content": ..}] or {"label": [..], "text": [..]}."""
    if value is None or value == [] or value == {}:
        return []
    if isinstance(value, str):
        value = _in_text(value)
    pairs: Options = []
    if isinstance(value, dict) and value.keys() == {"label", "text"} and all(map(_is_list, value.values())):
        pairs = list(zip(value["label"], value["text"], strict=False))
    elif isinstance(value, dict):
        pairs = list(value.items())
        pairs = sorted(pairs) if all(key in list(LETTERS) for key, _ in pairs) else pairs
    elif _is_list(value) and all(isinstance(option, dict) for option in value):
        names = (("letter", "key", "label", "id"), ("content", "value", "text"))
        pairs = [tuple(next((o[name] for name in side if name in o), None) for side in names) for o in value]
    elif _is_list(value):
        pairs = list(zip(LETTERS, _unheaded(value), strict=False)) if len(value) <= len(LETTERS) else []
    pairs = [((plain_text(letter) or "").upper(), text) for letter, text in pairs]
    letters = {letter for letter, _ in pairs}
    if len(letters) < max(1, len(pairs)) or not (letters <= {*LETTERS} or letters <= {*map(str, range(27))}):
        detail = f"options must be up to 26 texts by letter or in a list, found {str(value)[:80]!r}"
        raise SetAsideError("options_unread", detail)
    if odd := [text for _, text in pairs if text is not None and as_text(text) is None]:
        raise SetAsideError("options_unread", f"an option must be a text, found {str(odd[0])[:80]!r}")
    return [(letter, as_text(text)) for letter, text in pairs]


def _unheaded(texts: list) -> list:
    """Return the texts of a list without their letters, where each begins with its own: ["A. iron", "B. zinc"]."""
    lettered = zip(LETTERS, texts, strict=False)
    heads = [re.match(rf"{letter}[.):、．] *", str(text)) for letter, text in lettered]
    return [text[head.end() :] for head, text in zip(heads, texts, strict=True)] if all(heads) else texts


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def only(answer: Any) -> Any:
    """Return the answer, also where it is a list of one, or a literal of one."""
    answer = literal_of(answer)
    if isinstance(answer, list) and len(answer) != 1:
        raise SetAsideError("several_answers" if answer else "no_label")
    return answer[0] if isinstance(answer, list) else answer


_HEADED = re.compile(r"[(\[]?([A-Za-z]|\d{1,2})[)\].:：、．]+ ?(.*)")


def letters_named(answer: Any, options: Options) -> set[str]:
    """Return the letters of the options that a value names: by letter, by text, by both, as in "B. zinc"."""
    said = _exact(as_text(answer) or "")
    texts = {letter: _exact(text or "") for letter, text in options}
    named = {letter for letter, text in texts.items() if said and (said.upper() == letter or text == said)}
    if headed := _HEADED.fullmatch(said):
        letter = headed[1].upper()
        if letter in texts and (not headed[2] or headed[2].startswith(texts[letter] or " ")):
            named.add(letter)
    return named


def _exact(text: str) -> str:
    return " ".join(text.split())


def right_letter(answer: Any, options: Options, base: int | None, letter_first: bool) -> str | None:
    """Return the letter of the right option, None where none is named.

    letter_first: a letter is never the text of another option. Raises SetAsideError for more than one right option.
    """
    answer = only(answer)
    if base is not None and (number := number_of(answer)) is not None:
        return options[number - base][0] if 0 <= number - base < len(options) else None
    letters = re.sub(r"[\s,，、;；]", "", answer if isinstance(answer, str) else "").upper()
    own = {letter for letter, _ in options}
    named = {letters} if letter_first and letters in own else letters_named(answer, options)
    if not named and len(letters) > 1 and set(letters) <= own:
        raise SetAsideError("several_answers")
    named = named or ({letters} & own)
    if len(named) > 1:
        raise SetAsideError(
            "answer_ambiguous", f"{str(answer)[:80]!r} is a letter, and another option's text"
        )
    return next(iter(named), None)
