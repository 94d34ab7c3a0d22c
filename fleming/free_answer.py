"""Free answers, those to questions without options: is a number, or a short text, the right one?

- a number has thousands signs ("1,200", "1 200"), a decimal comma where it can be nothing else ("0,5"), a percent sign
  ("25 %" is 25 and 0.25), a power of ten, a unit behind it; "5 to 7", "5 or 6", "120/80" are none
- two units that are known (assets/answers.yaml) and not the same make two answers; nothing is converted
- a text is compared without case, accents, articles and punctuation, but with its signs, comparators and negations

Exact arithmetic, any string, linear time. Left out: meaning. "Heart attack" is "myocardial infarction" where the
question's `aliases` say so.
"""

import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal

from fleming.assets import expressions, load_table
from fleming.settings import FreeConfig
from fleming.text import bounded_marks, name_key, option_key, single_spaced

LONGEST = 200  # characters of a short answer


def _unit_key(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).replace("μ", "u").replace("^", "")
    return "".join(text.casefold().split())


RULES = load_table("answers.yaml")
_UNITS = {_unit_key(name): unit for unit, others in RULES["units"].items() for name in (unit, *others)}

_WRITTEN = expressions("answer_forms.yaml")


@dataclass(frozen=True)
class Number:
    """A number with what stands behind it."""

    value: Decimal
    unit: str = ""
    """As in assets/answers.yaml where it is known, else as it is written."""
    known: bool = True


def read_number(text: str) -> Number | None:
    """Return the number that a text is, None where it is none or more than one."""
    if len(text) > LONGEST:
        return None
    text = unicodedata.normalize("NFKC", re.sub("[⁰¹²³⁴-⁹⁻⁺]+", r"^\g<0>", bounded_marks(text)))
    text = single_spaced(re.sub("[−‐‑–]", "-", text).strip().rstrip(".。"))
    found = _WRITTEN["number"].fullmatch(_WRITTEN["ten"].sub(r"\g<before>1e", text))
    if not found or _WRITTEN["no_unit"].search(found["rest"].casefold()):
        return None
    digits = found["digits"].replace(found["mark"] or found["dot"] or "none", "")
    value = Decimal(found["sign"] + digits.replace(",", ".")).scaleb(int(found["power"] or 0))
    rest = found["rest"].strip()
    unit, known = _unit(rest)
    if not known:  # 千克 is a unit, 千单位 a thousand units
        for word, factor in RULES["multipliers"].items():
            if more := re.match(rf"{word}(?![a-rt-z])s?", rest.casefold()):
                value, rest = value * factor, rest[more.end() :].strip()
        unit, known = _unit(rest)
    return None if unit is None else Number(value, unit, known)


def _unit(text: str) -> tuple[str | None, bool]:
    """Return the unit, in one spelling where all its parts are known, and whether they are; None for what is none."""
    if whole := _UNITS.get(_unit_key(text)):
        return whole, True
    parts = [re.sub(r"^10+(?=[a-z])", "", _unit_key(part)) for part in re.split(r"/|\bper\b|[·*]", text)]
    other = [part for part in parts if part and part not in _UNITS]  # "/mm3" counts
    if not other:
        return "/".join(_UNITS.get(part, "") for part in parts), True
    return None if len(text.split()) > 3 or any(map(str.isdecimal, "".join(other))) else text, False


def same_number(answer: Number, right: Number, cfg: FreeConfig, tolerance: float | None = None) -> bool:
    """Return whether the answer is the right number, within the question's own tolerance or else the settings'."""
    if right.unit and cfg.units == "require" and answer.unit != right.unit:
        return False
    percent = (answer.unit == "%") - (right.unit == "%")
    both_known = answer.unit and right.unit and answer.known and right.known
    if both_known and answer.unit != right.unit:
        return False
    if tolerance is None:
        relative = abs(right.value) * Decimal(repr(cfg.relative_tolerance))
        reach = max(relative, Decimal(repr(cfg.absolute_tolerance)))
    else:
        reach = Decimal(repr(tolerance))
    values = {answer.value, answer.value.scaleb(-2 * percent)}  # 25 % is 25 and 0.25
    return any(abs(value - right.value) <= reach for value in values)


def short_text(text: str) -> str | None:
    """Return what two spellings of a short answer have in common; None for a text that is empty, or too long."""
    if len(text) > LONGEST:
        return None
    return _WRITTEN["article"].sub("", name_key(text, signs=True)) or option_key(text) or None
