"""When stage 1 is over (paper, section 3.3: performance plateaus, seen as reward sparsity), and by what evidence.

Two signs, each over a window of W steps: the averaged reward rises no more, and most groups have no variance, so that
they teach nothing. Left out: what stage 2 does (curriculum.py).
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from fleming.settings.training import StageConfig, SwitchConfig


def mean(values: Iterable[float]) -> float:
    """Return the mean, whatever finite numbers a reward of one's own gives: their sum may be none."""
    values = list(values)
    return math.fsum(value / len(values) for value in values)


def slopes(rewards: Sequence[float], window: int) -> list[float]:
    """Return how steeply the averaged reward rose, a step, up to each of the last `window` steps; fewer at the start.

    The slope at a step lies between the mean of the `window` rewards that end there and of those before them.
    """
    found = []
    for end in range(max(2 * window, len(rewards) - window + 1), len(rewards) + 1):
        newer, older = rewards[end - window : end], rewards[end - 2 * window : end - window]
        found.append((mean(newer) - mean(older)) / window)
    return found


def stage1_over(
    rewards: Sequence[float], flat: Sequence[float], tokens: int, stage: StageConfig, cfg: SwitchConfig
) -> dict[str, Any] | None:
    """Return why the stage ends after these steps, with what was measured; None: it goes on.

    rewards, flat: of each step the mean reward, and the share of groups without variance. tokens: sampled so far.
    """
    window, done = cfg.window, len(rewards)
    measured = {"slopes": slopes(rewards, window), "flat": mean(flat[-window:]) if flat else None}
    if done >= stage.max_steps:
        return {"because": "max_steps", **measured}
    if stage.max_tokens and tokens >= stage.max_tokens:
        return {"because": "max_tokens", **measured}
    if done < max(cfg.min_steps, window):
        return None
    signs = {
        "slope": len(measured["slopes"]) == window and max(measured["slopes"]) < cfg.max_slope,
        "flat_groups": measured["flat"] > cfg.max_flat,
    }
    either, both = any(signs.values()), all(signs.values())
    if not {**signs, "either": either, "both": both, "never": False}[cfg.when]:
        return None
    return {"because": " and ".join(sign for sign, seen in signs.items() if seen), **measured}
