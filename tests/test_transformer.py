"""The transformer against transformers, on every architecture that is supported."""

import torch
from conftest import PlainTokenizer

from model.attention import PackedCausal
from model.sampler import Sampler, SamplingParams


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
        ids = torch.tensor([prompt])  # the mask is given, or transformers would take id 0 in the prompt for padding
        expected = hf.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=64,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
        assert sample.token_ids == expected


@torch.no_grad()
def test_logits_through_the_cache_equal_transformers(pair, monkeypatch):
    """Prefill and 30 decode steps, fed the same tokens: each step's logits against one full forward."""
    transformer, hf = pair
    seen = []
    step = Sampler._step
    monkeypatch.setattr(Sampler, "_step", lambda self, logits, *rest: (seen.append(logits), step(self, logits, *rest)))
    prompt = torch.randint(0, 101, (9,)).tolist()
    ((sample,),) = Sampler(transformer, PlainTokenizer(101)).generate([prompt], SamplingParams(max_new_tokens=30))
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
