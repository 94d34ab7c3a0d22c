r"""Rows of a table file, whatever its form: JSON Lines, JSON, CSV, TSV or parquet, as it is or in .gz or .xz.

- the form is decided by what stands in the file: an array in a .jsonl and lines in a .json are both common
- JSON documents may be a list of rows, rows by id, columns ({column: {"0": ...}} or {column: [...]}), or one row
- a bare NaN and an empty CSV cell are None, as is an absent one; what JSON has not is text
- CSV is UTF-8, or GB 18030 where it is not UTF-8 and reads as Chinese; nothing else is guessed, and a record with
  other bytes cannot be read. Its first line shows what divides it; titles, blank lines and columns without name and
  value are passed over
- a record that cannot be read goes to `fault(where, code, detail)`, and the next one is read; else it is an error
- left out: what the columns mean (sets.py)
"""

import codecs
import csv
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fleming.delimited import Fault, cells_of, inner_suffix, lines_of, text_encoding, undecoded
from fleming.files import MAX_BYTES, open_bytes, read_json, read_jsonl
from model.errors import InputError
from model.files import parse_json

Row = dict[str, Any]
ID = "@id"  # the column that holds the id of a document of rows by id
PARQUET_BATCH = 256  # rows in memory at a time
DELIMITERS = ",;\t|"
MAX_LINES = 100  # of a CSV record, where one that cannot be read is passed over


def table_suffix(path: Path) -> str:
    """Return .json, .jsonl, .csv, .tsv or .parquet, below a .gz or .xz; "" for another name."""
    suffix = inner_suffix(path)
    return suffix if suffix in (".json", ".jsonl", ".csv", ".tsv", ".parquet") else ""


def stem_of(path: Path) -> str:
    """Return the file's name without suffixes."""
    return re.sub(r"(\.(jsonl?|csv|tsv|parquet|gz|xz))+$", "", path.name, flags=re.IGNORECASE)


def number_in(where: str) -> str:
    """Return a record's number, or its line."""
    return re.split(r"[: ]", where)[-1]


def refuse(where: str, code: str, detail: str) -> None:
    """Raise InputError: the fault that ends the reading."""
    raise InputError(f"{where}: {detail}")


def read_rows(
    path: str | Path, header: Sequence[str] = (), fault: Fault = refuse
) -> Iterator[tuple[str, Row]]:
    """Yield (where it stands, row) for each row: "FILE:LINE" in JSON Lines, else "FILE: record N", counted from 1.

    header: names of the columns of a CSV or TSV without a line of names. Raises InputError naming the file for anything
    that is not such a table.
    """
    path = Path(path)
    match table_suffix(path):
        case ".csv" | ".tsv" as suffix:
            return _csv_rows(path, "\t" if suffix == ".tsv" else ",", header, fault)
        case ".parquet":
            return _parquet_rows(path)
        case suffix:
            if _is_lines(path, suffix):
                return read_jsonl(path, True, fault)
            return _document_rows(path, fault)


def _is_lines(path: Path, suffix: str) -> bool:
    """Whether the file holds one JSON object a line."""
    with open_bytes(path) as file:
        first = b"\n"
        while first and not first.strip():
            first = file.readline(MAX_BYTES + 8).removeprefix(codecs.BOM_UTF8)
        following = (line.strip() for line in iter(lambda: file.readline(1 << 16), b""))
        rest = next(filter(None, following), b"")
    if first.lstrip()[:1] == b"[":
        return False
    try:
        value = parse_json(first, "", nan_is_null=True)
    except InputError:  # a broken record, or the first line of an indented document
        return first.rstrip().endswith(b"}") or rest[:1] == b"{" or (suffix != ".json" and not rest)
    one_document = isinstance(value, dict) and all(isinstance(v, dict | list) for v in value.values())
    return bool(rest) or suffix != ".json" or not one_document


def _document_rows(path: Path, fault: Fault) -> Iterator[tuple[str, Row]]:
    value = read_json(path, nan_is_null=True)
    for number, row in enumerate(_rows_of(value, path), start=1):
        where = f"{path}: record {repr(row[ID])[:80] if isinstance(row, dict) and ID in row else number}"
        if not isinstance(row, dict):
            fault(where, "no_object", f"expected a JSON object, found {type(row).__name__}")
            continue
        yield where, row


def _rows_of(value: Any, path: Path) -> list[Any]:
    if isinstance(value, list):
        return value
    columns = list(value.values()) if isinstance(value, dict) else []
    only = columns[0] if len(columns) == 1 else None
    if isinstance(only, list) and all(isinstance(row, dict) for row in only):
        return only  # {"data": [rows]}
    if columns and all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
        return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    if columns and all(isinstance(column, dict) for column in columns):
        numbers = columns[0].keys()
        if numbers and all(n.isdecimal() for n in numbers):
            if odd := [name for name, column in value.items() if column.keys() != numbers]:
                raise InputError(f"{path}: column {odd[0]!r} has other row numbers than the first")
            return [{name: column[n] for name, column in value.items()} for n in numbers]
        return [{**row, ID: key} for key, row in value.items()]
    if not all(isinstance(column, dict | list) for column in columns):
        return [value]
    raise InputError(f"{path}: expected rows: a list of objects, objects by id, or columns of equal length")


def _csv_rows(path: Path, delimiter: str, header: Sequence[str], fault: Fault) -> Iterator[tuple[str, Row]]:
    number = 0  # of the record; the header is 0

    def torn(where: str, code: str, detail: str) -> None:
        nonlocal number
        line = where.rpartition(":")[2]
        (fault if number else refuse)(f"{path}: record {number}, line {line}", code, f"not CSV: {detail}")
        number += 1

    lines = lines_of(path, text_encoding(path, whole=False), torn, newline="")
    first = [""]
    while len(first) < MAX_LINES and set(DELIMITERS).isdisjoint(first[-1]) and (line := next(lines, "")):
        first.append(line)
    lines, delimiter = itertools.chain(first[1:], lines), _delimiter(first[-1], delimiter, header)
    most = None if fault is refuse else MAX_LINES
    records = cells_of(lines, path, torn, delimiter, quote='"', max_lines=most)
    of_names = (cells for _, cells in records if any(map(str.strip, cells[1:])))
    names = list(header) or next(of_names, [])
    while names and not names[-1].strip():
        names.pop()
    if odd := undecoded("".join(names)):
        raise InputError(f"{path}: its column names are {odd}")
    if len(set(names)) < len(names) or len(names) < 2:
        found = f"expected two or more different column names between {delimiter!r}, found {str(names)[:200]}"
        needs = "a table without a line of names needs data.header, one with a line of groups above them must lose it"
        raise InputError(f"{path}: {found}; {needs}")
    number = 1
    for line, cells in records:
        where = f"{path}: record {number}"
        number += 1
        if odd := undecoded("".join(cells)):
            fault(f"{where}, line {line}", "encoding", odd)
            continue
        if len(cells) < len(names) or any(map(str.strip, cells[len(names) :])):
            fault(where, "cells", f"{len(cells)} cells, the header has {len(names)}")
            continue
        yield where, {name: cell if cell.strip() else None for name, cell in zip(names, cells, strict=False)}


def _delimiter(line: str, usual: str, header: Sequence[str]) -> str:
    """Return what divides the line into the header's number of cells, or into the most."""
    sizes = {
        mark: len(next(csv.reader([line], delimiter=mark))) for mark in dict.fromkeys(usual + DELIMITERS)
    }
    return max(sizes, key=lambda mark: (sizes[mark] == len(header), sizes[mark]))


def _parquet_rows(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise InputError(f"{path}: reading parquet needs pyarrow: pip install pyarrow") from None
    number = 0
    with open_bytes(path) as file:
        try:
            for batch in parquet.ParquetFile(file).iter_batches(PARQUET_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}: record {number}", _as_json(row)
        except Exception as error:  # a damaged file makes pyarrow raise nearly any
            what = " ".join(str(error).split())[:200]
            raise InputError(f"{path}: record {number + 1}: not parquet, or damaged: {what}") from error


def _as_json(value: Any) -> Any:
    """Return a value of parquet as JSON has it: a map is an object, a date or a decimal its text, bytes their size."""
    match value:
        case dict():
            return {str(key): _as_json(inside) for key, inside in value.items()}
        case [tuple(), *_]:
            return _as_json(dict(value))
        case list():
            return [_as_json(inside) for inside in value]
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            return f"{len(value)} bytes"
        case None | bool() | int() | str():
            return value
    return str(value)
