"""A form of questions as data: which column has what of a question, and how its right option is told.

Left out: what a value says (values.py), which public set has which forms (sets.py), the forms of files that are no
public set's (own.py), and files (readers.py).
"""

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fleming.public.tables import Row, read_rows
from fleming.public.values import (
    NO_LABEL,
    Options,
    SetAsideError,
    letters_named,
    number_of,
    only,
    options_of,
    plain_text,
    text_of,
    value_of,
)
from fleming.records import LETTERS
from fleming.text import reserved
from model.errors import InputError


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
    file_tells: bool = False
    """Its numbers are counted from what the file shows; see `counted`."""
    also: str | None = None
    """A column that names the right option once more, where it is there."""
    published: bool = True
    """A public set's: its answers are letters, even where a letter is another option's text, and what is wrong with its
    texts is counted (benchmarks.py: defects), and its questions are asked all the same."""
    filler: str | None = None
    """An option that only fills up."""
    context: str | None = None
    key: str | None = None
    """The record's id."""
    groups: dict[str, str] = field(default_factory=dict)
    """Name of a group -> column."""
    tidy: str | None = None
    """The function of sets.py that makes these columns of a record that has them in another way."""

    def fields(self, row: Row) -> dict[str, Any]:
        """Return the fields of the record's Question, and its `key`. Raises SetAsideError."""
        chosen, letters = self.choice(self.options_in(row), row)
        groups = {name: plain_text(row.get(column)) for name, column in self.groups.items()}
        groups = {name: text for name, text in groups.items() if text is not None}
        return {
            "question": text_of(row, self.question),
            **chosen,
            "context": value_of(row, self.context),
            "provenance": {"groups": groups, **letters},
            "key": value_of(row, self.key),
        }

    def options_in(self, row: Row) -> Options:
        """Return the record's options, none where it has none. Raises SetAsideError for what are no options."""
        if len(self.options) == 1:
            return options_of(value_of(row, self.options[0]))
        lettered = zip(LETTERS, self.options, strict=False)
        return options_of({letter: row[column] for letter, column in lettered if column in row})

    def choice(self, options: Options, row: Row) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return options and answer of a Question, and "letters", those of the file, where it has others.

        Raises SetAsideError where the row does not name one of the options.
        """
        answer, also = value_of(row, self.answer), value_of(row, self.also)
        if answer in NO_LABEL or (self.base is not None and number_of(answer) == -1):  # -1: the hub hides it
            raise SetAsideError("no_label")
        missing = (None, self.filler) if self.published else NO_LABEL
        given = ((letter, text) for letter, text in options if text not in missing)
        present = {letter: text for letter, text in given if text.strip()}
        if len(present) < 2:
            raise SetAsideError("too_few_options", f"{len(present)} of two or more options")
        for letter, text in present.items():
            if not self.published and (code := reserved(text)):
                raise SetAsideError(code, f"in option {letter}: {text[:80]!r}")
        right = self._right(answer, options)
        if right not in present:
            detail = f"the right option is {str(answer)[:80]!r}, the options are {', '.join(present)}"
            raise SetAsideError("answer_no_option", detail)
        if also not in NO_LABEL and right not in letters_named(also, options):
            detail = f"{self.also} {str(also)[:80]!r} is not option {right}, which {self.answer} names"
            raise SetAsideError("answers_differ", detail)

        old = dict(zip(LETTERS, present, strict=False))
        new = {letter: ours for ours, letter in old.items()}
        closed_up = {new[letter]: text for letter, text in present.items()}
        letters = {} if old.keys() == present.keys() else {"letters": old}
        return {"options": closed_up, "answer": new[right]}, letters

    def _right(self, answer: Any, options: Options) -> str | None:
        """Return the letter of the right option, None where none is named; SetAsideError for more than one."""
        answer = only(answer)
        if self.base is not None and (number := number_of(answer)) is not None:
            place = number - self.base
            return options[place][0] if 0 <= place < len(options) else None
        if len(self.options) > 1 and answer in self.options and not letters_named(answer, options):
            return LETTERS[self.options.index(answer)]  # by the name of its column: "option_b"
        own = {letter for letter, _ in options}
        letters = re.sub(r"[\s,，、;；]", "", answer if isinstance(answer, str) else "").upper()
        if self.published and letters in own:
            return letters
        named = letters_named(answer, options)
        if not named and len(letters) > 1 and set(letters) <= own:
            raise SetAsideError("several_answers")
        if len(named) > 1:
            detail = f"{str(answer)[:80]!r} is a letter, and another option's text"
            raise SetAsideError("answer_ambiguous", detail)
        return next(iter(named or {letters} & own), None)


_EXPLAINED = re.compile(r"\W{0,4}ans(?:wer)?\b[ .:\-]{0,4}(?:is )?[ ('\"]{0,4}([a-d])\b", re.IGNORECASE)


def counted(form: Form, path: Path, header: tuple[str, ...] = ()) -> Form:
    """Return the form with the base, 0 or 1, from which the file counts its right options; without, if not by number.

    A 0, or the number of options, decides. Where there is neither, MedMCQA's explanations that begin with "Ans. b" do,
    if at least three do and nine in ten agree. Raises InputError where both occur, where the explanations speak against
    what they say, and where nothing decides.
    """
    told = numbers = named = zeros = lasts = 0
    explained: Counter[int] = Counter()  # base -> explanations by which it is this
    for _, row in read_rows(path, header, lambda *_: None):
        answer = value_of(row, form.answer)
        number = number_of(answer[0] if isinstance(answer, list) and len(answer) == 1 else answer)
        told += answer not in NO_LABEL and number != -1
        try:
            options = form.options_in(row)
        except SetAsideError:
            continue
        if number is None or number < 0:
            continue
        numbers += 1
        named += bool(letters_named(number, options))
        zeros += number == 0
        lasts += number == len(options)
        if said := _EXPLAINED.match(str(row.get("exp"))):
            explained[number - LETTERS.index(said[1].upper())] += 1
        for letter in letters_named(value_of(row, form.also), options):
            explained[number - [own for own, _ in options].index(letter)] += 3

    if numbers <= told / 2 or named >= 0.9 * numbers:
        # Told in another way, or by none that has a label.
        return replace(form, base=0) if form.published else form
    votes = {base for base in (0, 1) if explained[base] >= 3 and explained[base] >= 0.9 * explained.total()}
    found = {base for base, count in ((0, zeros), (1, lasts)) if count} or votes
    if len(found | votes) == 1:
        return replace(form, base=found.pop())
    told_by = f"; explanations count from 0 {explained[0]} times, from 1 {explained[1]} times"
    raise InputError(
        f"{path}: is {form.answer} counted from 0 or from 1? Of {numbers} numbers {zeros} are 0, as from 0, and "
        f"{lasts} are how many options there are, as from 1{told_by * bool(explained)}. Give more of the file, or the "
        "right options by letter or text"
    )
