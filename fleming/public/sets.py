"""The public sets that we know: assets/public_sets.yaml, and the functions that tidy what has no column of its own.

A function takes a record and returns it with the columns that the form names. Left out: how a form is read (forms.py),
files (readers.py), and which file is which benchmark (benchmarks.py).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fleming.assets import load_table
from fleming.public.forms import Form, counted
from fleming.public.own import lacking, split_of_name
from fleming.public.tables import ID, Row, number_in, stem_of
from fleming.public.values import SetAsideError, number_of, only, options_of, plain_text, text_of, value_of
from fleming.records import Question, Split, question_from_json
from fleming.text import CJK, written_in
from fleming.typed import from_json

DECISIONS = {"yes": "A", "no": "B", "maybe": "C"}


@dataclass(frozen=True)
class PublicSet:
    """How a set's records are known and read."""

    forms: tuple[Form, ...]
    language: str = "en"
    split: Split = "train"
    """Of a file whose name does not say it: test for a set that is a benchmark alone, or that has test questions."""
    by_name_only: bool = False
    """Its columns are not its own."""

    def nearest(self, row: Row) -> tuple[Form, list[str]]:
        """Return the form of which the row lacks the least, and the columns that it lacks."""
        lacks = [(form, lacking(row, form.needs)) for form in self.forms]
        return min(lacks, key=lambda found: len(found[1]) / len(found[0].needs))


def recognise(row: Row) -> str | None:
    """Return the name of the set whose columns and script the row has, and numbers as answers if it has, or None."""
    for name, public in SETS.items():
        form, missing = public.nearest(row)
        numbered = number_of(value_of(row, form.answer)) is not None
        if (
            not missing
            and not public.by_name_only
            and (public.language == "en" or re.search(f"[{CJK}]", str(row)))
            and (form.base is not None or form.file_tells or not numbered)
        ):
            return name
    return None


def reader(name: str, path: Path) -> Callable[[Row, str], list[Question]]:
    """Return what reads a record of the set. Raises InputError where its file does not show how it counts."""
    public = SETS[name]
    forms = tuple(counted(form, path) if form.file_tells else form for form in public.forms)
    public = replace(public, forms=forms)
    stem, split = stem_of(path), split_of_name(path) or public.split

    def read(row: Row, where: str) -> list[Question]:
        form, missing = public.nearest(row)
        if missing:
            raise SetAsideError("another_form", f"not a record of {name}: it lacks {missing[0]!r}")
        fields = form.fields(TIDY[form.tidy](row) if form.tidy else row)
        keys = (fields.pop("key"), row.get(ID), number_in(where))
        key = plain_text(next(key for key in keys if key not in (None, "")))
        if key is None:
            raise SetAsideError("bad_id", "its id must be a text or a number")
        language = public.language if public.language != "en" else written_in(fields["question"])
        fields |= {"id": f"{name}/{stem}/{key}", "source": name, "split": split, "language": language}
        return [question_from_json(fields, where)]

    return read


# Records whose columns are not what a form can name


def medqa_step(row: Row) -> Row:
    """`meta_info` is the examination's step, or something else."""
    step = row.get("meta_info")
    is_step = isinstance(step, str) and step.startswith("step")
    return {**row, "meta_info": step if is_step else None}


def medxpertqa(row: Row) -> Row:
    """The question may end with its choices; `label` may be a list."""
    if row.get("images"):
        raise SetAsideError("has_images", "it has images: this is not MedXpertQA's text part")
    options = options_of(row["options"])
    question = text_of(row, "question")
    stem, found, choices = question.rpartition("Answer Choices:")
    if found and choices.split() != " ".join(f"({letter}) {text}" for letter, text in options).split():
        raise SetAsideError("options_differ", "the choices at the end of the question are not its options")
    return {**row, "question": stem.rstrip() if found else question, "label": only(row["label"])}


def pubmedqa(row: Row) -> Row:
    """`final_decision` is yes, no or maybe; the abstract is a list of texts."""
    contexts = row.get("CONTEXTS")
    if "CONTEXTS" not in row and isinstance(row["context"], dict):
        contexts = row["context"].get("contexts")
    if not isinstance(contexts, list) or not contexts or not all(isinstance(text, str) for text in contexts):
        raise SetAsideError("no_context", f"contexts must be a list of texts, found {str(contexts)[:80]!r}")
    decision = row["final_decision"]
    if decision is not None and (not isinstance(decision, str) or decision not in DECISIONS):
        found = str(decision)[:80]
        raise SetAsideError("answer_no_option", f"final_decision must be yes, no or maybe, found {found!r}")
    return {**row, "options": list(DECISIONS), "answer": decision, "context": "\n".join(contexts)}


TIDY = {f.__name__: f for f in (medqa_step, medxpertqa, pubmedqa)}
SETS = {
    name: from_json(PublicSet, value, f"assets/public_sets.yaml: {name}")
    for name, value in load_table("public_sets.yaml").items()
}
