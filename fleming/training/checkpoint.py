"""Checkpoints: weights and optimiser state as safetensors (torch.distributed.checkpoint), the rest as state.json.

A checkpoint is a folder that appears by a rename, so one that can be seen is whole. There is no pickle in it and no
random-number state: all noise and order is counted from the seed and the step. Left out: other world sizes.
"""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException

from fleming.files import read_json, replace_folder
from model.errors import InputError
from model.transformer import Transformer


def _flat_state(transformer: Transformer, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Name every tensor of model and optimiser; AdamW's moments are made (as zeros) where no step was taken yet."""
    tensors: dict[str, Tensor] = {}
    for name, p in transformer.named_parameters():
        tensors[f"model.{name}"] = p.data
        state = optimizer.state[p]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
        tensors |= {f"optimizer.{name}.{key}": value for key, value in state.items()}
    return tensors


def save_checkpoint(
    folder: Path,
    step: int,
    transformer: Transformer,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    keep_last: int,
) -> None:
    """Write folder/step_000123 whole or not at all, then delete all but the newest `keep_last`."""
    with replace_folder(folder / f"step_{step:06d}") as temporary:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            writer = HuggingFaceStorageWriter(str(temporary), save_distributed=True)
            try:
                dcp.save(_flat_state(transformer, optimizer), storage_writer=writer, no_dist=True)
            except CheckpointException as error:  # a BaseException: nothing else would turn it into a message
                raise InputError(f"{folder}: checkpoint cannot be written: {_reason(error)}") from error
        (temporary / "state.json").write_text(json.dumps({"step": step, **state}, ensure_ascii=False))
    for old in _checkpoints(folder)[:-keep_last]:
        hidden = old.rename(old.with_name(f".{old.name}.old"))  # what can be seen stays whole, however this is killed
        shutil.rmtree(hidden)


def newest_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the state of the newest checkpoint of `folder`, None where there is none. Loads no tensor."""
    found = _checkpoints(folder)
    return read_json(found[-1] / "state.json") if found else None


def load_tensors(folder: Path, transformer: Transformer, optimizer: torch.optim.Optimizer) -> None:
    """Load the newest checkpoint's weights and optimiser state in place. Raises InputError naming it if damaged."""
    newest = _checkpoints(folder)[-1]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            reader = HuggingFaceStorageReader(str(newest))
            dcp.load(_flat_state(transformer, optimizer), storage_reader=reader, no_dist=True)
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
