"""How far a judge of rubrics agrees with itself and with people. Left out: who is asked (rubrics.py)."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from fleming.evaluation.statistics import wilson_interval
from fleming.files import read_jsonl
from model.errors import InputError


def agreement(pairs: Sequence[tuple[bool, bool]]) -> dict[str, Any] | None:
    """Return share of equal pairs with Wilson's interval, Cohen's kappa (1960), macro F1 of what occurs; None for none.

    kappa is None where both always say the same one thing.
    """
    n = len(pairs)
    if not n:
        return None
    same = sum(a == b for a, b in pairs)
    first, second = sum(a for a, _ in pairs), sum(b for _, b in pairs)
    chance = first * second + (n - first) * (n - second)  # over n * n
    kappa = None if chance == n * n else (same * n - chance) / (n * n - chance)
    f1 = []
    for label in (True, False):
        said = sum((a is label) + (b is label) for a, b in pairs)
        if said:
            f1.append(2 * sum(a is label and b is label for a, b in pairs) / said)
    low, high = wilson_interval(same, n)
    return {
        "n": n,
        "value": same / n,
        "low": low,
        "high": high,
        "kappa": kappa,
        "macro_f1": sum(f1) / len(f1),
    }


@dataclass(frozen=True)
class Label:
    """What people say of one criterion of one answer."""

    prompt_id: str
    criterion: str
    votes: list[bool]
    completion: str | None
    """The answer; None: the evaluated model's."""


def read_labels(path: Path) -> tuple[list[Label], int]:
    """Return people's labels and how many rows are none. Raises InputError where those are above a fifth."""
    found, faults = [], []
    for where, row in read_jsonl(path):
        votes = row.get("binary_labels", [row.get("label")])
        criterion, name, text = (
            row.get("criterion", row.get("rubric")),
            row.get("prompt_id"),
            row.get("completion"),
        )
        is_label = isinstance(votes, list) and votes and all(isinstance(vote, bool) for vote in votes)
        if is_label and all(isinstance(x, str) for x in (criterion, name, text or "")):
            found.append(Label(name, criterion, votes, text))
        else:
            faults.append(where)
    if 5 * len(faults) > len(found) + len(faults):
        raise InputError(
            f"{faults[0]}: expected prompt_id, criterion, and binary_labels or label, true or false; so are "
            f"{len(faults) - 1} rows more: too many to go on"
        )
    return found, len(faults)


def human_agreement(
    labels: Sequence[Label],
    prompts: Mapping[str, Any],
    answers: Mapping[str, str],
    ask: Callable[[Sequence[Any]], list[list[Any]]],
) -> dict[str, Any] | None:
    """Return how the judge agrees with the majority: it says met where it does so in both orders.

    A label without a completion is of the evaluated model's answer. Of other prompts, of ties and of unread replies
    there is a count. raters: pairs of people on the same criterion, the most that can be asked of a judge.
    """
    groups: dict[tuple[str, str], list[Label]] = defaultdict(list)
    for label in labels:
        name = label.prompt_id
        if name in prompts:
            text = answers[name] if label.completion is None else label.completion
            groups[name, text].append(label)
    jobs = [(prompts[name], text, [x.criterion for x in rows]) for (name, text), rows in groups.items()]
    pairs, between, unread, tied = [], [], 0, 0
    for rows, words in zip(groups.values(), ask(jobs), strict=True):
        for label, word in zip(rows, words, strict=True):
            votes = label.votes
            between += combinations(votes, 2)
            tied += 2 * sum(votes) == len(votes)
            unread += word is None
            if word is not None and 2 * sum(votes) != len(votes):
                pairs.append((all(word), 2 * sum(votes) > len(votes)))
    found = agreement(pairs)
    if found is None:
        raise InputError(
            "evaluate.rubric_labels: none of its labels could be compared (other prompts, ties, unread)"
        )
    other = len(labels) - sum(map(len, groups.values()))
    raters = agreement([*between, *((b, a) for a, b in between)])  # who is first must not matter
    if raters:
        low, high = wilson_interval(raters["value"] * len(between), len(between))
        raters |= {"n": len(between), "low": low, "high": high}
    return found | {"raters": raters, "unread": unread, "tied": tied, "other_prompts": other}
