"""The demo's table over several seeds: each run's accuracies, and paired differences pooled over runs.

    for s in 0 1 2; do make demo RUN_DIR=runs/demo$s SET=seed=$s; done
    python benchmarks/demo_seeds.py runs/demo0 runs/demo1 runs/demo2

Each seed has its own questions, so pooled pairs are independent. Ends with one JSON line.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fleming.evaluation.scoring import compare, summarise
from fleming.files import read_json, read_jsonl

PAIRS = (("cold_start", "base"), ("rl_stage1", "cold_start"), ("rl_stage2", "rl_stage1"), ("rl_stage2", "cold_start"))


def main(run_dirs: list[str]) -> None:
    names = ["base", "cold_start", "rl_stage1", "rl_stage2"]
    answers = {n: [[r for _, r in read_jsonl(f"{d}/eval/{n}/answers.jsonl")] for d in run_dirs] for n in names}
    print(f"| run (seed) | questions | {' | '.join(names)} |\n|{'---|' * (len(names) + 2)}")
    for i, run_dir in enumerate(run_dirs):
        seed = read_json(f"{run_dir}/eval/base/results.json")["seed"]
        cells = [_interval(summarise(answers[n][i])) for n in names]
        print(f"| {Path(run_dir).name} ({seed}) | {len(answers['base'][i])} | {' | '.join(cells)} |")
    pooled = {n: summarise([a for run in answers[n] for a in run]) for n in names}
    print(f"| pooled | {pooled['base']['n']} | {' | '.join(_interval(pooled[n]) for n in names)} |\n")
    print("| difference, paired | points [95 % interval] | McNemar p |\n|---|---|---|")
    record = {"runs": run_dirs, "accuracy": {n: pooled[n]["accuracy"] for n in names}}
    for after, before in PAIRS:
        result = compare(answers[before], answers[after])
        print(
            f"| {after} minus {before} | {100 * result.difference:+.1f} "
            f"[{100 * result.low:+.1f}, {100 * result.high:+.1f}] | {result.p_mcnemar:.1e} |"
        )
        record[f"{after} - {before}"] = [result.difference, result.low, result.high]
    print("\n| pooled | format | mean tokens |\n|---|---|---|")
    for n in names:
        print(f"| {n} | {100 * pooled[n]['format']:.1f} % | {pooled[n]['mean_tokens']:.1f} |")
    print(json.dumps(record))


def _interval(summary: dict) -> str:
    low, high = 100 * summary["accuracy_low"], 100 * summary["accuracy_high"]
    return f"{100 * summary['accuracy']:.1f} [{low:.1f}, {high:.1f}]"


if __name__ == "__main__":
    main(sys.argv[1:])
