"""The rotary positions that a config.json asks for: their base, and how they are stretched over a longer context.

- YaRN, the long-context setting of Qwen2.5 and Qwen3, with every key that transformers reads; Llama 3.1's own
- both spellings: rope_theta and rope_scaling (transformers 4), rope_parameters (5)
- left out: other scalings, which are refused by name; the frequencies themselves (transformer.py)
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from model.huggingface.fields import Fields


@dataclass(frozen=True)
class Yarn:
    """YaRN (arXiv 2309.00071): rotary positions stretched beyond the context of pretraining; see transformer.py."""

    factor: float  # s, at least 1: how many times longer the context becomes
    original_max_position_embeddings: int  # L: the context of pretraining
    attention_factor: float  # on cos and sin, hence squared on the attention logits; as a rule 0.1 ln s + 1
    beta_fast: float = 32.0  # a pair that turns more often than this over L positions keeps its frequency
    beta_slow: float = 1.0  # a pair that turns less often than this is slowed down s times; between, a ramp
    truncate: bool = True  # the ends of the ramp are rounded outwards to whole pairs


@dataclass(frozen=True)
class Llama3:
    """Llama 3.1's stretching: by frequency as in YaRN, with other ends; see transformer.py."""

    factor: float  # s, at least 1
    low_freq_factor: float  # a pair that turns less often than this over L positions is slowed down s times
    high_freq_factor: float  # a pair that turns more often than this keeps its frequency; in between, a blend
    original_max_position_embeddings: int  # L: the context of pretraining


def read_rope(fields: Fields, context: int) -> tuple[float, Yarn | Llama3 | None]:
    """Return base and scaling from rope_theta and rope_scaling (transformers 4) or rope_parameters (5).

    context: the file's max_position_embeddings. Raises InputError as `ModelConfig.from_hf`.
    """
    thetas, scalings = [], []
    if fields.has("rope_theta"):
        thetas.append(fields.number("rope_theta"))
    for key in ("rope_scaling", "rope_parameters"):
        if not (raw := fields.object(key)):
            continue
        rope = Fields(raw, f"{fields.where}: {key}")
        kind = _rope_type(fields, key, raw)
        if rope.has("rope_theta"):
            thetas.append(rope.number("rope_theta"))
        if kind == "yarn":
            scalings.append(_yarn(rope, context))
        else:
            scalings.append(_llama3(rope) if kind == "llama3" else None)

    fields.expect(len(set(thetas)) < 2, "rope_theta", thetas, "the same base wherever it stands")
    # Beside rope_scaling, transformers 5 would drop rope_parameters, the base in it included.
    found = fields.raw.get("rope_scaling")
    fields.expect(len(set(scalings)) < 2, "rope_scaling", found, "the same scaling as in rope_parameters")
    theta = thetas[0] if thetas else 10000.0
    scaling = scalings[0] if scalings else None
    if scaling:
        fields.expect(theta > 1, "rope_theta", theta, "more than 1 (YaRN divides by its logarithm)")
        key, original = "original_max_position_embeddings", scaling.original_max_position_embeddings
        found = fields.value(key, original)
        fields.expect(found == original, key, found, f"{original} as in the settings of the scaling")
    return theta, scaling


def _rope_type(fields: Fields, key: str, rope: dict[str, Any]) -> str:
    """Return "default", "yarn" or "llama3"; refuse other scalings and other forms."""
    kinds = {name: rope[name] for name in ("rope_type", "type") if rope.get(name) is not None}
    for name, kind in kinds.items():
        known = kind in ("default", "yarn", "llama3")
        fields.expect(known, f"{key}.{name}", kind, '"default", "yarn" or "llama3"')
    same = len(set(kinds.values())) < 2  # 4 and 5 disagree which one counts
    fields.expect(same, f"{key}.type", rope.get("type"), "the same as rope_type")
    fields.expect(rope.get("partial_rotary_factor") in (None, 1), key, rope, "no partial rotation")
    nested = any(isinstance(value, dict) for value in rope.values())
    fields.expect(not nested, key, rope, "one base for all layers")
    return next(iter(kinds.values()), "default")


def _refuse_other_keys(rope: Fields, known: Collection[str]) -> None:
    for key, value in rope.raw.items():
        common = key in ("rope_type", "type", "rope_theta", "partial_rotary_factor")
        rope.expect(common or key in known, key, value, "no such key")


def _llama3(rope: Fields) -> Llama3:
    """Return Llama 3.1's settings in a rope object, all of which it must have."""
    _refuse_other_keys(rope, Llama3.__dataclass_fields__)
    original = rope.integer("original_max_position_embeddings")
    factor, low, high = map(rope.number, ("factor", "low_freq_factor", "high_freq_factor"))
    rope.expect(factor >= 1, "factor", factor, "at least 1")
    rope.expect(low < high, "low_freq_factor", low, f"less than high_freq_factor, {high}")
    return Llama3(factor, low, high, original)


def _yarn(rope: Fields, context: int) -> Yarn:
    """Return the YaRN settings in a rope object; absent keys as in transformers."""
    _refuse_other_keys(rope, {"mscale", "mscale_all_dim", *Yarn.__dataclass_fields__})
    # Files without a factor mean the ratio of the two contexts, which without the original one is nothing.
    original = rope.integer("original_max_position_embeddings", context)
    ratio = context / original if rope.has("original_max_position_embeddings") else None
    factor = rope.number("factor", ratio)
    rope.expect(factor >= 1, "factor", factor, "at least 1")

    def length(slope: float) -> float:  # YaRN Eq. 22
        return 0.1 * slope * math.log(factor) + 1

    # DeepSeek-V2's quotient of two such lengths if both slopes are given; one alone does nothing.
    slopes = [rope.number(key) for key in ("mscale", "mscale_all_dim") if rope.has(key)]
    attention = length(slopes[0]) / length(slopes[1]) if len(slopes) == 2 else length(1)
    beta_fast, beta_slow = rope.number("beta_fast", 32), rope.number("beta_slow", 1)
    rope.expect(beta_fast >= beta_slow, "beta_fast", beta_fast, f"at least beta_slow, {beta_slow}")
    return Yarn(
        factor=factor,
        original_max_position_embeddings=original,
        attention_factor=rope.number("attention_factor", attention),
        beta_fast=beta_fast,
        beta_slow=beta_slow,
        # Null means false here, as in transformers.
        truncate=rope.flag("truncate", "truncate" not in rope.raw),
    )
