"""Stage 1 with a teacher behind a server, killed by kill -9 while it asks: the same files, no reply paid twice.

KILLS=20 in the environment kills it so many times.
"""

import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter

import pytest
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


BAD = [b"<html>", b"{", said("cut", "length"), said(""), said(None, refusal="No."), (400, {}, b"")]
LOST = ["reset", "truncated", (503, {"Retry-After": "0"}, b""), (500, {}, b""), (429, {}, b"")]


def misbehaving(body):
    """To the same seed the same reply, of six in 21 one without content."""
    kind = body["seed"] % 21
    return BAD[kind] if kind < len(BAD) else reply(body)


def losing(text, n):
    """The first request of one in six conversations is lost on the way, each in a manner of its own."""
    kind = zlib.crc32(text.encode()) % 30
    return LOST[kind] if n == 0 and kind < len(LOST) else None


# A server -> its replies, and what becomes of the n-th request of a conversation.
SERVERS = {"a clinician": (reply, lambda text, n: None), "misbehaving": (misbehaving, losing)}


def finish(*arguments):
    done = warm.run(command(*arguments), capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


def calls(server):
    return Counter((str(body["messages"]), body["seed"]) for _, _, body in server.requests)


@pytest.mark.parametrize("kind", SERVERS)
def test_killed_while_it_asks_stage_1_goes_on_and_writes_the_same(kind, tmp_path, monkeypatch):
    replies, plan = SERVERS[kind]
    monkeypatch.setattr(chat_server, "usual", replies)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with ChatServer(plan) as server:
        finish(whole, server)
        once = calls(server)
    lost = sum(n - 1 for n in once.values())
    assert (lost > 5) == (kind == "misbehaving")
    total, kills = sum(once.values()), 0

    with ChatServer(plan, delay=0.02) as server:
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
        print(f"{kind}: {total} requests undisturbed, {lost} of them lost; {again} more with {kills} kills")
        assert again <= kills * CONCURRENCY  # what was under way at a kill, and nothing else
        finish(killed, server, "--offline")  # all of it is there
        assert calls(server) == asked

    replies = read_records(killed / "data/teacher_answers.jsonl")
    assert max(Counter(reply["key"] for reply in replies if not reply["code"]).values()) == 1
    for name in MADE:
        assert (killed / "data" / name).read_bytes() == (whole / "data" / name).read_bytes(), name
    kept = read_records(whole / "data/cold_start.jsonl")
    assert {tuple(record["refinements"]) for record in kept} >= {(), ("self_correction",)}
    assert len(read_records(whole / "data/unsolved.jsonl")) > 2
    assert len(read_records(whole / "data/quarantine.jsonl")) > 0
