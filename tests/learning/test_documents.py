"""What README, CITATION.cff and the Makefile say to whoever begins: sizes, a form, and what a target does."""

import ast
import io
import re
import subprocess
import tokenize
import tomllib

import yaml
from support.places import ROOT

from fleming.config import load_config
from fleming.settings import Config

METHOD = ("model", *(f"fleming/{room}" for room in ("rl", "training", "questions", "graph", "cold_start")))
LAYOUT = {
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.COMMENT,
    tokenize.ENDMARKER,
}


def files_of_the_method():
    return [*ROOT.glob("*.py"), *(path for room in METHOD for path in (ROOT / room).rglob("*.py"))]


def sizes(text: str) -> tuple[int, int]:
    """All lines of a file, and those that hold code: no docstring, comment or blank."""
    docs = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    code = {n for t in tokens if t.type not in LAYOUT for n in range(t.start[0], t.end[0] + 1)}
    return len(text.splitlines()), len(code - docs)


def test_lines_of_code_are_counted_as_they_are_meant():
    assert sizes('"""A\nfile."""\n\nx = 1  # one\n\n\ndef f():\n    """Doc."""\n    return """a\nb"""\n') == (
        10,
        4,
    )


def test_the_readme_says_how_many_lines_the_method_has():
    whole, code = map(sum, zip(*(sizes(path.read_text()) for path in files_of_the_method()), strict=True))
    text = " ".join((ROOT / "README.md").read_text().split())
    said = re.search(
        r"has ([\d,]+) lines of code, and ([\d,]+) more of docstrings, comments and blanks", text
    )
    assert [int(x.replace(",", "")) for x in said.groups()] == [round(code, -2), round(whole - code, -2)]


def test_the_method_can_be_read_without_audit_report_and_ablation():
    for path in files_of_the_method():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [n for n in names if re.match(r"fleming\.(audit|report|toy)\b|benchmarks\b", n)], (
                path.name
            )


def test_the_citation_has_the_form_of_cff_1_2():
    """Required keys, types of work and names as in the schema of citation-file-format 1.2.0."""
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= cff.keys()
    assert cff["cff-version"] == "1.2.0"
    assert cff["type"] in ("software", "dataset")
    assert cff["license"] == "Apache-2.0"
    paper = cff["references"][0]
    assert {"type", "title", "authors"} <= paper.keys()
    for person in cff["authors"] + paper["authors"]:
        assert person.keys() in ({"name"}, {"given-names", "family-names"})
    assert paper["identifiers"][0]["type"] in ("doi", "url", "swh", "other")
    assert paper["identifiers"][0]["value"].endswith("2509.15279")
    known = {
        "cff-version",
        "message",
        "type",
        "title",
        "abstract",
        "authors",
        "version",
        "license",
        "keywords",
    }
    assert cff.keys() <= known | {"references"}
    assert cff["version"] == re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]


def test_pip_install_takes_along_every_file_that_the_packages_read():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    taken, rooms = project["package-data"]["*"], project["packages"]["find"]["include"]
    files = [file for room in rooms for file in (ROOT / room.rstrip("*")).rglob("*.*") if file.is_file()]
    left = {f"*{file.suffix}" for file in files if "__pycache__" not in file.parts} - {*taken, "*.py"}
    assert left == {"*.md"}  # for people


# --- make demo-rl


def make(*arguments: str, dry: bool = True) -> subprocess.CompletedProcess:
    command = ["make", "-o", ".venv/installed", *(["-n"] if dry else []), "demo-rl", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_rl_alone_begins_with_the_finished_runs_cold_start_and_writes_elsewhere(tmp_path):
    run = tmp_path / "run"
    made = make(f"RUN_DIR={run}", "SET=grpo.learning_rate=1e-3").stdout.replace("\\\n", " ")
    trained = re.search(r"train_grpo\.py --config (\S+) (.*)", made)
    assert trained[1] == f"{run}/config.yaml"  # all else is as that run had it
    cfg = load_config(Config, None, trained[2].split())
    assert cfg.run_dir == f"{run}_rl"
    assert (str(cfg.rl_start), str(cfg.question_file)) == (f"{run}/sft/model", f"{run}/data/rl.jsonl")
    assert str(cfg.dev_file) == f"{run}/data/dev.jsonl"
    assert cfg.grpo.learning_rate == 1e-3
    assert re.search(rf"-m fleming\.toy --runs {run} {run}_rl\n", made)
    assert "run_dir=elsewhere " in make(f"RUN_DIR={run}", "RL_RUN=elsewhere").stdout


def test_without_a_finished_cold_start_nothing_is_begun(tmp_path):
    for there in ((), ("sft/model/config.json",), ("grpo/metrics.jsonl",)):
        run = tmp_path / str(len(list(tmp_path.iterdir())))
        for name in there:
            (run / name).parent.mkdir(parents=True)
            (run / name).touch()
        said = make(f"RUN_DIR={run}", dry=False)
        assert said.returncode == 2
        assert f"{run}: no cold start with a run of RL" in said.stdout
        assert "train_grpo" not in said.stdout
