"""What a step is described by: each number from its own sums, over micro-batches, updates and ranks."""

import math

import pytest
import torch
from support.models import hf_model, ours

from fleming.training.metrics import UpdateSums, training_flops
from fleming.training.packing import pack
from fleming.training.parallel import World


class Three(World):
    """This process as the first of three: the second has as much of everything, the third has nothing."""

    def sum(self, numbers):
        return {name: 2 * number for name, number in numbers.items()}

    def gather(self, item):
        return [item, 10 * item, 0 * item]


def test_a_steps_record_is_of_all_its_packs_updates_and_ranks():
    sums, world = UpdateSums(), Three(0, 3, torch.device("cpu"), None)
    log_probs = [torch.tensor([-1.0, -2.0]), torch.tensor([-3.0]), torch.tensor([-9.0, -9.0, -9.0])]
    off = [torch.tensor([0.5, -0.25]), torch.tensor([0.125]), torch.tensor([7.0, 7.0, 7.0])]
    names = ("loss", "policy_loss", "kl", "ratio_sum", "clipped_tokens", "clamped_tokens")
    counts = ("importance_sum", "capped_tokens")
    for i, (logp, moved) in enumerate(zip(log_probs, off, strict=True)):
        of_pack = lambda names, i=i: {name: torch.tensor(2.0 ** (3 * n + i)) for n, name in enumerate(names)}  # noqa: E731
        sums.add(of_pack(names), of_pack(counts), logp, logp + moved)
        if i:  # the first update has two packs, the second one
            sums.end_of_update(math.nan if i == 1 else 4.0)
    assert sums.record(world) == {
        "loss": 2 * 7 / 2,
        "policy_loss": 2 * 7 * 8 / 2,
        "kl": 2 * 7 * 64 / 2,
        "ratio_mean": 7 * 512 / 6,
        "clip_fraction": 7 * 4096 / 6,
        "importance_mean": 7 / 6,
        "capped_fraction": 7 * 8 / 6,
        "clamped_tokens": 2 * 7 * 32768,
        "skipped_updates": 1,
        "scored_tokens": 2 * 6 / 2,
        "sampler_scorer_max": 5.0,
        "sampler_scorer_mean": pytest.approx(0.875 / 3),
        "grad_norm": 4.0,
    }


def test_a_step_costs_three_forwards_of_what_its_packs_feed_attend_to_and_score():
    cfg = ours(hf_model("qwen3")).cfg
    batch = pack([[5, 6], [9], [5, 6]], [[7, 8], [3], [4, 2]])  # five tokens fed, in sequences of 3, 1 and 3
    assert training_flops(cfg, [batch, batch]) == 2 * 3 * cfg.forward_flops(5, 6 + 1 + 6, 5)
