"""Readers of questions and trajectories: our own records, and public sets as they are published.

A record of another shape is refused with its place, never guessed at. Left out: what each public set looks like
(sets.py), and the forms of files (tables.py).
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fleming.files import read_jsonl
from fleming.public.forms import SetAsideError, plain_text, whole_number
from fleming.public.sets import SETS, cop_letter, fields_of
from fleming.public.tables import ID, Row, read_rows
from fleming.records import LETTERS, SPLITS, Question, Trajectory, question_from_json, trajectory_from_json
from model.errors import InputError

OWN = "own"


@dataclass(frozen=True)
class QuestionSet:
    """What a file holds."""

    name: str
    """The set whose form its records have, or "own"."""
    rows: int
    """Records read."""
    questions: list[Question]
    """The questions, in the file's order, ids unique."""
    set_aside: list[dict[str, str]] = field(default_factory=list)
    """The other records: {"record": where it stands, "code": blank | incomplete | several_answers | no_label}."""

    def describe_set_aside(self) -> str:
        """Return "3 of 5,000 records set aside (several_answers 2, blank 1)", or "" where there are none."""
        codes = Counter(record["code"] for record in self.set_aside).most_common()
        listed = ", ".join(f"{code} {count}" for code, count in codes)
        return f"{len(self.set_aside)} of {self.rows:,} records set aside ({listed})" if listed else ""


def read_set(path: str | Path, name: str | None = None) -> QuestionSet:
    """Read a file of questions: our own records, or those of one of SETS, recognised by the first record's columns.

    name: read as this set and refuse another form. Raises InputError naming file and record for a record that is
    broken, for an id that occurs twice, and for a file in which there is no question.
    """
    path, rows, read = Path(path), 0, None
    questions: dict[str, Question] = {}
    set_aside: list[dict[str, str]] = []
    for where, row in read_rows(path):
        rows += 1
        try:
            if all(value is None for value in row.values()):
                raise SetAsideError("blank")
            if read is None:
                name = name or recognise(row)
                read = _reader(name, path)
            question = read(row, where)
        except SetAsideError as reason:
            set_aside.append({"record": where, "code": str(reason)})
            continue
        if question.id in questions:
            raise InputError(f"{where}: id {question.id[:200]!r} occurs twice")
        questions[question.id] = question
    if not questions:
        why = f" ({set_aside[0]['code']})" if set_aside else ""
        raise InputError(f"{path}: no questions in it{why}")
    return QuestionSet(name or OWN, rows, list(questions.values()), set_aside)


def recognise(row: Row) -> str:
    """Return the name of the set whose columns the row has, "own" where there is none."""
    for name, public in SETS.items():
        if not public.by_name_only and public.missing(row) is None:
            return name
    return OWN


def _reader(name: str, path: Path) -> Callable[[Row, str], Question]:
    if name == OWN:
        return question_from_json
    public = SETS[name]
    base = cop_base(path) if name == "medmcqa" else 1
    stem = re.sub(r"(\.(jsonl?|csv|tsv|parquet|gz|xz))+$", "", path.name, flags=re.IGNORECASE)
    words = re.split(r"[^a-z]+", stem.lower().replace("validation", "dev"))  # phrases_no_exclude_test
    split = next((word for word in words if word in SPLITS), public.split)

    def read(row: Row, where: str) -> Question:
        missing = public.missing(row)
        if missing:
            raise InputError(f"{where}: not a record of {name}: it lacks {missing!r}")
        if name in ("careqa", "medmcqa"):
            row = {**row, "cop": cop_letter(row, base, where)}
        fields = fields_of(public, row, where)

        key = fields.pop("key")
        if key in (None, ""):
            key = row.get(ID)
        if key is None:
            key = re.split(r"[: ]", where)[-1]  # the record's number
        key = plain_text(key)
        if key is None:
            raise InputError(f"{where}: its id must be a text or a number")
        head = {"id": f"{name}/{stem}/{key}", "source": name, "split": split}
        return question_from_json({**head, **fields}, where)

    return read


_EXPLAINED = re.compile(r"\W{0,4}ans(?:wer)?\b[ .:\-]{0,4}(?:is )?[ ('\"]{0,4}([a-d])\b", re.IGNORECASE)


def cop_base(path: Path) -> int:
    """Return whether a MedMCQA file counts its right options `cop` from 0 or from 1.

    A 0 or a 4 decides. Where there is neither, the explanations that begin with "Ans. b" do, if at least three do and
    nine in ten agree. Raises InputError where both a 0 and a 4 occur, where the explanations speak against what they
    say, and where nothing decides.
    """
    numbers: Counter[int] = Counter()
    agree: Counter[int] = Counter()
    for where, row in read_rows(path):
        if row.get("cop") is None:
            continue
        number = whole_number(row["cop"], "cop", where)
        numbers[number] += 1
        text = row.get("exp")
        if number >= 0 and isinstance(text, str) and (explained := _EXPLAINED.match(text)):
            agree[number - LETTERS.index(explained[1].upper())] += 1
    if not sum(numbers[n] for n in range(5)):
        return 0  # no record has a label
    votes = {base for base in (0, 1) if agree[base] >= 3 and agree[base] >= 0.9 * agree.total()}
    found = {base for base, number in ((0, 0), (1, 4)) if numbers[number]} or votes
    if len(found | votes) == 1:
        return found.pop()
    raise InputError(
        f"{path}: is cop counted from 0 (the hub) or from 1 (the authors)? It is 0 {numbers[0]} times and 4 "
        f"{numbers[4]} times; explanations count from 0 {agree[0]} times, from 1 {agree[1]}. Give more of the file"
    )


def read_questions(path: str | Path) -> list[Question]:
    """Return the questions of a file, ids unique; see `read_set`, which also says what was set aside."""
    return read_set(path).questions


def read_trajectories(path: str | Path) -> list[Trajectory]:
    """Return the trajectories of a JSONL file, ids unique. Raises InputError naming file and line for anything else."""
    seen: dict[str, Trajectory] = {}
    for where, record in read_jsonl(path):
        trajectory = trajectory_from_json(record, where)
        if trajectory.id in seen:
            raise InputError(f"{where}: id {trajectory.id!r} occurs twice")
        seen[trajectory.id] = trajectory
    if not seen:
        raise InputError(f"{path}: no trajectories in it")
    return list(seen.values())
