"""Proofs on the graph: what solves a question, that hidden nodes are unique, and why each distractor is wrong.

Everything is proved within the graph alone: in a basic question what the graph lacks counts as false (closed world), in
a scenario what it leaves open may be true, and a certificate says on what ground its option is taken for wrong. So a
certificate is as good as the graph is complete.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from numpy.random import Generator

from fleming.graph.knowledge_graph import KnowledgeGraph, Triple
from fleming.graph.naming import is_plain
from fleming.graph.open_world import denied, has, heads, is_sure, kin, may_be_one, possible
from fleming.questions.query import Query, TriplePattern, chain_triple, instantiate
from fleming.questions.rules import Rules

DISTRACTORS = 3
NEAREST, PATHS = 200, 64  # competitors looked at, those that share the most; of each, so many paths
NEAREST_OF_HUBS, PATHS_OF_HUBS = 60, 16  # the same for scenarios, on graphs where thousands share an edge
ONE_VALUE = ("inherited_as", "associated_gene")  # where a disease has just one, another is known not to hold


def bindings(
    graph: KnowledgeGraph, pattern: Sequence[TriplePattern], bound: dict[int, str]
) -> Iterator[dict[int, str]]:
    """Yield every assignment of names to the pattern's integers that makes all its triples facts of the graph.

    The triples are joined in order; each must have an end that is a name or was bound by a triple before it.
    """
    if not pattern:
        yield bound
        return
    (head, relation, tail), rest = pattern[0], pattern[1:]
    head, tail = bound.get(head, head), bound.get(tail, tail)
    if isinstance(head, int) and isinstance(tail, int):
        raise ValueError(f"the triple {pattern[0]} is bound at neither end")
    if isinstance(head, int):
        for name in heads(graph, relation, tail):
            yield from bindings(graph, rest, {**bound, head: name})
    elif isinstance(tail, int):
        for name in graph.follow(head, relation):
            yield from bindings(graph, rest, {**bound, tail: name})
    elif has(graph, head, relation, tail):
        yield from bindings(graph, rest, bound)


def solutions(graph: KnowledgeGraph, pattern: Sequence[TriplePattern], node: int) -> list[str]:
    """Return every name that node `node` can take, sorted, by the triples that mention no later node."""

    def is_known(triple: TriplePattern) -> bool:
        return all(isinstance(end, str) or end <= node for end in (triple[0], triple[2]))

    known = [triple for triple in pattern if is_known(triple)]
    return sorted({bound[node] for bound in bindings(graph, known, {})})


def look_alikes(
    graph: KnowledgeGraph, name: str, through: Iterable[Triple], nearest: int = NEAREST
) -> dict[str, list[Triple]]:
    """Return who shares an edge of `name` (its other end and relation), each with its own copies of those edges.

    Of more than `nearest` only those are kept that share the most, the earliest first where equally many.
    """
    shared = defaultdict(list)
    for head, relation, tail in through:
        if head == name:
            for rival in heads(graph, relation, tail):
                shared[rival].append((rival, relation, tail))
        else:
            for rival in graph.follow(head, relation):
                shared[rival].append((head, relation, rival))
    if len(shared) <= nearest:
        return dict(shared)
    most = sorted(shared, key=lambda rival: -len(shared[rival]))
    kept = set(most[:nearest])
    return {rival: edges for rival, edges in shared.items() if rival in kept}


def paths_along(graph: KnowledgeGraph, start: str, chain: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield every path that the steps of `chain` lead along from `start`, start included."""
    if not chain:
        yield (start,)
        return
    for name in graph.follow(start, chain[0]):
        for rest in paths_along(graph, name, chain[1:]):
            yield start, *rest


def certified_distractors(
    graph: KnowledgeGraph,
    query: Query,
    rules: Rules,
    rng: Generator,
    balance: Mapping[str, float],
) -> list[dict]:
    """Return up to three certificates of wrong options, the nearest competitors first.

    A competitor is another path of the same chain. It begins at an entity that shares a clue (or where the root is
    visible, any edge) with the root, or at the root itself; at least `min_shared` of the question's visible edges must
    hold on it. With min_shared 0, what competitors leave open is filled with entities of the answer's type, first those
    that share an edge with the answer. Ties go to the option with the largest `balance`, then to chance.

    Each certificate is {"option", "shares": triples that competitor and truth have in common or that lead from the
    competitor to the option, all in the graph, "violates": triples that the option would need and the graph lacks,
    "ground"}. The last violated one, from the unique true path to the option, is a proof by itself, and `ground` says
    how sure: "contradicted", a source says that it does not hold; "other_value", of a relation that mostly has one
    value the graph has just one, another; "absent", the graph just lacks it, which `exclude_open` refuses. A scenario
    also refuses options that may be a form of a node of the path or of one another, and those that fail a clue alone.
    Needs unique hidden nodes.
    """

    def priority(option: str) -> tuple[float, float]:
        """Who has the largest balance is first, then who is drawn."""
        return -balance.get(option, 0.0), rng.random()

    used = _never_wrong(graph, query)
    told_apart_from = list(query.nodes)
    certificates = []
    for option, path, shared in _proposals(graph, query, rules, priority):
        if option in used or not _is_fair(graph, query, option, told_apart_from):
            continue
        if path and _count_shared(graph, query, path) < rules.min_shared:
            continue
        proof = _proof(graph, query, option)
        why = ground(graph, proof[-1])
        if why is None or (rules.exclude_open and why == "absent"):
            continue

        triples = list(shared)
        if path:
            triples += [chain_triple(*step) for step in zip(path, query.kind.chain, path[1:], strict=False)]
            triples += instantiate(query.pattern, path)
        triples = dict.fromkeys([*(triple for triple in triples if triple not in proof), *proof])
        certificates.append(
            {
                "option": option,
                "shares": [list(triple) for triple in triples if is_sure(graph, *triple)],
                "violates": [list(triple) for triple in triples if ground(graph, triple)],
                "ground": why,
            }
        )
        used.add(option)
        told_apart_from.append(option)
        if len(certificates) == DISTRACTORS:
            break
    return certificates


def _never_wrong(graph: KnowledgeGraph, query: Query) -> set[str]:
    """Return what is right, stands on the path or in the text, or (in a scenario) is a form of what is right."""
    right = solutions(graph, query.pattern, len(query.nodes) - 1)
    stated = {end for head, _, tail in query.pattern for end in (head, tail) if isinstance(end, str)}
    found = {*right, *query.nodes, *stated}
    if query.kind.scenario:
        found.update(*(kin(graph, name) for name in right))
    return found


def _proposals(
    graph: KnowledgeGraph, query: Query, rules: Rules, priority: Callable[[str], tuple[float, float]]
) -> Iterator[tuple[str, tuple[str, ...], list[Triple]]]:
    """Yield (option, the competitor's path to it if there is one, edges that it shares)."""
    root, answer = query.nodes[0], query.answer
    nearest, most = (NEAREST_OF_HUBS, PATHS_OF_HUBS) if rules.min_shared else (NEAREST, PATHS)
    rivals = look_alikes(graph, root, query.clues_of(0) or graph.incident(root), nearest)
    ranked = []
    for rival, shared in rivals.items():
        paths = list(itertools.islice(paths_along(graph, rival, query.kind.chain), most))
        paths.sort(key=lambda path: priority(path[-1]))
        for place, path in enumerate(paths):
            # A competitor's second option comes after every other competitor's first.
            rank = place, -len(shared), priority(path[-1])
            ranked.append((rank, path, shared))
    ranked.sort(key=lambda proposal: proposal[0])
    for _, path, shared in ranked:
        yield path[-1], path, shared
    if rules.min_shared:
        return

    similar = look_alikes(graph, answer, graph.incident(answer))
    for option in sorted(similar, key=lambda option: (-len(similar[option]), priority(option))):
        yield option, (), similar[option]
    for option in sorted(graph.of_type(graph.entities[answer].type), key=priority):
        yield option, (), []


def _is_fair(graph: KnowledgeGraph, query: Query, option: str, told_apart_from: Sequence[str]) -> bool:
    """Whether the option is of the answer's type and, in a scenario, wrong for what is asked, not for a clue alone."""
    entity, answer = graph.entities[option], graph.entities[query.answer]
    if entity.type != answer.type:
        return False
    if not query.kind.scenario:
        return True
    if not is_plain(entity) or any(may_be_one(graph, option, name) for name in told_apart_from):
        return False
    last = query.kind.chain[-1]
    asked = chain_triple(query.nodes[-2], last, option)
    if ground(graph, asked) is None:  # a second drug for the disease is no wrong answer to speak of
        return False
    # Prednisolone beside prednisone: what helps is seldom one drug of its class alone.
    classes = [set(graph.follow(name, "subtype_of")) for name in (option, query.answer)]
    return last != "treated_by" or classes[0].isdisjoint(classes[1])


def _count_shared(graph: KnowledgeGraph, query: Query, path: Sequence[str]) -> int:
    """Return how many edges that the reader sees one end of hold on the path too."""
    shared = 0
    for (head, _, tail), triple in zip(query.pattern, instantiate(query.pattern, path), strict=True):
        is_visible = isinstance(head, str) or isinstance(tail, str)
        shared += is_visible and is_sure(graph, *triple)
    return shared


def _proof(graph: KnowledgeGraph, query: Query, option: str) -> list[Triple]:
    """Return the triples of the option in the answer's place on the true path: one it lacks, the surest, is last."""
    place = len(query.nodes) - 1
    about = [part for part in query.pattern if place in (part[0], part[2])]
    triples = instantiate(about, [*query.nodes[:-1], option])
    lacking = [triple for triple in triples if not has(graph, *triple)]
    lacking.sort(key=lambda triple: GROUNDS.index(ground(graph, triple)), reverse=True)
    return [triple for triple in triples if triple not in lacking] + lacking


GROUNDS = ("contradicted", "other_value", "absent", None)


def ground(graph: KnowledgeGraph, triple: Triple) -> str | None:
    """Return why the fact is taken for false (see `certified_distractors`), None where it holds or may well hold.

    It may well hold where it does of a form of the head: what causes spotted fever may cause Rocky Mountain's.
    """
    if denied(graph, *triple):
        return "contradicted"
    head, relation, tail = triple
    if any(possible(graph, name, relation, tail) for name in (head, *kin(graph, head))):
        return None
    has_one = len(graph.follow(head, relation)) == 1
    return "other_value" if relation in ONE_VALUE and has_one else "absent"
