"""Every setting of every stage, with its default. One YAML file holds them all (configs/); `--help` prints this.

The paper gives no hyperparameters: defaults are peers' values for a 7B model, and configs/demo.yaml's are tuned on
the demo's dev split. Left out: reading and checking (config.py).
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from fleming.settings.synth import TEACHER, BaseModelConfig, SynthConfig
from fleming.settings.teacher import TeacherConfig
from fleming.settings.training import GRPOConfig, SFTConfig
from fleming.typed import NonNegative, Positive, Range, Samples, Share
from model.errors import InputError


@dataclass(frozen=True)
class DataConfig:
    questions: str = ""
    """JSONL of questions to learn from by RL. Empty: RUN_DIR/data/rl.jsonl, which synth_data.py writes."""
    dev: str = ""
    """JSONL of questions on which RL is measured while it runs. Empty: RUN_DIR/data/dev.jsonl."""
    trajectories: str = ""
    """JSONL of worked answers for the cold start. Empty: RUN_DIR/data/cold_start.jsonl."""
    columns: dict[str, Any] = field(default_factory=dict)
    """Field -> the column that has it: {question: stem, answer: key, options: [a, b, c, d]}; "a.b" is b inside a.
    Empty: recognised by the usual names. Which fields there are: docs/your-data.md."""
    header: tuple[str, ...] = ()
    """Names of the columns of a table (CSV, TSV) without a line of names."""
    assistant_turns: Literal["every", "last"] = "every"
    """What the cold start learns from a conversation of several turns: each answer, or the last alone."""
    decontamination: Literal["require", "warn", "off"] = "warn"
    """require: train only on files that a report has cleared of the benchmarks' questions; see docs/data.md."""

    def check(self, where: str) -> None:
        """Raise InputError where a field's column is no name."""
        for name, column in self.columns.items():
            several = name == "options" and isinstance(column, list)
            if not column or not all(isinstance(one, str) for one in (column if several else [column])):
                said = "expected the name of a column, of options perhaps a list of names"
                raise InputError(f"{where}columns.{name}: {said}")


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
    timeout_minutes: Annotated[float, Range("above 0, at most 1e6", lambda x: 0 < x <= 1e6)] = 240
    """How long ranks wait for one another; must exceed the longest rollout phase."""


FOR_AN_ANSWER = 32  # tokens that a budget of thinking leaves at least


@dataclass(frozen=True)
class EvaluateConfig:
    questions: str = ""
    """File of questions, ours or a public set's, where no benchmarks are named. Empty: RUN_DIR/data/test.jsonl."""
    benchmarks: dict[str, str] = field(default_factory=dict)
    """name -> its file, or a folder that holds it under a usual name; see fleming/public/benchmarks.py."""
    benchmark_folder: str = ""
    """Where the benchmarks that --benchmarks names are looked for, those apart that have a file of their own above."""
    annotations: dict[str, str] = field(default_factory=dict)
    """benchmark -> file of what people say of its questions: answers that are right, what is wrong with it."""
    rubric_labels: str = ""
    """For --rubrics: file of what people say of the same criteria, against which the judge is measured."""
    graph: str = ""
    """graph.jsonl of a run's data, against which the claims in answers by cot are checked. Empty: they are not."""
    protocols: tuple[Literal["cot", "loglikelihood"], ...] = ("cot",)
    """cot: the model reasons and answers. loglikelihood: its likeliest option, by lm-evaluation-harness's rules."""
    models: dict[str, str] = field(default_factory=dict)
    """name -> model folder, relative to RUN_DIR; evaluated in this order. --model evaluates one folder instead.
    RUN_DIR/eval/NAME has the results."""
    limit: NonNegative[int] = 0
    """Only the first so many questions of each benchmark; 0 is all."""
    samples: Samples = 1
    """Answers a question by cot; the score is their mean, and pass@k, maj@k and calibration are reported."""
    reshuffles: NonNegative[int] = 0
    """Ask each question in so many other orders of its options too; higher costs as many times more."""
    temperature: Annotated[float, Range("0, or from 0.01 to 100", lambda x: x == 0 or 0.01 <= x <= 100)] = 0.0
    """0 is greedy."""
    top_p: Annotated[float, Range("above 0, at most 1", lambda x: 0 < x <= 1)] = 1.0
    """Where sampled: of the smallest set of likeliest tokens whose probability reaches this."""
    top_k: NonNegative[int] = 0
    """Where sampled: of so many likeliest tokens; 0 is all."""
    min_p: Share = 0.0
    """Where sampled: of tokens at least this share as likely as the likeliest; 0 is all."""
    max_new_tokens: Positive[int] = 4096
    """Longest answer."""
    thinking_tokens: NonNegative[int] = 0
    """What still thinks after so many tokens has its think block closed and its answer begun for it; 0: no budget."""
    max_num_seqs: Positive[int] = 256
    """Sequences decoded at once."""

    @property
    def filters(self) -> dict[str, float]:
        """The filters of sampling that are set, by their names in SamplingParams."""
        usual = {"top_p": 1.0, "top_k": 0, "min_p": 0.0}
        return {name: getattr(self, name) for name, all_ in usual.items() if getattr(self, name) != all_}

    def check(self, where: str) -> None:
        """Raise InputError for protocols that are none or twice the same, a model's name that is no folder's, settings
        of sampling where it is greedy, and a budget of thinking that leaves an answer no room.
        """
        if self.samples > 1 and self.temperature == 0:
            raise InputError(f"{where}samples is {self.samples}, but at temperature 0 all would be the same")
        if self.temperature == 0 and self.filters:
            raise InputError(f"{where}top_p, top_k and min_p need temperature: set it, or leave them out")
        if self.thinking_tokens and self.thinking_tokens > self.max_new_tokens - FOR_AN_ANSWER:
            raise InputError(
                f"{where}thinking_tokens is {self.thinking_tokens}, and max_new_tokens {self.max_new_tokens}: "
                f"leave at least {FOR_AN_ANSWER} for the answer"
            )
        for name in self.models:
            if not re.fullmatch(r"[^./\0][^/\0]*", name):
                raise InputError(
                    f"{where}models has {name!r}: expected the name of a folder: no /, no dot first"
                )
        if not self.protocols or len(set(self.protocols)) < len(self.protocols):
            raise InputError(f"{where}protocols is out of its range: expected one or more, each once")


@dataclass(frozen=True)
class FreeConfig:
    relative_tolerance: Annotated[float, Range("from 0 to below 1", lambda x: 0 <= x < 1)] = 0.0
    """A number is right within this share of the right one; 0.05 is 5 %."""
    absolute_tolerance: NonNegative[float] = 0.0
    """Or within this distance; the larger of the two holds. A question's own `tolerance` goes before both."""
    units: Literal["strip", "require"] = "strip"
    """strip: a number may lack its unit. require: the unit of the right answer must stand behind it."""
    checker: str = ""
    """module:function(answer, question) -> bool, for answer_style free."""


@dataclass(frozen=True)
class Config:
    run_dir: str = "runs/default"
    """Everything that a run writes lies here; the same command resumes it."""
    skip_damaged: bool = False
    """Training: where the newest checkpoint is not what was written, set it aside and go on from the one before it.
    Otherwise the file is named, and nothing is done."""
    seed: Annotated[int, Range("from 0 to below 2^63", lambda x: 0 <= x < 2**63)] = 0
    """Fixes data, noise and order."""
    threads: Annotated[int, Range("from 0 to 1024", lambda x: 0 <= x <= 1024)] = 0
    """CPU threads of torch in each process; 0 leaves its default. Bitwise repeatability needs the same number."""
    exact: Literal["auto", "tiles", "off"] = "auto"
    """auto: on a CPU in fp32, where the processor passes a check, what is sampled is what is scored to the last bit,
    and no answer depends on those beside it (docs/exactness.md). tiles: the same on any device, by slow products of one
    shape each (model/tiles.py)."""
    reproducible: bool = False
    """On a CPU by the kernels that every x86-64 processor with AVX2 has: the same bits on all of them."""
    model: str = ""
    """Hugging Face folder to start from. Empty: RUN_DIR/base/model."""
    chat_format: Literal["chatml", "qwen2.5", "qwen3", "llama3"] | None = None
    """null: the model folder's own chat template; where it has none, chatml. A name overrides it."""
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    """name -> value of what the template may ask for, as {enable_thinking: false}; the export's template keeps them."""
    answer_style: Literal["letter", "text", "number", "free"] = "letter"
    """What stands between <answer> and </answer>: the option's letter, or its text. Where a question has no options, a
    number or a short text, by its right answer, or as is said here; free: whatever free.checker can judge."""
    free: FreeConfig = field(default_factory=FreeConfig)
    """How free answers are compared."""
    instruction: str = ""
    """Last lines of the user message. Empty: fleming/prompt.py's for the answer style."""
    system: str = ""
    """System message; empty: none of ours (the chat format may have its own)."""
    logger: str = ""
    """module:function(stage, record) of your own, called with each step's record; TensorBoard needs none, installed."""
    data: DataConfig = field(default_factory=DataConfig)
    """Files to learn from."""
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    """Devices and processes."""
    synth: SynthConfig = field(default_factory=SynthConfig)
    """Stage 1: RODS."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """Who teaches; also asked for votes and grades where synth.voter is teacher."""
    base_model: BaseModelConfig = field(default_factory=BaseModelConfig)
    """A model to start from, where there is none."""
    sft: SFTConfig = field(default_factory=SFTConfig)
    """Stage 2: CoT cold start."""
    grpo: GRPOConfig = field(default_factory=GRPOConfig)
    """Stage 3: RLVR."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """Stage 4: benchmarks."""

    @property
    def reading(self) -> dict[str, Any]:
        """How files are read and free answers compared."""
        data = {f"data.{name}": getattr(self.data, name) for name in ("columns", "header", "assistant_turns")}
        return data | {f"free.{name}": value for name, value in vars(self.free).items()}

    @property
    def question_file(self) -> Path:
        """What RL learns from."""
        return Path(self.data.questions or Path(self.run_dir, "data/rl.jsonl"))

    @property
    def dev_file(self) -> Path:
        """What RL is measured on while it runs."""
        return Path(self.data.dev or Path(self.run_dir, "data/dev.jsonl"))

    @property
    def trajectory_file(self) -> Path:
        """What the cold start learns from."""
        return Path(self.data.trajectories or Path(self.run_dir, "data/cold_start.jsonl"))

    @property
    def base_folder(self) -> Path:
        """The model that the cold start begins from."""
        return Path(self.model or Path(self.run_dir, "base/model"))

    @property
    def rl_start(self) -> Path:
        """The model that RL begins from: see grpo.start_from."""
        cold_start, start_from = Path(self.run_dir, "sft/model"), self.grpo.start_from
        if start_from == "auto":
            start_from = "cold_start" if cold_start.exists() or not self.model else "base"
        return self.base_folder if start_from == "base" else cold_start

    def check(self, where: str) -> None:
        """Raise InputError for no folder to write to."""
        if not self.run_dir:
            raise InputError(f"{where}run_dir is out of its range: expected a folder")
        if (self.answer_style == "free") != bool(self.free.checker):
            raise InputError(f"{where}answer_style free and free.checker go together: give both or none")
        if self.synth.voter == TEACHER and self.teacher.kind == "template":
            raise InputError(
                f"{where}synth.voter is teacher, but teacher.kind is template: set it to local or openai; a folder of "
                "this name is ./teacher"
            )
        asks = {"critic": self.synth.critic, "rewrite": self.synth.rewrite}
        asks["wikipedia.ask_teacher"] = self.synth.wikipedia.ask_teacher
        for name, asked in asks.items():
            if asked and self.teacher.kind == "template":
                raise InputError(f"{where}synth.{name} needs a teacher that can be asked: set teacher.kind")
        if self.synth.voter == TEACHER and self.synth.voter_chat_template_kwargs:
            raise InputError(
                f"{where}synth.voter_chat_template_kwargs is for a voter of its own: set teacher.chat_template_kwargs"
            )
