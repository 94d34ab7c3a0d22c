"""Checks of a trajectory before it is taught: the answer, the form, the facts that it states, its length.

Left out: judging free text of a real teacher; where a trajectory lists no facts, none are checked.
"""

from typing import Any

from fleming.answer import format_ok, parse_answer
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.records import Question, Trajectory


def check_trajectory(
    trajectory: Trajectory, question: Question, graph: KnowledgeGraph, max_words: int = 120
) -> dict[str, Any]:
    """Return each check's result, and under `code` the first that failed (None: keep the trajectory).

    Codes, in this order: `wrong_answer`, the parsed letter is not the question's; `bad_format`, not the asked form;
    `unsaid_fact`, a fact is listed whose names the response does not contain; `false_fact`, a stated fact is not on
    the graph or is disputed, or a denied one may well hold; `too_long`, over `max_words` words split at white space.
    """
    checks = trajectory.checks
    facts, denied = checks.get("facts", []), checks.get("denied", [])
    names = {name for head, _, tail in (*facts, *denied) for name in (head, tail)}
    words = len(trajectory.response.split())
    style = checks.get("answer_style", "letter")
    results = {
        "wrong_answer": parse_answer(trajectory.response, question.options) == question.answer,
        "bad_format": format_ok(trajectory.response, question.options, style, True),
        "unsaid_fact": all(name in trajectory.response for name in names),
        "false_fact": all(graph.has(*t) and not graph.disputed(*t) for t in facts)
        and all(graph.denied(*t) or not graph.possible(*t) for t in denied),
        "too_long": words <= max_words,
    }
    code = next((code for code, passed in results.items() if not passed), None)
    return {"code": code, "passed": [code for code, passed in results.items() if passed], "words": words}
