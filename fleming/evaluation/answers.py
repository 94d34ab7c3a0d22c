"""The answers of one evaluation: each is on the disk as soon as it is there, and none is asked for twice.

While a run lasts every rank appends to a part of its own; at its end the parts become answers.jsonl, in the order of
the questions. A killed run is gone on with by the same command, on any number of ranks; more questions, samples or
orders than before add to what is there. Left out: what an answer is (generation.py, loglikelihood.py).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fleming.evaluation.items import Key, key_of
from fleming.files import AppendLog, read_json, read_jsonl, write_atomic, write_jsonl
from fleming.training.parallel import World
from fleming.training.run import check_same_run
from model.errors import InputError


class Answers:
    """Open on every rank at once; raises InputError where the folder's answers were given under other settings."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], world: World):
        """settings: what fixes an answer, its data's and model's hashes included."""
        self.folder, self.world = folder, world
        world.on_main(_prepare, folder, dict(settings))
        with world.agree():
            self.done: set[Key] = {key_of(record) for record in _read(folder)}
        with world.agree():  # all have read before one of them writes
            self.part = AppendLog(folder / f"answers.part{world.rank}.jsonl")

    def keep(self, record: dict[str, Any]) -> None:
        """Put an answer on the disk."""
        self.part.append(record)

    def collect(self, order: Sequence[Key]) -> list[dict[str, Any]]:
        """Join all parts in answers.jsonl, on the main rank; return there the records of `order`, elsewhere none.

        answers.jsonl keeps whatever else was answered before, behind them.
        """
        records: list[dict[str, Any]] = []
        with self.world.agree():  # then all parts are whole
            self.part.sync()
            self.part.close()
        with self.world.agree():
            if self.world.is_main:
                records = self._join(order)
        return records

    def _join(self, order: Sequence[Key]) -> list[dict[str, Any]]:
        found: dict[Key, dict[str, Any]] = {}
        for record in _read(self.folder):
            found.setdefault(key_of(record), record)
        if missing := [key for key in order if key not in found]:
            raise InputError(f"{self.folder}: {len(missing)} answers are missing, the first of {missing[0]}: edited?")
        others = sorted(found.keys() - set(order))
        write_jsonl(self.folder / "answers.jsonl", (found[key] for key in (*order, *others)))
        for part in _parts(self.folder):
            part.unlink()
        return [found[key] for key in order]


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("answers.part*.jsonl"))


def _prepare(folder: Path, settings: dict[str, Any]) -> None:
    path = folder / "settings.json"
    settings = json.loads(json.dumps(settings))  # as they will be read back
    saved = read_settings(folder)
    if saved is None and ((folder / "answers.jsonl").exists() or _parts(folder)):
        raise InputError(f"{path}: missing, so nobody knows under what settings the answers beside it were given")
    saved = saved or {}
    both = saved.keys() & settings.keys()
    check_same_run({k: saved[k] for k in sorted(both)}, {k: settings[k] for k in sorted(both)}, str(folder))
    for part in _parts(folder):
        AppendLog(part).close()  # cuts off the line in which a run was killed
    write_atomic(path, json.dumps(saved | settings, ensure_ascii=False, indent=1) + "\n")


def read_settings(folder: Path) -> dict[str, Any] | None:
    """Return under what settings a folder's answers were given, None where the file is missing."""
    path = folder / "settings.json"
    saved = read_json(path) if path.exists() else None
    if not isinstance(saved, dict | None) or (path.exists() and saved is None):
        raise InputError(f"{path}: not the settings of an evaluation; move it away")
    return saved


def _read(folder: Path) -> Iterator[dict[str, Any]]:
    for path in (folder / "answers.jsonl", *_parts(folder)):
        if path.exists():
            yield from read_answers(path)


FIELDS = {
    **dict.fromkeys(("benchmark", "protocol", "id", "gold"), str),
    **dict.fromkeys(("order", "sample", "options", "tokens"), int),
    **dict.fromkeys(("counts", "correct"), bool),
    **{"answer": str | None, "choice": str | None, "time": dict},
}
OF_PROTOCOL = {
    "cot": {"format": bool, "finish_reason": str},
    "loglikelihood": {"loglikelihoods": dict, "correct_by_length": bool, "cut_left": bool},
}


def read_answers(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of an answers file. Raises InputError with its line for one that is no answer's."""
    for where, record in read_jsonl(path):
        fields = FIELDS | OF_PROTOCOL.get(str(record.get("protocol")), {})
        for name, kind in fields.items():
            value = record.get(name)
            if name not in record or not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                raise InputError(f"{where}: not an answer: {name} is {str(value)[:80]!r}")
        if record["protocol"] not in OF_PROTOCOL or record["options"] < 1:
            raise InputError(f"{where}: not an answer: protocol {record['protocol']!r}, {record['options']} options")
        if record["correct"] != (record["answer"] == record["gold"]):
            raise InputError(f"{where}: correct is {record['correct']}, the answer {record['answer']!r}, edited?")
        yield record
