"""The words of the graph: relations, the types of their ends, families of types, and what implies what.

A graph may hold relations and types beside these, its sources' own; no question uses them.
"""

# relation -> types of its head and tail; the tail of a step in use may be of another type of the same family
RELATIONS = {
    "has_symptom": ("disease", "symptom"),
    "has_finding": ("disease", "finding"),
    "diagnosed_by": ("disease", "test"),
    "treated_by": ("disease", "drug"),
    "caused_by": ("disease", "mechanism"),
    "has_mechanism": ("drug", "action"),
    "contraindicated_in": ("drug", "condition"),
    "has_adverse_effect": ("drug", "adverse_effect"),
    "has_lab": ("disease", "lab"),
    "located_in": ("disease", "anatomy"),
    "subtype_of": ("disease", "disease"),
    "risk_factor_of": ("exposure", "disease"),
    "interacts_with": ("drug", "drug"),
    "inherited_as": ("disease", "inheritance"),
    "associated_gene": ("disease", "gene"),
    "has_onset": ("disease", "onset"),
    "targets": ("drug", "gene"),
    "participates_in": ("gene", "process"),
}
# names under which sources state a relation from its other end
INVERSES = {
    "mechanism_of": "has_mechanism",
    "adverse_effect_of": "has_adverse_effect",
    "symptom_of": "has_symptom",
    "finding_of": "has_finding",
    "lab_of": "has_lab",
    "treats": "treated_by",
    "diagnoses": "diagnosed_by",
    "causes": "caused_by",
    "has_subtype": "subtype_of",
    "gene_of": "associated_gene",
}
# type -> family: entities of one family may be one entity under two sources' names, those of two never are
FAMILIES = {
    "disease": "disease",
    "condition": "disease",
    "symptom": "phenotype",
    "finding": "phenotype",
    "lab": "phenotype",
    "adverse_effect": "phenotype",
    "drug": "drug",
    "drug_class": "drug_class",
    "test": "test",
    "gene": "gene",
    "anatomy": "anatomy",
    "mechanism": "mechanism",
    "action": "action",
    "process": "process",
    "inheritance": "inheritance",
    "onset": "onset",
    "exposure": "exposure",
}


# The tail's subtypes count too: who has focal seizures has seizures. Not so for these two: a drug that must be avoided
# in one form of a disease may be given in another, and subtypes are what is climbed.
NOT_IMPLIED = ("subtype_of", "contraindicated_in")
FEATURES = (
    "has_symptom",
    "has_finding",
    "has_lab",
)  # one relation for what implies what: headache is a symptom, its
# subtype "worst headache of life" may stand as a finding


def like(relation: str) -> tuple[str, ...]:
    """Return the relations that are one for what implies what."""
    return FEATURES if relation in FEATURES else (relation,)
