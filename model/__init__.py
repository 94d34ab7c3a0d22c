"""The language model: Qwen2/2.5, Qwen3 (dense) and Llama folders in, logits and samples out.

Knows nothing of medicine, rewards or training.
"""

from model.drawing import SamplingParams
from model.errors import InputError
from model.huggingface.weights import load_model, save_model
from model.sampler import Sample, Sampler

__all__ = ["InputError", "Sample", "Sampler", "SamplingParams", "load_model", "save_model"]
