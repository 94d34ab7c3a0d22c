"""What a run was made from and how it went, as columns and counts: metrics, mining, the graph, what was left out.

Left out: evaluation (scores.py), and the sampled answers (rollouts.py).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fleming.config import flat
from fleming.files import read_jsonl
from fleming.html_page import items, mapping, say
from fleming.report.reading import Reader

MOST_POINTS = 4_000  # of a curve; of a longer one several steps are one point
EXAMPLES = 3  # of what was left out for one reason
LISTED = 100  # questions of a round that went one way


def columns(records: Sequence[Mapping[str, Any]], most: int = MOST_POINTS) -> dict[str, list[float | None]]:
    """Return name -> value a step, of every number in the records; of many steps the means of equal runs of them."""
    by_step = {record["step"]: flat(record) for record in records if isinstance(record.get("step"), int)}
    rows = [row for _, row in sorted(by_step.items())]  # of a step that is there twice, the later
    width = -(-len(rows) // most)
    names = dict.fromkeys(name for row in rows for name in row)
    found = {}
    for name in names:
        values = [row.get(name) for row in rows]
        values = [v if isinstance(v, int | float) and not isinstance(v, bool) else None for v in values]
        if any(v is not None for v in values):
            found[name] = [_mean(values[i : i + width]) for i in range(0, len(values), width)]
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(f"{sum(known) / len(known):.6g}") if known else None


def mining(reader: Reader) -> dict[str, Any]:
    """Return the curriculum's switch and, of each round of mining, how many questions went from what to what.

    A question that a round does not ask stays what it was.
    """
    found: dict[str, Any] = {"events": [], "rounds": []}
    now: dict[str, str] = {}
    answers: dict[int, dict[str, str]] = {}
    told: dict[int, dict[str, Any]] = {}
    for event in reader.log("grpo/curriculum.jsonl", _event):
        match event:
            case ("answers", number, question, bucket):
                answers.setdefault(number, {})[question] = bucket
            case ("round", number, record):
                told[number] = record
            case ("old", step, buckets):
                answers[step], told[step] = buckets, {"step": step, "asked": len(buckets)}
            case dict():
                found["events"].append(event)
    for number, record in sorted(told.items()):
        before, now = now, now | answers.get(number, {})
        moved = {q: f"{before.get(q, 'new')} {bucket}" for q, bucket in now.items()}
        ids = {
            way: [q for q, m in moved.items() if m == way][:LISTED] for way in ("wrong right", "right wrong")
        }
        found["rounds"].append({**record, "moves": Counter(moved.values()), "ids": ids})
    return found


def _event(record: dict[str, Any]) -> Any:
    """Return what is kept of a line of the ledger."""
    match record.get("event"):
        case "answers":
            return "answers", record["round"], record["question"], record["bucket"]
        case "round":
            return "round", record["round"], {"step": record["step"], "asked": record["asked"]}
        case "step":
            return None
        case None if "pass_rates" in record:  # as earlier versions had it: a line a round
            rates = record["pass_rates"].items()
            return "old", record["step"], {q: "wrong" if rate < 0.5 else "right" for q, rate in rates}
    return {name: value for name, value in record.items() if name != "slopes"}


def graph(path: Path) -> dict[str, Any]:
    """Return a graph's origins, how many entities have each type, and how many facts lie between which types."""
    types: dict[str, str] = {}
    rare: Counter[str] = Counter()
    facts: Counter[tuple[str, str, str]] = Counter()
    origins = []
    for _, record in read_jsonl(path):
        match record["kind"]:
            case "origin":
                origins.append(record)
            case "entity":
                types[record["name"]] = record["type"]
                rare[record["type"]] += record.get("rare") is True
            case "facts":
                head = types.get(record["head"], "?")
                facts.update((head, fact[0], types.get(fact[1], "?")) for fact in record["facts"])
    counts = [[*ends, count] for ends, count in facts.most_common()]
    return {"origins": origins, "types": Counter(types.values()), "rare": rare, "facts": counts}


def rejected(path: Path) -> list[list[Any]]:
    """Return [step, code, how many, a few examples] of what was left out, the commonest first."""
    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], list[str]] = {}
    for _, record in read_jsonl(path):
        step = record.get("step") or (
            "draws" if "metapath" in record else "records" if "where" in record else ""
        )
        key = say(step), say(record["code"])
        counts[key] += 1
        if counts[key] <= EXAMPLES:
            about = (
                record.get("nodes") or mapping(record.get("question")).get("question") or record.get("where")
            )
            text = " – ".join(map(say, items(about))) or say(record.get("detail"))
            examples.setdefault(key, []).append(text[:200])
    return [[*key, count, examples[key]] for key, count in counts.most_common()]


def manifest(starts: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return stage -> its starts without their settings."""
    left_out = ("config",)
    return {
        stage: [{k: v for k, v in mapping(start).items() if k not in left_out} for start in items(entries)]
        for stage, entries in starts.items()
    }
