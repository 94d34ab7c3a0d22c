"""Rollouts: sample a group of answers for each question, reward each, compare within the group."""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from fleming.answer import parse_answer
from fleming.prompt import prompt_ids, response_text
from fleming.records import Question, Rollout
from fleming.rl.grpo import group_advantages
from fleming.rl.reward import Reward
from fleming.settings import Config
from model.sampler import Sample, Sampler, SamplingParams


@dataclass(frozen=True)
class Scored:
    """A sample with its prompt, text and reward parts."""

    prompt_ids: list[int]
    sample: Sample
    response: str
    reward: dict[str, float]


def sample_and_score(
    sampler: Sampler,
    questions: Sequence[Question],
    params: SamplingParams,
    reward: Reward,
    cfg: Config,
    key: str,
    on_finish: Callable[[], object] | None = None,
) -> list[list[Scored]]:
    """Return params.n scored answers for each question. `key` sets this call's noise apart from other calls'.

    on_finish() is called as each answer ends.

    A reward that raises is reported with its sample and counts as 0: one bad answer must not end a run.
    """
    prompts = [prompt_ids(q, sampler.tokenizer, cfg) for q in questions]
    keys = [f"{key} {i} {q.id}" for i, q in enumerate(questions)]
    groups = sampler.generate(prompts, params, keys, on_finish=on_finish)
    scored = []
    for question, prompt, group in zip(questions, prompts, groups, strict=True):
        scored.append([])
        for i, sample in enumerate(group):
            text = response_text(sample, sampler.tokenizer)
            try:
                parts = reward(text, sample.finish_reason == "stop", question, cfg)
                parts = {name: float(parts[name]) for name in ("correct", "format", "total")}
                if not all(map(math.isfinite, parts.values())):
                    raise ValueError(f"not finite: {parts}")
            except Exception as error:
                print(f"reward failed, counted as 0: {question.id}, sample {i}: {error!r}: {text!r}", file=sys.stderr)
                parts = {"correct": 0.0, "format": 0.0, "total": 0.0}
            scored[-1].append(Scored(prompt, sample, text, parts))
    return scored


def make_rollouts(
    sampler: Sampler,
    questions: Sequence[Question],
    params: SamplingParams,
    reward: Reward,
    cfg: Config,
    step: int,
    stage: int,
) -> list[Rollout]:
    """Sample params.n answers for each question; return them with rewards and advantages, group after group."""
    scored = sample_and_score(sampler, questions, params, reward, cfg, f"step {step}")
    rewards = torch.tensor([[s.reward["total"] for s in group] for group in scored], dtype=torch.float64)  # [Q, G]
    advantages = group_advantages(rewards, cfg.grpo.loss.normalize_std)
    return [
        Rollout(
            step=step,
            stage=stage,
            question_id=question.id,
            group=g,
            sample=i,
            seed=params.seed,
            prompt_ids=s.prompt_ids,
            token_ids=s.sample.token_ids,
            logprobs=s.sample.logprobs,
            finish_reason=s.sample.finish_reason,
            response=s.response,
            answer=parse_answer(s.response, question.options),
            reward=s.reward,
            advantage=advantages[g, i].item(),
        )
        for g, (question, group) in enumerate(zip(questions, scored, strict=True))
        for i, s in enumerate(group)
    ]


def describe_group(question: Question, group: Sequence[Rollout]) -> str:
    """Return one group as a person would want to see it: the question, the best answer and the worst."""
    lines = [f"--- step {group[0].step}, {question.id}, right answer {question.answer}"]
    lines += [question.question, "  ".join(f"{letter}. {text}" for letter, text in question.options.items())]
    lines.append("rewards " + " ".join(f"{r.reward['total']:.1f}" for r in group))
    best = max(group, key=lambda r: r.reward["total"])
    worst = min(group, key=lambda r: r.reward["total"])
    for rollout in (best,) if best.advantage == worst.advantage else (best, worst):
        lines.append(f"[reward {rollout.reward['total']:.1f}, advantage {rollout.advantage:+.2f}] {rollout.response}")
    return "\n".join(lines)
