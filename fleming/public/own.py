"""Questions in a form that is no public set's: a person's own records, prompt and answer, verl's rows, any table.

- assets/forms.yaml has the usual names of columns; `data.columns` tells others, and then they alone are read
- options are in one column, in a column each, in the lines that end the question, or there are none: a free answer
- ids are made where there are none; whatever else a record holds is kept in `extra`

Left out: what is no table (tables.py), the public sets (sets.py), worked answers (conversations.py).
"""

import contextlib
import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fleming.free_answer import read_number, short_text
from fleming.prompt import with_options
from fleming.public.conversations import FORMS, messages_of
from fleming.public.forms import (
    NO_LABEL,
    Form,
    Options,
    SetAsideError,
    as_text,
    letters_named,
    literal_of,
    plain_text,
    text_of,
    value_of,
)
from fleming.public.tables import Row, table_suffix
from fleming.records import Question, question_from_json
from fleming.settings import Config
from fleming.typed import convert, field_types
from model.errors import InputError

FORMS_KNOWN = (
    "known are the public sets, question + options + answer in usual columns, prompt + answer, verl's rows; for the "
    f"cold start {', '.join(FORMS['conversations'])}. Name other columns by data.columns (docs/your-data.md)"
)
FIXED = ("question", "options", "answer")


def plain(name: str) -> str:
    """Return a column's name as names are compared."""
    return re.sub(r"[\W_]", "", name.casefold())


def _flat(names: list) -> list[str]:
    return [name for part in names for name in (part if isinstance(part, list) else [part])]


USUAL = {field: _flat(names) for field, names in FORMS["questions"].items()}
_SPLITS = {name: split for split, names in FORMS["splits"].items() for name in names}


def listed(names: Iterable[str]) -> str:
    """Return the names of a record's columns, for a message."""
    return ", ".join(repr(name[:40]) for name in list(names)[:12])


def stem_of(path: Path) -> str:
    """Return the file's name without suffixes."""
    return re.sub(r"(\.(jsonl?|csv|tsv|parquet|gz|xz))+$", "", path.name, flags=re.IGNORECASE)


def split_of_name(path: Path) -> str | None:
    """Return the split that a file's name says: test of phrases_no_exclude_test, dev of validation-00000, or None."""
    words = re.split(r"[^a-z]+", stem_of(path).lower())
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def number_in(where: str) -> str:
    """Return a record's number, or its line."""
    return re.split(r"[: ]", where)[-1]


# Which column has what


def columns_of(row: Row, told: dict[str, Any]) -> dict[str, Any]:
    """Return field -> the column of the row that has it, of options perhaps a tuple of columns."""
    hashable = ((field, tuple(names) if isinstance(names, list) else names) for field, names in told.items())
    return dict(_columns(tuple(row), tuple(hashable)))


@functools.lru_cache(maxsize=1024)
def _columns(names: tuple[str, ...], told: tuple) -> tuple[tuple[str, Any], ...]:
    found = dict(told)
    by_name = {plain(name): name for name in reversed(names)}
    for field, usual in USUAL.items():
        if field in found or (field == "options" and dict(told).keys() & set(FIXED)):
            continue
        inside = [name for name in usual if "." in name and name.partition(".")[0] in names]
        here = [by_name[plain(name)] for name in usual if plain(name) in by_name]
        if columns := here or inside or (field == "options" and _lettered(by_name)):
            found[field] = columns[0]
    return tuple(found.items())


def _lettered(by_name: dict[str, str]) -> list[tuple[str, ...]]:
    """Return the columns that hold an option each, two or more: A, B, C; opa, opb; option_1, option_2; ending0."""
    for prefix in FORMS["options"]:
        for begins in ("abcdefghijklmnopqrstuvwxyz", range(27), range(1, 27)):
            names = [f"{prefix}{sign}" for sign in begins]
            count = next((i for i, name in enumerate(names) if name not in by_name), len(names))
            if count > 1:
                return [tuple(by_name[name] for name in names[:count])]
    return []


def _form(columns: dict[str, Any], base: int | None = None) -> Form:
    options = columns.get("options", ())
    options = (options,) if isinstance(options, str) else tuple(options)
    return Form(options=options, answer=columns["answer"], base=base)


# Records


def told_of(cfg: Config) -> dict[str, Any]:
    """Return the columns that are told of questions; those of worked answers are for conversations.py."""
    return {} if cfg.data.columns.keys() & {"messages", "response"} else cfg.data.columns


def lacking(row: Row, told: dict[str, Any]) -> list[str]:
    """Return the columns that are told and that the row lacks."""
    return [name for name in _flat(list(told.values())) if name not in row and value_of(row, name) is None]


def reader(
    path: Path, first: Row, cfg: Config, base_of: Callable[[Form], int | None]
) -> Callable[[Row, str], list[Question]]:
    """Return what reads a record. Raises InputError where the first one has no question and answer that is known."""
    told = told_of(cfg)
    if unknown := told.keys() - USUAL.keys():
        raise InputError(f"data.columns: unknown field {min(unknown)!r}; the fields are {', '.join(USUAL)}")
    columns = columns_of(first, told)
    absent = lacking(first, told)
    if absent or not {"question", "answer"} <= columns.keys():
        lacks = f"no column {absent[0]!r}" if absent else "no known columns of a question and its answer"
        bare = ""
        if table_suffix(path) in (".csv", ".tsv") and not cfg.data.header:
            bare = " (no header? then name the columns by data.header, as in [question,A,B,C,D,answer])"
        raise InputError(f"{path}: {lacks}, its columns are {listed(first)}{bare}; {FORMS_KNOWN}")
    base = base_of(_form(columns)) if "options" in columns else None
    split, stem = split_of_name(path) or "train", stem_of(path)

    def read(row: Row, where: str) -> list[Question]:
        columns = columns_of(row, told)
        if not {"question", "answer"} <= columns.keys():
            raise SetAsideError("incomplete", f"its columns are {listed(row)}")
        fields = {"id": f"{stem}/{number_in(where)}", "split": split} | _beside(row, columns)
        question, system = _asked(row, columns["question"])
        fields |= _answered(row, question, columns, base, fields, cfg)
        used = _flat([list(c) if isinstance(c, tuple) else c for f, c in columns.items() if f in fields])
        used += ["extra"]
        extra = {name: value for name, value in row.items() if name not in used and value is not None}
        extra |= {"system": system} if system else {}
        own = row.get("extra")
        fields["extra"] = extra | (own if isinstance(own, dict) else {})
        return [question_from_json(fields, where)]

    return read


def _beside(row: Row, columns: dict[str, Any]) -> dict[str, Any]:
    """Return what the row says beside question, options and answer; a value of another type is for `extra` alone."""
    fields, kinds = {}, field_types(Question)
    for field in columns.keys() - set(FIXED):
        value = value_of(row, columns[field])
        if field == "id":
            value = plain_text(value)
        elif field == "split" and value is not None:
            value = _SPLITS.get(str(value).casefold())
            if value is None:
                raise SetAsideError("unknown_split", f"split is {str(row[columns[field]])[:80]!r}")
        elif field == "aliases":
            value = literal_of(value)
            value = [value] if isinstance(value, str) else value
        elif field == "tolerance":
            value = float(value) if re.fullmatch(r"\d{1,15}(\.\d{1,15})?", str(value)) else value
        with contextlib.suppress(InputError):
            fields |= {} if value in (None, "") else {field: convert(kinds[field], value, "", field)}
    return fields


def _asked(row: Row, column: str) -> tuple[str, str | None]:
    """Return the question, and the system message where the column holds a conversation of a user's one message."""
    value = value_of(row, column)
    if not isinstance(value, list):
        return text_of(row, column), None
    said = messages_of(value)
    system = "\n".join(message["content"] for message in said if message["role"] == "system")
    if [message["role"] for message in said if message["role"] != "system"] != ["user"]:
        raise SetAsideError("several_turns", f"{column} must be one message of a user")
    return said[-1]["content"], system or None


def _answered(
    row: Row, question: str, columns: dict[str, Any], base: int | None, fields: dict[str, Any], cfg: Config
) -> dict[str, Any]:
    """Return question, options and answer, or of a free answer its kind."""
    form = replace(_form(columns, base), letter_first=False, published=False)
    answer = value_of(row, form.answer)
    options: Options = form.options_in(row) if form.options else []
    lettered = None if options else with_options(question)
    if lettered and letters_named(answer, list(lettered.options.items())):
        question, options = lettered.question, list(lettered.options.items())
    if options:
        also = next((name for name in row if plain(name) == "answer" and name != form.answer), None)
        form = replace(form, question="@question", options=("@options",), also=also)
        read = form.fields({**row, "@question": question, "@options": dict(options)})
        letters = {"letters": found} if (found := read["provenance"].get("letters")) else {}
        provenance = {**(fields.get("provenance") or {}), **letters} or None
        return {name: read[name] for name in ("question", "options", "answer")} | {"provenance": provenance}

    answers = [as_text(text) for text in (answer if isinstance(answer, list) else [answer])]
    if not answers or answers[0] in NO_LABEL:
        raise SetAsideError("no_label")
    right, *aliases = [(text or "").rpartition("####")[2].strip() for text in answers]  # as GSM8K's end
    kind = fields.get("answer_kind") or (cfg.answer_style if cfg.answer_style in ("number", "free") else None)
    if kind is None and re.fullmatch(r"\(?[A-Za-z]\)?\.?", right):
        detail = f"the answer is {right!r}; where are the options? Else say answer_kind: text"
        raise SetAsideError("letter_without_options", detail)
    number = read_number(right)
    kind = kind or ("number" if number and number.known else "text")
    if (kind == "number" and number is None) or (kind == "text" and short_text(right) is None):
        raise SetAsideError(f"answer_no_{kind}", f"the answer is {right[:80]!r}")
    aliases = [*fields.get("aliases", ()), *filter(None, aliases)]
    return {"question": question, "options": {}, "answer": right, "answer_kind": kind, "aliases": aliases}
