"""A run whose terminal is closed, or whose reader sleeps, saves all the same; what a kill has left goes."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from support import warm
from support.places import ROOT
from support.runs import arguments, checkpoints, differences, result_of, run_here, steps_logged

import train_sft
from fleming.settings import Config, ParallelConfig
from fleming.training.parallel import join_world
from fleming.training.stopping import lock_run


def started(inputs, run_dir, **kwargs) -> subprocess.Popen:
    more = ["sft.epochs=1", "sft.save_every=1000", f"sft.sequences_per_step={SEQUENCES}"]
    command = [sys.executable, str(ROOT / "train_sft.py"), *arguments(inputs, run_dir, *more)]
    return warm.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(inputs)}, **kwargs)


SEQUENCES = 8


def wait_for_steps(process, run_dir, count: int) -> None:
    deadline = time.monotonic() + 60
    while steps_logged(run_dir) < count:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    """What a run ends with that nothing interrupts."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    process = started(inputs, run_dir, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert process.wait() == 0
    return result_of(run_dir)


def goes_on_to_the_same_end(inputs, run_dir, whole) -> bool:
    process = started(inputs, run_dir, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return process.wait() == 0 and differences(result_of(run_dir), whole) == []


def saved_where_it_stopped(run_dir) -> bool:
    steps = steps_logged(run_dir)
    return [path.name for path in checkpoints(run_dir)] == [f"step_{steps:06d}"]


def test_a_terminal_that_is_closed_lets_the_run_save(inputs, tmp_path, whole):
    """The kernel sends SIGHUP and refuses every further write; a shell may send it once more."""
    main, worker = pty.openpty()
    process = started(
        inputs, tmp_path / "run", stdout=worker, stderr=worker, stdin=worker, start_new_session=True
    )
    os.close(worker)
    os.set_blocking(main, False)
    wait_for_steps(process, tmp_path / "run", 2)
    os.close(main)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.05)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) in (128 + signal.SIGHUP, 120)  # 120: Python's, where the last flush fails
    assert saved_where_it_stopped(tmp_path / "run")
    assert steps_logged(tmp_path / "run") < len(whole["sft/metrics.jsonl"])
    assert goes_on_to_the_same_end(inputs, tmp_path / "run", whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_nobody_reads_what_is_printed_lets_the_run_save(inputs, tmp_path, whole, number):
    """With the pipe full, a bar's write is under way at any moment."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(write, b"x" * 1024):
            pass
    os.set_blocking(write, True)
    process = started(inputs, tmp_path / "run", stdout=subprocess.DEVNULL, stderr=write)
    os.close(write)
    wait_for_steps(process, tmp_path / "run", 2)
    process.send_signal(number)
    deadline = time.monotonic() + 60
    while not checkpoints(tmp_path / "run"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    while os.read(read, 65536).startswith(b"x" * 1024):
        pass  # its last words wait for a reader
    assert process.wait(60) == 128 + number
    os.close(read)
    assert saved_where_it_stopped(tmp_path / "run")
    assert goes_on_to_the_same_end(inputs, tmp_path / "run", whole)


def test_a_run_under_nohup_outlives_its_terminal(inputs, tmp_path, whole):
    process = started(
        inputs,
        tmp_path / "run",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    wait_for_steps(process, tmp_path / "run", 1)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 0
    assert differences(result_of(tmp_path / "run"), whole) == []


class Buffered:
    """A stream in which a second write within the first fails, as in CPython's buffers."""

    def __init__(self):
        self.busy = False

    def isatty(self):
        return False

    def flush(self):
        pass

    def write(self, text):
        if self.busy:
            raise RuntimeError("reentrant call inside")
        self.busy = True
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):  # the handler runs between two of these
            pass
        self.busy = False


def test_a_signal_in_the_midst_of_a_write_is_heard(monkeypatch, tmp_path):
    cfg = Config(run_dir=str(tmp_path))
    with join_world(ParallelConfig(device="cpu")) as world, lock_run(cfg, world, "x") as stop:
        monkeypatch.setattr(sys, "stderr", Buffered())
        sys.stderr.write("a bar")
        monkeypatch.undo()
        assert stop.signal == signal.SIGTERM


def test_a_finished_run_deletes_what_a_kill_has_left(inputs, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(inputs))
    command = arguments(inputs, tmp_path / "run", "sft.epochs=0.5", "sft.save_every=1", "sft.keep_last=50")
    assert run_here(train_sft, command) == (0, [])
    before = result_of(tmp_path / "run")
    folder = tmp_path / "run/sft/checkpoints"
    names = [path.name for path in checkpoints(tmp_path / "run")]
    assert len(names) > 3
    for left in (".step_000001.old", ".step_000099.tmp"):
        (folder / left).mkdir()
        (folder / left / "shard").write_bytes(bytes(9))
    assert run_here(train_sft, [*command, "sft.keep_last=2"]) == (0, [])
    assert sorted(path.name for path in folder.iterdir()) == names[-2:]
    assert differences(result_of(tmp_path / "run"), before) == []
