"""How stage 1 grows: a made-up graph of 10^4, 10^5 and 10^6 edges built, saved, loaded, asked; and the text steps.

    python benchmarks/data.py [--edges 1e4 1e5 1e6] [--questions 1000]

The graph comes from two TSV files by the generic table importer, as a user's would. Its diseases come in families that
share findings, each with its own beside them, in k of n patients; genes, inheritance and onsets are declared complete:
so patients can be told apart, and questions are posed by the rules for the real graphs. Tails are drawn so that few are
hubs and most are rare. Each size runs in a process of its own, since its peak memory is the process's. Prints a table;
the last line is JSON.
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

from fleming.config import load_config  # noqa: E402
from fleming.graph.completeness import declare  # noqa: E402
from fleming.graph.graph_files import load_graph, save_graph  # noqa: E402
from fleming.graph.joining import join_sources  # noqa: E402
from fleming.graph.open_world import has  # noqa: E402
from fleming.questions.sampling import sample_questions  # noqa: E402
from fleming.settings.synth import QuestionRules, SynthConfig  # noqa: E402
from fleming.sources.mapping import Mapping  # noqa: E402
from fleming.sources.registry import SOURCES  # noqa: E402

MEMBERS = 7  # diseases of a family
SHARED, OWN, SELDOM, COMMON = (
    4,
    6,
    4,
    3,
)  # findings of a family, of a disease alone in it, of few patients, of anybody
EDGES_PER_DISEASE = 28
MODES = (
    "autosomal recessive",
    "autosomal dominant",
    "X-linked recessive",
    "X-linked dominant",
    "mitochondrial",
)
ONSETS = ("congenital", "infantile", "childhood", "juvenile", "adult")
SHARES = {
    "drug": 0.01,
    "anatomy": 0.002,
    "test": 0.003,
    "adverse_effect": 0.005,
    "process": 0.01,
}  # of the edges
EDGES = [
    ("disease", "treated_by", "drug", 0.04), ("disease", "located_in", "anatomy", 0.04),
    ("disease", "diagnosed_by", "test", 0.03), ("drug", "has_adverse_effect", "adverse_effect", 0.1),
    ("drug", "targets", "gene", 0.04), ("gene", "participates_in", "process", 0.06),
    ("finding", "subtype_of", "finding", 0.01),
]  # fmt: skip
MAPPING = """
source: made up
nodes: {{id: [id], name: name, type_column: type}}
head: {{id: [head]}}
tail: {{id: [tail]}}
relation: [relation]
notes: [frequency]
completeness: {{inherited_as: closed, associated_gene: closed, has_onset: nearly_closed}}
published: {{inherited_as: {diseases}, associated_gene: {diseases}, has_onset: {diseases}}}
"""
KINDS = {
    "differential": 30.0,
    "gene": 15.0,
    "inheritance": 10.0,
}  # those whose wrong options the graph can prove wrong


def write_files(folder: Path, edges: int) -> None:
    """Write nodes.tsv, edges.tsv and their mapping."""
    rng = np.random.default_rng(edges)
    diseases = edges // EDGES_PER_DISEASE // MEMBERS * MEMBERS
    families = diseases // MEMBERS
    common, pool = (
        max(20, edges // 2000),
        max(OWN, families * OWN // 4),
    )  # each member's own are some others' too
    counts = {kind: max(4, int(edges * share)) for kind, share in SHARES.items()}
    counts |= {"disease": diseases, "gene": diseases, "finding": common + families * SHARED + pool * MEMBERS}
    ids = {kind: [f"X:{kind}{i}" for i in range(count)] for kind, count in counts.items()}
    _write_nodes(folder / "nodes.tsv", ids)

    with open(folder / "edges.tsv", "w") as file:
        file.write("head\trelation\ttail\tfrequency\n")

        def fact(head: str, relation: str, tail: str, frequency: str = "") -> None:
            file.write(f"{head}\t{relation}\t{tail}\t{frequency}\n")

        findings, places = ids["finding"], common + families * SHARED
        for family in range(families):
            own = places + np.arange(MEMBERS)[:, None] * pool + rng.integers(pool, size=(MEMBERS, OWN))
            for member in range(MEMBERS):
                number = family * MEMBERS + member
                of = _findings_of(rng, common + family * SHARED, own, member)
                of |= {int(common * place**2): int(rng.integers(2, 8)) for place in rng.random(COMMON)}
                for place, seen in of.items():
                    fact(ids["disease"][number], "has_finding", findings[place], f"{seen}/20")
                fact(ids["disease"][number], "associated_gene", ids["gene"][number])
                fact(ids["disease"][number], "inherited_as", f"X:mode{rng.integers(len(MODES))}")
                fact(ids["disease"][number], "has_onset", f"X:onset{rng.integers(len(ONSETS))}")
        for head, relation, tail, share in EDGES:
            count = int(edges * share)
            heads = rng.integers(len(ids[head]), size=count).tolist()
            tails = (len(ids[tail]) * rng.random(count) ** 2).astype(int)
            if relation == "subtype_of":  # of one that was named before: no circles
                tails = (np.array(heads) * rng.random(count)).astype(int)
            for h, t in zip(heads, tails.tolist(), strict=True):
                fact(ids[head][h], relation, ids[tail][t])
    (folder / "mapping.yaml").write_text(MAPPING.format(diseases=diseases))


def _findings_of(rng: np.random.Generator, first: int, own: np.ndarray, member: int) -> dict[int, int]:
    """Return place of a finding -> in how many of 20 patients: the family's, the member's own, few of the others'."""
    others = np.delete(own, member, axis=0).ravel()
    found = dict.fromkeys(rng.choice(others, SELDOM, replace=False).tolist(), 1)
    found |= {first + i: int(rng.integers(9, 20)) for i in range(SHARED)}
    return found | {place: int(rng.integers(10, 21)) for place in own[member].tolist()}


def _write_nodes(path: Path, ids: dict[str, list[str]]) -> None:
    syllables = np.array([c + v for c in "bdfgklmnprst" for v in "aeiou"])
    number = 0
    with open(path, "w") as file:
        file.write("id\tname\ttype\n")
        for i, mode in enumerate(MODES):
            file.write(f"X:mode{i}\t{mode} inheritance\tinheritance\n")
        for i, onset in enumerate(ONSETS):
            file.write(f"X:onset{i}\t{onset} onset\tonset\n")
        for kind, keys in ids.items():
            for key in keys:
                number += 7919
                name = "".join(syllables[number // 60**k % 60] for k in range(5))
                file.write(f"{key}\t{name}\t{kind}\n")


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
        declare(joined.graph, load_config(Mapping, paths["mapping"], []).declared())
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
        synth = SynthConfig(kinds=KINDS, rules=QuestionRules(markers=1))  # two mark a made-up disease alone
        (posed, refused, _), pose = timed(lambda: sample_questions(graph, questions, 0, synth))
        return {
            "entities": len(graph.entities), "edges": len(graph), "start_gib": before, "build_s": build,
            "build_peak_gib": built, "save_s": save, "file_mib": size / 2**20, "load_s": load,
            "query_us": query * 10,
            "questions": len(posed), "questions_s": pose, "refused": len(refused),
            "ms_per_question": 1000 * pose / max(1, len(posed)), "peak_gib": peak(),
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
