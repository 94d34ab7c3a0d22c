"""What one step of RL has sampled, group by group, and in numbers. Left out: how (rollout.py)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fleming.records import Question, Rollout
from fleming.training.metrics import means


@dataclass(frozen=True)
class Sampled:
    groups: list[list[Rollout]]
    """What the step learns from: the answers to a question each."""
    dropped: list[list[Rollout]]
    """With dynamic sampling: groups without variance, in whose place others were drawn."""
    drawn: dict[str, list[int]]
    """Pool -> the places of the questions of both."""
    shown: dict[int, Question]
    """Number of a group -> its question, as its prompt has it."""

    @property
    def rollouts(self) -> list[Rollout]:
        """What the step learns from, group after group."""
        return [r for group in self.groups for r in group]

    def describe(self) -> dict[str, Any]:
        """Return how many questions came from each pool, and what dynamic sampling cost."""
        found: dict[str, Any] = {"drawn": {name: len(places) for name, places in self.drawn.items()}}
        if self.dropped:
            found["dropped_groups"] = len(self.dropped)
            found["dropped_tokens"] = sum(len(r.token_ids) for group in self.dropped for r in group)
        return found


def teaches(group: Sequence[Rollout]) -> bool:
    """Whether the group's rewards differ, so that its advantages are not all zero."""
    return any(r.advantage for r in group)


def rollout_metrics(groups: Sequence[Sequence[Rollout]], failures: int) -> dict[str, float]:
    """Describe a step's answers: reward and its parts, lengths in tokens, share cut, share of groups that teach.

    entropy: nats a token, over the tokens of all answers, of the distributions that they were drawn from.
    reward_parts: the mean of each part that the reward gives by name, over the answers that have it. reward_failures:
    `failures`, of the rewards that raised and count as 0, those of mining and dev included.
    """
    rollouts = [r for group in groups for r in group]
    n, lengths = len(rollouts), [len(r.token_ids) for r in rollouts]
    parts = means([r.reward for r in rollouts])
    return {
        "reward": parts["total"],
        "correct": parts["correct"],
        "format": parts["format"],
        "groups": len(groups),
        "groups_with_variance": sum(map(teaches, groups)),
        "response_tokens": sum(lengths),
        "response_length": sum(lengths) / n,
        "entropy": sum(r.entropy for r in rollouts) / sum(lengths),
        "cut": sum(r.finish_reason == "length" for r in rollouts) / n,
        "reward_parts": parts,
        "reward_failures": failures,
    }
