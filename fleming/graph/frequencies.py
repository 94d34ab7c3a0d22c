"""In how many patients a finding was seen, and of how many: the studies' own counts, added up over an edge's evidence.

Left out: what a frequency is worth (questions/likelihood.py smooths it).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleming.graph.knowledge_graph import KnowledgeGraph

BAND = 10  # patients that a frequency without counts ("occasional", "45 %", NOT) stands for
_COUNTS = re.compile(r"\bfrequency (\d{1,6})/(\d{1,6})\b")


@dataclass(frozen=True)
class Frequencies:
    """One row an edge; places are those of the graph's names."""

    head: np.ndarray
    """int32 [rows]"""
    tail: np.ndarray
    """int32 [rows]"""
    seen: np.ndarray
    """Patients with it: float [rows]."""
    of: np.ndarray
    """Patients looked at; 0 where no evidence says how many: float [rows]."""
    negated: np.ndarray
    """bool [rows]"""
    trust: np.ndarray
    """Highest confidence of the edge's evidence: float [rows]."""


def frequencies(graph: KnowledgeGraph, relations: Sequence[str]) -> Frequencies:
    """Return the edges of the relations with their counts, negated ones too, in the graph's order."""
    edges, support = graph.columns
    wanted = [graph.relations.index(name) for name in relations if name in graph.relations]
    rows = np.flatnonzero(np.isin(edges["relation"], wanted))
    notes = [_COUNTS.search(note) for note in graph._note]
    seen_of_note = np.array([float(found[1]) if found else 0.0 for found in notes])
    of_note = np.array([float(found[2]) if found else 0.0 for found in notes])

    counted = of_note[support["note"]] > 0
    share = support["frequency"]
    negated = edges["negated"][support["edge"]] == 1
    share = np.where(negated & (share < 0), 0.0, share)  # NOT, and no frequency beside it
    of = np.where(counted, of_note[support["note"]], np.where(share >= 0, BAND, 0))
    seen = np.where(counted, seen_of_note[support["note"]], of * np.maximum(share, 0))
    size = len(graph)
    seen = np.bincount(support["edge"], seen, size)
    of = np.bincount(support["edge"], of, size)
    trust = graph._highest("confidence", 0.0)
    return Frequencies(
        edges["head"][rows],
        edges["tail"][rows],
        seen[rows],
        of[rows],
        edges["negated"][rows] == 1,
        trust[rows],
    )
