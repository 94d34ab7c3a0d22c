"""Which of its records' names an entity goes by: as it would stand inside a sentence, and no other entity's.

Sources write names as titles, shout them, or put the noun first; a question needs them as a person would say them.
Also whether two names say one thing. Left out: which records are one entity (joining.py).
"""

import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fleming.graph.knowledge_graph import Entity
from fleming.sources.facts import Node
from fleming.sources.vocabulary import NAMED_FIRST
from fleming.text import name_key

EPONYMS = ("syndrome", "disease", "sign", "palsy", "anomaly", "reflex", "phenomenon", "test", "tumor")
EPONYMS_TOO = 50  # a word that is small so often is none: "Facial palsy", but "Down syndrome"
# Types whose names begin with no proper name.
LOWERED = ("symptom", "lab", "finding", "adverse_effect", "drug", "drug_class", "inheritance", "onset")


@dataclass
class Usage:
    """How often each word is written small, and with a capital where small words stand beside it."""

    small: Counter[str] = field(default_factory=Counter)
    capital: Counter[str] = field(default_factory=Counter)

    def read(self, name: str) -> None:
        """Count the words of a name after its first, which may have a capital for its place."""
        words = name.split()[1:]
        small = [word for word in words if word.islower()]
        self.small.update(small)
        if small:  # no title, where every word has a capital
            self.capital.update(word for word in words if word.istitle())


def read_usage(records: Iterable[Node]) -> Usage:
    usage = Usage()
    for record in records:
        for name in (record.name, *record.synonyms):
            usage.read(name)
    return usage


def unique_names(entities: dict[int, tuple[str, Sequence[Node]]], usage: Usage) -> dict[int, str]:
    """Return a name for each entity, given as (type, its records): its first record's, and unique."""
    rank = {kind: place for place, kind in enumerate(NAMED_FIRST)}
    order = sorted(entities, key=lambda number: rank.get(entities[number][0], len(rank)))
    names, taken = {}, set()
    for number in order:
        kind, records = entities[number]
        name = in_a_sentence(records, kind, usage)
        for unique in (name, *(f"{name} ({told})" for told in (kind.replace("_", " "), records[0].key))):
            if unique.casefold() not in taken:
                break
        taken.add(unique.casefold())
        names[number] = unique
    return names


def is_plain(entity: Entity) -> bool:
    """Whether a reader takes its name for what it means: not one that was told from another by its type or key."""
    told = (entity.type.replace("_", " "), *entity.ids)
    return not entity.name.endswith(tuple(f" ({way})" for way in told))


def lay_names(records: Sequence[Node], usage: Usage) -> tuple[str, ...]:
    """Return what a layperson calls it, in reading order, each as inside a sentence: every word that is small elsewhere
    is small here.
    """
    said = [record._replace(name=name) for record in records for name in record.lay]
    return tuple(dict.fromkeys(in_a_sentence([record], LOWERED[0], usage, 0) for record in said))


def in_a_sentence(records: Sequence[Node], kind: str, usage: Usage, eponyms_too: int = EPONYMS_TOO) -> str:
    """Return the first record's name with capitals only where a sentence has them.

    A word before "syndrome" and the like must be small elsewhere more than `eponyms_too` times to be small here.

    >>> in_a_sentence([Node("HP:1", "Long Face", "finding")], "finding", Usage())
    'long face'
    """
    first = records[0]
    name = " ".join(first.name.split())
    if name.isupper() and kind != "gene":  # OMIM's old entries shout
        name = _quiet(name, records, usage)
    if first.key.startswith("MESH:"):  # which puts the noun first: "Purpura, Thrombocytopenic, Idiopathic"
        name = " ".join(reversed(name.split(", ")))
    if kind == "gene" or (kind == "mechanism" and "virus" not in name):  # a genus has a capital
        return name

    words = name.split(" ")
    is_title = len(words) > 1 and all(word.istitle() for word in words if len(word) > 3)
    may_lower_first = kind in LOWERED
    for i, word in enumerate(words):
        if not _has_capital(word):
            continue
        often = usage.small[word.lower()] - usage.capital[word]
        following = words[i + 1].lower().rstrip(",") if i + 1 < len(words) else ""
        if following in EPONYMS:
            lower = often > eponyms_too
        elif word.lower() in usage.small and often >= 0:
            lower = True
        else:
            unknown = word[1:].islower() and "'" not in word and not usage.capital[word]
            lower = unknown and may_lower_first and (i == 0 or is_title)
        if lower:
            words[i] = word.lower()
    return " ".join(words)


def _has_capital(word: str) -> bool:
    """Whether the word begins with a capital that may be its place's; "I", "1A" and "D-dependent" tell forms apart."""
    plain = word[:1].isupper() and word[1:].islower()
    return (plain or word.istitle()) and word[1:2].isalpha() and not any(map(str.isdigit, word))


def _quiet(name: str, records: Iterable[Node], usage: Usage) -> str:
    """Return a name that is all capitals as another record has it, else small, but for abbreviations."""
    for record in records:
        if name_key(record.name) == name_key(name) and not record.name.isupper():
            return record.name
    if " " not in name and len(name) <= 8:
        return name

    def small(match: re.Match[str]) -> str:
        title, word = match[0].title(), match[0].lower()
        if usage.capital[title] > usage.small[word]:
            return title
        is_word = len(word) > 3 or (len(word) > 1 and usage.small[word] > EPONYMS_TOO)
        return word if is_word else match[0]

    return re.sub(r"\b[^\W\d_]+\b", small, name)


def alike(one: str, other: str) -> bool:
    """Whether the names differ in nothing but what tells forms apart, or one says no more than a part of the other.

    >>> alike("Rickettsia", "Rickettsia rickettsii"), alike("NF1", "NF2")
    (True, False)
    """
    a, b = _bare(one), _bare(other)
    return a <= b or b <= a


@functools.lru_cache(100_000)
def _bare(name: str) -> frozenset[str]:
    """The words of a name, singular, without what tells one numbered form from another: "type 2", "IIIb", "14"."""
    words = name_key(name).split()
    long = [word.rstrip("s") for word in words if len(word) > 3 and word != "type"]
    return frozenset(long or words)
