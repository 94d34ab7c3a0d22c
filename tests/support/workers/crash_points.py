"""Crash before each rename, unlink, folder, fsync and write of a run, and halfway through each write; then go on.

    python crash_points.py SCRIPT SCRATCH PART OF key.path=value ...

One process imports torch and forks two children a point: the first dies there, as by kill -9, and the second is the
same command again. Prints {"points": how many of each kind, "bad": what then was not as in the run that nothing
interrupted}. PART of OF: every OF-th point from PART on.
"""

import builtins
import collections
import gc
import importlib
import io
import json
import os
import shutil
import sys
from pathlib import Path

import torch
from support.runs import ALONE, differences, result_of

from fleming.config import load_config
from fleming.settings import Config
from fleming.training import run as run_room
from fleming.training.metrics import DeviceSpeed

CRASHED = 77
BY_NAME = ("rename", "replace", "unlink", "remove", "rmdir", "mkdir")
plain_open = open


class Points:
    """Counts what changes the folder, in order; dies at one of them."""

    def __init__(self, folder: Path, die_at: int = -1):
        self.folder, self.die_at, self.kinds = str(folder), die_at, []

    def reached(self, kind: str) -> bool:
        """Whether this is the place to die."""
        self.kinds.append(kind)
        return len(self.kinds) - 1 == self.die_at

    def watch(self) -> None:
        """From now on; there is no way back, which a forked child does not need."""
        for name in (*BY_NAME, "fsync", "write", "ftruncate"):
            setattr(os, name, self.wrapped(name, getattr(os, name)))
        builtins.open = io.open = self.open

    def wrapped(self, name: str, original):
        def call(*arguments, **named):
            paths = [str(x) for x in arguments if isinstance(x, str | os.PathLike)]
            ours = "dir_fd" in named or any(path.startswith(self.folder) for path in paths)
            if (ours or name not in BY_NAME) and self.reached(name):
                os._exit(CRASHED)
            return original(*arguments, **named)

        return call

    def open(self, file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *more):
        """As open() has it, but each write to the disk is a point; half of it is written before the end."""
        ours = isinstance(file, str | os.PathLike) and str(file).startswith(self.folder)
        if not ours or not set(mode) & set("wax+"):
            return plain_open(file, mode, buffering, encoding, errors, newline, *more)
        points = self

        class Raw(io.FileIO):
            def write(self, data) -> int:
                if points.reached("write of a file"):
                    super().write(bytes(data)[: len(data) // 2])
                    os._exit(CRASHED)
                return super().write(data)

            def truncate(self, size=None) -> int:
                if points.reached("truncate"):
                    os._exit(CRASHED)
                return super().truncate(size)

        raw = Raw(file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)


def in_child(script, settings: list[str], run_dir: Path, die_at: int = -1) -> tuple[int, list[str]]:
    """Run the script in a forked process; return its status and the kinds of the points that it met."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        with plain_open(reader, "rb") as pipe:
            kinds = pipe.read()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), json.loads(kinds or b"[]")
    os.close(reader)
    with plain_open(f"{run_dir}.said", "ab") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    status = 1
    try:
        points, write = Points(run_dir, die_at), os.write
        points.watch()
        script.train(load_config(Config, None, [f"run_dir={run_dir}", *settings]), ALONE)
        write(writer, json.dumps(points.kinds).encode())
        status = 0
    finally:
        if status:
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
        os._exit(status)


def main(name: str, scratch: str, part: str, parts: str, *settings: str) -> None:
    torch.set_num_threads(1)  # nothing here has threads that a fork would lose
    DeviceSpeed.measure = lambda *_: DeviceSpeed(1.0, 1.0)  # what takes time and writes nothing
    run_room._commit = lambda: None
    script, given = importlib.import_module(name), list(settings)
    gc.freeze()  # a collection in a child would copy every page that it looks at
    whole, run_dir = Path(scratch, f"whole{part}"), Path(scratch, f"crashed{part}")
    status, kinds = in_child(script, given, whole)
    expected, bad = result_of(whole), []
    if status or len(expected) < 4:
        bad.append(f"the run that nothing interrupts: status {status}, {sorted(expected)}")
    for point in range(int(part), len(kinds), int(parts)):
        first, _ = in_child(script, given, run_dir, point)
        second, _ = in_child(script, given, run_dir)
        wrong = differences(result_of(run_dir), expected)
        if (first, second, wrong) != (CRASHED, 0, []):
            bad.append(f"point {point}, {kinds[point]}: status {first}, then {second}; differs: {wrong}")
        shutil.rmtree(run_dir, ignore_errors=True)
    print(json.dumps({"points": collections.Counter(kinds), "bad": bad}))


if __name__ == "__main__":
    main(*sys.argv[1:])
