"""Intervals of an accuracy with several samples a question: by hand, at the edges, and by simulated coverage."""

import math

import numpy
import pytest

from fleming.evaluation.statistics import (
    mean_interval,
    paired_difference,
    question_interval,
    weighted_interval,
    wilson_interval,
)


def ends(scores, samples: int) -> tuple[float, float]:
    found = question_interval(scores, samples)
    return found.low, found.high


def test_one_answer_a_question_is_wilson_to_the_last_bit():
    for n in (1, 7, 24, 1273):
        for right in {0, 1, n // 3, n - 1, n}:
            assert ends([1.0] * right + [0.0] * (n - right), 1) == wilson_interval(right, n)


def test_by_hand():
    """Of four questions with two answers each: none, one, one and both right."""
    found, z = question_interval([0, 0.5, 0.5, 1], 2), 1.959963984540054
    effective = 4 / (1 - (0.25 + 0.25) / (4 * 0.25 + z * z / 2))  # questions; two of the scores lie at 1/2
    assert found.value == 0.5
    half = z / (effective + z * z) * math.sqrt(effective / 4 + z * z / 4)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half), rel=1e-12)


@pytest.mark.parametrize("samples", [2, 4, 16, 64])
def test_one_more_right_answer_never_lowers_an_end(samples):
    """None right of 24 x 4 and one right of 96 had nearly opposite upper ends."""
    for n in (5, 24, 300):
        spread = [ends([1 / samples] * i + [0.0] * (n - i), samples) for i in (0, 1, 2, 3)]
        heaped = [ends([k / samples] + [0.0] * (n - 1), samples) for k in range(samples + 1)]
        for row in (spread, heaped):
            for side in (0, 1):
                assert [x[side] for x in row] == sorted(x[side] for x in row), (n, samples, side)
        assert ends([0.0] * n, samples) == wilson_interval(0, n)


def test_samples_never_widen_an_interval_nor_make_it_narrower_than_as_many_questions():
    rng = numpy.random.default_rng(5)
    for samples in (2, 8):
        for _ in range(50):
            n = int(rng.integers(2, 60))
            scores = rng.binomial(samples, rng.beta(0.5, 0.5, n)) / samples
            low, high = ends(scores, samples)
            right = float(scores.sum())
            widest, narrowest = wilson_interval(right, n), wilson_interval(right * samples, n * samples)
            assert narrowest[1] - narrowest[0] <= high - low + 1e-12 <= widest[1] - widest[0] + 2e-12


def test_scores_that_are_all_alike_are_worth_no_more_than_as_many_questions():
    assert ends([0.5] * 1000, 4) == pytest.approx(wilson_interval(2000, 4000), rel=1e-12)


WORLDS = [  # questions, samples, mean accuracy, correlation of a question's samples
    (24, 4, 0.05, 0.0),
    (24, 4, 0.05, 0.5),
    (24, 16, 0.2, 0.2),
    (50, 64, 0.03, 0.8),
    (100, 4, 0.5, 0.0),
    (100, 8, 0.9, 0.5),
    (1000, 4, 0.01, 0.2),
    (1000, 8, 0.6, 1.0),
]


def drawn(rng, n: int, samples: int, mean: float, correlation: float, runs: int):
    """Scores [runs, n]: each question's chance from a beta distribution, its samples from the chance."""
    if correlation == 0:
        chances = numpy.full((runs, n), mean)
    elif correlation == 1:
        chances = (rng.random((runs, n)) < mean).astype(float)
    else:
        weight = 1 / correlation - 1
        chances = rng.beta(mean * weight, (1 - mean) * weight, (runs, n))
    return rng.binomial(samples, chances) / samples


@pytest.mark.parametrize("world", WORLDS)
def test_coverage_is_what_it_says(world):
    """At least 93 %, and in no world as wide as Wilson's on the questions where samples are independent."""
    n, samples, mean, correlation = world
    rng = numpy.random.default_rng(hash(world) % 2**32)
    found = [ends(scores, samples) for scores in drawn(rng, *world, 1500)]
    covered = sum(low <= mean <= high for low, high in found) / len(found)
    assert covered >= 0.93, covered
    if correlation < 0.9 and n * mean * (1 - mean) > 5:
        plain = wilson_interval(n * mean, n)
        assert numpy.mean([high - low for low, high in found]) < 0.97 * (plain[1] - plain[0])


def test_the_mean_of_benchmarks_covers_too():
    """Three of them, one with few right answers, where resampling would show no doubt."""
    rng, parts = numpy.random.default_rng(8), [(24, 4, 0.02, 0.3), (100, 4, 0.5, 0.5), (300, 4, 0.8, 0.2)]
    scores = [drawn(rng, *part, 1500) for part in parts]
    truth = sum(part[2] for part in parts) / 3
    found = [mean_interval([question_interval(s[i], 4) for s in scores]) for i in range(1500)]
    assert 0.93 <= sum(f.low <= truth <= f.high for f in found) / 1500 <= 0.99


@pytest.mark.parametrize("n", [100, 300, 1273])
def test_each_interval_covers_the_truth_in_nineteen_of_twenty_runs(n):
    """2,000 runs, each of another true accuracy: for one accuracy Wilson's coverage jumps with the steps of k / n."""
    rng, runs = numpy.random.default_rng(n), 2000
    truths = rng.uniform(0.2, 0.9, runs)
    right = (rng.random((runs, n)) < truths[:, None]).astype(float)  # [runs, n]
    other = rng.random((runs, n)) < truths[:, None]
    chances = rng.beta(3 * truths[:, None], 3 - 3 * truths[:, None], (runs, n))
    shares = rng.binomial(4, chances) / 4
    weights = rng.integers(0, 4, n) / 3
    # Gains of one patient's questions have something in common; their mean is 0.
    patients = numpy.repeat(numpy.arange(n), rng.integers(1, 5, n))[:n]
    common = (rng.random((runs, n)) + rng.random((runs, n))[:, patients]) / 2
    gains = (common > 0.75).astype(float) - (common < 0.25)
    nothing = numpy.zeros(n)

    found = {
        "accuracy": [question_interval(right[i], 1) for i in range(runs)],
        "of four answers": [question_interval(shares[i], 4) for i in range(runs)],
        "weighted": [weighted_interval(right[i], weights) for i in range(runs)],
        "mean": [mean_interval([question_interval(s[i], 1) for s in (right, other)]) for i in range(runs)],
        "difference": [paired_difference(right[i], other[i], i, 400) for i in range(runs)],
        "clustered": [paired_difference(nothing, gains[i], i, 400, clusters=patients) for i in range(runs)],
    }
    noise = 2 * numpy.sqrt(0.95 * 0.05 / runs)
    for name, intervals in found.items():
        true = numpy.zeros(runs) if name in ("difference", "clustered") else truths
        covered = numpy.mean([f.low <= t <= f.high for f, t in zip(intervals, true, strict=True)])
        assert 0.94 - noise < covered < 0.96 + noise, (name, covered)
