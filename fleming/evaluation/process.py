"""What the checks (fleming/checks) say of the reasoning in stored answers, apart for right and for wrong ones.

Sums and their units; claims against a graph, where `evaluate.graph` names one; the path of a question's certificate,
where it has one. Left out: whether the reasoning is good; a check reads little of free prose, and says how much.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from fleming.answer import TAGS
from fleming.checks.calculations import check as check_sums
from fleming.checks.claims import check_claims
from fleming.checks.path import follow_path
from fleming.evaluation.statistics import Interval, wilson_interval
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.records import Question


class Reasoned(Protocol):
    """An answer of ours (answers.py), or one that another tool has stored."""

    id: str
    response: str | None
    answer: str | None
    correct: bool
    as_published: bool
    """Whether its question is at hand, with the options as they were shown."""


def process_scores(
    questions: Mapping[str, Question], answers: Sequence[Reasoned], graph: KnowledgeGraph | None
) -> dict[str, dict[str, Any]]:
    """Return "right" and "wrong" -> what the answers (by chain of thought) that are so have in them, if there are any.

    questions: by id, with the options as published; a path is followed where they were shown so.
    """
    groups = {"right": [a for a in answers if a.correct], "wrong": [a for a in answers if not a.correct]}
    return {name: _group(questions, group, graph) for name, group in groups.items() if group}


def _group(
    questions: Mapping[str, Question], answers: Sequence[Reasoned], graph: KnowledgeGraph | None
) -> dict[str, Any]:
    """Return the group's counts, and shares of its answers with their intervals."""
    sums, claims, faults, answered = Counter(), Counter(), Counter(), Counter()
    facts = stated = 0
    for answer in answers:
        text = TAGS.sub(" ", answer.response or "")
        found = check_sums(text)
        answered["wrong_sum"] += found.pop("code") is not None
        answered["with_sums"] += found["ok"] + found["wrong"] > 0
        sums.update(found)

        if graph is not None:
            said, _ = check_claims(text, graph)
            claims.update(said)
            answered["contradicted_claim"] += said["contradicted"] > 0

        path = follow_path(text, questions[answer.id], answer.answer) if answer.as_published else None
        if path and path.facts:
            facts, stated = facts + path.facts, stated + path.stated
            answered["with_certificate"] += 1
            answered["whole_path"] += path.stated == path.facts and path.fault is None
            faults[path.fault] += path.fault is not None

    n, of_paths = len(answers), answered["with_certificate"]
    shares = {"wrong_sum": _share(answered["wrong_sum"], n)}
    if graph is not None:
        shares["contradicted_claim"] = _share(answered["contradicted_claim"], n)
    if of_paths:
        shares["whole_path"] = _share(answered["whole_path"], of_paths)
    return {
        "answers": n,
        "with_sums": answered["with_sums"],
        "with_certificate": of_paths,
        "shares": shares,
        "sums": dict(sums),
        "claims": dict(claims),
        "path_facts": facts,
        "path_facts_stated": stated,
        "path_faults": dict(faults),
    }


def _share(count: int, n: int) -> dict[str, float]:
    return vars(Interval(count / n, *wilson_interval(count, n)))
