"""Phrases by key, read from a file of assets/, and the draw of one: words are data, which are said is chance.

Left out: which phrase follows which (wording.py for questions, cold_start/template.py for the teacher).
"""

import functools
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from fleming.config import load_config
from model.errors import InputError

ASSETS = Path(__file__).parents[2] / "assets"
FIELDS = {"x", "y", "h", "t", "c", "clue", "clues", "clauses", "noun"}
T = TypeVar("T")


@dataclass(frozen=True)
class _File:
    phrases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """key -> phrases, each with {fields} that the key's names fill."""
    nouns: dict[str, str] = field(default_factory=dict)
    """relation -> what its tail is of its head."""

    def check(self, where: str) -> None:
        """Raise InputError for a key without a phrase, and for a phrase whose braces name no field."""
        for key, phrases in self.phrases.items():
            if not phrases:
                raise InputError(f"{where}phrases.{key}: expected a phrase or more, found none")
            for phrase in phrases:
                try:
                    fields = {name for _, name, _, _ in string.Formatter().parse(phrase) if name is not None}
                except ValueError as error:
                    raise InputError(f"{where}phrases.{key}: {phrase!r}: {error}") from error
                if unknown := fields - FIELDS:
                    known = ", ".join(sorted(FIELDS))
                    raise InputError(
                        f"{where}phrases.{key}: {phrase!r}: no field {{{min(unknown)}}}, there are {known}"
                    )


@dataclass(frozen=True)
class Phrases:
    file: Path
    forms: dict[str, tuple[str, ...]]
    nouns: dict[str, str]

    def draw(self, rng: np.random.Generator, *keys: str) -> str:
        """Return one of the phrases of the first key that the file has; InputError where it has none of them."""
        for key in keys:
            if key in self.forms:
                return pick(rng, self.forms[key])
        raise InputError(f"{self.file}: phrases.{keys[-1]} is missing")

    def say(self, rng: np.random.Generator, *keys: str, **names: str) -> str:
        """Return a drawn phrase with its fields filled."""
        return self.draw(rng, *keys).format(**names)


@functools.cache
def read_phrases(path: Path) -> Phrases:
    """Return the phrases of a YAML file. Raises InputError, naming file and key, for what is not as described."""
    content = load_config(_File, path, [])
    return Phrases(path, content.phrases, content.nouns)


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    return items[int(rng.integers(len(items)))]
