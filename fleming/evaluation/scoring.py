"""From answers to scores: accuracy with its interval, votes, calibration, robustness to order, and breakdowns.

Every accuracy stands beside its chance level and its number of questions. Left out: the formulas (statistics.py), and
how answers come about (generation.py, loglikelihood.py).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fleming.evaluation.statistics import (
    Interval,
    calibration,
    macro_average,
    maj_at_k,
    mean_interval,
    pass_at_k,
    stderr_of_mean,
    wilson_interval,
)
from fleming.public.benchmarks import PAPER_NINE, LoadedBenchmark, defects, gold_letters
from fleming.records import Question
from fleming.text import can_reorder

Records = Sequence[Mapping[str, Any]]


def question_scores(records: Records) -> dict[str, float]:
    """Return question id -> share of its answers that are right, of what counts, options in the published order."""
    return _scores([r for r in records if r["order"] == 0 and r["counts"]])


def _scores(records: Records) -> dict[str, float]:
    return {name: _share(r["correct"] for r in answers) for name, answers in _by_question(records).items()}


def accuracy(scores: Sequence[float], samples: int) -> Interval:
    """Return the mean score with its 95 % interval.

    One answer a question: Wilson. Several: they are not independent, so the questions are resampled (bootstrap); but
    equal scores, resampled, would show no doubt at all, so where they are equal it is Wilson too.
    """
    if samples > 1 and len(set(scores)) > 1:
        return mean_interval(scores)
    right = sum(scores)
    return Interval(right / len(scores), *wilson_interval(right, len(scores)))


def summarise(loaded: LoadedBenchmark, records: Records) -> dict[str, Any]:
    """Return the scores of one benchmark by one protocol. records: its answers of all orders and samples."""
    asked = [r for r in records if r["order"] == 0]
    shown, everything, headline = [r for r in asked if r["counts"]], _scores(asked), loaded.headline
    scores, by_id = _scores(shown), _by_question(shown)
    samples = len(asked) // len(loaded.questions)
    result = {
        **_scored(headline, scores, samples),
        "samples": samples,
        "stderr": stderr_of_mean(list(scores.values())) if len(scores) > 1 else None,
        "abstained": _share(r["answer"] is None for r in shown),
        "answered_letters": _letters(shown),
        "mean_tokens": sum(r["tokens"] for r in shown) / len(shown),
    }
    if len(headline) < len(loaded.questions):
        result["all_rows"] = _scored(loaded.questions, everything, samples)
    if "finish_reason" in shown[0]:
        result |= {
            "format": _share(r["format"] for r in shown),
            "cut": _share(r["finish_reason"] == "length" for r in shown),
        }
    else:
        result |= {
            "accuracy_by_length": _share(r["correct_by_length"] for r in shown),
            "document": loaded.document,
            "documents_cut_left": sum(r["cut_left"] for r in shown),
        }
    if samples > 1:
        votes = {q.id: Counter(r["choice"] for r in by_id[q.id]) for q in headline}
        result |= _at_k(headline, votes, samples)
    result["calibration"] = _calibration(headline, by_id)
    result["option_order"] = _option_order(headline, [r for r in records if r["counts"]])
    flaws = defects(loaded.questions)
    result["breakdown"] = _breakdown(
        headline, scores, samples, {i for flaw, ids in flaws.items() for i in ids if flaw != "duplicate_stem"}
    )
    result["data"] = {
        "files": [str(path) for path in loaded.files],
        "published_size": loaded.known.size if loaded.known else None,
        "questions": len(loaded.questions),
        "set_aside": loaded.set_aside,
        "defects": {flaw: {"count": len(ids), "ids": ids} for flaw, ids in flaws.items()},
        "gold_letters": gold_letters(headline),
    }
    result["warnings"] = loaded.warnings
    return result


def summarise_all(
    benchmarks: Sequence[LoadedBenchmark], answers: Records
) -> tuple[dict[str, Any], dict[tuple[str, str], dict[str, float]]]:
    """Return the scores of all benchmarks by all protocols with their means, and each question's score.

    The first is {"benchmarks": {name: {protocol: summary}}, "macro": {protocol: unweighted mean of the benchmarks}}.
    """
    given: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for record in answers:
        given[record["benchmark"], record["protocol"]].append(record)
    scores = {name: question_scores(records) for name, records in given.items()}
    protocols = list(dict.fromkeys(protocol for _, protocol in given))
    found = {b.name: {p: summarise(b, given[b.name, p]) for p in protocols} for b in benchmarks}
    means = {}
    for protocol in protocols if len(benchmarks) > 1 else ():
        groups = [[scores[b.name, protocol][q.id] for q in b.headline] for b in benchmarks]
        mean = _macro(groups, [found[b.name][protocol]["samples"] for b in benchmarks])
        means[protocol] = {
            "of": [b.name for b in benchmarks],
            "papers_nine": {b.name for b in benchmarks} == set(PAPER_NINE) and not any(b.warnings for b in benchmarks),
            "n": sum(len(b.headline) for b in benchmarks),
            "accuracy": mean.value,
            "accuracy_low": mean.low,
            "accuracy_high": mean.high,
            **{
                level: sum(found[b.name][protocol][level] for b in benchmarks) / len(benchmarks)
                for level in ("chance", "commonest_letter")
            },
        }
    return {"benchmarks": found, "macro": means}, scores


def _macro(groups: Sequence[Sequence[float]], samples: Sequence[int]) -> Interval:
    """Return the mean of the benchmarks' means: macro_average, a bootstrap within each benchmark.

    Where a benchmark's scores are all equal there is nothing to resample in it; then the benchmarks' own intervals are
    added in quadrature, each side for itself (Zou & Donner, Stat. Med. 27 (2008) 1693: MOVER for a sum).
    """
    if all(len(set(group)) > 1 for group in groups):
        return macro_average(groups)
    each = [accuracy(group, n) for group, n in zip(groups, samples, strict=True)]
    value = sum(i.value for i in each) / len(each)
    below = math.sqrt(sum((i.value - i.low) ** 2 for i in each)) / len(each)
    above = math.sqrt(sum((i.high - i.value) ** 2 for i in each)) / len(each)
    return Interval(value, max(0.0, value - below), min(1.0, value + above))


def _share(flags: Iterable[bool]) -> float:
    counted = list(flags)
    return sum(counted) / len(counted)


def _letters(records: Records) -> dict[str, float]:
    """Return letter -> share of the answers; what is missing to 1 are abstentions."""
    counts = Counter(r["answer"] for r in records if r["answer"] is not None)
    return {letter: counts[letter] / len(records) for letter in sorted(counts)}


def _by_question(records: Records) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for record in records:
        found[record["id"]].append(record)
    return found


def _scored(questions: Sequence[Question], scores: Mapping[str, float], samples: int) -> dict[str, Any]:
    found = accuracy([scores[q.id] for q in questions], samples)
    return {
        "n": len(questions),
        "accuracy": found.value,
        "accuracy_low": found.low,
        "accuracy_high": found.high,
        "chance": sum(1 / len(q.options) for q in questions) / len(questions),
        "commonest_letter": max(Counter(q.answer for q in questions).values()) / len(questions),
    }


def _at_k(questions: Sequence[Question], votes: Mapping[str, Counter], samples: int) -> dict[str, Any]:
    """pass@k and maj@k for k = 1, 2, 4, ... and all samples: means over questions, from the published letters."""
    sizes = sorted({2**i for i in range(samples.bit_length())} | {samples})
    mean = {
        "pass_at_k": {k: sum(pass_at_k(samples, votes[q.id][q.answer], k) for q in questions) for k in sizes},
        "pass_at_k_by_chance": {k: sum(1 - (1 - 1 / len(q.options)) ** k for q in questions) for k in sizes},
        "maj_at_k": {k: sum(maj_at_k(votes[q.id], q.answer, k) for q in questions) for k in sizes},
    }
    return {name: {str(k): v / len(questions) for k, v in by_k.items()} for name, by_k in mean.items()}


def _calibration(questions: Sequence[Question], by_id: Mapping[str, Records]) -> dict[str, Any] | None:
    """ECE and Brier score, of the options' likelihoods or of the shares of votes; None for one answer a question."""
    rows = []
    for q in questions:
        records = by_id[q.id]
        if "loglikelihoods" in records[0]:
            best = max(records[0]["loglikelihoods"].values())
            weights = [math.exp(value - best) for value in records[0]["loglikelihoods"].values()]
            rows.append([w / sum(weights) for w in weights])
        elif len(records) > 1:
            rows.append([sum(r["choice"] == letter for r in records) / len(records) for letter in q.options])
        else:
            return None
    found = calibration(rows, [list(q.options).index(q.answer) for q in questions])
    of = "likelihoods of the options" if "loglikelihoods" in by_id[questions[0].id][0] else "shares of votes"
    return {"of": of, "ece": found.ece, "brier": found.brier, "bins": [list(b) for b in found.bins]}


def _option_order(questions: Sequence[Question], records: Records) -> dict[str, Any] | None:
    """How much the order of the options matters, over the questions that were asked in all orders.

    consistency: share of questions whose first sample chooses the same option in every order. spread: largest less
    smallest accuracy of an order.
    """
    first: dict[int, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for record in records:
        if record["sample"] == 0:
            first[record["order"]][record["id"]] = record
    if len(first) < 2:
        return None
    asked = [q.id for q in questions if all(q.id in answers for answers in first.values())]
    if not asked:
        return None
    choices = {i: {answers[i]["choice"] for answers in first.values()} for i in asked}
    accuracies = [_share(first[order][i]["correct"] for i in asked) for order in sorted(first)]
    return {
        "orders": len(first),
        "questions": len(asked),
        "left_out": sum(not can_reorder(q.options) for q in questions),
        "chance": sum(1 / len(q.options) for q in questions if q.id in choices) / len(asked),
        "accuracies": accuracies,
        "spread": max(accuracies) - min(accuracies),
        "consistency": _share(len(chosen) == 1 and None not in chosen for chosen in choices.values()),
    }


def _groups(question: Question, flawed: set[str]) -> dict[str, str]:
    """Return dimension -> the group that the question belongs to, of what its record says."""
    provenance = question.provenance or {}
    found = {
        "source": question.source,
        "language": question.language,
        "difficulty": question.difficulty,
        "rare_entity": provenance.get("rare"),
        "hops": provenance.get("hops"),
        "flawed": question.id in flawed,
        **(groups if isinstance(groups := provenance.get("groups"), dict) else {}),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _breakdown(
    questions: Sequence[Question], scores: Mapping[str, float], samples: int, flawed: set[str]
) -> dict[str, dict[str, Any]]:
    """Return dimension -> group -> scores, for the dimensions that divide the questions."""
    members: dict[str, dict[str, list[Question]]] = defaultdict(lambda: defaultdict(list))
    for q in questions:
        for dimension, group in _groups(q, flawed).items():
            members[dimension][group].append(q)
    return {
        dimension: {group: _scored(those, scores, samples) for group, those in sorted(groups.items())}
        for dimension, groups in members.items()
        if len(groups) > 1
    }
