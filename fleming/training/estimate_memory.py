"""What a run needs of one GPU's memory (or of one process on a CPU), by arithmetic: no model is built.

    python -m fleming.training.estimate_memory --config configs/fleming_r1_7b.yaml --gpus 8 --gpu-memory 80 [--nodes N]

- `model` is a folder, of which config.json is enough, or a usual model's name: model=Qwen/Qwen2.5-7B
- says line by line what is there at all times and what each phase of a step adds at its worst moment, and whether
  that fits; where it does not, which settings would make it fit
- assumes the worst that the settings allow: full packs, every sequence as long as the longest, no prompt shared
- right to a tenth, and errs upwards: tests compare it with what is allocated
- left out: CUDA's context, NCCL's buffers and what the allocator wastes, for which a tenth of the memory is kept
  free; workspace inside kernels (decoding must read its cache in place); what parallel.compile saves

Letters: c bytes of the compute dtype (2 for bf16 on CUDA, 4 on a CPU), n processes that a model is sharded over. A GB
is 1e9 bytes.
"""

import argparse
import math
from dataclasses import dataclass, replace

import torch

from fleming.config import parse_command_line, run_script
from fleming.settings import Config
from fleming.training.logprobs import tokens_per_chunk
from fleming.training.parallel import compute_dtype
from fleming.training.usual_models import sizes_of
from model.errors import InputError
from model.huggingface.config import ModelConfig
from model.sampler import PREFILL_TOKENS

GB = 1e9
USABLE = 0.9  # of the memory
LONGEST_PROMPT = 1024  # tokens, where no data file is at hand
STAGES = {"sft": "cold start", "grpo": "RL"}
Lines = dict[str, float]  # what it is -> bytes


@dataclass(frozen=True)
class Machine:
    processes: int = 1  # in all, one a GPU
    nodes: int = 1  # that they are spread over
    device: str = "cuda"  # or cpu
    memory: float = 80 * GB  # bytes that each process has


@dataclass(frozen=True)
class Longest:
    prompt: int  # tokens
    response: int  # tokens

    @property
    def sequence(self) -> int:
        """Tokens of both."""
        return self.prompt + self.response


@dataclass(frozen=True)
class Case:
    """A stage of training on a machine, and the sizes that its phases share."""

    stage: str  # sft or grpo
    model: ModelConfig
    cfg: Config
    machine: Machine
    longest: Longest

    @property
    def c(self) -> int:
        """Bytes of a number in the compute dtype."""
        return compute_dtype(torch.device(self.machine.device)).itemsize

    @property
    def sharded(self) -> bool:
        """Whether the model is sharded; one process on a CPU is plain PyTorch."""
        return self.machine.device == "cuda" or self.machine.processes > 1

    @property
    def shards(self) -> int:
        """Processes that a model is spread over."""
        replicas = 1 if self.cfg.parallel.shard == "all" else self.machine.nodes
        return self.machine.processes // replicas

    @property
    def share(self) -> float:
        """Parameters that a process has of a model."""
        return self.model.parameters / self.shards

    @property
    def resident(self) -> float:
        """Parameters whose weights, moments and gradients are on the device, not in host memory."""
        return self.share * (not self.cfg.parallel.offload or self.machine.device == "cpu")

    @property
    def tokens_of_rank(self) -> int:
        """Tokens that one process has in a step."""
        rl = self.cfg.grpo
        sequences = self.cfg.sft.sequences_per_step
        if self.stage == "grpo":
            last_stage = rl.stage2 if rl.stage2.max_steps else rl.stage1
            sequences = rl.questions_per_step * last_stage.group_size
        return math.ceil(sequences / self.machine.processes) * self.longest.sequence

    @property
    def pack(self) -> int:
        """Tokens of a pack: it is full, unless one sequence is longer or the process has fewer."""
        asked = getattr(self.cfg, self.stage).micro_batch_tokens
        return max(self.longest.sequence, min(asked, self.tokens_of_rank))

    @property
    def logits(self) -> int:
        """Bytes of two chunks' logits in fp32: one is made while the one before is still there."""
        scored = self.pack * self.longest.response // self.longest.sequence
        chunk = min(scored, tokens_per_chunk(self.model.vocab_size, self.machine.device))
        return 2 * 4 * chunk * self.model.vocab_size

    @property
    def gathered(self) -> Lines:
        """What FSDP holds whole while a block runs: this block and the next, and what is no block."""
        block, layers = self.model.block_parameters, self.model.num_hidden_layers
        whole = self.model.parameters - (layers - 2) * block
        return {"gathered: embedding, output, 2 blocks": self.c * whole * self.sharded}

    def forward(self, tokens: int) -> int:
        """Return the bytes of a block's activations where no gradient is wanted."""
        return self.c * tokens * (2 * self.model.hidden_size + 3 * self.model.intermediate_size)


@dataclass(frozen=True)
class Budget:
    standing: Lines  # there at all times
    phases: dict[str, Lines]  # what each phase of a step adds at its worst moment
    host: float  # bytes of host memory a process, where the optimiser is offloaded

    @property
    def peaks(self) -> dict[str, float]:
        """Bytes at each phase's worst moment, what is there at all times included."""
        return {phase: _sum(self.standing) + _sum(lines) for phase, lines in self.phases.items()}

    @property
    def peak(self) -> float:
        """Bytes at the worst moment of all."""
        return max(self.peaks.values())

    def lines(self) -> list[str]:
        """Return the budget as text, in GB."""
        text = [_row("at all times", _sum(self.standing)), *_rows(self.standing)]
        for phase, size in self.peaks.items():
            text += [f"{_row(phase, size)} with the above", *_rows(self.phases[phase])]
        if self.host:
            text.append(_row("host memory, a process", self.host))
        return text


def _sum(lines: Lines) -> float:
    return sum(lines.values())


def _row(name: str, size: float) -> str:
    return f"{name:44}{size / GB:8.1f}"


def _rows(lines: Lines) -> list[str]:
    return [_row(f"  {name}", size) for name, size in lines.items() if size]


def estimate(case: Case) -> Budget:
    """Return what each process needs on its device."""
    rl, c, n = case.cfg.grpo, case.c, case.shards
    largest = c * case.model.vocab_size * case.model.hidden_size
    standing = {
        f"weights, fp32, 1/{n}": 4 * case.resident,
        f"AdamW's two moments, fp32, 1/{n}": 8 * case.resident,
    }
    phases = {}
    if case.stage == "grpo":
        standing[f"reference model, {8 * c} bits, 1/{n}"] = c * case.share * rl.loss.needs_reference
        standing[f"sampling copy, {8 * c} bits, whole"] = c * case.model.parameters * case.sharded
        phases["rollout"] = _rollout(case)
        if rl.loss.needs_reference or rl.rescores:
            # Of logits as much again for logsumexp and entropy.
            most = max(case.forward(case.pack), 2 * case.logits)
            phases["score"] = {"activations or logits": most, **case.gathered}
    elif case.cfg.sft.validation:
        # Its cache has as many rows as the free memory holds; one it needs.
        row = case.longest.sequence * case.model.kv_bytes_per_token(torch.float32) // 4 * c
        copy = c * case.model.parameters * case.sharded
        phases["validation"] = {f"sampling copy, {8 * c} bits, whole": copy, "KV cache, at least": row}
    phases["update"] = _update(case)
    phases["export"] = {"the largest tensor, gathered": largest * (1 + 1 / n) * case.sharded}
    return Budget(standing, phases, host=16 * (case.share - case.resident))


def _rollout(case: Case) -> Lines:
    """Return what sampling adds with all rows in use."""
    rl, longest = case.cfg.grpo, case.longest
    rows, samples = rl.max_num_seqs, rl.curriculum.mine_samples  # mining answers the whole training set
    if not rl.stage2.max_steps:
        samples = rl.stage1.group_size
        rows = min(rows, math.ceil(rl.questions_per_step / case.machine.processes) * samples)
    a_token = case.model.kv_bytes_per_token(torch.float32) // 4 * case.c

    # The first rows' prompts are all prefilled, a pack at a time, before the cache is filled from them.
    prompts = math.ceil(rows / samples)
    at_a_time = min(prompts, max(1, PREFILL_TOKENS[case.machine.device] // longest.prompt))
    prefill = prompts * longest.prompt * a_token + case.forward(at_a_time * longest.prompt)
    # Drawing has the logits, and in float64 the logits, their differences from the largest, and the exponentials.
    drawing = rows * case.model.vocab_size * (case.c + 3 * 8)
    return {
        f"KV cache, {rows} x {longest.sequence} tokens": rows * longest.sequence * a_token,
        "prefill or drawing": max(prefill, drawing),
    }


def _update(case: Case) -> Lines:
    """Return what a forward and its backward add: at the loss, in a block's backward or at its end."""
    model, c, tokens = case.model, case.c, case.pack
    matrix = model.vocab_size * model.hidden_size
    gradients = 4 * case.resident
    of_earlier_packs = gradients * (case.tokens_of_rank > tokens)

    side_by_side = case.machine.device == "cpu" and tokens > case.longest.sequence
    block = kept_by_block(model, tokens, c, side_by_side)
    # The MLP's product in backward: gradients of it and its two factors, less what is freed; and the residual's.
    backward = 2 * c * tokens * (model.intermediate_size + model.hidden_size)
    kept = model.num_hidden_layers * block
    if case.cfg.parallel.activation_checkpointing:
        kept = model.num_hidden_layers * c * tokens * model.hidden_size  # each block's input
        backward += block  # made again

    # The output matrix's gradient is added up in fp32: in place, or from products in the compute dtype. In the forward
    # there are a chunk's logits, their log-softmax and its exponentials; in half precision also the product.
    loss = max(case.logits + (4 + c * (c < 4)) * matrix, case.logits * (6 + (c < 4)) // 4)
    # The output matrix's gradient waits for the embedding's, a block's for the reduce-scatter of the one before.
    in_flight = c * matrix + (c + 4) * model.block_parameters * case.sharded
    # The first pack's gradients come as activations go.
    still_kept = kept if of_earlier_packs else max(0, kept - gradients)
    moments = [
        {"gradients": of_earlier_packs, "activations": kept, "logits, output matrix's gradient": loss},
        {
            "gradients": gradients,
            "activations": still_kept,
            "a block's backward": backward,
            "gradients in flight": in_flight,
        },
        {"gradients": gradients, "gradients in flight": 2 * c * matrix},  # the embedding's comes last
    ]
    return max(moments, key=_sum) | case.gathered


def kept_by_block(model: ModelConfig, tokens: int, c: int, side_by_side: bool) -> int:
    """Return the bytes that autograd keeps of one block for its backward; a test asks autograd itself.

    side_by_side: the pack's sequences are laid out once more for attention, as on a CPU.
    """
    q, k = model.num_attention_heads * model.head_dim, model.num_key_value_heads * model.head_dim
    norms = 2 * (4 + 2 * c) * model.hidden_size  # of each the input in fp32, the normalised input, the output
    if model.qk_norm:
        norms += (4 + c) * (q + k)  # their outputs are only rotated
    attention = c * (2 * q + 2 * k)  # q, k, v and their output
    if side_by_side:
        attention *= 2
    mlp = c * 4 * model.intermediate_size  # gate, silu(gate), up, their product
    return tokens * (norms + attention + mlp)


def report(case: Case) -> str:
    """Return the budget as text; its last line says whether it fits the machine, or what would make it."""
    budget, machine, memory = estimate(case), case.machine, case.machine.memory
    worst = max(budget.peaks, key=budget.peaks.get)
    peak = f"the peak, in {worst}, is {budget.peak / GB:.1f} of {memory / GB:.0f} GB"
    title = f"{STAGES[case.stage]}, {case.model.parameters:,} parameters"
    ranks = f"{machine.processes} {'GPUs' if machine.device == 'cuda' else 'processes'}"
    if machine.nodes > 1:
        ranks += f" on {machine.nodes} nodes"
    lines = [f"{title}: memory of each of {ranks}, GB", *budget.lines()]
    if budget.peak <= USABLE * memory:
        lines.append(f"fits: {peak}")
    else:
        lines.append(f"does not fit: {peak}, of which a tenth is kept free")
        lines.append(_what_would_fit(case))
    return "\n".join(lines)


def _what_would_fit(case: Case) -> str:
    """Take one setting after the other that makes a phase smaller which is too large."""
    usable, budget = USABLE * case.machine.memory, estimate(case)
    taken = []
    for section, key, value in (
        ("parallel", "activation_checkpointing", True),
        (case.stage, "micro_batch_tokens", case.longest.sequence),
        ("grpo", "max_num_seqs", min(16, case.cfg.grpo.max_num_seqs)),
        ("parallel", "offload", True),
        ("parallel", "shard", "all"),
    ):
        changed = replace(getattr(case.cfg, section), **{key: value})
        other = replace(case, cfg=replace(case.cfg, **{section: changed}))
        setting = f"{section}.{key}={str(value).lower()}"
        if key == "shard":
            machine = case.machine
            twice = replace(machine, processes=2 * machine.processes, nodes=2 * machine.nodes)
            other = replace(other, machine=twice)
            setting += f" on {other.machine.nodes} nodes"
        new = estimate(other)
        if any(new.peaks[phase] < size for phase, size in budget.peaks.items() if size > usable):
            case, budget = other, new
            taken.append(setting)

    settings, peak = ", ".join(taken), f"{budget.peak / GB:.1f} GB"
    if budget.peak <= usable:
        return f"would fit with {settings}: {peak}"
    largest = max(budget.standing, key=budget.standing.get)
    return (
        f"would not fit with {settings} either: {peak} ({largest}: {budget.standing[largest] / GB:.1f}); "
        f"with all that {math.ceil(budget.peak / USABLE / GB)} GB would do"
    )


def main(argv: list[str]) -> None:
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--gpus", type=int, default=1, help="in all; default 1")
        parser.add_argument("--nodes", type=int, default=1, help="that they are spread over; default 1")
        parser.add_argument("--gpu-memory", type=float, default=80, metavar="GB", help="of each; default 80")
        parser.add_argument("--prompt", type=int, default=LONGEST_PROMPT, help="longest; default 1024 tokens")
        parser.add_argument("--response", type=int, help="longest, tokens; default grpo.max_new_tokens")

    cfg, options = parse_command_line(Config, __doc__, argv, add_arguments)
    if options.response is None:
        options.response = cfg.grpo.max_new_tokens
    for name in ("gpus", "nodes", "gpu_memory", "prompt", "response"):
        if not (value := getattr(options, name)) > 0:
            raise InputError(f"--{name.replace('_', '-')} {value}: expected more than 0")
    if options.gpus % options.nodes:
        raise InputError(f"--gpus {options.gpus} --nodes {options.nodes}: expected as many GPUs on each node")
    longest = Longest(options.prompt, options.response)
    model = sizes_of(cfg.base_folder)
    machine = Machine(options.gpus, options.nodes, memory=options.gpu_memory * GB)
    for stage in STAGES:
        print(report(Case(stage, model, cfg, machine, longest)), end="\n\n")


if __name__ == "__main__":
    run_script(main)
