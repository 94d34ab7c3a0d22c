"""What a run was made from, and how it went: metrics, mining, the graph, what was left out, its questions.

Left out: evaluation (scores.py), and the sampled answers (rollouts.py).
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from fleming.files import parse_line, read_jsonl
from fleming.html_page import items, mapping, say
from model.files import open_bytes
from model.sums import check_file

POINTS = 2_000  # of a curve; of a longer one every so many steps are shown
EXAMPLES = 3  # of what was left out for one reason
WAYS = ("wrong right", "right wrong")  # that a question may go between two rounds
LISTED = 100  # questions of a round that went one way
LONGEST = 20_000  # characters of a text
_ID = re.compile(rb'\{"id": ("(?:[^"\\]|\\.)*")')


def thinned(records: Sequence[Any]) -> list[Any]:
    """Return at most POINTS of the records, evenly, the last among them."""
    every = -(-len(records) // POINTS) or 1
    return list(records[::-1][::every][::-1])


def event(record: dict[str, Any]) -> Any:
    """Return what `mining` needs of a line of the ledger."""
    if record.get("event") == "answers":
        return record["round"], str(record["question"]), record["bucket"]
    return None if record.get("event") == "step" else {**record, "slopes": None}


def mining(ledger: Sequence[Any]) -> dict[str, Any]:
    """Return a ledger's other events, and for each round of mining how many questions went from what to what.

    A question that a round does not ask stays what it was.
    """
    events: list[dict[str, Any]] = []
    buckets: dict[Any, dict[str, str]] = {}  # of each round
    rounds: dict[Any, dict[str, Any]] = {}
    for record in ledger:
        match record:
            case (number, question, bucket):
                buckets.setdefault(number, {})[question] = bucket
            case {"event": "round", "round": number}:
                rounds[number] = {"step": record["step"], "asked": record["asked"]}
            case {"step": step, "pass_rates": rates}:  # as earlier versions had it: a line a round
                buckets[step] = {
                    question: "wrong" if rate < 0.5 else "right" for question, rate in rates.items()
                }
                rounds[step] = {"step": step, "asked": len(rates)}
            case _:
                events.append(record)
    now: dict[str, str] = {}
    for number, told in sorted(rounds.items()):
        before, now = now, now | buckets.get(number, {})
        moves = {question: f"{before.get(question, 'new')} {bucket}" for question, bucket in now.items()}
        told["moves"] = Counter(moves.values())
        for way in WAYS:
            told[way] = [question for question, move in moves.items() if move == way][:LISTED]
    return {"events": events, "rounds": [told for _, told in sorted(rounds.items())]}


def graph(path: Path) -> dict[str, Any]:
    """Return a graph's origins, how many entities have each type, and how many facts lie between which types."""
    types: dict[str, str] = {}
    rare: Counter[str] = Counter()
    facts: Counter[tuple[str, str, str]] = Counter()
    origins = []
    for _, record in read_jsonl(path):
        if record["kind"] == "origin":
            origins.append(record)
        elif record["kind"] == "entity":
            types[record["name"]] = record["type"]
            rare[record["type"]] += record.get("rare") is True
        elif record["kind"] == "facts":
            head = types[record["head"]]
            facts.update((head, relation, types[tail]) for relation, tail, *_ in record["facts"])
    between = [[*ends, count] for ends, count in facts.most_common()]
    return {"origins": origins, "types": Counter(types.values()), "rare": rare, "facts": between}


def rejected(path: Path) -> list[list[Any]]:
    """Return [step, code, how many, examples] of what was left out, the commonest first."""
    found: dict[tuple[str, str], list[Any]] = {}
    for _, record in read_jsonl(path):
        step = record.get("step") or ("draws" if "metapath" in record else "records")
        count = found.setdefault((say(step), say(record["code"])), [0, []])
        count[0] += 1
        if count[0] <= EXAMPLES:
            asked = mapping(record.get("question")).get("question")
            about = asked or record.get("nodes") or record.get("where") or record.get("detail")
            count[1].append(" – ".join(map(say, items(about)))[:200])
    return [[*key, *count] for key, count in sorted(found.items(), key=lambda item: -item[1][0])]


def questions(path: Path, ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return id -> question of a file, without its evidence; a line that begins with another id is not taken apart."""
    check_file(path)
    found = {}
    with open_bytes(path) as file:
        for number, line in enumerate(file, 1):
            begins = _ID.match(line)
            if begins is None or json.loads(begins[1]) in ids:
                record = parse_line(line, f"{path}:{number}")
                found |= {record["id"]: _lean(record)} if record["id"] in ids else {}
    return found


def _lean(value: Any) -> Any:
    """Return the value without its evidence, but where the first piece of it stands."""
    match value:
        case dict():
            first = mapping(next(iter(items(value.get("evidence"))), None))
            place = {"place": f"{say(first['file'])}:{say(first.get('record'))}"} if "file" in first else {}
            return {name: _lean(item) for name, item in value.items() if name != "evidence"} | place
        case list():
            return [_lean(item) for item in value[:LISTED]]
        case str():
            return value[:LONGEST]
    return value
