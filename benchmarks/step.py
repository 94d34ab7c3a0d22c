"""A whole GRPO step of train_grpo.py at a real shape with random weights: tokens trained a second, and its parts.

    python benchmarks/step.py [--shape qwen2.5-1.5b] [--steps 3] [--tiny] [key=value ...]

64 questions x 8 answers, prompts of 256 tokens, answers long-tailed (mean 1,060, at most 4,096), on policy, a KL term
with its reference, activations recomputed. The run is train_grpo.py itself under torchrun, stopped after the last step
without a checkpoint. Printed is the step of median length, the first one left out. Its parts:

- rollout: sampling, rewarding and writing the answers down; reward: the reward's own share of it
- score: packing; reference, update, gather: as in fleming/training/metrics.py; rest: the step less its parts
- idle: the share of the step in which no kernel ran, by nvidia-smi, looked at twice a second
- peak: what torch had allocated at most; used: what nvidia-smi saw at most, fragments and libraries too

Settings after the options are train_grpo.py's. The last line is JSON.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from sampler import stop_ids_for
from shapes import SHAPES, config_of, descendants, torchrun, write_model

from fleming.config import load_config
from fleming.prompt import prompt_ids
from fleming.records import Question
from fleming.settings import Config
from model.huggingface.tokenizer import Tokenizer

Look = tuple[float, float]  # share busy, GiB used
TINY = ("qwen2", 64, 128, 2, 4, 2, 16, 2048, 2000)  # as SHAPES
LAPS = ("rollout", "reward", "score", "reference", "update", "gather", "rest")
INSTRUCTION = "Reason, then answer."
# The real reward, whose time is noted, and what tells random answers apart, so that gradients are real.
REWARD = """
import os
import time
from pathlib import Path

from fleming.rl.reward import medical_reward


def by_length(response, finished, question, cfg):
    began = time.perf_counter()
    parts = medical_reward(response, finished, question, cfg)
    seconds = time.perf_counter() - began
    with open(Path(__file__).with_name("reward_seconds_" + os.environ["RANK"]), "a") as log:
        log.write(f"{seconds}\\n")
    return parts | {"total": parts["total"] + len(response) / 100_000}
"""


@dataclass(frozen=True)
class Size:
    """How much a step samples: tokens of a prompt, mean and longest answer."""

    questions: int
    group_size: int
    prompt: int
    mean: float
    longest: int


def smi(what: str) -> list[str]:
    """Return what nvidia-smi says of each GPU; nothing where there is none."""
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
    except (OSError, subprocess.CalledProcessError):
        return []


def look() -> list[Look]:
    """Return (share of the last moment that kernels ran, GiB used) of each GPU."""
    found = []
    for line in smi("utilization.gpu,memory.used"):
        busy, _, mib = line.partition(", ")
        if busy.isdigit() and mib.isdigit():
            found.append((int(busy) / 100, int(mib) / 1024))
    return found


def write_questions(path: Path, count: int, tokens: int, settings: list[str], model: Path) -> None:
    """Write questions whose prompts have exactly so many tokens, no two the same."""
    tokenizer, cfg = Tokenizer.from_folder(model), load_config(Config, None, settings)
    lines = []
    for i in range(count):
        stem = f"Case {i}. "
        options = {"A": "first", "B": "second", "C": "third", "D": "fourth"}
        question = Question(id=f"q{i}", question=stem, options=options, answer="A")
        missing = tokens - len(prompt_ids(question, tokenizer, cfg))
        if missing < 0:
            raise SystemExit(f"prompts of {tokens} tokens: {-missing} too few for the shortest question")
        question = replace(question, question=stem + "x" * missing)
        assert len(prompt_ids(question, tokenizer, cfg)) == tokens
        record = {"id": question.id, "question": question.question, "options": options, "answer": "A"}
        lines.append(json.dumps(record) + "\n")
    path.write_text("".join(lines))


def watch(
    process: subprocess.Popen, metrics: Path, steps: int, seconds: float, log: Path
) -> list[list[Look]]:
    """Wait until so many steps are logged, or the time is over; return the looks at the GPU during each step.

    Raises SystemExit where the run ends by itself, and where the time was too short for one step.
    """
    looks: list[list[Look]] = [[]]
    deadline = time.monotonic() + seconds
    while True:
        done = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
        while len(looks) <= done:
            looks.append([])
        late = time.monotonic() > deadline
        if done >= steps or (done and late):
            return looks
        status = process.poll()
        if late or status is not None:
            problem = (
                f"no step in {seconds:.0f} s"
                if late
                else f"train_grpo.py ended with {status} in step {done + 1}"
            )
            raise SystemExit(f"{problem}\n{log.read_text()[-4000:]}")
        looks[-1] += look()
        time.sleep(0.5)


def end(process: subprocess.Popen) -> None:
    """Kill the run with all that it started: a signal that it could catch would have it save first."""
    for pid in reversed(descendants(process.pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def describe(record: dict, rollouts: list[dict], reward: float, processes: int) -> dict:
    """Return one step as it is printed: tokens, seconds, and parts in seconds."""
    times = dict(record["time"])
    laps = {name: times[name] for name in LAPS if name in times}
    laps["rest"] = times["step"] - sum(laps.values())
    laps["reward"] = reward  # lies within the rollout
    answers = [len(r["token_ids"]) for r in rollouts]
    prompts = {r["question_id"]: len(r["prompt_ids"]) for r in rollouts}
    tokens = sum(answers) + sum(len(r["prompt_ids"]) for r in rollouts)
    once = sum(answers) + sum(prompts.values())
    return {
        "step": record["step"],
        "seconds": times["step"],
        "answers": len(answers),
        "mean_answer": sum(answers) / len(answers),
        "longest_answer": max(answers),
        "prompt": max(prompts.values()),
        "tokens": tokens,
        "tokens_per_second_per_gpu": tokens / times["step"] / processes,
        "tokens_prompts_once": once,
        "tokens_prompts_once_per_second_per_gpu": once / times["step"] / processes,
        "parts": {name: laps[name] for name in LAPS if name in laps},
        "mfu": times["mfu"],
        "decode_bandwidth": times["decode_bandwidth"],
        "sampled_tokens_per_second": times["sampled_tokens_per_second"],
        "peak_gib": times["peak_gib"],
        "sampler_scorer_max": record["sampler_scorer_max"],
        "grad_norm": record["grad_norm"],
    }


def measure(shape: tuple, size: Size, options: argparse.Namespace, scratch: Path) -> dict:
    """Run the steps; return the one of median length."""
    steps, processes = options.steps, options.processes
    cfg, ids = config_of(shape), shape[-1]
    stops = len(stop_ids_for(size.mean, size.longest, ids))
    began = time.perf_counter()
    write_model(scratch / "model", cfg, ids, stops, output_scale=0.1)
    print(
        f"{cfg.parameters / 1e9:.2f} billion weights written in {time.perf_counter() - began:.0f} s",
        flush=True,
    )

    metrics, log = scratch / "run/grpo/metrics.jsonl", scratch / "log"
    settings = [
        f"model={scratch / 'model'}",
        f"data.questions={scratch / 'questions.jsonl'}",
        f"run_dir={scratch / 'run'}",
        f"instruction={INSTRUCTION}",
        "parallel.activation_checkpointing=true",
        "grpo.reward=step_reward:by_length",
        f"grpo.questions_per_step={size.questions}",
        f"grpo.stage1={{max_steps: 1000000, group_size: {size.group_size}}}",
        "grpo.stage2.max_steps=0",
        f"grpo.max_new_tokens={size.longest}",
        "grpo.micro_batch_tokens=16384",
        "grpo.save_every=1000000",
        "grpo.show_every=0",
        *options.settings,
    ]
    (scratch / "step_reward.py").write_text(REWARD)
    count = size.questions * steps
    write_questions(scratch / "questions.jsonl", count, size.prompt, settings, scratch / "model")
    began = time.perf_counter()
    with open(log, "w") as printed:
        process = torchrun(processes, settings, printed, scratch)
        try:
            looks = watch(process, metrics, steps, options.seconds, log)
        finally:
            end(process)
    wall = time.perf_counter() - began

    records = [json.loads(line) for line in metrics.read_text().splitlines()][:steps]
    for record in records:
        times = {name: round(value, 3) for name, value in record["time"].items()}
        print(f"step {record['step']}: mean answer {record['response_length']:.0f}, {times}", flush=True)
    timed = sorted(records[1:] or records, key=lambda record: record["time"]["step"])
    record = timed[(len(timed) - 1) // 2]
    number = record["step"]
    rollouts = (metrics.parent / f"rollouts/step_{number:06d}.jsonl").read_text().splitlines()
    rewards = [float(line) for line in (scratch / "reward_seconds_0").read_text().split()]
    each = len(range(0, size.questions, processes)) * size.group_size  # of a step on the main rank
    reward = sum(rewards[(number - 1) * each : number * each])
    found = describe(record, [json.loads(line) for line in rollouts], reward, processes)
    busy = [share for share, _ in looks[number - 1]]
    used = [gib for step in looks for _, gib in step]
    found["idle"] = 1 - sum(busy) / len(busy) if busy else None
    found["used_gib"] = max(used, default=None)
    return {"parameters": cfg.parameters, "layers": cfg.num_hidden_layers, "wall_seconds": wall, **found}


def show(found: dict) -> None:
    seconds = found["seconds"]
    print(
        f"\nstep {found['step']}: {seconds:.1f} s, {found['answers']} answers, mean {found['mean_answer']:.0f}, "
        f"longest {found['longest_answer']}, prompts of {found['prompt']}\n"
        f"{found['tokens']:,} tokens, {found['tokens_per_second_per_gpu']:,.0f} a second and GPU; each prompt "
        f"counted once {found['tokens_prompts_once']:,}, {found['tokens_prompts_once_per_second_per_gpu']:,.0f}\n"
    )
    print("| part | seconds | % |\n|---|---|---|")
    for name, part in found["parts"].items():
        label = "of which reward" if name == "reward" else name
        print(f"| {label} | {part:.2f} | {100 * part / seconds:.1f} |")
    idle, used = "not known", "not known"
    if found["idle"] is not None:
        idle, used = f"{100 * found['idle']:.1f} % of the time", f"{found['used_gib']:.1f} GiB"
    print(
        f"\nGPU idle {idle}; mfu of the update {100 * found['mfu']:.1f} %, decode bandwidth "
        f"{100 * found['decode_bandwidth']:.1f} %, peak {found['peak_gib']:.1f} GiB, used {used}, "
        f"sampler against scorer at most {found['sampler_scorer_max']:.2g}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", default="qwen2.5-1.5b", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--layers", type=int, help="fewer than the shape has, where not all of them fit")
    parser.add_argument("--steps", type=int, default=3, help="the first one warms up")
    parser.add_argument(
        "--seconds", type=float, default=3600, help="end by then, with the steps that are done"
    )
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--mean", type=float, default=1060)
    parser.add_argument("--longest", type=int, default=4096)
    parser.add_argument("--processes", type=int, default=max(1, torch.cuda.device_count()))
    parser.add_argument("--tiny", action="store_true", help="two thin layers, to try the benchmark itself")
    parser.add_argument("settings", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args()

    shape, size = (
        SHAPES[options.shape],
        Size(options.questions, options.group_size, options.prompt, options.mean, options.longest),
    )
    if options.tiny:
        shape, size = TINY, Size(4, 4, 256, 12, 48)
    if options.layers:
        shape = (*shape[:3], options.layers, *shape[4:])
    name = "tiny" if options.tiny else options.shape
    card = (smi("name") or ["CPU"])[0]
    print(
        f"torch {torch.__version__}, {options.processes} x {card}, {name}, {size}, settings {options.settings}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(shape, size, options, Path(scratch))
    show(found)
    told = {"torch": torch.__version__, "card": card, "processes": options.processes, "shape": name}
    print(json.dumps({"benchmark": "step", **told, "settings": options.settings, **found}))


if __name__ == "__main__":
    main()
