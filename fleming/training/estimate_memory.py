"""What a run needs of one GPU's memory (or of one process on a CPU), by arithmetic: no model is built.

    python -m fleming.training.estimate_memory --config configs/fleming_r1_7b.yaml --gpus 8 --gpu-memory 80 [--nodes N]

- says line by line what is there at all times and what each phase of a step adds at its worst moment, and whether that
  fits; where it does not, which settings would make it fit
- assumes the worst that the settings allow: full packs, every sequence as long as the longest, no prompt shared
- left out: CUDA's context, NCCL's buffers and what the allocator wastes, for which a tenth of the memory is kept free;
  workspace inside kernels (decoding must read its cache in place); what parallel.compile saves

Letters: T tokens of a pack, R of them scored, D hidden, I SwiGLU's inner width, V vocabulary, c bytes of the compute
dtype (2 for bf16 on CUDA, 4 on a CPU), n ranks that a model is sharded over. A GB is 1e9 bytes.
"""

import argparse
import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fleming.config import parse_command_line, run_script
from fleming.settings import Config
from fleming.training.logprobs import tokens_per_chunk
from fleming.training.parallel import compute_dtype
from model.errors import InputError
from model.huggingface.config import ModelConfig, load_config
from model.sampler import PREFILL_TOKENS

GB = 1e9
USABLE = 0.9  # of the memory
LONGEST_PROMPT = 1024  # tokens, where no data file is at hand
STAGES = {"sft": "cold start", "grpo": "RL"}
Lines = dict[str, float]  # what it is -> bytes


@dataclass(frozen=True)
class Budget:
    standing: Lines  # there at all times
    phases: dict[str, Lines]  # what each phase of a step adds at its worst moment
    host: float  # bytes of host memory a process, where the optimiser is offloaded

    def peak_of(self, phase: str) -> float:
        """Return the bytes at the phase's worst moment, what is there at all times included."""
        return sum(self.standing.values()) + sum(self.phases[phase].values())

    @property
    def peak(self) -> float:
        """Bytes at the worst moment of all."""
        return max(map(self.peak_of, self.phases))

    def lines(self) -> list[str]:
        """Return the budget as text, in GB."""
        text = []
        for title, part in {"at all times": self.standing, **self.phases}.items():
            before = 0 if part is self.standing else sum(self.standing.values())
            text.append(f"{title:44}{(before + sum(part.values())) / GB:8.2f}" + " with the above" * bool(before))
            text += [f"  {name:42}{size / GB:8.2f}" for name, size in part.items() if size]
        return [*text, f"{'host memory, a process':44}{self.host / GB:8.2f}"] if self.host else text


def kept_by_block(model: ModelConfig, tokens: int, c: int, side_by_side: bool) -> int:
    """Return the bytes that autograd keeps of one block for its backward; a test asks autograd itself."""
    q, k = model.num_attention_heads * model.head_dim, model.num_key_value_heads * model.head_dim

    def norm(width: int, rows: int) -> int:  # the input in fp32, the normalised input, 1 / rms of each row
        return (4 + c) * width + 4 * rows

    a_token = 2 * (norm(model.hidden_size, 1) + c * model.hidden_size)  # and the outputs, which q, k, v and MLP read
    if model.qk_norm:  # their outputs are only rotated, for which cos and sin are kept, once for all blocks
        a_token += norm(q, model.num_attention_heads) + norm(k, model.num_key_value_heads)
    a_token += c * (2 * q + 2 * k) + 4 * model.num_attention_heads  # q, k, v, their output, the logsumexp of each head
    if side_by_side:
        a_token += c * (2 * q + 2 * k)  # once more as they lie in the pack
    a_token += c * 4 * model.intermediate_size  # gate, silu(gate), up, their product
    return tokens * a_token


def estimate(
    model: ModelConfig,
    cfg: Config,
    stage: str,
    world_size: int,
    device: str = "cuda",
    nodes: int = 1,
    *,
    prompt: int = LONGEST_PROMPT,
    response: int | None = None,
) -> Budget:
    """Return what each of `world_size` processes needs on its device for the stage ("sft" or "grpo").

    prompt, response: the longest, in tokens; response defaults to grpo.max_new_tokens. One process on a CPU is plain
    PyTorch; all else is sharded.
    """
    rl, length = cfg.grpo, prompt + (response or cfg.grpo.max_new_tokens)
    c = compute_dtype(torch.device(device)).itemsize
    sharded = device == "cuda" or world_size > 1
    n = world_size if cfg.parallel.shard == "all" else world_size // nodes
    on_device = not (cfg.parallel.offload and device == "cuda")
    total, block, layers = model.parameters, model.block_parameters, model.num_hidden_layers
    root = total - layers * block  # the group of embedding, last norm and output matrix
    hidden, inner, matrix = model.hidden_size, model.intermediate_size, model.vocab_size * model.hidden_size
    reference = stage == "grpo" and rl.loss.needs_reference
    standing: Lines = {
        f"weights, fp32, 1/{n}": 4 * total / n * on_device,
        f"AdamW's two moments, fp32, 1/{n}": 8 * total / n * on_device,
        f"reference model, {8 * c} bits, 1/{n}": c * total / n * reference,
        f"sampling copy, {8 * c} bits, whole": c * total * (stage == "grpo" and sharded),
    }
    gathered = {"gathered: embedding, output matrix": c * root * sharded, "gathered: 2 blocks": 2 * c * block * sharded}

    # A pack is full, unless one sequence is longer or the rank has fewer.
    if stage == "grpo":
        sequences = rl.questions_per_step * (rl.stage2 if rl.stage2.max_steps else rl.stage1).group_size
    else:
        sequences = cfg.sft.sequences_per_step
    of_rank = math.ceil(sequences / world_size) * length
    tokens = max(length, min(getattr(cfg, stage).micro_batch_tokens, of_rank))
    several_packs = of_rank > tokens
    scored = tokens * (length - prompt) // length
    chunk = min(scored, tokens_per_chunk(model.vocab_size, device)) * model.vocab_size
    next_chunk = min(chunk, scored * model.vocab_size - chunk)  # made while the one before is still there
    phases: dict[str, Lines] = {}
    if stage == "grpo":
        phases["rollout"] = _rollout(model, cfg, world_size, device, prompt, length, c)
        moments = [
            {"gathered: embedding, output matrix": 2 * c * root * sharded},  # and the buffer that they came in
            {"a block's activations": c * tokens * (2 * hidden + 3 * inner), **gathered},
            # fp32, and as much again for logsumexp or entropy
            {"logits": 8 * (chunk + next_chunk), "hidden states": c * (2 * tokens + scored) * hidden, **gathered},
        ]
        if reference or rl.updates_per_rollout > 1 or rl.loss.importance_cap:
            phases["score"] = max(moments, key=_sum)

    # The update. Autograd keeps the blocks'; of the last norm its input and output; cos and sin; the scored rows.
    block_kept = kept_by_block(model, tokens, c, side_by_side=device == "cpu" and tokens > length)
    again = cfg.parallel.activation_checkpointing
    kept = layers * (c * tokens * hidden if again else block_kept)
    top = tokens * ((4 + 2 * c) * hidden + c * model.head_dim) + c * scored * hidden
    # The MLP's product in backward: gradients of it and its two factors, less what is freed; and the residual's.
    backward = {"a block's backward": block_kept * again + c * tokens * 2 * (inner + hidden)}
    # A chunk has fp32 logits, overwritten by their gradient, and that once more in a compute dtype of its own. The
    # output matrix's gradient is added up in fp32: in place, or from products in the compute dtype.
    half = c * (c < 4)
    chunks = (4 + half) * chunk + max(4 * next_chunk, half * matrix)
    head = {"logits, output matrix's gradient": chunks + 4 * matrix + c * scored * hidden}
    # Gradients of earlier packs are there from the start; those of one pack come as activations go. The output matrix's
    # waits for the embedding's where both are one parameter or one group, a block's for the reduce-scatter before it.
    grads = 4 * total / n * on_device
    waiting = c * matrix if sharded or model.tie_word_embeddings else 0
    own = 0 if waiting else 4 * matrix
    begin, end = (grads, grads) if several_packs else (own, own + grads * (layers - 1) * block / total)
    in_flight = {"gradients in flight": waiting + (c + 4) * block * sharded}
    moments = [
        {"gradients": grads * several_packs, "activations": kept + top, **head, **gathered},
        {"gradients": begin, "activations": kept, **backward, **in_flight, **gathered},
        {"gradients": end, "activations": kept / layers, **backward, **in_flight, **gathered},
        {"gradients": grads, "gradients in flight": waiting + c * matrix * (several_packs or sharded), **gathered},
        {"gradients": grads, "gradients in flight": ((c + 4) * root + 4 * block) * sharded},
    ]
    phases["update"] = max(moments, key=_sum)
    phases["export"] = {"the largest tensor, gathered": c * matrix * (1 + 1 / n) * sharded}
    return Budget(standing, phases, 16 * total / n * (not on_device))


def _sum(lines: Lines) -> float:
    return sum(lines.values())


def _rollout(model: ModelConfig, cfg: Config, world_size: int, device: str, prompt: int, length: int, c: int) -> Lines:
    """Return what sampling needs with all rows in use."""
    rl, mined = cfg.grpo, cfg.grpo.stage2.max_steps > 0  # mining answers the whole training set
    rows = math.ceil(rl.questions_per_step / world_size) * rl.stage1.group_size
    rows = rl.max_num_seqs if mined else min(rl.max_num_seqs, rows)
    # The first rows' prompts are all prefilled, a pack at a time, before the cache is filled from them.
    prompts = math.ceil(rows / (rl.curriculum.mine_samples if mined else rl.stage1.group_size))
    pack = min(prompts, max(1, PREFILL_TOKENS[device] // prompt)) * prompt
    a_token = model.kv_bytes_per_token(torch.float32) // 4 * c
    activations = c * pack * (2 * model.hidden_size + 3 * model.intermediate_size)
    prefill = prompts * (prompt * a_token + c * model.vocab_size) + max(pack * a_token, activations)
    # Drawing has the logits, and in float64 the logits, their differences from the largest, and the exponentials.
    draw = rows * model.vocab_size * (c + 3 * 8)
    cache = {f"KV cache, {rows} x {length} tokens": rows * length * a_token}
    return cache | ({"prefill": prefill} if prefill > draw else {"drawing": draw})


def report(
    model: ModelConfig, cfg: Config, stage: str, world_size: int, memory: float, device="cuda", nodes=1, **longest: int
) -> str:
    """Return the budget as text; its last line says whether it fits `memory` bytes a process, or what would make it."""
    budget = estimate(model, cfg, stage, world_size, device, nodes, **longest)
    ranks = f"{world_size} {'GPUs' if device == 'cuda' else 'processes'}" + f" on {nodes} nodes" * (nodes > 1)
    title = f"{STAGES[stage]}, {model.parameters:,} parameters: memory of each of {ranks}, GB"
    worst = max(budget.phases, key=budget.peak_of)
    peak = f"the peak, in {worst}, is {budget.peak / GB:.1f} of {memory / GB:.0f} GB"
    text = "\n".join([title, *budget.lines(), f"fits: {peak}"])
    if budget.peak <= USABLE * memory:
        return text
    text = text.replace("\nfits", "\ndoes not fit") + ", of which a tenth is kept free"
    taken = []
    for section, key, value in (
        ("parallel", "activation_checkpointing", True),
        (stage, "micro_batch_tokens", sum(longest.values())),
        ("grpo", "max_num_seqs", min(16, cfg.grpo.max_num_seqs)),
        ("parallel", "offload", True),
        ("parallel", "shard", "all"),  # and twice the nodes
    ):
        more = 2 if key == "shard" else 1
        changed = replace(cfg, **{section: replace(getattr(cfg, section), **{key: value})})
        other = estimate(model, changed, stage, world_size * more, device, nodes * more, **longest)
        too_high = [phase for phase in budget.phases if budget.peak_of(phase) > USABLE * memory]
        if any(other.peak_of(phase) < budget.peak_of(phase) for phase in too_high):
            cfg, budget, world_size, nodes = changed, other, world_size * more, nodes * more
            taken.append(f"{section}.{key}={str(value).lower()}" + f" on {nodes} nodes" * (more > 1))
    if budget.peak <= USABLE * memory:
        return f"{text}\nwould fit with {', '.join(taken)}: {budget.peak / GB:.1f} GB"
    name, size = max(budget.standing.items(), key=lambda line: line[1])
    return (
        f"{text}\nwould not fit with {', '.join(taken)} either: {budget.peak / GB:.1f} GB ({name}: {size / GB:.1f}); "
        f"with all that {math.ceil(budget.peak / USABLE / GB)} GB would do"
    )


def main(argv: list[str]) -> None:
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--gpus", type=int, default=1, help="in all; default 1")
        parser.add_argument("--nodes", type=int, default=1, help="that they are spread over; default 1")
        parser.add_argument("--gpu-memory", type=float, default=80, metavar="GB", help="of each; default 80")
        parser.add_argument("--prompt", type=int, default=LONGEST_PROMPT, help="longest prompt, tokens; default 1024")
        parser.add_argument("--response", type=int, help="longest answer, tokens; default grpo.max_new_tokens")

    cfg, options = parse_command_line(Config, __doc__, argv, add_arguments)
    longest = {"prompt": options.prompt, "response": options.response or cfg.grpo.max_new_tokens}
    if min(options.gpus, options.nodes, *longest.values()) < 1 or options.gpus % options.nodes:
        raise InputError(f"--gpus {options.gpus} --nodes {options.nodes}: expected as many GPUs on each node")
    model = load_config(cfg.model or Path(cfg.run_dir, "base/model"))
    for stage in STAGES:
        print(
            report(model, cfg, stage, options.gpus, options.gpu_memory * GB, nodes=options.nodes, **longest), end="\n\n"
        )


if __name__ == "__main__":
    run_script(main)
