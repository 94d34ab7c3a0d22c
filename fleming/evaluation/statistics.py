"""Intervals and tests for accuracies: Wilson's interval, the paired bootstrap, McNemar's exact test.

Two models answer the same questions, so their scores are compared question by question: what is hard for both says
nothing about their difference. Left out: correction for many comparisons.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy
from numpy.typing import ArrayLike


def wilson_interval(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return (low, high) for a share of k successes in n trials; (0, 1) where n is 0. Wilson, JASA 22 (1927) 209."""
    if not 0 <= k <= n:
        raise ValueError(f"{k} successes in {n} trials")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    # At the ends the bound is exactly 0 or 1; rounding alone would put it just beyond.
    return 0.0 if k == 0 else centre - half, 1.0 if k == n else centre + half


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


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    seed: int = 0,
    resamples: int = 10_000,
    confidence: float = 0.95,
    strata: ArrayLike | None = None,
) -> PairedResult:
    """Compare scores a and b [n] of the same questions: difference, percentile bootstrap interval, exact McNemar.

    Several seeds are pooled by concatenation, with `strata` [n] naming the seed of each pair: each stratum is then
    resampled within itself. The same seed gives the same interval. Raises ValueError for empty or unpaired scores.
    """
    a, b = numpy.asarray(a, dtype=numpy.float64), numpy.asarray(b, dtype=numpy.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) == 0:
        raise ValueError(f"expected two equally long, non-empty lists of scores, found shapes {a.shape} and {b.shape}")
    gains = b - a
    _, stratum = numpy.unique(numpy.zeros(len(a)) if strata is None else strata, return_inverse=True)
    rng = numpy.random.Generator(numpy.random.Philox(seed))
    totals = numpy.zeros(resamples)
    for s in range(stratum.max() + 1):
        # A resample is known by how often it draws each distinct gain (-1, 0, 1 for right and wrong): [resamples,
        # values] numbers in place of [resamples, n].
        values, counts = numpy.unique(gains[stratum == s], return_counts=True)
        totals += rng.multinomial(counts.sum(), counts / counts.sum(), size=resamples) @ values
    low, high = numpy.quantile(totals / len(a), [(1 - confidence) / 2, (1 + confidence) / 2])
    wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
    return PairedResult(float(gains.mean()), float(low), float(high), wins, losses, mcnemar_p(wins, losses))
