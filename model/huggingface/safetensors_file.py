"""A safetensors file: the length, a JSON header, the tensors. Source: the format section of the README.

- a damaged file is reported with the tensor that it damages, before anything is read
- written one tensor at a time, so that no more is ever in memory
- left out: other dtypes than F32, F16 and BF16

The format is read and written by hand. The safetensors library (0.8) names no tensor where a file is cut off,
maps the file, so that one that shrinks meanwhile ends the process by SIGBUS, and writes a dict of whole
tensors, which is a shard in memory, sorted by name and readable by its owner alone.
"""

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.errors import InputError
from model.files import MAX_BYTES, open_bytes, parse_object
from model.sums import Hashed

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in a file, as the header says."""

    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int  # its first byte, from the start of the file
    end: int  # the first byte after it


def read_header(path: str | Path) -> dict[str, StoredTensor]:
    """Return the tensors of a safetensors file by their names.

    Raises InputError naming the file, and the tensor at fault, for a broken or overlong header, a dtype other
    than F32, F16 and BF16, a size that is not the shape's, and bytes that overlap, leave a gap or lie beyond
    the end.
    """
    path = Path(path)
    with open_bytes(path) as file:
        size = path.stat().st_size
        length = int.from_bytes(file.read(8), "little")
        start = 8 + length
        if size < 8 or length > MAX_BYTES or start > size:
            raise InputError(f"{path}: not a safetensors file, or cut off within its header ({size} bytes)")
        entries = parse_object(file.read(length), str(path))

    entries.pop("__metadata__", None)
    header = {name: _read_entry(path, name, entry, start) for name, entry in entries.items()}
    in_order = sorted(header.items(), key=lambda item: (item[1].begin, item[1].end))
    expected = start
    for name, stored in in_order:
        if stored.end > size:
            raise InputError(
                f"{path}: tensor {name} ends at {stored.end}, the file at {size} bytes: truncated"
            )
        if stored.begin != expected:
            raise InputError(f"{path}: tensor {name} begins at byte {stored.begin}, expected {expected}")
        expected = stored.end
    if expected != size:
        raise InputError(f"{path}: {size - expected} bytes after the last tensor")
    return header


def _read_entry(path: Path, name: str, entry: object, start: int) -> StoredTensor:
    """Check one entry of a header whose tensors begin at byte `start`."""
    fields = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        expected = ", ".join(DTYPES)
        raise InputError(f"{path}: tensor {name} has dtype {str(dtype)[:40]}, expected one of {expected}")
    if _are_sizes(shape) and _are_sizes(offsets) and len(offsets) == 2:
        begin, end = offsets
        if end - begin == math.prod(shape) * DTYPES[dtype].itemsize:
            return StoredTensor(path, DTYPES[dtype], tuple(shape), start + begin, start + end)
    raise InputError(f"{path}: tensor {name} has shape {str(shape)[:80]}, data_offsets {str(offsets)[:80]}")


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 48 for n in value)


def write_safetensors(
    path: Path, shapes: dict[str, torch.Size], tensors: Iterator[Tensor], dtype: torch.dtype
) -> str:
    """Write 8 bytes of length, a JSON header and the tensors, of which one at a time is copied; return its sha256.

    Source: the format section of the safetensors README.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + shape.numel() * dtype.itemsize
        header[name] = {"dtype": DTYPE_NAMES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    with open(path, "wb") as written:
        file = Hashed(written)
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for tensor in itertools.islice(tensors, len(shapes)):
            file.write(tensor.cpu().contiguous().view(torch.uint8).numpy())
    return file.sha256.hexdigest()
