"""Phrases by key, read from a file of assets/, and the draw of one: words are data, which are said is chance.

Left out: which phrase follows which (wording.py for questions, cold_start/template.py for the teacher).
"""

import functools
import string
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.random import Generator

from fleming.config import load_config
from model.errors import InputError

ASSETS = Path(__file__).parents[2] / "assets"
FIELDS = {"x", "y", "h", "t", "c", "n", "clue", "clues", "none", "clauses", "noun", "age", "who"}
FIELDS |= {"they", "their", "them"}


@dataclass(frozen=True)
class Phrases:
    phrases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """key -> phrases, each with {fields} for the names that it is said of."""
    nouns: dict[str, str] = field(default_factory=dict)
    """relation -> what its tail is of its head."""
    file: str = ""
    """Where they were read."""

    def check(self, where: str) -> None:
        """Raise InputError for a key without a phrase, and for a phrase whose braces name no field."""
        for key, phrases in self.phrases.items():
            if not phrases:
                raise InputError(f"{where}phrases.{key}: expected a phrase or more, found none")
            for phrase in phrases:
                try:
                    unknown = {name for _, name, _, _ in string.Formatter().parse(phrase)} - FIELDS - {None}
                except ValueError as error:
                    raise InputError(f"{where}phrases.{key}: {phrase!r}: {error}") from error
                if unknown:
                    known = ", ".join(sorted(FIELDS))
                    raise InputError(f"{where}phrases.{key}: {phrase!r}: the fields are {known}")

    def draw(self, rng: Generator, *keys: str) -> str:
        """Return one of the phrases of the first key that the file has; InputError where it has none of them."""
        for key in keys:
            if key in self.phrases:
                return pick(rng, self.phrases[key])
        raise InputError(f"{self.file}: phrases.{keys[-1]} is missing")

    def say(self, rng: Generator, *keys: str, **names: str) -> str:
        """Return a drawn phrase with its fields filled."""
        return self.draw(rng, *keys).format(**names)


@functools.cache
def read_phrases(name: str) -> Phrases:
    """Return the phrases of a file of assets/. InputError, naming file and key, for what is not as described."""
    path = ASSETS / f"{name}.yaml"
    return replace(load_config(Phrases, path, []), file=str(path))


def pick(rng: Generator, items: Sequence) -> Any:
    return items[int(rng.integers(len(items)))]
