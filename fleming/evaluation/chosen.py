"""What a command evaluates: the benchmarks and the models that its options and its config name."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from fleming.evaluation.annotations import Annotations, read_annotations
from fleming.public.benchmarks import BENCHMARKS, LoadedBenchmark, load_own, named_benchmarks
from fleming.settings import Config
from model.errors import InputError
from model.huggingface.config import load_config


def chosen_benchmarks(cfg: Config, named: str) -> list[LoadedBenchmark]:
    """Return the benchmarks named by --benchmarks, else those of the config, else the run's own test questions."""
    ev = cfg.evaluate
    names = [name.strip() for name in named.split(",")] if named else list(ev.benchmarks)
    if names:
        loaded = named_benchmarks(names, cfg)
    else:
        source = Path(ev.questions or Path(cfg.run_dir, "data/test.jsonl"))
        if not source.exists():
            ways = "name a file as evaluate.questions=FILE, use --benchmarks, or have synth_data.py write it"
            raise InputError(f"{source} is not there: {ways}")
        loaded = [load_own(source, source.name.partition(".")[0], cfg)]
    return [limited(benchmark, ev.limit) for benchmark in loaded]


def chosen_annotations(cfg: Config, benchmarks: Sequence[LoadedBenchmark]) -> dict[str, Annotations]:
    """Return benchmark -> what people say of its questions, of those that are evaluated.

    Raises InputError for a name that is no benchmark, and as `read_annotations`.
    """
    loaded = {benchmark.name: benchmark for benchmark in benchmarks}
    files = cfg.evaluate.annotations
    if unknown := sorted(files.keys() - loaded.keys() - BENCHMARKS.keys()):
        raise InputError(
            f"evaluate.annotations.{unknown[0]}: no benchmark of this name is evaluated; there are {', '.join(loaded)}"
        )
    return {
        name: read_annotations(Path(file), loaded[name]) for name, file in files.items() if name in loaded
    }


def limited(benchmark: LoadedBenchmark, limit: int) -> LoadedBenchmark:
    """Return the benchmark with its first questions alone, and a warning that says so; 0 is no limit."""
    total = len(benchmark.questions)
    if not limit or limit >= total:
        return benchmark
    warning = f"only the first {limit:,} of {total:,} questions (evaluate.limit)"
    warnings = [*benchmark.warnings, warning]
    return dataclasses.replace(benchmark, questions=benchmark.questions[:limit], warnings=warnings)


def chosen_models(cfg: Config, folder: str, say: Callable[[str], None]) -> dict[str, Path]:
    """Return name -> folder of --model's model, else of those that the config names, relative to run_dir.

    A stage of no steps is left out, which `say` is told. Raises InputError for a folder that holds no model.
    """
    models = {name_of(folder): Path(folder)} if folder else _models_of_config(cfg, say)
    if not models and cfg.model:
        models = {name_of(cfg.model): Path(cfg.model)}
    if not models:
        raise InputError("nothing to evaluate: give --model DIR, or evaluate.models in the config")
    for place in models.values():
        load_config(place)
    return models


def _models_of_config(cfg: Config, say: Callable[[str], None]) -> dict[str, Path]:
    idle = {}  # folder of a stage that has no steps -> its name
    for stage in ("stage1", "stage2"):
        if getattr(cfg.grpo, stage).max_steps == 0:
            idle[Path(cfg.run_dir, "grpo", stage, "model")] = stage

    models = {}
    for name, place in cfg.evaluate.models.items():
        folder = Path(cfg.run_dir, place)
        if folder in idle:
            say(f"{name} is left out: grpo.{idle[folder]}.max_steps is 0")
        else:
            models[name] = folder
    return models


def name_of(folder: str) -> str:
    """What a model folder's results are filed under; ours are all called "model", so with the folders above it."""
    *above, last = Path(folder).resolve().parts[1:] or ("root",)
    return "_".join(above[-2:]) if last == "model" and above else last
