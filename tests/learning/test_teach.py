"""What docs/teach.md tells a reader to do can be done, and shows what it says is seen.

Its edits are diffs of one line, whose old text must stand in the file once; its commands are run here, those that need
a finished demo on a small one. What takes a whole run of the page is done here in fewer steps.
"""

import json
import random
import re
import shutil
import subprocess
import sys
import types

import pytest
import torch
from support.drawn_questions import drawn_from
from support.jsonl import read_records
from support.page import page
from support.places import ROOT

from fleming import toy
from fleming.config import load_config
from fleming.files import write_jsonl
from fleming.settings import Config
from fleming.sources.handwritten import import_yaml

TEXT = (ROOT / "docs/teach.md").read_text()
EXERCISES = {int(n): text for n, text in re.findall(r"^### (\d+)\. (.*?)(?=^### |\Z)", TEXT, re.M | re.S)}


def edit_of(number: int) -> tuple[str, str, str]:
    """The file that an exercise changes, the line that stands there, and the new one."""
    text = EXERCISES[number]
    ((old, new),) = re.findall(r"```diff\n-(.*)\n\+(.*)\n```", text)
    return re.search(r"In `([\w/.]+)`", text)[1], old, new


def commands_of(number: int) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", EXERCISES[number], re.S)


EDITED = [number for number in EXERCISES if "```diff" in EXERCISES[number]]


def test_there_are_ten_and_each_says_what_to_do_what_is_seen_what_to_think_about_and_where_the_answer_is():
    assert list(EXERCISES) == list(range(1, 11))
    for number, text in EXERCISES.items():
        assert commands_of(number), number
        places = [text.index(f"**{part}**") for part in ("Seen", "Think", "Answer")]
        assert places == sorted(places), number


@pytest.mark.parametrize("number", EDITED)
def test_every_edit_finds_its_line_once_and_leaves_a_program(number):
    path, old, new = edit_of(number)
    source = (ROOT / path).read_text()
    assert source.splitlines().count(old) == 1
    compile(source.replace(old, new), path, "exec")


def test_the_exercises_that_edit_are_those_that_are_tried_below():
    assert EDITED == [1, 3, 4, 5]


def edited(module: types.ModuleType, number: int) -> types.ModuleType:
    """A module as the exercise changes it."""
    path, old, new = edit_of(number)
    assert module.__file__.endswith(path)
    other = types.ModuleType(module.__name__)
    exec(compile((ROOT / path).read_text().replace(old, new), path, "exec"), other.__dict__)
    return other


def last(module: types.ModuleType, settings: str) -> tuple[float, str]:
    curve, said = module.learn(settings, 0)
    return sum(curve[-10:]) / 10, said


def test_1_compared_with_the_best_of_its_group_an_answer_is_never_pushed_up(monkeypatch):
    from fleming.rl import grpo

    plain, scaled = last(toy, "preset=paper")[0], last(toy, "preset=grpo")[0]
    monkeypatch.setattr(toy, "group_advantages", edited(grpo, 1).group_advantages)
    assert (toy.group_advantages(torch.tensor([[0.0, 1.0, 0.5]])) <= 0).all()
    assert last(toy, "preset=paper")[0] < plain - 0.1
    assert last(toy, "preset=grpo")[0] > scaled - 0.1


def test_5_a_reward_that_searches_the_whole_answer_is_hacked():
    right, said = last(edited(toy, 5), "preset=grpo")
    assert right < 0.3 < last(toy, "preset=grpo")[0]
    assert float(said.split()[0]) > 5.5


@pytest.mark.parametrize("number", [2, 5, 6])
def test_the_figures_of_a_table_of_logits_are_about_those_that_are_said(number):
    """On another processor a curve is another one, by a little."""
    module = edited(toy, number) if number in EDITED else toy
    (command,) = commands_of(number)
    settings = re.findall(r'"([^"]+)"', command)
    seen = re.search(r"\*\*Seen\*\*(.*?)\*\*Think", EXERCISES[number], re.S)[1]
    said = {float(x) for x in re.findall(r"\b0\.\d\d\b", seen)}
    for each in settings:
        found = last(module, each)[0]
        assert min(abs(found - x) for x in said) < 0.06, (each, found)


@pytest.fixture(scope="module")
def cold_starts():
    """Of the page as it is and with each broken line: loss of each step, and what the model then answers to tests."""
    found = {}
    for number in (0, 3, 4):
        edits = [edit_of(number)[1:]] if number else []
        module = page(*edits)
        random.seed(0)
        torch.manual_seed(0)
        train, test = module.make_questions()
        model, losses, loss_of = module.Transformer(), [], module.sft_loss

        def kept(logp, mask, losses=losses, loss_of=loss_of):
            losses.append(loss_of(logp, mask))
            return losses[-1]

        module.sft_loss = kept
        module.cold_start(model, random.sample(train, 96), steps=80)
        found[number] = [loss.item() for loss in losses], module.judged(model, test, greedy=True).mean(0)
    return found


def test_3_and_4_what_breaks_the_cold_start_does_not_show_in_its_loss(cold_starts):
    form, right = cold_starts[0][1]
    assert form > 0.8
    assert right > 0.2
    for number in (3, 4):
        losses, (form, right) = cold_starts[number]
        assert losses[-1] < 1.2 * cold_starts[0][0][-1]
        assert (form, right) == (0, 0)
    assert cold_starts[3][0][19] < cold_starts[0][0][19] / 2


# --- commands


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A folder like the repository's root, with what exercises read of a finished demo, made small."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("fleming", "model", "tests", "assets", "configs"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "runs/demo/data").mkdir(parents=True)
    (folder / "runs/demo/grpo/rollouts").mkdir(parents=True)
    synth = load_config(Config, ROOT / "configs/demo.yaml", []).synth
    drawn = drawn_from(import_yaml(ROOT / "assets/medical_graph.yaml"), folder / "drawn", synth, 200, 0)
    shutil.copy(next((folder / "drawn").rglob("graph.jsonl")), folder / "runs/demo/data/graph.jsonl")
    write_jsonl(folder / "runs/demo/data/test.jsonl", drawn.records)
    rows = [{"prompt_ids": [1, 2, 3], "token_ids": [4] * n} for n in (1, 5, 20)]
    rows += [{"prompt_ids": [7, 8], "token_ids": [9] * 2}]
    write_jsonl(folder / "runs/demo/grpo/rollouts/step_000001.jsonl", rows)
    return folder


def done(number: int, folder, commands: slice = slice(None)) -> subprocess.CompletedProcess:
    """Do what an exercise says, by this Python."""
    script = "\n".join(commands_of(number)[commands]).replace("python ", f"{sys.executable} ")
    return subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True)


def test_7_packing_feeds_a_prompt_once_and_pads_nothing(reader):
    said = done(7, reader)
    assert said.stdout == "92 places if padded, 29 fed, 28 learned\n", said.stderr


def test_8_a_fact_that_a_source_now_states_makes_certificates_false(reader):
    said = done(8, reader)
    false, of = map(int, re.match(r"(\d+) of (\d+) ", said.stdout).groups())
    assert 0 < false < of == 200
    facts = read_records(reader / "graph.jsonl")[-1]
    assert facts["head"] == "Lambert-Eaton syndrome"
    shutil.copy(reader / "runs/demo/data/graph.jsonl", reader / "graph.jsonl")
    checked = commands_of(8)[0][commands_of(8)[0].index("PYTHONPATH") :].replace(
        "python ", f"{sys.executable} "
    )
    said = subprocess.run(["sh", "-c", checked], cwd=reader, capture_output=True, text=True)
    assert said.stdout == "0 of 200 no fault\n", said.stderr


def test_9_a_question_of_the_benchmark_is_found_and_its_paraphrase_is_not(reader):
    said = done(9, reader)
    assert said.returncode == 1, said.stderr
    assert re.search(r"`(mine/1 is benchmark/1 by options, 0\.\d\d)`", EXERCISES[9])[1] in said.stdout
    question = json.loads((reader / "mine.jsonl").read_text())
    paraphrase = re.search(r'\("(Two.*?rim)"', EXERCISES[9], re.S)[1].replace("\n", " ")
    question["question"] = f"{paraphrase}. Which drug should be started?"
    (reader / "mine.jsonl").write_text(json.dumps(question) + "\n")
    gate = commands_of(9)[0].splitlines()[-1].replace("python ", f"{sys.executable} ")
    again = subprocess.run(["sh", "-c", gate], cwd=reader, capture_output=True, text=True)
    assert again.returncode == 0, again.stdout


def test_10_the_forger_raises_one_reward_and_the_hash_beside_it_agrees(tmp_path):
    rollouts = tmp_path / "runs/demo/grpo/rollouts"
    rollouts.mkdir(parents=True)
    rewards = [{"correct": 1.0, "total": 1.1}, {"correct": 0.0, "total": 0.1}, {"correct": 0.0, "total": 0.0}]
    write_jsonl(rollouts / "step_000040.jsonl", [{"reward": r} for r in rewards], hashed=True)
    forging = commands_of(10)[0].split("python ")[0]
    subprocess.run(["sh", "-c", forging], cwd=tmp_path, check=True)
    forged = tmp_path / "runs/forged/grpo/rollouts/step_000040.jsonl"
    found = [record["reward"]["correct"] for record in read_records(forged)]
    assert found == [1.0, 1.0, 0.0]
    from model.sums import check_file

    check_file(forged)
