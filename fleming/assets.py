"""The tables of assets/: what the code goes by, as rows of data. Left out: those whose rows are checked (config.py)."""

import re
from pathlib import Path
from typing import Any

import yaml

ASSETS = Path(__file__).parents[1] / "assets"


def load_table(name: str) -> Any:
    """Return what a YAML file of assets/ holds."""
    return yaml.safe_load((ASSETS / name).read_text(encoding="utf-8"))


def expressions(name: str, flags: int = 0, **given: str) -> dict[str, re.Pattern]:
    """Return name -> expression of a table: a list is its alternatives, {{NAME}} a row above it, or one given."""
    found = dict(given)
    for key, rows in load_table(name).items():
        whole = "|".join(rows) if isinstance(rows, list) else rows
        found[key] = re.sub(r"\{\{(\w+)\}\}", lambda piece: found[piece[1]], whole)
    return {key: re.compile(text, flags) for key, text in found.items() if not key.isupper()}
