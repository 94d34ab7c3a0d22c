"""The records that every stage reads and writes: Question, Trajectory, Rollout.

One JSON object a line on disk, one frozen dataclass in memory, the same field names in both. A record is checked
once, where it is read (typed.py); behind that line the code may trust it.
"""

import dataclasses
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fleming.typed import NonNegative, from_json
from model.errors import InputError

LETTERS = string.ascii_uppercase
Difficulty = Literal["easy", "moderate", "difficult"]  # the paper's three grades, section 3.1
DIFFICULTIES = get_args(Difficulty)
Split = Literal["train", "dev", "test"]
SPLITS = get_args(Split)
AnswerKind = Literal["number", "text", "free"]
Message = dict[str, str]
"""{"role": system | user | assistant, "content": text}."""


@dataclass(frozen=True)
class Question:
    """A question with one right option, or without options and with a free answer."""

    id: str
    """Unique in its file, stable over runs; it seeds the noise of the question's samples."""
    question: str
    """The stem, without the options."""
    options: dict[str, str]
    """2 to 26 options, letter -> text, letters A, B, C ... in order; none where the answer is free."""
    answer: str
    """The letter of the right option, or the free answer."""
    source: str = "user"
    """The data set that it comes from."""
    split: Split = "train"
    """train, dev or test."""
    language: str = "en"
    """ISO 639-1 code."""
    context: str | None = None
    """Text to read before the stem (PubMedQA's abstracts), or null."""
    difficulty: Difficulty | None = None
    """easy, moderate, difficult, or null where nobody has graded it."""
    provenance: dict[str, Any] | None = None
    """For a synthetic question: path, masking roles and certificate. See docs/file-formats.md."""
    answer_kind: AnswerKind | None = None
    """Of a question without options: how its answer is compared; null where it has options."""
    aliases: tuple[str, ...] = ()
    """Other free answers that are right too."""
    tolerance: NonNegative[float] | None = None
    """Within what distance a number is right; null: as the settings say."""
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Whatever else its record holds; a reward of one's own, and a checker, can see it."""

    @property
    def right_text(self) -> str:
        """The text of the right option, or the free answer."""
        return self.options.get(self.answer, self.answer)

    def in_order(self, order: Sequence[str]) -> "Question":
        """Return the question with its options, if any, in the order of these letters, lettered anew."""
        if not self.options:
            return self
        options = {letter: self.options[old] for letter, old in zip(LETTERS, order, strict=False)}
        return dataclasses.replace(self, options=options, answer=LETTERS[order.index(self.answer)])

    def check(self, where: str) -> None:
        """Raise InputError for an empty text, options that are not 2 to 26 letters in order, or another answer."""
        _not_empty(self, ("id", "question", "answer", "source", "language"), where)
        letters = list(self.options)
        if not letters and self.answer_kind:
            return
        if not 2 <= len(letters) <= 26:
            raise InputError(f"{where}: options: expected 2 to 26, found {len(letters)}")
        if letters != list(LETTERS[: len(letters)]):
            raise InputError(f"{where}: options: expected keys A, B, C ..., found {str(letters)[:80]}")
        for letter, text in self.options.items():
            if not text.strip():
                raise InputError(f"{where}: option {letter}: expected a text that is not empty")
        if self.answer not in self.options:
            raise InputError(f"{where}: answer: {self.answer[:80]!r} is none of {', '.join(letters)}")


@dataclass(frozen=True)
class Trajectory:
    """A worked answer for the cold start (paper, section 3.2)."""

    id: str
    """Unique in its file."""
    question_id: str
    """The question that it answers."""
    prompt: list[Message]
    """The conversation that asks the question."""
    response: str
    """What the model should learn to write: <think> ... </think> <answer> ... </answer>."""
    teacher: str = "user"
    """Who wrote it."""
    gold_visible: bool = False
    """Whether the teacher saw the right answer while writing."""
    attempts: int = 1
    """How many answers the teacher gave before one was kept."""
    refinements: tuple[str, ...] = ()
    """Which of backtracking, path_exploration, self_correction were used, in order."""
    checks: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Each check that was made on the response, with its result."""

    def check(self, where: str) -> None:
        """Raise InputError for an empty text or prompt, and for what is no message."""
        _not_empty(self, ("id", "question_id", "response", "teacher", "prompt"), where)
        for message in self.prompt:
            if message.keys() != {"role", "content"}:
                raise InputError(
                    f'{where}: prompt: expected messages {{"role", "content"}}, found {str(message)[:80]}'
                )
            if message["role"] not in ("system", "user", "assistant"):
                found = message["role"][:80]
                raise InputError(f"{where}: role: expected system, user or assistant, found {found!r}")


def _not_empty(record: Any, names: tuple[str, ...], where: str) -> None:
    for name in names:
        if not getattr(record, name):
            raise InputError(f"{where}: field {name!r} is empty")


@dataclass(frozen=True)
class Rollout:
    """One sampled answer with its reward and advantage (paper, section 3.3)."""

    step: int
    """Optimiser step whose weights wrote it."""
    stage: int
    """1 or 2."""
    question_id: str
    """The question."""
    group: int
    """Index of the question in its step; a group never spans two questions."""
    sample: int
    """Index in the group: 0 .. group_size - 1."""
    seed: int
    """The run's seed: with the prompt key and `sample` it fixes the noise."""
    prompt_ids: list[int]
    """Token ids of the prompt."""
    token_ids: list[int]
    """Sampled token ids, the stop id included."""
    logprobs: list[float]
    """log pi(token) under the distribution that was sampled from, nats."""
    finish_reason: str
    """stop, or length where max_new_tokens cut it."""
    entropy: float
    """Sum over its tokens of the entropy of the distribution that each was drawn from, nats."""
    response: str
    """The decoded ids without the final stop id."""
    answer: str | None
    """The parsed letter, or null where the parser abstains."""
    reward: dict[str, float]
    """{"correct", "format", "total"}, and whatever else a reward of one's own gives by name."""
    advantage: float
    """A of Eq. 2-3 (or the preset's)."""
    order: str | None = None
    """The file's letters of the options in the order shown, "CADB"; null: as in the file. `answer` is as shown."""


def to_json(record: Question | Trajectory | Rollout) -> dict[str, Any]:
    """Return the record as a plain dict, fields in declaration order, without those of rare use that are empty."""
    rare = ("answer_kind", "aliases", "tolerance", "extra", "order")
    fields = dataclasses.asdict(record)
    return {name: value for name, value in fields.items() if name not in rare or value not in (None, (), {})}


def question_from_json(record: Any, where: str) -> Question:
    """Return the Question of one decoded JSON object. Raises InputError naming `where` for anything else."""
    return from_json(Question, record, where)
