"""The teacher that the settings name, its answers kept in RUN_DIR/data. Left out: templates, which are never asked."""

from pathlib import Path

import torch

from fleming.settings import Config
from fleming.teachers.asking import ServerTeacher
from fleming.teachers.local_model import LocalModel
from fleming.teachers.remembered import Remembered
from fleming.teachers.server import ChatServer


def load_teacher(cfg: Config, device: str | torch.device = "cpu", offline: bool = False) -> Remembered | None:
    """Return who is asked, None for templates: answers and quarantine.jsonl lie in RUN_DIR/data.

    An answer that is no content (empty, cut, malformed, refused) is an empty text. offline: only what is kept there
    is given. Raises InputError as `LocalModel` does, and for a key that is not in the environment.
    """
    teacher = cfg.teacher
    if teacher.kind == "template":
        return None
    if teacher.kind == "openai":
        asked = ServerTeacher(ChatServer(teacher, cfg.seed, offline))
    else:
        asked = LocalModel(
            teacher.model,
            teacher.chat_template_kwargs,
            teacher.max_new_tokens,
            teacher.temperature,
            cfg.seed,
            device=device,
        )
    data = Path(cfg.run_dir, "data")
    return Remembered(asked, data / "teacher_answers.jsonl", "teacher", data / "quarantine.jsonl", offline)
