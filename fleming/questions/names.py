"""What a name tells a reader: nothing, too much, one of a numbered series; and how it is said inside a sentence.

The regular expressions are those of assets/names.yaml and assets/soft_findings.yaml. Left out: which name an entity
goes by (graph/naming.py), which of these names a question refuses (differential.py, posing.py).
"""

import functools
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

from fleming.config import load_config
from fleming.questions.phrases import ASSETS
from fleming.text import name_key

LONG = 5  # letters of a word that tells something
PARTS = ("lab", "study", "history")
WESTERN = {"LATIN", "GREEK", "MICRO", "FEMININE", "MASCULINE", "MODIFIER"}


@dataclass(frozen=True)
class NameLists:
    patterns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rewritten: tuple[tuple[str, ...], ...] = ()
    """(what is looked for in a name, what is said in its place)."""


@functools.cache
def _lists(file: str) -> NameLists:
    return load_config(NameLists, ASSETS / f"{file}.yaml", [])


@functools.cache
def _pattern(key: str, file: str = "names") -> re.Pattern[str]:
    """Return the list's expressions as one; FINDING in them stands for the words of findings."""
    lists = _lists(file).patterns
    words = "|".join(lists.get("finding word", ()))
    return re.compile("|".join(lists[key]).replace("FINDING", words), re.IGNORECASE)


@functools.cache
def _rewritings() -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(found), instead) for found, instead in _lists("names").rewritten]


@functools.lru_cache(200_000)
def _is(key: str, name: str) -> bool:
    type_behind, _ = _rewritings()[0]
    return _pattern(key).search(type_behind.sub("", name)) is not None


def is_meaningless(name: str) -> bool:
    """Whether the name means nothing to a reader: a code ("infestation NOS"), a heading, a sum of organs."""
    return _is("meaningless", name)


def is_no_patient_finding(name: str) -> bool:
    """Whether the name is no finding of the patient: of a birth or a pregnancy, a death, another disease."""
    return _is("no patient finding", name)


def is_tellable(name: str) -> bool:
    """Whether a patient can be said to have the finding, and a reader knows what it means."""
    return not is_meaningless(name) and not is_no_patient_finding(name)


def lists_findings(name: str) -> bool:
    """Whether the name of a disease tells its findings ("cataracts, spastic paraparesis, and speech delay")."""
    return _is("lists findings", name)


def numbered(name: str) -> bool:
    """Whether the name differs from others by a number or letter alone ("spastic paraplegia 45")."""
    return _is("numbered", name) and not _is("not numbered", name)


def is_deniable(name: str) -> bool:
    """Whether one can say of it that a patient has none: not of "absent speech"."""
    return not _is("not deniable", name)


def is_soft(name: str) -> bool:
    """Whether so many illnesses have the finding that it tells none from another."""
    return _pattern("soft", "soft_findings").fullmatch(said(name)) is not None


def part_of(name: str, relation: str) -> str:
    """Return in which part of a vignette the clue is told: lab, study, history or findings."""
    if relation == "has_lab":
        return "lab"
    return next((part for part in PARTS if _is(part, name)), "findings")


def is_seen(name: str) -> bool:
    """Whether an examiner sees the finding, with no test."""
    return _is("examination", name)


@functools.lru_cache(200_000)
def said(name: str) -> str:
    """Return the name of a finding as it is said inside a sentence, without an article.

    >>> said("intellectual disability, mild"), said("microcephaly (finding)"), said("focal-onset seizure")
    ('mild intellectual disability', 'microcephaly', 'focal-onset seizures')
    """
    for found, instead in _rewritings():
        name = found.sub(instead, name)
    return name


def lay_words(names: Iterable[str]) -> list[str]:
    """Return the layperson's names that somebody would say: no sentences, no anatomy in everyday words."""
    return [name for name in names if not _is("unsayable", name)]


def is_countable(text: str) -> bool:
    """Whether what is said takes an article: "long face"."""
    return _is("countable", text)


@functools.lru_cache(50_000)
def long_words(text: str) -> frozenset[str]:
    """Return the words that tell something: those of five letters and more, as `name_key` has them."""
    return frozenset(word for word in name_key(text).split() if len(word) >= LONG)


def shares_a_word(one: str, other: str) -> bool:
    """Whether a longer word stands in both names."""
    return not long_words(one).isdisjoint(long_words(other))


def language_of(names: Iterable[str]) -> str | None:
    """Return the language in which a stem can be worded around the names, en or zh; None where a script of theirs has
    no grammar."""
    letters = {char for name in names for char in name if char.isalpha()}
    scripts = {re.split("[ -]", unicodedata.name(char, "?"))[0] for char in letters}
    if not scripts <= {"CJK", *WESTERN}:
        return None
    return "zh" if "CJK" in scripts else "en"
