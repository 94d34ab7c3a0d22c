"""What every run does around its algorithm: the folder's lock, manifest, identity, stop signals.

Left out: atomic files (fleming/files.py), checkpoints (checkpoint.py), ranks (parallel.py).
"""

import contextlib
import datetime
import json
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy
import safetensors
import tokenizers
import torch

from fleming.config import dump_yaml, to_dict
from fleming.files import read_json, run_lock, sha256_file, write_atomic
from fleming.settings import Config
from fleming.training.parallel import World
from model.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[2]


def input_hashes(inputs: Mapping[str, Path]) -> dict[str, str]:
    """Return name -> sha256 of each input file; of a model folder, of each file in it that matters."""
    hashes = {}
    for name, path in inputs.items():
        if path.is_dir():
            for file in sorted([*path.glob("*.safetensors"), *path.glob("*.json"), *path.glob("*.jinja")]):
                hashes[f"{name}/{file.name}"] = sha256_file(file)
        else:
            hashes[name] = sha256_file(path)
    return hashes


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
    common = {name: settings[name] for name in ("seed", "chat_format", "answer_style", "instruction", "system")}
    flat = {**common, **_dotted(settings[stage], f"{stage}."), **{f"sha256 of {k}": v for k, v in hashes.items()}}
    flat = {k: v for k, v in flat.items() if k.rpartition(".")[2] not in NOT_IDENTITY}
    return json.loads(json.dumps(flat))  # as it will be read back: tuples are lists


def _dotted(settings: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def check_same_run(saved: Mapping[str, Any], now: Mapping[str, Any], run_dir: str) -> None:
    """Raise InputError naming the first setting or input in which a resumed run differs from its checkpoint."""
    for key in [*saved, *(k for k in now if k not in saved)]:
        if saved.get(key) != now.get(key):
            raise InputError(
                f"{run_dir}: this run began with {key} = {saved.get(key)!r}, now it is {now.get(key)!r}; "
                "set it back, or choose another run_dir"
            )


class StopRequest:
    """Set by SIGTERM or SIGINT: the loop finishes its step, saves and leaves. A second signal ends at once."""

    def __init__(self, world: World):
        self.signal: int | None = None
        self.world = world

    def __bool__(self) -> bool:
        return self.signal is not None

    def exit(self) -> NoReturn:
        """Leave with the shell's status for the signal (143 or 130), so that a Makefile stops too."""
        if self.world.is_main:
            print("\nstopped as asked, saved; the same command goes on from here", file=sys.stderr)
        sys.exit(128 + (self.signal or signal.SIGTERM))  # or only another rank was asked


@contextlib.contextmanager
def hold(cfg: Config, world: World, script: str) -> Iterator[StopRequest]:
    """Hold the run's folder on every rank, and turn SIGTERM and SIGINT into a StopRequest, while a loop runs."""
    request = StopRequest(world)

    def handle(number: int, _frame: Any) -> None:
        if request:
            raise KeyboardInterrupt
        request.signal = number
        if world.size == 1:  # torchrun says it itself, and sends this also when another process has died
            print("\nstopping after this step (again to stop at once)", file=sys.stderr)

    with contextlib.ExitStack() as stack:
        with world.together():
            stack.enter_context(run_lock(cfg.run_dir, script, world.rank))
        for number in (signal.SIGTERM, signal.SIGINT):
            stack.callback(signal.signal, number, signal.signal(number, handle))
        yield request
