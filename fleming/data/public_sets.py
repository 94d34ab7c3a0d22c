r"""Public question sets in the forms in which their authors and the hubs publish them, as our Questions.

| set | forms |
|---|---|
| careqa | `op1 .. op4`, `cop` from 1 |
| medmcqa | `opa .. opd`, `cop`: from 1 in the authors' files, from 0 on the hub; see `cop_base` |
| medbullets | `opa .. opd` or `ope` (or `choicesA ..`), `answer_idx` |
| medqa | `options`, `answer_idx`; `sent1`, `ending0 ..`, `label`; `data: {Question, Options, Correct Option}` |
| mmlu_pro | `options` a list, `answer`, `answer_index` |
| medxpertqa | `options` by letter or a list, `label`; choices that the question repeats are taken off it |
| pubmedqa | `QUESTION`, `CONTEXTS` or `question`, `context: {contexts}`; `final_decision`; never the long answer |
| cmexam | `Question`, `Options` ("A text", a line each), `Answer` |
| jmed | `question`, `options` by letter, some missing, `answer`; an older form writes both as Python literals |

Texts stay as they are, blanks included: a log-likelihood depends on each character. A record that can never be a
question with one right option (blank, several right options, no label) is set aside and counted; one that is broken
is refused with its place. Left out: which file is which benchmark (evaluation/benchmarks.py).
"""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleming.data.tables import ID, Row, read_rows
from fleming.records import LETTERS, SPLITS, Question, question_from_json
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
    """The other records: {"record": where it stands, "code": blank | several_answers | no_label}."""

    def describe_set_aside(self) -> str:
        """Return "3 of 5,000 records set aside (several_answers 2, blank 1)", or "" where there are none."""
        codes = Counter(record["code"] for record in self.set_aside).most_common()
        listed = ", ".join(f"{code} {count}" for code, count in codes)
        return f"{len(self.set_aside)} of {self.rows:,} records set aside ({listed})" if listed else ""


class _SetAsideError(Exception):
    """Its argument is the code."""


def read_set(path: str | Path, name: str | None = None) -> QuestionSet:
    """Read a file of questions: our own records, or those of one of SETS, recognised by the first record's columns.

    name: read as this set and refuse another form. Raises InputError naming file and record for a record that is
    broken, for an id that occurs twice, and for a file in which there is no question.
    """
    path, rows, questions, set_aside, seen = Path(path), 0, [], [], set()
    read = None
    for where, row in read_rows(path):
        rows += 1
        if all(value is None for value in row.values()):
            set_aside.append({"record": where, "code": "blank"})
            continue
        if read is None:
            name = name or recognise(row)
            read = _reader(name, path)
        try:
            question = read(row, where)
        except _SetAsideError as reason:
            set_aside.append({"record": where, "code": str(reason)})
            continue
        if question.id in seen:
            raise InputError(f"{where}: id {question.id!r} occurs twice")
        seen.add(question.id)
        questions.append(question)
    if not questions:
        raise InputError(f"{path}: no questions in it" + (f" ({set_aside[0]['code']})" if set_aside else ""))
    return QuestionSet(name or OWN, rows, questions, set_aside)


def recognise(row: Row) -> str:
    """Return the name of the set whose columns the row has, "own" where there is none."""
    return next((n for n, s in SETS.items() if not s.by_name_only and s.missing(row) is None), OWN)


def _reader(name: str, path: Path) -> Callable[[Row, str], Question]:
    if name == OWN:
        return question_from_json
    public = SETS[name]
    base = cop_base(path) if name == "medmcqa" else 1
    stem = re.sub(r"(\.(jsonl?|csv|tsv|parquet|gz|xz))+$", "", path.name, flags=re.IGNORECASE)
    split = next((s for s in SPLITS if s in re.split(r"[^a-z]+", stem.lower())), "train")  # phrases_no_exclude_test

    def read(row: Row, where: str) -> Question:
        if missing := public.missing(row):
            raise InputError(f"{where}: not a record of {name}: it lacks {missing!r}")
        if name in ("careqa", "medmcqa"):
            row = {**row, "cop": _cop(row, base, where)}
        fields = public.read(row, where)
        key = fields.pop("key", None)
        key = re.split(r"[: ]", where)[-1] if key is None else key  # else the record's number
        return question_from_json({"id": f"{name}/{stem}/{key}", "source": name, "split": split, **fields}, where)

    return read


def _fields(
    where: str,
    question: str,
    options: Iterable[tuple[str, Any]],
    answer: Any,
    groups: dict[str, Any] | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Return a Question's fields; options whose text is missing are left out and the others lettered anew."""
    present = [(letter, text) for letter, text in options if text is not None and str(text).strip()]
    if not isinstance(answer, str) or answer not in dict(present):
        raise InputError(f"{where}: the right option is {answer!r}, the options are {', '.join(dict(present))}")
    new = {letter: LETTERS[i] for i, (letter, _) in enumerate(present[: len(LETTERS)])}
    plain = {name: value for name, value in (groups or {}).items() if isinstance(value, str | int | float)}
    provenance: dict[str, Any] = {
        "groups": {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in plain.items()}
    }
    if any(old != letter for old, letter in new.items()):
        provenance["letters"] = {letter: old for old, letter in new.items()}  # those of the file
    texts = {new.get(letter, letter): str(text) for letter, text in present}
    return {"question": question, "options": texts, "answer": new[answer], "provenance": provenance, **others}


def _text(row: Row, column: str, where: str) -> str:
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {column} must be a text, found {str(value)[:80]!r}")
    return value


def _letters_of(columns: Iterable[str], row: Row) -> list[tuple[str, Any]]:
    return [(LETTERS[i], row.get(column)) for i, column in enumerate(columns) if column in row]


def _options(value: Any, where: str) -> list[tuple[str, Any]]:
    """Options as (letter, text): from {"A": text}, [text] or [{"letter" or "key": .., "content" or "value": ..}]."""
    if isinstance(value, dict):
        pairs = sorted(value.items())
    elif isinstance(value, list) and all(isinstance(o, dict) for o in value):
        pairs = [(o.get("letter", o.get("key")), o.get("content", o.get("value"))) for o in value]
    elif isinstance(value, list):
        pairs = list(zip(LETTERS, value, strict=False)) if len(value) <= len(LETTERS) else []
    else:
        pairs = []
    letters = [letter for letter, _ in pairs]
    if not pairs or any(letter not in list(LETTERS) for letter in letters) or len(set(letters)) < len(letters):
        raise InputError(f"{where}: options must be up to 26 texts by letter or in a list, found {str(value)[:80]!r}")
    return pairs


def _literal(value: Any, where: str) -> Any:
    """A value, read once more where it is a text that holds a Python list or dict."""
    if not (isinstance(value, str) and value[:1] in "{[" and len(value) < 100_000):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise InputError(f"{where}: not a Python literal: {value[:80]!r}") from error


def _whole(value: Any, column: str, where: str) -> int:
    try:
        number = float(value)
        if number == int(number):
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InputError(f"{where}: {column} must be a whole number, found {str(value)[:80]!r}")


def _cop(row: Row, base: int, where: str) -> str:
    """The letter of the right option by its number, counted from `base`."""
    if row["cop"] is None or (number := _whole(row["cop"], "cop", where)) == -1:  # -1: the hub's hidden labels
        raise _SetAsideError("no_label")
    if not 0 <= number - base < 4:
        raise InputError(f"{where}: cop is {number}, counted from {base}: no option has this number")
    return LETTERS[number - base]


_EXPLAINED = re.compile(r"\W{0,4}ans(?:wer)?\b[ .:\-]{0,4}(?:is )?[ ('\"]{0,4}([a-d])\b", re.IGNORECASE)


def cop_base(path: Path) -> int:
    """Return whether a MedMCQA file counts its right options `cop` from 0 or from 1.

    A 0 or a 4 decides. Where there is neither, the explanations that begin with "Ans. b" do, if at least three do and
    nine in ten agree. Raises InputError where both a 0 and a 4 occur, and where nothing decides.
    """
    numbers: Counter[int] = Counter()
    agree: Counter[int] = Counter()
    for where, row in read_rows(path):
        if row.get("cop") is None:
            continue
        number = _whole(row["cop"], "cop", where)
        numbers[number] += 1
        if explained := _EXPLAINED.match(str(row.get("exp") or "")):
            agree[number - LETTERS.index(explained[1].upper())] += 1
    if numbers[0] and numbers[4]:
        raise InputError(f"{path}: cop is 0 in {numbers[0]} records and 4 in {numbers[4]}: counted from 0 or from 1?")
    if numbers[0] or numbers[4]:
        return 0 if numbers[0] else 1
    if not sum(numbers[n] for n in (1, 2, 3)):
        return 0  # no record has a label
    (best, votes), other = agree.most_common(1)[0] if agree else (None, 0), agree.total()
    if best in (0, 1) and votes >= 3 and votes >= 0.9 * other:
        return best
    raise InputError(
        f"{path}: cop is never 0 or 4 in {numbers.total()} records, and their explanations do not say whether it is "
        "counted from 0 (the hub's form) or from 1 (the authors'): give a larger part of the file"
    )


def _careqa(row: Row, where: str) -> dict[str, Any]:
    options = _letters_of(("op1", "op2", "op3", "op4"), row)
    groups = {"category": row.get("category"), "year": row.get("year")}
    return _fields(where, _text(row, "question", where), options, row["cop"], groups, key=row.get("unique_id"))


def _medmcqa(row: Row, where: str) -> dict[str, Any]:
    options = _letters_of(("opa", "opb", "opc", "opd"), row)
    groups = {"subject": row.get("subject_name"), "choice_type": row.get("choice_type")}
    return _fields(where, _text(row, "question", where), options, row["cop"], groups, key=row.get("id"))


def _medbullets(row: Row, where: str) -> dict[str, Any]:
    columns = [f"op{x}" for x in "abcde"] if "opa" in row else [f"choices{x}" for x in "ABCDE"]
    options = _letters_of(columns, row)
    _same_text(row, dict(options), where)
    return _fields(where, _text(row, "question", where), options, row["answer_idx"])


def _medqa(row: Row, where: str) -> dict[str, Any]:
    if "data" in row:
        data = row["data"]
        if not isinstance(data, dict) or {"Question", "Options", "Correct Option"} - data.keys():
            raise InputError(f"{where}: data must hold Question, Options and Correct Option")
        options = _options(data["Options"], where)
        return _fields(where, _text(data, "Question", where), options, data["Correct Option"])
    if "sent1" in row:
        options = _letters_of((f"ending{i}" for i in range(5)), row)
        number = _whole(row["label"], "label", where)
        letter = LETTERS[number] if 0 <= number < len(options) else None
        return _fields(where, _text(row, "sent1", where), options, letter)
    options = _options(row["options"], where)
    _same_text(row, dict(options), where)
    groups = {"step": row.get("meta_info") if str(row.get("meta_info")).startswith("step") else None}
    return _fields(where, _text(row, "question", where), options, row["answer_idx"], groups)


def _same_text(row: Row, options: dict[str, Any], where: str) -> None:
    letter = row["answer_idx"]
    text = options.get(letter) if isinstance(letter, str) else None
    if row.get("answer") is not None and text != row["answer"]:
        raise InputError(f"{where}: answer {str(row['answer'])[:80]!r} is not the text of option {letter!r}")


def _mmlu_pro(row: Row, where: str) -> dict[str, Any]:
    options = [(letter, text) for letter, text in _options(row["options"], where) if text != "N/A"]
    number = _whole(row["answer_index"], "answer_index", where)
    if not 0 <= number < len(LETTERS) or row.get("answer") not in (None, LETTERS[number]):
        raise InputError(f"{where}: answer {row.get('answer')!r} is not option number {number}")
    groups = {"category": row.get("category"), "src": row.get("src")}
    question = _text(row, "question", where)
    return _fields(where, question, options, LETTERS[number], groups, key=row["question_id"])


def _medxpertqa(row: Row, where: str) -> dict[str, Any]:
    options = _options(row["options"], where)
    stem, found, choices = _text(row, "question", where).rpartition("Answer Choices:")
    if found and choices.split() != " ".join(f"({letter}) {text}" for letter, text in options).split():
        raise InputError(f"{where}: the choices at the end of the question are not its options")
    question = stem.rstrip() if found else row["question"]
    label = row["label"]
    if isinstance(label, list):
        if len(label) != 1:
            raise _SetAsideError("several_answers" if label else "no_label")
        label = label[0]
    groups = {name: row.get(name) for name in ("medical_task", "body_system", "question_type")}
    return _fields(where, question, options, label, groups, key=row.get("id"))


DECISIONS = {"yes": "A", "no": "B", "maybe": "C"}


def _pubmedqa(row: Row, where: str) -> dict[str, Any]:
    inner = row.get("context")
    contexts = row["CONTEXTS"] if "CONTEXTS" in row else inner.get("contexts") if isinstance(inner, dict) else None
    if not isinstance(contexts, list) or not contexts or not all(isinstance(c, str) for c in contexts):
        raise InputError(f"{where}: the contexts must be a list of texts, found {str(contexts)[:80]!r}")
    if (decision := row.get("final_decision")) is None:
        raise _SetAsideError("no_label")
    if not isinstance(decision, str) or decision not in DECISIONS:
        raise InputError(f"{where}: final_decision must be yes, no or maybe, found {str(decision)[:80]!r}")
    question = _text(row, "QUESTION" if "QUESTION" in row else "question", where)
    options = [(letter, text) for text, letter in DECISIONS.items()]
    key = row.get(ID, row.get("pubid"))
    return _fields(where, question, options, DECISIONS[decision], key=key, context="\n".join(contexts))


def _cmexam(row: Row, where: str) -> dict[str, Any]:
    if row["Answer"] is None:
        raise _SetAsideError("no_label")
    answer = _text(row, "Answer", where).strip()
    if len(answer) > 1 and set(answer) <= set(LETTERS):
        raise _SetAsideError("several_answers")
    # Some copies write a line break as the two characters \n.
    lines = re.split(r"(?:\r?\n|\\n)[ \u3000]*(?=[A-Z][ .．、:：\u3000])", _text(row, "Options", where).strip())
    options = [(line[:1], line[1:].lstrip(" .．、:：\u3000")) for line in lines]
    letters = [letter for letter, _ in options]
    if letters != sorted(set(letters)) or not set(letters) <= set(LETTERS):
        raise InputError(f"{where}: Options must be lines that begin with rising letters, found {letters}")
    return _fields(where, _text(row, "Question", where), options, answer, language="zh")


def _jmed(row: Row, where: str) -> dict[str, Any]:
    options = _options(_literal(row["options"], where), where)
    answer = _literal(row["answer"], where)
    if isinstance(answer, list):
        if len(answer) != 1:
            raise _SetAsideError("several_answers" if answer else "no_label")
        answer = answer[0]
    return _fields(where, _text(row, "question", where), options, answer, key=row.get("id"), language="zh")


@dataclass(frozen=True)
class PublicSet:
    """How a set's records are known and read."""

    read: Callable[[Row, str], dict[str, Any]]
    """Record and where it stands -> a Question's fields."""
    forms: tuple[tuple[str, ...], ...]
    """The columns of each form, those first that only it has."""
    by_name_only: bool = False
    """Its columns are not its own."""

    def missing(self, row: Row) -> str | None:
        """Return the first column that the row lacks of its nearest form, None where it has all of one."""
        lacking = [[column for column in form if column not in row] for form in self.forms]
        return next(iter(min(lacking, key=len)), None)


SETS = {
    "careqa": PublicSet(_careqa, (("op1", "op2", "cop", "question"),)),
    "medmcqa": PublicSet(_medmcqa, (("opa", "opb", "cop", "question"),)),
    "medbullets": PublicSet(
        _medbullets, (("opa", "answer_idx", "question"), ("choicesA", "choicesB", "answer_idx", "question"))
    ),
    "medqa": PublicSet(
        _medqa, (("answer_idx", "options", "question"), ("sent1", "ending0", "ending1", "label"), ("data",))
    ),
    "mmlu_pro": PublicSet(_mmlu_pro, (("answer_index", "question_id", "options", "question"),)),
    "medxpertqa": PublicSet(_medxpertqa, (("label", "options", "question"),)),
    "pubmedqa": PublicSet(
        _pubmedqa, (("CONTEXTS", "QUESTION", "final_decision"), ("context", "question", "final_decision"))
    ),
    "cmexam": PublicSet(_cmexam, (("Question", "Options", "Answer"),)),
    "jmed": PublicSet(_jmed, (("question", "options", "answer"),), by_name_only=True),
}
