"""How sampling and the update grow with rows, context and ranks: tokens a second, and memory. CPU, fp32.

    python benchmarks/growth.py [--threads 2]

- rows: decoding 8 to 256 sequences at a context of about 128
- context: decoding, and the update, of 8 sequences at 256 to 4,096 tokens
- ranks: one GRPO step's rollout and update, 32 prompts x 8 answers, by one process with two threads and by two
  processes with one thread each

The model is the size of benchmarks/sampler.py's demo case. The cache's memory is counted, the update's is the growth of
the process. The last line is JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from sampler import CONFIGS, Ids, stop_ids_for
from shapes import status

from fleming.settings import ParallelConfig
from fleming.training.logprobs import token_logprobs
from fleming.training.packing import micro_batches, pack
from fleming.training.parallel import World, gather_weights, join_world, parallelize, sampling_copy
from model import Sampler, SamplingParams
from model.huggingface.config import ModelConfig
from model.transformer import Transformer

ROWS, CONTEXTS, ANSWER = (8, 16, 32, 64, 128, 256), (256, 512, 1024, 2048, 4096), 64


def demo_model() -> Transformer:
    """Return a model with random weights."""
    raw = {**CONFIGS["demo"], "model_type": "qwen3", "rope_theta": 1e4, "rms_norm_eps": 1e-6}
    transformer = Transformer(ModelConfig.from_hf({**raw, "max_position_embeddings": 8192}, "config.json"))
    transformer.init_weights(torch.Generator().manual_seed(0))
    return transformer


def fastest(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the seconds of the fastest repetition but the first."""
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


def random_ids(count: int, length: int, least: int = 0) -> list[list[int]]:
    return torch.randint(least, 1600, (count, length), generator=torch.Generator().manual_seed(1)).tolist()


def decoded(transformer: Transformer, rows: int, context: int) -> dict:
    """Decode `rows` sequences from half an answer before `context` to half an answer behind it."""
    sampler = Sampler(transformer, Ids(1600, []), max_num_seqs=rows)
    prompts, params = random_ids(rows, context - ANSWER // 2), SamplingParams(max_new_tokens=ANSWER)
    rates = []
    for _ in range(3):
        sampler.generate(prompts, params)
        rates.append(rows * (ANSWER - 1) / sampler.decode_seconds)
    cache = rows * (context + ANSWER // 2) * transformer.cfg.kv_bytes_per_token(torch.float32)
    return {"tokens_per_second": max(rates), "ms_a_step": 1e3 * rows / max(rates), "cache_mib": cache / 2**20}


def updated(transformer: Transformer, context: int, sequences: int = 8) -> dict:
    """Forward and backward of sequences of `context` tokens, one a pack."""
    rows = random_ids(sequences, context + 1)

    def work() -> None:
        for row in rows:
            (-token_logprobs(transformer, pack([row[:16]], [row[16:]]))[0].mean()).backward()
        transformer.zero_grad()

    before = status(os.getpid(), "VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    seconds = fastest(work, 2)
    return {
        "tokens_per_second": sequences * context / seconds,
        "peak_mib": (status(os.getpid(), "VmHWM") - before) / 2**20,
    }


def one_step(world: World) -> dict:
    """Rollout and update of 32 x 8 long-tailed answers, divided over the ranks."""
    policy = demo_model()
    parallelize(policy, ParallelConfig(), world)
    actor = sampling_copy(policy, world)
    gather_weights(policy, actor)
    stops = stop_ids_for(128 / 3, 128, 1600)
    prompts = random_ids(32, 60, len(stops))
    sampler, params = (
        Sampler(actor, Ids(1600, stops), max_num_seqs=256),
        SamplingParams(n=8, max_new_tokens=128),
    )
    groups: list = []

    def rollout() -> None:
        groups[:] = world.divide(
            list(enumerate(prompts)),
            lambda mine: sampler.generate([p for _, p in mine], params, [i for i, _ in mine]),
        )

    def update() -> None:
        answers = [(p, s.token_ids) for p, group in zip(prompts, groups, strict=True) for s in group]
        for packs in micro_batches([len(p) + len(a) for p, a in answers], 2048, world.size):
            members = [answers[i] for i in packs[world.rank]]
            batch = pack([p for p, _ in members], [a for _, a in members])
            token_logprobs(policy, batch)[0].sum().backward()
        policy.zero_grad()

    sampling, updating = fastest(rollout), fastest(update)
    new = sum(len(s.token_ids) for group in groups for s in group)
    return {
        "sampled_tokens_per_second": new / sampling,
        "updated_tokens_per_second": (new + 256 * 60) / updating,
    }


def ranks(processes: int, threads: int) -> dict:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        str(processes),
        __file__,
        "--worker",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = command if processes > 1 else [sys.executable, __file__, "--worker"]
    out = subprocess.run(
        [*command, "--threads", str(threads)], stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    return json.loads(out.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with join_world(ParallelConfig(device="cpu")) as world:
        if options.worker:
            found = one_step(world)
            world.print(json.dumps(found))
            return
    transformer = demo_model()
    frozen = demo_model().requires_grad_(False)
    found: dict[str, dict] = {"rows": {}, "context": {}, "ranks": {}}
    print("| rows, context 128 | decoded tokens/s | ms a step | cache, MiB |\n|---|---|---|---|")
    for rows in ROWS:
        found["rows"][rows] = r = decoded(frozen, rows, 128)
        print(
            f"| {rows} | {r['tokens_per_second']:,.0f} | {r['ms_a_step']:.1f} | {r['cache_mib']:.1f} |",
            flush=True,
        )
    print(
        "\n| context, 8 rows | decoded tokens/s | ms a step | cache, MiB | updated tokens/s | its peak, MiB |"
    )
    print("|---|---|---|---|---|---|")
    for context in CONTEXTS:
        r, u = decoded(frozen, 8, context), updated(transformer, context)
        found["context"][context] = {"decode": r, "update": u}
        print(
            f"| {context:,} | {r['tokens_per_second']:,.0f} | {r['ms_a_step']:.1f} | {r['cache_mib']:.1f} "
            f"| {u['tokens_per_second']:,.0f} | {u['peak_mib']:,.0f} |",
            flush=True,
        )
    print("\n| processes x threads | sampled tokens/s | updated tokens/s |\n|---|---|---|")
    for processes, threads in ((1, 1), (1, 2), (2, 1)):
        found["ranks"][f"{processes}x{threads}"] = r = ranks(processes, threads)
        cells = (f"{r[key]:,.0f}" for key in ("sampled_tokens_per_second", "updated_tokens_per_second"))
        print(f"| {processes} x {threads} | {' | '.join(cells)} |", flush=True)
    print(json.dumps({"benchmark": "growth", "torch": torch.__version__, **found}))


if __name__ == "__main__":
    main()
