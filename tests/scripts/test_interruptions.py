"""Kills: whatever ends a run under torchrun, the same command goes on and ends with the same bytes.

FLEMING_KILLS is how often, default 6. Each kind comes in turn: one of the two workers; the launcher alone, which leaves
its workers running; launcher and workers.
"""

import math
import os
import random
import re
import signal
import time

import pytest
from support.runs import Launched, checkpoints, differences, ours, result_of, state, steps_logged

import train_sft

KILLS = int(os.environ.get("FLEMING_KILLS", "6"))
SCRIPTS = ["train_sft.py", "train_grpo.py"]


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    """script -> what two processes that nothing interrupts end with."""
    results = {}

    def get(script: str) -> dict[str, object]:
        if script not in results:
            run_dir = tmp_path_factory.mktemp("whole") / script
            launched = Launched(script, inputs, run_dir)
            launched.wait_for(launched.holds)
            status, report = launched.end()
            assert (status, launched.said()) == (0, [[], []]), report[-2000:]
            results[script] = result_of(run_dir)
        return results[script]

    return get


def interrupt(run: Launched, kind: str, rng: random.Random, restart) -> str | None:
    """End a run in the asked way and check what is said; return what was done, None where the run was just done."""
    if kind == "stop":
        run.signal(signal.SIGTERM, run.process.pid)
        status, report = run.end()
        assert (status, "SignalException" in report) == (1, True)  # torchrun's own
        assert run.said() == [["stopped as asked, saved; the same command goes on from here"], []]
        assert checkpoints(run.run_dir)[-1].name == f"step_{steps_logged(run.run_dir):06d}"
        return kind
    if kind == "worker":
        victim = rng.choice(run.workers)
        run.signal(signal.SIGKILL, victim)
        status, _ = run.end(30)  # the launcher ends the other; a hang would last 30 s, and then show here
        assert status in (0, 1)
    elif kind == "group":
        run.signal(signal.SIGKILL, run.process.pid, *run.workers)
        run.end()
    else:
        run.signal(signal.SIGSTOP, *run.workers)  # orphans would soon be done, and let go of the folder
        run.signal(signal.SIGKILL, run.process.pid)
        run.process.wait()
        while any(state(worker) not in "TZX" for worker in run.workers):
            time.sleep(0.01)
        if held := run.holds() and all(state(worker) == "T" for worker in run.workers):
            second = restart()
            status, report = second.end()
            lines = [line for rank in second.said() for line in rank]
            assert (status, ours(report)) == (1, 2)
            assert len(lines) == 1, lines
            assert re.fullmatch(
                rf"train_\w+\.py: error: {run.run_dir}: in use by process (\d+), .*", lines[0]
            )
            assert int(re.search(r"process (\d+)", lines[0])[1]) in run.workers
        survive = held and rng.random() < 0.5
        run.signal(signal.SIGCONT if survive else signal.SIGKILL, *run.workers)
        run.end()
        kind += f" ({'refused by name, ' if held else ''}orphans {'finish' if survive else 'killed'})"
    if run.process.returncode == 0:
        return None
    for lines in run.said():
        assert len(lines) <= 1, lines
        assert all(re.match(r"rank \d: another process of this run is gone: ", line) for line in lines), lines
    return kind


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_sigterm_or_kill_9_of_a_worker_the_launcher_or_all_and_the_same_command_give_identical_bytes(
    inputs, whole, tmp_path, script
):
    """SIGTERM to the launcher once, within the loop; then kills, at moments drawn over the whole running time."""
    rng = random.Random(f"{script} {KILLS}")
    expected = whole(script)
    total = len(expected[f"{script[6:-3]}/metrics.jsonl"])
    count = KILLS // 2 + (KILLS % 2 if script == SCRIPTS[0] else 0)
    kinds = ["stop", *rng.sample([("worker", "launcher", "group")[i % 3] for i in range(count)], count)]
    run_dir, done, finished = tmp_path / "killed-0", [], 0

    def start() -> Launched:
        return Launched(script, inputs, run_dir)

    while True:
        run, began = start(), time.monotonic()
        saved = max((int(c.name[5:]) for c in checkpoints(run_dir)), default=0)
        if len(done) < len(kinds) and saved < total:
            kind = kinds[len(done)]
            farthest = saved + math.ceil(
                2 * (total - saved) / (len(kinds) - len(done) + 1)
            )  # spread over the run
            after, moment = (2, 0) if kind == "stop" else (rng.randint(saved, farthest), rng.uniform(0, 0.2))
            held = kind == "stop" or (kind == "launcher" and not any("refused" in what for what in done))
            if rng.random() < 0.2 and not held:  # while it starts
                moment = rng.uniform(0, 4)
                alive = run.wait_for(lambda r=run, t=began + moment: time.monotonic() > t and r.workers)
                when = f"{moment:.1f} s after its start"
            else:  # in a step, the last checkpoint or the export
                alive = run.wait_for(lambda r=run, n=after: r.holds() and steps_logged(r.run_dir) >= n)
                time.sleep(moment * (not held))
                when = f"{moment * (not held):.2f} s after step {after}"
            if alive and (what := interrupt(run, kind, rng, start)):
                done.append(f"{what} {when}")
                continue
        status, report = run.end()
        assert (status, run.said()) == (0, [[], []]), report[-2000:]
        assert differences(result_of(run_dir), expected) == []
        finished += 1
        if len(done) == len(kinds):
            break
        run_dir = tmp_path / f"killed-{finished}"
    assert any("refused" in what for what in done) or "launcher" not in kinds
    print(
        f"\n{script}: {count} kills, {finished} whole runs of {total} steps, all identical:",
        *done,
        sep="\n  ",
    )


def test_what_a_killed_save_or_clean_up_left_goes_with_the_next_save(in_process, tmp_path):
    for name in (".step_000001.tmp", ".step_000099.old"):  # of steps that this run does not save
        (tmp_path / "run/sft/checkpoints" / name).mkdir(parents=True)
        (tmp_path / "run/sft/checkpoints" / name / "shard").write_bytes(bytes(9))
    assert in_process(train_sft, tmp_path / "run", "sft.epochs=0.2") == (0, [])
    names = [path.name for path in (tmp_path / "run/sft/checkpoints").iterdir()]
    assert sorted(names) == ["step_000002", "step_000004"]


def test_the_interrupted_runs_learn(whole):
    """Or their bytes would be the same whatever became of the optimiser."""
    records = whole("train_grpo.py")["grpo/metrics.jsonl"]
    assert sum(record["grad_norm"] > 0 for record in records) > len(records) / 2
    assert len({record["reward"] for record in records}) > len(records) / 2
    assert all(record["grad_norm"] > 0 for record in whole("train_sft.py")["sft/metrics.jsonl"])
