"""The demo's table over several seeds: each run's accuracies, and paired differences pooled over runs.

    for s in 0 1 2; do make demo RUN_DIR=runs/demo$s SET=seed=$s; done
    python benchmarks/demo_seeds.py runs/demo0 runs/demo1 runs/demo2

Each seed has its own questions, so pooled pairs are independent. Ends with one JSON line.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fleming.evaluation.comparison import difference
from fleming.evaluation.report import describe_difference, percent
from fleming.evaluation.statistics import question_interval
from fleming.files import read_json, read_jsonl

NAMES = ("base", "cold_start", "rl_stage1", "rl_stage2")
PAIRS = (
    ("cold_start", "base"),
    ("rl_stage1", "cold_start"),
    ("rl_stage2", "rl_stage1"),
    ("rl_stage2", "cold_start"),
)


def main(run_dirs: list[str]) -> None:
    answers = {
        n: [[r for _, r in read_jsonl(f"{d}/eval/{n}/answers.jsonl")] for d in run_dirs] for n in NAMES
    }
    pooled = {n: [a for run in answers[n] for a in run] for n in NAMES}
    print(f"| run (seed) | questions | {' | '.join(NAMES)} |\n|{'---|' * (len(NAMES) + 2)}")
    for i, run_dir in enumerate(run_dirs):
        seed = read_json(f"{run_dir}/eval/base/results.json")["seed"]
        cells = [_interval(answers[n][i]) for n in NAMES]
        print(f"| {Path(run_dir).name} ({seed}) | {len(answers['base'][i])} | {' | '.join(cells)} |")
    print(f"| pooled | {len(pooled['base'])} | {' | '.join(_interval(pooled[n]) for n in NAMES)} |\n")
    strata = [i for i, run in enumerate(answers["base"]) for _ in run]
    record = {"runs": run_dirs, "accuracy": {n: sum(_right(pooled[n])) / len(pooled[n]) for n in NAMES}}
    for after, before in PAIRS:
        result = difference(_right(pooled[before]), _right(pooled[after]), strata)
        print(f"{after} minus {before}, paired: {describe_difference(result)}")
        record[f"{after} - {before}"] = [result.difference, result.low, result.high]
    print(
        "\n| without a language model (shallow probes of each run's own questions, five folds) | accuracy |\n|---|---|"
    )
    reports = [read_json(f"{d}/data/report.json")["shortcuts"] for d in run_dirs]
    for probe in ("nearest_stem", "clue_votes", "logit"):
        cells = [percent(report[probe]["accuracy"]) for report in reports]
        print(f"| {probe} | {', '.join(cells)} |")
        record[probe] = [report[probe]["accuracy"] for report in reports]
    print("\n| pooled | format | mean tokens |\n|---|---|---|")
    for n in NAMES:
        form, tokens = (sum(a[field] for a in pooled[n]) / len(pooled[n]) for field in ("format", "tokens"))
        print(f"| {n} | {percent(form)} % | {tokens:.1f} |")
    print(json.dumps(record))


def _right(answers: list[dict]) -> list[float]:
    return [float(a["correct"]) for a in answers]


def _interval(answers: list[dict]) -> str:
    found = question_interval(_right(answers), samples=1)
    return f"{percent(found.value)} [{percent(found.low)}, {percent(found.high)}]"


if __name__ == "__main__":
    main(sys.argv[1:])
