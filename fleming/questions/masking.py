"""From a path of the graph to a question: what is masked (paper, Fig. 3), the proofs that it needs, the four options.

Left out: which paths are drawn (sampling.py), how facts are proved (certificates.py), the words (wording.py).
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.questions.certificates import (
    Triple,
    alike,
    certified_distractors,
    chain_triple,
    instantiate,
    is_plain,
    may_be_one,
    open_ends,
    solutions,
)
from fleming.questions.metapaths import CLUES, METAPATHS
from fleming.questions.wording import LISTED, REGISTERS, pick, word_basic, word_scenario
from fleming.records import DIFFICULTIES, LETTERS, Question
from fleming.text import name_key

SINGLING_OUT = 2  # at most so many clues beside a bridge or the answer
LOOKED_AT = 60  # of a hub's edges, so many are considered as clues, drawn at random
GIVEAWAY = 5  # letters from which on a word that stem and right option alone share gives the answer away


@dataclass(frozen=True)
class Rules:
    """What a scenario must satisfy. Basic questions have min_shared 0 and are otherwise as their metapaths say."""

    min_shared: int = 0
    """Visible edges that each wrong option's own path has in common with the right one."""
    max_clues: int = 5
    """Visible edges of the hidden root."""
    min_confidence: float = 0.0
    """Edges of less confidence are not used: neither on the path nor as a clue."""
    min_frequency: float = 0.3
    """A finding that is known to be rarer than this among the root's patients is no clue."""
    exclude_open: bool = False
    """Refuse wrong options of which the graph only does not say that they are right."""


BASIC = Rules()


@dataclass(frozen=True)
class Query:
    """A drawn path with its masking, not yet proved or worded."""

    metapath: str
    nodes: tuple[str, ...]
    """Root .. answer."""
    clues: tuple[tuple[int, Triple], ...] = ()
    """(place of a node on the path, one of its visible edges): a root that has some is hidden behind them."""

    def clues_of(self, place: int) -> list[Triple]:
        return [edge for at, edge in self.clues if at == place]

    @property
    def parts(self) -> list[tuple[bool, Triple]]:
        """The query's triples (is it a step of the chain?, triple), integers for what is hidden or asked for."""
        chain = METAPATHS[self.metapath].chain
        hidden_root = bool(self.clues_of(0))
        terms = [i if i or hidden_root else self.nodes[0] for i in range(len(self.nodes))]
        parts = [(False, (0, relation, tail)) for _, relation, tail in self.clues_of(0)]
        for i, step in enumerate(chain, 1):
            parts.append((True, chain_triple(terms[i - 1], step, terms[i])))
            parts += [(False, (i, relation, tail)) for _, relation, tail in self.clues_of(i)]
        return parts

    @property
    def pattern(self) -> list[Triple]:
        return [triple for _, triple in self.parts]

    @property
    def visible(self) -> list[str]:
        root = [] if self.clues_of(0) else [self.nodes[0]]
        return root + [tail for _, (_, _, tail) in self.clues]

    @property
    def hidden(self) -> list[str]:
        return list(self.nodes[0 if self.clues_of(0) else 1 : -1])

    @property
    def composition(self) -> tuple[tuple[str, ...], str, str]:
        """What makes two questions the same, whatever their order: (sorted visible names, metapath, answer)."""
        return tuple(sorted(self.visible)), self.metapath, self.nodes[-1]


def draw_query(graph: KnowledgeGraph, metapath: str, root: str, rng: np.random.Generator) -> Query | str:
    """Draw one basic path of the metapath from `root` and mask it; return why not (a rejection code) where none is.

    Codes: `no_path`; `root_ambiguous`, no two clues, nor three of which each is needed, belong to the root alone;
    `bridge_evident`, a clue should single out one of several bridges, but there is one, or the clue alone names it.
    """
    kind = METAPATHS[metapath]
    nodes = [root]
    for step in kind.chain:
        if not (onward := graph.follow(nodes[-1], step)):
            return "no_path"
        nodes.append(pick(rng, onward))
    if (clues := _fewest_clues(graph, root, kind.clue_relations, rng)) is None:
        return "root_ambiguous"
    clues = [(0, clue) for clue in clues]
    if relation := kind.bridge_relation:
        telling = [tail for tail in graph.tails(nodes[-2], relation) if len(graph.heads(relation, tail)) > 1]
        if not telling or len(graph.follow(nodes[-3], kind.chain[-2])) == 1:
            return "bridge_evident"
        clues.append((len(nodes) - 2, (nodes[-2], relation, pick(rng, telling))))
    return Query(metapath, tuple(nodes), tuple(clues))


def _fewest_clues(
    graph: KnowledgeGraph, root: str, relations: Sequence[str], rng: np.random.Generator
) -> list[Triple] | None:
    """Return two edges that only the root has together, else three of which each is needed, else None; by name.

    At least one is shared with another entity where the root has such a one: a competitor for the reader to rule out.
    """
    if not relations:
        return []
    edges = [(root, relation, tail) for relation in relations for tail in graph.tails(root, relation)]
    if len(edges) < 2:
        return None
    edges = [edges[i] for i in rng.permutation(len(edges))]
    edges.insert(0, edges.pop(next((i for i, (_, _, tail) in enumerate(edges) if graph.degree(tail) > 1), 0)))
    owners = [set(graph.heads(relation, tail)) for _, relation, tail in edges]
    both = owners[0] & owners[1]
    chosen = edges[:2] if both == {root} else None
    for edge, own in zip(edges[2:], owners[2:], strict=True):
        if not chosen and both & own == {root} and owners[0] & own != {root} != owners[1] & own:
            chosen = [*edges[:2], edge]
    return chosen and sorted(chosen, key=lambda edge: edge[2])


def draw_scenario(
    graph: KnowledgeGraph, metapath: str, root: str, rng: np.random.Generator, rules: Rules
) -> Query | str:
    """Draw one path from `root` with as many visible neighbours as make each node on it, the answer too, unique.

    Unique even if every fact that the graph leaves open held, but for forms of the answer. No node is a form of one
    before it. Codes: `no_path`; `root_ambiguous`, `bridge_ambiguous`, `answer_ambiguous`: no clues tell the node from
    its rivals.
    """
    kind = METAPATHS[metapath]
    if (clues := _root_clues(graph, root, metapath, rng, rules)) is None:
        return "root_ambiguous"
    nodes, chosen = [root], [(0, clue) for clue in clues]
    for place, step in enumerate(kind.chain, 1):
        onward = graph.follow(nodes[-1], step)
        taken = {*nodes, *(tail for _, (_, _, tail) in chosen)}
        fit = [n for n in onward if n not in taken and _usable(graph, chain_triple(nodes[-1], step, n), rules)]
        fit = [n for n in fit if is_plain(graph, n)]
        if step != "subtype_of":
            fit = [n for n in fit if not any(may_be_one(graph, n, before) for before in nodes)]
        if not fit:
            return "no_path"
        node = pick(rng, fit)
        last = place == len(kind.chain)
        following = "" if last else kind.chain[place]
        relations = [r for r in CLUES.get(graph.entities[node].type, ()) if r not in (following, step.strip("^"))]
        edges = [(node, r, t) for r in relations for t in graph.tails(node, r) if t not in taken]
        rivals = {n for n in open_ends(graph, nodes[-1], step) if graph.entities[n].type == graph.entities[node].type}
        rivals = rivals - graph.kin(node) if last else rivals
        telling = _telling(graph, edges, (rivals | {*onward}) - {node}, rng, rules)
        if telling is None:
            return "answer_ambiguous" if last else "bridge_ambiguous"
        chosen += [(place, clue) for clue in telling]
        nodes.append(node)
    return Query(metapath, tuple(nodes), tuple(chosen))


# What breaks a drug down or carries it about is bound by it, and sources count it among its targets; it is none.
CARRIERS = re.compile(
    r"(CYP|ABC[A-G]|UGT|SULT|SLCO|SLC15A|SLC16A|SLC22A|SLC28A|SLC29A|SLC47A)\d|(ALB|ORM1|ORM2|AHSG|SERPINA6)\Z"
)


def _usable(graph: KnowledgeGraph, triple: Triple, rules: Rules) -> bool:
    if triple[1] == "targets" and CARRIERS.match(triple[2]):
        return False
    return graph.trust(*triple) >= max(rules.min_confidence, 1e-9) and not graph.disputed(*triple)


def _root_clues(
    graph: KnowledgeGraph, root: str, metapath: str, rng: np.random.Generator, rules: Rules
) -> list[Triple] | None:
    """Return 2 to max_clues edges that only the root can have together, at least two of them findings; else None.

    The third says something else where it can: how a disease is inherited, what a drug acts on.
    """
    kind = METAPATHS[metapath]
    edges = [(root, relation, tail) for relation in kind.clue_relations for tail in graph.tails(root, relation)]
    edges = [edges[i] for i in rng.permutation(len(edges))[:LOOKED_AT]]
    edges = [edge for edge in edges if _usable(graph, edge, rules) and is_plain(graph, edge[2])]
    edges = [edge for edge in edges if not 0 <= graph.frequency(*edge) < rules.min_frequency]
    findings = [edge for edge in edges if edge[1] in LISTED[kind.root]]
    third = next(([edge] for edge in edges if edge not in findings), [])
    edges = list(dict.fromkeys([*findings[:2], *third, *edges]))
    chosen: list[Triple] = []
    owners: np.ndarray | None = None
    for edge in edges if len(findings) > 1 else []:
        _, relation, tail = edge
        kin = graph.kin(tail)
        if any(t in kin or alike(t, tail) for _, _, t in chosen) or (
            relation not in LISTED[kind.root] and relation in [r for _, r, _ in chosen]
        ):
            continue
        holders = graph.holders(relation, tail, possibly=True)
        chosen.append(edge)
        owners = holders if owners is None else np.intersect1d(owners, holders, assume_unique=True)
        if len(chosen) == rules.max_clues or (len(owners) == 1 and len(chosen) > 2):
            break
    if owners is None or len(owners) != 1 or sum(edge in findings for edge in chosen) < 2:
        return None
    return sorted(chosen, key=lambda edge: (len(graph.holders(edge[1], edge[2])), edge[2]))


def _telling(
    graph: KnowledgeGraph, edges: list[Triple], rivals: set[str], rng: np.random.Generator, rules: Rules
) -> list[Triple] | None:
    """Return as few edges as tell their head from every rival, none where there is no rival; None where none do."""
    chosen: list[Triple] = []
    edges = [edges[i] for i in rng.permutation(len(edges))[:LOOKED_AT]] if rivals else []
    edges = [edge for edge in edges if _usable(graph, edge, rules) and is_plain(graph, edge[2])]
    while rivals and edges and len(chosen) < SINGLING_OUT:
        left = [{rival for rival in rivals if graph.possible(rival, *edge[1:])} for edge in edges]
        best = min(range(len(edges)), key=lambda i: len(left[i]))
        if len(left[best]) == len(rivals):
            return None
        rivals = left[best]
        chosen.append(edges.pop(best))
    return None if rivals else chosen


def pose_question(
    graph: KnowledgeGraph,
    query: Query,
    rng: np.random.Generator,
    owed: Mapping[str, float] | None = None,
    rules: Rules = BASIC,
) -> Question | str:
    """Prove, word and letter a drawn path; return a rejection code where it cannot be proved or masked.

    Codes: `root_ambiguous`, `bridge_ambiguous`, and for a scenario `answer_ambiguous`: the node is not the only
    solution; `few_distractors`: fewer than three options are proved wrong; `leak`: the stem contains a hidden name or
    the answer, under any of their names; `giveaway`: a word that only the right option has stands in a scenario's stem.
    """
    kind = METAPATHS[query.metapath]
    pattern = query.pattern
    for node in range(0 if query.clues_of(0) else 1, len(kind.chain) + kind.scenario):
        if solutions(graph, pattern, node) != [query.nodes[node]]:
            place = "root" if node == 0 else "answer" if node == len(kind.chain) else "bridge"
            return f"{place}_ambiguous"
    distractors = certified_distractors(
        graph, pattern, query.nodes, kind.chain, query.clues_of(0), rng, owed or {}, 3, rules.min_shared,
        rules.exclude_open, kind.scenario,
    )  # fmt: skip
    if len(distractors) < 3:
        return "few_distractors"
    if kind.scenario:
        register = pick(rng, REGISTERS)
        by_place = {place: query.clues_of(place) for place in range(len(query.nodes))}
        stem = word_scenario(kind, by_place, register, rng)
    else:
        bridge_clue = next((edge for place, edge in query.clues if place), None)
        register, stem = None, word_basic(kind, query.nodes[0], query.clues_of(0), bridge_clue, rng)
    texts = [certificate["option"] for certificate in distractors]
    if _leaks(graph, stem, [*query.hidden, query.nodes[-1]]):
        return "leak"
    if kind.scenario and _gives_away(stem, query.nodes[-1], texts):
        return "giveaway"
    right = int(rng.integers(4))
    texts.insert(right, query.nodes[-1])
    edges = [graph.edge(*triple) for triple in instantiate(pattern, query.nodes)]
    return Question(
        id="graph/" + hashlib.blake2b(repr(query.composition).encode(), digest_size=8).hexdigest(),
        question=stem,
        options=dict(zip(LETTERS, texts, strict=False)),
        answer=LETTERS[right],
        source="graph",
        difficulty=DIFFICULTIES[min(kind.hops, 3) - 1],
        provenance={
            "metapath": query.metapath,
            "hops": kind.hops,
            "path": [edge.to_json() for edge in edges],
            "chain": [i for i, (step, _) in enumerate(query.parts) if step],
            "visible": query.visible,
            "hidden": query.hidden,
            "answer": query.nodes[-1],
            "rare": any(graph.entities[name].rare for edge in edges for name in (edge.head, edge.tail)),
            "certificate": {"solutions": solutions(graph, pattern, len(kind.chain)), "distractors": distractors},
        }
        | ({"register": register} if register else {}),
    )


def _leaks(graph: KnowledgeGraph, stem: str, names: Sequence[str]) -> bool:
    """Whether the stem has one of the names in it, or as whole words one of their synonyms."""
    if any(name.casefold() in stem.casefold() for name in names):
        return True
    text = f" {name_key(stem)} "
    synonyms = (synonym for name in names for synonym in graph.entities[name].synonyms)
    return any(key and f" {key} " in text for key in map(name_key, synonyms))


def _gives_away(stem: str, answer: str, others: Sequence[str]) -> bool:
    """Whether a longer word of the answer stands in the stem and in none of the other options."""
    said = set(name_key(stem).split())
    elsewhere = {word for other in others for word in name_key(other).split()}
    return any(len(word) >= GIVEAWAY and word in said - elsewhere for word in name_key(answer).split())
