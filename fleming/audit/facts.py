"""What a run says of itself: facts as rows, each with the file where it stands; and how points of a form are filled.

Read from the manifest, reports, metrics and results alone, by assets/card.yaml, which says where each fact stands;
nothing is reckoned but counts and sums. What no file says is absent, and said to be. Left out: whether the files that
are named by hash are still the same.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleming.assets import ASSETS, load_table
from fleming.audit.markdown import text
from fleming.files import read_json, read_log
from fleming.html_page import SHOWN, items, mapping
from fleming.manifest import current, read_manifest
from fleming.typed import convert
from model.errors import InputError

TEXTS = load_table("card.yaml")
STAGES = ("synth", "sft", "grpo")
Row = dict[str, Any]


@dataclass(frozen=True)
class Fact:
    """Rows of name -> value, none where the run says nothing."""

    where: str
    """The file or files of the run that say it."""
    rows: list[Row]
    absent: str
    """What it means that there are none."""


def read_run(folder: Path) -> dict[str, Any]:
    """Return what a run's folder holds, under the names that assets/card.yaml has for its files.

    InputError for a folder that is no run's, and naming the file for one that is damaged or no JSON object.
    """
    manifest = read_manifest(folder)
    starts = {stage: manifest[stage] for stage in STAGES if manifest.get(stage)}
    last = {stage: found[-1] | {"starts": len(found)} for stage, found in starts.items()}
    results = {path.parent.name: _object(path) for path in sorted(folder.glob("eval/*/results.json"))}
    if not (last or results):
        raise InputError(
            f"{folder}: no run's folder: expected manifest.json of a run, or eval/NAME/results.json"
        )

    roots = [{"root": entry["root"]} for _, entry in current(manifest) if "root" in entry]
    logs = {stage: folder / stage / "metrics.jsonl" for stage in STAGES}
    return {
        "manifest.json": {"stages": last, "root": roots[-1:], **_hashes(last, results)},
        "data/report.json": _object(folder / "data/report.json"),
        "data/decontamination.json": _object(folder / "data/decontamination.json"),
        "eval/NAME/results.json": {name: found.get("benchmarks") for name, found in results.items()},
        "metrics.jsonl": {stage: _steps(path) for stage, path in logs.items() if path.exists()},
    }


def _object(path: Path) -> Row:
    return convert(Row, read_json(path), str(path), "the file") if path.exists() else {}


def _hashes(last: Mapping[str, Row], results: Mapping[str, Row]) -> dict[str, list[Row]]:
    """Return the hashes of weights and data, apart for what stages wrote, what they read and what was evaluated."""
    said = [(stage, use, entry.get(use)) for stage, entry in last.items() for use in ("inputs", "outputs")]
    said += [(name, "evaluated", found.get("sha256")) for name, found in results.items()]
    named: dict[str, list[Row]] = {}
    for of, use, hashes in said:
        for file, sha256 in mapping(hashes).items():
            kind = "weights" if file.endswith(".safetensors") else "settings" if "model/" in file else "data"
            named.setdefault(f"{kind}_{use}", []).append({"of": of, "file": file, "sha256": sha256})
    return named


def _steps(path: Path) -> Row:
    """Return how many steps a log has, and their time."""
    records = list(read_log(path))
    seconds = [mapping(record.get("time")).get("step") for record in records]
    minutes = sum(value for value in seconds if type(value) in (int, float)) / 60
    stages = Counter(text(record["stage"]) for record in records if "stage" in record)
    return {"steps": len(records), "stages": dict(stages) or None, "minutes": round(minutes, 1)}


def facts_of(run: Mapping[str, Any]) -> dict[str, Fact]:
    """Return every fact of assets/card.yaml by its name."""
    table = TEXTS["facts"].items()
    return {name: Fact(row["of"], _rows(run[row["of"]], row), row["absent"]) for name, row in table}


def _rows(document: Any, fact: Mapping[str, Any]) -> list[Row]:
    """Return the different rows at the fact's place `at`: those of a list, or one of a mapping, or, with `named`, one
    of each of its values beside its key (as deep as there are names; "" leaves a key out). `columns` are paths in a
    row; without them all of it is shown.
    """
    found = [({}, value) for value in items(_at(document, fact.get("at", "")))]
    for name in fact.get("named", ()):
        inside = [(keys, key, value) for keys, row in found for key, value in mapping(row).items()]
        found = [(keys | ({name: key} if name else {}), value) for keys, key, value in inside]

    rows = {}
    for keys, row in found:
        values = row if isinstance(row, dict) else {fact.get("value", "value"): row}
        if "columns" in fact:
            values = {head: _at(row, path) for head, path in fact["columns"].items()}
        if any(value is not None for value in values.values()):
            rows.setdefault(repr(keys | values), keys | values)
    return list(rows.values())


def _at(value: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        value = mapping(value).get(name)
    return value


# How it is said


def not_done(facts: Mapping[str, Fact]) -> list[str]:
    """Return what was not done, or is not said, each in a line."""
    said = [fact.absent for fact in facts.values() if not fact.rows]
    said += [TEXTS["unchecked"] for row in facts["labels"].rows if "not checked" in row.values()]
    for row in facts["decontamination"].rows:
        if row["mode"] == "off" or row["fault"]:
            why = row["fault"] or TEXTS["not_compared"]
            said.append(f"{row['stage']}: decontamination {text(row['mode'])}, {text(why)}")
    return said


def line_of(rows: Sequence[Row]) -> str:
    """Return the rows of a fact in one line, without what is empty."""
    shown = [{name: text(value) for name, value in row.items()} for row in rows[:SHOWN]]
    said = [", ".join(f"{text(name)} {value}" for name, value in row.items() if value) for row in shown]
    return "; ".join(said + [f"and {len(rows) - SHOWN:,} more"] * (len(rows) > SHOWN))


def filled(point: Mapping[str, Any], facts: Mapping[str, Fact], folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (how, what) for each way in which a point of a form is filled. It is a row of assets/: `run` names facts,
    `evidence` files of the repository or of the run, `person` says what nobody here can know.
    """
    for name in point.get("run", ()):
        fact = facts[name]
        if fact.rows:
            yield f"filled from the run, {fact.where}", f"{name.replace('_', ' ')}: {line_of(fact.rows)}"
        else:
            yield "a person must", f"say it, as the run does not: {fact.absent}"
    for path in point.get("evidence", ()):
        if (ASSETS.parent / path).exists() or (folder / path).exists():
            yield f"evidence at {path}", ""
        else:
            yield "a person must", f"say it: there is no {path} here"
    if "person" in point:
        yield "a person must", point["person"]
