"""Stage 1 with a teacher behind a server, killed by kill -9 while it asks: the same files, no reply paid twice."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

from support import chat_server, warm
from support.chat_server import ChatServer, said
from support.jsonl import read_records
from support.places import ROOT

CONCURRENCY = 4
KILLS = int(os.environ.get("KILLS", "2"))
MADE = ("cold_start.jsonl", "unsolved.jsonl", "rl.jsonl", "rejected.jsonl", "quarantine.jsonl")


def clinician(body):
    """Know some answers at once, some after a refinement, some never; now and then say nothing."""
    first, *rest = [message["content"] for message in body["messages"]]
    kind = sum(map(ord, first.split("\n")[0])) % 4
    if kind == 3 and body["seed"] % 2:
        return said("")
    told = re.search(r"the right answer is ([A-Z])\. ", first)[1]
    letter = told if kind == 0 or (kind == 1 and len(rest) > 2 - kind) else "Z"
    return said(f"<answer>{letter}</answer>", reasoning_content=f"What speaks for it: {body['seed']}.")


def command(run_dir, server, *more):
    return [
        sys.executable, str(ROOT / "synth_data.py"), "--config", str(ROOT / "configs/demo.yaml"), f"run_dir={run_dir}",
        "base_model.make=false", "answer_style=letter", "synth.rules.tries=2", "synth.train_questions=24",
        "synth.dev_questions=0", "synth.test_questions=0", "synth.cold_start_share=1", "synth.critic=1",
        "teacher.kind=openai", "teacher.model=m", f"teacher.address={server.address}",
        f"teacher.concurrency={CONCURRENCY}", *more,
    ]  # fmt: skip


def reply(body):
    """Answer whatever role is asked: the critic refutes everything."""
    text = body["messages"][-1]["content"]
    if "JSON" in text:
        return said('{"supported": false, "quote": ""}')
    return said("It may be so.") if "Argue as strongly" in text else clinician(body)


def finish(*arguments):
    done = warm.run(command(*arguments), capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


def calls(server):
    return Counter((str(body["messages"]), body["seed"]) for _, _, body in server.requests)


def test_killed_while_it_asks_stage_1_goes_on_and_writes_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(chat_server, "usual", reply)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with ChatServer() as server:
        finish(whole, server)
        once = calls(server)
    assert max(once.values()) == 1
    total, kills = sum(once.values()), 0

    with ChatServer(delay=0.02) as server:
        for number in range(1, KILLS + 1):  # at so many of its calls, refinements and critics' among them
            process = warm.Popen(
                command(killed, server), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
            )
            while process.poll() is None and len(server.requests) < total * number / (KILLS + 1):
                time.sleep(0.002)
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
            process.wait()
        finish(killed, server)
        asked = calls(server)
        assert asked.keys() == once.keys()
        assert kills == KILLS
        again = sum(asked.values()) - total
        assert again <= kills * CONCURRENCY  # what was under way at a kill, and nothing else
        finish(killed, server, "--offline")  # all of it is there
        assert calls(server) == asked

    for name in MADE:
        assert (killed / "data" / name).read_bytes() == (whole / "data" / name).read_bytes(), name
    kept = read_records(whole / "data/cold_start.jsonl")
    assert {tuple(record["refinements"]) for record in kept} >= {(), ("self_correction",)}
    assert len(read_records(whole / "data/unsolved.jsonl")) > 2
    assert len(read_records(whole / "data/quarantine.jsonl")) > 0
