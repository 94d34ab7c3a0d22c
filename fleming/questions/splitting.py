"""Training, dev and test questions apart: by what is combined in them, so that a test asks for no memorised question.

Left out: shares by anything but chain length.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable

from fleming.noise import generator
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
    clues = [clue["tail"] for clue in provenance.get("clues", ())]
    if not clues:
        return provenance["metapath"], *provenance["visible"], provenance["answer"]
    return tuple(sorted(clues))


def _kept_in_training(question: Question) -> set[tuple[str, ...]]:
    """Return what training must still hold where the question is held out: its facts, and its answer to such a step.

    Without the second, an option that is never right in training would be known for that, not for the facts.
    """
    provenance = question.provenance
    asked = provenance["metapath"].split(" by ")[0].split(" > ")[-1]
    return facts(question) | {(asked, provenance["answer"])}


def root_and_last_fact(question: Question) -> list[tuple[str, ...]]:
    """Return what a question shares with those that ask about its root, or for its last fact."""
    provenance = question.provenance
    keys: list[tuple[str, ...]] = [("root", provenance["root"])]
    if provenance["chain"]:
        edge = provenance["path"][provenance["chain"][-1]]
        keys.append((edge["head"], edge["relation"], edge["tail"]))
    return keys


def split_questions(
    questions: list[Question], dev: int, test: int, seed: int, facts_in_training: bool = True
) -> tuple[list[Question], list[Question], list[Question]]:
    """Return (train, dev, test), each question's `split` set; dev and test hold equal shares of each chain length.

    With `facts_in_training` a combination lies in one split, and it is held out only where every fact of its questions
    stays on the path of a training question, so that a test asks for known facts put together anew, and where its
    answer stays the answer of one. Else no two splits share a root or a last fact. Members of a held-out unit that
    exceed a share are dropped. InputError where no split as large as asked can be held out.
    """
    keys = (lambda question: [combination(question)]) if facts_in_training else root_and_last_fact
    units = _units(questions, keys)
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


def _units(questions: list[Question], keys: Callable[[Question], list[tuple]]) -> dict[tuple, list[Question]]:
    """Return the questions in groups, by the first key of each: two that share a key are in one, and so on."""
    leader: dict[tuple, tuple] = {}

    def find(key: tuple) -> tuple:
        while leader.setdefault(key, key) != key:
            key = leader[key]
        return key

    for question in questions:
        first, *others = map(find, keys(question))
        for other in others:
            leader[find(other)] = find(first)
    units = defaultdict(list)
    for question in questions:
        units[find(keys(question)[0])].append(question)
    return units


def _hops(question: Question) -> int:
    return question.provenance["hops"]


def _marked(questions: list[Question], split: str) -> list[Question]:
    return [dataclasses.replace(question, split=split) for question in questions]
