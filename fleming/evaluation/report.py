"""Results as a reader sees them: results.json, and tables in which each score has its interval and chance level.

Left out: computing them (scoring.py, comparison.py).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fleming.files import read_json, write_atomic
from fleming.records import DIFFICULTIES
from model.errors import InputError

Summary = Mapping[str, Any]


def percent(share: float | None) -> str:
    """Return "57.1" for 0.571, "" for None."""
    return "" if share is None else f"{100 * share:.1f}"


def with_interval(scored: Summary) -> str:
    """Return "57.1 [55.0, 59.2]"."""
    return f"{percent(scored['accuracy'])} [{percent(scored['accuracy_low'])}, {percent(scored['accuracy_high'])}]"


def results_table(rows: Sequence[tuple[str, str, Summary]]) -> str:
    """Return a table of (benchmark, model, summary): in percent; columns that say nothing are left out."""
    columns: dict[str, list[str]] = {
        "benchmark": [name for name, _, _ in rows],
        "model": [model for _, model, _ in rows],
        "questions": [f"{s['n']:,}" for _, _, s in rows],
        "accuracy [95 % interval]": [with_interval(s) for _, _, s in rows],
        "chance": [percent(s["chance"]) for _, _, s in rows],
        "commonest letter": [percent(s.get("commonest_letter")) for _, _, s in rows],
    }
    by_grade = [s.get("breakdown", {}).get("difficulty", {}) for _, _, s in rows]
    for grade in DIFFICULTIES:
        columns[grade] = [percent(grades[grade]["accuracy"]) if grade in grades else "" for grades in by_grade]
    for name in ("abstained", "format", "cut"):  # log-likelihoods have none of them
        columns[name] = [percent(s[name]) if "format" in s else "" for _, _, s in rows]
    columns["tokens"] = [f"{s['mean_tokens']:.1f}" if "format" in s else "" for _, _, s in rows]
    return table({head: cells for head, cells in columns.items() if any(cells)})


def table(columns: Mapping[str, Sequence[str]]) -> str:
    """Return a Markdown table of head -> cells."""
    widths = [max(map(len, (head, *cells))) for head, cells in columns.items()]
    lines = [list(columns), ["-" * width for width in widths], *map(list, zip(*columns.values(), strict=True))]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)


def about_data(benchmark: str, summary: Summary) -> list[str]:
    """Return what there is to say of a benchmark's data, a line each."""
    lines = [f"WARNING, {benchmark}: {warning}" for warning in summary["warnings"]]
    counted = [f"{flaw} {found['count']}" for flaw, found in summary["data"]["defects"].items()]
    counted += [f"set aside {len(aside)}"] if (aside := summary["data"]["set_aside"]) else []
    if counted:
        lines.append(f"{benchmark}, flaws of the data: {', '.join(counted)} (which: results.json)")
    return lines


def about_model(name: str, summary: Summary) -> list[str]:
    """Return what there is to say of a model on a benchmark beside the table, a line each."""
    lines, chance = [], f"chance {percent(summary['chance'])}"
    if rows := summary.get("all_rows"):
        repeats = f"repeated stems count once in the table; all {rows['n']} records: {with_interval(rows)}"
        lines.append(f"{name}: {repeats}, chance {percent(rows['chance'])}")
    if "pass_at_k" in summary:
        guessed = summary["pass_at_k_by_chance"]
        passes = [f"{percent(v)} (chance {percent(guessed[k])}) for k = {k}" for k, v in summary["pass_at_k"].items()]
        votes = [f"{percent(v)} for k = {k}" for k, v in summary["maj_at_k"].items()]
        lines.append(f"{name}: pass@k of {summary['samples']} answers: {', '.join(passes)}")
        lines.append(f"{name}: maj@k of {summary['samples']} answers: {', '.join(votes)}; {chance}")
    letter, share = max(summary["answered_letters"].items(), key=lambda item: item[1], default=("", 0))
    if share > 0.5:
        right = summary["data"]["gold_letters"].get(letter, 0)
        lines.append(f"{name}: answers {letter} in {percent(share)} % of cases; it is right in {percent(right)} %")
    if cut := summary.get("documents_cut_left"):
        lines.append(f"WARNING, {name}: {cut} documents are longer than the model's context and were cut on the left")
    if found := summary["calibration"]:
        silent = f", {percent(summary['abstained'])} % abstained" if summary["abstained"] else ""
        lines.append(f"{name}: ECE {found['ece']:.3f}, Brier score {found['brier']:.3f}, by {found['of']}{silent}")
    if found := summary["option_order"]:
        lines.append(
            f"{name}: {found['orders']} orders of the options on {found['questions']} questions, first answers: right "
            f"{', '.join(map(percent, found['accuracies']))} (spread {percent(found['spread'])}, chance "
            f"{percent(found['chance'])}), the same option in all orders {percent(found['consistency'])} %"
        )
    return lines


def read_results(folder: Path) -> dict[str, Any]:
    """Return results.json of an earlier command, or nothing. Raises InputError for a file that is none."""
    path = folder / "results.json"
    found = read_json(path) if path.exists() else {}
    parts = [found.get(name, {}) for name in ("benchmarks", "sha256")] if isinstance(found, dict) else [None]
    if not all(isinstance(part, dict) for part in parts) or not all(isinstance(b, dict) for b in parts[0].values()):
        raise InputError(f"{path}: not the results of an evaluation; move it away")
    return found


def write_results(
    folder: Path, before: Mapping[str, Any], results: dict[str, Any], protocols: Mapping[str, str]
) -> None:
    """Write results.json: what this command found, and what earlier ones did by other protocols or on other benchmarks.

    Each score carries its own protocol. The means are of this command's benchmarks alone.
    """
    benchmarks = dict(before.get("benchmarks", {}))
    for name, by_protocol in results["benchmarks"].items():
        scored = {p: {"protocol": protocols[p], **summary} for p, summary in by_protocol.items()}
        benchmarks[name] = benchmarks.get(name, {}) | scored
    others = {name: value for name, value in before.get("sha256", {}).items() if not name.startswith("model/")}
    results = {**results, "sha256": others | results["sha256"], "benchmarks": benchmarks}
    text = json.dumps(results, ensure_ascii=False, indent=1, allow_nan=False)
    write_atomic(folder / "results.json", text + "\n")
