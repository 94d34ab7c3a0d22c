"""What the tests of the scripts start instead of an interpreter: it must not be told from one."""

import os
import signal
import subprocess
import sys

import pytest
from support import warm
from support.places import ROOT

TOLD = """
import os, signal, sys, threading
numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE]
print(__name__, sys.argv, os.getcwd(), sys.path[:3], os.environ.get("MINE"), os.environ.get("PYTHONPATH"))
print([signal.getsignal(number) for number in numbers], threading.active_count(), os.getppid())
print(os.getsid(0) == os.getpid())
print(sorted(map(int, os.listdir("/proc/self/fd")))[:4], sys.stdin.read(), sys.stdout.line_buffering, file=sys.stderr)
if sys.argv[1] == "kill":
    print("lost, as nothing flushes it")
    os.kill(os.getpid(), signal.SIGKILL)
elif sys.argv[1] == "raise":
    raise ValueError("a bug")
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.skipif(not warm.available, reason="needs Linux: elsewhere these are usual processes")
@pytest.mark.parametrize(
    ("argument", "status"), [("0", 0), ("7", 7), ("raise", 1), ("kill", -signal.SIGKILL)]
)
@pytest.mark.parametrize("session", [False, True])
def test_a_process_that_is_forked_warm_is_as_one_that_is_started(tmp_path, argument, status, session):
    (tmp_path / "told.py").write_text(TOLD)
    found = []
    for run in (subprocess.run, warm.run):
        environment = {"MINE": "x", "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "PATH": os.environ["PATH"]}
        command = [sys.executable, str(tmp_path / "told.py"), argument, "more"]
        found.append(
            run(
                command, capture_output=True, text=True, cwd=tmp_path, env=environment,
                stdin=subprocess.DEVNULL, start_new_session=session, timeout=60,
            )
        )  # fmt: skip
    usual, forked = found
    assert usual.returncode == forked.returncode == status
    assert forked.stdout == usual.stdout
    if argument == "raise":
        assert forked.stderr.endswith("ValueError: a bug\n")
        assert forked.stderr.splitlines()[0] == usual.stderr.splitlines()[0]
    else:
        assert forked.stderr == usual.stderr


def test_two_processes_that_are_forked_warm_in_turn_have_other_hash_seeds(tmp_path):
    (tmp_path / "told.py").write_text("print(hash('x'))")
    told = [warm.run([sys.executable, tmp_path / "told.py"], capture_output=True).stdout for _ in range(2)]
    assert len(set(told)) == 2
