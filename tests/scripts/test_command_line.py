"""Help, mistakes and first words come before torch is loaded, and say what to do."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from support import warm
from support.places import ROOT

from fleming.command_line import SPIN
from fleming.settings import Config
from fleming.training.loggers import log_to, numbers_in, own_logger
from model.errors import InputError

SCRIPTS = {"synth_data": "synth", "train_sft": "sft", "train_grpo": "grpo", "evaluate": "evaluate"}


def started(script: str, *arguments: str, cwd=ROOT, before: str = "") -> subprocess.CompletedProcess:
    """Run a script in whose process torch cannot be imported."""
    program = (
        f"import sys, runpy; sys.modules['torch'] = None; sys.path.insert(0, {str(ROOT)!r}); {before}\n"
        f"sys.argv[0] = '{script}.py'; runpy.run_path({str(ROOT / script)!r} + '.py', run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, cwd=cwd
    )


def test_ctrl_c_amid_the_imports_shows_no_stack_trace(signals_heard):
    command = [sys.executable, str(ROOT / "train_sft.py")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as script:
        assert script.stderr.readline() == "train_sft.py: runs/default, loading\n"
        time.sleep(0.2)
        script.send_signal(signal.SIGINT)
        assert (script.stderr.read(), script.wait()) == ("", -signal.SIGINT)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_needs_no_torch_and_has_the_scripts_own_keys_first(script):
    own = SCRIPTS[script]
    done = started(script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    keys = [
        line.split("=")[0].strip()
        for line in done.stdout.partition("keys, with their")[2].splitlines()
        if "=" in line
    ]
    assert keys[0].startswith(f"{own}.")
    assert {"run_dir", "model", "seed"} <= set(keys)
    others = set(SCRIPTS.values()) - {own}
    assert not [key for key in keys if key.split(".")[0] in others]
    assert "--help-all" in done.stdout
    every = started(script, "--help-all").stdout
    assert all(f"\n  {other}." in every for other in SCRIPTS.values())


MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for path in sorted((ROOT / "fleming").rglob("*.py"))
    if 'if __name__ == "__main__":' in path.read_text()
]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_names_itself_as_it_was_called(module):
    """And nobody's __main__.py, which is every package's."""
    told = warm.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, cwd=ROOT).stdout
    refused = warm.run([sys.executable, "-m", module, "--frob"], capture_output=True, text=True, cwd=ROOT)
    assert told.startswith(f"usage: python -m {module} [-h]")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith(f"python -m {module}: error: ")


@pytest.mark.parametrize("script", SCRIPTS)
def test_in_help_a_key_stands_under_the_heading_of_its_own_section(script):
    heading = ""
    for line in started(script, "--help-all").stdout.partition("keys, with their")[2].splitlines():
        if said := re.match(r"([a-z][\w.]*|of every script):", line):
            heading = said[1]
        elif key := re.match(r"  ([\w.]+)=", line):
            assert heading in (key[1].rpartition(".")[0], "of every script"), key[1]


def test_a_comparison_of_two_runs_speaks_of_no_third():
    assert started("evaluate", "--compare", "a", "b").stderr.startswith("evaluate.py: loading\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["learning_rate=1e-6"], "did you mean sft.learning_rate or grpo.learning_rate?"),
        (
            ["--learning_rate=1e-6"],
            "key=value, without dashes: sft.learning_rate=VALUE or grpo.learning_rate=VALUE",
        ),
        (["--grpo.learning-rate", "1e-6"], "key=value, without dashes: grpo.learning_rate=VALUE"),
        (["grpo.learnin_rate=1e-6"], "did you mean grpo.learning_rate?"),
        (["--gpus", "8"], "--gpus is for --dry-run; to run on N GPUs: torchrun --nproc_per_node N"),
        (["--gpu-memory", "0"], "--gpu-memory is for --dry-run"),
        (["configs/demo.yaml"], "a file of settings is --config FILE"),
        (["grpo.learning_rate", "=", "1e-6"], "no blanks around the ="),
        (["--frob"], "--help lists all options and keys"),
    ],
)
def test_a_mistake_is_one_line_before_torch(arguments, says):
    done = started("train_grpo", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert says in done.stderr


def test_the_first_words_come_before_torch(tmp_path):
    done = started("train_grpo", 'run_dir="\\e[2Jrun"', cwd=tmp_path)
    assert done.stderr.startswith("train_grpo.py: \\u001b[2Jrun, loading\n")
    assert "torch" in done.stderr  # and only then fails, here


@pytest.mark.parametrize(
    ("script", "key"),
    [
        ("train_sft", "data.trajectories"),
        ("train_grpo", "data.questions"),
        ("evaluate", "evaluate.questions"),
    ],
)
def test_without_arguments_it_says_what_to_name(tmp_path, script, key):
    done = warm.run(
        [sys.executable, str(ROOT / f"{script}.py")], capture_output=True, text=True, cwd=tmp_path
    )
    first, last = done.stderr.splitlines()
    assert (done.returncode, first) == (2, f"{script}.py: runs/default, loading")
    assert f"{key}=FILE" in last
    assert "synth_data.py" in last
    assert list(tmp_path.iterdir()) == []


def test_a_logger_of_ones_own_gets_each_record_and_stops_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / "mylog.py").write_text(
        "seen = []\ndef log(stage, record):\n    seen.append((stage, record['step']))\n"
        "    if record['step'] == 2: 1 / 0\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    loggers = own_logger("sft", Config(logger="mylog:log"))
    for step in (1, 2, 3):
        log_to(loggers, {"step": step})
    import mylog

    assert mylog.seen == [("sft", 1), ("sft", 2), ("sft", 3)]
    assert "logger failed at step 2: ZeroDivisionError" in capsys.readouterr().err
    assert own_logger("sft", Config()) == []
    with pytest.raises(InputError, match="logger=mylog:nothing"):
        own_logger("sft", Config(logger="mylog:nothing"))


def test_a_nested_record_is_flat_numbers():
    assert numbers_in({"step": 1, "time": {"mfu": 0.5}, "x": None, "name": "a"}) == {
        "step": 1.0,
        "time/mfu": 0.5,
    }


@pytest.mark.skipif(sys.platform != "linux", reason="libgomp is Linux's")
@pytest.mark.parametrize(("own", "spins"), [({}, "1000"), ({"GOMP_SPINCOUNT": "77"}, "77")])
def test_threads_spin_briefly_unless_the_user_says_how_long(tmp_path, own, spins):
    script = [sys.executable, str(ROOT / "train_sft.py"), f"data.trajectories={tmp_path / 'none.jsonl'}"]
    clean = {name: value for name, value in os.environ.items() if name != SPIN[0]}
    done = subprocess.run(
        [*script, f"model={tmp_path}", f"run_dir={tmp_path / 'run'}"],
        capture_output=True,
        text=True,
        env={**clean, **own, "OMP_DISPLAY_ENV": "verbose"},
    )
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr
    assert "none.jsonl" in done.stderr  # torch was loaded on the way to this
