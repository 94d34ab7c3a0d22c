"""The log-probs of a text's tokens, outside of training: what `Sampler` drew can be looked up again.

Left out: gradients, packs of several texts and shared prompts (fleming/training/logprobs.py).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.decoding import next_logits
from model.drawing import log_probs
from model.errors import InputError
from model.transformer import Transformer

CHUNK_TOKENS = 256  # whose logits are held at a time


@torch.inference_mode()
def score_tokens(transformer: Transformer, token_ids: Sequence[int], temperature: float = 1.0) -> Tensor:
    """Return the log-probs [T-1] of token_ids[1:], each given those before it, under softmax(logits / temperature).

    fp32, nats; the softmax is over the ids that exist in the tokenizer, and a temperature of 0 gives those at 1: as the
    sampler has them. Raises InputError for ids outside the vocabulary, for fewer than two, and for more than the
    model's context.
    """
    limit, context = transformer.vocab_limit, transformer.cfg.max_position_embeddings
    if not 2 <= len(token_ids) <= context or min(token_ids) < 0 or max(token_ids) >= limit:
        raise InputError(f"score_tokens: expected 2 to {context} ids, each from 0 to {limit - 1}")
    ids = torch.tensor(token_ids, device=transformer.lm_head.weight.device)

    def readout(hidden: Tensor, weight: Tensor) -> Tensor:
        found = []
        for rows, targets in zip(hidden[0].split(CHUNK_TOKENS), ids[1:].split(CHUNK_TOKENS), strict=True):
            logits = next_logits(rows, weight, limit, transformer.key_tile)
            found.append(log_probs(logits, targets[:, None], temperature or 1.0))
        return torch.cat(found)[:, 0]

    return transformer(ids[None, :-1], readout=readout)
