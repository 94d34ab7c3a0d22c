"""Training, dev and test questions apart: by what is combined in them, so that a test asks for no memorised question.

Left out: shares by anything but chain length.
"""

import dataclasses
from collections import Counter, defaultdict

from fleming.noise import generator
from fleming.questions.metapaths import METAPATHS
from fleming.records import Question
from model.errors import InputError


def facts(question: Question) -> set[tuple[str, str, str]]:
    """Return the triples on the question's path, clues included."""
    return {(edge["head"], edge["relation"], edge["tail"]) for edge in question.provenance["path"]}


def combination(question: Question) -> tuple[str, ...]:
    """Return what held-out questions must not share with training.

    For a hidden root it is the set of its clues, whatever is asked about it: stricter than the composition. For a
    visible root it is the composition itself, since a name cannot be kept from training altogether.
    """
    provenance = question.provenance
    clues = provenance["path"][: provenance["chain"][0]]
    if not clues:
        return provenance["metapath"], *provenance["visible"], provenance["answer"]
    return tuple(sorted(edge["tail"] for edge in clues))


def _kept_in_training(question: Question) -> set[tuple[str, ...]]:
    """Return what training must still hold where the question is held out: its facts, and its answer to such a step.

    Without the second, an option that is never right in training would be known for that, not for the facts.
    """
    provenance = question.provenance
    asked = METAPATHS[provenance["metapath"]].chain[-1]
    return facts(question) | {(asked, provenance["answer"])}


def split_by_composition(
    questions: list[Question], dev: int, test: int, seed: int, facts_in_training: bool = True
) -> tuple[list[Question], list[Question], list[Question]]:
    """Return (train, dev, test), each question's `split` set; dev and test hold equal shares of each chain length.

    A combination lies in one split. With `facts_in_training` it is held out only where every fact of its questions
    stays on the path of a training question, so that a test asks for known facts put together anew, and where its
    answer stays the answer of one. Members of a held-out combination that exceed a share are dropped. InputError where
    the facts allow no split as large as asked.
    """
    units = defaultdict(list)
    for question in questions:
        units[combination(question)].append(question)
    order = [list(units)[i] for i in generator(seed, "split").permutation(len(units))]
    left = Counter(kept for question in questions for kept in _kept_in_training(question))
    lengths = sorted({_hops(question) for question in questions})

    held = {}
    for split, total in (("test", test), ("dev", dev)):
        held[split] = []
        room = {hops: (total + i) // len(lengths) for i, hops in enumerate(lengths)}
        for key in order:
            if not any(room.values()):
                break
            if key not in units or not any(room[_hops(question)] for question in units[key]):
                continue
            lost = Counter(kept for question in units[key] for kept in _kept_in_training(question))
            if facts_in_training and any(left[kept] == times for kept, times in lost.items()):
                continue
            left -= lost
            for question in units.pop(key):
                if room[_hops(question)]:
                    room[_hops(question)] -= 1
                    held[split].append(question)
        found = len(held[split])
        if found < total:
            condition = " with every fact still in training" if facts_in_training else ""
            raise InputError(
                f"split: {total} {split} questions were asked for, but only {found} can be held out{condition} "
                f"(short by chain length: {room}); ask for fewer, or sample more"
            )

    train = [question for unit in units.values() for question in unit]
    return _marked(train, "train"), _marked(held["dev"], "dev"), _marked(held["test"], "test")


def _hops(question: Question) -> int:
    return question.provenance["hops"]


def _marked(questions: list[Question], split: str) -> list[Question]:
    return [dataclasses.replace(question, split=split) for question in questions]
