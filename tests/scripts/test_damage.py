"""Damage and meddling: a flipped bit or a zeroed page in any file that a run has written is found where it is read.

The files' own kinds are found by looking: a kind that a run writes and this test does not know fails it.
"""

import hashlib
import json
import random
import re
import shutil
from pathlib import Path

import pytest
from support import runs
from support.runs import differences, result_of

import evaluate
import synth_data
import train_grpo
import train_sft
from model.sums import SUMS

GRPO = [
    "grpo.start_from=cold_start",
    "grpo.stage1.max_steps=3",
    "grpo.stage2.max_steps=2",
    "grpo.save_every=2",
]


def run(module, argv: list[str]) -> tuple[int, list[str]]:
    """Return the status and the lines on stderr that are no progress bar."""
    status, said = runs.run_here(module, argv)
    return status, [line for line in said if "answer/s]" not in line]


def flip(path: Path, rng: random.Random) -> None:
    """Flip one bit, or zero a page."""
    data = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    else:
        start = rng.randrange(0, len(data), 4096)
        end = min(start + 4096, len(data))
        data[start:end] = bytes(end - start)
        data[start] ^= path.read_bytes()[start] == 0  # a page of zeros would be no damage
    path.write_bytes(data)


@pytest.fixture(scope="module")
def finished(inputs, tmp_path_factory):
    """A run of all stages whose RL can be gone on with."""
    run_dir = tmp_path_factory.mktemp("damage") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(inputs))
        assert run(train_sft, arguments(inputs, run_dir)) == (0, [])
        assert run(train_grpo, arguments(inputs, run_dir)) == (0, [])
        assert run(evaluate, evaluation(inputs, run_dir)) == (0, [])
    return run_dir


def arguments(inputs: Path, run_dir: Path, *more: str) -> list[str]:
    return runs.arguments(inputs, run_dir, "sft.epochs=0.2", *GRPO, *more)


def evaluation(inputs: Path, run_dir: Path, *more: str) -> list[str]:
    models = ["--model", str(run_dir / "sft/model"), f"evaluate.questions={inputs / 'data/test.jsonl'}"]
    return arguments(
        inputs, run_dir, *models, "evaluate.limit=3", "evaluate.protocols=[cot,loglikelihood]", *more
    )


@pytest.fixture
def copy(finished, tmp_path, inputs, monkeypatch):
    monkeypatch.syspath_prepend(str(inputs))
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def contents(folder: Path) -> dict[str, bytes]:
    """All files but locks, and what the start itself writes down."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith((".lock", "manifest.json", "config.yaml"))
    }


# What a run has written -> the command that reads it. Read by no command: what is there for people.
READ_BY = {
    "manifest.json": train_sft,
    "sft/metrics.jsonl": train_sft,
    "sft/checkpoints/*/*.safetensors": train_sft,
    "sft/checkpoints/*/state.json": train_sft,
    "sft/model/*": train_grpo,
    "grpo/metrics.jsonl": train_grpo,
    "grpo/curriculum.jsonl": train_grpo,
    "grpo/checkpoints/*/*.safetensors": train_grpo,
    "grpo/checkpoints/*/state.json": train_grpo,
    "eval/*/answers.jsonl": evaluate,
    "eval/*/results.json": evaluate,
    "eval/*/settings.json": evaluate,
}
FOR_PEOPLE = [
    "config.yaml",
    "sft/learned.jsonl",
    "grpo/rollouts/*",
    "grpo/review.jsonl",
    "grpo/stage*/model/*",
    "grpo/best/model/*",
]  # and other commands: hashes are below


def newest(run_dir: Path, pattern: str) -> list[Path]:
    """The files of a kind; of checkpoints those of the newest, which alone is read."""
    found = sorted(run_dir.glob(pattern))
    found = [path for path in found if path.name != SUMS]
    return [path for path in found if "checkpoints" not in pattern or path.parent == found[-1].parent]


def newest_folder(run_dir: Path) -> Path:
    return max((run_dir / "grpo/checkpoints").glob("step_*"))


def test_every_kind_of_file_of_a_run_is_known_here_and_has_a_hash(finished):
    known = {path for pattern in (*READ_BY, *FOR_PEOPLE) for path in finished.glob(pattern)}
    for path in finished.rglob("*"):
        if path.is_dir() or path.name.startswith(".lock") or path.suffix == ".sha256" or path.name == SUMS:
            continue
        assert path in known, path
        if path.name == "config.yaml" or path.name in (
            "metrics.jsonl",
            "curriculum.jsonl",
        ):  # the latter: in state.json
            continue
        sums = path.parent / SUMS if (path.parent / SUMS).exists() else Path(f"{path}.sha256")
        assert f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" in sums.read_text()


@pytest.mark.parametrize("pattern", READ_BY)
def test_a_flipped_bit_or_a_zeroed_page_is_found_and_nothing_is_cut_or_deleted(copy, inputs, pattern):
    module = READ_BY[pattern]
    files, rng = newest(copy, pattern), random.Random(pattern)
    assert files
    make = evaluation if module is evaluate else arguments
    for path in files:
        for _ in range(2 if len(files) < 4 else 1):
            whole = path.read_bytes()
            flip(path, rng)
            before = contents(copy)
            status, said = run(module, make(inputs, copy))
            assert status == 2, (path, said)
            assert len(said) == 1, said
            assert str(path) in said[0] or SUMS in said[0], said
            assert contents(copy) == before
            path.write_bytes(whole)
    status, said = run(module, make(inputs, copy))
    assert (status, said) == (0, [])


@pytest.mark.parametrize("kind", ["*.safetensors", "state.json", SUMS])
def test_on_request_the_checkpoint_before_a_damaged_one_is_gone_on_from_to_the_same_bytes(
    copy, finished, inputs, kind
):
    older, damaged = sorted((copy / "grpo/checkpoints").glob("step_*"))[-2:]
    flip(next(damaged.glob(kind)), random.Random(kind))
    status, said = run(train_grpo, arguments(inputs, copy))
    assert status == 2
    assert "skip_damaged=true" in said[0]
    status, said = run(train_grpo, arguments(inputs, copy, "skip_damaged=true"))
    assert (status, said) == (0, [f"{damaged}: damaged, set aside"])
    assert (copy / f"grpo/checkpoints/damaged_{damaged.name}").is_dir()
    assert differences(result_of(copy), result_of(finished)) == []
    shutil.rmtree(copy / "grpo/checkpoints")
    shutil.copytree(finished / "grpo/checkpoints", copy / "grpo/checkpoints")
    for path in (copy / "grpo/checkpoints").glob("step_*"):
        flip(path / "state.json", random.Random(kind))
    before = contents(copy / "grpo/rollouts")
    status, said = run(train_grpo, arguments(inputs, copy, "skip_damaged=true"))
    assert status == 2
    assert "no checkpoint is whole" in said[-1]
    assert contents(copy / "grpo/rollouts") == before
    assert older.name


def rewrite(path: Path, change) -> None:
    """Edit a JSON file of a checkpoint, its hash too, as somebody does who knows how."""
    value = json.loads(path.read_text())
    text = json.dumps(change(value))
    path.write_text(text)
    lines = [line for line in re.findall(".+\n", (path.parent / SUMS).read_text()) if path.name not in line]
    hashed = f"{hashlib.sha256(text.encode()).hexdigest()}  {path.name}\n"
    (path.parent / SUMS).write_text("".join([*lines, hashed]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: {}, "field 'step' is missing"),
        (lambda s: [], "expected a JSON object"),
        (lambda s: {**s, "step": 0}, "step is out of its range"),
        (lambda s: {**s, "step": True}, "step: expected int"),
        (lambda s: {**s, "step": s["step"] + 1}, "its folder says"),
        (lambda s: {k: v for k, v in s.items() if k != "metrics_bytes"}, "field 'metrics_bytes' is missing"),
        (lambda s: {k: v for k, v in s.items() if k != "curriculum_bytes"}, "curriculum.jsonl: damaged"),
        (lambda s: {**s, "metrics_bytes": 0}, "metrics.jsonl: damaged"),
        (lambda s: {**s, "metrics_bytes": 10**9}, "bytes are missing"),
        (lambda s: {**s, "metrics_bytes": s["metrics_bytes"] - 1}, "metrics.jsonl: damaged"),
        (lambda s: {**s, "cache": [1]}, "expected three numbers"),
        (lambda s: {**s, "watched_letters": [{"A": [1]}]}, "expected two numbers"),
        (lambda s: {**s, "skipped_in_a_row": -1}, "skipped_in_a_row is out of its range"),
        (lambda s: {**s, "identity": None}, "identity: expected mapping"),
        (lambda s: {**s, "score": "high"}, "score: expected float"),
        (lambda s: {**s, "surprise": 1}, "unknown field 'surprise'"),
    ],
)
def test_a_state_that_no_run_has_written_is_refused_before_anything_is_cut_or_deleted(
    copy, inputs, change, says
):
    state = newest(copy, "grpo/checkpoints/*/state.json")[-1]
    rewrite(state, change)
    before = contents(copy)
    status, said = run(train_grpo, arguments(inputs, copy))
    assert status == 2, said
    assert says in said[0], said
    assert contents(copy) == before


def test_lost_checkpoints_are_no_new_beginning(copy, inputs):
    shutil.rmtree(copy / "grpo/checkpoints")
    before = contents(copy)
    status, said = run(train_grpo, arguments(inputs, copy))
    assert status == 2
    assert "yet there is no checkpoint" in said[0]
    assert contents(copy) == before


def test_checkpoints_and_rollouts_are_ordered_by_number(copy, inputs):
    """After a million steps a name is longer, and by name step_999999 is the newer one."""
    folder = copy / "grpo/checkpoints"
    (*_, last) = sorted(folder.glob("step_*"))
    (folder / "step_000004_copy").mkdir()  # somebody's own
    last.rename(folder / f"step_{10**6}")
    rewrite(folder / f"step_{10**6}/state.json", lambda s: {**s, "step": 10**6})
    shutil.copytree(folder / f"step_{10**6}", folder / "step_999999")
    for step in (999999, 10**6 + 1):
        (copy / f"grpo/rollouts/step_{step}.jsonl").write_text("{}\n")
    status, said = run(train_grpo, arguments(inputs, copy))
    assert (status, said) == (0, [])  # past the last step: there is nothing to do
    assert (copy / "grpo/rollouts/step_000005.jsonl").exists()
    assert (copy / "grpo/rollouts/step_999999.jsonl").exists()
    assert not (copy / "grpo/rollouts/step_1000001.jsonl").exists()  # after the checkpoint: cut off


def test_a_file_of_a_checkpoint_that_no_line_lists_is_refused(copy, inputs):
    """A lost line must not be a file that nobody compares; a network's hidden left-overs are none of its files."""
    (sums,) = newest_folder(copy).glob(SUMS)
    lines = re.findall(".+\n", sums.read_text())
    (newest_folder(copy) / ".nfs0001").write_text("")
    assert run(train_grpo, arguments(inputs, copy)) == (0, [])
    for lost in lines:
        sums.write_text("".join(line for line in lines if line != lost))
        status, said = run(train_grpo, arguments(inputs, copy))
        assert (status, "does not list" in said[0]) == (2, True)


def test_a_finished_run_says_so(copy, inputs, capsys, monkeypatch):
    printed = []
    monkeypatch.setattr("fleming.training.parallel.World.print", lambda self, text: printed.append(text))
    before = contents(copy)
    assert run(train_grpo, arguments(inputs, copy)) == (0, [])
    assert any("already finished, all 5 steps: nothing to do" in text for text in printed)
    assert contents(copy) == before


def test_other_code_is_said_and_another_reward_is_refused(copy, inputs, monkeypatch):
    printed = []
    monkeypatch.setattr("fleming.training.parallel.World.print", lambda self, text: printed.append(text))
    assert run(train_grpo, arguments(inputs, copy)) == (0, [])
    assert not any("the code has changed" in text for text in printed)
    monkeypatch.setattr("fleming.training.run.code_sha256", lambda: "another")
    assert run(train_grpo, arguments(inputs, copy)) == (0, [])
    assert any("the code has changed" in text for text in printed)
    monkeypatch.undo()

    manifest = json.loads((copy / "manifest.json").read_text())
    reward = inputs / "letters.py"
    assert manifest["grpo"][0]["inputs"]["grpo.reward"] == hashlib.sha256(reward.read_bytes()).hexdigest()
    text = reward.read_text()
    try:
        reward.write_text(text + "# another\n")
        monkeypatch.syspath_prepend(str(inputs))
        status, said = run(train_grpo, arguments(inputs, copy))
    finally:
        reward.write_text(text)
    assert status == 2
    assert "began with sha256 of grpo.reward" in said[0]


def test_what_ends_a_script_at_last_ends_it_before_its_work(copy, inputs, monkeypatch):
    """A damaged manifest, and for synth_data.py a model's place that it would not overwrite."""
    for work in ("evaluate.load_model", "synth_data.build_graph"):
        monkeypatch.setattr(work, lambda *a, **k: pytest.fail("work"))
    (copy / "base/model").mkdir(parents=True)
    (copy / "base/model/notes.txt").write_text("mine")
    before = contents(copy)
    status, said = run(synth_data, arguments(inputs, copy))
    assert (status, "base/model: is no model folder" in said[-1]) == (2, True)
    flip(copy / "manifest.json", random.Random(0))
    for script, argv in ((synth_data, arguments(inputs, copy)), (evaluate, evaluation(inputs, copy))):
        status, said = run(script, argv)
        assert (status, "manifest.json: damaged" in said[-1]) == (2, True), said
        assert contents(copy) == before


def test_the_manifest_has_the_hashes_of_exports_and_data(copy, inputs):
    for run_dir, stage, names in (
        (copy, "sft", ["sft/model/model.safetensors", "sft/model/config.json"]),
        (copy, "grpo", ["grpo/stage1/model/model.safetensors", "grpo/stage2/model/tokenizer.json"]),
        (
            inputs,
            "synth",
            ["data/rl.jsonl", "data/graph.jsonl", "data/report.json", "base/model/model.safetensors"],
        ),
    ):
        outputs = json.loads((run_dir / "manifest.json").read_text())[stage][-1]["outputs"]
        for name in names:
            assert outputs[name] == hashlib.sha256((run_dir / name).read_bytes()).hexdigest()


def test_a_stored_answer_is_read_from_its_response_whatever_stands_beside(copy, inputs):
    (path,) = copy.glob("eval/*/answers.jsonl")
    good = runs.records(path)
    edited = [dict(record) for record in good]
    for record in edited:
        if record["protocol"] == "cot":
            record.update(answer=record["gold"], choice=record["gold"], correct=True, format=True)
    assert edited != good
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in edited))
    Path(f"{path}.sha256").unlink()
    assert run(evaluate, evaluation(inputs, copy)) == (0, [])
    assert runs.records(path) == good


def test_settings_of_answers_that_say_nothing_are_refused(copy, inputs):
    (path,) = copy.glob("eval/*/settings.json")
    Path(f"{path}.sha256").unlink()
    path.write_text("{}")
    status, said = run(evaluate, evaluation(inputs, copy))
    assert (status, "not the settings of an evaluation" in said[0]) == (2, True)


@pytest.mark.parametrize(
    "spoil",
    ["data", "reward", "lock", "settings", "writing", "export", "decisions", "options", "votes"],
)
def test_no_weight_is_read_or_hashed_before_all_else_has_been_checked(
    copy, inputs, tmp_path, monkeypatch, spoil
):
    """In the run and in --dry-run alike."""
    for where in (
        "fleming.training.run.input_hashes",
        "train_grpo.load_sharded",
        "model.huggingface.weights.load_weights",
    ):
        monkeypatch.setattr(where, lambda *a, **k: pytest.fail("weights"))
    settings, says = [], ""
    if spoil == "data":
        settings, says = [f"data.questions={tmp_path / 'none.jsonl'}"], "none.jsonl"
    if spoil == "reward":
        (tmp_path / "bad_reward.py").write_text(
            "def bad(response, finished, question, cfg):\n    return {'correct': 1.0}\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        settings, says = ["grpo.reward=bad_reward:bad"], "a trial call on question"
    if spoil == "settings":
        settings, says = ["grpo.learning_rate=0.5"], "grpo.learning_rate = 0.003"
    if spoil == "writing":
        shutil.rmtree(copy / "grpo/rollouts")
        (copy / "grpo/rollouts").write_text("a file")
        says = "grpo/rollouts"
        monkeypatch.setattr("fleming.files.os.access", lambda path, mode: Path(path).name != "rollouts")
    if spoil == "export":
        shutil.rmtree(copy / "grpo/stage2/model")
        says = "grpo/stage2/model"
        (copy / says).mkdir()
        (copy / says / "notes.txt").write_text("mine")
    words = {"decisions": ("perhaps", "expected an id"), "options": ("relabel Z", "cannot relabel")}
    if spoil in words:
        name = runs.records(inputs / "questions.jsonl")[0]["id"]
        decision = {"id": name, "decision": words[spoil][0]}
        (copy / "grpo/decisions.jsonl").write_text(json.dumps(decision) + "\n")
        says = f"decisions.jsonl:1: {words[spoil][1]}"
    if spoil == "votes":
        shutil.copy(inputs / "questions.jsonl", tmp_path)
        (tmp_path / "label_votes.jsonl").write_text("{}\n")
        settings, says = [f"data.questions={tmp_path / 'questions.jsonl'}"], "label_votes.jsonl:1: field"
    for how in ([], ["--dry-run"]):
        if spoil == "lock":
            from fleming.files import run_lock

            with run_lock(copy, "another.py"):
                status, said = run(train_grpo, arguments(inputs, copy, *how))
            says = "in use by process"
        else:
            status, said = run(train_grpo, arguments(inputs, copy, *settings, *how))
        assert status == 2, (how, said)
        assert says in said[-1], said
