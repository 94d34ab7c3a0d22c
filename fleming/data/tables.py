r"""Rows of a table file, whatever its form: JSON Lines, JSON, CSV, TSV or parquet, as it is or in .gz or .xz.

- the form is decided by what stands in the file: an array in a .jsonl and lines in a .json are both common
- JSON documents may be a list of rows, rows by id, or columns ({column: {"0": ...}} or {column: [...]})
- a bare NaN and an empty CSV cell are None, as is an absent one
- CSV is UTF-8, or GB 18030 where it is not UTF-8; nothing else is guessed
- left out: what the columns mean (public_sets.py)
"""

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleming.files import MAX_BYTES, open_bytes, parse_json, read_json, read_jsonl
from model.errors import InputError

Row = dict[str, Any]
ID = "@id"  # the column that holds the id of a document of rows by id
CSV_LIMIT = 1 << 20  # characters in one CSV cell


def table_suffix(path: Path) -> str:
    """Return .json, .jsonl, .csv, .tsv or .parquet, below a .gz or .xz; "" for another name."""
    inner = path.with_suffix("") if path.suffix.lower() in (".gz", ".xz") else path
    suffix = inner.suffix.lower()
    return suffix if suffix in (".json", ".jsonl", ".csv", ".tsv", ".parquet") else ""


def read_rows(path: str | Path) -> Iterator[tuple[str, Row]]:
    """Yield (where it stands, row) for each row: "FILE:LINE" in JSON Lines, else "FILE: record N", counted from 1.

    Raises InputError naming the file, and the record where there is one, for anything that is not such a table.
    """
    path = Path(path)
    match table_suffix(path):
        case ".csv" | ".tsv" as suffix:
            return _csv_rows(path, "\t" if suffix == ".tsv" else ",")
        case ".parquet":
            return _parquet_rows(path)
        case suffix:
            return read_jsonl(path, nan_is_null=True) if _is_lines(path, suffix) else _document_rows(path)


def _is_lines(path: Path, suffix: str) -> bool:
    """Whether the file holds one JSON object a line."""
    with open_bytes(path) as file:
        first = b"\n"
        while first and not first.strip():
            first = file.readline(MAX_BYTES + 8).removeprefix(codecs.BOM_UTF8)
        rest = any(line.strip() for line in iter(lambda: file.readline(1 << 16), b""))
    if first.lstrip()[:1] == b"[":
        return False
    if suffix != ".json":
        return True
    try:
        value = parse_json(first, "")
    except InputError:  # the first line of an indented document
        return b"}" in first and rest
    return rest or not (isinstance(value, dict) and all(isinstance(v, dict | list) for v in value.values()))


def _document_rows(path: Path) -> Iterator[tuple[str, Row]]:
    value = read_json(path, nan_is_null=True)
    for number, row in enumerate(_rows_of(value, path), start=1):
        where = f"{path}: record {repr(row[ID]) if isinstance(row, dict) and ID in row else number}"
        if not isinstance(row, dict):
            raise InputError(f"{where}: expected a JSON object, found {type(row).__name__}")
        yield where, row


def _rows_of(value: Any, path: Path) -> list[Any]:
    if isinstance(value, list):
        return value
    columns = list(value.values()) if isinstance(value, dict) else []
    if len(columns) == 1 and isinstance(columns[0], list) and all(isinstance(row, dict) for row in columns[0]):
        return columns[0]  # {"data": [rows]}
    if columns and all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
        return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    if columns and all(isinstance(column, dict) for column in columns):
        numbers = columns[0].keys()
        if numbers and all(n.isdecimal() for n in numbers):
            if odd := [name for name, column in value.items() if column.keys() != numbers]:
                raise InputError(f"{path}: column {odd[0]!r} has other row numbers than the first")
            return [{name: column[n] for name, column in value.items()} for n in numbers]
        return [{ID: key, **row} for key, row in value.items()]
    raise InputError(f"{path}: expected rows: a list of objects, objects by id, or columns of equal length")


def _csv_rows(path: Path, delimiter: str) -> Iterator[tuple[str, Row]]:
    encoding = _encoding(path)
    with open_bytes(path) as file, io.TextIOWrapper(file, encoding=encoding, newline="") as text:
        csv.field_size_limit(CSV_LIMIT)
        reader = csv.DictReader(text, delimiter=delimiter, strict=True)
        try:
            names = reader.fieldnames or []
            if len(set(names)) < len(names) or len(names) < 2:
                raise InputError(f"{path}: expected a header of two or more different column names, found {names}")
            for number, row in enumerate(reader, start=1):
                if None in row:
                    raise InputError(f"{path}: record {number}: more cells than the header's {len(names)}")
                yield f"{path}: record {number}", {name: cell or None for name, cell in row.items()}
        except csv.Error as error:
            raise InputError(f"{path}: line {reader.line_num}: not CSV: {error}") from error


def _encoding(path: Path) -> str:
    decoders = {name: codecs.getincrementaldecoder(name)() for name in ("utf-8-sig", "gb18030")}
    with open_bytes(path) as file:
        while decoders:
            block = file.read(1 << 20)
            for name, decoder in list(decoders.items()):
                try:
                    decoder.decode(block, final=not block)
                except UnicodeDecodeError:
                    del decoders[name]
            if not block:
                break
    if not decoders:
        raise InputError(f"{path}: neither UTF-8 nor GB 18030")
    return next(iter(decoders))


def _parquet_rows(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise InputError(f"{path}: reading parquet needs pyarrow: pip install pyarrow") from None
    with open_bytes(path) as file:
        try:
            batches = parquet.ParquetFile(file).iter_batches()
            rows = (row for batch in batches for row in batch.to_pylist())
            for number, row in enumerate(rows, start=1):
                yield f"{path}: record {number}", {k: None if v != v else v for k, v in row.items()}
        except ArrowException as error:
            raise InputError(f"{path}: not parquet: {' '.join(str(error).split())[:200]}") from error
