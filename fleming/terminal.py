r"""What people see of a program: no text can drive their terminal, and a log file is no terminal.

- control characters out of files, servers and models are shown as JSON has them, \u001b; half a surrogate pair too
- a bar of tqdm's is redrawn in a terminal alone; elsewhere it is a plain line now and then, its last state the last
- bars hold nothing up: where nobody reads, or nobody is left, they are not shown

Left out: colours, so NO_COLOR is always obeyed.
"""

import argparse
import contextlib
import errno
import os
import re
import select
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

SECONDS = 30.0  # between two lines of a bar
_MOVES = re.compile(r"\n*(?:\x1b\[A)*")
_CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return the text with what would steer a terminal made visible; lines and tabs stay."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def tell(text: str) -> None:
    """Write to standard error itself, where that is read: safe in a signal handler, amid another write."""
    with contextlib.suppress(OSError):
        if select.select([], [2], [], 0)[1]:
            os.write(2, text.encode())


def program() -> str:
    """Return what the user has called: a script by its name, a module as python -m NAME."""
    spec = sys.modules["__main__"].__spec__
    if spec and spec.origin == sys.argv[0]:
        return f"python -m {spec.name.removesuffix('.__main__')}"
    return Path(sys.argv[0]).name


def option_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser of the program's options; the description keeps its lines: it may hold example commands."""
    layout = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(program(), description=description, formatter_class=layout)


def complain(message: str, stream: TextIO | None = None) -> None:
    """Write "PROGRAM: message" to the stream, or standard error, as one line: why the script ends."""
    print(f"{program()}: {' '.join(message.split())}", file=stream or sys.stderr, flush=True)


@contextlib.contextmanager
def _hung_up() -> Iterator[None]:
    """Let nothing be written to a terminal that was closed: a run has still to save."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise


class Console:
    """Standard output or error as `print` and tqdm write to it."""

    def __init__(self, stream: TextIO):
        self._stream, self._due, self._bar = stream, 0.0, ""
        self._last = ""  # what the last write was: "\r" a bar, "\n" a step between bars, "" text
        self._redraws = stream.isatty() and os.environ.get("TERM") != "dumb"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what is printed, or what tqdm draws: a line after a return; line feeds and steps up between bars."""
        moves = _MOVES.fullmatch(text) and (self._last or "\x1b" in text)
        kind = "\r" if text.startswith("\r") else "\n" if moves else ""
        if not kind:
            with _hung_up():
                self._stream.write(printable(text))
        elif self._redraws:
            self._draw(text if moves else "\r" + printable(text[1:]))
        elif not moves:
            self._bar = printable(re.sub(r"\|[^|]*\| ", " ", text).strip())
        if self._bar and (text + self._last == "\n\r" or time.monotonic() >= self._due):
            self._draw(f"{self._bar}\n")
            self._bar, self._due = "", time.monotonic() + SECONDS
        self._last = kind if text else self._last
        return len(text)

    def _draw(self, text: str) -> None:
        with contextlib.suppress(OSError):
            if not hasattr(self._stream, "buffer") or select.select([], [self._stream], [], 0)[1]:
                self._stream.write(text)
                self._stream.flush()

    def flush(self) -> None:
        with _hung_up():
            self._stream.flush()
