"""How far a question file can be answered without reading: shallow probes beside chance (fleming/refine/shortcuts.py).

    python benchmarks/shortcuts.py questions.jsonl [--graph graph.jsonl] [--source graph] [--seed N]

Any file that fleming/public/readers.py reads. --source keeps the questions of one data set. Prints a table, random
folds beside folds by root; the last line is JSON.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fleming.graph.graph_files import load_graph
from fleming.public.readers import read_questions
from fleming.refine.shortcuts import shortcuts
from model.errors import InputError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("questions")
    parser.add_argument("--graph")
    parser.add_argument("--source")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        questions = read_questions(options.questions)
        graph = load_graph(options.graph) if options.graph else None
    except InputError as error:
        sys.exit(f"error: {error}")
    questions = [q for q in questions if options.source in (None, q.source)]
    began = time.perf_counter()
    found = shortcuts(questions, graph, options.seed)
    seconds = time.perf_counter() - began
    print("| probe | accuracy, % | chance | questions | folds by root |\n|---|---|---|---|---|")
    for name, row in found.items():
        if not name.endswith("_by_root"):
            by_root = found.get(f"{name}_by_root")
            cells = (name.replace("_", " "), shown(row), f"{row['chance']:.1%}", f"{row['n']:,}")
            print(f"| {' | '.join(cells)} | {shown(by_root) if by_root else ''} |")
    print(json.dumps({"benchmark": "shortcuts", "seconds": round(seconds, 1), "probes": found}))


def shown(row: dict[str, float]) -> str:
    return f"{100 * row['accuracy']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


if __name__ == "__main__":
    main()
