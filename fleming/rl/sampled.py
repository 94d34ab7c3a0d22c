"""What one step of RL has sampled, group by group. Left out: how (rollout.py), and what is made of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fleming.records import Question, Rollout


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
