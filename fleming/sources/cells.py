r"""Lines and cells of a source's file, of any length and with any damage: what cannot be read is skipped, not fatal.

- `\n` alone ends a line; a line over MAX_LINE characters is dropped
- a quoted cell may run over MAX_LINES_A_CELL lines; where its quote is not closed by then, that line alone is lost
- left out: the reading itself (delimited.py); what the cells mean (mapping.py, hpo.py); tables that must be whole
  (public/tables.py)
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from fleming.delimited import cells_of, inner_suffix, lines_of, text_encoding
from fleming.sources.facts import Fact, Node, Skip
from model.errors import InputError

MAX_LINES_A_CELL = 100


def read_lines(path: str | Path, skip: Skip, encoding: str = "utf-8-sig") -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end). InputError: the file cannot be read, or no such encoding.

    Skipped: too_long; characters (NUL, or bytes that are not in the encoding).
    """
    for number, line in enumerate(_readable(path, skip, encoding), start=1):
        if line:
            yield number, line.rstrip("\r\n")


def read_cells(
    path: str | Path, skip: Skip, delimiter: str = "\t", quote: str = "", encoding: str = "utf-8-sig"
) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the record's first line, its cells); blank lines are passed over. Skipped: quotes; as above."""
    return cells_of(_readable(path, skip, encoding), path, skip, delimiter, quote, MAX_LINES_A_CELL)


def _readable(path: str | Path, skip: Skip, encoding: str) -> Iterator[str]:
    """Yield the lines with their ends, "" for one that is skipped."""
    for number, line in enumerate(lines_of(path, encoding, skip), start=1):
        if re.search("[\0\ufffd\udc80-\udcff]", line):
            skip(f"{path}:{number}", "characters", f"NUL, or bytes that are not {encoding}")
            line = ""
        yield line


class RecordError(ValueError):
    """(code, detail): why a record is left out."""


@dataclass(frozen=True)
class Form:
    """How a table is written."""

    delimiter: str | None = None
    """Between two cells; null: a comma in a .csv, else a tab."""
    quote: str | None = None
    """Around a cell that holds the delimiter; null: '"' where the delimiter is no tab; "": none."""
    encoding: str | None = None
    """Any codec that Python knows; null: UTF-8, or GB 18030 where it reads as Chinese."""
    comment: str = ""
    """Lines that begin with it are passed over; "": none."""
    header: tuple[str, ...] | None = None
    """The columns' names where the file does not begin with them."""


class Table:
    """A table's records and where its columns stand."""

    def __init__(self, path: str, form: Form, skip: Skip):
        """Open the file and read the columns' names. InputError for what cannot be read."""
        self.path, self.skip = path, skip
        delimiter, quote = form.delimiter, form.quote
        if not delimiter:
            delimiter = "," if inner_suffix(Path(path)) == ".csv" else "\t"
        if quote is None:
            quote = "" if delimiter == "\t" else '"'
        self.names = list(form.header or ())

        def skip_record(where: str, code: str, detail: str) -> None:
            # Else the first record that can be read is taken for the names; where there are comments, it may be one.
            if not (self.names or form.comment):
                raise InputError(f"{where}: the columns' names cannot be read: {detail}")
            skip(where, code, detail)

        encoding = form.encoding or text_encoding(Path(path))
        self.rows = read_cells(path, skip_record, delimiter, quote, encoding)
        if form.comment:
            self.rows = (row for row in self.rows if not row[1][0].startswith(form.comment))
        if not self.names:
            _, first = next(self.rows, (0, []))
            self.names = [name.strip("\ufeff ") for name in first]
        self.used = 0

    def place(self, name: str) -> int:
        """Return the column's place. InputError where there is none, or several of the name."""
        if self.names.count(name) != 1:
            found = ", ".join(map(repr, self.names))[:300] or "an empty file"
            found += "; is another delimiter meant?" * (len(self.names) == 1)
            raise InputError(f"{self.path}: expected one column {name!r}, found {found}")
        return self.names.index(name)

    def getter(self, names: tuple[str, ...], separator: str) -> Callable[[list[str]], str]:
        """Return cells -> the columns' cells, joined."""
        places = [self.place(name) for name in names]
        if len(places) == 1:
            return itemgetter(places[0])
        return lambda cells: separator.join([cells[place] for place in places])

    def records(self, use: Callable[[list[str], int], list[Node | Fact]]) -> Iterator[Node | Fact]:
        """Yield what use(cells, line) makes of each record. Skipped: cells (too few or many), RecordError.

        InputError where no record is left.
        """
        width, reason = len(self.names), "no records"
        for number, cells in self.rows:
            try:
                if len(cells) != width:
                    raise RecordError("cells", f"{len(cells)} cells, expected {width}")
                yield from use(cells, number)
                self.used += 1
            except RecordError as error:
                reason = f"no usable record; the last one: {error.args[1]}"
                self.skip(f"{self.path}:{number}", *error.args)
        if not self.used:
            raise InputError(f"{self.path}: {reason}")
