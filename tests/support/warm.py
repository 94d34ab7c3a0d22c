"""Scripts as processes of their own without each paying for the import of torch, which takes three seconds.

Popen and run are subprocess's for `python script ...` and `python -m module ...`: the process is forked from an
interpreter that has all of it imported (workers/warm.py). There are two such interpreters, with hash seeds of their
own, that take turns: a run and the same command again do not share one. Where a process's own start is the point, and
where it needs a preexec_fn, use subprocess.
"""

import atexit
import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading

from support.places import ROOT

SUBREAPER = 36  # prctl's PR_SET_CHILD_SUBREAPER: who inherits a process whose parent has ended
COUNT = 2
HANDLED = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
_servers: list[socket.socket] = []
_turn = threading.Lock()
available = sys.platform == "linux"  # elsewhere a process is started as usual


def _start() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    worker = [sys.executable, str(ROOT / "tests/support/workers/warm.py")]
    for _ in range(COUNT):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = subprocess.Popen(worker, stdin=theirs, stdout=subprocess.DEVNULL, env=environment, cwd=ROOT)
        theirs.close()
        _servers.append(ours)
        atexit.register(process.wait)
        atexit.register(ours.close)
    for server in _servers:
        assert server.recv(9) == b"ready"


@contextlib.contextmanager
def _adopting():
    libc = ctypes.CDLL(None)
    libc.prctl(SUBREAPER, 1, 0, 0, 0)
    yield
    libc.prctl(SUBREAPER, 0, 0, 0, 0)


class Popen(subprocess.Popen):
    """subprocess.Popen for a command that begins with sys.executable."""

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *more):
        if not available or preexec_fn:
            return super()._execute_child(args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *more)
        given, session = [more[3], more[6], more[8]], more[-2]
        streams = [number if stream == -1 else stream for number, stream in enumerate(given)]
        program, *argv = map(str, args)
        assert program == sys.executable
        asked = {
            "argv": argv,
            "env": dict(env or os.environ),
            "cwd": str(cwd or os.getcwd()),
            "session": session,
            # What a process ignores its children ignore: SIGINT where make has put it into the background.
            "ignored": [number for number in HANDLED if signal.getsignal(number) == signal.SIG_IGN],
        }
        with _turn, _adopting():
            if not _servers:
                _start()
            _servers.append(_servers.pop(0))
            socket.send_fds(_servers[0], [json.dumps(asked).encode()], streams)
            self.pid = int(_servers[0].recv(99))
        self._child_created = True
        self._close_pipe_fds(more[3], more[4], more[5], more[6], more[7], more[8])


def run(command, *, check=False, capture_output=False, timeout=None, **kwargs) -> subprocess.CompletedProcess:
    """subprocess.run, of such a command."""
    if capture_output:
        kwargs |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Popen(command, **kwargs) as process:
        try:
            out, error = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(command, process.returncode, out, error)
    if check:
        done.check_returncode()
    return done
