"""What stage 1 leaves in RUN_DIR/data: its records, a report on every step, and the report's summary.

Left out: what other rooms write as they go (pages of Wikipedia, votes, what waits for a person).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fleming.cold_start.trajectories import Taught
from fleming.files import write_json, write_jsonl
from fleming.graph.completeness import completeness, shortfalls
from fleming.graph.graph_files import save_graph
from fleming.graph.joining import Joined
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.licences import commercial_use, licence_of
from fleming.records import Question, to_json
from fleming.sources.facts import RETRACTED
from model.sums import remove


def write_records(
    folder: Path,
    joined: Joined,
    splits: Mapping[str, Sequence[Question]],
    taught: Taught,
    rejected: Sequence[dict[str, Any]],
) -> None:
    """Write the graph, how it was joined, each split and all of them, the trajectories, and what was left out."""
    save_graph(joined.graph, folder / "graph.jsonl")
    write_jsonl(folder / "joins.jsonl", joined.joins, hashed=True)
    everything = [question for split in splits.values() for question in split]
    for name, records in {"questions": everything, **splits, "cold_start": taught.kept}.items():
        write_jsonl(folder / f"{name}.jsonl", map(to_json, records), hashed=True)
    write_jsonl(folder / "rejected.jsonl", rejected, hashed=True)
    if taught.unsolved:
        write_jsonl(folder / "unsolved.jsonl", taught.unsolved, hashed=True)
    else:  # what an earlier run with other settings has left says nothing of this one
        remove(folder / "unsolved.jsonl")


def counts_of_graph(joined: Joined) -> dict[str, Any]:
    graph = joined.graph
    more = {"edges": graph.count_by_relation(), "completeness": completeness(graph)}
    return {"entities": len(graph.entities), "edges": len(graph), "graph": {**joined.report, **more}}


def counts_of_sources(graph: KnowledgeGraph, public: Mapping[str, Sequence[Question]]) -> dict[str, Any]:
    """Return each source of the graph with how many facts its records state, and each public set with its questions
    as they were read, each with its licence; and in a line which of them forbid use for profit, or do not say.

    A part of `public` that is none of the known sets is named as the settings name it.
    """
    found: Counter[tuple[str, ...]] = Counter()
    facts = Counter(graph.columns[1]["origin"].tolist())
    for number, origin in enumerate(graph.origins):
        if origin.source != RETRACTED:
            found["graph", origin.source, origin.licence, origin.address] += facts[number]
    for part, questions in public.items():
        for name, count in Counter(question.source for question in questions).items():
            found["questions", part if name == "user" else name, "", ""] += count
    sources = [
        {"of": of, "source": source, "records": count, **asdict(licence_of(source, *said))}
        for (of, source, *said), count in found.items()
    ]
    return {"sources": sources, "commercial_use": commercial_use(sources)}


def labels_checked(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any] | str:
    """Return how many questions a voter, a critic and people looked at, by what refinement says; or "not checked"."""
    checked: Counter[str] = Counter()
    for step in steps:
        checked["voter"] += step["questions"] if "votes" in step else 0
        checked["critic"] += step["questions"] if "arguments" in step else 0
        said = step.get("decisions", {}) | {"dropped": step.get("votes", {}).get("drop", 0)}
        checked["people"] += sum(said.get(verdict, 0) for verdict in ("accept", "relabel", "drop", "dropped"))
    return dict(+checked) or "not checked"


def counts_of_trajectories(taught: Taught) -> dict[str, Any]:
    refined = sum(bool(trajectory.refinements) for trajectory in taught.kept)
    counts = {"kept": len(taught.kept), "rejected": len(taught.rejected), "with_refinement": refined}
    return {**counts, **taught.report}


def by_hops(questions: Sequence[Question]) -> dict[str, int]:
    """Count synthetic questions by chain length; a user's own files need not say it."""
    said = [(q.provenance or {}).get("hops") for q in questions if q.source == "graph"]
    hops = Counter(length for length in said if type(length) is int)
    return {str(length): hops[length] for length in sorted(hops)}


def show_and_write(report: dict[str, Any], path: Path) -> None:
    """Print what a reader wants to know first, and write the whole; what checked the labels is told from its steps."""
    report = {**report, "labels": labels_checked(report["refinement"])}
    print(
        f"{report['entities']:,} entities, {report['edges']:,} edges; questions by hops: {report['splits']}"
    )
    for line in shortfalls(report["graph"]["completeness"]):
        print(line)
    for step in report["refinement"]:
        if step["step"] == "mix":
            print(f"{'mix':16}{step['total']:9,} in exact proportions")
        else:
            kept = f"{step['kept']:9,} of {step['questions']:9,} kept"
            print(f"{step['step']:16}{kept}  {step['rejected'] or ''}")
    print(f"training questions by part: {report['parts']}, by difficulty: {report['difficulty']['grades']}")
    logit = report["shortcuts"].get("logit")
    if logit:
        print(
            f"answered without understanding, by shallow features alone: {logit['accuracy']:.1%} of the synthetic ones"
        )
    trajectories, sampling = report["trajectories"], report["sampling"]
    print(f"{trajectories['kept']:,} trajectories, {trajectories['with_refinement']:,} with a refinement")
    for row in trajectories.get("funnel", ()):
        said = f"{row['solved']:9,} of {row['questions']:9,} solved  {row['rejected'] or ''}"
        print(f"  {row['step']:18}{said}")
    claims = trajectories["claims"]
    if claims["sentences"]:
        print(
            f"their claims of the graph's facts: {claims['supported']:,} supported, {claims['unknown']:,} unknown; "
            f"{claims['read']:,} of {claims['sentences']:,} sentences read"
        )
    even, drawn = sampling["rare_even"], sampling["rare_drawn"]
    print(f"rare share of roots: {even:.2f} drawn evenly, {drawn:.2f} rare-first")
    print(f"commercial use: {report['commercial_use']} ({path} has all licences)")
    write_json(path, report)
