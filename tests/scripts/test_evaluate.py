"""evaluate.py as a user runs it: one process and two, killed and gone on with, more of it later, mistakes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support import runs, warm
from support.jsonl import read_lines, read_records
from support.places import ROOT

import evaluate
from fleming.evaluation.chosen import name_of

SMALL = [
    "evaluate.max_new_tokens=12",
    "evaluate.max_num_seqs=4",
    "threads=1",
    "parallel.device=cpu",
    "seed=3",
]


@pytest.fixture(scope="module")
def files(inputs, tmp_path_factory) -> Path:
    """A tiny model and seven questions, once of ours, once in MedMCQA's form."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "model").symlink_to(inputs / "base/model")
    lines = read_lines(inputs / "data/test.jsonl")[:7]
    (folder / "mine.jsonl").write_text("\n".join(lines) + "\n")
    rows = []
    for number, question in enumerate(map(json.loads, lines)):
        options = {f"op{letter.lower()}": text for letter, text in question["options"].items()}
        cop = "ABCD".index(question["answer"])
        rows.append({"id": f"q{number}", "question": question["question"], **options, "cop": cop})
    rows.append(
        {**rows[0], "id": "zero", "question": "Which is first?", "cop": 0}
    )  # decides what cop counts from
    (folder / "medmcqa").mkdir()
    (folder / "medmcqa/validation.json").write_text("\n".join(map(json.dumps, rows)))
    return folder


def arguments(files: Path, run_dir: Path, *more: str) -> list[str]:
    own = [f"evaluate.questions={files / 'mine.jsonl'}", f"run_dir={run_dir}"]
    return ["--config", str(ROOT / "configs/demo.yaml"), "--model", str(files / "model"), *own, *SMALL, *more]


def run(files: Path, run_dir: Path, *more: str) -> tuple[int, list[str]]:
    return runs.run_here(evaluate, arguments(files, run_dir, *more))


def answers(run_dir: Path) -> list[dict]:
    (path,) = run_dir.glob("eval/*/answers.jsonl")
    assert not list(path.parent.glob("answers.part*"))
    return read_records(path)


def results(run_dir: Path) -> dict:
    (path,) = run_dir.glob("eval/*/results.json")
    return json.loads(path.read_text())


def key(record: dict) -> tuple:
    return record["benchmark"], record["protocol"], record["id"], record["order"], record["sample"]


def told(record: dict) -> dict:
    """What does not depend on the clock, log-likelihoods but for rounding."""
    plain = {k: v for k, v in record.items() if k not in ("time", "loglikelihoods")}
    return {**plain, "loglikelihoods": {k: round(v, 3) for k, v in record.get("loglikelihoods", {}).items()}}


BOTH = [
    "evaluate.protocols=[cot,loglikelihood]",
    "evaluate.samples=2",
    "evaluate.temperature=1",
    "evaluate.reshuffles=1",
]


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("whole")
    assert run(files, run_dir, *BOTH)[0] == 0
    return run_dir


def test_every_answer_is_there_with_what_is_needed_to_check_it(whole):
    found = answers(whole)
    assert (
        len(found) == len({key(r) for r in found}) == 7 * (2 + 1) + 7 * 2
    )  # by cot two samples and a reshuffle
    for record in found:
        assert {
            "prompt",
            "response",
            "answer",
            "gold",
            "correct",
            "choice",
            "tokens",
            "time",
        } <= record.keys()
        assert record["gold"] in "ABCD"
    cot = [r for r in found if r["protocol"] == "cot"]
    assert all(r["response"] and r["tokens"] > 0 and r["time"]["seconds"] >= 0 for r in cot)
    assert len({r["response"] for r in cot}) > 18  # samples and orders have noise of their own
    scored = results(whole)
    assert set(scored["benchmarks"]["mine"]) == {"cot", "loglikelihood"}
    assert {"model", "seed", "sha256", "last_command", "benchmarks", "macro"} == scored.keys()
    assert {"versions", "device", "processes", "exact", "seconds", "limit"} == scored["last_command"].keys()
    assert {"mine.0", "model/model.safetensors", "model/tokenizer.json"} <= scored["sha256"].keys()
    summary = scored["benchmarks"]["mine"]["loglikelihood"]
    right = [r["correct"] for r in found if r["protocol"] == "loglikelihood" and r["order"] == 0]
    assert (summary["n"], summary["accuracy"], summary["chance"]) == (7, sum(right) / 7, 0.25)
    assert summary["option_order"]["orders"] == 2
    assert scored["benchmarks"]["mine"]["cot"]["pass_at_k"].keys() == {"1", "2"}


def test_two_processes_answer_each_item_once_and_as_one_process_does(files, whole, tmp_path):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        str(ROOT / "evaluate.py"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    uneven = [
        BOTH[0],
        "evaluate.temperature=1",
    ]  # seven answers by each protocol: four for one, three for the other
    result = warm.run(
        [*command, *arguments(files, tmp_path, *uneven)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.count("accuracy [95 %]") == 2  # one process prints
    two, one = answers(tmp_path), {key(r): told(r) for r in answers(whole)}
    assert len(two) == len({key(r) for r in two}) == 14
    assert [key(r) for r in two if told(r) != one[key(r)]] == []
    assert results(tmp_path)["last_command"]["processes"] == 2


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_after_kill_9_the_same_command_asks_only_what_is_missing_on_any_number_of_processes(
    files, whole, tmp_path, before, after
):
    def start(processes: int, *more: str) -> subprocess.Popen:
        launcher = (
            ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)] if processes > 1 else []
        )
        command = [
            sys.executable,
            *launcher,
            str(ROOT / "evaluate.py"),
            *arguments(files, tmp_path, *BOTH, *more),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return warm.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment
        )

    def parts() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.glob("eval/*/answers.part*.jsonl")}

    process = start(before, "evaluate.max_num_seqs=1")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and sum(text.count(b"\n") for text in parts().values()) < 3:
        time.sleep(0.005)
    children = (
        Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split() if before > 1 else []
    )
    for pid in (process.pid, *map(int, children)):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # until the last of them is gone
    kept = parts()
    assert len(kept) == before
    first = [json.loads(line) for text in kept.values() for line in text.split(b"\n")[:-1]]
    assert all(record.pop("line_sha256") for record in first)
    assert 3 <= len(first) < len(answers(whole))
    for path, text in kept.items():
        path.write_bytes(text + b'{"benchmark": "mine", "proto')  # as if killed while writing
    assert start(after).wait() == 0
    found = {key(r): r for r in answers(tmp_path)}
    assert [found[key(r)] for r in first] == first  # clock times too: they were not asked again
    assert [told(r) for r in found.values()] == [told(r) for r in answers(whole)]


def test_more_questions_and_samples_add_to_what_is_there_and_fewer_forget_nothing(files, tmp_path):
    sampled = ["evaluate.temperature=1"]
    assert run(files, tmp_path, *sampled, "evaluate.limit=3")[0] == 0
    few = answers(tmp_path)
    assert run(files, tmp_path, *sampled, "evaluate.samples=2")[0] == 0
    more = {key(r): r for r in answers(tmp_path)}
    assert (len(few), len(more)) == (3, 14)
    assert all(more[key(r)] == r for r in few)
    assert run(files, tmp_path, *sampled, "evaluate.limit=2")[0] == 0
    assert {key(r): r for r in answers(tmp_path)} == more
    assert results(tmp_path)["benchmarks"]["mine"]["cot"]["n"] == 2


def test_answers_of_other_settings_are_not_mixed(files, whole):
    before = answers(whole)
    for setting, said in (
        ("evaluate.max_new_tokens=13", "cot.max_new_tokens = 12, now it is 13"),
        ("evaluate.temperature=0.5", "cot.temperature"),
        ("seed=4", "seed"),
        ("answer_style=letter", "cot.answer_style"),
    ):
        status, (line,) = run(files, whole, *BOTH, setting)
        assert status == 2
        assert said in line
    # what log-likelihoods do not depend on may change, and the other protocol's answers and results stay
    assert run(files, whole, "evaluate.protocols=[loglikelihood]", "evaluate.max_new_tokens=13")[0] == 0
    assert {key(r): r for r in answers(whole)} == {key(r): r for r in before}
    assert {p: s["protocol"].split()[0] for p, s in results(whole)["benchmarks"]["mine"].items()} == {
        "cot": "zero-shot",
        "loglikelihood": "likeliest",
    }


def test_benchmarks_are_found_by_name_and_scored_beside_each_other(files, tmp_path, capsys):
    places = [f"evaluate.benchmark_folder={files}", f"evaluate.benchmarks.own={files / 'mine.jsonl'}"]
    monitored = arguments(files, tmp_path, "--benchmarks", "medmcqa,own", *places)
    result = warm.run([sys.executable, str(ROOT / "evaluate.py"), *monitored], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-1000:]
    found = results(tmp_path)
    assert list(found["benchmarks"]) == ["medmcqa", "own"]
    assert not found["macro"]["cot"]["papers_nine"]
    (warning,) = found["benchmarks"]["medmcqa"]["cot"]["warnings"]
    assert "has 8 records, medmcqa as published has 4,183" in warning
    assert f"WARNING, medmcqa: {warning}" in result.stdout
    means = [found["benchmarks"][b]["cot"]["accuracy"] for b in ("medmcqa", "own")]
    assert found["macro"]["cot"]["accuracy"] == pytest.approx(sum(means) / 2)
    table = result.stdout.partition(" (cot) by ")[0]  # the slices stand behind it
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    rows = rows[: len(rows) // 2]  # it comes in two parts
    assert [row.split("|")[1].strip() for row in rows] == [
        "benchmark",
        "-" * 9,
        "medmcqa",
        "own",
        "mean of 2",
    ]
    chance = [cell.strip() for cell in rows[0].split("|")].index("chance")
    assert [row.split("|")[chance].strip() for row in rows[2:]] == ["25.0"] * 3  # beside every score


def test_two_runs_are_compared_question_by_question(files, whole, tmp_path):
    status, _ = run(files, tmp_path, "evaluate.protocols=[loglikelihood]", "evaluate.limit=5")
    assert status == 0
    folders = [str(next(d.glob("eval/*"))) for d in (whole, tmp_path)]
    command = [sys.executable, str(ROOT / "evaluate.py"), "--compare"]
    result = warm.run([*command, *folders], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "mine, loglikelihood, 5 questions, chance 25.0: a " in result.stdout
    assert "+0.0 [+0.0, +0.0], 0 won, 0 lost, McNemar p = 1, detectable " in result.stdout
    assert "left out: 2 that only a answered, 0 that only b answered" in result.stdout
    assert "NOT THE SAME" not in result.stdout  # only one has answers by cot, and those are not compared
    result = warm.run([*command, str(whole), folders[1]], capture_output=True, text=True)
    _, error = result.stderr.splitlines()  # the first says that it loads
    assert result.returncode == 2
    assert folders[0] in error  # says which folder was meant


def test_a_question_with_options_is_asked_as_the_benchmarks_ask_and_its_answer_is_read(files):
    from fleming.prompt import with_options

    found = with_options("Which drug?\nGive the first.\n\nA. Aspirin\n B) Heparin\n")
    assert found.question == "Which drug?\nGive the first."
    assert found.options == {"A": "Aspirin", "B": "Heparin"}
    found = with_options("Which?\nE. coli was grown.\n\n（A）x\n\nB：y\n")
    assert (found.question, found.options) == ("Which?\nE. coli was grown.", {"A": "x", "B": "y"})
    for plain in (
        "Which drug?",
        "A. Aspirin\nB. Heparin",
        "Which?\nA. Aspirin",
        "Which?\nB. Aspirin\nC. Heparin",
        "Which?\nA. Aspirin\nB. Heparin\nB. Ibuprofen",
    ):
        assert with_options(plain) is None
    command = [
        sys.executable,
        str(ROOT / "evaluate.py"),
        "--model",
        str(files / "model"),
        "evaluate.max_new_tokens=8",
    ]
    result = warm.run([*command, "--question", "Which?\nA. x\nB. y"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.rstrip().splitlines()[-1] in (
        "no answer could be read",
        "answer read: A. x",
        "answer read: B. y",
    )
    result = warm.run([*command, "--question", "Which?"], capture_output=True, text=True)
    assert "answer" not in result.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--benchmarks", "medmcqa"], "where is medmcqa?"),
        (["--benchmarks", "medmcqa,medmcqa", "evaluate.benchmark_folder={files}"], "twice"),
        (["--benchmarks", "jmed", "evaluate.benchmark_folder={files}"], "no file of jmed"),
        (["--benchmarks", "medqaa", "evaluate.benchmark_folder={files}"], "'medqaa'"),
        (["evaluate.benchmarks.medqa={files}/mine.jsonl"], "mine.jsonl:1"),
        (["evaluate.samples=2"], "evaluate.samples is 2"),
        (
            ["evaluate.samples=2", "evaluate.temperature=0.5", "evaluate.max_new_tokens=1020"],
            "max_new_tokens",
        ),
        (["evaluate.protocols=[guess]"], "evaluate.protocols"),
        (["evaluate.protocols=[]"], "evaluate.protocols"),
        (["--model", "{files}/absent"], "absent"),
        (["--compare", "{files}/x", "{files}/y"], "no such file"),
        (["--compare", "a", "b", "--question", "x"], "--question and --compare: one at a time"),
        (["--question", "x", "--reliability"], "--reliability means nothing beside --question: leave it out"),
        (["--export", "table", "--benchmarks", "medqa"], "--benchmarks means nothing beside --export"),
        (["--benchmarks", ","], "unknown benchmark ''"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(files, tmp_path, more, said):
    status, lines = run(files, tmp_path, *(m.format(files=files) for m in more))
    assert status == 2
    assert len(lines) == 1
    assert said in lines[0]
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] in ([], [".lock"])


def test_a_damaged_run_folder_is_one_line_before_anything_is_asked(files, tmp_path):
    assert run(files, tmp_path, "evaluate.limit=2")[0] == 0
    (folder,) = tmp_path.glob("eval/*")
    for name, text in (
        ("answers.jsonl", '{"benchmark": "mine"}\n'),
        ("answers.jsonl", (folder / "answers.jsonl").read_text().replace('"options": ', '"options": -')),
        (
            "answers.jsonl",
            (folder / "answers.jsonl").read_text().replace('"correct": false', '"correct": true'),
        ),
        ("answers.jsonl", "rubbish\n"),
        ("settings.json", "[1]"),
        ("results.json", '{"benchmarks": 3}'),
        ("results.json", '{"benchmarks": {"mine": 3}}'),
        ("results.json", "{"),
    ):
        path = folder / name
        whole = path.read_bytes()
        path.write_text(text)
        status, lines = run(files, tmp_path)
        path.write_bytes(whole)
        assert (status, len(lines)) == (2, 1), (name, text[:40], lines)
        assert str(path) in lines[0]
        assert len(read_lines(folder / "answers.jsonl")) == 2
    (folder / "settings.json").unlink()
    status, (line,) = run(files, tmp_path)
    assert (status, "settings.json: missing" in line) == (2, True)


def test_one_more_file_in_the_models_folder_is_another_model(files, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(files / "model", model)
    one = arguments(files, tmp_path / "run", "--model", str(model), "evaluate.limit=2")
    assert runs.run_here(evaluate, one)[0] == 0
    (model / "special_tokens_map.json").write_text("{}")
    status, (line,) = runs.run_here(evaluate, one)
    assert (status, "sha256 of model" in line) == (2, True)


def test_log_likelihoods_need_no_chat_template(files, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(files / "model", model)
    (model / "SHA256SUMS").unlink()  # it is changed on purpose
    settings = json.loads((model / "tokenizer_config.json").read_text())
    settings["chat_template"] = "{% broken"
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    own = ["--model", str(model), "evaluate.limit=2"]
    status, (line,) = run(files, tmp_path / "run", *own)
    assert (status, "its chat template cannot be rendered" in line) == (2, True)
    assert run(files, tmp_path / "run", *own, "evaluate.protocols=[loglikelihood]")[0] == 0


def test_a_model_whose_numbers_are_not_finite_is_an_error_and_no_score(files, tmp_path):
    from model import load_model, save_model

    transformer, tokenizer = load_model(files / "model")
    with torch.no_grad():
        transformer.norm.weight.fill_(float("nan"))
    save_model(transformer, tokenizer, tmp_path / "nan")
    for protocol in ("cot", "loglikelihood"):
        own = ["--model", str(tmp_path / "nan"), f"evaluate.protocols=[{protocol}]"]
        status, (*_bar, line) = run(files, tmp_path / protocol, *own)
        assert (status, "model.norm.weight is not finite" in line) == (2, True)
    status, (*_bar, line) = run(files, tmp_path / "asked", *own, "--question", "Which?")
    assert (status, "model.norm.weight is not finite" in line) == (2, True)


def test_a_models_results_stay_inside_the_run_folder():
    for folder, name in (
        ("/models/Qwen2.5-7B", "Qwen2.5-7B"),
        ("/srv/runs/demo/grpo/stage2/model", "grpo_stage2"),
        ("/data/model", "data"),
        ("/model", "model"),
        ("/", "root"),
    ):
        assert name_of(folder) == name
