"""The decontamination gate: no training on files that no report has cleared of the questions that a run is measured on.

    python -m fleming.refine.gate --config configs/demo.yaml [key=value] [--benchmarks medqa,pubmedqa]

The command writes the report, RUN_DIR/data/decontamination.json, which names the sha256 of every file that was looked
at, and exits with 1 where a record leaks a question, else with 0. Training asks `gate`, which looks for a report on the
very files of the run. Left out: what counts as a leak (decontamination.py).
"""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fleming.config import parse_command_line, run_script
from fleming.files import read_json, sha256_file, write_json
from fleming.public.benchmarks import PAPER_NINE, LoadedBenchmark, files_of, load_benchmark, named_benchmarks
from fleming.public.readers import DEFAULT, read_questions, read_trajectories
from fleming.records import Question
from fleming.refine.decontamination import RULES, Index
from fleming.settings import Config
from fleming.typed import from_json
from model.errors import InputError
from model.sums import digest

COMMAND = "python -m fleming.refine.gate"
MODES = ("require", "warn", "off")
SHOWN = 10  # matches printed; the report has all


# Which files


def report_path(cfg: Config) -> Path:
    """Return where the report of a run lies."""
    return Path(cfg.run_dir, "data/decontamination.json")


def learned_from(cfg: Config) -> dict[str, Path]:
    """Return the files that the run learns from: those that the config names, else those in its folder."""
    named = {"questions": cfg.data.questions, "trajectories": cfg.data.trajectories}
    own = {"questions": "rl.jsonl", "trajectories": "cold_start.jsonl"}
    files = {name: Path(file or Path(cfg.run_dir, "data", own[name])) for name, file in named.items()}
    return {name: file for name, file in files.items() if named[name] or file.exists()}


def measured_on(cfg: Config, chosen: str = "") -> list[LoadedBenchmark]:
    """Return the benchmarks that `chosen` names ("medqa,pubmedqa"), else all that the config names.

    Those are evaluate.benchmarks, evaluate.questions, and of the paper's nine those in evaluate.benchmark_folder; one
    that is not there is said in a line. Raises InputError for a file that cannot be read.
    """
    ev = cfg.evaluate
    names = [name.strip() for name in chosen.split(",") if name.strip()]
    if names:
        return named_benchmarks(names, cfg)

    loaded = [load_benchmark(name, Path(file), cfg) for name, file in ev.benchmarks.items()]
    if ev.questions:
        loaded.append(load_benchmark("questions", Path(ev.questions), cfg))
    in_folder = [name for name in PAPER_NINE if name not in ev.benchmarks] if ev.benchmark_folder else []
    if in_folder and not Path(ev.benchmark_folder).is_dir():
        print(
            f"evaluate.benchmark_folder: {ev.benchmark_folder}: no such folder, nothing of it is looked for"
        )
        return loaded
    for name in in_folder:
        try:
            loaded.append(load_benchmark(name, Path(ev.benchmark_folder)))
        except InputError as error:
            print(f"{name} is not looked for: {error}")
    return loaded


# The report


@dataclass(frozen=True)
class DataFile:
    """A file that a run learns from."""

    file: str
    sha256: str
    records: int
    leaks: int
    """Of its records: how many leak a benchmark question."""


@dataclass(frozen=True)
class Report:
    """What was looked at, by which rules, and what was found."""

    rules: dict[str, Any]
    """decontamination.RULES at the time."""
    data: dict[str, DataFile]
    benchmark_files: dict[str, dict[str, str]]
    """Name -> {"file", "sha256"} of what a benchmark was read from."""
    benchmarks: dict[str, dict[str, int]]
    """Name -> {"questions", "leaks"}."""
    matches: list[dict[str, Any]]
    """{"file", "id"} of each record that leaks, and its decontamination.Match."""


def write_report(
    path: Path,
    data_files: Mapping[str, Path],
    benchmark_files: Mapping[str, Path],
    benchmarks: Mapping[str, Sequence[Question]],
    cfg: Config = DEFAULT,
) -> dict[str, Any]:
    """Check every record of the data files against the benchmarks' questions; write the report and return it.

    data_files: name -> file, "trajectories" or a name of questions; cfg says how they are read.
    benchmark_files: what `benchmarks` were read from, by names of their own. A file that changes meanwhile has another
    sha256 than the report says. Raises InputError for a file that cannot be read.
    """
    hashes = {file: sha256_file(file) for file in (*data_files.values(), *benchmark_files.values())}
    readers = {"trajectories": read_trajectories}
    records = {name: readers.get(name, read_questions)(file, cfg) for name, file in data_files.items()}
    index = Index(benchmarks, (record for part in records.values() for record in part))

    data, matches = {}, []
    for name, part in records.items():
        before = len(matches)
        for record, match in zip(part, index.leaks(part), strict=True):
            if match:
                found = {"file": name, "id": record.id, **asdict(match)}
                matches.append(found | {"score": round(match.score, 4)})
        file = data_files[name]
        data[name] = DataFile(str(file), hashes[file], len(part), len(matches) - before)

    counts = Counter(match["benchmark"] for match in matches)
    read = {name: {"file": str(file), "sha256": hashes[file]} for name, file in benchmark_files.items()}
    leaked = {name: {"questions": len(part), "leaks": counts[name]} for name, part in benchmarks.items()}
    report = asdict(Report(RULES, data, read, leaked, matches))
    write_json(path, report)
    return report


# The gate


def gate(cfg: Config, files: Mapping[str, Path]) -> dict[str, Any]:
    """Return what the manifest says of decontamination; raise InputError where the run may not learn from `files`."""
    for name, path in files.items():
        if not path.exists():
            raise InputError(f"{path} is not there: name one as {name}=FILE, or have synth_data.py write it")
    mode = cfg.data.decontamination
    benchmarks = {} if mode == "off" else files_of(measured_on(cfg))
    return {"decontamination": check_gate(mode, report_path(cfg), files, benchmarks)}


def check_gate(
    mode: str, report_path: Path, data_files: Mapping[str, Path], benchmark_files: Mapping[str, Path]
) -> dict[str, Any]:
    """Return what the manifest says of decontamination: mode, report, its sha256, and why it clears nothing, or null.

    require: raise InputError where the report is missing, was made by other rules or of other files than these (by
    their sha256), where it found leaks in them, and where no benchmark is given. warn: print that in one line. off:
    look at nothing.
    """
    if mode not in MODES:
        raise InputError(f"decontamination is {mode!r}, expected one of {', '.join(MODES)}")
    if mode == "off":
        return {"mode": mode}
    data = {name: sha256_file(file) for name, file in data_files.items()}
    benchmarks = {name: sha256_file(file) for name, file in benchmark_files.items()}
    fault = _fault(report_path, data, benchmarks)
    if fault:
        fault = f"{fault} run {COMMAND} with this config"
        if mode == "require":
            raise InputError(f"decontamination: {fault}")
        print(f"decontamination: {fault}")
    sha = digest(report_path) if report_path.exists() else None
    return {"mode": mode, "report": str(report_path), "sha256": sha, "fault": fault}


def _fault(report_path: Path, data: Mapping[str, str], benchmarks: Mapping[str, str]) -> str | None:
    """Return why the report does not clear files with these hashes, up to "run COMMAND", or None."""
    if not benchmarks:
        return "no benchmark is given: set evaluate.benchmarks or evaluate.benchmark_folder, then"
    if not report_path.exists():
        return f"{report_path} is missing:"
    try:
        report = from_json(Report, read_json(report_path), str(report_path))
    except InputError:
        return f"{report_path} is no report of decontamination:"
    if report.rules != RULES:
        return f"{report_path} was made by other rules:"

    # A report that contradicts itself, or has a file twice, clears it nowhere.
    leaks: Counter[str] = Counter()
    matched = Counter(match.get("file") for match in report.matches)
    for name, file in report.data.items():
        leaks[file.sha256] += max(file.leaks, matched[name])
    for name, sha in data.items():
        if sha not in leaks:
            return f"{report_path} does not cover {name} as it is now:"
        if leaks[sha]:
            many = f"{leaks[sha]:,} records that leak a benchmark question"
            return f"{name} has {many} ({report_path} lists them): take them out, then"

    covered = {file.get("sha256") for file in report.benchmark_files.values()}
    for name, sha in benchmarks.items():
        if sha not in covered:
            return f"{report_path} does not cover the benchmark {name} as it is now:"
    return None


# The command


def main(argv: list[str]) -> int:
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--benchmarks", default="", metavar="NAMES", help="these alone; paper: the nine")

    cfg, options = parse_command_line(Config, __doc__, argv, add_arguments)
    files, benchmarks = learned_from(cfg), measured_on(cfg, options.benchmarks)
    if not files:
        raise InputError(f"{cfg.run_dir}/data: nothing to check: set data.questions or data.trajectories")
    if not benchmarks:
        where = cfg.evaluate.benchmark_folder
        raise InputError(
            f"no benchmark to look for: {f'none is found in {where}' if where else 'none is named'}; set "
            "evaluate.benchmarks, or evaluate.benchmark_folder to where their files are"
        )

    questions = {b.name: b.questions for b in benchmarks}
    report = write_report(report_path(cfg), files, files_of(benchmarks), questions, cfg)
    matches = report["matches"]
    print(f"{'file':42}{'records':>10}{'leaks':>8}")
    for entry in report["data"].values():
        print(f"{entry['file'][-40:]:42}{entry['records']:10,}{entry['leaks']:8,}")
    print(f"\n{'benchmark':42}{'questions':>10}{'leaks':>8}")
    for name, entry in report["benchmarks"].items():
        print(f"{name:42}{entry['questions']:10,}{entry['leaks']:8,}")
    for match in matches[:SHOWN]:
        leaked = f"{match['benchmark_id']} by {match['rule']}, {match['score']:.2f}"
        print(f"{match['file']} {match['id']} is {leaked}")
    if len(matches) > SHOWN:
        print(f"and {len(matches) - SHOWN:,} more")
    print(f"\n{report_path(cfg)}: {len(matches):,} records leak a benchmark question")
    return 1 if matches else 0


if __name__ == "__main__":
    run_script(main)
