"""Known mistakes of hand-written GRPO code that no other test keeps out; docs/traps.md lists them all.

The last part runs the training scripts, sharded over this process alone, with the calls that matter written down.
"""

import dataclasses
import functools
import inspect
import json
import math
import re
from collections import defaultdict
from contextlib import nullcontext
from itertools import pairwise
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.distributed as dist
import torch.nn.functional as F
from support.models import hf_folder, hf_model, ours
from support.places import ROOT
from support.runs import ALONE, records
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

import model.attention
import train_grpo
import train_sft
from fleming.config import load_config
from fleming.files import write_jsonl
from fleming.prompt import prompt_ids, question_messages
from fleming.public.readers import read_questions
from fleming.records import Question, Rollout, Trajectory, to_json
from fleming.rl import rollout
from fleming.rl.grpo import LOG_RATIO_LIMIT, group_advantages, grpo_loss
from fleming.rl.reward import medical_reward
from fleming.rl.rollout import Actor, pack_rollouts, sample_groups
from fleming.settings import Config, ParallelConfig
from fleming.settings.training import preset
from fleming.training import parallel
from fleming.training.logprobs import chunked_logprobs, token_logprobs
from fleming.training.packing import pack
from model import InputError, Sampler, SamplingParams, load_model, save_model
from model.attention import PackedCausal
from model.drawing import draw
from model.huggingface import weights
from model.kv_cache import CACHE_SHARE, Capacity
from model.sampler import Sample


def test_every_test_that_the_list_names_exists():
    named = re.findall(r"`(\w+)::(\w+)`", (ROOT / "docs/traps.md").read_text())
    assert len(named) > 50
    source = {path.stem: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    assert not [n for file, n in named if f"def test_{n}(" not in source[f"test_{file}"]]


def test_the_epsilon_of_every_norm_is_the_configs():
    hf = hf_model("qwen3", rms_norm_eps=0.3)
    tokens = torch.randint(0, 101, (2, 12))
    torch.testing.assert_close(ours(hf)(tokens), hf(tokens).logits, atol=1e-5, rtol=0)


def newer_kernel(q, k, v, cu_q, cu_k, max_q, max_k, *, window_size=(-1, -1), enable_gqa=False):
    """A stand-in for varlen_attn with torch 2.13's arguments."""
    assert (window_size, enable_gqa) == ((-1, 0), True)
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    return older_kernel(q, k, v, cu_q, cu_k, max_q, max_k, is_causal=True)


def older_kernel(q, k, v, cu_q, cu_k, max_q, max_k, is_causal=False):
    """The same with torch 2.10's: a flag for the mask, and as many key heads as query heads."""
    assert (is_causal, max_q, max_k) == (True, 5, 5)
    parts = [[x[a:b].transpose(0, 1) for x in (q, k, v)] for a, b in pairwise(cu_q)]
    return torch.cat(
        [F.scaled_dot_product_attention(*part, is_causal=True).transpose(0, 1) for part in parts]
    )


@pytest.mark.parametrize("kernel", [newer_kernel, older_kernel])
def test_flash_attention_is_called_with_the_arguments_that_this_torch_knows(kernel, monkeypatch):
    monkeypatch.setattr(model.attention, "varlen_attn", kernel)
    monkeypatch.setattr(model.attention, "VARLEN_ARGUMENTS", set(inspect.signature(kernel).parameters))
    cu_seqlens = torch.tensor([0, 3, 4, 9], dtype=torch.int32)
    q, k, v = (torch.randn(9, heads, 8) for heads in (4, 2, 2))
    flash = model.attention._varlen_causal(q, k, v, cu_seqlens, 5)
    torch.testing.assert_close(flash, PackedCausal(cu_seqlens, 5)(q[None], k[None], v[None])[0])


def test_scorer_and_sampler_widen_half_precision_logits_before_they_divide_by_the_temperature():
    g = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, 32, generator=g).bfloat16().requires_grad_() for n in (20, 300))
    targets = torch.randint(0, 300, (20,), generator=g)
    logits = F.linear(hidden, weight).detach()
    expected = (logits.double() / 0.7).log_softmax(-1)
    logp, entropy = chunked_logprobs(hidden, weight, targets, temperature=0.7)
    torch.testing.assert_close(logp.double(), expected.gather(-1, targets[:, None])[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(entropy.double(), -(expected.exp() * expected).sum(-1), atol=1e-4, rtol=0)
    assert (logp.requires_grad, entropy.requires_grad) == (True, False)  # entropy is for the log
    ids, drawn, _ = draw(
        logits, torch.rand(20, dtype=torch.float64, generator=g), SamplingParams(temperature=0.7)
    )
    torch.testing.assert_close(drawn, expected.gather(-1, ids[:, None])[:, 0], atol=1e-5, rtol=0)


def test_every_id_of_a_large_vocabulary_can_be_drawn_from_peaked_logits():
    """One id has nearly all of the mass, the others 1e-9 or so each. The oracle sums in extended precision."""
    size = 151_936
    logits = np.random.default_rng(0).standard_normal(size)
    logits[70_000] = 20.0
    p = np.exp(logits.astype(np.longdouble))
    cdf = np.cumsum(p) / p.sum()
    chosen = [0, 1, 69_999, 70_000, 70_001, 100_000, 123_456, size - 1]
    middle = torch.tensor([float(cdf[i] - p[i] / p.sum() / 2) for i in chosen], dtype=torch.float64)
    ids, *_ = draw(torch.from_numpy(logits).expand(len(chosen), -1), middle, SamplingParams())
    assert ids.tolist() == chosen


def test_equal_rewards_have_zero_advantage_even_where_their_mean_is_rounded():
    rounded = 0
    for reward in (0.1, 1.1, 1 / 3):
        for size in range(2, 20):
            group = torch.full((1, size), reward, dtype=torch.float64)
            rounded += bool((group - group.mean() != 0).any())
            assert (group_advantages(group) == 0).all()
    assert rounded > 5  # what a group's own standard deviation of 1e-16 would blow up


@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_a_policy_that_ran_away_from_the_old_one_is_clamped_and_counted_in_both_directions(advantage):
    logp = torch.tensor([-1.0, -900.0, -1.0], requires_grad=True)
    old = torch.tensor([-900.0, -1.0, -1.0])  # ratios e^899, e^-899 and 1
    cfg = preset("grpo", kl_coef=0.0)
    loss, metrics = grpo_loss(logp, old, None, torch.tensor([advantage]), torch.tensor([0, 3]), cfg, 1.0)
    loss.backward()
    assert all(x.isfinite() for x in (loss, *logp.grad))
    assert metrics["clamped_tokens"] == 2
    assert metrics["ratio_sum"].item() == pytest.approx(math.exp(LOG_RATIO_LIMIT) + 1, rel=1e-6)


@pytest.mark.parametrize("gold", [{"answer": "C"}, {"answer": "yes", "answer_idx": "B"}, {"answer": ""}])
def test_a_gold_answer_that_is_no_option_is_refused_where_it_is_read(gold, tmp_path):
    write_jsonl(
        tmp_path / "q.jsonl", [{"id": "q", "question": "?", "options": {"A": "yes", "B": "no"}, **gold}]
    )
    with pytest.raises(InputError, match=r"q.jsonl:1.*answer"):
        read_questions(tmp_path / "q.jsonl")


class Scripted:
    """A sampler that answers what it is told, question by question, in ids that are code points.

    keys: of all the noise that was asked for.
    """

    tokenizer = SimpleNamespace(
        encode_chat=lambda messages, trusted: [7, 7, 7], opened="", decode=lambda ids: "".join(map(chr, ids))
    )

    def __init__(self, *groups):
        self.groups, self.keys = groups, []

    def generate(self, prompts, params, keys, on_finish=None):
        self.keys += keys
        logps = (-0.01 * i for i in range(1, 100))
        return [
            [Sample([*map(ord, x)], [next(logps)] * len(x), "length", 0.0) for x in texts]
            for texts in self.groups
        ]


def question(name, split="train"):
    return Question(
        id=name, question=f"Is it {name}?", options={"A": "yes", "B": "no"}, answer="A", split=split
    )


def rollouts_of(sampler, names, reward, step=1):
    actor = Actor(sampler, reward, Config(), ALONE)
    return [r for group in sample_groups(actor, [*map(question, names)], 1, step, 1) for r in group]


def test_format_adds_little_to_correctness_and_a_cut_answer_has_none():
    right, wrong = (f"<think>r</think><answer>{letter}</answer>" for letter in "AB")
    cases = [(right, True, 1.1), (right, False, 1.0), ("<answer>A</answer>", True, 1.0), (wrong, True, 0.1)]
    for response, finished, total in cases:
        assert medical_reward(response, finished, question("q"), Config())["total"] == pytest.approx(total)


def fragile(response, finished, question, cfg):
    """A reward that fails in every way a user's may, and is 1 for "good"."""
    if response == "raise":
        raise ZeroDivisionError("my own mistake")
    total = {"nan": math.nan, "inf": -math.inf, "good": 1.0, "none": None}.get(response, 0.0)
    return {"correct": 0.0, "format": 0.0, **({} if response == "forgot" else {"total": total})}


def test_a_reward_that_fails_counts_as_zero_in_its_own_place_and_is_said(capsys):
    groups = (
        ["good", "raise", "bad"],
        ["none", "good", "good"],
        ["nan", "bad", "inf"],
        ["good", "forgot", "good"],
    )
    rollouts = rollouts_of(Scripted(*groups), "abcd", fragile)
    assert [r.response for r in rollouts] == [text for group in groups for text in group]
    assert [r.reward["total"] for r in rollouts] == [
        float(text == "good") for group in groups for text in group
    ]
    said = capsys.readouterr().err.splitlines()
    for line, id_, word in zip(
        said, "abccd", ("my own mistake", "none", "nan", "inf", "forgot"), strict=True
    ):
        assert line.startswith(f"reward failed, counted as 0: {id_}:")
        assert word in line


def test_a_question_drawn_twice_makes_two_groups_with_noise_and_comparison_of_their_own():
    sampler = Scripted(["good", "bad"], ["bad", "bad"], ["good", "good"])
    rollouts = rollouts_of(sampler, "aba", fragile)
    assert [(r.group, r.sample) for r in rollouts] == [(g, i) for g in range(3) for i in range(2)]
    half = 0.5 / (math.sqrt(0.5) + 1e-6)  # the standard deviation (ddof 1) of 1 and 0
    assert [r.advantage for r in rollouts] == pytest.approx([half, -half, 0, 0, 0, 0])
    rollouts_of(sampler, "aba", fragile, step=2)
    assert len(set(sampler.keys)) == 6  # nor is a step's noise another's


def test_what_was_sampled_is_what_is_trained_on_with_its_own_log_probs_and_advantage():
    """In whatever packs, and whatever the ids are: no id means padding."""
    groups = ["user", "us\0\0", "u"], ["\0", "good", "users" * 3]
    rollouts = rollouts_of(
        Scripted(*groups), "ab", lambda r, *_: dict.fromkeys(("correct", "format", "total"), len(r))
    )
    batches, found = pack_rollouts(rollouts, 25, ALONE), {}
    for batch in batches:
        for begin, end in pairwise(batch.packed.response_cu_seqlens):
            ids, logp = (x[begin:end].tolist() for x in (batch.packed.targets, batch.sampled_logp))
            found[tuple(ids)] = [*logp, *set(batch.advantages[begin:end].tolist())]
    assert len(batches) > 1
    assert found == {tuple(r.token_ids): pytest.approx([*r.logprobs, r.advantage]) for r in rollouts}


def test_activation_checkpointing_is_the_kind_that_any_gradient_passes_through():
    both = ours(hf_model("qwen3")), ours(hf_model("qwen3"))
    parallel.parallelize(both[0], ParallelConfig(activation_checkpointing=True), ALONE)
    batch = pack([[5, 6], [7]], [[8, 9, 3], [1, 2]])
    found, expected = (
        torch.autograd.grad(token_logprobs(t, batch)[0].sum(), [*t.parameters()]) for t in both
    )
    torch.testing.assert_close(found, expected)  # the older, reentrant kind refuses torch.autograd.grad


@pytest.fixture(scope="module")
def one_rank():
    """A process group of this process alone: all of the sharded code, without torchrun."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield parallel.World(0, 1, ALONE.device, parallel._mesh("cpu", 1, "all"))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model, four training questions and two that are not for training."""
    folder = tmp_path_factory.mktemp("traps")
    (folder / "model").mkdir()
    hf_folder(folder / "model", "qwen3", max_position_embeddings=40_000)
    questions = [*map(question, ("same", "b", "c", "d")), question("dev", "dev"), question("test", "test")]
    write_jsonl(folder / "questions.jsonl", map(to_json, questions))
    return folder


def test_mixed_precision_computes_what_a_bf16_model_does_and_keeps_fp32_masters(folder, one_rank):
    half = type("HalfWorld", (parallel.World,), {"dtype": torch.bfloat16})(**vars(one_rank))  # as on CUDA
    master, _ = parallel.load_sharded(folder / "model", Config(), half)
    expected, _ = load_model(folder / "model", torch.bfloat16)
    tokens, positions = torch.randint(0, 280, (1, 30)), torch.arange(32_000, 32_030)[None]
    logits = master(tokens, positions)
    assert logits.dtype == torch.bfloat16
    assert torch.equal(logits, expected(tokens, positions))
    logits.float().logsumexp(-1).sum().backward()
    assert {x.dtype for p in master.parameters() for x in (p, p.grad)} == {torch.float32}
    copy = parallel.sampling_copy(master, half)
    parallel.gather_weights(master, copy)
    assert torch.equal(copy(tokens, positions), expected(tokens, positions))


@pytest.mark.parametrize("writes", [True, False])
def test_a_rank_that_cannot_write_an_export_still_takes_part_in_every_gather(
    folder, tmp_path, monkeypatch, writes
):
    transformer, tokenizer = load_model(folder / "model")
    gathered, whole = [], weights._whole
    monkeypatch.setattr(weights, "_whole", lambda p, dtype: gathered.append(p) or whole(p, dtype))
    monkeypatch.setattr(weights, "write_safetensors", Mock(side_effect=OSError(28, "No space left")))
    with pytest.raises(InputError, match="No space left") if writes else nullcontext():
        save_model(transformer, tokenizer, tmp_path / "out", writes=writes)
    assert [id(p) for p in gathered] == [id(p) for p in transformer.parameters()]
    assert list(tmp_path.iterdir()) == []


def settings(folder, run_dir, *overrides):
    """Four steps of GRPO on the folder's questions: five a step, of which there are four."""
    given = [
        f"run_dir={run_dir}",
        f"model={folder / 'model'}",
        f"data.questions={folder / 'questions.jsonl'}",
    ]
    given += ["grpo.questions_per_step=5", "grpo.stage1={max_steps: 2, group_size: 4}", "instruction=Think."]
    given += ["grpo.stage2={max_steps: 2, group_size: 4}", "grpo.max_new_tokens=12", "grpo.temperature=0.7"]
    given += ["grpo.learning_rate=1e-2", "grpo.warmup_steps=0", "grpo.save_every=1", "grpo.show_every=0"]
    return load_config(Config, None, [*given, *overrides])


def uneven(response, finished, question, cfg):
    """Differs between the answers to a question, but not for the question `same`."""
    total = 0.5 if question.id == "same" else sum(map(ord, response)) % 5 / 4
    return {"correct": float(total > 0.5), "format": 0.0, "total": total}


def train(cfg, world, reward=uneven):
    """Run train_grpo.py; return what it called, name -> [(arguments, result, whether gradients were on)]."""
    calls = defaultdict(list)

    def spy(patch, owner, name):
        original = getattr(owner, name)

        def wrapped(*arguments, **named):
            result = original(*arguments, **named)
            calls[name].append((arguments, result, torch.is_grad_enabled()))
            return result

        patch.setattr(owner, name, wrapped)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("token_logprobs", "grpo_loss", "load_sharded"):
            spy(patch, train_grpo, name)
        spy(patch, rollout, "loss_denominator")
        spy(patch, Sampler, "generate")
        patch.setattr(train_grpo, "load_reward", lambda name: reward)
        train_grpo.train(cfg, world)
    return calls


@pytest.fixture(scope="module")
def grpo(folder, one_rank, tmp_path_factory):
    """(calls, run_dir) of four steps, two updates each, with a reference, in one pack a step."""
    run_dir = tmp_path_factory.mktemp("grpo")
    return train(
        settings(folder, run_dir, "grpo.updates_per_rollout=2", "grpo.kl_coef=0.01"), one_rank
    ), run_dir


def sampled_at(run_dir, step, scored):
    """The sampler's log-probs of the step, in the order of the loss's."""
    rollouts = records(sorted(run_dir.glob("grpo/rollouts/*.jsonl"))[step])
    (batch,) = pack_rollouts([Rollout(**r) for r in rollouts], 1 << 20, ALONE)
    assert batch.sampled_logp.shape == scored.shape
    return batch.sampled_logp


def test_policy_old_policy_and_reference_are_scored_at_the_temperature_that_was_sampled_at(grpo):
    (logp, old, ref, *_), _, _ = grpo[0]["grpo_loss"][0]  # all four have the same weights
    for other in (old, ref, sampled_at(grpo[1], 0, logp)):
        torch.testing.assert_close(logp.detach(), other, atol=1e-5, rtol=0)


def test_every_rollout_is_of_the_newest_weights_and_its_old_policy_stays_over_its_updates(grpo):
    losses = [arguments for arguments, _, _ in grpo[0]["grpo_loss"]]
    updates = zip(losses[::2], losses[1::2], strict=True)
    for step, ((first, old, ref, *_), (second, still_old, *_)) in enumerate(updates):
        sampled = sampled_at(grpo[1], step, first)
        assert torch.equal(first, old)  # the ratio begins at 1
        torch.testing.assert_close(first.detach(), sampled, atol=1e-4, rtol=0)
        assert torch.equal(old, still_old)
        assert (second - still_old).abs().max() > 1e-3
        assert first is losses[0][0] or (first - ref).abs().max() > 0.05  # weights of a step ago would show


def test_the_reference_is_frozen_sharded_and_scored_once_a_rollout(grpo):
    reference = grpo[0]["load_sharded"][1][1][0]
    assert isinstance(reference, FSDPModule)
    assert not any(p.requires_grad for p in reference.parameters())
    scored = [(arguments[0] is reference, gradients) for arguments, _, gradients in grpo[0]["token_logprobs"]]
    assert scored == 4 * [
        (False, False),
        (True, False),
        (False, True),
        (False, True),
    ]  # old, reference, two updates


def test_what_samples_is_a_plain_model_and_draws_from_the_whole_distribution(grpo):
    """No collective can be in its decoding, and what is scored is what was sampled from."""
    policy = grpo[0]["load_sharded"][0][1][0]
    samplers = {arguments[0].transformer for arguments, _, _ in grpo[0]["generate"]}
    (actor,) = [
        t for t in samplers if t.cfg == policy.cfg
    ]  # one, overwritten in place; others are exact_check's
    assert actor is not policy
    assert not isinstance(actor, FSDPModule)
    assert not any(isinstance(p, DTensor) for p in actor.parameters())
    drawn = [a[2] for a, _, _ in grpo[0]["generate"] if a[0].transformer is actor]
    assert {(params.top_p, params.top_k, params.temperature) for params in drawn} == {(1.0, 0, 0.7)}


def test_rl_draws_and_mines_training_questions_alone(grpo):
    files = sorted(grpo[1].glob("grpo/rollouts/*.jsonl"))
    assert {r["question_id"] for path in files for r in records(path)} == {"same", "b", "c", "d"}
    ledger = records(grpo[1] / "grpo/curriculum.jsonl")
    assert {r["question"] for r in ledger if r["event"] == "answers"} == {"same", "b", "c", "d"}


def test_a_checkpoint_holds_fp32_safetensors_and_json_and_nothing_to_unpickle(grpo):
    files = [path for path in grpo[1].glob("grpo/checkpoints/*/*") if path.name != "SHA256SUMS"]
    tensors = [safetensors.torch.load_file(path) for path in files if path.suffix == ".safetensors"]
    assert {t.dtype for file in tensors for t in file.values()} == {
        torch.float32
    }  # masters, not what is exported
    assert len([json.loads(path.read_text()) for path in files if path.suffix == ".json"]) + len(
        tensors
    ) == len(files)


def test_groups_of_equal_reward_stay_in_the_denominator_and_without_kl_no_reference_is_loaded(
    folder, tmp_path
):
    calls = train(settings(folder, tmp_path, "grpo.kl_coef=0", "grpo.aggregation=token_mean"), ALONE)
    assert len(calls["load_sharded"]) == 1
    files = sorted(tmp_path.glob("grpo/rollouts/*.jsonl"))
    for path, counted, loss in zip(files, calls["loss_denominator"], calls["grpo_loss"], strict=True):
        rollouts, (logp, *_, denominator) = records(path), loss[0]
        lengths = [len(r["token_ids"]) for r in rollouts]
        equal = sum(n for n, r in zip(lengths, rollouts, strict=True) if r["question_id"] == "same")
        assert counted[0][:2] == (16, sum(lengths))  # four of the five asked for: no question twice in a step
        assert denominator == sum(lengths)
        assert 0 < equal <= sum(lengths) - logp.numel()  # and no forward is spent on them


def test_a_group_stays_in_one_pack_where_it_fits():
    """So that its prompt is fed once; a group that is too long is cut, and nothing is lost or doubled."""

    def rollout(group, n):
        return SimpleNamespace(prompt_ids=[group] * 4, token_ids=[9] * n, logprobs=[0.0] * n, advantage=1.0)

    groups = [[3, 5, 2], [10, 10, 10], [1, 1, 1], [4, 4]]
    rollouts = [rollout(g, n) for g, lengths in enumerate(groups) for n in lengths]
    packs = [b.packed for b in pack_rollouts(rollouts, 30, ALONE)]
    fed = sorted(p.tokens.numel() for p in packs)
    assert sum(p.targets.numel() for p in packs) == sum(map(sum, groups))
    assert all(p.cu_seqlens[-1] <= 30 for p in packs)
    whole = sum(4 + sum(lengths) - len(lengths) for lengths in groups)
    assert sum(fed) == whole + 4  # the second group alone, 42 tokens, was cut, and its prompt fed twice
    assert (
        sum(b.packed.tokens.numel() for b in pack_rollouts(rollouts, 42, ALONE)) == whole
    )  # where it may fill one


class SmallNeighbour(parallel.World):
    """One of two processes, whose other one has room for three rows."""

    def gather(self, item):
        return [item, 3 if isinstance(item, int) else item]


def test_a_cache_is_measured_once_and_kept_by_the_checkpoint(monkeypatch):
    transformer = ours(hf_model("qwen3"))
    monkeypatch.setattr(parallel, "free_memory", lambda device: free)
    row, moments = 50 * transformer.cfg.kv_bytes_per_token(torch.float32), 8 * transformer.cfg.parameters
    free = int(moments + 10.5 * row / CACHE_SHARE)
    choose = functools.partial(parallel.choose_cache, transformer, transformer)
    assert choose(50, 64, {"step": 0}, ALONE) == Capacity(10, 50)  # AdamW's moments will want memory too
    assert choose(50, 8, {"step": 0}, ALONE) == Capacity(8, 50)
    alike = {"step": 5}  # on every rank, by the one with the least memory
    assert choose(50, 64, alike, SmallNeighbour(0, 2, torch.device("cpu"), None)) == Capacity(3, 50)
    assert alike["cache"] == [3, 50, 64]
    kept = {"step": 5, "cache": [10, 50, 64]}
    free = int(3.5 * row / CACHE_SHARE)
    assert choose(50, 64, kept, ALONE) == Capacity(10, 50)
    assert choose(50, 32, kept, ALONE) == Capacity(3, 50)  # asked for something else
    free = row // 2
    with pytest.raises(InputError, match="one sequence of 50 tokens"):
        choose(50, 64, {"step": 5}, ALONE)


def test_a_step_in_which_no_group_teaches_changes_no_weight(folder, one_rank, tmp_path):
    cfg = settings(folder, tmp_path, "grpo.kl_coef=0", "grpo.stage1.max_steps=1", "grpo.stage2.max_steps=0")
    train(cfg, one_rank, lambda *_: dict.fromkeys(("correct", "format", "total"), 0.1))
    (step,) = records(tmp_path / "grpo/metrics.jsonl")
    assert (step["groups_with_variance"], step["grad_norm"], step["loss"]) == (0, 0.0, 0.0)
    before, after = (load_model(f)[0] for f in (folder / "model", tmp_path / "grpo/stage1/model"))
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))


def test_weights_that_have_diverged_end_rl_with_one_line_where_they_are_sampled(folder, tmp_path):
    cfg = settings(folder, tmp_path, "grpo.kl_coef=0")
    cfg = dataclasses.replace(cfg, grpo=dataclasses.replace(cfg.grpo, learning_rate=1e38))
    with pytest.raises(InputError, match=r"^the model's logits are not finite"):
        train(cfg, ALONE)
    assert not (tmp_path / "grpo/stage2").exists()


def test_rewards_whose_mean_is_beyond_any_float_are_null_in_the_metrics_and_end_no_run(folder, tmp_path):
    cfg = settings(folder, tmp_path, "grpo.kl_coef=0", "grpo.stage1.max_steps=1", "grpo.stage2.max_steps=0")
    train(cfg, ALONE, lambda *_: dict.fromkeys(("correct", "format", "total"), 1e308))
    (step,) = records(tmp_path / "grpo/metrics.jsonl")
    assert step["reward"] is None


@pytest.mark.parametrize("chat_format", ["qwen2.5", "qwen3", "chatml"])
def test_cold_start_teaches_answer_and_end_of_turn_after_the_prompt_of_rl(
    folder, tmp_path, monkeypatch, chat_format
):
    given = [
        f"data.trajectories={tmp_path / 't.jsonl'}",
        f"chat_format={chat_format}",
        "sft.sequences_per_step=2",
    ]
    cfg = settings(folder, tmp_path / "run", *given, "sft.epochs=1", "system=Be brief.")
    asked, answer = [question("b"), question("c")], "<think>\nIt is.\n</think>\n<answer>A</answer>"
    messages = [question_messages(q, cfg.answer_style, cfg.instruction, cfg.system) for q in asked]
    taught = [Trajectory(q.id, q.id, prompt, answer) for q, prompt in zip(asked, messages, strict=True)]
    write_jsonl(tmp_path / "t.jsonl", map(to_json, taught))
    packed = []
    monkeypatch.setattr("fleming.training.packing.pack", lambda *pairs: packed.append(pairs) or pack(*pairs))
    train_sft.train(cfg, ALONE)
    _, tokenizer = load_model(folder / "model", chat_format=chat_format)
    ((prompts, responses),) = packed
    assert sorted(prompts) == sorted(prompt_ids(q, tokenizer, cfg) for q in asked)
    assert (
        responses == [[*tokenizer.encode(answer), tokenizer.end_of_turn]] * 2
    )  # not the template's newline after it


def test_a_compiled_policy_samples_uncompiled(folder, tmp_path, monkeypatch):
    """A cache grows and a closure changes with every block: compiled, they would use up the versions torch allows."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    train(
        settings(
            folder,
            tmp_path,
            "grpo.stage2.max_steps=0",
            "grpo.kl_coef=0.01",
            "parallel.compile=true",
            "grpo.stage1={max_steps: 5, group_size: 4}",
        ),
        ALONE,
    )
    # A block with gradients and without, and what is done to a chunk's logits in forward and in backward.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 4
