"""AdamW's parameter groups, its step, and the learning-rate schedules."""

import math
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from fleming.training.parallel import AgreedError
from model.transformer import Transformer


def make_adamw(transformer: Transformer, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW (betas 0.9, 0.95) with decay on matrices only.

    Norm scales and biases are excluded: decay pulls towards 0, and their neutral values are 1 and "as learned".
    The learning rate is set at every step by `set_learning_rate`.
    """
    params = list(transformer.parameters())
    groups = [
        {"params": [p for p in params if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), eps=1e-8, fused=True)


class GuardedStep:
    """The optimiser's step: gradients clipped, and a step whose gradient is zero or not finite left out."""

    MOST_IN_A_ROW = 3

    def __init__(self, state: dict[str, Any] | None = None):
        """state: what a checkpoint keeps, "skipped_in_a_row" in it."""
        self.state = {"skipped_in_a_row": 0} if state is None else state

    def __call__(self, transformer: Transformer, optimizer: torch.optim.Optimizer, max_norm: float) -> float:
        """Scale all gradients down to `max_norm` and take the step; return the norm before.

        Where it is 0 or not finite, weights and moments stay as they were: AdamW's momentum alone would move them on.
        Raises AgreedError at the third in a row that is not finite.
        """
        norm = torch.nn.utils.clip_grad_norm_(transformer.parameters(), max_norm)
        norm = (norm.full_tensor() if isinstance(norm, DTensor) else norm).item()  # the same on every rank
        if math.isfinite(norm):
            if norm:
                optimizer.step()
            self.state["skipped_in_a_row"] = 0
        else:
            self.state["skipped_in_a_row"] += 1
        optimizer.zero_grad()
        if self.state["skipped_in_a_row"] == self.MOST_IN_A_ROW:
            raise AgreedError(
                f"the gradient was not finite {self.MOST_IN_A_ROW} times in a row ({norm}); the weights are as they "
                "were before; lower the learning rate and start in a new run_dir"
            )
        return norm


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the rate of the next step for all groups."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def warmup_cosine(step: int, total: int, warmup: int, peak: float, floor: float = 0.1) -> float:
    """Return the rate of step 1 .. total: linear to `peak` over `warmup` steps, then a cosine to floor * peak."""
    if step <= warmup:
        return peak * step / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))


def warmup_constant(step: int, warmup: int, peak: float) -> float:
    """Return the rate of step 1, 2, ...: linear to `peak` over `warmup` steps, then constant."""
    return peak * min(1.0, step / max(1, warmup))
