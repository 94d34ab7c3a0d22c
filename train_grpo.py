"""Stage 3, two-stage RLVR (paper, section 3.3): GRPO on verifiable rewards.

Stage 1 consolidates on a balanced mix of hard and simple questions; stage 2 answers the whole training set again and
again and draws the model's own failures, with more answers a question.

    python train_grpo.py --config configs/demo.yaml
    python train_grpo.py data.questions=my.jsonl model=DIR run_dir=runs/mine
"""

from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from fleming.config import parse_command_line, run_script
from fleming.data.readers import read_questions
from fleming.files import AppendLog, run_lock, write_jsonl
from fleming.prompt import prompt_ids
from fleming.records import Question, to_json
from fleming.rl.curriculum import Pools, draw, stage1_pools, stage2_pools
from fleming.rl.grpo import grpo_loss, loss_denominator
from fleming.rl.reward import Reward, load_reward
from fleming.rl.rollout import describe_group, make_rollouts, sample_and_score
from fleming.settings import Config
from fleming.training.checkpoint import load_tensors, newest_checkpoint, save_checkpoint
from fleming.training.logprobs import token_logprobs
from fleming.training.metrics import Timer, UpdateSums, rollout_metrics
from fleming.training.optimizer import clip_gradients, make_adamw, set_learning_rate, warmup_constant
from fleming.training.packing import micro_batches, pack
from fleming.training.run import check_same_run, fingerprint, input_hashes, stop_on_signals, write_manifest
from model import InputError, Sampler, SamplingParams, load_model, save_model


def main(argv: list[str]) -> None:
    cfg, _ = parse_command_line(Config, __doc__, argv)
    rl, loss_cfg = cfg.grpo, cfg.grpo.loss
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    folder = Path(cfg.run_dir, "grpo")
    source = Path(cfg.data.questions or Path(cfg.run_dir, "data/rl.jsonl"))
    start = starting_model(cfg)

    reward = load_reward(rl.reward)
    policy, tokenizer = load_model(start, chat_format=cfg.chat_format)
    reference = load_model(start, chat_format=cfg.chat_format)[0] if loss_cfg.needs_reference else None
    questions = usable_questions(source, tokenizer, policy.cfg.max_position_embeddings, cfg)
    sampler = Sampler(policy, tokenizer, rl.max_num_seqs)
    optimizer = make_adamw(policy, rl.weight_decay)
    sampling = SamplingParams(max_new_tokens=rl.max_new_tokens, temperature=rl.temperature, seed=cfg.seed)
    total = rl.stage1.max_steps + rl.stage2.max_steps
    hashes = input_hashes({"data.questions": source, "model": start})
    identity = fingerprint(cfg, "grpo", hashes)

    with run_lock(cfg.run_dir, "train_grpo.py"), stop_on_signals() as stop:
        fresh = {"step": 0, "metrics_bytes": 0, "curriculum_bytes": 0, "pass_rates": None}
        state = newest_checkpoint(folder / "checkpoints") or fresh
        check_same_run(state.get("identity", identity), identity, cfg.run_dir)
        if state["step"]:
            load_tensors(folder / "checkpoints", policy, optimizer)
        write_manifest("grpo", cfg, hashes)
        print(f"RL on {len(questions)} questions, starting from {start}")
        metrics = AppendLog(folder / "metrics.jsonl", keep_bytes=state["metrics_bytes"])
        curriculum = AppendLog(folder / "curriculum.jsonl", keep_bytes=state["curriculum_bytes"])
        forget_rollouts_after(state["step"], folder / "rollouts")
        pass_rates = state["pass_rates"]
        if state["step"] and state["step"] in (rl.stage1.max_steps, total):
            export_stage(state["step"], policy, tokenizer, cfg)
        progress = tqdm(total=total, initial=state["step"], desc="RL", unit="step", dynamic_ncols=True)

        for step in range(state["step"] + 1, total + 1):
            timer = Timer()
            stage = 1 if step <= rl.stage1.max_steps else 2
            turn = step - 1 - (rl.stage1.max_steps if stage == 2 else 0)  # steps of this stage before this one
            group_size = (rl.stage1 if stage == 1 else rl.stage2).group_size

            # Which questions: stage 1 by their grade, stage 2 by the current model's own answers.
            if stage == 2 and turn % rl.curriculum.mine_every == 0:
                pass_rates = mine(sampler, questions, sampling, reward, cfg, step)
                curriculum.append(
                    {"step": step, "pass_rates": {q.id: r for q, r in zip(questions, pass_rates, strict=True)}}
                )
                timer.lap("mine")
            pools, mix = stage_pools(stage, questions, pass_rates, cfg)
            drawn = draw(pools, mix, rl.questions_per_step, turn, cfg.seed)

            # k answers to each, rewarded, and compared within their group (Eq. 2-3).
            params = replace(sampling, n=group_size)
            rollouts = make_rollouts(sampler, [questions[i] for i in drawn], params, reward, cfg, step, stage)
            write_jsonl(folder / f"rollouts/step_{step:06d}.jsonl", map(to_json, rollouts))
            timer.lap("rollout")

            # Old and reference log-probs, once. Without a KL term an answer of zero advantage has zero gradient: it
            # stays in the denominator, but need not be computed.
            live = [r for r in rollouts if r.advantage != 0 or reference] or rollouts[:1]
            denominator = loss_denominator(len(rollouts), sum(len(r.token_ids) for r in rollouts), loss_cfg.aggregation)
            batches = []
            for part in micro_batches([len(r.prompt_ids) + len(r.token_ids) for r in live], rl.micro_batch_tokens):
                members = [live[i] for i in part]
                batch = pack([r.prompt_ids for r in members], [r.token_ids for r in members])
                advantages = torch.tensor([r.advantage for r in members])  # [N]
                old_logp = sampled_logp = torch.tensor([x for r in members for x in r.logprobs])  # [R]
                with torch.no_grad():
                    if rl.updates_per_rollout > 1:  # the ratio must start at exactly 1: scored by the trainer itself
                        old_logp, _ = token_logprobs(policy, batch, rl.temperature)
                    ref_logp = token_logprobs(reference, batch, rl.temperature)[0] if reference else None
                batches.append((batch, advantages, sampled_logp, old_logp, ref_logp))
            timer.lap("score")

            # The update: the loss's shares add up over micro-batches to the loss of the whole step.
            learning_rate = warmup_constant(step, rl.warmup_steps, rl.learning_rate)
            set_learning_rate(optimizer, learning_rate)
            sums = UpdateSums()
            for update in range(rl.updates_per_rollout):
                for batch, advantages, sampled_logp, old_logp, ref_logp in batches:
                    logp, entropy = token_logprobs(policy, batch, rl.temperature)
                    loss, parts = grpo_loss(
                        logp, old_logp, ref_logp, advantages, batch.response_cu_seqlens, loss_cfg, denominator
                    )
                    loss.backward()
                    sums.add({**parts, "tokens": logp.numel(), "entropy_sum": entropy.sum()})
                    if update == 0:
                        sums.compare(sampled_logp, logp)
                grad_norm = clip_gradients(policy, rl.grad_clip, step)
                optimizer.step()
                optimizer.zero_grad()
                sums.updates += 1
            timer.lap("update")

            described = rollout_metrics(rollouts, group_size)
            metrics.append(
                {
                    "step": step,
                    "stage": stage,
                    **described,
                    **sums.record(),
                    "grad_norm": grad_norm,
                    "learning_rate": learning_rate,
                    "pools": {name: len(pool) for name, pool in pools.items()},
                    "time": timer.times(),
                }
            )
            report(progress, step, stage, described, timer)
            if rl.show_every and step % rl.show_every == 0:
                progress.write(describe_group(questions[drawn[0]], rollouts[:group_size]))
            last_of_stage = step in (rl.stage1.max_steps, total)
            if step % rl.save_every == 0 or last_of_stage or stop:
                state = {
                    "metrics_bytes": metrics.sync(),
                    "curriculum_bytes": curriculum.sync(),
                    "pass_rates": pass_rates,
                    "identity": identity,
                }
                save_checkpoint(folder / "checkpoints", step, policy, optimizer, state, rl.keep_last)
                if last_of_stage:
                    export_stage(step, policy, tokenizer, cfg)
                stop.exit_if_requested()
        progress.close()


def starting_model(cfg: Config) -> Path:
    """The folder that RL starts from: see grpo.start_from."""
    base, cold_start = Path(cfg.model or Path(cfg.run_dir, "base/model")), Path(cfg.run_dir, "sft/model")
    if cfg.grpo.start_from == "auto":
        return cold_start if cold_start.exists() or not cfg.model else base
    return base if cfg.grpo.start_from == "base" else cold_start


def usable_questions(source: Path, tokenizer, context: int, cfg: Config) -> list[Question]:
    """The training questions that leave room for an answer; how many do not is said."""
    everything = read_questions(source)
    train = [q for q in everything if q.split == "train"]
    if not train:
        raise InputError(f"{source}: no question of {len(everything)} has split train; RL learns from no other")
    if len(train) < len(everything):
        print(f"{len(everything) - len(train)} questions of other splits than train are left out")
    usable = [q for q in train if len(prompt_ids(q, tokenizer, cfg)) + cfg.grpo.max_new_tokens <= context]
    if not usable:
        raise InputError(
            f"{source}: none of {len(train)} training questions leaves room for grpo.max_new_tokens = "
            f"{cfg.grpo.max_new_tokens} in the model's context of {context}"
        )
    if len(usable) < len(train):
        print(f"{len(train) - len(usable)} questions are too long for the model's context and are left out")
    return usable


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
    sampler: Sampler, questions: list[Question], sampling: SamplingParams, reward: Reward, cfg: Config, step: int
) -> list[float]:
    """Answer the full training set with the current weights; return each question's pass rate (section 3.3)."""
    params = replace(sampling, n=cfg.grpo.curriculum.mine_samples)
    with tqdm(total=len(questions) * params.n, desc="mining", unit="answer", leave=False, dynamic_ncols=True) as bar:
        scored = sample_and_score(sampler, questions, params, reward, cfg, f"mine {step}", on_finish=bar.update)
    return [sum(s.reward["correct"] for s in group) / params.n for group in scored]


def forget_rollouts_after(step: int, folder: Path) -> None:
    """Cut the rollout files back to the checkpoint's step, as the logs are."""
    for path in folder.glob("step_*.jsonl"):
        if path.name > f"step_{step:06d}.jsonl":
            path.unlink()


def export_stage(step: int, policy, tokenizer, cfg: Config) -> None:
    """Write the finished stage's model folder."""
    stage = 1 if step == cfg.grpo.stage1.max_steps else 2
    save_model(policy, tokenizer, Path(cfg.run_dir, f"grpo/stage{stage}/model"))


def report(progress: tqdm, step: int, stage: int, described: dict[str, float], timer: Timer) -> None:
    """Bring the progress bar up to date."""
    progress.set_postfix(
        stage=stage,
        reward=f"{described['reward']:.3f}",
        correct=f"{described['correct']:.2f}",
        len=f"{described['response_length']:.0f}",
        tok_s=f"{described['response_tokens'] / timer.laps['rollout']:.0f}",
        refresh=False,
    )
    progress.update()


if __name__ == "__main__":
    run_script(main)
