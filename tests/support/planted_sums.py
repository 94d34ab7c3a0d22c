"""Worked calculations in clinical prose, right ones and such with one planted error, made by rule in two languages.

The oracle is exact arithmetic on the drawn numbers and a table of factors copied from conversion charts; nothing is
imported from what is tested. An error in the digits is off by two units of the last place or more, and by 6 % where the
text says "about". Items of even number are for tuning, those of odd number are kept out.
"""

import datetime
import random
from dataclasses import dataclass, replace
from fractions import Fraction


@dataclass(frozen=True)
class Sum:
    """A right calculation: `left` is worked out to `value`, printed with so many `places`, in `unit`."""

    left: str
    value: Fraction
    places: int = 0
    unit: str = ""
    slip: str = ""
    """The unit a thousand times larger or smaller."""
    other: str = ""
    """A unit of another dimension."""
    left_other: str = ""
    """The left side with an operand whose dimension does not fit."""
    tail: str = ""
    """What goes on behind the value."""
    signs: tuple[str, ...] = ()
    """The equals signs that it may have, where not all will do."""


def printed(value: Fraction, places: int) -> str:
    """Half away from zero, by whole numbers."""
    scaled = abs(value) * 10**places
    digits = int(scaled + Fraction(1, 2))
    text = f"{digits // 10**places:d}" + (f".{digits % 10**places:0{places}d}" if places else "")
    return ("-" if value < 0 and digits else "") + text


def tenths(rng: random.Random, low: int, high: int) -> tuple[str, Fraction]:
    number = Fraction(rng.randint(low * 10, high * 10), 10)
    return printed(number, 1), number


HAN = "零一二三四五六七八九"


def han(n: int) -> str:
    """1 to 999 in Chinese numerals."""
    hundreds, tens, ones = n // 100, n // 10 % 10, n % 10
    text = f"{HAN[hundreds]}百" if hundreds else ""
    if tens:
        text += ("" if tens == 1 and not hundreds else HAN[tens]) + "十"
    elif hundreds and ones:
        text += "零"
    return text + (HAN[ones] if ones else "")


def wide(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in text)


# Conversion charts: unit of the left side, of the right side, factor, places, slip of the right unit.
CHART = [
    ("g", "mg", "1000", 0, "mcg"),
    ("mg", "mcg", "1000", 0, "g"),
    ("L", "mL", "1000", 0, "µL"),
    ("kg", "lb", "2.20462", 0, ""),
    ("in", "cm", "2.54", 1, ""),
    ("mmHg", "kPa", "0.133322", 1, "Pa"),
    ("kcal", "kJ", "4.184", 0, "J"),
    ("h", "min", "60", 0, ""),
    ("mmol", "µmol", "1000", 0, "mol"),
]
ANALYTES = [  # English, Chinese, mg/dL -> SI factor, SI unit, low, high, places
    ("glucose", "血糖", "0.05551", "mmol/L", 60, 400, 1),
    ("creatinine", "肌酐", "88.4", "µmol/L", 1, 9, 0),
    ("cholesterol", "胆固醇", "0.02586", "mmol/L", 120, 300, 2),
    ("triglycerides", "甘油三酯", "0.01129", "mmol/L", 80, 900, 2),
    ("bilirubin", "胆红素", "17.1", "µmol/L", 1, 20, 0),
    ("calcium", "血钙", "0.2495", "mmol/L", 7, 14, 2),
    ("urea nitrogen", "尿素氮", "0.357", "mmol/L", 8, 90, 1),
    ("uric acid", "尿酸", "59.48", "µmol/L", 3, 12, 0),
    ("phosphate", "血磷", "0.3229", "mmol/L", 2, 8, 2),
    ("magnesium", "血镁", "0.4114", "mmol/L", 1, 4, 2),
]


def dose(rng, zh):
    (w, weight), (d, amount) = (str(n := rng.randint(3, 110)), Fraction(n)), tenths(rng, 1, 20)
    cross = rng.choice(["×", "*", "x", r"\times"] if not zh else ["×", "*", "乘以"])
    kg = "千克" if zh and rng.random() < 0.5 else "kg"
    mg = "毫克" if kg == "千克" else "mg"
    left = f"{w} {kg} {cross} {d} {mg}/{kg}"
    return Sum(left, weight * amount, 1, mg, "微克" if zh else "mcg", "mL", f"{w} {kg} {cross} {d} {mg}/mL")


def rate(rng, zh):
    volume, hours = rng.randint(2, 40) * 50, rng.randint(2, 24)
    divide = rng.choice(["/", "÷"] if not zh else ["/", "÷", "除以"])
    left = f"{volume:,} mL {divide} {hours} h" if rng.random() < 0.5 else f"{volume} mL {divide} {hours} h"
    return Sum(left, Fraction(volume, hours), 1, "mL/h", "L/h", "mg/h")


def concentration(rng, zh):
    (c, per), volume = tenths(rng, 1, 30), rng.randint(2, 90)
    return Sum(f"{c} mg/mL × {volume} mL", per * volume, 1, "mg", "mcg", "mmHg", f"{c} mg/mL × {volume} kg")


def percent(rng, zh):
    p, n = rng.randint(2, 95), rng.randint(3, 60) * 10
    left = f"{n}的{p}%" if zh else f"{p}{rng.choice(['%', ' %', ' percent'])} of {n}"
    return Sum(left, Fraction(p * n, 100), 1)


def share(rng, zh):
    a, b = rng.randint(5, 300), rng.randint(5, 300)
    left = rng.choice(
        [f"{a}/({a} + {b})", rf"\frac{{{a}}}{{{a + b}}}", f"{a}/{a + b}", f"{a} / ({a}+{b}) × 100%"]
    )
    left = left.replace("(", "（").replace(")", "）") if zh and "\\" not in left else left
    return Sum(left, Fraction(100 * a, a + b), 1, "%")


def gap(rng, zh):
    na, cl, bicarbonate = rng.randint(125, 155), rng.randint(85, 112), rng.randint(8, 28)
    unit = rng.choice(["", " mEq/L"])
    left = f"{na}{unit} - ({cl}{unit} + {bicarbonate}{unit})"
    return Sum(
        left, Fraction(na - cl - bicarbonate), 0, "mEq/L", "Eq/L" if unit else "", "mg/kg" if unit else ""
    )


def body_mass(rng, zh):
    w, h = rng.randint(40, 140), Fraction(rng.randint(145, 199), 100)
    left = rng.choice(
        [f"{w} kg / ({printed(h, 2)} m)^2", f"{w} kg/({printed(h, 2)} m)²", f"{w} / {printed(h, 2)}²"]
    )
    return Sum(left, w / h**2, 1, "kg/m²" if "m)" in left else "", "g/m²" if "m)" in left else "")


def conversion(rng, zh):
    a, b, factor, places, slip = rng.choice(CHART)
    text, number = tenths(rng, 2, 90)
    return Sum(f"{text} {a}", number * Fraction(factor), places, b, slip)


def temperature(rng, zh):
    text, number = tenths(rng, 35, 41)
    return Sum(f"{text} °C", number * Fraction(9, 5) + 32, 1, "°F", signs=("=", "("))


def analyte(rng, zh):
    english, chinese, factor, unit, low, high, places = rng.choice(ANALYTES)
    (text, number), name = tenths(rng, low, high), chinese if zh else english
    slip = "µmol/L" if unit == "mmol/L" else "mmol/L"
    return Sum(
        f"{name} {text} mg/dL",
        number * Fraction(factor),
        places,
        unit,
        slip,
        signs=("=", "(", "等于" if zh else "equals"),
    )


def number_needed(rng, zh):
    a, b = rng.randint(20, 60), rng.randint(2, 18)
    left = f"1/(0.{a:02d} - 0.{b:02d})" if rng.random() < 0.5 else rf"\frac{{1}}{{0.{a:02d} - 0.{b:02d}}}"
    return Sum(left, Fraction(100, a - b), 1)


def daily(rng, zh):
    d, (often, n) = (
        rng.randint(1, 40) * 25,
        rng.choice([("q6h", 4), ("q8h", 3), ("q12h", 2), ("tid", 3), ("bid", 2)]),
    )
    return Sum(f"{d} mg {often}", Fraction(d * n), 0, "mg/day", "mcg/day", "mL/day")


def volumes(rng, zh):
    a, b = rng.randint(10, 900), rng.randint(10, 900)
    return Sum(f"{a} mL + {b} mL", Fraction(a + b), 0, "mL", "L", "kg", f"{a} mL + {b} mmHg")


def chain(rng, zh):
    w, d = rng.randint(3, 110), rng.randint(2, 40)
    grams = f" = {printed(Fraction(w * d, 1000), 3)} g"
    return Sum(f"{w} kg × {d} mg/kg", Fraction(w * d), 0, "mg", "mcg", "mmol", tail=grams)


def mean(rng, zh):
    values = [rng.randint(60, 180) for _ in range(rng.choice([3, 4, 5]))]
    return Sum(f"({' + '.join(map(str, values))}) / {len(values)}", Fraction(sum(values), len(values)), 1)


def drip(rng, zh):
    volume, drops = rng.randint(40, 250), rng.choice([10, 15, 20, 60])
    return Sum(
        f"{volume} mL/h × {drops} gtt/mL ÷ 60 min/h", Fraction(volume * drops, 60), 0, "gtt/min", "", "mg/min"
    )


def powers(rng, zh):
    text, number = printed(q := Fraction(rng.randint(11, 99), 100), 2), q
    return Sum(rng.choice([f"{text}²", f"{text}^2", f"{text}**2", f"{text} × {text}"]), number**2, 3)


def counts(rng, zh):
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    left = rng.choice([f"{a} × 10^5 × {b}", f"{a} × 10⁵ × {b}", rf"{a} \times 10^{{5}} \times {b}"])
    return Sum(left, Fraction(a * b * 10**5))


def numerals(rng, zh):
    if not zh:
        a, b = rng.randint(1000, 90000), rng.randint(1000, 90000)
        return Sum(f"{a:,} plus {b:,}", Fraction(a + b))
    a, b = rng.randint(2, 30), rng.randint(2, 30)
    left = rng.choice([f"{han(a * b)}除以{han(a)}", f"{wide(str(a * b))}÷{wide(str(a))}"])
    return Sum(left, Fraction(b), signs=("等于", "＝"))


def dates(rng, zh):
    first = datetime.date(2022, 1, 1) + datetime.timedelta(rng.randint(0, 300))
    last = first + datetime.timedelta(rng.randint(3, 60))
    if zh:
        days = [f"{day.month}月{day.day}日" for day in (first, last)]
        return Sum(f"从{days[0]}到{days[1]}", Fraction((last - first).days), 0, "天", signs=("共", "＝"))
    form = rng.choice(["%d %B", "%B %d", "%d %B %Y", "%Y-%m-%d"])
    left = f"from {first.strftime(form)} to {last.strftime(form)}"
    return Sum(left, Fraction((last - first).days), 0, "days", signs=("=", "is"))


KINDS = (
    dose, rate, concentration, percent, share, gap, body_mass, conversion, temperature, analyte, number_needed, daily,
    volumes, chain, mean, drip, powers, counts, numerals, dates,
)  # fmt: skip
SIGNS = {
    False: ("=", "=", "≈", "equals", "is equal to", ", which is", "gives"),
    True: ("=", "＝", "≈", "等于", "约为"),
}
ABOUT = ("≈", "约为")
AROUND = {
    False: [
        ("The patient is 54 years old with a blood pressure of 120/80 mmHg. ", ", so the plan stands."),
        ("Step 2: ", ". Next we look at the options."), ("Let me work this out. ", ". That rules out option B."),
        ("- ", "\n- The rest follows."),
        ("He has had 3-5 episodes since 2019. So ", " in total. The p-value was < 0.05."),
    ],
    True: [
        ("患者男，54岁，血压120/80mmHg。", "，因此选B。"), ("第2步：", "。接下来看选项。"), ("计算如下：", "（C对）。"),
        ("近3～5天加重，", "，符合题意。"),
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Item:
    text: str
    kind: str
    error: str | None
    """None for a right one; "digits", "slip", "dimension"."""
    chinese: bool
    said: str = ""


def wrong_value(rng: random.Random, made: Sum, sign: str) -> str:
    """One error of the digits: a digit, a place, the last digits, or another operation altogether."""
    right = printed(made.value, made.places)
    least = max(Fraction(2, 10**made.places), abs(made.value) * Fraction(6 if sign in ABOUT else 0, 100))
    for _ in range(200):
        way = rng.choice(["digit", "place", "nudge", "other"])
        if way == "digit":
            at = rng.choice([i for i, c in enumerate(right) if c.isdigit()])
            text = right[:at] + rng.choice("123456789") + right[at + 1 :]
        elif way == "place":
            text = printed(made.value * rng.choice([10, Fraction(1, 10)]), made.places)
        elif way == "nudge":
            text = printed(made.value + Fraction(rng.choice([-3, -2, 2, 3, 5]), 10**made.places), made.places)
        else:
            text = printed(made.value * Fraction(rng.randint(30, 300), 100), made.places)
        if abs(Fraction(text) - made.value) > least and Fraction(text) > 0:
            return text
    raise AssertionError(made)


def write(rng: random.Random, made: Sum, chinese: bool, sign: str, value: str) -> tuple[str, str]:
    """Return (the text, the sum in it)."""
    before, behind = rng.choice(AROUND[chinese])
    unit = made.unit if made.unit in ("", "%", "天") or chinese else f" {made.unit}"
    if sign == "(":
        said = f"{made.left} ({value}{unit})"
    else:
        blank = "" if sign.startswith(",") else " "
        said = f"{made.left}{blank}{sign} {value}{unit}{made.tail}"
    return before + said + behind, said


def item(number: int, error: str | None) -> Item:
    """Return the item of a number, which fixes its numbers, words and kind."""
    for trial in range(100):
        rng = random.Random(f"{number} {error} {trial}")
        chinese = rng.random() < 0.5
        kind = KINDS[number // 2 % len(KINDS)] if trial == 0 else rng.choice(KINDS)
        made = kind(rng, chinese)
        sign = rng.choice(made.signs or SIGNS[chinese])
        value = printed(made.value, made.places)
        if error == "digits":
            value = wrong_value(rng, made, sign)
        elif error == "slip" and made.slip:
            made = replace(made, unit=made.slip, tail="")
        elif error == "dimension" and made.left_other and rng.random() < 0.5:
            made = replace(made, left=made.left_other, tail="")
        elif error == "dimension" and made.other:
            made = replace(made, unit=made.other, tail="")
        elif error:
            continue  # this kind has no such error
        text, said = write(rng, made, chinese, sign, value)
        return Item(text, kind.__name__, error, chinese, said)
    raise AssertionError(number)


def corpus(error: str | None, count: int) -> list[Item]:
    """Return so many items, even ones for tuning and odd ones kept out."""
    return [item(number, error) for number in range(count)]
