"""The kinds of path that questions are posed on, as data: where a path begins, its steps, what may stay visible.

Two families. Basic ones make the demo's short questions: one to three hops, at most three clues. Scenarios are the
paper's (section 3.1, Fig. 3): a patient's findings stand for a hidden disease or drug, and the answer lies one to three
steps further, so that 2 to 4 hops must be made; every node on the way is singled out by what is visible.
"""

from dataclasses import dataclass

from fleming.sources.vocabulary import FEATURES, RELATIONS


@dataclass(frozen=True)
class Metapath:
    """One kind of question."""

    root: str
    """Entity type at which the chain begins."""
    chain: tuple[str, ...]
    """Steps from the root to the answer; every node between is hidden."""
    clue_relations: tuple[str, ...] = ()
    """The root is hidden behind tails of these relations; empty: the root itself is visible."""
    bridge_relation: str | None = None
    """Basic only: one visible tail of it singles out the node before the answer, where a step leads to several."""
    scenario: bool = False

    @property
    def hops(self) -> int:
        return len(self.chain) + bool(self.clue_relations)


COMPLAINTS = ("has_symptom", "has_finding")  # what a basic question says of a disease
METAPATHS: dict[str, Metapath] = {}
for _fact in (
    "has_symptom", "has_finding", "diagnosed_by", "treated_by", "caused_by",
    "has_mechanism", "contraindicated_in", "has_adverse_effect",
):  # fmt: skip
    _head, _tail = RELATIONS[_fact]
    METAPATHS[f"{_head} > {_fact}"] = Metapath(_head, (_fact,))
    METAPATHS[f"{_tail} > ^{_fact}"] = Metapath(_tail, ("^" + _fact,))
    if _head == "disease" and _fact not in COMPLAINTS:
        METAPATHS[f"features > disease > {_fact}"] = Metapath("disease", (_fact,), COMPLAINTS)
    if _head == "drug":
        _chain = ("treated_by", _fact)
        METAPATHS[f"disease > drug > {_fact}"] = Metapath("disease", _chain)
        METAPATHS[f"features > disease > drug > {_fact}"] = Metapath("disease", _chain, COMPLAINTS)
        if _fact != "has_mechanism":
            _by_action = Metapath("disease", _chain, COMPLAINTS, "has_mechanism")
            METAPATHS[f"features > disease > drug by action > {_fact}"] = _by_action

# type -> the relations by which one entity of it may be told from another
CLUES = {
    "disease": (*FEATURES, "inherited_as", "has_onset"),
    "drug": ("has_adverse_effect", "has_mechanism", "targets", "subtype_of", "contraindicated_in"),
    "gene": ("participates_in",),
}
LISTED = {
    "disease": FEATURES,
    "drug": ("has_adverse_effect",),
}  # clues that an opening names; others get a sentence
# root type -> chains that make clinical sense from there. No chain ends at a site: brain, cerebellum and nervous system
# are all right where one is, and sources that place diseases do not bring the hierarchy of sites.
SCENARIOS = {
    "disease": """
        diagnosed_by
        treated_by
        caused_by
        inherited_as
        associated_gene
        treated_by > has_mechanism
        treated_by > subtype_of
        treated_by > targets
        treated_by > has_adverse_effect
        treated_by > contraindicated_in
        treated_by > interacts_with
        treated_by > ^treated_by
        associated_gene > participates_in
        associated_gene > ^targets
        associated_gene > ^associated_gene
        associated_gene > ^associated_gene > inherited_as
        associated_gene > ^associated_gene > treated_by
        associated_gene > ^targets > ^treated_by
        associated_gene > ^targets > subtype_of
        treated_by > targets > ^associated_gene
        treated_by > targets > participates_in
        treated_by > ^treated_by > associated_gene
    """,
    "drug": """
        ^treated_by
        ^treated_by > diagnosed_by
        ^treated_by > associated_gene
        ^treated_by > associated_gene > ^targets
        ^treated_by > associated_gene > participates_in
        targets > participates_in
        targets > ^associated_gene
        targets > ^associated_gene > inherited_as
        targets > ^associated_gene > treated_by
        targets > ^targets
        targets > ^targets > ^treated_by
    """,
}
for _root, _chains in SCENARIOS.items():
    for _line in _chains.strip().splitlines():
        _chain = tuple(_line.replace(">", " ").split())
        _clues = tuple(relation for relation in CLUES[_root] if relation not in _chain)
        METAPATHS[f"scenario > {_root} > {' > '.join(_chain)}"] = Metapath(
            _root, _chain, _clues, scenario=True
        )
