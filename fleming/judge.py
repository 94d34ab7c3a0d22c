"""Is a response right? The one judge of rewards, mining, evaluation and pass@k, whatever kind of answer is asked for.

Left out: how an answer is read (answer.py), how numbers and texts are compared (free_answer.py).
"""

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleming.answer import format_ok, parse_answer, parse_free
from fleming.free_answer import read_number, same_number, short_text
from fleming.records import Question
from fleming.settings import Config
from model.errors import InputError


@dataclass(frozen=True)
class Verdict:
    """What a response answers."""

    answer: str | None
    """The letter, or the text of a free answer; None: abstained."""
    correct: bool
    well_formed: bool
    """Whether it has the form that was asked for."""
    choice: str | None
    """What answers that say the same have in common, for votes: the right answer for all that are right."""
    lettered: bool
    """Whether the answer is the letter of an option."""


def style_of(question: Question, cfg: Config) -> str:
    """Return letter or text for a question with options, number or short for others, free for one's own checker."""
    if cfg.answer_style == "free":
        return "free"
    if question.options:
        return "text" if cfg.answer_style == "text" else "letter"
    return "number" if question.answer_kind == "number" else "short"


def read_answer(response: str, question: Question, cfg: Config) -> str | None:
    """Return the letter that the response answers with, or the text of a free answer; None: it abstains."""
    style = style_of(question, cfg)
    if style in ("letter", "text"):
        return parse_answer(response, question.options, style)
    return parse_free(response)


def judge(response: str, finished: bool, question: Question, cfg: Config) -> Verdict:
    """Return what the response answers and whether that is right; `finished`: it was not cut off.

    Raises whatever a checker of one's own raises, and InputError where it returns neither true nor false.
    """
    style, answer = style_of(question, cfg), read_answer(response, question, cfg)
    form = format_ok(response, question.options, style, finished)
    if style in ("letter", "text"):
        return Verdict(answer, answer == question.answer, form, answer, lettered=True)
    right = answer is not None and _is_right(answer, question, style, cfg)
    choice = question.answer if right else answer and f"wrong: {short_text(answer) or answer}"
    return Verdict(answer, right, form, choice, lettered=False)


def _is_right(answer: str, question: Question, style: str, cfg: Config) -> bool:
    if style == "free":
        right = load_function(cfg.free.checker, "free.checker")(answer, question)
        if not isinstance(right, bool):
            raise InputError(f"free.checker={cfg.free.checker}: expected true or false, returned {right!r}")
        return right
    accepted = [question.answer, *question.aliases]
    if style == "number":
        given, rights = read_number(answer), [read_number(text) for text in accepted]
        return given is not None and any(
            right is not None and same_number(given, right, cfg.free, question.tolerance) for right in rights
        )
    return short_text(answer) in {short_text(text) for text in accepted} - {None}


def own_code(cfg: Config, reward: bool = True) -> dict[str, Path]:
    """Return setting -> the file of the user's own reward and checker: results depend on them too.

    Left out: what such a file imports. Raises InputError as `load_function`.
    """
    files = {}
    for key, name in {"grpo.reward": cfg.grpo.reward * reward, "free.checker": cfg.free.checker}.items():
        module = name.partition(":")[0]
        if module and not module.startswith("fleming."):
            load_function(name, key)
            if file := getattr(sys.modules[module], "__file__", None):
                files[key] = Path(file)
    return files


@functools.cache
def load_function(name: str, key: str) -> Callable[..., Any]:
    """Return what "module:function" names, the value of a setting: a function, or an instance that can be called.

    Raises InputError where it cannot be found, and for a class or an async function, whose call would give no result.
    """
    module, _, function = name.partition(":")
    # A script looks for modules beside itself, a user has his own where he works.
    sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module), function)
    except (Exception, SystemExit) as error:  # whatever a module of the user's raises while it is imported
        message = f"{key}={name}: cannot be imported ({error}); expected module:function"
        raise InputError(message) from error
    if not callable(found):
        raise InputError(f"{key}={name} is not a function")
    if inspect.isclass(found):
        raise InputError(f"{key}={name} is a class; name a function, or an instance of it that can be called")
    tests = inspect.iscoroutinefunction, inspect.isasyncgenfunction
    if any(test(called) for test in tests for called in (found, found.__call__)):
        raise InputError(
            f"{key}={name} is async, and nothing awaits it; name a function that uses asyncio.run inside"
        )
    return found
