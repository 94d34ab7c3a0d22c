"""The same question asked otherwise, as rows of assets/reliability.yaml: what an answer should not depend on.

Left out: other orders of the options (items.py); what the answers to them say of a model (reliability.py).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from fleming.answer import TAGS
from fleming.assets import ASSETS
from fleming.checks.path import corrupt_last_step
from fleming.config import load_config
from fleming.free_answer import RULES
from fleming.judge import style_of
from fleming.noise import generator
from fleming.prompt import INSTRUCTIONS
from fleming.records import Question
from fleming.settings import Config
from fleming.text import can_reorder

ORDERS = 2  # other orders of the options that the row has
END_OF_THINKING = "\n</think>\n<answer>"
SET_ANSWERS = {"yes", "no", "maybe"}  # options of which none other can take the place


@dataclass(frozen=True)
class Variant:
    """A row of the table, whose head says what its fields are."""

    asks: Literal["same", "other", "nothing", "hinted"] = "same"
    numbered: bool = False
    instruction: dict[str, str] = field(default_factory=dict)
    other_style: bool = False
    ending: str = ""
    stem: dict[str, str] = field(default_factory=dict)
    behind: dict[str, str] = field(default_factory=dict)
    right: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """The table."""

    variants: dict[str, Variant] = field(default_factory=dict)
    cuts: dict[str, float] = field(default_factory=dict)
    corrupted: str = ""


ROW = load_config(Row, ASSETS / "reliability.yaml", [])
VARIANTS = ROW.variants


def vary(question: Question, name: str) -> tuple[Question, dict[str, str] | None] | None:
    """Return the question as the variant shows it, and shown label -> published letter where they differ.

    None where it cannot be asked so: without options, or with one that speaks of the others in place of which another
    would stand.
    """
    variant, options = VARIANTS[name], question.options
    if not options:
        return None
    if variant.numbered:
        numbers = {letter: str(i) for i, letter in enumerate(options, start=1)}
        shown = {numbers[letter]: text for letter, text in options.items()}
        question = replace(question, options=shown, answer=numbers[question.answer])
        return question, {number: letter for letter, number in numbers.items()}
    if variant.right:
        if not can_reorder(options) or {text.casefold() for text in options.values()} <= SET_ANSWERS:
            return None
        options = {**options, question.answer: _in_language(variant.right, question)}
        return replace(question, options=options), None
    if variant.stem:
        return replace(question, question=_in_language(variant.stem, question), context=None), None
    if variant.behind:
        hint = _in_language(variant.behind, question).format(wrong=options[wrong_option(question)])
        return replace(question, question=f"{question.question}\n\n{hint}"), None
    return question, None


def _in_language(texts: dict[str, str], question: Question) -> str:
    return texts.get(question.language, texts["en"])


def wrong_option(question: Question) -> str:
    """Return the published letter of the wrong option that a hint names, the same in every run."""
    wrong = [letter for letter in question.options if letter != question.answer]
    return wrong[generator(0, "wrong option", question.id).integers(len(wrong))]


def asked_as(question: Question, name: str, cfg: Config) -> Config:
    """Return the settings by which the question is put, and its answer read, as the variant has it."""
    variant = VARIANTS.get(name)
    if variant is None:
        return cfg
    style = style_of(question, cfg)
    if variant.other_style:
        style = {"letter": "text", "text": "letter"}[style]
        return replace(cfg, answer_style=style, instruction=INSTRUCTIONS[style])
    if style in variant.instruction:
        return replace(cfg, instruction=f"{RULES['think']} {variant.instruction[style]}")
    return cfg


def cuts_of(response: str, question: Question) -> Iterator[tuple[str, str]]:
    """Yield (name, what is written for the model) of each cut of a response's reasoning, none where it has none.

    question: as published, without options there are none; the reasoning is corrupted only where it led to the right
    option.
    """
    pieces = TAGS.split(response)  # text, tag, text, ...
    if not question.options or [tag.lower() for tag in pieces[1:4:2]] != ["<think>", "</think>"]:
        return
    thought = pieces[2]
    ends = [word.end() for word in re.finditer(r"\S+", thought)]
    for name, share in ROW.cuts.items():
        kept = int(share * len(ends))
        yield name, f"<think>{thought[: ends[kept - 1]] if kept else ''}{END_OF_THINKING}"
    wrong = question.options[wrong_option(question)]
    if corrupted := corrupt_last_step(thought, question, wrong):
        yield ROW.corrupted, f"<think>{corrupted}{END_OF_THINKING}"
