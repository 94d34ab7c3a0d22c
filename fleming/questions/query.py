"""A question before it is proved and worded: a conjunctive query, and the names that solve it.

A query is a list of triples whose ends are names, or integers for the nodes that the reader must find, numbered along
the path. Left out: drawing one (masking.py), solving it (certificates.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from fleming.graph.knowledge_graph import Triple
from fleming.questions.metapaths import METAPATHS, Metapath

Term = str | int
TriplePattern = tuple[Term, str, Term]
"""A triple of which one end or both may be unknown (SPARQL has the name)."""


def chain_triple(here: Term, step: str, there: Term) -> TriplePattern:
    """Return the triple of one step, turned round where the step is an inverse one.

    >>> chain_triple("levodopa", "^treated_by", 1)
    (1, 'treated_by', 'levodopa')
    """
    return (there, step[1:], here) if step.startswith("^") else (here, step, there)


def instantiate(pattern: Sequence[TriplePattern], nodes: Sequence[str]) -> list[Triple]:
    """Return the pattern with each integer replaced by that node."""

    def name(end: Term) -> str:
        return nodes[end] if isinstance(end, int) else end

    return [(name(head), relation, name(tail)) for head, relation, tail in pattern]


@dataclass(frozen=True)
class Clue:
    """One thing that a stem says of a node of the path."""

    relation: str
    tail: str
    role: str
    """core, discriminating, absent, family, onset, sex, exposure, bridge."""
    place: int = 0
    """The node that it is said of; 0 is the root."""


@dataclass(frozen=True)
class Patient:
    age: float | None = None
    """Years; None where it is not said."""
    sex: str = ""
    """male, female, or "" where it is not said."""


@dataclass(frozen=True)
class Query:
    """A drawn path with its masking, not yet proved or worded."""

    metapath: str
    nodes: tuple[str, ...]
    """Root .. answer."""
    clues: tuple[tuple[int, Triple], ...] = ()
    """(place of a node on the path, one of its visible edges): a root that has some is hidden behind them."""

    @property
    def kind(self) -> Metapath:
        return METAPATHS[self.metapath]

    @property
    def answer(self) -> str:
        return self.nodes[-1]

    def clues_of(self, place: int) -> list[Triple]:
        return [edge for at, edge in self.clues if at == place]

    @property
    def first_hidden(self) -> int:
        """The place of the first node that the reader must find."""
        return 0 if self.clues_of(0) else 1

    @cached_property
    def parts(self) -> list[tuple[bool, TriplePattern]]:
        """The query's triples (is it a step of the chain?, triple), integers for what is hidden or asked for."""
        terms = list(range(len(self.nodes)))
        if self.first_hidden:
            terms[0] = self.nodes[0]
        parts = [(False, (0, relation, tail)) for _, relation, tail in self.clues_of(0)]
        for place, step in enumerate(self.kind.chain, 1):
            parts.append((True, chain_triple(terms[place - 1], step, terms[place])))
            parts += [(False, (place, relation, tail)) for _, relation, tail in self.clues_of(place)]
        return parts

    @cached_property
    def pattern(self) -> list[TriplePattern]:
        return [triple for _, triple in self.parts]

    @property
    def visible(self) -> list[str]:
        return [*self.nodes[: self.first_hidden], *(tail for _, (_, _, tail) in self.clues)]

    @property
    def hidden(self) -> list[str]:
        return list(self.nodes[self.first_hidden : -1])

    @property
    def composition(self) -> tuple[tuple[str, ...], str, str]:
        """What makes two questions the same, whatever their order: (sorted visible names, metapath, answer)."""
        return tuple(sorted(self.visible)), self.metapath, self.answer
