"""The sums that a text works out: each "expression = value" read and worked out again, its units with it.

- each side is compared with those before it: right is what is right within the rounding of the printed digits
- "70 kg × 5 mg/kg = 350 mg", "38.5 °C (101.3 °F)" and "from 3 March to 17 March, 14 days" are sums all three
- what is not read for certain (a variable, a range, an operator cut off) may be right, but is never called wrong

Left out: reading (arithmetic.py) and the algebra of units (units.py); whether a sum is the one that the question asks
for; a mistake that the text itself takes back.
"""

import datetime
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from fleming.checks.arithmetic import RELATIONS, SIGNS, WRITTEN, Side, Token, equations, half_width, sides
from fleming.checks.units import ANALYTES, UNITS, Quantity, compare, times

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAY = Quantity(1.0, UNITS["d"], whole=True)


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
    text = half_width(text)
    found = [claim for run in equations(text) for claim in _claims(text, run)]
    return sorted([*found, *_durations(text)], key=lambda claim: claim.end)


def units(text: str) -> list[Calculation]:
    """Return the sums whose units do not fit, or are a thousand times too large or too small."""
    return [claim for claim in calculations(text) if claim.fault]


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
        earlier = [*earlier[-3:], read[i][-1]] if whole and not part[place].labelled else [read[i][-1]]
        claim = _verdict(text, part[place], earlier, read[i + 1][0])
        if claim and (claim.status == "wrong" or claim.fault):
            before = i == 0 and _goes_on_before(text, part)
            behind = i + 2 == len(read) and WRITTEN["after"].match(text[part[-1].end : part[-1].end + 30])
            if not whole or len(read[i + 1]) > 1 or before or behind:
                claim = replace(claim, status=claim.status.replace("wrong", "unread"), fault=None)
        if claim:
            yield claim


def _goes_on_before(text: str, part: list[Token]) -> bool:
    """Return whether a run is the end of a longer expression; a sign with a blank behind it may be a dash."""
    dash = part[0].kind in SIGNS and part[0].end < part[1].start
    return dash or bool(WRITTEN["before"].search(text[max(0, part[0].start - 30) : part[0].start]))


def _verdict(text: str, sign: Token, earlier: list[Side], right: Side) -> Calculation | None:
    """Compare a side with those before it; None where nothing is worked out."""
    left, span = earlier[-1], (earlier[0].start, right.end)
    if left.value is None or right.value is None:
        worked_out = any(token.kind in SIGNS for token in (*left.tokens, *right.tokens))
        return Calculation(*span, "unread") if worked_out else None
    read = [side for side in earlier if side.value is not None]
    converted = not sign.labelled and _is_conversion(left.value, right.value)
    worked_out = sign.kind != "restated" and any(not side.value.printed for side in (*read, right))
    if not (converted or worked_out):
        return None
    looser = sign.kind == "about"
    found = [compare(side.value, right.value, looser, _analytes(text, *span, side, right)) for side in read]
    best = next((one for one in found if one.equal), found[-1])
    shown = right.value.number, best.computed
    doubtful = sign.kind == "is" and (best.fault == "dimension" or _is_score(left) or not right.value.printed)
    doubtful |= bool(best.fault or not best.equal) and _is_otherwise(read, right, looser)
    if best.equal:
        return Calculation(*span, "ok", *shown, None if doubtful else best.fault)
    a, b = (side.value.unit and side.value.unit.dims for side in (left, right))
    doubtful |= left.value.printed and not converted and (len(read) == 1 or (right.value.printed and a != b))
    doubtful |= _is_loose(left, right)
    if best.equal is None or doubtful:
        return Calculation(*span, "unread", *shown)
    return Calculation(*span, "wrong", *shown, best.fault)


def _is_conversion(left: Quantity, right: Quantity) -> bool:
    """Return whether one quantity is said in two units; "1 mL = 20 drops" defines, and converts nothing."""
    a, b = left.unit, right.unit
    if not (left.printed and right.printed and a and b) or a == b:
        return False
    return any(a.dims) and a.in_moles(1, 1).dims == b.in_moles(1, 1).dims


def _is_score(side: Side) -> bool:
    """Return whether a side is a score or a word: 7/10, 5-10, 1/10万, 一日."""
    tokens = [token for token in side.tokens if token.kind not in ("open", "close")]
    kinds = [token.kind for token in tokens]
    pair = kinds[::2] == ["number"] * 2 and kinds[1] in ("over", "minus", "times")
    pair = pair and tokens[0].end == tokens[1].start
    return pair or "digits" in kinds


def _is_loose(left: Side, right: Side) -> bool:
    """Return whether sides that do not fit may be meant otherwise.

    A range (20 - 30 mg); a part of so many (36 per 1000); percents left unsaid (11.8 - 10.6 = 1.2 %); a mean or share
    without its brackets (9.4 + 10.4 / 2 = 9.9).
    """
    said, kinds = right.value, [token.kind for token in left.tokens]
    if any(_is_range(side) for side in (left, right)) and max(left.value.number, said.number) >= 0:
        return True
    if any(token.text.casefold() in ("per", "每") for token in right.tokens):
        return True
    if right.tokens[-1].kind == "percent" and not {"over", "times", "frac", "percent"} & {*kinds}:
        return abs(left.value.number - 100 * said.number) <= 100 * said.slack
    if "over" not in kinds or not {"plus", "minus"} & {*kinds} or "open" in kinds:
        return False
    last = len(kinds) - 1 - kinds[::-1].index("over")
    whole, part = (sides(tokens)[0].value for tokens in (left.tokens[:last], left.tokens[last + 1 :]))
    return bool(whole and part) and compare(times(whole, part, -1), said, False, []).equal is True


def _is_otherwise(read: list[Side], right: Side, looser: bool) -> bool:
    """Return whether sides come out when read as shorthand.

    The right one by what it begins with: 350 mg over 30 min, 500 mg q6h, 12/15, 400 mg/day ÷ 2 = ...; the left one by
    its numbers alone, where percents are more than "p % of x", or a formula's coefficients leave their units unsaid.
    """
    head = sides(_head(right.tokens))[0].value
    for side in read:
        daily = [times(side.value, _DAY)] if side.value.unit and right.value != head else []  # 2 g/day ÷ 4
        begins = [compare(value, head, looser, []) for value in (side.value, *daily) if head]
        if any(one.equal and not one.fault for one in begins) and not side.value.printed:
            return True
        kinds = [token.kind for token in side.tokens]
        share = "times" in kinds and kinds.count("number") < 3
        terms = {"plus", "minus"} & {*kinds} and side.value.implicit
        if not terms and (share or "percent" not in kinds):
            continue
        bare, said = (sides(_numbers(one.tokens)) for one in (side, right))
        if bare[0].value and said[0].value and compare(bare[0].value, said[0].value, looser, []).equal:
            return True
    return False


def _head(tokens: list[Token]) -> list[Token]:
    """Return the quantity that a side begins with, without how often it is given."""
    for place, (token, behind) in enumerate(pairwise(tokens[1:] + tokens[:1]), start=1):
        how_often = token.kind == tokens[place - 1].kind == "unit" and behind.kind != "exponent"
        if how_often or (token.kind in SIGNS and behind.kind != "unit"):
            return tokens[:place]
    return tokens


def _numbers(tokens: list[Token]) -> list[Token]:
    """Return the tokens without units and percent signs."""
    per = [token.kind in ("over", "dot") and behind.kind == "unit" for token, behind in pairwise(tokens)]
    pairs = zip(tokens, [*per, False], strict=True)
    return [
        token for token, joins in pairs if not joins and token.kind not in ("unit", "exponent", "percent")
    ]


def _is_range(side: Side) -> bool:
    kinds = [token.kind for token in side.tokens if token.kind not in ("unit", "percent")]
    return kinds == ["number", "minus", "number"] and side.value.number < 0


def _analytes(text: str, start: int, end: int, left: Side, right: Side) -> list[tuple[float, int]]:
    """Return those that the words around a sum name, where one side is weighed and the other counted in moles."""
    a, b = left.value.unit, right.value.unit
    if a is None or b is None or a.dims == b.dims:
        return []
    near = text[max(0, start - 100) : end + 40]
    folded = near.casefold()
    named = [n for n in ANALYTES if n in near or (len(n) > 3 and n.casefold() in folded)]
    named = [n for n in named if re.search(rf"(?<![a-z]){re.escape(n)}(?![a-z])", near, re.IGNORECASE)]
    return [ANALYTES[n] for n in named if not any(n != other and n in other for other in named)]


# Dates


def _durations(text: str) -> Iterator[Calculation]:
    """Return a verdict on each "from DATE to DATE, N days" and "born in 1950, in 2020 she is 70 years old".

    Without a year any year will do; a bare year is any day of it. Years are completed ones, weeks and months may be
    rounded, and the first day counts where the text says so. "After 3 days" and "3 days of fever" may be another time.
    """
    for found in WRITTEN["duration"].finditer(text):
        said = int(found["number"])
        named = re.search(r"\d{4}", found["last"]) or re.search(r"\d{4}", found["first"])
        years = (int(named[0]),) if named else (2023, 2024)
        starts, ends = ([_dates(found[name], year) for year in years] for name in ("first", "last"))
        spans = [(a, b) for first, last in zip(starts, ends, strict=True) for a in first for b in last]
        if not spans:
            yield Calculation(found.start(), found.end(), "unread")
            continue
        lengths = [_length(a, b, found["unit"].casefold()) for a, b in spans]
        more = 1 if WRITTEN["inclusive"].search(found[0]) else 0
        fits = any(said in (int(length), round(length), int(length) + more) for length in lengths)
        status = "ok" if fits else "unread" if found["other"] or found["of"] else "wrong"
        yield Calculation(found.start(), found.end(), status, said, lengths[0])


def _dates(text: str, year: int) -> list[datetime.date]:
    """Return the date that a text gives, in a given year where it names none; of a bare year its ends."""
    numbers = [int(digits) for digits in re.findall(r"\d+", text)]
    month = WRITTEN["month"].search(text)
    if len(numbers) == 1 and not month:
        return [datetime.date(numbers[0], 1, 1), datetime.date(numbers[0], 12, 31)]
    named = [n for n in numbers if n > 31]
    rest = [n for n in numbers if n <= 31]
    if month:
        rest.insert(0, 1 + _MONTHS.index(month[0][:3].casefold()))
    try:
        return [datetime.date(*(named or [year]), *rest)]
    except (TypeError, ValueError):
        return []


def _length(first: datetime.date, last: datetime.date, unit: str) -> float:
    """Return how long it is from one date to the other, in completed years or in parts of other units."""
    if last < first:
        last += datetime.timedelta(365)  # no year is named
    if unit[0] in "y年岁":
        return last.year - first.year - ((last.month, last.day) < (first.month, first.day))
    return (last - first).days / {"w": 7, "周": 7, "m": 30.44, "个": 30.44, "月": 30.44}.get(unit[0], 1)
