"""A model folder: its files, and what people bring in place of one.

- a file of it lies in it: a link that leads out is refused, but for the hub's cache, whose files are links into
  the blobs beside them
- what else is brought is named, with what to do: an id of the hub, an adapter, GGUF, pickled weights
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from model.errors import InputError
from model.files import os_errors, read_bytes

HUB = r"(?:https?:/[\w.-]+/|hf:/|hf\.co/)?([\w-][\w.-]*/[\w.-]+)(?:/(?:tree|blob|resolve)/.*)?"
FOREIGN = {  # files that say what a folder is instead
    "adapter_*": "an adapter (LoRA): merge it into its base model (merge_and_unload, save_pretrained), and give that",
    "*.gguf": "quantised weights of llama.cpp (GGUF): give the folder of safetensors that they were made from",
    "*.bin": "pickled weights, which may run code and are never read: have transformers save them as safetensors",
}


def check_folder(folder: str | Path) -> None:
    """Raise InputError where this is no model folder, saying what it is and what to do."""
    folder = Path(folder)
    with os_errors(folder, "read"):
        is_folder, exists = folder.is_dir(), folder.exists()
    if not is_folder:
        what = "is a file; expected a model folder" if exists else "no such model folder"
        hub = re.fullmatch(HUB, str(folder))
        if folder.suffix == ".gguf":
            what = FOREIGN["*.gguf"]
        elif hub and not exists:
            what += f"; if it is an id of the hub: hf download {hub[1]} --local-dir {Path(hub[1]).name}, then give that"
        elif folder.parts[:1] == ("~",):
            what += "; behind = a shell leaves ~ as it stands: write ~ out"
        raise InputError(f"{folder}: {what}")
    whole = any(folder.glob("*.safetensors"))
    for pattern, what in FOREIGN.items():
        found = next(folder.glob(pattern), None)
        if found and (pattern == "adapter_*" or not whole):
            raise InputError(f"{found}: {what}")


def file_of(folder: str | Path, name: str) -> Path:
    """Return the path of a folder's file. Raises InputError for a link that leads out of the folder."""
    path, home = Path(folder, name), Path(folder).resolve()
    if path.is_symlink():
        target = Path(os.path.realpath(path))  # of a circle of links, one of them
        blobs = home.parents[1] / "blobs" if home.parent.name == "snapshots" else home
        if target.parent not in (home, blobs):
            raise InputError(f"{path}: leads out of the model folder, to {target}; put the file itself there")
    return path


def read_files(folder: str | Path, names: Iterable[str]) -> dict[str, bytes]:
    """Return name -> bytes of those of the files that are there, all of them small. Raises as `read_bytes`.

    A link to nothing is there: the folder was to have this file.
    """
    paths = {name: file_of(folder, name) for name in names}
    return {name: read_bytes(path) for name, path in paths.items() if os.path.lexists(path)}
