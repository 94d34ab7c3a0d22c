"""What a run is: the settings, inputs and code that fix its result, and the manifest that keeps them.

- a run goes on only with the settings and inputs that it began with; with other code it goes on too, and says so
- left out: when this is asked (run.py)
"""

import contextlib
import datetime
import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import safetensors
import tokenizers
import torch

from fleming.config import dump_yaml, flat, to_dict
from fleming.files import write_atomic, write_json
from fleming.manifest import (
    CONFIG,
    REPOSITORY,
    code_sha256,
    current_outputs,
    merkle_root,
    read_manifest,
    written_in,
)
from fleming.settings import Config
from fleming.training.parallel import World
from model.errors import InputError


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
    """Write RUN_DIR/config.yaml, and an entry for this start of the stage in RUN_DIR/manifest.json, `more` in it.

    hashes: of what the stage reads. An evaluation may ask with other settings than the run's, which stay those of
    config.yaml.
    """
    manifest, text, outputs = read_manifest(cfg.run_dir), dump_yaml(cfg), {}
    if stage != "evaluate":
        write_atomic(Path(cfg.run_dir, CONFIG), text)
        outputs[CONFIG] = hashlib.sha256(text.encode()).hexdigest()
    entry = {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "code": code_sha256(),
        "seed": cfg.seed,
        "processes": world.size if world else 1,
        "device": str(world.device) if world else "cpu",
        "threads": torch.get_num_threads(),
        "cpu_kernels": torch.backends.cpu.get_cpu_capability(),
        "versions": versions(),
        "inputs": dict(hashes),
        **(more or {}),
        "config": to_dict(cfg),
        "outputs": outputs,
    }
    manifest.setdefault(stage, []).append(entry)
    write_json(Path(cfg.run_dir, "manifest.json"), manifest)


def note_outputs(run_dir: str | Path, stage: str, *folders: str, ended: bool = True) -> None:
    """Add the hashes of what stands in these folders of the run's to the manifest's entry of this start; of a stage
    that has ended also the root over all that stages have written here (fleming/manifest.py)."""
    manifest = read_manifest(run_dir)
    entry = manifest[stage][-1]
    for folder in folders:
        entry["outputs"] |= written_in(Path(run_dir), folder)
    if ended:
        entry["root"] = merkle_root(current_outputs(manifest))
    write_json(Path(run_dir, "manifest.json"), manifest)


def commit() -> str | None:
    """Return the project's commit, "-dirty" where files differ from it; None without git."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=40"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    return None


# Of a start, what may change its result in the last bits.
CONDITIONS = ("processes", "device", "threads", "cpu_kernels", "versions", "exact")


def changed_since(run_dir: str | Path, stage: str) -> str:
    """Return in which conditions the stage's newest start differs from the one before it; "" where in none."""
    before, now = (flat(start) for start in [{}, *read_manifest(run_dir)[stage]][-2:])
    known = [name for name in now if name.partition(".")[0] in CONDITIONS and name in before]
    return ", ".join(f"{name} {now[name]}, was {before[name]}" for name in known if now[name] != before[name])


# May change between two halves of a run: what is kept and shown, and what only moves work or memory about.
# How many steps a run of RL has may be raised: the curriculum refuses what is over already.
NOT_IDENTITY = (
    "max_steps",
    "save_every",
    "keep_last",
    "keep_best",
    "keep_every",
    "show_every",
    "micro_batch_tokens",
    "max_num_seqs",
)


def fingerprint(cfg: Config, stage: str, hashes: Mapping[str, str]) -> dict[str, Any]:
    """Return what fixes a stage's result: its settings, dotted, and its inputs' hashes. Kept in its checkpoints."""
    settings = to_dict(cfg)
    asked = "seed", "chat_format", "answer_style", "instruction", "system"
    fixed = {name: settings[name] for name in asked}
    usual = Config().reading  # which checkpoints of earlier versions had
    fixed |= {name: value for name, value in cfg.reading.items() if value != usual[name]}
    if cfg.chat_template_kwargs:
        fixed["chat_template_kwargs"] = cfg.chat_template_kwargs
    fixed |= flat({stage: settings[stage]})
    fixed |= {f"sha256 of {name}": sha256 for name, sha256 in hashes.items()}
    fixed = {name: value for name, value in fixed.items() if name.rpartition(".")[2] not in NOT_IDENTITY}
    return json.loads(json.dumps(fixed))  # as it will be read back: tuples are lists


def check_same_run(saved: Mapping[str, Any], now: Mapping[str, Any], run_dir: str) -> None:
    """Raise InputError naming the first setting or input in which a resumed run differs from its checkpoint.

    A setting that the checkpoint does not know, since it is newer, had its default. What RL is measured on is an input
    of which earlier versions kept no hash.
    """
    usual = flat(to_dict(Config())) | {"sha256 of data.dev": now.get("sha256 of data.dev")}
    for key in [*saved, *(key for key in now if key not in saved)]:
        if saved.get(key, usual.get(key)) == now.get(key):
            continue
        change = f"now it is {now.get(key)!r}; set it back, or choose another run_dir"
        if key not in now and not key.startswith("sha256 of "):
            change = "which is no setting any more; choose another run_dir"
        raise InputError(f"{run_dir}: this run began with {key} = {saved.get(key)!r}, {change}")
