"""The records that every stage reads and writes: Question, Trajectory, Rollout.

One JSON object a line on disk, one frozen dataclass in memory, the same field names in both. A record is checked
once, where it is read; behind that line the code may trust it.
"""

import dataclasses
import string
from dataclasses import dataclass
from typing import Any

from model.errors import InputError

LETTERS = string.ascii_uppercase
DIFFICULTIES = ("easy", "moderate", "difficult")  # the paper's three grades, section 3.1
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Question:
    """A multiple-choice question with one right option."""

    id: str
    """Unique in its file, stable over runs; it seeds the noise of the question's samples."""
    question: str
    """The stem, without the options."""
    options: dict[str, str]
    """2 to 26 options, letter -> text, letters A, B, C ... in order."""
    answer: str
    """The letter of the right option."""
    source: str = "user"
    """The data set that it comes from."""
    split: str = "train"
    """train, dev or test."""
    language: str = "en"
    """ISO 639-1 code."""
    context: str | None = None
    """Text to read before the stem (PubMedQA's abstracts), or null."""
    difficulty: str | None = None
    """easy, moderate, difficult, or null where nobody has graded it."""
    provenance: dict[str, Any] | None = None
    """For a synthetic question: path, masking roles and certificate. See docs/file-formats.md."""


@dataclass(frozen=True)
class Trajectory:
    """A worked answer for the cold start (paper, section 3.2)."""

    id: str
    """Unique in its file."""
    question_id: str
    """The question that it answers."""
    prompt: list[dict[str, str]]
    """Chat messages: {"role": system | user | assistant, "content": text}."""
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
    response: str
    """The decoded ids without the final stop id."""
    answer: str | None
    """The parsed letter, or null where the parser abstains."""
    reward: dict[str, float]
    """{"correct", "format", "total"}."""
    advantage: float
    """A of Eq. 2-3 (or the preset's)."""


def to_json(record: Question | Trajectory | Rollout) -> dict[str, Any]:
    """Return the record as a plain dict, fields in declaration order."""
    return dataclasses.asdict(record)


def _fields(cls: type, record: Any, where: str) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise InputError(f"{where}: expected a JSON object, found {type(record).__name__}")
    known = {f.name: f for f in dataclasses.fields(cls)}
    if unknown := [k for k in record if k not in known]:
        raise InputError(f"{where}: unknown field {unknown[0]!r}; a {cls.__name__} has {', '.join(known)}")
    for name, field in known.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in record:
            raise InputError(f"{where}: field {name!r} is missing")
    return dict(record)


def _expect(ok: bool, where: str, field: str, expected: str, found: Any) -> None:
    if not ok:
        raise InputError(f"{where}: {field} must be {expected}, found {str(found)[:80]!r}")


def question_from_json(record: Any, where: str) -> Question:
    """Check one decoded JSON object and return its Question.

    `where` names file and line for the message. Raises InputError for an unknown or missing field, a wrong type,
    options that are not 2 to 26 letters in order, an empty option, or an answer that is not one of the letters.
    """
    fields = _fields(Question, record, where)
    for name in ("id", "question", "answer", "source", "split", "language"):
        if name in fields:
            _expect(
                isinstance(fields[name], str) and fields[name] != "", where, name, "a non-empty string", fields[name]
            )
    options = fields["options"]
    _expect(
        isinstance(options, dict) and 2 <= len(options) <= 26, where, "options", "an object of 2 to 26 options", options
    )
    _expect(
        list(options) == list(LETTERS[: len(options)]), where, "options", "keyed A, B, C ... in order", list(options)
    )
    for letter, text in options.items():
        _expect(isinstance(text, str) and text.strip() != "", where, f"option {letter}", "a non-empty string", text)
    _expect(fields["answer"] in options, where, "answer", f"one of {', '.join(options)}", fields["answer"])
    _expect(fields.get("split", "train") in SPLITS, where, "split", "train, dev or test", fields.get("split"))
    _expect(
        fields.get("difficulty") in (None, *DIFFICULTIES),
        where,
        "difficulty",
        "easy, moderate, difficult or null",
        fields.get("difficulty"),
    )
    _expect(isinstance(fields.get("context"), str | None), where, "context", "a string or null", fields.get("context"))
    _expect(
        isinstance(fields.get("provenance"), dict | None),
        where,
        "provenance",
        "an object or null",
        fields.get("provenance"),
    )
    return Question(**fields)


def trajectory_from_json(record: Any, where: str) -> Trajectory:
    """Check one decoded JSON object and return its Trajectory. Raises InputError as `question_from_json` does."""
    fields = _fields(Trajectory, record, where)
    for name in ("id", "question_id", "response", "teacher"):
        if name in fields:
            _expect(
                isinstance(fields[name], str) and fields[name] != "", where, name, "a non-empty string", fields[name]
            )
    prompt = fields["prompt"]
    _expect(isinstance(prompt, list) and len(prompt) > 0, where, "prompt", "a non-empty list of messages", prompt)
    for message in prompt:
        ok = (
            isinstance(message, dict)
            and set(message) == {"role", "content"}
            and all(isinstance(v, str) for v in message.values())
        )
        _expect(ok, where, "prompt message", 'an object {"role", "content"} of strings', message)
        _expect(
            message["role"] in ("system", "user", "assistant"),
            where,
            "role",
            "system, user or assistant",
            message["role"],
        )
    _expect(
        isinstance(fields.get("gold_visible", False), bool),
        where,
        "gold_visible",
        "true or false",
        fields.get("gold_visible"),
    )
    _expect(isinstance(fields.get("attempts", 1), int), where, "attempts", "an integer", fields.get("attempts"))
    refinements = fields.get("refinements", [])
    _expect(
        isinstance(refinements, list | tuple) and all(isinstance(r, str) for r in refinements),
        where,
        "refinements",
        "a list of strings",
        refinements,
    )
    _expect(isinstance(fields.get("checks", {}), dict), where, "checks", "an object", fields.get("checks"))
    return Trajectory(**{**fields, "refinements": tuple(refinements)})
