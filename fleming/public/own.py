"""Questions in a form that is no public set's: a person's own records, prompt and answer, verl's rows, any table.

- assets/forms.yaml has the usual names of columns; `data.columns` tells others, and then they alone are read
- options are in one column, in a column each, the wrong ones beside the right one's text, in the lines that end the
  question, or there are none: a free answer
- ids are made where there are none; whatever else a record holds is kept in `extra`

Left out: what the right option is (forms.py), the public sets (sets.py), worked answers (conversations.py).
"""

import contextlib
import functools
import itertools
import re
import string
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fleming.free_answer import read_number, short_text
from fleming.noise import generator
from fleming.prompt import with_options
from fleming.public.forms import Form, counted
from fleming.public.tables import Row, number_in, stem_of, table_suffix
from fleming.public.values import (
    FORMS,
    NO_LABEL,
    SetAsideError,
    as_text,
    letters_named,
    literal_of,
    messages_of,
    only,
    options_of,
    plain_text,
    text_of,
    value_of,
)
from fleming.records import Question, question_from_json
from fleming.settings import Config
from fleming.text import written_in
from fleming.typed import convert, field_types
from model.errors import InputError

FORMS_KNOWN = (
    "known are the public sets, question + options + answer in usual columns, prompt + answer, verl's rows; for the "
    f"cold start {', '.join(FORMS['conversations'])}. Name other columns by data.columns (docs/your-data.md)"
)
KINDS = field_types(Question)
FIXED = {"question", "options", "wrong", "answer"}
BESIDE = KINDS.keys() - FIXED
ANSWERED = {"messages", "response"}
"""Fields that only a worked answer has."""
SPLITS = {name: split for split, names in FORMS["splits"].items() for name in names}


# Which column has what


@functools.lru_cache(maxsize=4096)
def plain(name: str) -> str:
    """Return a column's name as names are compared."""
    return re.sub(r"[\W_]", "", name.casefold())


def told_of(
    cfg: Config, fields: Collection[str] = FORMS["questions"], worked: bool = False
) -> dict[str, Any]:
    """Return field -> column as told of questions, or else of worked answers. Raises InputError for other fields."""
    told = cfg.data.columns
    if worked != bool(told.keys() & ANSWERED):
        return {}
    if unknown := told.keys() - set(fields):
        raise InputError(f"data.columns: unknown field {min(unknown)!r}; the fields are {', '.join(fields)}")
    return told


def flat(columns: Iterable[Any]) -> list[str]:
    """Return the columns, those in a list or tuple one by one."""
    return [name for part in columns for name in (part if isinstance(part, list | tuple) else [part])]


def lacking(row: Row, columns: Iterable[Any]) -> list[str]:
    """Return those of the columns that the row lacks."""
    return [name for name in flat(columns) if name not in row and value_of(row, name) is None]


def listed(names: Iterable[str]) -> str:
    """Return the names of a record's columns, for a message."""
    return ", ".join(repr(name[:40]) for name in list(names)[:12])


def find_columns(names: tuple[str, ...], told: dict[str, Any]) -> dict[str, Any]:
    """Return field of a question -> its column among these: as told, else the usual one; of options perhaps several.

    Where the question, its options or its answer are told, nothing else says what they are.
    """
    by_name = {plain(name): name for name in reversed(names)}
    found = dict(told)
    for field, usual in FORMS["questions"].items():
        if field in told or (field in ("options", "wrong", "input") and told.keys() & FIXED):
            continue
        here = [by_name[plain(name)] for name in usual if plain(name) in by_name]
        inside = [name for name in usual if "." in name and name.partition(".")[0] in names]
        lettered = [_lettered(by_name, field)] if field in ("options", "wrong") and not here else []
        if columns := [column for column in here + inside + lettered if column]:
            found[field] = columns[0]
    if not told.keys() & FIXED:
        others = (name for name in names if plain(name) == "answer" and name != found.get("answer"))
        found["also"] = next(others, None)  # names the right option once more
    return found


def _lettered(by_name: dict[str, str], field: str) -> list[str]:
    """Return the columns that hold an option each, two or more: A, B, C; opa, opb; option_1, option_2; ending0."""
    for prefix in map(plain, FORMS[field]):
        for signs in (string.ascii_lowercase, range(27), range(1, 27)):
            names = itertools.takewhile(by_name.__contains__, (f"{prefix}{sign}" for sign in signs))
            if len(columns := [by_name[name] for name in names]) > 1:
                return columns
    return []


def split_of_name(path: Path) -> str | None:
    """Return the split that a file's name says: test of phrases_no_exclude_test, dev of validation-00000, or None."""
    words = re.split(r"[^a-z]+", stem_of(path).lower())
    return next((SPLITS[word] for word in words if word in SPLITS), None)


# Records


def reader(path: Path, first: Row, cfg: Config) -> Callable[[Row, str], list[Question]]:
    """Return what reads a record. Raises InputError where the first one has no question and answer that is known."""
    told = told_of(cfg)
    columns_of = functools.lru_cache(maxsize=1024)(lambda names: find_columns(names, told))
    columns, absent = columns_of(tuple(first)), lacking(first, told.values())
    if absent or not {"question", "answer"} <= columns.keys():
        lacks = f"no column {absent[0]!r}" if absent else "no known columns of a question and its answer"
        bare = ""
        if table_suffix(path) in (".csv", ".tsv") and not cfg.data.header:
            bare = " (no header? then name the columns by data.header, as in [question,A,B,C,D,answer])"
        raise InputError(f"{path}: {lacks}, its columns are {listed(first)}{bare}; {FORMS_KNOWN}")
    form = _form(columns)
    base = counted(form, path, cfg.data.header).base if form.options else None
    split, stem = split_of_name(path) or "train", stem_of(path)

    def read(row: Row, where: str) -> list[Question]:
        columns = columns_of(tuple(row))
        if not {"question", "answer"} <= columns.keys():
            raise SetAsideError("incomplete", f"its columns are {listed(row)}")
        fields = {"id": f"{stem}/{number_in(where)}", "split": split} | _beside(row, columns)
        question, system = _asked(row, columns["question"])
        below = as_text(value_of(row, columns.get("input")))
        if below and f"\n{below.strip()}\n" not in f"\n{question.strip()}\n":  # its lines may stand there
            question = f"{question}\n\n{below}"
        wrong = [] if "options" in columns else _wrong(row, columns.get("wrong"))
        fields |= _answered(row, question, _form(columns, base), wrong, fields, cfg)
        read = fields.keys() | ({"input"} if below is not None else set()) | ({"wrong"} if wrong else set())
        used = flat(column for field, column in columns.items() if field in read)
        extra = {name: value for name, value in row.items() if name not in used and value is not None}
        own = extra.pop("extra", None)
        system = {"system": system} if system else {}
        fields["extra"] = extra | system | (own if isinstance(own, dict) else {})
        return [question_from_json({"language": written_in(question)} | fields, where)]

    return read


def _form(columns: dict[str, Any], base: int | None = None) -> Form:
    options = tuple(flat([columns.get("options", ())]))
    answer, also = columns["answer"], columns.get("also")
    return Form(options=options, answer=answer, also=also, base=base, published=False)


# What stands beside question, options and answer


def _split(value: Any) -> str | None:
    if value is not None and str(value).casefold() not in SPLITS:
        raise SetAsideError("unknown_split", f"split is {str(value)[:80]!r}")
    return SPLITS.get(str(value).casefold())


def _texts(value: Any) -> list:
    """Return the list that a value is, or that stands in a table's cell, of texts alone; else one of the value."""
    found = value
    with contextlib.suppress(SetAsideError):
        found = literal_of(value)
    is_list = isinstance(found, list) and (found is value or all(isinstance(text, str) for text in found))
    return found if is_list else [value]


def _aliases(value: Any) -> Any:
    names = re.split("[;|]", value) if isinstance(value, str) and value.lstrip()[:1] != "[" else _texts(value)
    names = [name.strip() if isinstance(name, str) else name for name in names]
    return [name for name in names if name not in (None, "")]


def _tolerance(value: Any) -> Any:
    is_number = re.fullmatch(r"(?![1-9]\d{0,2},\d{3}$)\d{1,15}([.,]\d{1,15})?", str(value))
    return float(str(value).replace(",", ".")) if is_number else value


READ = {"id": plain_text, "split": _split, "aliases": _aliases, "tolerance": _tolerance}


def _beside(row: Row, columns: dict[str, str]) -> dict[str, Any]:
    """Return the other fields that the row has; of another type only for `extra`, but a free answer's."""
    fields = {}
    for field in columns.keys() & BESIDE:
        value = value_of(row, columns[field])
        value = READ[field](value) if field in READ else value
        try:
            if value not in (None, ""):
                fields[field] = convert(KINDS[field], value, "", field)
        except InputError as error:
            if field in ("answer_kind", "tolerance"):  # by which the answer would be judged
                raise SetAsideError(f"bad_{field}", str(error).removeprefix(": ")) from error
    return fields


# Question and answer


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


def _wrong(row: Row, columns: Any) -> list:
    """Return the wrong options, of a column each or of one that has all."""
    found = [value_of(row, column) for column in flat([columns])]
    found = found if isinstance(columns, list) else _aliases(found[0])
    return [text for text in found if text not in NO_LABEL]


def _with_wrong(row: Row, question: str, form: Form, wrong: list) -> dict[str, Any]:
    """Return options and answer where the right one's text stands apart: in an order that the question's text fixes."""
    right = only(value_of(row, form.answer))
    if right in NO_LABEL:
        raise SetAsideError("no_label")
    if right in wrong:
        raise SetAsideError("answer_ambiguous", f"{str(right)[:80]!r} is right, and a wrong option")
    order = generator(0, "options", question).permutation(len(wrong) + 1)
    options = options_of([[right, *wrong][i] for i in order])
    by_place = replace(form, answer="right", also=None, base=0)  # its text may be another option's letter
    return by_place.choice(options, {"right": [*order].index(0)})[0]


def _answered(
    row: Row, question: str, form: Form, wrong: list, fields: dict[str, Any], cfg: Config
) -> dict[str, Any]:
    """Return question, options and answer, or of a free answer its kind."""
    if wrong:
        return {"question": question, **_with_wrong(row, question, form, wrong)}
    options = form.options_in(row) if form.options else []
    answer, lettered = value_of(row, form.answer), None if options else with_options(question)
    if lettered and letters_named(answer, list(lettered.options.items())):
        question, options = lettered.question, list(lettered.options.items())
    if not options:
        return {"question": question, "options": {}, **_free(answer, fields, cfg)}
    chosen, letters = form.choice(options, row)
    provenance = fields.get("provenance") or {}
    return {"question": question, **chosen, "provenance": provenance | letters or None}


def _free(answer: Any, fields: dict[str, Any], cfg: Config) -> dict[str, Any]:
    """Return the free answer, its kind and its aliases; of several answers the first is the right one's name."""
    answers = _texts(answer)
    if not answers or answers[0] in NO_LABEL:
        raise SetAsideError("no_label")
    if as_text(answers[0]) is None:
        raise SetAsideError("answer_no_text", f"the answer is {str(answers[0])[:80]}, no text and no number")
    answers = [as_text(text) for text in answers]
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
    return {"answer": right, "answer_kind": kind, "aliases": aliases}
