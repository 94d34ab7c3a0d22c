"""How far a judge of rubrics agrees with itself and with people. Left out: who is asked (rubrics.py)."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from fleming.evaluation.rubric_file import is_conversation
from fleming.evaluation.statistics import clustered_interval
from fleming.files import read_jsonl
from fleming.records import Message
from fleming.typed import from_json
from model.errors import InputError


def agreement(groups: Sequence[Sequence[tuple[bool, bool]]]) -> dict[str, Any] | None:
    """Return share of equal pairs with its interval, Cohen's kappa (1960), macro F1 of what occurs; None for no pairs.

    groups: the pairs of each answer, which stand or fall together. kappa is None where both always say one thing.
    """
    groups = [group for group in groups if group]
    pairs = [pair for group in groups for pair in group]
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
    share = clustered_interval([[a == b for a, b in group] for group in groups])
    return {"n": n, **vars(share), "kappa": kappa, "macro_f1": sum(f1) / len(f1)}


@dataclass(frozen=True)
class Label:
    """What people say of one criterion of one answer."""

    prompt_id: str
    criterion: str
    votes: list[bool]
    completion: str | None
    """The answer; None: the evaluated model's."""
    prompt: list[Message] | None = None
    """What was asked; None: what the file of rubrics asks under this id."""

    def check(self, where: str) -> None:
        """Raise InputError where nobody has voted, or nobody was asked."""
        if not self.votes or not (self.prompt is None or is_conversation(self.prompt)):
            raise InputError(f"{where}: no vote, or no conversation")


def read_labels(path: Path) -> tuple[list[Label], int]:
    """Return people's labels and how many rows are none. InputError where those are above a fifth, or all."""
    found, faults = [], []
    for where, row in read_jsonl(path, True, lambda where, code, why: faults.append(where)):
        label = {name: row.get(name) for name in ("prompt_id", "completion", "prompt")}
        label["criterion"] = row.get("criterion", row.get("rubric"))
        label["votes"] = row.get("binary_labels", [row.get("label")])
        try:
            found.append(from_json(Label, label, where))
        except InputError:
            faults.append(where)
    if 5 * len(faults) > len(found) + len(faults) or not found:
        raise InputError(
            f"{faults[0] if faults else path}: expected prompt_id, criterion, and binary_labels or label, true or "
            f"false; so are {max(0, len(faults) - 1)} rows more: too many to go on"
        )
    return found, len(faults)


def human_agreement(
    labels: Sequence[Label],
    prompts: Mapping[str, Any],
    answers: Mapping[str, str],
    ask: Callable[[Sequence[Any]], list[list[Any]]],
) -> dict[str, Any]:
    """Return how the judge agrees with the majority: it says met where it does so in both orders.

    A label without a completion is of the evaluated model's answer to the prompt of that id. Of other prompts, of ties
    and of unread replies there is a count; n is 0 where nothing is left. raters: pairs of people on the same criterion,
    the most that can be asked of a judge.
    """
    groups: dict[tuple[str, str], list[Label]] = defaultdict(list)
    for label in labels:
        name, own = label.prompt_id, label.completion is None
        prompt = prompts.get(name) if label.prompt is None or own else label.prompt
        if prompt is not None:
            groups[json.dumps(prompt), answers[name] if own else label.completion].append(label)
    jobs = [(json.loads(said), text, [x.criterion for x in rows]) for (said, text), rows in groups.items()]
    judged, people, unread, tied = [], [], 0, 0
    for rows, words in zip(groups.values(), ask(jobs), strict=True):
        pairs, between = [], []
        for label, word in zip(rows, words, strict=True):
            votes = label.votes
            between += combinations(votes, 2)
            tied += 2 * sum(votes) == len(votes)
            unread += word is None
            if word is not None and 2 * sum(votes) != len(votes):
                pairs.append((all(word), 2 * sum(votes) > len(votes)))
        judged.append(pairs)
        people.append([*between, *((b, a) for a, b in between)])  # who is first must not matter
    found, raters = agreement(judged) or {"n": 0}, agreement(people)
    other = len(labels) - sum(map(len, groups.values()))
    if raters:
        raters["n"] //= 2
    return found | {"raters": raters, "unread": unread, "tied": tied, "other_prompts": other}
