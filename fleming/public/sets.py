"""The public sets that we know: assets/public_sets.yaml, and the functions that tidy what has no column of its own.

A function takes a record and returns it with the columns that the form names. Left out: how a form is read (forms.py),
files (readers.py), and which file is which benchmark (benchmarks.py).
"""

from pathlib import Path
from typing import Any

import yaml

from fleming.public.forms import PublicSet, SetAsideError, only, options_of, text_of
from fleming.public.tables import Row
from fleming.typed import from_json

TABLE = Path(__file__).parents[2] / "assets/public_sets.yaml"
DECISIONS = {"yes": "A", "no": "B", "maybe": "C"}


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
        raise SetAsideError(
            "no_context", f"the contexts must be a list of texts, found {str(contexts)[:80]!r}"
        )
    decision = row["final_decision"]
    if decision is not None and (not isinstance(decision, str) or decision not in DECISIONS):
        found = str(decision)[:80]
        raise SetAsideError("answer_no_option", f"final_decision must be yes, no or maybe, found {found!r}")
    return {**row, "options": list(DECISIONS), "answer": decision, "context": "\n".join(contexts)}


def fields_of(public: PublicSet, row: Row) -> dict[str, Any]:
    """Return the fields of a record's Question, and its `key`. Raises SetAsideError."""
    form = public.nearest(row)
    if form.tidy:
        row = TIDY[form.tidy](row)
    return {**form.fields(row), "language": public.language}


TIDY = {f.__name__: f for f in (medqa_step, medxpertqa, pubmedqa)}
SETS = {
    name: from_json(PublicSet, value, f"{TABLE}: {name}")
    for name, value in yaml.safe_load(TABLE.read_text(encoding="utf-8")).items()
}
