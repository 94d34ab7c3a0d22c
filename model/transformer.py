"""The decoder-only transformer of Qwen2, Qwen2.5, Qwen3 (dense) and Llama, one screen a class.

- pre-norm blocks of grouped-query attention and SwiGLU, RMSNorm, rotary positions, as pretrained or stretched
  by YaRN or as Llama 3.1 has them
- Qwen2: bias on q, k, v. Qwen3: RMSNorm on each head's q and k before the rotation
- parameter names are Hugging Face's without the leading "model.", so the files need no translation table
- left out: dropout (these models use none), other scalings of rotary positions and sliding windows (refused
  by ModelConfig), caches and masks (a block is told how to attend; see attention.py)

Letters: B batch, T tokens, D hidden, H query heads, K key/value heads, d head_dim, V vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import tiles
from model.attention import causal
from model.exact import Attend, of_real, pad_tokens
from model.huggingface.config import ModelConfig


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # The order matters in bf16: normalise in fp32, cast back, then scale, as the weights were trained.
        return self.weight * F.rms_norm(x, self.weight.shape, eps=self.eps)


def frequencies(cfg: ModelConfig, device: torch.device | None = None) -> Tensor:
    """Return the radians by which each pair turns from one position to the next, [d/2] fp32: theta^(-2i/d).

    YaRN (arXiv 2309.00071v2): a pair that turns r times over the L positions of pretraining (Eq. 17) keeps
    its frequency if r > beta_fast, since it tells neighbours apart, and is slowed down s times if r <
    beta_slow, since more positions would take it to angles never seen. In between a ramp blends both (Eq.
    18): linear in the pair's index i, as in the authors' code and so in every checkpoint, where the paper has
    it linear in r. The order of the operations is transformers' too, as a rounding made here is multiplied by
    the position. Llama 3.1 does the same between other ends, and blends linearly in r.
    """
    d, theta, yarn, llama3 = cfg.head_dim, cfg.rope_theta, cfg.yarn, cfg.llama3
    exponents = torch.arange(0, d, 2, dtype=torch.float32, device=device) / d
    powers = theta**exponents
    kept = 1.0 / powers
    if llama3:
        pretrained = llama3.original_max_position_embeddings
        low, high = llama3.low_freq_factor, llama3.high_freq_factor
        slowed, wavelength = kept / llama3.factor, 2 * math.pi / kept
        gamma = (pretrained / wavelength - low) / (high - low)
        blended = (1 - gamma) * kept / llama3.factor + gamma * kept
        fast, slow = wavelength < pretrained / high, wavelength > pretrained / low
        return torch.where(slow, slowed, torch.where(fast, kept, blended))
    if yarn is None:
        return kept

    def index(turns: float) -> float:  # Eq. 17 solved for i: the pair that turns so often
        pretrained = yarn.original_max_position_embeddings
        return d * math.log(pretrained / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = index(yarn.beta_fast), index(yarn.beta_slow)
    if yarn.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, d - 1)
    pairs = torch.arange(d // 2, dtype=torch.float32, device=device)
    ramp = (pairs - low) / (high - low or 0.001)
    gamma = 1 - ramp.clamp(0, 1)
    slowed = 1.0 / (yarn.factor * powers)
    return (1 - gamma) * slowed + gamma * kept  # Eq. 20


def rotary(cfg: ModelConfig, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return cos and sin, [*positions.shape, 1, d] each (RoFormer Eq. 34), times YaRN's attention factor.

    The angle of pair i stands at i and at i + d/2, its sine with a minus at i, as `rotate` wants them. Angles
    are fp32 whatever the compute dtype: at position 32,000 a bf16 angle is noise. The factor sqrt(1/t)
    reaches q and k alike, which divides the attention logits by the temperature t at no cost (YaRN Eq. 21).
    """
    angles = positions[..., None, None].float() * frequencies(cfg, positions.device)
    scale = cfg.yarn.attention_factor if cfg.yarn else 1.0
    cos = (angles.cos() * scale).to(dtype)
    sin = (angles.sin() * scale).to(dtype)
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate x [B, T, heads, d]: element i of the first half pairs with element i of the second half.

    The roll swaps the halves: the first becomes first * cos - second * sin, the second second * cos + first *
    sin.
    """
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


class Attention(nn.Module):
    def __init__(self, cfg: ModelConfig):
        super().__init__()
        self.head_dim = cfg.head_dim
        width, bias = cfg.hidden_size, cfg.attention_bias
        queries = cfg.num_attention_heads * cfg.head_dim
        keys = cfg.num_key_value_heads * cfg.head_dim
        self.q_proj = nn.Linear(width, queries, bias=bias)
        self.k_proj = nn.Linear(width, keys, bias=bias)
        self.v_proj = nn.Linear(width, keys, bias=bias)
        self.o_proj = nn.Linear(queries, width, bias=False)
        self.q_norm = self.k_norm = nn.Identity()
        if cfg.qk_norm:
            self.q_norm = RMSNorm(cfg.head_dim, cfg.rms_norm_eps)
            self.k_norm = RMSNorm(cfg.head_dim, cfg.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        heads = (-1, self.head_dim)
        q = self.q_proj(x).unflatten(-1, heads)  # [B, T, H, d]
        k = self.k_proj(x).unflatten(-1, heads)  # [B, T, K, d]
        v = self.v_proj(x).unflatten(-1, heads)  # [B, T, K, d]
        q = rotate(self.q_norm(q), cos, sin)
        k = rotate(self.k_norm(k), cos, sin)
        out = attend(q, k, v)  # [B, T, H, d]
        return self.o_proj(out.flatten(-2))  # [B, T, D]


class MLP(nn.Module):
    def __init__(self, cfg: ModelConfig):
        super().__init__()
        self.gate_proj = nn.Linear(cfg.hidden_size, cfg.intermediate_size, bias=False)
        self.up_proj = nn.Linear(cfg.hidden_size, cfg.intermediate_size, bias=False)
        self.down_proj = nn.Linear(cfg.intermediate_size, cfg.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.silu(self.gate_proj(x))
        return self.down_proj(gate * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, cfg: ModelConfig):
        super().__init__()
        self.input_layernorm = RMSNorm(cfg.hidden_size, cfg.rms_norm_eps)
        self.self_attn = Attention(cfg)
        self.post_attention_layernorm = RMSNorm(cfg.hidden_size, cfg.rms_norm_eps)
        self.mlp = MLP(cfg)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, attend)
        return x + self.mlp(self.post_attention_layernorm(x))


def rows_to_multiply(weight: Tensor, limit: int) -> int:
    """Return how many rows of the output matrix [V, D] to use for `limit` ids: odd sizes are slow on CUDA."""
    multiple_of_64 = (limit + 63) // 64 * 64
    return min(weight.shape[0], multiple_of_64)


class Transformer(nn.Module):
    def __init__(self, cfg: ModelConfig):
        super().__init__()
        self.cfg = cfg
        self.vocab_limit = cfg.vocab_size
        """Ids below this exist in the tokenizer; sampler and scorer leave the others out of their softmax."""
        self.compiled = False
        """Whether the blocks' forwards are compiled ones."""
        self.key_tile = 0
        """exact.py: to tiles of how many keys are padded, that a token may not depend on what is beside it; 0: none."""
        self.embed_tokens = nn.Embedding(cfg.vocab_size, cfg.hidden_size)
        self.layers = nn.ModuleList(Block(cfg) for _ in range(cfg.num_hidden_layers))
        self.norm = RMSNorm(cfg.hidden_size, cfg.rms_norm_eps)
        self.lm_head = nn.Linear(cfg.hidden_size, cfg.vocab_size, bias=False)
        self.tie_weights()

    def allocate(self, device: torch.device | str) -> None:
        """Give a model on the meta device memory, uninitialised."""
        self.to_empty(device=device)
        self.tie_weights()  # to_empty gave each of the two a memory of its own

    def tie_weights(self) -> None:
        """Make the output matrix the embedding itself where the config says so. Needed again after `to_empty`."""
        if self.cfg.tie_word_embeddings:
            self.lm_head.weight = self.embed_tokens.weight

    def init_weights(self, generator: torch.Generator) -> None:
        """Draw fresh weights: normal(0, initializer_range), biases 0, norms 1.

        The two matrices of a block that write into the residual stream are scaled by 1 / sqrt(2 L), as GPT-2's.
        """
        std = self.cfg.initializer_range
        residual_std = std * (2 * self.cfg.num_hidden_layers) ** -0.5
        for name, p in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(p)
            elif p.ndim == 1:
                nn.init.ones_(p)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.normal_(p, std=residual_std, generator=generator)
            else:
                nn.init.normal_(p, std=std, generator=generator)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        attend: Attend | Sequence[Attend] | None = None,
        readout: Callable[[Tensor, Tensor], Tensor] | None = None,
    ):
        """Return logits [B, T, V] for tokens [B, T] int64, or whatever `readout` makes of them.

        positions [B, T] or [1, T]: default 0 .. T-1. attend: one callable for all blocks, or one for each; default
        `causal`. readout(hidden [B, T, D], output matrix [V, D]): the last step, where a caller wants log-probs or
        one row instead of all logits; it runs inside forward, where a sharded model has its output matrix at hand.
        """
        if positions is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
        attend = attend or partial(causal, key_tile=self.key_tile)
        attends = attend if isinstance(attend, Sequence) else [attend] * len(self.layers)
        rows, length = tokens.shape
        if self.key_tile:
            positions = positions.expand_as(tokens)
            tokens, positions = (pad_tokens(x, self.cfg.intermediate_size) for x in (tokens, positions))
            if tokens.shape != (rows, length):
                attends = [of_real(attend, rows, length) for attend in attends]
        with tiles.one_shape(self.key_tile):
            x = self.embed_tokens(tokens)  # [B, T, D]
            cos, sin = rotary(self.cfg, positions, x.dtype)
            for block, block_attend in zip(self.layers, attends, strict=True):
                x = block(x, cos, sin, block_attend)
            x = self.norm(x)
            if readout is not None:
                return readout(x[:rows, :length], self.lm_head.weight)
            logits = F.linear(x, self.lm_head.weight)
        return logits[:rows, :length] if self.key_tile else logits
