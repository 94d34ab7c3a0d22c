"""The answers of one evaluation: each is on the disk as soon as it is there, and none is asked for twice.

While a run lasts every rank appends to a part of its own; at its end the parts become answers.jsonl, in the order of
the questions. A killed run is gone on with by the same command, on any number of ranks; more questions, samples or
orders than before add to what is there. Left out: how an answer comes about (generation.py, loglikelihood.py).
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from fleming.evaluation.items import Asked, Item, Key
from fleming.files import AppendLog, read_json, read_jsonl, write_json, write_jsonl
from fleming.judge import Verdict
from fleming.settings import Config
from fleming.training.identity import check_same_run
from fleming.training.parallel import World
from fleming.typed import NonNegative, from_json
from model.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer of a model; its fields stand in answers.jsonl in this order."""

    benchmark: str
    protocol: Literal["cot", "loglikelihood"]
    id: str
    """The question's."""
    order: NonNegative[int]
    """0: the options as published; 1, 2, ...: reshuffled."""
    sample: NonNegative[int]
    variant: str = ""
    """How the question was asked otherwise, or the cut of the model's reasoning that it went on from (variants.py)."""
    counts: bool
    """Whether the question is part of the score."""
    options: NonNegative[int]
    """How many there were; 0: the answer was free."""
    answer: str | None
    """The letter that was read, as shown, or the free answer; null: an abstention."""
    gold: str
    """The right letter, as shown, or the right free answer."""
    correct: bool
    choice: str | None
    """The published letter of `answer`; of a free one, what those that say the same have in common: `gold` if right."""
    prompt: Any
    """cot: messages. loglikelihood: the document."""
    response: str | None
    format: bool | None = None
    """cot: whether the answer had the form that was asked for."""
    finish_reason: str | None = None
    """cot: stop, or length where it was cut."""
    forced: bool | None = None
    """cot with a budget of thinking: whether it was made to end its thinking."""
    loglikelihoods: dict[str, float] | None = None
    """loglikelihood: of each letter, nats."""
    correct_by_length: bool | None = None
    """loglikelihood: whether the likeliest by character is right."""
    cut_left: bool | None = None
    """loglikelihood: whether the document was too long."""
    tokens: int
    """cot: sampled. loglikelihood: of all options."""
    time: dict[str, float]

    @property
    def key(self) -> Key:
        """What tells it from all others of a run."""
        return self.benchmark, self.protocol, self.id, self.order, self.sample, self.variant

    @property
    def as_published(self) -> bool:
        """Whether the question was asked as every question is, its options in the published order."""
        return self.order == 0 and not self.variant

    def check(self, where: str) -> None:
        """Raise InputError for an answer that lacks what its protocol says, or contradicts itself."""
        for name in FIELDS_OF[self.protocol]:
            if getattr(self, name) is None:
                raise InputError(f"{where}: an answer by {self.protocol} without {name}")
        found = self.loglikelihoods or {}
        if found and (self.answer not in found or found[self.answer] < max(found.values())):
            raise InputError(f"{where}: the answer {self.answer!r} is not the likeliest, edited?")
        if self.correct != ((self.answer if self.options else self.choice) == self.gold):
            raise InputError(f"{where}: correct is {self.correct}, the answer {self.answer!r}, edited?")


Keep = Callable[[Answer], object]
"""Gets each answer as it is there, in any order."""
ReadAgain = Callable[[Asked, Answer], Answer] | None
"""Says what a stored answer's response says now; the rest of a stored record is not believed."""
FIELDS_OF = {
    "cot": ("format", "finish_reason"),
    "loglikelihood": ("loglikelihoods", "correct_by_length", "cut_left"),
}


def answer_of(item: Item, sample: int, given: Verdict | str, protocol: str, **said: Any) -> Answer:
    """Return the answer: a verdict, or a letter as it was shown; said: the fields that the item does not give."""
    right = item.question.answer
    if isinstance(given, str):
        given = Verdict(given, given == right, True, given, True)
    return Answer(
        benchmark=item.benchmark,
        protocol=protocol,
        id=item.question.id,
        order=item.order,
        sample=sample,
        variant=item.variant,
        counts=item.counts,
        options=len(item.question.options) if given.lettered else 0,
        answer=given.answer,
        gold=right,
        correct=given.correct,
        choice=item.published_letter(given.choice) if given.lettered else given.choice,
        **said,
    )


def answer_to_json(answer: Answer) -> dict[str, Any]:
    """Return the answer as its line has it, without the fields of the other protocol."""
    own = FIELDS_OF[answer.protocol]
    others = {name for names in FIELDS_OF.values() for name in names if name not in own}
    unsaid = {"forced": None, "variant": ""}
    others |= {name for name, usual in unsaid.items() if getattr(answer, name) == usual}
    return {name: value for name, value in vars(answer).items() if name not in others}


def answer_settings(cfg: Config, hashes: Mapping[str, str], dtype: torch.dtype) -> dict[str, Any]:
    """Return what fixes an answer; only what the protocols of this run depend on."""
    model = {name: sha256 for name, sha256 in hashes.items() if name.startswith("model/")}
    fixed: dict[str, Any] = {f"sha256 of {name}": hashes[name] for name in hashes if name not in model}
    whole = json.dumps(sorted(model.items()))  # one more file is another model
    fixed["sha256 of model"] = hashlib.sha256(whole.encode()).hexdigest()
    fixed["seed"] = cfg.seed
    fixed["dtype"] = str(dtype)
    if "cot" in cfg.evaluate.protocols:
        for name in ("chat_format", "system", "instruction", "answer_style"):
            fixed[f"cot.{name}"] = getattr(cfg, name)
        if cfg.chat_template_kwargs:
            fixed["cot.chat_template_kwargs"] = cfg.chat_template_kwargs
        for name in ("temperature", "max_new_tokens"):
            fixed[f"cot.{name}"] = getattr(cfg.evaluate, name)
        # Only where they are set: answers of earlier versions had none of them.
        fixed |= {f"cot.{name}": value for name, value in cfg.evaluate.filters.items()}
        if cfg.evaluate.thinking_tokens:
            fixed["cot.thinking_tokens"] = cfg.evaluate.thinking_tokens
        fixed |= {f"cot.{name}": value for name, value in cfg.reading.items()}
    return fixed


class Answers:
    """Open on every rank at once; raises InputError where the folder's answers were given under other settings."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], world: World):
        """settings: what fixes an answer, its data's and model's hashes included."""
        self.folder, self.world = folder, world
        world.on_main(_prepare, folder, dict(settings))
        with world.agree():
            self.done: set[Key] = {answer.key for answer in _read(folder)}
        with world.agree():  # all have read before one of them writes
            self.part = AppendLog(folder / f"answers.part{world.rank}.jsonl", hash_lines=True)

    def keep(self, answer: Answer) -> None:
        """Put an answer on the disk."""
        self.part.append(answer_to_json(answer))

    def so_far(self) -> Iterator[Answer]:
        """Return what all ranks have answered, on each of them; none may write before all have read it."""
        with self.world.agree():
            self.part.sync()
        return _read(self.folder)

    def collect(self, wanted: Mapping[Key, Asked], read_again: ReadAgain) -> list[Answer]:
        """Join all parts in answers.jsonl, on the main rank; return there the answers `wanted`, elsewhere none.

        answers.jsonl keeps whatever else was answered before, behind them.
        """
        answers: list[Answer] = []
        with self.world.agree():  # then all parts are whole
            self.part.sync()
            self.part.close()
        with self.world.agree():
            if self.world.is_main:
                answers = self._join(wanted, read_again)
        return answers

    def _join(self, order: Mapping[Key, Asked], read_again: ReadAgain) -> list[Answer]:
        found: dict[Key, Answer] = {}
        for answer in _read(self.folder):
            found.setdefault(answer.key, answer)
        missing = [key for key in order if key not in found]
        if missing:
            raise InputError(f"{self.folder}: {len(missing)} answers missing, first {missing[0]}: edited?")

        for key in order:
            if key in self.done and found[key].protocol == "cot":  # the others have just been read
                found[key] = read_again(order[key], found[key])
        others = sorted(found.keys() - order.keys())
        lines = (answer_to_json(found[key]) for key in (*order, *others))
        write_jsonl(self.folder / "answers.jsonl", lines, hashed=True)
        for part in _parts(self.folder):
            part.unlink()
        return [found[key] for key in order]


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("answers.part*.jsonl"))


def _prepare(folder: Path, settings: dict[str, Any]) -> None:
    path = folder / "settings.json"
    settings = json.loads(json.dumps(settings))  # as they will be read back
    saved = read_settings(folder)
    if saved is None and ((folder / "answers.jsonl").exists() or _parts(folder)):
        raise InputError(f"{path}: missing, so nobody knows under what settings its answers were given")
    saved = settings if saved is None else saved
    common = sorted(saved.keys() & settings.keys())
    before, now = ({name: side[name] for name in common} for side in (saved, settings))
    check_same_run(before, now, str(folder))
    for part in _parts(folder):
        AppendLog(part).close()  # cuts off the line in which a run was killed
    write_json(path, saved | settings)


def read_settings(folder: Path) -> dict[str, Any] | None:
    """Return under what settings a folder's answers were given, None where the file is missing."""
    path = folder / "settings.json"
    if not path.exists():
        return None
    saved = read_json(path)
    if not (isinstance(saved, dict) and {"seed", "dtype", "sha256 of model"} <= saved.keys()):
        raise InputError(f"{path}: not the settings of an evaluation; move it away")
    return saved


def read_answers(path: Path) -> Iterator[Answer]:
    """Yield the answers of a file. Raises InputError with its line for one that is none."""
    for where, record in read_jsonl(path):
        yield from_json(Answer, record, where)


def _read(folder: Path) -> Iterator[Answer]:
    for path in (folder / "answers.jsonl", *_parts(folder)):
        if path.exists():
            yield from read_answers(path)
