"""Stage 3, two-stage RLVR (paper, section 3.3): GRPO on verifiable rewards.

Stage 1 consolidates on a balanced mix of hard and simple questions; stage 2 answers the whole training set again and
again and draws the model's own failures, with more answers a question.

    python train_grpo.py --config configs/demo.yaml
    python train_grpo.py data.questions=my.jsonl model=DIR run_dir=runs/mine
    torchrun --nproc_per_node 8 train_grpo.py --config configs/fleming_r1_7b.yaml [--dry-run]
"""

from fleming.command_line import command_line, look_first, next_command

if __name__ == "__main__":  # the imports below take seconds
    look_first("grpo", __doc__)

import math
from functools import partial
from pathlib import Path

import torch

from fleming.config import run_script
from fleming.files import step_name
from fleming.records import Question, to_json
from fleming.rl.curriculum import Curriculum
from fleming.rl.dev import measure
from fleming.rl.grpo import grpo_loss
from fleming.rl.mining import check_words, mining_round
from fleming.rl.questions import dev_questions, read_dev, training_questions
from fleming.rl.reward import load_reward, try_reward
from fleming.rl.rollout import Actor, describe_group, make_rollouts, mini_batches
from fleming.rl.sampled import rollout_metrics
from fleming.rl.watch import watch
from fleming.settings import Config
from fleming.training.logprobs import token_logprobs
from fleming.training.metrics import UpdateSums, training_flops
from fleming.training.optimizer import GuardedStep, make_adamw, set_learning_rate, warmup_constant
from fleming.training.parallel import (
    World,
    choose_cache,
    gather_weights,
    join_world,
    load_sharded,
    make_exact,
    sampling_copy,
)
from fleming.training.plan import dry_run
from fleming.training.run import Run
from model import Sampler
from model.huggingface.weights import open_model
from model.transformer import Transformer


def main(argv: list[str]) -> None:
    cfg, options = command_line("grpo", __doc__, argv)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    if options.dry_run:
        return dry_run("grpo", cfg, options, partial(look_at_questions, cfg=cfg))
    with join_world(cfg.parallel) as world:
        train(cfg, world)
        world.print(what_next(cfg))


def train(cfg: Config, world: World) -> None:
    rl, loss_cfg, start = cfg.grpo, cfg.grpo.loss, cfg.rl_start
    run = Run("grpo", cfg, world, {"data.questions": cfg.question_file, "model": start})
    with world.agree():
        reward = load_reward(rl.reward)
        described, tokenizer = open_model(start, cfg.chat_format, cfg.chat_template_kwargs)
        questions, longest = training_questions(cfg, tokenizer, described.cfg, world.print)
        held_out, longest = dev_questions(cfg, tokenizer, described.cfg, world.print, longest)
        try_reward(reward, questions[0], cfg)
    world.on_main(check_words, cfg, questions)

    with run:
        curriculum = Curriculum(questions, cfg, run.kept("curriculum"))
        policy, reference = load_models(start, cfg, world)  # from here on weights are read
        copy = sampling_copy(policy, world)  # what answers; the policy itself where that can sample
        make_exact(copy, [policy, reference], cfg, world)
        optimizer = make_adamw(policy, weight_decay=0.0)
        begun = curriculum.begin()
        run.resume(policy, tokenizer, optimizer, curriculum.exports, "best/model" if held_out else None)
        run.append("curriculum", *begun)
        world.print(f"RL on {len(questions)} questions, starting from {start}; {curriculum.describe()}")
        cache = choose_cache(policy, copy, longest, rl.max_num_seqs, run.state, world)
        sampler = Sampler(copy, tokenizer, rl.max_num_seqs, cache)
        actor = Actor(sampler, reward, cfg, world)
        take_step = GuardedStep(run.state)
        gather_weights(policy, copy)

        for step in run.steps(lambda: curriculum.last_step, "RL"):
            # Which questions: stage 1 by their grade, stage 2 by the current model's own answers.
            if curriculum.mining_due:
                mining_round(run, actor, curriculum, step)
                run.timer.lap("mine")

            # k answers to each, rewarded, and compared within their group (Eq. 2-3).
            sampled = make_rollouts(actor, curriculum, step)
            run.write(f"rollouts/{step_name(step)}.jsonl", map(to_json, sampled.rollouts))
            run.append("curriculum", *curriculum.stepped(step, sampled))
            run.timer.lap("rollout")

            # Old and reference log-probs, once. With one update of all rollouts the old policy is the sampler's.
            batches = mini_batches(sampled.groups, rl, bool(reference), world)
            packs = [b for mini_batch in batches for b in mini_batch.packs]
            with torch.no_grad():
                if rl.rescores:
                    for b in packs:
                        b.old_logp, _ = token_logprobs(policy, b.packed, rl.temperature)
                        b.correct_for_the_sampler(loss_cfg.importance_cap)
                run.timer.lap("score")
                if reference:
                    for b in packs:
                        b.ref_logp, _ = token_logprobs(reference, b.packed, rl.temperature)
                    run.timer.lap("reference")

            # The update: the shares of micro-batches and ranks add up to the loss of the whole mini-batch.
            learning_rate = warmup_constant(step, rl.warmup_steps, rl.learning_rate)
            set_learning_rate(optimizer, learning_rate)
            sums = UpdateSums()
            for mini_batch in batches * rl.updates_per_rollout:
                for b in mini_batch.packs:
                    logp, _ = token_logprobs(policy, b.packed, rl.temperature)
                    cuts = b.packed.response_cu_seqlens
                    loss, parts = grpo_loss(
                        logp, b.old_logp, b.ref_logp, b.advantages, cuts, loss_cfg, mini_batch.denominator
                    )
                    # FSDP averages gradients over ranks, the loss is their sum.
                    (loss * world.size).backward()
                    sums.add(parts, b.counts, logp, b.sampled_logp)
                sums.end_of_update(take_step(policy, optimizer, rl.grad_clip))
            run.timer.lap("update")
            gather_weights(policy, copy)
            run.timer.lap("gather")

            # What is held out says which checkpoint is the best.
            measured = measure(actor, held_out, step) if curriculum.measures(step) else {}
            run.timer.lap("validate")

            record = {"step": step, "stage": sampled.groups[0][0].stage, "learning_rate": learning_rate}
            record |= rollout_metrics(sampled.groups, actor.take_failures()) | sums.record(world)
            record |= sampled.describe() | {"generated_tokens": curriculum.tokens}
            record |= watch(run, record, sampled) | measured
            score = measured.get("dev_accuracy", math.nan) if held_out else record["reward"]
            flops = rl.updates_per_rollout * training_flops(policy.cfg, [b.packed for b in packs])
            run.log(record, score=score, flops=flops, sampler=sampler)
            if rl.show_every and step % rl.show_every == 0:
                run.show(describe_group(sampled))
            run.save(step, due=bool(measured))


def what_next(cfg: Config) -> str:
    """Say where the model lies, and the command that evaluates it."""
    model = Path(cfg.run_dir, "grpo", "stage2" if cfg.grpo.stage2.max_steps else "stage1", "model")
    of_the_run = Path(cfg.run_dir, "data/test.jsonl").exists()
    more = [] if of_the_run else ["--model", str(model), "evaluate.questions=FILE"]
    return f"RL: all steps done, model in {model}\nnext: {next_command('evaluate.py', *more)}"


def look_at_questions(questions: list[Question], cfg: Config) -> None:
    """Raise InputError for what a run would refuse in its questions, what is said of them, and its reward."""
    try_reward(load_reward(cfg.grpo.reward), questions[0], cfg)
    check_words(cfg, questions)
    Curriculum(questions, cfg)
    read_dev(cfg, print)


def load_models(start: Path, cfg: Config, world: World) -> tuple[Transformer, Transformer | None]:
    """Return what learns, and the frozen model that a KL term compares it with, where there is one."""
    with world.agree():
        policy, _ = load_sharded(start, cfg, world)
        reference = None
        if cfg.grpo.loss.needs_reference:
            reference, _ = load_sharded(start, cfg, world, trainable=False)
    return policy, reference


if __name__ == "__main__":
    run_script(main)
