"""What a forger does behind a change to a finished run: make every hash in it fit again."""

import hashlib
import json
from pathlib import Path

from support.jsonl import read_lines

from fleming.files import write_json
from fleming.manifest import current, current_outputs, merkle_root
from model.sums import SUMS


def make_all_hashes_fit(run_dir: Path) -> None:
    """What a forger does behind a change: checkpoints' states, lists of hashes, manifest and root are made anew."""
    manifest = json.loads((run_dir / "manifest.json").read_text())
    before = current_outputs(manifest)
    changed = {old: sha256((run_dir / name).read_bytes()) for name, old in before.items()}
    for state in run_dir.glob("*/checkpoints/step_*/state.json"):
        told = json.loads(state.read_text())
        for log in ("metrics", "curriculum"):
            if f"{log}_bytes" in told:
                data = (state.parents[2] / f"{log}.jsonl").read_bytes()
                told[f"{log}_sha256"] = sha256(data[: told[f"{log}_bytes"]])
        told["identity"] = {
            key: changed.get(value, value) if isinstance(value, str) else value
            for key, value in told["identity"].items()
        }
        state.write_text(json.dumps(told))
    for listed in run_dir.rglob(SUMS):
        names = [line.split("  ")[1] for line in read_lines(listed)]
        listed.write_text("".join(f"{sha256((listed.parent / n).read_bytes())}  {n}\n" for n in names))
    for listed in run_dir.rglob("*.sha256"):
        file = listed.with_name(listed.name.removesuffix(".sha256"))
        listed.write_text(f"{sha256(file.read_bytes())}  {file.name}\n")
    for entries in manifest.values():
        for entry in entries:
            entry["inputs"] = {name: changed.get(old, old) for name, old in entry["inputs"].items()}
            entry["outputs"] = {name: sha256((run_dir / name).read_bytes()) for name in entry["outputs"]}
    current(manifest)[-1][1]["root"] = merkle_root(current_outputs(manifest))
    write_json(run_dir / "manifest.json", manifest)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
