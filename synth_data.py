"""Stage 1, RODS (paper, section 3.1): curate -> knowledge graph -> certified questions -> refine -> cold start.

Rare entities first; part of a sampled path is hidden and asked for; wrong options are proved wrong on the graph; public
and synthetic questions go through the same filters, each rejected one kept with a code. Deterministic in the config and
its files: stopped and run again, it writes the same bytes (pages fetched and votes cast are kept as they come).

    python synth_data.py --config configs/demo.yaml
"""

import json
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from fleming.cold_start.checks import check_trajectory
from fleming.cold_start.template import template_trajectory
from fleming.config import parse_command_line, run_script
from fleming.files import input_hashes, run_lock, write_atomic, write_jsonl
from fleming.graph.build import build_graph, graph_files
from fleming.graph.graph_files import save_graph
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.noise import generator
from fleming.public.curation import read_public
from fleming.questions.masking import Rules
from fleming.questions.sampling import sample_questions, split_by_composition
from fleming.records import Question, Trajectory, to_json
from fleming.refine.decontamination import RULES, Index, decontaminate
from fleming.refine.difficulty import agreement, grade_by_graph, grade_by_pass_rate, grade_by_rubric
from fleming.refine.duplicates import drop_duplicates
from fleming.refine.gate import files_of, measured_on, report_path, write_report
from fleming.refine.label_check import Poll, check_labels, pass_rates
from fleming.refine.mixing import mix
from fleming.refine.steps import Refinement, anonymised, drop_faults
from fleming.settings import Config
from fleming.teachers.local_model import LocalModel
from fleming.teachers.remembered import Remembered
from fleming.training.base_model import make_base_model
from fleming.training.parallel import pick_device
from fleming.training.run import REPOSITORY, write_manifest
from model.errors import InputError


def main(argv: list[str]) -> None:
    cfg, _ = parse_command_line(Config, __doc__, argv)
    synth, folder = cfg.synth, Path(cfg.run_dir, "data")
    files = graph_files(synth, REPOSITORY)
    public = {f"synth.public.{name}": Path(path) for name, path in synth.public.items()}

    with run_lock(cfg.run_dir, "synth_data.py"):
        voter = load_voter(cfg) if synth.voter else None  # first: a wrong folder shows before the long part
        # 1. Curate public question sets.
        parts, rejected = read_public(synth.public, synth.pubmedqa_fold)
        benchmarks = [] if cfg.data.decontamination == "off" else measured_on(cfg)
        measured = files_of(benchmarks)

        # 2. The knowledge graph; what its sources hold that cannot be used is set aside.
        def skip(where: str, code: str, detail: str) -> None:
            rejected.append({"code": code, "where": where, "detail": detail})

        joined = build_graph(synth, files, folder, skip)
        graph = joined.graph

        # 3. Sample paths rare-first, mask them, pose the questions that can be certified.
        scenario = synth.style == "scenario"
        wanted = synth.train_questions + synth.dev_questions + synth.test_questions
        counts = {hops: (wanted + i) // 3 for i, hops in enumerate((2, 3, 4) if scenario else (1, 2, 3))}
        rules = Rules(synth.min_shared, Rules.max_clues, synth.min_confidence, synth.min_frequency,
                      synth.open_world == "exclude") if scenario else Rules()  # fmt: skip
        posed, draws, sampling = sample_questions(
            graph, counts, cfg.seed, synth.rare_factor, synth.degree_exponent, scenario=scenario, rules=rules,
            max_answer_share=synth.max_answer_share if scenario else 1.0,
        )  # fmt: skip
        if not posed:
            raise InputError(f"synth: no question can be posed on this graph (rejected draws: {sampling['rejected']})")
        rejected += draws
        # Held-out compositions; basic ones ask for facts that training has, put together anew.
        train, dev, test = split_by_composition(
            posed, synth.dev_questions, synth.test_questions, cfg.seed, facts_in_training=not scenario
        )
        parts["graph"] = train

        # 4. Refine: format, duplicates, decontamination, labels, identifiers, mix, difficulty.
        part_of = {question.id: name for name, part in parts.items() for question in part}
        refine = Refinement()
        rl = [question for part in parts.values() for question in part]
        rl = refine("format", rl, drop_faults)
        rl = refine("duplicates", rl, drop_duplicates)
        if benchmarks:
            index = Index({b.name: b.questions for b in benchmarks}, rl)
            rl = refine("decontamination", rl, partial(decontaminate, index=index), rules=RULES)
        if voter:
            poll = Poll(voter, folder, cfg.seed, synth.trials, cfg.answer_style)
            checked = check_labels(rl, poll, synth.review_rule, synth.decisions or None)
            if too_long := getattr(voter, "too_long", 0):
                print(f"{too_long:,} times a question left the voter's context no room for an answer: it abstained")
            undecided = [{"code": "in_review", "id": record["id"]} for record in checked.review]
            rl = refine("labels", rl, lambda _: (checked.kept, checked.dropped + undecided), votes=checked.report)
        if synth.anonymise:
            identifiers: Counter[str] = Counter()
            rl = refine("identifiers", rl, partial(anonymised, counts=identifiers), removed=identifiers)
        if synth.mix:
            mixable = {name: [q for q in rl if part_of[q.id] == name] for name in parts}
            rl, mixed = mix(mixable, synth.mix, synth.mix_total, cfg.seed)
            refine.report.append({"step": "mix", **mixed})
        rl, grades = grade(rl, part_of, voter, cfg)

        # 5. Cold start: a teacher works out most of the synthetic questions; what fails a check is not taught.
        trajectories, failed = teach([q for q in rl if part_of[q.id] == "graph"], graph, cfg)

        write_manifest("synth", cfg, input_hashes({**public, **files, **measured}))
        for name, made in (("review.jsonl", voter), ("decontamination.json", benchmarks)):
            if not made:  # what an earlier run with other settings has left says nothing of this one
                (folder / name).unlink(missing_ok=True)
        save_graph(graph, folder / "graph.jsonl")
        write_jsonl(folder / "joins.jsonl", joined.joins)
        write_jsonl(folder / "questions.jsonl", map(to_json, [*rl, *dev, *test]))
        write_jsonl(folder / "rejected.jsonl", [*rejected, *refine.rejected, *failed])
        write_jsonl(folder / "cold_start.jsonl", map(to_json, trajectories))
        for name, part in (("rl", rl), ("dev", dev), ("test", test)):
            write_jsonl(folder / f"{name}.jsonl", map(to_json, part))
        if benchmarks:
            learned = {"questions": folder / "rl.jsonl"} if rl else {}
            learned |= {"trajectories": folder / "cold_start.jsonl"} if trajectories else {}
            write_report(report_path(cfg), learned, measured, {b.name: b.questions for b in benchmarks})
        report = {
            "entities": len(graph.entities),
            "edges": len(graph),
            "graph": {**joined.report, "edges": graph.count_by_relation()},
            "set_aside": dict(Counter(record["code"] for record in rejected if "where" in record)),
            "sampling": sampling,
            "refinement": refine.report,
            "difficulty": grades,
            "parts": dict(Counter(part_of[question.id] for question in rl)),
            "splits": {"train": by_hops(rl), "dev": by_hops(dev), "test": by_hops(test)},
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
    summarise(report)
    if not rl:
        raise InputError(f"no training question is left; {folder}/report.json and rejected.jsonl say why")


def load_voter(cfg: Config) -> LocalModel:
    """Return the model that votes on labels and grades difficulty; its chat format is its own folder's."""
    device = pick_device(cfg.parallel)
    return LocalModel(cfg.synth.voter, max_new_tokens=cfg.synth.voter_max_new_tokens, seed=cfg.seed, device=device)


def grade(
    questions: list[Question], part_of: dict[str, str], voter: LocalModel | None, cfg: Config
) -> tuple[list[Question], dict]:
    """Return the questions with their difficulty, and how many have each and how far two ways of grading agree."""
    synth = cfg.synth
    posed = {q.id: q.difficulty for q in questions}
    by_graph = grade_by_graph(questions)
    chosen = {"hops": posed, "graph": by_graph}.get(synth.grade_by)
    folder = Path(cfg.run_dir, "data")
    if synth.grade_by == "pass_rate":
        chosen = grade_by_pass_rate(
            pass_rates(questions, Poll(voter, folder, cfg.seed, synth.trials, cfg.answer_style))
        )
    elif synth.grade_by == "rubric":
        chosen = grade_by_rubric(questions, Remembered(voter, folder / "grading_answers.jsonl", "grading"))
    default = {q.id: synth.default_grade.get(part_of[q.id]) for q in questions}
    graded = [replace(q, difficulty=chosen.get(q.id) or default[q.id]) for q in questions]
    other = posed if synth.grade_by == "graph" else by_graph
    return graded, {
        "graded_by": synth.grade_by,
        "grades": dict(Counter(str(q.difficulty) for q in graded)),
        "agreement with " + ("hops" if synth.grade_by == "graph" else "graph"): agreement(chosen, other),
    }


def teach(train: list[Question], graph: KnowledgeGraph, cfg: Config) -> tuple[list[Trajectory], list[dict]]:
    """Return the trajectories that pass every check, and the others as records with a code."""
    kept, failed = [], []
    order = generator(cfg.seed, "cold start").permutation(len(train))[: round(cfg.synth.cold_start_share * len(train))]
    for i in tqdm(sorted(order.tolist()), desc="teacher", unit="trajectory", dynamic_ncols=True):
        if "label_check" in train[i].provenance:  # its path leads to the answer that a person has overruled
            failed.append({"code": "relabelled", "id": train[i].id})
            continue
        rng = generator(cfg.seed, "teacher", train[i].id)
        trajectory = template_trajectory(
            train[i], graph, cfg.answer_style, rng, instruction=cfg.instruction, system=cfg.system
        )
        code = check_trajectory(trajectory, train[i], graph, cfg.synth.max_words)["code"]
        if code:
            failed.append({"code": code, "trajectory": to_json(trajectory)})
        else:
            kept.append(trajectory)
    return kept, failed


def by_hops(questions: list[Question]) -> dict[str, int]:
    """Count synthetic questions by chain length."""
    hops = Counter(q.provenance["hops"] for q in questions if q.source == "graph")
    return {str(h): hops[h] for h in sorted(hops)}


def summarise(report: dict) -> None:
    """Print what a reader wants to know first."""
    print(f"{report['entities']:,} entities, {report['edges']:,} edges; questions by hops: {report['splits']}")
    for step in report["refinement"]:
        if step["step"] == "mix":
            print(f"{'mix':16}{step['total']:9,} in exact proportions")
        else:
            print(f"{step['step']:16}{step['kept']:9,} of {step['questions']:9,} kept  {step['rejected'] or ''}")
    print(f"training questions by part: {report['parts']}, by difficulty: {report['difficulty']['grades']}")
    trajectories, sampling = report["trajectories"], report["sampling"]
    print(f"{trajectories['kept']:,} trajectories, {trajectories['with_refinement']:,} with a refinement")
    print(f"rare share of roots: {sampling['rare_even']:.2f} drawn evenly, {sampling['rare_drawn']:.2f} rare-first")


if __name__ == "__main__":
    run_script(main)
