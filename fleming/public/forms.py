r"""Public question sets in the forms in which their authors and the hubs publish them, as our Questions.

| set | forms |
|---|---|
| careqa | `op1 .. op4`, `cop` from 1 |
| medmcqa | `opa .. opd`, `cop`: from 1 in the authors' files, from 0 on the hub; see readers.py |
| medbullets | `opa .. opd` or `ope` (or `choicesA ..`), `answer_idx` |
| medqa | `options`, `answer_idx`; `sent1`, `ending0 ..`, `label`; `data: {Question, Options, Correct Option}` |
| mmlu_pro | `options` a list, `answer`, `answer_index` |
| medxpertqa | `options` by letter or a list, `label`; choices that the question repeats are taken off it |
| pubmedqa | `QUESTION`, `CONTEXTS` or `question`, `context: {contexts}`; `final_decision`; never the long answer |
| cmexam | `Question`, `Options` ("A text", a line each), `Answer` |
| jmed | `question`, `options` by letter, some missing, `answer`; an older form writes both as Python literals |

Texts stay as they are, blanks included: a log-likelihood depends on each character. A record that can never be a
question with one right option (blank, several right options, no label) is set aside and counted; one that is broken
is refused with its place. Left out: files (readers.py), and which file is which benchmark (evaluation/benchmarks.py).
"""

import ast
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fleming.public.tables import ID, Row
from fleming.records import LETTERS
from model.errors import InputError


class SetAsideError(Exception):
    """The record can be no question with one right option; its argument is the code."""


def _fields(
    where: str,
    question: str,
    options: Iterable[tuple[str, str | None]],
    answer: Any,
    groups: dict[str, Any] | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Return a Question's fields; options whose text is missing are left out and the others lettered anew."""
    present = [(letter, text) for letter, text in options if text is not None and text.strip()]
    if answer is None:
        raise SetAsideError("no_label")
    if not isinstance(answer, str) or answer not in dict(present):
        letters = ", ".join(dict(present))
        raise InputError(f"{where}: the right option is {str(answer)[:80]!r}, the options are {letters}")
    new = {letter: LETTERS[i] for i, (letter, _) in enumerate(present)}
    plain = {name: plain_text(value) for name, value in (groups or {}).items()}
    provenance: dict[str, Any] = {"groups": {name: value for name, value in plain.items() if value is not None}}
    if any(old != letter for old, letter in new.items()):
        provenance["letters"] = {letter: old for old, letter in new.items()}  # those of the file
    texts = {new[letter]: text for letter, text in present}
    return {"question": question, "options": texts, "answer": new[answer], "provenance": provenance, **others}


def _text(row: Row, column: str, where: str) -> str:
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


def _letters_of(columns: Iterable[str], row: Row, where: str) -> list[tuple[str, str | None]]:
    return _options({LETTERS[i]: row[column] for i, column in enumerate(columns) if column in row}, where)


def _options(value: Any, where: str) -> list[tuple[str, str | None]]:
    """Options as (letter, text): from {"A": text}, [text] or [{"letter" or "key": .., "content" or "value": ..}]."""
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list) and all(isinstance(o, dict) for o in value):
        pairs = [(o.get("letter", o.get("key")), o.get("content", o.get("value"))) for o in value]
    elif isinstance(value, list):
        pairs = list(zip(LETTERS, value, strict=False)) if len(value) <= len(LETTERS) else []
    else:
        pairs = []
    letters = [letter for letter, _ in pairs]
    if not pairs or any(letter not in list(LETTERS) for letter in letters) or len(set(letters)) < len(letters):
        raise InputError(f"{where}: options must be up to 26 texts by letter or in a list, found {str(value)[:80]!r}")
    if wrong := [letter for letter, text in pairs if not isinstance(text, str | None)]:
        raise InputError(f"{where}: option {wrong[0]} must be a text, found {str(dict(pairs)[wrong[0]])[:80]!r}")
    return sorted(pairs) if isinstance(value, dict) else pairs


def _literal(value: Any, where: str) -> Any:
    """A value, read once more where it is a text that holds a Python list or dict."""
    if not (isinstance(value, str) and value[:1] in ("{", "[") and len(value) < 100_000):
        return value
    try:
        tree = ast.parse(value, mode="eval").body
        found = ast.literal_eval(tree)
        json.dumps(found, ensure_ascii=False).encode()  # half a surrogate pair could not be written again
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise InputError(f"{where}: not a Python literal: {value[:80]!r}") from error
    if isinstance(tree, ast.Dict) and len(found) < len(tree.keys):
        raise InputError(f"{where}: a key twice in {value[:80]!r}")
    return found


def whole_number(value: Any, column: str, where: str) -> int:
    """A whole number, also as the float or text that table tools make of it: 2.0, "2", "2.0"."""
    text = plain_text(value)
    if text is None or not re.fullmatch(r"-?[0-9]{1,9}", text.strip()):
        raise InputError(f"{where}: {column} must be a whole number, found {str(value)[:80]!r}")
    return int(text)


def cop_letter(row: Row, base: int, where: str) -> str:
    """The letter of the right option by its number, counted from `base`."""
    if row["cop"] is None or (number := whole_number(row["cop"], "cop", where)) == -1:  # -1: the hub's hidden labels
        raise SetAsideError("no_label")
    if not 0 <= number - base < 4:
        raise InputError(f"{where}: cop is {number}, counted from {base}: no option has this number")
    return LETTERS[number - base]


def _careqa(row: Row, where: str) -> dict[str, Any]:
    options = _letters_of(("op1", "op2", "op3", "op4"), row, where)
    groups = {"category": row.get("category"), "year": row.get("year")}
    return _fields(where, _text(row, "question", where), options, row["cop"], groups, key=row.get("unique_id"))


def _medmcqa(row: Row, where: str) -> dict[str, Any]:
    options = _letters_of(("opa", "opb", "opc", "opd"), row, where)
    groups = {"subject": row.get("subject_name"), "choice_type": row.get("choice_type")}
    return _fields(where, _text(row, "question", where), options, row["cop"], groups, key=row.get("id"))


def _medbullets(row: Row, where: str) -> dict[str, Any]:
    columns = [f"op{x}" for x in "abcde"] if "opa" in row else [f"choices{x}" for x in "ABCDE"]
    options = _letters_of(columns, row, where)
    _same_text(row["answer_idx"], row.get("answer"), dict(options), where)
    return _fields(where, _text(row, "question", where), options, row["answer_idx"])


def _medqa(row: Row, where: str) -> dict[str, Any]:
    if "data" in row:
        data = row["data"]
        if not isinstance(data, dict) or {"Question", "Options", "Correct Option"} - data.keys():
            raise InputError(f"{where}: data must hold Question, Options and Correct Option")
        options = _options(data["Options"], where)
        _same_text(data["Correct Option"], data.get("Correct Answer"), dict(options), where)
        return _fields(where, _text(data, "Question", where), options, data["Correct Option"])
    if "sent1" in row:
        options = _letters_of((f"ending{i}" for i in range(5)), row, where)
        number = whole_number(row["label"], "label", where)
        letter = LETTERS[number] if 0 <= number < len(options) else f"number {number}"
        return _fields(where, _text(row, "sent1", where), options, letter)
    options = _options(row["options"], where)
    _same_text(row["answer_idx"], row.get("answer"), dict(options), where)
    step = row.get("meta_info")
    groups = {"step": step if isinstance(step, str) and step.startswith("step") else None}
    return _fields(where, _text(row, "question", where), options, row["answer_idx"], groups)


def _same_text(letter: Any, answer: Any, options: dict[str, str | None], where: str) -> None:
    """Refuse an answer given as a text too that is not that of its letter; blanks at the ends do not count."""
    text = options.get(letter) if isinstance(letter, str) else None
    if answer is not None and (not isinstance(answer, str) or (text or "").strip() != answer.strip()):
        raise InputError(f"{where}: answer {str(answer)[:80]!r} is not the text of option {str(letter)[:80]!r}")


def _mmlu_pro(row: Row, where: str) -> dict[str, Any]:
    options = [(letter, text) for letter, text in _options(row["options"], where) if text != "N/A"]
    number = whole_number(row["answer_index"], "answer_index", where)
    answer = row.get("answer")
    if not 0 <= number < len(LETTERS) or answer not in (None, LETTERS[number]):
        raise InputError(f"{where}: answer {str(answer)[:80]!r} is not option number {number}")
    groups = {"category": row.get("category"), "src": row.get("src")}
    question = _text(row, "question", where)
    return _fields(where, question, options, LETTERS[number], groups, key=row["question_id"])


def _medxpertqa(row: Row, where: str) -> dict[str, Any]:
    if row.get("images"):
        raise InputError(f"{where}: it has images: this is not MedXpertQA's text part")
    options = _options(row["options"], where)
    stem, found, choices = _text(row, "question", where).rpartition("Answer Choices:")
    if found and choices.split() != " ".join(f"({letter}) {text}" for letter, text in options).split():
        raise InputError(f"{where}: the choices at the end of the question are not its options")
    question = stem.rstrip() if found else row["question"]
    label = row["label"]
    if isinstance(label, list):
        if len(label) != 1:
            raise SetAsideError("several_answers" if label else "no_label")
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
        raise SetAsideError("no_label")
    if not isinstance(decision, str) or decision not in DECISIONS:
        raise InputError(f"{where}: final_decision must be yes, no or maybe, found {str(decision)[:80]!r}")
    question = _text(row, "QUESTION" if "QUESTION" in row else "question", where)
    options = [(letter, text) for text, letter in DECISIONS.items()]
    key = row.get(ID, row.get("pubid"))
    return _fields(where, question, options, DECISIONS[decision], key=key, context="\n".join(contexts))


_BREAK = r"(?:\r?\n|\\n)"  # some copies write a line break as the two characters \n
_HEAD = rf"[A-Z](?:[.．、:：][ \u3000]*|[ \u3000]+|(?={_BREAK}|$))"  # what follows is the option's text, ".5 mg" too


def _cmexam(row: Row, where: str) -> dict[str, Any]:
    if row["Answer"] is None:
        raise SetAsideError("no_label")
    answer = re.sub(r"[\s,，、;；]", "", _text(row, "Answer", where)).upper()
    if len(answer) > 1 and set(answer) <= set(LETTERS):
        raise SetAsideError("several_answers")
    if isinstance(row["Options"], str):
        lines = re.split(rf"{_BREAK}[ \u3000]*(?={_HEAD})", _text(row, "Options", where).strip())
        options = [(head[0][0], line[head.end() :]) for line in lines if (head := re.match(_HEAD, line))]
        letters = [letter for letter, _ in options]
        if len(options) < len(lines) or letters != sorted(set(letters)):
            raise InputError(f"{where}: Options must be lines that begin with rising letters, found {letters}")
    else:
        options = _options(row["Options"], where)
    return _fields(where, _text(row, "Question", where), options, answer, language="zh")


def _jmed(row: Row, where: str) -> dict[str, Any]:
    options = _options(_literal(row["options"], where), where)
    answer = _literal(row["answer"], where)
    if isinstance(answer, list):
        if len(answer) != 1:
            raise SetAsideError("several_answers" if answer else "no_label")
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
        shares = [len(columns) / len(form) for columns, form in zip(lacking, self.forms, strict=True)]
        return next(iter(lacking[shares.index(min(shares))]), None)


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
