r"""A checker of printed result tables: can each score be k right of n questions, and is the average that of its row?

    python -m fleming.evaluation.table_check table.csv [--sizes 250..330]

The table has a row a model, a column a benchmark, perhaps an average behind them. n questions allow only n + 1 scores,
so the decimals of a column tell its n, and a misprint shows. The arithmetic is exact. A printed number stands for all
within half a unit of its last decimal, both ends included: rounding half up and half to even both pass. Left out:
scores that are no k/n (means of several runs, partial credit), weighted averages, what a misprint was meant to be.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy

from fleming.config import run_script
from fleming.public.benchmarks import known_sizes
from fleming.public.tables import read_rows, table_suffix
from fleming.terminal import option_parser
from model.errors import InputError

MAX_CELLS = 20_000  # times 10,000 sizes to try: a few seconds
MAX_SIZE = 100_000
LISTED = 20  # of more sizes than this only the number is told: that many fit by chance
NAME = 80  # characters of a name or cell that are kept
_NUMBER = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?")
_MISSING = {"", "-", "—", "n/a", "N/A"}
_AVERAGES = {"avg", "average", "mean", "macro", "macroavg", "macroaverage"}


# Numbers


def _bounds(printed: str) -> tuple[Fraction, Fraction]:
    """Return the least and the largest number that a printed one stands for."""
    half = Fraction(1, 2 * 10 ** _decimals(printed))
    return Fraction(printed) - half, Fraction(printed) + half


def _decimals(printed: str) -> int:
    return len(printed.partition(".")[2])


def _percent(share: Fraction, like: str) -> str:
    """Return a share in percent with as many decimals as `like`, rounded half up."""
    decimals = _decimals(like)
    units = math.floor(100 * share * 10**decimals + Fraction(1, 2))
    whole, rest = divmod(units, 10**decimals)
    return f"{whole}.{rest:0{decimals}d}" if decimals else str(whole)


def possible_counts(printed: str, n: int) -> range:
    """Return all k for which k of n, in percent, rounds to the printed number at its own decimals.

    Raises ValueError where `printed` is not a plain decimal number such as "64.46", or n is not positive.
    """
    if not _NUMBER.fullmatch(printed) or n < 1:
        raise ValueError(f"expected a plain decimal number and a positive size, found {printed!r} and {n}")
    low, high = _bounds(printed)
    least, most = math.ceil(low * n / 100), math.floor(high * n / 100)
    return range(max(0, least), min(n, most) + 1)


# The table

Columns = dict[str, list[str | None]]
"""Name -> the scores as they are printed, a row a model; None where one is missing."""
Cells = list[tuple[str, str]]
"""Model and score, where there is one."""


def _read(path: str | Path) -> tuple[list[str], Columns]:
    """Return the models and the columns. Raises InputError for what is no table of percentages."""
    if table_suffix(Path(path)) not in (".csv", ".tsv"):
        raise InputError(f"{path}: expected a table as it is printed, in a file called .csv or .tsv")
    models: list[str] = []
    columns: Columns = {}
    for where, row in read_rows(path):
        names = [name.strip()[:NAME] for name in row][1:]
        columns = columns or {name: [] for name in names}
        if names != list(columns) or "" in names:
            raise InputError(f"{where}: expected models, then benchmarks, each column named and named once")
        model, *scores = ["" if cell is None else cell.strip() for cell in row.values()]
        if not model:
            raise InputError(f"{where}: expected a model")
        models.append(model[:NAME])
        for name, cell in zip(names, scores, strict=True):
            columns[name].append(_score(cell, f"{where}: column {name!r}"))
        if len(models) * len(row) > MAX_CELLS:
            raise InputError(f"{where}: over {MAX_CELLS} cells; expected a result table")

    if not models:
        raise InputError(f"{path}: no data rows")
    largest = max((float(cell) for cells in columns.values() for cell in cells if cell), default=0)
    if 0 < largest <= 1:
        raise InputError(f"{path}: no score over 1, expected percentages")
    return models, columns


def _score(cell: str, where: str) -> str | None:
    if cell in _MISSING:
        return None
    number = cell.removesuffix("%").rstrip()
    if not _NUMBER.fullmatch(number) or float(number) > 100:
        raise InputError(f"{where}: expected a plain number from 0 to 100, found {cell[:NAME]!r}")
    return number


# What it says


def check_table(
    path: str | Path, known: Mapping[str, Sequence[int]], window: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Return what a CSV table of percentages says about its sizes and averages, as plain data; `describe` words it.

    known: the published sizes of a benchmark, by its name in lower case, letters and digits only. window: the lowest
    and highest size to scan, in place of the first known size +- 20 %, or 50..10,000 where none is known.

    In `columns`, `known` has per size the cells it makes impossible, with the possible values around each; `scan` the
    `count` of sizes that miss the `fewest` cells (0: fit every cell), and in `sizes` which, and the cells they miss
    (None: over 20). In `averages`, `checked` counts the rows without a missing cell; `wrong` are those whose average no
    rounding explains. Raises InputError naming file, record and column.
    """
    if window and not 1 <= window[0] <= window[1] <= MAX_SIZE:
        raise InputError(f"window of sizes: expected 1 <= lowest <= highest <= {MAX_SIZE}, found {window}")
    models, table = _read(path)
    benchmarks: Columns = {}  # those to the left of an average are what it is of
    columns, averages = [], []
    for name, printed in table.items():
        plain = "".join(c for c in name.lower() if c.isalnum())
        if plain in _AVERAGES:
            averages.append({"name": name, "of": list(benchmarks), **_average(models, printed, benchmarks)})
            continue
        benchmarks[name] = printed
        cells = [(model, cell) for model, cell in zip(models, printed, strict=True) if cell]
        sizes = known.get(plain, ())
        around = (-(-4 * sizes[0] // 5), 6 * sizes[0] // 5) if sizes else (50, 10_000)
        columns.append(
            {
                "name": name,
                "cells": len(cells),
                "known": [{"size": n, "impossible": _impossible(cells, n)} for n in sizes],
                "scan": _scan(cells, *(window or around)),
            }
        )
    missing = sum(cells.count(None) for cells in table.values())
    found = {"path": str(path), "rows": len(models), "missing": missing}
    return found | {"columns": columns, "averages": averages}


def _impossible(cells: Cells, n: int) -> list[dict[str, str]]:
    """Return the cells that no k of n gives, each with the possible values below and above it."""
    found = []
    for model, printed in cells:
        if not possible_counts(printed, n):
            k = math.floor(Fraction(printed) * n / 100)
            below = _percent(Fraction(k, n), printed)
            above = _percent(Fraction(k + 1, n), printed)
            found.append({"model": model, "printed": printed, "below": below, "above": above})
    return found


def _scan(cells: Cells, low: int, high: int) -> dict[str, Any]:
    """Return which of the sizes low..high miss the fewest cells."""
    sizes = numpy.arange(low, high + 1)
    misses = numpy.zeros_like(sizes)
    for printed, times in Counter(printed for _, printed in cells).items():
        least, most = _bounds(printed)  # possible_counts in int64, exact: nothing here is near 2**63
        largest = most.numerator * sizes // (100 * most.denominator)
        misses += times * (100 * largest * least.denominator < least.numerator * sizes)
    fewest = int(misses.min())
    best = sizes[misses == fewest].tolist()
    listed = None
    if len(best) <= LISTED:
        listed = [{"size": n, "missed": _impossible(cells, n)} for n in best]
    return {"low": low, "high": high, "fewest": fewest, "count": len(best), "sizes": listed}


def _average(models: list[str], printed: list[str | None], benchmarks: Columns) -> dict[str, Any]:
    """Return how many averages were checked, and those that are none of their row."""
    checked, wrong = 0, []
    for model, average, *cells in zip(models, printed, *benchmarks.values(), strict=True):
        if average is None or None in cells or not cells:
            continue
        checked += 1
        bounds = [_bounds(cell) for cell in cells]
        least = sum(low for low, _ in bounds) / len(cells)
        most = sum(high for _, high in bounds) / len(cells)
        low, high = _bounds(average)
        if high < least or most < low:
            mean = _percent(sum(map(Fraction, cells)) / len(cells) / 100, average)
            wrong.append({"model": model, "printed": average, "recomputed": mean})
    return {"checked": checked, "wrong": wrong}


# In words


def describe(report: dict[str, Any]) -> str:
    """Return the report of `check_table` in lines for a terminal, without control characters."""
    lines = [f"{report['path']}: {report['rows']} models, {report['missing']} cells missing"]
    for column in report["columns"]:
        lines += [f"{column['name']}, n = {said}" for said in _about_column(column)]
    for mean in report["averages"]:
        wrong, of = mean["wrong"], len(mean["of"])
        rows = f"{len(wrong)} of {mean['checked']} rows"
        lines.append(f"{mean['name']}: in {rows} not the mean of {of} columns before")
        for row in wrong:
            lines.append(f"  {row['model']}: printed {row['printed']}, its cells give {row['recomputed']}")
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)


def _about_column(column: dict[str, Any]) -> list[str]:
    lines = [f"{at['size']}: impossible: {_some(at['impossible']) or 'none'}" for at in column["known"]]
    scan, total = column["scan"], column["cells"]
    best, fewest = scan["sizes"] or [], scan["fewest"]
    sizes = ", ".join(str(at["size"]) for at in best) or f"{scan['count']} sizes"
    sizes = f"{scan['low']}..{scan['high']}: {sizes}"
    lines.append(f"{sizes} fit {total - fewest} of {total} cells, others fewer")
    if 0 < 2 * fewest <= total:
        lines += [f"{at['size']}: odd one out: {_some(at['missed'])}" for at in best]
    return lines


def _some(cells: list[dict[str, str]]) -> str:
    words = [f"{c['model']} {c['printed']} (nearest {c['below']} and {c['above']})" for c in cells[:5]]
    more = f" and {len(cells) - 5} more" if len(cells) > 5 else ""
    return ", ".join(words) + more


def size_range(text: str) -> tuple[int, int]:
    """Return (250, 330) for "250..330"."""
    low, _, high = text.partition("..")
    if not (low.isdecimal() and high.isdecimal()):
        raise InputError(f"--sizes: expected LOW..HIGH, as in 250..330, found {text!r}")
    return int(low), int(high)


def main(argv: list[str]) -> None:
    parser = option_parser(__doc__)
    parser.add_argument("table", metavar="CSV", help="a printed table: model, a column a benchmark, average")
    parser.add_argument("--sizes", metavar="LOW..HIGH", help="sizes to try")
    options = parser.parse_args(argv)
    window = size_range(options.sizes) if options.sizes else None
    print(describe(check_table(options.table, known_sizes(), window)))


if __name__ == "__main__":
    run_script(main)
