"""What an accuracy is worth: intervals, tests, averages over benchmarks, calibration.

- Two models answer the same questions, so their scores are compared question by question: what is hard for both says
  nothing about their difference.
- The unit is the question: samples of one question are not independent, so they enter as one share.

Left out: several answers to one question (at_k.py).
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95  # of all intervals


@dataclass(frozen=True)
class Interval:
    """An estimate and its interval."""

    value: float
    """The estimate from the scores as they are."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end."""


def wilson_interval(k: float, n: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return (low, high) for a share of k successes in n trials; (0, 1) where n is 0. Wilson, JASA 22 (1927) 209."""
    if not 0 <= k <= n:
        raise ValueError(f"{k} successes in {n} trials")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = (k + z * z / 2) / (n + z * z)
    spread = math.sqrt(k * (n - k) / n + z * z / 4)
    half = z / (n + z * z) * spread
    # At the ends the bound is exactly 0 or 1; rounding alone would put it just beyond.
    low = 0.0 if k == 0 else centre - half
    high = 1.0 if k == n else centre + half
    return low, high


def question_interval(scores: ArrayLike, samples: int) -> Interval:
    """Return the mean of scores [n], one in [0, 1] a question, with Wilson's interval.

    A score is the share of a question's `samples` that are right. Where they are several the mean varies less: Wilson's
    n is then the effective number of questions n / D (Franco et al., J. Surv. Stat. Methodol. 7 (2019) 334; D is the
    design effect of Rao & Scott, Biometrics 48 (1992) 577). D is the share of the variance p (1 - p) that remains: what
    lies within a question, score (1 - score), has been averaged away. z^2 / 2 is added to what D is measured by, since
    few right answers do not tell it: else one right answer in all would have a lower upper end than none. With one
    sample D is 1. Raises ValueError for no scores and for scores outside [0, 1].
    """
    scores = _scores(scores)
    if scores.min() < 0 or scores.max() > 1:
        raise ValueError(f"expected scores in [0, 1], found {scores.min()} to {scores.max()}")
    n, right = len(scores), float(scores.sum())
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    within = float((scores * (1 - scores)).sum())
    remains = max(1 / samples, 1 - within / (right * (n - right) / n + z * z / 2))
    return Interval(right / n, *wilson_interval(right / remains, n / remains))


def weighted_interval(scores: ArrayLike, weights: ArrayLike) -> Interval | None:
    """Return the mean of scores [n] in [0, 1] by weights [n] of at least 0; None where all weights are 0.

    Wilson's interval of the effective number of questions (sum w)^2 / sum w^2 (Kish, Survey Sampling, 1965, 11.7).
    """
    scores, weights = _scores(scores), _scores(weights)
    total = float(weights.sum())
    if total == 0:
        return None
    effective = total**2 / float((weights**2).sum())
    share = min(1.0, float((scores * weights).sum()) / total)
    return Interval(share, *wilson_interval(share * effective, effective))


def clustered_interval(groups: Sequence[Sequence[bool]]) -> Interval:
    """Return the share of true verdicts, of which each group's stand or fall together: criteria of one answer.

    Wilson's interval of the effective number of verdicts n / D; D is the design effect of a ratio (Rao & Scott,
    Biometrics 48 (1992) 577): how much more the groups' sums vary than they would if verdicts were independent. z^2 / 2
    is added to both, above as often as a verdict has company, since few groups do not tell D: where all verdicts agree
    a group counts as one. Raises ValueError for no groups and for an empty one.
    """
    sizes = numpy.array([len(group) for group in groups])
    if not sizes.all() or not len(sizes):
        raise ValueError("expected groups of verdicts, none of them empty")
    right, n = numpy.array([sum(group) for group in groups]), int(sizes.sum())
    share, company = float(right.sum() / n), float((sizes**2).sum() / n)
    few = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) ** 2 / 2
    seen = float(((right - share * sizes) ** 2).sum()) + company * few
    effect = min(company, max(1.0, seen / (n * share * (1 - share) + few)))
    return Interval(share, *wilson_interval(float(right.sum()) / effect, n / effect))


def mcnemar_p(wins: int, losses: int) -> float:
    """Return the two-sided exact p-value that wins and losses are equally likely (McNemar 1947, binomial form)."""
    n, fewer = wins + losses, min(wins, losses)
    if wins == losses:
        return 1.0
    term = total = math.comb(n, fewer)
    for i in range(fewer, 0, -1):  # sum of C(n, 0..fewer), in integers: exact for any n
        term = term * i // (n - i + 1)
        total += term
    return min(1.0, 2 * total / (1 << n))  # Python divides integers of any size correctly rounded


def stderr_of_mean(scores: ArrayLike) -> float:
    """Return the standard error of the mean of scores [n], as lm-evaluation-harness reports it: s / sqrt(n), ddof 1.

    NaN for one score, where the harness divides by zero. Raises ValueError for no scores.
    """
    scores = _scores(scores)
    if len(scores) == 1:
        return math.nan
    return float(scores.std(ddof=1) / math.sqrt(len(scores)))


@dataclass(frozen=True)
class PairedResult:
    """The comparison of b with a on the same questions."""

    difference: float
    """mean(b) - mean(a)."""
    low: float
    """Lower end of the difference's bootstrap interval."""
    high: float
    """Upper end."""
    wins: int
    """Pairs in which b scored higher."""
    losses: int
    """Pairs in which b scored lower."""
    p_mcnemar: float
    """Exact two-sided p-value that wins and losses are equally likely."""
    detectable: float
    """The smallest true difference that `detectable_difference` says such a comparison shows."""


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    seed: int = 0,
    resamples: int = 10_000,
    strata: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
) -> PairedResult:
    """Compare scores a and b [n] of the same questions: difference, percentile bootstrap interval, exact McNemar.

    Several seeds are pooled by concatenation, with `strata` [n] naming the seed of each pair: each stratum is then
    resampled within itself. Questions of one of `clusters` [n], about one patient for example, are drawn together; the
    test counts them each for itself. The same seed gives the same interval. Raises ValueError for empty or unpaired
    scores.
    """
    gains = _gains(a, b)
    strata = numpy.zeros(len(gains)) if strata is None else numpy.asarray(strata)
    clusters = numpy.arange(len(gains)) if clusters is None else numpy.asarray(clusters)
    groups = [_clustered(gains[here], clusters[here]) for here in (strata == s for s in numpy.unique(strata))]
    interval = _bootstrap(groups, seed, resamples, pooled=True)
    wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
    return PairedResult(
        difference=float(gains.mean()),
        low=interval.low,
        high=interval.high,
        wins=wins,
        losses=losses,
        p_mcnemar=mcnemar_p(wins, losses),
        detectable=detectable_difference(gains),
    )


def verdict(low: float, high: float, balance: int, p: float) -> str:
    """Return which run is better, where interval and exact test (wins less losses, p) both say so."""
    if p < 0.05 and low > 0 and balance > 0:
        return "b is better"
    if p < 0.05 and high < 0 and balance < 0:
        return "a is better"
    return "no difference shown"


def detectable_difference(gains: ArrayLike, power: float = 0.8) -> float:
    """Return the true difference of which a comparison of n questions shows p < 0.05 with this chance.

    gains: b - a [n] as seen, of which only the mean square counts: the share psi of questions on which the two differ.
    The difference solves delta - 1 / n = z_0.975 sqrt(psi / n) + z_power sqrt((psi - delta^2) / n): Miettinen,
    Biometrics 24 (1968) 339, with the correction for continuity that makes it the exact test's. Where delta would pass
    psi, more questions would have to differ than did: psi is then delta. 1 where no difference would be shown. Where
    fewer than 50 questions differ it errs upwards, since p takes few values: of 20 the chance is 84 %, not 80.
    """
    return detectable_mean([gains], power)


def detectable_mean(parts: Sequence[ArrayLike], power: float = 0.8) -> float:
    """Return the same of the unweighted mean over benchmarks, each with its gains: their variances are added."""
    parts = [_scores(gains) for gains in parts]
    n, seen = numpy.array([(len(gains), (gains**2).mean()) for gains in parts]).T
    z_test, z_power = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2), NormalDist().inv_cdf(power)
    low, high = 0.0, 1.0
    for _ in range(60):
        delta = (low + high) / 2
        psi = numpy.maximum(seen, delta)
        needed = z_test * math.sqrt((psi / n).sum()) + z_power * math.sqrt(((psi - delta**2) / n).sum())
        if delta - (1 / n).sum() / len(n) ** 2 < needed / len(n):
            low = delta
        else:
            high = delta
    return high


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for being several: Holm, Scand. J. Stat. 6 (1979) 65, in the order given."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def mean_interval(parts: Sequence[Interval]) -> Interval:
    """Return the unweighted mean of independent shares, one a benchmark; the intervals' sides are added in quadrature.

    That is MOVER for a sum: Zou & Donner, Stat. Med. 27 (2008) 1693. It speaks of other questions for these benchmarks,
    not of other benchmarks.
    """
    value = math.fsum(part.value for part in parts) / len(parts)
    below = math.hypot(*(part.value - part.low for part in parts)) / len(parts)
    above = math.hypot(*(part.high - part.value for part in parts)) / len(parts)
    return Interval(value, max(0.0, value - below), min(1.0, value + above))


def macro_difference(
    pairs: Sequence[tuple[ArrayLike, ArrayLike]],
    seed: int = 0,
    resamples: int = 10_000,
    clusters: Sequence[ArrayLike] | None = None,
) -> Interval:
    """Return the unweighted mean over benchmarks of mean(b) - mean(a), with a percentile bootstrap within each.

    pairs holds (a, b) for each benchmark: the scores [n] of the same questions in the same order; clusters, as those of
    `paired_difference`. It speaks of other questions, as `mean_interval` does. Raises ValueError for no pairs and for
    empty or unpaired scores.
    """
    gains = [_gains(a, b) for a, b in pairs]
    clusters = clusters or [numpy.arange(len(g)) for g in gains]
    groups = [_clustered(g, numpy.asarray(of)) for g, of in zip(gains, clusters, strict=True)]
    return _bootstrap(groups, seed, resamples, pooled=False)


def _scores(scores: ArrayLike) -> NDArray[numpy.float64]:
    """Return scores as [n]; raise ValueError unless they are one non-empty list of finite numbers."""
    scores = numpy.asarray(scores, dtype=numpy.float64)
    if scores.ndim != 1 or len(scores) == 0 or not numpy.isfinite(scores).all():
        raise ValueError(f"expected a non-empty list of finite scores, found shape {scores.shape}: {scores}")
    return scores


def _gains(a: ArrayLike, b: ArrayLike) -> NDArray[numpy.float64]:
    """Return b - a [n]; raise ValueError unless they are equally long, non-empty lists of finite scores."""
    a, b = numpy.asarray(a, dtype=numpy.float64), numpy.asarray(b, dtype=numpy.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) == 0:
        raise ValueError(f"expected two equally long lists of scores, found shapes {a.shape} and {b.shape}")
    return _scores(b) - _scores(a)


def _clustered(scores: NDArray[numpy.float64], clusters: NDArray[Any]) -> NDArray[numpy.float64]:
    """Return (sum, number) of each cluster's scores, [clusters, 2]."""
    _, place = numpy.unique(clusters, return_inverse=True)
    return numpy.stack([numpy.bincount(place, scores), numpy.bincount(place)], axis=1)


def _bootstrap(groups: Sequence[NDArray[numpy.float64]], seed: int, resamples: int, pooled: bool) -> Interval:
    """Return the mean of all scores (pooled) or of the groups' means; each group is resampled within itself.

    groups: of each group's clusters the sum and the number of the scores, [clusters, 2].
    """
    if not groups:
        raise ValueError("expected at least one group of scores, found none")
    rng = numpy.random.Generator(numpy.random.Philox(seed))
    value, totals = numpy.zeros(2), numpy.zeros((resamples, 2))  # sums over numbers
    for group in groups:
        # A resample is known by how often it draws each distinct cluster (-1, 0, 1 for gains of right and wrong):
        # [resamples, values] numbers in place of [resamples, clusters].
        values, counts = numpy.unique(group, axis=0, return_counts=True)
        draws = rng.multinomial(len(group), counts / len(group), size=resamples)
        # From counts, as the resamples are: where all scores are equal, low, value and high are the same float.
        of_all, of_resamples = counts @ values, draws @ values  # [2], [resamples, 2]
        if not pooled:
            of_all, of_resamples = of_all / of_all[1], of_resamples / of_resamples[:, 1:]
        value += of_all
        totals += of_resamples
    ends = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = numpy.quantile(totals[:, 0] / totals[:, 1], ends)
    return Interval(float(value[0] / value[1]), float(low), float(high))


@dataclass(frozen=True)
class Calibration:
    """How far confidences are from accuracies."""

    ece: float
    """Expected calibration error in [0, 1]: mean |accuracy - confidence| of the bins, weighted by their questions."""
    brier: float
    """Mean squared error of the probabilities, summed over a question's options: 0 is best, 2 is worst."""
    bins: list[tuple[int, float, float]]
    """(questions, mean confidence, accuracy) of each bin that holds a question, from low to high confidence."""


def calibration(probabilities: Sequence[Sequence[float]], gold: Sequence[int], bins: int = 10) -> Calibration:
    """Return ECE (Guo et al. 2017, Eq. 3), Brier score (Brier 1950) and the bins behind the ECE.

    probabilities holds a row a question over its options; gold, the index of the right one. The confidence is the
    largest probability, the answer its first option; a row of zeros has confidence 0 and is wrong. A row may sum to
    less than 1: the rest is an abstention's share, which is not a class and adds nothing to the Brier score.
    Bins are equal in width and hold confidences in (lower, upper]; 0 is in the first. Raises ValueError for empty or
    unequally long input, a probability outside [0, 1], a row that sums to more than 1 and gold outside its row.
    """
    if len(probabilities) != len(gold) or len(gold) == 0 or bins < 1:
        rows = len(probabilities)
        raise ValueError(f"expected a gold a row, some rows and bins, found {rows}, {len(gold)}, {bins}")
    # Quotients, not multiples of 1 / bins: a share such as 3 / 10 must equal its edge to the last bit.
    edges = [(i + 1) / bins for i in range(bins)]
    binned: list[list[tuple[float, bool]]] = [[] for _ in edges]
    errors = []
    for i, (row, right) in enumerate(zip(probabilities, gold, strict=True)):
        # Of any number type; sums of single-precision softmaxes miss 1 by about 1e-7.
        row = [float(p) for p in row]
        shares = all(0 <= p <= 1 for p in row) and math.fsum(row) <= 1 + 1e-6
        if not shares or not 0 <= right < len(row):
            raise ValueError(f"question {i}: expected probabilities that include gold {right}'s, found {row}")
        confidence = max(row)
        correct = confidence > 0 and row.index(confidence) == right  # index finds the first of equals
        binned[bisect_left(edges, confidence)].append((confidence, correct))
        errors.append(math.fsum((p - (j == right)) ** 2 for j, p in enumerate(row)))
    full = []
    for members in filter(None, binned):
        confidence = math.fsum(p for p, _ in members) / len(members)
        accuracy = sum(correct for _, correct in members) / len(members)
        full.append((len(members), confidence, accuracy))
    gaps = [count * abs(accuracy - confidence) for count, confidence, accuracy in full]
    return Calibration(math.fsum(gaps) / len(gold), math.fsum(errors) / len(gold), full)
