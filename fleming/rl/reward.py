"""The reward (paper, section 3.3): correctness of the final answer and the required format. Length never enters,
unless grpo.overlong is penalty.

A reward of one's own is a `module:function` with medical_reward's signature, named in the config. It returns any finite
numbers by name, "total" among them. Left out: what happens to one that raises (fleming/rl/rollout.py: Actor).
"""

import math
import numbers
import reprlib
from collections.abc import Callable, Mapping

from fleming.judge import judge, load_function
from fleming.records import Question
from fleming.settings import Config
from model.errors import InputError

Reward = Callable[[str, bool, Question, Config], dict[str, float]]
NOTHING = {"correct": 0.0, "format": 0.0, "total": 0.0}  # of an answer on which the reward raises


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
    """Return what numbers the reward gives by name to one response, "correct", "format" and "total" always among them.

    "correct" and "format", where the reward does not name them, are the judge's own verdict. Raises what the reward
    raises, TypeError for what is no dict of name -> number (true and false are none), ValueError for a number that is
    not finite and where "total" is missing.
    """
    given = reward(response, finished, question, cfg)
    if not isinstance(given, Mapping):
        raise TypeError(f"expected a dict of numbers, returned {reprlib.repr(given)}")
    for name, value in given.items():
        if not isinstance(name, str) or not name.isprintable():
            raise TypeError(f"expected names of printable text, returned {reprlib.repr(name)}")
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"{name}: expected a number (write float(...)), returned {reprlib.repr(value)}")
    parts = {name: float(value) for name, value in given.items()}
    if not all(map(math.isfinite, parts.values())):
        raise ValueError(f"not finite: {parts}")
    if "total" not in parts:
        raise ValueError(f"total is missing; returned {', '.join(parts) or 'nothing'}")
    if not {"correct", "format"} <= parts.keys():
        verdict = judge(response, finished, question, cfg)
        parts = {"correct": float(verdict.correct), "format": float(verdict.well_formed), **parts}
    return parts


def whole_reward(
    reward: Reward, response: str, finished: bool, length: int, question: Question, cfg: Config
) -> dict[str, float]:
    """Return `reward_parts`; where the setting asks for it, the penalty of its `length` tokens too (DAPO Eq. 13).

    "overlong": 0 up to max_new_tokens - overlong_buffer, then falling evenly, to -1 at max_new_tokens. It is added to
    "total". Raises as `reward_parts`, and ValueError where the reward itself names a part "overlong".
    """
    parts, rl = reward_parts(reward, response, finished, question, cfg), cfg.grpo
    if rl.overlong != "penalty":
        return parts
    if "overlong" in parts:
        raise ValueError(
            "overlong is a part of this reward's own: name it otherwise, or set grpo.overlong to keep"
        )
    over = length - (rl.max_new_tokens - rl.overlong_buffer)
    penalty = -min(1.0, max(0.0, over / rl.overlong_buffer))
    return {**parts, "overlong": penalty, "total": parts["total"] + penalty}


def try_reward(reward: Reward, question: Question, cfg: Config) -> None:
    """Call the reward once, on a right response. Raises InputError where it fails: so it would at every answer."""
    response = f"<think>\nA trial.\n</think>\n<answer>{question.answer}</answer>"
    try:
        whole_reward(reward, response, True, 0, question, cfg)
    except (Exception, SystemExit) as error:  # whatever the user's function raises
        raise InputError(
            f"grpo.reward={cfg.grpo.reward}: a trial call on question {question.id} failed: {error!r}; expected a "
            "function(response, finished, question, cfg) that returns a dict of finite numbers, total among them"
        ) from error
