"""Tiny models of each architecture with transformers' own random weights, ours with the same, and folders of them."""

import pytest
import torch
from support.chat import write_tokenizer

from model import load_model
from model.errors import InputError
from model.huggingface.config import ModelConfig
from model.transformer import Transformer

TINY = {  # name -> (transformers' config class, settings)
    "qwen2-tied": ("Qwen2Config", {"tie_word_embeddings": True}),
    "qwen2-untied": ("Qwen2Config", {"tie_word_embeddings": False}),
    "qwen3": ("Qwen3Config", {"head_dim": 24, "tie_word_embeddings": True}),  # 24 is not hidden / heads
    "llama": ("LlamaConfig", {"tie_word_embeddings": False}),
}


def hf_model(name: str, seed: int = 0, **settings):
    """Return a random transformers model of a tiny shape, fp32, in eval mode."""
    import transformers

    config_class, special = TINY[name]
    shape = {
        "vocab_size": 101,
        "hidden_size": 64,
        "intermediate_size": 112,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rope_theta": 10000.0,
    }
    torch.manual_seed(seed)
    config = getattr(transformers, config_class)(**{**shape, **special, **settings})
    # Far from uniform, so that a wrong bias or rotation shows.
    config.initializer_range = settings.get("initializer_range", 0.08)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for p_name, p in model.named_parameters():
        if p_name.endswith("bias") or "norm" in p_name:
            p.data += 0.3 * torch.randn_like(p)
    return model


class PlainTokenizer:
    """The part of a tokenizer that the sampler uses."""

    def __init__(self, size: int, stop_ids: set[int] = frozenset()):
        self.size, self.stop_ids = size, frozenset(stop_ids)


def ours(hf):
    """Return our Transformer with a transformers model's weights."""
    transformer = Transformer(ModelConfig.from_hf(hf.config.to_dict(), "config.json"))
    state = {k.removeprefix("model."): v for k, v in hf.state_dict().items()}
    transformer.load_state_dict(state, strict=not hf.config.tie_word_embeddings)
    return transformer


def hf_folder(folder, name="qwen3", dtype=torch.float32, shard="5GB", **settings):
    """Save a random transformers model and a small tokenizer in `folder`; return the model."""
    write_tokenizer(folder)
    hf = hf_model(name, vocab_size=300, **settings).to(dtype)
    hf.save_pretrained(folder, max_shard_size=shard)
    return hf


def refusal(folder, *parts):
    """The folder is refused in one line that has the parts."""
    with pytest.raises(InputError) as error:
        load_model(folder)
    assert "\n" not in str(error.value)
    for part in parts:
        assert str(part) in str(error.value)
