"""What people see: no text drives their terminal, a log has lines and no bars, and memory that is full is one line."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import unicodedata

import pytest
from support.places import ROOT

from fleming import terminal
from fleming.config import run_script
from fleming.terminal import Console, printable

BARS = """
import sys, time
from fleming import terminal
from fleming.config import run_script
from tqdm import tqdm
def main(argv):
    terminal.SECONDS = float(argv[0])
    print("begins", file=sys.stderr)
    with tqdm(total=30, desc="RL", unit="step", dynamic_ncols=True, mininterval=0) as bar:
        for step in range(30):
            if step == 20:
                with tqdm(total=5, desc="mining", leave=False, mininterval=0, dynamic_ncols=True) as inner:
                    for _ in range(5):
                        inner.update()
                bar.write("shown \\x1b[2J \\x9b text")
            bar.set_postfix({"reward": "0.500", "length": "x" * int(argv[1])}, refresh=False)
            bar.update()
            time.sleep(0.02)
    print("ends", file=sys.stderr)
    print("A", file=sys.stderr)
run_script(main)
"""


def program(text: str, *arguments: str, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", text, *arguments], capture_output=True, text=True, cwd=ROOT, **kwargs
    )


def in_a_terminal(columns: int, *arguments: str, **environment: str) -> str:
    """Return what the program of bars writes to a terminal of so many columns."""
    main, worker = pty.openpty()
    fcntl.ioctl(worker, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", BARS, *arguments],
        stdin=worker, stdout=worker, stderr=worker, cwd=ROOT, env={**os.environ, **environment},
    )  # fmt: skip
    os.close(worker)
    seen = b""
    while True:
        try:
            block = os.read(main, 65536)
        except OSError:  # Linux's way to say that the other side is closed
            break
        if not block:
            break
        seen += block
    os.close(main)
    assert process.wait() == 0
    return seen.decode()


def test_a_log_gets_plain_lines_now_and_then_and_the_last_state():
    done = program(BARS, "0.2", "10")
    assert (done.returncode, done.stdout) == (0, "shown \\u001b[2J \\u009b text\n")
    first, *lines, ends, last = done.stderr.splitlines()
    assert (first, ends, last) == ("begins", "ends", "A")
    assert "\r" not in done.stderr
    assert all(re.match(r"(RL|mining): +\d+% \d+/\d+ \[", line) for line in lines), lines
    assert "0/30" in lines[0]
    assert "30/30" in lines[-1]
    assert "reward=0.500" in lines[-1]
    assert 4 <= len(lines) <= 9  # of 0.6 s, every 0.2 s, where another bar begins, and the last
    assert done.stderr.isascii()
    assert len(program(BARS, "60", "10").stderr.splitlines()) <= 6


def test_a_terminal_gets_a_bar_as_wide_as_it_is_and_no_colour():
    for columns in (60, 100):
        seen = in_a_terminal(columns, "0", "200")
        drawn = re.split(r"[\r\n]+", seen.replace("\x1b[A", ""))
        assert seen.count("\rRL:") > 10
        assert max(map(len, drawn)) <= columns
        assert set(re.findall(r"\x1b[^A-Za-z]*[A-Za-z]", seen)) <= {"\x1b[A"}
        assert "shown \\u001b[2J \\u009b text" in drawn


def test_a_dumb_terminal_is_a_log():
    seen = in_a_terminal(80, "60", "5", TERM="dumb")
    assert "\r" not in seen.replace("\r\n", "\n")
    assert "RL: 100% 30/30" in seen


def test_no_character_that_steers_a_terminal_is_printed():
    for number in range(0x110000):
        char = chr(number)
        category = unicodedata.category(char)
        bidirectional = unicodedata.bidirectional(char) in (
            "LRE",
            "RLE",
            "LRO",
            "RLO",
            "PDF",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        )
        steers = (category == "Cc" and char not in "\n\t") or category in ("Zl", "Zp", "Cs") or bidirectional
        if steers:
            assert printable(char) == f"\\u{number:04x}"
        elif category != "Cf":
            assert printable(char) == char
    assert printable("Sjögren 糖尿病 \N{GRINNING FACE}\tµ\n") == "Sjögren 糖尿病 \N{GRINNING FACE}\tµ\n"


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        ("InputError('a\\x1b]0;b\\x07\\udc80.jsonl: bad')", r"error: a\\u001b]0;b\\u0007\\udc80.jsonl: bad"),
        ("MemoryError()", "error: out of memory: Python; lower "),
        (
            "RuntimeError('CUDA out of memory. Tried to allocate 2 GiB')",
            "error: out of memory: CUDA out of memory. ",
        ),
        (
            'RuntimeError("DefaultCPUAllocator: can\'t allocate memory: you tried")',
            "error: out of memory: Default",
        ),
    ],
)
def test_what_ends_a_program_is_one_line(raised, says):
    done = program(
        "from fleming.config import run_script\nfrom model.errors import InputError\n"
        f"def main(argv): raise {raised}\nrun_script(main)"
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"-c: {says}".replace("\\\\", "\\"))
    assert done.stderr.count("\n") == 1


def test_another_runtime_error_keeps_its_trace():
    done = program(
        "from fleming.config import run_script\ndef main(argv): raise RuntimeError('shapes')\nrun_script(main)"
    )
    assert "Traceback" in done.stderr


def test_torch_without_memory_is_one_line():
    done = program(
        "import torch\nfrom fleming.config import run_script\n"
        "def main(argv): torch.empty(1 << 50, dtype=torch.uint8)\nrun_script(main)"
    )
    assert done.returncode == 2
    assert re.fullmatch(r"-c: error: out of memory: .*micro_batch_tokens.*--dry-run.*\n", done.stderr)


def test_a_reader_who_does_not_read_holds_no_bar_up(monkeypatch):
    read, write = os.pipe()
    monkeypatch.setattr(terminal, "SECONDS", 0.0)
    with os.fdopen(write, "w") as stream, os.fdopen(read, "rb") as reader:
        console = Console(stream)
        for step in range(10_000):  # some 20 times what a pipe holds
            console.write(f"\rRL: {step:100}")
        lines = reader.read1(1 << 20).decode().splitlines()
        assert 100 < len(lines) < 5000
        console.write("\n")
    assert [int(line[3:]) for line in lines] == list(range(len(lines)))


def test_a_console_is_a_stream_like_the_one_within():
    within = io.StringIO()
    console = Console(within)
    for text in ("", "a", "\n", "\n", "\r 1%| # | x", "", "\n", "A", "\n", "\x1b[A", "\r    \r", "b"):
        console.write(text)
    console.flush()
    assert within.getvalue() == "a\n\n1% x\nA\nb"
    assert console.getvalue() == within.getvalue()


def test_a_program_gives_the_streams_back(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x"])
    before = sys.stdout, sys.stderr
    with pytest.raises(SystemExit):
        run_script(lambda argv: 0)
    assert (sys.stdout, sys.stderr) == before
