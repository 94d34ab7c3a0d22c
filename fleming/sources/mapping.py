"""What a YAML mapping says of any table of edges (CSV, TSV, SIF): Hetionet, PrimeKG, or a graph never seen before.

assets/mappings/ holds one mapping a public graph: data, not code; its own file documents what was relied on. Left out:
the reading (mapped_table.py); several mappings a file, expressions over cells, JSON and parquet.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from fleming.sources.cells import Form
from fleming.sources.facts import Declared, Level
from fleming.sources.vocabulary import FAMILIES, INVERSES, RELATIONS, TYPED, check_word, is_name
from fleming.typed import Positive, Range, Share
from model.errors import InputError

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
    """The type of all nodes here, one of ours; beside a type_column, of those for which it has none."""
    type_column: str = ""
    """Column of the type; where both are "", it is what stands before "::" in the identifier."""
    separator: str = ""
    """Stands between several identifiers in a cell, and then between as many names: each is an edge's end."""
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

        for name, end in {"head": self.head, "tail": self.tail, "nodes": self.nodes}.items():
            if end.separator and len(end.id) > 1:
                raise InputError(f"{where}{name}.separator: expected one column of identifiers beside it")
        for name, rule in self.rules.items():
            if not is_name(rule.relation):
                raise InputError(f"{where}rules.{name}: expected a relation, found {rule.relation!r}")
        self._check_words(where)

        for name, form in {"edges": self.edges, "nodes_form": self.nodes_form}.items():
            delimiter = "," if form.delimiter is None else form.delimiter
            quote = '"' if form.quote is None else form.quote
            one_each = len(delimiter) == 1 and len(quote) <= 1 and quote != delimiter
            if not one_each or {"\r", "\n"} & {quote, delimiter}:
                raise InputError(f"{where}{name}: expected a delimiter and a quote of one character, or none")

    def _check_words(self, where: str) -> None:
        """Raise InputError for what is nearly a word of the vocabulary, or a declared relation that no rule makes."""
        for name, rule in self.rules.items():
            check_word(rule.relation, f"{where}rules.{name}.relation")
            check_word(rule.head, f"{where}rules.{name}.head", types=True)
            relation = INVERSES.get(rule.relation, rule.relation)
            wanted = RELATIONS[relation][relation != rule.relation] if relation in TYPED else rule.head
            if rule.head and FAMILIES.get(rule.head) != FAMILIES.get(wanted):
                raise InputError(
                    f"{where}rules.{name}.head: of {rule.relation} it is {wanted}, not {rule.head}"
                )
        for name, end in {"head": self.head, "tail": self.tail, "nodes": self.nodes}.items():
            check_word(end.type, f"{where}{name}.type", types=True)
        for name, kind in self.types.items():
            check_word(kind, f"{where}types.{name}", types=True)

        made = {INVERSES.get(rule.relation, rule.relation) for rule in self.rules.values()}
        for _, name in self.declared() if self.others == "skip" or "*" in self.rules else ():
            if name not in made:
                raise InputError(f"{where}completeness, published: no rule makes a relation {name!r}")

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
