"""From answers to scores: accuracy with its interval, votes, calibration, robustness to order, and breakdowns.

Every accuracy stands beside its chance level and its number of questions. Left out: the formulas (statistics.py), and
how answers come about (generation.py, loglikelihood.py).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleming.evaluation.annotations import Annotations, score_by_raters
from fleming.evaluation.answers import Answer
from fleming.evaluation.at_k import maj_at_k, pass_at_k, sizes
from fleming.evaluation.process import process_scores
from fleming.evaluation.reliability import reliability
from fleming.evaluation.statistics import Interval, calibration, mean_interval, stderr_of_mean
from fleming.evaluation.votes import Questions, Score, Votes, mean, score_of, votes_of
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.public.benchmarks import PAPER_NINE, LoadedBenchmark, defects, gold_letters
from fleming.public.own import plain
from fleming.public.values import FORMS
from fleming.records import DIFFICULTIES, LETTERS, Question
from fleming.text import can_reorder

SLICES = {plain(name) for name in FORMS["slices"]}


@dataclass(frozen=True)
class Result:
    """What one model did on a benchmark by a protocol, or in the mean of several."""

    benchmark: str
    protocol: str
    score: Score
    questions: Questions
    """What the score is of; empty for a mean."""
    details: dict[str, Any]
    """What else results.json says of it; scores of parts are a Score."""


def summarise(
    loaded: LoadedBenchmark,
    answers: Sequence[Answer],
    annotations: Annotations | None = None,
    graph: KnowledgeGraph | None = None,
) -> Result:
    """Return the result of one benchmark by one protocol. answers: to it, of all orders and samples."""
    counted = [a for a in answers if a.counts]
    shown = [a for a in counted if a.as_published]
    questions, everything = votes_of(shown), votes_of(answers)
    scores = [q.score for q in questions.values()]
    samples = max(q.answers for q in questions.values())
    headline, flaws = loaded.headline, defects(loaded.questions)
    flawed = {name for flaw, ids in flaws.items() if flaw != "duplicate_stem" for name in ids}

    details: dict[str, Any] = {
        "samples": samples,
        "stderr": stderr_of_mean(scores) if len(scores) > 1 else None,
        "abstained": mean(a.answer is None for a in shown),
        "answered_letters": _letters(shown),
        "mean_tokens": mean(a.tokens for a in shown),
    }
    if len(questions) < len(everything):
        details["all_rows"] = score_of(everything.values())
    if shown[0].protocol == "cot":
        details["format"] = mean(a.format for a in shown)
        details["cut"] = mean(a.finish_reason == "length" for a in shown)
        if shown[0].forced is not None:
            details["forced"] = mean(bool(a.forced) for a in shown)
        details["process"] = process_scores({q.id: q for q in headline}, shown, graph)
    else:
        details["accuracy_by_length"] = mean(a.correct_by_length for a in shown)
        details["document"] = loaded.document
        details["documents_cut_left"] = sum(a.cut_left for a in shown)
    if samples > 1:
        details |= _at_k(questions.values(), samples)
    details["calibration"] = _calibration(shown, questions.values(), samples)
    details["option_order"] = _option_order(headline, [a for a in counted if not a.variant])
    if row := reliability(headline, counted):
        details["reliability"] = row
    details["breakdown"] = _breakdown(headline, questions, flawed)
    if annotations:
        details["raters"] = score_by_raters(headline, questions, annotations)
    details["data"] = {
        "files": [str(path) for path in loaded.files],
        "published_size": loaded.known.size if loaded.known else None,
        "questions": len(loaded.questions),
        "set_aside": loaded.set_aside,
        "defects": {flaw: {"count": len(ids), "ids": ids} for flaw, ids in flaws.items()},
        "gold_letters": gold_letters(headline),
    }
    details["warnings"] = loaded.warnings
    return Result(loaded.name, shown[0].protocol, score_of(questions.values()), questions, details)


def summarise_all(
    benchmarks: Sequence[LoadedBenchmark],
    answers: Iterable[Answer],
    annotations: Mapping[str, Annotations] | None = None,
    graph: KnowledgeGraph | None = None,
) -> list[Result]:
    """Return the results of each benchmark by each protocol, and behind them each protocol's mean of several.

    annotations: benchmark -> what people say of its questions. graph: what the answers' claims are checked against.
    """
    given: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for answer in answers:
        given[answer.benchmark, answer.protocol].append(answer)
    protocols = list(dict.fromkeys(protocol for _, protocol in given))
    said = annotations or {}
    results = [summarise(b, given[b.name, p], said.get(b.name), graph) for b in benchmarks for p in protocols]
    if len(benchmarks) > 1:
        complete = not any(benchmark.warnings for benchmark in benchmarks)
        by_protocol = [[r for r in results if r.protocol == p] for p in protocols]
        results += [_mean_result(found, complete) for found in by_protocol]
    return results


def _mean_result(results: Sequence[Result], complete: bool) -> Result:
    """Return the unweighted mean of the results by one protocol, and what it is without the smallest third of them."""
    names = [result.benchmark for result in results]
    details: dict[str, Any] = {"of": names, "papers_nine": complete and set(names) == set(PAPER_NINE)}
    smallest_first = sorted(results, key=lambda result: result.score.n)
    if left_out := smallest_first[: len(results) // 3]:
        rest = mean_score([result.score for result in results if result not in left_out])
        details["without_smallest"] = {"left_out": [result.benchmark for result in left_out], "score": rest}
    score = mean_score([result.score for result in results])
    return Result(f"mean of {len(names)}", results[0].protocol, score, {}, details)


def mean_score(scores: Sequence[Score]) -> Score:
    """Return the unweighted mean of benchmarks' scores."""
    interval = mean_interval([Interval(s.accuracy, s.accuracy_low, s.accuracy_high) for s in scores])
    return Score(
        n=sum(s.n for s in scores),
        accuracy=interval.value,
        accuracy_low=interval.low,
        accuracy_high=interval.high,
        chance=mean(s.chance for s in scores),
        commonest_letter=mean(s.commonest_letter for s in scores),
    )


def _letters(answers: Sequence[Answer]) -> dict[str, float]:
    """Return letter -> share of the answers; what is missing to 1 are abstentions and free answers."""
    counts = Counter(a.answer for a in answers if a.answer is not None and a.options)
    return {letter: counts[letter] / len(answers) for letter in sorted(counts)}


def _at_k(questions: Collection[Votes], samples: int) -> dict[str, dict[str, float]]:
    """pass@k and maj@k for k = 1, 2, 4, ... and all samples: means over questions."""
    passes, by_chance, majority = {}, {}, {}
    for k in sizes(samples):
        passes[str(k)] = mean(pass_at_k(samples, q.of[q.gold], k) for q in questions)
        by_chance[str(k)] = mean(1 - (1 - q.chance) ** k for q in questions)
        majority[str(k)] = mean(maj_at_k(q.of, q.gold, k) for q in questions)
    return {"pass_at_k": passes, "pass_at_k_by_chance": by_chance, "maj_at_k": majority}


def _calibration(
    shown: Sequence[Answer], questions: Collection[Votes], samples: int
) -> dict[str, Any] | None:
    """ECE and Brier score, of the options' likelihoods or shares of votes; None for one answer each, or free ones."""
    if shown[0].loglikelihoods:
        of = "likelihoods of the options"
        rows = [_softmax(a.loglikelihoods.values()) for a in shown]
    elif samples > 1 and all(q.options for q in questions):
        of = "shares of votes"
        rows = [q.shares for q in questions]
    else:
        return None
    found = calibration(rows, [LETTERS.index(q.gold) for q in questions])
    return {"of": of, **vars(found)}


def _softmax(logprobs: Collection[float]) -> list[float]:
    best = max(logprobs)
    weights = [math.exp(value - best) for value in logprobs]
    return [weight / sum(weights) for weight in weights]


def _option_order(questions: Sequence[Question], answers: Iterable[Answer]) -> dict[str, Any] | None:
    """How much the order of the options matters, over the questions that were asked in all orders.

    consistency: share of questions whose first sample chooses the same option in every order. spread: largest less
    smallest accuracy of an order.
    """
    first: dict[int, dict[str, Answer]] = defaultdict(dict)
    for answer in answers:
        if answer.sample == 0:
            first[answer.order][answer.id] = answer
    asked = [q for q in questions if all(q.id in by_id for by_id in first.values())]
    if len(first) < 2 or not asked:
        return None

    orders = [[by_id[q.id] for q in asked] for _, by_id in sorted(first.items())]
    accuracies = [mean(a.correct for a in by_order) for by_order in orders]
    choices = [{a.choice for a in of_question} for of_question in zip(*orders, strict=True)]
    return {
        "orders": len(orders),
        "questions": len(asked),
        "left_out": sum(not can_reorder(q.options) for q in questions),
        "chance": mean(1 / len(q.options) for q in asked),
        "accuracies": accuracies,
        "spread": max(accuracies) - min(accuracies),
        "consistency": mean(len(chosen) == 1 and None not in chosen for chosen in choices),
    }


def _groups(question: Question, flawed: bool) -> dict[str, Any]:
    """Return dimension -> the group that the question belongs to, of what its record says; None: of none."""
    provenance = question.provenance or {}
    own = provenance.get("groups")
    return {
        "source": question.source,
        "language": question.language,
        "difficulty": question.difficulty,
        "rare_entity": provenance.get("rare"),
        "hops": provenance.get("hops"),
        "kind": provenance.get("kind"),
        "clues_needed": _clues_needed(provenance),
        "flawed": flawed,
        **(own if isinstance(own, dict) else {}),
        # What a set of one's own says beside its questions; a long text is no group's name.
        **{
            name: value
            for name, value in question.extra.items()
            if plain(name) in SLICES and isinstance(value, str | int) and len(str(value)) <= 80
        },
    }


def _clues_needed(provenance: dict[str, Any]) -> int | None:
    """Return how many of a patient's clues are such that without it another option would stand; None for no patient."""
    clues = provenance.get("clues")
    if not clues or not isinstance(clues, list):
        return None
    return sum(isinstance(clue, dict) and str(clue.get("needed")).startswith("without") for clue in clues)


def _in_order(group: str) -> tuple[int, int, str]:
    """Sort what a group is called: the grades from easy to difficult, numbers by size, all else by name."""
    if group in DIFFICULTIES:
        return 0, DIFFICULTIES.index(group), group
    return (1, len(group), group) if group.isdecimal() else (2, 0, group)


def _breakdown(
    questions: Sequence[Question], votes: Questions, flawed: set[str]
) -> dict[str, dict[str, Score]]:
    """Return dimension -> group -> score, for the dimensions that divide the questions."""
    members: dict[str, dict[str, list[Votes]]] = defaultdict(lambda: defaultdict(list))
    for q in questions:
        for dimension, group in _groups(q, q.id in flawed).items():
            if group is not None:
                members[dimension][str(group)].append(votes[q.id])
    return {
        dimension: {group: score_of(groups[group]) for group in sorted(groups, key=_in_order)}
        for dimension, groups in members.items()
        if len(groups) > 1
    }
