"""Do the tests notice? Puts one small fault after another into a copy of the tree and runs the tests that should fail.

    python tests/mutants/run_mutants.py [--jobs 2] [--only WORD] [--table tests/mutants/table.md]

Not collected by pytest and not in CI: a hundred runs of pytest take a quarter of an hour. Exit status 1 where a
mutant survives that SURVIVORS does not explain. Left out: making mutants up; which faults are worth trying is a choice.
"""

import argparse
import concurrent.futures
import os
import queue
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mutants import MUTANTS

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 300  # seconds; a mutant that hangs is noticed too
SURVIVORS: dict[str, str] = {}  # what was replaced -> why no test can tell


def copy_of_tree(folder: Path) -> Path:
    """Copy what git would commit, with the working tree's contents."""
    listed = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def run_tests(tree: Path, tests: str) -> tuple[str, float]:
    """Return "passed", "failed" or "hung", and the seconds that it took."""
    began = time.monotonic()
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *shlex.split(tests)]
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=LONGEST
        )
    except subprocess.TimeoutExpired:
        return "hung", time.monotonic() - began
    assert done.returncode in (0, 1, 2), done.stdout[-2000:] + done.stderr[-2000:]
    return ("passed" if done.returncode == 0 else "failed"), time.monotonic() - began


def try_mutant(tree: Path, path: str, old: str, new: str, tests: str) -> tuple[str, float]:
    """Return the outcome of the tests with the fault in the tree, which is then as before."""
    whole = (tree / path).read_text()
    assert whole.count(old) == 1, f"{path}: {old!r} stands there {whole.count(old)} times"
    (tree / path).write_text(whole.replace(old, new))
    try:
        return run_tests(tree, tests)
    finally:
        (tree / path).write_text(whole)


def table(rows: list[tuple], seconds: float) -> str:
    """Return the outcomes in Markdown."""
    killed = sum(outcome != "passed" for *_, outcome in rows)
    lines = [
        f"{killed} of {len(rows)} mutants killed ({100 * killed / len(rows):.1f} %), {seconds / 60:.0f} minutes.",
        "",
    ]
    lines += ["| file | what stood there | put in its place | tests | outcome |", "|---|---|---|---|---|"]
    for path, old, new, tests, outcome in rows:
        shown = [
            f"`{' '.join(x.split())}`".replace("|", "\\|") if x.strip() else "nothing" for x in (old, new)
        ]
        verdict = {"failed": "killed", "hung": "killed (hangs)"}.get(
            outcome
        ) or f"SURVIVES: {SURVIVORS.get(old, '?')}"
        lines.append(f"| {path} | {shown[0]} | {shown[1]} | {tests} | {verdict} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="mutants whose file or text has this")
    parser.add_argument("--table", type=Path, help="write the table here too")
    options = parser.parse_args()
    wanted = [(path, *row) for path, rows in MUTANTS.items() for row in rows]
    wanted = [row for row in wanted if options.only in " ".join(row)]
    began = time.monotonic()

    with tempfile.TemporaryDirectory() as scratch:
        trees: queue.Queue[Path] = queue.Queue()
        for job in range(options.jobs):
            trees.put(copy_of_tree(Path(scratch, str(job))))

        def borrow(action, *arguments):
            tree = trees.get()
            try:
                return action(tree, *arguments)
            finally:
                trees.put(tree)

        def attempt(row: tuple) -> tuple:
            outcome, seconds = borrow(try_mutant, *row)
            print(f"{outcome:7} {seconds:4.0f} s  {row[0]}: {' '.join(row[1].split())[:80]}", flush=True)
            return (*row, outcome)

        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            suites = sorted({row[3] for row in wanted})
            sound = list(pool.map(lambda tests: borrow(run_tests, tests)[0], suites))
            assert set(sound) == {"passed"}, f"without a fault: {dict(zip(suites, sound, strict=True))}"
            rows = list(pool.map(attempt, wanted))

    text = table(rows, time.monotonic() - began)
    print(text)
    if options.table:
        options.table.write_text(text)
    return int(any(outcome == "passed" and old not in SURVIVORS for _, old, _, _, outcome in rows))


if __name__ == "__main__":
    sys.exit(main())
