"""A file of rubrics: prompts, their criteria with points, and what decides a criterion without a model.

Left out: expressions and code in a file, which a stranger may have written.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from fleming.files import read_jsonl
from fleming.free_answer import read_number, same_number
from fleming.records import Message
from fleming.settings import FreeConfig
from fleming.text import CJK, fold, name_key, words
from fleming.typed import NonNegative, Range, from_json
from model.errors import InputError

ROLES = ("system", "user", "assistant")
RANGES = ("to", "through", "-", "~", "至", "到")  # "5 to 7 mg" is neither 5 nor 7
NOT = ("not", "minus", "than", "above", "below", "非", "不是", "<", ">", "≤", "≥")
# Where a number may begin without a blank, and what stands behind one end: 每次服5mg，共5至7天.
_APART = re.compile(rf"(?<=[{CJK}:=])(?=\d)|(?<=[,;:。、])(?=[^\d\s])|(?=[至到~])|(?<=[至到~])")
Points = Annotated[float, Range("from -1000 to 1000", lambda points: abs(points) <= 1000)]


@dataclass(frozen=True)
class Check:
    """What decides a criterion without a model: all that is set must hold."""

    contains: list[str] = field(default_factory=list)
    """All of these stand in the answer, word by word, with their signs and comparators: "2 mg" is not in "0.2 mg"."""
    contains_any: list[str] = field(default_factory=list)
    """One of these does."""
    number: float | None = None
    """A number of the answer."""
    unit: str = ""
    """Behind that number."""
    tolerance: NonNegative[float] | None = None
    """How far off the number may be."""

    def check(self, where: str) -> None:
        """Raise InputError where nothing is asked for, or what no answer can have."""
        texts = [*self.contains, *self.contains_any]
        if not (texts or self.number is not None) or not all(map(words, texts)):
            raise InputError(f"{where}: expected texts with words in them, or a number")
        if self.number is None and (self.unit or self.tolerance is not None):
            raise InputError(f"{where}: a unit or a tolerance without a number")
        if self.number is not None and read_number(f"{self.number!r} {self.unit}") is None:
            raise InputError(f"{where}: {self.number!r} {self.unit[:40]!r} is no number with a unit")

    def holds(self, answer: str) -> bool:
        """Whether it holds of an answer."""
        said = f" {name_key(answer, signs=True)} "
        found = [f" {name_key(text, signs=True)} " in said for text in self.contains]
        if self.contains_any:
            found.append(any(f" {name_key(text, signs=True)} " in said for text in self.contains_any))
        return all(found) and (self.number is None or self._has_number(answer))

    def _has_number(self, answer: str) -> bool:
        right = read_number(f"{self.number!r} {self.unit}")
        rules = FreeConfig(units="require" if self.unit else "strip")
        tokens = _APART.sub(" ", fold(answer, keep_case=True)).split()
        plain = [token.casefold() for token in tokens]
        numbers = {i for i, token in enumerate(tokens) if any(map(str.isdecimal, token))}
        for i, token in enumerate(plain):  # a unit may stand behind the first: "5 mg to 7 mg"
            ranges = token in RANGES or (token == "and" and "between" in plain[max(0, i - 3) : i])
            if ranges and i + 1 in numbers and {i - 1, i - 2} & numbers:
                numbers -= {i - 2, i - 1, i + 1}
            if token in NOT:
                numbers -= {i + 1}
        for i in numbers:
            for size in (1, 2, 3):
                given = read_number(" ".join(tokens[i : i + size]).strip("()[],;:.!?*。"))
                if given and same_number(given, right, rules, self.tolerance):
                    return True
        return False


@dataclass(frozen=True)
class Criterion:
    """One line of a rubric."""

    criterion: str
    points: Points
    """Below 0 for what an answer should not do."""
    tags: list[str] = field(default_factory=list)
    check_: Check | None = None


@dataclass(frozen=True)
class Rubric:
    """A prompt and its criteria."""

    prompt_id: str
    prompt: list[Message]
    rubrics: list[Criterion]


def read_rubrics(path: Path) -> tuple[list[Rubric], dict[str, int]]:
    """Return the rubrics of a file and the rows set aside by code. InputError where those are above a fifth."""
    found: dict[str, Rubric] = {}
    faults: list[tuple[str, str]] = []
    for where, row in read_jsonl(
        path, True, lambda where, code, why: faults.append((code, f"{where}: {why}"))
    ):
        try:
            rubric = _rubric(row, where)
        except InputError as error:
            faults.append(("bad_row", str(error).replace("check_", "check")))
            continue
        if rubric.prompt_id in found:
            faults.append(("duplicate", f"{where}: prompt_id {rubric.prompt_id[:80]!r} again"))
        found.setdefault(rubric.prompt_id, rubric)
    if 5 * len(faults) > len(found) + len(faults) or not found:
        first = faults[0][1] if faults else "it is empty"
        raise InputError(f"{path}: {len(faults)} of {len(found) + len(faults)} rows are no rubrics; {first}")
    return list(found.values()), dict(Counter(code for code, _ in faults))


def is_conversation(value: Any) -> bool:
    """Whether a value is messages of role and content, the last of the user."""
    return (
        isinstance(value, list)
        and all(isinstance(m, dict) and m.keys() == {"role", "content"} for m in value)
        and all(isinstance(m["content"], str) and m["role"] in ROLES for m in value)
        and value[-1:] != []
        and value[-1]["role"] == "user"
    )


def _rubric(row: dict[str, Any], where: str) -> Rubric:
    rows, shared = row.get("rubrics"), row.get("example_tags") or []
    if not (isinstance(rows, list) and isinstance(shared, list) and all(isinstance(r, dict) for r in rows)):
        raise InputError(f"{where}: rubrics: expected a list of {{criterion, points, tags}}")
    if not all(isinstance(r.get("tags") or [], list) for r in rows):
        raise InputError(f"{where}: tags: expected a list")
    criteria = [
        {name: r[name] for name in ("criterion", "points") if name in r}
        | {"tags": [*(r.get("tags") or []), *shared], "check_": r.get("check")}
        for r in rows
    ]
    fields = {name: row[name] for name in ("prompt_id", "prompt") if name in row}
    rubric = from_json(Rubric, {**fields, "rubrics": criteria}, where)
    if not is_conversation(rubric.prompt):
        raise InputError(f"{where}: prompt: expected messages of role and content, the last of the user")
    if not any(c.points > 0 for c in rubric.rubrics) or not all(c.criterion.strip() for c in rubric.rubrics):
        raise InputError(f"{where}: no criterion has points above 0, or one is empty")
    return rubric
