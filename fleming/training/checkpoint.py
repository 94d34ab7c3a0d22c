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
            dcp.save(_flat_state(transformer, optimizer), storage_writer=writer, no_dist=True)
        (temporary / "state.json").write_text(json.dumps({"step": step, **state}, ensure_ascii=False))
    for old in _checkpoints(folder)[:-keep_last]:
        shutil.rmtree(old)


def load_checkpoint(folder: Path, transformer: Transformer, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Load the newest checkpoint of `folder` in place and return its state; None where there is none."""
    found = _checkpoints(folder)
    if not found:
        return None
    state = read_json(found[-1] / "state.json")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            reader = HuggingFaceStorageReader(str(found[-1]))
            dcp.load(_flat_state(transformer, optimizer), storage_reader=reader, no_dist=True)
    except Exception as error:  # torch wraps whatever a damaged file raises
        reason = str(error).strip().splitlines()[-1]
        raise InputError(
            f"{found[-1]}: checkpoint cannot be loaded: {reason}; delete it to go on from an older one"
        ) from error
    return state


def _checkpoints(folder: Path) -> list[Path]:
    """All whole checkpoints, oldest first; what a killed save left behind has another name."""
    return sorted(folder.glob("step_*"))
