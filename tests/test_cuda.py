"""What only CUDA runs: flash attention over packed sequences, bf16 compute over fp32 masters, offload, compilation.

Every test is skipped where there is no GPU; the same code in fp32 on the CPU is tested everywhere else.
"""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from support.models import PlainTokenizer, hf_folder, hf_model, ours
from support.places import ROOT
from support.runs import SMALL, records, torchrun
from support.workers import sharded

from fleming.settings import Config, ParallelConfig
from fleming.training.logprobs import token_logprobs
from fleming.training.packing import pack
from fleming.training.parallel import (
    compile_blocks,
    gather_weights,
    join_world,
    load_sharded,
    make_exact,
    sampling_copy,
)
from model import Sampler, SamplingParams, load_model, tiles
from model.attention import PackedCausal, causal, varlen_attn
from model.decoding import Decoder
from model.kv_cache import Capacity, KVCache

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def world():
    with join_world(ParallelConfig(device="cuda")) as world:
        yield world


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("transformers")  # which draws the weights
    folder = tmp_path_factory.mktemp("model")
    hf_folder(folder, "qwen3", head_dim=64)
    return folder


@pytest.mark.parametrize("kv_heads", [1, 2, 8])
def test_flash_attention_over_a_pack_is_attention_over_each_sequence(kv_heads):
    assert varlen_attn is not None
    lengths = [1, 7, 128, 65, 300]
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, sum(lengths), heads, 64, generator=g) for heads in (8, kv_heads, kv_heads))
    cu_seqlens = torch.tensor([0, *torch.tensor(lengths).cumsum(0)], dtype=torch.int32)
    half = [x.to("cuda", torch.bfloat16) for x in (q, k, v)]
    packed = PackedCausal(cu_seqlens.cuda(), max(lengths))(*half).float().cpu()
    for begin, end in zip(cu_seqlens[:-1].tolist(), cu_seqlens[1:].tolist(), strict=True):
        alone = causal(*(x[:, begin:end].bfloat16().float() for x in (q, k, v)))
        torch.testing.assert_close(packed[:, begin:end], alone, atol=2e-2, rtol=2e-2)


def test_loss_and_gradient_in_bf16_are_near_those_in_fp32(world, folder):
    model, _ = load_sharded(folder, Config(), world)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    loss = sharded.backward(model, sharded.sequences(12), world)
    exact, _ = load_model(folder)
    total = sum(len(r) for _, r in sharded.sequences(12))
    logp, _ = token_logprobs(exact, pack(*zip(*sharded.sequences(12), strict=True)))
    (-logp.sum() / total).backward()
    assert loss == pytest.approx(-logp.sum().item() / total, rel=1e-2)
    a, b = sharded.gradient(model).cpu(), torch.cat([p.grad.flatten() for p in exact.parameters()])
    assert torch.nn.functional.cosine_similarity(a, b, dim=0) > 0.999
    assert (a - b).norm() / b.norm() < 0.05


def test_the_sampling_copy_is_bitwise_the_masters_cast(world, folder):
    model, _ = load_sharded(folder, Config(), world)
    copy = sampling_copy(model, world)
    addresses = [p.data_ptr() for p in copy.parameters()]
    gather_weights(model, copy)
    assert addresses == [p.data_ptr() for p in copy.parameters()]
    for p, q in zip(model.parameters(), copy.parameters(), strict=True):
        assert q.dtype == torch.bfloat16
        assert torch.equal(p.full_tensor().bfloat16(), q)


PROMPTS = [[5, 6, 7], [9] * 40, [11, 12]]


def drawn(copy, rows: int):
    params = SamplingParams(n=8, max_new_tokens=60, seed=1)
    return Sampler(copy, PlainTokenizer(250, {3}), max_num_seqs=rows).generate(PROMPTS, params)


def sampled_and_scored(groups, model, world) -> tuple[torch.Tensor, torch.Tensor]:
    model.vocab_limit = 250
    pairs = [(p, s) for p, group in zip(PROMPTS, groups, strict=True) for s in group]
    batch = pack([p for p, _ in pairs], [s.token_ids for _, s in pairs]).to(world.device)
    with torch.no_grad():
        scored, _ = token_logprobs(model, batch)
    return torch.tensor([x for _, s in pairs for x in s.logprobs], device=world.device), scored


def test_sampler_and_scorer_agree_in_bf16(world, folder):
    model, _ = load_sharded(folder, Config(), world)
    copy = sampling_copy(model, world)
    gather_weights(model, copy)
    sampled, scored = sampled_and_scored(drawn(copy, 16), model, world)
    difference = (sampled - scored).abs()
    assert difference.mean() < 0.01
    assert difference.max() < 0.2


def test_by_tiles_sampler_and_scorer_agree_to_the_last_bit(world, folder):
    model, _ = load_sharded(folder, Config(), world)
    copy = sampling_copy(model, world)
    make_exact(copy, [model], Config(exact="tiles"), world)
    assert copy.key_tile == model.key_tile == tiles.KEYS
    groups = drawn(copy, 16)
    assert drawn(copy, 3) == groups
    sampled, scored = sampled_and_scored(groups, model, world)
    assert torch.equal(sampled, scored)


@pytest.mark.parametrize("compiled", [False, True])
def test_replayed_graphs_draw_what_the_exact_steps_draw(world, folder, compiled):
    """Rows leave and are refilled; tokens may first differ where bf16 rounding meets a boundary of the CDF."""
    model, _ = load_sharded(folder, Config(), world)
    copy = sampling_copy(model, world)
    gather_weights(model, copy)
    if compiled:
        compile_blocks(copy)
    params = SamplingParams(n=16, max_new_tokens=60, seed=1)
    settings = {"tokenizer": PlainTokenizer(250, {3}), "max_num_seqs": 32}
    graphs = Sampler(copy, **settings).generate(PROMPTS, params)
    exact = Sampler(copy, **settings, fixed_shapes=False).generate(PROMPTS, params)
    pairs = [(a, b) for x, y in zip(graphs, exact, strict=True) for a, b in zip(x, y, strict=True)]
    assert sum(a.token_ids[:5] == b.token_ids[:5] for a, b in pairs) > 0.8 * len(pairs)
    for a, b in pairs:
        assert a.logprobs[0] == pytest.approx(b.logprobs[0], abs=1e-6)


def test_a_round_waits_for_the_device_once(world, folder):
    model, _ = load_sharded(folder, Config(), world)
    copy = sampling_copy(model, world)
    gather_weights(model, copy)
    cache = KVCache(copy.cfg, Capacity(16, 256), torch.bfloat16, world.device)
    decoder = Decoder(copy, cache, SamplingParams(), 250, fixed_shapes=True)
    state, noise = np.full((2, 16), 5), np.random.default_rng(0).random((16, 16))
    first = decoder.round(state, noise)  # captures
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            again = decoder.round(state, noise)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert sum("synchroniz" in str(w.message) for w in caught) <= 1
    assert np.isfinite(again[1]).all()
    assert [ids[0] for ids in first[0]] == [ids[0] for ids in again[0]]


@pytest.mark.parametrize(
    "settings", [{"offload": True}, {"activation_checkpointing": True}, {"compile": True}]
)
def test_ten_losses_are_the_same_however_memory_is_saved(world, folder, settings):
    losses = {}
    for name, parallel in (("plain", ParallelConfig()), ("saved", ParallelConfig(**settings))):
        model, _ = load_sharded(folder, Config(parallel=parallel), world)
        losses[name], _ = sharded.train(model, world)
    assert losses["saved"] == pytest.approx(losses["plain"], rel=2e-3)
    assert losses["saved"][-1] < losses["saved"][0]


def test_a_bf16_forward_is_near_the_fp32_one_for_each_architecture():
    pytest.importorskip("transformers")
    for name in sharded.MODELS:
        exact = ours(hf_model(name, **({"head_dim": 32} if name == "qwen3" else {})))
        tokens = torch.randint(0, 101, (2, 50), generator=torch.Generator().manual_seed(0))
        wanted = exact(tokens)
        got = exact.to("cuda", torch.bfloat16)(tokens.cuda()).float().cpu()
        assert (got - wanted).norm() / wanted.norm() < 0.03


@pytest.mark.slow
def test_the_small_run_on_cuda(tmp_path):
    config = [
        "--config",
        str(ROOT / "configs/demo.yaml"),
        *SMALL,
        f"run_dir={tmp_path}",
        "base_model.head_dim=32",
    ]
    config += ["parallel.device=cuda"]
    subprocess.run([sys.executable, str(ROOT / "synth_data.py"), *config], check=True, cwd=ROOT)
    for script in ("train_sft.py", "train_grpo.py"):
        result = torchrun(ROOT / script, *config, processes=torch.cuda.device_count())
        assert result.returncode == 0, result.stderr[-3000:]
    steps = records(tmp_path / "grpo/metrics.jsonl")
    assert len(steps) == 9
    assert all(r["sampler_scorer_mean"] < 0.02 for r in steps)
