"""Rollouts: sample a group of answers for each question, reward each, compare within the group, pack for the update."""

import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from fleming.judge import judge, read_answer
from fleming.prompt import prompt_ids, response_text
from fleming.records import Question, Rollout
from fleming.refine.label_check import trial_orders
from fleming.rl.curriculum import Curriculum
from fleming.rl.grpo import group_advantages, importance_weights, loss_denominator
from fleming.rl.reward import NOTHING, Reward, whole_reward
from fleming.rl.sampled import Sampled, teaches
from fleming.settings import Config
from fleming.settings.training import GRPOConfig
from fleming.training.metrics import progress_bar
from fleming.training.packing import PackedBatch, micro_batches, pack
from fleming.training.parallel import World
from model.drawing import SamplingParams
from model.errors import InputError
from model.sampler import Sample, Sampler

T = TypeVar("T")
REPORTS = 10  # printed by a process, of rewards that raised


@dataclass(frozen=True)
class Scored:
    """A sample with its prompt, text and reward parts."""

    prompt_ids: list[int]
    sample: Sample
    response: str
    reward: dict[str, float]
    failure: str
    """What the reward raised, then counted as 0; empty where it did not."""
    choice: str = ""
    """Where votes are counted: what it answers, "" where it abstains or the reward raised."""


@dataclass
class Actor:
    """Who answers, by whose reward, on which ranks."""

    sampler: Sampler
    reward: Reward
    cfg: Config
    world: World
    failures: int = 0
    """Answers of this step whose reward raised, of all ranks."""
    works_in: str = ""
    """The newest call by whose key some answer was rewarded: what is drawn in place of others has the key of these."""
    reports: int = 0
    """How many of them this process has printed."""

    def params(self, n: int, temperature: float | None = None) -> SamplingParams:
        """Return how n answers a question are sampled, at grpo.temperature where no other is named."""
        rl = self.cfg.grpo
        temperature = rl.temperature if temperature is None else temperature
        return SamplingParams(n, rl.max_new_tokens, temperature, seed=self.cfg.seed)

    def answer(
        self,
        numbered: Sequence[tuple[int, Question]],
        params: SamplingParams,
        key: str,
        keep: Callable[[Scored], T],
        bar: str = "",
        votes: bool = False,
    ) -> list[list[T]]:
        """Return what `keep` takes from each of the scored answers to each question, on every rank.

        Questions are divided over the ranks, a group never is, and what they tell each other is what is kept. A
        question comes with a number, which with `key`, the call's own, fixes the noise. bar: what the call is named as
        it goes on, if it is to be shown. Raises InputError where the reward failed on all answers: a fault of the
        reward, not of an answer.
        """

        def answers(part: list[tuple[int, Question]]) -> list[list[tuple[str, T]]]:
            prompts = [prompt_ids(question, self.sampler.tokenizer, self.cfg) for _, question in part]
            keys = [noise_key(key, number, question.id) for number, question in part]
            total = len(part) * params.n
            with progress_bar(total, 0, bar, self.world, unit="answer", leave=False) as shown:
                groups = self.sampler.generate(prompts, params, keys, on_finish=lambda *_: shown.update())
            scored = [
                [self._score(prompt, sample, question, votes) for sample in group]
                for (_, question), prompt, group in zip(part, prompts, groups, strict=True)
            ]
            return [[(s.failure, keep(s)) for s in group] for group in scored]

        found = self.world.divide(numbered, answers)
        failures = [failure for group in found for failure, _ in group]
        self.failures += len(failures) - failures.count("")
        if "" in failures:
            self.works_in = key
        with self.world.agree():
            if failures and self.works_in != key:
                raise InputError(
                    f"grpo.reward={self.cfg.grpo.reward} failed on all {len(failures)} answers of {bar or key}, first "
                    f"on question {failures[0]}; nothing of this step is kept. Where the cause lies outside, "
                    "the same command goes on; a reward with other code needs another run_dir"
                )
        return [[kept for _, kept in group] for group in found]

    def _score(self, prompt: list[int], sample: Sample, question: Question, votes: bool) -> Scored:
        """A reward that raises is reported with its sample and counts as 0: one bad answer must not end a run."""
        text, finished = response_text(sample, self.sampler.tokenizer), sample.finish_reason == "stop"
        try:
            parts = whole_reward(self.reward, text, finished, len(sample.token_ids), question, self.cfg)
            # A checker of one's own may raise here too.
            choice = judge(text, True, question, self.cfg).choice if votes else None
        except (Exception, SystemExit) as error:
            failure = f"{question.id}: {error!r:.400}"
            self.reports += 1
            if self.reports <= REPORTS:
                last = "; further ones are only counted" if self.reports == REPORTS else ""
                print(f"reward failed, counted as 0: {failure}: {text!r:.400}{last}", file=sys.stderr)
            return Scored(prompt, sample, text, NOTHING, failure)
        return Scored(prompt, sample, text, parts, "", choice or "")

    def take_failures(self) -> int:
        """Return how many rewards have raised since this was last asked."""
        count, self.failures = self.failures, 0
        return count


def noise_key(call: str, place: int, question_id: str) -> str:
    """Return what fixes the noise of a question's samples, with the seed: which call, and its place in that."""
    return f"{call} {place} {question_id}"


def call_of_step(step: int) -> str:
    """Return the name of the call that samples a step's answers."""
    return f"step {step}"


def make_rollouts(actor: Actor, curriculum: Curriculum, step: int) -> Sampled:
    """Draw the step's questions; sample a group of answers for each, with rewards and advantages.

    With grpo.draws above 1 a group without variance is dropped and another question of its pool drawn, at most so many
    times in all (DAPO 3.2); where no group has any, all stay.
    """
    draws, parts = actor.cfg.grpo.draws, curriculum.parts()
    drawn: dict[str, list[int]] = {name: [] for name in parts}
    groups: list[list[Rollout]] = []
    for _ in range(draws):
        taken = [i for places in drawn.values() for i in places]
        more = curriculum.draw(parts, taken)
        questions = [curriculum.questions[i] for places in more.values() for i in places]
        if not questions:
            break
        found = sample_groups(actor, questions, curriculum.group_size, step, curriculum.stage, len(taken))
        pools = [name for name, places in more.items() for _ in places]
        parts = Counter(name for name, group in zip(pools, found, strict=True) if not teaches(group))
        groups += found
        for name, places in more.items():
            drawn[name] += places
    shown = {group[0].group: curriculum.shown(group[0]) for group in groups}
    kept = [group for group in groups if teaches(group)]
    if draws == 1 or not kept:
        return Sampled(groups, [], drawn, shown)
    return Sampled(kept, [group for group in groups if not teaches(group)], drawn, shown)


def sample_groups(
    actor: Actor, questions: Sequence[Question], group_size: int, step: int, stage: int, first: int = 0
) -> list[list[Rollout]]:
    """Sample a group of answers for each question; return them with rewards and advantages.

    first: how many groups the step has already.
    """
    orders = [shown_order(question, step, actor.cfg) for question in questions]
    shown = [q.in_order(order) if order else q for q, order in zip(questions, orders, strict=True)]
    numbered = list(enumerate(shown, start=first))
    scored = actor.answer(numbered, actor.params(group_size), call_of_step(step), keep=lambda scored: scored)
    totals = [[s.reward["total"] for s in group] for group in scored]
    rewards = torch.tensor(totals, dtype=torch.float64)  # [Q, G]
    advantages = group_advantages(rewards, actor.cfg.grpo.loss.normalize_std).tolist()
    return [
        [
            Rollout(
                step=step,
                stage=stage,
                question_id=question.id,
                group=g,
                sample=i,
                seed=actor.cfg.seed,
                prompt_ids=s.prompt_ids,
                token_ids=s.sample.token_ids,
                logprobs=s.sample.logprobs,
                finish_reason=s.sample.finish_reason,
                entropy=s.sample.entropy,
                response=s.response,
                answer=read_answer(s.response, question, actor.cfg),
                reward=s.reward,
                advantage=advantages[g - first][i],
                order=orders[g - first],
            )
            for i, s in enumerate(group)
        ]
        for (g, question), group in zip(numbered, scored, strict=True)
    ]


def shown_order(question: Question, step: int, cfg: Config) -> str | None:
    """Return the letters of the question's options in the order in which the step shows them; None: as they are."""
    if not (cfg.grpo.reshuffle_options and question.options):
        return None
    [order] = trial_orders(question, cfg.seed, 1, f"step {step}")
    return None if order == "".join(question.options) else order


@dataclass
class RolloutBatch:
    """A pack of N rollouts, and what the loss needs of their T response tokens."""

    packed: PackedBatch
    advantages: Tensor  # [T]
    sampled_logp: Tensor  # [T]: the sampler's
    old_logp: Tensor  # [T]: of the policy that the ratio is taken to
    ref_logp: Tensor | None = None  # [T]
    counts: dict[str, Tensor] = field(default_factory=dict)  # of the importance correction

    def correct_for_the_sampler(self, cap: float) -> None:
        """Weigh each token's advantage by min(pi_old / pi_sampler, cap) (TIS); a cap of 0 does nothing."""
        if not cap:
            return
        weights, self.counts = importance_weights(self.old_logp, self.sampled_logp, cap)
        self.advantages = self.advantages * weights


@dataclass(frozen=True)
class MiniBatch:
    """What one optimiser step learns from: whole groups, under one normaliser."""

    packs: list[RolloutBatch]
    """This rank's."""
    denominator: float


def mini_batches(
    groups: Sequence[Sequence[Rollout]], rl: GRPOConfig, reference: bool, world: World
) -> list[MiniBatch]:
    """Split the groups of a step, the m-th of M has groups m, m + M, ...; no more than there are groups.

    Every rank knows all answers, so a normaliser needs no further word between them. Without a KL term (`reference`) an
    answer of zero advantage has zero gradient: it counts, but need not be computed.
    """
    found, aggregation = [], rl.loss.aggregation
    for m in range(min(rl.minibatches_per_rollout, len(groups))):
        rollouts = [r for group in groups[m :: rl.minibatches_per_rollout] for r in group]
        counted = [r for r in rollouts if rl.overlong != "mask" or r.finish_reason != "length"]
        tokens = sum(len(r.token_ids) for r in counted)
        denominator = loss_denominator(len(counted), tokens, aggregation, rl.max_new_tokens)
        live = [r for r in counted if r.advantage != 0 or reference] or counted[:1] or rollouts[:1]
        packs = pack_rollouts(live, rl.micro_batch_tokens, world)
        found.append(MiniBatch(packs, denominator or math.inf))  # where all were cut and masked: no gradient
    return found


def pack_rollouts(rollouts: Sequence[Rollout], max_tokens: int, world: World) -> list[RolloutBatch]:
    """Return this rank's packs: as many on every rank, the last of them possibly idle.

    A group stays together as far as a pack holds it, since a pack feeds a prompt once.
    """
    batches, bundles = [], _bundles(rollouts, max_tokens)
    lengths = [sum(map(_length, bundle)) for bundle in bundles]
    for packs in micro_batches(lengths, max_tokens, world.size):
        members = [r for i in packs[world.rank] for r in bundles[i]]
        packed = pack([r.prompt_ids for r in members], [r.token_ids for r in members]).to(world.device)
        advantages = torch.tensor([r.advantage for r in members for _ in r.token_ids], device=world.device)
        sampled = torch.tensor([logp for r in members for logp in r.logprobs], device=world.device)
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


def describe_group(sampled: Sampled) -> str:
    """Return the first group as a person would want to see it: the question, the best answer and the worst."""
    group = sampled.groups[0]
    question = sampled.shown[group[0].group]
    lines = [f"--- step {group[0].step}, {question.id}, right answer {question.answer}"]
    lines += [question.question, "  ".join(f"{letter}. {text}" for letter, text in question.options.items())]
    lines.append("rewards " + " ".join(f"{r.reward['total']:.1f}" for r in group))
    best = max(group, key=lambda r: r.reward["total"])
    worst = min(group, key=lambda r: r.reward["total"])
    for rollout in (best,) if best.advantage == worst.advantage else (best, worst):
        said = f"reward {rollout.reward['total']:.1f}, advantage {rollout.advantage:+.2f}"
        lines.append(f"[{said}] {rollout.response}")
    return "\n".join(lines)
