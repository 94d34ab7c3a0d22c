"""Small random worlds of medicine: what the tests of stage 1 draw their graphs from.

`world` is noise. `clinic` has families of look-alike diseases with counted patients: questions can be asked about it.
"""

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
SOURCE = "made up"
ORIGIN = Origin(SOURCE, "made_up.tsv", "1", "test")
SYLLABLES = [c + v for c in "bdfgklmnprst" for v in "aeiou"]


def _nodes(rng, sizes):
    """Every name is one word of four syllables."""
    places = rng.permutation(60**4)[: sum(sizes.values())].tolist()
    for kind, size in sizes.items():
        for i in range(size):
            place = places.pop()
            name = "".join(SYLLABLES[place // 60**k % 60] for k in range(4))
            yield Node(f"{kind.upper()}:{i}", name, kind, (f"{name}us",))


def world(seed):
    """Nodes and facts drawn at random, one fact in twelve denied, some of those stated too."""
    rng = np.random.default_rng(seed)
    yield from _nodes(rng, SIZES)
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


FAMILIES, MEMBERS = 10, 6  # of diseases
CLINIC = {"disease": FAMILIES * MEMBERS, "finding": 260, "symptom": 40, "lab": 20, "gene": 100, "drug": 60,
          "drug_class": 9, "mechanism": 14, "action": 14, "condition": 14, "test": 20}  # fmt: skip
VALUES = {
    "inheritance": ("autosomal recessive inheritance", "autosomal dominant inheritance",
                    "X-linked recessive inheritance", "mitochondrial inheritance"),
    "onset": ("congenital onset", "childhood onset", "juvenile onset", "adult onset", "late onset"),
}  # fmt: skip
RELATION_OF = {"finding": "has_finding", "symptom": "has_symptom", "lab": "has_lab"}


def clinic(seed):
    """Families of diseases that share findings: counts k/n, bands, NOT rows, forms of findings, onsets, inheritance.

    A family has five findings that most members have in most patients, and each member several of its own; what is
    typical of one is denied or rare in some of the others. One finding in three is a form of another.
    """
    rng = np.random.default_rng(seed)
    yield from _nodes(rng, CLINIC)
    for kind, names in VALUES.items():
        for i, name in enumerate(names):
            yield Node(f"{kind.upper()}:{i}", name, kind)
    records = iter(range(1, 10**6))

    def fact(head, relation, tail, **more):
        return Fact(head, relation, tail, ORIGIN, next(records), **more)

    features = [f"{kind.upper()}:{i}" for kind in RELATION_OF for i in range(CLINIC[kind])]

    def finding(disease, feature, share):
        """Of about this share of the patients: counted, banded, without numbers; of none mostly as a NOT row."""
        relation = RELATION_OF[feature.split(":")[0].lower()]
        of, way = int(rng.integers(1, 40)), rng.random()
        seen = round(share * of)
        if share == 0 and way < 0.7:
            return fact(
                disease, relation, feature, negated=True, note=f"frequency 0/{of}" if way < 0.4 else ""
            )
        if way < 0.7:
            return fact(disease, relation, feature, note=f"frequency {seen}/{of}", frequency=seen / of)
        frequency = float(share) if way < 0.9 else -1.0
        return fact(
            disease, relation, feature, frequency=frequency, confidence=float(rng.choice([0.6, 0.9, 1.0]))
        )

    for i in range(CLINIC["finding"]):  # a form is said of what stands before it: no circles
        for _ in range(int(rng.random() < 1 / 3) * int(rng.integers(1, 3))):
            if i:
                yield fact(f"FINDING:{i}", "subtype_of", f"FINDING:{int(rng.integers(i))}")
    for family in range(FAMILIES):
        shared = [features[i] for i in rng.choice(len(features), 5, replace=False)]
        own = {}
        for member in range(MEMBERS):
            own[member] = [features[i] for i in rng.choice(len(features), 7, replace=False)]
        for member in range(MEMBERS):
            disease = f"DISEASE:{family * MEMBERS + member}"
            for feature in shared:
                if rng.random() < 0.85:
                    yield finding(disease, feature, rng.choice([0.4, 0.7, 0.9, 1.0]))
            for feature in own[member]:
                yield finding(disease, feature, rng.choice([0.05, 0.5, 0.8, 1.0], p=[0.2, 0.2, 0.3, 0.3]))
            for other in range(MEMBERS):
                for feature in own[other][:3] if other != member else ():
                    if rng.random() < 0.35:
                        yield finding(disease, feature, rng.choice([0.0, 0.0, 0.03]))
            yield from _facts_beside_findings(rng, fact, family, disease)
    for i in range(CLINIC["drug"]):
        yield fact(f"DRUG:{i}", "subtype_of", f"DRUG_CLASS:{i % CLINIC['drug_class']}")
        for relation, tail in (("has_mechanism", "action"), ("contraindicated_in", "condition")):
            for j in rng.choice(CLINIC[tail], int(rng.integers(1, 3)), replace=False):
                yield fact(f"DRUG:{i}", relation, f"{tail.upper()}:{j}")


def _facts_beside_findings(rng, fact, family, disease):
    number = int(disease.split(":")[1])
    for gene in [number, *([CLINIC["disease"] + family] if number % MEMBERS < 2 else [])]:
        yield fact(disease, "associated_gene", f"GENE:{gene}")
    for mode in rng.choice(4, 1 + int(rng.random() < 0.1), replace=False):
        yield fact(disease, "inherited_as", f"INHERITANCE:{mode}")
    for onset in rng.choice(5, int(rng.choice([0, 1, 1, 2])), replace=False):
        yield fact(disease, "has_onset", f"ONSET:{onset}")
    for relation, tail, most in (
        ("treated_by", "drug", 3),
        ("caused_by", "mechanism", 2),
        ("diagnosed_by", "test", 3),
    ):
        for i in rng.choice(CLINIC[tail], int(rng.integers(1, most + 1)), replace=False):
            yield fact(disease, relation, f"{tail.upper()}:{i}", negated=bool(rng.random() < 0.05))
