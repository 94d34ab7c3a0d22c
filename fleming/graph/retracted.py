"""What is withdrawn from the graph: a file or page, a record of one, or a fact, as `fleming.audit retract` lists it.

A file that is withdrawn is as though it had never been read. A fact that is withdrawn is not thereby false: where a
relation is complete its absence would say so, hence it stands as disputed, which no question uses either way. Left out:
what was made of it in a run (audit/retract.py).
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from fleming.files import read_jsonl
from fleming.graph.knowledge_graph import Edge, Evidence, KnowledgeGraph, Triple
from fleming.sources.facts import RETRACTED, Origin, Skip
from fleming.typed import from_json
from model.errors import InputError


@dataclass(frozen=True)
class Retraction:
    """A line of the list: a file (or page) with or without a record, or a fact."""

    file: str = ""
    """As an origin has it: the file's name or the page's title."""
    record: int | None = None
    """Its line, or in a page the first character of the span; null: all of it."""
    head: str = ""
    relation: str = ""
    tail: str = ""
    reason: str = ""
    """In anyone's words."""

    @property
    def is_file(self) -> bool:
        """Whether a whole file is withdrawn."""
        return bool(self.file) and self.record is None

    @property
    def key(self) -> tuple:
        """What is withdrawn: one of `keys_of` a piece of evidence."""
        return (self.file, self.record) if self.file else (self.head, self.relation, self.tail)


def keys_of(triple: Triple, file: str, record: int) -> tuple:
    """Return the keys under which the evidence that a record of a file gives for a fact may be withdrawn."""
    return triple, (file, None), (file, record)


def read_retractions(path: Path) -> list[Retraction]:
    """Return the lines of a list. Raises InputError for one that names not just a file, or not just a whole fact."""
    found = []
    for where, record in read_jsonl(path):
        retraction = from_json(Retraction, record, where)
        fact = retraction.head, retraction.relation, retraction.tail
        if any(fact) if retraction.file else not all(fact) or retraction.record is not None:
            raise InputError(f"{where}: expected either file, and record or not, or head, relation and tail")
        found.append(retraction)
    return found


def without(graph: KnowledgeGraph, path: Path, skip: Skip) -> KnowledgeGraph:
    """Return the graph without what the list at `path` withdraws; `skip` is told of every fact that lost something.

    Raises InputError for a bad list, and for a line of it that withdraws nothing: it is misspelled.
    """
    retractions = read_retractions(path)
    used: set[int] = set()
    rest, doubted = KnowledgeGraph(), Origin(RETRACTED, path.name, extractor="retraction")
    for entity in graph.entities.values():
        rest.add_entity(entity, str(path))

    places = defaultdict(list)
    for i, retraction in enumerate(retractions):
        places[retraction.key].append(i)

    def by(edge: Edge, evidence: Evidence) -> list[int]:
        keys = keys_of(edge.triple, evidence.origin.file, evidence.record)
        return sorted(i for key in keys for i in places.get(key, ()))

    for edge in graph.edges():
        withdrawn = [by(edge, evidence) for evidence in edge.evidence]
        used.update(*withdrawn)
        lines = [why[0] + 1 for why in withdrawn if not all(retractions[i].is_file for i in why)]
        left = tuple(evidence for evidence, why in zip(edge.evidence, withdrawn, strict=True) if not why)
        if len(left) < len(edge.evidence):
            lost = f"{len(edge.evidence) - len(left)} of {len(edge.evidence)} pieces of evidence"
            skip(str(path), "retracted", f"{' | '.join(edge.triple)}: {lost}")
        if left or not edge.evidence:
            rest.support(Edge(*edge.triple, left, edge.negated))
        elif lines:
            evidence = (Evidence(doubted, lines[0]),)
            for negated in (False, True):
                rest.support(Edge(*edge.triple, evidence, negated))
    for i in range(len(retractions)):
        if i not in used:
            raise InputError(f"{path}:{i + 1}: withdraws nothing of this graph; is it misspelled?")
    still = {origin.source for origin in rest.origins}
    rest.declared = {key: value for key, value in graph.declared.items() if key[0] in still}
    return rest
