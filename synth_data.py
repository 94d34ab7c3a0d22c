"""Stage 1, RODS (paper, section 3.1): knowledge graph -> certified questions -> cold-start trajectories.

Rare entities first; part of a sampled path is hidden and asked for; wrong options are proved wrong on the graph; test
questions are compositions that training does not hold. Deterministic in the config: run again, it writes the same
bytes.

    python synth_data.py --config configs/demo.yaml
"""

import json
from pathlib import Path

from tqdm import tqdm

from fleming.cold_start.checks import check_trajectory
from fleming.cold_start.template_teacher import template_trajectory
from fleming.config import parse_command_line, run_script
from fleming.files import run_lock, write_atomic, write_jsonl
from fleming.graph.graph_files import save_graph
from fleming.graph.importers import import_yaml
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.graph.sampling import generator, sample_questions, split_by_composition
from fleming.records import Question, Trajectory, to_json
from fleming.settings import Config
from fleming.training.base_model import make_base_model
from fleming.training.run import REPOSITORY, input_hashes, write_manifest


def main(argv: list[str]) -> None:
    cfg, _ = parse_command_line(Config, __doc__, argv)
    synth = cfg.synth
    source = Path(synth.graph) if Path(synth.graph).exists() else REPOSITORY / synth.graph
    graph = import_yaml(source)
    folder = Path(cfg.run_dir, "data")

    with run_lock(cfg.run_dir, "synth_data.py"):
        # Sample paths rare-first, mask them, pose the questions that can be certified.
        wanted = synth.train_questions + synth.dev_questions + synth.test_questions
        counts = dict.fromkeys((1, 2, 3), wanted // 3)
        questions, rejected, sampling = sample_questions(
            graph, counts, cfg.seed, synth.rare_factor, synth.degree_exponent
        )
        # Held-out compositions: each fact of a test question occurs in training, the combination does not.
        train, dev, test = split_by_composition(questions, synth.dev_questions, synth.test_questions, cfg.seed)

        # Cold start: a teacher works out most of the training questions; what fails a check is not taught.
        trajectories, failed = teach(train, graph, cfg)

        write_manifest("synth", cfg, input_hashes({"synth.graph": source}))
        save_graph(graph, folder / "graph.jsonl")
        write_jsonl(folder / "questions.jsonl", map(to_json, [*train, *dev, *test]))
        write_jsonl(folder / "rejected.jsonl", [*rejected, *failed])
        write_jsonl(folder / "cold_start.jsonl", map(to_json, trajectories))
        for name, part in (("rl", train), ("dev", dev), ("test", test)):
            write_jsonl(folder / f"{name}.jsonl", map(to_json, part))
        report = {
            "entities": len(graph.entities),
            "edges": len(graph),
            "sampling": sampling,
            "splits": {"train": by_hops(train), "dev": by_hops(dev), "test": by_hops(test)},
            "trajectories": {
                "kept": len(trajectories),
                "rejected": len(failed),
                "with_refinement": sum(bool(t.refinements) for t in trajectories),
            },
        }
        write_atomic(folder / "report.json", json.dumps(report, ensure_ascii=False, indent=1) + "\n")

        if cfg.base_model.make:
            turns = [(t.prompt[-1]["content"], t.response) for t in trajectories]
            texts = [f"user\n{prompt}\nassistant\n{response}" for prompt, response in turns]
            make_base_model(cfg.base_model, texts, list(graph.entities), cfg.seed, Path(cfg.run_dir, "base/model"))
    print(f"{len(graph.entities)} entities, {len(graph)} edges; questions by hops: {report['splits']}")
    print(f"{len(trajectories)} trajectories, {report['trajectories']['with_refinement']} with a refinement")
    print(f"rare share of roots: {sampling['rare_even']:.2f} drawn evenly, {sampling['rare_drawn']:.2f} rare-first")


def teach(train: list[Question], graph: KnowledgeGraph, cfg: Config) -> tuple[list[Trajectory], list[dict]]:
    """Return the trajectories that pass every check, and the others as records with a code."""
    kept, failed = [], []
    order = generator(cfg.seed, "cold start").permutation(len(train))[: round(cfg.synth.cold_start_share * len(train))]
    for i in tqdm(sorted(order.tolist()), desc="teacher", unit="trajectory", dynamic_ncols=True):
        rng = generator(cfg.seed, "teacher", train[i].id)
        trajectory = template_trajectory(
            train[i], graph, cfg.answer_style, rng, cfg.synth.wrong_turn_rate, cfg.instruction, cfg.system
        )
        code = check_trajectory(trajectory, train[i], graph)["code"]
        if code:
            failed.append({"code": code, "trajectory": to_json(trajectory)})
        else:
            kept.append(trajectory)
    return kept, failed


def by_hops(questions: list[Question]) -> dict[str, int]:
    """Count questions by chain length."""
    hops = [q.provenance["hops"] for q in questions]
    return {str(h): hops.count(h) for h in sorted(set(hops))}


if __name__ == "__main__":
    run_script(main)
