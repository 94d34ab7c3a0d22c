"""What the tests themselves must hold to: records are told apart as the format has it, and the mutants still apply."""

import ast
import os
import signal
import subprocess
import sys

import pytest
from support import warm
from support.places import ROOT

TESTS = [path for path in sorted((ROOT / "tests").rglob("*.py")) if path.name != "test_tests.py"]
NO_RECORDS = ("test_anonymise.py",)  # reads notes


def test_no_test_reads_json_lines_by_splitlines():
    """It cuts at U+2028, U+0085 and other characters that a record may hold: such a test passes by luck."""
    found = []
    for path in TESTS:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "splitlines"
            ):
                source = ast.unparse(node.func.value)
                if ("read_text" in source or "read_bytes" in source) and path.name not in NO_RECORDS:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def test_every_mutant_still_applies_to_the_code_and_names_tests_that_exist():
    sys.path.insert(0, str(ROOT / "tests/mutants"))
    from mutants import MUTANTS

    rows = [(path, *row) for path, of_file in MUTANTS.items() for row in of_file]
    wrong = [row[:2] for row in rows if (ROOT / row[0]).read_text().count(row[1]) != 1]
    assert wrong == []
    assert all(old != new for _, old, new, _ in rows)
    named = {word for *_, tests in rows for word in tests.split() if word.endswith(".py")}
    assert all((ROOT / name).exists() for name in named)
    assert len(rows) >= 40


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
