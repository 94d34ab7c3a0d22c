r"""The official MMLU-Pro rule that searches free text for a letter, kept only to compare stored outputs with.

Nothing of ours is scored by it: it reads "A" out of "A cell divides", and where it finds nothing the scorer guesses.
Source: TIGER-Lab's evaluate_from_local.py and compute_accuracy.py, from 14 July 2024; here in linear time. Left out:
their level-1 rule (the first search alone).
"""

import random
import re
from collections import deque
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

from fleming.answer import parse_answer
from fleming.public.tables import read_rows
from fleming.records import LETTERS
from model.errors import InputError

_ANSWER_IS = re.compile(r"answer is \(?([A-J])\)?")
_ANSWER = re.compile(r"[aA]nswer:(?=\s*([A-J]))")  # only looks ahead: "answer: Answer: B" holds two, A and B
_LETTER = re.compile(r"\b[A-J]\b")


def _official(text: str) -> tuple[str, str | None]:
    """Return (the search that decided, letter)."""
    if match := _ANSWER_IS.search(text):
        return "answer is", match[1]
    if first := _ANSWER.search(
        text
    ):  # `.*` is greedy and stops at \n: the last one in the first line with any
        end = text.find("\n", first.start()) % (len(text) + 1)  # -1, no line after it, becomes the end
        in_line = takewhile(lambda match: match.start() < end, _ANSWER.finditer(text, first.start()))
        return "answer:", deque(in_line, maxlen=1)[0][1]
    last = deque(_LETTER.finditer(text), maxlen=1)
    return ("last letter", last[0][0]) if last else ("nothing", None)


def official_answer(text: str) -> str | None:
    """Return the letter A to J that the official rule reads in any text, or None, where the scorer guesses."""
    return _official(text)[1]


def official_guess(letters: int = 10) -> str:
    """Return the letter that the official scorer takes where the rule finds none: the first draw after seed 12345.

    Seeded before each draw, it is always the same: compute_accuracy.py draws from ten, G, even for four options;
    evaluate_from_local.py from the question's own `letters`. Since February 2025 both seed once a run instead.
    """
    return random.Random(12345).choice(LETTERS[:letters])


def compare_outputs(path: str | Path) -> dict[str, Any]:
    """Return how the official rule and our strict parser read a file of stored outputs; see `read_rows`.

    A record has options (2 to 26 strings, lettered A, B, ...), answer (a letter), generated_text and perhaps pred.
    Returned: n; `accuracy` of each rule, a share of n (no answer is wrong; "official_with_guess" uses official_guess);
    `branches`: search -> [records it decided, of them right]; `pred`: how many agree with the rule, only with its
    guess, with neither; pred_differ, these last; strict_abstained; rules_differ, the records in which both rules read
    a letter, but not the same. Records count from 1. Raises InputError naming file and record.
    """
    n, abstained, right = 0, 0, dict.fromkeys(("official", "official_with_guess", "strict"), 0)
    branches = {branch: [0, 0] for branch in ("answer is", "answer:", "last letter", "nothing")}
    pred, lists = {"agree": 0, "agree_by_guess": 0, "differ": 0}, {"pred_differ": [], "rules_differ": []}
    for n, options, text, gold, record in _records(path):
        (branch, official), strict = _official(text), parse_answer(text, options)
        guess = official or official_guess()
        branches[branch] = [branches[branch][0] + 1, branches[branch][1] + (official == gold)]
        right = {
            rule: right[rule] + (x == gold) for rule, x in zip(right, (official, guess, strict), strict=True)
        }
        abstained += strict is None
        read = {"record": n, "official": official, "strict": strict, "answer": gold}
        if None not in (official, strict) and official != strict:
            lists["rules_differ"].append(read)
        if "pred" in record:  # null where the scorer kept its guess to itself
            kind = {guess: "agree_by_guess", official: "agree"}.get(record["pred"], "differ")
            pred[kind] += 1
            lists["pred_differ"] += [read | {"pred": record["pred"]}] if kind == "differ" else []
    if n == 0:
        raise InputError(f"{path}: no records; expected stored outputs")
    accuracy = {rule: count / n for rule, count in right.items()}
    return {
        "n": n,
        "accuracy": accuracy,
        "branches": branches,
        "strict_abstained": abstained,
        "pred": pred,
        **lists,
    }


def _records(path: str | Path) -> Iterator[tuple[int, dict[str, str], str, str, dict[str, Any]]]:
    """Yield (number, lettered options, generated_text, answer, record), checked."""
    for number, (where, row) in enumerate(read_rows(path), start=1):
        options = row.get("options")
        if (
            not isinstance(options, list)
            or not 2 <= len(options) <= 26
            or not all(isinstance(o, str) for o in options)
        ):
            raise InputError(f"{where}: expected an object with options, a list of 2 to 26 strings")
        lettered = dict(zip(LETTERS, options, strict=False))
        if not isinstance(row.get("answer"), str) or row["answer"] not in lettered:
            raise InputError(f"{where}: expected answer, a letter from A to {max(lettered)}")
        if not isinstance(row.get("generated_text"), str) or not isinstance(row.get("pred"), str | None):
            raise InputError(f"{where}: expected generated_text, and pred if any, to be strings")
        yield number, lettered, row["generated_text"], row["answer"], row
