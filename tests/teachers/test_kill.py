"""Killed by kill -9 at any moment and begun again: nothing that came back is asked for twice, and the same is made."""

import os
import subprocess
import sys

import pytest
from support.chat_server import ChatServer
from support.places import ROOT

KILLS, COUNT, CONCURRENCY = 20, 60, 8


def work(server, folder, kills):
    settings = [
        f"run_dir={folder}",
        "teacher.kind=openai",
        "teacher.model=m",
        f"teacher.address={server.address}",
        f"teacher.concurrency={CONCURRENCY}",
    ]
    worker = ROOT / "tests/support/workers/teacher_worker.py"
    done = subprocess.run(
        [sys.executable, worker, folder / "answers.json", str(kills), "0.25", str(COUNT), *settings],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return tuple(map(int, done.stdout.split()[-2:]))


def plan(text, n):
    return b"<html>" if text.endswith("7") else None


@pytest.mark.slow
def test_killed_twenty_times_and_no_call_is_paid_twice(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir(), killed.mkdir()
    with ChatServer(plan) as server:
        assert work(server, whole, 0) == (0, 0)
        once = len(server.requests)
    bad = COUNT // 10 * 2  # trials
    assert once == COUNT * 2 - bad + bad * 3

    store, paid_twice = killed / "data/teacher_answers.jsonl", []

    def arrived(body):
        """What a process that is dead by now has kept, nobody asks for again."""
        said = f"{body['messages'][-1]['content']} {body['seed']}\\n"
        if store.exists() and said in store.read_text():
            paid_twice.append(said)

    with ChatServer(plan, delay=0.04) as server:
        server.arrived = arrived
        interrupted, status = work(server, killed, KILLS)
        again = len(server.requests) - once
    assert status == 0
    assert interrupted >= KILLS // 4
    assert paid_twice == []
    assert 0 < again <= interrupted * CONCURRENCY  # what was under way at a kill
    for name in ("answers.json", "data/quarantine.jsonl"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert (
        store.read_bytes() != (whole / "data/teacher_answers.jsonl").read_bytes()
    )  # in the order of arrival
