"""A small random world of medicine: what the tests of questions draw their graphs from."""

import numpy as np

from fleming.sources.facts import Fact, Node, Origin

SIZES = {"disease": 60, "finding": 60, "symptom": 25, "lab": 15, "drug": 25, "gene": 40, "process": 25,
         "inheritance": 4, "onset": 4, "anatomy": 10, "test": 12, "drug_class": 8, "adverse_effect": 25}  # fmt: skip
EDGES = [
    ("disease", "has_finding", "finding", 400), ("disease", "has_symptom", "symptom", 150),
    ("disease", "has_lab", "lab", 90), ("disease", "inherited_as", "inheritance", 45),
    ("disease", "has_onset", "onset", 40),
    ("disease", "associated_gene", "gene", 80), ("disease", "treated_by", "drug", 80),
    ("disease", "located_in", "anatomy", 40), ("disease", "diagnosed_by", "test", 50), ("drug", "targets", "gene", 60),
    ("drug", "has_adverse_effect", "adverse_effect", 120), ("drug", "subtype_of", "drug_class", 25),
    ("gene", "participates_in", "process", 90), ("finding", "subtype_of", "finding", 50),
    ("symptom", "subtype_of", "finding", 12), ("finding", "subtype_of", "symptom", 8),
    ("disease", "subtype_of", "disease", 30), ("process", "subtype_of", "process", 20),
    ("drug", "subtype_of", "drug", 12),
]  # fmt: skip
ORIGIN = Origin("made up", "made_up.tsv", "1", "test")


def world(seed):
    """Nodes and facts drawn at random, one fact in twelve denied, some of those stated too."""
    rng = np.random.default_rng(seed)
    syllables = [c + v for c in "bdfgklmnprst" for v in "aeiou"]
    places = rng.permutation(60**4)[
        : sum(SIZES.values())
    ].tolist()  # every name is one word of four syllables
    for kind, size in SIZES.items():
        for i in range(size):
            place = places.pop()
            name = "".join(syllables[place // 60**k % 60] for k in range(4))
            yield Node(f"{kind.upper()}:{i}", name, kind, (f"{name}us",))
    record = 0
    for head, relation, tail, count in EDGES:
        for _ in range(count):
            h, t = int(rng.integers(SIZES[head])), int(SIZES[tail] * rng.random() ** 1.5)
            if relation == "subtype_of" and head == tail and h == t:
                continue
            record += 1
            denied, too = rng.random() < 1 / 12, rng.random() < 0.3
            frequency = float(rng.choice([-1.0, 0.1, 0.5, 1.0]))
            for negated in [denied] + [False] * (denied and too):
                yield Fact(f"{head.upper()}:{h}", relation, f"{tail.upper()}:{t}", ORIGIN, record, negated=negated,
                           frequency=frequency)  # fmt: skip
