"""Stage 4, evaluation (paper, section 4): accuracy with its interval, for each model of a run or for any model folder.

python evaluate.py --config configs/demo.yaml                         every stage of a run, then the table
python evaluate.py --model DIR evaluate.questions=medqa.jsonl run_dir=runs/mine
torchrun --nproc_per_node 8 evaluate.py --model DIR --benchmarks medqa,pubmedqa evaluate.benchmark_folder=DIR2
python evaluate.py --model DIR --question "Which drug treats Wilson disease?"
python evaluate.py --compare runs/a/eval/cold_start runs/a/eval/rl_stage2
python evaluate.py --check-table table.csv                            can each printed percentage be true?
python evaluate.py --check-outputs outputs.json                       stored outputs by MMLU-Pro's rule and by ours
"""

import argparse
import dataclasses
import hashlib
import itertools
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fleming.answer import parse_answer
from fleming.config import parse_command_line, run_script
from fleming.evaluation.answers import Answers
from fleming.evaluation.comparison import compare_runs, describe_comparison, describe_difference, difference
from fleming.evaluation.generation import cot, cot_length, describe_cot
from fleming.evaluation.items import Asked, Item, all_asked
from fleming.evaluation.loglikelihood import describe_loglikelihood, encode_item, fed_tokens, loglikelihood
from fleming.evaluation.mmlu_pro_rule import compare_outputs
from fleming.evaluation.report import about_data, about_model, read_results, results_table, write_results
from fleming.evaluation.scoring import summarise_all
from fleming.evaluation.table_check import check_table, describe
from fleming.files import input_hashes
from fleming.prompt import question_messages, with_options
from fleming.public.benchmarks import BENCHMARKS, LoadedBenchmark, known_sizes, load_own, named_benchmarks
from fleming.settings import Config
from fleming.training.metrics import progress_bar
from fleming.training.parallel import World, compute_dtype, join_world, pick_device
from fleming.training.run import hold, versions
from model import InputError, Sampler, SamplingParams, load_model
from model.huggingface.config import load_config

MODES = ("question", "compare", "check_table", "check_outputs")
PROTOCOLS: dict[str, Callable[[Config], str]] = {"cot": describe_cot, "loglikelihood": describe_loglikelihood}


def main(argv: list[str]) -> None:
    cfg, options = parse_command_line(Config, __doc__, argv, add_arguments)
    asked_for = [f"--{m.replace('_', '-')}" for m in MODES if getattr(options, m) is not None]
    if len(asked_for) > 1 or (options.sizes and asked_for != ["--check-table"]):
        raise InputError(f"{' and '.join(asked_for) or '--sizes'}: one at a time, and --sizes with --check-table")
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    if options.question is not None:
        ask(options.question, options.model or cfg.model, cfg)
    elif options.compare:
        print(describe_comparison(compare_runs(*map(Path, options.compare))))
    elif options.check_table:
        print(describe(check_table(options.check_table, known_sizes(), options.sizes)))
    elif options.check_outputs:
        print(json.dumps(compare_outputs(options.check_outputs), ensure_ascii=False, indent=1))
    else:
        with join_world(cfg.parallel) as world:
            evaluate(cfg, options, world)


def evaluate(cfg: Config, options: argparse.Namespace, world: World) -> None:
    with world.agree():
        benchmarks = load_benchmarks(cfg, options.benchmarks)
        models = {name_of(options.model): Path(options.model)} if options.model else configured_models(cfg, world)
        for folder in models.values():
            load_config(folder)  # a folder that is missing is said before anything runs

    with hold(cfg, world, "evaluate.py") as stop:
        results, scores = {}, {}
        for name, model_folder in models.items():
            began = time.perf_counter()
            files = {f"{b.name}.{i}": path for b in benchmarks for i, path in enumerate(b.files)}
            hashes = world.on_main(input_hashes, {"model": model_folder, **files})
            folder = Path(cfg.run_dir, "eval", name)
            before = world.on_main(read_results, folder)
            with world.agree():
                # Log-likelihoods need no chat format: a base model without a template may take any.
                chat_format = cfg.chat_format or (None if "cot" in cfg.evaluate.protocols else "chatml")
                transformer, tokenizer = load_model(model_folder, world.dtype, world.device, chat_format)
            sampler = Sampler(transformer, tokenizer, cfg.evaluate.max_num_seqs)
            with world.agree():
                plans = [(b, p, plan(b, p, sampler, cfg)) for b in benchmarks for p in cfg.evaluate.protocols]
            answers = Answers(folder, settings(cfg, hashes, world), world)

            for benchmark, protocol, wanted in plans:
                todo = [asked for asked in wanted if asked.key not in answers.done]
                todo.sort(key=lambda asked: -asked.length)  # neighbours in length are decoded together
                mine = todo[world.rank :: world.size]
                title = f"{name}, {benchmark.name}, {protocol}"
                with progress_bar(len(wanted), len(wanted) - len(todo), title, world, "answer") as bar:

                    def keep(record: dict[str, Any], answers=answers, bar=bar) -> None:
                        answers.keep(record)
                        bar.update(min(world.size, bar.total - bar.n))  # the other ranks are about as far
                        if stop:
                            stop.exit()

                    if protocol == "cot":
                        cot(sampler, mine, cfg, keep)
                    else:
                        loglikelihood(transformer, tokenizer, [asked.item for asked in mine], benchmark.document, keep)

            given = answers.collect([asked.key for _, _, wanted in plans for asked in wanted])
            if world.is_main:
                results[name], scores[name] = summarise_all(benchmarks, given)
                command = {"device": str(world.device), "processes": world.size, "versions": versions()}
                command |= {"limit": cfg.evaluate.limit, "seconds": time.perf_counter() - began}
                about = {"model": str(model_folder), "seed": cfg.seed, "last_command": command, "sha256": hashes}
                protocols = {p: PROTOCOLS[p](cfg) for p in cfg.evaluate.protocols}
                write_results(folder, before, {**about, **results[name]}, protocols)
        if world.is_main:
            print_results(results, scores, cfg)


def plan(benchmark: LoadedBenchmark, protocol: str, sampler: Sampler, cfg: Config) -> list[Asked]:
    """Return the answers that are wanted. Raises InputError for a question that this model cannot be asked."""
    ev = cfg.evaluate
    if protocol == "cot":
        return all_asked(benchmark, protocol, ev.samples, ev.reshuffles, cfg.seed, partial(cot_length, sampler, cfg))

    def length(item: Item) -> int:
        return fed_tokens(encode_item(sampler.tokenizer, benchmark.document, item))

    shows_options = benchmark.document != "abstract"  # else their order cannot matter
    return all_asked(benchmark, protocol, 1, ev.reshuffles * shows_options, cfg.seed, length)


def settings(cfg: Config, hashes: Mapping[str, str], world: World) -> dict[str, Any]:
    """Return what fixes an answer; only what the protocols of this run depend on."""
    fixed: dict[str, Any] = {f"sha256 of {k}": v for k, v in hashes.items() if not k.startswith("model/")}
    whole = sorted((k, v) for k, v in hashes.items() if k.startswith("model/"))  # one more file is another model
    fixed["sha256 of model"] = hashlib.sha256(json.dumps(whole).encode()).hexdigest()
    fixed |= {"seed": cfg.seed, "dtype": str(world.dtype)}
    if "cot" in cfg.evaluate.protocols:
        fixed |= {
            f"cot.{name}": getattr(cfg, name) for name in ("chat_format", "system", "instruction", "answer_style")
        }
        fixed |= {f"cot.{name}": getattr(cfg.evaluate, name) for name in ("temperature", "max_new_tokens")}
    return fixed


def load_benchmarks(cfg: Config, chosen: str) -> list[LoadedBenchmark]:
    """Return the benchmarks named by --benchmarks, else those of the config, else the run's own test questions."""
    ev = cfg.evaluate
    names = [name.strip() for name in chosen.split(",")] if chosen else list(ev.benchmarks)
    if names:
        loaded = named_benchmarks(names, ev)
    else:
        source = Path(ev.questions or Path(cfg.run_dir, "data/test.jsonl"))
        loaded = [load_own(source, source.name.partition(".")[0])]
    return [limited(benchmark, ev.limit) for benchmark in loaded]


def limited(benchmark: LoadedBenchmark, limit: int) -> LoadedBenchmark:
    """Return the benchmark with its first questions alone, and a warning that says so; 0 is no limit."""
    total = len(benchmark.questions)
    if not limit or limit >= total:
        return benchmark
    warning = f"only the first {limit:,} of {total:,} questions (evaluate.limit)"
    return dataclasses.replace(
        benchmark, questions=benchmark.questions[:limit], warnings=[*benchmark.warnings, warning]
    )


def print_results(
    results: Mapping[str, Any], scores: Mapping[str, Mapping[tuple[str, str], Mapping[str, float]]], cfg: Config
) -> None:
    """Print for each protocol the table, what else there is to say, and the stages' paired differences."""
    models = list(results)
    pairs = list(itertools.pairwise(models))
    if len(models) == 4:  # base, cold start, stage 1, stage 2: what RL did as a whole
        pairs.append((models[1], models[3]))
    benchmarks = results[models[0]]["benchmarks"]
    print()
    for benchmark, by_protocol in benchmarks.items():
        for line in about_data(benchmark, by_protocol[cfg.evaluate.protocols[0]]):
            print(line)
    for protocol in cfg.evaluate.protocols:
        rows = [(b, name, results[name]["benchmarks"][b][protocol]) for b in benchmarks for name in models]
        means = [(f"mean of {len(benchmarks)}", name, results[name]["macro"].get(protocol)) for name in models]
        print(f"\n{protocol}: {PROTOCOLS[protocol](cfg)}; seed {cfg.seed}\n")
        print(results_table([*rows, *(mean for mean in means if mean[2])]) + "\n")
        for line in (line for b, name, summary in rows for line in about_model(f"{b}, {name}", summary)):
            print(line)
        for benchmark, (before, after) in itertools.product(benchmarks, pairs):
            a, b = scores[before][benchmark, protocol], scores[after][benchmark, protocol]
            said = describe_difference(difference(list(a.values()), [b[i] for i in a]))
            print(f"{benchmark}: {after} minus {before}, same questions: {said}")


def configured_models(cfg: Config, world: World) -> dict[str, Path]:
    """The models that the config names, folders relative to run_dir."""
    if not cfg.evaluate.models and not cfg.model:
        raise InputError("nothing to evaluate: give --model DIR, or evaluate.models in the config")
    named = {name: Path(cfg.run_dir, folder) for name, folder in cfg.evaluate.models.items()}
    for stage, steps in ((1, cfg.grpo.stage1.max_steps), (2, cfg.grpo.stage2.max_steps)):
        for name, folder in list(named.items()):
            if folder == Path(cfg.run_dir, f"grpo/stage{stage}/model") and steps == 0:
                world.print(f"{name} is left out: grpo.stage{stage}.max_steps is 0")
                del named[name]
    return named or {name_of(cfg.model): Path(cfg.model)}


def name_of(folder: str) -> str:
    """What a model folder's results are filed under; ours are all called "model", so with the folders above it."""
    *above, last = Path(folder).resolve().parts[1:] or ("root",)
    return "_".join(above[-2:]) if last == "model" and above else last


def ask(text: str, model: str, cfg: Config) -> None:
    """Stream the model's reasoning and answer to one question, greedily.

    A question that ends with lettered options ("A. ...", a line each) is put as the benchmarks' are, and what the
    parser reads from the answer is said; any other is put as it stands.
    """
    folder, device = model or Path(cfg.run_dir, "grpo/stage2/model"), pick_device(cfg.parallel)
    transformer, tokenizer = load_model(folder, compute_dtype(device), device, cfg.chat_format)
    question = with_options(text)
    plain = [{"role": "user", "content": text}]
    messages = question_messages(question, cfg.answer_style, cfg.instruction) if question else plain
    system = [{"role": "system", "content": cfg.system}] if cfg.system else []
    prompt = tokenizer.encode_chat([*system, *messages])
    room = transformer.cfg.max_position_embeddings - len(prompt)
    params = SamplingParams(temperature=0, max_new_tokens=max(1, min(cfg.evaluate.max_new_tokens, room)))
    ids: list[int] = []
    printed = ""

    def show(token: int) -> None:
        nonlocal printed
        if token in tokenizer.stop_ids:
            return
        ids.append(token)
        text = tokenizer.decode(ids).rstrip("\N{REPLACEMENT CHARACTER}")  # half a character waits for its other bytes
        print(text[len(printed) :], end="", flush=True)
        printed = text

    Sampler(transformer, tokenizer, max_num_seqs=1).generate([prompt], params, on_token=show)
    print()
    if question:
        answer = parse_answer(tokenizer.decode(ids), question.options)
        print(f"\nanswer read: {answer}. {question.options[answer]}" if answer else "\nno answer could be read")


def size_range(text: str) -> tuple[int, int]:
    """Return (250, 330) for "250..330"."""
    low, _, high = text.partition("..")
    if not (low.isdecimal() and high.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected LOW..HIGH, as in 250..330, found {text!r}")
    return int(low), int(high)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options beside the config's keys."""
    parser.add_argument("--model", metavar="DIR", default="", help="evaluate this model folder")
    parser.add_argument(
        "--benchmarks", metavar="NAMES", default="", help=f"of {', '.join(BENCHMARKS)}; or paper: its nine"
    )
    parser.add_argument("--question", metavar="TEXT", help="ask the model one question and stream its answer")
    parser.add_argument("--compare", metavar="RUN", nargs=2, help="two folders RUN_DIR/eval/NAME, question by question")
    parser.add_argument("--check-table", metavar="CSV", help="a printed table: model, a column a benchmark, average")
    parser.add_argument("--sizes", metavar="LOW..HIGH", type=size_range, help="of --check-table: sizes to try")
    parser.add_argument("--check-outputs", metavar="FILE", help="stored outputs by MMLU-Pro's rule and by our parser")


if __name__ == "__main__":
    run_script(main)
