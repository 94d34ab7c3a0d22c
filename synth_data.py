"""Stage 1, RODS (paper, section 3.1): curate -> knowledge graph -> certified questions -> refine -> cold start.

Rare roots first; a patient's clues rule out every rival but one, and the answer lies up to three steps further; public
and synthetic questions go through the same filters, each rejected one kept with a code. Deterministic in the config and
its files: stopped and run again, it writes the same bytes (pages fetched and votes cast are kept as they come).

    python synth_data.py --config configs/demo.yaml
"""

from fleming.command_line import command_line, look_first

if __name__ == "__main__":  # the imports below take seconds
    look_first("synth", __doc__)

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fleming.cold_start.outputs import (
    by_hops,
    counts_of_graph,
    counts_of_sources,
    counts_of_trajectories,
    show_and_write,
    write_records,
)
from fleming.cold_start.rewriting import rewrite_stems
from fleming.cold_start.teach import teach
from fleming.config import run_script
from fleming.files import check_writable, input_hashes, run_lock
from fleming.graph.build import build_graph, graph_files
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.manifest import read_manifest
from fleming.public.benchmarks import LoadedBenchmark, files_of
from fleming.public.curation import read_public
from fleming.questions.sampling import sample_questions, why_not
from fleming.questions.splitting import split_questions
from fleming.records import Question, Trajectory
from fleming.refine.critic import criticise
from fleming.refine.decisions import Decision, apply_decisions, read_decisions
from fleming.refine.decontamination import RULES, Index, decontaminate
from fleming.refine.difficulty import grade
from fleming.refine.duplicates import drop_duplicates
from fleming.refine.gate import measured_on, report_path, write_report
from fleming.refine.label_check import Poll, check_labels
from fleming.refine.mixing import mix
from fleming.refine.shortcuts import shortcuts
from fleming.refine.steps import Kept, Refinement, Rejected, anonymised, drop_faults
from fleming.settings import Config
from fleming.settings.synth import TEACHER, SynthConfig
from fleming.teachers.load import load_teacher
from fleming.teachers.local_model import LocalModel
from fleming.teachers.remembered import Completer
from fleming.training.base_model import make_base_model
from fleming.training.identity import REPOSITORY, note_outputs, write_manifest
from fleming.training.parallel import pick_device
from model.errors import InputError
from model.huggingface.weights import check_replaceable
from model.sums import remove


def main(argv: list[str]) -> None:
    cfg, options = command_line("synth", __doc__, argv)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    began = time.perf_counter()
    synth, folder = cfg.synth, Path(cfg.run_dir, "data")
    files = graph_files(synth, REPOSITORY)
    with run_lock(cfg.run_dir, "synth_data.py"):
        # First: what is damaged, a wrong folder or a key that is not there shows before the long part.
        check_ready(cfg)
        teacher = load_teacher(cfg, pick_device(cfg.parallel), options.offline)
        poll = load_poll(cfg, teacher) if synth.voter else None
        decided = read_decisions(synth.decisions) if synth.decisions else {}

        # 1. Curate public question sets.
        parts, set_aside = read_public(synth.public, synth.pubmedqa_fold)
        benchmarks = [] if cfg.data.decontamination == "off" else measured_on(cfg)

        # 2. The knowledge graph; what its sources hold that cannot be used is set aside.
        def skip(where: str, code: str, detail: str) -> None:
            set_aside.append({"code": code, "where": where, "detail": detail})

        joined = build_graph(synth, files, folder, skip, teacher)

        # 3. Rare roots first: a differential, the fewest clues that decide it, what is asked; some are held out.
        (parts["graph"], dev, test), not_posed, sampling = pose_questions(joined.graph, cfg, teacher)

        # 4. Refine: format, duplicates, decontamination, labels, identifiers, mix, difficulty.
        part_of = {question.id: name for name, part in parts.items() for question in part}
        refine = Refinement()
        rl = [question for part in parts.values() for question in part]
        rl = refine("format", rl, drop_faults)
        rl = refine("duplicates", rl, drop_duplicates)
        if benchmarks:
            index = Index({b.name: b.questions for b in benchmarks}, rl)
            rl = refine("decontamination", rl, partial(decontaminate, index=index), rules=RULES)
        if poll:
            votes = {}
            step = partial(drop_mislabelled, poll=poll, synth=synth, report=votes)
            rl = refine("labels", rl, step, votes=votes)
        if synth.anonymise:
            identifiers = Counter()
            rl = refine("identifiers", rl, partial(anonymised, counts=identifiers), removed=identifiers)
        if synth.critic:
            verdicts = Counter()
            step = partial(criticise, critic=teacher, cfg=cfg, decided=decided, counts=verdicts)
            rl = refine("critic", rl, step, arguments=verdicts)
        if decided:
            rl, dev, test = decide(refine, {"rl": rl, "dev": dev, "test": test}, decided)
        if synth.mix:
            of_part = {name: [q for q in rl if part_of[q.id] == name] for name in parts}
            rl, mixed = mix(of_part, synth.mix, synth.mix_total, cfg.seed)
            refine.report.append({"step": "mix", **mixed})
        rl, grades = grade(rl, part_of, poll, synth)

        # 5. Cold start: a teacher works out most of the questions (templates: of the graph's); what fails stays out.
        synthetic = [question for question in rl if part_of[question.id] == "graph"]
        taught = teach(rl if teacher else synthetic, joined.graph, cfg, teacher)
        rl = [taught.noted(question) for question in rl]

        # What the other stages begin with, and a report on every step.
        seconds = {"seconds": time.perf_counter() - began}
        hashes = input_hashes({**files_named(cfg), **files, **files_of(benchmarks)})
        write_manifest("synth", cfg, hashes, more=seconds)
        rejected = [*set_aside, *not_posed, *refine.rejected, *taught.rejected]
        write_records(folder, joined, {"rl": rl, "dev": dev, "test": test}, taught, rejected)
        write_gate_report(cfg, benchmarks)
        if not (poll or synth.critic):  # what an earlier run with other settings has left
            remove(folder / "review.jsonl")
        report = {
            **counts_of_graph(joined),
            **counts_of_sources(joined.graph, {name: parts[name] for name in synth.public}),
            "set_aside": dict(Counter(record["code"] for record in set_aside)),
            "sampling": sampling,
            "refinement": refine.report,
            "difficulty": grades,
            "parts": dict(Counter(part_of[question.id] for question in rl)),
            "splits": {"train": by_hops(rl), "dev": by_hops(dev), "test": by_hops(test)},
            "shortcuts": shortcuts([*synthetic, *dev, *test], joined.graph, cfg.seed),
            "trajectories": counts_of_trajectories(taught),
        }
        show_and_write(report, folder / "report.json")
        if cfg.base_model.make:
            make_base(cfg, taught.kept, joined.graph)
        note_outputs(cfg.run_dir, "synth", "data", "base")
    if not rl:
        raise InputError(f"no training question is left; {folder}/report.json and rejected.jsonl say why")
    if teacher:
        teacher.check_usable()
        taught.check_usable(folder)


def check_ready(cfg: Config) -> None:
    """Raise InputError for a damaged manifest, and for a place that cannot be written. Writes nothing."""
    data, base = Path(cfg.run_dir, "data"), Path(cfg.run_dir, "base/model")
    read_manifest(cfg.run_dir)
    check_writable([data / "rl.jsonl", base / "config.json"])
    if cfg.base_model.make:
        check_replaceable(base)


def files_named(cfg: Config) -> dict[str, Path]:
    """Return setting -> what it names, but for the graph's files and the benchmarks': sets, decisions, models asked."""
    synth, teacher = cfg.synth, cfg.teacher
    found = {f"synth.public.{name}": path for name, path in synth.public.items()}
    found |= {"synth.decisions": synth.decisions, "synth.voter": synth.voter * (synth.voter != TEACHER)}
    found["teacher.model"] = teacher.model * (teacher.kind == "local")
    return {key: Path(path) for key, path in found.items() if path}


def load_voter(cfg: Config) -> LocalModel:
    """Return the model that votes on labels and grades difficulty; its chat format is its own folder's."""
    synth, device = cfg.synth, pick_device(cfg.parallel)
    return LocalModel(
        synth.voter,
        synth.voter_chat_template_kwargs,
        synth.voter_max_new_tokens,
        seed=cfg.seed,
        device=device,
    )


def load_poll(cfg: Config, teacher: Completer | None) -> Poll:
    voter = teacher if cfg.synth.voter == TEACHER else load_voter(cfg)
    return Poll(voter, Path(cfg.run_dir, "data"), cfg.seed, cfg.synth.trials, cfg)


def pose_questions(
    graph: KnowledgeGraph, cfg: Config, teacher: Completer | None
) -> tuple[tuple, list[dict], dict]:
    """Return (training, dev and test questions), the draws that gave none, and a report; InputError for no question."""
    synth = cfg.synth
    wanted = synth.train_questions + synth.dev_questions + synth.test_questions
    posed, rejected, report = sample_questions(graph, wanted, cfg.seed, synth)
    if not posed:
        raise InputError(f"synth: no question can be posed on this graph; {why_not(report['rejected'])}")
    held_out = synth.dev_questions, synth.test_questions
    train, *others = split_questions(
        posed, *held_out, cfg.seed, facts_in_training=synth.hold_out == "combinations"
    )
    if synth.rewrite:
        report["rewriting"] = Counter()
        train = rewrite_stems(train, graph, teacher, report["rewriting"])
    return (train, *others), rejected, report


def drop_mislabelled(
    questions: Sequence[Question], poll: Poll, synth: SynthConfig, report: dict[str, Any]
) -> tuple[Kept, Rejected]:
    """Keep what the votes or a person confirm; `report` is told the counts."""
    checked = check_labels(questions, poll, synth.review_rule, synth.decisions or None)
    too_long = getattr(poll.voter, "too_long", 0)
    if too_long:
        print(f"{too_long:,} times a question left the voter's context no room for an answer: it abstained")
    report.update(checked.report)
    undecided = [{"code": "in_review", "id": record["id"]} for record in checked.review]
    return checked.kept, [*checked.dropped, *undecided]


def decide(
    refine: Refinement, splits: Mapping[str, list[Question]], decided: Mapping[str, list[Decision]]
) -> list[list[Question]]:
    """Apply a person's decisions to each split; return the splits.

    Here a question has the text that is written and that a card shows; the label check had it with its identifiers.
    """
    known = {question.id for questions in splits.values() for question in questions}
    kept = []
    for name, part in splits.items():
        counts = Counter(unknown_decisions=len(decided.keys() - known))  # on questions of none of the splits
        step = partial(apply_decisions, decided=decided, counts=counts)
        kept.append(refine(f"decisions: {name}", part, step, decisions=counts))
    return kept


def write_gate_report(cfg: Config, benchmarks: list[LoadedBenchmark]) -> None:
    """Look for the benchmarks' questions in what was written to learn from, and leave the gate's report, if any."""
    if not benchmarks:
        remove(report_path(cfg))  # what an earlier run with other settings has left
        return
    written = {"questions": "rl.jsonl", "trajectories": "cold_start.jsonl"}
    learned = {name: Path(cfg.run_dir, "data", file) for name, file in written.items()}
    learned = {name: path for name, path in learned.items() if path.stat().st_size}
    questions = {b.name: b.questions for b in benchmarks}
    write_report(report_path(cfg), learned, files_of(benchmarks), questions)


def make_base(cfg: Config, trajectories: Sequence[Trajectory], graph: KnowledgeGraph) -> None:
    """Make the demo's starting model, its tokenizer from what it will be taught."""
    texts = [f"user\n{t.prompt[-1]['content']}\nassistant\n{t.response}" for t in trajectories]
    make_base_model(cfg.base_model, texts, graph.names, cfg.seed, Path(cfg.run_dir, "base/model"))


if __name__ == "__main__":
    run_script(main)
