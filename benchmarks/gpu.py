"""What one GPU reaches: decoding, sampling against transformers, the update.

    python benchmarks/gpu.py [--case decode,generate,update] [--device cpu --tiny]

- decode: Qwen2.5-7B's shape, random bf16 weights, 64 rows at a context of about 1,024: bytes that must be read over the
  time, as a share of what a large copy reaches
- generate: the same weights, blocks compiled, 32 prompts x 8 samples, long-tailed, against transformers' `generate`
- update: Qwen2.5-1.5B's shape, fp32 masters, bf16 compute, packs of 4,096 or 16,384 tokens: operations of forward and
  backward over the time of the whole update, as a share of what a large matrix product reaches

The last line is JSON.
"""

import argparse
import gc
import itertools
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from sampler import Ids, stop_ids_for, their_tokens
from shapes import SHAPES, config_of

from fleming.settings import ParallelConfig
from fleming.training.logprobs import token_logprobs
from fleming.training.metrics import DeviceSpeed, training_flops
from fleming.training.optimizer import GuardedStep, make_adamw, set_learning_rate
from fleming.training.packing import pack
from fleming.training.parallel import World, compile_blocks, join_world, parallelize
from model import Sampler, SamplingParams
from model.huggingface.config import ModelConfig
from model.transformer import Transformer


def random_model(cfg: ModelConfig, dtype: torch.dtype, device: torch.device) -> Transformer:
    """Return the shape with weights drawn on the device."""
    with torch.device("meta"):
        transformer = Transformer(cfg).to(dtype)
    transformer.allocate(device)
    transformer.init_weights(torch.Generator(device).manual_seed(0))
    return transformer


def synchronized() -> float:
    """Return the time at which all work so far was done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def decode(transformer: Transformer, speed: DeviceSpeed, tiny: bool) -> dict:
    vocabulary = transformer.cfg.vocab_size
    length, new = (30, 20) if tiny else (960, 128)
    prompts = torch.randint(0, vocabulary, (8, length), generator=torch.Generator().manual_seed(1)).tolist()
    sampler = Sampler(transformer, Ids(vocabulary, []), max_num_seqs=64)
    shares, steps = [], []
    for seed in range(4):
        sampler.generate(prompts, SamplingParams(n=8, max_new_tokens=new, seed=seed))
        if seed:  # the first one warms up
            shares.append(sampler.decode_bytes / sampler.decode_seconds / speed.bandwidth)
            steps.append(sampler.decode_seconds / (new - 1) * 1e3 if sampler.fixed_shapes else 0.0)
    return {"bandwidth_share": statistics.median(shares), "ms_a_step": statistics.median(steps)}


def generate(transformer: Transformer, tiny: bool) -> dict:
    import transformers

    cfg = transformer.cfg
    kind = transformers.Qwen2Config
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    names += ("num_key_value_heads", "rms_norm_eps", "max_position_embeddings", "tie_word_embeddings")
    theirs_cfg = kind(
        **{name: getattr(cfg, name) for name in names},
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )
    with torch.device("meta"):
        theirs = transformers.AutoModelForCausalLM.from_config(
            theirs_cfg, dtype=transformer.lm_head.weight.dtype
        ).eval()
    theirs.to_empty(device=transformer.lm_head.weight.device)
    state = {
        ("" if name.startswith("lm_head") else "model.") + name: p
        for name, p in transformer.state_dict().items()
    }
    theirs.load_state_dict(state, assign=True)
    theirs.model.rotary_emb = type(theirs.model.rotary_emb)(theirs_cfg).to(transformer.lm_head.weight.device)
    count, n, length, new = (4, 2, 20, 24) if tiny else (32, 8, 256, 1024)
    stops = stop_ids_for(new / 3, new, cfg.vocab_size)
    prompts = torch.randint(
        len(stops), cfg.vocab_size, (count, length), generator=torch.Generator().manual_seed(1)
    )
    sampler = Sampler(transformer, Ids(cfg.vocab_size, stops), max_num_seqs=count * n)
    on_device = prompts.to(transformer.lm_head.weight.device)

    def ours(new: int, seed: int) -> int:
        groups = sampler.generate(prompts.tolist(), SamplingParams(n=n, max_new_tokens=new, seed=seed))
        return sum(len(s.token_ids) for group in groups for s in group)

    def reference(new: int, seed: int) -> int:
        return their_tokens(theirs, on_device, n, new, stops, seed)

    speeds: dict[str, list[float]] = {"transformers": [], "ours": []}
    for run in (reference, ours):
        run(20, 0)
    for seed in (1, 2):
        for name, run in (("transformers", reference), ("ours", ours)):
            began = synchronized()
            tokens = run(new, seed)
            speeds[name].append(tokens / (synchronized() - began))
    best = {name: statistics.median(values) for name, values in speeds.items()}
    return {**best, "ratio": best["ours"] / best["transformers"], "each": speeds}


def update(
    cfg: ModelConfig, world: World, speed: DeviceSpeed, tiny: bool, compiled: bool, tokens: int
) -> dict:
    transformer = random_model(cfg, torch.float32, world.device)
    parallelize(transformer, ParallelConfig(compile=compiled), world)
    optimizer, take_step = make_adamw(transformer, 0.1), GuardedStep()
    set_learning_rate(optimizer, 1e-6)
    prompt, response = (8, 24) if tiny else (256, 769)
    generator = torch.Generator().manual_seed(2)
    drawn = lambda count: torch.randint(0, cfg.vocab_size, (count,), generator=generator).tolist()  # noqa: E731
    n = tokens // 1024
    packs = [
        pack([drawn(prompt) for _ in range(n)], [drawn(response) for _ in range(n)]).to(world.device)
        for _ in range(16 // n)
    ]
    flops = training_flops(cfg, packs)
    seconds = []
    if world.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()

    def one_update() -> None:
        for batch in packs:
            logp, _ = token_logprobs(transformer, batch)
            (-logp.mean() / len(packs)).backward()
        take_step(transformer, optimizer, 1.0)

    for _ in range(5):
        began = synchronized()
        one_update()
        seconds.append(synchronized() - began)
    best = statistics.median(seconds[2:])
    peak = torch.cuda.max_memory_allocated() / 2**30 if world.device.type == "cuda" else 0.0
    return {"mfu": flops / best / speed.flops, "seconds": best, "first": seconds[0], "peak_gib": peak}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", default="decode,generate,update")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="two thin layers, to try the benchmark itself")
    options = parser.parse_args()
    with join_world(ParallelConfig(device=options.device)) as world:
        speed = DeviceSpeed.measure(world.device, world.dtype)
        card = torch.cuda.get_device_name() if world.device.type == "cuda" else "CPU"
        print(
            f"torch {torch.__version__}, {card}: copy {speed.bandwidth / 1e9:.0f} GB/s, "
            f"product {speed.flops / 1e12:.1f} TFLOP/s"
        )
        shape = lambda name: replace(  # noqa: E731
            config_of(SHAPES[name]), **({"num_hidden_layers": 2, "vocab_size": 2048} if options.tiny else {})
        )
        found: dict[str, dict] = {}
        cases = options.case.split(",")
        if {"decode", "generate"} & set(cases):
            transformer = random_model(shape("qwen2.5-7b"), world.dtype, world.device).requires_grad_(False)
            if "decode" in cases:
                found["decode"] = decode(transformer, speed, options.tiny)
                print("decode", found["decode"], flush=True)
            compile_blocks(transformer)
            if "decode" in cases:
                found["decode, compiled"] = decode(transformer, speed, options.tiny)
                print("decode, compiled", found["decode, compiled"], flush=True)
            if "generate" in cases:
                found["generate"] = generate(transformer, options.tiny)
                print("generate", found["generate"], flush=True)
            del transformer
            gc.collect()
        for compiled, tokens in itertools.product((False, True), (4096, 16384)):
            name = f"update, packs of {tokens}" + ", compiled" * compiled
            if "update" in cases:
                found[name] = update(shape("qwen2.5-1.5b"), world, speed, options.tiny, compiled, tokens)
                print(name, found[name], flush=True)
    print(json.dumps({"benchmark": "gpu", "torch": torch.__version__, "card": card, **found}))


if __name__ == "__main__":
    main()
