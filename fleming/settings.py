"""Every setting of every stage, with its default. One YAML file holds them all (configs/); `--help` prints this.

The paper gives no hyperparameters: defaults are peers' values for a 7B model, and configs/demo.yaml's are tuned on
the demo's dev split. Left out: reading and checking (config.py).
"""

from dataclasses import dataclass, field, fields
from typing import Literal

from fleming.records import DIFFICULTIES
from fleming.rl.grpo import PRESETS, LossConfig, preset
from fleming.settings_synth import SynthConfig, check_ranges
from model.errors import InputError


@dataclass(frozen=True)
class DataConfig:
    questions: str = ""
    """JSONL of questions to learn from by RL. Empty: RUN_DIR/data/rl.jsonl, which synth_data.py writes."""
    trajectories: str = ""
    """JSONL of worked answers for the cold start. Empty: RUN_DIR/data/cold_start.jsonl."""
    decontamination: Literal["require", "warn", "off"] = "warn"
    """require: train only on files that a report has cleared of the benchmarks' questions; see docs/data.md."""


@dataclass(frozen=True)
class ParallelConfig:
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA where there is one. On CUDA matrices are multiplied in bf16, on a CPU in fp32."""
    shard: Literal["node", "all"] = "node"
    """With several nodes: shard inside each and replicate across them (less traffic), or shard over all of them."""
    activation_checkpointing: bool = False
    """Keep one activation a block and compute the others again in backward: a third more work, far less memory."""
    compile: bool = False
    """Compile each block with torch.compile; the first steps take minutes."""
    offload: bool = False
    """Keep master weights, gradients and AdamW's moments in host memory and update there; CUDA only."""
    timeout_minutes: float = 240
    """How long ranks wait for one another; must exceed the longest rollout phase."""

    def check(self, where: str) -> None:
        """Raise InputError for a value out of range."""
        check_ranges(where, timeout_minutes=self.timeout_minutes > 0)


@dataclass(frozen=True)
class BaseModelConfig:
    """A small Qwen3-style model with fresh weights, for runs that start from nothing (the demo)."""

    make: bool = False
    """Make RUN_DIR/base/model: tokenizer from the synthetic text, fresh weights. Off: `model` names a folder."""
    vocab_size: int = 2048
    """At most this many ids in the BPE tokenizer."""
    hidden_size: int = 128
    """Width D."""
    intermediate_size: int = 384
    """Width of the SwiGLU."""
    num_layers: int = 4
    """Blocks."""
    num_heads: int = 4
    """Query heads."""
    num_kv_heads: int = 2
    """Key/value heads."""
    head_dim: int = 32
    """Width of a head; its own setting, as in Qwen3."""
    rope_theta: float = 10000.0
    """Base of the rotary wavelengths; short texts learn faster with a small one."""
    initializer_range: float = 0.08
    """Standard deviation of fresh weights."""
    max_position_embeddings: int = 1024
    """Longest context."""

    def check(self, where: str) -> None:
        """Raise InputError for a value out of range."""
        check_ranges(where, **{name: value > 0 for name, value in vars(self).items() if name != "make"})
        check_ranges(where, num_kv_heads=self.num_heads % self.num_kv_heads == 0, head_dim=self.head_dim % 2 == 0)


@dataclass(frozen=True)
class SFTConfig:
    learning_rate: float = 1e-5
    """Peak of the cosine; half of it from 7B on."""
    epochs: float = 3
    """Passes over the trajectories."""
    sequences_per_step: int = 128
    """Trajectories an optimiser step."""
    micro_batch_tokens: int = 16384
    """Tokens a forward; lower needs less memory and changes nothing else."""
    warmup_fraction: float = 0.05
    """Share of the steps in which the learning rate rises from 0."""
    weight_decay: float = 0.1
    """On matrices only, not on norms and biases."""
    grad_clip: float = 1.0
    """Longest gradient norm."""
    save_every: int = 100
    """Steps between checkpoints."""
    keep_last: int = 2
    """Newest checkpoints kept."""
    keep_best: int = 0
    """Besides them, so many with the best (lowest) loss since the checkpoint before."""

    def check(self, where: str) -> None:
        """Raise InputError for a value out of range."""
        check_ranges(
            where,
            learning_rate=self.learning_rate > 0,
            epochs=self.epochs > 0,
            sequences_per_step=self.sequences_per_step > 0,
            micro_batch_tokens=self.micro_batch_tokens > 0,
            weight_decay=self.weight_decay >= 0,
            warmup_fraction=0 <= self.warmup_fraction <= 1,
            grad_clip=self.grad_clip > 0,
            save_every=self.save_every > 0,
            keep_last=self.keep_last > 0,
            keep_best=self.keep_best >= 0,
        )


@dataclass(frozen=True)
class StageConfig:
    max_steps: int = 200
    """Optimiser steps; 0 skips the stage."""
    group_size: int = 8
    """Answers sampled for each question, k of Eq. 1."""

    def check(self, where: str) -> None:
        """Raise InputError for a value out of range."""
        check_ranges(where, max_steps=self.max_steps >= 0, group_size=self.group_size > 1)  # one answer has no group


@dataclass(frozen=True)
class CurriculumConfig:
    hard: tuple[str, ...] = ("moderate",)
    """Difficulties that count as Hard in stage 1; the demo adds difficult. See docs/discrepancies.md."""
    simple: tuple[str, ...] = ("easy",)
    """Difficulties that count as Simple in stage 1."""
    stage1_mix: dict[str, float] = field(default_factory=lambda: {"hard": 1, "simple": 1})
    """Parts of each in a stage-1 step (Fig. 2)."""
    stage2_mix: dict[str, float] = field(default_factory=lambda: {"wrong": 2, "right": 1})
    """Parts of each in a stage-2 step (Fig. 2), by the current model's own answers."""
    mine_every: int = 100
    """Stage 2: answer the whole training set again after this many steps."""
    mine_samples: int = 4
    """Answers a question when mining; most of them wrong makes the question a failure."""

    def check(self, where: str) -> None:
        """Raise InputError for a value out of range."""
        check_ranges(
            where,
            hard=set(self.hard) <= set(DIFFICULTIES) - set(self.simple),
            simple=set(self.simple) <= set(DIFFICULTIES),
            stage1_mix=set(self.stage1_mix) == {"hard", "simple"} and sum(self.stage1_mix.values()) > 0,
            stage2_mix=set(self.stage2_mix) == {"wrong", "right"} and sum(self.stage2_mix.values()) > 0,
            mine_every=self.mine_every > 0,
            mine_samples=self.mine_samples > 0,
        )


@dataclass(frozen=True)
class GRPOConfig:
    start_from: Literal["auto", "base", "cold_start"] = "auto"
    """cold_start: RUN_DIR/sft/model. base: `model`. auto: the cold start where it has
    been run here, else `model`. The script prints which."""
    preset: str = "grpo"
    """The loss: grpo, paper (Eq. 1-3 to the letter), dapo or dr_grpo; the keys down to importance_cap, where they are
    not null, replace what the preset says. See fleming/rl/grpo.py."""
    clip_low: float | None = None
    """The ratio is clipped below at 1 - clip_low."""
    clip_high: float | None = None
    """The ratio is clipped above at 1 + clip_high; higher lets unlikely tokens grow faster."""
    kl_coef: float | None = None
    """Weight of the KL term; higher keeps the policy nearer the reference, 0 loads no reference model."""
    kl_estimator: Literal["none", "k1", "k2", "k3"] | None = None
    """As a loss on one's own samples k1 has no gradient on average, k2 the reverse KL's and k3 the forward KL's."""
    normalize_std: bool | None = None
    """Divide advantages by the group's standard deviation."""
    aggregation: Literal["sequence_mean", "sequence_sum", "token_mean", "constant"] | None = None
    """How the tokens' losses are added up."""
    importance_cap: float | None = None
    """Weigh each token by trainer's over sampler's probability, at most this; 0 does not. Costs one more forward."""
    stage1: StageConfig = field(default_factory=StageConfig)
    """Consolidation."""
    stage2: StageConfig = field(default_factory=lambda: StageConfig(group_size=16))
    """Adaptive hard-sample mining."""
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    """Which questions a step draws."""
    reward: str = "fleming.rl.reward:medical_reward"
    """module:function of the reward; see fleming/rl/reward.py for what it is given and returns."""
    correct_weight: float = 1.0
    """Reward of a right answer."""
    format_weight: float = 0.1
    """Reward of the required format; keep it small, or the format is all that is learned."""
    questions_per_step: int = 64
    """Questions an optimiser step."""
    updates_per_rollout: int = 1
    """Optimiser steps on the same rollouts; above 1 the clip begins to bite."""
    learning_rate: float = 1e-6
    """Constant after the warm-up."""
    warmup_steps: int = 10
    """Steps in which the learning rate rises from 0."""
    weight_decay: float = 0.0
    """On matrices only."""
    grad_clip: float = 1.0
    """Longest gradient norm."""
    temperature: float = 1.0
    """Of sampling and of scoring."""
    max_new_tokens: int = 4096
    """Longest answer; a cut one scores 0 for format."""
    max_num_seqs: int = 256
    """Sequences decoded at once; bounds the cache."""
    micro_batch_tokens: int = 16384
    """Tokens a forward; lower needs less memory and changes nothing else."""
    show_every: int = 10
    """Steps between printed example groups; 0 prints none."""
    save_every: int = 20
    """Steps between checkpoints."""
    keep_last: int = 2
    """Newest checkpoints kept."""
    keep_best: int = 0
    """Besides them, so many with the best mean reward since the checkpoint before."""

    @property
    def loss(self) -> LossConfig:
        """The preset with this run's replacements."""
        given = {f.name: getattr(self, f.name) for f in fields(LossConfig) if hasattr(self, f.name)}
        return preset(self.preset, **{k: v for k, v in given.items() if v is not None})

    def check(self, where: str) -> None:
        """Raise InputError for a value out of range."""
        if self.preset not in PRESETS:
            raise InputError(f"{where}preset is {self.preset!r}, expected one of {', '.join(PRESETS)}")
        loss = self.loss
        if self.kl_coef and loss.kl_estimator == "none":
            raise InputError(f"{where}kl_coef is {self.kl_coef}, but there is no KL term: set kl_estimator too")
        if loss.objective == "log_prob" and (self.clip_low is not None or self.clip_high is not None):
            raise InputError(f"{where}clip_low and clip_high have no meaning in preset {self.preset}: it has no ratio")
        check_ranges(
            where,
            clip_low=0 <= loss.clip_low < 1,
            clip_high=loss.clip_high >= 0,
            kl_coef=loss.kl_coef >= 0,
            importance_cap=loss.importance_cap >= 0,
            warmup_steps=self.warmup_steps >= 0,
            weight_decay=self.weight_decay >= 0,
            show_every=self.show_every >= 0,
            questions_per_step=self.questions_per_step > 0,
            updates_per_rollout=self.updates_per_rollout > 0,
            learning_rate=self.learning_rate > 0,
            temperature=self.temperature > 0,
            max_new_tokens=self.max_new_tokens > 0,
            max_num_seqs=self.max_num_seqs > 0,
            micro_batch_tokens=self.micro_batch_tokens > 0,
            grad_clip=self.grad_clip > 0,
            save_every=self.save_every > 0,
            keep_last=self.keep_last > 0,
            keep_best=self.keep_best >= 0,
        )


@dataclass(frozen=True)
class EvaluateConfig:
    questions: str = ""
    """File of questions, ours or a public set's, where no benchmarks are named. Empty: RUN_DIR/data/test.jsonl."""
    benchmarks: dict[str, str] = field(default_factory=dict)
    """name -> its file, or a folder that holds it under a usual name; see fleming/public/benchmarks.py."""
    benchmark_folder: str = ""
    """Where the benchmarks that --benchmarks names are looked for, those apart that have a file of their own above."""
    protocols: tuple[Literal["cot", "loglikelihood"], ...] = ("cot",)
    """cot: the model reasons and answers. loglikelihood: its likeliest option, by lm-evaluation-harness's rules."""
    models: dict[str, str] = field(default_factory=dict)
    """name -> model folder, relative to RUN_DIR; evaluated in this order. --model evaluates one folder instead."""
    limit: int = 0
    """Only the first so many questions of each benchmark; 0 is all."""
    samples: int = 1
    """Answers a question by cot; the score is their mean, and pass@k, maj@k and calibration are reported."""
    reshuffles: int = 0
    """Ask each question in so many other orders of its options too; higher costs as many times more."""
    temperature: float = 0.0
    """0 is greedy."""
    max_new_tokens: int = 4096
    """Longest answer."""
    max_num_seqs: int = 256
    """Sequences decoded at once."""

    def check(self, where: str) -> None:
        """Raise InputError for a value out of range."""
        if self.samples > 1 and self.temperature == 0:
            raise InputError(f"{where}samples is {self.samples}, but at temperature 0 all would be the same")
        check_ranges(
            where,
            limit=self.limit >= 0,
            protocols=len(set(self.protocols)) == len(self.protocols) > 0,
            reshuffles=self.reshuffles >= 0,
            samples=self.samples > 0,
            temperature=self.temperature >= 0,
            max_new_tokens=self.max_new_tokens > 0,
            max_num_seqs=self.max_num_seqs > 0,
        )


@dataclass(frozen=True)
class Config:
    run_dir: str = "runs/default"
    """Everything that a run writes lies here; the same command resumes it."""
    seed: int = 0
    """Fixes data, noise and order."""
    threads: int = 0
    """CPU threads of torch in each process; 0 leaves its default. Bitwise repeatability needs the same number."""
    model: str = ""
    """Hugging Face folder to start from. Empty: RUN_DIR/base/model."""
    chat_format: Literal["qwen2.5", "qwen3", "chatml"] | None = None
    """null: recognised from the model folder's chat template."""
    answer_style: Literal["letter", "text"] = "letter"
    """What stands between <answer> and </answer>: the option's letter, or its text."""
    instruction: str = ""
    """Last lines of the user message. Empty: fleming/prompt.py's for the answer style."""
    system: str = ""
    """System message; empty: none of ours (the chat format may have its own)."""
    data: DataConfig = field(default_factory=DataConfig)
    """Files to learn from."""
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    """Devices and processes."""
    synth: SynthConfig = field(default_factory=SynthConfig)
    """Stage 1: RODS."""
    base_model: BaseModelConfig = field(default_factory=BaseModelConfig)
    """A model to start from, where there is none."""
    sft: SFTConfig = field(default_factory=SFTConfig)
    """Stage 2: CoT cold start."""
    grpo: GRPOConfig = field(default_factory=GRPOConfig)
    """Stage 3: RLVR."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """Stage 4: benchmarks."""

    def check(self, where: str) -> None:
        """Raise InputError for a value out of range."""
        check_ranges(where, run_dir=self.run_dir != "", seed=0 <= self.seed < 2**63, threads=self.threads >= 0)
