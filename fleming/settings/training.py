"""The settings of the two stages of training: the cold start (paper, 3.2) and RLVR (3.3), its loss among them.

Letters and equations of the loss: fleming/rl/grpo.py. Left out: what its keys do to a tensor.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Literal

from fleming.records import DIFFICULTIES, Difficulty
from fleming.typed import NonNegative, Positive, PositiveShare, Range, Samples, Share, Temperature
from model.errors import InputError


@dataclass(frozen=True)
class SFTConfig:
    learning_rate: PositiveShare = 1e-5
    """Peak of the cosine; half of it from 7B on."""
    epochs: Positive[float] = 3
    """Passes over the trajectories."""
    sequences_per_step: Samples = 128
    """Trajectories an optimiser step."""
    micro_batch_tokens: Positive[int] = 16384
    """Tokens a forward; lower needs less memory and changes nothing else."""
    warmup_fraction: Share = 0.05
    """Share of the steps in which the learning rate rises from 0."""
    weight_decay: Share = 0.1
    """On matrices only, not on norms and biases."""
    grad_clip: Positive[float] = 1.0
    """Longest gradient norm."""
    save_every: Positive[int] = 100
    """Steps between checkpoints."""
    keep_last: Positive[int] = 2
    """Newest checkpoints kept."""
    keep_best: NonNegative[int] = 0
    """Besides them, so many with the best (lowest) loss since the checkpoint before."""
    keep_every: NonNegative[int] = 0
    """And those of a step that is a multiple of it: a stranger can run again what lies between two (docs/audit.md).
    0: none."""
    validation: NonNegative[int] = 0
    """Trajectories that are not learned from but measured: the best checkpoint by their loss is exported. 0: none, and
    the last one is."""
    validate_every: Positive[int] = 50
    """Steps between two measurements, each with a checkpoint; the last step is always measured."""


@dataclass(frozen=True)
class LossConfig:
    """What the loss is (fleming/rl/grpo.py). As settings each key may be null, which is what the preset says."""

    objective: Literal["clipped_ratio", "clipped_weight", "log_prob"] | None = None
    """clipped_ratio: PPO's surrogate of the importance ratio. clipped_weight: log pi, weighted by the clipped ratio, so
    that no token's gradient is lost. log_prob: log pi itself (REINFORCE, Eq. 1)."""
    ratio: Literal["token", "sequence"] | None = None
    """Whose importance ratio: each token's, or for all tokens of an answer their geometric mean."""
    normalize_std: bool | None = None
    """Divide advantages by the group's standard deviation. false: Eq. 3 as printed."""
    clip_low: Annotated[float, Range("from 0.0001 to 1", lambda x: 1e-4 <= x <= 1)] | None = None
    """The ratio is clipped below at 1 - clip_low; at 1 it is not. Inert where each rollout is used for one update
    (ratio 1); at 0 rounding would decide which tokens teach."""
    clip_high: Annotated[float, Range("at least 0.0001", lambda x: x >= 1e-4)] | None = None
    """The ratio is clipped above at 1 + clip_high; higher lets unlikely tokens grow faster."""
    kl_estimator: Literal["none", "k1", "k2", "k3"] | None = None
    """Estimator of KL(pi || ref) that is added to the loss. none: no reference model is loaded at all. As a loss on
    one's own samples k1 has no gradient on average, k2 the reverse KL's and k3 the forward KL's."""
    kl_coef: NonNegative[float] | None = None
    """Weight of the KL term; higher keeps the policy nearer the reference. At 0 no reference is loaded."""
    aggregation: Literal["sequence_mean", "sequence_sum", "token_mean", "constant"] | None = None
    """How token losses become one number; the denominator is `loss_denominator`'s, of the whole step.
    sequence_mean: over N, each sequence the mean over its own tokens (DeepSeekMath Eq. 3). sequence_sum: over N, each
    the sum (log pi of the whole answer, Eq. 1). token_mean: the sum over T, every token counts the same (DAPO Eq. 12,
    which counts T per question). constant: the sum over N * max_new_tokens, whatever was drawn (Dr. GRPO 3.2)."""
    importance_cap: Annotated[float, Range("0, or at least 1", lambda x: x == 0 or x >= 1)] | None = None
    """Each token's policy loss is weighted by min(pi_old / pi_sampler, this), which corrects for a sampler whose
    log-probs are not quite the trainer's (TIS). Higher corrects more of it, with more variance. 0: no correction.
    Costs one more forward."""

    @property
    def needs_reference(self) -> bool:
        """Whether a reference model enters the loss."""
        return self.kl_estimator != "none" and self.kl_coef != 0


GRPO = LossConfig(  # DeepSeekMath Eq. 3-4
    objective="clipped_ratio",
    ratio="token",
    normalize_std=True,
    clip_low=0.2,
    clip_high=0.2,
    kl_estimator="k3",
    kl_coef=1e-3,
    aggregation="sequence_mean",
    importance_cap=0.0,
)
WITHOUT_KL = {"kl_estimator": "none", "kl_coef": 0.0}
PRESETS: dict[str, LossConfig] = {
    "grpo": GRPO,
    # Eq. 1-3 to the letter: no ratio, no clip, no KL, no standard deviation
    "paper": replace(
        GRPO, objective="log_prob", normalize_std=False, aggregation="sequence_sum", **WITHOUT_KL
    ),
    # DAPO Eq. 8-9: clip-higher (Eq. 10), token mean (Eq. 12), no KL (2.3)
    "dapo": replace(GRPO, clip_high=0.28, aggregation="token_mean", **WITHOUT_KL),
    # Dr. GRPO 3.2: neither the standard deviation nor the drawn lengths divide; no KL
    "dr_grpo": replace(GRPO, normalize_std=False, aggregation="constant", **WITHOUT_KL),
    # GSPO Eq. 5-7, clip as in its 5.1: the whole answer's ratio; differs where there are several updates a rollout
    "gspo": replace(GRPO, ratio="sequence", clip_low=3e-4, clip_high=4e-4, **WITHOUT_KL),
    # CISPO, MiniMax-M1 Eq. 4-5: no bound below; above a ratio of 5, as in ScaleRL (arXiv 2510.13786)
    "cispo": replace(
        GRPO, objective="clipped_weight", clip_low=1.0, clip_high=4.0, aggregation="token_mean", **WITHOUT_KL
    ),
}


def preset(name: str, **overrides) -> LossConfig:
    """Return the LossConfig of a preset, some of its fields replaced."""
    return replace(PRESETS[name], **overrides)


@dataclass(frozen=True)
class StageConfig:
    max_steps: NonNegative[int] = 200
    """Optimiser steps; 0 skips the stage. May be raised while the stage is the last that was begun, so that a finished
    run goes on."""
    max_tokens: NonNegative[int] = 0
    """The stage also ends once it has sampled so many tokens, for mining and groups drawn in vain too; 0: no bound."""
    group_size: Annotated[int, Range("from 2 to 1,000,000", lambda x: 2 <= x <= 10**6)] = 8
    """Answers sampled for each question, k of Eq. 1; one alone has no group."""


@dataclass(frozen=True)
class SwitchConfig:
    """When stage 1 ends before its max_steps (fleming/rl/switch.py)."""

    when: Literal["never", "slope", "flat_groups", "either", "both"] = "either"
    """slope: the reward rises no more. flat_groups: most groups teach nothing. never: at stage1.max_steps alone."""
    min_steps: Positive[int] = 60
    """No sooner."""
    window: Positive[int] = 20
    """Steps over which the reward and the share of flat groups are averaged, and in a row in which the reward's slope
    must be low; higher waits longer and is misled less by noise."""
    max_slope: Annotated[float, Range("from -1 to 1", lambda x: -1 <= x <= 1)] = 2e-4
    """Reward a step, below which the averaged reward counts as flat."""
    max_flat: Share = 0.5
    """Share of groups without variance, above which the reward counts as sparse."""


@dataclass(frozen=True)
class CurriculumConfig:
    hard: tuple[Difficulty, ...] = ("moderate",)
    """Difficulties that count as Hard in stage 1; the demo adds difficult. See docs/discrepancies.md."""
    simple: tuple[Difficulty, ...] = ("easy",)
    """Difficulties that count as Simple in stage 1."""
    stage1_mix: dict[str, NonNegative[float]] = field(default_factory=lambda: {"hard": 1, "simple": 1})
    """Parts of each in a stage-1 step (Fig. 2). {}: as many as there are."""
    switch: SwitchConfig = field(default_factory=SwitchConfig)
    """When stage 1 ends."""
    stage2_mix: dict[str, NonNegative[float]] = field(default_factory=lambda: {"wrong": 2, "right": 1})
    """Parts of each in a stage-2 step (Fig. 2), by the current model's own answers. {}: as many as there are."""
    mine_every: Positive[int] = 100
    """Stage 2: answer the training set again after this many steps."""
    mine_samples: Samples = 4
    """Answers a question when mining; most of them wrong makes the question a failure."""
    repeat_weight: NonNegative[float] = 1.0
    """A wrong question is drawn in proportion to its weight. Added to it for each round in a row, after the first, in
    which the question failed."""
    none_right_weight: Positive[float] = 1.5
    """Times this where not even one answer was right; below 1 for sets with much that cannot be learned."""
    tier_weights: dict[str, Positive[float]] = field(
        default_factory=lambda: {"easy": 1.0, "moderate": 1.0, "difficult": 2.0}
    )
    """Times that of its difficulty; 1 where nobody has graded it."""
    rest: bool = False
    """A question of which all answers were right is not asked in the next round, then the next 2, 4, ... rounds."""
    review_rounds: NonNegative[int] = 3
    """A question with no right answer in so many rounds in a row leaves for review.jsonl where a vote agrees on another
    option; 0: none leaves."""
    review_agreement: Share = 0.5
    """Share of the answers of those rounds that must be the same wrong one."""

    def check(self, where: str) -> None:
        """Raise InputError for a difficulty that counts as both, and for parts of other names or of nothing."""
        if set(self.hard) & set(self.simple):
            raise InputError(f"{where}hard is out of its range: {', '.join(self.hard)} is in simple too")
        for key, names in (("stage1_mix", {"hard", "simple"}), ("stage2_mix", {"wrong", "right"})):
            mix = getattr(self, key)
            if mix and (set(mix) != names or sum(mix.values()) <= 0):
                wanted = " and ".join(sorted(names))
                raise InputError(
                    f"{where}{key} is out of its range: expected parts of {wanted}, not all 0, or {{}}"
                )
        if unknown := set(self.tier_weights) - set(DIFFICULTIES):
            expected = ", ".join(DIFFICULTIES)
            raise InputError(f"{where}tier_weights has {min(unknown)}: expected {expected}")
        for key in ("hard", "simple"):
            if self.stage1_mix.get(key, 1) and not getattr(self, key):
                raise InputError(f"{where}{key} names no difficulty: name one, or set stage1_mix.{key} to 0")


@dataclass(frozen=True)
class GRPOConfig(LossConfig):
    start_from: Literal["auto", "base", "cold_start"] = "auto"
    """cold_start: RUN_DIR/sft/model. base: `model`. auto: the cold start where it has
    been run here, else `model`. The script prints which."""
    preset: Literal["grpo", "paper", "dapo", "dr_grpo", "gspo", "cispo"] = "grpo"
    """The loss; paper is Eq. 1-3 to the letter. The keys from objective to importance_cap, where they are not null,
    replace what the preset says. See fleming/rl/grpo.py."""
    stage1: StageConfig = field(default_factory=StageConfig)
    """Consolidation."""
    stage2: StageConfig = field(default_factory=lambda: StageConfig(group_size=16))
    """Adaptive hard-sample mining."""
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    """Which questions a step draws."""
    reward: str = "fleming.rl.reward:medical_reward"
    """module:function of the reward; docs/your-data.md says what it is given and returns."""
    correct_weight: NonNegative[float] = 1.0
    """Reward of a right answer."""
    format_weight: NonNegative[float] = 0.1
    """Reward of the required format; keep it small, or the format is all that is learned."""
    path_weight: Share = 0.3
    """Of fleming.rl.path_reward: what stating every fact of the certificate adds to a right answer's reward; higher
    teaches more of how to get there, and less of getting there."""
    path_max_words: Positive[int] = 400
    """And the longest reasoning to which it is paid, in words; higher allows more beside the facts."""
    questions_per_step: Positive[int] = 64
    """Questions an optimiser step."""
    draws: Positive[int] = 1
    """Dynamic sampling (DAPO 3.2): a question whose answers are all rewarded alike teaches nothing; another of its pool
    is drawn in its place, until a step was drawn so many times. 1: never."""
    reshuffle_options: bool = False
    """Each time that a question is drawn its options come in another order: no letter can be learned by heart."""
    minibatches_per_rollout: Positive[int] = 1
    """The groups of a step are split into so many parts, an optimiser step each; above 1 the clip begins to bite. Where
    dynamic sampling leaves fewer groups, there are as many parts as groups."""
    updates_per_rollout: Positive[int] = 1
    """Passes over the same rollouts; above 1 the clip begins to bite."""
    learning_rate: PositiveShare = 1e-6
    """Constant after the warm-up."""
    warmup_steps: NonNegative[int] = 10
    """Steps in which the learning rate rises from 0."""
    grad_clip: Positive[float] = 1.0
    """Longest gradient norm."""
    temperature: Temperature = 1.0
    """Of sampling and of scoring."""
    max_new_tokens: Positive[int] = 4096
    """Longest answer; a cut one scores 0 for format."""
    overlong: Literal["keep", "mask", "penalty"] = "keep"
    """An answer that max_new_tokens cut. keep: as any other; length never enters the reward. mask: it is in its group's
    baseline, and no part of the loss. penalty: its length lowers the reward (DAPO Eq. 13)."""
    overlong_buffer: Positive[int] = 512
    """With penalty: the last so many tokens, over which the total falls by up to 1."""
    max_num_seqs: Positive[int] = 256
    """Sequences decoded at once; bounds the cache."""
    micro_batch_tokens: Positive[int] = 16384
    """Tokens a forward; lower needs less memory and changes nothing else."""
    show_every: NonNegative[int] = 10
    """Steps between printed example groups; 0 prints none."""
    save_every: Positive[int] = 20
    """Steps between checkpoints."""
    keep_last: Positive[int] = 2
    """Newest checkpoints kept."""
    keep_best: NonNegative[int] = 0
    """Besides them, so many with the best accuracy on dev; without dev_every, reward since the checkpoint before."""
    keep_every: NonNegative[int] = 0
    """And those of a step that is a multiple of it: a stranger can run again what lies between two (docs/audit.md).
    0: none."""
    dev_every: NonNegative[int] = 0
    """Steps between two measurements on data.dev, each with a checkpoint; the last step is always measured, and the
    best step's model is exported as grpo/best/model. 0: none."""
    dev_limit: NonNegative[int] = 200
    """Questions of it, drawn by the seed, answered greedily; 0 is all."""

    @property
    def loss(self) -> LossConfig:
        """The preset with this run's replacements."""
        given = {f.name: getattr(self, f.name) for f in fields(LossConfig)}
        return preset(self.preset, **{name: value for name, value in given.items() if value is not None})

    @property
    def rescores(self) -> bool:
        """Whether old log-probs are the trainer's own, made once before the first update, and not the sampler's.

        The ratio must start at exactly 1 where several updates use the rollouts, and the importance correction needs
        the trainer's side. A whole answer's clip is so narrow that the sampler's rounding (bfloat16) would decide.
        """
        updates = self.updates_per_rollout * self.minibatches_per_rollout
        return updates > 1 or self.loss.importance_cap > 0 or self.loss.ratio == "sequence"

    def check(self, where: str) -> None:
        """Raise InputError for keys that others leave without meaning, and for a run that could learn nothing."""
        loss = self.loss
        if not (self.stage1.max_steps or self.stage2.max_steps):
            raise InputError(f"{where}stage1.max_steps and stage2.max_steps are both 0: set one above 0")
        if not (self.correct_weight or self.format_weight):
            raise InputError(f"{where}correct_weight and format_weight are both 0: set one above 0")
        if self.kl_estimator not in (None, "none") and loss.kl_coef == 0:
            raise InputError(f"{where}kl_estimator is {self.kl_estimator}, but kl_coef is 0: set kl_coef too")
        for key in ("updates_per_rollout", "minibatches_per_rollout"):
            if loss.objective == "log_prob" and getattr(self, key) > 1:
                raise InputError(
                    f"{where}{key} is {getattr(self, key)}, but objective log_prob has no ratio to the policy that "
                    "sampled: set it to 1, or objective to clipped_ratio"
                )
        if loss.objective == "log_prob" and loss.ratio == "sequence":
            raise InputError(f"{where}ratio sequence means nothing with objective log_prob: set it to token")
        if self.minibatches_per_rollout > self.questions_per_step:
            raise InputError(
                f"{where}minibatches_per_rollout is {self.minibatches_per_rollout}, and each needs a question: lower "
                f"it to questions_per_step = {self.questions_per_step} at most"
            )
        if self.overlong == "penalty" and self.overlong_buffer >= self.max_new_tokens:
            raise InputError(
                f"{where}overlong_buffer is {self.overlong_buffer}: every answer would lose by its length; "
                f"lower it below max_new_tokens = {self.max_new_tokens}"
            )
        if self.kl_coef and loss.kl_estimator == "none":
            raise InputError(f"{where}kl_coef is {self.kl_coef}, without a KL term: set kl_estimator too")
        if loss.objective == "log_prob" and (self.clip_low is not None or self.clip_high is not None):
            raise InputError(f"{where}clip_low and clip_high mean nothing with objective log_prob: no ratio")
        if self.reward.endswith(":path_reward") and self.format_weight >= self.correct_weight:
            raise InputError(
                f"{where}format_weight is {self.format_weight}: path_reward never pays a wrong answer more than a "
                f"right one; lower it below correct_weight = {self.correct_weight}"
            )
