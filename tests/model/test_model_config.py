"""ModelConfig against transformers' own config classes, and every refusal."""

import json
import math

import pytest
import torch
from support.models import TINY, hf_model

from model.errors import InputError
from model.files import read_object
from model.huggingface.config import ARCHITECTURES, ModelConfig, load_config
from model.huggingface.rope import Llama3, Yarn

# config.json of Qwen2.5-0.5B-Instruct in the spelling of transformers 4: the windows stand there and are off.
QWEN25 = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "hidden_size": 896,
    "initializer_range": 0.02,
    "intermediate_size": 4864,
    "max_position_embeddings": 32768,
    "max_window_layers": 21,
    "model_type": "qwen2",
    "num_attention_heads": 14,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
    "vocab_size": 151936,
}
YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}  # as Qwen's model card says
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 8192}  # as in Llama 3.1's config.json


def without(raw, *keys):
    return {key: value for key, value in raw.items() if key not in keys}


@pytest.mark.parametrize("name", sorted(TINY))
def test_every_number_is_the_one_that_transformers_uses(name):
    hf = hf_model(name, rope_theta=54321.0).config
    ours = ModelConfig.from_hf(json.loads(hf.to_json_string(use_diff=False)), "config.json")
    for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"):
        assert getattr(ours, key) == getattr(hf, key)
    for key in (
        "num_key_value_heads",
        "max_position_embeddings",
        "rms_norm_eps",
        "tie_word_embeddings",
        "model_type",
    ):
        assert getattr(ours, key) == getattr(hf, key)
    assert ours.head_dim == (getattr(hf, "head_dim", None) or hf.hidden_size // hf.num_attention_heads)
    assert ours.rope_theta == 54321.0 == hf.rope_parameters["rope_theta"]
    assert (ours.attention_bias, ours.qk_norm) == (name.startswith("qwen2"), name == "qwen3")


@pytest.mark.parametrize("kind", sorted(ARCHITECTURES))
def test_absent_keys_take_the_defaults_of_transformers(kind):
    import transformers

    shape = {"vocab_size": 64, "hidden_size": 512, "intermediate_size": 96, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    hf = transformers.AutoConfig.for_model(kind, **shape)
    ours = ModelConfig.from_hf({"model_type": kind, **shape}, "config.json")
    assert ours.rope_theta == hf.rope_parameters["rope_theta"] == 10000.0
    for key in ("rms_norm_eps", "max_position_embeddings", "tie_word_embeddings", "initializer_range"):
        assert getattr(ours, key) == getattr(hf, key)
    # 512 / 4 is Qwen3's constant 128 as well, so look at another width too.
    wide = ModelConfig.from_hf({"model_type": kind, **shape, "hidden_size": 768}, "config.json")
    assert (ours.head_dim, wide.head_dim) == (128, 128 if kind == "qwen3" else 192)


def test_both_spellings_of_transformers_mean_the_same():
    new = without(QWEN25, "rope_theta", "torch_dtype") | {
        "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
        "layer_types": ["full_attention"] * 24,
        "dtype": "bfloat16",
    }
    old = ModelConfig.from_hf(QWEN25, "config.json")
    assert old == ModelConfig.from_hf(new, "config.json")
    assert (old.rope_theta, old.head_dim, old.attention_bias) == (1e6, 64, True)


def in_new_spelling(raw):
    rope = {**raw["rope_scaling"], "rope_type": raw["rope_scaling"]["type"], "rope_theta": raw["rope_theta"]}
    return without(raw, "rope_scaling", "rope_theta") | {"rope_parameters": without(rope, "type")}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, Yarn(4.0, 32768, 0.1 * math.log(4) + 1)),
        ({"factor": 4, "attention_factor": 1}, Yarn(4.0, 32768, 1.0)),
        ({"mscale": 0.7, "attention_factor": None}, Yarn(4.0, 32768, 0.1 * math.log(4) + 1)),
        ({"mscale": 0.707, "mscale_all_dim": 0.707}, Yarn(4.0, 32768, 1.0)),
        (
            {"beta_fast": 16, "beta_slow": None, "truncate": False},
            Yarn(4.0, 32768, 0.1 * math.log(4) + 1, 16, 1, False),
        ),
        ({"factor": 1.0}, Yarn(1.0, 32768, 1.0)),
        ({"truncate": None, "rope_type": "yarn"}, Yarn(4.0, 32768, 0.1 * math.log(4) + 1, truncate=False)),
        ({"partial_rotary_factor": 1.0, "rope_theta": 1e6}, Yarn(4.0, 32768, 0.1 * math.log(4) + 1)),
    ],
)
def test_yarn_is_read_alike_from_both_spellings(keys, expected):
    raw = QWEN25 | {"rope_scaling": YARN | keys}
    for spelled in (raw, in_new_spelling(raw), raw | in_new_spelling(raw)):
        config = ModelConfig.from_hf(spelled, "config.json")
        assert (config.yarn, config.rope_theta) == (expected, 1e6)
    assert ModelConfig.from_hf(QWEN25, "config.json").yarn is None


def test_llama_3_1_is_read_alike_from_both_spellings_and_written_for_both():
    raw = QWEN25 | {"max_position_embeddings": 131072, "rope_scaling": LLAMA3}
    new = without(raw, "rope_scaling") | {"rope_parameters": LLAMA3 | {"rope_theta": 1e6}}
    for spelled in (raw, new, raw | new):
        config = ModelConfig.from_hf(spelled, "config.json")
        assert config.llama3 == Llama3(8.0, 1.0, 4.0, 8192)
        assert (config.yarn, config.max_position_embeddings) == (None, 131072)
        written = config.to_hf(torch.bfloat16)
        assert written["rope_scaling"] == LLAMA3
        assert written["rope_parameters"] == LLAMA3 | {"rope_theta": 1e6}
        assert ModelConfig.from_hf(written, "config.json") == config


def test_with_dual_chunk_attention_the_context_ends_where_it_would_begin_to_differ():
    chunks = {
        "chunk_size": 262144,
        "local_size": 8192,
        "original_max_position_embeddings": 262144,
    }  # as in -1M
    raw = QWEN25 | {"max_position_embeddings": 1010000, "dual_chunk_attention_config": chunks}
    assert ModelConfig.from_hf(raw, "config.json").max_position_embeddings == 262144 - 8192
    small = raw | {"max_position_embeddings": 32768}
    assert ModelConfig.from_hf(small, "config.json").max_position_embeddings == 32768


@pytest.mark.parametrize(
    ("given", "keys", "factor", "original", "usable"),
    [
        (32768, {}, 4.0, 32768, 131072),  # Qwen2.5 with the card's advice
        (40960, {}, 4.0, 32768, 131072),  # Qwen3 likewise
        (131072, {}, 4.0, 32768, 131072),
        (200000, {}, 4.0, 32768, 200000),  # trained further than the factor says: the file knows
        (2000, {"original_max_position_embeddings": None}, 1.5, 2000, 3000),
        (163840, {"factor": None, "original_max_position_embeddings": 4096}, 40.0, 4096, 163840),
    ],
)
def test_the_usable_context_is_the_longer_of_the_files_and_the_stretched_one(
    given, keys, factor, original, usable
):
    raw = QWEN25 | {"max_position_embeddings": given, "rope_scaling": YARN | {"factor": factor} | keys}
    for spelled in (raw, in_new_spelling(raw)):
        config = ModelConfig.from_hf(spelled, "config.json")
        assert (config.yarn.factor, config.yarn.original_max_position_embeddings) == (factor, original)
        assert config.max_position_embeddings == usable
        assert ModelConfig.from_hf(config.to_hf(torch.bfloat16), "config.json") == config


@pytest.mark.parametrize("kind", sorted(ARCHITECTURES))
@pytest.mark.parametrize("spelling", ["fresh", "old", "new"])
def test_exported_yarn_is_read_alike_by_transformers_and_by_us(kind, spelling, tmp_path):
    import transformers
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    keys = {"factor": 2.5, "mscale": 0.7, "mscale_all_dim": 1.3, "truncate": False, "beta_fast": 20}
    raw = without(QWEN25, "architectures") | {"model_type": kind, "rope_scaling": YARN | keys, "head_dim": 64}
    raw = in_new_spelling(raw) if spelling == "new" else raw
    (tmp_path / "config.json").write_text(json.dumps(raw))
    expected = ROPE_INIT_FUNCTIONS["yarn"](transformers.AutoConfig.from_pretrained(tmp_path))
    config = load_config(tmp_path)
    if spelling == "fresh":
        config = ModelConfig(
            **{key: getattr(config, key) for key in config.__dataclass_fields__ if key != "raw"}
        )
    exported = config.to_hf(torch.float16)
    (tmp_path / "config.json").write_text(json.dumps(exported))
    assert load_config(tmp_path) == config
    found = ROPE_INIT_FUNCTIONS["yarn"](transformers.AutoConfig.from_pretrained(tmp_path))
    assert torch.equal(found[0], expected[0])
    assert found[1] == expected[1] != 1
    # transformers 4 knows no rope_parameters; before 4.56 it took the ratio of the contexts for the factor.
    old = exported["rope_scaling"]
    assert (old["rope_type"], old["factor"], exported["rope_theta"]) == ("yarn", 2.5, 1e6)
    assert exported["max_position_embeddings"] / old["original_max_position_embeddings"] == 2.5


@pytest.mark.parametrize("kind", sorted(ARCHITECTURES))
@pytest.mark.parametrize("spelling", ["fresh", "old", "new"])
def test_an_exported_config_is_read_alike_by_transformers_and_by_us(kind, spelling, tmp_path):
    import transformers

    raw = without(QWEN25, "architectures") | {
        "model_type": kind,
        "head_dim": 80,
        "rope_theta": 77777.0,
        "note": [1],
    }
    if spelling == "new":
        raw = without(raw, "rope_theta", "torch_dtype") | {"rope_parameters": {"rope_theta": 77777.0}}
    config = ModelConfig.from_hf(raw, "config.json")
    if spelling == "fresh":
        config = ModelConfig(
            **{key: getattr(config, key) for key in config.__dataclass_fields__ if key != "raw"}
        )
    exported = config.to_hf(torch.float16)
    (tmp_path / "config.json").write_text(json.dumps(exported))
    hf = transformers.AutoConfig.from_pretrained(tmp_path)
    assert hf.architectures == [ARCHITECTURES[kind]]
    assert (hf.rope_parameters["rope_theta"], hf.dtype, hf.head_dim) == (77777.0, torch.float16, 80)
    assert (hf.tie_word_embeddings, hf.num_key_value_heads) == (True, 2)
    assert exported["rope_theta"] == 77777.0  # transformers 4 looks here and nowhere else
    assert load_config(tmp_path) == config
    assert spelling == "fresh" or {
        k: v for k, v in exported.items() if k in raw and "dtype" not in k
    } == without(raw, "torch_dtype")


@pytest.mark.parametrize(
    "harmless",
    [
        {"use_sliding_window": True, "max_window_layers": 24},  # no layer is left to have a window
        {"use_sliding_window": True, "sliding_window": None, "max_window_layers": 0},
        {"sliding_window": 16, "max_window_layers": 0},
        {"rope_scaling": None},
        {"rope_scaling": {"type": "default"}},
        {"rope_scaling": {}, "original_max_position_embeddings": 16384},
        {"quantization_config": None, "partial_rotary_factor": 1.0, "attention_bias": True, "head_dim": None},
        {"pretraining_tp": 2, "use_cache": False, "auto_map": {}},
    ],
)
def test_keys_that_change_no_number_are_ignored(harmless):
    assert ModelConfig.from_hf(QWEN25 | harmless, "config.json") == ModelConfig.from_hf(QWEN25, "config.json")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "mixtral"}, ["model_type", "mixtral", "qwen2, qwen3, llama"]),
        ({"model_type": None}, ["model_type", "null"]),
        (
            {"architectures": ["Qwen2ForSequenceClassification"]},
            ["architectures", "Qwen2ForSequenceClassification"],
        ),
        (
            {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
            ["rope_scaling", "original_max_position_embeddings", "missing"],
        ),
        ({"rope_scaling": LLAMA3 | {"factor": 0.5}}, ["rope_scaling: factor", "0.5", "at least 1"]),
        ({"rope_scaling": LLAMA3 | {"low_freq_factor": 4.0}}, ["low_freq_factor", "less than", "4.0"]),
        ({"rope_scaling": LLAMA3 | {"beta_fast": 32}}, ["rope_scaling: beta_fast", "no such key"]),
        ({"rope_scaling": {"rope_type": "longrope"}}, ["rope_scaling.rope_type", "longrope", "llama3"]),
        ({"dual_chunk_attention_config": 3}, ["dual_chunk_attention_config", "3", "object"]),
        (
            {"dual_chunk_attention_config": {"chunk_size": 8, "local_size": 8}},
            ["dual_chunk_attention_config: local_size", "less than chunk_size"],
        ),
        ({"rope_scaling": {"type": "linear", "factor": 8.0}}, ["rope_scaling.type", "linear"]),
        ({"rope_scaling": {"type": ["yarn"], "factor": 8.0}}, ["rope_scaling.type", '["yarn"]']),
        (
            {"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0]}},
            ["rope_scaling.rope_type", "longrope"],
        ),
        (
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e6}},
            ["rope_parameters.rope_type", "dynamic"],
        ),
        (
            {"rope_parameters": {"full_attention": {"rope_type": "default"}}},
            ["rope_parameters", "full_attention"],
        ),
        ({"rope_parameters": {"rope_theta": 1e4}}, ["rope_theta", "10000.0", "1000000.0"]),
        ({"rope_parameters": {"rope_theta": 1e6, "partial_rotary_factor": 0.5}}, ["rope_parameters", "0.5"]),
        ({"rope_scaling": "linear"}, ["rope_scaling", "linear"]),
        ({"rope_scaling": YARN | {"rope_type": "default"}}, ["rope_scaling.type", "yarn", "rope_type"]),
        ({"rope_scaling": YARN | {"factor": 0.5}}, ["rope_scaling: factor is 0.5", "at least 1"]),
        ({"rope_scaling": YARN | {"factor": "4"}}, ["rope_scaling: factor", '"4"', "positive number"]),
        ({"rope_scaling": {"type": "yarn"}}, ["rope_scaling: key factor is missing"]),
        (
            {"rope_scaling": YARN | {"factor": None, "original_max_position_embeddings": 65536}},
            ["rope_scaling: factor is 0.5"],
        ),
        (
            {"rope_scaling": YARN | {"original_max_position_embeddings": 1.5}},
            ["rope_scaling: original_max", "1.5"],
        ),
        ({"rope_scaling": YARN | {"attention_factor": -1}}, ["rope_scaling: attention_factor", "-1"]),
        ({"rope_scaling": YARN | {"beta_fast": 0}}, ["rope_scaling: beta_fast", "0", "positive number"]),
        (
            {"rope_scaling": YARN | {"beta_slow": 33}},
            ["rope_scaling: beta_fast is 32", "at least beta_slow, 33"],
        ),
        ({"rope_scaling": YARN | {"mscale": True}}, ["rope_scaling: mscale", "true"]),
        ({"rope_scaling": YARN | {"truncate": 0}}, ["rope_scaling: truncate", "0", "true or false"]),
        (
            {"rope_scaling": YARN | {"mrope_section": [16, 24, 24]}},
            ["rope_scaling: mrope_section", "no such key"],
        ),
        ({"rope_scaling": YARN | {"partial_rotary_factor": 0.5}}, ["rope_scaling", "no partial rotation"]),
        ({"rope_scaling": YARN | {"rope_theta": 1e4}}, ["rope_theta", "10000.0", "1000000.0"]),
        ({"rope_scaling": YARN, "rope_theta": 1}, ["rope_theta", "1.0", "more than 1"]),
        ({"rope_scaling": YARN, "original_max_position_embeddings": 4096}, ["original_max", "4096", "32768"]),
        (
            {"rope_scaling": YARN, "rope_parameters": {"rope_theta": 1e6}},
            ["rope_scaling", "same", "rope_parameters"],
        ),
        (
            {"rope_scaling": YARN, "rope_parameters": YARN | {"factor": 2}},
            ["rope_scaling", "rope_parameters"],
        ),
        ({"partial_rotary_factor": 0.5}, ["partial_rotary_factor", "0.5"]),
        ({"use_sliding_window": True}, ["use_sliding_window", "true"]),
        ({"use_sliding_window": True, "max_window_layers": 0}, ["use_sliding_window", "true"]),
        ({"layer_types": ["full_attention"] * 23 + ["sliding_attention"]}, ["layer_types"]),
        ({"layer_types": 3}, ["layer_types", "3"]),
        ({"hidden_act": "gelu"}, ["hidden_act", "gelu"]),
        ({"mlp_bias": True}, ["mlp_bias", "true"]),
        ({"quantization_config": {"bits": 4}}, ["quantization_config", "bits"]),
        ({"vocab_size": "151936"}, ["vocab_size", '"151936"', "positive integer"]),
        ({"vocab_size": 0}, ["vocab_size", "0", "positive integer"]),
        ({"num_hidden_layers": -1}, ["num_hidden_layers", "-1"]),
        ({"num_hidden_layers": True}, ["num_hidden_layers", "true"]),
        ({"hidden_size": 896.0}, ["hidden_size", "896.0"]),
        ({"rms_norm_eps": 0.0}, ["rms_norm_eps", "0.0"]),
        ({"tie_word_embeddings": 1}, ["tie_word_embeddings", "1", "true or false"]),
        ({"num_key_value_heads": 4}, ["num_key_value_heads", "4", "divisor of 14"]),
        ({"num_attention_heads": 13, "num_key_value_heads": 13}, ["head_dim"]),
        ({"head_dim": 63}, ["head_dim", "63", "even"]),
    ],
)
def test_what_would_change_the_numbers_is_refused_by_name(change, named, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(QWEN25 | change))
    with pytest.raises(InputError) as error:
        load_config(tmp_path)
    message = str(error.value)
    assert "\n" not in message
    for part in (str(path), *named):
        assert part in message


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rope_scaling": YARN | {"mscale_all_dim": float("nan")}}, ["rope_scaling: mscale_all_dim", "NaN"]),
        ({"rope_theta": float("inf")}, ["rope_theta", "Infinity"]),
    ],
)
def test_a_number_that_is_not_finite_is_refused_in_a_file_and_by_name_without_one(change, named, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(QWEN25 | change))
    with pytest.raises(
        InputError, match=rf"config\.json: not strict JSON: {named[1]} is not a finite number"
    ):
        load_config(tmp_path)
    with pytest.raises(InputError) as error:
        ModelConfig.from_hf(QWEN25 | change, str(path))
    for part in (str(path), *named):
        assert part in str(error.value)


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
def test_a_bias_on_attention_is_refused_where_the_architecture_may_have_one(kind):
    raw = without(QWEN25, "architectures") | {"model_type": kind}
    assert not ModelConfig.from_hf(raw | {"attention_bias": False}, "config.json").attention_bias
    with pytest.raises(InputError, match=r"config\.json: attention_bias is true"):
        ModelConfig.from_hf(raw | {"attention_bias": True}, "config.json")


@pytest.mark.parametrize(
    "key", [key for key in QWEN25 if key.startswith(("vocab", "hidden_size", "inter", "num_"))]
)
def test_a_missing_key_is_named(key):
    with pytest.raises(InputError, match=f"folder/config.json: key {key} is missing"):
        ModelConfig.from_hf(without(QWEN25, key), "folder/config.json")


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "nul", '{"a": \xff}', "[" * 100_000, '"\\ud800"', "1" * 5000]
)
def test_a_file_that_is_no_json_object_is_one_line_naming_it(text, tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as error:
        read_object(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"config\.json: cannot read: .*No such file"):
        load_config(tmp_path)
