"""Two runs on the same questions: how far apart, and whether that is more than chance.

What is hard for both says nothing about their difference, so they are compared question by question. "better" is said
only where the bootstrap interval of the difference excludes 0 and the exact test's p is below 0.05 as well: with a few
discordant questions the interval alone is too sure. Of several comparisons p is also given as Holm corrects it. Left
out: what is compared with what (report.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from numpy.typing import ArrayLike

from fleming.evaluation.answers import read_answers, read_settings
from fleming.evaluation.statistics import (
    Interval,
    PairedResult,
    detectable_mean,
    holm,
    macro_difference,
    paired_difference,
    verdict,
)
from fleming.evaluation.votes import Questions, Score, add_vote, score_of
from model.errors import InputError

Pair = tuple[list[float], list[float]]
"""Scores of a and of b on the same questions."""


@dataclass(frozen=True)
class Difference(PairedResult):
    """b minus a on the same questions."""

    test: str
    """What p is of: McNemar, or a sign test where scores are shares of several answers."""
    verdict: str
    p_holm: float | None = None
    """p among all that are compared with it; None where nothing is."""


@dataclass(frozen=True)
class Compared:
    """Two runs on the questions of one benchmark that both answered by one protocol."""

    benchmark: str
    protocol: str
    a: Score
    b: Score
    only_a: int
    """Questions that a alone answered; they are left out."""
    only_b: int
    difference: Difference


@dataclass(frozen=True)
class MeanDifference:
    """The unweighted mean of b minus a over several benchmarks."""

    protocol: str
    benchmarks: int
    difference: Interval
    detectable: float
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """All that two runs have in common."""

    a: Path
    b: Path
    benchmarks: list[Compared]
    means: list[MeanDifference]
    settings_differ: list[str]
    """What was set differently for what is compared."""


def compare_runs(a: Path, b: Path) -> Comparison:
    """Compare two folders (eval/NAME) or answers files; b minus a, question by question.

    Questions that only one of them answered are counted and left out. Raises InputError for a folder without answers,
    runs without a common question, and a question whose right answer differs between them.
    """
    first, second = _load(a), _load(b)
    rows: list[Compared] = []
    scores: dict[str, list[tuple[Pair, list[str]]]] = {}
    for benchmark, protocol in sorted(first.keys() & second.keys()):
        x, y = first[benchmark, protocol], second[benchmark, protocol]
        common = [name for name in x if name in y]
        for name in common:
            if x[name].gold != y[name].gold:
                golds = f"the right answer {y[name].gold}, in {a} it is {x[name].gold}"
                raise InputError(f"{b}: {name} has {golds}")
        if not common:
            continue
        of_a, of_b = [x[name] for name in common], [y[name] for name in common]
        pair = [q.score for q in of_a], [q.score for q in of_b]
        only_a, only_b = len(x) - len(common), len(y) - len(common)
        cases = [q.case for q in of_a]
        paired = difference(*pair, clusters=cases)
        rows.append(Compared(benchmark, protocol, score_of(of_a), score_of(of_b), only_a, only_b, paired))
        scores.setdefault(protocol, []).append((pair, cases))
    if not rows:
        raise InputError(f"{a} and {b} have no question of one benchmark and protocol in common")
    found = corrected([row.difference for row in rows])
    rows = [replace(row, difference=d) for row, d in zip(rows, found, strict=True)]
    means = [_mean(protocol, pairs) for protocol, pairs in scores.items() if len(pairs) > 1]
    return Comparison(a, b, rows, means, _settings_differ(a, b, rows))


def difference(
    a: ArrayLike, b: ArrayLike, strata: ArrayLike | None = None, clusters: ArrayLike | None = None
) -> Difference:
    """Return paired_difference of two runs' scores on the same questions, with its verdict."""
    found = paired_difference(a, b, strata=strata, clusters=clusters)
    binary = {*a, *b} <= {0.0, 1.0}  # else shares of several samples: larger or smaller
    test = "McNemar" if binary else "sign test"
    said = verdict(found.low, found.high, found.wins - found.losses, found.p_mcnemar)
    return Difference(**vars(found), test=test, verdict=said)


def corrected(found: Sequence[Difference]) -> list[Difference]:
    """Return the differences with the p-values that they have as one family; a single one as it is."""
    if len(found) < 2:
        return list(found)
    p_values = holm([d.p_mcnemar for d in found])
    return [replace(d, p_holm=p) for d, p in zip(found, p_values, strict=True)]


def _mean(protocol: str, found: Sequence[tuple[Pair, list[str]]]) -> MeanDifference:
    pairs, cases = zip(*found, strict=True)
    mean = macro_difference(pairs, clusters=cases)
    detectable = detectable_mean([[y - x for x, y in zip(a, b, strict=True)] for a, b in pairs])
    all_a = [score for a, _ in pairs for score in a]
    all_b = [score for _, b in pairs for score in b]
    pooled = paired_difference(all_a, all_b)
    said = verdict(mean.low, mean.high, pooled.wins - pooled.losses, pooled.p_mcnemar)
    return MeanDifference(protocol, len(pairs), mean, detectable, said)


def _load(path: Path) -> dict[tuple[str, str], Questions]:
    """Return (benchmark, protocol) -> the questions that count."""
    found: dict[tuple[str, str], Questions] = {}
    for answer in read_answers(_answers_file(path)):
        if answer.counts:
            add_vote(found.setdefault((answer.benchmark, answer.protocol), {}), answer)
    return found


def _answers_file(path: Path) -> Path:
    file = path / "answers.jsonl" if path.is_dir() else path
    if file.exists():
        return file
    inside = sorted(str(p.parent) for p in path.glob("eval/*/answers.jsonl"))
    hint = f"; name one of {', '.join(inside)}" if inside else ""
    raise InputError(f"{file}: there is no such file{hint}")


def _settings_differ(a: Path, b: Path, compared: Sequence[Compared]) -> list[str]:
    """Return what was set differently for what is compared; the models' hashes may differ."""
    first, second = (read_settings(path if path.is_dir() else path.parent) for path in (a, b))
    if first is None or second is None:
        return ["unknown: settings.json is missing"]
    return [
        f"{name}: {first.get(name)!r} against {second.get(name)!r}"
        for name in sorted(first.keys() | second.keys())
        if first.get(name) != second.get(name) and _bears_on(name, compared)
    ]


def _bears_on(setting: str, compared: Sequence[Compared]) -> bool:
    if setting.startswith("sha256 of "):  # "sha256 of BENCHMARK.NUMBER", or "sha256 of model"
        benchmark = setting.removeprefix("sha256 of ").rpartition(".")[0]
        return any(row.benchmark == benchmark for row in compared)
    if setting.startswith("cot."):
        return any(row.protocol == "cot" for row in compared)
    return True
