"""What mining has found of one training question, and what follows: its weight, its rest, and whether its label is
doubted.

Left out: who answers (mining.py), which questions a step draws (curriculum.py).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fleming.records import Question
from fleming.settings.training import CurriculumConfig


class Mined(NamedTuple):
    """The answers of one round to one question."""

    right: int
    votes: Mapping[str, int]
    """What was chosen -> how many answers did; "" for those that abstain."""
    tokens: int = 0


@dataclass
class Standing:
    """Where a question stands. The rounds are those that asked it."""

    right: int = 0
    """Right answers of the last round."""
    asked: int = 0
    """All answers of it; 0: no round has asked it yet."""
    failed: int = 0
    """Rounds in a row, up to now, in which most of its answers were wrong."""
    passed: int = 0
    """Rounds in a row in which all were right."""
    none_right: int = 0
    """Rounds in a row in which none was."""
    votes: Counter[str] = field(default_factory=Counter)
    """What was answered in those rounds."""
    rests: int = 0
    """Rounds to come that do not ask it."""
    weight: float = 1.0
    """It is drawn in proportion to this."""
    drawn: int = 0
    """How often, since its pool was made."""
    drawn_ever: int = 0
    left: str | None = None
    """review or dropped: it is in no pool."""
    settled: bool = False
    """A person has decided that its answer is right."""

    @property
    def bucket(self) -> str:
        """wrong where most answers of the last round were, else right."""
        return "wrong" if 2 * self.right < self.asked else "right"

    def answered(self, mined: Mined, question: Question, cfg: CurriculumConfig) -> None:
        """Take in a round's answers."""
        self.right, self.asked = mined.right, sum(mined.votes.values())
        self.failed = self.failed + 1 if self.bucket == "wrong" else 0
        self.passed = self.passed + 1 if self.right == self.asked else 0
        self.rests = 2 ** min(self.passed - 1, 30) if cfg.rest and self.passed else 0
        if self.right:
            self.none_right, self.votes = 0, Counter()
        else:
            self.none_right += 1
            self.votes.update(mined.votes)
        self.weight = self._weight(question, cfg)

    def _weight(self, question: Question, cfg: CurriculumConfig) -> float:
        if self.bucket == "right":
            return 1.0
        weight = 1 + cfg.repeat_weight * (self.failed - 1)
        weight *= cfg.tier_weights.get(question.difficulty or "", 1.0)
        return weight * (1 if self.right else cfg.none_right_weight)

    def doubt(
        self, question: Question, voter: Mapping[str, int] | None, cfg: CurriculumConfig
    ) -> tuple[str, float] | None:
        """Return the option on which a blind vote agrees instead of the answer, and its share; None: no doubt.

        The vote is the voter's where there is one, else the answers of the rounds without a right one.
        """
        if self.settled or not cfg.review_rounds or self.none_right < cfg.review_rounds:
            return None
        votes = voter or self.votes
        others = sorted(votes.keys() - {"", question.answer})  # who abstains speaks for none
        if not others:
            return None
        choice = max(others, key=votes.__getitem__)
        share = votes[choice] / sum(votes.values())
        agreed = share >= cfg.review_agreement and votes[choice] > votes.get(question.answer, 0)
        return (choice, share) if agreed else None
