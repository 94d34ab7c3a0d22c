"""Files as all of this house reads and writes them: strict JSON, whole files and whole folders by rename.

- JSON is UTF-8, has no key twice in an object and finite numbers only, and one value takes at most MAX_BYTES
- a whole file or folder is written to a hidden sibling, fsynced and renamed: readers see the old or the new
- the sibling's name is fixed, so that what a killed run left is overwritten, not heaped up: one writer a path
- what is read may be compressed (.gz, .xz), up to MAX_RATIO times, what is written is not
- a hidden sibling and a lock are never opened through a link: another user may have laid it there
- a device or a pipe is no file, and neither is what Git LFS leaves in a file's place
- whatever the disk refuses is an InputError that names the path

Left out: other encodings than UTF-8.
"""

import codecs
import contextlib
import gzip
import io
import json
import lzma
import math
import os
import shutil
import stat
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from model.errors import InputError

# Of a JSON value, or of a small file read whole: the largest tokenizer.json in use has half.
MAX_BYTES = 64 * 2**20
MAX_VALUES = 4_000_000  # of a JSON value: marks before one, each of which may take a hundred bytes
MAX_RATIO = 200  # unpacked to packed bytes; text and tables of this field come to 3 to 40
POINTER = b"version https://git-lfs"
# What a file that is no UTF-8 text begins with -> what it is.
NO_TEXT = {
    codecs.BOM_UTF16_LE: "UTF-16: save it as UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16: save it as UTF-8",
    b"\x1f\x8b": "gzip: name it .gz",
    b"\xfd7zXZ": "xz: name it .xz",
    b"PK\x03\x04": "a zip archive (Excel's too): unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel file: save the sheet as CSV",
    b"PAR1": "parquet: name it .parquet",
}


@contextlib.contextmanager
def os_errors(path: str | os.PathLike, doing: str) -> Iterator[None]:
    """Turn what the system refuses inside into an InputError: "PATH: cannot DOING: why"."""
    try:
        yield
    except OSError as error:  # missing, no permission, disk full: the user can mend it
        raise InputError(f"{path}: cannot {doing}: {error}") from error
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{path}: cannot {doing}: broken compression: {error}") from error


# Reading


@contextlib.contextmanager
def open_bytes(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Yield the file's bytes, decompressed as its name says (.gz, .xz). Raises InputError where it cannot."""
    suffix = Path(path).suffix.lower()
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(suffix, open)
    with os_errors(path, "read"):
        check_is_file(path)
        with opener(path, "rb") as file:
            yield file if opener is open else io.BufferedReader(_Unpacked(file, path), 1 << 18)


class _Unpacked(io.RawIOBase):
    """What a compressed file holds. Raises InputError where it swells beyond reason: a bomb would never end."""

    def __init__(self, file: BinaryIO, path: str | os.PathLike):
        self.file, self.path = file, path
        self.most = (MAX_BYTES >> 2) + MAX_RATIO * os.stat(path).st_size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        count = self.file.readinto(buffer)
        if self.file.tell() > self.most:
            raise InputError(f"{self.path}: unpacks to over {MAX_RATIO} times its size; unpack it first")
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        while whence == os.SEEK_END and self.readinto(memoryview(bytearray(1 << 18))):
            pass  # to the end, wherever that is, by steps that are counted
        return self.file.seek(offset, whence)


def check_is_file(path: str | os.PathLike) -> None:
    """Raise InputError for a device or a pipe, which may never end, and for a pointer of Git LFS; OSError as `open`."""
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{path}: a device or a pipe; expected a file")
    with open(path, "rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise InputError(f"{path}: a pointer of Git LFS, not the file itself: git lfs pull fetches it")


def read_bytes(path: str | os.PathLike) -> bytes:
    """Return a small file's bytes. Raises InputError where it cannot be read or has more than MAX_BYTES."""
    with open_bytes(path) as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: over {MAX_BYTES >> 20} MiB; expected a smaller file")
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        key, _ = counts.most_common(1)[0]
        raise ValueError(f"key {key!r} twice in one object")
    return fields


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is not a finite number")
    return value


def _nan_is_null(constant: str) -> None:
    if constant != "NaN":
        raise ValueError(f"{constant} is not a finite number")


# Made once: json.loads would make one a record.
STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_float=_finite, parse_constant=_finite)
STRICT_BUT_NAN = json.JSONDecoder(object_pairs_hook=_object, parse_float=_finite, parse_constant=_nan_is_null)


def parse_json(data: bytes, where: str, nan_is_null: bool = False) -> Any:
    """Return the JSON value, or raise InputError beginning with `where`: UTF-8, no key twice, finite numbers.

    nan_is_null: a bare NaN, which others' tools write for a missing value, is read as null.
    """
    if len(data) > MAX_BYTES:
        raise InputError(f"{where}: one JSON value of over {MAX_BYTES >> 20} MiB; expected one record a line")
    if len(data) > MAX_VALUES and sum(map(data.count, (b"[", b"{", b","))) > MAX_VALUES:
        raise InputError(f"{where}: one JSON value of over {MAX_VALUES:,} values; expected one record a line")
    decoder = STRICT_BUT_NAN if nan_is_null else STRICT
    try:
        text = data.decode("utf-8")
        value = decoder.decode(text)
        if "\\ud" in text or "\\uD" in text:
            # Half a surrogate pair could not be written again.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        detail = _no_json(data) or f"not strict JSON: {error}".replace("line 1 column", "column")
        raise InputError(f"{where}: {detail}") from error
    return value


def no_text(head: bytes) -> str | None:
    """Return what begins so and is no text, and what to do; None for what may be text."""
    found = next((what for begins, what in NO_TEXT.items() if head.startswith(begins)), None)
    return found or ("UTF-16 or binary: save it as UTF-8" if b"\0" in head[:4] else None)


def _no_json(data: bytes) -> str | None:
    """Return what bytes that hold no JSON are and what to do, None where they are text."""
    found = no_text(data)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{data[error.start]:02x} at {error.start}"
        found = found or f"Latin-1 or another encoding ({byte}): save it as UTF-8"
    return found and f"not UTF-8 text but {found}"


def parse_object(data: bytes, where: str, nan_is_null: bool = False) -> dict[str, Any]:
    """Return the JSON object; as `parse_json`, and InputError for any other value."""
    value = parse_json(data, where, nan_is_null)
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a JSON object, found {type(value).__name__}")
    return value


def read_object(path: str | os.PathLike) -> dict[str, Any]:
    """Return the one JSON object in the file, less a byte-order mark. Raises as `parse_object`."""
    data = read_bytes(path).removeprefix(codecs.BOM_UTF8)
    return parse_object(data, str(path))


# Writing


def fsync(path: str | os.PathLike) -> None:
    """Put a file, or a folder's list of names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def being_written(path: Path) -> Path:
    """Return the sibling in which a file or folder is made; all processes of a run fill that of a folder."""
    return path.with_name(f".{path.name}.tmp")


def write_atomic(path: str | os.PathLike, data: str | bytes | Iterable[bytes]) -> None:
    """Write the whole file or nothing, folders made as needed. Raises InputError where the disk refuses."""
    path = Path(path)
    temporary = being_written(path)
    if isinstance(data, str):
        data = data.encode("utf-8")
    with os_errors(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.unlink(missing_ok=True)
            with open(temporary, "xb") as file:
                file.writelines([data] if isinstance(data, bytes) else data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            fsync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replace_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Yield an empty sibling to fill; at the end it takes the place of `folder`, after an error it goes."""
    folder = Path(folder)
    new, old = being_written(folder), folder.with_name(f".{folder.name}.old")
    with os_errors(folder, "write"):
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
                for name in names:
                    fsync(Path(place, name))
                fsync(place)
            if folder.exists():
                os.rename(folder, old)
            os.rename(new, folder)
            fsync(folder.parent)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
