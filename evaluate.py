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
import itertools
import json
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fleming.answer import parse_answer
from fleming.config import parse_command_line, run_script
from fleming.evaluation.answers import Answers
from fleming.evaluation.benchmarks import BENCHMARKS, PAPER_NINE, LoadedBenchmark, known_sizes, load_benchmark
from fleming.evaluation.comparison import compare_runs, describe_comparison, describe_difference
from fleming.evaluation.generation import cot, cot_length, describe_cot
from fleming.evaluation.items import Asked, all_asked
from fleming.evaluation.loglikelihood import characters, describe_loglikelihood, loglikelihood
from fleming.evaluation.mmlu_pro_rule import compare_outputs
from fleming.evaluation.report import about_data, about_model, results_table
from fleming.evaluation.scoring import summarise_all
from fleming.evaluation.statistics import paired_difference
from fleming.evaluation.table_check import check_table, describe
from fleming.files import read_json, write_atomic
from fleming.prompt import question_messages
from fleming.records import LETTERS, Question
from fleming.settings import Config
from fleming.training.metrics import progress_bar
from fleming.training.parallel import World, compute_dtype, join_world, pick_device
from fleming.training.run import hold, input_hashes, versions
from model import InputError, Sampler, SamplingParams, load_model
from model.config import load_config

PROTOCOLS: dict[str, Callable[[Config], str]] = {"cot": describe_cot, "loglikelihood": describe_loglikelihood}


def main(argv: list[str]) -> None:
    cfg, options = parse_command_line(Config, __doc__, argv, add_arguments)
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
    with world.together():
        benchmarks = load_benchmarks(cfg, options.benchmarks)
        models = {name_of(options.model): Path(options.model)} if options.model else configured_models(cfg, world)
        for folder in models.values():
            load_config(folder)  # a folder that is missing is said before anything runs

    with hold(cfg, world, "evaluate.py") as stop:
        results, scores = {}, {}
        for name, model_folder in models.items():
            began = time.perf_counter()
            files = {f"{b.name}.{i}": path for b in benchmarks for i, path in enumerate(b.files)}
            hashes = world.from_main(input_hashes, {"model": model_folder, **files})
            with world.together():
                transformer, tokenizer = load_model(model_folder, world.dtype, world.device, cfg.chat_format)
            sampler = Sampler(transformer, tokenizer, cfg.evaluate.max_num_seqs)
            with world.together():
                plans = [(b, p, plan(b, p, sampler, cfg)) for b in benchmarks for p in cfg.evaluate.protocols]
            folder = Path(cfg.run_dir, "eval", name)
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
                machine = {"device": str(world.device), "processes": world.size, "versions": versions()}
                about = {"model": str(model_folder), "seed": cfg.seed, **machine, "sha256": hashes}
                protocols = {p: PROTOCOLS[p](cfg) for p in cfg.evaluate.protocols}
                seconds = {"seconds": time.perf_counter() - began}
                write_results(folder, {**about, "protocols": protocols, **results[name], "time": seconds})
        if world.is_main:
            print_results(results, scores, cfg)


def write_results(folder: Path, results: dict[str, Any]) -> None:
    """Write results.json; what an earlier command found by other protocols or on other benchmarks stays in it."""
    path = folder / "results.json"
    before = read_json(path) if path.exists() else {}
    for name in ("sha256", "protocols", "macro"):
        results[name] = before.get(name, {}) | results[name]
    kept = before.get("benchmarks", {})
    results["benchmarks"] = kept | {b: kept.get(b, {}) | found for b, found in results["benchmarks"].items()}
    write_atomic(path, json.dumps(results, ensure_ascii=False, indent=1) + "\n")


def plan(benchmark: LoadedBenchmark, protocol: str, sampler: Sampler, cfg: Config) -> list[Asked]:
    """Return the answers that are wanted. Raises InputError for a question that is too long for the model."""
    if protocol == "cot":
        samples, reshuffles, measure = cfg.evaluate.samples, cfg.evaluate.reshuffles, partial(cot_length, sampler, cfg)
    else:
        shows_options = benchmark.document != "abstract"  # else their order cannot matter
        samples, reshuffles, measure = 1, cfg.evaluate.reshuffles * shows_options, characters
    return all_asked(benchmark.name, benchmark.questions, protocol, samples, reshuffles, cfg.seed, measure)


def settings(cfg: Config, hashes: Mapping[str, str], world: World) -> dict[str, Any]:
    """Return what fixes an answer; only what the protocols of this run depend on."""
    fixed: dict[str, Any] = {f"sha256 of {name}": value for name, value in hashes.items()}
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
    names = [name.strip() for name in chosen.split(",") if name.strip()] or list(ev.benchmarks)
    names = list(PAPER_NINE) if names == ["paper"] else names
    if len(set(names)) < len(names):
        raise InputError(f"--benchmarks {chosen}: a name stands twice")
    if names:
        for name in names:
            if name not in ev.benchmarks and not ev.benchmark_folder:
                raise InputError(
                    f"where is {name}? set evaluate.benchmarks.{name}=FILE or evaluate.benchmark_folder=DIR"
                )
        loaded = [load_benchmark(name, Path(ev.benchmarks.get(name, ev.benchmark_folder))) for name in names]
    else:
        source = Path(ev.questions or Path(cfg.run_dir, "data/test.jsonl"))
        loaded = [load_benchmark(source.stem, source)]
    return [dataclasses.replace(b, questions=b.questions[: ev.limit or None]) for b in loaded]


def print_results(
    results: Mapping[str, Any], scores: Mapping[str, Mapping[tuple[str, str], Mapping[str, float]]], cfg: Config
) -> None:
    """Print for each protocol the table, what else there is to say, and the stages' paired differences."""
    models = list(results)
    pairs = [*itertools.pairwise(models), *([(models[1], models[3])] if len(models) == 4 else [])]
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
            found = paired_difference(list(a.values()), [b[i] for i in a])
            print(f"{benchmark}: {after} minus {before}, same questions: {describe_difference(vars(found))}")


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
    path = Path(folder).resolve()
    return path.name if path.name != "model" else "_".join(path.parts[-3:-1])


def ask(text: str, model: str, cfg: Config) -> None:
    """Stream the model's reasoning and answer to one question, greedily.

    A question that ends with lettered options ("A. ...", a line each) is put as the benchmarks' are, and what the
    parser reads from the answer is said; any other is put as it stands.
    """
    folder, device = model or Path(cfg.run_dir, "grpo/stage2/model"), pick_device(cfg.parallel)
    transformer, tokenizer = load_model(folder, compute_dtype(device), device, cfg.chat_format)
    question = with_options(text)
    if question:
        messages = question_messages(question, cfg.answer_style, cfg.instruction, cfg.system)
    else:
        messages = [
            *([{"role": "system", "content": cfg.system}] if cfg.system else []),
            {"role": "user", "content": text},
        ]
    prompt = tokenizer.encode_chat(messages)
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


def with_options(text: str) -> Question | None:
    """Return the question that the text is, with options if its last lines are "A. ...", "B. ..." and so on."""
    lines = text.strip().splitlines()
    options: dict[str, str] = {}
    while lines and (found := re.fullmatch(r"\s*([A-Z])[.):、．]\s*(\S.*)", lines[-1])):
        options = {found[1]: found[2], **options}
        lines.pop()
    if len(options) < 2 or list(options) != list(LETTERS[: len(options)]) or not "".join(lines).strip():
        return None
    return Question(id="question", question="\n".join(lines).strip(), options=options, answer="A")


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
