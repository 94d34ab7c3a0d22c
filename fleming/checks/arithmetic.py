"""Arithmetic as it stands in text: runs of numbers, units and operators, and the quantities that they give.

- a run ends at a word that is no part of a sum, and is cut at brackets that do not close on their side of the equation
- a parser by recursive descent reads a side; nothing is evaluated but by units.py
- Chinese numerals and full-width signs, TeX, powers of ten, percents, decimal commas where nothing else is meant

Work and memory are linear: a run has at most LONGEST tokens, brackets are DEEPEST deep. Left out: symbols and
functions; a blank as a thousands sign, where it is no narrow one.
"""

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from fleming.assets import expressions
from fleming.checks.units import UNITS, Quantity, Unit, plus, times

LONGEST = 200  # tokens of a run
DEEPEST = 20  # brackets in brackets
WIDEST = 400  # characters of a number, and the largest exponent
_PLAIN_NAME = re.compile(r"[A-Za-zµ]+$|1")
_SPELLED = sorted((re.escape(n) for n in UNITS if not _PLAIN_NAME.match(n)), key=len, reverse=True)
WRITTEN = expressions("arithmetic.yaml", re.IGNORECASE, UNITS=f"(?:{'|'.join(_SPELLED)})(?![a-z0-9])")
_TOKEN = WRITTEN["token"]
_HALF_WIDTH = {0xFF01 + i: 0x21 + i for i in range(94)} | {ord("μ"): "µ", 0x3000: " "}
_RAISED = str.maketrans("⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹−–", "+-0123456789--")
SIGNS = {"times": 1, "dot": 1, "touch": 1, "over": -1, "plus": 1, "minus": -1}
_SUMS, _PRODUCTS = {"plus", "minus"}, {"times", "dot", "touch", "over"}
RELATIONS = {"equals", "is", "about", "restated", "roughly"}
_MEASURED = {"number", "digits", "unit", "exponent", "times", "over", "close"}
_RESTATED = ["unit", "number", "unit"], ["number", "number", "percent"]
_WORKING = {*SIGNS, "unit", "power", "raised", "frac", "root"}
_KEPT = {*_MEASURED, *_WORKING, *RELATIONS, "percent", "hundredths", "open"}
_POWERS = {"百": 1e2, "千": 1e3, "万": 1e4, "亿": 1e8, "thousand": 1e3, "million": 1e6, "billion": 1e9}
_RATE = UNITS["daily"].dims


class UnreadError(ValueError):
    """A side that is no expression, or goes beyond a bound."""


class Token(NamedTuple):
    kind: str
    start: int
    end: int
    text: str


def plain(text: str) -> str:
    """Return the text with full-width signs as ASCII, one sign for micro, TeX's text as text; no character moves."""
    text = text if text.isascii() else text.translate(_HALF_WIDTH)
    return WRITTEN["wrapped"].sub(lambda tex: " " * (tex.start(1) - tex.start()) + tex[1] + " ", text)


def equations(text: str) -> Iterator[list[Token]]:
    """Return the runs of tokens that have an equals sign, or a quantity said again in brackets."""
    for run in _runs(text):
        kinds = {token.kind for token in run}
        if kinds & _WORKING and (kinds & RELATIONS or "open" in kinds):
            yield from _parts(run)


def _runs(text: str) -> Iterator[list[Token]]:
    """Cut a text into runs of numbers, units, operators and equals signs; of one that is too long the rest is left."""
    place = 0
    while opening := WRITTEN["opening"].search(text, place):
        run: list[Token] = []
        for match in _TOKEN.finditer(text, opening.start()):
            place = match.end()
            kind = _kind(match, run)
            if kind in _KEPT:
                run.append(Token(kind, match.start(), match.end(), match[0]))
            elif kind != "skip":
                place = match.start() if run else place  # it may open the next
                break
            if len(run) > LONGEST:
                further = WRITTEN["further"].search(text, place)
                run, place = [], further.start() if further else len(text)
                break
        if run:
            yield run


def _kind(match: re.Match, run: list[Token]) -> str:
    """Return what a token is behind those before it; a word is a unit where one may stand."""
    kind, before = match.lastgroup, run[-1].kind if run else ""
    if kind not in ("word", "unit"):
        return kind
    unit = _unit(match[0]) if before in _MEASURED else None
    second = before in ("unit", "exponent")  # it says how often, or is raised: "500 mg q8h", "mL min⁻¹"
    raised = match.string.startswith(("⁻", "^-", "-1"), match.end())
    return "unit" if unit and (not second or raised or unit.dims == _RATE) else "word"


def _unit(name: str) -> Unit | None:
    """Return a unit by its name, an exponent behind it."""
    unit = UNITS.get(name) or UNITS.get(" ".join(name.casefold().split()))
    if unit is None and name[-1:] in ("2", "3"):
        base = UNITS.get(name[:-1])
        unit = base and Unit().times(base, int(name[-1]))
    return unit


def _parts(run: list[Token]) -> Iterator[list[Token]]:
    """Cut a run at brackets not closed in a side; "(101.3 °F)" or "(80 %)" behind a number is a side of its own."""
    run, opened, cut = [*run], [], {len(run)}
    for place, token in enumerate(run):
        if token.kind == "open":
            opened.append(place)
        elif token.kind == "close" and opened:
            first = opened.pop()
            around = run[first - 1 : first] + run[first + 1 : first + 2] + run[place - 1 : place]
            if [token.kind for token in around] in _RESTATED:
                run[first] = run[first]._replace(kind="restated")
                cut.update(opened, [place])
                opened = []
        elif token.kind == "close":
            cut.add(place)
        elif token.kind in RELATIONS:
            cut.update(opened)
            opened = []
    bounds = sorted(cut.union(opened))
    for start, end in pairwise([-1, *bounds]):
        part = run[start + 1 : end]
        if any(token.kind in RELATIONS for token in part):
            yield part


# From tokens to quantities


class _Reader:
    """Reads one side of an equation, from left to right."""

    def __init__(self, tokens: list[Token], how: str) -> None:
        """how: as `sides` has it."""
        self.tokens, self.how, self.at, self.depth = tokens, how, 0, 0
        self.levels = (_PRODUCTS, _SUMS) if how == "sums first" else (_SUMS, _PRODUCTS)
        """The signs that bind loosest, then those that bind closer."""

    def kind(self, ahead: int = 0) -> str:
        place = self.at + ahead
        return self.tokens[place].kind if place < len(self.tokens) else ""

    def take(self, *kinds: str) -> Token:
        """Return the next token. UnreadError: it is of none of the kinds."""
        if self.kind() not in kinds:
            raise UnreadError
        self.at += 1
        return self.tokens[self.at - 1]

    def sign(self) -> str:
        """Return what joins the next quantity to the last; a bracket right behind one multiplies it."""
        touches = self.kind() == "open" and self.tokens[self.at].start == self.tokens[self.at - 1].end
        return "touch" if touches else self.kind()

    def chain(self, level: int = 0) -> Quantity:
        """Read what signs of one level join."""
        if level == len(self.levels):
            return self.factor()
        value = self.chain(level + 1)
        while (sign := self.sign()) in self.levels[level]:
            self.at += sign != "touch"
            other, join = self.chain(level + 1), plus if sign in _SUMS else times
            while self.how == "below" and sign == "over" and self.sign() in ("over", "touch"):
                below = self.sign()
                self.at += below != "touch"
                other = times(other, self.chain(level + 1), SIGNS[below])
            if self.how == "share" and sign in _SUMS and self.tokens[self.at - 1].kind == "percent":
                other = times(value, other)
            value = join(value, other, SIGNS[sign])
        return value

    def factor(self) -> Quantity:
        if self.kind() in ("plus", "minus"):
            sign = SIGNS[self.take("plus", "minus").kind]
            value = self.factor()
            return replace(value, number=sign * value.number)
        base = self.atom()
        if self.kind() == "raised":
            return _raised(base, _exponent(self.take("raised")))
        if self.kind() == "power":
            self.at += 1
            exponent = self.factor()
            return _raised(base, math.nan if exponent.unit else exponent.number)
        return base

    def atom(self) -> Quantity:
        self.depth += 1
        if self.depth > DEEPEST:
            raise UnreadError
        token = self.take("number", "digits", "hundredths", "frac", "root", "open")
        if token.kind == "frac":
            value = times(self.atom(), self.atom(), -1)
        elif token.kind == "root":  # a formula's: its unit is left unsaid
            value = _raised(replace(self.atom(), unit=None, implicit=True), 0.5)
        elif token.kind == "open":
            value = self.chain()
            self.take("close")
        elif token.kind == "hundredths":
            value = _scaled(_number(self.take("number", "digits")), 0.01)
        else:
            value = _number(token)
            if token.kind == "number" and self.kind() == "digits":  # 80万, 1.2 million
                value = _scaled(value, _POWERS.get(self.take("digits").text.casefold(), math.nan))
        self.depth -= 1
        return self.measured(value)

    def measured(self, value: Quantity) -> Quantity:
        """Return the number with the units behind it; "5 ft 11 in" and "2 h 30 min" are one number."""
        if self.kind() == "percent":
            hundredth = 0.001 if self.take("percent").text == "‰" else 0.01
            return value if self.how == "bare" else _scaled(value, hundredth)
        unit, power = None, 1
        while self.kind() == "unit" or (self.kind() in ("dot", "over") and self.kind(1) == "unit"):
            if self.kind() == "unit" and unit:  # "500 mg q8h" is worked out: 1500 mg a day
                if self.how == "first":
                    break
                stated = self.kind(1) == "exponent" or unit == UNITS["counted"]  # 2 tablets twice daily
                value = replace(value, printed=value.printed and stated)
            elif self.kind() != "unit":
                power = -1 if self.take("dot", "over").kind == "over" else 1
            part = _unit(self.take("unit").text)
            exponent = _exponent(self.take("exponent")) if self.kind() == "exponent" else 1
            first = unit is None and power == exponent == 1
            unit, power = part if first else (unit or Unit()).times(part, power * exponent), 1
        if unit is None or self.how == "bare":
            return value
        unit = unit if value.unit is None else value.unit.times(unit)
        value = replace(value, unit=unit)
        while value.printed and self.kind() == "number" and self.kind(1) == "unit":
            smaller = _unit(self.tokens[self.at + 1].text)
            if smaller.dims != unit.dims or smaller.size >= unit.size:
                break
            rest = replace(_number(self.take("number")), unit=smaller)
            self.at += 1
            slack = rest.slack * smaller.size / unit.size
            value = replace(plus(value, rest), printed=True, slack=slack)
        return value


def _exponent(token: Token) -> int:
    return int(re.sub(r"[^\d-]", "", token.text.translate(_RAISED)))


def _scaled(value: Quantity, factor: float) -> Quantity:
    return replace(value, number=value.number * factor, slack=value.slack * factor)


def _raised(base: Quantity, power: float) -> Quantity:
    if not abs(power) <= WIDEST or (base.unit and power not in (1, 2, 3)):
        raise UnreadError
    number = base.number**power
    if isinstance(number, complex):
        raise UnreadError
    slack = abs(power * number / base.number) * base.carried if base.number else 0.0
    unit = base.unit and Unit().times(base.unit, int(power))
    return replace(base, number=number, unit=unit, slack=slack, printed=False)


def _number(token: Token) -> Quantity:
    """Return a printed number, Chinese numerals among them. UnreadError: it is too long."""
    if len(token.text) > WIDEST:
        raise UnreadError
    if token.kind == "digits":
        number = _han_number(token.text)
        return Quantity(number, slack=0.5, whole=True)
    if mixed := WRITTEN["mixed"].fullmatch(token.text):
        whole, sign, above, below = mixed.groups("0")
        part = int(above) / int(below) if sign == "0" else unicodedata.numeric(sign)
        return Quantity(int(whole) + part, whole=True)
    mantissa, *power = WRITTEN["power"].split(token.text.casefold(), maxsplit=1)
    mantissa = WRITTEN["thousands"].sub("", mantissa).replace("{,}", ".").replace(",", ".")
    exponent = int(re.sub(r"[^\d+-]", "", power[0].translate(_RAISED))) if power else 0
    number = float(f"{mantissa}e{exponent}")
    places = len(mantissa.partition(".")[2])
    slack = 0.5 * 10.0 ** (exponent - places)
    return Quantity(number, slack=slack, whole=places == 0)


def _han_number(text: str) -> float:
    """Return the value of 三百五十 or 一点五. UnreadError: digits in a row other than behind the point."""
    if text.isascii():
        raise UnreadError  # a bare "thousand"
    whole, _, decimals = text.replace("两", "二").partition("点")
    total = section = digit = 0
    for place, value in enumerate(map(unicodedata.numeric, whole)):
        if value < 10 and digit:
            raise UnreadError
        if value < 10:
            digit = value
        elif value < 10**4:
            section, digit = section + (digit if digit or place else 1) * value, 0
        else:
            total, section, digit = (total + section + digit) * value, 0, 0
    return total + section + digit + sum(unicodedata.numeric(c) / 10**n for n, c in enumerate(decimals, 1))


class Side(NamedTuple):
    value: Quantity | None
    start: int
    end: int
    tokens: list[Token]

    def factors(self) -> set[float]:
        """Return its bare numbers."""
        behind = [*(token.kind for token in self.tokens[1:]), ""]
        pairs = zip(self.tokens, behind, strict=True)
        return {_number(token).number for token, kind in pairs if token.kind == "number" and kind != "unit"}


def sides(tokens: list[Token], how: str = "") -> list[Side]:
    """Return the expressions that stand side by side between two equals signs; None for one that is not read.

    how: "sums first": as if there were brackets around each sum; "below": around all that is divided by, as in "350 mg
    / 125 mg per 5 mL"; "share": a percent is of what it is added to; "bare": the numbers without percents and units;
    "first": the quantity that it begins with, without how often.
    """
    reader, found = _Reader(tokens, how), []
    while reader.at < len(tokens):
        start = reader.at
        try:
            value = reader.atom() if how == "first" else reader.chain()
            if not math.isfinite(value.number) or abs(value.number) > 1e30:
                raise UnreadError
        except (UnreadError, ZeroDivisionError, OverflowError):
            value, reader.at = None, len(tokens)
        part = tokens[start : reader.at]
        found.append(Side(value, part[0].start, part[-1].end, part))
    return found
