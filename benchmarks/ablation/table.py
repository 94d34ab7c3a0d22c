"""The tables of docs/ablation.md, from results.jsonl alone."""

import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ablation.arms import ROOT, Plan, seeds_of
from benchmarks.ablation.compare import Compared, Found, accuracy, compared, designed, lengths_of
from benchmarks.ablation.results import Line, counted
from benchmarks.ablation.statistics import mean_interval
from fleming.evaluation.statistics import wilson_interval
from model.errors import InputError
from model.files import write_atomic

PAGE = ROOT / "docs/ablation.md"
BEGIN, END = "<!-- tables: python -m benchmarks.ablation --table -->", "<!-- end of tables -->"


def tables(plan: Plan, lines: Sequence[Line]) -> str:
    """Return all tables as Markdown: what could be shown, then each scale's results."""
    parts = []
    for scale in plan.scales:
        found, stale = counted(plan, lines, scale)
        trained = {arm for arm, _ in found if plan.arms[arm].trains != "sft"}
        parts.append(f"### Scale {scale}: what it can show, stated before the run\n\n{_designs(plan, scale)}")
        if not trained:
            parts.append(f"### Scale {scale}: results\n\nnot run yet")
            continue
        parts.append(f"### Scale {scale}: arms\n\n{_arms(plan, found, scale)}")
        parts.append(f"### Scale {scale}: planned comparisons\n\n{_comparisons(compared(plan, found))}")
        if reviewed := _reviews(plan, found):
            parts.append(f"### Scale {scale}: wrong labels\n\n{reviewed}")
        if stale:
            names = ", ".join(sorted({f"{line.arm} (seed {line.seed})" for line in stale}))
            parts.append(f"Not counted, since settings have changed since they were run: {names}.")
    return "\n\n".join(parts)


def page_with(text: str, table: str) -> str:
    """Return the page with these tables between its marks. Raises InputError for a page without the marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise InputError(f"{PAGE}: the marks {BEGIN} and {END} are missing")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def write_page(plan: Plan, lines: Sequence[Line], page: Path = PAGE) -> None:
    """Put the tables into the page."""
    write_atomic(page, page_with(page.read_text(), tables(plan, lines)))


def points(share: float, signed: bool = True) -> str:
    """Return a share in percentage points."""
    if math.isnan(share):
        return "-"
    return f"{100 * share:+.1f}" if signed else f"{100 * share:.1f}"


def p_value(p: float | None) -> str:
    """Return a p-value as a cell."""
    if p is None:
        return "-"
    return "below 0.001" if p < 0.001 else f"{p:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = "|" + "---|" * len(head)
    return "\n".join([f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)])


def _designs(plan: Plan, scale: str) -> str:
    rows = []
    for c in plan.comparisons:
        design = designed(plan, c, scale)
        shown = [f"{100 * value:.1f}" for value in (design.sd, design.alone, design.corrected)]
        lengths = " ".join(lengths_of(plan, c))
        rows.append((c.asks, f"{c.arm} - {c.against}", lengths, str(design.seeds), str(design.df), *shown))
    head = ("question", "difference", "chains", "seeds", "df", "sd assumed", "detectable", "after Holm")
    return _table(head, rows)


def _arms(plan: Plan, found: Found, scale: str) -> str:
    rows = []
    every = [str(n) for n in plan.lengths]
    for name in plan.arms:
        lines = [line for (arm, _), line in sorted(found.items()) if arm == name]
        if not lines:
            rows.append((name, f"0 of {len(seeds_of(plan, name, scale))}", *["-"] * (len(every) + 5)))
            continue
        mean, low, high = mean_interval([accuracy(line, every) for line in lines])
        cells = [f"{len(lines)} of {len(seeds_of(plan, name, scale))}"]
        cells += [f"{points(mean, False)} [{points(low, False)}, {points(high, False)}]"]
        for n in every:
            right, asked = (sum(line.sets.get(n, (0, 0))[i] for line in lines) for i in (0, 1))
            cells.append(points(right / asked, False) if asked else "-")
        stated, answers = (sum(line.whole_path["right"][i] for line in lines) for i in (0, 1))
        cells.append(points(stated / answers, False) if answers else "-")
        cells += [f"{sum(getattr(line, field) for line in lines) / len(lines):,.0f}" for field in ("steps",)]
        cells.append(f"{sum(line.tokens for line in lines) / len(lines) / 1000:,.0f}")
        cells.append(f"{sum(line.seconds for line in lines) / len(lines):,.0f}")
        rows.append((name, *cells))
    lengths = [f"{n} facts" if n != "1" else "1 fact" for n in every]
    head = ("arm", "seeds", "accuracy, %", *lengths, "whole path", "steps", "thousand tokens", "seconds")
    return _table(head, rows)


def _comparisons(found: Sequence[Compared]) -> str:
    rows = []
    for each in found:
        c, seen = each.comparison, each.effect
        row = [c.family, c.asks, f"{c.arm} - {c.against}"]
        if seen is None:
            row += ["-"] * 5
        else:
            row += [str(seen.seeds), f"{points(seen.mean)} [{points(seen.low)}, {points(seen.high)}]"]
            row += [f"{100 * seen.sd:.1f} ({seen.df})", p_value(seen.p), p_value(each.p_holm)]
        aid = each.questions
        row.append(f"{points(aid.difference)} [{points(aid.low)}, {points(aid.high)}]" if aid else "-")
        rows.append(row)
    head = (
        "family",
        "question",
        "difference",
        "seeds",
        "points [95 %], by seeds",
        "sd seen (df)",
        "p",
        "p, Holm",
    )
    return _table((*head, "reading aid: by questions of these runs"), rows)


def _reviews(plan: Plan, found: Found) -> str:
    rows = []
    for name, arm in plan.arms.items():
        lines = [line for (of, _), line in found.items() if of == name]
        if not (arm.data.planted and lines):
            continue
        planted, left, caught = (
            sum(line.planted[key] for line in lines) for key in ("planted", "left", "caught")
        )
        rounds = ", ".join(sorted({str(line.planted["rounds"]) for line in lines}))
        cells = [str(n) for n in (planted, left, caught)]
        rows.append((name, str(len(lines)), rounds, *cells, _share(caught, planted), _share(caught, left)))
    head = (
        "arm",
        "seeds",
        "rounds",
        "planted",
        "left",
        "of these planted",
        "share caught, %",
        "precision, %",
    )
    return _table(head, rows) if rows else ""


def _share(k: int, n: int) -> str:
    if not n:
        return "-"
    low, high = wilson_interval(k, n)
    return f"{points(k / n, False)} [{points(low, False)}, {points(high, False)}]"
