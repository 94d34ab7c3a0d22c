"""What exactness costs (model/exact.py): sampling and scoring with and without it, in one process, taking turns.

    python benchmarks/exactness.py [--case step,long_tailed,static,ragged,...] [--repeats 7] [--threads 2]

- step: an RL step of the demo's shape: 32 prompts, 8 answers to each, forward and backward of what came
- long_tailed, static, smollm: benchmarks/sampler.py's cases
- ragged, smollm_train: forward and backward of packs of long-tailed lengths

Prints for each the medians and their ratios. Weights are random, and lengths as sampler.py explains. The last line is
JSON; for step it has the largest difference between what was sampled and what is scored, too.
"""

import argparse
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.sampler import CASES, CONFIGS, Ids, stop_ids_for
from fleming.training.logprobs import token_logprobs
from fleming.training.packing import micro_batches, pack
from fleming.training.parallel import keep_freed_memory
from model import Sampler, SamplingParams, tiles
from model.exact import KEY_TILES
from model.huggingface.config import ModelConfig
from model.transformer import Transformer

SHAPES = {
    **CONFIGS,
    "step": {
        **{"vocab_size": 1600, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 3},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "tie_word_embeddings": True},
    },
}
SAMPLING = {**CASES, "long_tailed": CASES["demo"], "step": ("step", 32, 70, 8, 128, True)}
PACK_TOKENS = 2048
WAYS = {"off": 0, "exact": KEY_TILES[0], "whole blocks": KEY_TILES[-1], "tiles": tiles.KEYS}


def build(name: str) -> Transformer:
    """Return a model of the shape with random weights."""
    cfg = {"model_type": "llama" if name == "smollm" else "qwen3", "max_position_embeddings": 2048}
    transformer = Transformer(ModelConfig.from_hf(SHAPES[name] | cfg, "config.json"))
    transformer.init_weights(torch.Generator().manual_seed(0))
    return transformer


def backward(transformer: Transformer, groups: list[tuple[list[int], list[list[int]]]]) -> list[float]:
    """Run packs of whole groups (prompt, responses) forward and backward; return the log-probs, group after group."""
    found: dict[int, list[float]] = {}
    lengths = [sum(len(prompt) + len(r) for r in responses) for prompt, responses in groups]
    for [members] in micro_batches(lengths, PACK_TOKENS):
        pairs = [(groups[i][0], r) for i in members for r in groups[i][1]]
        logp, _ = token_logprobs(transformer, pack(*zip(*pairs, strict=True)))
        logp.sum().backward()
        sizes = [sum(map(len, groups[i][1])) for i in members]
        found |= zip(members, map(torch.Tensor.tolist, logp.detach().split(sizes)), strict=True)
    transformer.zero_grad(set_to_none=True)
    return [x for i in range(len(groups)) for x in found[i]]


def sampling(case: str, score: bool = False) -> tuple[Transformer, Callable[[], float]]:
    """Return a model, and what samples with it and returns the largest difference to the scorer's log-probs.

    score: scoring with its backward is part of it. Otherwise nothing is scored, and the difference is NaN.
    """
    shape, count, length, n, new, long_tailed = SAMPLING[case]
    transformer = build(shape)
    vocabulary = transformer.cfg.vocab_size
    stops = stop_ids_for(new / 3, new, vocabulary) if long_tailed else []
    rng = random.Random(1)
    prompts = [[rng.randrange(len(stops), vocabulary) for _ in range(length)] for _ in range(count)]
    sampler = Sampler(transformer, Ids(vocabulary, stops), max_num_seqs=count * n)

    def work() -> float:
        drawn = sampler.generate(prompts, SamplingParams(n=n, max_new_tokens=new))
        if not score:
            return float("nan")
        groups = [(p, [s.token_ids for s in group]) for p, group in zip(prompts, drawn, strict=True)]
        sampled = [x for group in drawn for s in group for x in s.logprobs]
        scored = backward(transformer, groups)
        return max(abs(a - b) for a, b in zip(sampled, scored, strict=True))

    return transformer, work


def training(shape: str, count: int, longest: int) -> tuple[Transformer, Callable[[], float]]:
    """Return a model, and what runs packs of sequences of long-tailed lengths through it."""
    transformer, rng = build(shape), random.Random(1)
    vocabulary, prompt = transformer.cfg.vocab_size, 60

    def ids(length: int) -> list[int]:
        return [rng.randrange(vocabulary) for _ in range(length)]

    mean = longest / 3 - prompt
    lengths = [1 + min(int(rng.expovariate(1 / mean)), longest - prompt - 1) for _ in range(count)]
    groups = [(ids(prompt), [ids(n)]) for n in lengths]

    def work() -> float:
        backward(transformer, groups)
        return float("nan")

    return transformer, work


BUILD = {
    "step": lambda: sampling("step", score=True),
    "long_tailed": lambda: sampling("long_tailed"),
    "static": lambda: sampling("static"),
    "smollm": lambda: sampling("smollm"),
    "ragged": lambda: training("demo", 128, 384),
    "smollm_train": lambda: training("smollm", 12, 700),
}


def run(case: str, repeats: int) -> dict[str, float]:
    """Return each way's median seconds, and their ratios to the first's."""
    transformer, work = BUILD[case]()
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    largest = dict.fromkeys(WAYS, 0.0)
    for turn in range(repeats + 1):  # the first one warms up
        for way, transformer.key_tile in WAYS.items():
            began = time.perf_counter()
            largest[way] = max(work(), largest[way])
            if turn:
                seconds[way].append(time.perf_counter() - began)
    found = {way: statistics.median(values) for way, values in seconds.items()}
    cells = [f"{found[way]:.2f} s" for way in WAYS]
    cells += [f"{found[way] / found['off']:.2f}" for way in [*WAYS][1:]]
    print(f"| {case} | {' | '.join(cells)} |", flush=True)
    found |= {f"{way}, sampled to scored": value for way, value in largest.items() if not math.isnan(value)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", default=",".join(BUILD))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as our scripts do
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"torch {torch.__version__}, {options.threads} threads, fp32, CPU ({capability})\n")
    ways, ratios = " | ".join(WAYS), " | ".join(f"{way} / off" for way in [*WAYS][1:])
    print(f"| case | {ways} | {ratios} |\n|{'---|' * (2 * len(WAYS))}")
    found = {case: run(case, options.repeats) for case in options.case.split(",")}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
