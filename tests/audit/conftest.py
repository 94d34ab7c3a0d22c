"""One finished run for all tests of the audit."""

import shutil
from pathlib import Path

import pytest
from support import runs

import evaluate
import synth_data
import train_grpo
import train_sft

KEPT = ("sft.save_every=5", "sft.keep_every=5", "grpo.save_every=2", "grpo.keep_every=2", "grpo.dev_every=4")


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
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
