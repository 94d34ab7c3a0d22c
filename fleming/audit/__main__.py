"""The audit's commands.

    python -m fleming.audit trace RUN ID [--json]          what does it rest on, and what did it lead to?
    python -m fleming.audit retract RUN --source SOURCE    what depends on it, and what must be run again?
    python -m fleming.audit verify RUN [--segments N]      is everything as it was written? was it run as it says?
    python -m fleming.audit card RUN [--pack]              what does it say of its data, training and scores?

A fault gives the status 1, a mistake in the command 2. Left out: what each does (its own file).
"""

import argparse
import contextlib
import json
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from fleming.audit import card
from fleming.audit.index import Index
from fleming.audit.retract import as_text as told
from fleming.audit.retract import retract, to_run_again
from fleming.audit.segments import check_wish, verify_segments
from fleming.audit.trace import as_json, as_text, trace
from fleming.audit.verify import said, verify
from fleming.config import run_script
from fleming.terminal import option_parser
from model.errors import InputError


def main(argv: list[str]) -> int:
    parser = option_parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, run: Callable, says: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=says)
        command.add_argument("run_dir", metavar="RUN", type=Path, help="a run's folder")
        command.set_defaults(run=run)
        return command

    command = add("trace", run_trace, "what a record rests on, and what it led to")
    names = "a question's or trajectory's id, 'HEAD | RELATION | TAIL', rollout:STEP/GROUP/SAMPLE, answer:NAME/QUESTION"
    command.add_argument("id", metavar="ID", help=names)
    command.add_argument("--json", action="store_true", help="as JSON")

    command = add("retract", run_retract, "withdraw a source or a fact")
    sources = "FILE, FILE:LINE, PAGE or 'HEAD | RELATION | TAIL'"
    command.add_argument("--source", required=True, help=sources)
    command.add_argument("--reason", default="", help="kept in the list")
    command.add_argument("--json", action="store_true", help="all ids, as JSON")

    command = add("verify", run_verify, "compare all files with their hashes, and run parts again")
    command.add_argument("--segments", type=int, metavar="N", help="run N random segments again, bit for bit")
    command.add_argument("--seed", type=int, help="of the drawing; default: drawn, and printed")
    jobs = min(2, os.cpu_count() or 1)
    command.add_argument("--jobs", type=int, default=jobs, help="segments side by side")

    command = add("card", card.run, "write a model card, and a pack of other forms")
    command.add_argument(
        "--pack", action="store_true", help="also write RUN/pack: Croissant, CHAI, two tables"
    )

    options = parser.parse_args(argv)
    return options.run(options)


@contextlib.contextmanager
def records_of(run_dir: Path) -> Iterator[Index]:
    """Yield the run's index; a record of another form than ours is a mistake of the folder, not of this program."""
    try:
        yield Index(run_dir)
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{run_dir}: a record is not of the form in docs/file-formats.md ({error!r}); "
            "python -m fleming.audit verify says which file has changed"
        ) from error


def run_trace(options: argparse.Namespace) -> int:
    with records_of(options.run_dir) as index:
        node = trace(index, options.id)
        print(as_json(node) if options.json else as_text(node))
    return 0


def run_retract(options: argparse.Namespace) -> int:
    with records_of(options.run_dir) as index:
        found, path = retract(index, options.source, options.reason)
        commands = to_run_again(index, found, path)
        print(
            json.dumps(found, ensure_ascii=False, indent=1) if options.json else told(found, path, commands)
        )
    return 0


def run_verify(options: argparse.Namespace) -> int:
    if options.segments is not None:
        check_wish(options.run_dir, options.segments, options.jobs)  # before all files are read
    verdict = verify(options.run_dir)
    print(said(verdict, options.run_dir), flush=True)
    if verdict.faults or options.segments is None:
        return int(bool(verdict.faults))
    seed = secrets.randbelow(10**9) if options.seed is None else options.seed
    differ, words = verify_segments(options.run_dir, options.segments, seed, options.jobs)
    print(words)
    return int(bool(differ))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the segments' processes end with this one
    run_script(main)
