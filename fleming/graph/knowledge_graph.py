"""The typed, directed multigraph that questions are made from: entities, edges with their evidence, fast look-ups.

Names are the keys: joining.py gives each entity of several sources one name. 10^6 edges fit a few hundred MiB, since
edges lie in columns of integers. Left out: files (graph_files.py), queries over several edges (certificates.py) and
where the facts come from (sources/, wikipedia/).
"""

import dataclasses
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fleming.sources.facts import Origin
from fleming.sources.vocabulary import NOT_IMPLIED, like
from model.errors import InputError

Triple = tuple[str, str, str]


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
        own = self._asdict()
        return {**own.pop("origin")._asdict(), **own}


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
        best: dict[str, float] = {}
        for e in self.evidence:
            best[e.origin.source] = max(best.get(e.origin.source, 0.0), e.confidence)
        return 1.0 - math.prod(1.0 - c for c in best.values())

    def to_json(self) -> dict[str, Any]:
        """Return the fact with all its evidence spelled out, for a question's provenance."""
        named = {"head": self.head, "relation": self.relation, "tail": self.tail}
        support = {"sources": self.sources, "confidence": round(self.confidence, 4)}
        return {**named, **support, "evidence": [e.to_json() for e in self.evidence]}


class KnowledgeGraph:
    """Entities by name and edges by number, each in the order in which they were added; columns, not objects.

    A step is a relation's name, or "^" and the name to walk the edge from tail to head (SPARQL's inverse path). An
    edge and its negation may both stand (sources contradict each other); such a fact is disputed: it is neither used
    nor taken for false.
    """

    def __init__(self) -> None:
        self.entities: dict[str, Entity] = {}
        self.relations: list[str] = []
        self.origins: list[Origin] = []
        self._number: dict[str, int] = {}  # entity -> its place
        self._names: list[str] = []
        self._types: dict[str, list[str]] = {}
        self._relation: dict[str, int] = {}
        self._origin: dict[int, int] = {}  # id of an origin that self.origins keeps alive -> its number
        self._place: dict[int, int] = {}  # packed (head, tail, relation, negated) -> edge
        self._columns = tuple(array("i") for _ in range(4))  # head, relation, tail, negated [edges]
        self._support = tuple(array(c) for c in "iiiiffi")
        # edge, origin, record, end, confidence, frequency, note [evidence]
        self._notes: dict[str, int] = {"": 0}
        self._forget()

    def _forget(self) -> None:
        self._steps: dict[str, tuple[np.ndarray, np.ndarray]] | None = None
        self._cached: dict[tuple, Any] = {}

    # building

    def add_entity(self, entity: Entity, where: str) -> None:
        """Add a node; a second, equal mention is no error. InputError, naming `where`, for a name with two types."""
        if not entity.name.strip() or not entity.type:
            raise InputError(f"{where}: an entity needs a name and a type, found {entity.name!r}, {entity.type!r}")
        known = self.entities.setdefault(entity.name, entity)
        if known is entity:
            self._number[entity.name] = len(self._names)
            self._names.append(entity.name)
            self._types.setdefault(entity.type, []).append(entity.name)
            self._forget()
        elif known != entity:
            raise InputError(
                f"{where}: {entity.name!r} is {entity.type} (rare: {entity.rare}) here but {known.type} "
                f"(rare: {known.rare}) elsewhere; a name has one meaning"
            )

    def add_edge(self, edge: Edge, where: str) -> None:
        """Add a fact. InputError, naming `where`, for an end that is no entity or a fact stated twice."""
        self.add_fact(*edge.triple, edge.negated, edge.evidence, where)

    def add_fact(
        self, head: str, relation: str, tail: str, negated: bool, evidence: Iterable[Evidence], where: str
    ) -> None:
        """Do as `add_edge` does, without the object."""
        if head not in self._number or tail not in self._number:
            name = tail if head in self._number else head
            raise InputError(f"{where}: {relation} names {name!r}, which is no entity of the graph")
        if not self.support(head, relation, tail, negated, evidence):
            raise InputError(f"{where}: the fact {head!r} {relation} {tail!r} is stated twice")

    def support(
        self, head: str, relation: str, tail: str, negated: bool = False, evidence: Iterable[Evidence] = ()
    ) -> bool:
        """Add evidence to the fact between two entities of the graph, and return whether the fact is new."""
        r = self._relation.get(relation)
        if r is None:
            if len(self.relations) == MAX_RELATIONS:
                raise InputError(f"a graph has at most {MAX_RELATIONS} relations; {relation[:80]!r} is one more")
            r = self._relation[relation] = len(self.relations)
            self.relations.append(relation)
        h, t = self._number[head], self._number[tail]
        place = self._place.setdefault(_pack(h, r, t, negated), len(self._place))
        new = place == len(self._columns[0])
        if new:
            heads, relations, tails, negations = self._columns
            heads.append(h)
            relations.append(r)
            tails.append(t)
            negations.append(negated)
            if self._cached or self._steps is not None:
                self._forget()
        edges, origins, records, ends, confidences, frequencies, notes = self._support
        for origin, record, end, confidence, frequency, note in evidence:
            number = self._origin.get(id(origin))  # by identity: hashing four texts a fact takes as long as all else
            if number is None:
                number = self._origin[id(origin)] = len(self.origins)
                self.origins.append(origin)
            edges.append(place)
            origins.append(number)
            records.append(record)
            ends.append(end)
            confidences.append(confidence)
            frequencies.append(frequency)
            notes.append(self._notes.setdefault(note, len(self._notes)))
        return new

    # looking up

    def __len__(self) -> int:
        """How many edges it has, negated ones included."""
        return len(self._columns[0])

    def _index(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """For each step: targets [edges of the relation], and where each entity's begin and end [entities + 1]."""
        if self._steps is None:
            head, relation, tail, negated = (np.array(column, dtype=np.int32) for column in self._columns)
            self._steps, n = {}, len(self._names)
            for number, name in enumerate(self.relations):
                mine = np.flatnonzero((relation == number) & (negated == 0))
                for step, source, target in ((name, head, tail), ("^" + name, tail, head)):
                    order = mine[np.argsort(source[mine], kind="stable")]
                    bounds = np.concatenate([[0], np.bincount(source[order], minlength=n).cumsum()])
                    self._steps[step] = target[order], bounds
        return self._steps

    def follow(self, name: str, step: str) -> list[str]:
        """Return the entities that one stated edge leads to."""
        if (found := self._index().get(step)) is None or (i := self._number.get(name)) is None:
            return []
        targets, bounds = found
        return [self._names[j] for j in targets[bounds[i] : bounds[i + 1]].tolist()]

    def tails(self, head: str, relation: str) -> list[str]:
        return self.follow(head, relation)

    def heads(self, relation: str, tail: str, possibly: bool = False) -> list[str]:
        """Return every head of which the relation to `tail` is stated, or implied by a stated subtype of it.

        possibly: as in `holders`.
        """
        if relation in NOT_IMPLIED or not (possibly or self.follow(tail, "^subtype_of")):
            return self.follow(tail, "^" + relation)
        return [self._names[i] for i in self.holders(relation, tail, possibly).tolist()]

    def holders(self, relation: str, tail: str, possibly: bool = False) -> np.ndarray:
        """Return the places of `heads`, in order: int32 [heads].

        possibly: those too of which something broader than `tail` is stated (of a patient with seizures nobody has
        said that they are not focal ones), or of which the fact is disputed, which counts as stated.
        """
        key = "holders", relation, tail, possibly
        if key not in self._cached:
            implying = [(relation, tail)]
            if relation not in NOT_IMPLIED:
                kin = self.descendants(tail) | (self.ancestors(tail) if possibly else frozenset())
                implying += [(other, name) for name in kin for other in like(relation)]
            found = [np.zeros(0, np.int32)]
            for other, name in implying:
                if (step := self._index().get("^" + other)) and (i := self._number.get(name)) is not None:
                    found.append(step[0][step[1][i] : step[1][i + 1]])
            self._cached[key] = np.unique(np.concatenate(found))
        return self._cached[key]

    def states(self, head: str, relation: str, tail: str, negated: bool = False) -> bool:
        """Whether exactly this fact (or its negation) is an edge."""
        return self._find(head, relation, tail, negated) is not None

    def _find(self, head: str, relation: str, tail: str, negated: bool = False) -> int | None:
        """Return the place of exactly this edge, None where there is none."""
        h, r, t = self._number.get(head), self._relation.get(relation), self._number.get(tail)
        return None if None in (h, r, t) else self._place.get(_pack(h, r, t, negated))

    def has(self, head: str, relation: str, tail: str) -> bool:
        """Whether the fact is stated, or implied by a stated subtype of its tail."""
        if self.states(head, relation, tail):
            return True
        if relation in NOT_IMPLIED or not self.follow(tail, "^subtype_of"):
            return False
        return self._number.get(head, -1) in self.holders(relation, tail)

    def possible(self, head: str, relation: str, tail: str) -> bool:
        """Whether the graph leaves the fact open or has it: something broader than `tail` counts too."""
        if self.has(head, relation, tail):
            return True
        return relation not in NOT_IMPLIED and any(
            self.states(head, other, broader) for broader in self.ancestors(tail) for other in like(relation)
        )

    def denied(self, head: str, relation: str, tail: str) -> bool:
        """Whether the fact's negation is stated, or implied by that of a broader tail, and the fact itself is not."""
        return self._negated(head, relation, tail) and not self.has(head, relation, tail)

    def disputed(self, head: str, relation: str, tail: str) -> bool:
        """Whether both the fact and its negation are stated or implied."""
        return self._negated(head, relation, tail) and self.has(head, relation, tail)

    def _negated(self, head: str, relation: str, tail: str) -> bool:
        broader = () if relation in NOT_IMPLIED else self.ancestors(tail)
        return any(self.states(head, relation, t, negated=True) for t in (tail, *broader))

    def ancestors(self, name: str) -> frozenset[str]:
        """Return everything that it is a subtype of."""
        return self._closure(name, "subtype_of")

    def descendants(self, name: str) -> frozenset[str]:
        """Return every subtype of it. In no stable order."""
        return self._closure(name, "^subtype_of")

    def kin(self, name: str) -> frozenset[str]:
        """Return its ancestors and descendants: what is a form of it, or of what it is a form."""
        return self.ancestors(name) | self.descendants(name)

    def _closure(self, name: str, step: str) -> frozenset[str]:
        key = step, name
        if key not in self._cached:
            found, left = {name}, [name]
            while left:
                new = [n for n in self.follow(left.pop(), step) if n not in found]
                found.update(new)
                left += new
            self._cached[key] = frozenset(found - {name})
        return self._cached[key]

    def trust(self, head: str, relation: str, tail: str) -> float:
        """Return the highest confidence of the stated edge's evidence, 0 where there is no edge or no evidence."""
        return self._best(4, head, relation, tail)

    def frequency(self, head: str, relation: str, tail: str) -> float:
        """Return the highest share of patients that any evidence of the stated edge gives, below 0 where none does."""
        return self._best(5, head, relation, tail)

    def _best(self, column: int, head: str, relation: str, tail: str) -> float:
        floor = -1.0 if column == 5 else 0.0
        if ("best", column) not in self._cached:
            best = np.full(len(self), floor, np.float32)
            np.maximum.at(best, np.array(self._support[0], dtype=np.int64), np.array(self._support[column]))
            self._cached["best", column] = best
        place = self._find(head, relation, tail)
        return floor if place is None else float(self._cached["best", column][place])

    def edge(self, head: str, relation: str, tail: str, negated: bool = False) -> Edge:
        """Return the stated edge with its evidence. KeyError where there is none."""
        if (place := self._find(head, relation, tail, negated)) is None:
            raise KeyError((head, relation, tail))
        return Edge(head, relation, tail, self._evidence(place), negated)

    def _evidence(self, place: int) -> tuple[Evidence, ...]:
        if "evidence" not in self._cached:
            edges = np.array(self._support[0], dtype=np.int32)
            order = np.argsort(edges, kind="stable")
            self._cached["evidence"] = order, np.searchsorted(edges[order], np.arange(len(self) + 1)), list(self._notes)
        order, bounds, notes = self._cached["evidence"]
        _, origins, records, ends, *shares, note = self._support
        return tuple(
            Evidence(self.origins[origins[i]], records[i], ends[i], *(round(s[i], 6) for s in shares), notes[note[i]])
            for i in order[bounds[place] : bounds[place + 1]].tolist()
        )

    def count_by_relation(self) -> dict[str, dict[str, int]]:
        """Return relation -> how many edges are stated and how many negated."""
        pairs = np.array(self._columns[1]) * 2 + np.array(self._columns[3])
        counts = np.bincount(pairs, minlength=2 * len(self.relations)).tolist()
        return {r: {"stated": counts[2 * i], "negated": counts[2 * i + 1]} for i, r in enumerate(self.relations)}

    def edges(self) -> Iterator[Edge]:
        """Yield every edge with its evidence, negated ones too."""
        names, relations = self._names, self.relations
        for i, (h, r, t, negated) in enumerate(zip(*self._columns, strict=True)):
            yield Edge(names[h], relations[r], names[t], self._evidence(i), bool(negated))

    def incident(self, name: str) -> list[Triple]:
        """Return the edges that begin or end at `name`, negated ones left out."""
        if "incident" not in self._cached:
            head, _, tail, negated = (np.array(column, dtype=np.int32) for column in self._columns)
            stated = np.flatnonzero(negated == 0)
            ends = np.concatenate([head[stated], tail[stated]])
            edges = np.concatenate([stated, stated])
            order = np.lexsort((edges, ends))
            counts = np.bincount(ends, minlength=len(self._names))
            self._cached["incident"] = edges[order], np.concatenate([[0], counts.cumsum()])
        edges, bounds = self._cached["incident"]
        if (i := self._number.get(name)) is None:
            return []
        head, relation, tail, _ = self._columns
        places = dict.fromkeys(edges[bounds[i] : bounds[i + 1]].tolist())  # an edge from a node to itself comes twice
        return [(self._names[head[p]], self.relations[relation[p]], self._names[tail[p]]) for p in places]

    def degrees(self) -> np.ndarray:
        """Return how many edges touch each entity, negated ones left out: int64 [entities], in their order."""
        if "degrees" not in self._cached:
            head, _, tail, negated = (np.array(column, dtype=np.int32) for column in self._columns)
            once = np.concatenate([head[negated == 0], tail[(negated == 0) & (head != tail)]])
            self._cached["degrees"] = np.bincount(once, minlength=len(self._names))
        return self._cached["degrees"]

    def degree(self, name: str) -> int:
        return int(self.degrees()[self._number[name]]) if name in self._number else 0

    def of_type(self, entity_type: str) -> list[str]:
        return self._types.get(entity_type, [])

    def starts(self, chain: Sequence[str]) -> np.ndarray:
        """Return from which entities the steps of `chain` lead anywhere: bool [entities]."""
        alive = np.ones(len(self._names), dtype=bool)
        for step in reversed(chain):
            targets, bounds = self._index().get(step, (np.zeros(0, np.int32), np.zeros(len(self._names) + 1, np.int64)))
            reached = np.concatenate([[0], alive[targets].cumsum()])
            alive = reached[bounds[1:]] > reached[bounds[:-1]]
        return alive

    def numbers(self, names: Iterable[str]) -> np.ndarray:
        """Return the entities' places: int64 [names]."""
        return np.fromiter((self._number[name] for name in names), np.int64)


MAX_RELATIONS = 256


def _pack(head: int, relation: int, tail: int, negated: bool) -> int:
    return head << 40 | tail << 9 | relation << 1 | negated
