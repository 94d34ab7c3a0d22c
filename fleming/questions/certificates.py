"""Proofs on the graph: what solves a question, that hidden nodes are unique, and why each distractor is wrong.

A question is a conjunctive query: triples whose ends are names, or integers for the nodes that the reader must find,
numbered along the path. Everything is proved within the graph alone: in a basic question what the graph lacks counts as
false (closed world), in a scenario what it leaves open may be true, and a certificate says on what ground its option is
taken for wrong. So a certificate is as good as the graph is complete.
"""

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.sources.vocabulary import FEATURES, NOT_IMPLIED
from fleming.text import name_key

Term = str | int
Triple = tuple[Term, str, Term]
NEAREST, PATHS = 200, 64  # competitors looked at, those that share the most; of each, so many paths
NEAREST_OF_HUBS, PATHS_OF_HUBS = 60, 16  # the same for scenarios, on graphs where thousands share an edge
ONE_VALUE = ("inherited_as", "associated_gene")  # where a disease has just one, another is taken for known not to hold


def bindings(graph: KnowledgeGraph, pattern: Sequence[Triple], bound: dict[int, str]) -> Iterator[dict[int, str]]:
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
        for name in graph.heads(relation, tail):
            yield from bindings(graph, rest, {**bound, head: name})
    elif isinstance(tail, int):
        for name in graph.tails(head, relation):
            yield from bindings(graph, rest, {**bound, tail: name})
    elif graph.has(head, relation, tail):
        yield from bindings(graph, rest, bound)


def solutions(graph: KnowledgeGraph, pattern: Sequence[Triple], node: int) -> list[str]:
    """Return every name that node `node` can take, sorted, by the triples that mention no later node."""
    known = [t for t in pattern if all(not isinstance(end, int) or end <= node for end in (t[0], t[2]))]
    return sorted({bound[node] for bound in bindings(graph, known, {})})


def look_alikes(
    graph: KnowledgeGraph, name: str, through: Iterable[Triple], nearest: int = NEAREST
) -> dict[str, list[Triple]]:
    """Return who shares an edge of `name` (its other end and relation), each with its own copies of those edges.

    Of more than `nearest` only those are kept that share the most, the earliest first where equally many.
    """
    shared: dict[str, list[Triple]] = defaultdict(list)
    for head, relation, tail in through:
        if head == name:
            for rival in graph.heads(relation, tail):
                shared[rival].append((rival, relation, tail))
        else:
            for rival in graph.tails(head, relation):
                shared[rival].append((head, relation, rival))
    if len(shared) > nearest:
        kept = set(sorted(shared, key=lambda rival: -len(shared[rival]))[:nearest])
        return {rival: edges for rival, edges in shared.items() if rival in kept}
    return dict(shared)


def walks(graph: KnowledgeGraph, start: str, chain: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield every path that the steps of `chain` lead along from `start`, start included."""
    if not chain:
        yield (start,)
    for name in graph.follow(start, chain[0]) if chain else ():
        for rest in walks(graph, name, chain[1:]):
            yield start, *rest


def open_ends(graph: KnowledgeGraph, name: str, step: str) -> set[str]:
    """Return all to which the step may lead from `name`: by a stated fact, an implied one, or one left open."""
    if step.startswith("^"):
        return set(graph.heads(step[1:], name, possibly=True))
    stated = graph.follow(name, step)
    return {*stated}.union(*(graph.kin(tail) for tail in stated if step not in NOT_IMPLIED))


def chain_triple(a: Term, step: str, b: Term) -> Triple:
    """Return the triple of one step from a to b, turned round where the step is an inverse one."""
    return (b, step[1:], a) if step.startswith("^") else (a, step, b)


def instantiate(pattern: Sequence[Triple], nodes: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return the pattern with each integer replaced by that node."""
    return [
        (nodes[h] if isinstance(h, int) else h, relation, nodes[t] if isinstance(t, int) else t)
        for h, relation, t in pattern
    ]


def certified_distractors(
    graph: KnowledgeGraph,
    pattern: Sequence[Triple],
    nodes: Sequence[str],
    chain: Sequence[str],
    clues: Sequence[Triple],
    rng: np.random.Generator,
    owed: Mapping[str, float],
    count: int = 3,
    min_shared: int = 0,
    exclude_open: bool = False,
    apart: bool = False,
) -> list[dict]:
    """Return up to `count` certificates of wrong options, the nearest competitors first.

    `nodes` is the true path (root .. answer), `chain` its steps, `clues` the visible edges that stand for a hidden
    root. A competitor is another path of the same chain. It begins at an entity that shares a clue (or where the
    root is visible, any edge) with the root, or at the root itself; at least `min_shared` of the question's visible
    edges must hold on it. With min_shared 0, what competitors leave open is filled with entities of the answer's type,
    first those that share an edge with the answer. Ties go to the option with the largest `owed`, then to chance.

    Each certificate is {"option", "shares": triples that competitor and truth have in common or that lead from the
    competitor to the option, all in the graph, "violates": triples that the option would need and the graph lacks,
    "ground"}. The last violated one, from the unique true path to the option, is a proof by itself, and `ground` says
    how sure: "contradicted", a source says that it does not hold; "other_value", of a relation that mostly has one
    value the graph has just one, another; "absent", the graph just lacks it, which `exclude_open` refuses. `apart` also
    refuses options that may be a form of a node of the path or of one another, and those that fail a clue alone.
    Needs unique hidden nodes.
    """
    answer = nodes[-1]
    answer_type = graph.entities[answer].type
    stated = {end for triple in pattern for end in (triple[0], triple[2]) if isinstance(end, str)}
    right = solutions(graph, pattern, len(nodes) - 1)
    used = {*right, *nodes, *stated}
    if apart:
        used |= {kin for name in right for kin in graph.kin(name)}
    seen = list(nodes)
    classes = set(graph.tails(answer, "subtype_of"))

    def turn(option: str) -> tuple[float, float]:
        return -owed.get(option, 0.0), rng.random()

    nearest, most = (NEAREST_OF_HUBS, PATHS_OF_HUBS) if min_shared else (NEAREST, PATHS)
    rivals = look_alikes(graph, nodes[0], clues or graph.incident(nodes[0]), nearest)
    candidates = []
    for rival, shared in rivals.items():
        paths = list(itertools.islice(walks(graph, rival, chain), most))
        order = sorted(range(len(paths)), key=lambda i: turn(paths[i][-1]))
        # A competitor's second option comes after every other competitor's first.
        candidates += [(place, -len(shared), turn(paths[i][-1]), paths[i], shared) for place, i in enumerate(order)]

    def proposals() -> Iterator[tuple[str, tuple[str, ...], list[Triple]]]:
        """Yield (option, the competitor's path to it if there is one, edges that it shares)."""
        for *_, path, shared in sorted(candidates, key=lambda c: c[:3]):
            yield path[-1], path, shared
        if min_shared:
            return
        similar = look_alikes(graph, answer, graph.incident(answer))
        for option, shared in sorted(similar.items(), key=lambda item: (-len(item[1]), turn(item[0]))):
            yield option, (), shared
        for option in sorted(graph.of_type(answer_type), key=turn):
            yield option, (), []

    certificates = []
    for option, path, triples in proposals():
        if (
            option in used
            or graph.entities[option].type != answer_type
            or (apart and (not is_plain(graph, option) or any(may_be_one(graph, option, name) for name in seen)))
        ):
            continue
        if path:
            needed = instantiate(pattern, path)
            visible = (sure(graph, t) for part, t in zip(pattern, needed, strict=True) if is_visible(part))
            if min_shared and sum(visible) < min_shared:
                continue
            steps = [chain_triple(*step) for step in zip(path, chain, path[1:], strict=False)]
            triples = [*triples, *steps, *needed]
        # The option in the answer's place on the true path: one of these is what it lacks.
        proof = [t for part, t in zip(pattern, instantiate(pattern, [*nodes[:-1], option]), strict=True)
                 if len(nodes) - 1 in (part[0], part[2])]  # fmt: skip
        proof = [t for t in proof if graph.has(*t)] + sorted(
            (t for t in proof if not graph.has(*t)), key=lambda t: GROUNDS.index(ground(graph, t)), reverse=True
        )
        if apart and ground(graph, chain_triple(nodes[-2], chain[-1], option)) is None:
            continue  # it fails a clue alone: a second drug for the disease is no wrong answer to speak of
        if apart and chain[-1] == "treated_by" and set(graph.tails(option, "subtype_of")) & classes:
            continue  # prednisolone beside prednisone: what helps is seldom one drug of its class alone
        grounds = ground(graph, proof[-1])
        if grounds is None or (exclude_open and grounds == "absent"):
            continue
        triples = dict.fromkeys([*(t for t in triples if t not in proof), *proof])
        certificates.append(
            {
                "option": option,
                "shares": [list(t) for t in triples if sure(graph, t)],
                "violates": [list(t) for t in triples if ground(graph, t)],
                "ground": grounds,
            }
        )
        used.add(option)
        seen.append(option)
        if len(certificates) == count:
            break
    return certificates


def is_visible(part: Triple) -> bool:
    """Whether the reader sees one end of this triple of a pattern."""
    return isinstance(part[0], str) or isinstance(part[2], str)


def sure(graph: KnowledgeGraph, triple: tuple[str, str, str]) -> bool:
    """Whether the fact holds and no source disputes it."""
    return graph.has(*triple) and not graph.disputed(*triple)


GROUNDS = ("contradicted", "other_value", "absent", None)


def ground(graph: KnowledgeGraph, triple: tuple[str, str, str]) -> str | None:
    """Return why the fact is taken for false (see `certified_distractors`), None where it holds or may well hold.

    It may well hold where it does of a form of the head: what causes spotted fever may cause Rocky Mountain's.
    """
    if graph.denied(*triple):
        return "contradicted"
    head, relation, tail = triple
    if any(graph.possible(name, relation, tail) for name in (head, *graph.kin(head))):
        return None
    return "other_value" if relation in ONE_VALUE and len(graph.tails(head, relation)) == 1 else "absent"


def may_be_one(graph: KnowledgeGraph, one: str, other: str) -> bool:
    """Whether one is a form of the other, or may be, by name or by most findings: sources name one thing twice."""
    if graph.entities[one].type != graph.entities[other].type:
        return False
    if one in graph.kin(other) or alike(one, other):
        return True
    a, b = ({tail for relation in FEATURES for tail in graph.tails(name, relation)} for name in (one, other))
    return 2 * len(a & b) > min(len(a), len(b))


def is_plain(graph: KnowledgeGraph, name: str) -> bool:
    """Whether a reader takes the name for what it means: not one that joining.py told from another by its type."""
    entity = graph.entities[name]
    return not name.endswith(tuple(f" ({told})" for told in (entity.type.replace("_", " "), *entity.ids)))


def alike(one: str, other: str) -> bool:
    """Whether the names differ in nothing but what tells forms apart, or one says no more than a part of the other."""
    a, b = _bare(one), _bare(other)
    return a <= b or b <= a


@functools.lru_cache(100_000)
def _bare(name: str) -> frozenset[str]:
    """The words of a name, singular, without what tells one numbered form from another: "type 2", "IIIb", "14"."""
    words = name_key(name).split()
    return frozenset(word.rstrip("s") for word in words if len(word) > 3 and word != "type") or frozenset(words)
