"""The sums that a text works out: each "expression = value" read and worked out again, its units with it.

- each side is compared with those before it: right is what is right within the rounding of the printed digits
- "70 kg × 5 mg/kg = 350 mg", "38.5 °C (101.3 °F)" and "from 3 March to 17 March, 14 days" are sums all three
- what is not read for certain (a variable, a range, an operator cut off) may be right, but is never called wrong

Left out: reading (arithmetic.py) and the algebra of units (units.py); whether a sum is the one that the question asks
for; a mistake that the text itself takes back.
"""

import datetime
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from fleming.checks.arithmetic import RELATIONS, SIGNS, WRITTEN, Side, Token, equations, plain, sides
from fleming.checks.units import ANALYTES, THOUSANDS, UNITS, Quantity, compare, times

_NAMED = re.compile(r" (?:of )?(?!(?:which|because|since|after|before|there)\b)[^\W\d_]{5,}")
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_LONG, _SHORT = (
    "|".join(re.escape(name) for name in sorted(ANALYTES, key=len, reverse=True) if (len(name) > 3) == long)
    for long in (True, False)
)
_ANALYTE = re.compile(rf"(?<![A-Za-z])(?:(?i:{_LONG})|{_SHORT})(?![A-Za-z])")

_FOLDED = {name.casefold(): row for name, row in ANALYTES.items()}


@dataclass(frozen=True, slots=True)
class Calculation:
    """A sum that a text works out."""

    start: int
    """Of its left side in the text, in characters."""
    end: int
    status: str
    """ok, wrong, or unread."""
    found: float | None = None
    """What the text says that the left side is."""
    computed: float | None = None
    """What it is, in the unit of the right side."""
    fault: str | None = None
    """What is wrong with the units, a code of units.Comparison; the digits may be right all the same."""


def calculations(text: str) -> list[Calculation]:
    """Return the sums of a text in the order in which they end."""
    text = plain(text)
    found = [claim for run in equations(text) for claim in _claims(text, run)]
    return sorted([*found, *_durations(text)], key=lambda claim: claim.end)


def check(text: str) -> dict[str, Any]:
    """Return how many sums are ok, wrong and unread, how many have a fault of units, and the code of the worst or None.

    Codes: `wrong_calculation`, `wrong_unit`.
    """
    found = calculations(text)
    status, faults = Counter(claim.status for claim in found), sum(bool(claim.fault) for claim in found)
    code = "wrong_calculation" if status["wrong"] else "wrong_unit" if faults else None
    return {name: status[name] for name in ("ok", "wrong", "unread")} | {"unit_faults": faults, "code": code}


# Equations


def _claims(text: str, part: list[Token]) -> Iterator[Calculation]:
    """Return a verdict on each equals sign of a run."""
    places = [i for i, token in enumerate(part) if token.kind in RELATIONS]
    bounds = zip((-1, *places), (*places, len(part)), strict=True)
    read = [sides(part[start + 1 : end]) for start, end in bounds]
    earlier: list[Side] = []  # those that the next side is said to equal
    for i, place in enumerate(places):
        if not read[i] or not read[i + 1]:
            earlier = []
            continue
        whole = len(read[i]) == 1
        earlier = [*earlier[-3:], read[i][-1]] if whole else [read[i][-1]]
        claim = _verdict(text, part[place], earlier, read[i + 1][0])
        if claim and (claim.status == "wrong" or claim.fault):
            before = i == 0 and _goes_on_before(text, part)
            behind = i + 2 == len(read) and WRITTEN["after"].match(text[part[-1].end : part[-1].end + 30])
            apart = not _is_restated(text, part[place], len(earlier) > 1, read[i + 1][0].end)
            if not whole or len(read[i + 1]) > 1 or before or behind or apart:
                claim = replace(claim, status=claim.status.replace("wrong", "unread"), fault=None)
        if claim:
            yield claim


def _goes_on_before(text: str, part: list[Token]) -> bool:
    """Return whether a run is the end of a longer expression; a sign with a blank behind it may be a dash."""
    dash = part[0].kind in SIGNS and part[0].end < part[1].start
    return dash or bool(WRITTEN["before"].search(text[max(0, part[0].start - 30) : part[0].start]))


def _is_restated(text: str, sign: Token, is_result: bool, end: int) -> bool:
    """Return whether "350 mg (about 0.35 g)" says one thing twice; "2 weeks, or about 10 days" may be two things."""
    after = text[end : end + 9].lstrip(" ")[:1]
    return sign.kind != "roughly" or (after == ")" if "(" in sign.text else is_result and after in ".;。\n")


def _verdict(text: str, sign: Token, earlier: list[Side], right: Side) -> Calculation | None:
    """Compare a side with those before it; None where nothing is worked out."""
    left, span = earlier[-1], (earlier[0].start, right.end)
    if left.value is None or right.value is None:
        worked_out = any(token.kind in SIGNS for token in (*left.tokens, *right.tokens))
        return Calculation(*span, "unread") if worked_out else None
    read = [side for side in earlier if side.value is not None]
    # 0.1 mg = 100 mg meperidine: what is named behind the second may well be another thing than before the first.
    of_another = left.value.unit == right.value.unit and _NAMED.match(text, right.end)
    converted = _is_conversion(left.value, right.value) and not of_another
    restated = sign.kind in ("restated", "roughly")
    worked_out = not restated and any(not side.value.printed for side in (*read, right))
    if not (converted or worked_out):
        return None
    looser = sign.kind in ("about", "roughly")
    analytes = _analytes(text[max(0, span[0] - 100) : span[1] + 40])
    found = [
        compare(side.value, right.value, looser, side.factors() | right.factors(), analytes) for side in read
    ]
    best = next((one for one in found if one.equal), found[-1])
    status, fault = "ok" if best.equal else "unread" if best.equal is None else "wrong", best.fault
    if fault or not best.equal:
        # One number is said to be another: 72 g = 9 drinks.
        alone = len(read) == 1 or (right.value.printed and not _same_kind(left.value, right.value))
        doubtful = left.value.printed and alone and not converted
        # Behind bare numbers "is" may stand for a score or a rate: 7/10 is bad.
        bare = left.value.unit is None or not right.value.printed
        doubtful |= sign.kind == "is" and (bare or fault == "dimension")
        doubtful |= _is_loose(left, right) or any(_is_shorthand(side, right, looser) for side in read)
        status = status.replace("wrong", "unread") if doubtful else status
        fault = None if doubtful else fault
    fault = None if status == "unread" else fault
    return Calculation(*span, status, right.value.number, best.computed, fault)


def _same_kind(one: Quantity, other: Quantity) -> bool:
    """Return whether both have a unit, of one dimension, or neither has."""
    a, b = one.unit, other.unit
    return a is b or bool(a and b and a.dims == b.dims)


def _is_conversion(left: Quantity, right: Quantity) -> bool:
    """Return whether one quantity is said in two units; "1 mL = 20 drops" defines, and converts nothing.

    In one unit where the number is another's: 1.5 L = 1500 L, 39 °C = 102.2 °C.
    """
    a, b = left.unit, right.unit
    if not (left.printed and right.printed and a and b and any(a.dims)):
        return False
    if a != b:
        return a.in_moles(1, 1).dims == b.in_moles(1, 1).dims
    low, high = sorted((left.number, right.number))
    return abs(1.8 * low + 32 - high) < 1 if a.offset else any(math.isclose(low * x, high) for x in THOUSANDS)


def _is_loose(left: Side, right: Side) -> bool:
    """Return whether a side is a range (20 - 30 mg), a part of so many (36 per 1000), or how many doses of 5 mg."""
    bare = [[t.kind for t in side.tokens if t.kind not in ("unit", "percent")] for side in (left, right)]
    is_range = ["number", "minus", "number"] in bare and min(left.value.number, right.value.number) < 0
    counts = bool(left.value.unit and any(left.value.unit.dims)) and right.value.unit == UNITS["counted"]
    return is_range or counts or any(token.text.casefold() in ("per", "每") for token in right.tokens)


def _is_shorthand(left: Side, right: Side, looser: bool) -> bool:
    """Return whether the sides come out when they are read otherwise.

    The right one by what it begins with: 350 mg over 30 min, 12/15, 400 mg/day ÷ 2 = ..., 500 mg q6h where what was
    worked out is a dose, and no amount a day; per cent left unsaid (11.8 - 10.6 = 1.2 %); the left one with brackets
    around its sums (9.4 + 10.4 / 2 = 9.9) or around what it divides by (400 mg / 250 mg/5 mL), from behind a dash
    (Step 2 - 70 kg × 5 mg/kg = 350 mg), or a percent of what it is taken from (80 kg - 10 % = 72 kg); by its
    numbers alone, where percents are more than "p % of x", or a formula's coefficients leave their units unsaid.
    """
    kinds, said = [token.kind for token in left.tokens], right.value
    begun = sides(right.tokens, "first")[0].value
    how_often = _same_kind(left.value, said) and begun and not _same_kind(left.value, begun)
    readings = [] if left.value.printed or how_often else [(left.value, begun)]
    if right.tokens[-1].kind == "percent" and abs(left.value.number) >= 1:
        readings.append((times(left.value, Quantity(0.01, whole=True)), said))
    readings += [(sides(left.tokens, "share")[0].value, said)] if "percent" in kinds else []
    readings += [(sides(left.tokens, "below")[0].value, said)] if "over" in kinds else []
    if "minus" in kinds[1:3] and not SIGNS.keys().isdisjoint(kinds[3:]):
        readings.append((sides(left.tokens[kinds.index("minus", 1) + 1 :])[0].value, said))
    readings += [(sides(left.tokens, "sums first")[0].value, said)] if "open" not in kinds else []
    terms = {"plus", "minus"} & {*kinds} and left.value.implicit
    if terms or ("percent" in kinds and ("times" not in kinds or kinds.count("number") > 2)):
        readings.append(tuple(sides(side.tokens, "bare")[0].value for side in (left, right)))
    found = [compare(one, other, looser) for one, other in readings if one and other]
    return any(one.equal and not one.fault for one in found)


def _analytes(text: str) -> list[tuple[float, int]]:
    """Return those that a text names, longest names first."""
    return [_FOLDED[name.casefold()] for name in dict.fromkeys(_ANALYTE.findall(text))]


# Dates


def _durations(text: str) -> Iterator[Calculation]:
    """Return a verdict on each "from DATE to DATE, N days", or weeks.

    Without a year any year will do. Weeks may be rounded, and the first day counts where the text says so. "After 3
    days" and "3 days of fever" may be another time.
    """
    for found in WRITTEN["duration"].finditer(text):
        said, unit = int(found["number"]), 7 if found["unit"][0] in "wW周" else 1
        named = re.search(r"\d{4}", found["last"]) or re.search(r"\d{4}", found["first"])
        lengths = []
        for year in (int(named[0]),) if named else (2023, 2024):
            first, last = (_date(found[name], year) for name in ("first", "last"))
            if first and last:
                lengths.append(((last - first).days + 365 * (last < first)) / unit)
        more = 1 if WRITTEN["inclusive"].search(found[0]) else 0
        fits = any(said in (int(length), round(length), int(length) + more) for length in lengths)
        status = "ok" if fits else "unread" if found["other"] or found["of"] or not lengths else "wrong"
        yield Calculation(found.start(), found.end(), status, said, *lengths[:1])


def _date(text: str, year: int) -> datetime.date | None:
    """Return the date that a text gives, in a given year where it names none; None for what is no date."""
    numbers = [int(digits) for digits in re.findall(r"\d+", text)]
    if month := WRITTEN["month"].search(text):
        numbers.insert(0, 1 + _MONTHS.index(month[0][:3].casefold()))
    named, rest = [n for n in numbers if n > 31], [n for n in numbers if n <= 31]
    try:
        return datetime.date(*(named or [year]), *rest)
    except (TypeError, ValueError):
        return None
