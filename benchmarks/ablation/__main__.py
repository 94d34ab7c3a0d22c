"""`make ablation`: print the plan and its ETA, run arm by arm, add a line to docs/ablation/results.jsonl for each.

    make ablation ABLATION=small
    python -m benchmarks.ablation --scale small --arms stage2,more_stage1 --seeds 0,1 --jobs 2
    python -m benchmarks.ablation --table          the tables, of what is there; --write puts them into docs/ablation.md
    python -m benchmarks.ablation --plan           what is done, what is left, how long it takes

Ctrl-C or SIGTERM lets the running arms save and ends; the same command goes on. Two arms are trained side by side,
a thread each. Left out: what an arm is (arms.yaml).
"""

import argparse
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from statistics import fmean

from benchmarks.ablation.arms import ROOT, Plan, chain, model_of, place_of, read_plan, seeds_of
from benchmarks.ablation.compare import accuracy
from benchmarks.ablation.results import RESULTS, Line, append_line, counted, read_lines
from benchmarks.ablation.runs import ArmError, Bench, Scripts, StoppedError
from benchmarks.ablation.table import tables, write_page
from fleming.files import run_lock
from fleming.terminal import option_parser
from model.errors import InputError

Task = tuple[str, int]  # arm, seed
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(argv: Sequence[str], plan: Plan | None = None, scripts: Scripts | None = None) -> int:
    """Run the command; return its exit status: 1 where an arm failed, 128 + the signal where one ended it."""
    options = parse(argv)
    plan = plan or read_plan()
    lines = read_lines(options.results)
    if options.write:
        write_page(plan, lines)
    if options.table or options.write:
        print(tables(plan, lines))
        return 0
    if options.scale not in plan.scales:
        raise InputError(f"--scale {options.scale}: expected {' or '.join(plan.scales)}")
    tasks = wanted(plan, options)
    done, stale = counted(plan, lines, options.scale)
    for line in stale:
        print(f"{line.arm}, seed {line.seed}: its line is of other settings and does not count")
    left = [task for task in tasks if task not in done]
    print(described(plan, options, tasks, left, lines), flush=True)
    if options.plan or not left:
        return 0
    with run_lock(options.runs, "benchmarks.ablation"):
        return carry_out(plan, options, left, lines, scripts or Scripts())


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options."""
    parser = option_parser(__doc__)
    parser.add_argument("--scale", default="full", help="full: the demo's lengths. small: two hours")
    parser.add_argument("--arms", default="", help="names, with commas; default: all")
    parser.add_argument(
        "--seeds", default="", help="numbers, with commas; default: those planned for each arm"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="arms side by side")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/ablation", help="where arms are trained")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file of lines")
    parser.add_argument("--plan", action="store_true", help="say what is left, run nothing")
    parser.add_argument("--table", action="store_true", help="print the tables, run nothing")
    parser.add_argument("--write", action="store_true", help="and put them into docs/ablation.md")
    return parser.parse_args(argv)


def wanted(plan: Plan, options: argparse.Namespace) -> list[Task]:
    """Return what the options ask for, the arms of the first questions before others, an arm's seeds together."""
    names = [name.strip() for name in options.arms.split(",") if name.strip()] or list(plan.arms)
    if unknown := [name for name in names if name not in plan.arms]:
        raise InputError(f"--arms {unknown[0]}: expected of {', '.join(plan.arms)}")
    try:
        seeds = [int(seed) for seed in options.seeds.split(",") if seed.strip()]
    except ValueError:
        raise InputError(f"--seeds {options.seeds}: expected numbers with commas between") from None
    names.sort(key=lambda name: (not plan.arms[name].first, list(plan.arms).index(name)))
    return [(name, seed) for name in names for seed in seeds or seeds_of(plan, name, options.scale)]


def estimate(plan: Plan, name: str, scale: str, lines: Iterable[Line]) -> float:
    """Return the seconds that an arm takes of one job, what it begins from apart."""
    arm, guess = plan.arms[name], plan.estimates
    seen = [line.seconds for line in lines if line.arm == name and line.scale == scale]
    if seen:
        return fmean(seen) + guess["overhead"]
    if arm.trains == "sft":
        return arm.seconds + guess["overhead"]
    speed = guess.get(f"{arm.trains} {arm.budget}", guess[arm.trains])
    return plan.scales[scale].budgets[arm.budget] / speed + guess["overhead"]


def seconds_left(
    plan: Plan, options: argparse.Namespace, left: Iterable[Task], lines: Sequence[Line]
) -> float:
    """Return the estimate for all that is left, and for what it begins from where that is not there."""
    made = {}
    for name, seed in left:
        for each in chain(plan, name):
            place = place_of(plan, options.runs, each, seed, options.scale)
            if each == name or not model_of(plan, place).exists():
                made[place.folder] = estimate(plan, each, options.scale, lines)
    return sum(made.values()) / options.jobs


def described(
    plan: Plan,
    options: argparse.Namespace,
    tasks: Sequence[Task],
    left: Sequence[Task],
    lines: Sequence[Line],
) -> str:
    """Return the plan in words: arms, how many of their seeds are left, and the time that all of it takes."""
    of_scale = plan.scales[options.scale]
    budgets = ", ".join(f"{name} {tokens:,}" for name, tokens in of_scale.budgets.items())
    said = [f"ablation, scale {options.scale}: budgets in tokens: {budgets}"]
    for name in dict.fromkeys(name for name, _ in tasks):
        seeds = [seed for each, seed in tasks if each == name]
        open_seeds = [seed for each, seed in left if each == name]
        minutes = estimate(plan, name, options.scale, lines) / 60
        numbers = " ".join(map(str, open_seeds)) or "none"
        said.append(
            f"  {name}: {len(seeds) - len(open_seeds)} of {len(seeds)} done, left: {numbers}, {minutes:.1f} min each"
        )
    said.append(f"{len(left)} of {len(tasks)} left, {in_words(seconds_left(plan, options, left, lines))}")
    said.append("what it can show, and what there is: python -m benchmarks.ablation --table")
    return "\n".join(said)


def in_words(seconds: float) -> str:
    """Return a time to come."""
    return f"about {seconds / 3600:.1f} h" if seconds > 5400 else f"about {seconds / 60:.0f} min"


class Stop:
    """Which signal has come, and how often; a handler does no more than count."""

    def __init__(self):
        self.signal, self.count = 0, 0

    def __call__(self, number: int, _frame: object) -> None:
        self.signal, self.count = number, self.count + 1


def carry_out(
    plan: Plan, options: argparse.Namespace, left: Sequence[Task], lines: Sequence[Line], scripts: Scripts
) -> int:
    """Run what is left, a line for each as it is finished; return the exit status."""
    bench = Bench(plan, options.scale, options.runs, scripts.run)
    stop, asked = Stop(), 0
    before = {number: signal.signal(number, stop) for number in SIGNALS}
    lines, remaining, failed = list(lines), list(left), []
    pool = ThreadPoolExecutor(options.jobs)
    try:
        running = {pool.submit(bench.line, *task): task for task in left}
        waiting = set(running)
        while waiting:
            finished, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            if stop.count > asked:
                asked = stop.count
                print("stopping: what runs saves first (again to stop at once)", flush=True)
                scripts.stop()
            for future in finished:
                task = running[future]
                error = future.exception()
                if isinstance(error, StoppedError):
                    continue
                remaining.remove(task)
                if error:  # whatever it is, the others go on
                    failed.append("{} (seed {})".format(*task))
                    told = error if isinstance(error, ArmError | InputError) else repr(error)
                    print(f"{failed[-1]} FAILED: {told}", flush=True)
                    continue
                append_line(future.result(), options.results)
                bench.tidy(*task)
                lines.append(future.result())
                eta = in_words(seconds_left(plan, options, remaining, lines))
                print(f"{summary(plan, lines[-1])}; {len(remaining)} left, {eta}", flush=True)
    except BaseException:
        scripts.stop()  # a full disk, say: nothing goes on unseen
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        for number, handler in before.items():
            signal.signal(number, handler)
    if failed:
        print(f"failed: {', '.join(failed)}; the same command tries again")
    if stop.count:
        return 128 + stop.signal
    return 1 if failed else 0


def summary(plan: Plan, line: Line) -> str:
    """Return a finished arm in one line."""
    share = accuracy(line, [str(n) for n in plan.lengths])
    return (
        f"{line.arm}, seed {line.seed}: {100 * share:.1f} %, {line.steps} steps, {line.tokens:,} tokens, "
        f"{line.seconds:.0f} s"
    )


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except InputError as error:
        sys.exit(f"error: {error}")
