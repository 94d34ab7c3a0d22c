"""Which relations of which source are complete knowledge: declared as data, checked against published counts.

An edge that a complete list lacks does not hold; one that a sample lacks may. So a relation of a source is `closed` (of
a head of which it states one fact it states all), `nearly_closed`, or, as all that nobody declares, `open`. What the
graph holds of it is counted: under 95 % of the published number, the file was cut, and the relation counts as open.

- declared in assets/published.yaml, in a mapping, or by a hand-written file of itself; kept in the graph and its file
- left out: what follows from "is a form of" (open_world.py); the completeness of a single head's list
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fleming.assets import ASSETS
from fleming.config import load_config
from fleming.graph.columns import Numbering
from fleming.graph.knowledge_graph import KnowledgeGraph, remembered
from fleming.sources.facts import LEVELS, Declared, Level
from fleming.sources.mapping import declarations
from fleming.typed import Positive

PUBLISHED = ASSETS / "published.yaml"
ENOUGH = 0.95  # of the published edges
ROUND = 1_000  # a relation that stops at a multiple of it was cut there, as like as not


@dataclass(frozen=True)
class PublishedSource:
    completeness: dict[str, Level] = field(default_factory=dict)
    """Relation -> level."""
    published: dict[str, Positive[int]] = field(default_factory=dict)
    """Relation -> edges of the whole source."""


@dataclass(frozen=True)
class Published:
    """assets/published.yaml."""

    sources: dict[str, PublishedSource] = field(default_factory=dict)


Declarations = dict[tuple[str, str], Declared]


def published_sources() -> Declarations:
    """Return (source, relation) -> what assets/published.yaml declares."""
    found: Declarations = {}
    for name, source in load_config(Published, PUBLISHED, []).sources.items():
        found |= declarations(name, source.completeness, source.published)
    return found


class _Stated(NamedTuple):
    """Every record that states an edge."""

    head: np.ndarray
    relation: np.ndarray
    source: np.ndarray
    """Places of entities and relations, and in `sources`: int [records]."""
    sources: list[str]


@remembered
def _stated(graph: KnowledgeGraph) -> _Stated:
    edges, evidence = graph.columns
    files, sources = Numbering(), Numbering()
    file_of = np.array([files[origin] for origin in graph.origins], np.int64)
    source_of = np.array([sources[origin.source] for origin in graph.origins], np.int64)

    edge, origin, record = evidence["edge"], evidence["origin"], evidence["record"]
    rows = np.lexsort((record, file_of[origin], edge))
    edge, origin, record = edge[rows], origin[rows], record[rows]
    # A file may be read twice.
    new = np.diff(edge) | np.diff(file_of[origin]) | np.diff(record) != 0
    once = np.concatenate([[True], new])[: len(rows)] & (edges["negated"][edge] == 0)
    edge, origin = edge[once], origin[once]
    return _Stated(edges["head"][edge], edges["relation"][edge], source_of[origin], list(sources))


@remembered
def _present(graph: KnowledgeGraph) -> dict[tuple[str, str], int]:
    """Return (source, relation) -> how many of its records state an edge, by name; those without any are left out."""
    stated, relations = _stated(graph), graph.relations
    pairs = Counter(zip(stated.source.tolist(), stated.relation.tolist(), strict=True))
    return dict(sorted(((stated.sources[s], relations[r]), count) for (s, r), count in pairs.items()))


def declare(graph: KnowledgeGraph, declared: Declarations) -> None:
    """Let the graph keep what is declared of the sources that it holds, relations of which it holds nothing too."""
    sources = {source for source, _ in _present(graph)}
    graph.declared.update({key: declared[key] for key in sorted(declared) if key[0] in sources})
    graph.memory.clear()


def completeness(graph: KnowledgeGraph) -> list[dict[str, Any]]:
    """Return for each source and relation, stated or declared, what is declared, what is there, and the level in force.

    {"source", "relation", "declared", "whole", "present", "published" or null, "share" or null, "suspicious", "level"};
    `present` are the source's records that state an edge: two that joining made one edge of were published as two.
    `level` is what `declared` comes to where some are missing.
    """
    found = []
    counts = dict.fromkeys(graph.declared, 0) | _present(graph)
    for (source, relation), present in sorted(counts.items()):
        level, published, whole = graph.declared.get((source, relation), Declared())
        share = present / published if published else None
        suspicious = present > 0 and present % ROUND == 0 and present != published and not whole
        cut = suspicious if share is None else share < ENOUGH
        found.append(
            {
                "source": source,
                "relation": relation,
                "declared": level,
                "whole": whole,
                "present": present,
                "published": published,
                "share": None if share is None else round(share, 4),
                "suspicious": suspicious,
                "level": "open" if cut or not present else level,
            }
        )
    return found


def shortfalls(report: list[dict[str, Any]]) -> list[str]:
    """Return a line for each source of a report of `completeness` that was cut in a relation, or looks like it."""
    cut = {}
    for row in report:
        share, count = row["share"], f"{row['relation']} {row['present']:,}"
        if share is not None and share < ENOUGH:
            cut.setdefault(row["source"], []).append(f"{count} of {row['published']:,} ({share:.0%})")
        elif not row["present"]:
            cut.setdefault(row["source"], []).append(f"{row['relation']} none, though declared")
        elif row["suspicious"]:
            cut.setdefault(row["source"], []).append(f"{count} (a round number)")
    return [
        f"{source}: its file was cut, or looks like it: {', '.join(found)}" for source, found in cut.items()
    ]


@remembered
def _complete_heads(graph: KnowledgeGraph, relation: str, level: Level) -> np.ndarray:
    """Return of which entities the graph has a list of the relation that is complete at this level: bool [entities]."""
    complete = np.zeros(len(graph.entities), dtype=bool)
    stated, relations = _stated(graph), graph.relations
    for row in completeness(graph):
        if row["relation"] != relation or LEVELS.index(row["level"]) < max(LEVELS.index(level), 1):
            continue
        of_source = stated.source == stated.sources.index(row["source"])
        of_relation = stated.relation == relations.index(relation)
        complete[stated.head[of_source if row["whole"] else of_source & of_relation]] = True
    return complete


def is_closed(graph: KnowledgeGraph, head: str, relation: str, level: Level = "closed") -> bool:
    """Whether a source's list of the head's facts of this relation is complete: what it lacks does not hold.

    So it is where the relation is closed *in force* and the source states a fact of it of this head (HPO lists the
    genes of disease X), or, being complete as a whole, any fact of this head. level "nearly_closed" is content with
    that too.
    """
    place = graph.place(head)
    return place >= 0 and bool(_complete_heads(graph, relation, level)[place])
