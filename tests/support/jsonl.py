"""JSON Lines as the format has it: `\\n` alone ends a record; str.splitlines would cut at U+2028 and a dozen others."""

import json
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file, without their ends."""
    return [line for line in path.read_bytes().decode("utf-8").split("\n") if line]


def read_records(path: Path) -> list[Any]:
    """Return the values of the lines."""
    return [json.loads(line) for line in read_lines(path)]
