"""The language model: Qwen2/2.5, Qwen3 (dense) and Llama folders in, logits and samples out.

Knows nothing of medicine, rewards or training.
"""

import importlib

from model.errors import InputError

_WHERE = {
    "Sample": "model.sampler",
    "Sampler": "model.sampler",
    "SamplingParams": "model.drawing",
    "load_model": "model.huggingface.weights",
    "save_model": "model.huggingface.weights",
    "score_tokens": "model.scoring",
}
__all__ = ["InputError", *_WHERE]


def __getattr__(name: str) -> object:
    """Import what is asked for when it is: torch takes seconds, and a mistake in a setting needs none of it."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)
