"""The reward (paper, section 3.3): correctness of the final answer and the required format. Length never enters.

A reward of one's own is a `module:function` with medical_reward's signature, named in the config.
"""

import math
from collections.abc import Callable

from fleming.judge import judge, load_function
from fleming.records import Question
from fleming.settings import Config
from model.errors import InputError

Reward = Callable[[str, bool, Question, Config], dict[str, float]]


def medical_reward(response: str, finished: bool, question: Question, cfg: Config) -> dict[str, float]:
    """Return {"correct", "format", "total"} of one response.

    correct: 1 where the answer is the question's, by option, number, text or a checker of one's own. format: 1 where
    the response is one think block, then one answer block in the asked style; a response that was cut (not `finished`)
    scores 0 for format. total: their sum under the config's weights.
    """
    verdict = judge(response, finished, question, cfg)
    correct, form = float(verdict.correct), float(verdict.well_formed)
    total = cfg.grpo.correct_weight * correct + cfg.grpo.format_weight * form
    return {"correct": correct, "format": form, "total": total}


def load_reward(name: str) -> Reward:
    """Return the function that "module:function" names. Raises InputError where it cannot be found."""
    return load_function(name, "grpo.reward")


def reward_parts(
    reward: Reward, response: str, finished: bool, question: Question, cfg: Config
) -> dict[str, float]:
    """Return "correct", "format", "total" of one response, and what other numbers the reward gives by name.

    Raises ValueError for numbers that are not finite.
    """
    given = reward(response, finished, question, cfg)
    others = [name for name, value in given.items() if isinstance(value, int | float)]
    parts = {name: float(given[name]) for name in ("correct", "format", "total", *others)}
    if not all(map(math.isfinite, parts.values())):
        raise ValueError(f"not finite: {parts}")
    return parts


def try_reward(reward: Reward, question: Question, cfg: Config) -> None:
    """Call the reward once, on a right response. Raises InputError where it fails: so it would at every answer."""
    response = f"<think>\nA trial.\n</think>\n<answer>{question.answer}</answer>"
    try:
        reward_parts(reward, response, True, question, cfg)
    except Exception as error:  # whatever the user's function raises
        raise InputError(
            f"grpo.reward={cfg.grpo.reward}: a trial call on question {question.id} failed: {error!r}; expected a "
            "function(response, finished, question, cfg) that returns numbers correct, format and total"
        ) from error
