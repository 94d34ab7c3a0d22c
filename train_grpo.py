"""Stage 3, two-stage RLVR (paper, section 3.3): GRPO on verifiable rewards.

Stage 1 consolidates on a balanced mix of hard and simple questions; stage 2 answers the whole training set again and
again and draws the model's own failures, with more answers a question.

    python train_grpo.py --config configs/demo.yaml
    python train_grpo.py data.questions=my.jsonl model=DIR run_dir=runs/mine
    torchrun --nproc_per_node 8 train_grpo.py --config configs/fleming_r1_7b.yaml [--dry-run]
"""

import contextlib
import math
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from fleming.config import parse_command_line, run_script
from fleming.files import AppendLog, write_jsonl
from fleming.prompt import prompt_ids
from fleming.public.readers import read_questions, read_set
from fleming.records import Question, to_json
from fleming.refine.gate import gate
from fleming.rl.curriculum import Pools, draw, stage1_pools, stage2_pools
from fleming.rl.grpo import grpo_loss, loss_denominator
from fleming.rl.reward import Reward, load_reward
from fleming.rl.rollout import choose_cache, describe_group, make_rollouts, pack_rollouts, sample_and_score
from fleming.settings import Config
from fleming.training.checkpoint import load_tensors, newest_checkpoint, save_checkpoint
from fleming.training.logprobs import token_logprobs
from fleming.training.metrics import (
    DeviceSpeed,
    Timer,
    UpdateSums,
    describe_times,
    finite,
    progress_bar,
    rates,
    rollout_metrics,
    training_flops,
)
from fleming.training.optimizer import GuardedStep, make_adamw, set_learning_rate, warmup_constant
from fleming.training.parallel import World, gather_weights, join_world, load_sharded, sampling_copy
from fleming.training.plan import add_dry_run, dry_run
from fleming.training.run import check_same_run, fingerprint, hold, input_hashes, write_manifest
from model import InputError, Sampler, SamplingParams, save_model


def main(argv: list[str]) -> None:
    cfg, options = parse_command_line(Config, __doc__, argv, add_dry_run)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    if options.dry_run:

        def check() -> None:
            load_reward(cfg.grpo.reward)
            gate(cfg, {"data.questions": question_file(cfg)})

        return dry_run("grpo", cfg, options, starting_model(cfg), question_file(cfg), read_questions, check)
    with join_world(cfg.parallel) as world:
        train(cfg, world)


def train(cfg: Config, world: World) -> None:
    rl, loss_cfg = cfg.grpo, cfg.grpo.loss
    folder = Path(cfg.run_dir, "grpo")
    source, start = question_file(cfg), starting_model(cfg)
    cleared = world.from_main(gate, cfg, {"data.questions": source})  # of benchmark questions
    with world.together():
        reward = load_reward(rl.reward)
        policy, tokenizer = load_sharded(start, cfg, world)
        reference = load_sharded(start, cfg, world, trainable=False)[0] if loss_cfg.needs_reference else None
        questions, longest = usable_questions(source, tokenizer, policy.cfg.max_position_embeddings, cfg, world)
    actor = sampling_copy(policy, world)  # what answers; the policy itself where that can sample
    sampler = Sampler(actor, tokenizer, rl.max_num_seqs)
    optimizer = make_adamw(policy, weight_decay=0.0)
    sampling = SamplingParams(max_new_tokens=rl.max_new_tokens, temperature=rl.temperature, seed=cfg.seed)
    total = rl.stage1.max_steps + rl.stage2.max_steps
    hashes = world.from_main(input_hashes, {"data.questions": source, "model": start})
    identity = fingerprint(cfg, "grpo", hashes)

    with hold(cfg, world, "train_grpo.py") as stop, contextlib.ExitStack() as bars:
        fresh = {"step": 0, "metrics_bytes": 0, "curriculum_bytes": 0, "pass_rates": None, "skipped_in_a_row": 0}
        state = world.from_main(newest_checkpoint, folder / "checkpoints") or fresh
        with world.together():
            check_same_run(state.get("identity", identity), identity, cfg.run_dir)
        if state["step"]:
            load_tensors(folder / "checkpoints", policy, optimizer, world)
        with world.together():
            metrics = AppendLog(folder / "metrics.jsonl", state["metrics_bytes"], world.is_main)
            curriculum = AppendLog(folder / "curriculum.jsonl", state["curriculum_bytes"], world.is_main)
        world.from_main(write_manifest, "grpo", cfg, hashes, world, cleared)
        world.from_main(forget_rollouts_after, state["step"], folder / "rollouts")
        world.print(f"RL on {len(questions)} questions, starting from {start}")
        if state["step"] and state["step"] in (rl.stage1.max_steps, total):
            export_stage(state["step"], policy, tokenizer, cfg, world)
        with world.together():
            cache = choose_cache(policy, actor, longest, rl.max_num_seqs, state, world)
        sampler.capacity = cache
        pass_rates, scores = state["pass_rates"], []
        take_step = GuardedStep(state["skipped_in_a_row"])
        speed = DeviceSpeed.measure(world.device, world.dtype)
        gather_weights(policy, actor)
        saving: dict[str, float] = {}
        progress = bars.enter_context(progress_bar(total, state["step"], "RL", world))

        for step in range(state["step"] + 1, total + 1):
            timer = Timer(world.device)
            stage = 1 if step <= rl.stage1.max_steps else 2
            turn = step - 1 - (rl.stage1.max_steps if stage == 2 else 0)  # steps of this stage before this one
            group_size = (rl.stage1 if stage == 1 else rl.stage2).group_size

            # Which questions: stage 1 by their grade, stage 2 by the current model's own answers.
            if stage == 2 and turn % rl.curriculum.mine_every == 0:
                pass_rates = mine(sampler, questions, sampling, reward, cfg, step, world)
                with world.together():
                    curriculum.append(
                        {"step": step, "pass_rates": {q.id: r for q, r in zip(questions, pass_rates, strict=True)}}
                    )
                timer.lap("mine")
            pools, mix = stage_pools(stage, questions, pass_rates, cfg)
            drawn = draw(pools, mix, rl.questions_per_step, turn, cfg.seed)

            # k answers to each, rewarded, and compared within their group (Eq. 2-3).
            params = replace(sampling, n=group_size)
            rollouts = make_rollouts(sampler, [questions[i] for i in drawn], params, reward, cfg, step, stage, world)
            with world.together():
                if world.is_main:
                    write_jsonl(folder / f"rollouts/step_{step:06d}.jsonl", map(to_json, rollouts))
            timer.lap("rollout")

            # Every rank knows all answers, so the one normaliser needs no further word between them. Without a KL term
            # an answer of zero advantage has zero gradient: it stays in the denominator, but need not be computed.
            live = [r for r in rollouts if r.advantage != 0 or reference] or rollouts[:1]
            tokens = sum(len(r.token_ids) for r in rollouts)
            denominator = loss_denominator(len(rollouts), tokens, loss_cfg.aggregation, rl.max_new_tokens)
            batches = pack_rollouts(live, rl.micro_batch_tokens, world)

            # Old and reference log-probs, once. With one update a rollout the old policy is the sampler's; else the
            # ratio must start at exactly 1, and the importance correction needs the trainer's side too.
            with torch.no_grad():
                if rl.updates_per_rollout > 1 or loss_cfg.importance_cap:
                    for b in batches:
                        b.old_logp, _ = token_logprobs(policy, b.packed, rl.temperature)
                timer.lap("score")
                if reference:
                    for b in batches:
                        b.ref_logp, _ = token_logprobs(reference, b.packed, rl.temperature)
                    timer.lap("reference")

            # The update: the shares of micro-batches and ranks add up to the loss of the whole step.
            learning_rate = warmup_constant(step, rl.warmup_steps, rl.learning_rate)
            set_learning_rate(optimizer, learning_rate)
            sums = UpdateSums()
            for update in range(rl.updates_per_rollout):
                for b in batches:
                    logp, entropy = token_logprobs(policy, b.packed, rl.temperature)
                    cuts = b.packed.response_cu_seqlens
                    loss, parts = grpo_loss(
                        logp, b.old_logp, b.ref_logp, b.advantages, cuts, loss_cfg, denominator, b.sampled_logp
                    )
                    (loss * world.size).backward()  # FSDP averages gradients over ranks, the loss is their sum
                    sums.add({**parts, "tokens": logp.numel(), "entropy_sum": entropy.sum()})
                    if update == 0:
                        sums.compare(b.sampled_logp, logp)
                grad_norm = take_step(policy, optimizer, rl.grad_clip)
                sums.updates += 1
                sums.skipped += not math.isfinite(grad_norm)
            timer.lap("update")
            gather_weights(policy, actor)
            timer.lap("gather")

            described = rollout_metrics(rollouts, group_size)
            scores.append(described["reward"])
            flops = rl.updates_per_rollout * training_flops(policy.cfg, [b.packed for b in batches])
            record = {
                "step": step,
                "stage": stage,
                **described,
                **sums.record(world),
                "grad_norm": grad_norm,
                "learning_rate": learning_rate,
                "pools": {name: len(pool) for name, pool in pools.items()},
                "time": {**timer.times(), **saving, **rates(timer, flops, speed, world, sampler, tokens)},
            }
            with world.together():
                metrics.append(finite(record))
            report(progress, record)
            if rl.show_every and step % rl.show_every == 0 and world.is_main:
                progress.write(describe_group(questions[drawn[0]], rollouts[:group_size]))

            last_of_stage, stopping = step in (rl.stage1.max_steps, total), world.any(stop)
            saving = {}
            if step % rl.save_every == 0 or last_of_stage or stopping:
                timer = Timer(world.device)
                with world.together():
                    state = {
                        "metrics_bytes": metrics.sync(),
                        "curriculum_bytes": curriculum.sync(),
                        "pass_rates": pass_rates,
                        "cache": [cache.rows, cache.places, rl.max_num_seqs],
                        "skipped_in_a_row": take_step.skipped_in_a_row,
                        "score": sum(scores) / len(scores),
                        "identity": identity,
                    }
                keep = rl.keep_last, rl.keep_best
                save_checkpoint(folder / "checkpoints", step, policy, optimizer, state, world, *keep)
                scores = []
                if last_of_stage:
                    export_stage(step, policy, tokenizer, cfg, world)
                timer.lap("checkpoint")
                saving = timer.laps
                if stopping:
                    stop.exit()


def question_file(cfg: Config) -> Path:
    """The questions that RL learns from."""
    return Path(cfg.data.questions or Path(cfg.run_dir, "data/rl.jsonl"))


def starting_model(cfg: Config) -> Path:
    """The folder that RL starts from: see grpo.start_from."""
    base, cold_start = Path(cfg.model or Path(cfg.run_dir, "base/model")), Path(cfg.run_dir, "sft/model")
    if cfg.grpo.start_from == "auto":
        return cold_start if cold_start.exists() or not cfg.model else base
    return base if cfg.grpo.start_from == "base" else cold_start


def usable_questions(source: Path, tokenizer, context: int, cfg: Config, world: World) -> tuple[list[Question], int]:
    """The training questions that leave room for an answer, and the tokens of the longest with it."""
    found = read_set(source)
    everything = found.questions
    if found.set_aside:
        world.print(f"{source}: {found.describe_set_aside()}")
    train = [q for q in everything if q.split == "train"]
    if not train:
        raise InputError(f"{source}: no question of {len(everything)} has split train; RL learns from no other")
    if len(train) < len(everything):
        world.print(f"{len(everything) - len(train)} questions of other splits than train are left out")
    lengths = [len(prompt_ids(q, tokenizer, cfg)) + cfg.grpo.max_new_tokens for q in train]
    usable = [q for q, length in zip(train, lengths, strict=True) if length <= context]
    if not usable:
        raise InputError(
            f"{source}: none of {len(train)} training questions leaves room for grpo.max_new_tokens = "
            f"{cfg.grpo.max_new_tokens} in the model's context of {context}"
        )
    if len(usable) < len(train):
        world.print(f"{len(train) - len(usable)} questions are too long for the model's context and are left out")
    return usable, max(length for length in lengths if length <= context)


def stage_pools(stage: int, questions: list[Question], pass_rates: list[float] | None, cfg: Config):
    """Return the pools that this stage draws from, and the parts of each."""
    curriculum = cfg.grpo.curriculum
    if stage == 2:
        return stage2_pools(pass_rates), curriculum.stage2_mix
    pools = stage1_pools(questions, curriculum.hard, curriculum.simple)
    if any(pools.values()):
        return pools, curriculum.stage1_mix
    everything: Pools = {"ungraded": list(range(len(questions)))}  # nobody has graded these questions
    return everything, {"ungraded": 1.0}


def mine(
    sampler: Sampler,
    questions: list[Question],
    sampling: SamplingParams,
    reward: Reward,
    cfg: Config,
    step: int,
    world: World,
) -> list[float]:
    """Answer the full training set with the current weights; return each question's pass rate (section 3.3)."""
    params = replace(sampling, n=cfg.grpo.curriculum.mine_samples)

    def pass_rates(mine: list[tuple[int, Question]]) -> list[float]:
        with progress_bar(len(mine) * params.n, 0, "mining", world, unit="answer", leave=False) as bar:
            scored = sample_and_score(
                sampler, mine, params, reward, cfg, f"mine {step}", on_finish=lambda *_: bar.update()
            )
        return [sum(s.reward["correct"] for s in group) / params.n for group in scored]

    return world.divide(list(enumerate(questions)), pass_rates)


def forget_rollouts_after(step: int, folder: Path) -> None:
    """Cut the rollout files back to the checkpoint's step, as the logs are."""
    for path in folder.glob("step_*.jsonl"):
        if path.name > f"step_{step:06d}.jsonl":
            path.unlink()


def export_stage(step: int, policy, tokenizer, cfg: Config, world: World) -> None:
    """Write the finished stage's model folder."""
    stage = 1 if step == cfg.grpo.stage1.max_steps else 2
    with world.together():
        folder = Path(cfg.run_dir, f"grpo/stage{stage}/model")
        save_model(policy, tokenizer, folder, world.dtype, writes=world.is_main)


def report(progress: tqdm, record: dict) -> None:
    """Bring the progress bar up to date."""
    progress.set_postfix(
        stage=record["stage"],
        reward=f"{record['reward']:.3f}",
        correct=f"{record['correct']:.2f}",
        len=f"{record['response_length']:.0f}",
        **describe_times(record["time"]),
        refresh=False,
    )
    progress.update()


if __name__ == "__main__":
    run_script(main)
