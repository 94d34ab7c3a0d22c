"""--dry-run: check everything that a run would need, say what it would do and what memory it takes, and start nothing.

No weight is read, no file written, no lock taken and no process group joined; under torchrun one process speaks.
Left out: what only the run itself can find out, such as a full disk or a file of weights that holds NaN.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from fleming.prompt import question_messages
from fleming.records import Question, Trajectory
from fleming.settings import Config
from fleming.training.checkpoint import newest_checkpoint
from fleming.training.estimate_memory import GB, report
from fleming.training.parallel import pick_device
from fleming.training.run import check_same_run, fingerprint
from model.errors import InputError
from model.huggingface.weights import find_tensors, open_model

LOOKED_AT = 100  # of the first records, and of the longest, are tokenised


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Add --dry-run, and what it should suppose about the machine."""
    parser.add_argument("--dry-run", action="store_true", help="check everything, estimate memory, start nothing")
    parser.add_argument("--gpus", type=int, metavar="N", help="for --dry-run: GPUs in all; default: those of torchrun")
    parser.add_argument("--gpu-memory", type=float, metavar="GB", help="for --dry-run: of each; default: found, or 80")


def dry_run(
    stage: str,
    cfg: Config,
    options: argparse.Namespace,
    model_folder: Path,
    data_file: Path,
    read: Callable[[Path], Sequence[Question | Trajectory]],
    check: Callable[[], object] = lambda: None,
) -> None:
    """Print what the stage ("sft" or "grpo") would start from, its first record as the model gets it, and the memory.

    `read` is the stage's reader of `data_file`; `check` is called for whatever else may be wrong. Raises InputError for
    the first mistake, as the run itself would.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    device, ranks, nodes, memory = _machine(cfg, options)
    check()
    transformer, tokenizer = open_model(model_folder, cfg.chat_format)
    tensors, model = find_tensors(transformer, model_folder), transformer.cfg
    print(f"model: {model_folder}, {model.parameters:,} parameters in {len(tensors)} tensors, all there")
    print(f"chat format: {tokenizer.chat_format.name}")

    records = [r for r in read(data_file) if isinstance(r, Trajectory) or r.split == "train"]
    if not records:
        raise InputError(f"{data_file}: no question has split train; RL learns from no other")
    conversations = [_conversation(record, cfg) for record in records]
    texts = [tokenizer.render(messages) + answer for messages, answer in conversations]
    longest = sorted(range(len(texts)), key=lambda i: -len(texts[i]))[:LOOKED_AT]  # in characters: near enough
    lengths = []
    for i in {*range(len(records))[:LOOKED_AT], *longest}:
        messages, answer = conversations[i]
        response = len(tokenizer.encode(answer)) + 1 if stage == "sft" else cfg.grpo.max_new_tokens
        lengths.append((len(tokenizer.encode_chat(messages)), response))
    usable = [pair for pair in lengths if sum(pair) <= model.max_position_embeddings]
    limit = f"the model's context of {model.max_position_embeddings}"
    if not usable:
        raise InputError(f"{data_file}: none of {len(lengths)} records looked at fits {limit}, answer included")
    prompt, response = (max(column) for column in zip(*usable, strict=True))
    print(f"data: {data_file}, {len(records)} records; looked at {len(lengths)}, the first and the longest")
    print(f"longest prompt {prompt} tokens, longest answer {response}; {len(lengths) - len(usable)} exceed {limit}")
    print(f"the first record:\n{texts[0]}\n")

    if stage == "grpo":
        print(f"loss: {cfg.grpo.loss}")
    if state := newest_checkpoint(Path(cfg.run_dir, stage, "checkpoints")):
        saved = {k: v for k, v in state["identity"].items() if not k.startswith("sha256 of ")}
        check_same_run(saved, fingerprint(cfg, stage, {}), cfg.run_dir)
        print(f"{cfg.run_dir}: goes on after step {state['step']}; the settings agree, files are compared at the start")
    else:
        print(f"{cfg.run_dir}: begins at step 1")
    print(report(model, cfg, stage, ranks, memory, device, nodes, prompt=prompt, response=response))
    print("dry run: nothing was started or written")


def _machine(cfg: Config, options: argparse.Namespace) -> tuple[str, int, int, float]:
    """Return the device, how many processes on how many nodes, and the bytes each has."""
    ranks = options.gpus if options.gpus is not None else int(os.environ.get("WORLD_SIZE", "1"))
    if ranks < 1:
        raise InputError(f"--gpus {ranks}: expected at least 1")
    nodes = max(1, ranks // int(os.environ.get("LOCAL_WORLD_SIZE", ranks)))
    elsewhere = options.gpus is not None and cfg.parallel.device != "cpu"  # GPUs that need not be here
    device = "cuda" if elsewhere else pick_device(cfg.parallel).type
    if device == "cpu":
        return device, ranks, nodes, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * nodes / ranks
    found = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 80 * GB
    return device, ranks, nodes, options.gpu_memory * GB if options.gpu_memory else found


def _conversation(record: Question | Trajectory, cfg: Config) -> tuple[list[dict[str, str]], str]:
    """Return the messages that the model gets, and what it is to answer where that is known."""
    if isinstance(record, Trajectory):
        return record.prompt, record.response
    return question_messages(record, cfg.answer_style, cfg.instruction, cfg.system), ""
