"""Kills and full disks: whatever ends a run, the same command goes on and ends with the same bytes.

FLEMING_KILLS is how often runs under torchrun are killed, default 6. Each kind comes in turn: one of the two workers;
the launcher alone, which leaves its workers running; launcher and workers. torchrun starts each worker in a session of
its own and writes a report of its own, so what our processes print is read from a file for each.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from test_scripts import SMALL

import synth_data
import train_grpo
import train_sft
from fleming.config import run_script
from fleming.files import AppendLog, run_lock
from model.errors import InputError

KILLS = int(os.environ.get("FLEMING_KILLS", "6"))
SCRIPTS = ["train_sft.py", "train_grpo.py"]


def run_here(module, argv: list[str]) -> tuple[int, list[str]]:
    """Run a script in this process, as its last lines do; return its status and what it printed on stderr.

    Importing torch takes seconds, and the tests of full disks start scripts some seventy times.
    """
    printed, threads = io.StringIO(), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{module.__name__}.py", *argv])
        patch.setattr(sys, "stdout", io.StringIO())
        patch.setattr(sys, "stderr", printed)
        with pytest.raises(SystemExit) as left:
            run_script(module.main)
    torch.set_num_threads(threads)
    return left.value.code, messages(printed.getvalue())


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """Data and a base model for both scripts, and a reward that random answers earn: what they have of the letter e."""
    folder = tmp_path_factory.mktemp("inputs")
    assert run_here(synth_data, arguments(folder, folder)) == (0, [])
    questions = (folder / "data/rl.jsonl").read_text().splitlines(keepends=True)
    (folder / "questions.jsonl").write_text("".join(questions[::15]))
    (folder / "letters.py").write_text(
        "def many_e(response, finished, question, cfg):\n"
        "    count = response.count('e')\n"
        "    return {'correct': float(count > 16), 'format': 0.0, 'total': float(count)}\n"
    )
    return folder


def arguments(inputs: Path, run_dir: Path, *settings: str) -> list[str]:
    own = [
        f"data.trajectories={inputs / 'data/cold_start.jsonl'}",
        f"data.questions={inputs / 'questions.jsonl'}",
        f"model={inputs / 'base/model'}",
        "grpo.start_from=base",
        "grpo.reward=letters:many_e",
        "grpo.learning_rate=3e-3",
        "grpo.warmup_steps=1",
        "grpo.show_every=0",
        "parallel.device=cpu",
    ]
    return ["--config", str(ROOT / "configs/demo.yaml"), f"run_dir={run_dir}", *SMALL, *own, *settings]


def result_of(run_dir: Path) -> dict[str, object]:
    """Everything that must be the same in every run: model folders, rollouts and curriculum; metrics without clocks."""
    found: dict[str, object] = {}
    for path in sorted(run_dir.rglob("*")):
        name = str(path.relative_to(run_dir))
        if path.name == "metrics.jsonl":
            records = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{k: v for k, v in record.items() if k != "time"} for record in records]
        elif path.is_file() and name.startswith(("sft/", "grpo/")) and "checkpoints/" not in name:
            found[name] = path.read_bytes()
    return found


def differences(a: dict[str, object], b: dict[str, object]) -> list[str]:
    return [name for name in a.keys() | b.keys() if a.get(name) != b.get(name)]


def messages(text: str) -> list[str]:
    """Return the lines that were printed besides progress bars, which may stand before them on the same line."""
    lines = re.split(r"[\r\n]", text.replace("\x1b[A", ""))
    lines = [re.sub(r"^(cold start|RL|mining|teacher):[^\[]*\[[^\]]*\]", "", line).strip() for line in lines]
    return [line for line in lines if line]


def checkpoints(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("*/checkpoints/step_*"))


def hashes(folders: list[Path]) -> dict[str, dict[str, str]]:
    return {f.name: {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in f.iterdir()} for f in folders}


# --- two processes under torchrun


class Launched:
    """A script under torchrun with 2 processes, each of which prints to a file."""

    def __init__(self, script: str, inputs: Path, run_dir: Path, *settings: str):
        self.run_dir = run_dir
        self.logs = run_dir.with_name(f"{run_dir.name}.logs.{time.monotonic_ns()}")
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
        launcher += ["--log-dir", str(self.logs), "--redirects", "3", str(ROOT / script)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(inputs)}
        self.process = subprocess.Popen(
            [*launcher, *arguments(inputs, run_dir, *settings)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        self.workers: list[int] = []
        self.report = ""

    def running(self) -> bool:
        """Whether the launcher runs; notes its workers. A worker's place in the list is not its rank."""
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
            self.workers = [int(pid) for pid in children.split()] or self.workers
        return self.process.poll() is None

    def holds(self) -> bool:
        """Whether the workers hold the folder: their loop has begun."""
        with contextlib.suppress(OSError):
            holders = [(self.run_dir / name).read_text() for name in (".lock", ".lock.1")]
            return bool(self.workers) and all(any(f"process {w}," in h for w in self.workers) for h in holders)
        return False

    def wait_for(self, condition, seconds: float = 120) -> bool:
        """Wait until the condition holds; False where the run ended first."""
        deadline = time.monotonic() + seconds
        while self.running():
            if condition():
                return True
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return False

    def signal(self, number: int, *pids: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self, seconds: float = 120) -> tuple[int, str]:
        """Wait for launcher and workers; return the launcher's status and what it printed."""
        if not self.process.stderr.closed:
            _, self.report = self.process.communicate(timeout=seconds)
        deadline = time.monotonic() + seconds
        while any(state(worker) not in "ZX" for worker in self.workers):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return self.process.returncode, self.report

    def said(self) -> list[list[str]]:
        """Return what each process printed on stderr besides progress bars."""
        return [messages(p.read_text()) for p in sorted(self.logs.glob("*/attempt_0/*/stderr.log"))]


def ours(report: str) -> int:
    """Return the first status of a process in torchrun's report, which itself ends with 1: it may end the others."""
    return int(re.search(r"Root Cause.*?exitcode  : (-?\d+)", report, re.DOTALL)[1])


def state(pid: int) -> str:
    """Return the letter of /proc for what a process is doing, X where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def steps_logged(run_dir: Path) -> int:
    with contextlib.suppress(OSError):
        return sum(path.read_bytes().count(b"\n") for path in run_dir.glob("*/metrics.jsonl"))
    return 0


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    """script -> what two processes that nothing interrupts end with."""
    results = {}

    def get(script: str) -> dict[str, object]:
        if script not in results:
            run_dir = tmp_path_factory.mktemp("whole") / script
            launched = Launched(script, inputs, run_dir)
            launched.wait_for(launched.holds)
            status, report = launched.end()
            assert (status, launched.said()) == (0, [[], []]), report[-2000:]
            results[script] = result_of(run_dir)
        return results[script]

    return get


def interrupt(run: Launched, kind: str, rng: random.Random, restart) -> str | None:
    """End a run in the asked way and check what is said; return what was done, None where the run was just done."""
    if kind == "stop":
        run.signal(signal.SIGTERM, run.process.pid)
        status, report = run.end()
        assert (status, "SignalException" in report) == (1, True)  # torchrun's own
        assert run.said() == [["stopped as asked, saved; the same command goes on from here"], []]
        assert checkpoints(run.run_dir)[-1].name == f"step_{steps_logged(run.run_dir):06d}"
        return kind
    if kind == "worker":
        victim = rng.choice(run.workers)
        run.signal(signal.SIGKILL, victim)
        status, _ = run.end(30)  # the launcher ends the other; a hang would last 30 s, and then show here
        assert status in (0, 1)
    elif kind == "group":
        run.signal(signal.SIGKILL, run.process.pid, *run.workers)
        run.end()
    else:
        run.signal(signal.SIGSTOP, *run.workers)  # orphans would soon be done, and let go of the folder
        run.signal(signal.SIGKILL, run.process.pid)
        run.process.wait()
        while any(state(worker) not in "TZX" for worker in run.workers):
            time.sleep(0.01)
        if held := run.holds() and all(state(worker) == "T" for worker in run.workers):
            second = restart()
            status, report = second.end()
            lines = [line for rank in second.said() for line in rank]
            assert (status, ours(report)) == (1, 2)
            assert len(lines) == 1, lines
            assert re.fullmatch(rf"train_\w+\.py: error: {run.run_dir}: in use by process (\d+), .*", lines[0])
            assert int(re.search(r"process (\d+)", lines[0])[1]) in run.workers
        survive = held and rng.random() < 0.5
        run.signal(signal.SIGCONT if survive else signal.SIGKILL, *run.workers)
        run.end()
        kind += f" ({'refused by name, ' if held else ''}orphans {'finish' if survive else 'killed'})"
    if run.process.returncode == 0:
        return None
    for lines in run.said():
        assert len(lines) <= 1, lines
        assert all(re.match(r"rank \d: another process of this run is gone: ", line) for line in lines), lines
    return kind


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_sigterm_or_kill_9_of_a_worker_the_launcher_or_all_and_the_same_command_give_identical_bytes(
    inputs, whole, tmp_path, script
):
    """SIGTERM to the launcher once, within the loop; then kills, at moments drawn over the whole running time."""
    rng = random.Random(f"{script} {KILLS}")
    expected = whole(script)
    total = len(expected[f"{script[6:-3]}/metrics.jsonl"])
    count = KILLS // 2 + (KILLS % 2 if script == SCRIPTS[0] else 0)
    kinds = ["stop", *rng.sample([("worker", "launcher", "group")[i % 3] for i in range(count)], count)]
    run_dir, done, finished = tmp_path / "killed-0", [], 0

    def start() -> Launched:
        return Launched(script, inputs, run_dir)

    while True:
        run, began = start(), time.monotonic()
        saved = max((int(c.name[5:]) for c in checkpoints(run_dir)), default=0)
        if len(done) < len(kinds) and saved < total:
            kind = kinds[len(done)]
            farthest = saved + math.ceil(2 * (total - saved) / (len(kinds) - len(done) + 1))  # spread over the run
            after, moment = (2, 0) if kind == "stop" else (rng.randint(saved, farthest), rng.uniform(0, 0.2))
            held = kind == "stop" or (kind == "launcher" and not any("refused" in what for what in done))
            if rng.random() < 0.2 and not held:  # while it starts
                moment = rng.uniform(0, 4)
                alive = run.wait_for(lambda r=run, t=began + moment: time.monotonic() > t and r.workers)
                when = f"{moment:.1f} s after its start"
            else:  # in a step, the last checkpoint or the export
                alive = run.wait_for(lambda r=run, n=after: r.holds() and steps_logged(r.run_dir) >= n)
                time.sleep(moment * (not held))
                when = f"{moment * (not held):.2f} s after step {after}"
            if alive and (what := interrupt(run, kind, rng, start)):
                done.append(f"{what} {when}")
                continue
        status, report = run.end()
        assert (status, run.said()) == (0, [[], []]), report[-2000:]
        assert differences(result_of(run_dir), expected) == []
        finished += 1
        if len(done) == len(kinds):
            break
        run_dir = tmp_path / f"killed-{finished}"
    assert any("refused" in what for what in done) or "launcher" not in kinds
    print(f"\n{script}: {count} kills, {finished} whole runs of {total} steps, all identical:", *done, sep="\n  ")


def test_what_a_killed_save_or_clean_up_left_goes_with_the_next_save(in_process, tmp_path):
    for name in (".step_000001.tmp", ".step_000099.old"):  # of steps that this run does not save
        (tmp_path / "run/sft/checkpoints" / name).mkdir(parents=True)
        (tmp_path / "run/sft/checkpoints" / name / "shard").write_bytes(bytes(9))
    assert in_process(train_sft, tmp_path / "run", "sft.epochs=0.2") == (0, [])
    names = [path.name for path in (tmp_path / "run/sft/checkpoints").iterdir()]
    assert sorted(names) == ["step_000002", "step_000004"]


def test_the_interrupted_runs_learn(whole):
    """Or their bytes would be the same whatever became of the optimiser."""
    records = whole("train_grpo.py")["grpo/metrics.jsonl"]
    assert sum(record["grad_norm"] > 0 for record in records) > len(records) / 2
    assert len({record["reward"] for record in records}) > len(records) / 2
    assert all(record["grad_norm"] > 0 for record in whole("train_sft.py")["sft/metrics.jsonl"])


# --- full disks


class Disk:
    """A small file system in memory, all of it full but for `kilobytes`."""

    def __init__(self, path: Path):
        self.path = path
        path.mkdir()
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4k", "none", str(path)], capture_output=True, text=True
        )
        if made.returncode:
            path.rmdir()
            pytest.skip(f"cannot mount a tmpfs here: {made.stderr.strip()}")
        (path / "ballast").write_bytes(bytes(4096))

    def leave(self, kilobytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={4 + kilobytes}k", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path):
    disk = Disk(tmp_path / "disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk.path)], check=True)


@pytest.fixture
def in_process(inputs, monkeypatch):
    """Run a script in this process with these tests' data and reward."""
    monkeypatch.syspath_prepend(str(inputs))
    return lambda module, run_dir, *settings: run_here(module, arguments(inputs, run_dir, *settings))


def kind_of(message: str) -> str:
    """Which write the one line of a full disk names."""
    named = re.fullmatch(r"\w+\.py: error: (\S+): .*No space left on device.*", message)
    assert named, message
    path = Path(named[1])
    return "rollouts" if path.parent.name == "rollouts" else path.name


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        (train_sft, [".lock", "config.yaml", "manifest.json", "metrics.jsonl", "checkpoints"]),
        (train_grpo, [".lock", "config.yaml", "manifest.json", "curriculum.jsonl", "rollouts", "metrics.jsonl"]),
    ],
)
def test_every_small_write_on_a_full_disk_is_one_line_that_names_the_file(in_process, disk, module, kinds):
    """A page more each time, from none, until all kinds of the first step's writes have met the end of the disk."""
    first_step = ["grpo.stage1.max_steps=0", "grpo.stage2.max_steps=1", "grpo.curriculum.mine_samples=1"]
    first_step += ["sft.save_every=1", "sft.epochs=0.1"]
    found, kilobytes = [], 0
    while set(found) < set(kinds):
        disk.leave(kilobytes)
        status, lines = in_process(module, disk.path / "run", *first_step)
        assert status == 2, (kilobytes, lines)
        assert len(lines) == 1, lines
        found.append(kind_of(lines[0]))
        shutil.rmtree(disk.path / "run")
        kilobytes += 4
    assert list(dict.fromkeys(found)) == kinds


@pytest.mark.parametrize(
    ("module", "settings"),
    [
        # Two checkpoints each: the room that a deleted third one leaves would be enough for every export.
        (train_sft, ["sft.epochs=0.4", "sft.save_every=4"]),
        (train_grpo, ["grpo.save_every=100"]),
    ],
)
def test_a_full_disk_leaves_the_last_checkpoint_whole_and_the_run_goes_on_after_room_is_made(
    in_process, disk, tmp_path, module, settings
):
    """The disk grows a little each time that the run fails, until it has room for all."""
    assert in_process(module, tmp_path / "whole", *settings) == (0, [])
    run_dir, found, kilobytes, status = disk.path / "run", [], 48, 2
    while status == 2:
        before, complete = hashes(checkpoints(run_dir)), result_of(run_dir)
        disk.leave(kilobytes)
        status, lines = in_process(module, run_dir, *settings)
        after = checkpoints(run_dir)
        assert all((c / "state.json").exists() for c in after)
        if status == 2:
            assert len(lines) == 1, lines
            found.append(kind_of(lines[0]))
            assert not before or max(before) in hashes(after)
            assert all(content == before.get(name, content) for name, content in hashes(after).items())
            models = [name for name in complete if "model/" in name]  # an export that was complete stays so
            assert all(result_of(run_dir)[name] == complete[name] for name in models)
        assert not [p for p in run_dir.rglob(".*") if p.name != ".lock"]  # nothing half-written
        kilobytes += 240
    assert (status, lines) == (0, [])
    assert {"checkpoints", "model"} <= set(found), found
    assert differences(result_of(run_dir), result_of(tmp_path / "whole")) == []


def test_synth_data_on_a_full_disk_is_one_line_and_after_room_is_made_writes_the_same(in_process, disk, inputs):
    found, kilobytes, status = [], 0, 2
    while status == 2:
        disk.leave(kilobytes)
        status, lines = in_process(synth_data, disk.path / "run")
        if status == 2:
            assert len(lines) == 1, lines
            found.append(kind_of(lines[0]))
        kilobytes += 1400
    assert found[0] == ".lock"
    assert len(set(found)) >= 3, found
    for path in inputs.rglob("*"):
        copy = disk.path / "run" / path.relative_to(inputs)
        if path.is_file() and path.parent.name in ("data", "model"):
            assert copy.read_bytes() == path.read_bytes(), path


def test_a_log_and_a_lock_on_a_full_disk_name_themselves_and_leave_nothing_to_be_written_later(disk):
    disk.leave(0)
    with pytest.raises(InputError, match=r"\.lock: cannot lock: .*No space left"), run_lock(disk.path / "run", "x.py"):
        pass
    (disk.path / "ballast").unlink()
    log = AppendLog(disk.path / "log.jsonl")
    log.append({"step": 1})
    before = log.offset
    with pytest.raises(InputError, match=r"log\.jsonl: cannot append: .*No space left"):
        log.append({"text": "x" * 8192})
    assert log.offset == log.sync() == before
    disk.leave(64)
    log.close()
    assert AppendLog(disk.path / "log.jsonl", keep_bytes=before).offset == before
    assert (disk.path / "log.jsonl").read_text() == '{"step": 1}\n'


@pytest.mark.slow
def test_a_full_disk_under_one_process_ends_both_with_one_line(inputs, disk, tmp_path):
    """First rank 1 alone finds no room, for its lock; then one of them or both, for a checkpoint."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (disk.path / "sft").mkdir()
    (run_dir / "sft").symlink_to(disk.path / "sft")
    (run_dir / ".lock.1").symlink_to(disk.path / "lock")
    for kilobytes, kind in ((0, ".lock.1"), (600, "checkpoints")):
        disk.leave(kilobytes)
        run = Launched("train_sft.py", inputs, run_dir)
        run.wait_for(lambda r=run: r.workers)
        status, report = run.end(30)
        assert (status, ours(report)) == (1, 2)
        (line,) = [line for rank in run.said() for line in rank]
        assert kind_of(line) == kind
