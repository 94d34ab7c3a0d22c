"""Checks of a trajectory before it is taught: the answer, the form, the facts that it states, its sums, its length.

Left out: judging free text of a real teacher; where a trajectory lists no facts, none are checked.
"""

from fleming.answer import format_ok, parse_answer
from fleming.checks.calculations import check
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.graph.open_world import denied, is_sure, possible
from fleming.questions.names import said
from fleming.records import Question, Trajectory


def check_trajectory(
    trajectory: Trajectory, question: Question, graph: KnowledgeGraph, max_words: int = 120
) -> str | None:
    """Return the code of the first check that fails, None where the trajectory is to be kept.

    Codes, in this order: `wrong_answer`, the parsed letter is not the question's; `bad_format`, not the asked form;
    `unsaid_fact`, a fact is listed whose names the response does not contain; `false_fact`, a stated fact is not on
    the graph or is disputed, or a denied one may well hold; `wrong_calculation`, a sum comes to something else;
    `wrong_unit`, its units do not fit; `too_long`, over `max_words` words split at white space.
    """
    checks, response = trajectory.checks, trajectory.response
    facts, denials = checks.get("facts", []), checks.get("denied", [])
    names = [name for head, _, tail in (*facts, *denials) for name in (head, tail)]
    style = checks.get("answer_style", "letter")
    if parse_answer(response, question.options) != question.answer:
        return "wrong_answer"
    if not format_ok(response, question.options, style, True):
        return "bad_format"
    if not all(name in response or said(name) in response for name in names):
        return "unsaid_fact"
    if not all(is_sure(graph, *fact) for fact in facts):
        return "false_fact"
    if any(possible(graph, *fact) and not denied(graph, *fact) for fact in denials):
        return "false_fact"
    if code := check(response)["code"]:
        return code
    return "too_long" if len(response.split()) > max_words else None
