"""Quantities with clinical units: what may be added, multiplied and compared, and what a printed number leaves open.

- a unit is a size and the exponents of the bases (assets/units.yaml); mg, mcg and g differ in size alone
- mass and amount of substance are one where the analyte is known: 1 mmol/L of glucose is 18.02 mg/dL
- mEq are mmol times the charge; of an unknown ion the charge is taken as one
- a bare factor may stand for a conversion ("930 mg / 1000 = 0.93 g") or for a quantity whose unit is left unsaid

Left out: reading text (calculations.py); which dose is usual, and which value is plausible.
"""

import dataclasses
import math
from dataclasses import dataclass

from fleming.assets import load_table

_TABLE = load_table("units.yaml")
_BASES = _TABLE["bases"]
_G, _MOL, _EQ, _S = (_BASES.index(base) for base in ("g", "mol", "eq", "s"))
ANALYTES = {
    name: (row["mass"], row.get("charge", 1))
    for first, row in _TABLE["analytes"].items()
    for name in (first, *row["names"])
}
"""Name -> (molar mass in g/mol, charge)."""
SOLVED = (
    1000,
    3600,
    60,
    24,
    7,
)  # factors that are both written and said by the unit: "x MJ/h / 60 = y kJ/min"


@dataclass(frozen=True, slots=True)
class Unit:
    """A size in the product of the bases; exponents in the order of the bases."""

    size: float = 1.0
    dims: tuple[int, ...] = (0,) * len(_BASES)
    offset: float = 0.0
    """Of a thermometer: absolute temperature is size * (number + offset)."""
    rough: float = 0.0
    """The relative difference that common factors for it have."""

    def times(self, other: "Unit", power: int = 1) -> "Unit":
        """Return self * other ** power."""
        dims = tuple(a + power * b for a, b in zip(self.dims, other.dims, strict=True))
        return Unit(self.size * other.size**power, dims, 0.0, self.rough + other.rough)

    def in_moles(self, mass: float, charge: int) -> "Unit":
        """Return the unit with masses and equivalents as moles."""
        g, mol, eq = self.dims[_G], self.dims[_MOL], self.dims[_EQ]
        size = self.size / mass**g / charge**eq
        return Unit(size, (0, mol + g + eq, 0, *self.dims[_EQ + 1 :]), 0.0, self.rough + 0.0025 * (g != 0))


def _read_units() -> dict[str, Unit]:
    units, prefixed = {}, {}
    for symbol, row in _TABLE["units"].items():
        size, *powers = str(row["is"]).split()
        dims = [0] * len(_BASES)
        for base, _, power in (text.partition("^") for text in powers):
            dims[_BASES.index(base)] = int(power or 1)
        unit = Unit(float(size), tuple(dims), row.get("offset", 0.0), row.get("rough", 0.0))
        names = (symbol, *row["names"])
        units |= dict.fromkeys(names, unit)
        for prefix in row.get("prefixes", "").split():
            factor, *spellings = _TABLE["prefixes"][prefix]
            larger = dataclasses.replace(unit, size=unit.size * factor)
            prefixed |= {spelled + name: larger for spelled in (prefix, *spellings) for name in names}
    known = prefixed | units
    return {name.casefold(): unit for name, unit in known.items() if len(name) > 1} | known


UNITS = _read_units()
"""Spelling -> unit."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number read or worked out, and its unit."""

    number: float
    unit: Unit | None = None
    """None where nothing carries a unit; a percent sign is read as a hundredth."""
    slack: float = 0.0
    """What rounding leaves open: half a unit of the last printed place, carried through sums and products."""
    printed: bool = True
    """It is one number; False for what an operator gave."""
    whole: bool = False
    """Printed without decimals: exact as an operand."""
    implicit: bool = False
    """A bare number multiplies or divides a quantity with a unit."""
    mixed: bool = False
    """Quantities of different dimensions were added."""
    literals: frozenset[float] = frozenset()
    """The bare numbers in it."""

    @property
    def carried(self) -> float:
        """The slack of an operand."""
        return 0.0 if self.whole else self.slack


def _worked_out(
    a: Quantity, b: Quantity, number: float, unit: Unit | None, slack: float, **flags
) -> Quantity:
    flags = {name: flags.get(name) or getattr(a, name) or getattr(b, name) for name in ("implicit", "mixed")}
    return Quantity(number, unit, slack, printed=False, literals=a.literals | b.literals, **flags)


def times(a: Quantity, b: Quantity, power: int = 1) -> Quantity:
    """Return a * b for power 1, a / b for power -1. ZeroDivisionError."""
    number = a.number * b.number**power
    slack = a.carried * abs(b.number) ** power + abs(a.number) * b.carried * (
        b.number**-2 if power < 0 else 1
    )
    unit = None if a.unit is b.unit is None else (a.unit or Unit()).times(b.unit or Unit(), power)
    return _worked_out(a, b, number, unit, slack, implicit=(a.unit is None) != (b.unit is None))


def plus(a: Quantity, b: Quantity, sign: int = 1) -> Quantity:
    """Return a + sign * b in the unit of a; a bare number takes the unit of the other, a bare factor may change it."""
    unit, mixed, ratio = a.unit or b.unit, False, 1.0
    if a.unit and b.unit:
        apart = a.unit.dims != b.unit.dims and not _same_charge(a.unit, b.unit)
        mixed = apart and not (a.implicit or b.implicit)
        ratio = 1.0 if apart or a.unit.offset else b.unit.size / a.unit.size
    number, slack = a.number + sign * b.number * ratio, a.carried + b.carried * ratio
    return _worked_out(a, b, number, unit, slack, mixed=mixed)


def _same_charge(a: Unit, b: Unit) -> bool:
    return a.dims[_G] == b.dims[_G] and a.in_moles(1, 1).dims == b.in_moles(1, 1).dims


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing two sides of an equation gave."""

    equal: bool | None
    """None where it cannot be said."""
    computed: float
    """The left side in the unit of the right one."""
    fault: str | None = None
    """`dimension`: no conversion leads from one unit to the other; `thousandfold`, `scale`: the size is wrong."""


def compare(left: Quantity, right: Quantity, looser: bool, analytes: list[tuple[float, int]]) -> Comparison:
    """Return whether two sides are the same within the rounding of the printed digits.

    looser: behind "about" a unit of the last place and 2 %, where otherwise half a unit is all.
    analytes: the (molar mass, charge) of those that the text may speak of, asked where one side is a mass.
    """
    a, b = left.unit, right.unit
    fault = "dimension" if left.mixed or right.mixed else None
    if a is None or b is None:
        hundred = 100.0 in left.literals | right.literals
        ratios = (1.0, 0.01, 100.0) if hundred else (1.0,)
        if b is not None and b.dims == UNITS["M"].dims:  # 10^-7.4 is in mol/L
            ratios = (*ratios, UNITS["M"].size / b.size)
        equal = any(_near(left, right, ratio, looser) for ratio in ratios)
        return Comparison(equal, left.number, fault)
    if a.dims == b.dims:
        return _same_dimension(left, right, looser, fault)
    if a.in_moles(1, 1).dims == b.in_moles(1, 1).dims:
        weighed = a.dims[_G] != b.dims[_G]
        known = analytes or ([] if weighed else [(1.0, 1)])
        moles = [(a.in_moles(*one), b.in_moles(*one)) for one in known]
        found = [_near(left, right, x.size / y.size, looser, x.rough + y.rough) for x, y in moles]
        computed = left.number * moles[0][0].size / moles[0][1].size if moles else left.number
        if any(found) or (left.implicit and _near(left, right, 1.0, looser)):
            return Comparison(True, computed, fault)
        if any(_thousandfold(left, right, x.size / y.size, looser, x.rough + y.rough) for x, y in moles):
            fault = "thousandfold"
        if not moles and not left.implicit and _near(left, right, 1.0, looser):
            return Comparison(True, computed, "dimension")  # no molar mass is 1 g/mol
        return Comparison(False if moles else None, computed, fault)
    equal = _near(left, right, 1.0, looser)
    if left.implicit or right.implicit:
        unsure = not equal and _thousandfold(left, right, 1.0, looser)
        return Comparison(None if unsure else equal, left.number, fault)
    if not _rate_unsaid(a, b):
        fault = "dimension"
    return Comparison(equal, left.number, fault)


def _same_dimension(left: Quantity, right: Quantity, looser: bool, fault: str | None) -> Comparison:
    a, b = left.unit, right.unit
    ratio = a.size / b.size
    if (a.offset or b.offset) and left.printed and right.printed:
        computed = (left.number + a.offset) * ratio - b.offset
        slack = right.slack + min(left.slack, 0.5) * ratio
        return Comparison(
            abs(computed - right.number) <= slack * (1.5 if looser else 1.0) + 1e-6, computed, fault
        )
    computed = left.number * ratio
    if _near(left, right, ratio, looser, a.rough + b.rough):
        return Comparison(True, computed, fault)
    literals = left.literals | right.literals
    factors = {1.0, *sorted(x for x in literals if x > 0)[:9]}
    factors = {x * y for x in factors for y in factors} | {x / y for x in factors for y in factors}
    written = [x for x in factors - {1.0} if _close(x, ratio) or _close(1 / x, ratio)]
    same_number = not (left.printed and right.printed) and _near(left, right, 1.0, looser)
    if same_number and (written or a.offset or b.offset):
        return Comparison(True, computed, fault)
    solved = [x for x in SOLVED if x in literals and ratio != 1.0]
    if any(_near(left, right, ratio * y, looser) for x in solved for y in (x, 1 / x)):
        return Comparison(True, computed, fault)
    if _thousandfold(left, right, ratio, looser, a.rough + b.rough):
        return Comparison(same_number, computed, "thousandfold")
    return Comparison(same_number, computed, "scale" if same_number else fault)


def _near(left: Quantity, right: Quantity, ratio: float, looser: bool, rough: float = 0.0) -> bool:
    """Return whether left * ratio is right, as far as the digits of both say."""
    value = left.number * ratio
    slack = right.slack if right.printed else right.carried
    exact = left.unit and abs(math.log10(ratio) % 1.0 - 0.5) > 0.4999999  # 1 g is 1000 mg and nothing near it
    if not exact and (left.printed or not right.printed):
        own = left.slack if left.printed else left.carried
        slack += min(own * ratio, 0.02 * abs(value)) if left.unit else own * ratio
    if looser:
        slack, rough = 2 * slack, max(rough, 0.02)
    return abs(value - right.number) <= slack * (1 + 1e-6) + (rough + 1e-9) * abs(value)


def _close(x: float, y: float) -> bool:
    return abs(x - y) <= 0.01 * abs(y)


def _thousandfold(left: Quantity, right: Quantity, ratio: float, looser: bool, rough: float = 0.0) -> bool:
    """Return whether the digits agree and the size is off by a thousand, a million, ..."""
    powers = (1e3, 1e-3, 1e6, 1e-6, 1e9, 1e-9)
    return any(_near(left, right, ratio * power, looser, rough) for power in powers)


def _rate_unsaid(a: Unit, b: Unit) -> bool:
    """Return whether one unit leaves a "per day" unsaid, or the right one the hour of "mL/h × gtt/mL / 60 min"."""
    apart = a.dims[_S] - b.dims[_S]
    same = all(x == y for i, (x, y) in enumerate(zip(a.dims, b.dims, strict=True)) if i != _S)
    times_of_day = (86400.0, 3600.0) if apart == -1 else (86400.0,)
    return same and abs(apart) == 1 and any(_close(a.size / b.size, one**apart) for one in times_of_day)
