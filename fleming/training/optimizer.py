"""AdamW's parameter groups and the learning-rate schedules."""

import math

import torch

from model.errors import InputError
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


def clip_gradients(transformer: Transformer, longest: float, step: int) -> float:
    """Scale all gradients down to a norm of `longest`; return the norm before. InputError where it is not finite."""
    norm = torch.nn.utils.clip_grad_norm_(transformer.parameters(), longest).item()
    if not math.isfinite(norm):
        raise InputError(
            f"step {step}: the gradient is {norm}, the weights are left as they were; lower the learning rate and run "
            "again (with a changed setting: in a new run_dir)"
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
