"""The questions that a report speaks of: their text, and of their proof what is drawn.

Left out: all others of the run, and every piece of evidence but the first of an edge.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fleming.files import parse_line
from fleming.html_page import items, mapping, say
from fleming.report.reading import MISFITS, Reader
from model.files import open_bytes

FILES = (
    "data/questions.jsonl",
    "data/rl.jsonl",
    "data/dev.jsonl",
    "data/test.jsonl",
)  # the first has the others
_ID = re.compile(rb'\{"id": ("(?:[^"\\]|\\.)*")')
LONGEST = 20_000  # characters of a text that is shown


class Questions:
    """Question id -> what is shown of it, read as they are asked for."""

    def __init__(self, reader: Reader):
        self._reader = reader
        self._found: dict[str, dict[str, Any]] = {}
        self._sought: dict[str, tuple] = {}

    def get(self, wanted: Mapping[str, Any], own: str = "") -> dict[str, dict[str, Any]]:
        """Return those of the wanted that are in the run's files, or in a file of the user's own."""
        for name in filter(None, [*FILES, own]):
            missing = wanted.keys() - self._found.keys()
            if missing and self._sought.get(name, ()) != (self._reader.stamps.get(name), len(missing)):
                self._reader.stamps.pop(name, None)
                self._found |= self._reader.once(name, lambda path, ids=missing: dict(_among(path, ids)), {})
                self._sought[name] = self._reader.stamps.get(name), len(wanted.keys() - self._found.keys())
        return {id: self._found[id] for id in wanted if id in self._found}


def _among(path: Path, ids: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield id -> question of those; a line that begins with another id is not taken apart."""
    with open_bytes(path) as file:
        for number, line in enumerate(file, 1):
            begins = _ID.match(line)
            if begins and json.loads(begins[1]) not in ids:
                continue
            record = parse_line(line, f"{path}:{number}")
            if record.get("id") in ids:
                yield record["id"], shown(record)


def shown(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a report shows of a question's record, of whatever version."""
    names = ("split", "source", "difficulty", "answer", "context")
    found = {name: say(record[name])[:LONGEST] for name in names if record.get(name) is not None}
    found["text"] = say(record.get("question"))[:LONGEST]
    found["options"] = {key: say(text) for key, text in mapping(record.get("options")).items()}
    provenance = mapping(record.get("provenance"))
    if provenance:
        names = (
            "kind",
            "metapath",
            "hops",
            "root",
            "rare",
            "answer",
            "patient",
            "clues",
            "visible",
            "hidden",
            "chain",
        )
        proof = {name: provenance[name] for name in names if name in provenance}
        proof["path"] = [_edge(edge) for edge in items(provenance.get("path"))]
        certificate = mapping(provenance.get("certificate"))
        names = ("posterior", "runner_up", "runner_up_odds", "table", "solutions")
        proof |= {name: certificate[name] for name in names if name in certificate}
        names = ("option", "disease", "odds", "ground", "shares", "violates")
        rivals = map(mapping, items(certificate.get("distractors")))
        proof["rivals"] = [{name: rival[name] for name in names if name in rival} for rival in rivals]
        found["proof"] = proof
    return found


def _edge(edge: Any) -> list[str]:
    """Return [head, relation, tail, where it stands]."""
    known = mapping(edge)
    first = mapping(next(iter(items(known.get("evidence"))), None))
    place = f"{say(first.get('file'))}:{say(first.get('record'))}" if first else ""
    return [*(say(known.get(end)) for end in ("head", "relation", "tail")), place]


def kind_of(question: Mapping[str, Any]) -> list[Any]:
    """Return [kind, metapath, hops] of a question, empty where it has none."""
    try:
        proof = question.get("proof", {})
        return [say(proof.get("kind")), say(proof.get("metapath")), int(proof.get("hops") or 0)]
    except MISFITS:
        return ["", "", 0]
