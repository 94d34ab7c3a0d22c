"""Stage 2, CoT cold start (paper, section 3.2): teach a base model to reason in the required form.

Supervised fine-tuning on trajectories <think> ... </think> <answer> ... </answer>, loss on response tokens alone.

    python train_sft.py --config configs/demo.yaml
    python train_sft.py data.trajectories=my.jsonl model=DIR run_dir=runs/mine
    torchrun --nproc_per_node 8 train_sft.py --config configs/fleming_r1_7b.yaml [--dry-run]
"""

from fleming.command_line import command_line, look_first, next_command

if __name__ == "__main__":  # the imports below take seconds
    look_first("sft", __doc__)

import math

import torch

from fleming.config import run_script
from fleming.noise import shuffled
from fleming.public.readers import read_trajectories
from fleming.settings import Config
from fleming.training.examples import training_examples
from fleming.training.logprobs import token_logprobs
from fleming.training.metrics import training_flops
from fleming.training.optimizer import GuardedStep, make_adamw, set_learning_rate, warmup_cosine
from fleming.training.packing import packs_of
from fleming.training.parallel import World, join_world, load_sharded
from fleming.training.plan import dry_run
from fleming.training.run import Run
from fleming.training.validation import Validation, hold_out
from model.huggingface.weights import open_model


def main(argv: list[str]) -> None:
    cfg, options = command_line("sft", __doc__, argv)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    if options.dry_run:
        return dry_run("sft", cfg, options, lambda found: hold_out(found, cfg.sft.validation, cfg.seed))
    with join_world(cfg.parallel) as world:
        train(cfg, world)


def train(cfg: Config, world: World) -> None:
    sft, source = cfg.sft, cfg.trajectory_file
    run = Run("sft", cfg, world, {"data.trajectories": source, "model": cfg.base_folder})
    with world.agree():
        trajectories = read_trajectories(source, cfg, world.print)
        described, tokenizer = open_model(cfg.base_folder, cfg.chat_format, cfg.chat_template_kwargs)
        learned, held_out = hold_out(trajectories, sft.validation, cfg.seed)
        ids, examples = training_examples(learned, tokenizer, described.cfg, cfg, world.print)
        if held_out:
            _, held_out = training_examples(held_out, tokenizer, described.cfg, cfg, world.print)
        validation = Validation(held_out, tokenizer, cfg, world)
    total = math.ceil(sft.epochs * len(examples) / sft.sequences_per_step)
    warmup = math.ceil(sft.warmup_fraction * total)

    with run:  # from here on weights are read
        with world.agree():
            policy, _ = load_sharded(cfg.base_folder, cfg, world)
        optimizer = make_adamw(policy, sft.weight_decay)
        best = "model" if held_out else None
        run.resume(policy, tokenizer, optimizer, lambda step: ["model"] * (step == total), best)
        run.write("learned.jsonl", ({"id": name} for name in ids))  # the order in which epochs number them
        take_step = GuardedStep(run.state)
        for step in run.steps(lambda: total, "cold start"):
            # The step's trajectories: the next ones of endless epochs, each in a fresh order.
            places = range((step - 1) * sft.sequences_per_step, step * sft.sequences_per_step)
            chosen = [shuffled(examples, place, cfg.seed, "sft epoch") for place in places]

            # Cross-entropy of the response tokens, one normaliser for the whole step however it is split.
            response_tokens = sum(len(response) for _, response in chosen)
            sums, batches = {"loss": 0.0, "entropy": 0.0}, []
            for batch in packs_of(chosen, sft.micro_batch_tokens, world):
                logp, entropies = token_logprobs(policy, batch)
                loss = -logp.sum() / response_tokens
                (loss * world.size).backward()  # FSDP averages gradients over ranks, the loss is their sum
                sums["loss"] += loss.item()
                sums["entropy"] += entropies.sum().item() / response_tokens
                batches.append(batch)

            learning_rate = warmup_cosine(step, total, warmup, sft.learning_rate)
            set_learning_rate(optimizer, learning_rate)
            grad_norm = take_step(policy, optimizer, sft.grad_clip)
            run.timer.lap("update")

            record = {"step": step, **world.sum(sums), "grad_norm": grad_norm}
            record |= {"skipped_updates": int(not math.isfinite(grad_norm)), "learning_rate": learning_rate}
            tokens = sum(len(prompt) + len(response) for prompt, response in chosen)
            record |= {"tokens": tokens, "response_tokens": response_tokens}

            # What is held out says which checkpoint is the best.
            measured = validation.due(step, total)
            if measured:
                record |= validation.measure(policy, step)
                run.timer.lap("validate")
            score = -record.get("validation_loss", math.nan) if held_out else -record["loss"]
            run.log(record, score=score, flops=training_flops(policy.cfg, batches))
            run.save(step, due=measured)
    world.print(f"cold start: {total} steps done, model in {run.folder / 'model'}")
    world.print(f"next: {next_command('train_grpo.py')}")


if __name__ == "__main__":
    run_script(main)
