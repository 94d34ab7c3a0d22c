"""Whether exact.py's claim is true on this processor with this model's shapes: tried, not believed.

Tried on the model's first block between its embedding and output matrix, which have all its shapes: about a second
where the whole of a large model would take minutes. Left out: proving it; a shape that is not tried here may still
differ, and a run logs the largest difference each step.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from model.exact import KEY_TILES
from model.sampler import Sampler, SamplingParams
from model.scoring import score_tokens
from model.transformer import Transformer

PROMPTS = (1, 18, 187)  # tokens: within a tile, over its edge, over several
NEW_TOKENS = 3
# Of one text: on both sides of where keys are cut.
LENGTHS = (1, 40, 150, 200, 216, 250, 300, 370, 390, 500, 520)


class _AllIds:
    """What the sampler asks of a tokenizer."""

    def __init__(self, size: int):
        self.size, self.stop_ids = size, frozenset()


def key_tile_that_holds(transformer: Transformer, key_tiles: Sequence[int] = KEY_TILES) -> int:
    """Return the first of `key_tiles` with which what is sampled is what is scored, to the last bit; 0 for none."""
    one = _of_one_block(transformer)
    for one.key_tile in key_tiles:
        if _holds(one):
            return one.key_tile
    return 0


def _of_one_block(transformer: Transformer) -> Transformer:
    """Return a model of the transformer's own first block, embedding, last norm and output matrix."""
    with torch.device("meta"):
        one = Transformer(replace(transformer.cfg, num_hidden_layers=1))
    one.embed_tokens, one.norm, one.lm_head = transformer.embed_tokens, transformer.norm, transformer.lm_head
    one.layers[0] = transformer.layers[0]
    one.vocab_limit = transformer.vocab_limit
    return one


@torch.inference_mode()
def _holds(transformer: Transformer) -> bool:
    """Whether a token's bits are the same in a text's every length, sampled together with others, alone and scored."""
    limit, room = transformer.vocab_limit, transformer.cfg.max_position_embeddings
    device = transformer.lm_head.weight.device
    text = torch.arange(min(room, max(LENGTHS)), device=device)[None] * 7 % limit
    whole = transformer(text, readout=lambda hidden, _: hidden)
    for length in LENGTHS:
        part = transformer(text[:, :length], readout=lambda hidden, _: hidden)
        if not torch.equal(part, whole[:, :length]):
            return False

    prompts = [text[0, -n:].tolist() for n in PROMPTS if n <= room - NEW_TOKENS]
    params = SamplingParams(max_new_tokens=NEW_TOKENS)
    together = Sampler(transformer, _AllIds(limit), len(prompts)).generate(prompts, params)
    for i, (prompt, (sample,)) in enumerate(zip(prompts, together, strict=True)):
        if Sampler(transformer, _AllIds(limit), 1).generate([prompt], params, [i]) != [[sample]]:
            return False
        scored = score_tokens(transformer, prompt + sample.token_ids)[len(prompt) - 1 :]
        if scored.tolist() != sample.logprobs:
            return False
    return True
