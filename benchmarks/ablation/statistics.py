"""What a difference between two arms is worth: the unit is the seed, as runs of one seed share data and cold start.

- Arms of a block were trained from the same start, so the block is a two-way table of arms and seeds: what remains of
  the accuracies when the effects of arm and seed are taken out is the error of all its differences (a randomised
  complete block design: Montgomery, Design and Analysis of Experiments, 4.1). With two arms that is the paired t test.
- The smallest difference that such a test shows in 80 % of cases is Student's noncentral t, integrated numerically.

Left out: how questions vary within a run (fleming/evaluation/statistics.py).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist, fmean

import numpy as np

Accuracies = Mapping[str, Mapping[int, float]]  # arm -> seed -> share of right answers
POWER, LEVEL = 0.8, 0.05


def student_cdf(t: float, df: int) -> float:
    """Return P(T <= t) of Student's t with a whole number of degrees of freedom (Abramowitz & Stegun 26.7.3-4)."""
    theta = math.atan(abs(t) / math.sqrt(df))
    term = total = math.cos(theta) if df % 2 else 1.0
    for k in range(2 if df % 2 == 0 else 3, df - 1, 2):
        term *= (k - 1) / k * math.cos(theta) ** 2
        total += term
    inside = math.sin(theta) * total
    if df % 2:
        inside = 2 / math.pi * (theta + (inside if df > 1 else 0.0))
    return 0.5 + math.copysign(inside / 2, t)


def student_quantile(p: float, df: int) -> float:
    """Return the t of which `student_cdf` is p, for p from 0.5 to below 1."""
    high = 1.0
    while student_cdf(high, df) < p:
        high *= 2
    return _bisect(lambda t: student_cdf(t, df) >= p, 0.0, high)


def power_of_t(shift: float, df: int, level: float = LEVEL) -> float:
    """Return the chance that a two-sided t test shows a true difference of `shift` standard errors.

    The standard error's own scatter s has the density of sqrt(chi2 / df); given s, T = (Z + shift) / s.
    """
    critical = student_quantile(1 - level / 2, df)
    s = np.linspace(1e-4, 1 + 10 / math.sqrt(df), 2001)
    log_density = (
        math.log(2) + df / 2 * math.log(df / 2) - math.lgamma(df / 2) + (df - 1) * np.log(s) - df * s**2 / 2
    )
    normal = NormalDist()
    shown = [normal.cdf(shift - critical * x) + normal.cdf(-shift - critical * x) for x in s]
    return float(np.trapezoid(np.exp(log_density) * shown, s))


def detectable(sd: float, seeds: int, df: int, level: float = LEVEL) -> float:
    """Return the true difference that is shown with a chance of 80 %; sd is that of a seed's difference."""
    return detectable_shift(df, level) * sd / math.sqrt(seeds)


@cache
def detectable_shift(df: int, level: float) -> float:
    """Return the difference, in its standard errors, that is shown with a chance of 80 %."""
    high = 1.0
    while power_of_t(high, df, level) < POWER:
        high *= 2
    return _bisect(lambda shift: power_of_t(shift, df, level) >= POWER, 0.0, high)


def assumed_sd(differing: float, questions: int, runs: float) -> float:
    """Return the standard deviation of one seed's difference before anything is run.

    differing: share of the questions on which two arms differ, which alone scatters their mean by the square root of
    differing / questions. runs: standard deviation of the true difference from run to run.
    """
    return math.sqrt(differing / questions + runs**2)


def block_error(accuracies: Accuracies) -> tuple[float, int]:
    """Return (standard deviation of the difference of two arms on one seed, its degrees of freedom).

    It is sqrt(2) times the root mean square of what remains beside additive effects of arms and seeds; seeds that only
    some arms have count as far as they go. (nan, 0) where nothing remains to measure it by.
    """
    cells = [(arm, seed) for arm, of_arm in accuracies.items() for seed in of_arm]
    arms, seeds = sorted({arm for arm, _ in cells}), sorted({seed for _, seed in cells})
    effects = np.zeros((len(cells), len(arms) + len(seeds)))
    for row, (arm, seed) in enumerate(cells):
        effects[row, arms.index(arm)] = effects[row, len(arms) + seeds.index(seed)] = 1
    measured = np.array([accuracies[arm][seed] for arm, seed in cells])
    if not cells:
        return math.nan, 0
    fitted, _, rank, _ = np.linalg.lstsq(effects, measured, rcond=None)
    df = len(cells) - int(rank)
    if df <= 0:
        return math.nan, 0
    return math.sqrt(2 * float(((measured - effects @ fitted) ** 2).sum()) / df), df


@dataclass(frozen=True)
class Effect:
    """The difference of two arms over the seeds that both have."""

    seeds: int
    mean: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    sd: float
    """Of one seed's difference, by the block's error."""
    df: int
    p: float


def effect(arm: str, against: str, block: Accuracies) -> Effect | None:
    """Return arm minus against, with the block's error; None where fewer than two seeds have both."""
    seeds = sorted(block.get(arm, {}).keys() & block.get(against, {}).keys())
    sd, df = block_error(block)
    if len(seeds) < 2 or df == 0:
        return None
    mean = fmean(block[arm][seed] - block[against][seed] for seed in seeds)
    error = sd / math.sqrt(len(seeds))
    half = student_quantile(1 - LEVEL / 2, df) * error
    t = abs(mean) / error if error else (math.inf if mean else 0.0)
    p = 2 * (1 - student_cdf(t, df))
    return Effect(len(seeds), mean, mean - half, mean + half, sd, df, p)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean over seeds and its 95 % t interval; nan ends for one value."""
    mean, n = fmean(values), len(values)
    if n < 2:
        return mean, math.nan, math.nan
    half = student_quantile(1 - LEVEL / 2, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return mean, mean - half, mean + half


def _bisect(reached: Callable[[float], bool], low: float, high: float) -> float:
    for _ in range(40):
        middle = (low + high) / 2
        if reached(middle):
            high = middle
        else:
            low = middle
    return high
