"""Results side by side: a row a model, a column a benchmark or a slice of one; in the terminal, in Markdown, in LaTeX.

Names may hold any character: each form escapes them. Left out: reading stored results (export.py).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fleming.evaluation.report import in_parts, percent, table, with_interval
from fleming.evaluation.scoring import Result
from fleming.evaluation.votes import Score
from fleming.terminal import printable
from fleming.text import single_spaced

Scores = Mapping[str, Mapping[str, Score]]
"""Model -> column -> score."""
ABSENT = "n/a"
SHOWN = 8  # slices of one kind in the terminal; a file has them all
INTERVAL = (
    "In brackets: 95 % interval, Wilson over questions; of a mean, the benchmarks' intervals added in quadrature. "
    "It speaks of other questions of the same kind, not of other kinds."
)


@dataclass(frozen=True)
class Table:
    """Cells as they read, before they are escaped."""

    title: str
    heads: list[str]
    rows: list[list[str]]
    notes: list[str]


def score_table(title: str, scores: Scores, notes: Sequence[str]) -> Table:
    """Return all models' scores in percent; chance in notes, n in the heads, or in the cells where models differ."""
    columns = list(dict.fromkeys(column for of_model in scores.values() for column in of_model))
    sizes = {c: {of_model[c].n for of_model in scores.values() if c in of_model} for c in columns}

    def cell(score: Score | None, column: str) -> str:
        if score is None:
            return ABSENT
        return with_interval(score) + (f", n = {score.n:,}" if len(sizes[column]) > 1 else "")

    heads = [f"{c} (n = {min(sizes[c]):,})" if len(sizes[c]) == 1 else c for c in columns]
    rows = [[model, *(cell(of_model.get(c), c) for c in columns)] for model, of_model in scores.items()]
    first = {c: next(of_model[c] for of_model in scores.values() if c in of_model) for c in columns}
    chance = [f"{c} {percent(s.chance)} ({percent(s.commonest_letter)})" for c, s in first.items()]
    said = f"Chance, and in brackets always the letter that is right most often: {'; '.join(chance)}."
    absent = [f"{ABSENT}: not evaluated."] if any(ABSENT in row for row in rows) else []
    return Table(title, ["model", *heads], rows, ["n: questions. " + INTERVAL, said, *absent, *notes])


def describe_slices(results: Mapping[str, Sequence[Result]]) -> str:
    """Return for a terminal, of each benchmark by each protocol, the models' accuracies on its slices, with n."""
    parts = []
    for side_by_side in zip(*results.values(), strict=True):
        first = side_by_side[0]
        for dimension, slices in first.details.get("breakdown", {}).items():
            name = f"{first.benchmark} ({first.protocol}) by {dimension}"
            if len(slices) > SHOWN:
                parts.append(f"{name}: {len(slices)} slices, in results.json and by --export table")
                continue
            heads = _distinct([f"{_short(group)} (n = {score.n:,})" for group, score in slices.items()])
            lines = []
            for model, result in zip(results, side_by_side, strict=True):
                cells = map(with_interval, result.details["breakdown"][dimension].values())
                lines.append({"model": model, **dict(zip(heads, cells, strict=True))})
            parts.append(f"{name}\n\n{in_parts(lines, list(lines[0]))}\n")
    return "\n".join(parts)


def _short(text: str, most: int = 40) -> str:
    text = single_spaced(text)
    return text if len(text) <= most else text[: most - 3] + "..."


# Forms


def to_markdown(found: Table) -> str:
    """Return the table in Markdown, its notes as a list."""
    heads = [escape_markdown(head) for head in found.heads]
    cells = zip(*([escape_markdown(cell) for cell in row] for row in found.rows), strict=True)
    body = table(dict(zip(_distinct(heads), cells, strict=True)))
    notes = "\n".join(f"- {escape_markdown(note)}" for note in found.notes)
    return f"## {escape_markdown(found.title)}\n\n{body}\n\n{notes}\n"


def _distinct(heads: Sequence[str]) -> list[str]:
    """Return the heads, those that escaping has made alike with blanks behind, which no reader sees."""
    return [head + " " * heads[:i].count(head) for i, head in enumerate(heads)]


PER_PART = 4  # columns beside the models' that a page of one column has room for
LINES = 50  # of a page, about; a name and a cell may take two
LATEX_HEAD = r"\begin{tabular}{p{.22\linewidth}" + r"p{.17\linewidth}" * PER_PART + "}"
# Where a font has the characters they stand, elsewhere their numbers: pdfLaTeX stops at what it does not know.
OTHER = r"\providecommand{\otherscript}[2]{\ifdefined\Umathchar#1\else#2\fi}"


def to_latex(found: Table) -> str:
    r"""Return the table in LaTeX, to be \input: it needs no package. What is wider than a page comes in parts."""
    models, *columns = zip(found.heads, *found.rows, strict=True)
    parts = [columns[i : i + PER_PART] for i in range(0, len(columns), PER_PART)] or [[]]
    many = max(1, LINES // (2 * len(models)))
    lines = [OTHER]
    for first in range(0, len(parts), many):
        more = " (continued)" if first else ""
        lines += [r"\begin{table}[htbp]", r"\centering\scriptsize\setlength{\tabcolsep}{3pt}"]
        lines.append(rf"\caption{{{escape_latex(found.title + more)}}}")
        for part in parts[first : first + many]:
            lines += [LATEX_HEAD, r"\hline"]
            for i, row in enumerate(zip(models, *part, strict=True)):
                lines.append(" & ".join(map(escape_latex, row)) + r" \\" + (r" \hline" if i == 0 else ""))
            lines += [r"\hline", r"\end{tabular}\par\medskip"]
        if first + many < len(parts):
            lines.append(r"\end{table}")
    lines += [
        r"\begin{flushleft}",
        *(escape_latex(note) + r"\par" for note in found.notes),
        r"\end{flushleft}",
    ]
    return "\n".join([*lines, r"\end{table}", ""])


LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{character: "\\" + character for character in "{}$&#%"},
    "_": r"\_\allowbreak{}",
    "/": r"/\allowbreak{}",
    **{character: f"{{{character}}}" for character in "[]*-'`\""},  # \\ takes [ and *; the others join
}


def escape_latex(text: str) -> str:
    """Return the text as LaTeX sets it, on one line."""

    def other(found: re.Match[str]) -> str:
        return rf"\otherscript{{{found[0]}}}{{U+{' '.join(f'{ord(char):04X}' for char in found[0])}}}"

    plain = "".join(LATEX.get(character, character) for character in _clean(text))
    return re.sub("[^ -~¡-ª¬-ºÀ-ÏÑ-Ýß-ïñ-ýÿ–—‘’“”…]+", other, plain)


def escape_markdown(text: str) -> str:
    """Return the text as Markdown shows it, on one line: no link, no markup, no further cell."""
    return re.sub(r"[\\`*_<>|~$&#]|(?<=\])[(\[:]", r"\\\g<0>", _clean(text))


def _clean(text: str) -> str:
    return printable(single_spaced(text))


FORMS: dict[str, Callable[[Table], str]] = {"md": to_markdown, "tex": to_latex}
