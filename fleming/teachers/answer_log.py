"""A file of answers that is added to as they come, so that a run that was stopped asks for the others alone.

Left out: what is asked one conversation at a time, and why an answer is none (remembered.py).
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from fleming.files import AppendLog, read_jsonl
from fleming.typed import from_json
from model.errors import InputError

R = TypeVar("R")  # a frozen dataclass: a record of answers with a `key`


@dataclass(frozen=True)
class AnswerLog:
    """A file of answers, a record each, that is added to as they come."""

    path: Path
    kind: type[R]
    """Of its records."""
    doing: str
    """Stands before the progress bar."""

    def complete(self, keys: Sequence[Any], ask: Callable[[slice], Sequence[R]], chunk: int) -> list[R]:
        """Return the record of each key: those that the file has, the others as `ask` gives them.

        A model's answers agree to rounding, not to the bit, with what is sampled beside them: so a chunk is always
        asked as a whole, also where an interrupted run has logged a part of it. InputError for a file of another kind.
        """
        bar = tqdm(total=len(keys), desc=self.doing, unit="question", dynamic_ncols=True)
        with (
            contextlib.closing(AppendLog(self.path, hash_lines=True)) as log,
            bar,
        ):  # opened first: it drops a torn last line
            known = self._read()
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

    def _read(self) -> dict[Any, R]:
        known = {}
        for where, value in read_jsonl(self.path):
            try:
                record = from_json(self.kind, value, where)
            except InputError as error:
                raise InputError(f"{error}; delete the file to ask anew") from error
            known.setdefault(record.key, record)
        return known
