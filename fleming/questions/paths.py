"""From a root to an answer: the path that a question asks a reader to go, each node between the only one.

Left out: the clues that stand for the root (differential.py), the wrong options (options.py).
"""

from collections.abc import Sequence
from dataclasses import replace

from numpy.random import Generator

from fleming.graph.naming import is_plain
from fleming.graph.open_world import heads, may_be_one
from fleming.questions.certificates import ONE_VALUE, is_usable, solutions
from fleming.questions.differential import Differentials
from fleming.questions.metapaths import Kind
from fleming.questions.names import is_meaningless, is_tellable, lists_findings, numbered
from fleming.questions.patient import is_of_a_chromosome
from fleming.questions.phrases import pick
from fleming.questions.query import Clue, Query, chain_triple


def draw_path(whole: Differentials, kind: Kind, root: str, rng: Generator) -> Query | str:
    """Draw a path of the kind from the root, each node between the only one, and no form of one before it.

    Codes: `no_findings`, too little is known of a root that stands behind clues; `no_pedigree`, a family's history is
    to rule options out (`min_family`), and there is none to tell; `no_path`; `no_name`, the answer cannot be an option;
    `bridge_ambiguous`, a node between is not the only one.
    """
    if kind.hidden and not whole.known[whole.findings.place[root]]:
        return "no_findings"
    is_asked = "inherited_as" in kind.chain
    if kind.hidden and whole.rules.min_family and (is_asked or not whole.family(root)):
        return "no_pedigree"
    if not kind.chain and not may_be_option(whole, root):
        return "no_name"
    nodes = [root]
    for step in kind.chain:
        fit = _expected(whole, root) if kind.answers == "findings" else _onward(whole, nodes, step)
        if not fit:
            return "no_path"
        nodes.append(pick(rng, fit))
    query = Query(kind, tuple(nodes))
    if kind.by:
        clue = _bridge_clue(whole, query, rng)
        if not clue:
            return "bridge_ambiguous"
        query = replace(query, clues=(clue,))
    between = range(1, len(nodes) - 1)
    sole = all(solutions(whole.graph, query, node) == [nodes[node]] for node in between)
    return query if sole else "bridge_ambiguous"


def _onward(whole: Differentials, nodes: Sequence[str], step: str) -> list[str]:
    """Return where the step may lead: by a trusted fact, to what a reader takes for none of the nodes before."""
    graph, onward = whole.graph, whole.graph.follow(nodes[-1], step)
    if step in ONE_VALUE and len(onward) != 1:
        return []

    def may_come_next(name: str) -> bool:
        if not is_usable(graph, chain_triple(nodes[-1], step, name), whole.rules.min_confidence):
            return False
        back = step[1:] if step.startswith("^") else ""
        if back in ONE_VALUE and len(graph.follow(name, back)) != 1:
            return False
        if not may_be_option(whole, name) or (step == "^associated_gene" and is_of_a_chromosome(name)):
            return False
        return step == "subtype_of" or not may_be_one(graph, name, *nodes)

    return [name for name in onward if may_come_next(name)]


def may_be_option(whole: Differentials, name: str) -> bool:
    """Whether a reader can know it by its name; of a disease, also whether enough is on record to tell it from others,
    and the name does not answer the question itself."""
    if not is_plain(whole.graph.entities[name]) or is_meaningless(name):
        return False
    disease = whole.findings.place.get(name)
    if disease is None:
        return True
    tells = numbered(name) or lists_findings(name)
    return bool(whole.known[disease]) and (whole.rules.any_name or not tells)


def right_answers(whole: Differentials, query: Query) -> list[str]:
    """Return every name that answers the query, sorted."""
    if not query.kind.chain:
        return [query.nodes[0]]
    if query.kind.answers == "findings":
        return sorted(_expected(whole, query.nodes[0]))
    return solutions(whole.graph, query, len(query.nodes) - 1)


def _expected(whole: Differentials, root: str) -> list[str]:
    """Return the findings that counted patients of the root nearly always have."""
    findings, graph = whole.findings, whole.graph
    rows = findings.rows(root)
    often = findings.share[rows] >= whole.rules.negative_frequency
    rows = rows[findings.stated[rows] & often & (findings.of[rows] > 0)]
    names = [graph.names[term] for term in findings.term[rows]]
    return [name for name in names if is_plain(graph.entities[name]) and is_tellable(name)]


def _bridge_clue(whole: Differentials, query: Query, rng: Generator) -> Clue | None:
    """Return a visible tail that singles out the node before the answer, though it alone does not name it."""
    graph, relation, place = whole.graph, query.kind.by, len(query.nodes) - 2
    bridge, step = query.nodes[place], query.kind.chain[place - 1]
    if len(graph.follow(query.nodes[place - 1], step)) == 1:
        return None
    shared = [tail for tail in graph.follow(bridge, relation) if len(heads(graph, relation, tail)) > 1]
    return Clue(relation, pick(rng, shared), "bridge", place) if shared else None
