"""Readers of questions and trajectories: our own records, and public sets as they are published.

A record of another shape is refused with its place, never guessed at. Left out: what each public set looks like
(public_sets.py).
"""

from pathlib import Path

from fleming.data.public_sets import read_set
from fleming.files import read_jsonl
from fleming.records import Question, Trajectory, trajectory_from_json
from model.errors import InputError


def read_questions(path: str | Path) -> list[Question]:
    """Return the questions of a file, ids unique; see `read_set`, which also says what was set aside."""
    return read_set(path).questions


def read_trajectories(path: str | Path) -> list[Trajectory]:
    """Return the trajectories of a JSONL file, ids unique. Raises InputError naming file and line for anything else."""
    seen: dict[str, Trajectory] = {}
    for where, record in read_jsonl(path):
        trajectory = trajectory_from_json(record, where)
        if trajectory.id in seen:
            raise InputError(f"{where}: id {trajectory.id!r} occurs twice")
        seen[trajectory.id] = trajectory
    if not seen:
        raise InputError(f"{path}: no trajectories in it")
    return list(seen.values())
