"""Weights: Hugging Face folders into a Transformer and back, one tensor at a time.

- reads model.safetensors, or the shards of model.safetensors.index.json; every name, shape and dtype is
  checked before anything is allocated, and a damaged file is reported with the tensor that it damages
- of a sharded model (DTensor parameters) each rank reads its own rows alone, a piece at a time
- writes a folder that transformers loads back bit for bit, renamed into place when it is complete
- left out: pickled weights (never read), quantised and 8-bit dtypes
"""

import hashlib
import json
import math
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from model.errors import InputError
from model.files import os_errors, read_object, replace_folder
from model.huggingface.config import ModelConfig, load_config
from model.huggingface.folder import file_of
from model.huggingface.safetensors_file import StoredTensor, read_header, write_safetensors
from model.huggingface.tokenizer import Tokenizer
from model.sums import check_sums, write_sums
from model.transformer import Transformer

PIECE_BYTES = 32 << 20  # read at a time
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
OURS = re.compile(r"lm_head\.|model\.(embed_tokens|norm|layers\.\d+)\.")  # how our tensors' names begin


# A folder in


def load_model(
    folder: str | Path,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    chat_format: str | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    prepare: Callable[[Transformer], object] = lambda transformer: None,
    check_hashes: bool = True,
) -> tuple[Transformer, Tokenizer]:
    """Return the model and the tokenizer of a Hugging Face folder, the weights converted to `dtype` on
    `device`.

    `chat_format`, `chat_template_kwargs`: see `Tokenizer.from_folder`. `prepare` is called with the model before
    it has memory: where it is sharded, so that each rank allocates and reads its own rows alone.
    `check_hashes`: compare every file with SHA256SUMS, where the folder has it (`sha256_file` says how long that
    takes); false where the caller has just done so, once for all ranks. Raises InputError naming the file, and
    the key or tensor in it, for whatever is missing, broken, contradictory or not supported.
    """
    transformer, tokenizer = open_model(folder, chat_format, chat_template_kwargs)
    find_tensors(transformer, folder)
    if check_hashes:
        check_sums(folder)
    prepare(transformer.to(dtype))
    transformer.allocate(device)
    load_weights(transformer, folder)
    return transformer, tokenizer


def open_model(
    folder: str | Path, chat_format: str | None = None, chat_template_kwargs: Mapping[str, Any] | None = None
) -> tuple[Transformer, Tokenizer]:
    """Return a folder's model on the meta device, which takes no memory, and its tokenizer. Raises as
    `load_model`.
    """
    cfg = load_config(folder)
    tokenizer = Tokenizer.from_folder(folder, chat_format, chat_template_kwargs)
    _check_vocabulary(cfg.vocab_size, tokenizer.size, Path(folder))
    check_sizes(cfg, folder)
    with torch.device("meta"):
        transformer = Transformer(cfg)
    transformer.vocab_limit = tokenizer.size
    return transformer, tokenizer


@torch.no_grad()
def load_weights(transformer: Transformer, folder: str | Path) -> None:
    """Overwrite a model's parameters, in place, with a folder's. Raises InputError as `load_model` does."""
    found = find_tensors(transformer, folder)
    for name, parameter in _hf_parameters(transformer).items():
        for rows, piece in _pieces(parameter, found[name]):
            # The ends keep NaN, and are a tenth of the work of looking at each number.
            if piece.numel() and not torch.stack(piece.aminmax()).isfinite().all():
                raise InputError(f"{found[name].path}: tensor {name} is not finite: the weights are broken")
            rows.copy_(piece)

    if not transformer.cfg.tie_word_embeddings or "lm_head.weight" not in found:
        return
    output = found["lm_head.weight"]
    for rows, piece in _pieces(transformer.embed_tokens.weight, output):
        if not torch.equal(rows, piece.to(rows)):
            raise InputError(
                f"{output.path}: tensor lm_head.weight differs from the embedding that config.json ties it to"
            )


def find_tensors(transformer: Transformer, folder: str | Path) -> dict[str, StoredTensor]:
    """Return a folder's tensors by their Hugging Face names, which are exactly the model's.

    Reads headers only, and the model may be on the meta device. Raises InputError naming file and tensor for
    one that is missing, too many or of another shape. Of a tied model the file may hold the output matrix
    too.
    """
    source, found = _read_headers(Path(folder))
    shapes = {name: tuple(parameter.shape) for name, parameter in _hf_parameters(transformer).items()}
    if transformer.cfg.tie_word_embeddings and "lm_head.weight" in found:
        shapes["lm_head.weight"] = tuple(transformer.embed_tokens.weight.shape)
    _compare(shapes, found, source)
    for name, stored in found.items():
        # Old exports keep a constant of the rotary positions.
        if name not in shapes and not name.endswith("rotary_emb.inv_freq"):
            raise InputError(f"{stored.path}: tensor {name} is not part of config.json's model")
    return found


def check_sizes(cfg: ModelConfig, folder: str | Path) -> None:
    """Refuse a config.json whose sizes are not those of the weights, before anything of these sizes is made."""
    source, found = _read_headers(Path(folder))
    if cfg.num_hidden_layers > len(found):
        raise InputError(f"{source}: {len(found)} tensors; config.json has {cfg.num_hidden_layers} layers")
    block, width = f"model.layers.{cfg.num_hidden_layers - 1}.", cfg.hidden_size
    rows = {
        "model.embed_tokens.weight": cfg.vocab_size,
        f"{block}self_attn.q_proj.weight": cfg.num_attention_heads * cfg.head_dim,
        f"{block}self_attn.k_proj.weight": cfg.num_key_value_heads * cfg.head_dim,
        f"{block}mlp.gate_proj.weight": cfg.intermediate_size,
    }
    _compare({name: (count, width) for name, count in rows.items()}, found, source)


def _compare(shapes: Mapping[str, tuple], found: Mapping[str, StoredTensor], source: Path) -> None:
    """Raise InputError for a tensor that the weights lack or have in another shape."""
    for name, shape in shapes.items():
        if name not in found:
            foreign = next((other for other in found if not OURS.match(other)), None)
            instead = f"; it has {foreign}: another model, or a prefix to be taken off" if foreign else ""
            missing = f"tensor {name} is missing, which the model of config.json has"
            raise InputError(f"{source}: {missing}{instead}")
        if found[name].shape != shape:
            shapes = f"{list(found[name].shape)}, expected {list(shape)}"
            raise InputError(f"{found[name].path}: tensor {name} has shape {shapes}")


def _read_headers(folder: Path) -> tuple[Path, dict[str, StoredTensor]]:
    """Return the file that lists the tensors, and the tensors of all files of weights."""
    path, index = file_of(folder, SINGLE), file_of(folder, INDEX)
    if os.path.lexists(path):  # a link to nothing too: half a download
        return path, read_header(path)
    if not os.path.lexists(index):
        other = min(folder.glob("*.safetensors"), default=None)
        why = f"without them {other.name} is not read" if other else "weights are read from safetensors alone"
        raise InputError(f"{folder}: neither {SINGLE} nor {INDEX}; {why}")

    placed = read_object(index).get("weight_map")
    well_formed = isinstance(placed, dict) and placed and all(isinstance(f, str) for f in placed.values())
    if not well_formed:
        raise InputError(f"{index}: weight_map must be an object, tensor name -> file name")
    headers = {}
    for file in sorted(set(placed.values())):
        if not re.fullmatch(r"[\w .-]{1,200}\.safetensors", file, re.ASCII):
            raise InputError(f"{index}: {file!r} is not the name of a safetensors file in the same folder")
        headers[file] = read_header(file_of(folder, file))

    for name, file in placed.items():
        if name not in headers[file]:
            raise InputError(f"{folder / file}: tensor {name} is missing, which {INDEX} places there")
    found = {}
    for file, header in headers.items():
        for name, stored in header.items():
            if placed.get(name) != file:
                raise InputError(f"{stored.path}: tensor {name} is not placed there by {INDEX}")
            found[name] = stored
    return index, found


def _pieces(parameter: Tensor, stored: StoredTensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield some rows of the parameter (of a sharded one: of this rank's part) and what the file has for them."""
    first, rows = 0, parameter
    if isinstance(parameter, DTensor):
        assert all(p.is_replicate() or p.is_shard(0) for p in parameter.placements)
        _, (first, *_) = compute_local_shape_and_global_offset(
            parameter.shape, parameter.device_mesh, parameter.placements
        )
        rows = parameter.to_local()
    inner = stored.shape[1:]
    row_bytes = math.prod(inner) * stored.dtype.itemsize
    rows_at_a_time = max(1, PIECE_BYTES // row_bytes)
    with open(stored.path, "rb") as file:
        file.seek(stored.begin + first * row_bytes)
        for part in rows.split(rows_at_a_time):
            data = torch.empty(len(part) * row_bytes, dtype=torch.uint8)
            if file.readinto(data.numpy()) != data.numel():
                raise InputError(f"{stored.path}: shorter than a moment ago; is it being written?")
            yield part, data.view(stored.dtype).view(-1, *inner)


# A folder out


def save_model(
    transformer: Transformer,
    tokenizer: Tokenizer,
    folder: str | Path,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = 4 << 30,
    writes: bool = True,
) -> None:
    """Write a Hugging Face folder that transformers loads back bit for bit, in `dtype` (default: the model's
    own), with the hash of each file in SHA256SUMS.

    It is built beside `folder` and renamed when it is complete and on disk, so no reader sees half of it; a
    model folder that stood there is replaced. Raises InputError where something else stands there or the disk
    refuses.

    All ranks of a sharded model call this, one of them with `writes`: each tensor in turn is gathered by all
    (none ever holds more than one) and written by that one.
    """
    parameters = _hf_parameters(transformer)
    dtype = dtype or transformer.norm.weight.dtype
    whole = (_whole(parameter, dtype) for parameter in parameters.values())
    try:
        if writes:
            with os_errors(folder, "write"):
                target = Path(folder).resolve()  # what a link points to is replaced, and the link stays
                _check_vocabulary(transformer.cfg.vocab_size, tokenizer.size, target)
                check_replaceable(target)
                with replace_folder(target) as new:
                    shapes = {name: parameter.shape for name, parameter in parameters.items()}
                    hashes, small = _write_weights(new, shapes, whole, dtype, max_shard_bytes)
                    for name, data in (_small_files(transformer, tokenizer, dtype) | small).items():
                        (new / name).write_bytes(data)
                        hashes[name] = hashlib.sha256(data).hexdigest()
                    write_sums(new, hashes)
    finally:
        # Gathering takes every rank: one that does not write, or no longer can, still takes part.
        deque(whole, maxlen=0)


def _whole(parameter: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the parameter, gathered from all ranks if it is sharded; cast first, so that less travels."""
    cast = parameter.detach().to(dtype)
    return cast.full_tensor() if isinstance(cast, DTensor) else cast


def _hf_parameters(transformer: Transformer) -> dict[str, torch.nn.Parameter]:
    """Return the parameters under their Hugging Face names; a tied output matrix occurs once, as the embedding."""
    named = transformer.named_parameters()
    return {name if name.startswith("lm_head.") else f"model.{name}": parameter for name, parameter in named}


def _check_vocabulary(rows: int, ids: int, folder: Path) -> None:
    if ids > rows:
        path = folder / "config.json"
        raise InputError(f"{path}: vocab_size is {rows}, expected at least the tokenizer's {ids} ids")


def check_replaceable(folder: Path) -> None:
    """Raise InputError where something stands there that is neither a model folder nor an empty one."""
    if not folder.exists() or (folder / "config.json").exists():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise InputError(f"{folder}: is no model folder, and is not overwritten with one")


def _small_files(transformer: Transformer, tokenizer: Tokenizer, dtype: torch.dtype) -> dict[str, bytes]:
    """Return all files but the weights: the tokenizer's as they were read, and the configs."""
    files = tokenizer.files | {"config.json": _json_bytes(transformer.cfg.to_hf(dtype))}
    generation = json.loads(files.get("generation_config.json", b"{}"))
    eos = generation.get("eos_token_id")
    # Base models lack the end of a turn, and others would not stop where we do.
    if not tokenizer.stop_ids <= set(eos if isinstance(eos, list) else [eos]):
        generation["eos_token_id"] = sorted(tokenizer.stop_ids)
        files["generation_config.json"] = _json_bytes(generation)
    return files


def _json_bytes(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def shards_of(sizes: dict[str, int], limit: int) -> list[list[str]]:
    """Split the names, in order, into runs of at most `limit` bytes in all, or of a single larger tensor."""
    shards, filled = [[]], 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > limit:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def _write_weights(
    folder: Path,
    shapes: dict[str, torch.Size],
    tensors: Iterator[Tensor],
    dtype: torch.dtype,
    limit: int,
) -> tuple[dict[str, str], dict[str, bytes]]:
    """Write one safetensors file, or several; no shard but of a single tensor is over the limit.

    `tensors` are those that `shapes` names, in its order. Returns file name -> sha256, and of several files their
    index, which is still to be written.
    """
    sizes = {name: shape.numel() * dtype.itemsize for name, shape in shapes.items()}
    shards = shards_of(sizes, limit)
    placed, hashes = {}, {}
    for i, names in enumerate(shards, start=1):
        file = SINGLE if len(shards) == 1 else f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        part = {name: shapes[name] for name in names}
        hashes[file] = write_safetensors(folder / file, part, tensors, dtype)
        placed |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": placed}
    return hashes, {INDEX: _json_bytes(index)} if len(shards) > 1 else {}
