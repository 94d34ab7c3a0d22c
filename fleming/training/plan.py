"""--dry-run: check everything that a run would need, say what it would do and what memory it takes, and start nothing.

No weight is read, no file written, no lock taken and no process group joined; under torchrun one process speaks. A
model that is not here yet, or of which only config.json is, is estimated by its sizes, and that is said.
Left out: what only the run itself can find out, such as a full disk or a file of weights that holds NaN.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fleming.config import to_dict
from fleming.files import check_unlocked
from fleming.judge import own_code
from fleming.prompt import asked_messages, prompt_ids
from fleming.public.readers import read_questions, read_trajectories
from fleming.records import Question, Trajectory
from fleming.refine.gate import gate
from fleming.settings import Config
from fleming.training.estimate_memory import GB, Case, Longest, Machine, report
from fleming.training.examples import encode_trajectory
from fleming.training.loggers import own_logger
from fleming.training.parallel import pick_device
from fleming.training.run import check_ready
from fleming.training.usual_models import sizes_of
from model.errors import InputError
from model.huggingface.config import ModelConfig
from model.huggingface.tokenizer import Tokenizer
from model.huggingface.weights import find_tensors, open_model

LOOKED_AT = 100  # of the first records, and of the longest, are tokenised
BYTES = 3  # of text to a token, where there is no tokenizer: it has more of them
Record = Question | Trajectory


def dry_run(
    stage: str, cfg: Config, options: argparse.Namespace, check: Callable[[list[Any]], object]
) -> None:
    """Print what the stage ("sft" or "grpo") would start from, its first record as the model gets it, and the memory.

    `check` is called with the records for whatever else may be wrong. Raises InputError for the first mistake, as
    the run itself would.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    machine = _machine(cfg, options)
    own_code(cfg, reward=stage == "grpo")
    own_logger(stage, cfg)
    model_folder, data_file, read, key = {
        "sft": (cfg.base_folder, cfg.trajectory_file, read_trajectories, "data.trajectories"),
        "grpo": (cfg.rl_start, cfg.question_file, read_questions, "data.questions"),
    }[stage]
    gate(cfg, {key: data_file})

    if not model_folder.exists() and model_folder != cfg.base_folder:
        print(f"{model_folder} is not there yet; it will have the sizes of {cfg.base_folder}")
        model_folder = cfg.base_folder
    model, tokenizer = _look_at_model(model_folder, cfg)

    records = [r for r in read(data_file, cfg, print) if isinstance(r, Trajectory) or r.split == "train"]
    if not records:
        raise InputError(f"{data_file}: no question has split train; RL learns from no other")
    check(records)
    lengths = _lengths(records, tokenizer, cfg)
    context = model.max_position_embeddings
    usable = [length for length in lengths if length.sequence <= context]
    limit = f"the model's context of {context}"
    if not usable:
        room = f" and grpo.max_new_tokens = {cfg.grpo.max_new_tokens}" * (stage == "grpo")
        raise InputError(
            f"{data_file}: none of {len(lengths)} records looked at fits {limit}: the shortest has a prompt of "
            f"{min(length.prompt for length in lengths)} tokens{room}"
        )
    longest = Longest(max(length.prompt for length in usable), max(length.response for length in usable))
    too_long = len(lengths) - len(usable)
    print(f"data: {data_file}, {len(records)} records; looked at {len(lengths)}, the first and the longest")
    print(f"longest prompt {longest.prompt} tokens, longest answer {longest.response}", end="; ")
    print(f"{too_long} exceed {limit}")
    print(f"the first record:\n{_text(records[0], tokenizer, cfg)}\n")

    if stage == "grpo":
        print("loss:", ", ".join(f"{key}={value}" for key, value in to_dict(cfg.grpo.loss).items()))
    check_unlocked(cfg.run_dir)
    print(check_ready(stage, cfg))
    print(report(Case(stage, model, cfg, machine, longest)))
    print("dry run: nothing was started or written")


def _machine(cfg: Config, options: argparse.Namespace) -> Machine:
    """Return what is asked for, or else what is found here."""
    processes = options.gpus
    if processes is None:
        processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes < 1:
        raise InputError(f"--gpus {processes}: expected at least 1")
    if options.gpu_memory is not None and not options.gpu_memory > 0:
        raise InputError(f"--gpu-memory {options.gpu_memory}: expected more than 0")
    nodes = max(1, processes // int(os.environ.get("LOCAL_WORLD_SIZE", processes)))

    elsewhere = options.gpus is not None and cfg.parallel.device != "cpu"  # GPUs that need not be here
    device = "cuda" if elsewhere else pick_device(cfg.parallel).type
    if device == "cpu":
        of_a_node = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return Machine(processes, nodes, device, of_a_node * nodes / processes)
    memory = 80 * GB
    if options.gpu_memory:
        memory = options.gpu_memory * GB
    elif torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory
    return Machine(processes, nodes, device, memory)


def _look_at_model(folder: Path, cfg: Config) -> tuple[ModelConfig, Tokenizer | None]:
    """Say what is known of the model that the stage starts from, and return it; None for a tokenizer not here yet."""
    if any(folder.glob("*.safetensors")):
        transformer, tokenizer = open_model(folder, cfg.chat_format, cfg.chat_template_kwargs)
        model, tensors = transformer.cfg, find_tensors(transformer, folder)
        print(f"model: {folder}, {model.parameters:,} parameters in {len(tensors)} tensors, all there")
    else:
        model, tokenizer = sizes_of(folder), None
        print(f"model: {folder}, {model.parameters:,} parameters; its weights are NOT HERE YET: not checked")
        if Path(folder, "tokenizer.json").exists():
            tokenizer = Tokenizer.from_folder(folder, cfg.chat_format, cfg.chat_template_kwargs)
    known = tokenizer.chat_format.name if tokenizer else "no tokenizer yet: lengths are estimates"
    print(f"chat format: {known}")
    return model, tokenizer


def _text(record: Record, tokenizer: Tokenizer | None, cfg: Config) -> str:
    """Return the record as the model gets it, its answer behind it where that is known."""
    if isinstance(record, Trajectory):
        messages, answer = record.prompt, record.response
    else:
        messages, answer = asked_messages(record, cfg), ""
    shown = tokenizer.render(messages) if tokenizer else "\n".join(m["content"] for m in messages) + "\n"
    return shown + answer


def _lengths(records: list[Record], tokenizer: Tokenizer | None, cfg: Config) -> list[Longest]:
    """Return the lengths of the first records and of the longest, these found by characters: near enough."""
    texts = [_text(record, tokenizer, cfg) for record in records]
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    lengths = []
    for i in sorted({*range(len(texts))[:LOOKED_AT], *order[:LOOKED_AT]}):
        record, most = records[i], cfg.grpo.max_new_tokens
        if tokenizer is None:
            known = len(record.response.encode()) // BYTES if isinstance(record, Trajectory) else most
            lengths.append(Longest(len(texts[i].encode()) // BYTES, known))
        elif isinstance(record, Trajectory):
            (prompt, response), _ = encode_trajectory(record, tokenizer, cfg)
            lengths.append(Longest(len(prompt), len(response)))
        else:
            lengths.append(Longest(len(prompt_ids(record, tokenizer, cfg)), most))
    return lengths
