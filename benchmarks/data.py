"""How stage 1 grows: a made-up graph of 10^4, 10^5 and 10^6 edges built, saved, loaded, asked; and the text steps.

    python benchmarks/data.py [--edges 1e4 1e5 1e6] [--questions 1000]

The graph comes from two TSV files by the generic table importer, as a user's would: a tenth as many entities as edges,
tails drawn so that few are hubs and most are rare. Each size runs in a process of its own, since its peak memory is
the process's. Prints a table; the last line is JSON.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from fleming.graph.graph_files import load_graph, save_graph  # noqa: E402
from fleming.graph.joining import join_sources  # noqa: E402
from fleming.graph.open_world import has  # noqa: E402
from fleming.questions.rules import Rules  # noqa: E402
from fleming.questions.sampling import sample_questions  # noqa: E402
from fleming.sources.registry import SOURCES  # noqa: E402

SHARES = {"disease": 0.2, "finding": 0.25, "symptom": 0.05, "drug": 0.1, "gene": 0.2, "process": 0.1, "anatomy": 0.02,
          "test": 0.03, "adverse_effect": 0.05}  # fmt: skip
EDGES = [
    ("disease", "has_finding", "finding", 0.4), ("disease", "has_symptom", "symptom", 0.1),
    ("disease", "associated_gene", "gene", 0.05), ("disease", "treated_by", "drug", 0.05),
    ("disease", "located_in", "anatomy", 0.05), ("disease", "diagnosed_by", "test", 0.05),
    ("drug", "has_adverse_effect", "adverse_effect", 0.15), ("drug", "targets", "gene", 0.05),
    ("gene", "participates_in", "process", 0.08), ("finding", "subtype_of", "finding", 0.02),
]  # fmt: skip
MAPPING = """
source: made up
nodes: {id: [id], name: name, type_column: type}
head: {id: [head]}
tail: {id: [tail]}
relation: [relation]
"""


def write_files(folder: Path, edges: int) -> None:
    """Write nodes.tsv, edges.tsv and their mapping."""
    rng = np.random.default_rng(edges)
    ids = {
        kind: [f"X:{kind}{i}" for i in range(max(4, int(edges / 10 * share)))]
        for kind, share in SHARES.items()
    }
    syllables = np.array([c + v for c in "bdfgklmnprst" for v in "aeiou"])
    number = 0
    with open(folder / "nodes.tsv", "w") as file:
        file.write("id\tname\ttype\n")
        for kind, keys in ids.items():
            for key in keys:
                number += 7919
                name = "".join(syllables[number // 60**k % 60] for k in range(5))
                file.write(f"{key}\t{name}\t{kind}\n")
    with open(folder / "edges.tsv", "w") as file:
        file.write("head\trelation\ttail\n")
        for head, relation, tail, share in EDGES:
            count = int(edges * share)
            heads = rng.integers(len(ids[head]), size=count).tolist()
            tails = (len(ids[tail]) * rng.random(count) ** 2).astype(int)
            if relation == "subtype_of":  # of one that was named before: no circles
                tails = (np.array(heads) * rng.random(count)).astype(int)
            tails = tails.tolist()
            file.writelines(
                f"{ids[head][h]}\t{relation}\t{ids[tail][t]}\n" for h, t in zip(heads, tails, strict=True)
            )
    (folder / "mapping.yaml").write_text(MAPPING)


def measure(edges: int, questions: int) -> dict:
    """Return seconds and peak memory of each step at one size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, edges)
        paths = {"mapping": "mapping.yaml", "file": "edges.tsv", "nodes": "nodes.tsv"}
        paths = {key: str(folder / file) for key, file in paths.items()}

        def timed(action):
            start = time.perf_counter()
            return action(), time.perf_counter() - start

        def peak() -> float:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

        before = peak()
        source = SOURCES["table"](paths, lambda *record: None)
        joined, build = timed(lambda: join_sources([source], lambda *record: None))
        built = peak()
        _, save = timed(lambda: save_graph(joined.graph, folder / "graph.jsonl"))
        size = (folder / "graph.jsonl").stat().st_size
        joined = None
        graph, load = timed(lambda: load_graph(folder / "graph.jsonl"))

        def look_up() -> int:
            """A hundred thousand times: who is there one step from here, and is this fact so."""
            diseases, findings = graph.of_type("disease"), graph.of_type("finding")
            places = np.random.default_rng(0).integers(2**31, size=(50_000, 2)).tolist()
            found = 0
            for i, j in places:
                found += len(graph.follow(diseases[i % len(diseases)], "has_finding"))
                found += has(graph, diseases[i % len(diseases)], "has_finding", findings[j % len(findings)])
            return found

        look_up()  # builds the index
        _, query = timed(look_up)
        counts = {2: questions - 2 * (questions // 3), 3: questions // 3, 4: questions // 3}
        (posed, _, report), pose = timed(
            lambda: sample_questions(graph, counts, 0, Rules(scenario=True, min_shared=1))
        )
        return {
            "entities": len(graph.entities), "edges": len(graph), "start_gib": before, "build_s": build,
            "build_peak_gib": built, "save_s": save, "file_mib": size / 2**20, "load_s": load,
            "query_us": query * 10,
            "questions": len(posed), "questions_s": pose, "rare_drawn": report["rare_drawn"],
            "rare_even": report["rare_even"], "peak_gib": peak(),
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edges", type=float, nargs="+", default=[1e4, 1e5, 1e6])
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # one size, in this process
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(int(options.edges[0]), options.questions)))
        return
    rows = []
    for edges in options.edges:
        command = [
            sys.executable,
            __file__,
            "--one",
            "--edges",
            str(edges),
            "--questions",
            str(options.questions),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ})
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    for key in rows[0]:
        print(f"{key:16}" + "".join(f"{row[key]:14,.2f}" for row in rows))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
