"""Stage 2, CoT cold start (paper, section 3.2): teach a base model to reason in the required form.

Supervised fine-tuning on trajectories <think> ... </think> <answer> ... </answer>, loss on response tokens alone.

    python train_sft.py --config configs/demo.yaml
    python train_sft.py data.trajectories=my.jsonl model=DIR run_dir=runs/mine
"""

import math
import time
from pathlib import Path

import torch
from tqdm import tqdm

from fleming.config import parse_command_line, run_script
from fleming.data.readers import read_trajectories
from fleming.files import AppendLog, run_lock
from fleming.order import walk
from fleming.settings import Config
from fleming.training.checkpoint import load_tensors, newest_checkpoint, save_checkpoint
from fleming.training.logprobs import token_logprobs
from fleming.training.optimizer import clip_gradients, make_adamw, set_learning_rate, warmup_cosine
from fleming.training.packing import micro_batches, pack
from fleming.training.run import (
    check_same_run,
    fingerprint,
    input_hashes,
    stop_on_signals,
    write_manifest,
)
from model import InputError, load_model, save_model


def main(argv: list[str]) -> None:
    cfg, _ = parse_command_line(Config, __doc__, argv)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    folder = Path(cfg.run_dir, "sft")
    source = Path(cfg.data.trajectories or Path(cfg.run_dir, "data/cold_start.jsonl"))
    start = Path(cfg.model or Path(cfg.run_dir, "base/model"))

    trajectories = read_trajectories(source)
    transformer, tokenizer = load_model(start, chat_format=cfg.chat_format)
    prompts = [tokenizer.encode_chat(t.prompt) for t in trajectories]
    responses = [[*tokenizer.encode(t.response), tokenizer.end_of_turn] for t in trajectories]
    lengths = [len(p) + len(r) for p, r in zip(prompts, responses, strict=True)]
    usable = [i for i, n in enumerate(lengths) if n <= transformer.cfg.max_position_embeddings]
    if len(usable) < len(lengths):
        print(f"{len(lengths) - len(usable)} trajectories are longer than the model's context and are left out")
    if not usable:
        raise InputError(
            f"{source}: no trajectory fits the model's context of {transformer.cfg.max_position_embeddings}"
        )
    optimizer = make_adamw(transformer, cfg.sft.weight_decay)
    total = math.ceil(cfg.sft.epochs * len(usable) / cfg.sft.sequences_per_step)
    warmup = math.ceil(cfg.sft.warmup_fraction * total)
    hashes = input_hashes({"data.trajectories": source, "model": start})
    identity = fingerprint(cfg, "sft", hashes)

    with run_lock(cfg.run_dir, "train_sft.py"), stop_on_signals() as stop:
        state = newest_checkpoint(folder / "checkpoints") or {"step": 0, "metrics_bytes": 0}
        check_same_run(state.get("identity", identity), identity, cfg.run_dir)
        if state["step"]:
            load_tensors(folder / "checkpoints", transformer, optimizer)
        write_manifest("sft", cfg, hashes)
        metrics = AppendLog(folder / "metrics.jsonl", keep_bytes=state["metrics_bytes"])
        progress = tqdm(total=total, initial=state["step"], desc="cold start", unit="step", dynamic_ncols=True)

        for step in range(state["step"] + 1, total + 1):
            began = time.perf_counter()
            # The step's trajectories: the next ones of an endless walk, each epoch in a fresh order.
            places = range((step - 1) * cfg.sft.sequences_per_step, step * cfg.sft.sequences_per_step)
            chosen = [walk(usable, place, cfg.seed, "sft epoch") for place in places]

            # Cross-entropy of the response tokens, one normaliser for the whole step however it is split.
            response_tokens = sum(len(responses[i]) for i in chosen)
            loss = entropy = 0.0
            for part in micro_batches([lengths[i] for i in chosen], cfg.sft.micro_batch_tokens):
                batch = pack([prompts[chosen[i]] for i in part], [responses[chosen[i]] for i in part])
                logp, entropies = token_logprobs(transformer, batch)
                share = -logp.sum() / response_tokens
                share.backward()
                loss += share.item()
                entropy += entropies.sum().item() / response_tokens

            grad_norm = clip_gradients(transformer, cfg.sft.grad_clip, step)
            learning_rate = warmup_cosine(step, total, warmup, cfg.sft.learning_rate)
            set_learning_rate(optimizer, learning_rate)
            optimizer.step()
            optimizer.zero_grad()

            seconds = time.perf_counter() - began
            tokens = sum(lengths[i] for i in chosen)
            metrics.append(
                {
                    "step": step,
                    "loss": loss,
                    "entropy": entropy,
                    "grad_norm": grad_norm,
                    "learning_rate": learning_rate,
                    "tokens": tokens,
                    "response_tokens": response_tokens,
                    "time": {"step": seconds, "tokens_per_second": tokens / seconds},
                }
            )
            progress.set_postfix(loss=f"{loss:.3f}", tok_s=f"{tokens / seconds:.0f}", refresh=False)
            progress.update()
            if step % cfg.sft.save_every == 0 or step == total or stop:
                state = {"metrics_bytes": metrics.sync(), "identity": identity}
                save_checkpoint(folder / "checkpoints", step, transformer, optimizer, state, cfg.sft.keep_last)
                stop.exit_if_requested()

        progress.close()
        save_model(transformer, tokenizer, folder / "model")
        print(f"cold start: {total} steps done, model in {folder / 'model'}")


if __name__ == "__main__":
    run_script(main)
