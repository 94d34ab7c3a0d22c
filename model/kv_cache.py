"""The key/value cache of the sampler: one dense slab, a row for each sequence being decoded.

Rows in use are kept together at the front, and a row's key heads lie side by side: the first n rows are n * K
sequences one behind the other, of which a decode step reads views and copies nothing. Left out: paging (a row
owns its places from start to end).

Letters: L layers, R rows, K key/value heads, S places, d head_dim, T a prompt's tokens.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model.errors import InputError
from model.huggingface.config import ModelConfig


@dataclass(frozen=True)
class Capacity:
    """How large a cache is: chosen once in a run and kept, since the last bits of a sample depend on it."""

    rows: int
    """Sequences decoded at once."""
    places: int
    """Tokens of each, prompt included."""


@dataclass
class PrefilledPrompt:
    """What is kept of a prompt until its whole group has been given rows."""

    keys: Tensor  # [L, K, T, d]
    values: Tensor  # [L, K, T, d]
    logits: Tensor  # [vocab_limit]: for the first new token of each sample


class KVCache:
    def __init__(self, cfg: ModelConfig, capacity: Capacity, dtype: torch.dtype, device: torch.device):
        shape = (capacity.rows, cfg.num_key_value_heads, capacity.places, cfg.head_dim)
        self.capacity = capacity
        self.keys = torch.zeros(cfg.num_hidden_layers, *shape, dtype=dtype, device=device)  # [L, R, K, S, d]
        self.values = torch.zeros_like(self.keys)

    def fill(self, row: int, prompt: PrefilledPrompt) -> None:
        """Give a row a copy of the prompt's keys and values."""
        length = prompt.keys.shape[2]
        self.keys[:, row, :, :length] = prompt.keys
        self.values[:, row, :, :length] = prompt.values

    def move(self, source: int, target: int, length: int) -> None:
        """Move a row of `length` tokens into another's place."""
        self.keys[:, target, :, :length] = self.keys[:, source, :, :length]
        self.values[:, target, :, :length] = self.values[:, source, :, :length]


CACHE_SHARE = 0.75  # of the free memory; the rest is for prefill and drawing


def free_memory(device: torch.device) -> int:
    """Return the bytes that can still be allocated on the device: of a CPU what the system says."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + unused
    report = Path("/proc/meminfo")
    if report.exists():
        available = re.search(r"MemAvailable: +(\d+) kB", report.read_text())
        return int(available[1]) << 10
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # no Linux: what the machine has


def choose_capacity(cfg: ModelConfig, dtype: torch.dtype, places: int, most: int, memory: float) -> Capacity:
    """Return a cache of as many rows of `places` tokens as `memory` bytes hold, at most `most`.

    Raises InputError where not even one fits.
    """
    row = places * cfg.kv_bytes_per_token(dtype)
    rows = min(most, int(memory // row))
    if rows < 1:
        needed, there = row / 2**30, max(0, memory) / 2**30
        raise InputError(
            f"the cache of one sequence of {places} tokens takes {needed:.2f} GiB, and there are {there:.2f} for it: "
            "lower max_new_tokens, shorten the prompts or use more GPUs"
        )
    return Capacity(rows, places)
