"""What the cold start learns from: trajectories as token ids, the prompt's and the response's.

Left out: reading the file's records (fleming/public/readers.py), and how pairs are packed (packing.py).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from fleming.records import Trajectory
from model.errors import InputError
from model.huggingface.config import ModelConfig
from model.huggingface.tokenizer import Tokenizer

Example = tuple[list[int], list[int]]  # prompt, response with the end of the turn


def training_examples(
    source: Path,
    trajectories: Sequence[Trajectory],
    tokenizer: Tokenizer,
    model: ModelConfig,
    say: Callable[[str], None],
) -> list[Example]:
    """Return those trajectories of the file that fit the model's context; what is left out is said.

    Raises InputError where none is left.
    """
    examples, context = [], model.max_position_embeddings
    for trajectory in trajectories:
        prompt = tokenizer.encode_chat(trajectory.prompt)
        response = [*tokenizer.encode(trajectory.response), tokenizer.end_of_turn]
        if len(prompt) + len(response) <= context:
            examples.append((prompt, response))
    if len(examples) < len(trajectories):
        say(f"{len(trajectories) - len(examples)} trajectories exceed the model's context and are left out")
    if not examples:
        raise InputError(f"{source}: no trajectory fits the model's context of {context}")
    return examples
