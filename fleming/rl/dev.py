"""How RL does on questions that it does not learn from, while it runs: greedy answers to data/dev.jsonl.

The best checkpoint is the one of the highest accuracy here. Left out: benchmarks (evaluate.py).
"""

from fleming.evaluation.statistics import wilson_interval
from fleming.records import Question
from fleming.rl.rollout import Actor


def measure(actor: Actor, questions: list[Question], step: int) -> dict[str, float]:
    """Return dev_accuracy, the share of right greedy answers, its 95 % interval (Wilson), and dev_format."""
    name, greedy = f"dev, step {step}", actor.params(1, temperature=0.0)
    answers = actor.answer(list(enumerate(questions)), greedy, name, lambda scored: scored.reward, name)
    found = [reward for [reward] in answers]
    right, n = sum(reward["correct"] > 0.5 for reward in found), len(found)
    low, high = wilson_interval(right, n)
    formed = sum(reward["format"] for reward in found) / n
    return {"dev_accuracy": right / n, "dev_low": low, "dev_high": high, "dev_format": formed}
