"""Any table of edges (CSV, TSV, SIF), read as a YAML mapping says: Hetionet, PrimeKG, or a graph never seen before.

- assets/mappings/ holds one mapping a public graph: data, not code; its own file documents what was relied on
- an identifier is looked up once and kept with its node; a row is a few dictionary look-ups
- left out: several mappings a file, expressions over cells, JSON and parquet
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Literal

from fleming.config import load_config
from fleming.sources.cells import Form, RecordError, Table
from fleming.sources.facts import Fact, Node, Origin, Skip, curie
from fleming.sources.vocabulary import INVERSES
from model.errors import InputError

MAX_RULES = 10_000  # relations remembered: a column that is no relation must not fill the memory


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
    """Columns of further names, and of identifiers under other authorities."""
    separator: str = "|"
    """Between two synonyms or two xrefs."""


@dataclass(frozen=True)
class Rule:
    """What a relation of the source is here."""

    relation: str = ""
    """Its name; one of INVERSES is turned round by itself."""
    inverse: bool = False
    """Whether head and tail change places."""
    head: str = ""
    """The type that the head must have, for sources without direction; head and tail change places to fit."""
    negated: bool = False
    confidence: float = 1.0
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
    confidence: str = ""
    """Column of a number from 0 to 1 that multiplies the rule's confidence."""
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
    digits: dict[str, int] = field(default_factory=dict)
    """Authority -> digits of its numbers, zeros before: {MONDO: 7}."""

    def check(self, where: str) -> None:
        """Raise InputError for a mapping that cannot be meant."""
        wanted = {"source": self.source, "head.id": self.head.id, "tail.id": self.tail.id}
        wanted["relation, or a rule '*'"] = self.relation or "*" in self.rules
        if missing := [name for name, value in wanted.items() if not value]:
            raise InputError(f"{where}{missing[0]} is missing")
        for name, rule in self.rules.items():
            if not rule.relation or not 0 <= rule.confidence <= 1:
                raise InputError(f"{where}rules.{name}: expected a relation and a confidence from 0 to 1")
        for name, form in {"edges": self.edges, "nodes_form": self.nodes_form}.items():
            delimiter, quote = form.delimiter or ",", '"' if form.quote is None else form.quote
            one_each = (
                len(quote) == len(delimiter) == 1 and quote != delimiter and not {quote, delimiter} & {"\r", "\n"}
            )
            if form.delimiter == "" or (quote and not one_each) or {"\r", "\n"} & set(delimiter):
                raise InputError(f"{where}{name}: expected a delimiter and a quote of one character, or a quote ''")
        if not self.nodes.separator or not all(0 < digits < 33 for digits in self.digits.values()):
            raise InputError(f"{where}expected a nodes.separator, and digits from 1 to 32")


class _Nodes:
    """The nodes named so far, key -> type, and how identifiers become keys."""

    def __init__(self, mapping: Mapping):
        self.mapping = mapping
        self.types: dict[str, str] = {}
        self.fresh: list[Node] = []
        self.closed = False  # all nodes are known: the table of nodes is read
        self._prefixes = sorted(mapping.prefixes, key=len, reverse=True)

    def key(self, raw: str, prefix: str = "") -> str:
        raw = " ".join(raw.split())
        begin = next((begin for begin in self._prefixes if raw.startswith(begin)), None)
        if begin is not None:
            text = self.mapping.prefixes[begin] + raw[len(begin) :]
        else:
            text = prefix + (raw.partition("::")[2] or raw)
        authority, colon, number = (part.strip() for part in text.partition(":"))
        if not (authority and colon and number):
            raise RecordError("identifier", f"{raw[:80]!r} is empty or has no authority, and no prefix is given for it")
        key = curie(authority, number)
        digits = self.mapping.digits.get(key.partition(":")[0], 0)
        return curie(authority, number.zfill(digits)) if number.isdecimal() else key

    def reader(self, table: Table, columns: Columns) -> Callable[[list[str]], tuple[str, str]]:
        """Return cells -> (key, type), which adds a Node to `fresh` where the key is new and has a name."""
        identify = table.getter(columns.id, ":")
        texts = [(table.place(name) if name else None) for name in (columns.name, columns.synonyms, columns.xrefs)]
        kind = table.place(columns.type_column) if columns.type_column else None
        seen: dict[str, tuple[str, str]] = {}  # identifier as it is written here -> (key, type)

        def several(cell: str) -> list[str]:
            return [part for piece in cell.split(columns.separator) if (part := " ".join(piece.split()))]

        def look_up(cells: list[str]) -> tuple[str, str]:
            raw = identify(cells)
            if (known := seen.get(raw)) is not None:
                return known
            key = self.key(raw, columns.prefix)
            if self.closed and key not in self.types:
                raise RecordError("unknown_id", f"{raw[:80]!r} is not in the table of nodes")
            own = cells[kind].strip() if kind is not None else raw.partition("::")[0].strip() if "::" in raw else ""
            node_type = self.types.get(key) or columns.type or self.mapping.types.get(own, own)
            if columns.name and key not in self.types:
                name, synonyms, xrefs = ("" if place is None else cells[place] for place in texts)
                if not (name := " ".join(name.split())) or not node_type:
                    raise RecordError("blank", f"{raw[:80]!r} has no name or no type")
                others = tuple(self.key(xref) for xref in several(xrefs))
                self.fresh.append(Node(key, name, node_type, tuple(several(synonyms)), others))
                self.types[key] = node_type
            seen[raw] = key, node_type
            return seen[raw]

        return look_up

    def flush(self) -> Iterator[Node]:
        yield from self.fresh
        self.fresh.clear()


def read_table(mapping: str | os.PathLike | dict, paths: dict[str, str], skip: Skip) -> Iterator[Node | Fact]:
    """Yield what the table paths["file"] holds, and before it the table of nodes paths["nodes"] if that is given.

    mapping: a YAML file or a dict, of the form of `Mapping`. Where the mapping names no column of names and there is no
    table of nodes, facts come without nodes: another source has to name their ends. Skipped: cells (too few or many),
    identifier, blank, unknown_id, relation, types, confidence, twice (a node's second row), mirrors
    (at line 1: edges that do not stand in both directions), and what cells.py skips.
    InputError: a mapping with an unknown key, a column that is missing or stands twice, a file with no usable record.
    """
    if isinstance(mapping, dict):
        try:
            mapping = load_config(Mapping, None, [f"{key}={json.dumps(value)}" for key, value in mapping.items()])
        except InputError as error:
            raise InputError(str(error).replace("command line", "the mapping", 1)) from error
    else:
        mapping = load_config(Mapping, mapping, [])
    nodes = _Nodes(mapping)
    if "nodes" in paths:
        if not mapping.nodes.id:
            raise InputError(f"{paths['nodes']}: the mapping has no section nodes, which would say how to read it")
        table = Table(paths["nodes"], mapping.nodes_form, skip)
        look_up = nodes.reader(table, mapping.nodes)

        def once(cells: list[str], _: int) -> None:
            before = len(nodes.types)
            key, _ = look_up(cells)
            if len(nodes.types) == before:
                raise RecordError("twice", f"{key} has a row before this one")

        for _ in table.records(once):
            yield from nodes.flush()
        nodes.closed = True

    table = Table(paths["file"], mapping.edges, skip)
    origin = Origin(mapping.source, PurePath(paths["file"]).name, mapping.version, "table")
    head_of, tail_of = nodes.reader(table, mapping.head), nodes.reader(table, mapping.tail)
    named = table.getter(mapping.relation, " / ")
    weight = table.place(mapping.confidence) if mapping.confidence else None
    notes = [(name, table.place(name)) for name in mapping.notes]
    rules: dict[str, tuple] = {}
    mirrors = [0, 0]

    def rule_of(name: str) -> tuple[str, bool, str, bool, float, str]:
        parts = [" ".join(part.split()) for part in name.split(" / ")]
        tries = [" / ".join(parts[:n]) for n in range(len(parts), 0, -1)] if mapping.relation else []
        rule = next((mapping.rules[text] for text in (*tries, "*") if text in mapping.rules), None)
        if rule is None and (mapping.others == "skip" or not parts[0]):
            raise RecordError("relation", f"no rule for the relation {name[:80]!r}")
        rule = rule or Rule(parts[0])
        turned = rule.inverse != (rule.relation in INVERSES)
        relation = INVERSES.get(rule.relation, rule.relation)
        found = relation, turned, rule.head, rule.negated, rule.confidence, rule.note
        if len(rules) < MAX_RULES:
            rules[name] = found
        return found

    def fact(cells: list[str], number: int) -> Fact | None:
        head, tail, name = head_of(cells), tail_of(cells), named(cells)
        if mapping.mirrored and head[0] != tail[0]:
            mirrors[head[0] > tail[0]] += 1
            if head[0] > tail[0]:
                return None
        relation, turned, head_type, negated, confidence, note = rules.get(name) or rule_of(name)
        if turned or (head_type and head[1] != head_type):
            head, tail = tail, head
        if head_type and head[1] != head_type:
            raise RecordError("types", f"{relation} from {tail[1]!r} to {head[1]!r}, expected {head_type!r} at one end")
        if weight is not None:
            try:
                share = float(cells[weight])
            except ValueError:
                share = -1.0
            if not 0 <= share <= 1:
                raise RecordError("confidence", f"{cells[weight][:80]!r} is no number from 0 to 1")
            confidence *= share
        if notes:
            more = [f"{label} {cells[place].strip()}" for label, place in notes if cells[place].strip()]
            note = "; ".join([note, *more] if note else more)
        return Fact(head[0], relation, tail[0], origin, number, -1, negated, confidence, note)

    for found in table.records(fact):
        if nodes.fresh:
            yield from nodes.flush()
        if found is not None:
            yield found
    if mirrors[0] != mirrors[1]:
        detail = f"{mirrors[0]} edges stand in one direction, {mirrors[1]} in the other: each should stand in both"
        skip(f"{paths['file']}:1", "mirrors", detail)
