"""The typed graph that questions are made from: entities, edges with their evidence, and constant-time look-ups.

Names are the keys: an importer whose source has ids decides on one name each. Left out: queries over several edges
(certificates.py) and where the facts come from (importers.py).
"""

import dataclasses
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from fleming.files import read_jsonl, write_jsonl
from model.errors import InputError

# relation -> types of its head and tail; the tail of a step in use may be of another type of the same family
RELATIONS = {
    "has_symptom": ("disease", "symptom"),
    "has_finding": ("disease", "finding"),
    "diagnosed_by": ("disease", "test"),
    "treated_by": ("disease", "drug"),
    "caused_by": ("disease", "mechanism"),
    "has_mechanism": ("drug", "action"),
    "contraindicated_in": ("drug", "condition"),
    "has_adverse_effect": ("drug", "adverse_effect"),
    "has_lab": ("disease", "lab"),
    "located_in": ("disease", "anatomy"),
    "subtype_of": ("disease", "disease"),
    "risk_factor_of": ("exposure", "disease"),
    "interacts_with": ("drug", "drug"),
    "inherited_as": ("disease", "inheritance"),
    "associated_gene": ("disease", "gene"),
    "has_onset": ("disease", "onset"),
    "targets": ("drug", "gene"),
    "participates_in": ("gene", "process"),
}
# names under which sources state a relation from its other end
INVERSES = {
    "mechanism_of": "has_mechanism",
    "adverse_effect_of": "has_adverse_effect",
    "symptom_of": "has_symptom",
    "finding_of": "has_finding",
    "lab_of": "has_lab",
    "treats": "treated_by",
    "diagnoses": "diagnosed_by",
    "causes": "caused_by",
    "has_subtype": "subtype_of",
    "gene_of": "associated_gene",
}
# type -> family: entities of one family may be one entity under two sources' names, those of two never are
FAMILIES = {
    "disease": "disease",
    "condition": "disease",
    "symptom": "phenotype",
    "finding": "phenotype",
    "lab": "phenotype",
    "adverse_effect": "phenotype",
    "drug": "drug",
    "drug_class": "drug_class",
    "test": "test",
    "gene": "gene",
    "anatomy": "anatomy",
    "mechanism": "mechanism",
    "action": "action",
    "process": "process",
    "inheritance": "inheritance",
    "onset": "onset",
    "exposure": "exposure",
}


@dataclass(frozen=True)
class Entity:
    """A node. `rare` marks what rare-first sampling favours."""

    name: str
    type: str
    rare: bool = False


@dataclass(frozen=True)
class Edge:
    """A fact `head -relation-> tail` with the evidence that an auditor can look up."""

    head: str
    relation: str
    tail: str
    evidence: dict[str, Any] = dataclasses.field(default_factory=dict, compare=False)

    @property
    def triple(self) -> tuple[str, str, str]:
        return self.head, self.relation, self.tail


class KnowledgeGraph:
    """Entities by name and edges by triple, each in the order in which they were added.

    A step is a relation's name, or "^" and the name to walk the edge from tail to head (SPARQL's inverse path).
    """

    def __init__(self) -> None:
        self.entities: dict[str, Entity] = {}
        self.edges: dict[tuple[str, str, str], Edge] = {}
        self._types: dict[str, list[str]] = defaultdict(list)
        self._steps: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._incident: dict[str, list[Edge]] = defaultdict(list)

    def add_entity(self, entity: Entity, where: str) -> None:
        """Add a node; a second, equal mention is no error. InputError, naming `where`, for a name with two types."""
        if not entity.name.strip() or not entity.type:
            raise InputError(f"{where}: an entity needs a name and a type, found {entity.name!r}, {entity.type!r}")
        known = self.entities.setdefault(entity.name, entity)
        if known is entity:
            self._types[entity.type].append(entity.name)
        elif known != entity:
            raise InputError(
                f"{where}: {entity.name!r} is {entity.type} (rare: {entity.rare}) here but {known.type} "
                f"(rare: {known.rare}) elsewhere; a name has one meaning"
            )

    def add_edge(self, edge: Edge, where: str) -> None:
        """Add a fact. InputError, naming `where`, for an end that is no entity or a fact stated twice."""
        for name in (edge.head, edge.tail):
            if name not in self.entities:
                raise InputError(f"{where}: {edge.relation} names {name!r}, which is no entity of the graph")
        if edge.triple in self.edges:
            raise InputError(f"{where}: the fact {edge.head!r} {edge.relation} {edge.tail!r} is stated twice")
        self.edges[edge.triple] = edge
        self._steps[edge.head, edge.relation].append(edge.tail)
        self._steps[edge.tail, "^" + edge.relation].append(edge.head)
        self._incident[edge.head].append(edge)
        self._incident[edge.tail].append(edge)

    def follow(self, name: str, step: str) -> list[str]:
        """Return the entities that one step leads to."""
        return self._steps.get((name, step), [])

    def tails(self, head: str, relation: str) -> list[str]:
        return self.follow(head, relation)

    def heads(self, relation: str, tail: str) -> list[str]:
        return self.follow(tail, "^" + relation)

    def has(self, head: str, relation: str, tail: str) -> bool:
        return (head, relation, tail) in self.edges

    def incident(self, name: str) -> list[Edge]:
        """Return the edges that begin or end at `name`."""
        return self._incident.get(name, [])

    def degree(self, name: str) -> int:
        return len(self.incident(name))

    def of_type(self, entity_type: str) -> list[str]:
        return self._types.get(entity_type, [])


def save_graph(graph: KnowledgeGraph, path: str) -> None:
    """Write one record a line: every entity (`kind: entity`), then every edge (`kind: edge`)."""
    entities = ({"kind": "entity", **dataclasses.asdict(entity)} for entity in graph.entities.values())
    edges = ({"kind": "edge", **dataclasses.asdict(edge)} for edge in graph.edges.values())
    write_jsonl(path, (record for records in (entities, edges) for record in records))


def load_graph(path: str) -> KnowledgeGraph:
    """Read what `save_graph` wrote, same order. InputError names file and line of a record that is not as described."""
    graph = KnowledgeGraph()
    fields = {
        "entity": {"kind": str, "name": str, "type": str, "rare": bool},
        "edge": {"kind": str, "head": str, "relation": str, "tail": str, "evidence": dict},
    }
    for where, record in read_jsonl(path):
        kind = "edge" if "head" in record else "entity"
        if {key: type(value) for key, value in record.items()} != fields[kind] or record.pop("kind") != kind:
            expected = ", ".join(f"{key} ({cls.__name__})" for key, cls in fields[kind].items())
            raise InputError(f"{where}: expected kind {kind} with {expected}; found {str(record)[:120]}")
        if kind == "entity":
            graph.add_entity(Entity(**record), where)
        else:
            graph.add_edge(Edge(**record), where)
    return graph
