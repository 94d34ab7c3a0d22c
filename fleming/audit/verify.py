"""Whether a run's folder still holds what its stages wrote, and whether they began with what the stages before wrote.

Every file is read once, and compared with the manifest, with the hash beside it and with its folder's SHA256SUMS; what
the newest root says of all together is counted again. Whoever forges all of these forges this too: running parts of
the run again (segments.py) is what finds that. Left out: an evaluation's scores, which follow from its answers.
"""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fleming.config import flat
from fleming.files import LINE_HASH, by_step, check_unlocked, is_log_of, read_jsonl, step_name, step_of
from fleming.html_page import mapping
from fleming.manifest import (
    CONFIG,
    EDITED,
    LOGS,
    Entry,
    current,
    current_outputs,
    files_in,
    is_kept,
    merkle_root,
    newest_root,
    read_manifest,
)
from fleming.terminal import printable
from model.errors import InputError
from model.files import read_object
from model.sums import SUMS, digest, read_sums

MANIFEST = "manifest.json"
FOLDERS = {"data": "synth", "base": "synth", "sft": "sft", "grpo": "grpo", "eval": "evaluate"}
"""Folder of a run -> the stage that writes it."""
READ = ".json", ".jsonl", ".safetensors", ".jinja"
"""What other commands read, a hash beside it or not."""
UNLISTED = {"eval": ("rubric", "inspect/", "lm-eval/"), "data": ("decontamination.json",)}
"""In which folder: by commands that have no entry: `evaluate.py --rubrics` and `--export`, fleming.refine.gate."""
WRITTEN_LAST = "/results.json", "grpo/stage2/model/config.json"
"""By the stages whose outputs no later stage has to have read: who has these has ended."""


@dataclass
class Verdict:
    """What was found."""

    faults: list[str] = field(default_factory=list)
    """A line each, which begins with the file."""
    uncovered: list[str] = field(default_factory=list)
    """Files of which no hash is kept."""
    unrooted: list[str] = field(default_factory=list)
    """Files whose hash stands beside them alone, since their stage has not ended."""
    files: int = 0
    bytes: int = 0
    root: str = ""
    """The newest root that the manifest states; "" where no stage has ended."""
    outgrown: list[str] = field(default_factory=list)
    """Files that the root covers and a stage that began since may have written again; those that differ come first."""
    differ: int = 0
    """How many of them do."""


def verify(run_dir: Path) -> Verdict:
    """Compare all files of a run's folder with what is known of them. Raises InputError for what is no run's folder."""
    manifest = manifest_of(run_dir)
    there = {path.relative_to(run_dir).as_posix(): path for path in files_in(run_dir)}
    kept = {name: path for name, path in there.items() if is_kept(Path(name))}
    sizes = {name: path.stat().st_size for name, path in kept.items()}
    found = digests(kept, sizes)
    verdict = Verdict(files=len(kept), bytes=sum(sizes.values()))
    written = current_outputs(manifest)

    # Whoever says something of a file: the manifest, and the lists of hashes.
    says: dict[str, dict[str, set[str]]] = {name: {MANIFEST: {sha256}} for name, sha256 in written.items()}
    for by, path in there.items():
        if path.name != SUMS and path.suffix != ".sha256":
            continue
        try:
            lines = read_sums(path)
        except InputError as error:
            verdict.faults.append(f"{by}: {str(error).removeprefix(f'{path}: ')}")
            continue
        for sha256, file in lines:
            if path.name != SUMS and file not in ("", path.stem):
                verdict.faults.append(f"{by}: names {file}, and stands beside {path.stem}")
            of = Path(by).parent / (file if path.name == SUMS else path.stem)
            says.setdefault(of.as_posix(), {}).setdefault(by, set()).add(sha256)
    for name, claims in sorted(says.items()):
        verdict.faults += compare(name, found.get(name), claims)

    verdict.uncovered += [name for name in there if Path(name).name in EDITED]
    for name in kept.keys() - says.keys():
        verdict.faults += faults_of_lines(run_dir, name, verdict.uncovered)
    bare = kept.keys() & {name for name in verdict.uncovered if Path(name).suffix in READ}
    added = {name: found[name] for name in sorted(((kept.keys() & says.keys()) | bare) - written.keys())}
    verdict.faults += faults_of_strangers(manifest, added, verdict.unrooted)
    verdict.unrooted = [name for name in verdict.unrooted if name not in bare]
    verdict.faults += faults_of_states(run_dir, manifest)
    verdict.faults += faults_of_inputs(manifest, set(written.values()))
    verdict.faults += faults_of_claims(manifest)
    verdict.root, covers = newest_root(manifest)
    if verdict.root and merkle_root(covers) != verdict.root:
        verdict.faults.append(f"{MANIFEST}: its root is not that of the outputs that it names")
    outgrown = {
        name: found.get(name) == sha256 for name, sha256 in covers.items() if written.get(name) != sha256
    }
    verdict.outgrown = sorted(outgrown, key=lambda name: (outgrown[name], name))
    verdict.differ = list(outgrown.values()).count(False)
    verdict.uncovered.sort()
    return verdict


def manifest_of(run_dir: Path) -> dict[str, list[Entry]]:
    """Return the manifest. Raises InputError where there is none, or a run is still under way."""
    if not (run_dir / MANIFEST).is_file():
        raise InputError(f"{run_dir}: no {MANIFEST} here; expected the folder of a run (run_dir)")
    check_unlocked(run_dir)
    return read_manifest(run_dir)


def digests(kept: Mapping[str, Path], sizes: Mapping[str, int]) -> dict[str, str]:
    """Return name -> sha256 of each file's bytes."""
    bar = tqdm(total=sum(sizes.values()), desc="reading", unit="B", unit_scale=True, leave=False, delay=1)
    found = {}
    with bar, ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing lets go of the interpreter
        for name, sha256 in zip(kept, pool.map(digest, kept.values()), strict=True):
            found[name] = sha256
            bar.update(sizes[name])
    return found


def compare(name: str, found: str | None, claims: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield what differs: the file, where nobody says what it is; else the one who says otherwise."""
    if found is None:
        yield f"{name}: is missing; {' and '.join(claims)} {'have' if len(claims) > 1 else 'has'} it"
    elif not any(found in said for said in claims.values()):
        said = min(next(iter(claims.values())))
        yield f"{name}: changed: its sha256 is {found[:16]}..., {next(iter(claims))} has {said[:16]}..."
    else:
        for by, said in claims.items():
            if found in said:
                continue
            if by == MANIFEST:
                yield f"{name}: written again since its stage ended: another sha256 than the manifest's"
            else:
                yield f"{by}: another sha256 of {Path(name).name} than the file and {MANIFEST} have"


def faults_of_lines(run_dir: Path, name: str, uncovered: list[str]) -> list[str]:
    """Return the damaged lines of a log whose lines have hashes; note a file without any."""
    path, told = run_dir / name, []
    if path.suffix != ".jsonl" or f'"{LINE_HASH}"'.encode() not in path.open("rb").readline(1 << 20):
        uncovered.append(name)
        return []
    for _ in read_jsonl(path, fault=lambda where, _, detail: told.append(f"{where}: {detail}")):
        pass
    return [fault.removeprefix(f"{run_dir}/") for fault in told]


def faults_of_strangers(
    manifest: Mapping[str, list[Entry]], added: Mapping[str, str], unrooted: list[str]
) -> Iterator[str]:
    """Yield files (name -> sha256) that no stage wrote; note those of one that has not ended, but for its last."""
    last = {(stage, entry.get("name")): entry for stage, entry in current(manifest)}
    ever = {pair for entries in manifest.values() for entry in entries for pair in entry["outputs"].items()}
    for name, sha256 in added.items():
        folder, _, inside = name.partition("/")
        model, _, below = inside.partition("/") if folder == "eval" else (None, "", inside)
        if folder not in FOLDERS or below.startswith(UNLISTED.get(folder, ())):
            continue
        entry = last.get((FOLDERS[folder], model))
        under_way = entry is not None and "root" not in entry
        if under_way and ((name, sha256) in ever or not name.endswith(WRITTEN_LAST)):
            unrooted.append(name)
        else:
            again = "; if its last command was stopped, run it again" * under_way
            yield f"{name}: by {MANIFEST} no stage has written it{again}"


def faults_of_states(run_dir: Path, manifest: Mapping[str, list[Entry]]) -> Iterator[str]:
    """Yield what the newest checkpoint of a stage contradicts: its logs, and the manifest's settings and inputs.

    A stage that has ended has logged nothing behind it: no segment would run that again.
    """
    for stage, logs in LOGS.items():
        for folder in list(by_step(run_dir / stage / "checkpoints").values())[-1:]:
            try:
                state, entry = read_object(folder / "state.json"), manifest.get(stage, [{}])[-1]
                for log in logs:
                    path, size = run_dir / stage / f"{log}.jsonl", state.get(f"{log}_bytes")
                    goes_on = "root" in entry and path.exists() and path.stat().st_size != size
                    if size is not None and (goes_on or not is_log_of(path, state)):
                        yield f"{stage}/{log}.jsonl: not what it was at {folder.name}"
                steps = {f"{stage}/rollouts/{step_name(i)}.jsonl" for i in range(1, step_of(folder) + 1)}
                for name in entry["outputs"] if "root" in entry else ():
                    if name.startswith(f"{stage}/rollouts/") and name not in steps:
                        yield f"{name}: no step of this run, whose last is {folder.name}"
                said = flat(entry.get("config", {}))
                said |= {f"sha256 of {name}": sha256 for name, sha256 in entry.get("inputs", {}).items()}
                for key, value in mapping(state.get("identity")).items():
                    if said.get(key, value) != value:
                        yield f"{MANIFEST}: {stage} has {key} {said[key]!r}, {folder.name} has {value!r}"
            except InputError as error:  # one that is shorter, or gone
                yield str(error).removeprefix(f"{run_dir}/")


def faults_of_claims(manifest: Mapping[str, list[Entry]]) -> Iterator[str]:
    """Yield what an entry says it has written outside its stage's folders: it would speak for another's files."""
    for stage, entries in manifest.items():
        for entry in entries:
            below = f"/{entry.get('name')}/" if stage == "evaluate" else "/"
            own = tuple(folder + below for folder, by in FOLDERS.items() if by == stage)
            by = f"{MANIFEST}'s entry of {stage}, started {entry.get('started')}"
            for name in entry["outputs"]:
                if name != CONFIG and not name.startswith(own):
                    yield f"{name}: {by}, says that it wrote it; that is not its folder"


def faults_of_inputs(manifest: Mapping[str, list[Entry]], written: set[str]) -> Iterator[str]:
    """Yield what a stage has read of this run that is not what stands here now: a stage before it was run again."""
    for stage, entry in current(manifest):
        for name, sha256 in entry.get("inputs", {}).items():
            if sha256 not in written and is_own(name, stage, entry.get("config", {})):
                yield f"{MANIFEST}: {stage} read {name} {sha256[:16]}..., which no stage here has written"


def is_own(name: str, stage: str, config: Mapping[str, Any]) -> bool:
    """Whether an input is the run's own by its settings, and not a file or model that they name."""
    section, _, key = name.partition(".")
    if section == "data":
        return not mapping(config.get("data")).get(key)
    return name.startswith("model/") and stage in ("sft", "grpo") and not config.get("model")


def said(verdict: Verdict, run_dir: Path) -> str:
    """Return the verdict in words."""
    lines = list(verdict.faults)
    outgrown = (
        f"{len(verdict.outgrown)} files that a stage begun since may have changed, {verdict.differ} it has"
    )
    told = {
        "no hash is kept of": verdict.uncovered,
        "of a stage that has not ended": verdict.unrooted,
        f"the root is not of: {outgrown}": verdict.outgrown,
    }
    for what, names in told.items():
        if names:
            lines.append(f"{what}: {', '.join(names[:8])}{' ...' * (len(names) > 8)}")
    state = "all as written"
    root = f"root {verdict.root}" if verdict.root else "no root: no stage has ended here"
    if verdict.outgrown:
        state = "no faults, but no root of all of it"
        root = f"no root of what stands here: before the last stage began it was {verdict.root}"
    if verdict.faults:
        state = f"{len(verdict.faults)} faults"
    lines.append(f"{run_dir}: {verdict.files:,} files, {verdict.bytes / 1e9:.2f} GB: {state}")
    lines.append(root)
    return "\n".join(printable(line).replace("\n", "\\n") for line in lines)
