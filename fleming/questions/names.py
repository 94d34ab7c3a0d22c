"""What a name tells a reader: nothing, too much, one of a numbered series; and how it is said inside a sentence.

The lists are those of assets/names.yaml and assets/soft_findings.yaml. Left out: which name an entity goes by
(graph/naming.py), which of these names a question refuses (differential.py, posing.py).
"""

import functools
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

from fleming.config import load_config
from fleming.questions.phrases import ASSETS
from model.errors import InputError

_CJK = ("CJK",)
_WESTERN = ("LATIN", "GREEK", "MICRO", "FEMININE", "MASCULINE", "MODIFIER")


@dataclass(frozen=True)
class NameLists:
    """Regular expressions by what they are looked for."""

    patterns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Part of a vignette -> names that are told there."""
    rewritten: tuple[tuple[str, ...], ...] = ()
    """(pattern, what is said in its place)."""
    plurals: dict[str, str] = field(default_factory=dict)
    countable: tuple[str, ...] = ()

    def check(self, where: str) -> None:
        """Raise InputError for what is no regular expression."""
        lists = [*self.patterns.values(), *self.parts.values(), [first for first, *_ in self.rewritten], self.countable]
        for expression in (expression for found in lists for expression in found):
            try:
                re.compile(expression)
            except re.error as error:
                raise InputError(f"{where}{expression!r} is no regular expression: {error}") from error


@functools.cache
def _lists(name: str = "names") -> NameLists:
    return load_config(NameLists, ASSETS / f"{name}.yaml", [])


@functools.cache
def _pattern(key: str) -> re.Pattern[str]:
    """Return the list's expressions as one; FINDING in them stands for the words of findings."""
    words = "|".join(_lists().patterns.get("finding word", ()))
    expressions = _lists().countable if key == "countable" else _lists().patterns[key]
    joined = "|".join(f"(?:{expression.replace('FINDING', words)})" for expression in expressions)
    return re.compile(joined, re.IGNORECASE)


@functools.cache
def _rewritings() -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(first), said) for first, said in _lists().rewritten]


def _bare(name: str) -> str:
    """Return the name without the type that naming.py may have put behind it."""
    first, said = _rewritings()[0]
    return first.sub(said, name)


def is_meaningless(name: str) -> bool:
    """Whether the name means nothing to a reader: a code ("infestation NOS"), a heading, a sum of organs."""
    return bool(_pattern("meaningless").search(_bare(name)))


def is_no_patient_finding(name: str) -> bool:
    """Whether the name is no finding of the patient: of a birth or a pregnancy, a death, another disease."""
    return bool(_pattern("no patient finding").search(_bare(name)))


def lists_findings(name: str) -> bool:
    """Whether the name of a disease tells its findings ("cataracts, spastic paraparesis, and speech delay")."""
    return bool(_pattern("lists findings").search(name))


def numbered(name: str) -> bool:
    """Whether the name differs from others by a number or letter alone ("spastic paraplegia 45")."""
    return bool(_pattern("numbered").search(name)) and not _pattern("not numbered").search(name)


def is_deniable(name: str) -> bool:
    """Whether "no ..." can be said of it: not of "absent speech"."""
    return not _pattern("not deniable").search(_bare(name))


@functools.cache
def is_soft(name: str) -> bool:
    """Whether so many illnesses have the finding that it tells none from another."""
    found = _lists("soft_findings").patterns["soft"]
    return re.fullmatch("|".join(found), _bare(name), re.IGNORECASE) is not None


@functools.lru_cache(100_000)
def part_of(name: str, relation: str) -> str:
    """Return in which part of a vignette the clue is told: history, findings, study or lab."""
    if relation == "has_lab":
        return "lab"
    for part, expressions in _lists().parts.items():
        if re.search("|".join(expressions), _bare(name), re.IGNORECASE):
            return part
    return "findings"


@functools.lru_cache(100_000)
def said(name: str) -> str:
    """Return the name of a finding as it is said inside a sentence, without an article.

    >>> said("intellectual disability, mild"), said("microcephaly (finding)"), said("focal-onset seizure")
    ('mild intellectual disability', 'microcephaly', 'focal-onset seizures')
    """
    for expression, instead in _rewritings():
        name = expression.sub(instead, name)
    if name.endswith("<s>"):
        *before, last = name.removesuffix("<s>").split(" ")
        name = " ".join([*before, _lists().plurals.get(last, f"{last}s")])
    return name


@functools.lru_cache(100_000)
def with_article(text: str) -> str:
    """Return what is said with "a(n)" before it where a sentence needs it: "a(n) long face"."""
    return f"a(n) {text}" if _pattern("countable").search(text) else text


def language_of(names: Iterable[str]) -> str | None:
    """Return the language in which a stem can be worded around these names: en, zh, or None where there is no grammar
    for a script of theirs."""
    letters = {char for name in names for char in name if char.isalpha()}
    scripts = {unicodedata.name(char, "?").split(" ")[0].split("-")[0] for char in letters}
    if not scripts <= {*_CJK, *_WESTERN, "FULLWIDTH"}:
        return None
    return "zh" if scripts & {*_CJK} else "en"
