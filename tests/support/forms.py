"""The public question sets' forms, one record each, and writers of the files that they come in."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from fleming.records import LETTERS

Rows = list[dict]


def lines(path: Path, rows: Rows) -> Path:
    path.unlink(missing_ok=True)  # faster than to write over it
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def table(path: Path, rows: Rows) -> Path:
    path.unlink(missing_ok=True)
    with open(path, "w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    return path


def parquet(path: Path, rows: Rows) -> Path:
    arrow, tables = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path.unlink(missing_ok=True)
    tables.write_table(arrow.Table.from_pylist(rows), path)
    return path


OPTIONS = {"A": "iron", "B": "zinc, 2\u2009mg", "C": "β-blocker", "D": "≥ 2 mg"}
TEXTS = list(OPTIONS.values())
PAIRS = [{"key": letter, "value": text} for letter, text in OPTIONS.items()]
PRINTED = "\nAnswer Choices: " + " ".join(f"({letter}) {text}" for letter, text in OPTIONS.items())
STEM = "患者 of\u2029two\nlines"
MANY = {letter: f"病{i}" for i, letter in enumerate(LETTERS[:21])}
ABSTRACT = {"contexts": ["First.", "Second."], "labels": ["A", "B"], "meshes": ["M"]}
DATA = {"Question": STEM, "Options": OPTIONS, "Correct Option": "C", "Correct Answer": OPTIONS["C"]}


def lettered(names: Iterable[str]) -> dict[str, str]:
    return dict(zip(names, TEXTS, strict=True))


# A record of each form, without its question, and the id and groups that come of it; the right option is C, or "no".
FORMS: dict[str, tuple[str, str, dict[str, str], dict]] = {
    "careqa": (
        *("careqa", "u-1", {"category": "Medicine", "year": "2024"}),
        lettered(("op1", "op2", "op3", "op4"))
        | {"cop": 3.0, "year": 2024.0, "category": "Medicine", "unique_id": "u-1", "exam_id": 5.0},
    ),
    "medmcqa": (
        *("medmcqa", "m-1", {"subject": "Surgery", "choice_type": "single"}),
        lettered(("opa", "opb", "opc", "opd"))
        | {"cop": 3, "exp": "Ans. C", "id": "m-1", "subject_name": "Surgery", "choice_type": "single"},
    ),
    "medbullets": (
        *("medbullets", "1", {}),
        lettered(("opa", "opb", "opc", "opd"))
        | {"answer_idx": "C", "answer": OPTIONS["C"], "explanation": "e"},
    ),
    "medbullets choices": (
        *("medbullets", "1", {}),
        lettered(f"choices{letter}" for letter in OPTIONS) | {"answer_idx": "C", "answer": OPTIONS["C"]},
    ),
    "medqa": (
        *("medqa", "1", {"step": "step2&3"}),
        {"options": OPTIONS, "answer": OPTIONS["C"], "answer_idx": "C", "meta_info": "step2&3"},
    ),
    "medqa pairs": ("medqa", "1", {}, {"options": PAIRS, "answer_idx": "C", "meta_info": "dev"}),
    "medqa endings": (
        *("medqa", "1", {}),
        lettered(f"ending{i}" for i in range(4)) | {"sent1": STEM, "sent2": "", "label": 2},
    ),
    "medqa data": ("medqa", "1", {}, {"id": "x", "data": DATA}),
    "mmlu_pro": (
        *("mmlu_pro", "70", {"category": "health", "src": "s"}),
        {
            "question_id": 70,
            "options": TEXTS,
            "answer": "C",
            "answer_index": 2,
            "category": "health",
            "src": "s",
        },
    ),
    "medxpertqa": (
        *("medxpertqa", "Text-1", {"medical_task": "Diagnosis"}),
        {"id": "Text-1", "options": OPTIONS, "label": "C", "medical_task": "Diagnosis"},
    ),
    "medxpertqa printed": (
        *("medxpertqa", "Text-1", {}),
        {
            "id": "Text-1",
            "options": [{"letter": letter, "content": text} for letter, text in OPTIONS.items()],
            "label": ["C"],
            "question": STEM + PRINTED,
        },
    ),
    "pubmedqa": (
        *("pubmedqa", "77", {}),
        {"pubid": 77, "context": ABSTRACT, "long_answer": "SECRET", "final_decision": "no"},
    ),
    "pubmedqa authors": (
        *("pubmedqa", "1", {}),
        {"QUESTION": STEM, "CONTEXTS": ABSTRACT["contexts"], "LONG_ANSWER": "SECRET", "final_decision": "no"},
    ),
    "cmexam": (
        *("cmexam", "1", {}),
        {
            "Question": STEM,
            "Options": "\n".join(" ".join(o) for o in OPTIONS.items()),
            "Answer": "C",
            "Level": 1,
        },
    ),
    "cmexam pairs": ("cmexam", "1", {}, {"Question": STEM, "Options": PAIRS, "Answer": "C"}),
    "jmed": ("jmed", "1234567890123456", {}, {"options": OPTIONS, "answer": ["C"], "id": 1234567890123456}),
    "jmed literals": ("jmed", "1", {}, {"options": str(OPTIONS), "answer": "['C']"}),
}
ROWS = {form: {"question": STEM, **row} for form, (*_, row) in FORMS.items()}


def name_of(form: str) -> str | None:
    """The set to ask for: of one whose columns are not its own."""
    return "jmed" if form.startswith("jmed") else None
