"""A stranger's check of a finished run without repeating it: parts of the training drawn at random, run again.

A segment is what lies between two kept checkpoints. It is run by the very scripts from the first of them, in a folder
of its own, and must give the second, to the last bit of weights and moments, and every rollout, ledger line and metric
between, but for what a clock measured. Left out: how the data were made and what was evaluated, which their own
commands repeat; kernels of CUDA, which do not repeat their bits.
"""

import contextlib
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file
from tqdm import tqdm

from fleming.config import dump_yaml
from fleming.files import by_step, is_log_of, read_json, read_jsonl, read_log, step_name, write_jsonl
from fleming.manifest import CONFIG, LOGS, REPOSITORY, SCRIPTS, code_sha256, read_manifest, written_in
from fleming.noise import permutation
from model.errors import InputError
from model.sums import SUMS, digest

TRAINED = "sft", "grpo"
CLOCKED = {"metrics_bytes", "metrics_sha256", "code"}
"""Of state.json: what a clock or another version of the code changes."""


LEAVING = threading.Event()
"""Set when the command is told to leave: no segment goes on, nor its processes."""
PATIENCE = 60  # seconds in which several processes must have saved and ended
WATCHED = f"""
exec 3<&0 </dev/null
(trap '' TERM; read -r _; kill 0; sleep {PATIENCE}; kill -9 0) <&3 &
exec 3<&-
exec "$@"
"""
"""Runs a command, and ends it when its standard input closes, as it does when this process is killed."""


@dataclass(frozen=True)
class Segment:
    """Steps first + 1 to last of a stage, between two kept checkpoints; from 0 it begins with the stage's model."""

    stage: str
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.stage}, steps {self.first + 1} to {self.last}"


def segments_of(run_dir: Path) -> list[Segment]:
    """Return all segments of a run. Raises InputError where there is none, and for a device that repeats no bits."""
    found = []
    manifest = read_manifest(run_dir)
    for stage in TRAINED:
        if devices := {str(e.get("device")) for e in manifest.get(stage, ())} - {"cpu"}:
            raise InputError(
                f"{run_dir}: {stage} ran on {min(devices)}, whose kernels do not repeat their bits; verify it without "
                "--segments"
            )
        steps = list(by_step(run_dir / stage / "checkpoints"))
        if stage in manifest and not steps:
            raise InputError(
                f"{run_dir}: no checkpoints of {stage} are kept here: none of its steps can be run again"
            )
        found += [Segment(stage, *ends) for ends in zip([0, *steps], steps, strict=False)]
    if not found:
        raise InputError(f"{run_dir}: nothing was trained here; expected the folder of a run (run_dir)")
    return found


def drawn(segments: Sequence[Segment], count: int, seed: int) -> list[Segment]:
    """Return `count` of the segments, each set of so many as likely as any other."""
    return [segments[i] for i in permutation(len(segments), seed, "segments")[:count]]


def chance_to_escape(total: int, forged: int, count: int) -> float:
    """Return the chance that `count` segments drawn of `total` have none of `forged`: the hypergeometric's at 0."""
    return math.comb(total - forged, count) / math.comb(total, count)


def check(segment: Segment, run_dir: Path, threads: int) -> list[str]:
    """Run the segment again in a folder that is deleted afterwards; return what is not as recorded."""
    with tempfile.TemporaryDirectory(prefix="segment_") as scratch:
        again = Path(scratch, "run")
        prepare(segment, run_dir, again)
        exported = exported_at(segment, run_dir)
        if failed := run_again(segment, run_dir, again, threads, exported):
            return [failed]
        return list(differences(segment, run_dir, again, exported))


def prepare(segment: Segment, run_dir: Path, again: Path) -> None:
    """Lay out the run as it stood at the segment's first step."""
    theirs, ours = run_dir.resolve() / segment.stage, again / segment.stage
    (ours / "checkpoints").mkdir(parents=True)
    # The stage's own: config.yaml has those of whichever stage was the last.
    settings = read_manifest(run_dir)[segment.stage][-1].get("config", {})
    (again / CONFIG).write_text(dump_yaml(settings), "utf-8")
    for other in run_dir.resolve().iterdir():
        if other.is_dir() and other.name not in (segment.stage, "eval"):
            (again / other.name).symlink_to(other)
    for step, folder in by_step(theirs / "checkpoints").items():
        if step <= segment.first:
            (ours / "checkpoints" / folder.name).symlink_to(folder)
    for log in LOGS[segment.stage] if segment.first else ():
        size = read_json(theirs / "checkpoints" / step_name(segment.first) / "state.json")[f"{log}_bytes"]
        (ours / f"{log}.jsonl").write_bytes((theirs / f"{log}.jsonl").read_bytes()[:size])
    if (theirs / "decisions.jsonl").exists():  # of people: those that it had found by then
        events = read_log(theirs / "curriculum.jsonl")
        known = {e["question"] for e in events if e["event"] == "decision" and e["step"] <= segment.last}
        kept = [record for _, record in read_jsonl(theirs / "decisions.jsonl") if record.get("id") in known]
        write_jsonl(ours / "decisions.jsonl", kept)


def run_again(segment: Segment, run_dir: Path, again: Path, threads: int, exported: Sequence[str]) -> str:
    """Run the stage's script until the segment's last checkpoint is there, and what is exported with it; return why
    that failed, or ""."""
    stage = segment.stage
    processes = read_manifest(run_dir)[stage][-1].get("processes", 1)
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)] if processes > 1 else []
    command = [sys.executable, *launcher, str(REPOSITORY / SCRIPTS[stage])]
    command += ["--config", str(again / CONFIG)]
    command += [f"run_dir={again}", f"{stage}.keep_last={10**9}", f"threads={threads}", "logger=''"]
    awaited = [again / stage / "checkpoints" / step_name(segment.last)]
    awaited += [again / folder / SUMS for folder in exported]
    output = again.with_name("output")
    with open(output, "wb") as file:
        watched = ["sh", "-c", WATCHED, "sh", *command]
        process = subprocess.Popen(
            watched, stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True
        )
        try:
            while (
                process.poll() is None and not all(path.exists() for path in awaited) and not LEAVING.is_set()
            ):
                time.sleep(0.05)
        finally:
            if processes > 1 and process.poll() is None:
                process.terminate()  # ranks are in groups of their own, which their launcher ends
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE)
            os.killpg(process.pid, signal.SIGKILL)  # whoever watches is left of the group at least
            process.wait()
            process.stdin.close()
    if all(path.exists() for path in awaited):
        return ""
    words = output.read_text(errors="replace").strip().splitlines() or ["nothing"]
    return f"{SCRIPTS[stage]} ended before it: {words[-1][:300]}"


def exported_at(segment: Segment, run_dir: Path) -> list[str]:
    """Return the model folders that the stage has written within the segment."""
    end = max(by_step(run_dir / segment.stage / "checkpoints"))
    switch = {"grpo/stage1/model": switched_at(run_dir) or end}
    written_at = dict.fromkeys(["sft/model", "grpo/stage2/model", "grpo/best/model"], end) | switch
    starts = [entry["outputs"] for entry in read_manifest(run_dir)[segment.stage]]
    ever = {name for outputs in starts for name in outputs}
    return [
        folder
        for folder, step in written_at.items()
        if segment.first < step <= segment.last
        # What is written at the end was written anew where a run went on; what came before, by any of its starts.
        and any(name.startswith(f"{folder}/") for name in (ever if step < end else starts[-1]))
    ]


def switched_at(run_dir: Path) -> int:
    """Return the step after which stage 1 was over, 0 where the ledger has none."""
    ledger = run_dir / "grpo/curriculum.jsonl"
    events = read_log(ledger) if ledger.exists() else ()
    return next((event["after"] for event in events if event.get("event") == "switch"), 0)


def differences(segment: Segment, run_dir: Path, again: Path, exported: Sequence[str]) -> Iterator[str]:
    """Yield what the segment did not give as it is recorded."""
    theirs, ours = run_dir / segment.stage, again / segment.stage
    for folder in [f"{segment.stage}/checkpoints/{step_name(segment.last)}", *exported]:
        recorded, made = (written_in(root, folder) for root in (run_dir, again))
        for name in sorted(recorded.keys() | made.keys()):
            if Path(name).name == "state.json" or recorded.get(name) == made.get(name):
                continue
            if name.endswith(".safetensors") and recorded.keys() == made.keys():
                yield from (f"{name}: {tensor}" for tensor in other_tensors(run_dir / name, again / name))
            else:
                yield name
    state = f"checkpoints/{step_name(segment.last)}/state.json"
    recorded, made = read_json(theirs / state), read_json(ours / state)
    for key in sorted((recorded.keys() | made.keys()) - CLOCKED):
        if recorded.get(key) != made.get(key):
            yield f"state.json: {key}"
    if metrics_of(theirs, segment) != metrics_of(ours, segment):
        yield f"{segment.stage}/metrics.jsonl"
    if segment.stage == "grpo" and not is_log_of(theirs / "curriculum.jsonl", made):
        yield "grpo/curriculum.jsonl"
    for name in files_of(segment, theirs):
        if not (theirs / name).exists() or digest(theirs / name) != digest(ours / name):
            yield f"{segment.stage}/{name}"


def files_of(segment: Segment, folder: Path) -> list[str]:
    """Return the files below the stage's folder that stand as the segment has written them."""
    if segment.stage == "sft":
        return ["learned.jsonl"]
    within = range(segment.first + 1, segment.last + 1)
    events = read_log(folder / "curriculum.jsonl")
    rounds = [event.get("step") for event in events if event.get("event") == "round"]
    review = ["review.jsonl" for step in rounds[-1:] if step in within]  # a round writes it anew
    return [f"rollouts/{step_name(step)}.jsonl" for step in within] + review


def other_tensors(recorded: Path, made: Path) -> list[str]:
    """Return the tensors that differ in a bit; in which order a file has them is chance (torch writes by threads)."""
    try:
        one, other = load_file(recorded), load_file(made)
    except (SafetensorError, OSError) as error:
        return [f"cannot be read: {error}"]

    def same(name: str) -> bool:
        a, b = one.get(name), other.get(name)
        return a is not None and b is not None and a.dtype == b.dtype and a.tobytes() == b.tobytes()

    return [name for name in sorted(one.keys() | other.keys()) if not same(name)]


def metrics_of(folder: Path, segment: Segment) -> list[dict[str, Any]]:
    """Return the records of the segment's steps, without what a clock measured."""
    records = read_log(folder / "metrics.jsonl")
    within = (record for record in records if segment.first < record["step"] <= segment.last)
    return [{key: value for key, value in record.items() if key != "time"} for record in within]


def check_wish(run_dir: Path, count: int, jobs: int) -> list[Segment]:
    """Return all segments of a run. Raises InputError where `count` of them cannot be drawn."""
    segments = segments_of(run_dir)
    if not 1 <= count <= len(segments):
        raise InputError(f"--segments {count}: the run has {len(segments)} segments between kept checkpoints")
    if jobs < 1:
        raise InputError(f"--jobs {jobs}: expected at least 1")
    return segments


def verify_segments(
    run_dir: Path,
    count: int,
    seed: int,
    jobs: int,
    checked: Callable[[Segment, Path, int], list[str]] = check,
) -> tuple[int, str]:
    """Run `count` random segments again, `jobs` side by side; return how many differ, and what it shows in words."""
    segments = check_wish(run_dir, count, jobs)
    chosen = drawn(segments, count, seed)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    bar = tqdm(total=count, desc="segments", unit="segment", smoothing=0)
    if other := other_code(run_dir):
        bar.write(f"the code here is not the run's ({other}): what differs may differ for that")
    forged = 0
    LEAVING.clear()
    with bar, ThreadPoolExecutor(jobs) as pool:
        found = pool.map(lambda s: [] if LEAVING.is_set() else checked(s, run_dir, threads), chosen)
        try:
            for segment, differ in zip(chosen, found, strict=True):
                bar.update()
                forged += bool(differ)
                bar.write(f"{segment}: {'other ' + ', '.join(differ) if differ else 'as recorded'}")
        except BaseException:
            LEAVING.set()
            raise
    lines = [f"{count - forged} of {count} segments as recorded, drawn from {len(segments)} by seed {seed}"]
    if not forged:
        lines += [escape(len(segments), share, count) for share in (0.05, 0.1, 0.2, 0.5)]
    return forged, "\n".join(lines)


def other_code(run_dir: Path) -> str:
    """Return the commits with whose code the run was trained, where that is not the code here; else ""."""
    manifest, here = read_manifest(run_dir), code_sha256()
    others = [start for stage in TRAINED for start in manifest.get(stage, ()) if start.get("code") != here]
    return ", ".join(sorted({f"commit {start.get('commit') or 'unknown'}" for start in others}))


def escape(total: int, share: float, count: int) -> str:
    forged = math.ceil(share * total)
    chance = chance_to_escape(total, forged, count)
    return f"had {share:.0%} of them ({forged}) been forged, these {count} would have missed all of it in {chance:.1%}"
