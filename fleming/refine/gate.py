"""Looks for the questions that a run is measured on in the files that it learns from, and writes the gate's report.

    python -m fleming.refine.gate --config configs/demo.yaml [key=value] [--benchmarks medqa,pubmedqa]

Writes RUN_DIR/data/decontamination.json and exits with 1 where a record leaks a question, else with 0. Left out: what
counts as a leak, and the gate (data/decontamination.py).
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleming.config import parse_command_line, run_script
from fleming.public.benchmarks import PAPER_NINE, LoadedBenchmark, load_benchmark, load_own, named_benchmarks
from fleming.refine.decontamination import check_gate, write_report
from fleming.settings import Config
from model.errors import InputError

SHOWN = 10  # matches printed; the report has all


def report_path(cfg: Config) -> Path:
    """Return where the report of a run lies."""
    return Path(cfg.run_dir, "data/decontamination.json")


def learned_from(cfg: Config) -> dict[str, Path]:
    """Return the files that the run learns from: those that the config names, else those in its folder."""
    named = {"questions": (cfg.data.questions, "rl.jsonl"), "trajectories": (cfg.data.trajectories, "cold_start.jsonl")}
    files = {n: Path(given or Path(cfg.run_dir, "data", own)) for n, (given, own) in named.items()}
    return {name: file for name, file in files.items() if named[name][0] or file.exists()}


def measured_on(cfg: Config, chosen: str = "") -> list[LoadedBenchmark]:
    """Return the benchmarks that `chosen` names ("medqa,pubmedqa"), else all that the config names.

    Those are evaluate.benchmarks, evaluate.questions, and of the paper's nine those in evaluate.benchmark_folder; one
    that is not there is said in a line. Raises InputError for a file that cannot be read.
    """
    ev = cfg.evaluate
    if names := [name.strip() for name in chosen.split(",") if name.strip()]:
        return named_benchmarks(names, ev)
    loaded = [load_benchmark(name, Path(file)) for name, file in ev.benchmarks.items()]
    if ev.questions:
        loaded.append(load_own(Path(ev.questions), "questions"))
    for name in PAPER_NINE if ev.benchmark_folder else ():
        if name not in ev.benchmarks:
            try:
                loaded.append(load_benchmark(name, Path(ev.benchmark_folder)))
            except InputError as error:
                print(f"{name} is not looked for: {error}")
    return loaded


def files_of(benchmarks: list[LoadedBenchmark]) -> dict[str, Path]:
    """Return what the benchmarks were read from, by the names that an evaluation's hashes have."""
    return {f"{b.name}.{i}": path for b in benchmarks for i, path in enumerate(b.files)}


def gate(cfg: Config, files: Mapping[str, Path]) -> dict[str, Any]:
    """Return what the manifest says of decontamination; raise InputError where the run may not learn from `files`."""
    mode = cfg.data.decontamination
    benchmarks = {} if mode == "off" else files_of(measured_on(cfg))
    return {"decontamination": check_gate(mode, report_path(cfg), files, benchmarks)}


def main(argv: list[str]) -> int:
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--benchmarks", default="", metavar="NAMES", help="only these, by comma; paper: the nine")

    cfg, options = parse_command_line(Config, __doc__, argv, add_arguments)
    files, benchmarks = learned_from(cfg), measured_on(cfg, options.benchmarks)
    if not files:
        raise InputError(f"{cfg.run_dir}/data: nothing to check: set data.questions or data.trajectories")
    if not benchmarks:
        raise InputError("no benchmark to look for: set evaluate.benchmarks.NAME=FILE or evaluate.benchmark_folder")
    questions = {b.name: b.questions for b in benchmarks}
    report = write_report(report_path(cfg), files, files_of(benchmarks), questions)
    print(f"{'file':42}{'records':>10}{'leaks':>8}")
    for entry in report["data"].values():
        print(f"{entry['file'][-40:]:42}{entry['records']:10,}{entry['leaks']:8,}")
    print(f"\n{'benchmark':42}{'questions':>10}{'leaks':>8}")
    for name, entry in report["benchmarks"].items():
        print(f"{name:42}{entry['questions']:10,}{entry['leaks']:8,}")
    for match in report["matches"][:SHOWN]:
        print(f"{match['file']} {match['id']} is {match['benchmark_id']} by {match['rule']}, {match['score']:.2f}")
    if (more := len(report["matches"]) - SHOWN) > 0:
        print(f"and {more:,} more")
    print(f"\n{report_path(cfg)}: {len(report['matches']):,} records leak a benchmark question")
    return 1 if report["matches"] else 0


if __name__ == "__main__":
    run_script(main)
