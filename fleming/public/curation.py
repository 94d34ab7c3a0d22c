"""Curate (paper, 3.1): the public question sets that a run learns from, each as its authors split it.

Left out: the forms of the sets (sets.py) and what is wrong with their questions (refine/).
"""

import dataclasses
from collections.abc import Mapping

from fleming.public.pubmedqa_folds import pubmedqa_fold
from fleming.public.readers import read_set
from fleming.records import Question
from model.errors import InputError


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
