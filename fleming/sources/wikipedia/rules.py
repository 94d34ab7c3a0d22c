"""What the reading of pages goes by: assets/wikipedia.yaml and wikipedia_phrases.yaml."""

from dataclasses import dataclass, field

from fleming.config import load_config
from fleming.text import ASSETS, expressions


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


RULES = load_config(Rules, ASSETS / "wikipedia.yaml", [])
SAYS = expressions(ASSETS / "wikipedia_phrases.yaml")
