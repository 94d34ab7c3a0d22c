"""Stage 4, evaluation (paper, section 4): accuracy with its interval, for each model of a run or for any model folder.

python evaluate.py --config configs/demo.yaml                         every stage of a run, then the table
python evaluate.py --model DIR evaluate.questions=medqa.jsonl run_dir=runs/mine
torchrun --nproc_per_node 8 evaluate.py --model DIR --benchmarks medqa,pubmedqa evaluate.benchmark_folder=DIR2
python evaluate.py --model DIR --benchmarks medqa --reliability     would it answer the same if asked otherwise?
python evaluate.py --model DIR --question "Which drug treats Wilson disease?"
python evaluate.py --model DIR --rubrics health.jsonl teacher.kind=openai teacher.model=NAME teacher.address=URL
python evaluate.py --compare runs/a/eval/cold_start runs/a/eval/rl_stage2
python evaluate.py --export table --of runs/a --of runs/b run_dir=runs/a     or inspect, lm-eval: for other tools
"""

from fleming.command_line import command_line, look_first

if __name__ == "__main__":  # the imports below take seconds
    look_first("evaluate", __doc__)

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from fleming.config import run_script
from fleming.evaluation.answers import Answer, Answers, answer_settings
from fleming.evaluation.ask import ask
from fleming.evaluation.chosen import chosen_annotations, chosen_benchmarks, chosen_models
from fleming.evaluation.comparison import compare_runs
from fleming.evaluation.export import chosen_results, export
from fleming.evaluation.generation import ChainOfThought
from fleming.evaluation.items import Asked
from fleming.evaluation.loglikelihood import Loglikelihood
from fleming.evaluation.report import describe_comparison, describe_results, read_results, write_results
from fleming.evaluation.rubrics import evaluate_rubrics
from fleming.evaluation.scoring import summarise_all
from fleming.evaluation.tables import describe_slices
from fleming.files import check_writable, input_hashes
from fleming.graph.graph_files import load_graph
from fleming.judge import own_code
from fleming.manifest import read_manifest
from fleming.public.benchmarks import LoadedBenchmark, files_of
from fleming.settings import Config
from fleming.training.identity import note_outputs, versions, write_manifest
from fleming.training.metrics import progress_bar
from fleming.training.parallel import World, join_world, make_exact
from fleming.training.stopping import StopRequest, lock_run
from model import InputError, load_model

PROTOCOLS = {"cot": ChainOfThought, "loglikelihood": Loglikelihood}
Protocol = ChainOfThought | Loglikelihood
Plan = tuple[LoadedBenchmark, str, list[Asked]]
"""A benchmark, a protocol, and the answers that are wanted."""


def main(argv: list[str]) -> None:
    cfg, options = command_line("evaluate", __doc__, argv)
    given = [name for name in ("question", "compare", "rubrics", "export") if getattr(options, name)]
    if len(given) > 1:
        raise InputError(f"--{' and --'.join(given)}: one at a time")
    for name in ("benchmarks", "reliability"):
        if given and getattr(options, name):
            raise InputError(f"--{name} means nothing beside --{given[0]}: leave it out")
    if options.of and not options.export:
        raise InputError("--of names what --export exports: say inspect, lm-eval or table")
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    model = Path(options.model or cfg.model or Path(cfg.run_dir, "grpo/stage2/model"))
    if options.question is not None:
        ask(options.question, model, cfg)
    elif options.rubrics:
        print(evaluate_rubrics(Path(options.rubrics), model, cfg))
    elif options.compare:
        a, b = map(Path, options.compare)
        print(describe_comparison(compare_runs(a, b)))
    elif options.export:
        for path in export(options.export, chosen_results(cfg, options.of), Path(cfg.run_dir, "eval")):
            print(path)
    else:
        with join_world(cfg.parallel) as world:
            evaluate(cfg, options, world)


def evaluate(cfg: Config, options: argparse.Namespace, world: World) -> None:
    with world.agree():
        benchmarks = chosen_benchmarks(cfg, options.benchmarks)
        models = chosen_models(cfg, options.model, world.print)
        annotations = chosen_annotations(cfg, benchmarks)
        graph = load_graph(cfg.evaluate.graph) if cfg.evaluate.graph and world.is_main else None
        code = own_code(cfg, reward=False)
    # No answer depends on these; what is reported of the answers does.
    beside = {f"evaluate.annotations.{name}": Path(cfg.evaluate.annotations[name]) for name in annotations}
    beside |= {"evaluate.graph": Path(cfg.evaluate.graph)} if cfg.evaluate.graph else {}
    beside = world.on_main(input_hashes, beside)
    questions = [question for benchmark in benchmarks for question in benchmark.questions]
    described = {name: PROTOCOLS[name].describe(cfg, questions) for name in cfg.evaluate.protocols}

    with lock_run(cfg, world, "evaluate.py") as stop:
        world.on_main(read_manifest, cfg.run_dir)
        results = {}
        for model, model_folder in models.items():
            began = time.perf_counter()
            folder = Path(cfg.run_dir, "eval", model)
            world.on_main(check_writable, [folder / "answers.jsonl", folder / "results.json"])
            before = world.on_main(read_results, folder)
            hashes = world.on_main(input_hashes, {"model": model_folder, **files_of(benchmarks), **code})

            # What is wanted of this model: an answer to each question, by each protocol.
            with world.agree():
                chat_format = cfg.chat_format
                if "cot" not in described:  # log-likelihoods need none: a base model may have no template
                    chat_format = chat_format or "chatml"
                how = world.dtype, world.device, chat_format, cfg.chat_template_kwargs
                loaded = load_model(model_folder, *how, check_hashes=False)  # `hashes` has just been
                make_exact(loaded[0], [], cfg, world)
                protocols = {name: PROTOCOLS[name](*loaded, cfg) for name in described}
                plans = [
                    (b, name, protocols[name].plan(b, options.reliability))
                    for b in benchmarks
                    for name in protocols
                ]
            answers = Answers(folder, answer_settings(cfg, hashes, world.dtype), world)
            world.on_main(write_manifest, "evaluate", cfg, hashes | beside, world, {"name": model})
            ask_missing(plans, protocols, answers, model, world, stop)
            if options.reliability and "cot" in protocols:
                with world.agree():  # what would it answer, had it reasoned less far, or wrongly?
                    given, cot = list(answers.so_far()), protocols["cot"]
                    cuts = [(b, name, cot.plan_cuts(plan, given)) for b, name, plan in plans if name == "cot"]
                ask_missing(cuts, protocols, answers, model, world, stop)
                plans += cuts

            # Score all of them.
            wanted = {asked.key: asked for _, _, plan in plans for asked in plan}
            given = answers.collect(wanted, protocols["cot"].read_again if "cot" in protocols else None)
            if world.is_main:
                results[model] = summarise_all(benchmarks, given, annotations, graph)
                command = {
                    "device": str(world.device),
                    "processes": world.size,
                    "exact": loaded[0].key_tile > 0,
                    "versions": versions(),
                    "limit": cfg.evaluate.limit,
                    "seconds": time.perf_counter() - began,
                }
                about = {
                    "model": str(model_folder),
                    "seed": cfg.seed,
                    "last_command": command,
                    "sha256": hashes,
                }
                write_results(folder, before, about, results[model], described)
                note_outputs(cfg.run_dir, "evaluate", f"eval/{model}")
        if world.is_main:
            print(describe_results(results, described, cfg.seed))
            print(describe_slices(results))


def ask_missing(
    plans: Sequence[Plan],
    protocols: Mapping[str, Protocol],
    answers: Answers,
    model: str,
    world: World,
    stop: StopRequest,
) -> None:
    """Ask what has no answer yet, each rank its share."""
    for benchmark, protocol, wanted in plans:
        missing = [asked for asked in wanted if asked.key not in answers.done]
        # Neighbours in length are decoded together, the variants of a question read together.
        missing.sort(key=lambda asked: (-asked.length, asked.key))
        title = f"{model}, {benchmark.name}, {protocol}"
        with progress_bar(len(wanted), len(wanted) - len(missing), title, world, "answer") as bar:

            def keep(answer: Answer, bar=bar) -> None:
                answers.keep(answer)
                bar.update(min(world.size, bar.total - bar.n))  # the other ranks are about as far
                if stop:
                    stop.exit()

            protocols[protocol].answer(benchmark, missing[world.rank :: world.size], keep)


if __name__ == "__main__":
    run_script(main)
