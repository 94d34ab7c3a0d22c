"""The loss of one pack as train_grpo.py makes it: advantages of tokens, weighed where the sampler is corrected for."""

import torch

from fleming.rl.grpo import grpo_loss
from fleming.rl.rollout import RolloutBatch


def corrected_loss(logp, old, ref, advantages, cu_seqlens, cfg, denominator, sampled):
    """Return loss and metrics, the counts of the correction added up with the loss's own."""
    spread = torch.repeat_interleave(advantages, cu_seqlens.diff())
    batch = RolloutBatch(packed=None, advantages=spread, sampled_logp=sampled, old_logp=old)
    if cfg.importance_cap:
        batch.correct_for_the_sampler(cfg.importance_cap)
    loss, metrics = grpo_loss(logp, old, ref, batch.advantages, cu_seqlens, cfg, denominator)
    return loss, metrics | {name: value + metrics.get(name, 0) for name, value in batch.counts.items()}
