"""Files as every stage reads and writes them: strict JSON Lines, whole files by rename, append-only logs, the run lock.

- A whole file or folder is written to a hidden sibling, fsynced and renamed: a reader sees the old or the new one.
- The sibling's name is fixed, so that what a killed run left is overwritten, not heaped up: one writer a path.
- A log only grows; on resume it is cut back to the length that the checkpoint remembers.
- What is read may be compressed (.gz, .xz), what is written is not.

Left out: other encodings than UTF-8 (data/tables.py reads those).
"""

import codecs
import contextlib
import datetime
import fcntl
import gzip
import hashlib
import json
import lzma
import math
import os
import shutil
import socket
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from model.errors import InputError

MAX_BYTES = 64 * 2**20  # of one record, or of one JSON document: memory stays bounded on one endless line


@contextlib.contextmanager
def _os_errors(path: str | os.PathLike, doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # missing, no permission, disk full: the user can mend it
        raise InputError(f"{path}: cannot {doing}: {error}") from error
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{path}: cannot {doing}: broken compression: {error}") from error


@contextlib.contextmanager
def open_bytes(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Yield the file's bytes, decompressed as its name says (.gz, .xz). Raises InputError for what cannot be read."""
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(Path(path).suffix.lower(), open)
    with _os_errors(path, "read"), opener(path, "rb") as file:
        yield file


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError(f"key {Counter(key for key, _ in pairs).most_common(1)[0][0]!r} twice in one object")
    return fields


def _finite(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise ValueError(f"{number} is not a finite number")
    return value


def _nan_is_null(constant: str) -> None:
    if constant != "NaN":
        raise ValueError(f"{constant} is not a finite number")


_DECODERS = {  # made once: json.loads would make one a record
    nan_is_null: json.JSONDecoder(object_pairs_hook=_object, parse_float=_finite, parse_constant=constant)
    for nan_is_null, constant in ((True, _nan_is_null), (False, _finite))
}


def parse_json(data: bytes, where: str, nan_is_null: bool = False) -> Any:
    """Return the JSON value, or raise InputError beginning with `where`: strict UTF-8, no key twice, finite numbers.

    nan_is_null: a bare NaN, which others' tools write for a missing value, is read as null.
    """
    if len(data) > MAX_BYTES:
        raise InputError(f"{where}: one JSON value of over {MAX_BYTES >> 20} MiB; expected one record a line")
    try:
        text = data.decode("utf-8")
        value = _DECODERS[nan_is_null].decode(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair could not be written again
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not strict JSON: {str(error).replace('line 1 column', 'column')}") from error
    return value


def read_jsonl(path: str | os.PathLike, nan_is_null: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    r"""Yield ("FILE:LINE", record) for each line, one line in memory at a time; blank lines are skipped.

    `\n` alone ends a record (U+2028 does not); a byte-order mark and a trailing `\r` are dropped. Raises InputError
    for a file that cannot be read and for a line that is not one JSON object as strict as `parse_json` asks.
    """
    with open_bytes(path) as file:
        for number, line in enumerate(iter(partial(file.readline, MAX_BYTES + 8), b""), start=1):
            line = line.removeprefix(codecs.BOM_UTF8 if number == 1 else b"").removesuffix(b"\n").removesuffix(b"\r")
            if not line.strip():
                continue
            record = parse_json(line, f"{path}:{number}", nan_is_null)
            if not isinstance(record, dict):
                raise InputError(f"{path}:{number}: expected a JSON object, found {type(record).__name__}")
            yield f"{path}:{number}", record


def read_json(path: str | os.PathLike, nan_is_null: bool = False) -> Any:
    """Return the one JSON value in the file, as strictly as `read_jsonl`."""
    with open_bytes(path) as file:
        return parse_json(file.read(MAX_BYTES + 8).removeprefix(codecs.BOM_UTF8), str(path), nan_is_null)


def sha256_file(path: str | os.PathLike) -> str:
    """Return the hexadecimal SHA-256 of the file's bytes, read in blocks."""
    with _os_errors(path, "read"), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def input_hashes(inputs: Mapping[str, Path]) -> dict[str, str]:
    """Return name -> sha256 of each input file; of a model folder, of each file in it that matters."""
    hashes = {}
    for name, path in inputs.items():
        if path.is_dir():
            for file in sorted([*path.glob("*.safetensors"), *path.glob("*.json"), *path.glob("*.jinja")]):
                hashes[f"{name}/{file.name}"] = sha256_file(file)
        else:
            hashes[name] = sha256_file(path)
    return hashes


def _json_line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"


def _fsync(path: str | os.PathLike) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: str | os.PathLike, data: str | bytes | Iterable[bytes]) -> None:
    """Write the whole file or nothing, folders made as needed. Raises InputError where the disk refuses."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    data = data.encode("utf-8") if isinstance(data, str) else data
    with _os_errors(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.writelines([data] if isinstance(data, bytes) else data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _fsync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_jsonl(path: str | os.PathLike, records: Iterable[dict[str, Any]]) -> None:
    """Write one record a line as they come, the whole file or nothing. Raises ValueError for NaN, else as above."""
    write_atomic(path, map(_json_line, records))


def being_written(folder: Path) -> Path:
    """Return the sibling that `replace_folder` fills; the other processes of a run write there too."""
    return folder.with_name(f".{folder.name}.tmp")


@contextlib.contextmanager
def replace_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Yield an empty sibling to fill; at the end it takes the place of `folder`, after an error it is removed."""
    folder = Path(folder)
    new, old = being_written(folder), folder.with_name(f".{folder.name}.old")
    with _os_errors(folder, "write"):
        if folder.is_symlink() or folder.is_file():
            raise InputError(f"{folder}: cannot replace: expected a folder")
        if old.exists() and not folder.exists():  # killed between the two renames below
            os.rename(old, folder)
        for left_over in (new, old):
            shutil.rmtree(left_over, ignore_errors=True)
        new.mkdir(parents=True)
        try:
            yield new
            for place, _, names in os.walk(new):
                for name in (*names, ""):
                    _fsync(os.path.join(place, name))
            if folder.exists():
                os.rename(folder, old)
            os.rename(new, folder)
            _fsync(folder.parent)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


class AppendLog:
    """An append-only JSON Lines file, cut back to a known length on resume."""

    def __init__(self, path: str | os.PathLike, keep_bytes: int | None = None, active: bool = True):
        """Open, first cutting the file back to `keep_bytes`, or where None to its last whole line.

        Not `active`: touch no file and drop what is appended (of a run's processes one writes). Raises InputError
        where the file is shorter than `keep_bytes` or no line ends there.
        """
        self.path, self.active, self.offset = Path(path), active, 0
        if not active:
            return
        with _os_errors(path, "append"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 closed by close()
            found = self._file.seek(0, os.SEEK_END)
            self.offset = self._end_of_last_line(min(found, keep_bytes if keep_bytes is not None else found))
            if keep_bytes not in (None, self.offset):
                self._file.close()
                raise InputError(
                    f"{path}: expected a line that ends at byte {keep_bytes}; it has {found} bytes, edited?"
                )
            self._file.truncate(self.offset)
            _fsync(self.path.parent)

    def _end_of_last_line(self, end: int) -> int:
        while end > 0:
            start = max(0, end - 65536)
            self._file.seek(start)
            if after := self._file.read(end - start).rfind(b"\n") + 1:
                return start + after
            end = start
        return 0

    def append(self, record: dict[str, Any]) -> None:
        """Write one line, unbuffered. Raises InputError where the disk refuses: no rest of it is written later."""
        if not self.active:
            return
        line = rest = _json_line(record)
        with _os_errors(self.path, "append"):
            while rest:
                rest = rest[self._file.write(rest) :]
        self.offset += len(line)

    def sync(self) -> int:
        """Put everything on the disk; return `offset`, the length in bytes for the checkpoint to remember."""
        if self.active:
            with _os_errors(self.path, "append"):
                os.fsync(self._file.fileno())
        return self.offset

    def close(self) -> None:
        """Close the file."""
        if self.active:
            self._file.close()


@contextlib.contextmanager
def run_lock(run_dir: str | os.PathLike, name: str, rank: int = 0) -> Iterator[None]:
    """Hold the folder for this process; raise InputError naming the process that holds it already.

    Each rank of a run has a lock of its own: one that outlives the others (kill -9 of the launcher leaves all of them
    alive) still writes its part. The kernel drops a lock with its process, kill -9 included, and a program started
    from here does not inherit it.
    """
    path = Path(run_dir, f".lock.{rank}" if rank else ".lock")
    with _os_errors(path, "lock"):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 closed below; close-on-exec, as PEP 446 has it
    with file:
        with _os_errors(path, "lock"):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.readline(500).strip() or "another process"
                raise InputError(f"{run_dir}: in use by {holder}; one run a folder") from None
            started = datetime.datetime.now().isoformat(sep=" ", timespec="seconds")
            file.truncate(0)
            line = f"process {os.getpid()}, {name}, on {socket.gethostname()} since {started}\n"
            os.write(file.fileno(), line.encode())  # unbuffered: closing must not meet a full disk again
        yield
