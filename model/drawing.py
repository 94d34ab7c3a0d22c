"""Drawing the next token: which distribution, with whose noise.

- noise is counted, not consumed: a sample's uniforms depend on (seed, prompt key, sample index) alone, so its
  text does not depend on the batch, the order or the rank it was drawn in (up to rounding of the logits)
- the log-prob and the entropy returned are those of the distribution drawn from
- nothing here waits for the device, so a CUDA graph can hold it

Letters: n rows, V ids that exist in the tokenizer, C chunks of them.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model import tiles
from model.errors import InputError
from model.exact import pad_rows
from model.noise import generator

CHUNK = 512  # ids whose weights are first added up together


@dataclass(frozen=True)
class SamplingParams:
    n: int = 1
    """Samples a prompt."""
    max_new_tokens: int = 256
    """A sample is cut after this many tokens (finish_reason "length")."""
    temperature: float = 1.0
    """Logits are divided by it: 0.01 to 100. 0 is greedy, with log-probs at temperature 1."""
    top_p: float = 1.0
    """Keep the smallest set of likeliest ids whose probability reaches this."""
    top_k: int = 0
    """Keep this many likeliest ids; 0 keeps all. Applied before top_p."""
    min_p: float = 0.0
    """Keep the ids whose probability is at least this share of the likeliest one's; 0 keeps all."""
    seed: int = 0
    """With prompt key and sample number it fixes a sample's noise."""
    stop_token_ids: tuple[int, ...] = ()
    """Ids that end a sample, besides the tokenizer's own stop ids."""
    first: int = 0
    """The number of the first of n samples, by which it has its noise: any one of a group can be drawn alone."""

    @property
    def excludes(self) -> bool:
        """Whether some ids may not be drawn."""
        return self.top_p < 1 or self.top_k > 0 or self.min_p > 0

    def __post_init__(self):
        in_range = {
            "n": self.n >= 1,
            "first": self.first >= 0,
            "max_new_tokens": self.max_new_tokens >= 1,
            "temperature": self.temperature == 0 or 0.01 <= self.temperature <= 100,
            "top_p": 0 < self.top_p <= 1,
            "top_k": self.top_k >= 0,
            "min_p": 0 <= self.min_p <= 1,
        }
        for name, ok in in_range.items():
            if not ok:
                raise InputError(f"SamplingParams.{name} is {getattr(self, name)}, out of its range")


def sample_noise(seed: int, prompt_key: int | str, sample: int, count: int) -> np.ndarray:
    """Return `count` uniforms in [0, 1), float64, fixed by seed, prompt key and sample; prefix-stable."""
    return generator(seed, prompt_key, sample).random(count)


def filtered_logits(logits: Tensor, params: SamplingParams) -> Tensor:
    """Return the float64 logits [n, V] of the distribution to sample from, excluded ids at -inf."""
    logits = logits.double()
    if params.temperature not in (0, 1):
        logits = logits / params.temperature
    if params.top_k and params.top_k < logits.shape[-1]:
        likeliest = logits.topk(params.top_k).values
        logits = logits.masked_fill(logits < likeliest[:, -1:], float("-inf"))
    if params.top_p < 1:
        ordered, ids = logits.sort(dim=-1, descending=True, stable=True)
        p = ordered.softmax(-1)
        mass_before = p.cumsum(-1) - p
        excluded = torch.zeros_like(mass_before, dtype=torch.bool)
        excluded = excluded.scatter(-1, ids, mass_before >= params.top_p)
        logits = logits.masked_fill(excluded, float("-inf"))
    if params.min_p:
        floor = logits.max(-1, keepdim=True).values + math.log(params.min_p)
        logits = logits.masked_fill(logits < floor, float("-inf"))
    return logits


def log_probs(logits: Tensor, ids: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the log-probs [n, 1] of ids [n, 1] under softmax(logits [n, V] / temperature), fp32, nats."""
    logits = logits.float()
    if temperature != 1:
        logits = logits / temperature
    return logits.log_softmax(-1).gather(-1, ids)


def draw(
    logits: Tensor, noise: Tensor, params: SamplingParams, key_tile: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Invert each row's CDF. logits [n, V], noise [n] in [0, 1) -> ids, log-probs and entropies (nats), [n] each.

    float64 throughout: in fp32 a cumulative sum over 150,000 ids leaves unlikely ids unreachable and lets
    rounding of 1e-6 flip 1 % of the tokens. The CDF is inverted twice, over chunks of ids and inside one
    chunk, so that a cumulative sum runs over a few hundred numbers and not over the vocabulary. The log-probs
    are fp32 where no id is excluded, by the operation that the scorer has them from. key_tile: exact.py's.
    """
    n = len(noise)
    if key_tile == tiles.KEYS:
        with tiles.one_shape(key_tile):
            return tiles.by_rows(lambda *rows: draw(*rows, params), logits, noise)
    if key_tile:  # of fewer rows than threads a sum would be divided
        logits, noise = pad_rows(logits), pad_rows(noise)
    raw, logits = logits, filtered_logits(logits, params)
    peak, likeliest = logits.max(-1, keepdim=True)
    logits = logits - peak
    weights = logits.exp()  # softmax's numerators, [n, V]
    vocabulary = weights.shape[-1]
    whole = vocabulary // CHUNK * CHUNK
    sums = weights[:, :whole].unflatten(-1, (-1, CHUNK)).sum(-1)
    rest = weights[:, whole:].sum(-1, keepdim=True)
    cdf = torch.cat((sums, rest), dim=-1).cumsum(-1)  # [n, C]
    total = cdf[:, -1:]
    ids = likeliest
    if params.temperature > 0:
        chunk, above = _invert(cdf, noise[:, None] * total)
        members = chunk * CHUNK + torch.arange(CHUNK, device=chunk.device)  # [n, CHUNK]
        beyond = members >= vocabulary
        members = members.clamp(max=vocabulary - 1)
        inside = weights.gather(-1, members).masked_fill(beyond, 0.0)
        place, _ = _invert(inside.cumsum(-1), above)
        ids = members.gather(-1, place)
        # A sum made in parallel may fall by rounding where nothing is added: never draw an id of no weight.
        ids = torch.where(weights.gather(-1, ids) > 0, ids, likeliest)
    if params.excludes:
        logprobs = (weights.gather(-1, ids) / total).log()
    else:
        logprobs = log_probs(raw, ids, params.temperature or 1.0).double()
    # H = log(total) - sum_i w_i log w_i / total; what has no weight adds nothing, though its logarithm is infinite.
    entropy = total[:, 0].log() - logits.clamp_(min=-1e3).mul_(weights).sum(-1) / total[:, 0]
    return ids[:n, 0], logprobs[:n, 0], entropy[:n]


def nan_where_broken(logprobs: Tensor, logits: Tensor) -> Tensor:
    """Return the log-probs [n], NaN for rows of a model's logits [n, V] that are not all finite."""
    return logprobs.masked_fill(~logits.sum(-1, dtype=torch.float64).isfinite(), float("nan"))


def _invert(cdf: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first place whose cdf [n, m] exceeds u [n, 1], and how far u lies above the place before."""
    last = cdf[:, -1:]
    # Rounding may have brought it to the total.
    u = torch.minimum(u, torch.nextafter(last, torch.zeros_like(last)))
    place = torch.searchsorted(cdf, u, right=True).clamp(max=cdf.shape[-1] - 1)
    before = torch.where(place > 0, cdf.gather(-1, (place - 1).clamp(min=0)), 0.0)
    return place, (u - before).clamp(min=0)
