"""How long a trace takes on a run of a million records, and how fast verify reads: against sha256sum on the same files.

    python -m benchmarks.audit [--records 1000000]

The run is made up (its records have the shape of real ones and no meaning) and deleted afterwards. Each trace is a
process of its own, as a user starts it, Python's start included.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from fleming.files import write_json, write_jsonl
from fleming.manifest import merkle_root, written_in

QUESTIONS, EDGES, STEP = 50_000, 100_000, 2_000  # records of each kind; rollouts a step


def edge(number: int) -> dict:
    return {"head": f"disease {number // 10}", "relation": "has_finding", "tail": f"finding {number}"}


def graph() -> Iterator[dict]:
    yield {
        "kind": "origin",
        "number": 0,
        "source": "made up",
        "file": "made_up.csv",
        "version": "",
        "extractor": "",
    }
    for head in range(EDGES // 10):
        numbers = range(head * 10, head * 10 + 10)
        facts = [["has_finding", f"finding {i}", False, [[0, i + 1, -1, 1.0, -1.0, ""]]] for i in numbers]
        yield {"kind": "facts", "head": f"disease {head}", "facts": facts}


def question(number: int) -> dict:
    path = [edge((number * 7 + k * 13) % EDGES) for k in range(5)]
    return {"id": f"graph/{number}", "split": "train", "question": "?", "options": {"A": "a", "B": "b"}, "answer": "A",
            "provenance": {"path": path, "certificate": {"distractors": []}}}  # fmt: skip


def rollout(number: int) -> dict:
    step, place = divmod(number, STEP)
    return {"step": step + 1, "stage": 1, "question_id": f"graph/{number * 31 % QUESTIONS}", "group": place // 8,
            "sample": place % 8, "seed": 0, "finish_reason": "stop",
            "token_ids": list(range(60)), "logprobs": [-0.123456789] * 60,
            "response": "<think>\nmade up\n</think>\n<answer>A</answer>", "answer": "A",
            "reward": {"correct": 1.0, "format": 1.0, "total": 1.1}, "advantage": 0.0}  # fmt: skip


def make_run(run_dir: Path, records: int) -> None:
    write_jsonl(run_dir / "data/graph.jsonl", graph(), hashed=True)
    write_jsonl(run_dir / "data/questions.jsonl", map(question, range(QUESTIONS)), hashed=True)
    rollouts = records - QUESTIONS - EDGES
    for first in range(0, rollouts, STEP):
        part = map(rollout, range(first, min(first + STEP, rollouts)))
        write_jsonl(run_dir / f"grpo/rollouts/step_{first // STEP + 1:06d}.jsonl", part, hashed=True)
    data, grpo = written_in(run_dir, "data"), written_in(run_dir, "grpo")
    ended = {"outputs": grpo, "root": merkle_root(data | grpo)}
    write_json(run_dir / "manifest.json", {"synth": [{"outputs": data}], "grpo": [ended]})


def timed(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--records", type=int, default=1_000_000, help="facts, questions and rollouts together"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run_dir = Path(scratch)
        make_run(run_dir, options.records)
        size = sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file())
        print(f"{options.records:,} records, {size / 1e9:.2f} GB")
        audit = [sys.executable, "-m", "fleming.audit"]
        print(f"first trace, which makes the index: {timed([*audit, 'trace', scratch, 'graph/17']):.1f} s")
        for name in ("graph/17", "disease 3 | has_finding | finding 35", "rollout:2/7/3"):
            print(f"trace {name}: {median(timed([*audit, 'trace', scratch, name]) for _ in range(5)):.2f} s")
        files = [str(path) for path in run_dir.rglob("*") if path.is_file()]
        theirs = [timed(["sha256sum", *files]) for _ in range(3)]
        ours = [timed([*audit, "verify", scratch]) for _ in range(3)]
        ratio = min(theirs) / min(ours)
        print(
            f"verify {min(ours):.1f} s, sha256sum {min(theirs):.1f} s on the same files: {ratio:.2f} times as fast"
        )
    print(json.dumps({"records": options.records, "verify": ours, "sha256sum": theirs}))


if __name__ == "__main__":
    main()
