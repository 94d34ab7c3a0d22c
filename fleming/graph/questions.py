"""From a path of the graph to a question: the kinds of path (metapaths), what is masked, and the words.

A metapath is data: a chain of steps from the root to the answer, and whether the root is visible or only its clues
are. Wording puts an opening, a noun phrase and an ask together, so that each metapath has dozens of surface forms.
Left out: which paths are drawn (sampling.py) and the proofs (certificates.py).
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fleming.graph.certificates import Triple, certified_distractors, chain_triple, instantiate, solutions
from fleming.graph.knowledge_graph import RELATIONS, Edge, KnowledgeGraph
from fleming.records import DIFFICULTIES, LETTERS, Question


@dataclass(frozen=True)
class Metapath:
    """One kind of question."""

    root: str
    """Entity type at which the chain begins."""
    chain: tuple[str, ...]
    """Steps from the root to the answer; every node between is hidden."""
    clue_relations: tuple[str, ...] = ()
    """The root is hidden behind two or three tails of these relations; empty: the root itself is visible."""
    bridge_relation: str | None = None
    """One visible tail of this relation singles out the node before the answer, where a step leads to several."""

    @property
    def hops(self) -> int:
        return len(self.chain) + bool(self.clue_relations)


FEATURES = ("has_symptom", "has_finding")
METAPATHS: dict[str, Metapath] = {}
for _fact, (_head, _tail) in RELATIONS.items():
    METAPATHS[f"{_head} > {_fact}"] = Metapath(_head, (_fact,))
    METAPATHS[f"{_tail} > ^{_fact}"] = Metapath(_tail, ("^" + _fact,))
    if _head == "disease" and _fact not in FEATURES:
        METAPATHS[f"features > disease > {_fact}"] = Metapath("disease", (_fact,), FEATURES)
    if _head == "drug":
        _chain = ("treated_by", _fact)
        METAPATHS[f"disease > drug > {_fact}"] = Metapath("disease", _chain)
        METAPATHS[f"features > disease > drug > {_fact}"] = Metapath("disease", _chain, FEATURES)
        if _fact != "has_mechanism":
            _by_action = Metapath("disease", _chain, FEATURES, "has_mechanism")
            METAPATHS[f"features > disease > drug by action > {_fact}"] = _by_action


def surface_forms(table: str) -> dict[str, list[str]]:
    """Read lines of the form "key: form | form | ..."; several lines of one key add up."""
    forms: dict[str, list[str]] = {}
    for line in table.strip().splitlines():
        key, alternatives = line.split(": ", 1)
        forms.setdefault(key, []).extend(alternatives.split(" | "))
    return forms


# Every template keeps {x} inside the sentence or governed by a verb that does not show number: names come as the
# graph has them, singular or plural, with no capital at the start of a sentence.
WORDING = surface_forms("""
opening: A patient has {clues}. | A patient presents with {clues}. | Someone comes to the clinic with {clues}.
opening: The doctor notes {clues}. | The chart lists {clues}. | My mother was found to have {clues}.
opening: A man is seen for {clues}.
hidden root: the underlying disease | this disease | the likely disease | the disease behind this
bridge: the drug for {x} | the drug that treats {x} | the drug used in {x} | the medicine for {x}
bridge by: the drug that treats {x} by {clue} | the drug acting by {clue} in {x}
bridge by: the drug for {x} that works by {clue} | the medicine that helps in {x} by {clue}
treated_by: Which drug treats {x}? | Which drug is used for {x}? | Which medicine helps against {x}?
treated_by: What would a doctor prescribe for {x}? | What is given to treat {x}? | Which of these drugs fits {x}?
diagnosed_by: Which test confirms {x}? | Which test is used to diagnose {x}?
diagnosed_by: Which test should be ordered to prove {x}? | How would a doctor confirm {x}?
diagnosed_by: What is done to diagnose {x}? | Which of these tests detects {x}?
caused_by: What causes {x}? | Which mechanism underlies {x}? | What is the cause of {x}? | Which process leads to {x}?
caused_by: What goes wrong in {x}? | Which of these mechanisms explains {x}?
has_symptom: Which symptom can {x} cause? | Which symptom fits {x}? | What might a patient with {x} complain of?
has_symptom: What can people with {x} feel? | Which complaint belongs to {x}? | Which of these symptoms occurs in {x}?
has_finding: Which finding fits {x}? | What can be found in a patient with {x}? | What would a doctor look for in {x}?
has_finding: Which sign speaks for {x}? | Which finding belongs to {x}? | Which of these findings occurs in {x}?
has_mechanism: How does {x} act? | How does {x} work? | What is the mechanism of {x}? | By which action does {x} help?
has_mechanism: What does {x} do in the body? | Which of these actions explains {x}?
contraindicated_in: In which condition must one avoid {x}? | When is {x} contraindicated?
contraindicated_in: Which condition rules out {x}? | Which condition speaks against {x}?
contraindicated_in: Which condition makes one avoid {x}? | Which condition must be excluded before giving {x}?
has_adverse_effect: Which adverse effect comes from {x}? | Which side effect belongs to {x}?
has_adverse_effect: Which harm can come from {x}? | Which side effect is known for {x}?
has_adverse_effect: What should one watch for with {x}? | Which of these problems can follow {x}?
^treated_by: Which disease does {x} treat? | Which disease is treated with {x}? | For which disease is {x} used?
^treated_by: A patient takes {x}. Which disease is this drug for? | Which illness does {x} help against?
^treated_by: A doctor prescribes {x}. Which disease fits?
^diagnosed_by: Which disease can {x} confirm? | Which disease is diagnosed by {x}? | For which disease is {x} ordered?
^diagnosed_by: A doctor orders {x}. Which disease is suspected? | Which illness can {x} detect?
^diagnosed_by: Which diagnosis rests on {x}?
^caused_by: Which disease is caused by {x}? | Which disease comes from {x}? | Which disease is explained by {x}?
^caused_by: Which illness has {x} as its cause? | Which disease results from {x}?
^caused_by: Think of {x}. Which disease can follow?
^has_symptom: Which disease can cause {x}? | Which disease fits {x}?
^has_symptom: A patient complains of {x}. Which disease can explain it?
^has_symptom: I have {x}. Which of these diseases could it be? | Which illness is known for {x}?
^has_symptom: Which disease has {x} as a symptom?
^has_finding: Which disease can show {x}? | Which disease fits {x}? | A doctor finds {x}. Which disease can explain it?
^has_finding: They found {x}. Which of these diseases could it be? | Which illness is known for {x}?
^has_finding: Which disease has {x} as a finding?
^has_mechanism: Which drug acts by {x}? | Which drug works through {x}? | Which medicine helps by {x}?
^has_mechanism: A drug is wanted that acts by {x}. Which one? | Which of these drugs has {x} as its action?
^has_mechanism: Which drug is known for {x}?
^contraindicated_in: Which drug must be avoided in {x}? | Which drug is contraindicated in {x}?
^contraindicated_in: Which medicine is unsafe with {x}? | A patient has {x}. Which drug must not be given?
^contraindicated_in: I have {x}. Which of these drugs should I not take? | Which drug cannot be given in {x}?
^has_adverse_effect: Which drug can cause {x}? | Which drug has {x} as an adverse effect?
^has_adverse_effect: Which medicine is known for {x}? | A patient on treatment gets {x}. Which drug can be the reason?
^has_adverse_effect: I got {x} from a medicine. Which one could it be? | Which of these drugs has {x} as a side effect?
""")


@dataclass(frozen=True)
class Query:
    """A drawn path with its masking, not yet proved or worded."""

    metapath: str
    nodes: tuple[str, ...]
    """Root .. answer."""
    clues: tuple[Edge, ...] = ()
    """Visible edges of a hidden root."""
    bridge_clue: Edge | None = None
    """Visible edge of the node before the answer."""

    @property
    def pattern(self) -> list[Triple]:
        """The query: integers for hidden nodes and the answer, in path order."""
        chain = METAPATHS[self.metapath].chain
        terms = [i if i or self.clues else self.nodes[0] for i in range(len(self.nodes))]
        triples = [(0, edge.relation, edge.tail) for edge in self.clues]
        triples += [chain_triple(terms[i], step, terms[i + 1]) for i, step in enumerate(chain)]
        if self.bridge_clue:
            triples.insert(-1, (len(chain) - 1, self.bridge_clue.relation, self.bridge_clue.tail))
        return triples

    @property
    def visible(self) -> list[str]:
        bridge = [self.bridge_clue.tail] if self.bridge_clue else []
        return ([edge.tail for edge in self.clues] or [self.nodes[0]]) + bridge

    @property
    def hidden(self) -> list[str]:
        return list(self.nodes[0 if self.clues else 1 : -1])

    @property
    def composition(self) -> tuple[tuple[str, ...], str, str]:
        """What makes two questions the same: (sorted visible names, metapath, answer)."""
        return tuple(sorted(self.visible)), self.metapath, self.nodes[-1]


def pick(rng: np.random.Generator, items):
    return items[int(rng.integers(len(items)))]


def draw_query(graph: KnowledgeGraph, metapath: str, root: str, rng: np.random.Generator) -> Query | str:
    """Draw one path of the metapath from `root` and mask it; return why not (a rejection code) where there is none.

    Codes: `no_path`; `root_ambiguous`, no two clues, nor three of which each is needed, belong to the root alone;
    `bridge_evident`, a clue should single out one of several bridges, but there is one, or the clue alone names it.
    """
    kind = METAPATHS[metapath]
    nodes = [root]
    for step in kind.chain:
        if not (onward := graph.follow(nodes[-1], step)):
            return "no_path"
        nodes.append(pick(rng, onward))
    if (clues := _draw_clues(graph, root, kind.clue_relations, rng)) is None:
        return "root_ambiguous"
    bridge_clue = None
    if relation := kind.bridge_relation:
        telling = [tail for tail in graph.tails(nodes[-2], relation) if len(graph.heads(relation, tail)) > 1]
        if not telling or len(graph.follow(nodes[-3], kind.chain[-2])) == 1:
            return "bridge_evident"
        bridge_clue = graph.edges[nodes[-2], relation, pick(rng, telling)]
    return Query(metapath, tuple(nodes), clues, bridge_clue)


def _draw_clues(
    graph: KnowledgeGraph, root: str, relations: tuple[str, ...], rng: np.random.Generator
) -> tuple[Edge, ...] | None:
    """Return two edges that only the root has together, else three of which each is needed, else None; by name.

    At least one is shared with another entity where the root has such a one: a competitor for the reader to rule out.
    """
    if not relations:
        return ()
    edges = [graph.edges[root, relation, tail] for relation in relations for tail in graph.tails(root, relation)]
    if len(edges) < 2:
        return None
    edges = [edges[i] for i in rng.permutation(len(edges))]
    edges.insert(0, edges.pop(next((i for i, e in enumerate(edges) if graph.degree(e.tail) > 1), 0)))
    owners = [set(graph.heads(edge.relation, edge.tail)) for edge in edges]
    both = owners[0] & owners[1]
    chosen = edges[:2] if both == {root} else None
    for edge, own in zip(edges[2:], owners[2:], strict=True):
        if not chosen and both & own == {root} and owners[0] & own != {root} != owners[1] & own:
            chosen = [*edges[:2], edge]
    return chosen and tuple(sorted(chosen, key=lambda edge: edge.tail))


def pose_question(
    graph: KnowledgeGraph, query: Query, rng: np.random.Generator, owed: Mapping[str, float] | None = None
) -> Question | str:
    """Prove, word and letter a drawn path; return a rejection code where it cannot be proved or masked.

    Codes: `root_ambiguous`, `bridge_ambiguous`: a hidden node is not the only solution; `few_distractors`: fewer than
    three options are proved wrong; `leak`: the stem contains a hidden name or the answer.
    """
    kind = METAPATHS[query.metapath]
    pattern = query.pattern
    for node in range(0 if query.clues else 1, len(kind.chain)):
        if solutions(graph, pattern, node) != [query.nodes[node]]:
            return "bridge_ambiguous" if node else "root_ambiguous"
    distractors = certified_distractors(graph, pattern, query.nodes, kind.chain, query.clues, rng, owed or {})
    if len(distractors) < 3:
        return "few_distractors"
    stem = _word(query, rng)
    if any(name.casefold() in stem.casefold() for name in (*query.hidden, query.nodes[-1])):
        return "leak"
    texts = [certificate["option"] for certificate in distractors]
    right = int(rng.integers(4))
    texts.insert(right, query.nodes[-1])
    edges = [graph.edges[triple] for triple in instantiate(pattern, query.nodes)]
    return Question(
        id="graph/" + hashlib.blake2b(repr(query.composition).encode(), digest_size=8).hexdigest(),
        question=stem,
        options=dict(zip(LETTERS, texts, strict=False)),
        answer=LETTERS[right],
        source="graph",
        difficulty=DIFFICULTIES[kind.hops - 1],
        provenance={
            "metapath": query.metapath,
            "hops": kind.hops,
            "path": [dataclasses.asdict(edge) for edge in edges],
            "visible": query.visible,
            "hidden": query.hidden,
            "answer": query.nodes[-1],
            "rare": any(graph.entities[name].rare for edge in edges for name in (edge.head, edge.tail)),
            "certificate": {"solutions": solutions(graph, pattern, len(kind.chain)), "distractors": distractors},
        },
    )


def _word(query: Query, rng: np.random.Generator) -> str:
    kind = METAPATHS[query.metapath]
    opening, subject = "", query.nodes[0]
    if query.clues:
        names = [query.clues[i].tail for i in rng.permutation(len(query.clues))]
        opening = pick(rng, WORDING["opening"]).format(clues=", ".join(names[:-1]) + " and " + names[-1]) + " "
        subject = pick(rng, WORDING["hidden root"])
    if query.bridge_clue:
        subject = pick(rng, WORDING["bridge by"]).format(x=subject, clue=query.bridge_clue.tail)
    elif len(kind.chain) > 1:
        subject = pick(rng, WORDING["bridge"]).format(x=subject)
    return opening + pick(rng, WORDING[kind.chain[-1]]).format(x=subject)
