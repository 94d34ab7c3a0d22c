"""A frozen dataclass checks its own plain values, those that JSON and YAML hold; what is wrong is said with its place.

- a field's type says what it may be: int, float, str, bool, Any, Literal, X | None, list[X], tuple[X, ...],
  dict[str, X], another dataclass, and numbers in a range: Positive[int], NonNegative[float], Share
- true is no int; an int will do for a float, and so will 1e-5, which YAML takes for text; null only for X | None
- what a type cannot say, a dataclass says in a method `check(where)` of its own, called when all fields are right

Left out: reading files (files.py), settings laid over defaults (config.py).
"""

import dataclasses
import functools
import math
import reprlib
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from model.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    says: str
    holds: Callable[[Any], bool]


Positive = Annotated[T, Range("above 0", lambda number: number > 0)]
NonNegative = Annotated[T, Range("at least 0", lambda number: number >= 0)]
Samples = Annotated[int, Range("from 1 to 1,000,000", lambda number: 1 <= number <= 10**6)]
Share = Annotated[float, Range("from 0 to 1", lambda number: 0 <= number <= 1)]
Temperature = Annotated[float, Range("from 0.01 to 100", lambda number: 0.01 <= number <= 100)]
PositiveShare = Annotated[float, Range("above 0, at most 1", lambda number: 0 < number <= 1)]

Section = Callable[[type, dict, str, str], Any]
"""section(cls, value, where, key): makes a dataclass that stands inside another value."""


@functools.cache
def field_types(cls: type, ranges: bool = True) -> dict[str, Any]:
    """Return field name -> type of a dataclass, ranges included or not."""
    hints = typing.get_type_hints(cls, include_extras=ranges)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def from_json(cls: type[T], value: Any, where: str) -> T:
    """Return the `cls` that a decoded JSON object describes.

    `where` names file and line for the message. Raises InputError for what is no object, a field that is unknown or
    missing, a value of another type or out of its range, and for what the dataclass's own `check` refuses.
    """
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a JSON object, found {type(value).__name__}")
    kinds = field_types(cls)
    for name in value:
        if name not in kinds:
            raise InputError(f"{where}: unknown field {name!r}; {cls.__name__} has {', '.join(kinds)}")
    for name in _required(cls):
        if name not in value:
            raise InputError(f"{where}: field {name!r} is missing")
    record = cls(**{name: convert(kinds[name], item, where, name) for name, item in value.items()})
    if hasattr(record, "check"):
        record.check(where)
    return record


@functools.cache
def _required(cls: type) -> list[str]:
    missing = dataclasses.MISSING
    return [f.name for f in dataclasses.fields(cls) if f.default is missing and f.default_factory is missing]


def _nested(cls: type, value: dict, where: str, key: str) -> Any:
    return from_json(cls, value, f"{where}: {key}")


def convert(kind: Any, value: Any, where: str, key: str, section: Section = _nested) -> Any:
    """Return a plain value as `kind`. Raises InputError beginning with `where` and `key` where it is none."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)

    if origin is Annotated:
        number = convert(parts[0], value, where, key, section)
        if not parts[1].holds(number):
            raise InputError(f"{where}: {key} is out of its range: found {number}, expected {parts[1].says}")
        return number
    if origin in (types.UnionType, typing.Union):  # X | None
        if value is None:
            return None
        inner = next(part for part in parts if part is not type(None))
        if not fits(inner, value):
            _refuse(kind, value, where, key)
        return convert(inner, value, where, key, section)

    if not fits(kind, value):
        _refuse(kind, value, where, key)
    if dataclasses.is_dataclass(kind):
        return section(kind, value, where, key)
    if origin in (list, tuple):
        return origin(convert(parts[0], item, where, f"{key}[{i}]", section) for i, item in enumerate(value))
    if origin is dict:
        inner = parts[1]
        return {name: convert(inner, item, where, f"{key}.{name}", section) for name, item in value.items()}
    return _finite(value) if kind is float else value


def fits(kind: Any, value: Any) -> bool:
    """Whether the value itself, without what stands inside it, is of the type."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin is Annotated:
        return fits(parts[0], value)
    if origin is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if origin in (list, tuple):
        return isinstance(value, list | tuple)
    if origin is dict:
        return isinstance(value, dict) and all(isinstance(name, str) for name in value)
    if dataclasses.is_dataclass(kind):
        return isinstance(value, dict)
    if kind is float:
        return _finite(value) is not None
    return type(value) is kind


def _finite(value: Any) -> float | None:
    """Return the number that the value is, None where it is none."""
    is_number = type(value) in (int, float) or (isinstance(value, str) and "e" in value.lower())
    try:
        number = float(value) if is_number else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _refuse(kind: Any, value: Any, where: str, key: str) -> typing.NoReturn:
    # An alias of YAML may nest for ever: reprlib cuts it.
    found = "null" if value is None else f"{type(value).__name__} {reprlib.repr(value)}"
    hint = "; quote it" if kind is str and not isinstance(value, dict | list | None) else ""
    if isinstance(value, dict) and (odd := [name for name in value if not isinstance(name, str)]):
        hint = f"; quote its key {odd[0]!r}"
    raise InputError(f"{where}: {key or 'settings'}: expected {type_name(kind)}, found {found}{hint}")


def type_name(kind: Any) -> str:
    """Return the type as a person would say it: "list of str", "float at least 0 | null"."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return f"{type_name(parts[0])} {parts[1].says}"
    if origin is Literal:
        return " | ".join(map(str, parts))
    if origin in (types.UnionType, typing.Union):
        return " | ".join(map(type_name, parts))
    if origin in (list, tuple):
        return f"list of {type_name(parts[0])}"
    if origin is dict:
        return f"mapping to {type_name(parts[1])}"
    if dataclasses.is_dataclass(kind):
        return "mapping"
    return "null" if kind is type(None) else kind.__name__
