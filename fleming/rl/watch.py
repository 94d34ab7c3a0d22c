"""Watches RL for collapse and for hacked rewards: what a step's answers look like, and one warning a run of each fault.

- each quantity is defined once, here, in sampled.py or in training/metrics.py, and stands in the step's record
- what warns, and from where on, is a row of assets/watch.yaml, held against the last steps: one has few answers
- these steps, the run's first ones and what was warned of are checkpoint state: a killed run says what a whole one does
- left out: stopping a run, or changing a reward. Nothing that is trained depends on any of this
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from fleming.answer import TAGS
from fleming.assets import load_table
from fleming.records import Question, Rollout
from fleming.rl.sampled import Sampled
from fleming.text import words
from fleming.training.metrics import means
from fleming.training.run import Run

TABLE = load_table("watch.yaml")
WINDOW, FIRST = TABLE["window"], TABLE["first"]  # steps


def watch(run: Run, record: dict, sampled: Sampled) -> dict[str, float]:
    """Return what the step's record is to hold beside `record`; warn, once a run, of what has gone beyond its bound.

    record: the step's so far, of all ranks. Of `run` only the state changes. Returned are flat_groups, the share of
    groups whose answers all have one reward; the shares of the answers with each of `habits`; letter_distance, over the
    last steps.
    """
    state, rollouts, questions = run.state, sampled.rollouts, sampled.shown
    options = {group: option_words(question) for group, question in questions.items()}
    measured = means([habits(r.response, options[r.group]) for r in rollouts])
    measured["flat_groups"] = 1 - record["groups_with_variance"] / record["groups"]

    per_token = record["response_length"] if run.cfg.grpo.loss.aggregation == "sequence_sum" else 1.0
    compared = {**record, **measured, "kl_per_token": record.get("kl", math.nan) / per_token}
    wanted = {row["of"]: compared.get(row["of"], math.nan) for row in TABLE["warnings"].values()}
    wanted = {name: value for name, value in wanted.items() if math.isfinite(value)}
    letters = letters_of(rollouts, questions)
    for name, new in (("watched", wanted), ("watched_letters", letters)):
        state[name] = [*state.get(name, []), new][-WINDOW:]
    if len(state["watched"]) == FIRST:
        state["watched_first"] = means(state["watched"])

    distance, chance = letter_distance(state["watched_letters"])
    now = means(state["watched"]) | {"letters_beyond_chance": distance if distance > chance else 0.0}
    warned = state.setdefault("warned", [])
    for name, said in beyond(now, state.get("watched_first", {})):
        if len(state["watched"]) == WINDOW and name not in warned:
            warned.append(name)
            run.show(f"watch: step {record['step']}: {said}")
    return measured | {"letter_distance": distance}


def beyond(now: Mapping[str, float], first: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Yield the name of each row of the table whose bound is reached, and what it says.

    now: means over the last steps. first: those over the run's first ones, which the relative rows divide by.
    """
    for name, row in TABLE["warnings"].items():
        value, unit = now.get(row["of"], math.nan), ""
        if row.get("relative"):
            value /= first.get(row["of"], 0.0) or math.nan
            unit = f" times what it was in the first {FIRST}"
        if value >= row.get("at_least", math.inf) or value <= row.get("at_most", -math.inf):
            yield name, f"{row['says']} ({row['of']} is {value:.2g} over the last {WINDOW} steps{unit})"


def habits(response: str, options: set[str]) -> dict[str, bool]:
    """Return what is odd about a response, in time linear in its length. options: `option_words` of its question.

    several_answers: there are several <answer> tags. Of what stands between the first <think> and the next tag,
    empty_thinking: it has no letter and no digit; echoed_options: the share `echo` of its words are the options'.
    """
    pieces = TAGS.split(response)
    tags = [tag.lower() for tag in pieces[1::2]]
    thinks = "<think>" in tags
    thought = words(pieces[2 * tags.index("<think>") + 2]) if thinks else []
    echoed = sum(word in options for word in thought)
    return {
        "several_answers": tags.count("<answer>") > 1,
        "empty_thinking": thinks and not thought,
        "echoed_options": bool(thought) and echoed >= TABLE["echo"] * len(thought),
    }


def option_words(question: Question) -> set[str]:
    """Return the words of all options, their letters included."""
    return {word for letter, text in question.options.items() for word in words(f"{letter} {text}")}


def letters_of(rollouts: Sequence[Rollout], questions: Mapping[int, Question]) -> dict[str, list[int]]:
    """Return letter -> [answers that chose it, questions whose right answer it is], where any answer chose one."""
    chose = [r for r in rollouts if r.answer and questions[r.group].options]
    chosen = Counter(r.answer for r in chose)
    right = Counter(questions[group].answer for group in {r.group for r in chose})
    return {letter: [chosen[letter], right[letter]] for letter in sorted(chosen | right)}


def letter_distance(steps: Sequence[Mapping[str, Sequence[int]]]) -> tuple[float, float]:
    """Return how far the letters chosen lie from the right ones, and how far chance may carry them.

    steps: `letters_of` each. The first is the total variation distance of the two distributions, 0 (the same) to 1.
    Where both are drawn from one, it passes the second with a probability below 2 `improbable`: of n questions with k
    letters a side strays by e with one below 2^k exp(-2 n e^2) (Hoeffding's inequality for each set of letters), even
    where all answers to a question are alike. (0, 1) where none was chosen.
    """
    chosen, right = Counter(), Counter()
    for step in steps:
        chosen.update({letter: count for letter, (count, _) in step.items()})
        right.update({letter: count for letter, (_, count) in step.items()})
    if not chosen.total():
        return 0.0, 1.0
    n, letters = right.total(), chosen | right
    distance = sum(abs(chosen[x] / chosen.total() - right[x] / n) for x in letters) / 2
    return distance, 2 * math.sqrt((len(letters) * math.log(2) - math.log(TABLE["improbable"])) / (2 * n))
