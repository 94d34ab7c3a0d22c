"""Weights: Hugging Face folders into a Transformer and back, one tensor at a time.

- reads model.safetensors, or the shards of model.safetensors.index.json; every name, shape and dtype is checked before
  anything is copied, and a damaged file is reported with the tensor that it damages
- writes a folder that transformers loads back bit for bit, renamed into place when it is complete
- left out: pickled weights (never read), quantised and 8-bit dtypes, slices for sharded models
"""

import itertools
import json
import math
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from model.config import load_config, read_json
from model.errors import InputError
from model.tokenizer import Tokenizer
from model.transformer import Transformer

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

TensorSpec = tuple[str, tuple[int, ...], tuple[int, int]]  # dtype, shape, (first byte, first byte after it)


def load_model(
    folder: str | Path, dtype: torch.dtype = torch.float32, device: str = "cpu", chat_format: str | None = None
) -> tuple[Transformer, Tokenizer]:
    """Return the model and the tokenizer of a Hugging Face folder, the weights converted to `dtype` on `device`.

    `chat_format`: see `Tokenizer.from_folder`. Raises InputError naming the file, and the key or tensor in it, for
    whatever is missing, broken, contradictory or not supported.
    """
    cfg = load_config(folder)
    tokenizer = Tokenizer.from_folder(folder, chat_format)
    _check_vocabulary(cfg.vocab_size, tokenizer.size, Path(folder) / "config.json")
    with torch.device("meta"):
        transformer = Transformer(cfg)
    transformer.to(dtype).to_empty(device=device)
    transformer.tie_weights()  # to_empty gave each of the two a memory of its own
    transformer.vocab_limit = tokenizer.size
    load_weights(transformer, folder)
    return transformer, tokenizer


def load_weights(transformer: Transformer, folder: str | Path) -> None:
    """Overwrite a model's parameters, in place, with a folder's. Raises InputError as `load_model` does."""
    folder, parameters = Path(folder), _hf_parameters(transformer)
    source, headers = _read_headers(folder)
    found = {name: (path, spec) for path, header in headers.items() for name, spec in header.items()}
    twin = found.pop("lm_head.weight", None) if transformer.cfg.tie_word_embeddings else None
    for name, parameter in parameters.items():
        if name not in found:
            raise InputError(f"{source}: tensor {name} is missing, which the model of config.json has")
        path, (_, shape, _) = found[name]
        if shape != tuple(parameter.shape):
            raise InputError(f"{path}: tensor {name} has shape {list(shape)}, expected {list(parameter.shape)}")
    for name, (path, _) in found.items():
        if name not in parameters and not name.endswith("rotary_emb.inv_freq"):  # old exports keep that constant
            raise InputError(f"{path}: tensor {name} is not part of the model that config.json describes")
    if twin is not None and not torch.equal(_read_tensor(*twin), _read_tensor(*found["model.embed_tokens.weight"])):
        raise InputError(f"{twin[0]}: tensor lm_head.weight differs from the embedding that config.json ties it to")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(_read_tensor(*found[name]))


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
) -> None:
    """Write a Hugging Face folder that transformers loads back bit for bit, in `dtype` (default: the model's own).

    It is built beside `folder` and renamed when it is complete and on disk, so no reader sees half of it; a model
    folder that stood there is replaced. Raises InputError where something else stands there.
    """
    folder = Path(folder).resolve()
    _check_vocabulary(transformer.cfg.vocab_size, tokenizer.size, folder / "config.json")
    if folder.exists() and not (folder / "config.json").exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is no model folder, and is not overwritten with one")
    new, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    shutil.rmtree(new, ignore_errors=True)  # what a killed run left
    new.mkdir(parents=True)
    parameters = _hf_parameters(transformer)
    dtype = dtype or next(iter(parameters.values())).dtype
    _write_weights(new, parameters, dtype, max_shard_bytes)
    config = {"config.json": _json_bytes(transformer.cfg.to_hf(dtype))}
    for name, data in (tokenizer.files | config | {"generation_config.json": _generation_config(tokenizer)}).items():
        _write(new / name, [data])
    _fsync(new)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    new.rename(folder)
    _fsync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


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


def _read_tensor(path: Path, spec: TensorSpec) -> Tensor:
    dtype, shape, (begin, end) = spec
    data = torch.empty(end - begin, dtype=torch.uint8)
    with open(path, "rb") as file:
        file.seek(begin)
        if file.readinto(data.numpy()) != end - begin:
            raise InputError(f"{path}: shorter than a moment ago; is it being written?")
    return data.view(DTYPES[dtype]).view(shape)


def _write_weights(folder: Path, parameters: dict[str, Tensor], dtype: torch.dtype, max_shard_bytes: int) -> None:
    """Write one safetensors file, or several and their index; no shard but of a single tensor is over the limit."""
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, parameter in parameters.items():
        size = parameter.numel() * dtype.itemsize
        if shards[-1] and filled + size > max_shard_bytes:
            shards, filled = [*shards, {}], 0
        shards[-1][name] = parameter
        filled += size
    if len(shards) == 1:
        return _write_safetensors(folder / SINGLE, shards[0], dtype)
    placed = {}
    for i, shard in enumerate(shards, start=1):
        file = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        _write_safetensors(folder / file, shard, dtype)
        placed |= dict.fromkeys(shard, file)
    total = sum(parameter.numel() for parameter in parameters.values()) * dtype.itemsize
    _write(folder / INDEX, [_json_bytes({"metadata": {"total_size": total}, "weight_map": placed})])


def _write_safetensors(path: Path, tensors: dict[str, Tensor], dtype: torch.dtype) -> None:
    """Write the format by hand (8 bytes of length, a JSON header, the tensors), so that one tensor at a time is copied.

    Source: the format section of the safetensors README.
    """
    header, end = {"__metadata__": {"format": "pt"}}, 0
    kind = next(name for name, known in DTYPES.items() if known == dtype)
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.numel() * dtype.itemsize
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    bodies = (t.detach().to("cpu", dtype).contiguous().view(torch.uint8).numpy() for t in tensors.values())
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
