"""Scoring a model on multiple-choice questions, and the table of a run's stages (the paper's Table 4).

Protocol: chat prompt asking for <think> and <answer>, greedy unless said otherwise, strict parser; an answer that
cannot be read counts as wrong. Left out: other benchmarks' protocols, and log-likelihood scoring.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fleming.answer import format_ok, parse_answer
from fleming.evaluation.statistics import paired_difference, wilson_interval
from fleming.prompt import question_messages, response_text
from fleming.records import Question
from fleming.settings import Config
from model.sampler import Sampler, SamplingParams


def answer_questions(
    sampler: Sampler, questions: Sequence[Question], cfg: Config, on_finish: Callable[[], object] | None = None
) -> list[dict[str, Any]]:
    """Return one record for each sampled answer: prompt, response, parsed answer, gold, whether right, tokens."""
    tokenizer = sampler.tokenizer
    ev = cfg.evaluate
    params = SamplingParams(n=ev.samples, max_new_tokens=ev.max_new_tokens, temperature=ev.temperature, seed=cfg.seed)
    messages = [question_messages(q, cfg.answer_style, cfg.instruction, cfg.system) for q in questions]
    prompts = [tokenizer.encode_chat(m) for m in messages]
    keys = [f"evaluate {q.id}" for q in questions]
    answers = []
    for question, prompt, group in zip(
        questions, messages, sampler.generate(prompts, params, keys, on_finish=on_finish), strict=True
    ):
        for i, sample in enumerate(group):
            response = response_text(sample, tokenizer)
            answer = parse_answer(response, question.options)
            answers.append(
                {
                    "id": question.id,
                    "sample": i,
                    "prompt": prompt,
                    "response": response,
                    "answer": answer,
                    "gold": question.answer,
                    "correct": answer == question.answer,
                    "format": format_ok(response, question.options, cfg.answer_style, sample.finish_reason == "stop"),
                    "finish_reason": sample.finish_reason,
                    "tokens": len(sample.token_ids),
                    "difficulty": question.difficulty,
                    "chance": 1 / len(question.options),
                }
            )
    return answers


def summarise(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return n, accuracy with its 95 % Wilson interval, chance level, abstentions, format rate, mean length.

    With several samples a question the interval treats answers as independent and is too narrow; use one sample.
    """
    n = len(answers)
    right = sum(a["correct"] for a in answers)
    low, high = wilson_interval(right, n)
    by_difficulty = {}
    for grade in sorted({a["difficulty"] for a in answers if a["difficulty"]}):
        of_grade = [a["correct"] for a in answers if a["difficulty"] == grade]
        by_difficulty[grade] = {"n": len(of_grade), "accuracy": sum(of_grade) / len(of_grade)}
    return {
        "n": n,
        "accuracy": right / n,
        "accuracy_low": low,
        "accuracy_high": high,
        "chance": sum(a["chance"] for a in answers) / n,
        "abstained": sum(a["answer"] is None for a in answers) / n,
        "format": sum(a["format"] for a in answers) / n,
        "cut": sum(a["finish_reason"] == "length" for a in answers) / n,
        "mean_tokens": sum(a["tokens"] for a in answers) / n,
        "by_difficulty": by_difficulty,
    }


def compare(before: Sequence[Sequence[dict]], after: Sequence[Sequence[dict]]) -> Any:
    """Return the paired difference in accuracy, after minus before, pooled over runs (one list of answers a run).

    Each run's two lists must answer the same questions in the same order.
    """
    for a, b in zip(before, after, strict=True):
        assert [(x["id"], x["sample"]) for x in a] == [(x["id"], x["sample"]) for x in b], "not the same items"
    flat = [np.array([x["correct"] for run in runs for x in run], dtype=float) for runs in (before, after)]
    strata = np.repeat(np.arange(len(before)), [len(run) for run in before])
    return paired_difference(flat[0], flat[1], strata=strata)


def stage_table(summaries: dict[str, dict[str, Any]]) -> str:
    """Return the table of stages: a row a model, percentages with one decimal."""
    grades = sorted({g for s in summaries.values() for g in s["by_difficulty"]}, key=_grade_order)
    head = ["model", "accuracy [95 % interval]", "chance", *grades, "format", "mean tokens"]
    rows = [head]
    for name, s in summaries.items():
        interval = f"{_percent(s['accuracy'])} [{_percent(s['accuracy_low'])}, {_percent(s['accuracy_high'])}]"
        by_grade = [_percent(s["by_difficulty"][g]["accuracy"]) for g in grades]
        rows.append(
            [name, interval, _percent(s["chance"]), *by_grade, _percent(s["format"]), f"{s['mean_tokens']:.1f}"]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _grade_order(grade: str) -> int:
    return ("easy", "moderate", "difficult").index(grade)
