"""What test_parallel.py runs under torchrun: FOLDER holds model folders, OUT gets one JSON and tensors."""

import json
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from torch.distributed.tensor import DTensor

from fleming.settings import Config, ParallelConfig
from fleming.training import parallel
from fleming.training.checkpoint import Keep, checkpoints, load_tensors, save_checkpoint
from fleming.training.logprobs import token_logprobs
from fleming.training.optimizer import GuardedStep, make_adamw, set_learning_rate
from fleming.training.packing import micro_batches, pack
from model import InputError, save_model

MODELS = ("qwen2-tied", "qwen2-untied", "qwen3", "llama")


def whole(tensor):
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def sequences(count):
    g = torch.Generator().manual_seed(count)
    draw = lambda n: torch.randint(0, 250, (n,), generator=g).tolist()  # noqa: E731
    return [(draw(3 + 5 * i % 7), draw(1 + 7 * i % 11)) for i in range(count)]


def backward(transformer, data, world, max_tokens=40):
    """One SFT backward over this rank's packs; return the loss of all."""
    total = sum(len(r) for _, r in data)
    loss = 0.0
    for packs in micro_batches([len(p) + len(r) for p, r in data], max_tokens, world.size):
        members = [data[i] for i in packs[world.rank]]
        batch = pack([p for p, _ in members], [r for _, r in members]).to(world.device)
        logp, _ = token_logprobs(transformer, batch)
        share = -logp.sum() / total
        (share * world.size).backward()
        loss += share.item()
    return world.sum({"loss": loss})["loss"]


def gradient(transformer):
    return torch.cat([whole(p.grad).flatten() for p in transformer.parameters()])


def train(transformer, world, steps=10):
    """Return the losses of a few steps on fixed data."""
    optimizer, step = make_adamw(transformer, 0.1), GuardedStep()
    set_learning_rate(optimizer, 1e-3)
    losses = []
    for _ in range(steps):
        losses.append(backward(transformer, sequences(12), world))
        step(transformer, optimizer, 1.0)
    return losses, optimizer


def anonymous_bytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))


def peak_growth(action):
    """Return what the action returns, and how many anonymous bytes the process grew by at most meanwhile."""
    before, peak, done = anonymous_bytes(), 0, threading.Event()

    def watch():
        nonlocal peak
        while not done.is_set():
            peak = max(peak, anonymous_bytes())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = action()
    finally:
        done.set()
        watcher.join()
    return result, max(peak, anonymous_bytes()) - before


def main(folder, out):
    found = {}
    tensors = {}
    with parallel.join_world(ParallelConfig(device="cpu")) as world:
        for name in MODELS:
            for checkpointing in (False, True):
                cfg = Config(parallel=ParallelConfig(activation_checkpointing=checkpointing))
                key = f"{name}/{checkpointing}"
                model, tokenizer = parallel.load_sharded(folder / name, cfg, world)
                found[f"{key}/loss"] = backward(model, sequences(12), world)
                tensors[f"{key}/gradient"] = gradient(model)
                norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)
                found[f"{key}/norm"] = whole(norm).item()
                model.zero_grad()
                found[f"{key}/one sequence"] = backward(model, sequences(1), world)  # the other rank is idle
                tensors[f"{key}/one sequence gradient"] = gradient(model)
                model.zero_grad()
                found[f"{key}/losses"], optimizer = train(model, world)

            # The sampling copy, in the trainer's dtype and in half precision.
            copy = parallel.sampling_copy(model, world)
            half = parallel.sampling_copy(model, world).to(torch.bfloat16)
            half.tie_weights()
            parallel.gather_weights(model, copy)
            parallel.gather_weights(model, half)
            weights = [whole(p.detach()) for p in model.parameters()]
            same = [torch.equal(w, q) for w, q in zip(weights, copy.parameters(), strict=True)]
            same += [torch.equal(w.bfloat16(), q) for w, q in zip(weights, half.parameters(), strict=True)]
            found[f"{name}/copies"] = all(same)
            logits = copy(torch.tensor([[5, 6, 7, 8]]))
            tensors[f"{name}/copy logits"] = logits

            # Out: a checkpoint of two ranks, and an export.
            state = {"step": 10, "metrics_bytes": 0}
            save_checkpoint(out / name / "from two", model, optimizer, state, world, Keep(1))
            save_model(model, tokenizer, out / name / "model", writes=world.is_main)
            for p_name, p in model.named_parameters():
                tensors[f"{name}/trained/{p_name}"] = whole(p.detach())
                tensors[f"{name}/moment/{p_name}"] = whole(optimizer.state[p]["exp_avg_sq"])
            # In: a checkpoint of one process.
            load_tensors(checkpoints(folder / name / "from one")[-1], model, optimizer, world)
            for p_name, p in model.named_parameters():
                tensors[f"{name}/loaded/{p_name}"] = whole(p.detach())
                tensors[f"{name}/loaded moment/{p_name}"] = whole(optimizer.state[p]["exp_avg_sq"])

        # Nodes of one process each: replicated, not sharded.
        os.environ["LOCAL_WORLD_SIZE"] = "1"
        nodes = replace(world, mesh=parallel._mesh("cpu", world.size, "node"))
        model, _ = parallel.load_sharded(folder / "qwen3", Config(), nodes)
        found["hsdp/local"] = [p.to_local().shape == p.shape for p in model.parameters()]
        found["hsdp/loss"] = backward(model, sequences(12), nodes)
        tensors["hsdp/gradient"] = gradient(model)

        # Memory of loading: the model is whole in the file and half in each process.
        (big, _), growth = peak_growth(lambda: parallel.load_sharded(folder / "big", Config(), world))
        shard = sum(p.to_local().numel() * 4 for p in big.parameters())
        found["growth of shard"] = world.gather(growth / shard)
        found["shard bytes"] = shard

        # One rank's error is everybody's.
        try:
            with world.agree():
                if world.rank == 1:
                    raise InputError("only here")
            said = None
        except InputError as error:
            said = str(error)
        found["errors"] = world.gather(said)
        found["divided"] = world.divide(list(range(7)), lambda mine: [(i, world.rank) for i in mine])
        found["any"] = [world.any(world.rank == 1), world.any(False)]
        if world.is_main:
            (out / "found.json").write_text(json.dumps(found))
            safetensors.torch.save_file(
                {k: v.detach().contiguous() for k, v in tensors.items()}, out / "tensors"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
