"""What was recorded of a step of RL, made again and compared: samples bit for bit, rewards, advantages, the loss.

    python -m fleming.rl.replay runs/demo --step 30 [--sample 5]
    python -m fleming.rl.replay runs/demo --random 50 --seed 1

A sample is drawn alone, from the weights that its step began with: those of a kept checkpoint, of the model that RL
began with, or made anew from the last of these forward, one recorded step after the other. Nothing is written. It exits
with 1 where something is not as recorded. The update's loop is written here once more, since a check that shared the
trainer's would share its mistakes. Left out: which questions were drawn (curriculum.py), runs on CUDA, and what a run
of several processes did between checkpoints, whose sums of gradients one process makes in another order.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fleming.command_line import run_settings, same_kernels

if __name__ == "__main__":  # the kernels are chosen as torch is loaded
    same_kernels(sys.argv[1:])

import torch
from tqdm import tqdm

from fleming.config import run_script
from fleming.files import by_step, read_jsonl, step_name
from fleming.manifest import read_manifest
from fleming.noise import generator
from fleming.prompt import response_text
from fleming.public.readers import read_questions
from fleming.records import Question, Rollout
from fleming.refine.decisions import Decision, relabel
from fleming.rl.grpo import group_advantages, grpo_loss
from fleming.rl.reward import NOTHING, load_reward, whole_reward
from fleming.rl.rollout import call_of_step, mini_batches, noise_key
from fleming.settings import Config
from fleming.terminal import option_parser
from fleming.training.checkpoint import load_tensors, whole_state
from fleming.training.logprobs import token_logprobs
from fleming.training.optimizer import GuardedStep, make_adamw, set_learning_rate, warmup_constant
from fleming.training.parallel import World, join_world, load_sharded, make_exact
from fleming.typed import from_json
from model.drawing import SamplingParams
from model.errors import InputError
from model.sampler import Sample, Sampler
from model.sums import check_sums


class Replay:
    """A run of RL, and its weights as they were before any step that is asked for."""

    def __init__(self, cfg: Config, world: World):
        self.cfg, self.world = cfg, world
        self.folder = Path(cfg.run_dir, "grpo")
        starts = read_manifest(cfg.run_dir).get("grpo")
        if not starts:
            raise InputError(f"{cfg.run_dir}: no RL has begun here; name a run_dir of train_grpo.py")
        self.alone = all(start["processes"] == 1 for start in starts)
        self.recorded = {record["step"]: record for _, record in read_jsonl(self.folder / "metrics.jsonl")}
        self.questions = {q.id: q for q in read_questions(cfg.question_file, cfg, world.print)}
        events = [record for _, record in read_jsonl(self.folder / "curriculum.jsonl")]
        self.decisions = [event for event in events if event.get("event") == "decision"]
        self.reward = load_reward(cfg.grpo.reward)

        check_sums(cfg.rl_start)
        self.policy, self.tokenizer = load_sharded(cfg.rl_start, cfg, world)
        self.reference = None
        if cfg.grpo.loss.needs_reference:
            self.reference, _ = load_sharded(cfg.rl_start, cfg, world, trainable=False)
        make_exact(self.policy, [self.policy, self.reference], cfg, world)
        self.optimizer = make_adamw(self.policy, weight_decay=0.0)
        self.take_step = GuardedStep()
        self.kept = {0: cfg.rl_start} | by_step(self.folder / "checkpoints")
        self.step = 0
        """After which the weights are."""

    def go_before(self, step: int) -> list[str]:
        """Bring the weights to where the step began; return what differed in the steps on the way."""
        nearest = max(kept for kept in self.kept if kept < step)
        if self.step < nearest:
            state = whole_state(self.kept[nearest], self.world)
            self.take_step = GuardedStep({"skipped_in_a_row": state["skipped_in_a_row"]})
            load_tensors(self.kept[nearest], self.policy, self.optimizer, self.world)
            self.step = nearest
        if self.step < step - 1 and not self.alone:
            raise InputError(
                f"{self.folder}: the run had several processes, and step {step} began with no kept checkpoint; "
                f"ask for a step right behind one: {', '.join(str(kept + 1) for kept in self.kept)}"
            )
        faults = []
        way = range(self.step + 1, step)
        for between in tqdm(way, "updates", leave=False, disable=len(way) < 2):
            faults += [f"step {between}: {fault}" for fault in self.update(self.rollouts(between))]
        return faults

    def rollouts(self, step: int) -> list[Rollout]:
        """Return a step's rollouts. Raises InputError where there are none."""
        path = self.folder / f"rollouts/{step_name(step)}.jsonl"
        if step not in self.recorded or not path.exists():
            raise InputError(f"{path}: no such step; the run has {len(self.recorded)} of them")
        found = [from_json(Rollout, record, where) for where, record in read_jsonl(path)]
        if unknown := {r.question_id for r in found} - self.questions.keys():
            raise InputError(f"{path}: {min(unknown)} is no question of {self.cfg.question_file}")
        return found

    def sample(self, r: Rollout) -> list[str]:
        """Draw the rollout again, alone; return what differs."""
        rl = self.cfg.grpo
        params = SamplingParams(1, rl.max_new_tokens, rl.temperature, seed=r.seed, first=r.sample)
        key = noise_key(call_of_step(r.step), r.group, r.question_id)
        sampler = Sampler(self.policy, self.tokenizer, max_num_seqs=1)
        [[drawn]] = sampler.generate([r.prompt_ids], params, [key])
        text, question = response_text(drawn, self.tokenizer), self.question(r)
        found = {
            "tokens": drawn.token_ids == r.token_ids,
            "log-probs": drawn.logprobs == r.logprobs,
            "response": text == r.response,
            "reward": self.rewarded(text, drawn, question) == r.reward,
        }
        return [name for name, same in found.items() if not same]

    def rewarded(self, text: str, sample: Sample, question: Question) -> dict[str, float]:
        """Return the reward's parts, those of nothing where it raises."""
        finished = sample.finish_reason == "stop"
        try:
            return whole_reward(self.reward, text, finished, len(sample.token_ids), question, self.cfg)
        except (Exception, SystemExit):  # whatever a user's function raises: the run has counted it as 0
            return NOTHING

    def question(self, r: Rollout) -> Question:
        """Return the question as the rollout's step had it: relabelled by a person by then, in its order."""
        question = self.questions[r.question_id]
        for event in self.decisions:
            if event["question"] == r.question_id and event["step"] <= r.step:
                question = relabel(question, Decision(r.question_id, event["verdict"]))
        return question.in_order(r.order) if r.order else question

    def update(self, rollouts: Sequence[Rollout]) -> list[str]:
        """Take the step that these rollouts led to; return what is not as recorded: advantages, loss, gradient."""
        rl, loss_cfg, step = self.cfg.grpo, self.cfg.grpo.loss, rollouts[0].step
        size = max(r.sample for r in rollouts) + 1
        rewards = torch.tensor([r.reward["total"] for r in rollouts], dtype=torch.float64).view(-1, size)
        advantages = group_advantages(rewards, loss_cfg.normalize_std).flatten().tolist()
        faults = [] if advantages == [r.advantage for r in rollouts] else ["advantages"]

        groups = [rollouts[i : i + size] for i in range(0, len(rollouts), size)]
        batches = mini_batches(groups, rl, bool(self.reference), self.world)
        with torch.no_grad():
            for b in [b for mini_batch in batches for b in mini_batch.packs]:
                if rl.rescores:
                    b.old_logp, _ = token_logprobs(self.policy, b.packed, rl.temperature)
                    b.correct_for_the_sampler(loss_cfg.importance_cap)
                if self.reference:
                    b.ref_logp, _ = token_logprobs(self.reference, b.packed, rl.temperature)

        set_learning_rate(self.optimizer, warmup_constant(step, rl.warmup_steps, rl.learning_rate))
        total = 0.0
        for mini_batch in batches * rl.updates_per_rollout:
            for b in mini_batch.packs:
                logp, _ = token_logprobs(self.policy, b.packed, rl.temperature)
                cuts = b.packed.response_cu_seqlens
                loss, _ = grpo_loss(
                    logp, b.old_logp, b.ref_logp, b.advantages, cuts, loss_cfg, mini_batch.denominator
                )
                loss.backward()
                total += loss.item()
            norm = self.take_step(self.policy, self.optimizer, rl.grad_clip)
        self.step = step
        made = {"loss": total / (rl.updates_per_rollout * len(batches)), "grad_norm": norm}
        return faults + [name for name, value in made.items() if value != self.recorded[step][name]]


def wanted(options: argparse.Namespace, replay: Replay) -> dict[int, list[int]]:
    """Return step -> places of rollouts in its file. Raises InputError for a sample that is not there."""
    if options.step is not None:
        count = len(replay.rollouts(options.step))
        if options.sample is not None and not 0 <= options.sample < count:
            raise InputError(
                f"--sample is {options.sample}: step {options.step} has rollouts 0 to {count - 1}"
            )
        return {options.step: [*range(count)] if options.sample is None else [options.sample]}
    if options.sample is not None:
        raise InputError("--sample names one rollout of --step: leave it out, or name a step")
    rl = replay.cfg.grpo
    sizes = {1: rl.stage1.group_size, 2: rl.stage2.group_size}
    there = [
        (step, i)
        for step, record in sorted(replay.recorded.items())
        for i in range(record["groups"] * sizes[record["stage"]])
    ]
    if not 1 <= options.random <= len(there):
        raise InputError(f"--random is {options.random}: the run has {len(there)} rollouts")
    drawn = generator(options.seed, "replay").choice(len(there), options.random, replace=False)
    found: dict[int, list[int]] = {}
    for step, i in sorted(there[k] for k in drawn):
        found.setdefault(step, []).append(i)
    return found


def run(replay: Replay, places: Mapping[int, Sequence[int]]) -> int:
    """Replay these rollouts and their steps' updates, and say what came; return how much differs."""
    differ = identical = 0
    for step, chosen in places.items():
        for fault in replay.go_before(step):
            print(f"{fault} not as recorded")
            differ += 1
        rollouts = replay.rollouts(step)
        for i in tqdm(chosen, f"step {step}", leave=False, disable=len(chosen) < 2):
            faults = replay.sample(rollouts[i])
            identical += not faults
            differ += bool(faults)
            if faults:
                print(f"step {step}, rollout {i}, {rollouts[i].question_id}: other {', '.join(faults)}")
        faults = replay.update(rollouts)
        differ += len(faults)
        said = (
            f"{', '.join(faults)} not as recorded" if faults else "advantages, loss and gradient as recorded"
        )
        print(f"step {step}: {len(chosen)} of {len(rollouts)} rollouts drawn again; {said}", flush=True)
    count = sum(map(len, places.values()))
    print(f"{identical} of {count} rollouts identical: tokens, log-probs, response, reward")
    return differ


def main(argv: list[str]) -> int:
    parser = option_parser(__doc__)
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="a run's folder, with its rollouts")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--step", type=int, metavar="N", help="all of a step's rollouts, or --sample")
    which.add_argument("--random", type=int, metavar="N", help="so many rollouts of the run, drawn by --seed")
    parser.add_argument(
        "--sample", type=int, metavar="K", help="one rollout of --step: its line in the file, from 0"
    )
    parser.add_argument("--seed", type=int, default=0, help="of --random")
    options = parser.parse_args(argv)
    cfg = run_settings(options.run_dir)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    with join_world(cfg.parallel) as world:
        replay = Replay(cfg, world)
        if not replay.policy.key_tile:
            print("not exact: a sample's last bits depend on those beside it; drawn alone, some may differ")
        return 1 if run(replay, wanted(options, replay)) else 0


if __name__ == "__main__":
    run_script(main)
