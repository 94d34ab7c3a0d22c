"""The words of the graph: relations, the types of their ends, families of types, and what implies what.

assets/vocabulary.yaml lists them. A graph may hold others beside these, its sources' own; no question uses them.
"""

import difflib
import functools

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
LONGEST_NAME = 2_000  # letters: gene products that list their synonyms come near it

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


def no_name(text: str) -> str | None:
    """Return why nothing may be called this, a code, or None: reserved (text.py), too_long, or blank.

    >>> no_name("N/A"), no_name("--"), no_name("gout")
    ('blank', 'blank', None)
    """
    if len(text) > LONGEST_NAME:
        return "too_long"
    is_blank = text in _TABLE["blanks"] or not any(map(str.isalnum, text))
    return "blank" if is_blank else reserved(text)


@functools.lru_cache(10_000)
def meant(word: str, types: bool = False) -> str:
    """Return the relation (or type) that a word is nearly, but is not; "" where it is none's near miss."""
    known = FAMILIES if types else [*RELATIONS, *INVERSES]
    near = difflib.get_close_matches(word[:80].lower(), known, n=1, cutoff=0.88)
    return near[0] if near and word not in known else ""


def check_word(word: str, where: str, types: bool = False) -> None:
    """Raise InputError for a word that is nearly a relation (or type), but none: no question would use it."""
    if near := meant(word, types):
        raise InputError(f"{where}: {word!r} is not in assets/vocabulary.yaml; did you mean {near}?")


def like(relation: str) -> tuple[str, ...]:
    """Return the relations that are one for what implies what."""
    return FEATURES if relation in FEATURES else (relation,)
