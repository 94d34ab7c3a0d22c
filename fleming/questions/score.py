"""How deep a question is, and how good: 0 to 100 from its own record, so that an auditor can count again.

Left out: what a reader says of it (cards.py).
"""

import math
from typing import Any

from fleming.questions.judging import POSITIVE_GROUNDS

WORDS = (25, 130)  # of a stem that reads well
FULL = {"completeness": 25, "margin": 25, "necessity": 20, "language": 15, "relevance": 15}


def depth(provenance: dict[str, Any]) -> int:
    """Return the steps that must be made: each step of the chain, and each group of clues that is needed."""
    roles = {clue["role"] for clue in provenance.get("clues", ())} - {"complaint"}
    return len(provenance["chain"]) + len(roles)


def score(provenance: dict[str, Any], stem: str) -> dict[str, int]:
    """Return each part of the score, and `total`.

    completeness: grounds that a source states, clues on counted patients. margin: odds against options and the next
    disease. necessity: clues without which an option stands. language: length, few clues. relevance: it takes several
    steps, and the findings are had by most patients. A question about a named root is scored by its grounds alone.
    """
    certificate, clues = provenance["certificate"], provenance.get("clues", [])
    wrong = certificate["distractors"]
    grounded = sum(option["ground"] in POSITIVE_GROUNDS for option in wrong) / len(wrong)
    parts = dict.fromkeys(FULL, 1.0)
    if not clues:
        parts["completeness"] = grounded
    else:
        findings = [clue for clue in clues if clue["role"] in ("core", "discriminating")]
        counted = sum(clue["counts"] is not None for clue in findings) / len(findings)
        parts["completeness"] = 0.7 * grounded + 0.3 * counted
        least = min(rival["odds"] for rival in certificate["rivals"])
        parts["margin"] = 0.6 * _up_to(math.log10(max(1.0, least)), 2.5) + 0.4 * _up_to(
            math.log10(max(1.0, certificate["runner_up_odds"])), 1.0
        )
        needed = [clue["needed"] for clue in clues if clue["role"] != "complaint"]
        parts["necessity"] = sum(why.startswith("without") for why in needed) / len(needed)
        parts["necessity"] = _up_to(parts["necessity"], 0.6)
        words = len(stem.split())
        parts["language"] = 1.0 if WORDS[0] <= words <= WORDS[1] else 0.6
        first = certificate["table"]["rows"][next(iter(certificate["table"]["rows"]))]
        typical = sum(p >= 0.45 for p in first) / len(first)
        parts["relevance"] = 0.5 * _up_to(depth(provenance), 4) + 0.5 * typical
    points = {name: round(full * parts[name]) for name, full in FULL.items()}
    return {"total": sum(points.values()), **points}


def _up_to(value: float, full: float) -> float:
    return min(1.0, value / full)
