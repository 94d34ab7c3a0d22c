"""The sha256 of what this house writes: beside it when it is written, compared when it is read.

A rename shows that a file is complete, not that its bits are those that were written.

- beside FILE stands FILE.sha256; in a folder that is written as a whole, a model or a checkpoint, SHA256SUMS. Both hold
  the lines of sha256sum, whose option -c checks them too
- hashed as it is written: nothing is read a second time
- while a file is replaced, FILE.sha256 names the new bytes and the old ones: killed at any moment, it holds
- a file without a hash, such as a user's own, is read as it is
- left out: forgery; whoever changes a file can change its hash
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from model.errors import InputError
from model.files import check_is_file, os_errors, read_bytes, write_atomic

SUMS = "SHA256SUMS"


def sums_of(path: str | os.PathLike) -> Path:
    """Return where the hash of a single file stands."""
    return Path(f"{path}.sha256")


def read_sums(path: Path) -> list[tuple[str, str]]:
    """Return the (sha256, file name) of each line; none where there is no such file. InputError for another line."""
    if not path.exists():
        return []
    lines = read_bytes(path).decode("utf-8", "replace").removesuffix("\n").split("\n")
    found = [re.fullmatch(r"([0-9a-f]{64})(?: [ *]([^/\0]+))?", line) for line in lines]
    if not found or not all(found):
        raise InputError(f"{path}: expected lines of sha256sum; make it anew with that, or delete it")
    return [(match[1], match[2] or "") for match in found]


def _lines(hashes: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{sha256}  {name}\n" for sha256, name in hashes)


# Comparing


def digest(path: str | os.PathLike) -> str:
    """Return the hexadecimal SHA-256 of the file's bytes, read in blocks, whatever stands beside it."""
    with os_errors(path, "read"):
        check_is_file(path)
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_file(path: str | os.PathLike, listed: bool = False) -> str:
    """Return the hexadecimal SHA-256 of the file's bytes. Raises InputError where another stands beside it.

    listed: nor may it be another than the folder's SHA256SUMS has, where that names the file. It takes 0.63 s a GB
    (measured, from the page cache, one core that has SHA instructions): 9 s for 15 GB, a 7B model.
    """
    path, found = Path(path), digest(path)
    for by in [sums_of(path), path.with_name(SUMS)][: 1 + listed]:
        said = [sha256 for sha256, name in read_sums(by) if by.name != SUMS or name == path.name]
        if said and found not in said:
            raise InputError(
                f"{path}: damaged: its sha256 is {found[:16]}..., {by.name} has {said[0][:16]}...; restore it or make "
                f"it anew (or, changed on purpose, delete {by})"
            )
    return found


def check_file(path: str | os.PathLike) -> None:
    """Raise InputError where the file is not what was written; it is only read where a hash stands beside it."""
    if sums_of(path).exists():
        sha256_file(path)


def check_sums(folder: str | os.PathLike) -> None:
    """Raise InputError for a file of the folder that is missing or not what SHA256SUMS says; without that, for none."""
    for _, name in read_sums(Path(folder, SUMS)):
        sha256_file(Path(folder, name), listed=True)


def sums_in(folder: Path) -> dict[str, str]:
    """Return file name -> sha256 of a folder's files, as SHA256SUMS has it or as it stands beside each."""
    lists = [folder / SUMS, *sorted(folder.glob("*.sha256"))]
    said = [pair for path in lists for pair in reversed(read_sums(path))]  # the newest comes first in a file
    return {name: sha256 for sha256, name in said if (folder / name).is_file()}


# Writing


class Hashed:
    """A file that is being written, and the sha256 of what was."""

    def __init__(self, file: BinaryIO):
        self.file, self.sha256 = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self.file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def write_sums(folder: Path, hashes: Mapping[str, str]) -> None:
    """Write a folder's SHA256SUMS; hashes: file name -> sha256."""
    write_atomic(folder / SUMS, _lines((sha256, name) for name, sha256 in sorted(hashes.items())))


def write_hashed(path: str | os.PathLike, data: str | Iterable[bytes]) -> None:
    """Write the whole file or nothing, its hash beside it. Raises InputError where the disk refuses."""
    path, beside, sha256 = Path(path), sums_of(path), hashlib.sha256()
    before = read_sums(beside)
    if not before and path.exists():
        before = [(digest(path), path.name)]

    def blocks() -> Iterator[bytes]:
        for block in [data.encode("utf-8")] if isinstance(data, str) else data:
            sha256.update(block)
            yield block
        # Before the rename: from here on either may be there.
        write_atomic(beside, _lines([(sha256.hexdigest(), path.name), *before]))

    write_atomic(path, blocks())
    if before:
        write_atomic(beside, _lines([(sha256.hexdigest(), path.name)]))


def remove(path: Path) -> None:
    """Delete a file, where there is one, and the hash beside it."""
    with os_errors(path, "delete"):
        path.unlink(missing_ok=True)
        sums_of(path).unlink(missing_ok=True)
