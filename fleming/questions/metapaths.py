"""The kinds of question and their kinds of path, read from assets/question_kinds.yaml: which steps lead to the answer.

Left out: how many of each are posed (synth.kinds in the settings), the words of what is asked (wording.py).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fleming.config import load_config
from model.errors import InputError

KINDS_FILE = Path(__file__).parents[2] / "assets/question_kinds.yaml"


@dataclass(frozen=True)
class KindEntry:
    root: str = "disease"
    chains: tuple[str, ...] = ()
    hidden: bool = True
    by: str = ""
    answers: Literal["rivals", "findings", "values"] = "rivals"

    def check(self, where: str) -> None:
        """Raise InputError for a kind without a path."""
        if not self.chains:
            raise InputError(f"{where}chains: expected a path or more, found none")


@dataclass(frozen=True)
class KindsFile:
    kinds: dict[str, KindEntry] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """One kind of path: what a question begins at, the steps to its answer, how its wrong options are found."""

    name: str
    """The share of the quotas that it fills."""
    root: str
    """Entity type at which the path begins."""
    chain: tuple[str, ...]
    """Steps from the root to the answer; none where the root itself is asked for."""
    hidden: bool = True
    """The root stands behind clues; else it is named."""
    by: str = ""
    """Relation of which one visible tail singles out the node before the answer."""
    answers: str = "rivals"
    """rivals: wrong options are what the chain gives for a rival. findings: findings that are rare in the root. values:
    the other values of a relation that has but a few."""

    @property
    def metapath(self) -> str:
        """Its name in a question's record."""
        steps = " > ".join((self.root, *self.chain))
        return f"{'findings > ' * self.hidden}{steps}{f' by {self.by}' * bool(self.by)}"

    @property
    def hops(self) -> int:
        return len(self.chain) + self.hidden


def kinds() -> list[Kind]:
    """Return every kind of path, in the file's order."""
    found = []
    for name, entry in load_config(KindsFile, KINDS_FILE, []).kinds.items():
        for line in entry.chains:
            chain = tuple(line.replace(">", " ").split())
            found.append(Kind(name, entry.root, chain, entry.hidden, entry.by, entry.answers))
    return found
