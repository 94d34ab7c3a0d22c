"""The identifiers that HIPAA lists, as far as patterns can tell them: a rule is a row of assets/identifiers.yaml.

| kind | removed | not touched |
|---|---|---|
| name | by a title, a label, a relation, a role, an age; before MD; 姓名, 其妻, 先生 | eponyms, Mr. X, 张某 |
| facility | a hospital, home or ward by its name or number | kinds of them, methods named after one |
| address, zip | house number and street, a box, postal codes, what follows 住址: | cities, states |
| date | day and month, the year stays; without a year where a word says that it is one | years, months, 3-4 days |
| age | over 89, which becomes "over 89"; in words too | up to 89, ranges, "90 or older" |
| phone, fax, email, url, ip | what is written as such, of any country | counts, enzyme numbers, PMIDs |
| ssn, national_id | of several countries by form or label, Chinese by check digit | other long numbers |
| record, account, health_plan, licence, vehicle, device, chat | a number behind such a label | numbers alone |

A wrong change spoils a question and a missed name leaves it as it was, so every rule is narrow: doses, laboratory
values, genes, codes and ratios stay. All patterns are bounded, so time is linear. Left out: pictures, biometric
identifiers, names in running text; how rules are applied (anonymise.py).
"""

import re
from dataclasses import dataclass, field
from functools import cached_property, partial

from fleming.assets import ASSETS
from fleming.config import load_config

_PIECE = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True)
class Rule:
    """What is looked for, and what stands there instead."""

    kind: str = ""
    hints: str = ""
    """A text without any of these, between blanks, is not looked at."""
    pattern: str = ""
    """A regular expression; what \\w and \\b know is ASCII."""
    becomes: str = ""
    """A template, or "over_89"; "": [KIND] in place of the group `cut`, the rest stays."""
    valid: str = ""
    """The name of one of CHECKS: whether a match is such an identifier."""
    digits: bool = False
    """A text without a digit is not looked at."""

    def may_match(self, text: str) -> bool:
        """Whether the text has one of the hints."""
        return any(hint in text for hint in self._hints)

    @cached_property
    def _hints(self) -> list[str]:
        return self.hints.split() or [""]

    @cached_property
    def regex(self) -> re.Pattern:
        return re.compile(_PIECE.sub(lambda piece: PIECES[piece[1]], self.pattern), re.ASCII)

    def replacement(self, match: re.Match) -> str:
        """Return what stands instead of a match."""
        if self.becomes == "over_89":
            return _over_89(match)
        if self.becomes:
            return match.expand(self.becomes)
        before = match.string[match.start() : match.start("cut")]
        after = match.string[match.end("cut") : match.end()]
        return f"{before}[{self.kind.upper()}]{after}"


@dataclass(frozen=True)
class Table:
    """assets/identifiers.yaml."""

    words: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()

    def pieces(self) -> dict[str, str]:
        """Return what each {{name}} stands for."""
        joined = {name: "|".join(words.split()) for name, words in self.words.items()}
        found = {name: f"(?:{words})".replace("_", " ") for name, words in joined.items()}
        for name, part in self.parts.items():
            found[name] = _PIECE.sub(lambda piece: found[piece[1]], part)
        return found


TABLE = load_config(Table, ASSETS / "identifiers.yaml", [])
RULES, PIECES = TABLE.rules, TABLE.pieces()
_NATION = re.compile(r"\b[A-Z][a-z]+(?:an|ish|ese|ch|sh|ic|ss|ek) $")  # "the Danish neurologist Knud Krabbe"
GIVEN, NOBODY, EPONYMS = (frozenset(TABLE.words[name].split()) for name in ("GIVEN", "NOBODY", "EPONYMS"))


def _over_89(match: re.Match) -> str:
    old = match["old"] or "-year-old"
    joint = "-" if old[0] == "-" else " "
    article = f"{match['a'][0]}n " if match["a"] else ""
    return f"{article}over{joint}89{old}"


def _is_date(match: re.Match) -> bool:
    found = match.groupdict()
    smaller, larger = sorted(int(found[name]) for name in "abcd" if found.get(name))
    return 1 <= smaller <= 12 and 1 <= larger <= 31


def _is_somebody(match: re.Match, others: frozenset[str] = NOBODY | EPONYMS) -> bool:
    """Whether no word is an eponym or another that is written with a capital ("Dr. Down", "Similarly")."""
    words = [word.partition("-")[0].strip(".,") for word in re.split(" |, ?", match["name"])]
    is_other = words[0] not in GIVEN and re.search("(?:ly|ed|ing|tion)$", words[0])
    is_of_history = _NATION.search(match.string, max(0, match.start() - 20), match.start())
    is_nobody = not others.isdisjoint([*words, *(word.capitalize() for word in words)])
    return not (is_other or is_of_history or is_nobody)


def _is_address(match: re.Match) -> bool:
    numbers = [int(number) for number in match["ip"].split(".")]
    is_enzyme = numbers[0] <= 7 and not match["label"]  # they are numbered in the same way, from 1 to 7
    return max(numbers) < 256 and not is_enzyme


def _has_check_digit(match: re.Match) -> bool:
    number = match[0]
    total = sum(2 ** (17 - i) % 11 * int(digit) for i, digit in enumerate(number[:17]))
    return "10X98765432"[total % 11] == number[-1].upper()


CHECKS = {
    "is_date": _is_date,
    "is_somebody": _is_somebody,
    "is_titled": partial(_is_somebody, others=NOBODY),  # "Mrs. Wilson" gave no disease her name
    "is_address": _is_address,
    "has_check_digit": _has_check_digit,
}
