"""What is asked: each question of a benchmark, with its options in the published order and in others.

A model that knows the answer gives it whatever letter it stands behind; how often it does is its robustness to order.
Left out: how an item is asked and read (generation.py, loglikelihood.py).
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fleming.order import generator
from fleming.records import Question

# Options that speak of others by place or letter: moved, they would be false.
_REFERS = re.compile(
    r"\b(?:all|none|both|any|either|neither) (?:of )?(?:the )?(?:above|these|those|them|other|others|options)\b"
    r"|\b(?:above|below)\b"
    r"|^\W*(?:both |either |neither )?[a-j]\W*(?:,|and|or|nor|&|\+|/)\W*[a-j]\b(?:\W|and|or|[a-j]\b)*$"
    r"|以上|上述|均是|均非|都是|都对|皆",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Item:
    """One question as it is put to the model."""

    benchmark: str
    question: Question
    """Its options in the order in which they are shown, lettered anew."""
    order: int = 0
    """0: as published; 1, 2, ...: reshuffles."""
    published: dict[str, str] | None = None
    """Shown letter -> published letter; None where they are the same."""

    def published_letter(self, letter: str | None) -> str | None:
        """Return the published letter of a shown one."""
        return letter if letter is None or self.published is None else self.published[letter]


Key = tuple[str, str, str, int, int]
"""What tells an answer from all others of a run: benchmark, protocol, question id, order, sample."""


def key_of(record: Mapping[str, Any]) -> Key:
    """Return the key of an answer's record."""
    return record["benchmark"], record["protocol"], record["id"], record["order"], record["sample"]


def can_reorder(question: Question) -> bool:
    """Whether no option speaks of others by their place or letter, as "all of the above" does."""
    return not any(_REFERS.search(text[:200]) for text in question.options.values())


def reshuffle(question: Question, order: int, seed: int) -> tuple[Question, dict[str, str]]:
    """Return the question with its options in another order, and shown letter -> published letter.

    The order is fixed by (seed, question id, order) and is never the published one.
    """
    letters = list(question.options)
    rng = generator(seed, "option order", question.id, order)
    shuffled = letters
    while shuffled == letters:
        shuffled = [letters[i] for i in rng.permutation(len(letters))]
    published = dict(zip(letters, shuffled, strict=True))
    shown = {old: letter for letter, old in published.items()}
    options = {letter: question.options[old] for letter, old in published.items()}
    return dataclasses.replace(question, options=options, answer=shown[question.answer]), published


class Asked(NamedTuple):
    """One answer that is wanted."""

    key: Key
    item: Item
    sample: int
    length: int
    """Of its prompt, in whatever unit: answers of like length are best given together."""


def all_asked(
    benchmark: str,
    questions: Sequence[Question],
    protocol: str,
    samples: int,
    reshuffles: int,
    seed: int,
    measure: Callable[[Item], int],
) -> list[Asked]:
    """Return every answer that is wanted of a benchmark, in the order of its questions.

    Each question as published, then those whose options can be reordered in `reshuffles` other orders. measure(item)
    is its length.
    """
    items = [Item(benchmark, question) for question in questions]
    for order in range(1, reshuffles + 1):
        for question in filter(can_reorder, questions):
            shown, published = reshuffle(question, order, seed)
            items.append(Item(benchmark, shown, order, published))
    asked = []
    for item in items:
        length = measure(item)
        for sample in range(samples):
            asked.append(Asked((benchmark, protocol, item.question.id, item.order, sample), item, sample, length))
    return asked
