"""What a step is described by, each number defined once.

A record of metrics.jsonl holds counted quantities at its top level, the same in every run of the same seed, and
everything measured by a clock under "time", which is not.

Letters: T tokens fed, R tokens scored.
"""

import math
import resource
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from fleming.training.packing import PackedBatch
from fleming.training.parallel import World
from model.huggingface.config import ModelConfig
from model.sampler import Sampler

LAPS = ("mine", "rollout", "score", "reference", "update", "gather", "validate")
# Shares, shown where they are not rare (rl/watch.py).
ODD = "cut", "several_answers", "empty_thinking", "echoed_options"


class Timer:
    """Splits a step's wall time into named laps, seconds: the main rank's, which waits for the others in each.

    gather: bringing the sampling copy up to date. mine: answering the training set. rollout: sampling and rewarding.
    score: packing, and old log-probs where the trainer makes them. reference: the reference's log-probs. update:
    forwards, backwards and optimiser. validate: measuring what is held out. checkpoint: the one that was written after
    the step before.
    """

    def __init__(self, device: torch.device | None = None):
        self.device = device
        self.began = self.last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Add the time since the last lap to `name`."""
        if self.device is not None and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + now - self.last
        self.last = now

    def times(self) -> dict[str, float]:
        """Return every lap and the whole, "step"."""
        return {**self.laps, "step": time.perf_counter() - self.began}


class UpdateSums:
    """Adds up what the micro-batches of a step's updates report."""

    def __init__(self):
        self.sums: dict[str, float] = {"tokens": 0.0, "difference": 0.0, "compared": 0.0}
        self.updates = self.skipped = 0
        self.difference_max = 0.0

    def add(
        self, parts: dict[str, Tensor], counts: dict[str, Tensor], logp: Tensor, sampled_logp: Tensor
    ) -> None:
        """Add one micro-batch: the loss's sums, those of the importance correction, and its tokens' [T]."""
        for name, value in [*parts.items(), *counts.items()]:
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
        self.sums["tokens"] += logp.numel()
        if self.updates == 0 and logp.numel():  # later the weights are no longer the sampler's
            difference = (sampled_logp - logp.detach()).abs()
            self.difference_max = max(self.difference_max, difference.max().item())
            self.sums["difference"] += difference.sum().item()
            self.sums["compared"] += difference.numel()

    def end_of_update(self, grad_norm: float) -> None:
        """Count an update, and whether it was left out since its gradient was not finite."""
        self.updates += 1
        self.grad_norm = grad_norm
        self.skipped += not math.isfinite(grad_norm)

    def record(self, world: World) -> dict[str, float]:
        """Return the means over the step's updates, of all ranks.

        loss, policy_loss, kl: as optimised. clip_fraction: scored tokens whose surrogate (of clipped_weight: whose
        weight) was clipped. importance_mean, capped_fraction: of the truncated importance weights.
        clamped_tokens: those whose log-ratio, to the sampling policy or to the reference, was too large for exp.
        skipped_updates: those left out since their gradient was not finite. sampler_scorer_max and _mean: how far the
        sampler's log-probs lie from the scorer's before the first update, over the answers of that one. scored_tokens:
        of an update. grad_norm: the last update's, before it was clipped.
        """
        sums = world.sum(self.sums)
        tokens = max(1.0, sums["tokens"])
        record = {name: sums[name] / self.updates for name in ("loss", "policy_loss", "kl") if name in sums}
        shares = {"ratio_mean": "ratio_sum", "clip_fraction": "clipped_tokens"}
        shares |= {"importance_mean": "importance_sum", "capped_fraction": "capped_tokens"}
        record |= {name: sums[source] / tokens for name, source in shares.items() if source in sums}
        if "clamped_tokens" in sums:
            record["clamped_tokens"] = sums["clamped_tokens"]
        record["skipped_updates"] = self.skipped
        record["scored_tokens"] = sums["tokens"] / self.updates
        record["sampler_scorer_max"] = max(world.gather(self.difference_max))
        record["sampler_scorer_mean"] = sums["difference"] / max(1.0, sums["compared"])
        record["grad_norm"] = self.grad_norm
        return record


def finite(record: dict) -> dict:
    """Return the record with null for every number that JSON does not know: those of a step that was skipped."""

    def known(value: object) -> object:
        if isinstance(value, dict):
            return finite(value)
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {name: known(value) for name, value in record.items()}


@dataclass(frozen=True)
class DeviceSpeed:
    """What this device reaches, so that a share of it means the same on every machine."""

    flops: float  # floating-point operations a second of a large square matrix product in the compute dtype
    bandwidth: float  # bytes a second read and written by a large copy

    @classmethod
    def measure(cls, device: torch.device, dtype: torch.dtype) -> "DeviceSpeed":
        """Take the best of a few repetitions: a fraction of a second."""
        cuda = device.type == "cuda"
        n, size = (8192, 1 << 30) if cuda else (1024, 1 << 26)
        a = torch.ones(n, n, dtype=dtype, device=device)
        source = torch.ones(size, dtype=torch.uint8, device=device)
        target = torch.empty_like(source)

        def best(work: Callable[[], object]) -> float:
            seconds = []
            for _ in range(4):  # the first one warms up
                timer = Timer(device)
                work()
                timer.lap("work")
                seconds.append(timer.laps["work"])
            return min(seconds)

        return cls(2 * n**3 / best(lambda: a @ a), 2 * size / best(lambda: target.copy_(source)))


def training_flops(cfg: ModelConfig, batches: Iterable[PackedBatch]) -> int:
    """Return the operations of one forward and backward over the packs; a backward costs two forwards.

    What checkpointing computes again is no progress and not counted, and a shared prompt only once.
    """
    flops = 0
    for batch in batches:
        lengths = batch.cu_seqlens.diff().long()
        attended = (lengths * (lengths + 1) // 2).sum().item()
        flops += 3 * cfg.forward_flops(batch.tokens.numel(), attended, batch.targets.numel())
    return flops


def rates(
    timer: Timer,
    flops: int,
    speed: DeviceSpeed,
    world: World,
    record: Mapping[str, Any],
    sampler: Sampler | None,
) -> dict[str, float]:
    """Return what a step's work, of which `record` has the tokens, comes to per second.

    mfu: `flops` (training_flops of this rank's step) over the update's time, as a share of what the device reaches in
    a large matrix product; the mean over ranks. peak_gib: on CUDA what torch had allocated at most during the step, on
    a CPU the process's largest size so far; the worst rank's. Of a step that samples nothing tokens_per_second: those
    learned from. Else sampled_tokens_per_second: new tokens of all ranks over the rollout's time; decode_bandwidth:
    the bytes that decoding had to read over its time, as a share of what a copy reaches, the mean over ranks.
    """
    found = {
        "mfu": world.sum({"flops": flops})["flops"] / (timer.laps["update"] * speed.flops * world.size),
        "peak_gib": max(world.gather(_peak_bytes(world.device))) / 2**30,
    }
    if not sampler:
        return found | {"tokens_per_second": record["tokens"] / timer.times()["step"]}
    share = sampler.decode_bytes / max(1e-9, sampler.decode_seconds) / speed.bandwidth
    found["sampled_tokens_per_second"] = record["response_tokens"] / timer.laps["rollout"]
    return found | {"decode_bandwidth": world.sum({"share": share})["share"] / world.size}


def _peak_bytes(device: torch.device) -> int:
    if device.type != "cuda":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return peak


def describe_step(record: dict) -> dict[str, str]:
    """Return a step's record as the progress bar shows it: how it went, its longest laps in percent, the rates."""
    if "reward" in record:
        shown = {"stage": str(record["stage"]), "reward": f"{record['reward']:.3f}"}
        shown |= {"correct": f"{record['correct']:.2f}", "len": f"{record['response_length']:.0f}"}
        shown["flat"] = f"{100 * record['flat_groups']:.0f}%"
        shown |= {name.split("_")[0]: f"{100 * record[name]:.0f}%" for name in ODD if record[name] >= 0.05}
        if "dev_accuracy" in record:
            shown["dev"] = "{dev_accuracy:.1%} [{dev_low:.1%}, {dev_high:.1%}]".format(**record)
    else:
        shown = {"loss": f"{record['loss']:.3f}"}

    times = record["time"]
    laps = sorted(((times[name], name) for name in LAPS if name in times), reverse=True)[:3]
    shown["time"] = "+".join(f"{name} {100 * seconds / times['step']:.0f}%" for seconds, name in laps)
    for name in ("tokens_per_second", "sampled_tokens_per_second"):
        if name in times:
            shown["tok_s"] = f"{times[name]:.0f}"
    for name, short in (("mfu", "mfu"), ("decode_bandwidth", "bw")):
        if name in times:
            shown[short] = f"{100 * times[name]:.0f}%"
    return shown


def progress_bar(
    total: int, initial: int, name: str, world: World, unit: str = "step", leave: bool = True
) -> tqdm:
    """Return the main rank's progress bar; the others' show nothing, nor does one without a name."""
    how = {"unit": unit, "leave": leave, "dynamic_ncols": True, "disable": not (world.is_main and name)}
    return tqdm(total=total, initial=initial, desc=name, **how)


def means(records: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return each name's mean over the records that have it."""
    values: dict[str, list[float]] = {}
    for name, value in (item for record in records for item in record.items()):
        values.setdefault(name, []).append(value)
    return {name: sum(found) / len(found) for name, found in values.items()}
