"""--dry-run: check everything that a run would need, say what it would do and what memory it takes, and start nothing.

No weight is read, no file written, no lock taken and no process group joined; under torchrun one process speaks.
Left out: what only the run itself can find out, such as a full disk or a file of weights that holds NaN.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import torch

from fleming.judge import load_function
from fleming.prompt import asked_messages
from fleming.public.readers import read_questions, read_trajectories
from fleming.records import Question, Trajectory
from fleming.refine.gate import gate
from fleming.settings import Config
from fleming.training.checkpoint import newest_checkpoint
from fleming.training.estimate_memory import GB, Case, Longest, Machine, report
from fleming.training.parallel import pick_device
from fleming.training.run import check_same_run, fingerprint
from model.errors import InputError
from model.huggingface.tokenizer import Tokenizer
from model.huggingface.weights import find_tensors, open_model

LOOKED_AT = 100  # of the first records, and of the longest, are tokenised
# The messages that the model gets, and its answer where that is known.
Conversation = tuple[list[dict[str, str]], str]


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Add --dry-run, and what it should suppose about the machine."""
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, estimate memory, start nothing"
    )
    parser.add_argument(
        "--gpus", type=int, metavar="N", help="for --dry-run: GPUs in all; default: those of torchrun"
    )
    parser.add_argument(
        "--gpu-memory", type=float, metavar="GB", help="for --dry-run: of each; default: found, or 80"
    )


def dry_run(
    stage: str, cfg: Config, options: argparse.Namespace, check: Callable[[], object] = lambda: None
) -> None:
    """Print what the stage ("sft" or "grpo") would start from, its first record as the model gets it, and the memory.

    `check` is called for whatever else may be wrong. Raises InputError for the first mistake, as the run itself would.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    machine = _machine(cfg, options)
    check()
    if cfg.free.checker:
        load_function(cfg.free.checker, "free.checker")
    if stage == "sft":
        model_folder, data_file, read = cfg.base_folder, cfg.trajectory_file, read_trajectories
        gate(cfg, {"data.trajectories": data_file})
    else:
        model_folder, data_file, read = cfg.rl_start, cfg.question_file, read_questions
        gate(cfg, {"data.questions": data_file})

    transformer, tokenizer = open_model(model_folder, cfg.chat_format)
    model = transformer.cfg
    tensors = find_tensors(transformer, model_folder)
    print(f"model: {model_folder}, {model.parameters:,} parameters in {len(tensors)} tensors, all there")
    print(f"chat format: {tokenizer.chat_format.name}")

    records = [r for r in read(data_file, cfg, print) if isinstance(r, Trajectory) or r.split == "train"]
    if not records:
        raise InputError(f"{data_file}: no question has split train; RL learns from no other")
    conversations = [_conversation(record, cfg) for record in records]
    lengths = _lengths(conversations, tokenizer, cfg.grpo.max_new_tokens if stage == "grpo" else None)
    context = model.max_position_embeddings
    usable = [length for length in lengths if length.sequence <= context]
    limit = f"the model's context of {context}"
    if not usable:
        raise InputError(
            f"{data_file}: none of {len(lengths)} records looked at fits {limit}, answer included"
        )
    longest = Longest(max(length.prompt for length in usable), max(length.response for length in usable))
    too_long = len(lengths) - len(usable)
    print(
        f"data: {data_file}, {len(conversations)} records; looked at {len(lengths)}, the first and the longest"
    )
    print(f"longest prompt {longest.prompt} tokens, longest answer {longest.response}", end="; ")
    print(f"{too_long} exceed {limit}")
    print(f"the first record:\n{_text(conversations[0], tokenizer)}\n")

    if stage == "grpo":
        print(f"loss: {cfg.grpo.loss}")
    print(_where_it_begins(stage, cfg))
    print(report(Case(stage, model, cfg, machine, longest)))
    print("dry run: nothing was started or written")


def _machine(cfg: Config, options: argparse.Namespace) -> Machine:
    """Return what is asked for, or else what is found here."""
    processes = options.gpus
    if processes is None:
        processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes < 1:
        raise InputError(f"--gpus {processes}: expected at least 1")
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


def _conversation(record: Question | Trajectory, cfg: Config) -> Conversation:
    if isinstance(record, Trajectory):
        return record.prompt, record.response
    return asked_messages(record, cfg), ""


def _text(conversation: Conversation, tokenizer: Tokenizer) -> str:
    messages, answer = conversation
    return tokenizer.render(messages) + answer


def _lengths(asked: list[Conversation], tokenizer: Tokenizer, answer_tokens: int | None) -> list[Longest]:
    """Return the lengths of the first conversations and of the longest, these found by characters: near enough.

    answer_tokens: what an answer may take; None: the answers are known.
    """
    characters = [len(_text(conversation, tokenizer)) for conversation in asked]
    order = sorted(range(len(asked)), key=lambda i: -characters[i])
    lengths = []
    for i in {*range(len(asked))[:LOOKED_AT], *order[:LOOKED_AT]}:
        messages, answer = asked[i]
        response = answer_tokens or len(tokenizer.encode(answer)) + 1  # with the token that ends it
        lengths.append(Longest(len(tokenizer.encode_chat(messages)), response))
    return lengths


def _where_it_begins(stage: str, cfg: Config) -> str:
    """Compare the settings with those of the newest checkpoint, and return the step that the run would go on after."""
    state = newest_checkpoint(Path(cfg.run_dir, stage, "checkpoints"))
    if not state:
        return f"{cfg.run_dir}: begins at step 1"
    now = fingerprint(cfg, stage, {})
    identity = state.get("identity", now)
    saved = {key: value for key, value in identity.items() if not key.startswith("sha256 of ")}
    check_same_run(saved, now, cfg.run_dir)
    return f"{cfg.run_dir}: goes on after step {state['step']}; the settings agree, files are compared at the start"
