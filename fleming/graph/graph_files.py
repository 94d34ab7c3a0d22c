"""The graph as a file: JSON Lines, a million edges written and read in seconds, each record checked.

Left out: other formats; a source of facts is read by sources/.
"""

import dataclasses
import itertools
import os
from collections.abc import Iterator
from typing import Any

from fleming.files import read_jsonl, write_jsonl
from fleming.graph.knowledge_graph import Entity, KnowledgeGraph
from fleming.sources.facts import Origin
from model.errors import InputError


def save_graph(graph: KnowledgeGraph, path: str | os.PathLike) -> None:
    """Write a line for every origin, then every entity, then every run of facts of one head; see docs/file-formats.md.

    A fact is [relation, tail, negated, evidence], a piece of evidence [origin, record, end, confidence, frequency,
    note]: a file's name stands once, not a million times, and a million edges are read in seconds.
    """
    number = {id(origin): i for i, origin in enumerate(graph.origins)}

    def records() -> Iterator[dict[str, Any]]:
        for i, origin in enumerate(graph.origins):
            yield {"kind": "origin", "number": i, **origin._asdict()}
        for entity in graph.entities.values():
            yield {"kind": "entity", **dataclasses.asdict(entity)}
        for head, edges in itertools.groupby(graph.edges(), key=lambda edge: edge.head):
            facts = [[e.relation, e.tail, e.negated, [[number[id(o)], *row] for o, *row in e.evidence]] for e in edges]
            yield {"kind": "facts", "head": head, "facts": facts}

    write_jsonl(path, records())


_FIELDS = {
    "origin": {"kind": str, "number": int, "source": str, "file": str, "version": str, "extractor": str},
    "entity": {"kind": str, "name": str, "type": str, "rare": bool, "synonyms": list, "ids": list},
    "facts": {"kind": str, "head": str, "facts": list},
}
_SHAPES = {kind: (tuple(fields), tuple(fields.values())) for kind, fields in _FIELDS.items()}
_FACT = (str, str, bool, list)
_EVIDENCE = (int, int, int, float, float, str)


def load_graph(path: str | os.PathLike) -> KnowledgeGraph:
    """Read what `save_graph` wrote, same order. InputError names file and line of a record that is not as described."""
    graph = KnowledgeGraph()
    origins: list[Origin] = []
    for where, record in read_jsonl(path):
        kind = record.get("kind")
        shape = _SHAPES.get(kind) if isinstance(kind, str) else None
        if shape is None or (tuple(record), tuple(map(type, record.values()))) != shape:
            expected = " or ".join(f"{kind} with {', '.join(list(f)[1:])}" for kind, f in _FIELDS.items())
            raise InputError(f"{where}: expected kind {expected}; found {str(record)[:120]}")
        _, *values = record.values()
        if kind == "facts":
            head, facts = values
            for fact in facts:
                if not isinstance(fact, list) or tuple(map(type, fact)) != _FACT:
                    raise InputError(f"{where}: expected [relation, tail, negated, evidence], found {str(fact)[:80]}")
                relation, tail, negated, rows = fact
                for row in rows:
                    known = isinstance(row, list) and tuple(map(type, row)) == _EVIDENCE and 0 <= row[0] < len(origins)
                    if not known or not (-1 <= row[1] < 2**31 and -1 <= row[2] < 2**31):
                        raise InputError(
                            f"{where}: evidence must be [origin, record, end, confidence, frequency, note], "
                            f"found {str(row)[:80]}"
                        )
                    row[0] = origins[row[0]]
                graph.add_fact(head, relation, tail, negated, rows, where)
        elif kind == "entity":
            *named, synonyms, ids = values
            if not all(isinstance(name, str) for name in (*synonyms, *ids)):
                raise InputError(f"{where}: synonyms and ids must be texts, found {str(record)[:120]}")
            graph.add_entity(Entity(*named, tuple(synonyms), tuple(ids)), where)
        else:
            number, *origin = values
            if number != len(origins):
                raise InputError(f"{where}: origins must be numbered 0, 1, 2 ..., found {str(record)[:120]}")
            origins.append(Origin(*origin))
    return graph
