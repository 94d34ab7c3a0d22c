"""The graph as a file: JSON Lines, a million edges written and read in seconds, each record checked.

Left out: other formats; a source of facts is read by sources/.
"""

import dataclasses
import itertools
import os
from collections.abc import Iterator
from typing import Any

from fleming.files import read_jsonl, write_jsonl
from fleming.graph.knowledge_graph import Edge, Entity, KnowledgeGraph
from fleming.sources.facts import LEVELS, Declared, Origin
from fleming.sources.vocabulary import is_name, no_name
from model.errors import InputError


def save_graph(graph: KnowledgeGraph, path: str | os.PathLike) -> None:
    """Write a line for every origin, then for what is declared of its relations, for every entity, and for every run of
    facts of one head; see docs/file-formats.md.

    A fact is [relation, tail, negated, evidence], a piece of evidence [origin, record, end, confidence, frequency,
    note]: a file's name stands once, not a million times, and a million edges are read in seconds.
    """
    number = {id(origin): i for i, origin in enumerate(graph.origins)}

    def records() -> Iterator[dict[str, Any]]:
        for i, origin in enumerate(graph.origins):
            yield {"kind": "origin", "number": i, **origin._asdict()}
        for (source, relation), declared in graph.declared.items():
            yield {"kind": "declared", "source": source, "relation": relation, **declared._asdict()}
        for entity in graph.entities.values():
            yield {"kind": "entity", **dataclasses.asdict(entity)}
        for head, edges in itertools.groupby(graph.edges(), key=lambda edge: edge.head):
            facts = []
            for edge in edges:
                evidence = [[number[id(origin)], *rest] for origin, *rest in edge.evidence]
                facts.append([edge.relation, edge.tail, edge.negated, evidence])
            yield {"kind": "facts", "head": head, "facts": facts}

    write_jsonl(path, records(), hashed=True)


_FIELDS = {
    "origin": {"kind": str, "number": int, **dict.fromkeys(Origin._fields, str)},
    "declared": {
        "kind": str,
        "source": str,
        "relation": str,
        "level": str,
        "published": int,
        "whole": bool,
    },
    "entity": {
        "kind": str,
        "name": str,
        "type": str,
        "rare": bool,
        "synonyms": list,
        "ids": list,
        "lay": list,
    },
    "facts": {"kind": str, "head": str, "facts": list},
}
_SHAPES = {kind: [list(fields.items())] for kind, fields in _FIELDS.items()}
_SHAPES["entity"].append(_SHAPES["entity"][0][:-1])  # earlier files do not know lay names
_SHAPES["origin"].append(_SHAPES["origin"][0][:-2])  # nor licences
_SHAPES["declared"].append(list({**_FIELDS["declared"], "published": type(None)}.items()))
_FACT = [str, str, bool, list]
_EVIDENCE = [int, int, int, float, float, str]
BEYOND = 2**31  # what a column of whole numbers holds


def load_graph(path: str | os.PathLike) -> KnowledgeGraph:
    """Read what `save_graph` wrote, same order. InputError names file and line of a record that is not as described."""
    graph = KnowledgeGraph()
    origins: list[Origin] = []
    for where, record in read_jsonl(path):
        kind, fields = record.get("kind"), [(name, type(value)) for name, value in record.items()]
        if fields not in _SHAPES.get(str(kind), ()):
            kinds = [f"{kind} with {', '.join(list(fields)[1:])}" for kind, fields in _FIELDS.items()]
            raise InputError(f"{where}: expected kind {' or '.join(kinds)}; found {str(record)[:120]}")
        _, *values = record.values()
        if kind == "facts":
            head, facts = values
            for fact in facts:
                graph.add_edge(_edge(head, fact, origins, where), where)
        elif kind == "entity":
            name, type_, rare, *lists = values
            if not all(isinstance(text, str) for texts in lists for text in texts):
                raise InputError(f"{where}: synonyms, ids and lay must be texts, found {str(record)[:120]}")
            if code := next(filter(None, map(no_name, (name, *lists[0]))), None):
                raise InputError(f"{where}: this can be no name ({code}): {str(record)[:120]}")
            graph.add_entity(Entity(name, type_, rare, *map(tuple, lists)), where)
        elif kind == "declared":
            source, relation, *rest = values
            if (source, relation) in graph.declared:
                raise InputError(f"{where}: {relation} of {source} is declared twice")
            graph.declared[source, relation] = _declared(Declared(*rest), where)
        else:
            number, *origin = values
            if number != len(origins):
                raise InputError(f"{where}: origins must be numbered 0, 1, 2 ..., found {str(record)[:120]}")
            origins.append(Origin(*origin))
    return graph


def _declared(declared: Declared, where: str) -> Declared:
    level, published, _ = declared
    if level not in LEVELS or (published is not None and published < 1):
        levels = " or ".join(LEVELS)
        raise InputError(f"{where}: expected a level {levels} and a count above 0 or null, found {declared}")
    return declared


def _edge(head: str, fact: Any, origins: list[Origin], where: str) -> Edge:
    if not _is_row(fact, _FACT):
        raise InputError(f"{where}: expected [relation, tail, negated, evidence], found {str(fact)[:80]}")
    relation, tail, negated, rows = fact
    if not is_name(relation):
        raise InputError(f"{where}: {relation[:80]!r} is no relation's name")
    for row in rows:
        if not (_is_row(row, _EVIDENCE) and _is_possible(row, origins)):
            expected = (
                "[origin, record, end, confidence, frequency, note], shares from 0 to 1 or frequency -1"
            )
            raise InputError(f"{where}: evidence must be {expected}, found {str(row)[:80]}")
        row[0] = origins[row[0]]  # the row itself is the evidence: a million objects less
    return Edge(head, relation, tail, rows, negated)


def _is_possible(row: list, origins: list[Origin]) -> bool:
    origin, record, end, confidence, frequency, _ = row
    is_place = 0 <= origin < len(origins) and -1 <= record < BEYOND and -1 <= end < BEYOND
    are_shares = 0 <= confidence <= 1 and (frequency == -1 or 0 <= frequency <= 1)
    return is_place and are_shares


def _is_row(value: Any, types: list[type]) -> bool:
    return isinstance(value, list) and list(map(type, value)) == types
