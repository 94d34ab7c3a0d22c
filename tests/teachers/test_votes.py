"""Stage 1 with a teacher behind a server: it votes on labels and grades by the rubric (paper, section 3.1)."""

import json
import re
import shlex

import pytest
from support.chat_server import ChatServer, said
from support.places import ROOT
from support.runs import SMALL, run_here

import synth_data
from fleming.command_line import command_line
from fleming.files import read_json, read_jsonl
from fleming.prompt import RULES

KEY = "sk-test-0123456789abcdefXYZ"


def plan(text, n):
    """Chooses the option whose text comes first in the alphabet; finds every question easy; is once out of order."""
    if RULES["rubric"][:40] in text:
        return said("easy", reasoning_content="It has one step.")
    options = [line[3:] for line in text.splitlines() if line[1:3] == ". "]
    if n == 0 and len(text) % 5 == 0:
        return (500, {}, b"") if len(text) % 2 else b"<html>"
    return said(f"<think>Hm.</think>\n<answer>{min(options)}</answer>")


def run(folder, *more):
    few = [
        "synth.train_questions=12",
        "synth.dev_questions=0",
        "synth.test_questions=0",
        "base_model.make=false",
    ]
    asked = ["synth.voter=teacher", "synth.grade_by=rubric", "teacher.kind=openai", "teacher.model=m"]
    asked += ["teacher.key_env=TEACHER_KEY", f"run_dir={folder}", *more]
    return run_here(synth_data, ["--config", str(ROOT / "configs/demo.yaml"), *SMALL, *few, *asked])


def data(folder):
    return {path.name: path.read_bytes() for path in (folder / "data").iterdir() if path.is_file()}


@pytest.fixture
def _key(monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", KEY)
    monkeypatch.setattr("fleming.teachers.asking.FIRST_WAIT", 0.01)


@pytest.mark.usefixtures("_key")
def test_votes_and_grades_of_a_server_are_kept_and_never_asked_for_twice(tmp_path, monkeypatch):
    with ChatServer(plan) as server:
        address = f"teacher.address={server.address}"
        status, lines = run(tmp_path, address)
        assert status == 0, lines
        votes = [record for _, record in read_jsonl(tmp_path / "data/label_votes.jsonl")]
        asked = sum(record["code"] == "" for _, record in read_jsonl(tmp_path / "data/teacher_answers.jsonl"))
        report = read_json(tmp_path / "data/report.json")
        (labels,) = [step["votes"] for step in report["refinement"] if step["step"] == "labels"]
        assert len(votes) == labels["questions"] >= 10
        for vote in votes:  # one choice, wherever its option stood
            assert vote["voter"].startswith("m T=0.8")
            assert len(set(vote["votes"])) == 1
            assert None not in vote["votes"]
        graded = report["difficulty"]
        assert graded["graded_by"] == "rubric"
        assert graded["grades"] == {"easy": labels["questions"] - labels["undecided"]}
        assert 0 < labels["undecided"] < labels["questions"]
        taught = sum(row["answers"] for row in report["trajectories"]["funnel"])
        assert asked == 5 * labels["questions"] + 3 * graded["grades"]["easy"] + taught
        assert not (tmp_path / "data/grading_answers.jsonl").exists()

        requests, before = len(server.requests), data(tmp_path)
        assert run(tmp_path, address)[0] == 0
        monkeypatch.delenv("TEACHER_KEY")
        assert run(tmp_path, address, "--offline")[0] == 0
        assert len(server.requests) == requests
        assert data(tmp_path) == before
        status, (line,) = run(tmp_path, address, "--offline", "synth.trials=6")
        assert status == 2
        assert "are missing" in line
    everything = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [content for content in everything if KEY.encode() in content]
    config = json.dumps(read_json(tmp_path / "manifest.json")["synth"][0]["config"])
    assert "TEACHER_KEY" in config


@pytest.mark.usefixtures("_key")
def test_a_teacher_that_says_nothing_of_use_is_status_2(tmp_path):
    with ChatServer(lambda text, n: said("")) as server:
        status, (line,) = run(tmp_path, f"teacher.address={server.address}")
    assert status == 2
    assert re.search(r"none of \d\d conversations brought an answer; the last: empty", line)


@pytest.mark.usefixtures("_key")
def test_a_cap_is_one_line_with_the_way_out(tmp_path):
    with ChatServer(plan) as server:
        settings = [f"teacher.address={server.address}", "teacher.max_requests=20"]
        status, (line,) = run(tmp_path, *settings)
        assert status == 2
        assert "teacher.max_requests = 20 ends the run: 20 spent" in line
        assert len(server.requests) == 20
        assert run(tmp_path, settings[0], "teacher.max_requests=1000")[0] == 0


def test_the_commands_of_the_document_are_such():
    text = (ROOT / "docs/cold-start.md").read_text()
    commands = [line for line in text.splitlines() if line.startswith("python synth_data.py")]
    assert len(commands) >= 2
    for command in commands:
        argv = shlex.split(command)[2:]
        argv[argv.index("--config") + 1] = str(ROOT / argv[argv.index("--config") + 1])
        cfg, options = command_line("synth", "", argv)
        assert cfg.teacher.kind == "openai"
        assert not options.offline
