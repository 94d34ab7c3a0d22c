"""The public sets that we know: assets/public_sets.yaml, and the functions that tidy what has no column of its own.

A function takes a record and where it stands and returns it with the columns that the form names: what the hub's CSV
writes as one text, choices that MedXpertQA's questions repeat, JMED's Python literals. Left out: how a form is read
(forms.py), files (readers.py), and which file is which benchmark (benchmarks.py).
"""

import ast
import json
import re
from pathlib import Path
from typing import Any

import yaml

from fleming.public.forms import PublicSet, SetAsideError, options_of, text_of, whole_number
from fleming.public.tables import Row
from fleming.records import LETTERS
from fleming.typed import from_json
from model.errors import InputError

TABLE = Path(__file__).parents[2] / "assets/public_sets.yaml"
DECISIONS = {"yes": "A", "no": "B", "maybe": "C"}


def cop_letter(row: Row, base: int, where: str) -> str:
    """Return the letter of the right option by its number, counted from `base`."""
    number = -1 if row["cop"] is None else whole_number(row["cop"], "cop", where)
    if number == -1:  # also the hub's hidden labels
        raise SetAsideError("no_label")
    if not 0 <= number - base < 4:
        raise InputError(f"{where}: cop is {number}, counted from {base}: no option has this number")
    return LETTERS[number - base]


def _only(answer: Any) -> Any:
    """Return the answer, also where it is a list of one."""
    if isinstance(answer, list) and len(answer) != 1:
        raise SetAsideError("several_answers" if answer else "no_label")
    return answer[0] if isinstance(answer, list) else answer


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


def medqa_step(row: Row, where: str) -> Row:
    """`meta_info` is the examination's step, or something else."""
    step = row.get("meta_info")
    is_step = isinstance(step, str) and step.startswith("step")
    return {**row, "meta_info": step if is_step else None}


def medqa_endings(row: Row, where: str) -> Row:
    """`label` is the number of the right ending."""
    number = whole_number(row["label"], "label", where)
    count = sum(f"ending{i}" in row for i in range(5))
    return {**row, "label": LETTERS[number] if 0 <= number < count else f"number {number}"}


def medqa_data(row: Row, where: str) -> Row:
    """All stands in `data`."""
    data = row["data"]
    if not isinstance(data, dict) or {"Question", "Options", "Correct Option"} - data.keys():
        raise InputError(f"{where}: data must hold Question, Options and Correct Option")
    return data


def mmlu_pro(row: Row, where: str) -> Row:
    """Options "N/A" only fill up; the right one is told by its number, and by its letter too."""
    options = {letter: None if text == "N/A" else text for letter, text in options_of(row["options"], where)}
    number = whole_number(row["answer_index"], "answer_index", where)
    answer = row.get("answer")
    if not 0 <= number < len(LETTERS) or answer not in (None, LETTERS[number]):
        raise InputError(f"{where}: answer {str(answer)[:80]!r} is not option number {number}")
    return {**row, "options": options, "answer": LETTERS[number]}


def medxpertqa(row: Row, where: str) -> Row:
    """The question may end with its choices; `label` may be a list."""
    if row.get("images"):
        raise InputError(f"{where}: it has images: this is not MedXpertQA's text part")
    options = options_of(row["options"], where)
    question = text_of(row, "question", where)
    stem, found, choices = question.rpartition("Answer Choices:")
    if found and choices.split() != " ".join(f"({letter}) {text}" for letter, text in options).split():
        raise InputError(f"{where}: the choices at the end of the question are not its options")
    return {**row, "question": stem.rstrip() if found else question, "label": _only(row["label"])}


def pubmedqa(row: Row, where: str) -> Row:
    """`final_decision` is yes, no or maybe; the abstract is a list of texts."""
    contexts = row.get("CONTEXTS")
    if "CONTEXTS" not in row and isinstance(row["context"], dict):
        contexts = row["context"].get("contexts")
    if not isinstance(contexts, list) or not contexts or not all(isinstance(text, str) for text in contexts):
        raise InputError(f"{where}: the contexts must be a list of texts, found {str(contexts)[:80]!r}")
    decision = row["final_decision"]
    if decision is None:
        raise SetAsideError("no_label")
    if not isinstance(decision, str) or decision not in DECISIONS:
        raise InputError(f"{where}: final_decision must be yes, no or maybe, found {str(decision)[:80]!r}")
    options = {letter: text for text, letter in DECISIONS.items()}
    read = {"options": options, "answer": DECISIONS[decision], "context": "\n".join(contexts)}
    return row | read


_BREAK = r"(?:\r?\n|\\n)"  # some copies write a line break as the two characters \n
_HEAD = rf"[A-Z](?:[.．、:：][ \u3000]*|[ \u3000]+|(?={_BREAK}|$))"  # what follows is the option's text, ".5 mg" too


def cmexam(row: Row, where: str) -> Row:
    """`Options` is a text, an option a line; `Answer` may name several."""
    if row["Answer"] is None:
        raise SetAsideError("no_label")
    answer = re.sub(r"[\s,，、;；]", "", text_of(row, "Answer", where)).upper()
    if len(answer) > 1 and set(answer) <= set(LETTERS):
        raise SetAsideError("several_answers")
    options = row["Options"]
    if isinstance(options, str):
        lines = re.split(rf"{_BREAK}[ \u3000]*(?={_HEAD})", text_of(row, "Options", where).strip())
        heads = [re.match(_HEAD, line) for line in lines]
        letters = [head[0][0] for head in heads if head]
        if len(letters) < len(lines) or letters != sorted(set(letters)):
            raise InputError(
                f"{where}: Options must be lines that begin with rising letters, found {letters}"
            )
        options = {head[0][0]: line[head.end() :] for head, line in zip(heads, lines, strict=True)}
    return {**row, "Options": options, "Answer": answer}


def jmed(row: Row, where: str) -> Row:
    """An older form writes the options and the answer as Python literals."""
    options = _literal(row["options"], where)
    return {**row, "options": options, "answer": _only(_literal(row["answer"], where))}


def fields_of(public: PublicSet, row: Row, where: str) -> dict[str, Any]:
    """Return the fields of a record's Question, and its `key`. Raises SetAsideError or InputError."""
    form = public.nearest(row)
    if form.tidy:
        row = TIDY[form.tidy](row, where)
    return {**form.fields(row, where), "language": public.language}


TIDY = {
    f.__name__: f
    for f in (medqa_step, medqa_endings, medqa_data, mmlu_pro, medxpertqa, pubmedqa, cmexam, jmed)
}
SETS = {
    name: from_json(PublicSet, value, f"{TABLE}: {name}")
    for name, value in yaml.safe_load(TABLE.read_text(encoding="utf-8")).items()
}
