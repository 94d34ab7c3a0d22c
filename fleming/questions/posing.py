"""From a masked path to a question: the proofs that it needs, the words, four options under letters.

Left out: drawing the path (masking.py), how facts are proved (certificates.py).
"""

import hashlib
from collections.abc import Mapping, Sequence

from numpy.random import Generator

from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.questions.certificates import DISTRACTORS, certified_distractors, solutions
from fleming.questions.phrases import pick
from fleming.questions.query import Query, instantiate
from fleming.questions.rules import BASIC, Rules
from fleming.questions.wording import REGISTERS, word_basic, word_scenario
from fleming.records import DIFFICULTIES, LETTERS, Question
from fleming.text import name_key

GIVEAWAY = 5  # letters from which on a word that stem and right option alone share gives the answer away


def pose_question(
    graph: KnowledgeGraph,
    query: Query,
    rng: Generator,
    balance: Mapping[str, float] | None = None,
    rules: Rules = BASIC,
) -> Question | str:
    """Prove, word and letter a drawn path; return a rejection code where it cannot be proved or masked.

    `balance` says which options come first of equally near ones. Codes: `root_ambiguous`, `bridge_ambiguous`, and for a
    scenario `answer_ambiguous`: the node is not the only solution; `few_distractors`: fewer than three options are
    proved wrong; `leak`: the stem contains a hidden name or the answer, under any of their names; `giveaway`: a word
    that only the right option has stands in a scenario's stem.
    """
    kind = query.kind
    ambiguous = _ambiguous(graph, query)
    if ambiguous:
        return f"{ambiguous}_ambiguous"
    distractors = certified_distractors(graph, query, rules, rng, balance or {})
    if len(distractors) < DISTRACTORS:
        return "few_distractors"
    options = [certificate["option"] for certificate in distractors]

    register = pick(rng, REGISTERS) if kind.scenario else None
    stem = word_scenario(query, register, rng) if register else word_basic(query, rng)
    if _leaks(graph, stem, [*query.hidden, query.answer]):
        return "leak"
    if kind.scenario and _gives_away(stem, query.answer, options):
        return "giveaway"

    right = int(rng.integers(4))
    options.insert(right, query.answer)
    edges = [graph.edge(*triple) for triple in instantiate(query.pattern, query.nodes)]
    names = [name for edge in edges for name in (edge.head, edge.tail)]
    provenance = {
        "metapath": query.metapath,
        "hops": kind.hops,
        "path": [edge.to_json() for edge in edges],
        "chain": [place for place, (is_step, _) in enumerate(query.parts) if is_step],
        "visible": query.visible,
        "hidden": query.hidden,
        "answer": query.answer,
        "rare": any(graph.entities[name].rare for name in names),
        "certificate": {
            "solutions": solutions(graph, query.pattern, len(kind.chain)),
            "distractors": distractors,
        },
    }
    if register:
        provenance["register"] = register
    return Question(
        id="graph/" + hashlib.blake2b(repr(query.composition).encode(), digest_size=8).hexdigest(),
        question=stem,
        options=dict(zip(LETTERS, options, strict=False)),
        answer=LETTERS[right],
        source="graph",
        difficulty=DIFFICULTIES[min(kind.hops, 3) - 1],
        provenance=provenance,
    )


def _ambiguous(graph: KnowledgeGraph, query: Query) -> str | None:
    """Return which node is not the only solution, None where each is; of a basic question the answer may be one of
    several."""
    answer = len(query.nodes) - 1
    last = answer if query.kind.scenario else answer - 1
    for node in range(query.first_hidden, last + 1):
        if solutions(graph, query.pattern, node) != [query.nodes[node]]:
            return {0: "root", answer: "answer"}.get(node, "bridge")
    return None


def _leaks(graph: KnowledgeGraph, stem: str, names: Sequence[str]) -> bool:
    """Whether the stem has one of the names in it, or as whole words one of their synonyms."""
    if any(name.casefold() in stem.casefold() for name in names):
        return True
    text = f" {name_key(stem)} "
    synonyms = [synonym for name in names for synonym in graph.entities[name].synonyms]
    return any(key and f" {key} " in text for key in map(name_key, synonyms))


def _gives_away(stem: str, answer: str, others: Sequence[str]) -> bool:
    """Whether a longer word of the answer stands in the stem and in none of the other options."""
    said = set(name_key(stem).split())
    elsewhere = {word for other in others for word in name_key(other).split()}
    return any(len(word) >= GIVEAWAY and word in said - elsewhere for word in name_key(answer).split())
