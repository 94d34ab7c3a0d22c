"""A file of answers that is added to as they come, so that a run that was stopped asks for the others alone.

Left out: what is asked one conversation at a time, and why an answer is none (remembered.py).
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from fleming.files import AppendLog, read_jsonl
from fleming.typed import from_json
from model.errors import InputError

R = TypeVar("R")  # a frozen dataclass: a record of answers with a `key`


def complete_log(
    path: Path,
    kind: type[R],
    doing: str,
    keys: Sequence[Any],
    ask: Callable[[slice], Sequence[R]],
    chunk: int,
) -> list[R]:
    """Return the record of each key: those that the file has, the others as `ask` gives them; `doing` names the bar.

    A model's answers agree to rounding, not to the bit, with what is sampled beside them: so a chunk is always
    asked as a whole, also where an interrupted run has logged a part of it. InputError for a file of another kind.
    """
    bar = tqdm(total=len(keys), desc=doing, unit="question", dynamic_ncols=True)
    with contextlib.closing(AppendLog(path, hash_lines=True)) as log, bar:  # first: it drops a torn last line
        known: dict[Any, R] = {}
        for record in read_answer_log(path, kind):
            known.setdefault(record.key, record)
        for start in range(0, len(keys), chunk):
            part = slice(start, start + chunk)
            if any(key not in known for key in keys[part]):
                for record in ask(part):
                    if record.key not in known:
                        known[record.key] = record
                        log.append(asdict(record))
            bar.update(len(keys[part]))
        log.sync()
    return [known[key] for key in keys]


def read_answer_log(path: Path, kind: type[R]) -> Iterator[R]:
    """Yield the records of a file. Raises InputError with the line of what is none."""
    for where, value in read_jsonl(path):
        try:
            yield from_json(kind, value, where)
        except InputError as error:
            raise InputError(f"{error}; delete the file to ask anew") from error
