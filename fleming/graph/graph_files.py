"""The graph as a file: JSON Lines, a million edges written and read in seconds, each record checked.

Left out: other formats; a source of facts is read by sources/.
"""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

from fleming.files import read_jsonl, write_jsonl
from fleming.graph.knowledge_graph import Entity, Evidence, KnowledgeGraph
from fleming.graph.sources.records import Origin
from model.errors import InputError


def save_graph(graph: KnowledgeGraph, path: str | os.PathLike) -> None:
    """Write a line for every origin, then every entity, then every edge, each of its `kind`; see docs/file-formats.md.

    An edge's evidence names its origin by number: a file's name stands once, not a million times.
    """
    number = {id(origin): i for i, origin in enumerate(graph.origins)}

    def records() -> Iterator[dict[str, Any]]:
        for i, origin in enumerate(graph.origins):
            yield {"kind": "origin", "number": i, **origin._asdict()}
        for entity in graph.entities.values():
            yield {"kind": "entity", **dataclasses.asdict(entity)}
        for edge in graph.edges():
            evidence = [[number[id(e.origin)], *e[1:]] for e in edge.evidence]
            fact = {"head": edge.head, "relation": edge.relation, "tail": edge.tail, "negated": edge.negated}
            yield {"kind": "edge", **fact, "evidence": evidence}

    write_jsonl(path, records())


_FIELDS = {
    "origin": {"kind": str, "number": int, "source": str, "file": str, "version": str, "extractor": str},
    "entity": {"kind": str, "name": str, "type": str, "rare": bool, "synonyms": list, "ids": list},
    "edge": {"kind": str, "head": str, "relation": str, "tail": str, "negated": bool, "evidence": list},
}
_SHAPES = {kind: (tuple(fields), tuple(fields.values())) for kind, fields in _FIELDS.items()}
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
        if kind == "edge":
            *fact, rows = values
            for row in rows:
                known = isinstance(row, list) and tuple(map(type, row)) == _EVIDENCE and 0 <= row[0] < len(origins)
                if not known or not (-1 <= row[1] < 2**31 and -1 <= row[2] < 2**31):
                    raise InputError(
                        f"{where}: evidence must be [origin, record, end, confidence, frequency, note], "
                        f"found {str(row)[:80]}"
                    )
            evidence = [Evidence(origins[row[0]], *row[1:]) for row in rows]
            graph.add_fact(*fact, evidence, where)
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
