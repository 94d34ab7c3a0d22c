"""One graph out of many sources: which records mean one entity, and what each fact then says.

Records are joined by identifier first (their own, and cross-references), by normalised name second, and only within a
family of types. Caution wins: two terms of one authority are never joined, for it keeps them apart itself; an
identifier that two terms of one authority claim, or that is one of several that a term claims from one authority,
joins nothing. Every join and every refusal is recorded. Left out: joining by similarity of names or of neighbours;
the names that entities go by (naming.py).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fleming.graph.clusters import Clusters, Records
from fleming.graph.knowledge_graph import Edge, Entity, Evidence, KnowledgeGraph
from fleming.graph.naming import lay_names, read_usage, unique_names
from fleming.sources.facts import Fact, Node, Skip
from fleming.sources.vocabulary import FAMILIES, FEATURES, RELATIONS, TYPED, is_name
from model.errors import InputError

# The first that any record says is the entity's type.
PHENOTYPES = ("symptom", "lab", "finding", "adverse_effect")
FEATURE_OF = {"symptom": "has_symptom", "lab": "has_lab"}
# Of the degrees of a type: what is no better known counts as rare where no source says of any disease that it is.
RARE_QUANTILE = 0.25


@dataclass
class Joined:
    """The graph, and how it came about."""

    graph: KnowledgeGraph
    joins: list[dict[str, Any]]
    """Each {"entity", "record", "by": group | identifier | name, "through"}, or with "refused" in place of "by"."""
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Named:
    """Records that are one entity."""

    name: str
    type: str
    records: list[Node]
    lay: tuple[str, ...]

    @property
    def said_rare(self) -> list[bool]:
        """What those of its records say that say something."""
        return [record.rare for record in self.records if record.rare is not None]

    def entity(self, rare: bool) -> Entity:
        synonyms = dict.fromkeys(name for record in self.records for name in (record.name, *record.synonyms))
        synonyms.pop(self.name, None)
        ids = dict.fromkeys(record.key for record in self.records)
        return Entity(self.name, self.type, rare, tuple(synonyms), tuple(ids), self.lay)


class _Link(NamedTuple):
    """A usable fact between two entities, by their numbers."""

    head: int
    relation: str
    tail: int
    row: int
    """Of the records' facts."""


def join_sources(sources: Iterable[Iterable[Node | Fact]], skip: Skip) -> Joined:
    """Read every source in order and return one graph. Of an entity's names the first source's is the one it keeps.

    Facts that cannot be used go to `skip` with a code: `unknown_entity`, no node has the key; `self_loop`, both ends
    are one entity; `relation`, its name can be none; `wrong_type`, an end is of another family than it wants.
    """
    records = Records()
    for source in sources:
        for item in source:
            if isinstance(item, Node):
                records.add_node(item)
            else:
                records.add_fact(item)
    records.resolve_former_keys()

    clusters = Clusters(records)
    clusters.join_groups()
    clusters.join_by_identifier()
    clusters.join_by_name()
    entities = _entities(clusters)
    lost: list[str] = []

    def lose(where: str, code: str, detail: str) -> None:
        skip(where, code, detail)
        lost.append(f"; the last that is none: {where}: {code}, {detail}")

    links = list(_usable(records, clusters, entities, lose))
    rare, rare_by = _rare(entities, links, records)

    graph = KnowledgeGraph()
    for number, named in entities.items():
        graph.add_entity(named.entity(rare[number]), named.name)
    for edge in _edges(links, records, entities):
        graph.support(edge)
    if not len(graph):
        raise InputError(f"the sources hold no fact between two known entities{''.join(lost[-1:])}")

    joins = [
        {
            "entity": entities[clusters.find(join.first)].name,
            "record": clusters.nodes[join.second].key,
            join.verdict: join.how,
            "through": join.through,
        }
        for join in clusters.joins
    ]
    report = {
        "entities": dict(sorted(Counter(named.type for named in entities.values()).items())),
        "records": len(records.nodes),
        "joins": dict(Counter(join.how for join in clusters.joins if join.verdict == "by")),
        "refused": dict(Counter(join.how for join in clusters.joins if join.verdict == "refused")),
        "rare": rare_by,
    }
    return Joined(graph, joins, report)


def _entities(clusters: Clusters) -> dict[int, _Named]:
    """Return the entities by the number of their first record."""
    members = defaultdict(list)
    for i, node in clusters.nodes.items():
        members[clusters.find(i)].append(node)
    typed = {number: (_type(found), found) for number, found in members.items()}
    usage = read_usage(node for found in members.values() for node in found)
    names = unique_names(typed, usage)
    return {
        number: _Named(names[number], kind, found, lay_names(found, usage))
        for number, (kind, found) in typed.items()
    }


def _type(records: list[Node]) -> str:
    types = [record.type for record in records]
    return next((kind for kind in PHENOTYPES if kind in types), types[0])


def _usable(records: Records, clusters: Clusters, entities: dict[int, _Named], skip: Skip) -> Iterator[_Link]:
    """Yield the facts between two entities, in order; hand the others to `skip`."""
    keys, relations, origins = list(records.keys), list(records.relations), list(records.origins)
    for row, (head, relation, tail, _, origin, record, *_) in enumerate(records.facts):
        h, name, t = clusters.find(head), relations[relation], clusters.find(tail)
        fault = None
        if h not in entities or t not in entities:
            fault = "unknown_entity", keys[tail if h in entities else head][:80]
        elif h == t:
            fault = "self_loop", entities[h].name
        elif not is_name(name):
            fault = "relation", f"{name[:80]!r} is no relation's name"
        elif not _fits(name, entities[h].type, entities[t].type):
            kinds = f"{name} of a {entities[h].type}, with a {entities[t].type}"
            fault = "wrong_type", f"{kinds}: {entities[h].name}, {entities[t].name}"
        if fault:
            skip(f"{origins[origin].file}: record {record}", *fault)
            continue
        kind = entities[t].type
        if name in FEATURES and FAMILIES.get(kind) == "phenotype":
            name = FEATURE_OF.get(kind, "has_finding")
        yield _Link(h, name, t, row)


def _fits(relation: str, head: str, tail: str) -> bool:
    """Whether the relation may have ends of these types."""
    if relation not in TYPED:
        return True
    of_head, of_tail = (FAMILIES[kind] for kind in RELATIONS[relation])
    return FAMILIES.get(head) == of_head and FAMILIES.get(tail, of_tail) == of_tail


def _edges(links: list[_Link], records: Records, entities: dict[int, _Named]) -> Iterator[Edge]:
    """Yield an edge for each fact; those of one head lie together, as they then do in the file."""
    origins, notes = list(records.origins), list(records.notes)
    for head, relation, tail, row in sorted(links, key=lambda link: link.head):
        _, _, _, negated, origin, record, end, confidence, frequency, note = records.facts.row(row)
        evidence = Evidence(origins[origin], record, end, confidence, frequency, notes[note])
        yield Edge(entities[head].name, relation, entities[tail].name, (evidence,), bool(negated))


def _rare(
    entities: dict[int, _Named], links: list[_Link], records: Records
) -> tuple[dict[int, bool], dict[str, int]]:
    """Return which entities are rare, and how many by what: a source's word, what a drug treats, or its degree."""
    rare = {}
    for number, named in entities.items():
        said = named.said_rare
        rare[number] = bool(said) and all(said)  # a prevalence beats a membership
    rare_by = Counter({"by a source": sum(rare.values())})
    told = any(rare.values())

    degree, uses = Counter(), defaultdict(list)
    negated = records.facts.arrays["negated"]
    for link in links:
        if negated[link.row]:
            continue
        degree[link.head] += 1
        degree[link.tail] += 1
        if link.relation == "treated_by" and entities[link.tail].type == "drug":
            uses[link.tail].append(link.head)

    for kind in ("disease", "drug"):
        silent = [number for number, named in entities.items() if named.type == kind and not named.said_rare]
        if kind == "drug":
            for number in silent:
                if uses[number]:
                    rare[number] = all(rare[disease] for disease in uses[number])
                    rare_by["drugs by what they treat"] += rare[number]
            silent = [number for number in silent if not uses[number]]
        if told or not silent:
            continue
        cut = np.quantile([degree[number] for number in silent], RARE_QUANTILE)
        for number in silent:
            rare[number] = bool(degree[number] <= cut)
            rare_by["by degree"] += rare[number]
    return rare, dict(rare_by)
