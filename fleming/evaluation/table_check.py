r"""A checker of printed result tables: can each score be k right of n questions, and is the average that of its row?

n questions allow only n + 1 scores, so the decimals of a column tell its n, and a misprint shows. The arithmetic is
exact. A printed number stands for all within half a unit of its last decimal, both ends included: rounding half up and
half to even both pass. Left out: scores that are no k/n (means of several runs, partial credit), weighted averages.
"""

import codecs
import csv
import io
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy

from fleming.files import open_bytes
from model.errors import InputError

MAX_BYTES = 16 * 2**20
MAX_CELLS = 20_000  # times 10,000 sizes to try: a few seconds
MAX_SIZE = 100_000
LISTED = 20  # of more sizes than this only the number is told: that many fit by chance
NAME = 80  # characters of a name or cell that are kept
_NUMBER = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?")
_MISSING = {"", "-", "—", "n/a", "N/A"}
_AVERAGES = {"avg", "average", "mean", "macro", "macroavg", "macroaverage"}


def _bounds(printed: str) -> tuple[Fraction, Fraction]:
    half = Fraction(1, 2 * 10 ** len(printed.partition(".")[2]))
    return Fraction(printed) - half, Fraction(printed) + half


def _counts(low: Fraction, high: Fraction, n: int) -> range:
    """Return all k in 0..n for which k of n, in percent, lies in low..high."""
    return range(max(0, math.ceil(low * n / 100)), min(n, math.floor(high * n / 100)) + 1)


def _print(k: int | Fraction, n: int, like: str) -> str:
    """Return k of n in percent with as many decimals as `like`, rounded half up."""
    decimals = len(like.partition(".")[2])
    whole, rest = divmod(math.floor(Fraction(k) / n * 10 ** (decimals + 2) + Fraction(1, 2)), 10**decimals)
    return f"{whole}.{rest:0{decimals}d}" if decimals else str(whole)


def possible_counts(printed: str, n: int) -> range:
    """Return all k for which k of n, in percent, rounds to the printed number at its own decimals.

    Raises ValueError where `printed` is not a plain decimal number such as "64.46", or n is not positive.
    """
    if not _NUMBER.fullmatch(printed) or n < 1:
        raise ValueError(f"expected a plain decimal number and a positive size, found {printed!r} and {n}")
    return _counts(*_bounds(printed), n)


def check_table(
    path: str | Path, known: Mapping[str, Sequence[int]], window: tuple[int, int] | None = None
) -> dict:
    """Return what a CSV table of percentages says about its sizes and averages, as plain data; `describe` words it.

    known: the published sizes of a benchmark, by its name in lower case, letters and digits only. window: the lowest
    and highest size to scan, in place of the first known size +- 20 %, or 50..10,000 where none is known.

    In `columns`, `known` has per size the cells it makes impossible, with the possible values around each; `scan` the
    `count` of sizes that miss the `fewest` cells (0: fit every cell), and in `sizes` which, and the cells they miss
    (None: over 20). In `averages`, `checked` counts the rows without a missing cell; `wrong` are those whose average no
    rounding explains, with `repairs`: the values (at most 20) of one suspect cell, impossible at each known size or
    missed in the scan where none is known, that mend it. Raises InputError naming file, line and column.
    """
    if window and not 1 <= window[0] <= window[1] <= MAX_SIZE:
        raise InputError(f"window of sizes: expected 1 <= lowest <= highest <= {MAX_SIZE}, found {window}")
    header, rows = _read(path)
    columns, averages, suspects = [], [], {}
    for at, name in enumerate(header):
        normal = "".join(c for c in name.lower() if c.isalnum())
        if normal in _AVERAGES:
            averages.append(
                {"name": name, "of": [header[i] for i in suspects], **_average(at, rows, header, suspects)}
            )
            continue
        cells = [
            {"model": model, "line": line, "printed": row[at]}
            for model, line, row in rows
            if row[at] is not None
        ]
        sizes = known.get(normal, ())
        scan = _scan(
            cells, *(window or ((-(-4 * sizes[0] // 5), 6 * sizes[0] // 5) if sizes else (50, 10_000)))
        )
        missed = {n: _impossible(cells, n) for n in sizes}
        listed = [{"size": n, "impossible": found} for n, found in missed.items()]
        columns.append({"name": name, "cells": len(cells), "known": listed, "scan": scan})
        missed = missed or {best["size"]: best["missed"] for best in scan["sizes"] or ()}
        lines = [{cell["line"] for cell in found} for found in missed.values()]
        suspects[at] = (set.intersection(*lines) if lines else set(), list(missed))
    missing = sum(row.count(None) for _, _, row in rows)
    return {
        "path": str(path),
        "rows": len(rows),
        "missing": missing,
        "columns": columns,
        "averages": averages,
    }


def _impossible(cells: list[dict], n: int) -> list[dict]:
    """Return the cells that no k of n gives, each with the possible values below and above it."""
    found = []
    for cell in cells:
        if not possible_counts(printed := cell["printed"], n):
            k = Fraction(printed) * n // 100
            found.append(cell | {"below": _print(k, n, printed), "above": _print(k + 1, n, printed)})
    return found


def _scan(cells: list[dict], low: int, high: int) -> dict:
    sizes = numpy.arange(low, high + 1)
    misses = numpy.zeros_like(sizes)
    for printed, times in Counter(cell["printed"] for cell in cells).items():
        low_end, high_end = _bounds(printed)  # possible_counts in int64, exact: nothing here is near 2**63
        most = high_end.numerator * sizes // (100 * high_end.denominator)
        misses += times * (100 * most * low_end.denominator < low_end.numerator * sizes)
    fewest = int(misses.min())
    best = sizes[misses == fewest].tolist()
    listed = [{"size": n, "missed": _impossible(cells, n)} for n in best] if len(best) <= LISTED else None
    return {"low": low, "high": high, "fewest": fewest, "count": len(best), "sizes": listed}


def _average(at: int, rows: list, header: list[str], suspects: dict[int, tuple[set[int], list[int]]]) -> dict:
    checked, wrong = 0, []
    for model, line, row in rows:
        cells = {i: row[i] for i in suspects}
        if not cells or row[at] is None or None in cells.values():
            continue
        checked += 1
        least, most = (sum(ends) for ends in zip(*map(_bounds, cells.values()), strict=True))
        low, high = (
            len(cells) * end for end in _bounds(row[at])
        )  # of the sum, as the printed average has it
        if low <= most and least <= high:
            continue
        repairs = []
        for i, n in [(i, n) for i, (lines, sizes) in suspects.items() if line in lines for n in sizes]:
            own_low, own_high = _bounds(cells[i])
            counts = _counts(low - (most - own_high), high - (least - own_low), n)
            values = [_print(k, n, cells[i]) for k in counts[:LISTED]]
            repairs.append({"column": header[i], "printed": cells[i], "size": n, "values": values})
        mean = _print(sum(map(Fraction, cells.values())), 100 * len(cells), row[at])
        wrong.append(
            {"model": model, "line": line, "printed": row[at], "recomputed": mean, "repairs": repairs}
        )
    return {"checked": checked, "wrong": wrong}


def _read(path: str | Path) -> tuple[list[str], list[tuple[str, int, list[str | None]]]]:
    """Return the names of the columns after the first, and per row (model, line, cells): a plain number or None."""
    with open_bytes(path) as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: over {MAX_BYTES >> 20} MiB; expected a result table")
    header, rows, end = [], [], 0
    reader = csv.reader(map(bytes.decode, io.BytesIO(data.removeprefix(codecs.BOM_UTF8))), strict=True)
    try:
        for record in reader:
            where, line, end, cells = (
                f"{path}: line {end + 1}",
                end + 1,
                reader.line_num,
                [c.strip() for c in record],
            )
            if not header and cells:
                header = [name[:NAME] for name in cells]
                if len(cells) < 2 or "" in cells[1:] or len(set(header)) < len(cells):
                    raise InputError(
                        f"{where}: expected a header: models, then benchmarks, each named and named once"
                    )
            elif cells:
                if len(cells) != len(header) or not cells[0]:
                    raise InputError(
                        f"{where}: expected a model and {len(header) - 1} scores, found {len(cells)}"
                    )
                scores = [
                    _score(c, f"{where}: column {n!r}") for n, c in zip(header[1:], cells[1:], strict=True)
                ]
                rows.append((cells[0][:NAME], line, scores))
            if len(rows) * len(header) > MAX_CELLS:
                raise InputError(f"{where}: over {MAX_CELLS} cells; expected a result table")
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: line {end + 1}: not CSV in UTF-8: {error}") from error
    largest = max((float(score) for _, _, scores in rows for score in scores if score), default=0)
    if not rows or 0 < largest <= 1:
        raise InputError(f"{path}: {'no score over 1, expected percentages' if rows else 'no data rows'}")
    return header[1:], rows


def _score(cell: str, where: str) -> str | None:
    number = cell.removesuffix("%").rstrip()
    if cell not in _MISSING and (not _NUMBER.fullmatch(number) or float(number) > 100):
        raise InputError(f"{where}: expected a plain number from 0 to 100, found {cell[:NAME]!r}")
    return None if cell in _MISSING else number


def describe(report: dict) -> str:
    """Return the report of `check_table` in lines for a terminal, without control characters."""
    lines = [f"{report['path']}: {report['rows']} models, {report['missing']} cells missing"]
    for column in report["columns"]:
        n, total, scan, fewest = (
            f"{column['name']}, n =",
            column["cells"],
            column["scan"],
            column["scan"]["fewest"],
        )
        lines += [
            f"{n} {at['size']}: impossible: {_some(at['impossible']) or 'none'}" for at in column["known"]
        ]
        sizes = ", ".join(str(best["size"]) for best in scan["sizes"] or ()) or f"{scan['count']} sizes"
        lines.append(
            f"{n} {scan['low']}..{scan['high']}: {sizes} fit {total - fewest} of {total} cells, others fewer"
        )
        if 0 < 2 * fewest <= total:
            lines += [
                f"{n} {best['size']}: odd one out: {_some(best['missed'])}" for best in scan["sizes"] or ()
            ]
    for mean in report["averages"]:
        wrong, of = mean["wrong"], len(mean["of"])
        lines.append(
            f"{mean['name']}: in {len(wrong)} of {mean['checked']} rows not the mean of {of} columns before"
        )
        for row in wrong:
            lines.append(f"  {row['model']}: printed {row['printed']}, its cells give {row['recomputed']}")
            for mend in row["repairs"]:
                values = " or ".join(mend["values"]) or "no value"
                lines.append(
                    f"    {mend['column']} {mend['printed']}: {values} (n = {mend['size']}) would mend it"
                )
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)


def _some(cells: list[dict]) -> str:
    words = [f"{c['model']} {c['printed']} (nearest {c['below']} and {c['above']})" for c in cells[:5]]
    return ", ".join(words) + (f" and {len(cells) - 5} more" if len(cells) > 5 else "")
