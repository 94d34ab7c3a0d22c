"""Curate (paper, 3.1): the public question sets that a run learns from, each as its authors split it.

PubMedQA has ten official training folds: 500 labelled questions for cross-validation, the other 500 for testing. The
authors publish a rule, not the folds: label by label, Python's generator seeded with 0 shuffles and cuts. It depends on
the order of their file, so what it gives is held against the 500 test ids that they do publish. Left out: PubMedQA's
unlabelled and artificial parts; the forms of the sets (sets.py); what is wrong with their questions (refine/).
"""

import dataclasses
import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from fleming.public.readers import read_set
from fleming.public.sets import DECISIONS
from fleming.records import Question
from model.errors import InputError

FOLDS = 10
# Of test_ground_truth.json: half of the sha256 of its sorted ids between blanks.
TEST_IDS = "8cf42aa2181eb26c952897e953a7c266"


def read_public(files: Mapping[str, str], fold: int) -> tuple[dict[str, list[Question]], list[dict]]:
    """Return the questions of each named set, all in split train, and what was set aside, a record with a code each.

    Of PubMedQA's labelled file only the 450 training questions of the official fold. Raises InputError for a file
    that cannot be read, and for a set's test split: nothing may be learned from it.
    """
    parts, aside = {}, []
    for name, path in files.items():
        found = read_set(path)
        questions = found.questions
        if found.name == "pubmedqa":
            questions, _ = pubmedqa_fold(path, fold)
        elif any(q.split == "test" for q in questions):
            raise InputError(f"synth.public.{name}: {path} is a test split; nothing may be learned from it")
        parts[name] = [dataclasses.replace(q, split="train") for q in questions]
        for record in found.set_aside:
            aside.append({"code": record["code"], "where": record["record"], "part": name})
    return parts, aside


def pubmedqa_fold(path: str | Path, fold: int) -> tuple[list[Question], list[Question]]:
    """Return fold 0 .. 9 of ori_pqal.json (or the hub's form of it): 450 questions to train on, 50 in split dev.

    None of the 500 test questions is among them. Raises InputError where the file is not the 1,000 labelled questions
    in the authors' order, or where there is no such fold.
    """
    if fold not in range(FOLDS):
        raise InputError(f"{path}: PubMedQA has the folds 0 to {FOLDS - 1}, not {fold}")
    rng = random.Random(0)
    folds, test = _parts(read_set(path, "pubmedqa").questions, 2, rng)
    ids = " ".join(sorted(q.id.rpartition("/")[2] for q in test))
    if not hashlib.sha256(ids.encode()).hexdigest().startswith(TEST_IDS):
        raise InputError(
            f"{path}: the official rule does not give the published test ids; expected all 1,000 questions of "
            "ori_pqal.json in the authors' order"
        )
    parts = _parts(folds, FOLDS, rng)
    train = [dataclasses.replace(q, split="train") for i, part in enumerate(parts) if i != fold for q in part]
    return train, [dataclasses.replace(q, split="dev") for q in parts[fold]]


def _parts(questions: Sequence[Question], count: int, rng: random.Random) -> list[list[Question]]:
    """Cut each label's questions, shuffled, into `count` parts; then even the last part's size out."""
    parts: list[list[Question]] = [[] for _ in range(count)]
    for label in DECISIONS.values():  # yes, no, maybe: the order in which they draw from one generator
        same = [q for q in questions if q.answer == label]
        rng.shuffle(same)
        size = math.ceil(len(same) / count)
        for i, part in enumerate(parts):
            part += same[i * size : (i + 1) * size]
    if len(parts[-1]) != len(parts[0]):  # rounding up leaves the last part short: each other gives it one
        for part in parts[:-1]:
            parts[-1].append(part.pop(part.index(rng.choice(part))))
    return parts
