"""fleming/evaluation/statistics.py against scipy, closed forms and a bootstrap written the plain way."""

import math

import numpy
import pytest

from fleming.evaluation.statistics import mcnemar_p, paired_difference, wilson_interval


def test_wilson_interval_is_where_the_score_test_just_rejects():
    for k, n in [(1, 10), (7, 20), (595, 1273), (1272, 1273)]:
        for bound in wilson_interval(k, n):  # |p - k/n| = z sqrt(p (1 - p) / n), its definition
            assert abs(k / n - bound) == pytest.approx(1.959963984540054 * math.sqrt(bound * (1 - bound) / n), rel=1e-9)


def test_wilson_interval_equals_scipy():
    stats = pytest.importorskip("scipy.stats")
    for k, n in [(0, 1), (0, 5), (5, 5), (3, 8), (123, 500), (1_000_000, 3_000_000)]:
        for confidence in (0.8, 0.95, 0.99):
            expected = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
            assert wilson_interval(k, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_interval_stays_inside_zero_and_one():
    assert wilson_interval(0, 0) == (0.0, 1.0)
    for n in range(1, 300):
        low, high = wilson_interval(0, n)
        assert low == 0.0
        assert 0 < high < 1
        low, high = wilson_interval(n, n)
        assert 0 < low < 1
        assert high == 1.0
    with pytest.raises(ValueError, match="6 successes in 5 trials"):
        wilson_interval(6, 5)


def test_mcnemar_is_the_exact_binomial_test():
    stats = pytest.importorskip("scipy.stats")
    for wins, losses in [(0, 0), (1, 0), (5, 5), (10, 2), (2, 10), (130, 95), (900, 1100), (6000, 5700)]:
        expected = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
        assert mcnemar_p(wins, losses) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_by_hand():
    assert mcnemar_p(3, 0) == 2 / 8
    assert mcnemar_p(1, 4) == 2 * (1 + 5) / 32
    assert mcnemar_p(1100, 0) == 0.5**1099 == 0.0 or mcnemar_p(1000, 0) == 0.5**999


def test_difference_counts_and_sign():
    result = paired_difference([0, 0, 1, 1, 0], [1, 1, 1, 0, 0])
    assert result.difference == pytest.approx(0.2)
    assert (result.wins, result.losses) == (2, 1)
    assert result.p_mcnemar == 1.0
    assert result.low <= result.difference <= result.high


def test_the_interval_equals_that_of_a_bootstrap_written_the_plain_way():
    rng = numpy.random.default_rng(1)
    a = rng.random(400) < 0.5
    b = numpy.where(rng.random(400) < 0.7, a, rng.random(400) < 0.65)
    ours = paired_difference(a, b, resamples=40_000)
    gains = b.astype(float) - a
    plain = [gains[rng.integers(0, 400, 400)].mean() for _ in range(20_000)]
    assert (ours.low, ours.high) == pytest.approx(numpy.quantile(plain, [0.025, 0.975]), abs=2.6 / 400)
    normal = 1.96 * gains.std() / math.sqrt(400)
    assert ours.high - ours.low == pytest.approx(2 * normal, rel=0.06)


def test_the_interval_covers_the_true_difference_as_often_as_it_says():
    rng = numpy.random.default_rng(2)
    covered = 0
    for trial in range(300):
        a = rng.random(200) < 0.4
        b = a ^ (rng.random(200) < 0.2)  # true difference: 0.2 * (0.6 - 0.4)
        result = paired_difference(a, b, seed=trial, resamples=1000)
        covered += result.low <= 0.04 <= result.high
    assert 0.91 <= covered / 300 <= 0.98  # binomial: 0.95 +- 3 * 0.0126


def test_strata_are_resampled_within_themselves():
    a = numpy.zeros(200)
    b = numpy.concatenate([numpy.ones(100), numpy.zeros(100)])  # seeds that differ, questions in a seed that do not
    seeds = ["s0"] * 100 + ["s1"] * 100
    within = paired_difference(a, b, strata=seeds)
    assert (within.low, within.high) == (0.5, 0.5)
    mixed = paired_difference(a, b)
    assert mixed.high - mixed.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(200), rel=0.1)


def test_the_same_seed_gives_the_same_interval_and_equal_scores_give_zero():
    a, b = [0, 1] * 50, [1, 1] * 50
    assert paired_difference(a, b) == paired_difference(a, b)
    same = paired_difference(a, a)
    assert (same.difference, same.low, same.high, same.p_mcnemar) == (0.0, 0.0, 0.0, 1.0)


def test_unpaired_scores_are_refused():
    for a, b in [([], []), ([1, 0], [1]), ([[1]], [[1]])]:
        with pytest.raises(ValueError, match="equally long"):
            paired_difference(a, b)
