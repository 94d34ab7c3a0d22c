"""The audit's commands.

    python -m fleming.audit verify RUN [--segments N]      is everything as it was written? was it run as it says?

A fault gives the status 1, a mistake in the command 2. Left out: what each does (its own file).
"""

import argparse
import os
import secrets
from pathlib import Path

from fleming.audit.segments import verify_segments
from fleming.audit.verify import said, verify
from fleming.config import run_script


def main(argv: list[str]) -> int:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("fleming.audit", description=__doc__, formatter_class=layout)
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("verify", help="compare all files with their hashes, and run parts again")
    command.add_argument("run_dir", metavar="RUN", type=Path, help="a run's folder")
    command.add_argument("--segments", type=int, metavar="N", help="run N random segments again, bit for bit")
    command.add_argument("--seed", type=int, help="of the drawing; default: drawn, and printed")
    command.add_argument(
        "--jobs", type=int, default=min(2, os.cpu_count() or 1), help="segments side by side"
    )
    command.set_defaults(run=run_verify)

    options = parser.parse_args(argv)
    return options.run(options)


def run_verify(options: argparse.Namespace) -> int:
    verdict = verify(options.run_dir)
    print(said(verdict, options.run_dir), flush=True)
    if verdict.faults or options.segments is None:
        return int(bool(verdict.faults))
    seed = secrets.randbelow(10**9) if options.seed is None else options.seed
    differ, words = verify_segments(options.run_dir, options.segments, seed, options.jobs)
    print(words)
    return int(bool(differ))


if __name__ == "__main__":
    run_script(main)
