"""The scripts' command lines: options beside key=value, and which keys each describes.

Light: they are read before torch is loaded. Left out: keys and their values (config.py).
"""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from fleming.assets import load_table
from fleming.config import load_config, parse_command_line, run_script
from fleming.settings import Config
from fleming.terminal import printable, program, tell
from model.errors import InputError


def add_offline(parser: argparse.ArgumentParser) -> None:
    """Add --offline."""
    parser.add_argument(
        "--offline",
        action="store_true",
        help="ask no teacher: give what it has answered in this folder before",
    )


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Add --dry-run, and what it should suppose about the machine."""
    parser.add_argument("--dry-run", action="store_true", help="check all, estimate memory, start nothing")
    parser.add_argument("--gpus", type=int, metavar="N", help="for --dry-run: in all; default: torchrun's")
    parser.add_argument("--gpu-memory", type=float, metavar="GB", help="of each; default: found, or 80")


def add_evaluation(parser: argparse.ArgumentParser) -> None:
    """Add what to evaluate, ask or compare."""
    parser.add_argument("--model", metavar="DIR", default="", help="evaluate this model folder")
    known = ", ".join(load_table("benchmarks.yaml"))
    parser.add_argument("--benchmarks", metavar="NAMES", default="", help=f"of {known}; or paper: its nine")
    parser.add_argument(
        "--reliability", action="store_true", help="ask each question in ten ways: would it answer the same?"
    )
    parser.add_argument("--question", metavar="TEXT", help="ask the model one question and stream its answer")
    parser.add_argument(
        "--rubrics", metavar="FILE", help="score free answers by its criteria; the teacher judges"
    )
    parser.add_argument("--compare", metavar="RUN", nargs=2, help="two folders RUN_DIR/eval/NAME to compare")
    kinds = ("inspect", "lm-eval", "table")
    parser.add_argument("--export", choices=kinds, help="write stored results in another tool's form")
    more = "what to export, again for each: RUN_DIR or RUN_DIR/eval/NAME; default: run_dir"
    parser.add_argument("--of", metavar="RUN", action="append", default=[], help=more)


SCRIPTS = {  # the stage -> its options, and the sections that its --help describes
    "synth": (add_offline, ("synth", "teacher", "base_model", "data", "parallel")),
    "sft": (add_dry_run, ("sft", "data", "parallel")),
    "grpo": (add_dry_run, ("grpo", "data", "parallel", "free")),
    "evaluate": (add_evaluation, ("evaluate", "data", "parallel", "free", "teacher")),
}


def command_line(stage: str, description: str, argv: list[str]) -> tuple[Config, argparse.Namespace]:
    """Return the settings and options of a script's command line; see config.py: parse_command_line."""
    cfg, options = parse_command_line(Config, description, argv, *SCRIPTS[stage])
    for name in ("gpus", "gpu_memory"):
        if getattr(options, name, None) is not None and not options.dry_run:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} is for --dry-run; to run on N GPUs: torchrun --nproc_per_node N")
    return cfg, options


# Read when torch and MKL are loaded. MKL's documented mode of equal bits, and PyTorch's own kernels of that kind.
SAME_KERNELS = {"MKL_CBWR": "AVX2,STRICT", "ATEN_CPU_CAPABILITY": "avx2"}
# How often a thread of libgomp looks whether the others are done before it sleeps. By its own default, 300,000, it
# keeps the processor from the very thread that it waits for where another program runs too (docs/benchmarks.md).
SPIN = "GOMP_SPINCOUNT", "1000"


def choose_kernels(cfg: Config) -> None:
    """Have torch, where it is loaded after this, use the kernels that the settings ask for, and spin briefly."""
    os.environ.setdefault(*SPIN)
    if cfg.reproducible:
        os.environ |= SAME_KERNELS


def run_settings(run_dir: Path) -> Config:
    """Return the settings that a run has kept, wherever its folder lies by now. Raises InputError where it has none."""
    return load_config(Config, run_dir / "config.yaml", [f"run_dir={run_dir}"])


def same_kernels(argv: Sequence[str]) -> None:
    """Choose the kernels of the run whose folder is the first argument; where it is none, leave that to be told."""
    if argv and os.path.isfile(os.path.join(argv[0], "config.yaml")):  # Path's raises where it may not look
        run_script(lambda _: choose_kernels(run_settings(Path(argv[0]))), leave=False)


def look_first(stage: str, description: str) -> None:
    """Tell --help and mistakes, and that there is more to come, before a script imports what takes seconds to load.

    What has to be said before torch is loaded is said here, too.
    """

    def look(argv: list[str]) -> None:
        cfg, options = command_line(stage, description, argv)
        choose_kernels(cfg)
        if os.environ.get("LOCAL_RANK", "0") == "0":
            run = "" if getattr(options, "compare", None) else f"{cfg.run_dir}, "
            tell(printable(f"{program()}: {run}loading\n"))

    run_script(look, leave=False)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the next run_script: no import is a stack trace


def next_command(script: str, *more: str) -> str:
    """Return the command that goes on from where this one has ended: the same settings, and `more`."""
    return shlex.join(["python", script, *sys.argv[1:], *more])
