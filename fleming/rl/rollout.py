"""Rollouts: sample a group of answers for each question, reward each, compare within the group, pack for the update."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from fleming.answer import parse_answer
from fleming.prompt import prompt_ids, response_text
from fleming.records import Question, Rollout
from fleming.rl.grpo import group_advantages
from fleming.rl.reward import Reward
from fleming.settings import Config
from fleming.training.packing import PackedBatch, micro_batches, pack
from fleming.training.parallel import World
from model.drawing import SamplingParams
from model.kv_cache import CACHE_SHARE, Capacity, choose_capacity, free_memory
from model.sampler import OnFinish, Sample, Sampler
from model.transformer import Transformer


def choose_cache(
    policy: Transformer, actor: Transformer, longest: int, most: int, state: Mapping[str, Any], world: World
) -> Capacity:
    """Return how large the sampler's cache is: at most `most` rows of the `longest` sequence's tokens.

    As many as fit into most of the free memory, once AdamW has its moments. Measured once a run: a resumed one finds
    it in its checkpoint's state and keeps it, unless `most` is another now.
    Raises InputError where the memory holds not one.
    """
    if state.get("cache", [None])[-1] == most and state["cache"][1] >= longest:
        return Capacity(*state["cache"][:2])
    moments = sum(8 * (p.to_local() if isinstance(p, DTensor) else p).numel() for p in policy.parameters())
    free = free_memory(world.device) / (1 if world.device.type == "cuda" else world.size)
    memory = CACHE_SHARE * (free - moments * (not state["step"]))
    mine = choose_capacity(actor.cfg, actor.lm_head.weight.dtype, longest, most, memory)
    rows = min(world.gather(mine.rows))
    if rows < most:
        world.print(f"the memory holds {rows} sequences of {longest} tokens at once, not grpo.max_num_seqs = {most}")
    return Capacity(rows, longest)


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
    """Return this rank's packs: as many on every rank, the last of them possibly idle.

    A group stays together as far as a pack holds it, since a pack feeds a prompt once.
    """
    batches, bundles = [], _bundles(rollouts, max_tokens)
    for packs in micro_batches([sum(map(_length, b)) for b in bundles], max_tokens, world.size):
        members = [r for i in packs[world.rank] for r in bundles[i]]
        packed = pack([r.prompt_ids for r in members], [r.token_ids for r in members]).to(world.device)
        advantages = torch.tensor([r.advantage for r in members], device=world.device)
        sampled = torch.tensor([x for r in members for x in r.logprobs], device=world.device)
        batches.append(RolloutBatch(packed, advantages, sampled, sampled))
    return batches


def _length(rollout: Rollout) -> int:
    return len(rollout.prompt_ids) + len(rollout.token_ids)


def _bundles(rollouts: Sequence[Rollout], max_tokens: int) -> list[list[Rollout]]:
    """Cut the rollouts, group after group, into runs of one prompt that a pack holds."""
    bundles: list[list[Rollout]] = []
    tokens = 0  # of the last one
    for r in rollouts:
        tokens += _length(r)
        if not bundles or bundles[-1][0].prompt_ids != r.prompt_ids or tokens > max_tokens:
            bundles.append([])
            tokens = _length(r)
        bundles[-1].append(r)
    return bundles


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
