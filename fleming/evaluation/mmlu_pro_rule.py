r"""The official MMLU-Pro rule that searches free text for a letter, kept only to compare stored outputs with.

    python -m fleming.evaluation.mmlu_pro_rule outputs.json [--graph RUN_DIR/data/graph.jsonl]

Nothing of ours is scored by it: it reads "A" out of "A cell divides", and where it finds nothing the scorer guesses.
Source: TIGER-Lab's evaluate_from_local.py and compute_accuracy.py, from 14 July 2024; here in linear time. Left out:
their level-1 rule (the first search alone).
"""

import json
import random
import re
from collections import deque
from collections.abc import Iterator
from itertools import takewhile
from operator import eq
from pathlib import Path
from typing import Any, NamedTuple

from fleming.answer import parse_answer
from fleming.config import run_script
from fleming.evaluation.process import process_scores
from fleming.graph.graph_files import load_graph
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.public.readers import MOST_FLAWED
from fleming.public.tables import Row, read_rows
from fleming.records import LETTERS
from fleming.terminal import option_parser
from model.errors import InputError

BRANCHES = ("answer is", "answer:", "last letter", "nothing")
_ANSWER_IS = re.compile(r"answer is \(?([A-J])\)?")
_ANSWER = re.compile(r"[aA]nswer:(?=\s*([A-J]))")  # only looks ahead: "answer: Answer: B" holds two, A and B
_LETTER = re.compile(r"\b[A-J]\b")


def official_answer(text: str) -> tuple[str, str | None]:
    """Return the search of the official rule that decides, and the letter A to J; None: there the scorer guesses."""
    match = _ANSWER_IS.search(text)
    if match:
        return "answer is", match[1]

    first = _ANSWER.search(text)
    if first:  # `.*` is greedy and stops at \n: the last one in the first line with any
        end = text.find("\n", first.start())
        end = len(text) if end < 0 else end
        in_line = takewhile(lambda m: m.start() < end, _ANSWER.finditer(text, first.start()))
        return "answer:", _last(in_line)[1]

    last = _last(_LETTER.finditer(text))
    return ("last letter", last[0]) if last else ("nothing", None)


def _last(matches: Iterator[re.Match]) -> re.Match | None:
    kept = deque(matches, maxlen=1)
    return kept[0] if kept else None


def official_guess(letters: int = 10) -> str:
    """Return the letter that the official scorer takes where the rule finds none: the first draw after seed 12345.

    Seeded before each draw, it is always the same: compute_accuracy.py draws from ten, G, even for four options;
    evaluate_from_local.py from the question's own `letters`. Since February 2025 both seed once a run instead.
    """
    return random.Random(12345).choice(LETTERS[:letters])


class Output(NamedTuple):
    """A stored output, as the official rule reads it: what process.py asks of an answer."""

    id: str
    response: str
    answer: str | None
    correct: bool
    as_published: bool = False


def compare_outputs(path: str | Path, graph: KnowledgeGraph | None = None) -> dict[str, Any]:
    """Return how the official rule and our strict parser read a file of stored outputs; see `read_rows`.

    A record has options (2 to 26 strings, lettered A, B, ...), answer (a letter), generated_text or model_outputs (as
    the official files of different years), and perhaps pred; one that has not is set aside with its place.
    Returned: n; `accuracy` of each rule, a share of n (no answer is wrong; "official_with_guess" uses official_guess);
    `branches`: search -> [records it decided, of them right]; `pred`: how many agree with the rule, only with its
    guess, with neither; pred_differ, these last; strict_abstained; rules_differ, the records in which both rules read
    a letter, but not the same; `process`, what the checks say of the reasoning (process.py), with claims against
    `graph`, apart for what the official rule reads as right and as wrong. Records count from 1. Raises InputError where
    more than MOST_FLAWED of the records are set aside.
    """
    branches = {branch: [0, 0] for branch in BRANCHES}
    pred = {"agree": 0, "agree_by_guess": 0, "differ": 0}
    found, pred_differ, guess = [], [], official_guess()
    outputs: list[Output] = []
    set_aside: list[str] = []
    for where, row in read_rows(path, (), lambda where, _, detail: set_aside.append(f"{where}: {detail}")):
        try:
            options, text = _check(row, where)
        except InputError as error:
            set_aside.append(str(error))
            continue
        branch, official = official_answer(text)
        strict, gold = parse_answer(text, options), row["answer"]
        found.append({"record": len(found) + 1, "official": official, "strict": strict, "answer": gold})
        outputs.append(Output(str(len(found)), text, official, official == gold))
        branches[branch][0] += 1
        branches[branch][1] += official == gold
        if "pred" in row:  # null where the scorer kept its guess to itself
            kind = {official or guess: "agree_by_guess", official: "agree"}.get(row["pred"], "differ")
            pred[kind] += 1
            if kind == "differ":
                pred_differ.append(found[-1] | {"pred": row["pred"]})
    n = len(found)
    if len(set_aside) > max(1 * (n > 0), MOST_FLAWED * (n + len(set_aside))):
        raise InputError(f"{set_aside[0]}; {len(set_aside)} records are no stored outputs, {n} are")
    if n == 0:
        raise InputError(f"{path}: no records; expected stored outputs")
    letters = {
        "official": [each["official"] for each in found],
        "official_with_guess": [each["official"] or guess for each in found],
        "strict": [each["strict"] for each in found],
    }
    golds = [each["answer"] for each in found]
    return {
        "n": n,
        "set_aside": set_aside,
        "accuracy": {rule: sum(map(eq, read, golds)) / n for rule, read in letters.items()},
        "branches": branches,
        "strict_abstained": letters["strict"].count(None),
        "pred": pred,
        "pred_differ": pred_differ,
        "process": process_scores({}, outputs, graph),
        "rules_differ": [r for r in found if None not in r.values() and r["official"] != r["strict"]],
    }


def _check(row: Row, where: str) -> tuple[dict[str, str], str]:
    """Return a record's options, lettered, and the output. Raises InputError for what is no stored output."""
    options = row.get("options")
    texts = isinstance(options, list) and all(isinstance(option, str) for option in options)
    if not texts or not 2 <= len(options) <= 26:
        raise InputError(f"{where}: expected an object with options, a list of 2 to 26 strings")
    lettered = dict(zip(LETTERS, options, strict=False))
    if not isinstance(row.get("answer"), str) or row["answer"] not in lettered:
        raise InputError(f"{where}: expected answer, a letter from A to {max(lettered)}")
    text = row.get("generated_text", row.get("model_outputs"))
    if not isinstance(text, str) or not isinstance(row.get("pred"), str | None):
        raise InputError(f"{where}: expected generated_text or model_outputs, and pred if any, to be strings")
    return lettered, text


def main(argv: list[str]) -> None:
    parser = option_parser(__doc__)
    parser.add_argument("outputs", metavar="FILE", help="stored outputs, a record an answer")
    parser.add_argument("--graph", metavar="FILE", help="of a run, for what claims say")
    options = parser.parse_args(argv)
    graph = load_graph(options.graph) if options.graph else None
    print(json.dumps(compare_outputs(options.outputs, graph), ensure_ascii=False, indent=1))


if __name__ == "__main__":
    run_script(main)
