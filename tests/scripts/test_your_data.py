"""docs/your-data.md: every file in it is written as it stands there, and every command is run as it stands there."""

import re
import shlex

import pytest
from support import runs
from support.places import ROOT

import evaluate
import train_grpo
import train_sft

TEXT = (ROOT / "docs/your-data.md").read_text(encoding="utf-8")
SCRIPTS = {f"{script.__name__}.py": script for script in (evaluate, train_grpo, train_sft)}
FILES = re.findall(
    r"`(\w+\.(?:jsonl|csv|py))`[^`]*(?:`[^`\n]*`[^`]*)*?```(?:json|text|python)\n(.*?)```", TEXT, re.S
)
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.S) for line in block.splitlines()]
SMALL = ["--config", str(ROOT / "configs/demo.yaml"), "evaluate.max_new_tokens=4", *runs.SMALL]
SMALL += ["grpo.start_from=base", "grpo.stage1.max_steps=1", "grpo.stage2.max_steps=1", "parallel.device=cpu"]


@pytest.fixture(scope="module")
def folder(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("your data")
    (folder / "DIR").symlink_to(inputs / "base/model")
    for name, content in FILES:
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def test_files_and_commands_are_found():
    assert len(FILES) == len(dict(FILES)) == 14
    assert len(COMMANDS) == 15
    named = {name for command in COMMANDS for name in re.findall(r"=(\w+\.(?:jsonl|csv))\b", command)}
    assert named == {name for name, _ in FILES} - {"my_checks.py", "my_rewards.py"}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_path_of_a_new_user_runs_as_it_is_written(folder, monkeypatch, command):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    _, script, *arguments = shlex.split(command)
    status, said = runs.run_here(SCRIPTS[script], [*SMALL, *arguments])
    assert status == 0, said
    assert not [line for line in said if "reward failed" in line or "set aside" in line]
    run_dir = folder / next(a for a in arguments if a.startswith("run_dir=")).partition("=")[2]
    made = {
        "train_sft.py": "sft/model",
        "train_grpo.py": "grpo/stage2/model",
        "evaluate.py": "eval/*/results.json",
    }
    assert list(run_dir.glob(made[script]))
