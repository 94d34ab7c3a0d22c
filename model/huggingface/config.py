"""ModelConfig: the shape of a model, read from a Hugging Face config.json and written back as one.

- Qwen2 and Qwen2.5 (model_type qwen2), Qwen3 dense and Llama, in the spelling of transformers 4 and of transformers 5
- YaRN, the long-context setting of Qwen2.5 and Qwen3, with every key that transformers reads
- arithmetic about the model: parameters, operations of a forward, bytes of the key/value cache
- whatever would change the numbers and is not implemented is refused by name: other scalings of rotary positions,
  active sliding windows, other activations, extra biases, quantised weights
- left out: what changes nothing here (dropout, use_cache, token ids). It is kept in `raw` for the export
"""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from model.errors import InputError

ARCHITECTURES = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}
MAX_JSON_BYTES = 256 << 20  # the largest tokenizer.json in use is about 30 MB


@dataclass(frozen=True)
class Yarn:
    """YaRN (arXiv 2309.00071): rotary positions stretched beyond the context of pretraining; see transformer.py."""

    factor: float  # s, at least 1: how many times longer the context becomes
    original_max_position_embeddings: int  # L: the context of pretraining
    attention_factor: float  # on cos and sin, hence squared on the attention logits; as a rule 0.1 ln s + 1
    beta_fast: float = 32.0  # a pair that turns more often than this over L positions keeps its frequency
    beta_slow: float = 1.0  # a pair that turns less often than this is slowed down s times; in between, a ramp
    truncate: bool = True  # the ends of the ramp are rounded outwards to whole pairs


@dataclass(frozen=True)
class ModelConfig:
    """The numbers that fix a model's architecture, under their Hugging Face names."""

    model_type: str  # qwen2, qwen3 or llama
    vocab_size: int  # rows of the embedding; the tokenizer may have fewer ids
    hidden_size: int  # width of the residual stream
    intermediate_size: int  # width of the SwiGLU's inner layer
    num_hidden_layers: int  # transformer blocks
    num_attention_heads: int  # query heads a block
    num_key_value_heads: int  # key/value heads a block; divides num_attention_heads (grouped-query attention)
    head_dim: int  # width of one head; need not be hidden_size / num_attention_heads
    rope_theta: float  # base of the rotary wavelengths
    rms_norm_eps: float  # added to the mean square in RMSNorm
    max_position_embeddings: int
    """Usable context: sampling and training stay within it. Read from the key of this name; with YaRN at least
    factor * original_max_position_embeddings, since Qwen's advice is to add rope_scaling and leave this key alone."""
    tie_word_embeddings: bool  # the output matrix is the embedding itself
    initializer_range: float  # standard deviation of fresh weights
    yarn: Yarn | None = None  # stretched rotary positions; None: as pretrained
    raw: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)  # the config.json as it was read

    @property
    def attention_bias(self) -> bool:
        """A bias on q, k and v: always in qwen2, never in the others."""
        return self.model_type == "qwen2"

    @property
    def qk_norm(self) -> bool:
        """RMSNorm on each head's q and k: always in qwen3, never in the others."""
        return self.model_type == "qwen3"

    @classmethod
    def from_hf(cls, raw: dict[str, Any], where: str) -> "ModelConfig":
        """Return the config that a decoded config.json describes; absent keys take the defaults of transformers.

        `where` names the file. Raises InputError naming file, key and value for what is missing, of a wrong type,
        out of range, contradictory or not implemented.
        """
        _refuse_unsupported(raw, where)
        kind = raw["model_type"]
        context = _read(raw, "max_position_embeddings", int, where, 2048 if kind == "llama" else 32768)
        theta, yarn = _rope(raw, where, context)
        stretched = int(yarn.factor * yarn.original_max_position_embeddings) if yarn else 0
        required = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        sizes = {key: _read(raw, key, int, where) for key in required}
        heads, hidden = sizes["num_attention_heads"], sizes["hidden_size"]
        # Llama 1 files have no num_key_value_heads; for Qwen the class default (32) would be a guess.
        kv_heads = heads if kind == "llama" or "num_key_value_heads" in raw else None
        head_dim = 128 if kind == "qwen3" else hidden // heads if hidden % heads == 0 else None
        config = cls(
            **sizes,
            model_type=kind,
            num_key_value_heads=_read(raw, "num_key_value_heads", int, where, kv_heads),
            head_dim=_read(raw, "head_dim", int, where, head_dim),
            rope_theta=theta,
            rms_norm_eps=_read(raw, "rms_norm_eps", float, where, 1e-6),
            max_position_embeddings=max(context, stretched),
            tie_word_embeddings=_read(raw, "tie_word_embeddings", bool, where, False),
            initializer_range=_read(raw, "initializer_range", float, where, 0.02),
            yarn=yarn,
            raw=raw,
        )
        kv_heads, d = config.num_key_value_heads, config.head_dim
        _expect(heads % kv_heads == 0, where, "num_key_value_heads", kv_heads, f"a divisor of {heads} attention heads")
        _expect(d % 2 == 0, where, "head_dim", d, "an even number (rotary pairs)")
        return config

    def to_hf(self, dtype: torch.dtype) -> dict[str, Any]:
        """Return a config.json for weights of this dtype that transformers 4 and 5 read alike."""
        name = str(dtype).removeprefix("torch.")
        keys = [key for key in self.__dataclass_fields__ if key not in ("yarn", "raw")]
        fresh = {key: getattr(self, key) for key in keys}
        fresh |= {"hidden_act": "silu", "bos_token_id": None, "eos_token_id": None}
        # 4 looks for rope_theta and torch_dtype, and would fall back to other values without a word.
        common = {"rope_theta": self.rope_theta, "torch_dtype": name, "dtype": name}
        if self.yarn:  # 4 knows no rope_parameters; before 4.56 its factor was max_position_embeddings / original
            common["rope_scaling"] = scaling = {"rope_type": "yarn", **asdict(self.yarn)}
            common["rope_parameters"] = {"rope_theta": self.rope_theta, **scaling}
            common["max_position_embeddings"] = self.max_position_embeddings
        return (self.raw or fresh) | common | {"architectures": [ARCHITECTURES[self.model_type]]}

    @property
    def _block_matrices(self) -> int:
        """Entries of one block's matrices: q and o, k and v, and the three of SwiGLU."""
        heads = 2 * (self.num_attention_heads + self.num_key_value_heads) * self.head_dim
        return self.hidden_size * (heads + 3 * self.intermediate_size)

    @property
    def block_parameters(self) -> int:
        """Parameters of one block: what a rank gathers at a time, and what activation checkpointing recomputes."""
        norms = 2 * self.hidden_size + self.qk_norm * 2 * self.head_dim
        biases = self.attention_bias * (self.num_attention_heads + 2 * self.num_key_value_heads) * self.head_dim
        return self._block_matrices + norms + biases

    @property
    def parameters(self) -> int:
        """Parameters of the whole model; a tied output matrix is the embedding itself, so it is counted once."""
        vocabulary = (1 if self.tie_word_embeddings else 2) * self.vocab_size * self.hidden_size
        return vocabulary + self.num_hidden_layers * self.block_parameters + self.hidden_size

    def forward_flops(self, tokens: int, attended: int, scored: int) -> int:
        """Return the operations of a forward's matrix products, a multiply-add counted as 2.

        tokens pass all blocks (an embedding is looked up, not multiplied); attended query-key pairs, T (T + 1) / 2 for
        a causal sequence, cost 2 d in q k^T and 2 d in the sum over v, per layer and query head; scored rows meet the
        output matrix. A backward costs twice a forward: each product has a gradient for either factor.
        """
        pairs = 4 * self.head_dim * self.num_attention_heads * attended
        blocks = self.num_hidden_layers * (2 * tokens * self._block_matrices + pairs)
        return blocks + 2 * scored * self.hidden_size * self.vocab_size

    def kv_bytes_per_token(self, dtype: torch.dtype) -> int:
        """Return the bytes of a token's keys and values over all layers: what decoding reads again at every step."""
        return 2 * self.num_hidden_layers * self.num_key_value_heads * self.head_dim * dtype.itemsize


def load_config(folder: str | Path) -> ModelConfig:
    """Return the ModelConfig of a model folder. Raises InputError as `ModelConfig.from_hf` and `read_json` do."""
    return ModelConfig.from_hf(read_json(path := Path(folder) / "config.json"), str(path))


def read_json(path: str | Path, data: bytes | None = None) -> dict[str, Any]:
    """Return the JSON object in a file (or in `data`, its bytes). Raises InputError naming the file if it has none."""
    data = read_bytes(path) if data is None else data
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        raise InputError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def read_bytes(path: str | Path) -> bytes:
    """Return a small file's bytes. Raises InputError naming it if it cannot be read or is larger than 256 MiB."""
    try:
        if Path(path).stat().st_size > MAX_JSON_BYTES:
            raise InputError(f"{path}: larger than {MAX_JSON_BYTES >> 20} MiB")
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _expect(ok: bool, where: str, key: str, found: Any, expected: str) -> None:
    if not ok:
        raise InputError(f"{where}: {key} is {json.dumps(found)[:80]}, expected {expected}")


def _read(raw: dict[str, Any], key: str, kind: type, where: str, default: Any = None) -> Any:
    """Return a positive int, a positive finite float or a bool. Null means absent, as in transformers."""
    value = default if raw.get(key) is None else raw[key]
    if value is None:
        raise InputError(f"{where}: key {key} is missing")
    if kind is bool:
        _expect(isinstance(value, bool), where, key, value, "true or false")
    else:
        ok = type(value) in (int, kind) and 0 < value < 1e15
        _expect(ok, where, key, value, f"a positive {'integer' if kind is int else 'number'}")
    return kind(value)


def _rope(raw: dict[str, Any], where: str, context: int) -> tuple[float, Yarn | None]:
    """Return base and scaling from rope_theta and rope_scaling (transformers 4) or from rope_parameters (5)."""
    thetas = [_read(raw, "rope_theta", float, where)] if raw.get("rope_theta") is not None else []
    scalings = set()
    for key in ("rope_scaling", "rope_parameters"):
        rope = {} if raw.get(key) is None else raw[key]
        _expect(isinstance(rope, dict), where, key, rope, "an object or null")
        for name in ("rope_type", "type"):
            kind = rope.get(name)
            _expect(kind in (None, "default", "yarn"), where, f"{key}.{name}", kind, '"default" or "yarn"')
        kinds = {rope.get("rope_type"), rope.get("type")} - {None}
        _expect(len(kinds) < 2, where, f"{key}.type", rope.get("type"), "the same as rope_type")  # 4 and 5 disagree
        _expect(rope.get("partial_rotary_factor") in (None, 1), where, key, rope, "no partial rotation")
        _expect(not any(isinstance(v, dict) for v in rope.values()), where, key, rope, "one base for all layers")
        if rope.get("rope_theta") is not None:
            thetas.append(_read(rope, "rope_theta", float, f"{where}: {key}"))
        if rope:
            scalings.add(_yarn(rope, f"{where}: {key}", context) if "yarn" in kinds else None)
    _expect(len(set(thetas)) < 2, where, "rope_theta", thetas, "the same base wherever it stands")
    # Beside rope_scaling, transformers 5 would drop rope_parameters, the base in it included.
    _expect(len(scalings) < 2, where, "rope_scaling", raw.get("rope_scaling"), "the same scaling as in rope_parameters")
    theta, yarn = (*thetas, 10000.0)[0], (*scalings, None)[0]
    if yarn:
        _expect(theta > 1, where, "rope_theta", theta, "more than 1 (YaRN divides by its logarithm)")
        key, original = "original_max_position_embeddings", yarn.original_max_position_embeddings
        _expect(raw.get(key) in (None, original), where, key, raw.get(key), f"{original} as in the YaRN settings")
    return theta, yarn


def _yarn(rope: dict[str, Any], where: str, context: int) -> Yarn:
    """Return the YaRN settings in a rope object; absent keys as in transformers."""
    known = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "mscale", "mscale_all_dim"}
    for key, value in rope.items():
        _expect(key in known | set(Yarn.__dataclass_fields__), where, key, value, "no such key")
    original = _read(rope, "original_max_position_embeddings", int, where, context)
    # Files without a factor mean the ratio of the two contexts, which without the original one is nothing.
    ratio = None if rope.get("original_max_position_embeddings") is None else context / original
    s = _read(rope, "factor", float, where, ratio)
    _expect(s >= 1, where, "factor", s, "at least 1")
    # YaRN Eq. 22, or DeepSeek-V2's quotient of two such lines if both slopes are given; one alone does nothing.
    slopes = [_read(rope, key, float, where) for key in ("mscale", "mscale_all_dim") if rope.get(key) is not None]
    above, below = [0.1 * slope * math.log(s) + 1 for slope in (slopes if len(slopes) == 2 else (1, 0))]
    fast, slow = (_read(rope, key, float, where, value) for key, value in (("beta_fast", 32), ("beta_slow", 1)))
    _expect(fast >= slow, where, "beta_fast", fast, f"at least beta_slow, {slow}")
    attention = _read(rope, "attention_factor", float, where, above / below)
    truncate = _read(rope, "truncate", bool, where, "truncate" not in rope)  # null means false here, as in transformers
    return Yarn(s, original, attention, fast, slow, truncate)


def _refuse_unsupported(raw: dict[str, Any], where: str) -> None:
    """Refuse what would silently give other numbers than the reference implementation's."""
    kind = raw.get("model_type")
    _expect(kind in tuple(ARCHITECTURES), where, "model_type", kind, f"one of {', '.join(ARCHITECTURES)}")
    names = raw.get("architectures")
    _expect(names in (None, [ARCHITECTURES[kind]]), where, "architectures", names, f"[{ARCHITECTURES[kind]}]")
    neutral = {"hidden_act": "silu", "mlp_bias": False, "partial_rotary_factor": 1, "quantization_config": None}
    if kind != "qwen2":  # whose bias is a constant, not a key
        neutral["attention_bias"] = False
    for key, value in neutral.items():
        _expect(raw.get(key) in (None, value), where, key, raw.get(key), f"{json.dumps(value)} or no such key")
    types = raw.get("layer_types") or []
    full = isinstance(types, list) and all(t == "full_attention" for t in types)
    _expect(full, where, "layer_types", types, "full_attention in every layer")
    if _read(raw, "use_sliding_window", bool, where, False) and raw.get("sliding_window", 4096) is not None:
        full = raw.get("max_window_layers", 28)  # that many layers, the first ones, attend to everything
        unused = type(full) is int and _read(raw, "num_hidden_layers", int, where) <= full
        _expect(unused, where, "use_sliding_window", True, "false: sliding windows are not implemented")
