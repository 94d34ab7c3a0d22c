"""Readers of questions and trajectories: public sets as they are published, our own records, and whatever people bring.

A file's first record says what form all have, and one loop reads them: a record that is no question is set aside with
its place and a code. Left out: what each form looks like (sets.py, own.py, conversations.py), and the forms of files
(tables.py).
"""

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fleming.public import conversations, own, sets
from fleming.public.tables import Row, read_rows
from fleming.public.values import SetAsideError
from fleming.records import Question, Trajectory
from fleming.settings import Config
from model.errors import InputError

OWN = "own"
DEFAULT = Config()
NO_FAULT = ("blank", "no_label", "several_answers")  # sound records that are no question with one answer
UNREAD = ("no_object", "cells", "quotes", "too_long", "encoding")  # whatever the form, it cannot be read
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
    path: Path, cfg: Config, reader: Callable[[Row], Callable[[Row, str], list]]
) -> tuple[int, list, Aside]:
    """Return how many records there are, what is read of them, ids unique, and what is set aside.

    reader(first record) says how records are read. Raises InputError where nothing could be, or where more than
    MOST_FLAWED of the records are flawed, and more than one.
    """
    rows, read, found, set_aside = 0, None, {}, []

    def aside(where: str, code: str, detail: str = "") -> None:
        set_aside.append({"record": where, "code": code} | ({"detail": detail} if detail else {}))

    def fault(where: str, code: str, detail: str) -> None:
        nonlocal rows
        rows += 1
        aside(where, code, detail)

    for where, row in read_rows(path, cfg.data.header, fault):
        rows += 1
        if all(value is None for value in row.values()):
            aside(where, "blank")
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
        forms = "" if first["code"] in UNREAD else f"; {own.FORMS_KNOWN}"
        raise InputError(f"{first['record']}: {first.get('detail', '')} ({first['code']}); {share}{forms}")
    return rows, list(found.values()), set_aside


def read_set(path: str | Path, name: str | None = None, cfg: Config = DEFAULT) -> QuestionSet:
    """Read a file of questions: a public set's form, recognised by the first record's columns, or any other.

    name: read as this set and refuse another form. cfg: which columns have what, and how free answers are compared.
    Raises InputError for a file that is no table, that holds no question, or too many flawed records.
    """
    path, known = Path(path), name

    def reader(row: Row) -> Callable[[Row, str], list[Question]]:
        nonlocal known
        known = known or (OWN if own.told_of(cfg) else sets.recognise(row)) or OWN
        return own.reader(path, row, cfg) if known == OWN else sets.reader(known, path)

    rows, questions, set_aside = _read_all(path, cfg, reader)
    if not questions:
        first = set_aside[0] if set_aside else None
        why = f" ({first['code']}): {first['record']} has no answer, or nothing" if first else ""
        raise InputError(f"{path}: no questions in it{why}")
    return QuestionSet(known or OWN, rows, questions, set_aside)


def fitting(path: Path, cfg: Config) -> Config:
    """Return the settings, without columns that are told of another file than this: its first record lacks them."""
    _, first = next(read_rows(path, cfg.data.header, lambda *_: None), ("", {}))
    if not own.lacking(first, own.told_of(cfg).values()):
        return cfg
    return replace(cfg, data=replace(cfg.data, columns={}, header=()))


def read_questions(
    path: str | Path, cfg: Config = DEFAULT, say: Callable[[str], Any] = lambda line: None
) -> list[Question]:
    """Return the questions of a file, ids unique; what is set aside is said. See `read_set`."""
    found = read_set(path, cfg=cfg)
    if found.set_aside:
        say(f"{path}: {found.describe_set_aside()}, the first: {found.set_aside[0]['record']}")
    return found.questions


def read_trajectories(
    path: str | Path, cfg: Config = DEFAULT, say: Callable[[str], Any] = lambda line: None
) -> list[Trajectory]:
    """Return the worked answers of a file in any form of assets/forms.yaml, one for each turn that is learned from.

    What is set aside is said. Raises InputError as `read_set` does.
    """
    path = Path(path)
    rows, found, set_aside = _read_all(path, cfg, lambda first: conversations.reader(path, first, cfg))
    if not found:
        raise InputError(f"{path}: no trajectories in it")
    if set_aside:
        say(f"{path}: {_describe(set_aside, rows)}, the first: {set_aside[0]['record']}")
    return found


def place_of(path: Path, key: str, cfg: Config) -> str:
    """Return where the record stands that a trajectory's id comes from, for a message."""
    read = None
    for where, row in read_rows(path, cfg.data.header, lambda *_: None):
        with contextlib.suppress(SetAsideError, InputError):
            read = read or conversations.reader(path, row, cfg)
            if any(trajectory.id == key for trajectory in read(row, where)):
                return where
    return f"{path}: {key}"
