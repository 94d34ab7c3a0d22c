"""Which questions RL learns from and is measured on: those that leave room for an answer. What is left out is said.

Left out: which of them a step draws (curriculum.py).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from fleming.noise import permutation
from fleming.prompt import prompt_ids
from fleming.public.readers import read_questions
from fleming.records import Question
from fleming.settings import Config
from model.errors import InputError
from model.huggingface.config import ModelConfig
from model.huggingface.tokenizer import Tokenizer


def training_questions(
    cfg: Config, tokenizer: Tokenizer, model: ModelConfig, say: Callable[[str], None]
) -> tuple[list[Question], int]:
    """Return the training questions that leave room for an answer, and the tokens of the longest with it.

    What is left out is said. Raises InputError where no question is left.
    """
    source = cfg.question_file
    questions = read_questions(source, cfg, say)
    if kinds := Counter(q.answer_kind for q in questions if q.answer_kind):
        say(f"{source}: free answers ({', '.join(f'{kind} {count}' for kind, count in kinds.items())})")
    total = len(questions)
    train = [q for q in questions if q.split == "train"]
    if not train:
        raise InputError(f"{source}: no question of {total} has split train; RL learns from no other")
    if len(train) < total:
        say(f"{total - len(train)} questions of other splits than train are left out")
    return leave_room(train, source, cfg, tokenizer, model, say)


def leave_room(
    questions: Sequence[Question],
    source: Path,
    cfg: Config,
    tokenizer: Tokenizer,
    model: ModelConfig,
    say: Callable[[str], None],
) -> tuple[list[Question], int]:
    """Return the questions that leave room for an answer, and the tokens of the longest with it.

    What is left out is said. Raises InputError where there are some, and none leaves room.
    """
    context = model.max_position_embeddings
    lengths = [len(prompt_ids(q, tokenizer, cfg)) + cfg.grpo.max_new_tokens for q in questions]
    usable = [q for q, length in zip(questions, lengths, strict=True) if length <= context]
    if questions and not usable:
        raise InputError(
            f"{source}: none of {len(questions)} questions leaves room for grpo.max_new_tokens = "
            f"{cfg.grpo.max_new_tokens} in the model's context of {context}"
        )
    if len(usable) < len(questions):
        left_out = len(questions) - len(usable)
        say(f"{source}: {left_out} questions are too long for the model's context and are left out")
    return usable, max((length for length in lengths if length <= context), default=0)


def read_dev(cfg: Config, say: Callable[[str], None]) -> list[Question]:
    """Return the questions to measure on, drawn by the seed; none where nothing is measured. InputError: no file."""
    if not cfg.grpo.dev_every:
        return []
    if not cfg.dev_file.exists():
        raise InputError(
            f"{cfg.dev_file}: no such file to measure on; name one as data.dev=FILE, or set grpo.dev_every=0"
        )
    found = read_questions(cfg.dev_file, cfg, say)
    return [found[i] for i in permutation(len(found), cfg.seed, "dev")[: cfg.grpo.dev_limit or None]]


def dev_questions(
    cfg: Config, tokenizer: Tokenizer, model: ModelConfig, say: Callable[[str], None], longest: int
) -> tuple[list[Question], int]:
    """Return those of them that leave room for an answer, and `longest`, or the tokens of their longest, if more."""
    usable, length = leave_room(read_dev(cfg, say), cfg.dev_file, cfg, tokenizer, model, say)
    return usable, max(longest, length)
