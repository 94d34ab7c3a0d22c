"""A run's manifest as it is read: its starts, what each has written, and one root over all of that.

Light: auditors read it without loading torch. Left out: writing it (training/identity.py), and comparing files with it
(audit/verify.py).
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleming.files import read_json
from fleming.typed import convert
from model.sums import SUMS, digest, read_sums, sums_of

CONFIG = "config.yaml"
REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = {
    "synth": "synth_data.py",
    "sft": "train_sft.py",
    "grpo": "train_grpo.py",
    "evaluate": "evaluate.py",
}
"""The stages, in their order, and what runs each."""
LOGS = {"sft": ("metrics",), "grpo": ("metrics", "curriculum")}  # whose lengths a checkpoint knows
EDITED = ("decisions.jsonl", "cards.html")
"""What people are meant to edit: no hash is kept of it."""

Entry = dict[str, Any]
"""One start of a stage."""
FORMS = {
    "inputs": dict[str, str],
    "outputs": dict[str, str],
    "config": dict[str, Any],
    "name": str,
    "started": str,
}
"""What stands in an entry under these names, where they are there."""


def read_manifest(run_dir: str | Path) -> dict[str, list[Entry]]:
    """Return stage -> its starts, none where there is no manifest yet. Raises InputError for a file that is none."""
    path = Path(run_dir, "manifest.json")
    if not path.exists():
        return {}
    manifest = convert(dict[str, list[Entry]], read_json(path), str(path), "manifest")
    for stage, entries in manifest.items():
        for entry in entries:
            entry.setdefault("outputs", {})  # which earlier versions left out where there were none
            for name, form in FORMS.items():
                if name in entry:
                    convert(form, entry[name], str(path), f"{stage}.{name}")
    return {stage: entries for stage, entries in manifest.items() if entries}


def current(manifest: Mapping[str, list[Entry]]) -> list[tuple[str, Entry]]:
    """Return (stage, its last start), of evaluations the last of each name, in the order in which they began."""
    last = {(stage, e.get("name")): (stage, e) for stage, entries in manifest.items() for e in entries}
    return sorted(last.values(), key=lambda pair: str(pair[1].get("started")))


def current_outputs(manifest: Mapping[str, list[Entry]]) -> dict[str, str]:
    """Return path below the run's folder -> sha256 of all that its stages have written, the last to write it counts."""
    return {path: sha256 for _, entry in current(manifest) for path, sha256 in entry["outputs"].items()}


def newest_root(manifest: Mapping[str, list[Entry]]) -> tuple[str, dict[str, str]]:
    """Return the newest root, "" where no stage has ended, and the outputs that it is of: none of what began since."""
    ended = [str(e.get("started")) for starts in manifest.values() for e in starts if "root" in e]
    then = {
        stage: [e for e in starts if str(e.get("started")) <= max(ended, default="")]
        for stage, starts in manifest.items()
    }
    roots = [str(entry["root"]) for _, entry in current(then) if "root" in entry]
    return roots[-1] if roots else "", current_outputs(then)


def is_kept(path: Path) -> bool:
    """Whether a hash of the file is kept: it is no list of hashes itself, no lock, nothing half-written."""
    listed = path.name != SUMS and path.suffix != ".sha256"
    return listed and path.name not in EDITED and not any(part.startswith(".") for part in path.parts)


def files_in(folder: Path) -> list[Path]:
    """Return all files in a folder and below, in order; a folder that is a link is entered too, but none twice."""
    found, entered = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in entered:
            folders.clear()
        else:
            found += [Path(place, name) for name in names]
        entered.add(real)
    return sorted(path for path in found if path.is_file())


def written_in(run_dir: Path, folder: str) -> dict[str, str]:
    """Return path below `run_dir` -> sha256 of the files in a folder of it, as it stands beside each, else counted.

    Raises InputError for a file that cannot be read.
    """
    found = {}
    for path in files_in(run_dir / folder):
        name = path.relative_to(run_dir)
        if not is_kept(name):
            continue
        said = [sha256 for sha256, _ in read_sums(sums_of(path))]  # the newest comes first
        said += [sha256 for sha256, file in read_sums(path.with_name(SUMS)) if file == path.name]
        found[name.as_posix()] = said[0] if said else digest(path)
    return found


def merkle_root(hashes: Mapping[str, str]) -> str:
    """Return the root of the Merkle tree (RFC 6962, 2.1) whose leaves are the lines "SHA256  PATH" in order of paths.

    Who has published it can change no file, add none and leave none away without another root; and that one file
    belongs to it is shown with as many hashes as the tree is deep.
    """

    def tree(leaves: list[bytes]) -> bytes:
        if len(leaves) < 2:
            return leaves[0] if leaves else hashlib.sha256().digest()
        left = 1 << (len(leaves) - 1).bit_length() - 1  # the largest power of two below
        return hashlib.sha256(b"\x01" + tree(leaves[:left]) + tree(leaves[left:])).digest()

    lines = (f"{sha256}  {path}\n".encode() for path, sha256 in sorted(hashes.items()))
    return tree([hashlib.sha256(b"\x00" + line).digest() for line in lines]).hex()


def code_sha256() -> str:
    """Return one hash of all code that training may run: also where there is no git, or the tree is dirty."""
    known = hashlib.sha256()
    patterns = "train_*.py", "fleming/**/*.py", "model/**/*.py"
    for path in sorted(path for pattern in patterns for path in REPOSITORY.glob(pattern)):
        known.update(f"{path.relative_to(REPOSITORY)}\n".encode() + path.read_bytes())
    return known.hexdigest()
