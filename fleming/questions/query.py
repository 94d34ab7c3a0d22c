"""A question before it is proved and worded: a path, its clues, the patient; and the names that solve it.

A pattern is a list of triples whose ends are names, or integers for the nodes that the reader must find, numbered along
the path. Left out: which clues are told (differential.py), what solves a pattern (certificates.py).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from fleming.graph.knowledge_graph import Triple
from fleming.questions.metapaths import Kind

Term = str | int
TriplePattern = tuple[Term, str, Term]
"""A triple of which one end or both may be unknown (SPARQL has the name)."""


class Clue(NamedTuple):
    """One thing that a stem says of a node of the path."""

    relation: str
    tail: str
    role: str
    """complaint: what most with the disease have, and many others too; nothing is claimed of it. core: rivals have
    it too. discriminating: tells from a rival. absent: stated not to be there; a rival nearly always has it.
    family: inheritance, told as a pedigree. onset: the age. bridge: singles out a node between."""
    place: int = 0
    """The node that it is said of; 0 is the root."""


@dataclass(frozen=True)
class Patient:
    age: float | None = None
    """Years; None where it is not said."""
    sex: str = ""
    """male, female, or "" where it is not said."""


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
class Query:
    """A path with its masking, not yet proved or worded."""

    kind: Kind
    nodes: tuple[str, ...]
    """Root .. answer; one node where the root itself is asked for."""
    clues: tuple[Clue, ...] = ()
    patient: Patient = Patient()

    @property
    def answer(self) -> str:
        return self.nodes[-1]

    @cached_property
    def parts(self) -> list[tuple[bool, TriplePattern]]:
        """What is stated as triples (is it a step of the chain?, triple), integers for what is hidden or asked for."""
        terms: list[Term] = list(range(len(self.nodes)))
        if not self.kind.hidden:
            terms[0] = self.nodes[0]

        def said_of(place: int) -> list[tuple[bool, TriplePattern]]:
            told = [clue for clue in self.clues if clue.place == place and clue.role != "absent"]
            return [(False, (terms[place], clue.relation, clue.tail)) for clue in told]

        parts = said_of(0)
        for place, step in enumerate(self.kind.chain, 1):
            parts.append((True, chain_triple(terms[place - 1], step, terms[place])))
            parts += said_of(place)
        return parts

    @cached_property
    def pattern(self) -> list[TriplePattern]:
        return [triple for _, triple in self.parts]

    @property
    def beyond_root(self) -> list[TriplePattern]:
        """The pattern without what is said of the root: the steps, and what singles out the nodes on the way."""
        return self.pattern[sum(clue.place == 0 and clue.role != "absent" for clue in self.clues) :]

    @property
    def visible(self) -> list[str]:
        named = [] if self.kind.hidden else [self.nodes[0]]
        return [*named, *(clue.tail for clue in self.clues)]

    @property
    def hidden(self) -> list[str]:
        return list(self.nodes[0 if self.kind.hidden else 1 : -1])

    @property
    def id(self) -> str:
        """The question's, by its composition."""
        return "graph/" + hashlib.blake2b(repr(self.composition).encode(), digest_size=8).hexdigest()

    @property
    def composition(self) -> tuple[tuple[str, ...], str, str]:
        """What makes two questions the same, whatever their order: (sorted visible names, metapath, answer)."""
        return tuple(sorted(self.visible)), self.kind.metapath, self.answer
