"""What test_estimate_memory.py runs under torchrun: two GRPO updates, rank 0's peaks of each phase as JSON."""

import json
import weakref
from dataclasses import replace

import torch
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from fleming.settings import Config, GRPOConfig, ParallelConfig
from fleming.settings.training import StageConfig
from fleming.training.logprobs import token_logprobs
from fleming.training.optimizer import GuardedStep, make_adamw, set_learning_rate
from fleming.training.packing import pack
from fleming.training.parallel import gather_weights, join_world, parallelize, sampling_copy
from model.huggingface.config import ModelConfig
from model.transformer import Transformer

PROMPT, RESPONSE, SEQUENCES, PACKS = 20, 60, 3, 2  # sequences a pack, packs a rank
MODEL = ModelConfig(
    model_type="qwen3",
    vocab_size=4000,
    hidden_size=192,
    intermediate_size=800,
    num_hidden_layers=4,
    num_attention_heads=6,
    num_key_value_heads=2,
    head_dim=32,
    rope_theta=1e4,
    rms_norm_eps=1e-6,
    max_position_embeddings=2048,
    tie_word_embeddings=False,
    initializer_range=0.02,
)


def config(checkpointing: bool) -> Config:
    grpo = GRPOConfig(
        questions_per_step=2 * PACKS,
        stage1=StageConfig(group_size=SEQUENCES),
        stage2=StageConfig(max_steps=0),
        max_new_tokens=RESPONSE,
        micro_batch_tokens=SEQUENCES * (PROMPT + RESPONSE),
    )
    return replace(Config(), grpo=grpo, parallel=ParallelConfig(activation_checkpointing=checkpointing))


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages that are alive; the profiler would miss what gloo's threads free.

    FSDP frees a storage by resizing it to nothing, which is no operation: that is counted too.
    """

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.sizes, self.references = {}, {}

    def note(self, storage):
        key, size = storage._cdata, storage.nbytes() if storage.device.type == "cpu" else 0
        if key not in self.references:
            self.sizes[key], self.references[key] = 0, weakref.ref(storage, lambda _: self.forget(key))
        self.now += size - self.sizes[key]
        self.sizes[key] = size
        self.peak = max(self.peak, self.now)

    def forget(self, key):
        self.now -= self.sizes.pop(key)
        del self.references[key]

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # it comes again for the local tensors
        out = func(*args, **(kwargs or {}))
        for x in tree_iter(out):
            if type(x) in (torch.Tensor, torch.nn.Parameter, DTensor):
                self.note((x._local_tensor if isinstance(x, DTensor) else x).untyped_storage())
        return out

    def __enter__(self):
        self.resize = resize = torch.UntypedStorage.resize_

        def counted(storage, size):
            resize(storage, size)
            self.note(storage)

        torch.UntypedStorage.resize_ = counted
        return super().__enter__()

    def __exit__(self, *error):
        torch.UntypedStorage.resize_ = self.resize
        return super().__exit__(*error)


def make(settings, world, trainable):
    """A model as `load_sharded` makes it, with random weights instead of a folder's."""
    with torch.device("meta"):
        transformer = Transformer(MODEL)
    parallelize(transformer, settings, world, trainable)
    transformer.to_empty(device="cpu")
    for p in transformer.parameters():
        torch.nn.init.normal_(p.to_local(), std=0.02)
    return transformer


def measure(cfg, world):
    """Return the peak of each phase of the second step, and what is there between steps."""
    peaks = {}
    with LiveBytes() as live:

        def lap(phase):
            peaks[phase], live.peak = live.peak, live.now

        policy, reference = make(cfg.parallel, world, True), make(cfg.parallel, world, False)
        actor = sampling_copy(policy, world)
        optimizer, step = make_adamw(policy, 0.0), GuardedStep()
        set_learning_rate(optimizer, 1e-4)
        batch = pack([[1 + i % 50 for i in range(PROMPT)]] * SEQUENCES, [[2] * RESPONSE] * SEQUENCES)
        for _ in range(2):
            lap("before")
            gather_weights(policy, actor)
            lap("export")
            with torch.no_grad():
                token_logprobs(reference, batch)
            lap("score")
            for _ in range(PACKS):
                logp, _ = token_logprobs(policy, batch)
                (logp.sum() / 1000).backward()
                del logp
            step(policy, optimizer, 1.0)
            lap("update")
        return {**peaks, "standing": live.now}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with join_world(ParallelConfig(device="cpu")) as world:
        found = [measure(config(checkpointing), world) for checkpointing in (False, True)]
        world.print(json.dumps(found))
