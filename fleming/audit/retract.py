"""What depends on a source that is withdrawn, the list that keeps it out of the next data, and what must be run again.

    python -m fleming.audit retract RUN --source rare.csv:812
    python -m fleming.audit retract RUN --source "Wilson disease"                        a page
    python -m fleming.audit retract RUN --source "Wilson disease | has_finding | tremor"

A question depends on an edge that its provenance names, whether as a step, a clue or the ground of a wrong option. Left
out: that other questions may be posed on a graph with fewer facts; the rebuilt data settle that, since every
certificate is made anew.
"""

import dataclasses
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fleming.audit.index import GRAPH, Index, edge_key
from fleming.files import read_jsonl, read_log, step_of, write_jsonl
from fleming.graph.retracted import Retraction, keys_of, read_retractions
from fleming.html_page import mapping
from fleming.manifest import SCRIPTS
from model.errors import InputError


def retraction_of(index: Index, source: str, reason: str, files: set[str]) -> Retraction:
    """Return what --source means, among the files, pages and facts of a graph. Raises InputError for none of them."""
    if source in files:
        return Retraction(source, reason=reason)
    file, _, record = source.rpartition(":")
    if file in files and record.isdecimal():
        return Retraction(file, int(record), reason=reason)
    if fact := index.fact_named(source):
        return Retraction("", None, *fact, reason=reason)
    some = ", ".join(sorted(files)[:8])
    raise InputError(
        f"--source {source!r}: no file, page or fact of this graph; expected FILE, FILE:LINE, PAGE or "
        f"'HEAD | RELATION | TAIL', the file or page one of {some}{' ...' * (len(files) > 8)}"
    )


def known_retractions(index: Index, path: Path) -> list[Retraction]:
    """Return what the run's list has already, or, before it has one, the list with which its data were made."""
    made = index.manifest.get("synth", [{}])[-1].get("config", {})
    before = path if path.exists() else mapping(made.get("synth")).get("retracted")
    return read_retractions(Path(before)) if before else []


def lost_edges(
    index: Index, retraction: Retraction, known: Sequence[Retraction], origins: Mapping[int, str]
) -> tuple[list[tuple[str, str, str]], int]:
    """Return the facts of the source that, with all that is withdrawn, have no evidence left, and how many have."""
    withdrawn, lost, kept = {retraction.key, *(other.key for other in known)}, [], 0
    for _, record in read_jsonl(index.run_dir / GRAPH):
        for relation, tail, _, evidence in record.get("facts", ()):
            triple = record["head"], relation, tail
            keys = [keys_of(triple, origins[row[0]], row[1]) for row in evidence]
            if any(retraction.key in of for of in keys):
                gone = all(not withdrawn.isdisjoint(of) for of in keys)
                lost += [triple] * gone
                kept += not gone
    return lost, kept


def dependants(index: Index, edges: list[tuple[str, str, str]]) -> dict[str, Any]:
    """Return the ids of what depends on these edges, by kind, and the steps of training that it entered."""
    keys = [edge_key(*triple) for triple in edges]
    kinds = "questions", "trajectories", "sft_steps", "rl_steps", "answers"
    found: dict[str, set] = {kind: set() for kind in kinds}
    found["questions"] = {record["id"] for _, record in index.records_of(keys, "question")}
    for name in found["questions"]:
        key = f"question {name}"
        for _, trajectory in index.records(key, "trajectory"):
            found["trajectories"].add(trajectory["id"])
            found["sft_steps"].update((index.sft_steps or {}).get(trajectory["id"], ()))
        for file, _ in index.places_of(key):
            if file.startswith("grpo/rollouts/"):
                found["rl_steps"].add(step_of(Path(file)))
        for file, answer in index.records(key, "answer"):
            found["answers"].add(f"{Path(file).parts[1]}/{answer['id']}")
    return {name: sorted(ids) for name, ids in found.items()}


def to_run_again(index: Index, found: dict[str, Any], retracted: Path) -> Iterator[str]:
    """Yield the commands that make the run anew without what was withdrawn, each with what it took the last time."""
    run_dir = index.run_dir if index.run_dir.name else index.run_dir.resolve()
    needed = {
        "synth": True,
        "sft": bool(found["trajectories"]),
        "grpo": bool(found["trajectories"] or found["rl_steps"]),
        "evaluate": bool(found["questions"]),
    }
    settings = [f"run_dir={run_dir}_again", f"synth.retracted={retracted}"]
    for stage, script in SCRIPTS.items():
        if needed[stage] and stage in index.manifest:
            command = shlex.join(["python", script, "--config", str(run_dir / "config.yaml"), *settings])
            took = seconds_of(index, stage)
            time = f"{took / 60:.1f} min the last time" if took else "time not recorded"
            yield f"{command}    # {time}"


def seconds_of(index: Index, stage: str) -> float:
    """Return what the stage took: its steps, or what its entry or its results say; 0 where nothing does."""
    if stage == "evaluate":
        results = [json.loads(path.read_bytes()) for path in index.run_dir.glob("eval/*/results.json")]
        return sum(result.get("last_command", {}).get("seconds", 0.0) for result in results)
    log = index.run_dir / stage / "metrics.jsonl"
    if log.exists():
        return sum(record.get("time", {}).get("step", 0.0) for record in read_log(log))
    return index.manifest[stage][-1].get("seconds", 0.0) if stage in index.manifest else 0.0


def retract(index: Index, source: str, reason: str) -> tuple[dict[str, Any], Path]:
    """Return what depends on the source, and the list to which it was added. Raises InputError for no such source."""
    graph = index.run_dir / GRAPH
    if not graph.exists():
        raise InputError(
            f"{index.run_dir}: no {GRAPH}: this run has no graph whose sources could be withdrawn"
        )
    origins = {r["number"]: r["file"] for _, r in read_jsonl(graph) if r["kind"] == "origin"}
    retraction = retraction_of(index, source, reason, set(origins.values()))
    path = index.run_dir / "retracted.jsonl"
    known = known_retractions(index, path)
    lost, weakened = lost_edges(index, retraction, known, origins)
    if not lost and not weakened:
        raise InputError(f"--source {source!r}: no fact of {graph} rests on it")
    found = {
        "edges": [" | ".join(triple) for triple in lost],
        "weakened": weakened,
        **dependants(index, lost),
    }
    new = [] if retraction.key in {other.key for other in known} else [retraction]
    write_jsonl(path, map(dataclasses.asdict, [*known, *new]), hashed=True)
    return found, path


def as_text(found: dict[str, Any], path: Path, commands: Iterator[str]) -> str:
    """Return what depends on the source in words, at most twenty ids of a kind."""
    lines = [f"{found['weakened']} facts keep other evidence"]
    for name, ids in found.items():
        if isinstance(ids, list):
            some = ", ".join(map(str, ids[:20])) + " ..." * (len(ids) > 20)
            lines.append(f"{name.replace('_', ' ')}: {len(ids):,}{': ' * bool(ids)}{some}")
    return "\n".join([*lines, f"withdrawn in {path}; to be run again:", *commands])
