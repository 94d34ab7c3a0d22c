"""Two runs on the same questions: how far apart, and whether that is more than chance.

What is hard for both says nothing about their difference, so they are compared question by question. "better" is said
only where the bootstrap interval of the difference excludes 0 and the exact test's p is below 0.05 as well: with a few
discordant questions the interval alone is too sure. Left out: correction for many comparisons.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fleming.evaluation.answers import read_answers, read_settings
from fleming.evaluation.report import percent
from fleming.evaluation.scoring import question_scores
from fleming.evaluation.statistics import macro_difference, paired_difference
from model.errors import InputError


def compare_runs(a: Path, b: Path) -> dict[str, Any]:
    """Compare two folders (eval/NAME) or answers files; b minus a, question by question.

    Questions that only one of them answered are counted and left out. Raises InputError for a folder without answers,
    runs without a common question, and a question whose right answer differs between them.
    """
    runs = [_load(_answers_file(path)) for path in (a, b)]
    report: dict[str, Any] = {"a": str(a), "b": str(b), "benchmarks": [], "macro": {}}
    by_protocol: dict[str, list[tuple[list[float], list[float]]]] = defaultdict(list)
    for benchmark, protocol in sorted(runs[0].keys() & runs[1].keys()):
        first, second = (_by_question(run[benchmark, protocol]) for run in runs)
        ids = [name for name in first if name in second]
        for name in ids:
            if first[name].gold != second[name].gold:
                raise InputError(
                    f"{b}: {name} has the right answer {second[name].gold}, in {a} it is {first[name].gold}"
                )
        if not ids:
            continue
        x, y = ([run[name].score for name in ids] for run in (first, second))
        by_protocol[protocol].append((x, y))
        report["benchmarks"].append(
            {
                "benchmark": benchmark,
                "protocol": protocol,
                "n": len(ids),
                "chance": sum(1 / first[name].options for name in ids) / len(ids),
                "only_a": len(first) - len(ids),
                "only_b": len(second) - len(ids),
                "accuracy_a": sum(x) / len(x),
                "accuracy_b": sum(y) / len(y),
                **difference(x, y),
            }
        )
    if not report["benchmarks"]:
        raise InputError(f"{a} and {b} have no question of one benchmark and protocol in common")
    for protocol, pairs in by_protocol.items():
        if len(pairs) > 1:
            mean = macro_difference(pairs)
            pooled = paired_difference(*([score for pair in pairs for score in pair[i]] for i in (0, 1)))
            interval = {"difference": mean.value, "low": mean.low, "high": mean.high}
            said = verdict(mean.low, mean.high, pooled.wins - pooled.losses, pooled.p_mcnemar)
            report["macro"][protocol] = {"benchmarks": len(pairs), **interval, "verdict": said}
    compared = {(row["benchmark"], row["protocol"]) for row in report["benchmarks"]}
    return {**report, "settings_differ": _settings_differ(a, b, compared)}


def difference(a: Sequence[float], b: Sequence[float]) -> dict[str, Any]:
    """Return paired_difference of two runs' scores with its verdict; "test" names what p is of."""
    found = paired_difference(a, b)
    test = "McNemar" if {*a, *b} <= {0.0, 1.0} else "sign test"  # shares of several samples: larger or smaller
    said = verdict(found.low, found.high, found.wins - found.losses, found.p_mcnemar)
    return {**vars(found), "test": test, "verdict": said}


def verdict(low: float, high: float, balance: int, p: float) -> str:
    """Return which run is better, where interval and exact test (wins less losses, p) both say so."""
    if p < 0.05 and low > 0 and balance > 0:
        return "b is better"
    return "a is better" if p < 0.05 and high < 0 and balance < 0 else "no difference shown"


def _answers_file(path: Path) -> Path:
    file = path / "answers.jsonl" if path.is_dir() else path
    if file.exists():
        return file
    inside = sorted(p.parent.name for p in path.glob("eval/*/answers.jsonl")) if path.is_dir() else []
    hint = f"; name one of {', '.join(str(path / 'eval' / name) for name in inside)}" if inside else ""
    raise InputError(f"{file}: there is no such file{hint}")


class _Score(NamedTuple):
    score: float
    gold: str
    options: int


def _load(path: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return (benchmark, protocol) -> the answers that count, options in the published order."""
    records: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for record in read_answers(path):
        if record["order"] == 0 and record["counts"]:
            kept = {name: record[name] for name in ("id", "order", "counts", "correct", "gold", "options")}
            records[record["benchmark"], record["protocol"]].append(kept)
    return records


def _by_question(records: list[dict[str, Any]]) -> dict[str, _Score]:
    scores = question_scores(records)
    return {r["id"]: _Score(scores[r["id"]], r["gold"], r["options"]) for r in records}


def _settings_differ(a: Path, b: Path, compared: set[tuple[str, str]]) -> list[str]:
    """Return what was set differently for what is compared; the models' hashes may differ."""
    found = [read_settings(path if path.is_dir() else path.parent) for path in (a, b)]
    if None in found:
        return ["unknown: settings.json is missing"]
    first, second = ({k: v for k, v in saved.items() if _bears_on(k, compared)} for saved in found)
    return [
        f"{name}: {first.get(name)!r} against {second.get(name)!r}"
        for name in sorted(first.keys() | second.keys())
        if first.get(name) != second.get(name)
    ]


def _bears_on(setting: str, compared: set[tuple[str, str]]) -> bool:
    if setting.startswith("sha256 of "):  # "sha256 of BENCHMARK.NUMBER", or "sha256 of model"
        return setting.removeprefix("sha256 of ").rpartition(".")[0] in {benchmark for benchmark, _ in compared}
    return not setting.startswith("cot.") or any(protocol == "cot" for _, protocol in compared)


def describe_comparison(report: dict[str, Any]) -> str:
    """Return the report as lines for a terminal."""
    lines = [f"a: {report['a']}", f"b: {report['b']}"]
    lines += [f"NOT THE SAME SETTINGS: {what}" for what in report["settings_differ"]]
    for row in report["benchmarks"]:
        lines.append(
            f"{row['benchmark']}, {row['protocol']}, {row['n']} questions, chance {percent(row['chance'])}: "
            f"a {percent(row['accuracy_a'])}, b {percent(row['accuracy_b'])}; "
            f"b minus a {describe_difference(row)}: {row['verdict']}"
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
    return f"{line}, {row['wins']} won, {row['losses']} lost, {row['test']} p = {row['p_mcnemar']:.2g}"
