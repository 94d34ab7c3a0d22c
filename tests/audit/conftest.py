"""One finished run for all tests of the audit."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import runs

import evaluate
import synth_data
import train_grpo
import train_sft

REWARD = """def letters(response, finished, question, cfg):
    right = question.answer == "A" and response.count("e") > 9
    return {"correct": float(right), "format": 0.0, "total": right + response.count("e") / 10}
"""
KEPT = (
    "sft.save_every=5",
    "sft.keep_every=5",
    "grpo.save_every=2",
    "grpo.keep_every=2",
    "grpo.dev_every=4",
    "grpo.reward=even_random_answers:letters",
    "grpo.learning_rate=3e-3",
    "grpo.warmup_steps=1",
)


@pytest.fixture(scope="session")
def own_reward(tmp_path_factory) -> Iterator[Path]:
    """A reward that the answers of a model that has learned nothing earn in part; the folder of its module."""
    folder = tmp_path_factory.mktemp("reward")
    (folder / "even_random_answers.py").write_text(REWARD)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory, own_reward) -> Path:
    """All four stages in one folder, with checkpoints kept."""
    folder = tmp_path_factory.mktemp("audit") / "run"
    for script in (synth_data, train_sft, train_grpo, evaluate):
        command = ["--config", str(runs.ROOT / "configs/demo.yaml"), f"run_dir={folder}", *runs.SMALL, *KEPT]
        status, said = runs.run_here(script, command)
        assert status == 0, said
    return folder


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    """One to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))
