"""The typed, directed multigraph that questions are made from: entities, edges with their evidence, fast look-ups.

Names are the keys: naming.py gives each entity of several sources one name. 10^6 edges fit a few hundred MiB, since
edges lie in columns of integers. Left out: what follows from the edges, or is left open by them (open_world.py), files
(graph_files.py), queries over several edges (questions/certificates.py), where the facts come from (sources/).
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fleming.graph.columns import Columns, Numbering
from fleming.sources.facts import Declared, Origin
from model.errors import InputError

Triple = tuple[str, str, str]
T = TypeVar("T")
MAX_RELATIONS = 256


@dataclass(frozen=True, slots=True)
class Entity:
    """A node. `rare` marks what rare-first sampling favours."""

    name: str
    type: str
    rare: bool = False
    synonyms: tuple[str, ...] = ()
    """Other names of the same thing."""
    ids: tuple[str, ...] = ()
    """CURIEs of the records that were joined into it."""
    lay: tuple[str, ...] = ()
    """Those of its names that a layperson would say, as inside a sentence."""


class Evidence(NamedTuple):
    """One record of one source that states an edge."""

    origin: Origin
    record: int
    """Line or record of the file, from 1; in a page the character at which the span begins."""
    end: int = -1
    """In a page, the character before which the span ends."""
    confidence: float = 1.0
    frequency: float = -1.0
    """Of a finding: the share of patients who have it, -1 where the source says nothing."""
    note: str = ""
    """The sentence, or what else the record says."""

    def to_json(self) -> dict[str, Any]:
        fields = self._asdict()
        origin = fields.pop("origin")
        return {**origin.place(), **fields}


@dataclass(frozen=True)
class Edge:
    """A fact `head -relation-> tail` with the evidence that an auditor can look up."""

    head: str
    relation: str
    tail: str
    evidence: tuple[Evidence, ...] = dataclasses.field(default=(), compare=False)
    negated: bool = False
    """Its sources say that it does not hold."""

    @property
    def triple(self) -> Triple:
        return self.head, self.relation, self.tail

    @property
    def sources(self) -> int:
        """How many independent data sets state it."""
        return len({e.origin.source for e in self.evidence})

    @property
    def confidence(self) -> float:
        """1 less the chance that every source errs, each at its most confident."""
        best = {}
        for e in self.evidence:
            source = e.origin.source
            best[source] = max(best.get(source, 0.0), e.confidence)
        return 1.0 - math.prod(1.0 - c for c in best.values())

    def to_json(self) -> dict[str, Any]:
        """Return the fact with all its evidence spelled out, for a question's provenance."""
        return {
            "head": self.head,
            "relation": self.relation,
            "tail": self.tail,
            "sources": self.sources,
            "confidence": round(self.confidence, 4),
            "evidence": [e.to_json() for e in self.evidence],
        }


def remembered(look_up: Callable[..., T]) -> Callable[..., T]:
    """Keep what a look-up on a graph returns, by its arguments, until the graph grows."""

    @functools.wraps(look_up)
    def remembering(graph: "KnowledgeGraph", *arguments: Any) -> T:
        key = (look_up, *arguments)
        if (found := graph.memory.get(key, remembering)) is remembering:  # none yet; a key takes long to hash
            found = graph.memory[key] = look_up(graph, *arguments)
        return found

    return remembering


class KnowledgeGraph:
    """Entities by name and edges by number, each in the order in which they were added; columns, not objects.

    A step is a relation's name, or "^" and the name to follow the edge from tail to head (SPARQL's inverse path). An
    edge and its negation may both stand: sources dispute the fact, which is then neither used nor taken for false.

    >>> graph = KnowledgeGraph()
    >>> graph.add_entity(Entity("gout", "disease"), "example")
    >>> graph.add_entity(Entity("toe pain", "symptom"), "example")
    >>> graph.add_edge(Edge("gout", "has_symptom", "toe pain"), "example")
    >>> graph.follow("gout", "has_symptom"), graph.follow("toe pain", "^has_symptom")
    (['toe pain'], ['gout'])
    """

    def __init__(self) -> None:
        self.entities: dict[str, Entity] = {}
        self.names: list[str] = []  # by place
        self.origins: list[Origin] = []
        # (source, relation) -> how complete (completeness.py)
        self.declared: dict[tuple[str, str], Declared] = {}
        self.memory: dict[tuple, Any] = {}
        self._number: dict[str, int] = {}  # entity -> its place
        self._relation = Numbering()
        self._origin = Numbering()  # by id, of what self.origins keeps alive: hashing four texts is slow
        self._note = Numbering({"": 0})
        self._place: dict[int, int] = {}  # packed (head, relation, tail, negated) -> edge
        self._edges = Columns("head relation tail negated")
        self._support = Columns("edge origin record end confidence:f frequency:f note")

    # building

    def add_entity(self, entity: Entity, where: str) -> None:
        """Add a node; a second, equal mention is no error. InputError, naming `where`, for a name with two types."""
        name = entity.name
        if not name.strip() or not entity.type:
            raise InputError(f"{where}: an entity needs a name and a type, found {name!r}, {entity.type!r}")
        known = self.entities.setdefault(name, entity)
        if known is entity:
            self._number[name] = len(self.names)
            self.names.append(name)
            self.memory.clear()
        elif known != entity:
            raise InputError(
                f"{where}: {name!r} is {entity.type} (rare: {entity.rare}) here but {known.type} "
                f"(rare: {known.rare}) elsewhere; a name has one meaning"
            )

    def add_edge(self, edge: Edge, where: str) -> None:
        """Add a fact. InputError, naming `where`, for an end that is no entity or a fact stated twice."""
        for name in (edge.head, edge.tail):
            if name not in self._number:
                raise InputError(f"{where}: {edge.relation} names {name!r}, which is no entity of the graph")
        if not self.support(edge):
            raise InputError(f"{where}: the fact {edge.head!r} {edge.relation} {edge.tail!r} is stated twice")

    def support(self, edge: Edge) -> bool:
        """Add the edge between two entities, or its evidence to the same edge; return whether the edge is new."""
        relation = self._relation[edge.relation]
        if relation == MAX_RELATIONS:
            more = f"{edge.relation[:80]!r} is one more; in a mapping say others: skip"
            raise InputError(f"a graph has at most {MAX_RELATIONS} relations, {more}")
        head, tail = self._number[edge.head], self._number[edge.tail]
        count = len(self._place)
        place = self._place.setdefault(_pack(head, relation, tail, edge.negated), count)
        new = place == count
        if new:
            self._edges.append(head, relation, tail, edge.negated)
            self.memory.clear()

        for origin, record, end, confidence, frequency, note in edge.evidence:
            if id(origin) not in self._origin:
                self.origins.append(origin)
            source = self._origin[id(origin)]
            self._support.append(place, source, record, end, confidence, frequency, self._note[note])
        return new

    # looking up

    def __len__(self) -> int:
        """How many edges it has, negated ones included."""
        return len(self._edges)

    @property
    def relations(self) -> list[str]:
        return list(self._relation)

    @property
    def columns(self) -> tuple[Columns, Columns]:
        """The edges and their evidence as they lie: places of names, relations and origins. To be read alone."""
        return self._edges, self._support

    @remembered
    def of_type(self, entity_type: str) -> list[str]:
        return [entity.name for entity in self.entities.values() if entity.type == entity_type]

    def place(self, name: str) -> int:
        """Return the entity's place, -1 where there is none."""
        return self._number.get(name, -1)

    @remembered
    def _step(self, step: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the step's targets by source [edges], and where each entity's begin and end [entities + 1]."""
        source, target = self._edges["head"], self._edges["tail"]
        if step.startswith("^"):
            source, target = target, source
        relation = self._relation.get(step.removeprefix("^"), -1)
        edges = np.flatnonzero((self._edges["relation"] == relation) & (self._edges["negated"] == 0))
        order, bounds = _group(source[edges], len(self.entities))
        return target[edges[order]], bounds

    def targets(self, name: str, step: str) -> np.ndarray:
        """Return the places of the entities that one stated edge leads to: int32 [edges]."""
        place = self._number.get(name)
        if place is None:
            return np.zeros(0, np.int32)
        targets, bounds = self._step(step)
        return targets[bounds[place] : bounds[place + 1]]

    def follow(self, name: str, step: str) -> list[str]:
        """Return the entities that one stated edge leads to."""
        return [self.names[place] for place in self.targets(name, step).tolist()]

    def starts(self, chain: Sequence[str]) -> np.ndarray:
        """Return from which entities the steps of `chain` lead anywhere: bool [entities]."""
        alive = np.ones(len(self.entities), dtype=bool)
        for step in reversed(chain):
            targets, bounds = self._step(step)
            reached = np.concatenate([[0], alive[targets].cumsum()])
            alive = reached[bounds[1:]] > reached[bounds[:-1]]
        return alive

    def states(self, head: str, relation: str, tail: str, negated: bool = False) -> bool:
        """Whether exactly this fact (or its negation) is an edge."""
        return self._find(head, relation, tail, negated) is not None

    def _find(self, head: str, relation: str, tail: str, negated: bool = False) -> int | None:
        """Return the place of exactly this edge, None where there is none."""
        h, r, t = self._number.get(head), self._relation.get(relation), self._number.get(tail)
        if h is None or r is None or t is None:
            return None
        return self._place.get(_pack(h, r, t, negated))

    def trust(self, head: str, relation: str, tail: str) -> float:
        """Return the highest confidence of the stated edge's evidence, 0 where there is no edge or no evidence."""
        return self._best("confidence", 0.0, self._find(head, relation, tail))

    def frequency(self, head: str, relation: str, tail: str) -> float:
        """Return the highest share of patients that any evidence of the stated edge gives, -1 where none does."""
        return self._best("frequency", -1.0, self._find(head, relation, tail))

    def _best(self, field: str, floor: float, place: int | None) -> float:
        return floor if place is None else float(self._highest(field, floor)[place])

    @remembered
    def _highest(self, field: str, floor: float) -> np.ndarray:
        """Return the highest value of the field in each edge's evidence: float32 [edges]."""
        highest = np.full(len(self), floor, np.float32)
        np.maximum.at(highest, self._support["edge"], self._support[field])
        return highest

    def edge(self, head: str, relation: str, tail: str, negated: bool = False) -> Edge:
        """Return the stated edge with its evidence. KeyError where there is none."""
        place = self._find(head, relation, tail, negated)
        if place is None:
            raise KeyError((head, relation, tail))
        return Edge(head, relation, tail, self._evidence(place), negated)

    def edges(self) -> Iterator[Edge]:
        """Yield every edge with its evidence, negated ones too."""
        names, relations = self.names, self.relations
        for place, (head, relation, tail, negated) in enumerate(self._edges):
            evidence = self._evidence(place)
            yield Edge(names[head], relations[relation], names[tail], evidence, bool(negated))

    def _evidence(self, place: int) -> tuple[Evidence, ...]:
        order, bounds, notes = self._evidence_by_edge()
        found = []
        for row in order[bounds[place] : bounds[place + 1]].tolist():
            _, origin, record, end, confidence, frequency, note = self._support.row(row)
            confidence, frequency = round(confidence, 6), round(frequency, 6)  # of 32 bits
            found.append(Evidence(self.origins[origin], record, end, confidence, frequency, notes[note]))
        return tuple(found)

    @remembered
    def _evidence_by_edge(self) -> tuple[np.ndarray, np.ndarray, list[str]]:
        return *_group(self._support["edge"], len(self)), list(self._note)

    def incident(self, name: str) -> list[Triple]:
        """Return the edges that begin or end at `name`, negated ones left out."""
        if name not in self._number:
            return []
        edges, bounds = self._incident()
        place = self._number[name]
        names, relations = self.names, self.relations
        found = []
        for edge in dict.fromkeys(edges[bounds[place] : bounds[place + 1]].tolist()):  # a loop comes twice
            head, relation, tail, _ = self._edges.row(edge)
            found.append((names[head], relations[relation], names[tail]))
        return found

    @remembered
    def _incident(self) -> tuple[np.ndarray, np.ndarray]:
        stated = np.flatnonzero(self._edges["negated"] == 0)
        ends = np.stack([self._edges["head"][stated], self._edges["tail"][stated]], axis=1)  # [edges, 2]
        order, bounds = _group(ends.ravel(), len(self.entities))
        return stated[order // 2], bounds

    @remembered
    def degrees(self) -> np.ndarray:
        """Return how many edges touch each entity, negated ones left out: int64 [entities], in their order."""
        head, tail, stated = self._edges["head"], self._edges["tail"], self._edges["negated"] == 0
        ends = np.concatenate([head[stated], tail[stated & (head != tail)]])
        return np.bincount(ends, minlength=len(self.entities))

    def degree(self, name: str) -> int:
        return int(self.degrees()[self._number[name]]) if name in self._number else 0

    def count_by_relation(self) -> dict[str, dict[str, int]]:
        """Return relation -> how many edges are stated and how many negated."""
        pairs = 2 * self._edges["relation"] + self._edges["negated"]
        counts = np.bincount(pairs, minlength=2 * len(self._relation)).reshape(-1, 2).tolist()
        return {
            name: {"stated": stated, "negated": negated}
            for name, (stated, negated) in zip(self._relation, counts, strict=True)
        }


def _pack(head: int, relation: int, tail: int, negated: bool) -> int:
    return head << 40 | tail << 9 | relation << 1 | negated


def _group(keys: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the keys, sorted by key (stable), and where each key's begin and end [size + 1]."""
    counts = np.bincount(keys, minlength=size)
    return np.argsort(keys, kind="stable"), np.concatenate([[0], counts.cumsum()])
