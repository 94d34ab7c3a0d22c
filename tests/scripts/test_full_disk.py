"""A full disk, at each write: one line, the last checkpoint whole, and with room made the same bytes in the end."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.runs import Launched, checkpoints, differences, ours, result_of

import synth_data
import train_grpo
import train_sft
from fleming.files import AppendLog, run_lock
from model.errors import InputError


class Disk:
    """A small file system in memory, all of it full but for `kilobytes`."""

    def __init__(self, path: Path):
        self.path = path
        path.mkdir()
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4k", "none", str(path)], capture_output=True, text=True
        )
        if made.returncode:
            path.rmdir()
            pytest.skip(f"cannot mount a tmpfs here: {made.stderr.strip()}")
        (path / "ballast").write_bytes(bytes(4096))

    def leave(self, kilobytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={4 + kilobytes}k", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path):
    disk = Disk(tmp_path / "disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk.path)], check=True)


def hashes(folders: list[Path]) -> dict[str, dict[str, str]]:
    return {
        f.name: {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in f.iterdir()} for f in folders
    }


def kind_of(message: str) -> str:
    """Which write the one line of a full disk names."""
    named = re.fullmatch(r"\w+\.py: error: (\S+): .*No space left on device.*", message)
    assert named, message
    path = Path(named[1].removesuffix(".sha256"))
    return "rollouts" if path.parent.name == "rollouts" else path.name


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        (
            train_sft,
            [".lock", "config.yaml", "manifest.json", "learned.jsonl", "metrics.jsonl", "checkpoints"],
        ),
        (
            train_grpo,
            [
                *(".lock", "config.yaml", "manifest.json", "curriculum.jsonl"),
                *("review.jsonl", "rollouts", "metrics.jsonl"),
            ],
        ),
    ],
)
def test_every_small_write_on_a_full_disk_is_one_line_that_names_the_file(in_process, disk, module, kinds):
    """A page more each time, from none, until all kinds of the first step's writes have met the end of the disk."""
    first_step = ["grpo.stage1.max_steps=0", "grpo.stage2.max_steps=1", "grpo.curriculum.mine_samples=1"]
    first_step += ["sft.save_every=1", "sft.epochs=0.1"]
    found, kilobytes = [], 0
    while set(found) < set(kinds):
        disk.leave(kilobytes)
        status, lines = in_process(module, disk.path / "run", *first_step)
        assert status == 2, (kilobytes, lines)
        assert len(lines) == 1, lines
        found.append(kind_of(lines[0]))
        shutil.rmtree(disk.path / "run")
        kilobytes += 4
    assert list(dict.fromkeys(found)) == kinds


@pytest.mark.parametrize(
    ("module", "settings"),
    [
        # Two checkpoints each: the room that a deleted third one leaves would be enough for every export.
        (train_sft, ["sft.epochs=0.4", "sft.save_every=4"]),
        (train_grpo, ["grpo.save_every=100", "grpo.stage1.max_steps=3", "grpo.stage2.max_steps=2"]),
    ],
)
def test_a_full_disk_leaves_the_last_checkpoint_whole_and_the_run_goes_on_after_room_is_made(
    in_process, disk, tmp_path, module, settings
):
    """The disk grows a little each time that the run fails, until it has room for all."""
    assert in_process(module, tmp_path / "whole", *settings) == (0, [])
    run_dir, found, kilobytes, status = disk.path / "run", [], 48, 2
    while status == 2:
        before, complete = hashes(checkpoints(run_dir)), result_of(run_dir)
        disk.leave(kilobytes)
        status, lines = in_process(module, run_dir, *settings)
        after = checkpoints(run_dir)
        assert all((c / "state.json").exists() for c in after)
        if status == 2:
            assert len(lines) == 1, lines
            found.append(kind_of(lines[0]))
            assert not before or max(before) in hashes(after)
            assert all(content == before.get(name, content) for name, content in hashes(after).items())
            models = [name for name in complete if "model/" in name]  # an export that was complete stays so
            assert all(result_of(run_dir)[name] == complete[name] for name in models)
        assert not [p for p in run_dir.rglob(".*") if p.name != ".lock"]  # nothing half-written
        kilobytes += 240
    assert (status, lines) == (0, [])
    assert {"checkpoints", "model"} <= set(found), found
    assert differences(result_of(run_dir), result_of(tmp_path / "whole")) == []


def test_synth_data_on_a_full_disk_is_one_line_and_after_room_is_made_writes_the_same(
    in_process, disk, tmp_path
):
    few = ["synth.train_questions=90", "synth.dev_questions=0", "synth.test_questions=0"]
    assert in_process(synth_data, tmp_path / "whole", *few) == (0, [])
    found, kilobytes, status = [], 0, 2
    while status == 2:
        disk.leave(kilobytes)
        status, lines = in_process(synth_data, disk.path / "run", *few)
        if status == 2:
            assert len(lines) == 1, lines
            found.append(kind_of(lines[0]))
        kilobytes += 500
    assert found[0] == ".lock"
    assert len(set(found)) >= 3, found
    for path in (tmp_path / "whole").rglob("*"):
        copy = disk.path / "run" / path.relative_to(tmp_path / "whole")
        if path.is_file() and path.parent.name in ("data", "model"):
            assert copy.read_bytes() == path.read_bytes(), path


def test_a_log_and_a_lock_on_a_full_disk_name_themselves_and_leave_nothing_to_be_written_later(disk):
    disk.leave(0)
    with (
        pytest.raises(InputError, match=r"\.lock: cannot lock: .*No space left"),
        run_lock(disk.path / "run", "x.py"),
    ):
        pass
    (disk.path / "ballast").unlink()
    log = AppendLog(disk.path / "log.jsonl")
    log.append({"step": 1})
    before = log.offset
    with pytest.raises(InputError, match=r"log\.jsonl: cannot append: .*No space left"):
        log.append({"text": "x" * 8192})
    assert log.offset == log.sync() == before
    disk.leave(64)
    log.close()
    assert AppendLog(disk.path / "log.jsonl", keep_bytes=before).offset == before
    assert (disk.path / "log.jsonl").read_text() == '{"step": 1}\n'


@pytest.mark.slow
def test_a_full_disk_under_one_process_ends_both_with_one_line(inputs, disk, tmp_path):
    """First rank 1 alone cannot have its lock, a link; then one of them or both find no room for a checkpoint."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (disk.path / "sft").mkdir()
    (run_dir / "sft").symlink_to(disk.path / "sft")
    (run_dir / ".lock.1").symlink_to(disk.path / "lock")
    for kilobytes, kind in ((None, ".lock.1"), (600, "checkpoints")):
        if kilobytes:
            (run_dir / ".lock.1").unlink()
            disk.leave(kilobytes)
        run = Launched("train_sft.py", inputs, run_dir)
        run.wait_for(lambda r=run: r.workers)
        status, report = run.end(30)
        assert (status, ours(report)) == (1, 2)
        (line,) = [line for rank in run.said() for line in rank]
        assert kind_of(line) == kind if kilobytes else f"{kind}: cannot lock: " in line and "symbolic" in line
