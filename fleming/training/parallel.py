"""Several processes under torchrun: who takes part, what they share, and how a model is sharded over them (FSDP2).

- one process on a CPU without torchrun is plain PyTorch: no process group and nothing sharded
- everywhere else each block, and the rest of the model as one more group, is sharded over all processes; with several
  nodes it may be sharded inside each node and replicated across them (HSDP)
- every rank reads the same records and takes its own share of the work, so results do not depend on who did what
- an InputError on one rank is everybody's: all stop with the same status and one of them says why
- left out: tensor and pipeline parallelism, elastic restarts (the same command goes on from the last checkpoint)
"""

import contextlib
import ctypes
import datetime
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from fleming.settings import Config, ParallelConfig
from fleming.terminal import complain
from model import tiles
from model.errors import InputError
from model.exact import KEY_TILES, keys_read
from model.exact_check import key_tile_that_holds
from model.huggingface.tokenizer import Tokenizer
from model.huggingface.weights import load_model
from model.kv_cache import CACHE_SHARE, Capacity, choose_capacity, free_memory
from model.transformer import Transformer

T = TypeVar("T")
R = TypeVar("R")


class AgreedError(InputError):
    """An InputError that every rank raises, since one of them met it."""


@dataclass(frozen=True)
class World:
    """The processes of this run, as one of them sees them."""

    rank: int
    size: int
    device: torch.device
    mesh: DeviceMesh | None  # None: one process, nothing sharded

    @property
    def is_main(self) -> bool:
        """Whether this is the rank that writes and prints."""
        return self.rank == 0

    @property
    def dtype(self) -> torch.dtype:
        """What matrices are multiplied in."""
        return compute_dtype(self.device)

    def gather(self, item: T) -> list[T]:
        """Return every rank's item, in order of rank, on every rank."""
        if self.size == 1:
            return [item]
        items: list[Any] = [None] * self.size
        dist.all_gather_object(items, item)
        return items

    def divide(self, items: Sequence[T], work: Callable[[list[T]], list[R]]) -> list[R]:
        """Return work(items), an item's result at its place, each rank having done every size-th item."""
        with self.agree():
            done = work(list(items[self.rank :: self.size]))
        parts = self.gather(done)
        return [parts[i % self.size][i // self.size] for i in range(len(items))]

    def sum(self, numbers: dict[str, float]) -> dict[str, float]:
        """Return the sums over ranks of numbers that every rank has under the same names."""
        if self.size == 1:
            return dict(numbers)
        total = torch.tensor(list(numbers.values()), dtype=torch.float64)
        dist.all_reduce(total)
        return dict(zip(numbers, total.tolist(), strict=True))

    def any(self, flag: object) -> bool:
        """Whether the flag is set on any rank."""
        return self.sum({"flag": float(bool(flag))})["flag"] > 0

    @contextlib.contextmanager
    def agree(self) -> Iterator[None]:
        """Run the block on all ranks; what stops one with an InputError stops all, so that none waits for it."""
        error = None
        try:
            yield
        except InputError as raised:
            error = raised
        if found := [message for message in self.gather(error and str(error)) if message]:
            raise AgreedError(found[0]) from error

    def on_main(self, action: Callable[..., T], *arguments: Any) -> T:
        """Return action(*arguments) of rank 0, which alone calls it, on every rank."""
        result = None
        with self.agree():
            if self.is_main:
                result = action(*arguments)
        return self.gather(result)[0]

    def print(self, text: str) -> None:
        """Print once."""
        if self.is_main:
            print(text, flush=True)


@contextlib.contextmanager
def join_world(settings: ParallelConfig) -> Iterator[World]:
    """Take this process's place among those that torchrun started, or be the only one.

    Raises InputError where the device asked for is missing.
    """
    device, launched = pick_device(settings), "RANK" in os.environ
    if device.type == "cpu":
        keep_freed_memory()
    if device.type == "cpu" and not launched:
        yield World(0, 1, device, None)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    rank, timeout = os.environ.get("RANK", "0"), datetime.timedelta(minutes=settings.timeout_minutes)
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            timeout=timeout,
            **(_meet(timeout) if launched else {"store": dist.HashStore(), "rank": 0, "world_size": 1}),
        )
        size = dist.get_world_size()
        yield World(dist.get_rank(), size, device, _mesh(device.type, size, settings.shard))
        dist.barrier()
    except AgreedError as error:
        if rank == "0":
            complain(f"error: {error}")
        with contextlib.suppress(RuntimeError):
            dist.barrier()  # the launcher ends all others as one leaves, and so would the one that speaks
        raise SystemExit(2) from error
    except InputError as error:
        if rank != "0":
            print(f"rank {rank}: {error}", file=sys.stderr)  # rank 0's are printed by run_script
        raise
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(name in str(error) for name in ("gloo", "NCCL")):
            raise
        reason = str(error).splitlines()[0].partition(". This is typically")[0]
        print(f"rank {rank}: another process of this run is gone: {reason}", file=sys.stderr)
        os._exit(1)  # the others' collectives would hold an orderly exit up
    dist.destroy_process_group()


def keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next tensor: a process on a CPU trains a sixth faster.

    glibc gives pages back to the system as tensors are freed and takes zeroed ones again for the next, some hundred
    times a step. Blocks of 32 MiB and more (no higher limit is possible) still go back at once. Elsewhere: nothing.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(trim_threshold, 1 << 30)
        mallopt(mmap_threshold, 32 << 20)


def _meet(timeout: datetime.timedelta) -> dict[str, Any]:
    """Connect to the launcher's store, which is there already unless it was killed: then nobody will ever answer."""
    store, rank, size = next(rendezvous("env://", timeout=min(timeout, datetime.timedelta(minutes=5))))
    store.set_timeout(timeout)
    return {"store": store, "rank": rank, "world_size": size}


def pick_device(settings: ParallelConfig) -> torch.device:
    """Return this process's device. Raises InputError where CUDA is asked for and missing."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise InputError("parallel.device=cuda: torch finds no CUDA device here")
    if settings.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def compute_dtype(device: torch.device) -> torch.dtype:
    """Return what matrices are multiplied in: bf16 on CUDA, fp32 on a CPU, where bf16 may be 100 times slower."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def _mesh(device: str, size: int, shard: str) -> DeviceMesh:
    """One dimension over all processes, or nodes x processes of a node: replicate over the first, shard the second."""
    inside = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    if shard == "all" or inside == size:
        return init_device_mesh(device, (size,), mesh_dim_names=("shard",))
    return init_device_mesh(device, (size // inside, inside), mesh_dim_names=("replicate", "shard"))


def load_sharded(
    folder: Path, cfg: Config, world: World, trainable: bool = True
) -> tuple[Transformer, Tokenizer]:
    """Return the model of a folder, each rank holding and reading its own shards alone.

    Trainable: fp32 master weights. Else frozen and in the compute dtype. The files' hashes are not compared: a run has
    done so once for all ranks. Raises InputError as `load_model`.
    """
    dtype = torch.float32 if trainable else world.dtype
    device = "cpu" if trainable and cfg.parallel.offload else world.device
    spread = partial(parallelize, settings=cfg.parallel, world=world, trainable=trainable)
    how = dtype, device, cfg.chat_format, cfg.chat_template_kwargs
    return load_model(folder, *how, spread, check_hashes=False)


def parallelize(
    transformer: Transformer, settings: ParallelConfig, world: World, trainable: bool = True
) -> None:
    """Apply checkpointing, compilation and sharding, in this order, to a model that knows nothing of them.

    The embedding, the last norm and the output matrix form one group, tied or not: `forward` uses the output matrix
    itself, so it must be whole when the model's own hook has run.
    """
    transformer.requires_grad_(trainable)
    for block in transformer.layers:
        if settings.activation_checkpointing and trainable:  # nothing here draws random numbers
            block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
    if settings.compile:
        compile_blocks(transformer)
    if world.mesh is None:
        return
    half = world.dtype if world.dtype != torch.float32 else None
    # Gradients are summed in fp32.
    precision = MixedPrecisionPolicy(half, torch.float32, cast_forward_inputs=False)
    offload = OffloadPolicy()
    if settings.offload and trainable:
        offload = CPUOffloadPolicy(world.device.type == "cuda")
    shard = partial(
        fully_shard,
        mesh=world.mesh,
        reshard_after_forward=True,
        mp_policy=precision,
        offload_policy=offload,
    )
    for block in transformer.layers:
        shard(block)
    shard(transformer)


def compile_blocks(transformer: Transformer) -> None:
    """Compile each block, for any number of tokens; to call them so or as they are written stays open."""
    for block in transformer.layers:
        block.forward = torch.compile(block.forward, dynamic=True)
    transformer.compiled = True


def sampling_copy(policy: Transformer, world: World) -> Transformer:
    """Return the model to sample with: the policy itself in one plain process, else a whole second one to be filled.

    Its blocks are compiled where the policy's are. Its tensors keep their addresses; `gather_weights` overwrites them.
    """
    if world.mesh is None:
        return policy
    with torch.device("meta"):
        copy = Transformer(policy.cfg)
    copy.to(world.dtype).allocate(world.device)
    copy.vocab_limit = policy.vocab_limit
    if policy.compiled:
        compile_blocks(copy)
    return copy.requires_grad_(False)


def make_exact(actor: Transformer, scorers: Sequence[Transformer | None], cfg: Config, world: World) -> None:
    """Let the models compute a token's bits whatever is beside it (model/exact.py), where setting and device allow it.

    scorers: the policy, whose weights the actor is given first, and what else scores.
    """
    if cfg.exact == "off":
        return
    if scorers:
        gather_weights(scorers[0], actor)
    by_padding = world.device.type == "cpu" and world.dtype == torch.float32
    able = not actor.compiled and (by_padding or cfg.exact == "tiles")
    key_tiles = [tiles.KEYS] if cfg.exact == "tiles" else KEY_TILES
    found = world.gather(key_tile_that_holds(actor, key_tiles) if able else 0)
    if 0 in found:
        by = "a compiled block" if actor.compiled else "this device"
        world.print(f"exact: {by} computes a token's last bits by what is beside it; differences are logged")
        return
    for model in filter(None, (actor, *scorers)):
        model.key_tile = max(found)


@torch.no_grad()
def gather_weights(policy: Transformer, copy: Transformer) -> None:
    """Bring the sampling copy up to date, one tensor at a time: cast first, so that half as much travels."""
    if copy is policy:
        return
    for mine, whole in zip(policy.parameters(), copy.parameters(), strict=True):
        cast = mine.to(whole.device, whole.dtype)
        whole.copy_(cast.full_tensor() if isinstance(cast, DTensor) else cast)


def choose_cache(
    policy: Transformer, actor: Transformer, longest: int, most: int, state: dict[str, Any], world: World
) -> Capacity:
    """Return how large the sampler's cache is: at most `most` rows of the `longest` sequence's tokens.

    As many as fit into most of the free memory, once AdamW has its moments. Measured once a run and noted in the
    checkpoints' `state`, where a resumed run finds it, unless `most` is another now: a sample's last bits depend on it,
    where they are not exact.
    Raises InputError where the memory holds not one.
    """
    longest = keys_read(longest, actor.key_tile)
    rows, places, wanted = state.get("cache") or (0, 0, 0)
    if wanted == most and places >= longest and not actor.key_tile:
        return Capacity(rows, places)
    parameters = [p.to_local() if isinstance(p, DTensor) else p for p in policy.parameters()]
    moments = 0 if state["step"] else sum(8 * p.numel() for p in parameters)  # there already in a resumed run
    free = free_memory(world.device) / (1 if world.device.type == "cuda" else world.size)
    memory = CACHE_SHARE * (free - moments)
    with world.agree():
        mine = choose_capacity(actor.cfg, actor.lm_head.weight.dtype, longest, most, memory)
    rows = min(world.gather(mine.rows))
    if rows < most:
        world.print(f"the memory holds {rows} sequences of {longest} tokens, not grpo.max_num_seqs = {most}")
    state["cache"] = [rows, longest, most]
    return Capacity(rows, longest)
