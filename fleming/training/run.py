"""What every run does around its algorithm, so that a script can be the algorithm.

- `Run` is one stage: the decontamination gate, the inputs' hashes, lock, signals, manifest, checkpoints, logs, clock,
  progress bar and exports, and every word about them between the ranks
- the same command goes on where a run ended: a checkpoint knows its settings and inputs (identity) and how long the
  logs were, and what was written after it is cut off
- left out: atomic files (fleming/files.py), tensors of checkpoints (checkpoint.py), ranks (parallel.py)
"""

import contextlib
import datetime
import json
import math
import platform
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy
import safetensors
import tokenizers
import torch

from fleming.config import dump_yaml, to_dict
from fleming.files import AppendLog, input_hashes, read_json, run_lock, write_atomic, write_jsonl
from fleming.records import Rollout, to_json
from fleming.refine.gate import gate
from fleming.settings import Config
from fleming.terminal import tell
from fleming.training.checkpoint import delete_old, load_tensors, newest_checkpoint, save_checkpoint
from fleming.training.loggers import log_to, own_logger, tensorboard
from fleming.training.metrics import DeviceSpeed, Timer, describe_step, finite, progress_bar, rates
from fleming.training.parallel import World, choose_cache
from model.errors import InputError
from model.huggingface.tokenizer import Tokenizer
from model.huggingface.weights import save_model
from model.kv_cache import Capacity
from model.sampler import Sampler
from model.transformer import Transformer

REPOSITORY = Path(__file__).resolve().parents[2]


class Run:
    """One stage of a run, from its lock to its exports.

        run = Run("sft", cfg, world, {"data.trajectories": file, "model": folder})
        with run:
            run.resume(model, tokenizer, optimizer, exports={100: "model"})
            for step in run.steps(100, "cold start"):
                ...
                run.log(record, score, flops)
                run.save(step)

    state: what the checkpoints keep beside tensors. A script may add to it what JSON can hold.
    """

    def __init__(self, stage: str, cfg: Config, world: World, inputs: Mapping[str, Path]):
        """Refuse inputs that the gate does not let pass; nothing is written yet.

        inputs: name -> file to learn from, and "model" -> folder to start from.
        """
        self.stage, self.cfg, self.world, self.inputs = stage, cfg, world, inputs
        self.settings = getattr(cfg, stage)
        self.folder = Path(cfg.run_dir, stage)
        self.state: dict[str, Any] = {"step": 0, "skipped_in_a_row": 0}
        files = {name: path for name, path in inputs.items() if name != "model"}
        self.cleared = world.on_main(gate, cfg, files)
        with world.agree():
            if not inputs["model"].is_dir():
                raise InputError(f"{inputs['model']}: no such model folder; name one as model=DIR")
            self.loggers = list(own_logger(stage, cfg)) if world.is_main else []
        self.scores: list[float] = []  # since the last checkpoint
        self.saving: dict[str, float] = {}  # seconds that the last checkpoint took

    def __enter__(self) -> "Run":
        """Lock the folder, and read where the run stands. Raises InputError where it began with other settings."""
        with contextlib.ExitStack() as stack:
            self.stop = stack.enter_context(lock_run(self.cfg, self.world, f"train_{self.stage}.py"))
            self.hashes = self.world.on_main(input_hashes, self.inputs)
            identity = fingerprint(self.cfg, self.stage, self.hashes)
            self.state |= self.world.on_main(newest_checkpoint, self.folder / "checkpoints") or {}
            self.state.pop("score", None)  # that checkpoint's own
            with self.world.agree():
                check_same_run(self.state.get("identity", identity), identity, self.cfg.run_dir)
            self.state["identity"] = identity
            self.stack = stack.pop_all()  # nothing was refused: all of it stays until the run is left
        return self

    def __exit__(self, *raised: Any) -> None:
        self.stack.__exit__(*raised)

    def resume(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        optimizer: torch.optim.Optimizer,
        exports: Mapping[int, str],
        logs: Iterable[str] = ("metrics",),
    ) -> None:
        """Load the newest checkpoint, if there is one, and cut what was logged after it; open `logs` to go on.

        exports: step -> model folder, below the stage's, that is written once the step is done.
        """
        self.model, self.tokenizer, self.optimizer, self.exports = model, tokenizer, optimizer, exports
        step, world = self.state["step"], self.world
        if step:
            load_tensors(self.folder / "checkpoints", model, optimizer, world)
        with world.agree():
            self.logs = {
                name: AppendLog(
                    self.folder / f"{name}.jsonl", self.state.get(f"{name}_bytes", 0), world.is_main
                )
                for name in logs
            }
        world.on_main(write_manifest, self.stage, self.cfg, self.hashes, world, self.cleared)
        if world.is_main:
            self.loggers += tensorboard(self.stage, self.cfg, step)
        world.on_main(self._forget_rollouts_after, step)
        keep = self.settings.keep_last, self.settings.keep_best
        world.on_main(delete_old, self.folder / "checkpoints", *keep)
        if step:
            self._export(step)  # the run may have been killed between checkpoint and export

    def choose_cache(self, actor: Transformer, longest: int) -> Capacity:
        """Return how large the cache of the model that samples is; see parallel.choose_cache."""
        with self.world.agree():
            most = self.settings.max_num_seqs
            return choose_cache(self.model, actor, longest, most, self.state, self.world)

    def steps(self, total: int, name: str) -> Iterator[int]:
        """Yield the steps that are left, 1 .. total, with a clock for each and a progress bar called `name`."""
        self.speed = DeviceSpeed.measure(self.world.device, self.world.dtype)
        self.bar = self.stack.enter_context(progress_bar(total, self.state["step"], name, self.world))
        for step in range(self.state["step"] + 1, total + 1):
            self.timer = Timer(self.world.device)
            yield step
        self.bar.close()

    def append(self, log: str, record: dict[str, Any]) -> None:
        """Append a record to one of the logs."""
        with self.world.agree():
            self.logs[log].append(record)

    def write_rollouts(self, step: int, rollouts: Iterable[Rollout]) -> None:
        """Write the step's rollouts, a file a step."""
        with self.world.agree():
            if self.world.is_main:
                write_jsonl(self.folder / f"rollouts/step_{step:06d}.jsonl", map(to_json, rollouts))

    def log(self, record: dict[str, Any], score: float, flops: int, sampler: Sampler | None = None) -> None:
        """Append the step's record and its times to the metrics, and bring the progress bar up to date.

        score: what the best checkpoints are chosen by, higher is better. flops: `training_flops` of this rank's step.
        sampler: where the step sampled.
        """
        sampled = record["response_tokens"] if sampler else 0
        times = self.timer.times() | self.saving
        times |= rates(self.timer, flops, self.speed, self.world, sampler, sampled)
        if not sampler:
            times["tokens_per_second"] = record["tokens"] / times["step"]
        record = {**record, "time": times}
        self.append("metrics", finite(record))
        log_to(self.loggers, finite(record))
        if math.isfinite(score):
            self.scores.append(score)
        self.bar.set_postfix(describe_step(record), refresh=False)
        self.bar.update()

    def show(self, text: str) -> None:
        """Print above the progress bar, once."""
        if self.world.is_main:
            self.bar.write(text)

    def save(self, step: int) -> None:
        """Write a checkpoint where one is due, export where one is, and leave where a signal has asked for it."""
        stopping, self.saving = self.world.any(self.stop), {}
        if not (step % self.settings.save_every == 0 or step in self.exports or stopping):
            return
        timer = Timer(self.world.device)
        with self.world.agree():
            sizes = {f"{name}_bytes": log.sync() for name, log in self.logs.items()}
        self.state |= {"step": step, **sizes}
        score = {"score": sum(self.scores) / len(self.scores)} if self.scores else {}
        keep = self.settings.keep_last, self.settings.keep_best
        folder = self.folder / "checkpoints"
        save_checkpoint(folder, self.model, self.optimizer, self.state | score, self.world, *keep)
        self.scores = []
        self._export(step)
        timer.lap("checkpoint")
        self.saving = timer.laps
        if stopping:
            self.stop.exit()

    def _export(self, step: int) -> None:
        if step in self.exports:
            with self.world.agree():
                folder = self.folder / self.exports[step]
                save_model(self.model, self.tokenizer, folder, self.world.dtype, writes=self.world.is_main)

    def _forget_rollouts_after(self, step: int) -> None:
        for path in self.folder.glob("rollouts/step_*.jsonl"):
            if path.name > f"step_{step:06d}.jsonl":
                path.unlink()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    packages = {module.__name__: module.__version__ for module in (torch, safetensors, tokenizers, numpy)}
    return {"python": platform.python_version(), **packages}


def write_manifest(
    stage: str,
    cfg: Config,
    hashes: Mapping[str, str],
    world: World | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write RUN_DIR/config.yaml, and an entry for this start of the stage in RUN_DIR/manifest.json, `more` in it."""
    run_dir = Path(cfg.run_dir)
    path = run_dir / "manifest.json"
    manifest = read_json(path) if path.exists() else {}
    entry = {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "seed": cfg.seed,
        "processes": world.size if world else 1,
        "device": str(world.device) if world else "cpu",
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "inputs": dict(hashes),
        **(more or {}),
        "config": to_dict(cfg),
    }
    manifest.setdefault(stage, []).append(entry)
    write_atomic(run_dir / "config.yaml", dump_yaml(cfg))
    write_atomic(path, json.dumps(manifest, ensure_ascii=False, indent=1) + "\n")


def _commit() -> str | None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=40"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    return None


# May change between two halves of a run: what is kept and shown, and what only moves work or memory about.
NOT_IDENTITY = ("save_every", "keep_last", "keep_best", "show_every", "micro_batch_tokens", "max_num_seqs")


def fingerprint(cfg: Config, stage: str, hashes: Mapping[str, str]) -> dict[str, Any]:
    """Return what fixes a stage's result: its settings, dotted, and its inputs' hashes. Kept in its checkpoints."""
    settings = to_dict(cfg)
    fixed = {
        name: settings[name] for name in ("seed", "chat_format", "answer_style", "instruction", "system")
    }
    usual = Config().reading  # which checkpoints of earlier versions had
    fixed |= {name: value for name, value in cfg.reading.items() if value != usual[name]}
    if cfg.chat_template_kwargs:
        fixed["chat_template_kwargs"] = cfg.chat_template_kwargs
    fixed |= _dotted(settings[stage], f"{stage}.")
    fixed |= {f"sha256 of {name}": sha256 for name, sha256 in hashes.items()}
    fixed = {name: value for name, value in fixed.items() if name.rpartition(".")[2] not in NOT_IDENTITY}
    return json.loads(json.dumps(fixed))  # as it will be read back: tuples are lists


def _dotted(settings: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def check_same_run(saved: Mapping[str, Any], now: Mapping[str, Any], run_dir: str) -> None:
    """Raise InputError naming the first setting or input in which a resumed run differs from its checkpoint."""
    for key in [*saved, *(key for key in now if key not in saved)]:
        if saved.get(key) == now.get(key):
            continue
        change = f"now it is {now.get(key)!r}; set it back, or choose another run_dir"
        if key not in now and not key.startswith("sha256 of "):
            change = "which is no setting any more; choose another run_dir"
        raise InputError(f"{run_dir}: this run began with {key} = {saved.get(key)!r}, {change}")


class StopRequest:
    """Set by SIGTERM, SIGINT or SIGHUP: the loop finishes its step, saves and leaves. A second signal ends at once."""

    def __init__(self, world: World):
        self.signal: int | None = None
        self.world = world

    def __bool__(self) -> bool:
        return self.signal is not None

    def exit(self) -> NoReturn:
        """Leave with the shell's status for the signal (143, 130 or 129), so that a Makefile stops too."""
        if self.world.is_main:
            print("\nstopped as asked, saved; the same command goes on from here", file=sys.stderr)
        sys.exit(128 + (self.signal or signal.SIGTERM))  # or only another rank was asked


@contextlib.contextmanager
def lock_run(cfg: Config, world: World, script: str) -> Iterator[StopRequest]:
    """Lock the run's folder on every rank, and turn signals into a StopRequest, while a loop runs.

    SIGHUP, of a terminal that was closed, may come twice, and stays ignored where it was: by nohup.
    """
    request = StopRequest(world)

    def handle(number: int, _frame: Any) -> None:
        if request and number != signal.SIGHUP:
            raise KeyboardInterrupt
        request.signal = number
        if world.size == 1:  # torchrun says it itself, and sends this also when another process has died
            tell("\nstopping after this step (again to stop at once)\n")

    with contextlib.ExitStack() as stack:
        with world.agree():
            stack.enter_context(run_lock(cfg.run_dir, script, world.rank))
        nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        for number in (signal.SIGTERM, signal.SIGINT, *[signal.SIGHUP] * (not nohup)):
            stack.callback(signal.signal, number, signal.signal(number, handle))
        yield request
