"""What stands in a run's folder, read for people: no fault of a file stops the page, it becomes a note on it.

- a file is read again only when it has changed, a log only where it has grown; one that was cut back or written
  anew is read from its beginning
- a record of another form than ours is a fault of its file too, and told

Left out: what the files mean (scores.py, rollouts.py, data.py).
"""

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fleming.files import check_unlocked, parse_line, read_json
from fleming.html_page import mapping
from model.errors import InputError
from model.files import MAX_BYTES, open_bytes

T = TypeVar("T")
# What reading a record of any other form than ours comes to; an InputError is a ValueError.
MISFITS = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)


@dataclass
class _Log:
    """An append-only file, as far as it has been read."""

    end: int = 0
    tail: bytes = b""
    """What stands before `end`: where it is something else, the file has been written anew."""
    lines: int = 0
    kept: list = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class Reader:
    """The files of one run."""

    def __init__(self, root: Path):
        self.root = root
        self.stamps: dict[str, tuple] = {}
        """File -> what its date and size were when it was read last."""
        self.faults: dict[str, str] = {}
        """File -> what is wrong with it."""
        self._kept: dict[str, Any] = {}
        self._logs: dict[str, _Log] = {}

    def once(self, name: str, make: Callable[[Path], T], absent: T) -> T:
        """Return make(path) of a file of the run, again only where it has changed; `absent` where it cannot be had."""
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
            self._kept[name] = absent
            try:
                self._kept[name] = make(path)
            except MISFITS as error:
                self.faults[name] = said(error)
        return self._kept[name]

    def json(self, name: str) -> dict[str, Any]:
        """Return the object of a JSON file; an empty one where there is none."""
        return self.once(name, lambda path: mapping(read_json(path)), {})

    def log(self, name: str, keep: Callable[[dict], Any] = lambda record: record) -> list[Any]:
        """Return what `keep` makes of each record of a growing file; None is not kept."""
        self.once(name, partial(self._read_on, name, keep), None)
        log = self._logs.get(name, _Log())
        if log.broken:
            more = f" (and {len(log.broken) - 1} lines more)" if len(log.broken) > 1 else ""
            self.faults[name] = log.broken[0] + more
        return log.kept

    def _read_on(self, name: str, keep: Callable[[dict], Any], path: Path) -> None:
        log = self._logs.setdefault(name, _Log())
        with open_bytes(path) as file:
            file.seek(log.end - len(log.tail))
            if file.read(len(log.tail)) != log.tail:
                log = self._logs[name] = _Log()
                file.seek(0)
            for line in iter(partial(file.readline, MAX_BYTES), b""):
                if not line.endswith(b"\n"):
                    raise InputError(
                        f"{path}: the last line is half written: the run writes it, or was killed"
                    )
                log.end, log.tail, log.lines = log.end + len(line), line[-64:], log.lines + 1
                try:
                    kept = keep(parse_line(line, f"{path}:{log.lines}"))
                except MISFITS as error:
                    log.broken.append(said(error, f"{path}:{log.lines}"))
                else:
                    log.kept += [] if kept is None else [kept]

    @property
    def holder(self) -> str:
        """The process that holds the run's folder, or nothing."""
        try:
            check_unlocked(self.root)
        except InputError as error:
            return str(error).removeprefix(f"{self.root}: ").removesuffix("; one run a folder")
        return ""


def said(error: Exception, where: str = "") -> str:
    """Return an InputError's message; of anything else, that the record has another form than this report knows."""
    if isinstance(error, InputError):
        return str(error)
    place = f"{where}: " if where else ""
    return f"{place}not of the form that this report knows ({type(error).__name__}: {str(error)[:200]})"


def now() -> str:
    """Return the time, with its zone."""
    return datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
