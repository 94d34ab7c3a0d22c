"""What a model's answers to the same questions, asked otherwise, say of it: the reliability row.

A question enters only where it was asked in all the ways that should not matter. One answer each: the first where there
are several. Left out: how it is asked otherwise (variants.py); what guessing would give in all ways at once.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fleming.checks.path import read_certificate
from fleming.evaluation.answers import Answer
from fleming.evaluation.statistics import question_interval
from fleming.evaluation.variants import ROW, VARIANTS, wrong_option
from fleming.evaluation.votes import mean
from fleming.records import Question

Way = tuple[int, str]
"""Order and variant of an answer."""
PUBLISHED: Way = (0, "")
CUTS = (*ROW.cuts, ROW.corrupted)
SAME = {"", *(name for name, how in VARIANTS.items() if how.asks == "same")}
HINTED = next(name for name, how in VARIANTS.items() if how.asks == "hinted")


def reliability(questions: Iterable[Question], answers: Iterable[Answer]) -> dict[str, Any] | None:
    """Return the row, shares with their intervals; None where nothing was asked otherwise than in another order.

    questions: as published. answers: by one protocol, to them.
    """
    by_question: dict[str, dict[Way, Answer]] = defaultdict(dict)
    for answer in answers:
        if answer.sample == 0:
            by_question[answer.id][answer.order, answer.variant] = answer
    ways = {way for given in by_question.values() for way in given}
    if not any(variant in VARIANTS for _, variant in ways):
        return None

    same = sorted(way for way in ways if way[1] in SAME)
    forms = [way for way in same if way[1]]
    asked = {q.id: (q, by_question[q.id]) for q in questions if by_question[q.id].keys() >= set(same)}
    if not forms or not asked:
        return None
    choices = [[given[way].choice for way in same] for _, given in asked.values()]
    right = [all(given[way].correct for way in same) for _, given in asked.values()]
    changed = [mean(g[way].choice != g[PUBLISHED].choice for way in forms) for _, g in asked.values()]
    return {
        "questions": len(asked),
        "ways": [variant or f"order {order}" for order, variant in same],
        "right_in_all": _share(right),
        "same_in_all": _share(None not in chosen and len(set(chosen)) == 1 for chosen in choices),
        "format_sensitivity": _share(changed, samples=len(forms)),
        "hint_followed": _followed([pair for pair in asked.values() if pair[1][PUBLISHED].correct], HINTED),
        "none_of_others_proved": _share(
            given[0, "none_of_others"].correct
            for question, given in asked.values()
            if (0, "none_of_others") in given and _proved(question)
        ),
        "accuracy": {
            variant or f"order {order}": _accuracy(
                [g[order, variant] for _, g in asked.values() if (order, variant) in g]
            )
            for order, variant in sorted(ways)
        },
        "corrupted_followed": _followed(asked.values(), ROW.corrupted),
    }


def _followed(asked: Iterable[tuple[Question, Mapping[Way, Answer]]], variant: str) -> dict[str, Any] | None:
    """Return the share of the questions asked so that were answered with the wrong option it speaks for."""
    return _share(g[0, variant].choice == wrong_option(q) for q, g in asked if (0, variant) in g)


def _accuracy(answers: Sequence[Answer]) -> dict[str, Any] | None:
    found = _share(answer.correct for answer in answers)
    return found and {**found, "abstained": mean(answer.answer is None for answer in answers)}


def _proved(question: Question) -> bool:
    """Whether each wrong option of the question is proved wrong, so that with the right one gone none is right."""
    certificate = read_certificate(question)
    return certificate is not None and not certificate.open


def _share(scores: Iterable[float], samples: int = 1) -> dict[str, Any] | None:
    """Return the mean of a score in [0, 1] a question with its interval, None of no questions."""
    scores = list(scores)
    return {"n": len(scores), **vars(question_interval(scores, samples))} if scores else None


# As a reader sees it


def row_of(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any] | None]:
    """Return column -> share of a row, in the order in which they are read."""
    accuracy = found["accuracy"]
    cuts = {name.replace("_", " ") + (" %" if name in ROW.cuts else ""): accuracy.get(name) for name in CUTS}
    return {
        "right in all": found["right_in_all"],
        "same in all": found["same_in_all"],
        "format changes": found["format_sensitivity"],
        "none of others": accuracy.get("none_of_others"),
        "and proved": found["none_of_others_proved"],
        "hidden": accuracy.get("options_alone"),
        "hint followed": found["hint_followed"],
        **cuts,
        "and followed": found["corrupted_followed"],
    }
