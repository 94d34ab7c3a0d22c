"""The key/value cache of the sampler: one dense slab, a row for each sequence being decoded.

Rows in use are kept together at the front, so that a decode step works on a view and pays nothing for rows that
have finished. Left out: paging (a row owns `capacity` places from start to end).

Letters: L layers, R rows, S capacity, K key/value heads, d head_dim, T a prompt's tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.config import ModelConfig


@dataclass
class PrefilledPrompt:
    """What is kept of a prompt until its whole group has been given rows."""

    keys: Tensor  # [L, T, K, d]
    values: Tensor  # [L, T, K, d]
    logits: Tensor  # [vocab_limit]: for the first new token of each sample


class KVCache:
    def __init__(self, cfg: ModelConfig, rows: int, capacity: int, dtype: torch.dtype, device: torch.device):
        shape = (cfg.num_hidden_layers, rows, capacity, cfg.num_key_value_heads, cfg.head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)  # [L, R, S, K, d]
        self.values = torch.zeros(shape, dtype=dtype, device=device)

    def fill(self, rows: list[int], prompt: PrefilledPrompt) -> None:
        """Give each of `rows` a copy of the prompt's keys and values."""
        length = prompt.keys.shape[1]
        self.keys[:, rows, :length] = prompt.keys[:, None]
        self.values[:, rows, :length] = prompt.values[:, None]

    def move(self, source: int, target: int, length: int) -> None:
        """Move a row of `length` tokens into another's place."""
        self.keys[:, target, :length] = self.keys[:, source, :length]
        self.values[:, target, :length] = self.values[:, source, :length]
