"""How far a judge of rubrics agrees with itself and with people. Left out: who is asked (rubrics.py)."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
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


def read_labels(path: Path) -> list[dict[str, Any]]:
    """Return people's labels: prompt_id, criterion, labels, and the completion and prompt where the row has them."""
    found = []
    for where, row in read_jsonl(path):
        labels = row.get("binary_labels", [row.get("label")])
        text, name = row.get("criterion", row.get("rubric")), row.get("prompt_id")
        right = isinstance(labels, list) and labels and all(isinstance(x, bool) for x in labels)
        if not right or not isinstance(text, str) or not isinstance(name, str):
            raise InputError(
                f"{where}: expected prompt_id, criterion, and binary_labels or label, true or false"
            )
        if not isinstance(row.get("completion", ""), str):
            raise InputError(f"{where}: completion: expected a text")
        found.append(
            {"prompt_id": name, "criterion": text, "labels": labels, "completion": row.get("completion")}
        )
    return found


def human_agreement(
    labels: Sequence[dict[str, Any]],
    prompts: Mapping[str, Any],
    answers: Mapping[str, str],
    ask: Callable[[Sequence[Any]], list[list[Any]]],
) -> dict[str, Any] | None:
    """Return how the judge agrees with the majority: it says met where it does so in both orders.

    A label without a completion is of the evaluated model's answer. Of other prompts, of ties and of unread replies
    there is a count. raters: pairs of people on the same criterion, the most that can be asked of a judge.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in labels:
        name = row["prompt_id"]
        if name in prompts:
            text = answers[name] if row["completion"] is None else row["completion"]
            groups[name, text].append(row)
    jobs = [(prompts[name], text, [r["criterion"] for r in rows]) for (name, text), rows in groups.items()]
    pairs, between, unread, tied = [], [], 0, 0
    for rows, words in zip(groups.values(), ask(jobs), strict=True):
        for row, word in zip(rows, words, strict=True):
            votes = row["labels"]
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
