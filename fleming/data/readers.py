"""Readers of questions and trajectories: our own JSONL, and MedQA's as its authors publish it.

A record of another shape is refused with its line, never guessed at. Left out: the other public sets.
"""

import re
from pathlib import Path
from typing import Any

from fleming.files import read_jsonl
from fleming.records import SPLITS, Question, Trajectory, question_from_json, trajectory_from_json
from model.errors import InputError


def read_questions(path: str | Path) -> list[Question]:
    """Return the questions of a JSONL file, ids unique.

    Accepts our records (docs/file-formats.md) and MedQA's {"question", "options", "answer", "answer_idx",
    "meta_info"}. Raises InputError naming file and line for anything else, and for a file without questions.
    """
    questions = []
    for where, record in read_jsonl(path):
        if "answer_idx" in record:
            record = _from_medqa(record, Path(path).stem, where)
        questions.append(question_from_json(record, where))
    return _unique(questions, path, "questions")


def read_trajectories(path: str | Path) -> list[Trajectory]:
    """Return the trajectories of a JSONL file, ids unique. Raises InputError as `read_questions` does."""
    return _unique([trajectory_from_json(record, where) for where, record in read_jsonl(path)], path, "trajectories")


def _from_medqa(record: dict[str, Any], stem: str, where: str) -> dict[str, Any]:
    line = where.rpartition(":")[2]
    missing = [key for key in ("question", "options", "answer") if key not in record]
    if missing:
        raise InputError(f"{where}: a MedQA record (it has answer_idx) lacks {missing[0]!r}")
    options, letter = record["options"], record["answer_idx"]
    if not isinstance(options, dict) or not isinstance(letter, str) or options.get(letter) != record["answer"]:
        raise InputError(f"{where}: answer {record['answer']!r} is not the text of option {letter!r}")
    words = re.split(r"[^a-z]+", stem.lower())  # phrases_no_exclude_test, medqa_dev_1272
    split = next((s for s in SPLITS if s in words), "train")
    return {
        "id": f"medqa/{stem}/{line}",
        "source": "medqa",
        "split": split,
        "question": record["question"],
        "options": options,
        "answer": letter,
    }


def _unique(records: list, path: str | Path, what: str) -> list:
    if not records:
        raise InputError(f"{path}: no {what} in it")
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            raise InputError(f"{path}: id {record.id!r} occurs twice")
        seen.add(record.id)
    return records
