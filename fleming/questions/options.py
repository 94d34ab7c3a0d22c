"""The wrong options of a path: what the same steps give for a rival, each wrong for a reason.

Options match in type, size and length, and over all questions each is wrong about three times for each time right, so
that neither tells the answer. Left out: which rivals the clues rule out (differential.py).
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from numpy.random import Generator

from fleming.graph.knowledge_graph import KnowledgeGraph, Triple, remembered
from fleming.graph.naming import is_plain
from fleming.graph.open_world import ancestors, kin
from fleming.questions.certificates import asked, ground, is_fair, look_alikes, paths_along
from fleming.questions.deciding import OPTIONS
from fleming.questions.differential import Differentials
from fleming.questions.judging import RARE
from fleming.questions.names import is_tellable
from fleming.questions.paths import may_be_option, right_answers
from fleming.questions.query import Clue, Query, chain_triple
from fleming.sources.vocabulary import FEATURES

PATHS = 16  # of a rival, so many are looked at
NEAREST = 40  # rivals of a named root
SLACK = 4  # how far an option may be from being wrong three times for each time right, before that decides


@dataclass(frozen=True)
class Option:
    """A wrong one."""

    path: tuple[str, ...]
    """From the rival that it belongs to; the option alone where it belongs to none."""
    ground: str
    """One of judging.POSITIVE_GROUNDS, or absent; "" of a diagnosis, until the clues have ruled it out."""
    proof: Triple
    """The fact that it would need and that does not hold; of a diagnosis, what the ground is about."""
    shares: tuple[Triple, ...] = ()
    """What its rival has in common with the root, and the steps to it."""

    @property
    def name(self) -> str:
        return self.path[-1]


def wrong_options(
    whole: Differentials, query: Query, rng: Generator, balance: Mapping[str, float]
) -> list[Option]:
    """Return wrong options of a drawn path, no two of them one thing, the preferred first.

    `balance`: of each option how often it should still be wrong, three times for each time right.
    """
    kind, proposals, ways = query.kind, [], []
    if kind.answers == "findings":
        proposals = _rare_findings(whole, query, rng)
    elif kind.answers == "values":
        proposals = _other_values(whole, query, rng)
    else:
        ways = _ways(whole, query, rng)
    is_similar = _windows(whole, query.answer, rng)
    ends = ((_end_of(whole, query, path) for path in paths if is_similar(path[-1])) for paths in ways)
    proposals += filter(None, (next(filter(None, options), None) for options in ends))

    def off_balance(option: Option) -> float:
        owed = balance.get(option.name, 0.0)
        return min(0.0, SLACK - owed) if owed > 0 else max(0.0, -owed - SLACK)

    never = _never_wrong(whole, query)
    chosen: list[Option] = []
    told = list(query.nodes)
    enough = OPTIONS if not kind.hidden else len(proposals)
    for option in sorted(proposals, key=off_balance):
        if len(chosen) == enough:
            break
        name, owed = option.name, balance.get(option.name, 0.0)
        if name in never or (whole.rules.max_owed is not None and owed <= -whole.rules.max_owed):
            continue
        if option.ground == "absent" and whole.rules.open_world == "exclude":
            continue
        if is_fair(whole.graph, query, name, told):
            chosen.append(option)
            told.append(name)
    return chosen


def _never_wrong(whole: Differentials, query: Query) -> set[str]:
    """Return what is right, a form of it, on the path or told."""
    right = right_answers(whole, query)
    forms = (name for fit in right for name in kin(whole.graph, fit))
    return {*right, *query.visible, *query.nodes, *forms}


def _windows(whole: Differentials, answer: str, rng: Generator) -> Callable[[str], bool]:
    """Return whether a name has about as many edges and letters as the answer.

    Within a window of the factor around it that is laid by chance: in the middle of one, the answer would be the option
    that is neither the longest nor the shortest, the best nor the least known.
    """

    graph, rules = whole.graph, whole.rules

    def window(size: int, factor: float | None, place: float) -> tuple[float, float]:
        return (size * factor**-place, size * factor**-place * factor) if factor else (0.0, math.inf)

    edges_at, letters_at = rng.random(2)
    fewest, most = window(1 + graph.degree(answer), rules.similar_size, edges_at)
    shortest, longest = window(len(answer), rules.similar_length, letters_at)
    return lambda name: shortest <= len(name) <= longest and fewest <= 1 + graph.degree(name) <= most


def _end_of(whole: Differentials, query: Query, path: tuple[str, ...]) -> Option | None:
    """Return the end of a rival's path as an option that is wrong of the root, None where it may be right."""
    if not query.kind.chain:
        return Option(path, "", ("", "", "")) if may_be_option(whole, path[0]) else None
    proof = asked(query, path[-1])
    why = ground(whole.graph, proof)
    if not why or not may_be_option(whole, path[-1]):
        return None
    steps = (chain_triple(*step) for step in zip(path, query.kind.chain, path[1:], strict=False))
    return Option(path, why, proof, tuple(steps))


def _ways(whole: Differentials, query: Query, rng: Generator) -> list[list[tuple[str, ...]]]:
    """Return, of each rival in a drawn order, its paths along the chain in a drawn order."""
    kind, root, graph = query.kind, query.nodes[0], whole.graph
    if kind.hidden:
        near = whole.rivals(root)
        rivals = [near[i] for i in rng.permutation(len(near))]
    else:
        rest = [name for name in graph.of_type(kind.root) if name != root]
        rivals = look_alikes(graph, root)[:NEAREST]
        rivals = list(dict.fromkeys([*rivals, *(rest[i] for i in rng.permutation(len(rest))[:NEAREST])]))

    def shuffled(paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        return [paths[i] for i in rng.permutation(len(paths))] if len(paths) > 1 else paths

    return [shuffled(_undisputed(graph, rival, kind.chain)) for rival in rivals]


@remembered
def _undisputed(graph: KnowledgeGraph, rival: str, chain: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the first paths of the rival of which no source denies a step."""

    def holds(path: tuple[str, ...]) -> bool:
        steps = (chain_triple(*step) for step in zip(path, chain, path[1:], strict=False))
        return not any(graph.states(*step, negated=True) for step in steps)

    return list(itertools.islice(filter(holds, paths_along(graph, rival, chain)), PATHS))


def _rare_findings(whole: Differentials, query: Query, rng: Generator) -> list[Option]:
    """Return findings of which counted patients of the root hardly have any."""
    graph, findings, root = whole.graph, whole.findings, query.nodes[0]
    found = []
    for row in rng.permutation(findings.rows(root)):
        name, negated = graph.names[findings.term[row]], not findings.stated[row]
        if findings.of[row] == 0 or (findings.share[row] > RARE and not negated):
            continue
        if not is_plain(graph.entities[name]) or not is_tellable(name):
            continue
        relation = next(other for other in FEATURES if graph.states(root, other, name, negated))
        # Its forms count too: who often has focal seizures has seizures, rare as they are on record.
        if findings.column(name, relation)[findings.place[root]] <= RARE:
            why = "contradicted" if negated else "rare_finding"
            found.append(Option((name,), why, (root, relation, name)))
    return found


def _other_values(whole: Differentials, query: Query, rng: Generator) -> list[Option]:
    """Return the other values of the relation asked for that several entities have, none next to the answer.

    Sources differ on whether an X-linked illness is recessive or dominant: what is a form of the same value is no
    wrong option.
    """
    graph, relation = whole.graph, query.kind.chain[-1]
    names = graph.of_type(graph.entities[query.answer].type)
    names = [name for name in names if len(graph.targets(name, "^" + relation)) >= 5 * OPTIONS]
    above = ancestors(graph, query.answer).intersection(names)
    found = []
    for name in names:
        if not above.isdisjoint(ancestors(graph, name)):
            continue
        proof = asked(query, name)
        if why := ground(graph, proof):
            found.append(Option((name,), why, proof))
    return [found[i] for i in rng.permutation(len(found))]


def decided_by_all(
    whole: Differentials, query: Query, options: Sequence[Option], clues: Sequence[Clue]
) -> bool:
    """Whether the clues decide between the options over all diseases of the graph.

    Asked of options that are no rival's, which no certificate of a rival rules out. Each is as likely as it is in a
    patient of each disease, by how likely the disease is; the answer has `min_marginal` of the four.
    """
    findings, relation = whole.findings, query.kind.chain[-1]
    posterior = whole.posterior(clues)
    names = [query.answer, *(option.name for option in options)]
    if query.kind.answers == "findings":
        stated = (next(r for r in FEATURES if whole.graph.states(query.nodes[0], r, query.answer)),)
        relations = [*stated, *(option.proof[1] for option in options)]
        likely = [posterior @ findings.column(*pair) for pair in zip(names, relations, strict=True)]
    else:
        likely = [posterior @ findings.having_value(relation, name) for name in names]
    return bool(likely[0] >= whole.rules.min_marginal * sum(likely))
