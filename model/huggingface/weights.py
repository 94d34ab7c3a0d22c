"""Weights: Hugging Face folders into a Transformer and back, one tensor at a time.

- reads model.safetensors, or the shards of model.safetensors.index.json; every name, shape and dtype is checked before
  anything is copied, and a damaged file is reported with the tensor that it damages
- of a sharded model (DTensor parameters) each rank reads its own rows alone, a piece at a time
- writes a folder that transformers loads back bit for bit, renamed into place when it is complete
- left out: pickled weights (never read), quantised and 8-bit dtypes
"""

import itertools
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from model.errors import InputError
from model.huggingface.config import load_config, read_json
from model.huggingface.tokenizer import Tokenizer
from model.transformer import Transformer

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library
PIECE_BYTES = 32 << 20  # read at a time
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

TensorSpec = tuple[str, tuple[int, ...], tuple[int, int]]  # dtype, shape, (first byte, first byte after it)


def load_model(
    folder: str | Path,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    chat_format: str | None = None,
    prepare: Callable[[Transformer], object] = lambda transformer: None,
) -> tuple[Transformer, Tokenizer]:
    """Return the model and the tokenizer of a Hugging Face folder, the weights converted to `dtype` on `device`.

    `chat_format`: see `Tokenizer.from_folder`. `prepare` is called with the model before it has memory: where it is
    sharded, so that each rank allocates and reads its own rows alone. Raises InputError naming the file, and the key
    or tensor in it, for whatever is missing, broken, contradictory or not supported.
    """
    transformer, tokenizer = open_model(folder, chat_format)
    prepare(transformer.to(dtype))
    transformer.allocate(device)
    load_weights(transformer, folder)
    return transformer, tokenizer


def open_model(folder: str | Path, chat_format: str | None = None) -> tuple[Transformer, Tokenizer]:
    """Return a folder's model on the meta device, which takes no memory, and its tokenizer. Raises as `load_model`."""
    cfg = load_config(folder)
    tokenizer = Tokenizer.from_folder(folder, chat_format)
    _check_vocabulary(cfg.vocab_size, tokenizer.size, Path(folder) / "config.json")
    with torch.device("meta"):
        transformer = Transformer(cfg)
    transformer.vocab_limit = tokenizer.size
    return transformer, tokenizer


def load_weights(transformer: Transformer, folder: str | Path) -> None:
    """Overwrite a model's parameters, in place, with a folder's. Raises InputError as `load_model` does."""
    parameters = _hf_parameters(transformer)
    found = find_tensors(transformer, folder)
    with torch.no_grad():
        for name, parameter in parameters.items():
            for rows, piece in _pieces(parameter, *found[name]):
                rows.copy_(piece)
        if transformer.cfg.tie_word_embeddings and "lm_head.weight" in found:
            path, spec = found["lm_head.weight"]
            for rows, piece in _pieces(transformer.embed_tokens.weight, path, spec):
                if not torch.equal(rows, piece.to(rows)):
                    raise InputError(
                        f"{path}: tensor lm_head.weight differs from the embedding that config.json ties it to"
                    )


def find_tensors(transformer: Transformer, folder: str | Path) -> dict[str, tuple[Path, TensorSpec]]:
    """Return Hugging Face name -> (file, spec) of a folder's tensors, which are exactly the model's.

    Reads headers only, and the model may be on the meta device. Raises InputError naming file and tensor for one that
    is missing, too many or of another shape. Of a tied model the file may hold the output matrix too.
    """
    folder, parameters = Path(folder), _hf_parameters(transformer)
    source, headers = _read_headers(folder)
    found = {name: (path, spec) for path, header in headers.items() for name, spec in header.items()}
    tied = {"lm_head.weight": parameters["model.embed_tokens.weight"]} if transformer.cfg.tie_word_embeddings else {}
    for name, parameter in (parameters | tied).items():
        if name not in found:
            if name in tied:
                continue
            raise InputError(f"{source}: tensor {name} is missing, which the model of config.json has")
        path, (_, shape, _) = found[name]
        if shape != tuple(parameter.shape):
            raise InputError(f"{path}: tensor {name} has shape {list(shape)}, expected {list(parameter.shape)}")
    for name, (path, _) in found.items():
        # Old exports keep a constant of the rotary positions.
        if name not in parameters | tied and not name.endswith("rotary_emb.inv_freq"):
            raise InputError(f"{path}: tensor {name} is not part of the model that config.json describes")
    return found


def read_header(path: str | Path) -> dict[str, TensorSpec]:
    """Return name -> (dtype, shape, (begin, end)) of a safetensors file; offsets count from the start of the file.

    Raises InputError naming the file, and the tensor at fault, for a broken or overlong header, a dtype other than
    F32, F16 and BF16, a size that is not the shape's, and bytes that overlap, leave a gap or lie beyond the end.
    """
    try:
        size = Path(path).stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            start = 8 + length
            if size < 8 or length > MAX_HEADER_BYTES or start > size:
                raise InputError(f"{path}: not a safetensors file, or cut off within its header ({size} bytes)")
            raw = read_json(path, file.read(length))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    entries = {name: entry for name, entry in raw.items() if name != "__metadata__"}
    header = {name: _read_entry(entry, start, f"{path}: tensor {name}") for name, entry in entries.items()}
    expected = start
    for name, (_, _, (begin, end)) in sorted(header.items(), key=lambda item: item[1][2]):
        if end > size:
            raise InputError(f"{path}: tensor {name} ends at byte {end}, the file at {size}: it is truncated")
        if begin != expected:
            raise InputError(f"{path}: tensor {name} begins at byte {begin}, expected {expected}")
        expected = end
    if expected != size:
        raise InputError(f"{path}: {size - expected} bytes after the last tensor")
    return header


def save_model(
    transformer: Transformer,
    tokenizer: Tokenizer,
    folder: str | Path,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = 4 << 30,
    writes: bool = True,
) -> None:
    """Write a Hugging Face folder that transformers loads back bit for bit, in `dtype` (default: the model's own).

    It is built beside `folder` and renamed when it is complete and on disk, so no reader sees half of it; a model
    folder that stood there is replaced. Raises InputError where something else stands there or the disk refuses.

    All ranks of a sharded model call this, one of them with `writes`: each tensor in turn is gathered by all (none
    ever holds more than one) and written by that one.
    """
    parameters = _hf_parameters(transformer)
    dtype = dtype or next(iter(parameters.values())).dtype
    whole = (_whole(parameter, dtype) for parameter in parameters.values())
    try:
        if writes:
            _save_folder(Path(folder).resolve(), transformer, tokenizer, dtype, max_shard_bytes, whole)
    except OSError as error:
        raise InputError(f"{folder}: cannot write: {error}") from error
    finally:
        for _ in whole:  # gathering takes every rank: one that does not write, or no longer can, still takes part
            pass


def _save_folder(folder: Path, transformer, tokenizer, dtype, max_shard_bytes: int, whole: Iterator[Tensor]) -> None:
    _check_vocabulary(transformer.cfg.vocab_size, tokenizer.size, folder / "config.json")
    if folder.exists() and not (folder / "config.json").exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is no model folder, and is not overwritten with one")
    new, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    shutil.rmtree(new, ignore_errors=True)  # what a killed run left
    new.mkdir(parents=True)
    try:
        shapes = {name: tuple(p.shape) for name, p in _hf_parameters(transformer).items()}
        _write_weights(new, shapes, whole, dtype, max_shard_bytes)
        config = {"config.json": _json_bytes(transformer.cfg.to_hf(dtype))}
        own = config | {"generation_config.json": _generation_config(tokenizer)}
        for name, data in (tokenizer.files | own).items():
            _write(new / name, [data])
        _fsync(new)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    _fsync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _whole(parameter: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the parameter, gathered from all ranks if it is sharded; cast first, so that less travels."""
    cast = parameter.detach().to(dtype)
    return cast.full_tensor() if isinstance(cast, DTensor) else cast


def _hf_parameters(transformer: Transformer) -> dict[str, torch.nn.Parameter]:
    """Return the parameters under their Hugging Face names; a tied output matrix occurs once, as the embedding."""
    named = transformer.named_parameters()
    return {name if name.startswith("lm_head.") else f"model.{name}": parameter for name, parameter in named}


def _generation_config(tokenizer: Tokenizer) -> bytes:
    """Return the folder's own file, unless others would not stop where we do: base models lack the end of a turn."""
    data = tokenizer.files.get("generation_config.json", b"{}")
    config = json.loads(data)
    eos = config.get("eos_token_id")
    if tokenizer.stop_ids <= set(eos if isinstance(eos, list) else [eos]):
        return data
    return _json_bytes(config | {"eos_token_id": sorted(tokenizer.stop_ids)})


def _check_vocabulary(rows: int, ids: int, config: Path) -> None:
    if ids > rows:
        raise InputError(f"{config}: vocab_size is {rows}, expected at least the tokenizer's {ids} ids")


def _read_headers(folder: Path) -> tuple[Path, dict[Path, dict[str, TensorSpec]]]:
    """Return the file that lists the tensors, and the header of each file of weights."""
    if (path := folder / SINGLE).exists():
        return path, {path: read_header(path)}
    index = folder / INDEX
    if not index.exists():
        raise InputError(f"{folder}: neither {SINGLE} nor {INDEX}; weights are read from safetensors alone")
    placed = read_json(index).get("weight_map")
    if not isinstance(placed, dict) or not placed or not all(isinstance(file, str) for file in placed.values()):
        raise InputError(f"{index}: weight_map must be an object, tensor name -> file name")
    headers = {}
    for file in sorted(set(placed.values())):
        if Path(file).name != file or "\\" in file or not file.endswith(".safetensors"):
            raise InputError(f"{index}: {file!r} is not the name of a safetensors file in the same folder")
        headers[folder / file] = read_header(folder / file)
    for name, file in placed.items():
        if name not in headers[folder / file]:
            raise InputError(f"{folder / file}: tensor {name} is missing, which {INDEX} places there")
    for path, header in headers.items():
        if stray := [name for name in header if placed.get(name) != path.name]:
            raise InputError(f"{path}: tensor {stray[0]} is not placed there by {INDEX}")
    return index, headers


def _read_entry(entry: object, start: int, where: str) -> TensorSpec:
    """Check one entry of a header whose tensors begin at byte `start`."""
    fields = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
    if dtype not in tuple(DTYPES):
        raise InputError(f"{where} has dtype {str(dtype)[:40]}, expected one of {', '.join(DTYPES)}")
    numbers = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else [None]
    ok = all(type(n) is int and 0 <= n < 1 << 48 for n in numbers) and len(offsets) == 2
    if not ok or offsets[1] - offsets[0] != math.prod(shape) * DTYPES[dtype].itemsize:
        raise InputError(f"{where} has shape {str(shape)[:80]} but data_offsets {str(offsets)[:80]}")
    return dtype, tuple(shape), (start + offsets[0], start + offsets[1])


def _pieces(parameter: Tensor, path: Path, spec: TensorSpec) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield some rows of the parameter (of a sharded one: of this rank's part) and what the file has for them."""
    dtype, (_, *inner), (begin, _) = spec
    first, rows = 0, parameter
    if isinstance(parameter, DTensor):
        assert all(p.is_replicate() or p.is_shard(0) for p in parameter.placements)
        _, (first, *_) = compute_local_shape_and_global_offset(
            parameter.shape, parameter.device_mesh, parameter.placements
        )
        rows = parameter.to_local()
    row_bytes = math.prod(inner) * DTYPES[dtype].itemsize
    with open(path, "rb") as file:
        file.seek(begin + first * row_bytes)
        for part in rows.split(max(1, PIECE_BYTES // row_bytes)):
            data = torch.empty(len(part) * row_bytes, dtype=torch.uint8)
            if file.readinto(data.numpy()) != data.numel():
                raise InputError(f"{path}: shorter than a moment ago; is it being written?")
            yield part, data.view(DTYPES[dtype]).view(-1, *inner)


def shards_of(sizes: dict[str, int], limit: int) -> list[list[str]]:
    """Split the names, in order, into runs of at most `limit` bytes together, or of a single larger tensor."""
    shards, filled = [[]], 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > limit:
            shards, filled = [*shards, []], 0
        shards[-1].append(name)
        filled += size
    return shards


def _write_weights(
    folder: Path, shapes: dict[str, tuple[int, ...]], tensors: Iterator[Tensor], dtype: torch.dtype, limit: int
) -> None:
    """Write one safetensors file, or several and their index; no shard but of a single tensor is over the limit.

    `tensors` are those that `shapes` names, in its order.
    """
    sizes = {name: math.prod(shape) * dtype.itemsize for name, shape in shapes.items()}
    shards = shards_of(sizes, limit)
    if len(shards) == 1:
        return _write_safetensors(folder / SINGLE, shapes, tensors, dtype)
    placed = {}
    for i, shard in enumerate(shards, start=1):
        file = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        _write_safetensors(folder / file, {name: shapes[name] for name in shard}, tensors, dtype)
        placed |= dict.fromkeys(shard, file)
    _write(folder / INDEX, [_json_bytes({"metadata": {"total_size": sum(sizes.values())}, "weight_map": placed})])


def _write_safetensors(
    path: Path, shapes: dict[str, tuple[int, ...]], tensors: Iterator[Tensor], dtype: torch.dtype
) -> None:
    """Write the format by hand (8 bytes of length, a JSON header, the tensors), so that one tensor at a time is copied.

    Source: the format section of the safetensors README.
    """
    header, end = {"__metadata__": {"format": "pt"}}, 0
    kind = next(name for name, known in DTYPES.items() if known == dtype)
    for name, shape in shapes.items():
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    bodies = (tensor.cpu().contiguous().view(torch.uint8).numpy() for tensor in itertools.islice(tensors, len(shapes)))
    _write(path, itertools.chain([len(text).to_bytes(8, "little"), text], bodies))


def _json_bytes(value: dict) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _write(path: Path, chunks: Iterable[bytes]) -> None:
    with open(path, "wb") as file:
        file.writelines(chunks)
        file.flush()
        os.fsync(file.fileno())


def _fsync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
