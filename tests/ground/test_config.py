"""fleming/config.py: what a settings file and the command line may say, what is refused, and how it is told."""

import dataclasses
import errno
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from fleming.config import dump_yaml, field_docs, load_config, parse_command_line, run_script, to_dict
from model.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Stage:
    steps: int = 5
    """Optimiser steps."""
    group_size: int = 8
    no_docs: bool = False


@dataclass(frozen=True)
class Train:
    learning_rate: float = 1e-5
    """Peak;
    higher learns faster, 100 % until it does not."""
    clip: float | None = None
    stage1: Stage = field(default_factory=Stage)
    stage2: Stage = field(default_factory=lambda: Stage(group_size=16))
    """The second stage."""

    def check(self, where: str) -> None:
        if self.learning_rate <= 0:
            raise InputError(f"{where}learning_rate must be above 0, found {self.learning_rate}")


@dataclass(frozen=True)
class Example:
    run_dir: str = "runs/example"
    """Where the run lies."""
    seed: int = 0
    resume: bool = True
    model: str | None = None
    style: Literal["letter", "text"] = "letter"
    names: list[str] = field(default_factory=list)
    hard: tuple[str, ...] = ("moderate",)
    sizes: list[int] = field(default_factory=lambda: [1, 2])
    mix: dict[str, float] = field(default_factory=lambda: {"a": 1.0, "b": 1.0})
    labels: dict[str, str] = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=lambda: {"early": Stage(group_size=2)})
    train: Train = field(default_factory=Train)
    """How it learns."""


def from_file(tmp_path: Path, text: str | bytes, *overrides: str) -> Example:
    path = tmp_path / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_config(Example, path, list(overrides))


def test_without_file_or_overrides_the_defaults_stand():
    assert load_config(Example, None, []) == Example()


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "---\n"])
def test_an_empty_file_changes_nothing(tmp_path, text):
    assert from_file(tmp_path, text) == Example()


def test_a_file_names_only_what_differs_and_overrides_come_after_it(tmp_path):
    text = "seed: 3\ntrain:\n  clip: 1\n  stage2: {steps: 7}\nhard: [a, b]\nmix: {x: 2}\n"
    config = from_file(tmp_path, text, "train.stage2.steps=9", "seed=4", "seed=5", "mix.y=1e-1")
    expected = Example(seed=5, hard=("a", "b"), mix={"x": 2.0, "y": 0.1})
    stage2 = Stage(steps=9, group_size=16)  # the section's own default stays, not the class's
    assert config == dataclasses.replace(expected, train=Train(clip=1.0, stage2=stage2))
    assert type(config.train.clip) is float


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.learning_rate=1e-5", 1e-5),  # text in YAML 1.1
        ("train.learning_rate=1E5", 1e5),
        ("train.learning_rate=1.5e+3", 1500.0),
        ("train.learning_rate=3", 3.0),
        ("train.clip=null", None),
        ("train.clip=2e0", 2.0),
        ("model='123'", "123"),
        ("model=1e5", "1e5"),
        ("model=a=b", "a=b"),
        ("model=~", None),
        ("style=text", "text"),
        ("names=[x, 'y z']", ["x", "y z"]),
        ("hard=[]", ()),
        ("labels.a.b=x", {"a.b": "x"}),
        ("train={clip: 0.5}", Train(clip=0.5)),
        ("stages.late.steps=7", {"early": Stage(group_size=2), "late": Stage(steps=7)}),
        ("stages.early.steps=7", {"early": Stage(steps=7, group_size=2)}),
        ("resume=false", False),
    ],
)
def test_an_override_is_yaml_of_the_fields_type(override, value):
    found = load_config(Example, None, [override])
    for name in override.split("=")[0].split(".")[:2]:
        found = getattr(found, name) if dataclasses.is_dataclass(found) else found
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("sed=1", "unknown key sed; did you mean seed?"),
        ("train.learningrate=1", "unknown key train.learningrate; did you mean train.learning_rate?"),
        ("train.zzz=1", "unknown key train.zzz; known here: learning_rate, clip, stage1, stage2"),
        ("seed.x=1", "unknown key seed.x: seed is of type int"),
        ("train.stage1={stepz: 1}", "unknown key train.stage1.stepz; did you mean train.stage1.steps?"),
        ("seed=true", "seed: expected int, found bool True"),
        ("seed=1.0", "seed: expected int, found float 1.0"),
        ("seed=one", "seed: expected int, found str 'one'"),
        ("seed=", "seed= has no value"),
        ("resume=1", "resume: expected bool, found int 1"),
        ("train.learning_rate=true", "expected float, found bool True"),
        ("train.learning_rate=fast", "expected float, found str 'fast'"),
        ("train.learning_rate=.nan", "expected float, found float nan"),
        ("train.learning_rate=1e999", "expected float, found str '1e999'"),
        ("train.clip=x", "train.clip: expected float | null, found str 'x'"),
        (f"train.clip=1{'0' * 400}", "train.clip: expected float | null, found int 1"),
        ("run_dir=null", "run_dir: expected str, found null"),
        ("run_dir=2024", "run_dir: expected str, found int 2024; quote it"),
        ("run_dir=no", "run_dir: expected str, found bool False; quote it"),
        ("run_dir={a: 1}", "run_dir: expected str, found dict {'a': 1}"),
        ("style=Letter", "style: expected letter | text, found str 'Letter'"),
        ("names=x", "names: expected list of str, found str 'x'"),
        ("names=[x, 1]", "names[1]: expected str, found int 1"),
        ("sizes=[1, true]", "sizes[1]: expected int, found bool True"),
        ("mix=[1]", "mix: expected mapping to float, found list [1]"),
        ("mix.a=x", "mix.a: expected float, found str 'x'"),
        ("train=3", "train: expected mapping, found int 3"),
        ("train= ", "train= has no value"),
        ("seed={a: 1, a: 2}", "seed: bad YAML at line 1, column 8: key 'a' occurs twice"),
        ("seed=[1", "seed: bad YAML"),
        ("seed=!!python/object/apply:os.getcwd []", "could not determine a constructor"),
        (f"seed={'[' * 5000}", "seed: bad YAML: maximum recursion"),
        ("seed", "'seed': expected key.path=value"),
        ("=1", "'=1': expected key.path=value"),
    ],
)
def test_a_bad_override_is_one_line_naming_the_key(override, says):
    with pytest.raises(InputError) as error:
        load_config(Example, None, [override])
    message = str(error.value)
    assert message.startswith("command line")
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sed: 1", "unknown key sed; did you mean seed?"),
        ("train:\n  clip: no\n", "train.clip: expected float | null, found bool False"),
        ("train:\n", "train: expected mapping, found null"),
        ("seed: 1\nrun_dir: a\nseed: 2\n", "bad YAML at line 3, column 1: key 'seed' occurs twice"),
        ("train: {clip: 1, clip: 1}", "key 'clip' occurs twice"),
        ("seed: 1\n  run_dir: a\n", "bad YAML at line 2"),
        ("seed: [1\n", "bad YAML at line 2"),
        ("- 1\n", "expected mapping, found list [1]"),
        ("hello", "expected mapping, found str 'hello'"),
        ("? [a]\n: 1\n", "bad YAML at line 1"),
        ('seed: !!int ""\n', "bad YAML at line 1, column 7: '' is no int"),
        ("seed: 1\nrun_dir: !!bool x\n", "bad YAML at line 2, column 10: 'x' is no bool"),
        ("run_dir: !!timestamp x\n", "bad YAML at line 1, column 10: 'x' is no timestamp"),
        ("seed: &a [*a]\n", "bad YAML at line 1, column 11: *a stands within itself"),
        ("a: &a [1]\nb: [" + "*a, " * 31 + "]\n", "*a stands within itself, or behind 30 others"),
        (b"seed: \xff\n", "bad YAML"),
        (b"seed: \x00\n", "bad YAML"),
    ],
)
def test_a_bad_file_is_one_line_naming_the_file(tmp_path, text, says):
    with pytest.raises(InputError) as error:
        from_file(tmp_path, text, "seed=1")
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'c.yaml'}: ")
    assert says in message
    assert "\n" not in message


def test_a_device_is_no_file_of_settings():
    with pytest.raises(InputError, match="/dev/zero: a device or a pipe; expected a file"):
        load_config(Example, "/dev/zero", [])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no\.yaml: cannot read: .*No such file or directory"):
        load_config(Example, tmp_path / "no.yaml", [])


def test_a_section_checks_itself_after_the_overrides(tmp_path):
    with pytest.raises(InputError, match=r"c\.yaml: train\.learning_rate must be above 0, found -1\.0"):
        from_file(tmp_path, "train: {learning_rate: -1}")
    with pytest.raises(InputError, match=r"^command line: train\.learning_rate"):
        load_config(Example, None, ["train.learning_rate=0"])
    assert from_file(tmp_path, "train: {learning_rate: -1}", "train.learning_rate=2").train.learning_rate == 2


def test_what_is_dumped_is_loaded_back_equal(tmp_path):
    awkward = [
        "1e5",
        "no",
        "123",
        "",
        " x",
        "a: b",
        "选项\u2028\n#",
        "~",
        "-",
        "'\"",
        "0x1f",
        "2024-01-01",
        "\U0001f600",
    ]
    config = Example(
        run_dir="1e-5",
        model="null",
        names=awkward,
        hard=tuple(awkward),
        labels=dict.fromkeys(awkward, "no"),
        mix={"1e5": 0.1, "x": 1e-300},
        train=Train(learning_rate=1 / 3, clip=1e22, stage1=Stage(no_docs=True)),
    )
    assert from_file(tmp_path, dump_yaml(config)) == config
    assert from_file(tmp_path, dump_yaml(Example())) == Example()


def test_to_dict_is_what_json_and_yaml_give_back():
    plain = to_dict(Example())
    assert plain["hard"] == ["moderate"]
    assert plain["train"]["stage2"] == {"steps": 5, "group_size": 16, "no_docs": False}
    assert list(plain)[:3] == ["run_dir", "seed", "resume"]


def test_field_docs_are_the_strings_under_the_fields():
    assert field_docs(Train) == {
        "learning_rate": "Peak; higher learns faster, 100 % until it does not.",
        "stage2": "The second stage.",
    }


def test_the_command_line_mixes_options_and_overrides():
    config, arguments = parse_command_line(
        Example,
        "An example.",
        ["seed=3", "--question", "Why?", "train.clip=-1", "--model", "DIR", "resume=false"],
        lambda parser: [parser.add_argument("--question"), parser.add_argument("--model")],
    )
    assert config == Example(seed=3, resume=False, train=Train(clip=-1.0))
    assert (arguments.question, arguments.model, arguments.config) == ("Why?", "DIR", None)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--nonsense"], "--nonsense"),
        (["--conf", "x.yaml"], "--conf"),
        (["--config"], "expected one argument"),
        (["--config", "no.yaml"], "no.yaml: cannot read"),
        (["seed:3"], "expected key.path=value"),
    ],
)
def test_a_bad_command_line_is_an_input_error(argv, says):
    with pytest.raises(InputError, match=says):
        parse_command_line(Example, "An example.", argv)


def test_help_prints_every_key_with_type_default_and_docstring(capsys):
    with pytest.raises(SystemExit) as stop:
        parse_command_line(Example, "An example.", ["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage:")
    for line in (
        '  run_dir="runs/example"  (str)\n      Where the run lies.\n',
        "  model=null  (str | null)\n",
        '  style="letter"  (letter | text)\n',
        '  hard=["moderate"]  (list of str)\n',
        '  mix={"a": 1.0, "b": 1.0}  (mapping to float)\n',
        "\ntrain: How it learns.\n",
        "  train.learning_rate=1e-05  (float)\n      Peak; higher learns faster, 100 % until it does not.\n",
        "\ntrain.stage2: The second stage.\n  train.stage2.steps=5  (int)\n      Optimiser steps.\n"
        "  train.stage2.group_size=16  (int)\n",
    ):
        assert line in text


def leave_with(monkeypatch, capsys, error: BaseException | int | None) -> tuple[object, str]:
    def main(argv: list[str]) -> int | None:
        assert argv == ["a=1"]
        if isinstance(error, BaseException):
            raise error
        return error

    monkeypatch.setattr(sys, "argv", ["/somewhere/train_grpo.py", "a=1"])
    with pytest.raises(SystemExit) as stop:
        run_script(main)
    return stop.value.code, capsys.readouterr().err


def test_a_script_ends_with_one_line_and_the_right_status(monkeypatch, capsys):
    for error, status, says in [
        (None, 0, ""),
        (3, 3, ""),
        (SystemExit(143), 143, ""),
        (InputError("x.yaml: bad\nvery  bad"), 2, "train_grpo.py: error: x.yaml: bad very bad\n"),
        (KeyboardInterrupt(), 130, "train_grpo.py: interrupted\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "big"),
            2,
            "train_grpo.py: error: [Errno 28] No space left on device: 'big'\n",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/theirs/run"),
            2,
            "train_grpo.py: error: [Errno 13] Permission denied: '/theirs/run'\n",
        ),
    ]:
        assert leave_with(monkeypatch, capsys, error) == (status, says)


def test_a_bug_keeps_its_stack_trace(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x.py"])
    for error in (ZeroDivisionError(), OSError(errno.EIO, "broken disk")):

        def main(argv, error=error):
            raise error

        with pytest.raises(type(error)):
            run_script(main)


def test_a_reader_that_goes_away_is_no_news():
    program = "from fleming.config import run_script\nrun_script(lambda argv: print('x\\n' * 100_000))"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_value_out_of_its_range_may_be_replaced_on_the_command_line(tmp_path):
    from fleming.settings import Config

    (tmp_path / "c.yaml").write_text("grpo: {clip_low: 2}\nsft: {epochs: 0}\n")
    config = load_config(Config, tmp_path / "c.yaml", ["grpo.clip_low=0.1", "sft.epochs=1"])
    assert (config.grpo.clip_low, config.sft.epochs) == (0.1, 1.0)
    with pytest.raises(InputError, match=r"sft\.epochs is out of its range: found 0\.0, expected above 0"):
        load_config(Config, tmp_path / "c.yaml", ["grpo.clip_low=0.1"])
