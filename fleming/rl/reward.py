"""The reward (paper, section 3.3): correctness of the final answer and the required format. Length never enters.

A reward of one's own is a `module:function` with medical_reward's signature, named in the config.
"""

import importlib
import os
import sys
from collections.abc import Callable

from fleming.answer import format_ok, parse_answer
from fleming.records import Question
from fleming.settings import Config
from model.errors import InputError

Reward = Callable[[str, bool, Question, Config], dict[str, float]]


def medical_reward(response: str, finished: bool, question: Question, cfg: Config) -> dict[str, float]:
    """Return {"correct", "format", "total"} of one response.

    correct: 1 where the parsed answer is the question's. format: 1 where the response is one think block, then one
    answer block in the asked style; a response that was cut (not `finished`) scores 0 for format. total: their sum
    under the config's weights.
    """
    correct = float(parse_answer(response, question.options) == question.answer)
    form = float(format_ok(response, question.options, cfg.answer_style, finished))
    total = cfg.grpo.correct_weight * correct + cfg.grpo.format_weight * form
    return {"correct": correct, "format": form, "total": total}


def load_reward(name: str) -> Reward:
    """Return the function that "module:function" names. Raises InputError where it cannot be found."""
    module, _, function = name.partition(":")
    # A script looks for modules beside itself, a user has his own where he works.
    sys.path.append(os.getcwd())
    try:
        reward = getattr(importlib.import_module(module), function)
    except Exception as error:  # whatever a module of the user's raises while it is imported
        message = f"grpo.reward={name}: cannot be imported ({error}); expected module:function"
        raise InputError(message) from error
    if not callable(reward):
        raise InputError(f"grpo.reward={name} is not a function")
    return reward
