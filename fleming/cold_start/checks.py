"""Checks of a trajectory before it is taught: the answer, the form, the facts that it states, its length.

Facts are those that the trajectory lists, and those that are read from its text (fleming/checks).
"""

from collections import Counter

from fleming.answer import format_ok, parse_answer
from fleming.checks.claims import check_claims
from fleming.checks.path import follow_path
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.graph.open_world import denied, is_sure, possible
from fleming.questions.names import said
from fleming.records import Question, Trajectory


def check_trajectory(
    trajectory: Trajectory,
    question: Question,
    graph: KnowledgeGraph,
    max_words: int = 120,
    state_uncertainty: bool = False,
    tally: Counter[str] | None = None,
) -> str | None:
    """Return the code of the first check that fails, None where the trajectory is to be kept.

    Codes, in this order: `wrong_answer`, the parsed letter is not the question's; `bad_format`, not the asked form;
    `unsaid_fact`, a fact is listed whose names the response does not contain; `false_fact`, a stated fact is not on
    the graph or is disputed, or a denied one may well hold; `too_long`, over `max_words` words split at white space;
    `contradicted_claim`, the text says what the graph has a ground to deny; `false_claim`, `other_conclusion`, `loop`,
    a fault of its path (checks/path.py: Path); `unsure_unsaid`, it does not say that something is not known, where
    `state_uncertainty` asks for that. What is read from the text is counted in `tally` (claims.py: check_claims).
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
    if len(response.split()) > max_words:
        return "too_long"
    thought = response.partition("<think>")[2].partition("</think>")[0]
    counts, _ = check_claims(thought, graph)
    if tally is not None:
        tally.update(counts)
    if counts["contradicted"]:
        return "contradicted_claim"
    path = follow_path(thought, question, question.answer)
    if state_uncertainty and not (path.fault or path.unsure):
        return "unsure_unsaid"
    return path.fault
