"""A run's folder, read for people: no fault of a file stops the page, it becomes a note on it.

- a file is read again only when it has changed, a log only where it has grown, or from its beginning where it was cut
- a record of another form than ours is a fault of its file too

Left out: what the files mean (data.py, rollouts.py, scores.py).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fleming.files import check_unlocked, parse_line, read_json
from fleming.html_page import mapping
from model.errors import InputError
from model.files import MAX_BYTES, open_bytes

T = TypeVar("T")
# What a record of another form than ours comes to where it is read; an InputError is a ValueError.
MISFITS = (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError)


class Reader:
    """The files of one run."""

    def __init__(self, root: Path):
        self.root = root
        self.stamps: dict[str, tuple] = {}
        """File -> its date and size when it was last read."""
        self.faults: dict[str, str] = {}
        """File -> what is wrong with it."""
        self._kept: dict[str, Any] = {}
        self._logs: dict[str, tuple[int, bytes, list]] = {}

    def once(self, name: str, make: Callable[[Path], T], absent: T) -> T:
        """Return make(path) of a file of the run, made again only where it has changed; `absent` where it cannot be."""
        path = self.root / name
        try:
            stat = path.stat()
        except OSError:
            self.stamps.pop(name, None)
            return absent
        stamp = stat.st_mtime_ns, stat.st_size, stat.st_ino
        if self.stamps.get(name) != stamp:
            self.stamps[name] = stamp
            self.faults.pop(name, None)
            self._kept[name] = self.guard(name, lambda: make(path), absent)
        return self._kept[name]

    def guard(self, name: str, make: Callable[[], T], absent: T) -> T:
        """Return make(), or `absent` and note the fault of the file where what it holds is of another form."""
        try:
            return make()
        except MISFITS as error:
            self.faults[name] = describe(error)
            return absent

    def json(self, name: str) -> dict[str, Any]:
        """Return the object of a JSON file; an empty one where there is none."""
        return self.once(name, lambda path: mapping(read_json(path)), {})

    def log(self, name: str, keep: Callable[[dict], Any] = lambda record: record) -> list[Any]:
        """Return what `keep` makes of each record of a growing file, but None."""
        self.once(name, partial(self._read_on, name, keep), None)
        return self._logs.get(name, (0, b"", []))[2]

    def _read_on(self, name: str, keep: Callable[[dict], Any], path: Path) -> None:
        end, before, kept = self._logs.get(name, (0, b"", []))
        broken = ""
        with open_bytes(path) as file:
            file.seek(end - len(before))
            if file.read(len(before)) != before:  # it was cut back, or written anew
                file.seek(0)
                end, before, kept = 0, b"", []
            for line in iter(partial(file.readline, MAX_BYTES), b""):
                where = f"{path}: the record at byte {end}"
                if not line.endswith(b"\n"):
                    broken = broken or f"{where} is half written: the run writes it now, or was killed"
                    break
                end, before = end + len(line), line[-64:]
                try:
                    kept += [record for record in [keep(parse_line(line, where))] if record is not None]
                except MISFITS as error:
                    broken = broken or describe(error, where)
        self._logs[name] = end, before, kept
        if broken:
            raise InputError(broken)

    @property
    def holder(self) -> str:
        """The process that holds the run's folder, or nothing."""
        try:
            check_unlocked(self.root)
        except InputError as error:
            return str(error).removeprefix(f"{self.root}: ").removesuffix("; one run a folder")
        return ""


def describe(error: Exception, where: str = "") -> str:
    """Return an InputError's message; of any other, that this is not of our form."""
    if isinstance(error, InputError):
        return str(error)
    return f"{where} is not of the form that this report knows ({type(error).__name__}: {str(error)[:200]})".strip()
