"""train_sft.py against a plain loop over transformers' model, loss and schedule: the same losses step by step.

Padded batches with a mask there, packs of several sizes here; torch's plain AdamW there, fused here.
"""

import json
import os
import random
import shutil

import pytest
import torch
import transformers
from support.chat import write_tokenizer
from support.models import TINY, hf_model
from support.runs import ALONE, records

import train_sft
from fleming.config import load_config
from fleming.files import write_jsonl
from fleming.noise import shuffled
from fleming.records import Trajectory, to_json
from fleming.settings import Config
from fleming.training.checkpoint import newest_checkpoint
from model.huggingface.tokenizer import Tokenizer

EACH, STEPS, WARMUP = 4, 50, 5
SMOLLM2 = {  # SmolLM2-135M's block, one of its 30, and a small vocabulary
    "hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3,
    "num_hidden_layers": 1, "rope_theta": 100000.0, "tie_word_embeddings": True, "initializer_range": 0.02,
}  # fmt: skip
# architecture, shape, learning rate: at higher rates, and from larger weights, rounding grows until it shows
CASES = {**{name: (name, {}, 2e-3) for name in TINY}, "smollm2": ("llama", SMOLLM2, 1e-4)}


def trajectories(count):
    rng = random.Random(0)
    for i in range(count):
        asked = "".join(rng.choices("abcdef? \n", k=rng.randint(1, 40)))
        talk = [{"role": "user", "content": asked}]
        if i % 5 == 0:
            talk = [
                {"role": "system", "content": "be kind"},
                *talk,
                {"role": "assistant", "content": "why"},
                *talk,
            ]
        said = "".join(rng.choices("ghijk ", k=rng.randint(1, 25)))
        yield Trajectory(
            f"t{i}", f"q{i}", talk, f"<think>{said}</think> <answer>{rng.choice('ABCD')}</answer>"
        )


@pytest.mark.parametrize("case", CASES)
def test_the_losses_are_those_of_a_plain_loop(tmp_path, case):
    name, shape, peak = CASES[case]
    folder = tmp_path / "model"
    write_tokenizer(folder)
    size = Tokenizer.from_folder(folder).size  # no more: ours gives an id that no token has no probability
    hf = hf_model(name, vocab_size=size, **shape)
    agree(hf, folder, tmp_path, peak)


@pytest.mark.slow
def test_so_they_are_at_the_whole_depth_of_a_real_model(tmp_path):
    source = os.environ.get("REAL_MODEL")
    if not source:
        pytest.skip("needs the folder of a llama, as SmolLM2-135M: set REAL_MODEL=DIR")
    folder = tmp_path / "model"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((folder / "config.json").read_text())
    config.setdefault("rope_theta", config.get("rope_parameters", {}).get("rope_theta"))
    hf = hf_model("llama", **{key: config[key] for key in ("vocab_size", *SMOLLM2)})
    agree(hf, folder, tmp_path, 1e-4)


def agree(hf, folder, tmp_path, peak):
    """Train the model both ways, and compare step by step."""
    hf.save_pretrained(folder)
    data = tmp_path / "t.jsonl"
    given = list(trajectories(30))
    write_jsonl(data, map(to_json, given))
    epochs = STEPS * EACH / len(given)
    settings = [f"model={folder}", f"data.trajectories={data}", f"run_dir={tmp_path / 'run'}", "parallel.device=cpu",
                f"sft.epochs={epochs}", f"sft.sequences_per_step={EACH}", "sft.micro_batch_tokens=160",
                f"sft.learning_rate={peak}", f"sft.warmup_fraction={WARMUP / STEPS}", "sft.weight_decay=0.1",
                "sft.grad_clip=0.7", "sft.save_every=15", "data.decontamination=off"]  # fmt: skip
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train_sft.train(load_config(Config, None, settings), ALONE)
        theirs = list(plain_loop(hf.train(), given, folder, peak))
    finally:
        torch.set_num_threads(before)
    ours = records(tmp_path / "run/sft/metrics.jsonl")
    assert len(ours) == len(theirs) == STEPS
    for mine, (loss, norm, rate, entropy) in zip(ours, theirs, strict=True):
        assert mine["entropy"] == pytest.approx(entropy, abs=1e-3)
        assert mine["loss"] == pytest.approx(loss, abs=1e-4)
        assert mine["grad_norm"] == pytest.approx(norm, rel=1e-3)
        assert mine["learning_rate"] == pytest.approx(rate, rel=1e-9)
        assert mine["tokens"] > mine["response_tokens"] > EACH
    assert ours[-1]["loss"] < 0.8 * ours[0]["loss"]
    # What the best checkpoints are chosen by: the losses since the one before, the lowest first.
    since = [record["loss"] for record in ours[(STEPS - 1) // 15 * 15 :]]
    state = newest_checkpoint(tmp_path / "run/sft/checkpoints")
    assert (state["step"], state["score"]) == (STEPS, pytest.approx(-sum(since) / len(since)))
    assert sum(norm > 0.7 for _, norm, *_ in theirs) > 5  # clipping is at work


def plain_loop(hf, given, folder, peak):
    """Yield (loss, gradient norm, learning rate, entropy) of each step."""
    tokenizer = Tokenizer.from_folder(folder)
    matrices = [p for p in hf.parameters() if p.ndim > 1]
    others = [p for p in hf.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.95), eps=1e-8, foreach=False)
    schedule = transformers.get_scheduler(
        "cosine_with_min_lr", optimizer, WARMUP, STEPS, scheduler_specific_kwargs={"min_lr_rate": 0.1}
    )
    for step in range(STEPS):
        chosen = [shuffled(given, place, 0, "sft epoch") for place in range(step * EACH, (step + 1) * EACH)]
        pairs = [(tokenizer.encode_chat(t.prompt), tokenizer.encode_response(t.response)[0]) for t in chosen]
        longest = max(len(p) + len(r) for p, r in pairs)
        padded, labels, mask = [], [], []
        for prompt, response in pairs:
            empty = longest - len(prompt) - len(response)
            padded.append([*prompt, *response] + [0] * empty)
            labels.append([-100] * len(prompt) + response + [-100] * empty)
            mask.append([1] * (longest - empty) + [0] * empty)
        schedule.step()
        batch = {"input_ids": padded, "labels": labels, "attention_mask": mask}
        batch = {key: torch.tensor(rows) for key, rows in batch.items()}
        found = hf(**batch)
        rows = found.logits.detach()[:, :-1][batch["labels"][:, 1:] != -100].log_softmax(-1)
        entropy = -(rows.exp() * rows).sum(-1).mean().item()
        found.loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(hf.parameters(), 0.7).item()
        optimizer.step()
        optimizer.zero_grad()
        yield found.loss.item(), norm, schedule.get_last_lr()[0], entropy
