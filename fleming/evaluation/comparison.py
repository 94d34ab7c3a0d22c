"""Two runs on the same questions: how far apart, and whether that is more than chance.

What is hard for both says nothing about their difference, so they are compared question by question. "better" is said
only where the interval of the difference excludes 0. Left out: correction for many comparisons.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleming.evaluation.answers import read_answers
from fleming.evaluation.scoring import question_scores
from fleming.evaluation.statistics import macro_difference, paired_difference
from fleming.files import read_json
from model.errors import InputError


def compare_runs(a: Path, b: Path) -> dict[str, Any]:
    """Compare two folders (eval/NAME) or answers files; b minus a, question by question.

    Questions that only one of them answered are counted and left out. Raises InputError for a folder without answers,
    runs without a common question, and a question whose right answer differs between them.
    """
    runs = [_load(_answers_file(path)) for path in (a, b)]
    common = sorted(runs[0].keys() & runs[1].keys())
    report: dict[str, Any] = {"a": str(a), "b": str(b), "settings_differ": _settings_differ(a, b), "benchmarks": []}
    scores: dict[str, list[tuple[list[float], list[float]]]] = defaultdict(list)
    for benchmark, protocol in common:
        first, second = (run[benchmark, protocol] for run in runs)
        ids = [name for name in first if name in second]
        for name in ids:
            if first[name][1] != second[name][1]:
                raise InputError(f"{b}: {name} has the right answer {second[name][1]}, in {a} it is {first[name][1]}")
        if not ids:
            continue
        x, y = ([run[name][0] for name in ids] for run in (first, second))
        scores[protocol].append((x, y))
        found = paired_difference(x, y)
        report["benchmarks"].append(
            {
                "benchmark": benchmark,
                "protocol": protocol,
                "n": len(ids),
                "only_a": len(first) - len(ids),
                "only_b": len(second) - len(ids),
                "accuracy_a": sum(x) / len(x),
                "accuracy_b": sum(y) / len(y),
                **vars(found),
                "verdict": verdict(found.low, found.high),
            }
        )
    if not report["benchmarks"]:
        raise InputError(f"{a} and {b} have no question of one benchmark and protocol in common")
    report["macro"] = {}
    for protocol, pairs in scores.items():
        if len(pairs) > 1:
            mean = macro_difference(pairs)
            report["macro"][protocol] = {
                "benchmarks": len(pairs),
                "difference": mean.value,
                "low": mean.low,
                "high": mean.high,
                "verdict": verdict(mean.low, mean.high),
            }
    return report


def verdict(low: float, high: float) -> str:
    """Return which run is better, if the interval of b minus a excludes 0."""
    return "b is better" if low > 0 else "a is better" if high < 0 else "no difference shown"


def _answers_file(path: Path) -> Path:
    file = path / "answers.jsonl" if path.is_dir() else path
    if file.exists():
        return file
    inside = sorted(p.parent.name for p in path.glob("eval/*/answers.jsonl")) if path.is_dir() else []
    hint = f"; name one of {', '.join(str(path / 'eval' / name) for name in inside)}" if inside else ""
    raise InputError(f"{file}: there is no such file{hint}")


def _load(path: Path) -> dict[tuple[str, str], dict[str, tuple[float, str]]]:
    """Return (benchmark, protocol) -> question id -> (score, right answer)."""
    records: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for record in read_answers(path):
        if record["order"] == 0:
            kept = {name: record[name] for name in ("id", "order", "correct", "gold")}
            records[record["benchmark"], record["protocol"]].append(kept)
    found = {}
    for name, answers in records.items():
        gold = {r["id"]: r["gold"] for r in answers}
        found[name] = {i: (score, gold[i]) for i, score in question_scores(answers).items()}
    return found


def _settings_differ(a: Path, b: Path) -> list[str]:
    """Return what was set differently, hashes of models apart: the protocols may not be the same."""
    files = [(path if path.is_dir() else path.parent) / "settings.json" for path in (a, b)]
    if not all(file.exists() for file in files):
        return ["unknown: settings.json is missing"]
    first, second = map(read_json, files)
    return [
        f"{name}: {first.get(name)!r} against {second.get(name)!r}"
        for name in sorted(first.keys() | second.keys())
        if first.get(name) != second.get(name) and not name.startswith("sha256 of model")
    ]


def describe_comparison(report: dict[str, Any]) -> str:
    """Return the report as lines for a terminal."""
    lines = [f"a: {report['a']}", f"b: {report['b']}"]
    lines += [f"NOT THE SAME SETTINGS: {what}" for what in report["settings_differ"]]
    for row in report["benchmarks"]:
        lines.append(
            f"{row['benchmark']}, {row['protocol']}, {row['n']} questions: a {100 * row['accuracy_a']:.1f}, b "
            f"{100 * row['accuracy_b']:.1f}; b minus a {describe_difference(row)}: {row['verdict']}"
        )
        if row["only_a"] or row["only_b"]:
            lines.append(f"  left out: {row['only_a']} that only a answered, {row['only_b']} that only b answered")
    for protocol, row in report["macro"].items():
        mean = f"macro average of {row['benchmarks']}, {protocol}"
        lines.append(f"{mean}: b minus a {describe_difference(row)}: {row['verdict']}")
    return "\n".join(lines)


def describe_difference(row: Mapping[str, Any]) -> str:
    """Return "+1.2 [+0.3, +2.1], 14 won, 5 lost, McNemar p = 0.06": percentage points, and counts where there are."""
    line = f"{100 * row['difference']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
    if "p_mcnemar" not in row:
        return line
    return f"{line}, {row['wins']} won, {row['losses']} lost, McNemar p = {row['p_mcnemar']:.2g}"
