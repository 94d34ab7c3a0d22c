"""Fields: the keys of a config.json, each read with its type, its range and a message that names file and key."""

import json
from dataclasses import dataclass
from typing import Any

from model.errors import InputError


@dataclass(frozen=True)
class Fields:
    """The keys of a JSON object, and where it stands. Null means absent, as in transformers."""

    raw: dict[str, Any]
    where: str

    def expect(self, ok: bool, key: str, found: Any, expected: str) -> None:
        if not ok:
            raise InputError(f"{self.where}: {key} is {json.dumps(found)[:80]}, expected {expected}")

    def has(self, key: str) -> bool:
        return self.raw.get(key) is not None

    def value(self, key: str, default: Any = None) -> Any:
        value = self.raw[key] if self.has(key) else default
        if value is None:
            raise InputError(f"{self.where}: key {key} is missing")
        return value

    def object(self, key: str) -> dict[str, Any]:
        value = self.value(key, {})
        self.expect(isinstance(value, dict), key, value, "an object or null")
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        value = self.value(key, default)
        self.expect(type(value) is int and 0 < value < 1e15, key, value, "a positive integer")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self.value(key, default)
        self.expect(type(value) in (int, float) and 0 < value < 1e15, key, value, "a positive number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.value(key, default)
        self.expect(isinstance(value, bool), key, value, "true or false")
        return value
