"""What is sampled is what is scored, to the last bit, in any batch: model/exact.py on a CPU."""

import random

import pytest
import torch
import torch.nn.functional as F
from support.models import TINY, PlainTokenizer, hf_model, ours
from torch.utils._python_dispatch import TorchDispatchMode

import model.exact
import model.exact_check
from fleming.settings import Config, ParallelConfig
from fleming.training.logprobs import token_logprobs
from fleming.training.packing import pack
from fleming.training.parallel import join_world, make_exact
from model import tiles
from model.attention import NewestTokens
from model.drawing import draw
from model.errors import InputError
from model.exact import KEY_TILES, keys_read, pad_tokens, row_tile, rows_computed
from model.exact_check import key_tile_that_holds
from model.kv_cache import Capacity
from model.sampler import Sampler, SamplingParams
from model.scoring import score_tokens

VOCABULARY = 101  # odd, as the widths of the tiny models are: nothing comes out even by chance


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def few_pairs(monkeypatch):
    monkeypatch.setattr(tiles, "PAIRS", 32)  # the models are small


EVERY = (*KEY_TILES, tiles.KEYS)


@pytest.fixture(scope="module", params=[*TINY])
def hf(request):
    return hf_model(request.param, max_position_embeddings=2048)


def exact(hf, key_tile: int = KEY_TILES[0]):
    transformer = ours(hf).eval()
    transformer.key_tile = key_tile
    return transformer


def prompts_of(*lengths: int) -> list[list[int]]:
    rng = random.Random(0)
    return [[rng.randrange(VOCABULARY) for _ in range(n)] for n in lengths]


PROMPTS = prompts_of(1, 5, 17, 33, 64, 130)
TOKENIZER = PlainTokenizer(VOCABULARY, {3})


def told(groups):
    return [[(s.token_ids, s.logprobs) for s in group] for group in groups]


@pytest.mark.parametrize("key_tile", [KEY_TILES[0], tiles.KEYS])
def test_a_sample_is_the_same_in_any_batch_and_scores_what_it_was_drawn_with(hf, threads, key_tile):
    new = 8 if key_tile == tiles.KEYS else 24  # it is slow
    transformer, params = exact(hf, key_tile), SamplingParams(n=2, max_new_tokens=new, seed=1)
    groups = Sampler(transformer, TOKENIZER, max_num_seqs=5).generate(PROMPTS, params)
    for rows, capacity in ((1, None), (12, None), (3, Capacity(3, 1024))):
        again = Sampler(transformer, TOKENIZER, rows, capacity).generate(PROMPTS, params)
        assert told(again) == told(groups)

    drawn = torch.tensor([logp for group in groups for s in group for logp in s.logprobs])
    prompts = [prompt for prompt in PROMPTS for _ in range(params.n)]
    responses = [s.token_ids for group in groups for s in group]
    with torch.no_grad():
        packed, _ = token_logprobs(transformer, pack(prompts, responses))
        halves = [token_logprobs(transformer, pack(prompts[i::2], responses[i::2]))[0] for i in (0, 1)]
        alone = [
            token_logprobs(transformer, pack([p], [r]))[0] for p, r in zip(prompts, responses, strict=True)
        ]
    assert torch.equal(packed, drawn)
    assert torch.equal(torch.cat(alone), drawn)
    assert torch.equal(torch.cat(halves).sort().values, drawn.sort().values)


def test_hundreds_of_rows_at_once_give_what_a_few_do():
    transformer, params = exact(hf_model("qwen2-tied")), SamplingParams(max_new_tokens=12, seed=1)
    prompts = prompts_of(*random.Random(2).choices([1, 5, 17, 33], k=300))
    few = Sampler(transformer, TOKENIZER, 7).generate(prompts, params)
    for rows in (64, 256, 300):
        assert told(Sampler(transformer, TOKENIZER, rows).generate(prompts, params)) == told(few)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_score_tokens_are_the_numbers_of_sampler_and_scorer(hf, temperature):
    transformer = exact(hf)
    params = SamplingParams(max_new_tokens=300, temperature=temperature)
    for (sample,), prompt in zip(
        Sampler(transformer, PlainTokenizer(VOCABULARY), 4).generate(PROMPTS, params), PROMPTS, strict=True
    ):
        scored = score_tokens(transformer, prompt + sample.token_ids, temperature)
        assert scored[len(prompt) - 1 :].tolist() == sample.logprobs
        with torch.no_grad():
            logits = hf(torch.tensor([prompt + sample.token_ids])).logits[0, :-1] / temperature
        ids = torch.tensor(prompt + sample.token_ids)[1:, None]
        assert torch.allclose(scored, logits.log_softmax(-1).gather(-1, ids)[:, 0], atol=1e-4)


def test_score_tokens_of_what_was_drawn_greedily_are_those_at_temperature_1():
    transformer = exact(hf_model("llama"))
    assert torch.equal(score_tokens(transformer, PROMPTS[2], 0.0), score_tokens(transformer, PROMPTS[2]))


@pytest.mark.parametrize("ids", [[], [5], [5, -1], [5, VOCABULARY], [5] * 3000])
def test_score_tokens_refuses_what_is_no_text(ids):
    with pytest.raises(InputError, match=r"expected 2 to [0-9]+ ids"):
        score_tokens(exact(hf_model("llama")), ids)


def test_a_sample_alone_before_a_single_key_head_is_that_of_a_batch(threads):
    transformer = exact(hf_model("llama", num_key_value_heads=1, num_attention_heads=2, hidden_size=32))
    params = SamplingParams(max_new_tokens=40)
    together = Sampler(transformer, TOKENIZER, 6).generate(PROMPTS, params)
    assert told(Sampler(transformer, TOKENIZER, 1).generate(PROMPTS, params)) == told(together)


@pytest.mark.parametrize("key_tile", [KEY_TILES[0], tiles.KEYS])
def test_a_cache_of_any_size_and_steps_of_fixed_shapes_change_no_bit(hf, key_tile):
    transformer, params = exact(hf, key_tile), SamplingParams(max_new_tokens=20, seed=3)
    prompts = prompts_of(180, 3, 177)
    plain = told(Sampler(transformer, TOKENIZER).generate(prompts, params))
    for more in ({"capacity": Capacity(2, 200)}, {"fixed_shapes": True}):
        assert told(Sampler(transformer, TOKENIZER, **more).generate(prompts, params)) == plain


@pytest.mark.parametrize("number", [2, 3, 4, 8])
def test_threads_divide_an_operation_on_each_element_into_whole_lanes(number):
    """PyTorch gives it one thread for each 32,768 elements or part of them, and each as many elements."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    for width in (31, 64, 100, 256, 384):
        gates = 3 * torch.randn(2600, width)
        for rows in (row_tile(), 320, 384, 736, 1088):
            count = rows_computed(rows, width)
            assert rows <= count <= rows + 33 * row_tile()
            some = F.silu(gates[:count])[:rows]
            assert torch.equal(some, F.silu(gates[: rows_computed(2000, width)])[:rows]), (rows, width)
    torch.set_num_threads(before)


def test_one_thread_and_two_give_the_same(hf):
    transformer, found, before = exact(hf), [], torch.get_num_threads()
    for number in (1, 2):
        torch.set_num_threads(number)
        params = SamplingParams(n=2, max_new_tokens=30)
        found.append(told(Sampler(transformer, TOKENIZER, 4).generate(PROMPTS, params)))
    torch.set_num_threads(before)
    assert found[0] == found[1]


def test_sequences_of_several_key_blocks_are_exact_too():
    transformer = exact(hf_model("llama", max_position_embeddings=2048))
    prompts, params = prompts_of(500, 509, 700), SamplingParams(max_new_tokens=20)
    (first, *_), *others = groups = Sampler(transformer, TOKENIZER, 2).generate(prompts, params)
    assert len(first.token_ids) > 12 or len(others[0][0].token_ids) > 3  # some cross the edge of a block
    for prompt, (sample,) in zip(prompts, groups, strict=True):
        with torch.no_grad():
            (logp, _) = token_logprobs(transformer, pack([prompt], [sample.token_ids]))
        assert logp.tolist() == sample.logprobs


@pytest.mark.parametrize(("heads", "key_heads", "width"), [(9, 3, 16), (14, 2, 8), (4, 4, 32), (6, 1, 24)])
def test_any_number_of_heads_may_read_one_key_head(heads, key_heads, width, threads):
    shape = {"num_attention_heads": heads, "num_key_value_heads": key_heads, "head_dim": width}
    transformer = exact(hf_model("llama", hidden_size=heads * width, **shape))
    groups = Sampler(transformer, TOKENIZER, 4).generate(PROMPTS, SamplingParams(max_new_tokens=25))
    with torch.no_grad():
        logp, _ = token_logprobs(transformer, pack(PROMPTS, [group[0].token_ids for group in groups]))
    assert logp.tolist() == [x for group in groups for x in group[0].logprobs]


@pytest.mark.parametrize("key_tile", EVERY)
def test_no_length_of_a_sequence_is_special(key_tile):
    """A token's bits are the same in a longer sequence, with more and with fewer keys read: at every edge there is."""
    transformer = exact(hf_model("qwen3", max_position_embeddings=2048), key_tile)
    edges = [n + d for n in (16, 32, 64, 128, 192, 208, 256, 384, 400, 512, 704, 896) for d in (-1, 0, 1)]
    tokens = torch.tensor(prompts_of(1100))
    with torch.no_grad():
        whole = transformer(tokens)
        for length in edges:
            assert torch.equal(transformer(tokens[:, :length]), whole[:, :length]), length


def test_a_forward_of_more_tokens_gives_the_bits_of_one_of_fewer(hf, threads):
    transformer = exact(hf)
    tokens = torch.tensor(prompts_of(150))
    with torch.no_grad():
        whole = transformer(tokens)
        for length in (1, 2, 15, 16, 17, 63, 100, 149):
            assert torch.equal(transformer(tokens[:, :length]), whole[:, :length])
        several = transformer(tokens.expand(3, -1))
    assert all(torch.equal(row, whole[0]) for row in several)


@pytest.mark.parametrize("key_tile", EVERY)
def test_it_stays_transformers_model(hf, key_tile):
    tokens = torch.tensor(prompts_of(77))
    with torch.no_grad():
        assert torch.allclose(exact(hf, key_tile)(tokens), hf(tokens).logits, atol=1e-5)


@pytest.mark.parametrize("key_tile", [KEY_TILES[0], tiles.KEYS])
def test_gradients_are_those_without_padding(hf, key_tile):
    gradients = []
    for tile in (0, key_tile):
        transformer = exact(hf, tile)
        logp, _ = token_logprobs(transformer, pack(PROMPTS, [[5, 6, 7]] * len(PROMPTS)), temperature=0.7)
        logp.sum().backward()
        gradients.append([p.grad for p in transformer.parameters()])
    for plain, padded in zip(*gradients, strict=True):
        assert torch.allclose(plain, padded, atol=1e-6 * max(1.0, plain.abs().max().item()), rtol=1e-5)


@pytest.mark.parametrize("key_tile", [KEY_TILES[0], tiles.KEYS])
@pytest.mark.parametrize("vocabulary", [3001, 50_000])
def test_what_a_row_draws_does_not_depend_on_the_others(vocabulary, threads, key_tile):
    torch.manual_seed(0)
    logits, noise = 4 * torch.randn(70, vocabulary), torch.rand(70, dtype=torch.float64)
    params = SamplingParams(temperature=0.7)
    ids, logprobs, entropies = draw(logits, noise, params, key_tile)
    for n in (1, 2, 7, 33):
        again = draw(logits[-n:].clone(), noise[-n:], params, key_tile)
        assert all(map(torch.equal, again, (ids[-n:], logprobs[-n:], entropies[-n:])))
    expected = (logits.double() / 0.7).log_softmax(-1)
    assert torch.allclose(logprobs, expected.gather(-1, ids[:, None])[:, 0], atol=1e-5)
    assert torch.allclose(entropies, -(expected.exp() * expected).sum(-1), atol=1e-9)


def test_lengths_and_padding():
    assert [keys_read(n, 512) for n in (1, 200, 512, 513)] == [512, 512, 512, 1024]
    assert [keys_read(n, 16) for n in (1, 16, 17, 192)] == [16, 16, 32, 192]
    assert [keys_read(n, 16) for n in (193, 383, 384, 385, 512)] == [384, 384, 384, 400, 512]
    assert [keys_read(n, 16) for n in (513, 704, 705, 896, 1024)] == [528, 704, 896, 896, 1024]
    assert keys_read(77, 0) == 77
    assert pad_tokens(torch.ones(3, 1), 64).shape == (row_tile(), 1)
    assert pad_tokens(torch.ones(3, 5), 64).shape == (3, row_tile())
    assert pad_tokens(torch.ones(3, 1), 64).sum() == 3


def test_the_check_passes_here_and_leaves_the_model_as_it_was(hf):
    transformer = exact(hf, 0)
    assert key_tile_that_holds(transformer) == KEY_TILES[0]
    assert transformer.key_tile == 0
    assert len(transformer.layers) == transformer.cfg.num_hidden_layers


def test_where_halves_are_cut_elsewhere_whole_blocks_of_keys_are_read(monkeypatch):
    monkeypatch.setattr(model.exact, "KEYS_IN_A_ROW", 240)  # as if the processor added up so many in a row
    assert key_tile_that_holds(exact(hf_model("llama"), 0)) == KEY_TILES[-1]


@pytest.mark.parametrize(("setting", "key_tile"), [("auto", KEY_TILES[0]), ("tiles", tiles.KEYS), ("off", 0)])
def test_the_setting_says_how_all_models_of_a_run_compute(setting, key_tile):
    actor, policy = (exact(hf_model("llama"), 0) for _ in range(2))
    with join_world(ParallelConfig(device="cpu")) as world:
        make_exact(actor, [policy, None], Config(exact=setting), world)
    assert (actor.key_tile, policy.key_tile) == (key_tile, key_tile)


@pytest.mark.parametrize("broken", ["rows", "tile"])
def test_the_check_sees_what_would_break_it(monkeypatch, broken):
    transformer = exact(hf_model("llama"), 0)
    if broken == "rows":  # as many rows as come
        monkeypatch.setattr(model.exact, "row_tile", lambda: 1)
    else:  # a decode step by other products
        made = NewestTokens.__init__
        monkeypatch.setattr(
            NewestTokens,
            "__init__",
            lambda self, places, keys, span, key_tile: made(self, places, keys, span),
        )
    assert key_tile_that_holds(transformer) == 0


class Products(TorchDispatchMode):
    """Notes the shapes of all products, by what is multiplied with."""

    def __init__(self):
        super().__init__()
        self.shapes = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if (name := function._schema.name) in ("aten::mm", "aten::addmm", "aten::bmm"):
            left, right = args[-2:]
            self.shapes.add((name, *left.shape, *right.shape))
        return function(*args, **kwargs or {})


def test_by_tiles_all_products_have_the_shapes_that_one_token_has(hf):
    """What a device's library chooses its kernels by: so the claim does not hang on this processor's."""
    transformer, found = exact(hf, tiles.KEYS), []
    for prompts, new in (([[7]], 2), (prompts_of(200, 3, 140), 9)):
        with Products() as products, torch.no_grad():
            groups = Sampler(transformer, TOKENIZER, 3).generate(
                prompts, SamplingParams(n=2, max_new_tokens=new)
            )
            pairs = [(p, s.token_ids) for p, group in zip(prompts, groups, strict=True) for s in group]
            token_logprobs(transformer, pack(*zip(*pairs, strict=True)))
        found.append(products.shapes)
    assert found[0] == found[1]
    assert {shape[1] for shape in found[0] if shape[0] != "aten::bmm"} == {tiles.ROWS}
    assert sum(shape[0] == "aten::bmm" for shape in found[0]) == 2  # with the keys, and with the values


def test_gradients_of_shared_prompts_add_up_in_one_order_whatever_the_threads():
    """Rollouts of a group take their prompt's places many times: of several threads each may come first."""
    torch.manual_seed(0)
    transformer = exact(hf_model("qwen3", hidden_size=128, num_attention_heads=4, num_key_value_heads=2))
    prompts = [torch.randint(0, 100, (60,)).tolist() for _ in range(3)]
    responses = [torch.randint(0, 100, (40 + i,)).tolist() for i in range(24)]
    packed = pack([prompt for prompt in prompts for _ in range(8)], responses)
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 2, 2, 2):
        torch.set_num_threads(threads)
        transformer.zero_grad()
        logp, _ = token_logprobs(transformer, packed)
        logp.sum().backward()
        found.append([p.grad.clone() for p in transformer.parameters()])
    torch.set_num_threads(before)
    for again in found[1:]:
        assert all(map(torch.equal, again, found[0]))
