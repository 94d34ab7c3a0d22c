r"""Delimited text (CSV, TSV, other people's variants): lines, cells and encodings, by one loop and with one bound.

- what cannot be read goes to a callback `fault(where, code, detail)`: a strict caller raises there, a tolerant one
  notes it, and the reader goes on with the next line
- a quoted cell may run over lines; where its quote is never closed, its first line alone is lost
- neither a line nor a record is longer than MAX_LINE characters: memory stays bounded, whatever the damage

Left out: what the columns are called and mean (public/tables.py, sources/cells.py).
"""

import contextlib
import csv
import io
import itertools
import re
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from fleming.files import open_bytes
from model.errors import InputError
from model.files import no_text

ASCII = bytes(range(0x80))
UNDECODED = re.compile("[\udc80-\udcff]")
MAX_LINE = 1 << 20  # characters in a line, and in a record of several
Fault = Callable[[str, str, str], None]


def inner_suffix(path: Path) -> str:
    """Return the suffix below a .gz or .xz, in lower case: ".csv" of "a.CSV.gz"."""
    compressed = path.suffix.lower() in (".gz", ".xz")
    return (path.with_suffix("") if compressed else path).suffix.lower()


def text_encoding(path: Path, whole: bool = True) -> str:
    """Return utf-8-sig, or gb18030 where the file reads as Chinese by it.

    whole: raise InputError, with the line, for a file that is neither; else only for what is no text at all.
    """
    with open_bytes(path) as file:
        if what := no_text(file.read(8)):
            raise InputError(f"{path}: {what}")
    number = 1
    for block in _blocks(path, "utf-8-sig", "surrogateescape"):
        if odd := undecoded(block):
            number += UNDECODED.split(block, 1)[0].count("\n")
            break
        number += block.count("\n")
    else:
        return "utf-8-sig"

    # Windows-1252 and torn UTF-8 may be read as GB 18030 too, but then as rare characters, or nearly all of it is UTF-8
    # as well (of Chinese text some half of the bytes are, by chance).
    wide = common = bytes_beyond = bytes_of_utf8 = 0
    with contextlib.suppress(UnicodeDecodeError):
        for text in _blocks(path, "gb18030"):
            wide += len(text) - len(text.encode("ascii", "ignore"))
            firsts = text.encode("gb2312", "ignore").translate(None, ASCII)[::2]
            common += len(firsts.translate(None, bytes(range(0xD8, 0x100))))  # up there are the rarer half
            raw = text.encode("gb18030").translate(None, ASCII)
            bytes_beyond += len(raw)
            bytes_of_utf8 += len(raw.decode("utf-8", "ignore").encode())
        if 3 * common >= 2 * wide and 5 * bytes_of_utf8 <= 4 * bytes_beyond:
            return "gb18030"
    if whole:
        raise InputError(f"{path}:{number}: {odd}")
    return "utf-8-sig"


def _blocks(path: Path, encoding: str, errors: str = "strict") -> Iterator[str]:
    with open_bytes(path) as file, io.TextIOWrapper(file, encoding, errors) as text:
        yield from iter(partial(text.read, MAX_LINE), "")


def undecoded(text: str) -> str | None:
    """Return what to say of a text of `lines_of` with a byte that is not UTF-8, None where there is none."""
    odd = UNDECODED.search(text)
    return (
        odd and f"neither UTF-8 nor Chinese text in GB 18030 (0x{ord(odd[0]) & 0xFF:02x}): save it as UTF-8"
    )


def lines_of(path: str | Path, encoding: str, fault: Fault, newline: str = "\n") -> Iterator[str]:
    """Yield the file's lines with their ends, "" for one that is too long; a byte not in the encoding is U+DC00 and it.

    In an encoding of wider units (UTF-16), where it might be below 0x80, it is U+FFFD.
    newline: "" lets a carriage return alone end a line too. Fault: too_long. InputError: the file cannot be read, or
    there is no such encoding.
    """
    try:
        errors = "surrogateescape" if b"a".decode(encoding, "replace") == "a" else "replace"
        how = {"errors": errors, "newline": newline}
        with open_bytes(path) as file, io.TextIOWrapper(file, encoding, **how) as text:
            for number, line in enumerate(iter(partial(text.readline, MAX_LINE), ""), start=1):
                if len(line) < MAX_LINE or line[-1] in "\r\n":
                    yield line
                    continue
                fault(f"{path}:{number}", "too_long", f"a line of over {MAX_LINE:,} characters")
                while len(line) == MAX_LINE and line[-1] not in "\r\n":
                    line = text.readline(MAX_LINE)
                yield ""
    except (LookupError, UnicodeError) as error:
        raise InputError(f"{path}: cannot read as {encoding!r}: {error}") from error


def cells_of(
    lines: Iterator[str],
    path: str | Path,
    fault: Fault,
    delimiter: str,
    quote: str,
    max_lines: int | None = None,
) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the record's first line, from 1, its cells); blank lines are passed over.

    quote: around a cell that holds the delimiter, "": none. max_lines: that a record may go on for, and that are read
    again where it cannot be read; None where `fault` raises, so that nothing is read again. Fault: quotes.
    """
    csv.field_size_limit(MAX_LINE)
    number = 0  # of the line read last
    unread: deque[str] = deque()

    def following() -> Iterator[str]:
        nonlocal number
        while (line := unread.popleft() if unread else next(lines, None)) is not None:
            number += 1
            yield line

    def record_from(first: str, taken: deque[str]) -> Iterator[str]:
        """Yield the lines of a record as the csv module asks for them, the ones after the first also to `taken`."""
        yield first
        left = MAX_LINE - len(first)
        for line in itertools.islice(following(), max_lines):
            taken.append(line)
            left -= len(line)
            if left <= 0:
                raise csv.Error(f"a record of over {MAX_LINE:,} characters; is a quote missing?")
            yield line

    for line in following():
        if not quote or quote not in line:
            plain = line.rstrip("\r\n")
            if plain:
                yield number, plain.split(delimiter)
            continue
        first = number
        taken = deque(maxlen=max_lines or 0)
        try:
            record = record_from(line, taken)
            outside = line.split(quote)[:-1:2]  # what stands before each quote that opens
            spaced = any(text.endswith(f"{delimiter} ") for text in outside)
            form = {"delimiter": delimiter, "quotechar": quote, "skipinitialspace": spaced, "strict": True}
            yield first, next(csv.reader(record, **form))
        except csv.Error as error:
            fault(f"{path}:{first}", "quotes", str(error))
            unread.extendleft(reversed(taken))
            number = first
