"""What the reading of pages goes by: assets/wikipedia.yaml. Left out: expressions used once."""

from dataclasses import dataclass, field
from pathlib import Path

from fleming.config import load_config


@dataclass(frozen=True)
class Rules:
    """The file's sections, each explained there."""

    fields: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    sections: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    boxes: dict[str, str] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)
    nouns: dict[str, str] = field(default_factory=dict)
    identifiers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    inheritance: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lists: tuple[str, ...] = ()
    texts: dict[str, int] = field(default_factory=dict)


RULES = load_config(Rules, Path(__file__).parents[3] / "assets/wikipedia.yaml", [])
