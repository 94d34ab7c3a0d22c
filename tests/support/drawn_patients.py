"""A made-up world of inherited diseases of which patients can be told apart: families that share findings, counted.

Each disease has what its family has and what is its own, each in k of n patients; a gene, a mode of inheritance and an
onset, complete; a cause, a drug and a test, not complete. So questions about patients can be posed under the rules for
the real graphs. Left out: hierarchies, denied facts, disputes (drawn_world.py).
"""

import numpy as np

from fleming.sources.facts import Fact, Node, Origin

FAMILIES, MEMBERS = 20, 7
SHARED, OWN, SELDOM = 4, 6, 4  # findings of a family, of a disease, of few patients
MODES = (
    "Autosomal recessive inheritance", "Autosomal dominant inheritance", "X-linked recessive inheritance",
    "Mitochondrial inheritance", "X-linked dominant inheritance",
)  # fmt: skip
ONSETS = ("Congenital onset", "Infantile onset", "Childhood onset", "Juvenile onset", "Adult onset")
COMPLETE = {"inherited_as": "closed", "associated_gene": "closed", "has_onset": "nearly_closed"}
ORIGIN = Origin("made up", "made_up.tsv", "1", "test")


def word(place: int, syllables: int = 4) -> str:
    """Return a word that no other place has."""
    parts = [c + v for c in "bdfgklmnprst" for v in "aeiou"]
    return "".join(parts[place // 60**k % 60] for k in range(syllables))


def world(seed, families=FAMILIES, members=MEMBERS):
    """Yield nodes, then facts."""
    rng = np.random.default_rng(seed)
    places = iter((rng.permutation(60**3) * 60 + rng.integers(60, size=60**3)).tolist())
    nodes, facts = [], []

    def node(kind: str, name: str = "", **more) -> str:
        nodes.append(Node(f"{kind.upper()}:{len(nodes)}", name or word(next(places)), kind, **more))
        return nodes[-1].key

    def fact(head: str, relation: str, tail: str, seen: int | None = None, of: int = 0) -> None:
        note = "" if seen is None else f"frequency {seen}/{of}"
        facts.append(Fact(head, relation, tail, ORIGIN, len(facts) + 1, note=note))

    modes = [node("inheritance", name) for name in MODES]
    onsets = [node("onset", name) for name in ONSETS]
    tests, actions = [node("test") for _ in range(30)], [node("action") for _ in range(8)]
    drugs, conditions = [node("drug") for _ in range(40)], [node("condition") for _ in range(30)]
    for drug in drugs:
        fact(drug, "has_mechanism", actions[rng.integers(len(actions))])
        for place in rng.permutation(len(conditions))[:2]:
            fact(drug, "contraindicated_in", conditions[place])
    # What is a disease's own in its family, every fourth family's disease of the same number may have too.
    pools = [[node("finding") for _ in range(families * OWN // 4)] for _ in range(members)]
    for _ in range(families):
        shared = [node("symptom" if rng.random() < 0.3 else "finding") for _ in range(SHARED)]
        own = [[pool[place] for place in rng.permutation(len(pool))[:OWN]] for pool in pools]
        for member in range(members):
            disease = node("disease", rare=bool(rng.random() < 0.7))
            for finding in shared:
                fact(disease, relation_to(finding), finding, int(rng.integers(9, 20)), 20)
            for finding in own[member]:
                fact(disease, "has_finding", finding, int(rng.integers(10, 21)), 20)
            others = [finding for other in range(members) if other != member for finding in own[other]]
            for place in rng.permutation(len(others))[:SELDOM]:
                fact(disease, "has_finding", others[place], int(rng.integers(1, 3)), 30)
            if rng.random() < 0.7:
                fact(disease, "inherited_as", modes[rng.integers(len(modes))])
            if rng.random() < 0.4:
                fact(disease, "has_onset", onsets[rng.integers(len(onsets))])
            fact(disease, "associated_gene", node("gene"))
            fact(disease, "caused_by", node("mechanism"))
            fact(disease, "diagnosed_by", tests[rng.integers(len(tests))])
            fact(disease, "treated_by", drugs[rng.integers(len(drugs))])
    yield from nodes
    yield from facts


def relation_to(key: str) -> str:
    return f"has_{key.partition(':')[0].lower()}"


def graph(seed, **sizes):
    """Return the world's graph, with what is complete in it."""
    from fleming.graph.completeness import declare
    from fleming.graph.joining import join_sources
    from fleming.sources.mapping import declarations

    joined = join_sources([world(seed, **sizes)], lambda *_: None).graph
    declare(joined, declarations(ORIGIN.source, COMPLETE, {}))
    return joined
