"""Files as every stage reads and writes them: JSON Lines, append-only logs, the run lock.

- JSON, whole files and whole folders are model/files.py's, whose names are handed on from here.
- A log only grows; on resume it is cut back to the length that the checkpoint remembers, with its hash. One that no
  checkpoint remembers has a hash in each line.
- JSON and JSON Lines that this house writes have their hash beside them (model/sums.py), compared when they are read.

Left out: other encodings than UTF-8 (public/tables.py reads those).
"""

import codecs
import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from model.errors import InputError
from model.files import (
    MAX_BYTES,
    fsync,
    open_bytes,
    os_errors,
    parse_json,
    parse_object,
    read_bytes,
    write_atomic,
)
from model.sums import SUMS, check_file, read_sums, sha256_file, sums_of, write_hashed

LINE_HASH = "line_sha256"  # last in a line of its own hash: the first half of it


def read_jsonl(
    path: str | os.PathLike, nan_is_null: bool = False, fault: Callable[[str, str, str], None] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    r"""Yield ("FILE:LINE", record) for each line, one line in memory at a time; blank lines are skipped.

    `\n` alone ends a record (U+2028 does not); a byte-order mark and a trailing `\r` are dropped. Raises
    InputError for a file that cannot be read or is not what was written (its hash is compared first), and for a
    line that is not one JSON object as strict as `parse_json` asks; with a `fault` such a line is told to it,
    fault(where, code, detail), and passed over.
    """
    check_file(path)
    with open_bytes(path) as file:
        lines = iter(partial(file.readline, MAX_BYTES + 8), b"")
        for number, line in enumerate(lines, start=1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            line = line.removesuffix(b"\n").removesuffix(b"\r")
            if line.strip() or len(line) > MAX_BYTES:
                where = f"{path}:{number}"
                try:
                    record = parse_line(line, where, nan_is_null)
                except InputError as error:
                    if number == 1 and line.lstrip().startswith(b"["):
                        raise InputError(f"{path}: a JSON array; expected JSON Lines") from error
                    if fault is None or len(line) > MAX_BYTES:
                        raise
                    fault(where, "no_object", str(error).removeprefix(f"{where}: "))
                    continue
                yield where, record


def parse_line(line: bytes, where: str, nan_is_null: bool = False) -> dict[str, Any]:
    """Return the record of a line, less the line's hash if it has one. Raises as `parse_object`, and for damage."""
    record = parse_object(line, where, nan_is_null)
    if LINE_HASH in record:
        del record[LINE_HASH]
        if line.strip() != _hashed_line(record).strip():
            raise InputError(f"{where}: damaged: not what was written; delete the line to have it made anew")
    return record


def read_json(path: str | os.PathLike, nan_is_null: bool = False) -> Any:
    """Return the one JSON value in the file, its hash compared. Raises as `parse_json` and `sha256_file`."""
    check_file(path)
    data = read_bytes(path).removeprefix(codecs.BOM_UTF8)
    return parse_json(data, str(path), nan_is_null)


def input_hashes(inputs: Mapping[str, Path]) -> dict[str, str]:
    """Return name -> sha256 of each input file; of a model folder, of each file in it that matters.

    Raises InputError for a file that is not what was written, where that is known (model/sums.py).
    """
    hashes = {}
    for name, path in inputs.items():
        if path.is_dir():
            files = {file.name for kind in ("*.safetensors", "*.json", "*.jinja") for file in path.glob(kind)}
            listed = {file for _, file in read_sums(path / SUMS)}
            found = {file: sha256_file(path / file, listed=True) for file in files | listed}
            hashes |= {f"{name}/{file}": found[file] for file in sorted(files)}
        else:
            hashes[name] = sha256_file(path)
    return hashes


def read_log(path: str | os.PathLike) -> Iterator[dict[str, Any]]:
    """Yield each record of a log that grows. Of a run that was killed, or writes now, its half last line is left out.

    Raises InputError as `read_jsonl`.
    """
    check_file(path)
    with open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n"):
                yield parse_line(line, f"{path}:{number}")


def _json_line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"


def _hashed_line(record: dict[str, Any]) -> bytes:
    line_sha256 = hashlib.sha256(_json_line(record)).hexdigest()[:32]
    return _json_line({**record, LINE_HASH: line_sha256})


def write_jsonl(path: str | os.PathLike, records: Iterable[dict[str, Any]], hashed: bool = False) -> None:
    """Write one record a line as they come, the whole file or nothing. Raises ValueError for NaN.

    hashed: with its hash beside it; for all files but those that people are meant to edit.
    """
    (write_hashed if hashed else write_atomic)(path, map(_json_line, records))


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write the value, indented, the whole file or nothing, its hash beside it. Raises ValueError for NaN."""
    write_hashed(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False, default=vars) + "\n")


class AppendLog:
    """An append-only JSON Lines file, cut back to a known length on resume."""

    def __init__(self, path: str | os.PathLike, keep_bytes: int | None = None, hash_lines: bool = False):
        """Open, first cutting the file back to `keep_bytes`, or where None to its last whole line.

        `sha256` is the hash of what was kept of `keep_bytes` and appended. hash_lines: each line ends with its own.
        Raises InputError where the file is shorter than `keep_bytes`.
        """
        self.path = Path(path)
        self.line = _hashed_line if hash_lines else _json_line
        with os_errors(path, "append"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            check_file(path)
            sums_of(path).unlink(missing_ok=True)  # of a file that grows now
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 closed by close()
            self.sha256 = hash_of_log(self.path, keep_bytes or 0)
            end = self._file.seek(0, os.SEEK_END)
            self.offset = self._end_of_last_line(end) if keep_bytes is None else keep_bytes
            self._file.truncate(self.offset)
            fsync(self.path.parent)

    def _end_of_last_line(self, end: int) -> int:
        while end > 0:
            start = max(0, end - 65536)
            self._file.seek(start)
            last = self._file.read(end - start).rfind(b"\n")
            if last >= 0:
                return start + last + 1
            end = start
        return 0

    def append(self, record: dict[str, Any]) -> None:
        """Write one line, unbuffered. Raises InputError where the disk refuses; no rest comes later."""
        line = rest = self.line(record)
        with os_errors(self.path, "append"):
            while rest:
                written = self._file.write(rest)
                rest = rest[written:]
        self.offset += len(line)
        self.sha256.update(line)

    def sync(self) -> int:
        """Put everything on the disk; return `offset`, the length in bytes for the checkpoint to remember."""
        with os_errors(self.path, "append"):
            os.fsync(self._file.fileno())
        return self.offset

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def hash_of_log(path: Path, size: int) -> "hashlib._Hash":
    """Return the SHA-256 of a log's first `size` bytes. Raises InputError where it is shorter."""
    with open_bytes(path) as file:
        data = file.read(size)
    if len(data) < size:
        raise InputError(f"{path}: {size - len(data)} bytes are missing; restore it, or take another run_dir")
    return hashlib.sha256(data)


def is_log_of(path: Path, state: Mapping[str, Any]) -> bool:
    """Whether a log still begins with what a checkpoint's state.json has seen of it. Raises as `hash_of_log`."""
    size, sha256 = state.get(f"{path.stem}_bytes"), state.get(f"{path.stem}_sha256")
    return isinstance(size, int) and size >= 0 and hash_of_log(path, size).hexdigest() == sha256


def step_name(step: int) -> str:
    """Return what a step's checkpoint is called, and, with .jsonl behind it, the file of its rollouts."""
    return f"step_{step:06d}"


def step_of(path: Path) -> int:
    """Return the step of a checkpoint or of a file of rollouts, 0 for what has another name."""
    match = re.fullmatch(r"step_([0-9]+)(\.jsonl)?", path.name)
    return int(match[1]) if match else 0


def by_step(folder: Path) -> dict[int, Path]:
    """Return step -> what a folder of checkpoints or rollouts has of it, oldest first."""
    return {step_of(path): path for path in sorted(folder.glob("step_*"), key=step_of) if step_of(path)}


def check_writable(paths: Iterable[Path]) -> None:
    """Raise InputError for a file that cannot be written or made, as far as permissions tell. Writes nothing."""
    for path in paths:
        with os_errors(path, "write"):
            there = next(place for place in (path, *path.parents) if place.exists())
            if there != path and not there.is_dir():
                raise InputError(f"{path}: cannot write: {there} is a file; expected a folder")
            if not os.access(there, os.W_OK):
                raise InputError(f"{path}: cannot write: {there} belongs to another user, or is read-only")


def check_unlocked(run_dir: str | os.PathLike) -> None:
    """Raise InputError naming the process that holds the folder, if one does. Writes nothing."""
    for path in Path(run_dir).glob(".lock*"):
        with os_errors(path, "read"), open(path, encoding="utf-8") as file:
            _lock(file, fcntl.LOCK_SH, run_dir)


def _lock(file: TextIO, kind: int, run_dir: str | os.PathLike) -> None:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.readline(500).strip() or "another process"
        raise InputError(f"{run_dir}: in use by {holder}; one run a folder") from None


@contextlib.contextmanager
def run_lock(run_dir: str | os.PathLike, name: str, rank: int = 0) -> Iterator[None]:
    """Hold the folder for this process; raise InputError naming the process that holds it already.

    Each rank of a run has a lock of its own: one that outlives the others (kill -9 of the launcher leaves all
    of them alive) still writes its part. The kernel drops a lock with its process, kill -9 included, and a
    program started from here does not inherit it.
    """
    path = Path(run_dir, f".lock.{rank}" if rank else ".lock")
    with os_errors(path, "lock"):
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW  # close-on-exec, as PEP 446 has it
        file = open(os.open(path, flags, 0o666), "a+", encoding="utf-8")  # noqa: SIM115 closed below
    with file:
        with os_errors(path, "lock"):
            _lock(file, fcntl.LOCK_EX, run_dir)
            started = datetime.datetime.now().isoformat(sep=" ", timespec="seconds")
            file.truncate(0)
            line = f"process {os.getpid()}, {name}, on {socket.gethostname()} since {started}\n"
            os.write(file.fileno(), line.encode())  # unbuffered: closing must not meet a full disk again
        yield
