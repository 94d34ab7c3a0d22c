"""Checks of a trajectory before it is taught: the answer, the form, the facts that it states, its length.

Left out: judging free text of a real teacher; where a trajectory lists no facts, none are checked.
"""

from typing import Any

from fleming.answer import format_ok, parse_answer
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.graph.open_world import denied, is_sure, possible
from fleming.records import Question, Trajectory


def check_trajectory(
    trajectory: Trajectory, question: Question, graph: KnowledgeGraph, max_words: int = 120
) -> dict[str, Any]:
    """Return each check's result, and under `code` the first that failed (None: keep the trajectory).

    Codes, in this order: `wrong_answer`, the parsed letter is not the question's; `bad_format`, not the asked form;
    `unsaid_fact`, a fact is listed whose names the response does not contain; `false_fact`, a stated fact is not on
    the graph or is disputed, or a denied one may well hold; `too_long`, over `max_words` words split at white space.
    """
    checks, response = trajectory.checks, trajectory.response
    style = checks.get("answer_style", "letter")
    facts, denials = checks.get("facts", []), checks.get("denied", [])
    names = {name for head, _, tail in (*facts, *denials) for name in (head, tail)}
    words = len(response.split())
    facts_hold = all(is_sure(graph, *fact) for fact in facts)
    denials_hold = all(denied(graph, *fact) or not possible(graph, *fact) for fact in denials)
    results = {
        "wrong_answer": parse_answer(response, question.options) == question.answer,
        "bad_format": format_ok(response, question.options, style, True),
        "unsaid_fact": all(name in response for name in names),
        "false_fact": facts_hold and denials_hold,
        "too_long": words <= max_words,
    }
    passed = [code for code, is_passed in results.items() if is_passed]
    failed = [code for code in results if code not in passed]
    return {"code": failed[0] if failed else None, "passed": passed, "words": words}
