"""results.jsonl: one line for each finished arm and seed, counts and masks of right answers, no weights.

A mask is the hexadecimal number whose binary digits, most significant first, say which questions of a set were right,
in the order of the data's files: two arms of a seed answered the same ones, so they are compared question by question.
"""

import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.ablation.arms import ROOT, Plan, recipe_hash
from fleming.config import to_dict
from fleming.files import read_jsonl
from fleming.typed import from_json
from model.errors import InputError
from model.files import write_atomic

RESULTS = ROOT / "docs/ablation/results.jsonl"


@dataclass(frozen=True)
class Line:
    """What a finished arm came to on one seed."""

    arm: str
    seed: int
    scale: str
    recipe: str
    """The hash of settings, config and data; a line of another recipe does not count."""
    sets: dict[str, tuple[int, int]]
    """Chain length -> right answers, questions."""
    masks: dict[str, str]
    """Chain length -> which were right."""
    questions: str
    """Hash of the questions' ids in their order."""
    whole_path: dict[str, tuple[int, int]]
    """right, wrong -> answers whose reasoning states every fact of the certificate, answers of that kind."""
    steps: int
    tokens: int
    """Generated while training: by mining and in groups drawn in vain, too. 0 for a cold start."""
    seconds: float
    """Of training, by the run's own clock."""
    commit: str
    cpu_kernels: str
    planted: dict[str, int] = field(default_factory=dict)
    """planted, left (for review), caught (planted ones among these), rounds; where labels were planted."""


def mask_of(right: Sequence[bool]) -> str:
    """Return the mask of which were right."""
    return f"{int('0' + ''.join('1' if r else '0' for r in right), 2):0{-(-len(right) // 4)}x}"


def right_of(mask: str, n: int) -> list[int]:
    """Return 1 or 0 for each of the n questions of a mask."""
    return [int(digit) for digit in f"{int(mask or '0', 16):0{n}b}"] if n else []


def read_lines(path: Path = RESULTS) -> list[Line]:
    """Return all lines; none where there is no file. Raises InputError for masks that disagree with the counts."""
    if not path.exists():
        return []
    lines = []
    for where, record in read_jsonl(path):
        line = from_json(Line, record, where)
        for name, (right, n) in line.sets.items():
            given = right_of(line.masks.get(name, ""), n)
            if len(given) != n or sum(given) != right:
                raise InputError(f"{where}: set {name} has {right} right of {n}, but its mask says otherwise")
        lines.append(line)
    return lines


def append_line(line: Line, path: Path = RESULTS) -> None:
    """Add a line: the whole file is written beside and renamed, so that one that is killed leaves it as it was."""
    before = path.read_bytes() if path.exists() else b""
    write_atomic(path, before + json.dumps(to_dict(line)).encode() + b"\n")


def counted(plan: Plan, lines: Iterable[Line], scale: str) -> tuple[dict[tuple[str, int], Line], list[Line]]:
    """Return (arm, seed) -> the newest line that counts at this scale, and the lines of other recipes.

    A cold start is the same at each scale, so a line of either counts.
    """
    found: dict[tuple[str, int], Line] = {}
    stale = []
    for line in lines:
        cold_start = line.arm in plan.arms and plan.arms[line.arm].trains == "sft"
        if line.scale != scale and not cold_start:
            continue
        if line.arm in plan.arms and line.recipe == recipe_hash(plan, line.arm, scale):
            found[line.arm, line.seed] = line
        else:
            stale.append(line)
    return found, [line for line in stale if (line.arm, line.seed) not in found]


def code_version() -> str:
    """Return the commit, "-dirty" where files outside docs/ablation differ from it."""
    outside = ["--", ".", ":(exclude)docs/ablation"]
    commands = ["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no", *outside]
    told = [
        subprocess.run(["git", "-C", str(ROOT), *command], capture_output=True, text=True, timeout=30)
        for command in commands
    ]
    if any(done.returncode for done in told):
        return "unknown"
    return told[0].stdout.strip() + ("-dirty" if told[1].stdout.strip() else "")
