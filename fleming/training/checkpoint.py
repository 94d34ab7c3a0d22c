"""Checkpoints: weights and optimiser state as safetensors (torch.distributed.checkpoint), the rest as state.json.

A checkpoint is a folder that appears by a rename, so one that can be seen is complete; SHA256SUMS in it says what was
written, and all of it is compared before anything is loaded. Each rank writes its own shards, and any number of ranks
loads them. There is no pickle in it and no random-number state: all noise and order is counted
from the seed and the step. Left out: saving while the next step runs.
"""

import contextlib
import hashlib
import json
import math
import shutil
import sys
import warnings
from collections import ChainMap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException

from fleming.files import by_step, read_json, step_name, step_of, write_atomic
from fleming.training.parallel import World
from fleming.typed import NonNegative, Positive, Range, from_json
from model.errors import InputError
from model.files import being_written, os_errors, replace_folder
from model.huggingface.weights import shards_of
from model.sums import SUMS, Hashed, read_sums, sha256_file, write_sums
from model.transformer import Transformer

# Of a file of one rank, unless a single tensor is larger: torch makes each file in memory before it writes it.
FILE_BYTES = 128 << 20
Pair = Annotated[list[NonNegative[int]], Range("two numbers", lambda pair: len(pair) == 2)]
warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process is meant


class Keep(NamedTuple):
    """Which checkpoints stay when a new one is there."""

    last: int
    """The newest."""
    best: int = 0
    """Those with the highest state["score"]."""
    every: int = 0
    """Those of a step that is a multiple; 0: none."""


@dataclass(frozen=True)
class State:
    """What state.json may hold, as it is checked when it is read."""

    step: Positive[int]
    identity: dict[str, Any]
    """Settings and inputs (identity.py)."""
    metrics_bytes: NonNegative[int]
    metrics_sha256: str
    curriculum_bytes: NonNegative[int] | None = None
    curriculum_sha256: str | None = None
    code: str | None = None
    skipped_in_a_row: NonNegative[int] = 0
    cache: Annotated[list[Positive[int]], Range("three numbers", lambda cache: len(cache) == 3)] | None = None
    """The sampler's rows and places, and how many rows were asked for."""
    score: float | None = None
    watched: list[dict[str, float]] | None = None
    """What fleming/rl/watch.py measured in the last steps."""
    watched_letters: list[dict[str, Pair]] | None = None
    watched_first: dict[str, float] | None = None
    warned: list[str] | None = None
    """Of what it has warned."""


def _flat_state(transformer: Transformer, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Name every tensor of model and optimiser; AdamW's moments are made (as zeros) where no step was taken yet."""
    tensors: dict[str, Tensor] = {}
    for name, p in transformer.named_parameters():
        tensors[f"model.{name}"] = p.data
        state = optimizer.state[p]
        if not state:
            state["step"] = torch.zeros((), device=p.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
        tensors |= {f"optimizer.{name}.{key}": value for key, value in state.items()}
    return tensors


def save_checkpoint(
    folder: Path,
    transformer: Transformer,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    world: World,
    keep: Keep,
) -> None:
    """Write the checkpoint of state["step"], folder/step_000123, whole or not at all, then delete old ones.

    All ranks call this. Raises InputError where the disk refuses; the older checkpoints are then as they were.
    """
    final = folder / step_name(state["step"])
    with contextlib.ExitStack() as writing:
        with world.agree():
            if world.is_main:
                writing.enter_context(replace_folder(final))
        with world.agree():
            hashes = _save_tensors(being_written(final), transformer, optimizer, world)
        parts = world.gather(hashes)
        with world.agree():
            if world.is_main:
                text = json.dumps(state, ensure_ascii=False, allow_nan=False).encode()
                write_atomic(being_written(final) / "state.json", text)
                parts.append({"state.json": hashlib.sha256(text).hexdigest()})
                write_sums(being_written(final), dict(ChainMap(*parts)))
                writing.close()
                delete_old(folder, keep)


def _save_tensors(
    folder: Path, transformer: Transformer, optimizer: torch.optim.Optimizer, world: World
) -> dict[str, str]:
    """Write this rank's shards; return file name -> sha256 of what was written."""
    tensors = _flat_state(transformer, optimizer)
    sizes = {name: tensor.nbytes for name, tensor in tensors.items()}
    shards = shards_of(sizes, FILE_BYTES * world.size)
    files = {name: number for number, shard in enumerate(shards, start=1) for name in shard}
    writer = HuggingFaceStorageWriter(str(folder), files, save_distributed=True)
    hashes: dict[str, str] = {}
    create_stream = writer.fs.create_stream

    @contextlib.contextmanager
    def hashed_stream(path: Any, mode: str) -> Iterator[Any]:
        with create_stream(path, mode) as stream:
            hashed = Hashed(stream)
            yield hashed
        hashes[Path(path).name] = hashed.sha256.hexdigest()

    writer.fs.create_stream = hashed_stream
    try:
        dcp.save(tensors, storage_writer=writer, no_dist=world.mesh is None)
    except CheckpointException as error:  # a BaseException: nothing else would turn it into a message
        raise InputError(f"{folder.parent}: checkpoint cannot be written: {_reason(error)}") from error
    return hashes


def delete_old(folder: Path, keep: Keep) -> None:
    """Delete all checkpoints but those to keep, and what a killed run has left half-written or half-deleted."""
    older = checkpoints(folder)[: -keep.last]
    if keep.best:
        best = best_first(folder)[: keep.best]
        older = [path for path in older if path not in best]
    if keep.every:
        older = [path for path in older if step_of(path) % keep.every]
    with os_errors(folder, "delete old ones in"):
        for left in folder.glob(".step_*"):  # by a killed run
            shutil.rmtree(left)
        for old in older:
            # Renamed first: what can be seen stays whole, however this is killed.
            shutil.rmtree(old.rename(old.with_name(f".{old.name}.old")))


def best_first(folder: Path) -> list[Path]:
    """Return the checkpoints by their scores, the highest first, of equals the oldest; those without one are last."""
    found = checkpoints(folder)
    scores = {path: read_state(path).get("score", -math.inf) for path in found}
    return sorted(found, key=scores.__getitem__, reverse=True)


def read_state(path: Path) -> dict[str, Any]:
    """Return what a checkpoint keeps beside tensors. Raises InputError for damage, and for what no checkpoint holds."""
    _listed(path)
    where = path / "state.json"
    sha256_file(where, listed=True)
    state = from_json(State, read_json(where), str(where))
    if state.step != step_of(path):
        raise InputError(f"{where}: step is {state.step}; its folder says {step_of(path)}")
    return {name: value for name, value in vars(state).items() if value is not None}


def _listed(path: Path) -> list[str]:
    """Return the names of all files of a checkpoint. Raises InputError where SHA256SUMS does not list one."""
    there = {file.name for file in path.glob("[!.]*")}
    listed = [name for _, name in read_sums(path / SUMS)]
    if missing := {"state.json", *there} - {SUMS, *listed}:
        raise InputError(
            f"{path / SUMS}: does not list {min(missing)}: damaged, or of an earlier version; where you trust what is "
            "there, sha256sum * > SHA256SUMS in that folder"
        )
    return listed


def newest_checkpoint(
    folder: Path, skip_damaged: bool = False, world: World | None = None
) -> dict[str, Any] | None:
    """Return the state of the newest checkpoint of `folder`, None where there is none. Loads no tensor.

    world: all ranks call this, and compare each of its files with its hash. Raises InputError for damage, which
    `skip_damaged` passes over, unless no checkpoint is whole: that is no beginning. With a `world` those passed over
    get another name.
    """
    found = checkpoints(folder)
    for i, path in reversed(list(enumerate(found))):
        try:
            state = whole_state(path, world) if world else read_state(path)
        except InputError as error:
            if not skip_damaged:
                hint = "skip_damaged=true sets it aside and goes on from the checkpoint before it"
                raise type(error)(f"{error}; {hint}") from error
            continue
        if world:
            world.on_main(_set_aside, found[i + 1 :])
        return state
    if found:
        raise InputError(f"{folder}: no checkpoint is whole; choose another run_dir to begin again")
    return None


def whole_state(path: Path, world: World) -> dict[str, Any]:
    """Return a checkpoint's state once each of its files was compared with its hash. All ranks call this."""
    state, files = world.on_main(lambda: (read_state(path), _listed(path)))
    world.divide(files, lambda part: [sha256_file(path / name, listed=True) for name in part])
    return state


def _set_aside(damaged: Iterable[Path]) -> None:
    for path in damaged:
        print(f"{path}: damaged, set aside", file=sys.stderr)
        with os_errors(path, "rename"):
            path.rename(path.with_name(f"damaged_{path.name}"))


def load_tensors(
    path: Path, transformer: Transformer, optimizer: torch.optim.Optimizer, world: World
) -> None:
    """Load a checkpoint's weights and optimiser state in place. All ranks call this.

    Raises InputError naming the checkpoint if it is damaged.
    """
    reader = HuggingFaceStorageReader(str(path))
    with world.agree():
        try:
            dcp.load(_flat_state(transformer, optimizer), storage_reader=reader, no_dist=world.mesh is None)
        except (Exception, CheckpointException) as error:  # torch wraps whatever a damaged file raises
            problem = f"checkpoint cannot be loaded: {_reason(error)}"
            raise InputError(f"{path}: {problem}; delete it to go on from an older one") from error


def _reason(error: BaseException) -> str:
    """The last line of torch's report, which names the cause."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def checkpoints(folder: Path) -> list[Path]:
    """Return all complete checkpoints, oldest first; what a killed save or clean-up left behind has another name."""
    return list(by_step(folder).values())
