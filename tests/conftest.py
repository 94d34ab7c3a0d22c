"""Shared fixtures: tiny models of each architecture with transformers' own random weights, and the data beside us."""

from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

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
    config.initializer_range = 0.08  # far from uniform, so that a wrong bias or rotation shows
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
    from model.huggingface.config import ModelConfig
    from model.transformer import Transformer

    transformer = Transformer(ModelConfig.from_hf(hf.config.to_dict(), "config.json"))
    state = {k.removeprefix("model."): v for k, v in hf.state_dict().items()}
    transformer.load_state_dict(state, strict=not hf.config.tie_word_embeddings)
    return transformer


@pytest.fixture(params=sorted(TINY))
def pair(request):
    """(ours, transformers') with the same weights, for each architecture."""
    hf = hf_model(request.param)
    return ours(hf), hf


@pytest.fixture
def shared() -> Path:
    """The folder of real data; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the real data in ../shared")
    return SHARED


@pytest.fixture(scope="session")
def inputs(tmp_path_factory) -> Path:
    """Data and a base model for both scripts, and a reward that random answers earn: what they have of the letter e."""
    from support import runs

    import synth_data

    folder = tmp_path_factory.mktemp("inputs")
    assert runs.run_here(synth_data, runs.arguments(folder, folder)) == (0, [])
    questions = (folder / "data/rl.jsonl").read_text().splitlines(keepends=True)
    (folder / "questions.jsonl").write_text("".join(questions[::15]))
    (folder / "letters.py").write_text(
        "def many_e(response, finished, question, cfg):\n"
        "    count = response.count('e')\n"
        "    return {'correct': float(count > 16), 'format': 0.0, 'total': float(count)}\n"
    )
    return folder


@pytest.fixture
def in_process(inputs, monkeypatch):
    """Run a script in this process with the data and the reward of `inputs`."""
    from support import runs

    monkeypatch.syspath_prepend(str(inputs))
    return lambda module, run_dir, *settings: runs.run_here(module, runs.arguments(inputs, run_dir, *settings))
