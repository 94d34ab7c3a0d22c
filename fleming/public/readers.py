"""Readers of questions and trajectories: public sets as they are published, our own records, and whatever people bring.

A record that is no question is set aside with its place and a code. Left out: what each form looks like (sets.py,
own.py, conversations.py), and the forms of files (tables.py).
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from fleming.public import own
from fleming.public.conversations import conversation_form, trajectories_of
from fleming.public.forms import NO_LABEL, Form, SetAsideError, letters_named, number_of, plain_text, value_of
from fleming.public.sets import SETS, fields_of
from fleming.public.tables import ID, Row, read_rows
from fleming.records import LETTERS, Question, Trajectory, question_from_json, trajectory_from_json
from fleming.settings import Config
from model.errors import InputError

OWN = "own"
DEFAULT = Config()
NO_FAULT = (
    "blank",
    "no_label",
    "several_answers",
)  # of records that are sound, but no question with one answer
MOST_FLAWED = 0.2  # of a file's records; where more are set aside, it is another file than it is taken for

Aside = list[dict[str, str]]
"""{"record": where it stands, "code", and perhaps "detail"}."""


@dataclass(frozen=True)
class QuestionSet:
    """What a file holds."""

    name: str
    """The set whose form its records have, or "own"."""
    rows: int
    """Records read."""
    questions: list[Question]
    """The questions, in the file's order, ids unique."""
    set_aside: Aside = field(default_factory=list)
    """The other records."""

    def describe_set_aside(self) -> str:
        """Return "3 of 5,000 records set aside (several_answers 2, blank 1)", or "" where there are none."""
        return _describe(self.set_aside, self.rows)


def _describe(set_aside: Aside, rows: int) -> str:
    codes = Counter(record["code"] for record in set_aside).most_common()
    listed = ", ".join(f"{code} {count}" for code, count in codes)
    return f"{len(set_aside)} of {rows:,} records set aside ({listed})" if listed else ""


def _read_all(
    path: Path, header: tuple[str, ...], reader: Callable[[Row], Callable[[Row, str], list]]
) -> tuple[int, list, Aside]:
    """Return how many records there are, what is read of them, ids unique, and what is set aside.

    reader(first record) says how records are read. Raises InputError where nothing could be, or where more than
    MOST_FLAWED of the records are flawed, and more than one.
    """
    rows, read, found, set_aside = 0, None, {}, []

    def aside(where: str, code: str, detail: str) -> None:
        set_aside.append({"record": where, "code": code} | ({"detail": detail} if detail else {}))

    def fault(where: str, code: str, detail: str) -> None:
        nonlocal rows
        rows += 1
        aside(where, code, detail)

    for where, row in read_rows(path, header, fault):
        rows += 1
        if all(value is None for value in row.values()):
            set_aside.append({"record": where, "code": "blank"})
            continue
        read = read or reader(row)
        try:
            for record in read(row, where):
                if record.id in found:
                    raise SetAsideError("repeated_id", f"id {record.id[:200]!r} occurs twice")
                found[record.id] = record
        except SetAsideError as reason:
            aside(where, reason.code, reason.detail)
        except InputError as error:
            aside(where, "bad_record", str(error).removeprefix(f"{where}: "))
    flawed = [record for record in set_aside if record["code"] not in NO_FAULT]
    if flawed and (not found or len(flawed) > max(1, MOST_FLAWED * rows)):
        first, share = flawed[0], f"{len(flawed):,} of {rows:,} records are flawed, over {MOST_FLAWED:.0%}"
        raise InputError(
            f"{first['record']}: {first.get('detail', '')} ({first['code']}); {share}; {own.FORMS_KNOWN}"
        )
    return rows, list(found.values()), set_aside


def read_set(path: str | Path, name: str | None = None, cfg: Config = DEFAULT) -> QuestionSet:
    """Read a file of questions: a public set's form, recognised by the first record's columns, or any other.

    name: read as this set and refuse another form. cfg: which columns have what, and how free answers are compared.
    Raises InputError for a file that is no table, that holds no question, or too many flawed records.
    """
    path, known = Path(path), name

    def reader(row: Row) -> Callable[[Row, str], list[Question]]:
        nonlocal known
        known = known or (OWN if own.told_of(cfg) else recognise(row))
        if known == OWN:
            return own.reader(path, row, cfg, partial(count_base, path, cfg.data.header))
        return _set_reader(known, path)

    rows, questions, set_aside = _read_all(path, cfg.data.header, reader)
    if not questions:
        first = set_aside[0] if set_aside else None
        why = f" ({first['code']}): {first['record']} has no answer, or nothing" if first else ""
        raise InputError(f"{path}: no questions in it{why}")
    return QuestionSet(known or OWN, rows, questions, set_aside)


def fitting(path: Path, cfg: Config) -> Config:
    """Return the settings, without columns that are told of another file than this: its first record lacks them."""
    _, first = next(read_rows(path, cfg.data.header, lambda *_: None), ("", {}))
    if not own.lacking(first, own.told_of(cfg)):
        return cfg
    return replace(cfg, data=replace(cfg.data, columns={}, header=()))


def recognise(row: Row) -> str:
    """Return the name of the set whose columns the row has, "own" where there is none."""
    for name, public in SETS.items():
        if not public.by_name_only and public.missing(row) is None:
            return name
    return OWN


def _set_reader(name: str, path: Path) -> Callable[[Row, str], list[Question]]:
    public = SETS[name]
    if name == "medmcqa":
        form = public.forms[0]
        public = replace(public, forms=(replace(form, base=count_base(path, (), form) or 0),))
    stem, split = own.stem_of(path), own.split_of_name(path) or public.split

    def read(row: Row, where: str) -> list[Question]:
        missing = public.missing(row)
        if missing:
            raise SetAsideError("another_form", f"not a record of {name}: it lacks {missing!r}")
        fields = fields_of(public, row)
        key = fields.pop("key")
        if key in (None, ""):
            key = row.get(ID)
        key = plain_text(own.number_in(where) if key is None else key)
        if key is None:
            raise SetAsideError("bad_id", "its id must be a text or a number")
        return [
            question_from_json(
                {"id": f"{name}/{stem}/{key}", "source": name, "split": split, **fields}, where
            )
        ]

    return read


_EXPLAINED = re.compile(r"\W{0,4}ans(?:wer)?\b[ .:\-]{0,4}(?:is )?[ ('\"]{0,4}([a-d])\b", re.IGNORECASE)


def count_base(path: Path, header: tuple[str, ...], form: Form) -> int | None:
    """Return whether a file counts its right options from 0 or from 1; None where it does not tell them by number.

    A 0, or the number of options, decides. Where there is neither, MedMCQA's explanations that begin with "Ans. b" do,
    if at least three do and nine in ten agree. Raises InputError where both occur, where the explanations speak against
    what they say, and where nothing decides.
    """
    numbers: Counter[str] = Counter()
    agree: Counter[int] = Counter()
    for _, row in read_rows(path, header, lambda *_: None):
        answer = value_of(row, form.answer)
        number = number_of(answer)
        numbers["told"] += answer not in NO_LABEL and number != -1
        if number is None:
            continue
        try:
            options = form.options_in(row)
        except SetAsideError:
            continue
        numbers["a text or letter"] += bool(letters_named(number, options))
        numbers["0"] += number == 0
        numbers["the last"] += number == len(options)
        numbers["any"] += number >= 0
        text = row.get("exp")
        if number >= 0 and isinstance(text, str) and (explained := _EXPLAINED.match(text)):
            agree[number - LETTERS.index(explained[1].upper())] += 1
    if numbers["any"] <= numbers["told"] / 2 or numbers["a text or letter"] >= 0.9 * numbers["any"]:
        return None  # the right options are told in another way: the options are numbers too, or none has a label
    votes = {base for base in (0, 1) if agree[base] >= 3 and agree[base] >= 0.9 * agree.total()}
    found = {base for base, sign in ((0, "0"), (1, "the last")) if numbers[sign]} or votes
    if len(found | votes) == 1:
        return found.pop()
    raise InputError(
        f"{path}: is {form.answer} counted from 0 (the hub) or from 1 (the authors)? It is 0 {numbers['0']} times and "
        f"the number of options {numbers['the last']} times; explanations count from 0 {agree[0]} times, from 1 "
        f"{agree[1]}. Give more of the file, or the right options by letter or text"
    )


def cop_base(path: Path) -> int:
    """Return whether a MedMCQA file counts its right options `cop` from 0 or from 1; see `count_base`."""
    return count_base(path, (), SETS["medmcqa"].forms[0]) or 0


def read_questions(
    path: str | Path, cfg: Config = DEFAULT, say: Callable[[str], Any] = lambda line: None
) -> list[Question]:
    """Return the questions of a file, ids unique; what is set aside is said. See `read_set`."""
    found = read_set(path, cfg=cfg)
    if found.set_aside:
        say(f"{path}: {found.describe_set_aside()}")
    return found.questions


def read_trajectories(
    path: str | Path, cfg: Config = DEFAULT, say: Callable[[str], Any] = lambda line: None
) -> list[Trajectory]:
    """Return the worked answers of a file in any form of assets/forms.yaml, one for each turn that is learned from.

    What is set aside is said. Raises InputError as `read_set` does.
    """
    path = Path(path)

    def reader(row: Row) -> Callable[[Row, str], list[Trajectory]]:
        form = conversation_form(row, cfg.data.columns)
        if form is None:
            raise InputError(
                f"{path}: no form of worked answers has the columns {own.listed(row)}; {own.FORMS_KNOWN}"
            )
        return lambda row, where: [
            trajectory_from_json(record, where)
            for record in trajectories_of(row, form, f"{own.stem_of(path)}/{own.number_in(where)}", cfg)
        ]

    rows, found, set_aside = _read_all(path, cfg.data.header, reader)
    if not found:
        raise InputError(f"{path}: no trajectories in it")
    if set_aside:
        say(f"{path}: {_describe(set_aside, rows)}")
    return found
