"""The scripts as a user runs them: a small run end to end, kill -9 and the same command again, mistakes."""

import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from support import warm
from support.jsonl import read_lines, read_records
from support.places import ROOT
from support.runs import command, run, run_here

from fleming.config import dump_yaml, load_config
from fleming.settings import Config


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run that nothing interrupted."""
    run_dir = tmp_path_factory.mktemp("run") / "whole"
    for script in ("synth_data.py", "train_sft.py", "train_grpo.py", "evaluate.py"):
        result = run(script, run_dir)
        assert result.returncode == 0, f"{script}: {result.stderr[-2000:]}"
    return run_dir


def result_of(run_dir: Path) -> dict[str, object]:
    """Everything that must be the same in every run of the same config: bytes of weights, logs without clocks."""
    found: dict[str, object] = {}
    for path in sorted(run_dir.rglob("*")):
        name = str(path.relative_to(run_dir))
        if path.suffix == ".safetensors" and "checkpoints" not in name:
            found[name] = path.read_bytes()
        elif path.name in ("metrics.jsonl", "curriculum.jsonl") or (
            "rollouts/" in name and path.suffix == ".jsonl"
        ):
            records = read_records(path)
            found[name] = [{k: v for k, v in record.items() if k != "time"} for record in records]
    return found


def test_every_stage_writes_what_the_next_one_and_the_reader_need(finished):
    results = {p.parent.name: json.loads(p.read_text()) for p in finished.glob("eval/*/results.json")}
    assert set(results) == {"base", "cold_start", "rl_stage1", "rl_stage2"}
    scored = [r["benchmarks"]["test"]["cot"] for r in results.values()]
    assert all(s["n"] == 15 and s["chance"] == 0.25 for s in scored)
    assert len(read_lines(finished / "grpo/metrics.jsonl")) == 9
    manifest = json.loads((finished / "manifest.json").read_text())
    assert set(manifest) == {"synth", "sft", "grpo", "evaluate"}
    assert [entry["name"] for entry in manifest["evaluate"]] == [
        "base",
        "cold_start",
        "rl_stage1",
        "rl_stage2",
    ]
    assert load_config(Config, str(finished / "config.yaml"), []).run_dir == str(finished)
    stages = read_records(finished / "grpo/metrics.jsonl")
    assert [r["stage"] for r in stages] == [1] * 5 + [2] * 4
    assert [r["groups"] for r in stages] == [4] * 9
    assert all(r["sampler_scorer_max"] == 0 for r in stages)
    assert stages[0]["kl"] == 0  # the policy begins as the reference


def test_every_field_of_a_record_stands_in_the_document_of_file_formats(finished):
    named = set(re.findall(r'[`"](\w+)[`"]', (ROOT / "docs/file-formats.md").read_text()))
    files = [path for path in finished.rglob("*.jsonl") if "checkpoints" not in path.parts]
    assert len(files) > 20
    for path in files:
        for record in read_records(path):
            fields = record.keys() | record.get("time", {}).keys()
            assert fields <= named, f"{path.name}: {fields - named}"


def test_the_rollout_record_is_enough_to_recompute_rewards_and_advantages(finished):
    import torch

    from fleming.answer import format_ok, parse_answer
    from fleming.public.readers import read_questions
    from fleming.rl.grpo import group_advantages

    questions = {q.id: q for q in read_questions(finished / "data/rl.jsonl")}
    records = read_records(finished / "grpo/rollouts/step_000007.jsonl")
    assert len(records) == 4 * 6
    for r in records:
        q = questions[r["question_id"]]
        correct = parse_answer(r["response"], q.options) == q.answer
        form = format_ok(r["response"], q.options, "text", r["finish_reason"] == "stop")
        assert r["reward"] == {
            "correct": correct,
            "format": form,
            "total": pytest.approx(correct + 0.1 * form),
        }
    rewards = torch.tensor([r["reward"]["total"] for r in records], dtype=torch.float64).view(4, 6)
    assert group_advantages(rewards).flatten().tolist() == pytest.approx([r["advantage"] for r in records])


def test_the_exported_folders_load_in_transformers_bit_for_bit(finished):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from model import load_model

    folder = finished / "grpo/stage2/model"
    ours, tokenizer = load_model(folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    state = theirs.state_dict()
    for name, p in ours.named_parameters():
        assert torch.equal(p, state[name if name.startswith("lm_head") else f"model.{name}"]), name
    messages = [{"role": "user", "content": "Which drug treats Wilson disease?"}]
    ids = AutoTokenizer.from_pretrained(folder).apply_chat_template(messages, add_generation_prompt=True)
    ids = ids if isinstance(ids, list) else ids["input_ids"]
    assert tokenizer.encode_chat(messages) == list(ids)


@pytest.mark.slow
def test_kill_9_at_random_moments_and_the_same_command_give_identical_bytes(finished, tmp_path):
    """Each training script is killed while it starts, and at moments drawn after its next step, three times."""
    run_dir = tmp_path / "killed"
    for name in ("data", "base"):
        shutil.copytree(finished / name, run_dir / name)
    rng = random.Random(0)
    kills = 0
    for script, log in (("train_sft.py", "sft/metrics.jsonl"), ("train_grpo.py", "grpo/metrics.jsonl")):
        path = run_dir / log
        for attempt in range(4):
            size = path.stat().st_size if path.exists() else 0
            process = warm.Popen(
                command(script, run_dir), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
            )
            deadline = time.monotonic() + (rng.uniform(0.1, 1) if attempt == 0 else 60)
            while process.poll() is None and time.monotonic() < deadline:
                if path.exists() and path.stat().st_size > size:
                    time.sleep(rng.uniform(0, 0.5))
                    break
                time.sleep(0.01)
            if process.poll() is None:
                process.kill()
                kills += 1
            process.wait()
        assert run(script, run_dir).returncode == 0
    assert kills >= 4
    whole, killed = result_of(finished), result_of(run_dir)
    assert killed.keys() == {k for k in whole if not k.startswith("eval")}
    assert [k for k in killed if killed[k] != whole[k]] == []


def test_sigterm_saves_and_exits_and_the_same_command_goes_on(finished, tmp_path):
    run_dir = tmp_path / "stopped"
    for name in ("data", "base"):
        shutil.copytree(finished / name, run_dir / name)
    process = warm.Popen(command("train_sft.py", run_dir), stderr=subprocess.PIPE, text=True, cwd=ROOT)
    log = run_dir / "sft/metrics.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (log.exists() and log.read_bytes()):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr[-500:]
    steps = len(read_lines(log))
    assert (run_dir / f"sft/checkpoints/step_{steps:06d}/state.json").exists()
    assert run("train_sft.py", run_dir).returncode == 0
    assert result_of(run_dir)["sft/metrics.jsonl"] == result_of(finished)["sft/metrics.jsonl"]


def test_a_second_run_in_the_same_folder_is_refused_by_name(finished):
    import fcntl

    with open(finished / ".lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        print(f"process {os.getpid()}, train_sft.py", file=lock, flush=True)
        result = run("train_grpo.py", finished)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"in use by process {os.getpid()}, train_sft.py" in result.stderr


def test_a_run_with_other_settings_does_not_go_on_from_a_checkpoint(finished):
    result = run("train_grpo.py", finished, "grpo.temperature=0.9")
    assert result.returncode == 2
    assert "grpo.temperature = 1.0, now it is 0.9" in result.stderr


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("script", "settings", "said"),
    [
        ("train_sft.py", ["sft.learning_rat=1"], ["sft.learning_rat", "sft.learning_rate"]),
        ("train_sft.py", ["sft.epochs=many"], ["sft.epochs", "many"]),
        ("train_sft.py", ["sft.epochs=-1"], ["sft.epochs"]),
        ("train_sft.py", ["--config", "{tmp}/broken.yaml"], ["broken.yaml", "line 2"]),
        ("train_sft.py", ["--config", "{tmp}/absent.yaml"], ["absent.yaml"]),
        ("train_sft.py", ["model={tmp}/nowhere"], ["nowhere"]),
        ("train_sft.py", ["model={tmp}/truncated"], ["model.safetensors", "model."]),
        ("train_sft.py", ["data.trajectories={tmp}/bad.jsonl"], ["bad.jsonl:2"]),
        ("train_sft.py", ["data.trajectories={tmp}/empty.jsonl"], ["empty.jsonl", "no trajectories"]),
        ("train_grpo.py", ["data.questions={tmp}/bad.jsonl"], ["bad.jsonl:2"]),
        ("train_grpo.py", ["data.questions={tmp}/empty.jsonl"], ["empty.jsonl", "no questions"]),
        ("train_grpo.py", ["data.questions={tmp}/gold.jsonl"], ["gold.jsonl:1", "answer"]),
        ("train_grpo.py", ["grpo.reward=nowhere:nothing"], ["grpo.reward", "nowhere"]),
        ("train_grpo.py", ["grpo.preset=ppo"], ["preset", "ppo", "paper"]),
        ("evaluate.py", ["evaluate.questions={tmp}/absent.jsonl"], ["absent.jsonl"]),
        ("evaluate.py", ["--model", "{tmp}/nowhere", "evaluate.questions={tmp}/good.jsonl"], ["nowhere"]),
        ("synth_data.py", ["synth.graph={tmp}/absent.yaml"], ["absent.yaml"]),
        (
            "synth_data.py",
            ["synth.train_questions=30", "synth.dev_questions=0", "synth.test_questions=60"],
            ["60 test questions"],
        ),
    ],
)
def test_a_mistake_is_one_line_status_2_and_nothing_written(
    finished, tmp_path, monkeypatch, script, settings, said
):
    write(tmp_path / "broken.yaml", "seed: 1\n  run_dir: [\n")
    write(tmp_path / "empty.jsonl", "")
    good = read_lines(finished / "data/rl.jsonl")[0]
    write(tmp_path / "good.jsonl", good)
    write(
        tmp_path / "bad.jsonl",
        f'{good if script != "train_sft.py" else ""}\n{{"id": "x", \n' + '{"id": "y", \n',
    )
    write(
        tmp_path / "gold.jsonl",
        json.dumps({"id": "x", "question": "?", "options": {"A": "a", "B": "b"}, "answer": "C"}),
    )
    shutil.copytree(finished / "base/model", tmp_path / "truncated")
    weights = tmp_path / "truncated/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    run_dir = tmp_path / "never"
    settings = [s.format(tmp=tmp_path) for s in settings]
    defaults = [
        f"model={finished / 'base/model'}" if not any(s.startswith("model=") for s in settings) else "",
        f"data.trajectories={finished / 'data/cold_start.jsonl'}"
        if not any("trajectories" in s for s in settings)
        else "",
        f"data.questions={finished / 'data/rl.jsonl'}"
        if not any("data.questions" in s for s in settings)
        else "",
    ]
    arguments = [*(d for d in defaults if d), *settings]
    if "--config" not in settings:
        arguments = ["--config", str(ROOT / "configs/demo.yaml"), *arguments]
    monkeypatch.chdir(ROOT)
    status, lines = run_here(importlib.import_module(Path(script).stem), [*arguments, f"run_dir={run_dir}"])
    assert (status, len(lines)) == (2, 1), lines
    for part in said:
        assert part in lines[0]
    assert not [p for p in run_dir.rglob("*") if p.is_file() and p.name != ".lock"]


def test_each_stage_runs_on_a_users_own_files_without_the_graph(finished, tmp_path):
    """A hand-written trajectory and question file, the tiny base model, a reward of one's own: no synth_data."""
    trajectory = {
        "id": "t",
        "question_id": "q",
        "prompt": [{"role": "user", "content": "Which is larger?\n\nA. 1\nB. 2"}],
        "response": "<think>\n2 is larger.\n</think>\n<answer>B</answer>",
    }
    question = {"id": "q", "question": "Which is larger?", "options": {"A": "1", "B": "2"}, "answer": "B"}
    write(tmp_path / "t.jsonl", json.dumps(trajectory) + "\n")
    write(tmp_path / "q.jsonl", json.dumps(question) + "\n")
    write(
        tmp_path / "my_reward.py",
        "def brevity(response, finished, question, cfg):\n"
        "    return {'correct': 0.0, 'format': 0.0, 'total': -float(len(response))}\n",
    )
    base = finished / "base/model"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    small = [
        "grpo.max_new_tokens=8",
        "grpo.questions_per_step=1",
        "grpo.stage1.max_steps=2",
        "grpo.stage2.max_steps=1",
    ]
    for script, settings in (
        ("train_sft.py", [f"data.trajectories={tmp_path / 't.jsonl'}", f"model={base}"]),
        (
            "train_grpo.py",
            [
                f"data.questions={tmp_path / 'q.jsonl'}",
                f"model={base}",
                "grpo.reward=my_reward:brevity",
                *small,
            ],
        ),
        (
            "evaluate.py",
            [f"evaluate.questions={tmp_path / 'q.jsonl'}", f"model={base}", "evaluate.max_new_tokens=8"],
        ),
    ):
        arguments = [sys.executable, str(ROOT / script), *settings, f"run_dir={tmp_path / 'run'}"]
        result = warm.run(arguments, capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert result.returncode == 0, f"{script}: {result.stderr[-1500:]}"
    record = json.loads(read_lines(tmp_path / "run/grpo/rollouts/step_000001.jsonl")[0])
    assert record["reward"]["total"] == -len(record["response"])


def test_help_lists_every_key_with_type_default_and_meaning():
    result = subprocess.run(
        [sys.executable, str(ROOT / "train_grpo.py"), "--help-all"], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0
    keys = []

    def walk(tree, prefix=""):
        for key, value in tree.items():
            walk(value, f"{prefix}{key}.") if isinstance(value, dict) and value else keys.append(prefix + key)

    walk(yaml.safe_load(dump_yaml(Config())))
    assert len(keys) > 60
    # Names that a user gives: help shows them in the mapping's default.
    mappings = ("grpo.curriculum.stage", "grpo.curriculum.tier_weights.", "evaluate.models", "synth.kinds.")
    assert [k for k in keys if k not in result.stdout and not k.startswith(mappings)] == []
