"""Packing, chunked log-probs and the one normaliser: the step does not depend on how it was split."""

import math

import pytest
import torch
from support.jsonl import read_records
from support.models import hf_folder, hf_model, ours
from torch.utils._python_dispatch import TorchDispatchMode

import train_sft
from fleming.config import load_config
from fleming.files import step_of, write_jsonl
from fleming.rl.grpo import grpo_loss, loss_denominator
from fleming.settings import Config
from fleming.settings.training import preset
from fleming.training.checkpoint import (
    Keep,
    checkpoints,
    delete_old,
    load_tensors,
    newest_checkpoint,
    save_checkpoint,
)
from fleming.training.logprobs import chunked_logprobs, token_logprobs
from fleming.training.optimizer import (
    GuardedStep,
    make_adamw,
    set_learning_rate,
    warmup_constant,
    warmup_cosine,
)
from fleming.training.packing import micro_batches, pack
from fleming.training.parallel import World
from model import InputError


def test_the_docstrings_worked_example_of_packing():
    batch = pack([[5, 6], [9], [5, 6]], [[7, 8], [3], [4, 2]])
    assert batch.tokens.tolist() == [
        [5, 6, 7, 9, 4]
    ]  # a shared prompt is fed once, a last response token never
    assert batch.positions.tolist() == [[0, 1, 2, 0, 2]]
    assert batch.gather.tolist() == [0, 1, 2, 3, 0, 1, 4]
    assert batch.cu_seqlens.tolist() == [0, 3, 4, 7]
    assert batch.keep.tolist() == [0, 1, 2, 3, 6]
    assert batch.predict_at.tolist() == [1, 2, 3, 1, 4]
    assert batch.targets.tolist() == [7, 8, 3, 4, 2]
    assert batch.response_cu_seqlens.tolist() == [0, 2, 3, 5]
    alike = pack([[5, 6], [5, 9]], [[7, 8], [4]], share=1)  # the second is fed from where it differs
    assert (alike.tokens.tolist(), alike.positions.tolist()) == ([[5, 6, 7, 9]], [[0, 1, 2, 1]])
    assert alike.gather.tolist() == [0, 1, 2, 0, 3]


@pytest.mark.parametrize("name", ["qwen2-tied", "qwen3"])
def test_a_prompt_fed_once_gives_the_log_probs_and_gradients_of_one_fed_with_each_answer(name):
    transformer = ours(hf_model(name))
    g = torch.Generator().manual_seed(3)
    ids = lambda n: torch.randint(0, 101, (n,), generator=g).tolist()  # noqa: E731
    shared = [ids(9), ids(4)]
    prompts = [shared[i] for i in (0, 1, 0, 0, 1)]
    responses = [ids(n) for n in (6, 1, 11, 2, 5)]  # one of a single token, which feeds nothing of its own
    upstream = torch.randn(25, generator=g)

    def run(packs):
        transformer.zero_grad()
        logp = [
            token_logprobs(transformer, pack([prompts[i] for i in p], [responses[i] for i in p]))[0]
            for p in packs
        ]
        (torch.cat(logp) @ upstream).backward()
        return torch.cat(logp).detach(), [p.grad.clone() for p in transformer.parameters()]

    (logp, gradient), (alone, expected) = run([range(5)]), run([[i] for i in range(5)])
    assert pack(prompts, responses).tokens.numel() == 9 + 4 + sum(map(len, responses)) - 5
    torch.testing.assert_close(logp, alone, atol=1e-6, rtol=1e-6)
    for a, b in zip(gradient, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5 * b.abs().max().item(), rtol=1e-5)


def test_micro_batches_hold_every_sequence_once_within_the_budget():
    lengths = [5, 90, 17, 17, 40, 3, 60, 200]
    for ranks in (1, 2, 3):
        rounds = micro_batches(lengths, 100, ranks)
        packs = [p for r in rounds for p in r]
        assert all(len(r) == ranks for r in rounds)
        assert sorted(i for p in packs for i in p) == list(range(8))
        assert all(sum(lengths[i] for i in p) <= 100 or len(p) == 1 for p in packs)
    assert micro_batches([60, 40, 50, 50], 100) == [[[0]], [[2, 3]], [[1]]]  # a pack may be full


def test_the_packs_of_a_round_are_balanced_over_ranks():
    lengths = [37 + (i * 61) % 200 for i in range(64)]
    for ranks in (2, 4):
        for r in micro_batches(lengths, 1200, ranks)[:-1]:  # what is left for the last round may be anything
            loads = [sum(lengths[i] for i in p) for p in r]
            assert max(loads) - min(loads) <= max(lengths[i] for p in r for i in p)
            assert min(loads) > 1200 / 2


def test_the_idle_pack_takes_part_with_a_gradient_of_exactly_zero():
    transformer = ours(hf_model("qwen3"))
    logp, entropy = token_logprobs(transformer, pack([], []))
    loss, _ = grpo_loss(
        logp, logp, logp, torch.tensor([]), pack([], []).response_cu_seqlens, preset("grpo"), 3.0
    )
    assert (loss.item(), logp.shape, entropy.shape) == (0.0, (0,), (0,))
    loss.backward()
    assert all(p.grad is not None and (p.grad == 0).all() for p in transformer.parameters())


def test_scored_tokens_are_the_response_and_nothing_else():
    """Against a full softmax over each sequence on its own, shifted by hand."""
    transformer = ours(hf_model("qwen2-tied"))
    prompts, responses = [[5, 6, 7], [9]], [[8, 4], [3, 3, 4]]
    logp, entropy = token_logprobs(transformer, pack(prompts, responses))
    expected, expected_entropy = [], []
    for prompt, response in zip(prompts, responses, strict=True):
        log_p = transformer(torch.tensor([prompt + response]))[0].log_softmax(-1)
        for t, token in enumerate(response):
            row = log_p[len(prompt) + t - 1]
            expected.append(row[token])
            expected_entropy.append(-(row.exp() * row).sum())
    torch.testing.assert_close(logp, torch.stack(expected), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(entropy, torch.stack(expected_entropy), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_chunked_log_probs_equal_full_ones_in_value_and_gradient(temperature):
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(50, 16, generator=g, requires_grad=True)
    weight = torch.randn(301, 16, generator=g, requires_grad=True)
    targets = torch.randint(0, 301, (50,), generator=g)
    upstream = torch.randn(50, generator=g)
    full = ((hidden @ weight.T) / temperature).log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    chunked, _ = chunked_logprobs(hidden, weight, targets, temperature, chunk_tokens=7)
    torch.testing.assert_close(chunked, full, rtol=1e-6, atol=1e-6)
    wanted = torch.autograd.grad(full @ upstream, (hidden, weight))
    got = torch.autograd.grad(chunked @ upstream, (hidden, weight))
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6 * b.abs().max().item())


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements that any operation returned."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, torch.Tensor):
                self.elements = max(self.elements, x.numel())
        return out


@pytest.mark.parametrize("limit", [64, 90, 128, 150, 200])
def test_rows_of_the_output_matrix_that_belong_to_no_id_take_no_part(limit):
    """Whether they are multiplied, to round the size of the product up, or not."""
    g = torch.Generator().manual_seed(1)
    hidden, weight = (torch.randn(n, 16, generator=g, requires_grad=True) for n in (30, 200))
    targets = torch.randint(0, limit, (30,), generator=g)
    logp, entropy = chunked_logprobs(hidden, weight, targets, 0.8, chunk_tokens=7, vocab_limit=limit)
    expected, expected_entropy = chunked_logprobs(hidden, weight[:limit], targets, 0.8, chunk_tokens=30)
    torch.testing.assert_close((logp, entropy), (expected, expected_entropy), atol=1e-5, rtol=1e-6)
    upstream = torch.randn(30, generator=g)
    found, wanted = (torch.autograd.grad(x @ upstream, (hidden, weight)) for x in (logp, expected))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert (found[1][limit:] == 0).all()


def test_no_tensor_of_tokens_times_vocabulary_is_made(monkeypatch):
    """4,096 tokens in chunks of 1,024, and more tokens than hidden, so that no weight's transpose is as large."""
    hf = hf_model("qwen2-tied", vocab_size=3001, num_hidden_layers=1, max_position_embeddings=5000)
    transformer = ours(hf)
    tokens = torch.randint(0, 3001, (4096,)).tolist()
    with LargestTensor() as guard:
        logp, _ = token_logprobs(transformer, pack([tokens[:1]], [tokens]))
        logp.sum().backward()
    assert 1024 * 3001 <= guard.elements < 4096 * 3001 // 2
    with LargestTensor() as guard:  # the guard can see one
        transformer(torch.tensor([tokens]))
    assert guard.elements >= 4096 * 3001


@pytest.mark.parametrize("aggregation", ["sequence_mean", "sequence_sum", "token_mean", "constant"])
def test_loss_and_gradient_are_the_same_however_the_step_is_split(aggregation):
    g = torch.Generator().manual_seed(0)
    randint = lambda n: torch.randint(0, 101, (n,), generator=g).tolist()  # noqa: E731
    sequences = [(randint(3 + i % 4), randint(1 + (7 * i) % 11)) for i in range(12)]
    advantages = torch.randn(12, generator=g)
    cfg = preset("grpo", aggregation=aggregation, kl_coef=0.1)
    tokens = sum(len(r) for _, r in sequences)

    def step(parts):
        transformer = ours(hf_model("qwen3"))
        total = 0.0
        for part in parts:
            batch = pack([sequences[i][0] for i in part], [sequences[i][1] for i in part])
            logp, _ = token_logprobs(transformer, batch)
            old, ref = logp.detach() - 0.1, logp.detach() - 0.3
            denominator = loss_denominator(12, tokens, aggregation, max_new_tokens=16)
            loss, _ = grpo_loss(
                logp, old, ref, advantages[list(part)], batch.response_cu_seqlens, cfg, denominator
            )
            loss.backward()
            total += loss.item()
        return total, torch.cat([p.grad.flatten() for p in transformer.parameters()])

    whole, gradient = step([range(12)])
    for parts in (
        [range(6), range(6, 12)],
        [[i] for i in range(12)],
        [[11, 3, 0], [7, 1, 2, 10, 9], [8, 4, 6, 5]],
    ):
        loss, split_gradient = step(parts)
        assert loss == pytest.approx(whole, rel=1e-6)
        assert (split_gradient - gradient).norm() <= 1e-6 * gradient.norm()


def test_weight_decay_spares_norms_and_biases():
    transformer = ours(hf_model("qwen2-untied"))
    decayed, spared = make_adamw(transformer, 0.1).param_groups
    names = {p: n for n, p in transformer.named_parameters()}
    assert {names[p] for p in spared["params"]} == {
        n for n in names.values() if "norm" in n or n.endswith("bias")
    }
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


def test_schedules_at_their_corners():
    assert warmup_cosine(1, 100, 10, 1.0) == pytest.approx(0.1)
    assert warmup_cosine(10, 100, 10, 1.0) == pytest.approx(1.0)
    assert warmup_cosine(55, 100, 10, 1.0) == pytest.approx(0.55)
    assert warmup_cosine(100, 100, 10, 1.0) == pytest.approx(0.1)
    assert [warmup_constant(s, 4, 2.0) for s in (1, 4, 9)] == [0.5, 2.0, 2.0]
    assert warmup_constant(1, 0, 2.0) == 2.0


def test_a_gradient_that_is_not_finite_is_left_out_and_the_third_in_a_row_stops():
    transformer = ours(hf_model("qwen3"))
    optimizer, step = make_adamw(transformer, 0.1), GuardedStep()
    set_learning_rate(optimizer, 1e-2)

    def take(value):
        before = [p.detach().clone() for p in transformer.parameters()]
        for p in transformer.parameters():
            p.grad = torch.full_like(p, value)
        step(transformer, optimizer, 1.0)
        assert all(p.grad is None for p in transformer.parameters())
        return any(not torch.equal(p, q) for p, q in zip(transformer.parameters(), before, strict=True))

    nan, inf = float("nan"), float("inf")
    assert [take(v) for v in (1.0, nan, inf, 1.0, nan, -inf)] == [True, False, False, True, False, False]
    with pytest.raises(InputError, match="3 times in a row"):
        take(float("nan"))


def test_kept_are_the_newest_checkpoints_the_best_and_every_third(tmp_path):
    alone = World(0, 1, torch.device("cpu"), None)
    transformer = ours(hf_model("qwen3"))
    optimizer = make_adamw(transformer, 0.1)
    for step, score in enumerate([0.1, 0.9, 0.3, 0.5, 0.2, 0.4, 0.1], start=1):
        state = {"step": step, "identity": {}, "metrics_bytes": 0, "metrics_sha256": "", "score": score}
        save_checkpoint(tmp_path, transformer, optimizer, state, alone, Keep(last=1, best=1, every=3))
    assert [step_of(path) for path in checkpoints(tmp_path)] == [2, 3, 6, 7]
    assert newest_checkpoint(tmp_path)["step"] == 7
    (tmp_path / ".step_000001.old").write_text("no folder")
    with pytest.raises(InputError, match="cannot delete"):
        delete_old(tmp_path, Keep(last=1))


def test_a_large_checkpoint_is_split_into_files_and_loads_as_before(tmp_path, monkeypatch):
    monkeypatch.setattr("fleming.training.checkpoint.FILE_BYTES", 1 << 16)
    alone = World(0, 1, torch.device("cpu"), None)
    transformer = ours(hf_model("qwen3"))
    optimizer = make_adamw(transformer, 0.1)
    save_checkpoint(tmp_path, transformer, optimizer, {"step": 1}, alone, Keep(1))
    files = list(tmp_path.glob("step_000001/*.safetensors"))
    assert len(files) > 5
    assert max(f.stat().st_size for f in files) < 2 << 16
    other = ours(hf_model("qwen3", seed=1))
    load_tensors(checkpoints(tmp_path)[-1], other, make_adamw(other, 0.1), alone)
    assert all(torch.equal(p, q) for p, q in zip(transformer.parameters(), other.parameters(), strict=True))


def test_a_checkpoint_after_a_loss_that_was_not_finite_can_be_read(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    hf_folder(tmp_path / "model")
    answer = {
        "prompt": [{"role": "user", "content": "2 + 2?"}],
        "response": "<think>\n4\n</think>\n<answer>B</answer>",
    }
    write_jsonl(tmp_path / "t.jsonl", [{"id": "t", "question_id": "q", **answer}])
    given = [
        f"run_dir={tmp_path}",
        f"model={tmp_path / 'model'}",
        f"data.trajectories={tmp_path / 't.jsonl'}",
    ]
    given += ["sft.epochs=2", "sft.sequences_per_step=1", "chat_format=chatml", "parallel.device=cpu"]
    monkeypatch.setattr(
        train_sft, "token_logprobs", lambda *a: tuple(x * math.nan for x in token_logprobs(*a))
    )
    train_sft.train(load_config(Config, None, given), World(0, 1, torch.device("cpu"), None))
    state = newest_checkpoint(tmp_path / "sft/checkpoints")
    assert (state["step"], state["skipped_in_a_row"], "score" in state) == (2, 2, False)
    steps = read_records(tmp_path / "sft/metrics.jsonl")
    assert [(r["loss"], r["grad_norm"], r["skipped_updates"]) for r in steps] == [(None, None, 1)] * 2
