"""Whether a run is the documented one is said, and why not; and a short run has the bits that it has everywhere."""

import json
import platform
from pathlib import Path

import pytest
import torch

import train_grpo
import train_sft
from fleming.assets import load_table
from fleming.config import dump_yaml, load_config
from fleming.settings import Config
from fleming.training import reproduced
from model.errors import InputError
from model.sums import sums_in, write_sums

# Of models after the small runs of these tests. Where they change, say in the commit what moved a bit.
SHORT = {
    "sft/model": "24b87d85091365f9da882d9cc4dadbe0d2ce6c204e809f7b4bf10526b61f3d7f",
    "grpo/stage2/model": "0b87a4930e6b5ec8fdfbc5334fe3612e93f2a7c779e7b544c67e4c290cf074c9",
}


def machine() -> str:
    """What the hashes of SHORT were made with, as this machine has it. MKL may have other kernels for other makers."""
    kernels = torch.backends.cpu.get_cpu_capability()
    cpuinfo = Path("/proc/cpuinfo")
    maker = "AMD" if cpuinfo.exists() and "AuthenticAMD" in cpuinfo.read_text() else "no AMD"
    return f"{platform.machine()} {maker} {torch.__version__.partition('+')[0]} {kernels}"


def test_a_short_run_has_the_same_bits_on_every_machine_of_the_kind(in_process, tmp_path):
    if machine() != "x86_64 AMD 2.13.0 AVX2":
        pytest.skip(f"the hashes are of x86_64 AMD 2.13.0 AVX2; this is {machine()}")
    assert in_process(train_sft, tmp_path) == (0, [])
    assert in_process(train_grpo, tmp_path)[0] == 0
    assert {folder: sums_in(tmp_path / folder)["model.safetensors"] for folder in SHORT} == SHORT


@pytest.fixture
def run(tmp_path):
    """A folder that says it is the documented run of seed 0."""
    table = load_table("reproduced.yaml")
    for folder, sha256 in table["models"][0].items():
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "model.safetensors").touch()
        write_sums(tmp_path / folder, {"model.safetensors": sha256})
    cfg = load_config(Config, reproduced.DEMO, ["seed=0", f"run_dir={tmp_path}", "threads=1"])
    (tmp_path / "config.yaml").write_text(dump_yaml(cfg))
    made = table["made_with"]
    entry = {"versions": {"torch": f"{made['torch']}+cpu"}, "cpu_kernels": "AVX2", "processes": 1}
    (tmp_path / "manifest.json").write_text(json.dumps({"sft": [entry], "grpo": [entry]}))
    return tmp_path


def said(capsys, run) -> str:
    reproduced.main([str(run)])
    return capsys.readouterr().out.splitlines()[-1]


def change(run, **entry):
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["grpo"][0] |= entry
    (run / "manifest.json").write_text(json.dumps(manifest))
    write_sums(run / "sft/model", {"model.safetensors": "0" * 64})


def test_the_documented_run_is_known_again(run, capsys):
    assert said(capsys, run) == "the same as in the docs: yes, to the last bit"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({}, "nothing that is known"),
        ({"cpu_kernels": "AVX512"}, "cpu_kernels AVX512, documented AVX2"),
        ({"versions": {"torch": "2.14.1"}}, "torch 2.14.1, documented 2.13.0"),
        ({"processes": 2}, "processes 2, documented 1"),
    ],
)
def test_why_a_run_has_other_models(run, capsys, entry, reason):
    change(run, **entry)
    assert said(capsys, run).startswith(f"the same as in the docs: no, since {reason}")


def test_other_settings_are_named_and_other_seeds_have_no_hash(run, capsys):
    change(run)
    cfg = load_config(Config, run / "config.yaml", ["sft.epochs=1", "evaluate.max_new_tokens=9"])
    (run / "config.yaml").write_text(dump_yaml(cfg))
    assert said(capsys, run).endswith("no, since other settings: sft.epochs=1.0")
    cfg = load_config(Config, run / "config.yaml", ["seed=77"])
    (run / "config.yaml").write_text(dump_yaml(cfg))
    assert said(capsys, run) == "the docs have seeds 0, 1, 2"


def test_a_folder_without_models_is_no_run_of_the_demo(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(InputError, match="make demo"):
        reproduced.main([str(tmp_path)])
