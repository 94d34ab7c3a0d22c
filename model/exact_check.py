"""Whether exact.py's claim is true on this processor with this model: tried, not believed.

Left out: proving it; a shape that is not tried here may still differ, and a run logs the largest difference each step.
"""

import torch

from model.exact import KEY_BLOCK, log_probs
from model.sampler import Sampler, SamplingParams
from model.transformer import Transformer

LENGTHS = (1, 3, 18, 33, 70)  # of prompts: within a tile, at its edges, over several
NEW_TOKENS = 6


class _AllIds:
    """What the sampler asks of a tokenizer."""

    def __init__(self, size: int):
        self.size, self.stop_ids = size, frozenset()


@torch.inference_mode()
def holds(transformer: Transformer) -> bool:
    """Return whether samples drawn together, drawn alone and scored have the same log-probs, to the last bit.

    The model is left as it was.
    """
    before, transformer.key_length = transformer.key_length, KEY_BLOCK
    limit = transformer.vocab_limit
    room = transformer.cfg.max_position_embeddings - NEW_TOKENS
    prompts = [[(7 * i + n) % limit for i in range(n)] for n in LENGTHS if n <= room]
    params = SamplingParams(n=2, max_new_tokens=NEW_TOKENS)
    try:
        together, alone = (
            Sampler(transformer, _AllIds(limit), rows).generate(prompts, params) for rows in (len(prompts), 1)
        )
        if together != alone:
            return False
        for prompt, group in zip(prompts, together, strict=True):
            for sample in group:
                ids = torch.tensor([prompt + sample.token_ids])
                logits = transformer(ids[:, :-1])[0, len(prompt) - 1 :, :limit]
                if log_probs(logits, ids[0, len(prompt) :]).tolist() != sample.logprobs:
                    return False
    finally:
        transformer.key_length = before
    return True
