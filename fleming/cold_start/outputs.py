"""What stage 1 leaves in RUN_DIR/data: its records, a report on every step, and the report's summary.

Left out: what other rooms write as they go (pages of Wikipedia, votes, what waits for a person), the gate's report.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleming.files import write_atomic, write_jsonl
from fleming.graph.graph_files import save_graph
from fleming.graph.joining import Joined
from fleming.records import Question, Trajectory, to_json
from fleming.refine.steps import Refinement


@dataclass(frozen=True)
class Outcome:
    """What the five steps made and what they rejected."""

    joined: Joined
    set_aside: list[dict[str, Any]]
    """Records of public sets and of the graph's sources that cannot be used."""
    not_posed: list[dict[str, Any]]
    """Draws that gave no question."""
    sampling: dict[str, Any]
    refinement: Refinement
    part_of: dict[str, str]
    """Question id -> the public set, or graph."""
    grades: dict[str, Any]
    splits: dict[str, list[Question]]
    """rl (training, all parts), dev and test."""
    trajectories: list[Trajectory]
    not_taught: list[dict[str, Any]]
    """Trajectories that failed a check."""

    def write(self, folder: Path) -> dict[str, Any]:
        """Write all files, and return what the report says."""
        save_graph(self.joined.graph, folder / "graph.jsonl")
        write_jsonl(folder / "joins.jsonl", self.joined.joins)
        questions = [question for split in self.splits.values() for question in split]
        write_jsonl(folder / "questions.jsonl", map(to_json, questions))
        rejected = [*self.set_aside, *self.not_posed, *self.refinement.rejected, *self.not_taught]
        write_jsonl(folder / "rejected.jsonl", rejected)
        write_jsonl(folder / "cold_start.jsonl", map(to_json, self.trajectories))
        for name, split in self.splits.items():
            write_jsonl(folder / f"{name}.jsonl", map(to_json, split))
        report = self.report()
        write_atomic(folder / "report.json", json.dumps(report, ensure_ascii=False, indent=1) + "\n")
        return report

    def report(self) -> dict[str, Any]:
        """Return the counts of every step."""
        graph, splits = self.joined.graph, self.splits
        return {
            "entities": len(graph.entities),
            "edges": len(graph),
            "graph": {**self.joined.report, "edges": graph.count_by_relation()},
            "set_aside": dict(Counter(record["code"] for record in self.set_aside)),
            "sampling": self.sampling,
            "refinement": self.refinement.report,
            "difficulty": self.grades,
            "parts": dict(Counter(self.part_of[question.id] for question in splits["rl"])),
            "splits": {
                "train": by_hops(splits["rl"]),
                "dev": by_hops(splits["dev"]),
                "test": by_hops(splits["test"]),
            },
            "trajectories": {
                "kept": len(self.trajectories),
                "rejected": len(self.not_taught),
                "with_refinement": sum(bool(trajectory.refinements) for trajectory in self.trajectories),
            },
        }


def by_hops(questions: Sequence[Question]) -> dict[str, int]:
    """Count synthetic questions by chain length."""
    hops = Counter(q.provenance["hops"] for q in questions if q.source == "graph")
    return {str(length): hops[length] for length in sorted(hops)}


def summarise(report: dict[str, Any]) -> None:
    """Print what a reader wants to know first."""
    print(f"{report['entities']:,} entities, {report['edges']:,} edges; questions by hops: {report['splits']}")
    for step in report["refinement"]:
        if step["step"] == "mix":
            print(f"{'mix':16}{step['total']:9,} in exact proportions")
        else:
            kept = f"{step['kept']:9,} of {step['questions']:9,} kept"
            print(f"{step['step']:16}{kept}  {step['rejected'] or ''}")
    print(f"training questions by part: {report['parts']}, by difficulty: {report['difficulty']['grades']}")
    trajectories, sampling = report["trajectories"], report["sampling"]
    print(f"{trajectories['kept']:,} trajectories, {trajectories['with_refinement']:,} with a refinement")
    even, drawn = sampling["rare_even"], sampling["rare_drawn"]
    print(f"rare share of roots: {even:.2f} drawn evenly, {drawn:.2f} rare-first")
