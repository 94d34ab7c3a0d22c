"""The sampler: counted noise, the log-probs of what was sampled from, stop ids, groups."""

import functools

import numpy as np
import pytest
import torch
from support.models import PlainTokenizer, hf_model, ours

from fleming.training.logprobs import token_logprobs
from fleming.training.packing import pack
from fleming.training.parallel import compile_blocks
from model import decoding
from model.decoding import ROUND_TOKENS, Decoder
from model.drawing import SamplingParams, draw, filtered_logits, sample_noise
from model.errors import InputError
from model.kv_cache import Capacity, choose_capacity, free_memory
from model.sampler import Sampler, _Batch

PROMPTS = [[3, 14, 15], [9, 2, 6, 5, 3, 5, 8, 9], [3, 14, 15], [7]]
KEYS = ["a", "b", "c", "d"]
SHAPES = pytest.mark.parametrize(
    "fixed_shapes", [False, True], ids=["exact", "fixed"]
)  # a CPU's way, CUDA's way


@pytest.fixture(scope="module")
def transformer():
    return ours(hf_model("qwen3"))


def test_the_same_call_twice_gives_the_same_samples(transformer):
    sampler = Sampler(transformer, PlainTokenizer(101, {4}), max_num_seqs=5)
    params = SamplingParams(n=4, max_new_tokens=20, seed=7)
    assert sampler.generate(PROMPTS, params, KEYS) == sampler.generate(PROMPTS, params, KEYS)


@SHAPES
@pytest.mark.parametrize("name", ["qwen2-tied", "qwen2-untied", "qwen3", "llama"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampler_and_scorer_agree_on_log_probs(name, temperature, fixed_shapes):
    transformer = ours(hf_model(name))
    transformer.vocab_limit = 90  # eleven ids do not exist in the tokenizer
    sampler = Sampler(transformer, PlainTokenizer(90, {4}), max_num_seqs=6, fixed_shapes=fixed_shapes)
    params = SamplingParams(n=5, max_new_tokens=40, temperature=temperature)
    groups = sampler.generate(PROMPTS, params, KEYS)
    flat = [(p, s) for p, group in zip(PROMPTS, groups, strict=True) for s in group]
    batch = pack([p for p, _ in flat], [s.token_ids for _, s in flat])
    scored, _ = token_logprobs(transformer, batch, temperature)
    sampled = torch.tensor([x for _, s in flat for x in s.logprobs])
    torch.testing.assert_close(scored, sampled, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        (scored - sampled).exp(), torch.ones_like(sampled), atol=1e-5, rtol=0
    )  # the first ratio


@SHAPES
@torch.no_grad()
def test_in_other_batches_and_orders_tokens_first_differ_only_at_a_boundary_of_the_cdf(
    transformer, fixed_shapes
):
    params = SamplingParams(n=6, max_new_tokens=60, seed=3)
    tokenizer = PlainTokenizer(101, {4})
    alone = [
        Sampler(transformer, tokenizer, 1).generate([p], params, [k])[0]
        for p, k in zip(PROMPTS, KEYS, strict=True)
    ]
    order = [2, 0, 3, 1]
    together = Sampler(transformer, tokenizer, 7, fixed_shapes=fixed_shapes).generate(
        [PROMPTS[i] for i in order], params, [KEYS[i] for i in order]
    )
    compared = 0
    for place, i in enumerate(order):
        for j, (a, b) in enumerate(zip(alone[i], together[place], strict=True)):
            compared += 1
            if a.token_ids == b.token_ids:
                continue
            t = next(t for t, (x, y) in enumerate(zip(a.token_ids, b.token_ids, strict=False)) if x != y)
            context = torch.tensor([PROMPTS[i] + a.token_ids[:t]])
            cdf = transformer(context)[0, -1].double().softmax(-1).cumsum(-1)
            u = sample_noise(params.seed, KEYS[i], j, params.max_new_tokens)[t] * cdf[-1]
            assert (cdf - u).abs().min() < 1e-5
    assert compared == 24


def test_noise_is_a_prefix_whatever_the_length_and_differs_by_seed_key_and_sample():
    assert (sample_noise(0, "q", 1, 100)[:10] == sample_noise(0, "q", 1, 10)).all()
    rows = [
        sample_noise(*key, 8).tobytes()
        for key in [(0, "q", 1), (1, "q", 1), (0, "r", 1), (0, "q", 2), (0, 1, 1)]
    ]
    assert len(set(rows)) == 5


def test_draws_follow_the_distribution_and_never_hit_an_impossible_id():
    logits = torch.tensor([[float("-inf"), 0.0, 1.0, float("-inf"), 2.0, float("-inf")]]).expand(200_000, -1)
    noise = torch.from_numpy(np.random.default_rng(0).random(200_000))
    ids, logprobs, _ = draw(logits, noise, SamplingParams())
    expected = logits[0].double().softmax(-1)
    counts = torch.bincount(ids, minlength=6).double()
    assert counts[[0, 3, 5]].sum() == 0
    spread = (expected * (1 - expected) / 200_000).sqrt()
    assert ((counts / 200_000 - expected).abs() <= 4 * spread).all()
    torch.testing.assert_close(logprobs, expected[ids].log())


def test_the_largest_noise_picks_the_last_possible_id():
    logits = torch.tensor([[0.0, 3.0, -1.0, float("-inf"), float("-inf")]])
    ids, *_ = draw(logits, torch.tensor([np.nextafter(1.0, 0.0)], dtype=torch.float64), SamplingParams())
    assert ids.item() == 2
    ids, *_ = draw(
        logits, torch.tensor([1.0], dtype=torch.float64), SamplingParams()
    )  # u rounded up to the total
    assert ids.item() == 2


def test_the_entropy_is_that_of_the_distribution_drawn_from():
    logits = torch.tensor([[0.1, 2.0, -1.0, 0.7, -30.0]])
    noise = torch.tensor([0.3], dtype=torch.float64)
    for settings in ({}, {"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.6}, {"top_k": 1}):
        params = SamplingParams(**settings)
        p = filtered_logits(logits, params)[0].softmax(-1)
        p = p[p > 0]
        assert draw(logits, noise, params)[2].item() == pytest.approx(-(p * p.log()).sum().item(), abs=1e-12)


def test_top_k_and_top_p_keep_what_they_say():
    p = torch.tensor([[0.5, 0.25, 0.15, 0.07, 0.03]])

    def kept(**settings):
        (row,) = filtered_logits(p.log(), SamplingParams(**settings)) > float("-inf")
        return row.tolist()

    equal = filtered_logits(torch.zeros(1, 4), SamplingParams(top_p=0.5))  # a half is reached exactly by two
    assert (equal > float("-inf")).sum() == 2
    assert kept(top_k=2) == [True, True, False, False, False]
    assert kept(top_p=0.7) == [True, True, False, False, False]
    assert kept(top_p=0.75) == [True, True, False, False, False]
    assert kept(top_p=0.76) == [True, True, True, False, False]
    assert kept(top_p=0.01) == [True, False, False, False, False]
    assert kept(top_k=3, top_p=0.85) == [
        True,
        True,
        True,
        False,
        False,
    ]  # 0.75 / 0.9 < 0.85: renormalised after top_k
    assert kept() == [True] * 5


@pytest.mark.parametrize(
    "settings", [{"min_p": 0.1}, {"min_p": 0.02, "top_k": 9}, {"min_p": 0.3, "top_p": 0.8}]
)
def test_filters_keep_what_transformers_keeps(settings):
    from transformers.generation import logits_process

    warpers = {"top_k": "TopKLogitsWarper", "top_p": "TopPLogitsWarper", "min_p": "MinPLogitsWarper"}
    logits = torch.randn(50, 40, generator=torch.Generator().manual_seed(0)) * 2
    theirs = logits / 0.7
    for name, warper in warpers.items():
        if name in settings:
            theirs = getattr(logits_process, warper)(settings[name])(None, theirs)
    ours = filtered_logits(logits, SamplingParams(temperature=0.7, **settings))
    assert torch.equal(ours > float("-inf"), theirs > float("-inf"))
    assert (ours > float("-inf")).sum() < logits.numel() / 2


def test_log_probs_are_of_the_filtered_distribution(transformer):
    groups = Sampler(transformer, PlainTokenizer(101)).generate(
        [[1, 2, 3]], SamplingParams(n=50, max_new_tokens=1, top_k=2)
    )
    by_id = {s.token_ids[0]: s.logprobs[0] for s in groups[0]}
    assert len(by_id) == 2
    assert sum(np.exp(x) for x in by_id.values()) == pytest.approx(1)


@SHAPES
def test_stop_ids_end_a_sample_and_belong_to_it(transformer, fixed_shapes):
    sampler = Sampler(transformer, PlainTokenizer(101, {4}), max_num_seqs=4, fixed_shapes=fixed_shapes)
    params = SamplingParams(n=8, max_new_tokens=30, stop_token_ids=(5, 6))
    for sample in (s for group in sampler.generate(PROMPTS, params) for s in group):
        stops = [i for i, t in enumerate(sample.token_ids) if t in (4, 5, 6)]
        if sample.finish_reason == "stop":
            assert stops == [len(sample.token_ids) - 1]
        else:
            assert (stops, len(sample.token_ids)) == ([], 30)
        assert len(sample.logprobs) == len(sample.token_ids)


def test_each_unique_prompt_is_prefilled_once(transformer, monkeypatch):
    packs = []
    original = _Batch._run_prompts
    monkeypatch.setattr(
        _Batch, "_run_prompts", lambda self, prompts: (packs.extend(prompts), original(self, prompts))
    )
    Sampler(transformer, PlainTokenizer(101, {4}), max_num_seqs=5).generate(
        PROMPTS, SamplingParams(n=8, max_new_tokens=12)
    )
    assert sorted(packs) == sorted({tuple(p) for p in PROMPTS})


def test_ids_beyond_the_tokenizer_are_never_sampled(transformer):
    groups = Sampler(transformer, PlainTokenizer(20)).generate(
        [[1], [2]], SamplingParams(n=40, max_new_tokens=10)
    )
    assert max(t for group in groups for s in group for t in s.token_ids) < 20


def test_bad_input_is_refused_before_anything_runs(transformer):
    sampler = Sampler(transformer, PlainTokenizer(101))
    for prompts, message in (([[]], "empty"), ([[1], [101]], "vocabulary"), ([[1] * 500], "context of 512")):
        with pytest.raises(InputError, match=message):
            sampler.generate(prompts, SamplingParams(max_new_tokens=20))
    with pytest.raises(InputError, match="1 prompt keys for 2 prompts"):
        sampler.generate([[1], [2]], SamplingParams(), ["one"])
    with pytest.raises(InputError, match="top_p"):
        SamplingParams(top_p=0)


def test_fixed_shapes_come_from_a_short_list_and_the_host_hears_once_in_sixteen_tokens(
    transformer, monkeypatch
):
    rounds, shapes = [], set()
    original, step = Decoder.round, Decoder._step
    monkeypatch.setattr(
        Decoder,
        "round",
        lambda self, state, *rest: (rounds.append(state.shape[1]), original(self, state, *rest))[1],
    )
    monkeypatch.setattr(Decoder, "_step", lambda self, *shape: (shapes.add(shape), step(self, *shape)))
    sampler = Sampler(transformer, PlainTokenizer(101, {4}), max_num_seqs=64, fixed_shapes=True)
    groups = sampler.generate(PROMPTS, SamplingParams(n=16, max_new_tokens=100), KEYS)
    longest = max(len(s.token_ids) for group in groups for s in group)
    assert len(rounds) == -(-(longest - 1) // ROUND_TOKENS)  # the first token comes of the prompt
    assert (
        rounds[0] == sum(len(s.token_ids) > 1 for group in groups for s in group) == 63
    )  # one stopped at its first
    assert min(rounds) < 32  # rows left
    assert {rows for rows, _ in shapes} <= set(range(8, 65, 8))
    assert len({span for _, span in shapes}) == 1


def test_compiled_blocks_decode_the_same(transformer, monkeypatch):
    # What torch makes of the graphs is its own affair, and takes half a minute; test_cuda.py has it make kernels.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    params = SamplingParams(n=4, max_new_tokens=20, seed=5)
    tokenizer = PlainTokenizer(101, {4})
    plain = Sampler(transformer, tokenizer, 8, fixed_shapes=True).generate(PROMPTS, params, KEYS)
    compiled = ours(hf_model("qwen3"))
    compiled.load_state_dict(transformer.state_dict())
    compile_blocks(compiled)
    found = Sampler(compiled, tokenizer, 8, fixed_shapes=True).generate(PROMPTS, params, KEYS)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 1
    for group, its in zip(plain, found, strict=True):
        assert [s.token_ids for s in group] == [s.token_ids for s in its]
        for a, b in zip(group, its, strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-5)


def test_on_token_hears_every_token_of_a_sample_and_none_behind_its_end(transformer):
    for fixed_shapes in (False, True):
        heard = []
        sampler = Sampler(transformer, PlainTokenizer(101, {4}), fixed_shapes=fixed_shapes)
        ((sample,),) = sampler.generate([[5, 6]], SamplingParams(max_new_tokens=70), on_token=heard.append)
        assert heard == sample.token_ids


@SHAPES
def test_a_cache_of_its_own_size_changes_no_token_and_refuses_what_it_has_no_room_for(
    transformer, fixed_shapes
):
    params = SamplingParams(n=5, max_new_tokens=30, seed=2)
    settings = {"max_num_seqs": 20, "fixed_shapes": fixed_shapes}
    plain = Sampler(transformer, PlainTokenizer(101, {4}), **settings).generate(PROMPTS, params, KEYS)
    sized = Sampler(transformer, PlainTokenizer(101, {4}), capacity=Capacity(20, 38), **settings)
    assert sized.generate(PROMPTS, params, KEYS) == plain
    with pytest.raises(InputError, match="length of 38"):
        sized.generate([[1], [1] * 9], params)


def test_the_cache_takes_as_many_rows_as_the_memory_holds(transformer):
    cfg = transformer.cfg
    row = 100 * cfg.kv_bytes_per_token(torch.float32)
    assert choose_capacity(cfg, torch.float32, 100, most=64, memory=1e12) == Capacity(64, 100)
    assert choose_capacity(cfg, torch.float32, 100, most=64, memory=7.5 * row) == Capacity(7, 100)
    assert choose_capacity(cfg, torch.bfloat16, 100, most=64, memory=7.5 * row) == Capacity(15, 100)
    with pytest.raises(InputError, match="100 tokens"):
        choose_capacity(cfg, torch.float32, 100, most=64, memory=0.5 * row)
    assert 0 < free_memory(torch.device("cpu")) < 1 << 50


def test_no_prompts_give_no_samples(transformer):
    assert Sampler(transformer, PlainTokenizer(101)).generate([], SamplingParams()) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize("fixed_shapes", [False, True], ids=["exact", "fixed"])
def test_logits_that_are_not_finite_are_one_line_where_they_are_sampled(value, temperature, fixed_shapes):
    """One weight of the output matrix: one id's logits, which greedy sampling would never choose at -inf."""
    transformer = ours(hf_model("qwen2-untied"))
    sampler = Sampler(transformer, PlainTokenizer(101), fixed_shapes=fixed_shapes)
    params = SamplingParams(n=3, max_new_tokens=4, temperature=temperature)
    sampler.generate([[5, 6]], params)
    with torch.no_grad():
        transformer.lm_head.weight[7] = value * torch.ones(64)
    with pytest.raises(InputError, match="logits are not finite") as error:
        sampler.generate([[5, 6]], params)
    assert "\n" not in str(error.value)


def test_logits_that_break_while_decoding_are_found_there(monkeypatch):
    """One id's, which greedy sampling would never choose: its log-probs would stay finite."""
    transformer, seen = ours(hf_model("qwen2-untied")), []

    def broken(*arguments):
        logits = decoding_logits(*arguments)
        return logits.index_fill(-1, torch.tensor([7]), float("-inf"))

    decoding_logits = decoding.next_logits
    monkeypatch.setattr(decoding, "next_logits", broken)
    sampler = Sampler(transformer, PlainTokenizer(101))
    with pytest.raises(InputError, match="logits are not finite"):
        sampler.generate([[5, 6]], SamplingParams(max_new_tokens=4, temperature=0), on_token=seen.append)
    assert len(seen) == 1
