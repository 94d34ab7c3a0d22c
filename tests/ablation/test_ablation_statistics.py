"""benchmarks/ablation/statistics.py and compare.py against scipy, closed forms and a plain simulation."""

import math

import numpy as np
import pytest

from benchmarks.ablation.statistics import (
    assumed_sd,
    block_error,
    detectable,
    effect,
    mean_interval,
    power_of_t,
    student_cdf,
    student_quantile,
)

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 16, 33])
def test_students_t_equals_scipys(df):
    for t in (-6.0, -0.7, 0.0, 0.3, 2.1, 40.0):
        assert student_cdf(t, df) == pytest.approx(stats.t.cdf(t, df), abs=1e-12)
    for p in (0.5, 0.8, 0.975, 0.9986):
        assert student_quantile(p, df) == pytest.approx(stats.t.ppf(p, df), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("df", [1, 2, 4, 16, 60])
@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5, 6.0])
def test_power_equals_the_noncentral_t(df, shift):
    critical = stats.t.ppf(0.975, df)
    wanted = stats.nct.sf(critical, df, shift) + stats.nct.cdf(-critical, df, shift)
    assert power_of_t(shift, df) == pytest.approx(wanted, abs=2e-4)


def test_a_detectable_difference_is_detected_in_four_of_five_simulated_experiments():
    sd, seeds = 0.014, 5
    true = detectable(sd, seeds, seeds - 1)
    drawn = np.random.default_rng(0).normal(true, sd, (20_000, seeds))
    shown = stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05
    assert shown.mean() == pytest.approx(0.8, abs=0.01)


def test_a_stricter_level_detects_less():
    assert detectable(0.01, 5, 4, 0.05 / 16) > 1.5 * detectable(0.01, 5, 4)


def test_the_assumed_deviation_adds_questions_and_runs():
    assert assumed_sd(0.09, 900, 0.0) == pytest.approx(0.01)
    assert assumed_sd(0.0, 900, 0.02) == pytest.approx(0.02)
    assert assumed_sd(0.16, 100, 0.03) == pytest.approx(0.05)


def random_block(arms: int, seeds: int) -> dict[str, dict[int, float]]:
    rng = np.random.default_rng(arms * seeds)
    table = rng.normal(0.7, 0.02, (arms, seeds)) + rng.normal(0, 0.1, seeds)
    return {f"arm{i}": dict(enumerate(map(float, row))) for i, row in enumerate(table)}


def test_with_two_arms_the_block_is_the_paired_t_test():
    block = random_block(2, 5)
    ours = effect("arm1", "arm0", block)
    a, b = ([block[arm][seed] for seed in range(5)] for arm in ("arm0", "arm1"))
    theirs = stats.ttest_rel(b, a)
    interval = theirs.confidence_interval(0.95)
    assert (ours.p, ours.low, ours.high) == pytest.approx((theirs.pvalue, interval.low, interval.high))
    assert (ours.sd, ours.df, ours.seeds) == (pytest.approx(np.std(np.subtract(b, a), ddof=1)), 4, 5)


def test_a_blocks_error_is_the_residual_of_arms_and_seeds():
    block = random_block(4, 5)
    table = np.array([[of_arm[seed] for seed in range(5)] for of_arm in block.values()])
    remains = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    sd, df = block_error(block)
    assert df == 3 * 4
    assert sd == pytest.approx(math.sqrt(2 * (remains**2).sum() / df))


def test_seeds_that_only_some_arms_have_count_as_far_as_they_go():
    block = random_block(3, 5)
    for seed in (3, 4):
        del block["arm2"][seed]
    assert block_error(block)[1] == 13 - (3 + 5 - 1)
    assert effect("arm2", "arm0", block).seeds == 3
    assert effect("arm1", "arm0", block).seeds == 5


def test_what_is_the_same_for_all_arms_of_a_seed_changes_nothing():
    block = random_block(3, 4)
    shifted = {
        arm: {seed: share + seed * 0.1 for seed, share in of_arm.items()} for arm, of_arm in block.items()
    }
    assert effect("arm1", "arm0", shifted).p == pytest.approx(effect("arm1", "arm0", block).p)


def test_too_few_seeds_have_no_effect():
    assert effect("arm1", "arm0", random_block(2, 1)) is None
    assert effect("arm1", "arm9", random_block(2, 5)) is None
    assert block_error({})[1] == 0


def test_equal_arms_have_p_1():
    same = dict.fromkeys(range(3), 0.5)
    found = effect("b", "a", {"a": same, "b": dict(same)})
    assert found.mean == 0
    assert found.p == pytest.approx(1)


def test_the_interval_of_a_mean_equals_scipys():
    values = [0.71, 0.69, 0.75]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert mean_interval(values) == pytest.approx((np.mean(values), low, high))
    assert math.isnan(mean_interval([0.7])[1])
