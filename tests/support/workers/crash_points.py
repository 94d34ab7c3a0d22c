"""Crash before each rename, unlink, folder, fsync and write of a run, and halfway through each write; then go on.

    python crash_points.py SCRIPT SCRATCH key.path=value ...

What kill -9 leaves of a run is its folder as it stands at that moment, so one run is enough to crash at every point: at
each it lays a copy of its folder aside. Then the same command is run again in each copy, under the run's own name, in a
process forked for it. At many points the folder is, byte for byte, what it was at an earlier one (before and after an
fsync, say): what goes on from there is the same too, and is run once. Prints {"points": how many of each kind,
"states": how many folders that differ, "bad": what then was not as in the run that nothing interrupted}.
"""

import builtins
import collections
import gc
import hashlib
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
from fleming.training import identity, parallel
from fleming.training import run as run_room
from fleming.training.metrics import DeviceSpeed
from model import exact

BY_NAME = ("rename", "replace", "unlink", "remove", "rmdir", "mkdir")
plain_open = open


class Points:
    """Notes what changes the folder, in order, and what the folder is just before."""

    def __init__(self, folder: Path, aside: Path):
        self.folder, self.aside, self.copying = str(folder), aside, False
        self.kinds: list[str] = []
        self.states: dict[str, str] = {}
        """Hash of the folder's content -> the first point at which it was so, which names its copy in `aside`."""

    def reached(self, kind: str) -> None:
        """This is a place to die: keep what would be left."""
        if self.copying:
            return
        self.copying = True
        self.kinds.append(kind)
        point = f"{len(self.kinds) - 1}, {kind}"
        if self.states.setdefault(content(self.folder), point) == point and os.path.exists(self.folder):
            shutil.copytree(self.folder, self.aside / point, symlinks=True)
        self.copying = False

    def watch(self) -> None:
        """From now on; there is no way back, which a forked child does not need."""
        for name in (*BY_NAME, "fsync", "write", "ftruncate"):
            setattr(os, name, self.wrapped(name, getattr(os, name)))
        builtins.open = io.open = self.open

    def wrapped(self, name: str, original):
        def call(*arguments, **named):
            paths = [str(x) for x in arguments if isinstance(x, str | os.PathLike)]
            ours = "dir_fd" in named or any(path.startswith(self.folder) for path in paths)
            if ours or name not in BY_NAME:
                self.reached(name)
            return original(*arguments, **named)

        return call

    def open(self, file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *more):
        """As open() has it, but each write to the disk is a point, when half of it is written."""
        ours = isinstance(file, str | os.PathLike) and str(file).startswith(self.folder)
        if not ours or not set(mode) & set("wax+"):
            return plain_open(file, mode, buffering, encoding, errors, newline, *more)
        points = self

        class Raw(io.FileIO):
            def write(self, data) -> int:
                data = bytes(data)
                half = super().write(data[: len(data) // 2])
                points.reached("write of a file")
                return half + super().write(data[half:])

            def truncate(self, size=None) -> int:
                points.reached("truncate")
                return super().truncate(size)

        raw = Raw(file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)


def content(folder: str | Path) -> str:
    """Return a hash of all that is in the folder: names, kinds, what files hold and where links lead."""
    found = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        held = os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
        found.update(repr((str(path.relative_to(folder)), path.lstat().st_mode, held)).encode())
    return found.hexdigest() if os.path.exists(folder) else "no folder"


def in_child(script, settings: list[str], run_dir: Path, aside: Path | None = None) -> tuple[int, dict, list]:
    """Run the script in a forked process, watched where there is an `aside`; return its status, states and points."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        with plain_open(reader, "rb") as pipe:
            noted = pipe.read()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), *json.loads(noted or b"[{}, []]")
    os.close(reader)
    with plain_open(f"{run_dir}.said", "ab") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    status = 1
    try:
        points, write = Points(run_dir, aside), os.write
        if aside:
            points.watch()
        script.train(load_config(Config, None, [f"run_dir={run_dir}", *settings]), ALONE)
        write(writer, json.dumps([points.states, points.kinds]).encode())
        status = 0
    finally:
        if status:
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
        os._exit(status)


def without_what_writes_nothing() -> None:
    """Answer beforehand what each run would take most of its time to find out.

    fsync is still called, and a point; but the disk's own cache outlives a process.
    """
    code, tile = identity.code_sha256(), exact.KEY_TILES[0]
    DeviceSpeed.measure = lambda *_: DeviceSpeed(1.0, 1.0)
    identity.commit = lambda: None
    identity.code_sha256 = run_room.code_sha256 = lambda: code
    parallel.key_tile_that_holds = lambda *_: tile
    os.fsync = os.fstat


def main(name: str, scratch: str, *settings: str) -> None:
    torch.set_num_threads(1)  # nothing here has threads that a fork would lose
    without_what_writes_nothing()
    script, given = importlib.import_module(name), list(settings)
    gc.freeze()  # a collection in a child would copy every page that it looks at
    run_dir, aside = Path(scratch, "run"), Path(scratch, "aside")
    status, states, kinds = in_child(script, given, run_dir, aside)
    expected, bad = result_of(run_dir), []
    if status or len(expected) < 4:
        bad.append(f"the run that nothing interrupts: status {status}, {sorted(expected)}")
    for point in states.values():
        shutil.rmtree(run_dir)
        if (aside / point).exists():  # all but those before the run has made its folder
            (aside / point).rename(run_dir)
        status, _, _ = in_child(script, given, run_dir)
        wrong = differences(result_of(run_dir), expected)
        if status or wrong:
            bad.append(f"point {point}: status {status}; differs: {wrong}")
    print(json.dumps({"points": collections.Counter(kinds), "states": len(states), "bad": bad}))


if __name__ == "__main__":
    main(*sys.argv[1:])
