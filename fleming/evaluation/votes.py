"""What the answers to a question chose, and the score of many questions: the parts of every number that is reported.

Left out: the formulas (statistics.py), and what else is said of a benchmark (scoring.py).
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from fleming.evaluation.answers import Answer
from fleming.evaluation.statistics import question_interval
from fleming.records import LETTERS
from fleming.text import stem_key

CASE = 160  # characters, or all of a shorter prompt, its options too


@dataclass(frozen=True)
class Votes:
    """What a question's answers chose, its options in the published order."""

    gold: str
    options: int
    of: Counter[str | None]
    """Letter -> answers; None counts abstentions."""
    case: str = ""
    """What questions about one patient have in common: how their text begins."""

    @property
    def answers(self) -> int:
        """How many there are."""
        return self.of.total()

    @property
    def score(self) -> float:
        """The share of them that are right."""
        return self.of[self.gold] / self.answers

    @property
    def chance(self) -> float:
        """Of guessing among the options; a free answer cannot be guessed."""
        return 1 / self.options if self.options else 0.0

    @property
    def shares(self) -> list[float]:
        """The share of each option."""
        letters = LETTERS[: self.options]
        return [self.of[letter] / self.answers for letter in letters]


Questions = dict[str, Votes]
"""Question id -> votes, in the order of the questions."""


@dataclass(frozen=True)
class Score:
    """An accuracy and what must stand beside it; results.json has these fields, in this order."""

    n: int
    """Questions."""
    accuracy: float
    accuracy_low: float
    """Lower end of its 95 % interval."""
    accuracy_high: float
    """Upper end."""
    chance: float
    """Of guessing: the mean of 1 / options."""
    commonest_letter: float
    """Of always giving the letter that is right most often."""


def mean(numbers: Iterable[float]) -> float:
    """Return the mean of one number or more, a share where they are truths."""
    numbers = list(numbers)
    return sum(numbers) / len(numbers)


def add_vote(questions: Questions, answer: Answer) -> None:
    """Count an answer, unless its question was asked otherwise, or with the options in another order."""
    if answer.as_published:
        votes = questions.setdefault(answer.id, Votes(answer.gold, answer.options, Counter(), _case(answer)))
        votes.of[answer.choice] += 1


def _case(answer: Answer) -> str:
    """Return how the question's text begins; its id where the record has no text, or one of another form."""
    prompt = answer.prompt
    last = prompt[-1] if isinstance(prompt, list) and prompt else {"content": prompt}
    text = last.get("content") if isinstance(last, dict) else None
    return stem_key(text[:CASE] if text and isinstance(text, str) else answer.id)


def votes_of(answers: Iterable[Answer]) -> Questions:
    """Return what was chosen in the answers, those with the options in the published order."""
    questions: Questions = {}
    for answer in answers:
        add_vote(questions, answer)
    return questions


def score_of(questions: Collection[Votes]) -> Score:
    """Return the score on these questions, of which there is at least one."""
    found = question_interval([q.score for q in questions], max(q.answers for q in questions))
    golds = Counter(q.gold for q in questions)
    return Score(
        n=len(questions),
        accuracy=found.value,
        accuracy_low=found.low,
        accuracy_high=found.high,
        chance=mean(q.chance for q in questions),
        commonest_letter=max(golds.values()) / len(questions),
    )
