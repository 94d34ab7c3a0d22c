"""What the cold start learns from: trajectories as token ids, the prompt's and the response's.

Left out: reading the file's records (fleming/public/readers.py), and how pairs are packed (packing.py).
"""

from collections.abc import Callable, Sequence

from fleming.prompt import encode_messages
from fleming.public.readers import place_of
from fleming.records import Trajectory
from fleming.settings import Config
from model.errors import InputError
from model.huggingface.config import ModelConfig
from model.huggingface.tokenizer import Tokenizer

Example = tuple[list[int], list[int]]  # prompt, response with the end of the turn


def encode_trajectory(trajectory: Trajectory, tokenizer: Tokenizer, cfg: Config) -> tuple[Example, bool]:
    """Return the ids of prompt and response, and whether the response itself had written the end of its turn.

    Raises InputError, with the record's line, for a prompt that ends with an assistant's turn, and as
    `Tokenizer.encode_response`.
    """
    try:
        if trajectory.prompt[-1]["role"] == "assistant":
            raise InputError("the prompt ends with an assistant's turn; expected what the response answers")
        response, written = tokenizer.encode_response(trajectory.response)
        return (encode_messages(trajectory.prompt, tokenizer, cfg), response), written
    except InputError as error:
        raise InputError(f"{place_of(cfg.trajectory_file, trajectory.id, cfg)}: {error}") from error


def training_examples(
    trajectories: Sequence[Trajectory],
    tokenizer: Tokenizer,
    model: ModelConfig,
    cfg: Config,
    say: Callable[[str], None],
) -> tuple[list[str], list[Example]]:
    """Return ids and examples of those of cfg's trajectories that fit the model's context; what is left out is said.

    Raises InputError with its line for one that cannot be taught, and where none is left.
    """
    ids, examples, ends, context = [], [], 0, model.max_position_embeddings
    for trajectory in trajectories:
        (prompt, response), written = encode_trajectory(trajectory, tokenizer, cfg)
        ends += written
        if len(prompt) + len(response) <= context:
            examples.append((prompt, response))
            ids.append(trajectory.id)
    if ends:
        say(f"{ends} responses end in the token that ends a turn, which is taught once and not twice")
    if len(examples) < len(trajectories):
        say(f"{len(trajectories) - len(examples)} trajectories exceed the model's context and are left out")
    if not examples:
        raise InputError(f"{cfg.trajectory_file}: no trajectory fits the model's context of {context}")
    return ids, examples
