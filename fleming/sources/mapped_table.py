"""The rows of a mapped table, as nodes and facts.

- an identifier is looked up once and kept with its node; a row is a few dictionary look-ups
- where names are the identifiers, one name may be two entities ("obesity", a disease and a symptom): the type that a
  row or a relation asks for decides

Left out: what a mapping may say (mapping.py); lines and cells (cells.py).
"""

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from pathlib import PurePath

from fleming.config import load_config
from fleming.sources.cells import RecordError, Table
from fleming.sources.facts import GROUPED, Fact, Node, Origin, Skip, authority_of, curie
from fleming.sources.mapping import Columns, Mapping, Rule
from fleming.sources.vocabulary import FAMILIES, INVERSES, RELATIONS, meant, no_name
from model.errors import InputError

MAX_PAIRS = 10_000  # of a row
MAX_RULES = 10_000  # relations remembered: a column that is no relation must not fill the memory


def _family(kind: str) -> str:
    return FAMILIES.get(kind, kind)


def _text(cell: str) -> str:
    """Return the cell with single blanks; "" where it says that nothing is known ("NA"): else all such are one."""
    text = " ".join(cell.split())
    return "" if no_name(text) == "blank" else text


class _Nodes:
    """The nodes named so far, and how identifiers become keys."""

    def __init__(self, mapping: Mapping):
        self.mapping = mapping
        self.types: dict[str, str] = {}
        """key -> type"""
        self.names: dict[str, str] = {}
        """key -> the name under which it came first; others become synonyms (joining)"""
        self.complete = False
        """Whether a table of nodes has been read: then there are no others."""
        self.also: dict[str, dict[str, str]] = {}
        """key -> type of another family -> key of the node that has the identifier as that type"""
        self.fresh: list[Node] = []
        self._prefixes = sorted(mapping.prefixes, key=len, reverse=True)

    def key(self, raw: str, prefix: str = "", is_name: bool = False) -> str:
        """Return the CURIE of an identifier as the source writes it; no type begins a name ("BCR::ABL1", a fusion)."""
        text = prefix + (raw if is_name else raw.partition("::")[2] or raw)
        for begin in self._prefixes:
            if raw.startswith(begin):
                text = self.mapping.prefixes[begin] + raw.removeprefix(begin)
                break

        authority, _, number = map(_text, text.partition(":"))
        if not authority or not number:
            problem = f"{raw[:80]!r} is empty or has no authority, and no prefix is given for it"
            raise RecordError("identifier", problem)
        key = curie(authority, number)
        digits = self.mapping.digits.get(authority_of(key), 0)
        return curie(authority, number.zfill(digits)) if number.isdecimal() else key

    def as_type(self, key: str, kind: str) -> str:
        """Return the key of the identifier's node of this type's family: its own, another's, or a new one's."""
        if not kind or _family(self.types.get(key, kind)) == _family(kind):
            return key
        others = self.also.setdefault(key, {})
        alike = (other for known, other in others.items() if _family(known) == _family(kind))
        return next(alike, f"{key} ({kind})")

    def of_family(self, end: tuple[str, str], kind: str) -> tuple[str, str]:
        """Return the end as it fits a relation, where its identifier has nodes of several types."""
        own = end[0].removesuffix(f" ({end[1]})")
        if kind and own in self.also and (key := self.as_type(own, kind)) in self.types:
            return key, self.types[key]
        return end

    def members(self, key: str) -> list[str]:
        """Return the keys of those that a grouped record stands for; of any other, none."""
        authority, _, numbers = key.partition(":")
        if not authority.endswith(GROUPED):
            return []
        return [self.key(f"{authority.removesuffix(GROUPED)}:{number}") for number in numbers.split("_")]

    def take(self) -> list[Node]:
        """Return the nodes added since the last call."""
        fresh, self.fresh = self.fresh, []
        return fresh


class _End:
    """An end of a table's edges, or the node of its rows."""

    def __init__(self, columns: Columns, table: Table, nodes: _Nodes):
        """Find the columns. InputError where one is missing."""
        self.columns, self.nodes = columns, nodes
        self._identify = table.getter(columns.id, ":")
        named = columns.name, columns.type_column, columns.synonyms, columns.xrefs
        self._places = {column: table.place(column) for column in named if column}
        self._said = table.getter((*columns.id, *filter(None, named[:2])), "\n")
        of_table = (nodes.mapping.nodes,) if nodes.complete else ()
        self._is_name = any(end.name and end.id == (end.name,) for end in (columns, *of_table))
        self._seen: dict[str, list[tuple[str, str]]] = {}
        """Identifier, name and type as they are written here -> what `of` returns"""

    def of(self, cells: list[str]) -> list[tuple[str, str]]:
        """Return (key, type) of the row's nodes, and add to the nodes those that are new and have a name here."""
        said = self._said(cells)
        found = self._seen.get(said)
        if found is None:
            found = self._seen[said] = list(self._look_up_all(cells))
        return found

    def _look_up_all(self, cells: list[str]) -> Iterator[tuple[str, str]]:
        ids, name = self._pieces(self._identify(cells)), self._cell(cells, self.columns.name)
        pieces = self._pieces(cells[self._places[self.columns.name]]) if name else [name] * len(ids)
        names = pieces if len(ids) > 1 or len(pieces) == 1 else [name]
        if len(names) != len(ids):
            raise RecordError("cells", f"{len(ids)} identifiers and {len(names)} names in a cell")
        for piece, name in zip(ids, names, strict=True):
            if '"' == piece[:1] == piece[1:][-1:] or '"' == name[:1] == name[1:][-1:]:
                raise RecordError("quotes", f"{piece[:80]} {name[:80]}: quotes read as text; see edges.quote")
            yield self._look_up(piece, name, cells)

    def _pieces(self, cell: str) -> list[str]:
        """Return what stands between separators, without blanks around it; the last one may be followed by one."""
        separator = self.columns.separator
        pieces = cell.rstrip().removesuffix(separator.rstrip()).split(separator) if separator else [cell]
        return [_text(piece) for piece in pieces if piece.strip()] or [""]

    def _look_up(self, raw: str, name: str, cells: list[str]) -> tuple[str, str]:
        columns, nodes = self.columns, self.nodes
        before, mark, _ = raw.partition("::")
        of_source = self._cell(cells, columns.type_column) or (
            before.strip() if mark and not columns.type else ""
        )
        node_type = nodes.mapping.types.get(of_source, of_source) or columns.type
        own = key = nodes.key(raw, columns.prefix, self._is_name)
        key = nodes.as_type(key, node_type) if self._is_name or key in nodes.also else key
        if key in nodes.types:
            if not nodes.complete and name not in ("", nodes.names.get(key)):
                nodes.fresh.append(Node(key, name, nodes.types[key]))
            return key, nodes.types[key]
        if nodes.complete:
            if own not in nodes.types:
                raise RecordError("unknown_id", f"{raw[:80]!r} is not in the table of nodes")
            return own, nodes.types[own]

        if columns.name:
            if not name or not node_type:
                raise RecordError("blank", f"{raw[:80]!r} has no name or no type")
            if near := meant(node_type, types=True):
                said = f"no type {of_source[:80]!r}: say types: {{{of_source[:80]}: {near}}}"
                raise RecordError("types", said)
            synonyms = self._several(cells, columns.synonyms)
            xrefs = [*nodes.members(key), *(nodes.key(xref) for xref in self._several(cells, columns.xrefs))]
            nodes.types[key], nodes.names[key] = node_type, name
            nodes.fresh.append(Node(key, name, node_type, tuple(synonyms), tuple(xrefs)))
            if key != own:
                nodes.also[own][node_type] = key
        return key, node_type

    def _cell(self, cells: list[str], column: str) -> str:
        return _text(cells[self._places[column]]) if column else ""

    def _several(self, cells: list[str], column: str) -> list[str]:
        pieces = re.split(r" ?[|;] ?", self._cell(cells, column))
        return list(filter(None, map(_text, pieces)))


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
        """Return the row's new nodes and its facts. RecordError where it has none."""
        heads, tails = self.head.of(cells), self.tail.of(cells)
        if len(heads) * len(tails) > MAX_PAIRS:
            raise RecordError("cells", f"{len(heads)} by {len(tails)} identifiers, over {MAX_PAIRS:,} pairs")
        name, facts = self._relation(cells), []
        for head, tail in product(heads, tails):
            if self.mapping.mirrored and head[0] > tail[0]:
                self.downward += 1
                continue
            self.upward += head[0] < tail[0]
            facts.append(self._fact(self._rule(name), head, tail, cells, number))
        return [*self.nodes.take(), *facts]

    def _fact(
        self, rule: Rule, head: tuple[str, str], tail: tuple[str, str], cells: list[str], number: int
    ) -> Fact:
        relation = INVERSES.get(rule.relation, rule.relation)
        turn = 1 if relation == rule.relation else -1
        first, second = RELATIONS.get(relation, ("", ""))[::turn]
        wanted = rule.head or first, second
        ends = list(map(self.nodes.of_family, (head, tail), wanted))
        if rule.head not in ("", ends[0][1]):
            ends = list(map(self.nodes.of_family, (tail, head), wanted))
        if rule.head not in ("", ends[0][1]):
            kinds = f"from {head[1]!r} to {tail[1]!r}"
            raise RecordError("types", f"{rule.relation} {kinds}, expected {rule.head!r} at one end")
        head, tail = ends[::turn]

        said = [f"{label} {cells[place].strip()}" for label, place in self._notes if cells[place].strip()]
        note = "; ".join([rule.note, *said] if rule.note else said)
        return Fact(
            head=head[0],
            relation=relation,
            tail=tail[0],
            origin=self.origin,
            record=number,
            negated=rule.negated,
            confidence=rule.confidence,
            note=note,
        )

    def _find_rule(self, name: str) -> Rule:
        """Return the rule of the longest beginning of the relation's columns that has one."""
        rules = self.mapping.rules
        parts = list(map(_text, name.split(" / ")))
        for count in range(len(parts), 0, -1):
            beginning = " / ".join(parts[:count])
            if self.mapping.relation and beginning in rules:
                return rules[beginning]
        if "*" in rules:
            return rules["*"]
        if self.mapping.others == "skip" or not parts[0]:
            raise RecordError("relation", f"no rule for the relation {name[:80]!r}")
        if near := meant(parts[0]):
            remedy = f"say rules: {{...: {{relation: {near}}}}}"
            raise RecordError("relation", f"{parts[0][:80]!r} is no relation here; {remedy}")
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
    yield from table.records(edges.read)
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
        found = row.of(cells)
        new = nodes.take()
        if not new:
            raise RecordError("twice", f"{found[0][0]} has a row before this one")
        return new

    yield from table.records(read)
