"""The demo's starting point: a byte-level BPE tokenizer made from the synthetic text, and a fresh Qwen3-style model.

An entity's name is one token (an added token, its leading space included): a model of a million parameters cannot
both spell names and reason about them. Real runs start from a pretrained folder and never come here.
"""

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as FastTokenizer

from fleming.settings import BaseModelConfig
from model.errors import InputError
from model.huggingface.chat_format import own_template
from model.huggingface.config import ModelConfig
from model.huggingface.tokenizer import Tokenizer
from model.huggingface.weights import save_model
from model.transformer import Transformer

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CONTEXT = 1024  # tokens
TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def train_tokenizer(texts: Iterable[str], names: Sequence[str], vocab_size: int) -> FastTokenizer:
    """Return a byte-level BPE of at most `vocab_size` ids; names, tags and control tokens have an id each."""
    added = [*TAGS, *(f" {name}" for name in sorted(names))]
    if vocab_size < (least := len(added) + len(SPECIAL_TOKENS) + 256):
        raise InputError(f"base_model.vocab_size is {vocab_size}: bytes, tags and names need {least}")
    tokenizer = FastTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(added),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in added])
    return tokenizer


def make_base_model(
    cfg: BaseModelConfig, texts: Iterable[str], names: Sequence[str], seed: int, folder: Path
) -> None:
    """Write a model folder with a fresh tokenizer and fresh weights, fixed by `seed`."""
    with tempfile.TemporaryDirectory() as temporary:
        files = Path(temporary)
        train_tokenizer(texts, names, cfg.vocab_size).save(str(files / "tokenizer.json"))
        settings = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "clean_up_tokenization_spaces": False,
            "model_max_length": CONTEXT,
            "chat_template": own_template("chatml"),
        }
        (files / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")
        tokenizer = Tokenizer.from_folder(files)
    stop_ids = {"eos_token_id": sorted(tokenizer.stop_ids), "pad_token_id": 0}
    tokenizer.files["generation_config.json"] = (json.dumps(stop_ids, indent=1) + "\n").encode()
    transformer = Transformer(
        ModelConfig(
            model_type="qwen3",
            vocab_size=tokenizer.size,
            hidden_size=cfg.hidden_size,
            intermediate_size=cfg.intermediate_size,
            num_hidden_layers=cfg.num_layers,
            num_attention_heads=cfg.num_heads,
            num_key_value_heads=cfg.num_kv_heads,
            head_dim=cfg.head_dim,
            rope_theta=cfg.rope_theta,
            rms_norm_eps=1e-6,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            initializer_range=cfg.initializer_range,
        )
    )
    transformer.init_weights(torch.Generator().manual_seed(seed))
    save_model(transformer, tokenizer, folder)
