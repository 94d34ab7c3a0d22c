"""The words of the graph: relations, the types of their ends, families of types, and what implies what.

assets/vocabulary.yaml lists them. A graph may hold others beside these, its sources' own; no question uses them.
"""

import difflib
import functools
from collections.abc import Collection

from fleming.assets import load_table
from fleming.text import reserved, single_spaced
from model.errors import InputError

_TABLE = load_table("vocabulary.yaml")
RELATIONS = {relation: tuple(ends) for relation, ends in _TABLE["relations"].items()}
INVERSES: dict[str, str] = _TABLE["inverses"]
HANDWRITTEN: dict[str, dict[str, str]] = _TABLE["handwritten"]
TYPED: list[str] = _TABLE["typed"]
NAMED_FIRST: list[str] = _TABLE["named_first"]
AUTHORITIES: dict[str, str] = _TABLE["authorities"]
FAMILIES = {kind: family for family, kinds in _TABLE["families"].items() for kind in kinds}

# The tail's subtypes count too: who has focal seizures has seizures. Not so for these two: a drug that must be avoided
# in one form of a disease may be given in another, and subtypes are what is climbed.
NOT_IMPLIED = ("subtype_of", "contraindicated_in")
# One relation for what implies what: headache is a symptom, its subtype "worst headache of life" may be a finding.
FEATURES = ("has_symptom", "has_finding", "has_lab")


@functools.cache
def is_name(relation: str) -> bool:
    """Whether a relation may be called this: one line of text that no step's "^" begins."""
    return (
        bool(relation)
        and relation[0] != "^"
        and single_spaced(relation) == relation
        and not reserved(relation)
    )


def check_word(word: str, known: Collection[str], where: str) -> None:
    """Raise InputError for a word that is nearly one of those known, but none: no question would use it."""
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.88)
    if near and word not in known:
        raise InputError(f"{where}: {word!r} is not in assets/vocabulary.yaml; did you mean {near[0]}?")


def like(relation: str) -> tuple[str, ...]:
    """Return the relations that are one for what implies what."""
    return FEATURES if relation in FEATURES else (relation,)
