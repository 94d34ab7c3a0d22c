"""fleming/evaluation/statistics.py against scipy, closed forms, brute force and a bootstrap written the plain way."""

import math
from collections import Counter
from fractions import Fraction
from itertools import combinations

import numpy
import pytest

from fleming.evaluation.at_k import maj_at_k, pass_at_k
from fleming.evaluation.statistics import (
    calibration,
    detectable_difference,
    detectable_mean,
    holm,
    macro_difference,
    mcnemar_p,
    paired_difference,
    question_interval,
    stderr_of_mean,
    wilson_interval,
)


def test_wilson_interval_is_where_the_score_test_just_rejects():
    for k, n in [(1, 10), (7, 20), (595, 1273), (1272, 1273)]:
        for bound in wilson_interval(k, n):  # |p - k/n| = z sqrt(p (1 - p) / n), its definition
            assert abs(k / n - bound) == pytest.approx(
                1.959963984540054 * math.sqrt(bound * (1 - bound) / n), rel=1e-9
            )


def test_wilson_interval_equals_scipy():
    stats = pytest.importorskip("scipy.stats")
    for k, n in [(0, 1), (0, 5), (5, 5), (3, 8), (123, 500), (1_000_000, 3_000_000)]:
        for confidence in (0.8, 0.95, 0.99):
            expected = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
            assert wilson_interval(k, n, confidence) == pytest.approx(
                (expected.low, expected.high), abs=1e-12
            )


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
    b = numpy.concatenate(
        [numpy.ones(100), numpy.zeros(100)]
    )  # seeds that differ, questions in a seed that do not
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


def test_a_seed_always_draws_the_same_resamples():
    rng = numpy.random.default_rng(3)
    a, b, strata = rng.integers(0, 2, 300), rng.integers(0, 2, 300), rng.integers(0, 3, 300)
    stream, totals = numpy.random.Generator(numpy.random.Philox(7)), 0
    for s in range(3):  # the stream: strata in order, in each how often -1, 0 and 1 are drawn
        counts = numpy.array([((b - a)[strata == s] == gain).sum() for gain in (-1, 0, 1)])
        totals = totals + stream.multinomial(counts.sum(), counts / counts.sum(), size=500) @ [-1.0, 0.0, 1.0]
    result = paired_difference(a, b, seed=7, resamples=500, strata=strata)
    assert (result.low, result.high) == tuple(numpy.quantile(totals / 300, [(1 - 0.95) / 2, (1 + 0.95) / 2]))


def plain_bootstrap(groups, resamples):
    """Return the ends of the 95 % interval of the mean of the groups' means, resampled by index."""
    rng = numpy.random.default_rng(5)
    groups = [numpy.asarray(g, dtype=float) for g in groups]
    means = [numpy.mean([rng.choice(g, len(g)).mean() for g in groups]) for _ in range(resamples)]
    return numpy.quantile(means, [0.025, 0.975])


def normal_width(groups):
    """Return the width of the 95 % normal interval of the mean of the groups' means."""
    return 2 * 1.96 * math.sqrt(sum(numpy.var(g) / len(g) for g in groups)) / len(groups)


def test_macro_difference_is_paired_within_each_benchmark():
    rng = numpy.random.default_rng(8)
    pairs = []
    for n, p in [(500, 0.7), (80, 0.3)]:
        a = rng.random(n) < p
        pairs.append((a, a ^ (rng.random(n) < 0.15)))
    ours = macro_difference(pairs, resamples=40_000)
    gains = [b.astype(float) - a for a, b in pairs]
    width = normal_width(gains)
    assert ours.value == pytest.approx(sum(g.mean() for g in gains) / 2, rel=1e-12)
    assert (ours.low, ours.high) == pytest.approx(plain_bootstrap(gains, 20_000), abs=0.025 * width)
    assert ours.high - ours.low == pytest.approx(width, rel=0.02)
    unpaired = 2 * normal_width(
        [scores for pair in pairs for scores in pair]
    )  # of a sum of four means, over two
    assert ours.high - ours.low < 0.65 * unpaired
    mirrored = macro_difference([(b, a) for a, b in pairs], seed=1, resamples=40_000)
    ends = (-mirrored.high, -mirrored.value, -mirrored.low)
    assert ends == pytest.approx((ours.low, ours.value, ours.high), abs=0.025 * width)


def test_one_benchmark_has_the_interval_of_its_own_comparison():
    rng = numpy.random.default_rng(9)
    a, b = rng.integers(0, 2, 100), rng.integers(0, 2, 100)
    alone, macro = paired_difference(a, b, seed=5), macro_difference([(a, b)], seed=5)
    assert (macro.low, macro.value, macro.high) == pytest.approx(
        (alone.low, alone.difference, alone.high), abs=1e-15
    )
    assert macro != macro_difference([(a, b)], seed=6)


def test_equal_scores_have_an_interval_of_no_width():
    for share in (0.0, 0.1, 1 / 3, 1.0):  # to the last bit: an error bar must not be negative
        for n in (1, 3, 10, 49):
            result = macro_difference([([0] * n, [share] * n), ([0] * 7, [share] * 7)])
            assert result.low == result.value == result.high == pytest.approx(share, rel=1e-15)


def test_scores_that_are_no_shares_are_refused():
    for scores in ([], [[0, 1]], [0.5, math.nan], [0.5, math.inf]):
        with pytest.raises(ValueError, match="non-empty list of finite scores"):
            question_interval(scores, 4)
        with pytest.raises(ValueError, match="non-empty list of finite scores"):
            stderr_of_mean(scores)
    for scores in ([55, 61], [-0.1, 1]):
        with pytest.raises(ValueError, match=rf"expected scores in \[0, 1\], found {scores[0]:.1f} to"):
            question_interval(scores, 4)
    with pytest.raises(ValueError, match="at least one group"):
        macro_difference([])
    with pytest.raises(ValueError, match="equally long"):
        macro_difference([([0, 1], [1, 1]), ([1], [1, 0])])
    with pytest.raises(ValueError, match="finite"):
        paired_difference([0, math.nan], [1, 1])


def test_stderr_is_that_of_the_harness():
    metrics = pytest.importorskip("lm_eval.api.metrics")
    rng = numpy.random.default_rng(10)
    for n in (2, 3, 100, 1273):
        for scores in (rng.integers(0, 2, n).tolist(), rng.random(n).tolist()):
            assert stderr_of_mean(scores) == pytest.approx(metrics.mean_stderr(scores), rel=1e-12, abs=1e-15)


def test_stderr_by_hand():
    assert stderr_of_mean([1, 0, 0, 1, 1]) == pytest.approx(
        math.sqrt(0.6 * 0.4 / 4), rel=1e-12
    )  # p (1 - p) / (n - 1)
    assert math.isnan(stderr_of_mean([1]))


def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample():
    for n in range(1, 8):
        for c in range(n + 1):
            for k in range(1, n + 1):
                hits = [any(i < c for i in subset) for subset in combinations(range(n), k)]
                assert pass_at_k(n, c, k) == sum(hits) / len(hits)


def test_pass_at_k_equals_the_product_of_its_paper_and_holds_for_any_n():
    for n, c, k in [(64, 5, 8), (200, 1, 100), (1000, 30, 10)]:
        product = 1 - numpy.prod(1 - k / numpy.arange(n - c + 1, n + 1))  # Chen et al., Fig. 3
        assert pass_at_k(n, c, k) == pytest.approx(product, rel=1e-9)
    assert pass_at_k(20_000, 1, 7_000) == 0.35  # its binomials have more than 5000 digits
    assert pass_at_k(10**9, 1, 1) == 1e-9  # where 1 - (1 - 1e-9) has lost half its digits
    for n, c, k in [(5, 6, 1), (5, -1, 1), (5, 2, 0), (5, 2, 6), (0, 0, 1)]:
        with pytest.raises(ValueError, match="expected 0 <= c <= n and 1 <= k <= n"):
            pass_at_k(n, c, k)


def plain_majority(ballots, gold):
    """Return 1 / m where gold is one of the m options with most votes, 0 where it is not or nobody votes."""
    tally = Counter(b for b in ballots if b is not None)
    winners = [option for option, v in tally.items() if v == max(tally.values())]
    return Fraction(gold in winners, max(len(winners), 1))


def test_maj_at_k_is_the_mean_vote_of_all_subsets():
    rng = numpy.random.default_rng(11)
    for _ in range(60):
        options = ["A", "B", "C", "D", "E", None][6 - rng.integers(2, 7) :]
        ballots = [options[i] for i in rng.integers(0, len(options), rng.integers(1, 9))]
        gold = str(rng.choice(["C", "D", "E"]))
        for k in range(1, len(ballots) + 1):
            subsets = [plain_majority(subset, gold) for subset in combinations(ballots, k)]
            assert maj_at_k(Counter(ballots), gold, k) == float(sum(subsets) / len(subsets))


def test_maj_at_k_of_one_is_the_share_and_of_all_is_the_vote():
    votes = {"A": 20, "B": 20, "C": 15, "D": 0, None: 9}
    assert [maj_at_k(votes, option, 1) for option in "ABCDE"] == [20 / 64, 20 / 64, 15 / 64, 0, 0]
    assert [maj_at_k(votes, option, 64) for option in "ABCDE"] == [0.5, 0.5, 0, 0, 0]
    assert maj_at_k({None: 4}, "A", 4) == 0.0
    assert maj_at_k({None: 40, "A": 1}, "A", 41) == 1.0  # abstentions do not outvote


def test_maj_at_k_of_two_options_is_hypergeometric():
    stats = pytest.importorskip("scipy.stats")
    for c, k in [(40, 9), (31, 16), (33, 64), (5, 10)]:
        drawn = stats.hypergeom(64, c, k)
        expected = drawn.sf(k // 2) + (0.5 * drawn.pmf(k // 2) if k % 2 == 0 else 0)
        assert maj_at_k({"yes": c, "no": 64 - c}, "yes", k) == pytest.approx(expected, rel=1e-9)


def test_options_share_every_vote_that_is_cast():
    rng = numpy.random.default_rng(12)
    letters = "ABCDEFGHIJKLMNOPQRSTU"
    for weights in (numpy.ones(21), 0.7 ** numpy.arange(21)):
        votes = dict(zip(letters, map(int, rng.multinomial(56, weights / weights.sum())), strict=True)) | {
            None: 8
        }
        for k in (1, 2, 7, 8, 32, 64):
            nobody = math.comb(8, k) / math.comb(64, k)
            assert math.fsum(maj_at_k(votes, o, k) for o in letters) == pytest.approx(1 - nobody, rel=1e-13)


def test_votes_that_cannot_be_drawn_are_refused():
    for votes, k in [({"A": 3}, 0), ({"A": 3}, 4), ({}, 1), ({"A": 3, "B": -1}, 1)]:
        with pytest.raises(ValueError, match="expected 1 <= k <= samples"):
            maj_at_k(votes, "A", k)


def test_calibration_by_hand():
    result = calibration([[0.9, 0.1], [0.85, 0.15], [0.2, 0.5, 0.3], [0.4, 0.3, 0.2]], [0, 1, 1, 2])
    assert [count for count, _, _ in result.bins] == [1, 1, 2]
    confidences_and_accuracies = [x for _, *pair in result.bins for x in pair]
    assert confidences_and_accuracies == pytest.approx([0.4, 0, 0.5, 1, 0.875, 0.5])
    assert result.ece == pytest.approx((0.4 + 0.5 + 2 * 0.375) / 4)
    # The last row abstains with 0.1, which is no class.
    assert result.brier == pytest.approx((0.02 + 1.445 + 0.38 + 0.89) / 4)


def test_calibration_of_the_certain_and_of_the_clueless():
    right, wrong = calibration([[1, 0]] * 3, [0, 0, 0]), calibration([[1, 0]] * 3, [1, 1, 1])
    assert (right.ece, right.brier, wrong.ece, wrong.brier) == (0, 0, 1, 2)
    uniform = calibration(
        [[0.25] * 4] * 4, [0, 1, 2, 3]
    )  # the first of equals is the answer: one of four is right
    assert (uniform.ece, uniform.brier, uniform.bins) == (0, 0.75, [(4, 0.25, 0.25)])
    silent = calibration(
        [[0.0, 0.0]], [0]
    )  # an abstention is wrong, though its first largest probability is gold's
    assert (silent.ece, silent.brier, silent.bins) == (0, 1, [(1, 0, 0)])


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    for bins in (5, 10, 15, 20):
        for i in range(1, bins + 1):  # n samples give shares: edges are hit all the time
            on, above = i / bins, min(1.0, math.nextafter(i / bins, 1))
            # A bin below holds nothing else, so that two bins are two and one is one.
            assert len(calibration([[on], [(i - 0.5) / bins]], [0, 0], bins).bins) == 1
            assert len(calibration([[above], [(i - 0.5) / bins]], [0, 0], bins).bins) == (
                1 if i == bins else 2
            )
    assert len(calibration([[0.0], [0.1]], [0, 0]).bins) == 1


def test_calibration_equals_one_written_the_plain_way():
    rng = numpy.random.default_rng(13)
    rows, gold = [], []
    for _ in range(500):
        m = rng.integers(2, 8)
        rows.append(
            rng.multinomial(20, rng.dirichlet(numpy.full(m + 1, 0.5)))[:m] / 20
        )  # the last one abstains
        gold.append(int(rng.integers(0, m)))
    confidence = numpy.array([row.max() for row in rows])
    right = numpy.array([row.max() > 0 and row.argmax() == y for row, y in zip(rows, gold, strict=True)])
    ece, twentieths = 0.0, (confidence * 20).round().astype(int)
    for i in range(10):  # integers, so that edges are exact: (2 i, 2 i + 2]
        inside = (twentieths > 2 * i) & (twentieths <= 2 * i + 2) | ((i == 0) & (twentieths == 0))
        if inside.any():
            ece += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    brier = numpy.mean(
        [((row - numpy.eye(len(row))[y]) ** 2).sum() for row, y in zip(rows, gold, strict=True)]
    )
    result = calibration(rows, gold)
    assert (result.ece, result.brier) == pytest.approx((ece, brier), rel=1e-9)
    assert sum(count for count, _, _ in result.bins) == 500
    assert sum(count * accuracy for count, _, accuracy in result.bins) == pytest.approx(right.sum())


def test_probabilities_that_are_none_are_refused():
    for rows, gold, bins in [([], [], 10), ([[1.0]], [0, 0], 10), ([[1.0]], [0], 0)]:
        with pytest.raises(ValueError, match="expected a gold a row"):
            calibration(rows, gold, bins)
    for row, y in [
        ([], 0),
        ([0.5, 0.5], 2),
        ([0.5, 0.5], -1),
        ([1 + 1e-7, 0], 0),
        ([-0.1, 1], 0),
        ([0.6, 0.6], 0),
    ]:
        with pytest.raises(ValueError, match="question 1: expected probabilities"):
            calibration([[1.0], row], [0, y])
    with pytest.raises(ValueError, match="question 0"):
        calibration([[math.nan, 0.5]], [1])
    calibration(numpy.float32([[0.1] * 10]), [0])  # whose sum is above 1 by 1e-8


# Several comparisons, and what one can show


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_holm_errs_in_one_family_of_twenty():
    """Of families without any difference at most one in twenty has a p below 0.05; without it, most have."""
    rng = numpy.random.default_rng(0)
    families = rng.uniform(size=(4000, 20))
    assert numpy.mean([min(holm(family)) < 0.05 for family in families]) == pytest.approx(0.05, abs=0.01)
    assert numpy.mean(families.min(axis=1) < 0.05) > 0.6


@pytest.mark.parametrize("n", [100, 300, 1273])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.35, 0.6])
def test_the_detectable_difference_is_shown_in_four_of_five_runs(n, share):
    """Drawn with exactly that difference; where few questions differ p takes few values, and it errs upwards."""
    differ = round(n * share)
    gains = numpy.zeros(n)
    gains[:differ] = 1
    gains[: differ // 2] = -1
    delta = detectable_difference(gains)
    psi = max(differ / n, delta)
    rng, runs = numpy.random.default_rng(n), 4000
    draws = rng.multinomial(n, [(psi + delta) / 2, (psi - delta) / 2, 1 - psi], size=runs)
    p_values = {pair: mcnemar_p(*pair) for pair in set(map(tuple, draws[:, :2].tolist()))}
    shown = numpy.mean([won > lost and p_values[won, lost] < 0.05 for won, lost, _ in draws.tolist()])
    noise = 2 * math.sqrt(0.8 * 0.2 / runs)
    if differ > 50:
        assert 0.78 - noise < shown < 0.82 + noise
    else:
        assert 0.8 - noise < shown < 0.94


def test_the_detectable_mean_of_two_benchmarks_is_shown_in_four_of_five_runs():
    gains = [1.0] * 20 + [-1.0] * 25 + [0.0] * 155
    assert detectable_mean([gains]) == detectable_difference(gains)
    assert detectable_mean([gains, gains]) == pytest.approx(detectable_difference(gains * 2))

    parts = [
        ([1.0, -1.0] * 60 + [0.0] * 180),
        ([1.0, -1.0] * 130 + [0.0] * 1040),
    ]  # 40 and 20 % of 300 and 1,300
    delta, runs = detectable_mean(parts), 4000
    mean, variance, rng = numpy.zeros(runs), numpy.zeros(runs), numpy.random.default_rng(3)
    for gains in parts:
        n, psi = len(gains), numpy.mean(numpy.square(gains))
        won, lost, _ = rng.multinomial(n, [(psi + delta) / 2, (psi - delta) / 2, 1 - psi], size=runs).T
        mean += (won - lost) / n / 2
        variance += ((won + lost) / n - ((won - lost) / n) ** 2) / n / 4
    assert 0.77 < numpy.mean(mean > 1.96 * numpy.sqrt(variance)) < 0.84


def test_questions_of_one_patient_are_drawn_together_in_a_mean_over_benchmarks_too():
    a, b = [0.0, 0.0, 1.0, 1.0] * 40, [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0] * 20
    patients = [f"p{i // 2}" for i in range(160)]
    apart, together = macro_difference([(a, b)] * 2), macro_difference([(a, b)] * 2, clusters=[patients] * 2)
    ratio = (together.high - together.low) / (apart.high - apart.low)
    assert ratio == pytest.approx(math.sqrt(2), rel=0.05)
    alone = paired_difference(a, b, clusters=patients)
    assert macro_difference([(a, b)], clusters=[patients]).low == pytest.approx(alone.low)


def test_what_one_run_cannot_show():
    assert detectable_difference([0.0]) == pytest.approx(1.0)
    assert detectable_difference([0.0] * 5) == pytest.approx(1.0)  # five of five have p = 0.06
    z = 1.96 + 0.8416  # of x questions that differ, all one way: x - 1 = z sqrt(x)
    assert detectable_difference([0.0] * 1000) == pytest.approx(
        (z + math.sqrt(z**2 + 4)) ** 2 / 4000, rel=0.01
    )
    halves = [0.5, -0.5] * 200  # shares of several answers vary less
    assert detectable_difference(halves) == pytest.approx(
        detectable_difference([1.0, -1.0] * 200) / 2, rel=0.1
    )


def test_questions_about_one_patient_are_drawn_together():
    """Pairs of questions that always go together: the interval is that of half as many questions."""
    rng = numpy.random.default_rng(0)
    a, b = rng.integers(0, 2, (2, 200)).astype(float)
    twice = numpy.repeat(a, 2), numpy.repeat(b, 2)
    patients = numpy.repeat(numpy.arange(200), 2)
    together = paired_difference(*twice, clusters=[f"patient {i}" for i in patients], resamples=40_000)
    once, apart = paired_difference(a, b, resamples=40_000), paired_difference(*twice, resamples=40_000)
    width = once.high - once.low
    assert together.high - together.low == pytest.approx(width, rel=0.02)
    assert apart.high - apart.low == pytest.approx(width / math.sqrt(2), rel=0.03)
    assert together.p_mcnemar == apart.p_mcnemar
    assert paired_difference(a, b) == paired_difference(a, b, clusters=range(200))


def test_the_clustered_interval_is_a_plain_loops():
    """Clusters of unequal size, drawn one by one."""
    rng = numpy.random.default_rng(1)
    sizes = rng.integers(1, 6, 60)
    clusters = numpy.repeat(numpy.arange(60), sizes)
    a, b = rng.integers(0, 2, (2, sizes.sum())).astype(float)
    gains, means = b - a, []
    for _ in range(20_000):
        drawn = rng.integers(0, 60, 60)
        taken = numpy.concatenate([gains[clusters == c] for c in drawn])
        means.append(taken.mean())
    found = paired_difference(a, b, clusters=clusters, resamples=40_000)
    width = found.high - found.low
    assert (found.low, found.high) == pytest.approx(numpy.quantile(means, [0.025, 0.975]), abs=0.025 * width)
