"""The planned comparisons: what they could show, before anything is run, and what they did show.

Left out: the tables (table.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.ablation.arms import Comparison, Plan, seeds_of
from benchmarks.ablation.results import Line, right_of
from benchmarks.ablation.statistics import LEVEL, Accuracies, Effect, assumed_sd, detectable, effect
from fleming.evaluation.statistics import PairedResult, holm, paired_difference
from model.errors import InputError

Found = Mapping[tuple[str, int], Line]  # (arm, seed) -> its line


@dataclass(frozen=True)
class Design:
    """What a comparison can show, by assumed variances."""

    seeds: int
    df: int
    sd: float
    """Assumed, of one seed's difference."""
    alone: float
    """The difference that is shown in 80 % of cases, at a level of 5 %."""
    corrected: float
    """The same at the level of Holm's first step, 5 % over the family's size."""


@dataclass(frozen=True)
class Compared:
    """What a comparison showed."""

    comparison: Comparison
    effect: Effect | None
    """None: too few seeds yet."""
    p_holm: float | None
    """Within the whole family as planned: what has not been run counts as p = 1."""
    questions: PairedResult | None
    """The same runs on other questions: each question a unit, seeds as strata. It knows nothing of other runs."""


def lengths_of(plan: Plan, comparison: Comparison) -> list[str]:
    """Return the chain lengths on which it is compared."""
    return [str(n) for n in comparison.lengths or plan.lengths]


def block_arms(plan: Plan, block: str) -> list[str]:
    """Return the arms whose differences share one error."""
    members = [c for c in plan.comparisons if c.block == block]
    return sorted({name for c in members for name in (c.arm, c.against)})


def designed(plan: Plan, comparison: Comparison, scale: str) -> Design:
    """Return what the comparison can show with all seeds that are planned."""
    seeds = min(len(seeds_of(plan, name, scale)) for name in (comparison.arm, comparison.against))
    cells = [len(seeds_of(plan, name, scale)) for name in block_arms(plan, comparison.block)]
    df = sum(cells) - len(cells) - max(cells) + 1
    questions = sum(plan.questions[n] for n in lengths_of(plan, comparison))
    sd = assumed_sd(plan.assumed["differing"], questions, plan.assumed["runs"])
    family = sum(c.family == comparison.family for c in plan.comparisons)
    levels = (LEVEL, LEVEL / family)
    return Design(seeds, df, sd, *(detectable(sd, seeds, df, level) for level in levels))


def accuracy(line: Line, lengths: Sequence[str]) -> float:
    """Return the share of right answers to questions of these chain lengths."""
    right, n = (sum(line.sets[each][i] for each in lengths if each in line.sets) for i in (0, 1))
    return right / n


def accuracies(found: Found, arms: Sequence[str], lengths: Sequence[str]) -> Accuracies:
    """Return arm -> seed -> accuracy, of what is there."""
    table: dict[str, dict[int, float]] = {}
    for (arm, seed), line in found.items():
        if arm in arms:
            table.setdefault(arm, {})[seed] = accuracy(line, lengths)
    return table


def compared(plan: Plan, found: Found) -> list[Compared]:
    """Return all planned comparisons, in their order."""
    effects = []
    for c in plan.comparisons:
        block = accuracies(found, block_arms(plan, c.block), lengths_of(plan, c))
        effects.append(effect(c.arm, c.against, block))
    corrected: dict[int, float] = {}
    for family in {c.family for c in plan.comparisons}:
        members = [i for i, c in enumerate(plan.comparisons) if c.family == family]
        p_values = [effects[i].p if effects[i] else 1.0 for i in members]
        corrected |= dict(zip(members, holm(p_values), strict=True))
    return [
        Compared(c, of_c, corrected[i] if of_c else None, pooled(plan, found, c))
        for i, (c, of_c) in enumerate(zip(plan.comparisons, effects, strict=True))
    ]


def pooled(plan: Plan, found: Found, comparison: Comparison) -> PairedResult | None:
    """Return the difference question by question over all seeds that both arms have; None where they have none.

    Raises InputError where the two arms of a seed were asked other questions.
    """
    a, b, strata = [], [], []
    for (arm, seed), line in sorted(found.items()):
        other = found.get((comparison.against, seed))
        if arm != comparison.arm or other is None:
            continue
        if line.questions != other.questions:
            raise InputError(f"{arm} and {comparison.against} of seed {seed} answered different questions")
        for n in lengths_of(plan, comparison):
            if n in line.sets:
                b += right_of(line.masks[n], line.sets[n][1])
                a += right_of(other.masks[n], other.sets[n][1])
        strata += [seed] * (len(b) - len(strata))
    return paired_difference(a, b, strata=strata) if a else None
