"""What is asked: each question of a benchmark, with its options in the published order and in others, or otherwise.

A model that knows the answer gives it whatever letter it stands behind; how often it does is its robustness to order.
Left out: how an item is asked and read (generation.py, loglikelihood.py).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from fleming.evaluation.variants import vary
from fleming.noise import generator
from fleming.public.benchmarks import LoadedBenchmark
from fleming.records import Question
from fleming.text import can_reorder


@dataclass(frozen=True)
class Item:
    """One question as it is put to the model."""

    benchmark: str
    question: Question
    """As it is shown: its options in the order in which they are, lettered anew."""
    order: int = 0
    """0: as published; 1, 2, ...: reshuffles."""
    variant: str = ""
    """How it is asked otherwise (variants.py); empty: as every question is."""
    begun: str = ""
    """What is written of the response for the model, which goes on from there."""
    published: dict[str, str] | None = None
    """Shown letter -> published letter; None where they are the same."""
    counts: bool = True
    """Whether it is part of the score, which a repeated stem may not be."""

    def published_letter(self, letter: str | None) -> str | None:
        """Return the published letter of a shown one."""
        return letter if letter is None or self.published is None else self.published[letter]


Key = tuple[str, str, str, int, int, str]
"""What tells an answer from all others of a run: benchmark, protocol, question id, order, sample, variant."""


class Asked(NamedTuple):
    """One answer that is wanted."""

    key: Key
    item: Item
    sample: int
    length: int
    """Of its prompt, in whatever unit: answers of like length are best given together."""


def reshuffle(question: Question, order: int, seed: int) -> tuple[Question, dict[str, str]]:
    """Return the question with its options in another order, and shown letter -> published letter.

    The order is fixed by (seed, question id, order) and is never the published one.
    """
    letters = list(question.options)
    rng = generator(seed, "option order", question.id, order)
    shuffled = letters
    while shuffled == letters:
        shuffled = [letters[i] for i in rng.permutation(len(letters))]
    return question.in_order(shuffled), dict(zip(letters, shuffled, strict=True))


def all_asked(
    benchmark: LoadedBenchmark,
    protocol: str,
    samples: int,
    reshuffles: int,
    seed: int,
    measure: Callable[[Item], int],
    variants: Collection[str] = (),
) -> list[Asked]:
    """Return every answer that is wanted of a benchmark, in the order of its questions.

    `samples` answers to each question as published, then one in each of `reshuffles` other orders of its options where
    they can be reordered, and one to each of the `variants` that it has. measure(item) is the length of its prompt; all
    answers to a question have that of the question as published, so that they are given together.
    """
    counted = {question.id for question in benchmark.headline}
    lengths: dict[str, int] = {}
    asked = []

    def add(question: Question, samples: int, **how: Any) -> None:
        item = Item(benchmark.name, question, counts=question.id in counted, **how)
        length = lengths.setdefault(question.id, measure(item))
        for sample in range(samples):
            key = benchmark.name, protocol, question.id, item.order, sample, item.variant
            asked.append(Asked(key, item, sample, length))

    for question in benchmark.questions:
        add(question, samples)
    for order in range(1, reshuffles + 1):
        for question in filter(lambda q: can_reorder(q.options), benchmark.questions):
            shown, published = reshuffle(question, order, seed)
            add(shown, 1, order=order, published=published)
    for variant in variants:
        for question in benchmark.questions:
            if found := vary(question, variant):
                shown, published = found
                add(shown, 1, variant=variant, published=published)
    return asked
