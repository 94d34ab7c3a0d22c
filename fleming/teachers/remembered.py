"""What a voter, a grader and a teacher have in common: a conversation goes in, n answers come out.

Left out: who answers (local_model.py, or anything else with such a method).
"""

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

from fleming.files import AppendLog, parse_object, write_jsonl
from fleming.settings.teacher import TeacherConfig, caps
from fleming.teachers.answer_log import read_answer_log
from fleming.typed import NonNegative, from_json
from model.errors import InputError
from model.sums import remove

CHUNK = 256  # conversations asked at once
Messages = list[dict[str, str]]
R = TypeVar("R")  # a frozen dataclass: a reply


class Completer(Protocol):
    """A model or teacher that can be asked. One that can answer many at once also has `complete_all`, as below."""

    name: str
    """Who it is, with all that its answers depend on: answers under one name are never asked for again."""

    def complete(self, messages: Messages, n: int) -> list[str]:
        """Return n answers to the conversation; one that is no content (cut, refused) may be an empty text."""


def complete_all(completer: Completer, conversations: Sequence[Messages], n: int) -> list[list[str]]:
    """Return n answers to each conversation: all at once where the completer can, else one after the other.

    Raises InputError where it gives anything but n texts to each.
    """
    if hasattr(completer, "complete_all"):
        groups = completer.complete_all(conversations, n)
    else:
        groups = [completer.complete(messages, n) for messages in conversations]

    complete = len(groups) == len(conversations) and all(len(answers) == n for answers in groups)
    if not complete or not all(isinstance(text, str) for answers in groups for text in answers):
        raise InputError(
            f"{completer.name} did not give {n} texts to each of {len(conversations)} conversations"
        )
    return groups


def answer_each(completer: Completer, conversations: Sequence[Messages]) -> list[str]:
    """Return one answer to each conversation; one that stands here n times is asked once, for n answers."""
    keys = [json.dumps(messages) for messages in conversations]
    times, first = Counter(keys), dict(zip(keys, conversations, strict=True))
    answers: dict[str, Iterator[str]] = {}
    for n in sorted(set(times.values())):
        asked = [key for key in times if times[key] == n]
        groups = complete_all(completer, [first[key] for key in asked], n)
        answers |= zip(asked, map(iter, groups), strict=True)
    return [next(answers[key]) for key in keys]


def behind_thinking(text: str) -> str:
    """Return what an answer says behind its think block."""
    return text.rpartition("</think>")[2].strip()


def read_reply(text: str, kind: type[R]) -> R | None:
    """Return the one JSON object, fenced or not, that an answer consists of; None where it is none of this kind."""
    reply = behind_thinking(text).removeprefix("```json").removeprefix("```").removesuffix("```")
    try:
        return from_json(kind, parse_object(reply.encode("utf-8", "replace"), "reply"), "reply")
    except InputError:
        return None


def writable(text: str) -> str:
    """Return the text without half surrogate pairs, which a model may write and no file can hold."""
    return text.encode("utf-8", "replace").decode()


BUSY = "busy"  # nothing came back: it says nothing of the conversation
BEGUN = "begun"  # written before a request is sent, with the most tokens it can take; its reply settles it
REFUSED = "bad_request"
FINAL = (REFUSED, "too_long")  # another try would bring the same
HOPELESS = 16  # conversations that came to nothing in a row: more of them would not help


@dataclass(frozen=True)
class Answer:
    """A line of `Remembered`'s file: what one request brought."""

    key: str
    """A hash of who was asked what, and the number of the trial."""
    text: str = ""
    code: str = ""
    """Why the text is no content: empty, cut, malformed, html, too_large, refused, bad_request, too_long, server_error,
    busy (to be tried again), begun (nothing is known of it yet). "" is content."""
    detail: str = ""
    """What was wrong."""
    tokens: tuple[NonNegative[int], ...] = (0, 0)
    """Of prompt and answer, as the server counts them; where it does not, as many as there can be."""

    def check(self, where: str) -> None:
        """Raise InputError for other than two counts of tokens."""
        if len(self.tokens) != 2:
            raise InputError(f"{where}: tokens: expected those of prompt and answer")

    @property
    def content(self) -> str:
        return "" if self.code else self.text


@dataclass
class Spent:
    """Of one folder, over all its runs."""

    requests: int = 0
    prompt: int = 0
    answer: int = 0
    usable: int = 0
    """Requests that brought content."""

    def add(self, answer: Answer, times: int = 1) -> None:
        """Count a request so many times; -1 takes it out again."""
        self.requests += times
        self.prompt += times * answer.tokens[0]
        self.answer += times * answer.tokens[1]
        self.usable += times * (not answer.code)

    def estimate(self, conversations: Sequence[Messages], cfg: TeacherConfig) -> str:
        """Return what asking each conversation once will take: 4 bytes a token, and answers as long as so far."""
        size = sum(len(m["content"].encode()) for messages in conversations for m in messages)
        mean = self.answer / self.usable if self.usable else cfg.max_new_tokens
        more = Spent(len(conversations), size // 4, round(mean * len(conversations)))
        about = "about" if self.usable else "at most about"
        return (
            f"{more.requests:,} answers to ask for, {about} {more.prompt:,} tokens of prompts and {more.answer:,} of "
            f"answers: {more.summary(cfg)}; so far {self.summary(cfg)}"
        )

    def summary(self, cfg: TeacherConfig) -> str:
        """Return what was spent, and of how much."""
        left = {name: f" of {cap:,}" for name, cap in caps(cfg).items()}
        spent = [
            f"{self.of(name, cfg):,}{left.get(name, '')} {name[4:]}"
            for name in ("max_requests", "max_tokens")
        ]
        cost = f"{self.of('max_cost', cfg):,.2f}{left.get('max_cost', '')} cost"
        return ", ".join([*spent, cost] if cfg.prompt_price or cfg.answer_price else spent)

    def of(self, cap: str, cfg: TeacherConfig) -> float:
        """Return what counts towards max_requests, max_tokens or max_cost."""
        cost = (self.prompt * cfg.prompt_price + self.answer * cfg.answer_price) / 1e6
        return {"max_requests": self.requests, "max_tokens": self.prompt + self.answer, "max_cost": cost}[cap]


class Remembered:
    """A completer whose answers are kept in a file as they come: asked again, also by a later run, it gives those.

    An answer without content is an empty text, and its conversation stands in quarantine.jsonl, if there is to be one.
    """

    def __init__(
        self,
        completer: Completer,
        path: str | Path,
        doing: str,
        quarantine: Path | None = None,
        offline: bool = False,
    ) -> None:
        """`doing` stands before the progress bar. offline: ask nobody, InputError for what the file lacks.

        A completer with a method `ask_all` (asking.py) is asked one by one, many at once; one with `judged`
        (local_model.py) says why an answer is no content; of any other every text is content.
        """
        self.completer, self.name, self.path, self.doing = completer, completer.name, Path(path), doing
        self.quarantine, self.offline = quarantine, offline
        self.spent = Spent()
        self.asks = completer.cfg.asks if hasattr(completer, "ask_all") else 1
        self._known: dict[str, list[Answer]] | None = None
        self._begun: dict[str, list[Answer]] = {}  # what is under way, or was at a kill: no line settles it
        self._refused: set[str] = set()  # since the last reply of another kind
        # Refused in a row of HOPELESS, which may have been the server's fault.
        self._doubtful: set[str] = set()
        self._given: dict[str, bool] = {}  # key -> whether what was given has content
        self._set_aside: dict[str, dict[str, Any]] | None = None

    def complete(self, messages: Messages, n: int) -> list[str]:
        return self.complete_all([messages], n)[0]

    def complete_all(self, conversations: Sequence[Messages], n: int) -> list[list[str]]:
        """Return n answers to each, empty where one has no content; what the file lacks is asked for.

        Raises InputError for a file of another kind, and as whoever is asked.
        """
        wanted = {self._key(m, trial): (m, trial) for m in conversations for trial in range(n)}
        with contextlib.closing(AppendLog(self.path, hash_lines=True)) as log:  # it drops a torn last line
            self._read()
            missing = {key: m for key, (m, _) in wanted.items() if self._found(key) is None}
            if missing and self.offline:
                first = next(iter(missing.values()))[-1]["content"]
                raise InputError(
                    f"{self.path}: {len(missing):,} of {len(wanted):,} answers of {self.name} are missing, the first "
                    f"to {first[:80]!r}; without --offline they are asked for"
                )
            try:
                self._ask(conversations, n, missing, log)
            finally:
                log.sync()
                self._write_quarantine(wanted)
        return [[self._found(self._key(m, trial)).content for trial in range(n)] for m in conversations]

    def check_usable(self) -> None:
        """Raise InputError where answers were asked for and none has content."""
        if self._given and not any(self._given.values()):
            raise InputError(
                f"{self.name}: none of {len(self._given):,} answers has content; {self.quarantine} says why"
            )

    def _ask(
        self, conversations: Sequence[Messages], n: int, missing: dict[str, Messages], log: AppendLog
    ) -> None:
        few, cfg = len(missing) < 2, getattr(self.completer, "cfg", None)
        if cfg and not few:
            print(f"{self.doing}: {self.spent.estimate(list(missing.values()), cfg)}")
        bar = tqdm(total=len(missing), desc=self.doing, unit="answer", dynamic_ncols=True, disable=few)

        def keep(answer: Answer) -> None:
            log.append(asdict(answer))
            self._add(answer)
            bar.update(self._found(answer.key) is not None)
            if cfg:
                bar.set_postfix_str(self.spent.summary(cfg), refresh=False)
            if answer.code == REFUSED and len(self._refused) >= HOPELESS:
                raise InputError(
                    f"{self.name}: the server refused {HOPELESS} conversations in a row; the last: "
                    f"{answer.detail.rstrip('.')}. Once that is mended, the same command asks for them again"
                )

        with bar:
            if hasattr(self.completer, "ask_all"):
                calls = [(key, m, len(self._known.get(key, []))) for key, m in missing.items()]
                self.completer.ask_all(calls, self.spent, keep)
                return
            for start in range(0, len(conversations), CHUNK):  # as a whole, as in complete_log
                part = conversations[start : start + CHUNK]
                keys = [self._key(m, trial) for m in part for trial in range(n)]
                if not missing.keys().isdisjoint(keys):
                    for key, (text, code) in zip(keys, self._judged(part, n), strict=True):
                        if self._found(key) is None:
                            keep(Answer(key, writable(text), code))

    def _judged(self, conversations: Sequence[Messages], n: int) -> list[tuple[str, str]]:
        if hasattr(self.completer, "judged"):
            return self.completer.judged(conversations, n)
        return [(text, "") for group in complete_all(self.completer, conversations, n) for text in group]

    def _key(self, messages: Messages, trial: int) -> str:
        asked = json.dumps([self.name, messages, trial], ensure_ascii=True)
        return hashlib.blake2b(asked.encode(), digest_size=16).hexdigest()

    def _read(self) -> None:
        if self._known is not None:
            return
        self._known = {}
        for answer in read_answer_log(self.path, Answer):
            self._add(answer)
        self._refused = set()

    def _add(self, answer: Answer) -> None:
        self.spent.add(answer)
        if answer.code == BEGUN:
            self._begun.setdefault(answer.key, []).append(answer)
            return
        if self._begun.get(answer.key):
            self.spent.add(self._begun[answer.key].pop(), -1)
        if answer.code == BUSY:
            return
        self._known.setdefault(answer.key, []).append(answer)
        self._doubtful.discard(answer.key)
        self._refused = self._refused | {answer.key} if answer.code == REFUSED else set()
        if len(self._refused) >= HOPELESS:
            self._doubtful |= self._refused

    def _found(self, key: str) -> Answer | None:
        """Return what a call has come to: content, or the last of as many replies without as are allowed."""
        answers = self._known.get(key, [])
        content = next((answer for answer in answers if not answer.code), None)
        final = answers and (
            len(answers) >= self.asks or (answers[-1].code in FINAL and key not in self._doubtful)
        )
        return content or (answers[-1] if final else None)

    def _write_quarantine(self, wanted: dict[str, tuple[Messages, int]]) -> None:
        found = {key: answer for key in wanted if (answer := self._found(key))}
        self._given |= {key: not answer.code for key, answer in found.items()}
        if self.quarantine is None:
            return
        before, self._set_aside = self._set_aside, dict(self._set_aside or {})
        for key, answer in found.items():
            if answer.code:
                messages, trial = wanted[key]
                record = {"code": answer.code, "detail": answer.detail, "teacher": self.name, "trial": trial}
                self._set_aside[key] = {**record, "messages": messages}
        if not self._set_aside:
            remove(self.quarantine)
        elif self._set_aside != before:
            write_jsonl(self.quarantine, self._set_aside.values(), hashed=True)
