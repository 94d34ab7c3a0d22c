"""Small runs for the tests: a process of its own, in this one, or two under torchrun; what they print and leave."""

import contextlib
import functools
import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support import warm
from support.jsonl import read_records
from support.places import ROOT

from fleming.config import run_script
from fleming.training.metrics import DeviceSpeed
from fleming.training.parallel import World

MEASURED = functools.cache(DeviceSpeed.measure)  # by all runs in this process once
ALONE = World(0, 1, torch.device("cpu"), None)
records = read_records
SMALL = [
    "threads=1",
    "synth.train_questions=420",
    "synth.cold_start_share=0.65",
    "synth.dev_questions=9",
    "synth.test_questions=15",
    "synth.rules.tries=4",
    "base_model.num_layers=2",
    "base_model.hidden_size=32",
    "base_model.intermediate_size=64",
    "base_model.num_heads=2",
    "base_model.num_kv_heads=1",
    "base_model.head_dim=16",
    "sft.epochs=1",
    "sft.sequences_per_step=16",
    "sft.save_every=2",
    "grpo.questions_per_step=4",
    "grpo.max_new_tokens=24",
    "grpo.dev_every=0",
    "grpo.kl_coef=0.01",
    "grpo.stage1.max_steps=5",
    "grpo.stage1.group_size=4",
    "grpo.stage2.max_steps=4",
    "grpo.stage2.group_size=6",
    "grpo.curriculum.mine_every=3",
    "grpo.curriculum.mine_samples=2",
    "grpo.save_every=2",
    "grpo.show_every=3",
    "evaluate.max_new_tokens=24",
]


def command(script: str, run_dir: Path, *settings: str) -> list[str]:
    base = [
        sys.executable,
        str(ROOT / script),
        "--config",
        str(ROOT / "configs/demo.yaml"),
        f"run_dir={run_dir}",
    ]
    return [*base, *SMALL, *settings]


def run(script: str, run_dir: Path, *settings: str, **kwargs) -> subprocess.CompletedProcess:
    return warm.run(command(script, run_dir, *settings), capture_output=True, text=True, cwd=ROOT, **kwargs)


def torchrun(*arguments, processes=2, **kwargs) -> subprocess.CompletedProcess:
    """Run a script under torchrun on this machine."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        str(processes),
        *map(str, arguments),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **kwargs.pop("env", {})}
    return warm.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, **kwargs)


def run_here(module, argv: list[str]) -> tuple[int, list[str]]:
    """Run a script in this process, as its last lines do; return its status and what it printed on stderr.

    Importing torch takes seconds, and the tests of full disks start scripts some seventy times.
    """
    printed, threads = io.StringIO(), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{module.__name__}.py", *argv])
        patch.setattr(sys, "stdout", io.StringIO())
        patch.setattr(sys, "stderr", printed)
        patch.setattr(DeviceSpeed, "measure", MEASURED)
        with pytest.raises(SystemExit) as left:
            run_script(module.main)
    torch.set_num_threads(threads)
    return left.value.code, messages(printed.getvalue())


def arguments(inputs: Path, run_dir: Path, *settings: str) -> list[str]:
    own = [
        f"data.trajectories={inputs / 'data/cold_start.jsonl'}",
        f"data.questions={inputs / 'questions.jsonl'}",
        f"model={inputs / 'base/model'}",
        "grpo.start_from=base",
        "grpo.reward=letters:many_e",
        "grpo.learning_rate=3e-3",
        "grpo.warmup_steps=1",
        "grpo.show_every=0",
        "parallel.device=cpu",
    ]
    return ["--config", str(ROOT / "configs/demo.yaml"), f"run_dir={run_dir}", *SMALL, *own, *settings]


def result_of(run_dir: Path) -> dict[str, object]:
    """Everything that must be the same in every run: model folders, rollouts and curriculum; metrics without clocks."""
    found: dict[str, object] = {}
    for path in sorted(run_dir.rglob("*")):
        name = str(path.relative_to(run_dir))
        if path.name == "metrics.jsonl":
            records = read_records(path)
            found[name] = [{k: v for k, v in record.items() if k != "time"} for record in records]
        elif path.is_file() and name.startswith(("sft/", "grpo/")) and "checkpoints/" not in name:
            found[name] = path.read_bytes()
    return found


def differences(a: dict[str, object], b: dict[str, object]) -> list[str]:
    return [name for name in a.keys() | b.keys() if a.get(name) != b.get(name)]


def messages(text: str) -> list[str]:
    """Return the lines that were printed besides progress bars, which may stand before them on the same line."""
    lines = re.split(r"[\r\n]", text.replace("\x1b[A", ""))
    lines = [line for line in lines if not re.fullmatch(r"\w+\.py: .*, loading", line)]
    lines = [
        re.sub(
            r"^(cold start|RL|mining|teacher|questions|label check|walking|reading):[^\[]*\[[^\]]*\]",
            "",
            line,
        ).strip()
        for line in lines
    ]
    return [line for line in lines if line]


def checkpoints(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("*/checkpoints/step_*"))


class Launched:
    """A script under torchrun with 2 processes, each of which prints to a file: torchrun writes a report of its own."""

    def __init__(self, script: str, inputs: Path, run_dir: Path, *settings: str):
        self.run_dir = run_dir
        self.logs = run_dir.with_name(f"{run_dir.name}.logs.{time.monotonic_ns()}")
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
        launcher += ["--log-dir", str(self.logs), "--redirects", "3", str(ROOT / script)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(inputs)}
        self.process = warm.Popen(
            [*launcher, *arguments(inputs, run_dir, *settings)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        self.workers: list[int] = []
        self.report = ""

    def running(self) -> bool:
        """Whether the launcher runs; notes its workers. A worker's place in the list is not its rank."""
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
            self.workers = [int(pid) for pid in children.split()] or self.workers
        return self.process.poll() is None

    def holds(self) -> bool:
        """Whether the workers hold the folder: their loop has begun."""
        with contextlib.suppress(OSError):
            holders = [(self.run_dir / name).read_text() for name in (".lock", ".lock.1")]
            return bool(self.workers) and all(
                any(f"process {w}," in h for w in self.workers) for h in holders
            )
        return False

    def wait_for(self, condition, seconds: float = 120) -> bool:
        """Wait until the condition holds; False where the run ended first."""
        deadline = time.monotonic() + seconds
        while self.running():
            if condition():
                return True
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return False

    def signal(self, number: int, *pids: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self, seconds: float = 120) -> tuple[int, str]:
        """Wait for launcher and workers; return the launcher's status and what it printed."""
        if not self.process.stderr.closed:
            _, self.report = self.process.communicate(timeout=seconds)
        deadline = time.monotonic() + seconds
        while any(state(worker) not in "ZX" for worker in self.workers):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return self.process.returncode, self.report

    def said(self) -> list[list[str]]:
        """Return what each process printed on stderr besides progress bars."""
        return [messages(p.read_text()) for p in sorted(self.logs.glob("*/attempt_0/*/stderr.log"))]


def ours(report: str) -> int:
    """Return the first status of a process in torchrun's report, which itself ends with 1: it may end the others."""
    return int(re.search(r"Root Cause.*?exitcode  : (-?\d+)", report, re.DOTALL)[1])


def state(pid: int) -> str:
    """Return the letter of /proc for what a process is doing, X where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def steps_logged(run_dir: Path) -> int:
    with contextlib.suppress(OSError):
        return sum(path.read_bytes().count(b"\n") for path in run_dir.glob("*/metrics.jsonl"))
    return 0
