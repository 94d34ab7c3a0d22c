"""Which questions a step draws: stage 1's balanced mix, stage 2's mix of the model's own failures (section 3.3).

Drawing is counted, not consumed: a pool is a seeded permutation for each pass over it, and a step knows its place
in it, so a resumed run draws what the uninterrupted one would have. Left out: the switch by plateau.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from fleming.noise import shuffled
from fleming.prompt import prompt_ids
from fleming.public.readers import read_questions
from fleming.records import Question
from fleming.settings import Config
from fleming.settings.training import CurriculumConfig
from model.errors import InputError
from model.huggingface.config import ModelConfig
from model.huggingface.tokenizer import Tokenizer

Pools = dict[str, list[int]]  # name -> indices of questions
Mix = dict[str, float]  # name -> parts


def training_questions(
    cfg: Config, tokenizer: Tokenizer, model: ModelConfig, say: Callable[[str], None]
) -> tuple[list[Question], int]:
    """Return the training questions that leave room for an answer, and the tokens of the longest with it.

    What is left out is said. Raises InputError where no question is left.
    """
    source, context = cfg.question_file, model.max_position_embeddings
    questions = read_questions(source, cfg, say)
    if kinds := Counter(q.answer_kind for q in questions if q.answer_kind):
        say(f"{source}: free answers ({', '.join(f'{kind} {count}' for kind, count in kinds.items())})")
    total = len(questions)
    train = [q for q in questions if q.split == "train"]
    if not train:
        raise InputError(f"{source}: no question of {total} has split train; RL learns from no other")
    if len(train) < total:
        say(f"{total - len(train)} questions of other splits than train are left out")

    lengths = [len(prompt_ids(q, tokenizer, cfg)) + cfg.grpo.max_new_tokens for q in train]
    usable = [q for q, length in zip(train, lengths, strict=True) if length <= context]
    if not usable:
        raise InputError(
            f"{source}: none of {len(train)} training questions leaves room for grpo.max_new_tokens = "
            f"{cfg.grpo.max_new_tokens} in the model's context of {context}"
        )
    if len(usable) < len(train):
        say(f"{len(train) - len(usable)} questions are too long for the model's context and are left out")
    return usable, max(length for length in lengths if length <= context)


def stage_pools(
    stage: int, questions: Sequence[Question], pass_rates: Sequence[float] | None, cfg: CurriculumConfig
) -> tuple[Pools, Mix]:
    """Return the pools that the stage draws from, and the parts of each."""
    if stage == 2:
        return stage2_pools(pass_rates), cfg.stage2_mix
    pools = stage1_pools(questions, cfg.hard, cfg.simple)
    if any(pools.values()):
        return pools, cfg.stage1_mix
    return {"ungraded": list(range(len(questions)))}, {"ungraded": 1.0}  # nobody has graded these questions


def stage1_pools(questions: Sequence[Question], hard: Sequence[str], simple: Sequence[str]) -> Pools:
    """Split by graded difficulty. Questions of neither kind (or ungraded) are in no pool."""
    return {
        "hard": [i for i, q in enumerate(questions) if q.difficulty in hard],
        "simple": [i for i, q in enumerate(questions) if q.difficulty in simple],
    }


def stage2_pools(pass_rates: Sequence[float]) -> Pools:
    """Split by the current model's pass rate on each training question: wrong where most of its samples failed."""
    return {
        "wrong": [i for i, rate in enumerate(pass_rates) if rate < 0.5],
        "right": [i for i, rate in enumerate(pass_rates) if rate >= 0.5],
    }


def shares(mix: Mix, pools: Pools, count: int) -> dict[str, int]:
    """Return how many of `count` come from each pool: proportional to `mix`, largest remainders rounded up.

    The part of an empty pool goes to the others, even to those that were to have none.
    """
    present = {name: part for name, part in mix.items() if pools[name] and part > 0}
    present = present or {name: 1.0 for name in mix if pools[name]}
    exact = {name: count * part / sum(present.values()) for name, part in present.items()}
    taken = {name: int(x) for name, x in exact.items()}
    for name in sorted(exact, key=lambda n: taken[n] - exact[n])[: count - sum(taken.values())]:
        taken[name] += 1
    return taken


def draw(pools: Pools, mix: Mix, count: int, stage_step: int, seed: int) -> list[int]:
    """Return the `count` question indices of a stage's step (from 0), each pool's epochs without repeats."""
    drawn = []
    for name, n in shares(mix, pools, count).items():
        drawn += [shuffled(pools[name], stage_step * n + i, seed, name) for i in range(n)]
    return drawn
