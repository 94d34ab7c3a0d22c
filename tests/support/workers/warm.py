"""An interpreter that has imported torch, the scripts and what they load later: it forks one process per request.

    python warm.py < a socket

A request is one message of JSON, {"argv": [script or -m module, argument ...], "env", "cwd", "session", "ignored"}, and
three file descriptors beside it; the reply is the new process's id. The process has these and nothing else of ours: its
parent ends at once, so that whoever asked becomes its parent (warm.py beside this folder sees to that). It runs the
script as `python script` does and leaves as that does. What it does not have is an interpreter of its own: hash seed
and state of the random generators are those of this one at its start, /proc shows this one's command.
"""

import gc
import importlib
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
import traceback

import torch

LOADED = ["synth_data", "train_sft", "train_grpo", "evaluate", "torch.distributed.run", "safetensors.torch"]
LOADED += ["torch.distributed.elastic.rendezvous.c10d_rendezvous_backend"]
HANDLED = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def become(env: dict[str, str], cwd: str, streams: list[int], session: bool, ignored: list[int]) -> None:
    """Make a forked process what a new one would be: environment, folder, streams, no other file open."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    if session:
        os.setsid()
    for number in HANDLED:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in ignored else usual)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    at_once = bool(env.get("PYTHONUNBUFFERED"))
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.FileIO(0, closefd=False))
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = io.TextIOWrapper(
            io.BufferedWriter(io.FileIO(number, "w", closefd=False)),
            errors="backslashreplace" if number == 2 else "strict",
            line_buffering=number == 2 or os.isatty(number),
            write_through=at_once,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def execute(argv: list[str]) -> None:
    """Run `python argv...`."""
    given = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if argv[0] == "-m":
        if argv[1] == "torch.distributed.run":
            subprocess_handler.Popen = Worker
            del sys.modules[argv[1]]  # or runpy wonders
        sys.argv, sys.path[:0] = argv[1:], [os.getcwd(), *given]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[:0] = argv, [os.path.dirname(argv[0]), *given]
        runpy.run_path(argv[0], run_name="__main__")


class Worker(subprocess.Popen):
    """What torchrun starts: `python -u script ...`, forked from the launcher, which has imported it all too."""

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *more):
        out, error = more[6], more[8]
        ignored = [number for number in HANDLED if signal.getsignal(number) == signal.SIG_IGN]
        self.pid = os.fork()
        if self.pid:
            self._child_created = True
            return
        status = 1
        try:
            streams = [0, out if out > 0 else 1, error if error > 0 else 2]
            become({**env, "PYTHONUNBUFFERED": "1"}, os.getcwd(), streams, True, ignored)
            sys.path[:] = PLAIN
            execute(list(args[2:]))  # the interpreter, and -u
            status = 0
        except SystemExit as left:
            status = left.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)


def forked(message: bytes, streams: list[int]) -> tuple[list[str], int]:
    """Fork a process whose parent is gone; return (what to run, 0) there and ([], its id) here."""
    asked = json.loads(message)
    read, write = os.pipe()
    if middle := os.fork():
        os.close(write)
        os.waitpid(middle, 0)
        with open(read, "rb") as pipe:
            return [], int(pipe.read())
    middle = os.getpid()
    if child := os.fork():
        os.write(write, str(child).encode())
        os._exit(0)
    while os.getppid() == middle:
        time.sleep(0.0005)
    become(asked["env"], asked["cwd"], streams, asked["session"], asked["ignored"])
    return asked["argv"], 0


def serve(asking: socket.socket) -> list[str]:
    """Answer requests until nobody can ask; in a forked process return what it is to run."""
    asking.sendall(b"ready")
    while True:
        message, streams, _, _ = socket.recv_fds(asking, 1 << 20, 3)
        if not message:
            return []
        argv, pid = forked(message, streams)
        if not pid:
            asking.detach()  # closed already
            return argv
        for stream in streams:
            os.close(stream)
        asking.sendall(str(pid).encode())


if __name__ == "__main__":
    PLAIN = sys.path[1:]
    sys.path[0] = os.getcwd()
    torch.set_num_threads(1)  # nothing here has threads that a fork would lose
    for name in LOADED:
        importlib.import_module(name)
    from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

    sys.path[:] = PLAIN
    gc.collect()
    gc.freeze()
    if command := serve(socket.socket(fileno=0)):
        execute(command)
