"""Checkpoints: weights and optimiser state as safetensors (torch.distributed.checkpoint), the rest as state.json.

A checkpoint is a folder that appears by a rename, so one that can be seen is whole. Each rank writes its own shards,
and any number of ranks loads them. There is no pickle in it and no random-number state: all noise and order is counted
from the seed and the step. Left out: saving while the next step runs.
"""

import contextlib
import json
import math
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException

from fleming.files import being_written, read_json, replace_folder, write_atomic
from fleming.training.parallel import World
from model.errors import InputError
from model.huggingface.weights import shards_of
from model.transformer import Transformer

# Of a file of one rank, unless a single tensor is larger: torch makes each file in memory before it writes it.
FILE_BYTES = 128 << 20


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
    keep_last: int,
    keep_best: int = 0,
) -> None:
    """Write the checkpoint of state["step"], folder/step_000123, whole or not at all, then delete old ones.

    Kept are the newest `keep_last`, and the `keep_best` with the highest state["score"]. All ranks call this. Raises
    InputError where the disk refuses; the older checkpoints are then as they were.
    """
    final = folder / f"step_{state['step']:06d}"
    with contextlib.ExitStack() as writing:
        with world.agree():
            if world.is_main:
                writing.enter_context(replace_folder(final))
        with world.agree():
            _save_tensors(being_written(final), transformer, optimizer, world)
        with world.agree():
            if world.is_main:
                write_atomic(being_written(final) / "state.json", json.dumps(state, ensure_ascii=False))
                writing.close()
                delete_old(folder, keep_last, keep_best)


def _save_tensors(
    folder: Path, transformer: Transformer, optimizer: torch.optim.Optimizer, world: World
) -> None:
    """Write this rank's shards."""
    tensors = _flat_state(transformer, optimizer)
    sizes = {name: tensor.nbytes for name, tensor in tensors.items()}
    shards = shards_of(sizes, FILE_BYTES * world.size)
    files = {name: number for number, shard in enumerate(shards, start=1) for name in shard}
    writer = HuggingFaceStorageWriter(str(folder), files, save_distributed=True)
    try:
        with _quiet():
            dcp.save(tensors, storage_writer=writer, no_dist=world.mesh is None)
    except CheckpointException as error:  # a BaseException: nothing else would turn it into a message
        raise InputError(f"{folder.parent}: checkpoint cannot be written: {_reason(error)}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """One process without a process group is meant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def delete_old(folder: Path, keep_last: int, keep_best: int) -> None:
    """Delete all checkpoints but those to keep, and what a killed run has left half-written or half-deleted."""
    found = _checkpoints(folder)
    older = found[:-keep_last]
    if keep_best:
        score = {path: read_json(path / "state.json").get("score", -math.inf) for path in found}
        best = sorted(found, key=score.__getitem__, reverse=True)[:keep_best]
        older = [path for path in older if path not in best]
    for left in folder.glob(".step_*"):  # by a killed run
        shutil.rmtree(left)
    for old in older:
        hidden = old.rename(
            old.with_name(f".{old.name}.old")
        )  # what can be seen stays whole, however this is killed
        shutil.rmtree(hidden)


def newest_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the state of the newest checkpoint of `folder`, None where there is none. Loads no tensor."""
    found = _checkpoints(folder)
    return read_json(found[-1] / "state.json") if found else None


def load_tensors(
    folder: Path, transformer: Transformer, optimizer: torch.optim.Optimizer, world: World
) -> None:
    """Load the newest checkpoint's weights and optimiser state in place. All ranks call this.

    Raises InputError naming the checkpoint if it is damaged.
    """
    newest = _checkpoints(folder)[-1]
    with world.agree(), _quiet():
        try:
            reader = HuggingFaceStorageReader(str(newest))
            dcp.load(_flat_state(transformer, optimizer), storage_reader=reader, no_dist=world.mesh is None)
        except (Exception, CheckpointException) as error:  # torch wraps whatever a damaged file raises
            raise InputError(
                f"{newest}: checkpoint cannot be loaded: {_reason(error)}; delete it to go on from an older one"
            ) from error


def _reason(error: BaseException) -> str:
    """The last line of torch's report, which names the cause."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _checkpoints(folder: Path) -> list[Path]:
    """All whole checkpoints, oldest first; what a killed save or clean-up left behind has another name."""
    return sorted(folder.glob("step_*"))
