"""Stored results for others (`evaluate.py --export`): tables, and the forms of two other tools. Asks no model.

What is exported is what a score is of: answers that count, to questions as they were published. Left out: reshuffles,
variants, repeated stems; the forms themselves (other_tools.py, tables.py).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from fleming.evaluation.other_tools import write_inspect, write_lm_eval
from fleming.evaluation.scoring import mean_score
from fleming.evaluation.stored import Asked, Run, answers_of, read_run
from fleming.evaluation.tables import FORMS, Scores, Table, score_table
from fleming.evaluation.votes import Score
from fleming.settings import Config
from model.errors import InputError
from model.files import write_atomic

WRITERS = {"inspect": write_inspect, "lm-eval": write_lm_eval}


def chosen_results(cfg: Config, named: Sequence[str]) -> list[Path]:
    """Return the folders eval/NAME that --of names, or those of each run that it names; else those of the config's run.

    A run's come in the order of evaluate.models. Raises InputError where there are none.
    """
    order = list(cfg.evaluate.models)
    folders = []
    for place in map(Path, named or [cfg.run_dir]):
        inside = [path.parent for path in place.glob("eval/*/results.json")]
        inside.sort(key=lambda p: (order.index(p.name) if p.name in order else len(order), p.name))
        found = [place] if (place / "results.json").is_file() else inside
        if not found:
            raise InputError(f"{place}: holds no results of evaluate.py; name RUN_DIR or RUN_DIR/eval/NAME")
        folders += found
    return list(dict.fromkeys(folders))


def export(kind: str, folders: Sequence[Path], out: Path) -> Iterator[Path]:
    """Write the results of the folders and yield each file: tables in `out`, else in a folder `kind` beside each.

    Raises InputError for results that are none, and for answers that they are not of.
    """
    runs = [read_run(folder) for folder in folders]  # all, before anything is written
    if kind == "table":
        tables = _tables(runs)
        for ending, form in FORMS.items():
            path = out / f"table.{ending}"
            write_atomic(path, "\n".join(map(form, tables)))
            yield path
    for run in runs if kind != "table" else ():
        yield from WRITERS[kind](run, answers_of(run))


def _tables(runs: Sequence[Run]) -> list[Table]:
    """Return for each protocol a table of the benchmarks with their mean, then one for each kind of slices."""
    names = [run.folder.name for run in runs]
    models = {
        name if names.count(name) == 1 else str(run.folder): run
        for name, run in zip(names, runs, strict=True)
    }
    asked = list(dict.fromkeys(key for run in runs for key in run.results))
    tables = []
    for protocol in dict.fromkeys(protocol for _, protocol in asked):
        here = [benchmark for benchmark, other in asked if other == protocol]
        scores: dict[str, dict[str, Score]] = {}
        notes: dict[str, None] = {}  # in order, each once
        for model, run in models.items():
            found = {b: run.results[b, protocol] for b in here if (b, protocol) in run.results}
            scores[model] = {b: stored.score for b, stored in found.items()}
            if len(here) == len(found) > 1:  # a mean of fewer is another mean
                scores[model]["mean"] = mean_score(list(scores[model].values()))
            for benchmark, stored in found.items():
                notes[f"Protocol: {stored.described}."] = None
                notes |= dict.fromkeys(f"{benchmark}: {warning}." for warning in stored.warnings)
        tables.append(score_table(f"Accuracy in percent, {protocol}", scores, list(notes)))
    return tables + [table for key in asked for table in _slices(models, key)]


def _slices(models: dict[str, Run], asked: Asked) -> Iterator[Table]:
    found = {model: run.results[asked].breakdown for model, run in models.items() if asked in run.results}
    for dimension in dict.fromkeys(d for breakdown in found.values() for d in breakdown):
        scores: Scores = {model: breakdown.get(dimension, {}) for model, breakdown in found.items()}
        note = "Slices are not corrected for being many: of twenty, one will differ from its neighbour by chance."
        yield score_table(f"{asked[0]} ({asked[1]}) by {dimension}, accuracy in percent", scores, [note])
