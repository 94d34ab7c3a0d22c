"""What every run does around its algorithm, so that a script can be the algorithm.

- `Run` is one stage: the decontamination gate, the inputs' hashes, lock, signals, manifest, checkpoints, logs, clock,
  progress bar and exports, and every word about them between the ranks
- the same command goes on where a run ended: a checkpoint knows its settings and inputs (identity) and how long the
  logs were, and what was written after it is cut off
- left out: atomic files (fleming/files.py), tensors of checkpoints (checkpoint.py), ranks (parallel.py)
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fleming.files import (
    AppendLog,
    by_step,
    check_writable,
    input_hashes,
    is_log_of,
    parse_line,
    step_of,
    write_jsonl,
)
from fleming.judge import own_code
from fleming.manifest import LOGS, SCRIPTS, read_manifest
from fleming.refine.gate import gate
from fleming.settings import Config
from fleming.training.checkpoint import (
    Keep,
    best_first,
    checkpoints,
    delete_old,
    load_tensors,
    newest_checkpoint,
    save_checkpoint,
    whole_state,
)
from fleming.training.identity import (
    changed_since,
    check_same_run,
    code_sha256,
    commit,
    fingerprint,
    note_outputs,
    write_manifest,
)
from fleming.training.loggers import log_to, own_logger, tensorboard
from fleming.training.metrics import DeviceSpeed, Timer, describe_step, finite, progress_bar, rates
from fleming.training.parallel import World
from fleming.training.stopping import lock_run
from model.errors import InputError
from model.files import os_errors
from model.huggingface.folder import check_folder
from model.huggingface.tokenizer import Tokenizer
from model.huggingface.weights import check_replaceable, save_model
from model.sampler import Sampler
from model.sums import remove
from model.transformer import Transformer


class Run:
    """One stage of a run, from its lock to its exports; train_sft.py shows how it is used.

    state: what the checkpoints keep beside tensors. A script may add to it what JSON can hold.
    """

    def __init__(self, stage: str, cfg: Config, world: World, inputs: Mapping[str, Path]):
        """Refuse inputs that the gate does not let pass; nothing is written yet.

        inputs: name -> file to learn from, and "model" -> folder to start from.
        """
        self.stage, self.cfg, self.world = stage, cfg, world
        self.settings = getattr(cfg, stage)
        self.folder = Path(cfg.run_dir, stage)
        self.state: dict[str, Any] = {"step": 0, "skipped_in_a_row": 0}
        files = {name: path for name, path in inputs.items() if name != "model"}
        self.cleared = world.on_main(gate, cfg, files)
        with world.agree():
            if not (cfg.model or inputs["model"].is_dir()):
                raise InputError(f"{inputs['model']}: no such model folder; name one as model=DIR")
            check_folder(inputs["model"])
            self.loggers = own_logger(stage, cfg) if world.is_main else []
            self.inputs = {**inputs, **(own_code(cfg) if stage == "grpo" else {})}
            if stage == "grpo" and cfg.grpo.dev_every:  # what the best checkpoint is chosen by
                self.inputs["data.dev"] = cfg.dev_file
        self.scores: list[float] = []  # since the last checkpoint
        self.newest: dict[str, Any] = {}  # by name: what was measured some steps ago is still shown
        self.saving: dict[str, float] = {}  # seconds that the last checkpoint took

    def __enter__(self) -> "Run":
        """Lock the folder, and read where the run stands. Raises InputError where it began with other settings."""
        with contextlib.ExitStack() as stack:
            self.stop = stack.enter_context(lock_run(self.cfg, self.world, SCRIPTS[self.stage]))
            # First what costs nothing, then the hours' worth of bytes: the model's weights, the checkpoint's.
            self.world.on_main(check_ready, self.stage, self.cfg)
            self.hashes = self.world.on_main(input_hashes, self.inputs)
            identity = fingerprint(self.cfg, self.stage, self.hashes)
            with self.world.agree():
                saved = newest_checkpoint(self.folder / "checkpoints", self.cfg.skip_damaged, self.world)
                self.state |= saved or {}
                self.state.pop("score", None)  # that checkpoint's own
                check_same_run(self.state.get("identity", identity), identity, self.cfg.run_dir)
            self.world.on_main(self._check_logs)  # all that is there, before anything of it is cut or deleted
            if self.state.get("code", code_sha256()) != code_sha256():
                said = f"now commit {commit()}; the earlier ones are in manifest.json"
                self.world.print(f"the code has changed ({said}): the run's result is half of each")
            self.state |= {"identity": identity, "code": code_sha256()}
            self.stack = stack.pop_all()  # nothing was refused: all of it stays until the run is left
        return self

    def __exit__(self, *raised: Any) -> None:
        self.stack.__exit__(*raised)

    def resume(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        optimizer: torch.optim.Optimizer,
        exports: Callable[[int], Sequence[str]],
        best: str | None = None,
    ) -> None:
        """Load the newest checkpoint, if there is one, and cut what was logged after it; open the logs to go on.

        exports: returns the model folders, below the stage's, that are written once a step is done. best: the one of
        them that gets the weights of the checkpoint of the highest score, which is kept; after the last step, as the
        last.
        """
        self.model, self.tokenizer, self.optimizer, self.exports = model, tokenizer, optimizer, exports
        self.best = best
        settings = self.settings
        self.keep = Keep(settings.keep_last, max(settings.keep_best, bool(best)), settings.keep_every)
        step, world = self.state["step"], self.world
        if step:
            load_tensors(checkpoints(self.folder / "checkpoints")[-1], model, optimizer, world)
        with world.agree():
            mine = LOGS[self.stage] if world.is_main else ()
            self.logs = {
                name: AppendLog(self._log(name), self.state.get(f"{name}_bytes", 0)) for name in mine
            }
        more = {**self.cleared, "exact": model.key_tile > 0}
        world.on_main(write_manifest, self.stage, self.cfg, self.hashes, world, more)
        if step and (other := world.on_main(changed_since, self.cfg.run_dir, self.stage)):
            world.print(f"other than at the last start: {other}; the result's last bits are of both")
        if world.is_main:
            self.loggers += tensorboard(self.stage, self.cfg, step)
        world.on_main(self._forget_rollouts_after, step)
        world.on_main(delete_old, self.folder / "checkpoints", self.keep)
        if step:
            self._export(step)  # the run may have been killed between checkpoint and export

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def kept(self, log: str) -> list[dict[str, Any]]:
        """Return the records that a log had at the newest checkpoint."""

        def read() -> list[dict[str, Any]]:
            size, path = self.state.get(f"{log}_bytes", 0), self._log(log)
            with os_errors(path, "read"):
                lines = path.read_bytes()[:size].split(b"\n")[:-1] if size else []
            return [parse_line(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]

        return self.world.on_main(read)

    def _check_logs(self) -> None:
        """Raise InputError for a log that is not what the checkpoint says, and for one whose checkpoints are gone."""
        for path in map(self._log, LOGS[self.stage]):
            if self.state["step"] and not is_log_of(path, self.state):
                raise InputError(f"{path}: damaged: not what it was at the checkpoint; restore it")
        path, most = self._log("metrics"), self.settings.save_every
        if not self.state["step"] and path.exists() and path.read_bytes().count(b"\n") > most:
            raise InputError(
                f"{path}: has more than save_every = {most} steps, yet there is no checkpoint; restore "
                f"{self.folder}/checkpoints, or move {self.folder} away to begin again"
            )

    def steps(self, total: Callable[[], int], name: str) -> Iterator[int]:
        """Yield the steps that are left, with a clock for each and a progress bar called `name`.

        total: returns the last one, as far as that is known by then.
        """
        step, self.total = self.state["step"], total
        if step >= total():
            self.world.print(f"{name}: already finished, all {step} steps: nothing to do; see {self.folder}")
            self._note_all()
            return
        self.speed = DeviceSpeed.measure(self.world.device, self.world.dtype)
        self.bar = self.stack.enter_context(progress_bar(total(), step, name, self.world))
        while step < total():
            step += 1
            self.timer = Timer(self.world.device)
            yield step
            self.bar.total = total()  # which the step may have found out
        self.bar.close()
        self._note_all()

    def _note_all(self) -> None:
        self.world.on_main(note_outputs, self.cfg.run_dir, self.stage, self.stage)

    def append(self, log: str, *records: dict[str, Any]) -> None:
        """Append records to one of the logs."""
        with self.world.agree():
            if self.world.is_main:
                for record in records:
                    self.logs[log].append(record)

    def write(self, name: str, records: Iterable[dict[str, Any]]) -> None:
        """Write a file of records below the stage's folder, its hash beside it."""
        with self.world.agree():
            if self.world.is_main:
                write_jsonl(self.folder / name, records, hashed=True)

    def log(self, record: dict[str, Any], score: float, flops: int, sampler: Sampler | None = None) -> None:
        """Append the step's record and its times to the metrics, and bring the progress bar up to date.

        score: what the best checkpoints are chosen by, higher is better. flops: `training_flops` of this rank's step.
        sampler: where the step sampled.
        """
        measured = rates(self.timer, flops, self.speed, self.world, record, sampler)
        record = {**record, "time": self.timer.times() | self.saving | measured}
        self.append("metrics", finite(record))
        log_to(self.loggers, finite(record))
        if math.isfinite(score):
            self.scores.append(score)
        self.newest |= record
        self.bar.set_postfix(describe_step(self.newest), refresh=False)
        self.bar.update()

    def show(self, text: str) -> None:
        """Print above the progress bar, once."""
        if self.world.is_main:
            self.bar.write(text)

    def save(self, step: int, due: bool = False) -> None:
        """Write a checkpoint where one is due, export where one is, and leave where a signal has asked for it."""
        stopping, self.saving = self.world.any(self.stop), {}
        if not (due or step % self.settings.save_every == 0 or self.exports(step) or stopping):
            return
        timer = Timer(self.world.device)
        with self.world.agree():
            sizes = {f"{name}_bytes": log.sync() for name, log in self.logs.items()}
        hashes = {f"{name}_sha256": log.sha256.hexdigest() for name, log in self.logs.items()}
        self.state |= {"step": step, **sizes, **hashes}
        score = {"score": sum(self.scores) / len(self.scores)} if self.scores else {}
        folder = self.folder / "checkpoints"
        save_checkpoint(folder, self.model, self.optimizer, self.state | score, self.world, self.keep)
        self.scores = []
        self._export(step)
        timer.lap("checkpoint")
        self.saving = timer.laps
        if stopping:
            if step >= self.total():
                self._note_all()
            self.stop.exit()

    def _export(self, step: int) -> None:
        for name in self.exports(step):
            if name == self.best:
                self._load_best()
            with self.world.agree():
                main = self.world.is_main
                save_model(self.model, self.tokenizer, self.folder / name, self.world.dtype, writes=main)
                if main:
                    note_outputs(self.cfg.run_dir, self.stage, f"{self.stage}/{name}", ended=False)

    def _load_best(self) -> None:
        best = self.world.on_main(lambda: best_first(self.folder / "checkpoints")[0])
        if step_of(best) != self.state["step"]:  # else the model is that
            whole_state(best, self.world)
            load_tensors(best, self.model, self.optimizer, self.world)
        self.world.print(f"the best checkpoint is that of step {step_of(best)}: {self.best} has it")

    def _forget_rollouts_after(self, step: int) -> None:
        for written, path in by_step(self.folder / "rollouts").items():
            if written > step:
                remove(path)


WRITTEN = (
    *("checkpoints", "rollouts", "metrics.jsonl", "learned.jsonl", "curriculum.jsonl", "review.jsonl"),
    *("../manifest.json", "../config.yaml"),
)
EXPORTS = "model", "stage1/model", "stage2/model", "best/model"


def check_ready(stage: str, cfg: Config) -> str:
    """Return where the stage would begin; raise InputError for other settings than it began with, and for a folder or
    file that cannot be written. Writes nothing."""
    folder = Path(cfg.run_dir, stage)
    check_writable([folder / name for name in (*WRITTEN, *EXPORTS)])
    for name in EXPORTS:
        check_replaceable(folder / name)
    read_manifest(cfg.run_dir)
    state = newest_checkpoint(folder / "checkpoints", cfg.skip_damaged)
    if not state:
        return f"{cfg.run_dir}: begins at step 1"
    saved = {key: value for key, value in state["identity"].items() if not key.startswith("sha256 of ")}
    check_same_run(saved, fingerprint(cfg, stage, {}), cfg.run_dir)
    return f"{cfg.run_dir}: goes on after step {state['step']}; the settings agree, files are compared at the start"
