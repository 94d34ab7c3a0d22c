"""Stage 2, CoT cold start (paper, section 3.2): teach a base model to reason in the required form.

Supervised fine-tuning on trajectories <think> ... </think> <answer> ... </answer>, loss on response tokens alone.

    python train_sft.py --config configs/demo.yaml
    python train_sft.py data.trajectories=my.jsonl model=DIR run_dir=runs/mine
    torchrun --nproc_per_node 8 train_sft.py --config configs/fleming_r1_7b.yaml [--dry-run]
"""

import contextlib
import math
from functools import partial
from pathlib import Path

import torch

from fleming.config import parse_command_line, run_script
from fleming.files import AppendLog
from fleming.noise import walk
from fleming.public.readers import read_trajectories
from fleming.refine.gate import gate
from fleming.settings import Config
from fleming.training.checkpoint import load_tensors, newest_checkpoint, save_checkpoint
from fleming.training.logprobs import token_logprobs
from fleming.training.metrics import DeviceSpeed, Timer, describe_times, finite, progress_bar, rates, training_flops
from fleming.training.optimizer import GuardedStep, make_adamw, set_learning_rate, warmup_cosine
from fleming.training.packing import micro_batches, pack
from fleming.training.parallel import World, join_world, load_sharded
from fleming.training.plan import add_dry_run, dry_run
from fleming.training.run import check_same_run, fingerprint, hold, input_hashes, write_manifest
from model import InputError, save_model


def main(argv: list[str]) -> None:
    cfg, options = parse_command_line(Config, __doc__, argv, add_dry_run)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    if options.dry_run:
        source = trajectory_file(cfg)
        cleared = partial(gate, cfg, {"data.trajectories": source})
        return dry_run("sft", cfg, options, starting_model(cfg), source, read_trajectories, cleared)
    with join_world(cfg.parallel) as world:
        train(cfg, world)


def train(cfg: Config, world: World) -> None:
    folder = Path(cfg.run_dir, "sft")
    source, start = trajectory_file(cfg), starting_model(cfg)
    cleared = world.from_main(gate, cfg, {"data.trajectories": source})  # of benchmark questions
    with world.together():
        trajectories = read_trajectories(source)
        transformer, tokenizer = load_sharded(start, cfg, world)
        prompts = [tokenizer.encode_chat(t.prompt) for t in trajectories]
        responses = [[*tokenizer.encode(t.response), tokenizer.end_of_turn] for t in trajectories]
        lengths = [len(p) + len(r) for p, r in zip(prompts, responses, strict=True)]
        context = transformer.cfg.max_position_embeddings
        usable = [i for i, n in enumerate(lengths) if n <= context]
        if len(usable) < len(lengths):
            world.print(f"{len(lengths) - len(usable)} trajectories exceed the model's context and are left out")
        if not usable:
            raise InputError(f"{source}: no trajectory fits the model's context of {context}")
    optimizer = make_adamw(transformer, cfg.sft.weight_decay)
    total = math.ceil(cfg.sft.epochs * len(usable) / cfg.sft.sequences_per_step)
    warmup = math.ceil(cfg.sft.warmup_fraction * total)
    hashes = world.from_main(input_hashes, {"data.trajectories": source, "model": start})
    identity = fingerprint(cfg, "sft", hashes)

    with hold(cfg, world, "train_sft.py") as stop, contextlib.ExitStack() as bars:
        fresh = {"step": 0, "metrics_bytes": 0, "skipped_in_a_row": 0}
        state = world.from_main(newest_checkpoint, folder / "checkpoints") or fresh
        with world.together():
            check_same_run(state.get("identity", identity), identity, cfg.run_dir)
        if state["step"]:
            load_tensors(folder / "checkpoints", transformer, optimizer, world)
        world.from_main(write_manifest, "sft", cfg, hashes, world, cleared)
        with world.together():
            metrics = AppendLog(folder / "metrics.jsonl", state["metrics_bytes"], world.is_main)
        take_step = GuardedStep(state["skipped_in_a_row"])
        speed = DeviceSpeed.measure(world.device, world.dtype)
        losses: list[float] = []
        saving: dict[str, float] = {}
        progress = bars.enter_context(progress_bar(total, state["step"], "cold start", world))

        for step in range(state["step"] + 1, total + 1):
            timer = Timer(world.device)
            # The step's trajectories: the next ones of an endless walk, each epoch in a fresh order.
            places = range((step - 1) * cfg.sft.sequences_per_step, step * cfg.sft.sequences_per_step)
            chosen = [walk(usable, place, cfg.seed, "sft epoch") for place in places]

            # Cross-entropy of the response tokens, one normaliser for the whole step however it is split.
            response_tokens = sum(len(responses[i]) for i in chosen)
            sums, batches = {"loss": 0.0, "entropy": 0.0}, []
            for packs in micro_batches([lengths[i] for i in chosen], cfg.sft.micro_batch_tokens, world.size):
                members = [chosen[i] for i in packs[world.rank]]
                batch = pack([prompts[i] for i in members], [responses[i] for i in members]).to(world.device)
                batches.append(batch)
                logp, entropies = token_logprobs(transformer, batch)
                share = -logp.sum() / response_tokens
                (share * world.size).backward()  # FSDP averages gradients over ranks, the loss is their sum
                sums["loss"] += share.item()
                sums["entropy"] += entropies.sum().item() / response_tokens

            learning_rate = warmup_cosine(step, total, warmup, cfg.sft.learning_rate)
            set_learning_rate(optimizer, learning_rate)
            grad_norm = take_step(transformer, optimizer, cfg.sft.grad_clip)
            timer.lap("update")

            sums = world.sum(sums)
            losses += [sums["loss"]] if math.isfinite(sums["loss"]) else []
            tokens = sum(lengths[i] for i in chosen)
            flops = training_flops(transformer.cfg, batches)
            times = {**timer.times(), **saving, **rates(timer, flops, speed, world)}
            record = {
                "step": step,
                **sums,
                "grad_norm": grad_norm,
                "skipped_updates": int(not math.isfinite(grad_norm)),
                "learning_rate": learning_rate,
                "tokens": tokens,
                "response_tokens": response_tokens,
                "time": {**times, "tokens_per_second": tokens / times["step"]},
            }
            with world.together():
                metrics.append(finite(record))
            progress.set_postfix(loss=f"{sums['loss']:.3f}", **describe_times(record["time"]), refresh=False)
            progress.update()

            stopping, saving = world.any(stop), {}
            if step % cfg.sft.save_every == 0 or step == total or stopping:
                timer = Timer(world.device)
                with world.together():
                    state = {
                        "metrics_bytes": metrics.sync(),
                        "skipped_in_a_row": take_step.skipped_in_a_row,
                        "identity": identity,
                        **({"score": -sum(losses) / len(losses)} if losses else {}),
                    }
                keep = cfg.sft.keep_last, cfg.sft.keep_best
                save_checkpoint(folder / "checkpoints", step, transformer, optimizer, state, world, *keep)
                losses = []
                timer.lap("checkpoint")
                saving = timer.laps
                if stopping:
                    stop.exit()

        progress.close()
        with world.together():
            save_model(transformer, tokenizer, folder / "model", world.dtype, writes=world.is_main)
        world.print(f"cold start: {total} steps done, model in {folder / 'model'}")


def starting_model(cfg: Config) -> Path:
    """The folder that the cold start begins from."""
    return Path(cfg.model or Path(cfg.run_dir, "base/model"))


def trajectory_file(cfg: Config) -> Path:
    """The worked answers to learn from."""
    return Path(cfg.data.trajectories or Path(cfg.run_dir, "data/cold_start.jsonl"))


if __name__ == "__main__":
    run_script(main)
