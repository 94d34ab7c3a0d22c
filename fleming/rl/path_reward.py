"""A reward for the path beside the answer's: a bounded part for the facts of the question's certificate that the
reasoning states, each with the right relation, direction and polarity.

    grpo.reward=fleming.rl.path_reward:path_reward

- it is paid beside a right answer in the right form alone, so that no wrong answer scores above a right one
- a fact pays once, where a whole sentence says it and nothing else in the text unsays it (fleming/checks/path.py)
- nothing is paid to a text that affirms what the certificate proves wrong, concludes otherwise than it answers, turns
  in a circle, or is longer than a bound: there is nothing to be had by padding

It needs the question's own provenance and no graph. Left out: questions without a certificate are rewarded as by
medical_reward.
"""

from fleming.checks.path import follow_path
from fleming.judge import judge
from fleming.records import Question
from fleming.rl.reward import medical_reward
from fleming.settings import Config
from fleming.text import words

LONGEST_WORD = 20  # characters for each word of the bound, blanks and marks included


def path_reward(response: str, finished: bool, question: Question, cfg: Config) -> dict[str, float]:
    """Return {"correct", "format", "path", "total"} of one response.

    path: the share of the certificate's facts that the reasoning states rightly, 0 where nothing is paid. total:
    medical_reward's, with `grpo.path_weight` times path added.
    """
    parts = medical_reward(response, finished, question, cfg)
    path = path_share(response, question, cfg) if parts["correct"] and parts["format"] else 0.0
    return {**parts, "path": path, "total": parts["total"] + cfg.grpo.path_weight * path}


def path_share(response: str, question: Question, cfg: Config) -> float:
    """Return the share of the certificate's facts that a right and well-formed response is paid for."""
    thought = response.partition("<think>")[2].partition("</think>")[0]
    longest = cfg.grpo.path_max_words
    if len(thought) > LONGEST_WORD * longest or len(words(thought)) > longest:
        return 0.0
    path = follow_path(thought, question, judge(response, True, question, cfg).answer)
    return path.stated / path.facts if path.facts and not path.fault else 0.0
