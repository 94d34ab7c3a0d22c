"""Any table of edges (CSV, TSV, SIF), read as a YAML mapping says: Hetionet, PrimeKG, or a graph never seen before.

- assets/mappings/ holds one mapping a public graph: data, not code; its own file documents what was relied on
- an identifier is looked up once and kept with its node; a row is a few dictionary look-ups

Left out: several mappings a file, expressions over cells, JSON and parquet.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePath
from typing import Annotated, Literal

from fleming.config import load_config
from fleming.sources.cells import Form, RecordError, Table
from fleming.sources.facts import Declared, Fact, Level, Node, Origin, Skip, curie
from fleming.sources.vocabulary import INVERSES
from fleming.typed import Positive, Range, Share
from model.errors import InputError

MAX_RULES = 10_000  # relations remembered: a column that is no relation must not fill the memory
Digits = Annotated[int, Range("from 1 to 32", lambda digits: 1 <= digits <= 32)]


@dataclass(frozen=True)
class Columns:
    """Where a table has a node."""

    id: tuple[str, ...] = ()
    """Columns of the identifier, joined by ":" where they are several (source, number)."""
    prefix: str = ""
    """Set before an identifier that begins with none of `prefixes`: "DRUGBANK:"."""
    name: str = ""
    """Column of the name; "": the table has none, the nodes are named elsewhere."""
    type: str = ""
    """The type of all nodes here, one of ours."""
    type_column: str = ""
    """Column of the type; where both are "", it is what stands before "::" in the identifier."""
    synonyms: str = ""
    xrefs: str = ""
    """Columns of further names, and of identifiers under other authorities, between two of them "|" or ";"."""


@dataclass(frozen=True)
class Rule:
    """What a relation of the source is here."""

    relation: str = ""
    """Its name; one of INVERSES is turned round by itself."""
    head: str = ""
    """The type that the head must have, for sources without direction; head and tail change places to fit."""
    negated: bool = False
    confidence: Share = 1.0
    note: str = ""


@dataclass(frozen=True)
class Mapping:
    """A mapping file."""

    source: str = ""
    version: str = ""
    edges: Form = field(default_factory=Form)
    head: Columns = field(default_factory=Columns)
    tail: Columns = field(default_factory=Columns)
    relation: tuple[str, ...] = ()
    """Columns of the relation, joined by " / "; a rule may name the first ones only. (): the rule "*" is for all."""
    rules: dict[str, Rule] = field(default_factory=dict)
    """Relation of the source -> what it is here; "*": all others."""
    others: Literal["keep", "skip"] = "keep"
    """Relations without a rule keep their name, or their rows are skipped."""
    mirrored: bool = False
    """The file has each edge in both directions: the one whose head is the greater key is passed over."""
    notes: tuple[str, ...] = ()
    """Columns that go into the note, with their names."""
    nodes_form: Form = field(default_factory=Form)
    nodes: Columns = field(default_factory=Columns)
    """The table of nodes, where there is one: edges then have no other ends."""
    types: dict[str, str] = field(default_factory=dict)
    """Type of the source -> type here; others keep theirs."""
    prefixes: dict[str, str] = field(default_factory=dict)
    """Beginning of an identifier -> what stands there in its CURIE: "Gene::" -> "NCBIGENE:"; the longest counts.

    A type before "::" is dropped where none fits: "Disease::DOID:1" is DOID:1.
    """
    digits: dict[str, Digits] = field(default_factory=dict)
    """Authority -> digits of its numbers, zeros before: {MONDO: 7}."""
    completeness: dict[str, Level] = field(default_factory=dict)
    """Relation here -> closed (of a head, all facts or none), nearly_closed, or open as those left out are."""
    published: dict[str, Positive[int]] = field(default_factory=dict)
    """Relation here -> how many edges the whole source has: fewer in the file, and it counts as open."""

    def check(self, where: str) -> None:
        """Raise InputError for a mapping that cannot be meant."""
        wanted = {"source": self.source, "head.id": self.head.id, "tail.id": self.tail.id}
        wanted["relation, or a rule '*'"] = self.relation or "*" in self.rules
        for name, value in wanted.items():
            if not value:
                raise InputError(f"{where}{name} is missing")

        for name, rule in self.rules.items():
            if not rule.relation:
                raise InputError(f"{where}rules.{name}: expected a relation")

        for name, form in {"edges": self.edges, "nodes_form": self.nodes_form}.items():
            delimiter = "," if form.delimiter is None else form.delimiter
            quote = '"' if form.quote is None else form.quote
            one_each = len(delimiter) == 1 and len(quote) <= 1 and quote != delimiter
            if not one_each or {"\r", "\n"} & {quote, delimiter}:
                raise InputError(
                    f"{where}{name}: expected a delimiter and a quote of one character, or a quote ''"
                )

    def declared(self) -> dict[tuple[str, str], Declared]:
        """Return (source, relation) -> what it declares."""
        return declarations(self.source, self.completeness, self.published)


def declarations(
    source: str, levels: dict[str, Level], published: dict[str, int]
) -> dict[tuple[str, str], Declared]:
    """Return (source, relation) -> what is declared; a relation may be named from its other end."""
    levels = {INVERSES.get(name, name): level for name, level in levels.items()}
    published = {INVERSES.get(name, name): count for name, count in published.items()}
    relations = dict.fromkeys([*levels, *published])
    return {(source, name): Declared(levels.get(name, "open"), published.get(name)) for name in relations}


class _Nodes:
    """The nodes named so far, and how identifiers become keys."""

    def __init__(self, mapping: Mapping):
        self.mapping = mapping
        self.types: dict[str, str] = {}
        """key -> type"""
        self.complete = False
        """Whether a table of nodes has been read: then there are no others."""
        self._fresh: list[Node] = []
        self._prefixes = sorted(mapping.prefixes, key=len, reverse=True)

    def key(self, raw: str, prefix: str = "") -> str:
        """Return the CURIE of an identifier as the source writes it."""
        raw = " ".join(raw.split())
        text = prefix + (raw.partition("::")[2] or raw)
        for begin in self._prefixes:
            if raw.startswith(begin):
                text = self.mapping.prefixes[begin] + raw.removeprefix(begin)
                break

        authority, _, number = (part.strip() for part in text.partition(":"))
        if not authority or not number:
            problem = f"{raw[:80]!r} is empty or has no authority, and no prefix is given for it"
            raise RecordError("identifier", problem)
        key = curie(authority, number)
        digits = self.mapping.digits.get(key.partition(":")[0], 0)
        return curie(authority, number.zfill(digits)) if number.isdecimal() else key

    def add(self, node: Node) -> None:
        """Remember a node that nobody has named before."""
        self.types[node.key] = node.type
        self._fresh.append(node)

    def take(self) -> list[Node]:
        """Return the nodes added since the last call."""
        fresh, self._fresh = self._fresh, []
        return fresh


class _End:
    """An end of a table's edges, or the node of its rows."""

    def __init__(self, columns: Columns, table: Table, nodes: _Nodes):
        """Find the columns. InputError where one is missing."""
        self.columns, self.nodes = columns, nodes
        self._identify = table.getter(columns.id, ":")
        named = columns.name, columns.type_column, columns.synonyms, columns.xrefs
        self._places = {column: table.place(column) for column in named if column}
        self._seen: dict[str, tuple[str, str]] = {}  # identifier as it is written here -> what `of` returns

    def of(self, cells: list[str]) -> tuple[str, str]:
        """Return (key, type) of the row's node, and add it to the nodes where it is new and has a name here."""
        raw = self._identify(cells)
        found = self._seen.get(raw)
        if found is None:
            found = self._seen[raw] = self._look_up(raw, cells)
        return found

    def _look_up(self, raw: str, cells: list[str]) -> tuple[str, str]:
        columns, nodes = self.columns, self.nodes
        key = nodes.key(raw, columns.prefix)
        if key in nodes.types:
            return key, nodes.types[key]
        if nodes.complete:
            raise RecordError("unknown_id", f"{raw[:80]!r} is not in the table of nodes")

        before, mark, _ = raw.partition("::")
        of_source = (
            self._cell(cells, columns.type_column) if columns.type_column else before.strip() * bool(mark)
        )
        node_type = columns.type or nodes.mapping.types.get(of_source, of_source)
        if columns.name:
            name = self._cell(cells, columns.name)
            if not name or not node_type:
                raise RecordError("blank", f"{raw[:80]!r} has no name or no type")
            synonyms = self._several(cells, columns.synonyms)
            xrefs = [nodes.key(xref) for xref in self._several(cells, columns.xrefs)]
            nodes.add(Node(key, name, node_type, tuple(synonyms), tuple(xrefs)))
        return key, node_type

    def _cell(self, cells: list[str], column: str) -> str:
        return " ".join(cells[self._places[column]].split()) if column else ""

    def _several(self, cells: list[str], column: str) -> list[str]:
        pieces = re.split(r" ?[|;] ?", self._cell(cells, column))
        return [piece for piece in pieces if piece]


class _Edges:
    """The table of edges, row by row."""

    def __init__(self, mapping: Mapping, table: Table, nodes: _Nodes):
        """Find the columns. InputError where one is missing."""
        self.mapping, self.nodes = mapping, nodes
        self.head = _End(mapping.head, table, nodes)
        self.tail = _End(mapping.tail, table, nodes)
        self.origin = Origin(mapping.source, PurePath(table.path).name, mapping.version, "table")
        self.upward = self.downward = 0  # rows whose head is the smaller key, the greater one
        self._relation = table.getter(mapping.relation, " / ")
        self._rule = lru_cache(MAX_RULES)(self._find_rule)
        self._notes = [(name, table.place(name)) for name in mapping.notes]

    def read(self, cells: list[str], number: int) -> list[Node | Fact]:
        """Return the row's new nodes and its fact. RecordError where it has none."""
        head, tail = self.head.of(cells), self.tail.of(cells)
        name = self._relation(cells)
        if self.mapping.mirrored and head[0] > tail[0]:
            self.downward += 1
            return self.nodes.take()
        self.upward += head[0] < tail[0]

        rule = self._rule(name)
        relation = INVERSES.get(rule.relation, rule.relation)
        if relation != rule.relation or rule.head not in ("", head[1]):
            head, tail = tail, head
        if rule.head not in ("", head[1]):
            ends = f"from {tail[1]!r} to {head[1]!r}"
            raise RecordError("types", f"{relation} {ends}, expected {rule.head!r} at one end")

        said = [f"{label} {cells[place].strip()}" for label, place in self._notes if cells[place].strip()]
        note = "; ".join([rule.note, *said] if rule.note else said)
        fact = Fact(
            head=head[0],
            relation=relation,
            tail=tail[0],
            origin=self.origin,
            record=number,
            negated=rule.negated,
            confidence=rule.confidence,
            note=note,
        )
        return [*self.nodes.take(), fact]

    def _find_rule(self, name: str) -> Rule:
        """Return the rule of the longest beginning of the relation's columns that has one."""
        rules = self.mapping.rules
        parts = [" ".join(part.split()) for part in name.split(" / ")]
        for count in range(len(parts), 0, -1):
            beginning = " / ".join(parts[:count])
            if self.mapping.relation and beginning in rules:
                return rules[beginning]
        if "*" in rules:
            return rules["*"]
        if self.mapping.others == "skip" or not parts[0]:
            raise RecordError("relation", f"no rule for the relation {name[:80]!r}")
        return Rule(parts[0])


def read_table(mapping: str | os.PathLike, paths: dict[str, str], skip: Skip) -> Iterator[Node | Fact]:
    """Yield what the table paths["file"] holds, and before it the table of nodes paths["nodes"] if that is given.

    mapping: a YAML file of the form of `Mapping`. Where the mapping names no column of names and there is no table of
    nodes, facts come without nodes: another source has to name their ends. Skipped: cells (too few or many),
    identifier, blank, unknown_id, relation, types, twice (a node's second row), mirrors (at line 1: edges that do not
    stand in both directions), and what cells.py skips.
    InputError: a mapping with an unknown key, a column that is missing or stands twice, a file with no usable record.
    """
    mapping = load_config(Mapping, mapping, [])
    nodes = _Nodes(mapping)
    if "nodes" in paths:
        yield from _read_nodes(paths["nodes"], nodes, skip)
        nodes.complete = True

    table = Table(paths["file"], mapping.edges, skip)
    edges = _Edges(mapping, table, nodes)
    for found in table.records(edges.read):
        yield from found
    if mapping.mirrored and edges.upward != edges.downward:
        directions = f"{edges.upward} edges stand in one direction, {edges.downward} in the other"
        skip(f"{table.path}:1", "mirrors", f"{directions}: each should stand in both")


def _read_nodes(path: str, nodes: _Nodes, skip: Skip) -> Iterator[Node]:
    mapping = nodes.mapping
    if not mapping.nodes.id:
        raise InputError(f"{path}: the mapping has no section nodes, which would say how to read it")
    table = Table(path, mapping.nodes_form, skip)
    row = _End(mapping.nodes, table, nodes)

    def read(cells: list[str], _: int) -> list[Node]:
        key, _ = row.of(cells)
        new = nodes.take()
        if not new:
            raise RecordError("twice", f"{key} has a row before this one")
        return new

    for found in table.records(read):
        yield from found
