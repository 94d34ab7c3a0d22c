"""What a step is described by, each number defined once.

A record of metrics.jsonl holds counted quantities at its top level, the same in every run of the same seed, and
everything measured by a clock under "time", which is not.
"""

import time
from collections.abc import Sequence

from torch import Tensor

from fleming.records import Rollout


class Timer:
    """Splits a step's wall time into named laps, seconds."""

    def __init__(self):
        self.began = self.last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Add the time since the last lap to `name`."""
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + now - self.last
        self.last = now

    def times(self) -> dict[str, float]:
        """Return every lap and the whole, "step"."""
        return {**self.laps, "step": time.perf_counter() - self.began}


class UpdateSums:
    """Adds up what the micro-batches of an update report."""

    def __init__(self):
        self.sums: dict[str, float] = {}
        self.updates = 0
        self.difference_max = self.difference_sum = 0.0
        self.difference_tokens = 0

    def add(self, parts: dict[str, Tensor | float]) -> None:
        """Add one micro-batch's sums."""
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)

    def compare(self, sampled: Tensor, scored: Tensor) -> None:
        """Note how far the sampler's log-probs [R] lie from the scorer's, before the first update."""
        difference = (sampled - scored.detach()).abs()
        self.difference_max = max(self.difference_max, difference.max().item())
        self.difference_sum += difference.sum().item()
        self.difference_tokens += difference.numel()

    def record(self) -> dict[str, float]:
        """Return the means over the step's updates.

        loss, policy_loss, kl: as optimised. entropy: nats a token, of the scored tokens. clip_fraction: scored tokens
        whose surrogate was clipped. clamped_tokens: those whose log-ratio, to the sampling policy or to the
        reference, was too large for exp.
        """
        sums, tokens = self.sums, max(1.0, self.sums.get("tokens", 0.0))
        record = {name: sums[name] / self.updates for name in ("loss", "policy_loss", "kl") if name in sums}
        record["entropy"] = sums["entropy_sum"] / tokens
        if "ratio_sum" in sums:
            record["ratio_mean"] = sums["ratio_sum"] / tokens
            record["clip_fraction"] = sums["clipped_tokens"] / tokens
        if "clamped_tokens" in sums:
            record["clamped_tokens"] = sums["clamped_tokens"]
        record["scored_tokens"] = sums["tokens"] / self.updates
        record["sampler_scorer_max"] = self.difference_max
        record["sampler_scorer_mean"] = self.difference_sum / max(1, self.difference_tokens)
        return record


def rollout_metrics(rollouts: Sequence[Rollout], group_size: int) -> dict[str, float]:
    """Describe a step's answers: reward and its parts, lengths in tokens, share cut, share of groups that teach.

    A group teaches where its rewards differ; where all are equal every advantage is zero.
    """
    n = len(rollouts)
    lengths = [len(r.token_ids) for r in rollouts]
    groups = [rollouts[i : i + group_size] for i in range(0, n, group_size)]
    return {
        "reward": sum(r.reward["total"] for r in rollouts) / n,
        "correct": sum(r.reward["correct"] for r in rollouts) / n,
        "format": sum(r.reward["format"] for r in rollouts) / n,
        "groups": len(groups),
        "groups_with_variance": sum(any(r.advantage != 0 for r in group) for group in groups),
        "response_tokens": sum(lengths),
        "response_length": sum(lengths) / n,
        "cut": sum(r.finish_reason == "length" for r in rollouts) / n,
    }
