"""Quantities with clinical units: what may be added, multiplied and compared, and what a printed number leaves open.

- a unit is a size and the exponents of the bases (assets/units.yaml); mg, mcg and g differ in size alone
- mass and amount of substance are one where the analyte is known: 1 mmol/L of glucose is 18.02 mg/dL
- mEq are mmol times the charge; of an unknown ion the charge is taken as one
- a bare factor may stand for a conversion ("930 mg / 1000 = 0.93 g") or for a quantity whose unit is left unsaid

Left out: reading text (calculations.py); which dose is usual, and which value is plausible.
"""

import dataclasses
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fleming.assets import load_table

_TABLE = load_table("units.yaml")
_BASES = _TABLE["bases"]
_G, _MOL, _EQ, _S, _IU = (_BASES.index(base) for base in ("g", "mol", "eq", "s", "IU"))
ANALYTES = {
    name: (row["mass"], row.get("charge", 1))
    for first, row in _TABLE["analytes"].items()
    for name in (first, *row["names"])
}
"""Name -> (molar mass in g/mol, charge)."""
THOUSANDS = (1e3, 1e-3, 1e6, 1e-6, 1e9, 1e-9)


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
        return Unit(size, (0, mol + g + eq, 0, *self.dims[_EQ + 1 :]), 0.0, self.rough + 0.005 * (g != 0))


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

    @property
    def carried(self) -> float:
        """The slack of an operand."""
        return 0.0 if self.whole else self.slack


def times(a: Quantity, b: Quantity, power: int = 1) -> Quantity:
    """Return a * b for power 1, a / b for power -1. ZeroDivisionError."""
    factor = b.number**power
    slack = a.carried * abs(factor) + b.carried * abs(a.number * (1 if power == 1 else factor * factor))
    unit = None if a.unit is b.unit is None else (a.unit or Unit()).times(b.unit or Unit(), power)
    implicit = (a.unit is None) != (b.unit is None) or a.implicit or b.implicit
    return Quantity(a.number * factor, unit, slack, False, False, implicit, a.mixed or b.mixed)


def plus(a: Quantity, b: Quantity, sign: int = 1) -> Quantity:
    """Return a + sign * b in the unit of a; a bare number takes the unit of the other, or may change it."""
    unit, mixed, ratio = a.unit or b.unit, a.mixed or b.mixed, 1.0
    implicit = (a.unit is None) != (b.unit is None) or a.implicit or b.implicit
    if a.unit and b.unit:
        charges = (
            a.unit.dims[_G] == b.unit.dims[_G] and a.unit.in_moles(1, 1).dims == b.unit.in_moles(1, 1).dims
        )
        apart = a.unit.dims != b.unit.dims and not charges
        mixed |= apart and not implicit
        ratio = 1.0 if apart or a.unit.offset else b.unit.size / a.unit.size
    number, slack = a.number + sign * b.number * ratio, a.carried + b.carried * ratio
    return Quantity(number, unit, slack, False, False, implicit, mixed)


def _same_but(base: int, a: Unit, b: Unit) -> bool:
    return a.dims[:base] + a.dims[base + 1 :] == b.dims[:base] + b.dims[base + 1 :]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing two sides of an equation gave."""

    equal: bool | None
    """None where it cannot be said."""
    computed: float
    """The left side in the unit of the right one."""
    fault: str | None = None
    """`dimension`: no conversion leads from one unit to the other; `thousandfold`, `scale`: the size is wrong."""


def compare(
    left: Quantity,
    right: Quantity,
    looser: bool = False,
    factors: Collection[float] = (),
    analytes: Sequence[tuple[float, int]] = (),
) -> Comparison:
    """Return whether two sides are the same within the rounding of the printed digits.

    looser: behind "about" a unit of the last place and 2 %, where otherwise half a unit is all.
    factors: the bare numbers of both sides, one of which may be a conversion.
    analytes: the (molar mass, charge) of those that the text may speak of, asked where one side is a mass.
    """
    a, b = left.unit or Unit(), right.unit or Unit()
    ways, both, same = _ways(left, right, factors, analytes), left.unit and right.unit, a.dims == b.dims
    computed = left.number * ways[0].ratio + ways[0].shift if ways else left.number
    fault = "dimension" if left.mixed or right.mixed else None
    if any(_near(left, right, way, looser) for way in ways):
        return Comparison(True, computed, fault)
    printed, free = _near(left, right, _Way(1.0), looser), left.implicit or right.implicit
    if printed and free and (not same or a.offset or b.offset):
        return Comparison(True, computed, fault)
    if both and same and a.size != b.size:
        written = [_Way(ways[0].ratio * factor) for factor in _products(factors)]
        if any(_near(left, right, way, looser) for way in written):
            return Comparison(True, computed, fault)
    slips = [_Way(way.ratio * power, way.rough) for way in ways or [_Way(1.0)] for power in THOUSANDS]
    slipped = any(_near(left, right, way, looser) for way in slips)
    if slipped and ways and both:
        return Comparison(printed, computed, "thousandfold")
    if printed:
        return Comparison(True, computed, "scale" if same else "dimension")
    molar = a.in_moles(1, 1).dims == b.in_moles(1, 1).dims
    if both and not (ways or free or molar):
        return Comparison(False, computed, "dimension")
    unknown = not ways and (molar or slipped)
    unknown |= slipped and left.unit is not right.unit and not both  # 10^-7.4 = 40 nmol/L
    return Comparison(None if unknown else False, computed, fault)


class _Way(NamedTuple):
    """How a number in one unit becomes one in the other: number * ratio + shift, as exact as `rough` says."""

    ratio: float
    rough: float = 0.0
    shift: float = 0.0


def _ways(
    left: Quantity, right: Quantity, factors: Collection[float], analytes: Sequence[tuple[float, int]]
) -> list[_Way]:
    """Return how the unit of one side becomes that of the other; nothing where no way is known."""
    a, b = left.unit, right.unit
    if a is None or b is None:
        return [_Way(ratio) for ratio in ((1.0, 0.01, 100.0) if 100.0 in factors else (1.0,))]
    ratio, rough = a.size / b.size, a.rough + b.rough
    if a.dims == b.dims:
        return [_Way(ratio, rough, a.offset * ratio - b.offset if left.printed and right.printed else 0.0)]
    apart = a.dims[_S] - b.dims[_S]
    if abs(apart) == 1 and _same_but(_S, a, b):
        # A "per day" is left unsaid, the hour of "mL/h × gtt/mL / 60 min" on the right, "a minute" in "500 mL × 12".
        unsaid = (86400.0, 3600.0, 60.0)[: 3 if left.implicit else 2 if apart < 0 else 1]
        return [_Way(ratio * time**-apart, rough) for time in unsaid]
    if _same_but(_IU, a, b):
        return [_Way(ratio, rough)]  # units may be bags or drinks, which are counted: 3 units × 300 mL
    if a.in_moles(1, 1).dims != b.in_moles(1, 1).dims:
        return []
    known = analytes or ([] if a.dims[_G] != b.dims[_G] else [(1.0, 1)])
    pairs = [(a.in_moles(*one), b.in_moles(*one)) for one in known]
    return [_Way(x.size / y.size, x.rough + y.rough) for x, y in pairs]


def _products(factors: Collection[float]) -> set[float]:
    """Return one or two of the bare numbers multiplied or divided: what a unit may have been converted by."""
    some = [1.0, *sorted(x for x in factors if x > 0)[:9]]
    return {z for x in some for y in some for z in (x * y, x / y, 1 / (x * y))} - {1.0}


def _near(left: Quantity, right: Quantity, way: _Way, looser: bool) -> bool:
    """Return whether the left side is right when it is converted, as far as the digits of both say.

    What is worked out may be cut off instead of rounded: 2/3 is 0.67 and 0.66.
    """
    value, rough = left.number * way.ratio + way.shift, way.rough
    slack = right.slack if right.printed else right.carried
    # 1 g is 1000 mg, nothing near it.
    exact = left.unit and abs(math.log10(way.ratio) % 1.0 - 0.5) > 0.4999999
    if not exact and (left.printed or not right.printed):
        own = left.slack if left.printed else left.carried
        slack += min(own * way.ratio, 0.02 * abs(value)) if left.unit else own * way.ratio
    if looser:
        slack, rough = 2 * slack, rough if way.shift else max(rough, 0.02)
    beyond = (value - right.number) * math.copysign(1.0, right.number)
    cut = right.slack if right.printed and not (left.printed or right.whole) else 0.0
    margin = slack * 1e-6 + (rough + 1e-9) * abs(value)
    return -slack - margin <= beyond <= slack + cut + margin
