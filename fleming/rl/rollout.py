"""Rollouts: sample a group of answers for each question, reward each, compare within the group, pack for the update."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fleming.answer import parse_answer
from fleming.prompt import prompt_ids, response_text
from fleming.records import Question, Rollout
from fleming.rl.grpo import group_advantages
from fleming.rl.reward import Reward
from fleming.settings import Config
from fleming.training.packing import PackedBatch, micro_batches, pack
from fleming.training.parallel import World
from model.sampler import OnFinish, Sample, Sampler, SamplingParams


@dataclass(frozen=True)
class Scored:
    """A sample with its prompt, text and reward parts."""

    prompt_ids: list[int]
    sample: Sample
    response: str
    reward: dict[str, float]


def sample_and_score(
    sampler: Sampler,
    numbered: Sequence[tuple[int, Question]],
    params: SamplingParams,
    reward: Reward,
    cfg: Config,
    key: str,
    on_finish: OnFinish | None = None,
) -> list[list[Scored]]:
    """Return params.n scored answers for each question.

    A question comes with its place among all of the step's, of which other ranks have the rest: with `key`, which
    sets this call apart from others, it fixes the noise. on_finish is called as each answer ends.
    """
    prompts = [prompt_ids(q, sampler.tokenizer, cfg) for _, q in numbered]
    keys = [f"{key} {i} {q.id}" for i, q in numbered]
    with torch.compiler.set_stance("force_eager"):  # one plain process samples with the policy, compiled or not
        groups = sampler.generate(prompts, params, keys, on_finish=on_finish)
    return [
        [_score(prompt, sample, question, reward, sampler.tokenizer, cfg) for sample in group]
        for (_, question), prompt, group in zip(numbered, prompts, groups, strict=True)
    ]


def _score(prompt: list[int], sample: Sample, question: Question, reward: Reward, tokenizer, cfg: Config) -> Scored:
    """A reward that raises is reported with its sample and counts as 0: one bad answer must not end a run."""
    text = response_text(sample, tokenizer)
    try:
        parts = reward(text, sample.finish_reason == "stop", question, cfg)
        parts = {name: float(parts[name]) for name in ("correct", "format", "total")}
        if not all(map(math.isfinite, parts.values())):
            raise ValueError(f"not finite: {parts}")
    except Exception as error:
        print(f"reward failed, counted as 0: {question.id}: {error!r}: {text!r}", file=sys.stderr)
        parts = {"correct": 0.0, "format": 0.0, "total": 0.0}
    return Scored(prompt, sample, text, parts)


def make_rollouts(
    sampler: Sampler,
    questions: Sequence[Question],
    params: SamplingParams,
    reward: Reward,
    cfg: Config,
    step: int,
    stage: int,
    world: World,
) -> list[Rollout]:
    """Sample params.n answers for each question; return them with rewards and advantages, group after group.

    Questions are divided over the ranks, a group never is, and every rank returns all of them.
    """
    scored = world.divide(
        list(enumerate(questions)), lambda mine: sample_and_score(sampler, mine, params, reward, cfg, f"step {step}")
    )
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


@dataclass
class RolloutBatch:
    """A pack of N rollouts, and what the loss needs of their R response tokens."""

    packed: PackedBatch
    advantages: Tensor  # [N]
    sampled_logp: Tensor  # [R]: the sampler's
    old_logp: Tensor  # [R]: of the policy that the ratio is taken to
    ref_logp: Tensor | None = None  # [R]


def pack_rollouts(rollouts: Sequence[Rollout], max_tokens: int, world: World) -> list[RolloutBatch]:
    """Return this rank's packs: as many on every rank, the last of them possibly idle."""
    batches = []
    lengths = [len(r.prompt_ids) + len(r.token_ids) for r in rollouts]
    for packs in micro_batches(lengths, max_tokens, world.size):
        members = [rollouts[i] for i in packs[world.rank]]
        packed = pack([r.prompt_ids for r in members], [r.token_ids for r in members]).to(world.device)
        advantages = torch.tensor([r.advantage for r in members], device=world.device)
        sampled = torch.tensor([x for r in members for x in r.logprobs], device=world.device)
        batches.append(RolloutBatch(packed, advantages, sampled, sampled))
    return batches


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
