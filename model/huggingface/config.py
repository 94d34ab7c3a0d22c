"""ModelConfig: the shape of a model, read from a Hugging Face config.json and written back as one.

- Qwen2 and Qwen2.5 (model_type qwen2), Qwen3 dense and Llama, in the spelling of transformers 4 and of 5
- rotary positions as pretrained or stretched: rope.py
- arithmetic about the model: parameters, operations of a forward, bytes of the key/value cache
- whatever would change the numbers and is not implemented is refused by name: other scalings of rotary
  positions, active sliding windows, other activations, extra biases, quantised weights
- left out: what changes nothing here (dropout, use_cache, token ids). It is kept in `raw` for the export
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from model.files import read_object
from model.huggingface.fields import Fields
from model.huggingface.folder import check_folder, file_of
from model.huggingface.rope import Llama3, Yarn, read_rope

ARCHITECTURES = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}


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
    """Usable context: sampling and training stay within it. Read from the key of this name; with YaRN at
    least factor * original_max_position_embeddings, since Qwen's advice is to add rope_scaling and leave this
    key alone. With dual chunk attention no more than one chunk, within which it is plain attention.
    """
    tie_word_embeddings: bool  # the output matrix is the embedding itself
    initializer_range: float  # standard deviation of fresh weights
    yarn: Yarn | None = None  # stretched rotary positions; None: as pretrained
    llama3: Llama3 | None = None  # stretched as Llama 3.1 has them; at most one of the two
    # The config.json as it was read.
    raw: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

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
        """Return the config that a decoded config.json describes; absent keys take the defaults of
        transformers.

        `where` names the file. Raises InputError naming file, key and value for what is missing, of a wrong
        type, out of range, contradictory or not implemented.
        """
        fields = Fields(raw, where)
        _refuse_unsupported(fields)
        kind = raw["model_type"]
        hidden, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
        context = fields.integer("max_position_embeddings", 2048 if kind == "llama" else 32768)
        theta, scaling = read_rope(fields, context)
        yarn = scaling if isinstance(scaling, Yarn) else None
        if yarn:
            context = max(context, int(yarn.factor * yarn.original_max_position_embeddings))
        if fields.has(chunked := "dual_chunk_attention_config"):
            chunks = Fields(fields.object(chunked), f"{where}: {chunked}")
            reach = chunks.integer("chunk_size") - chunks.integer("local_size")
            chunks.expect(reach > 0, "local_size", raw[chunked], "less than chunk_size")
            context = min(context, reach, chunks.integer("original_max_position_embeddings", context))

        # Llama 1 files have no num_key_value_heads; for Qwen the class default (32) would be a guess.
        kv_heads_default = heads if kind == "llama" or "num_key_value_heads" in raw else None
        kv_heads = fields.integer("num_key_value_heads", kv_heads_default)
        fields.expect(heads % kv_heads == 0, "num_key_value_heads", kv_heads, f"a divisor of {heads} heads")
        head_dim_default = hidden // heads if hidden % heads == 0 else None
        head_dim = fields.integer("head_dim", 128 if kind == "qwen3" else head_dim_default)
        fields.expect(head_dim % 2 == 0, "head_dim", head_dim, "an even number (rotary pairs)")
        return cls(
            model_type=kind,
            vocab_size=fields.integer("vocab_size"),
            hidden_size=hidden,
            intermediate_size=fields.integer("intermediate_size"),
            num_hidden_layers=fields.integer("num_hidden_layers"),
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            head_dim=head_dim,
            rope_theta=theta,
            rms_norm_eps=fields.number("rms_norm_eps", 1e-6),
            max_position_embeddings=context,
            tie_word_embeddings=fields.flag("tie_word_embeddings", False),
            initializer_range=fields.number("initializer_range", 0.02),
            yarn=yarn,
            llama3=scaling if isinstance(scaling, Llama3) else None,
            raw=raw,
        )

    def to_hf(self, dtype: torch.dtype) -> dict[str, Any]:
        """Return a config.json for weights of this dtype that transformers 4 and 5 read alike."""
        config = dict(self.raw)
        if not config:
            names = [name for name in self.__dataclass_fields__ if name not in ("yarn", "llama3", "raw")]
            config = {name: getattr(self, name) for name in names}
            config |= {"hidden_act": "silu", "bos_token_id": None, "eos_token_id": None}
        # 4 looks for rope_theta and torch_dtype, and would fall back to other values without a word.
        name = str(dtype).removeprefix("torch.")
        config |= {"rope_theta": self.rope_theta, "torch_dtype": name, "dtype": name}
        for kind, settings in {"yarn": self.yarn, "llama3": self.llama3}.items():
            if settings:
                # 4 knows no rope_parameters; before 4.56 its factor was max_position_embeddings / original.
                scaling = {"rope_type": kind, **asdict(settings)}
                config["rope_scaling"] = scaling
                config["rope_parameters"] = {"rope_theta": self.rope_theta, **scaling}
                config["max_position_embeddings"] = self.max_position_embeddings
        config["architectures"] = [ARCHITECTURES[self.model_type]]
        return config

    @property
    def _block_matrices(self) -> int:
        """Entries of one block's matrices: q and o, k and v, and the three of SwiGLU."""
        heads = self.num_attention_heads + self.num_key_value_heads
        attention = 2 * self.hidden_size * heads * self.head_dim
        return attention + 3 * self.hidden_size * self.intermediate_size

    @property
    def block_parameters(self) -> int:
        """Parameters of one block: what a rank gathers at a time, and what activation checkpointing recomputes."""
        parameters = self._block_matrices + 2 * self.hidden_size  # and two norms
        if self.qk_norm:
            parameters += 2 * self.head_dim
        if self.attention_bias:
            parameters += (self.num_attention_heads + 2 * self.num_key_value_heads) * self.head_dim
        return parameters

    @property
    def parameters(self) -> int:
        """Parameters of the whole model; a tied output matrix is the embedding itself and is counted once."""
        matrices = 1 if self.tie_word_embeddings else 2
        vocabulary = matrices * self.vocab_size * self.hidden_size
        return vocabulary + self.num_hidden_layers * self.block_parameters + self.hidden_size

    def forward_flops(self, tokens: int, attended: int, scored: int) -> int:
        """Return the operations of a forward's matrix products, a multiply-add counted as 2.

        tokens pass all blocks (an embedding is looked up, not multiplied); attended query-key pairs, T (T +
        1) / 2 for a causal sequence, cost 2 d in q k^T and 2 d in the sum over v, per layer and query head;
        scored rows meet the output matrix. A backward costs twice a forward: each product has a gradient for
        either factor.
        """
        pairs = 4 * self.head_dim * self.num_attention_heads * attended
        blocks = self.num_hidden_layers * (2 * tokens * self._block_matrices + pairs)
        return blocks + 2 * scored * self.hidden_size * self.vocab_size

    def kv_bytes_per_token(self, dtype: torch.dtype) -> int:
        """Return the bytes of a token's keys and values over all layers: what decoding reads again at every step."""
        return 2 * self.num_hidden_layers * self.num_key_value_heads * self.head_dim * dtype.itemsize


def load_config(folder: str | Path) -> ModelConfig:
    """Return the ModelConfig of a model folder. Raises InputError as `ModelConfig.from_hf` and `check_folder` do."""
    check_folder(folder)
    path = file_of(folder, "config.json")
    return ModelConfig.from_hf(read_object(path), str(path))


def _refuse_unsupported(fields: Fields) -> None:
    """Refuse what would silently give other numbers than the reference implementation's."""
    raw = fields.raw
    kind = raw.get("model_type")
    fields.expect(kind in tuple(ARCHITECTURES), "model_type", kind, f"one of {', '.join(ARCHITECTURES)}")
    expected, found = [ARCHITECTURES[kind]], raw.get("architectures")
    fields.expect(found in (None, expected), "architectures", found, f"[{expected[0]}]")

    neutral = {"hidden_act": "silu", "mlp_bias": False, "partial_rotary_factor": 1}
    if kind != "qwen2":  # whose bias is a constant, not a key
        neutral["attention_bias"] = False
    for key, value in neutral.items():
        found = raw.get(key)
        fields.expect(found in (None, value), key, found, f"{json.dumps(value)} or no such key")
    quantised = fields.object("quantization_config")
    kind = quantised.get("quant_method", "quantised")
    wanted = f"none: {kind} weights cannot be trained; give the folder of the model that they were made from"
    fields.expect(not quantised, "quantization_config", quantised, wanted)

    layers = raw.get("layer_types") or []
    full = isinstance(layers, list) and set(map(str, layers)) <= {"full_attention"}
    fields.expect(full, "layer_types", layers, "full_attention in every layer")
    if fields.flag("use_sliding_window", False) and raw.get("sliding_window", 4096) is not None:
        full_layers = raw.get("max_window_layers", 28)  # the first ones attend to everything
        unused = type(full_layers) is int and fields.integer("num_hidden_layers") <= full_layers
        fields.expect(unused, "use_sliding_window", True, "false: sliding windows are not implemented")
