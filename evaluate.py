"""Stage 4, evaluation (paper, section 4): accuracy with its interval, for each model of a run or for any model folder.

python evaluate.py --config configs/demo.yaml                         every stage of a run, then the table
python evaluate.py --model DIR evaluate.questions=medqa.jsonl run_dir=runs/mine
python evaluate.py --model DIR --question "Which drug treats Wilson disease?"
"""

import json
import time
from pathlib import Path

import torch
from tqdm import tqdm

from fleming.config import parse_command_line, run_script
from fleming.data.readers import read_questions
from fleming.evaluation.scoring import answer_questions, compare, stage_table, summarise
from fleming.files import run_lock, write_atomic, write_jsonl
from fleming.settings import Config
from fleming.training.parallel import compute_dtype, pick_device
from fleming.training.run import input_hashes, versions
from model import InputError, Sampler, SamplingParams, load_model
from model.config import load_config


def main(argv: list[str]) -> None:
    cfg, options = parse_command_line(Config, __doc__, argv, add_arguments)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    if options.question is not None:
        return ask(options.question, options.model or cfg.model, cfg)

    source = Path(cfg.evaluate.questions or Path(cfg.run_dir, "data/test.jsonl"))
    models = {name_of(options.model): Path(options.model)} if options.model else configured_models(cfg)
    questions = read_questions(source)[: cfg.evaluate.limit or None]
    device = pick_device(cfg.parallel)
    for model_folder in models.values():
        load_config(model_folder)  # a folder that is missing is said before anything runs

    with run_lock(cfg.run_dir, "evaluate.py"):
        answers = {}
        for name, model_folder in models.items():
            transformer, tokenizer = load_model(model_folder, compute_dtype(device), device, cfg.chat_format)
            folder = Path(cfg.run_dir, "eval", name)
            began = time.perf_counter()
            sampler = Sampler(transformer, tokenizer, cfg.evaluate.max_num_seqs)
            number = len(questions) * cfg.evaluate.samples
            with tqdm(total=number, desc=name, unit="answer", dynamic_ncols=True) as bar:
                answers[name] = answer_questions(sampler, questions, cfg, on_finish=bar.update)
            write_jsonl(folder / "answers.jsonl", answers[name])
            results = {
                "model": str(model_folder),
                "questions": str(source),
                **summarise(answers[name]),
                "protocol": {
                    "prompt": "chat, <think> and <answer>",
                    "answer_style": cfg.answer_style,
                    "temperature": cfg.evaluate.temperature,
                    "samples": cfg.evaluate.samples,
                    "max_new_tokens": cfg.evaluate.max_new_tokens,
                    "parser": "strict, abstentions count as wrong",
                },
                "device": str(device),
                "seed": cfg.seed,
                "sha256": input_hashes({"questions": source, "model": model_folder}),
                "versions": versions(),
                "time": {"seconds": time.perf_counter() - began},
            }
            write_atomic(folder / "results.json", json.dumps(results, ensure_ascii=False, indent=1) + "\n")

    print(f"\n{source}: {len(questions)} questions, seed {cfg.seed}\n")
    print(stage_table({name: summarise(a) for name, a in answers.items()}))
    names = list(answers)
    for i, j in [(i, i + 1) for i in range(len(names) - 1)] + ([(1, 3)] if len(names) == 4 else []):
        result = compare([answers[names[i]]], [answers[names[j]]])
        print(f"{names[j]} minus {names[i]}, same questions: {describe_difference(result)}")


def describe_difference(result) -> str:
    """One line for a paired difference, in percentage points."""
    low, high = 100 * result.low, 100 * result.high
    return f"{100 * result.difference:+.1f} [{low:+.1f}, {high:+.1f}], McNemar p = {result.p_mcnemar:.2g}"


def configured_models(cfg: Config) -> dict[str, Path]:
    """The models that the config names, folders relative to run_dir."""
    if not cfg.evaluate.models and not cfg.model:
        raise InputError("nothing to evaluate: give --model DIR, or evaluate.models in the config")
    named = {name: Path(cfg.run_dir, folder) for name, folder in cfg.evaluate.models.items()}
    for stage, steps in ((1, cfg.grpo.stage1.max_steps), (2, cfg.grpo.stage2.max_steps)):
        for name, folder in list(named.items()):
            if folder == Path(cfg.run_dir, f"grpo/stage{stage}/model") and steps == 0:
                print(f"{name} is left out: grpo.stage{stage}.max_steps is 0")
                del named[name]
    return named or {name_of(cfg.model): Path(cfg.model)}


def name_of(folder: str) -> str:
    """What a model folder's results are filed under; ours are all called "model", so with the folders above it."""
    path = Path(folder).resolve()
    return path.name if path.name != "model" else "_".join(path.parts[-3:-1])


def ask(question: str, model: str, cfg: Config) -> None:
    """Stream the model's reasoning and answer to one question, greedily."""
    folder, device = model or Path(cfg.run_dir, "grpo/stage2/model"), pick_device(cfg.parallel)
    transformer, tokenizer = load_model(folder, compute_dtype(device), device, cfg.chat_format)
    messages = [{"role": "system", "content": cfg.system}] if cfg.system else []
    prompt = tokenizer.encode_chat([*messages, {"role": "user", "content": question}])
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


def add_arguments(parser) -> None:
    """Options beside the config's keys."""
    parser.add_argument("--model", metavar="DIR", default="", help="evaluate this model folder")
    parser.add_argument("--question", metavar="TEXT", help="ask the model one question and stream its answer")


if __name__ == "__main__":
    run_script(main)
