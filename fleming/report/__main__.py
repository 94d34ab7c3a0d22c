"""One page of a run, to look at: RUN_DIR/report.html, a single file that needs no network.

    python -m fleming.report runs/demo
    python -m fleming.report runs/demo --compare runs/other
    python -m fleming.report runs/demo --watch

It is made of what stands in the folder, finished or not, and says what is missing or damaged. With --watch it is
written anew whenever something has changed, until no process holds the folder and nothing changes any more.
"""

import contextlib
import time
from pathlib import Path

from fleming.config import run_script
from fleming.report.page import Report
from fleming.terminal import option_parser
from model.errors import InputError
from model.sums import write_hashed

WATCHED = ("*.json", "data/*.json*", "sft/*.jsonl", "grpo/*.jsonl", "grpo/rollouts/*", "eval/*/*")
QUIET = 12  # looks without a change after which a watch ends: between two stages nobody holds the folder


def write(report: Report, path: Path, pieces: list[bytes] | None = None) -> None:
    """Write the page, or pieces of one; say what it holds."""
    pieces = pieces or report.page()
    write_hashed(path, pieces)
    print(f"report: {report.said}, {sum(map(len, pieces)) / 1e6:.1f} MB", flush=True)


def stamps(run_dir: Path) -> dict[Path, tuple[int, int]]:
    """Return file -> date and size of all that a page may be of."""
    found = {}
    for path in (path for pattern in WATCHED for path in run_dir.glob(pattern)):
        with contextlib.suppress(FileNotFoundError):  # the run has renamed or deleted it meanwhile
            stat = path.stat()
            found[path] = stat.st_mtime_ns, stat.st_size
    return found


def watch(report: Report, path: Path, seconds: float) -> None:
    """Write the page at every change, until the run is over; the last one does not load itself again."""
    seen, quiet = None, 0
    with contextlib.suppress(KeyboardInterrupt):
        while quiet < QUIET:
            began, there = time.monotonic(), stamps(path.parent)
            if there != seen:
                seen, quiet = there, 0
                write(report, path, report.page(seconds))
            elif not report.reader.holder:
                quiet += 1
            # Training has the better part of the machine.
            time.sleep(max(seconds, 4 * (time.monotonic() - began)))
    write(report, path)


def main(argv: list[str]) -> None:
    parser = option_parser(__doc__)
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="a run's folder")
    parser.add_argument("--compare", metavar="OTHER", type=Path, help="another run, to lay beside it")
    seconds = {"type": float, "nargs": "?", "const": 5.0, "metavar": "SECONDS"}
    parser.add_argument("--watch", **seconds, help="go on while the run does, and look every so often (5)")
    options = parser.parse_args(argv)
    if options.watch is not None and not 0.1 <= options.watch <= 3600:
        raise InputError(f"--watch is {options.watch}, expected from 0.1 to 3600 seconds")
    report, path = Report(options.run_dir, options.compare), options.run_dir / "report.html"
    if options.watch:
        watch(report, path, options.watch)
    else:
        write(report, path)
    print(path)


if __name__ == "__main__":
    run_script(main)
