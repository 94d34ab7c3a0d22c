"""The transformer against transformers, on every architecture that is supported."""

import pytest
import torch
import torch.nn.functional as F
from support.models import PlainTokenizer, hf_model, ours
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import model.sampler as sampler_room
from model import decoding
from model.attention import PackedCausal
from model.drawing import SamplingParams, draw
from model.huggingface.config import ModelConfig
from model.kv_cache import Capacity, KVCache
from model.sampler import Sampler
from model.transformer import frequencies, rotary

YARNS = {
    "as Qwen's card says": {"factor": 4.0},
    "attention factor": {"factor": 4.0, "attention_factor": 1.7},
    "both slopes": {"factor": 40.0, "mscale": 0.7, "mscale_all_dim": 1.9},
    "one slope": {"factor": 2.5, "mscale": 0.7},
    "ramp not rounded": {"factor": 3.0, "truncate": False, "beta_fast": 9.0, "beta_slow": 0.3},
    "ramp of no width": {"factor": 8.0, "beta_fast": 2.0, "beta_slow": 2.0, "truncate": False},
    "factor from the contexts": {"factor": None},
}


def yarn_pair(name, original=64, **keys):
    """Return (ours, transformers') with stretched rotary positions."""
    hf = hf_model(
        name, rope_parameters={"rope_type": "yarn", "original_max_position_embeddings": original, **keys}
    )
    return ours(hf), hf


@torch.no_grad()
def test_logits_equal_transformers_at_every_position(pair):
    transformer, hf = pair
    tokens = torch.randint(0, 101, (3, 40))
    torch.testing.assert_close(transformer(tokens), hf(tokens).logits, atol=1e-5, rtol=0)


@torch.no_grad()
def test_packed_logits_equal_each_sequence_on_its_own(pair):
    transformer, hf = pair
    lengths = [7, 1, 19, 4]
    sequences = [torch.randint(0, 101, (n,)) for n in lengths]
    cu_seqlens = torch.tensor([0, *torch.tensor(lengths).cumsum(0)], dtype=torch.int32)
    positions = torch.cat([torch.arange(n) for n in lengths])[None]
    packed = transformer(torch.cat(sequences)[None], positions, PackedCausal(cu_seqlens, max(lengths)))
    alone = torch.cat([hf(s[None]).logits[0] for s in sequences])
    torch.testing.assert_close(packed[0], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_greedy_tokens_equal_generate_for_64_tokens(pair):
    transformer, hf = pair
    prompts = [torch.randint(0, 101, (n,)).tolist() for n in (5, 17, 11)]
    sampler = Sampler(transformer, PlainTokenizer(101), max_num_seqs=2)
    groups = sampler.generate(prompts, SamplingParams(max_new_tokens=64, temperature=0))
    for prompt, (sample,) in zip(prompts, groups, strict=True):
        ids = torch.tensor(
            [prompt]
        )  # the mask is given, or transformers would take id 0 in the prompt for padding
        expected = hf.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=64,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
        assert sample.token_ids == expected


@pytest.mark.parametrize("name", ["qwen2-untied", "qwen3"])
@pytest.mark.parametrize("keys", YARNS.values(), ids=list(YARNS))
@torch.no_grad()
def test_yarn_logits_equal_transformers_within_and_far_beyond_the_context_of_pretraining(name, keys):
    transformer, hf = yarn_pair(name, **keys)
    tokens, positions = torch.randint(0, 101, (3, 40)), torch.tensor([[0], [50], [5000]]) + torch.arange(40)
    expected = hf(tokens, position_ids=positions).logits
    torch.testing.assert_close(transformer(tokens, positions), expected, atol=1e-5, rtol=0)
    raw = hf.config.to_dict()
    rope = raw.pop("rope_parameters")
    old = raw | {
        "rope_theta": rope.pop("rope_theta"),
        "rope_scaling": {"type": rope.pop("rope_type"), **rope},
    }
    transformer.cfg = ModelConfig.from_hf(old, "config.json")  # transformers 4's spelling
    torch.testing.assert_close(transformer(tokens, positions), expected, atol=1e-5, rtol=0)
    assert (
        hf_model(name)(tokens, position_ids=positions).logits - expected
    ).abs().max() > 0.05  # not for nothing


@pytest.mark.parametrize("keys", YARNS.values(), ids=list(YARNS))
@pytest.mark.parametrize(
    ("head_dim", "theta", "original"), [(128, 1e6, 32768), (64, 1e4, 131072), (24, 1e4, 64)]
)
def test_yarn_frequencies_are_bitwise_those_of_transformers(head_dim, theta, original, keys):
    """And cos and sin too, in bf16 as well, up to the last position of Qwen2.5's long context."""
    import transformers
    from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

    rope = {"rope_type": "yarn", "rope_theta": theta, "original_max_position_embeddings": original, **keys}
    hf = transformers.Qwen3Config(head_dim=head_dim, max_position_embeddings=131072, rope_parameters=rope)
    cfg, embedding = ModelConfig.from_hf(hf.to_dict(), "config.json"), Qwen3RotaryEmbedding(hf)
    expected, attention_factor = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["yarn"](hf)
    assert torch.equal(frequencies(cfg), expected)
    assert cfg.yarn.attention_factor == attention_factor
    positions = torch.tensor([[0, 1, 31, 32767, 32768, 131071]])
    for dtype in (torch.float32, torch.bfloat16):
        cos, sin = (x[..., 0, :] for x in rotary(cfg, positions, dtype))
        expected_cos, expected_sin = embedding(torch.zeros(1, dtype=dtype), positions)
        assert torch.equal(cos, expected_cos)
        assert torch.equal(sin[..., head_dim // 2 :], expected_sin[..., head_dim // 2 :])
        assert torch.equal(sin[..., : head_dim // 2], -expected_sin[..., : head_dim // 2])


LLAMA3S = {
    "Llama 3.1": (128, 5e5, {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}, 8192),
    "Llama 3.2": (64, 5e5, {"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}, 8192),
    "odd": (24, 1e4, {"factor": 2.5, "low_freq_factor": 0.7, "high_freq_factor": 9.0}, 300),
}


@pytest.mark.parametrize("name", LLAMA3S)
def test_llama_3_1s_frequencies_are_bitwise_those_of_transformers(name):
    import transformers

    head_dim, theta, keys, original = LLAMA3S[name]
    rope = {"rope_type": "llama3", "rope_theta": theta, "original_max_position_embeddings": original, **keys}
    hf = transformers.LlamaConfig(
        hidden_size=4 * head_dim, num_attention_heads=4, max_position_embeddings=131072, rope_parameters=rope
    )
    expected, _ = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"](hf)
    ours = frequencies(ModelConfig.from_hf(hf.to_dict(), "config.json"))
    assert torch.equal(ours, expected)
    plain = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    ratio = ours / plain  # 1 for fast pairs, 1 / factor for slow ones, and some between
    assert ((ratio > 0.99).any(), (ratio < 1.01 / keys["factor"]).any()) == (True, True)
    assert ((ratio < 0.99) & (ratio > 1.01 / keys["factor"])).any()


@torch.no_grad()
def test_llama_3_1s_logits_equal_transformers_within_and_beyond_the_context_of_pretraining():
    rope = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0}
    rope |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    hf = hf_model("llama", rope_parameters=rope)
    tokens, positions = torch.randint(0, 101, (3, 40)), torch.tensor([[0], [50], [5000]]) + torch.arange(40)
    expected = hf(tokens, position_ids=positions).logits
    torch.testing.assert_close(ours(hf)(tokens, positions), expected, atol=1e-5, rtol=0)
    plain = hf_model("llama")(tokens, position_ids=positions).logits
    assert (plain - expected).abs().max() > 0.05  # not for nothing


def test_yarn_keeps_the_fast_pairs_and_slows_the_slow_ones_down():
    """The paper's two ends, by hand: Qwen2.5-7B's pairs turn 32 times in 32,768 at i = 23.6 and once at i = 39.6."""
    shape = {"vocab_size": 64, "hidden_size": 512, "intermediate_size": 8, "num_hidden_layers": 1}
    shape |= {"num_attention_heads": 4, "num_key_value_heads": 4, "rope_theta": 1e6, "model_type": "qwen2"}
    plain, scaling = frequencies(ModelConfig.from_hf(shape, "config.json")), {"type": "yarn", "factor": 4.0}
    ratio = frequencies(ModelConfig.from_hf(shape | {"rope_scaling": scaling}, "config.json")) / plain
    assert torch.equal(ratio[:24], torch.ones(24))
    assert torch.equal(ratio[40:], torch.full((24,), 0.25))
    assert (ratio[23:40].diff() < 0).all()


@pytest.mark.parametrize("fixed_shapes", [False, True], ids=["exact", "fixed"])
@torch.no_grad()
def test_logits_through_the_cache_equal_transformers(pair, monkeypatch, fixed_shapes):
    """Prefill and 30 decode steps, fed the same tokens: each step's logits against one full forward."""
    compare_decoding_with_a_full_forward(*pair, monkeypatch, fixed_shapes)


@pytest.mark.parametrize("fixed_shapes", [False, True], ids=["exact", "fixed"])
@torch.no_grad()
def test_yarn_logits_through_the_cache_equal_transformers_beyond_the_context_of_pretraining(
    monkeypatch, fixed_shapes
):
    compare_decoding_with_a_full_forward(
        *yarn_pair("qwen3", original=16, factor=4.0), monkeypatch, fixed_shapes
    )


def compare_decoding_with_a_full_forward(transformer, hf, monkeypatch, fixed_shapes):
    seen = []

    def spy(logits, *rest):
        seen.append(logits.clone())
        return draw(logits, *rest)

    for room in (
        sampler_room,
        decoding,
    ):  # a prompt's first token is drawn in the one, all others in the other
        monkeypatch.setattr(room, "draw", spy)
    prompt = torch.randint(0, 101, (9,)).tolist()
    sampler = Sampler(transformer, PlainTokenizer(101), fixed_shapes=fixed_shapes)
    ((sample,),) = sampler.generate([prompt], SamplingParams(max_new_tokens=30))
    expected = hf(torch.tensor([prompt + sample.token_ids])).logits[0, len(prompt) - 1 : -1]
    torch.testing.assert_close(torch.cat(seen), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_half_precision_follows_transformers_order_of_casts(pair):
    """Bitwise at position 0, where attention has one key and no kernel can differ; to bf16 rounding elsewhere."""
    transformer, hf = pair
    tokens = torch.randint(0, 101, (2, 24))
    got, expected = transformer.bfloat16()(tokens).float(), hf.bfloat16()(tokens).logits.float()
    assert torch.equal(got[:, 0], expected[:, 0])
    assert (got - expected).abs().mean() < 0.02 * expected.abs().mean()


def test_counted_parameters_are_those_of_the_built_model(pair):
    transformer, _ = pair
    assert transformer.cfg.parameters == sum(p.numel() for p in transformer.parameters())
    for block in transformer.layers:
        assert transformer.cfg.block_parameters == sum(p.numel() for p in block.parameters())


@pytest.mark.parametrize("scored", [16, 3])
def test_counted_operations_are_those_of_the_matrix_products(pair, scored):
    """Against torch's own counter on plain attention, which multiplies all T^2 pairs; and a backward costs twice."""
    transformer, _ = pair
    tokens = torch.randint(0, 101, (2, 16))
    expected = transformer.cfg.forward_flops(tokens=2 * 16, attended=2 * 16 * 16, scored=2 * scored)
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward:
            logits = transformer(tokens, readout=lambda x, matrix: F.linear(x[:, -scored:], matrix))
        with FlopCounterMode(display=False) as backward:
            logits.sum().backward()
    assert forward.get_total_flops() == expected
    assert backward.get_total_flops() == 2 * expected


def test_counted_operations_of_a_packed_sequence_add_up_token_by_token(pair):
    """A causal sequence at once, T (T + 1) / 2 pairs, costs what decoding it costs: token t meets t keys."""
    cfg = pair[0].cfg
    at_once = cfg.forward_flops(tokens=9, attended=9 * 10 // 2, scored=9)
    assert at_once == sum(cfg.forward_flops(tokens=1, attended=t, scored=1) for t in range(1, 10))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_counted_bytes_of_a_token_are_those_of_the_cache(pair, dtype):
    cfg = pair[0].cfg
    cache = KVCache(cfg, Capacity(rows=3, places=7), dtype, torch.device("cpu"))
    assert 3 * 7 * cfg.kv_bytes_per_token(dtype) == cache.keys.nbytes + cache.values.nbytes
