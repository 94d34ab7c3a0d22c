"""A request is kept before it is sent: a kill hides none from the caps. One that never comes back holds up no other."""

import os
import signal
import time
from collections import Counter

import pytest
from support.chat_server import ChatServer

import fleming.teachers.asking
from fleming.config import load_config
from fleming.files import read_jsonl
from fleming.http import _seconds, redacted
from fleming.settings import Config
from fleming.teachers.load import load_teacher
from model.errors import InputError


def teacher(server, folder, *more):
    settings = ["teacher.kind=openai", "teacher.model=m", f"teacher.address={server.address}"]
    return load_teacher(load_config(Config, None, [f"run_dir={folder}", *settings, *more]))


def talk(*texts):
    return [[{"role": "user", "content": text}] for text in texts]


def codes(folder):
    return Counter(record["code"] for _, record in read_jsonl(folder / "data/teacher_answers.jsonl"))


@pytest.mark.parametrize("cap", ["max_requests=8", "max_tokens=664"])  # 8 times 2 + 16 x 2 and 49
def test_killed_while_requests_are_under_way_the_caps_hold_over_all_runs(cap, tmp_path):
    more = ("teacher.concurrency=8", "teacher.max_new_tokens=49", f"teacher.{cap}")
    texts = [f"{i:02}" for i in range(40)]
    with ChatServer(delay=30) as server:
        for run in range(3):
            child = os.fork()
            if child == 0:
                try:
                    teacher(server, tmp_path, *more).complete_all(talk(*texts), 1)
                finally:
                    os._exit(3)
            for _ in range(200 if run == 0 else 20):
                if len(server.requests) > 8 or (run == 0 and len(server.requests) == 8):
                    break
                time.sleep(0.02)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        assert len(server.requests) == 8
    assert codes(tmp_path) == {"begun": 8}
    with ChatServer() as server:
        with pytest.raises(InputError, match=f"teacher.{cap.partition('=')[0]} = .* ends the run"):
            teacher(server, tmp_path, *more).complete_all(talk(*texts), 1)
        assert server.requests == []
        raised = teacher(server, tmp_path, "teacher.max_new_tokens=49", "teacher.max_requests=48")
        assert all(text for (text,) in raised.complete_all(talk(*texts), 1))
        assert (raised.spent.requests, raised.spent.answer) == (48, 8 * 49 + 40 * 20)


@pytest.mark.parametrize("status", [401, 403])
def test_a_request_that_is_refused_counts_and_is_no_answer(status, tmp_path):
    with ChatServer(lambda text, n: (status, {}, b"")) as server:
        for _ in range(3):
            with pytest.raises(InputError, match=f"HTTP {status}|max_requests = 2"):
                teacher(server, tmp_path, "teacher.max_requests=2").complete(*talk("q"), 1)
        assert len(server.requests) == 2
    assert codes(tmp_path) == {"begun": 2, "busy": 2}
    with ChatServer() as server:
        assert teacher(server, tmp_path).complete(*talk("q"), 1) != [""]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_conversations_that_always_fail_are_set_aside_also_the_last_ones(concurrency, tmp_path, monkeypatch):
    monkeypatch.setattr(fleming.teachers.asking, "FIRST_WAIT", 0.01)
    more = (f"teacher.concurrency={concurrency}", "teacher.retries=1", "teacher.asks=2")
    texts = ["good", "bad 1", "good 2", "bad 2", "bad 3"]
    with ChatServer(lambda text, n: (500, {}, b"") if text.startswith("bad") else None) as server:
        answers = teacher(server, tmp_path, *more).complete_all(talk(*texts), 1)
    assert [bool(text) for (text,) in answers] == [True, False, True, False, False]
    assert codes(tmp_path)["server_error"] == 3 * 2


def test_a_server_that_fails_at_all_from_now_on_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(fleming.teachers.asking, "FIRST_WAIT", 0.01)
    more = ("teacher.concurrency=1", "teacher.retries=0", "teacher.asks=1")
    texts = [str(i) for i in range(40)]
    with ChatServer(lambda text, n: None if text == "0" else (500, {}, b"")) as server:
        with pytest.raises(InputError, match="gave up after 1 tries"):
            teacher(server, tmp_path, *more).complete_all(talk(*texts), 1)
        assert len(server.requests) == 1 + fleming.teachers.asking.HOPELESS


@pytest.mark.parametrize(
    "text",
    [
        "Mon, 01 Jan 2024 00:00:00 +99999999999999", "Mon, 01 Jan 0001 00:00:00 -0000", "Mon, 99 Jan 2024", "-5", "nan",
        "1e9", "\u0663", ",", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "",
    ],
)  # fmt: skip
def test_a_wait_that_is_none_is_0(text):
    assert _seconds({"Retry-After": text}) == 0.0
    assert _seconds({"Retry-After": "1.5"}) == 1.5


@pytest.mark.parametrize(
    "written",
    ["sk\\/abc+def/123", "sk&#x2F;abc&#43;def&#x2F;123", "sk%2Fabc%2Bdef%2F123", "\\u0073k/abc+def/123",
     "sk/abc+\ndef/123", "sk/abc\u200b+def/123", "ｓｋ/abc+def/１２３", "SK/ABC+def/123"],
)  # fmt: skip
def test_a_key_that_comes_back_escaped_is_not_shown(written):
    key = "sk/abc+def/123"
    shown = redacted(f'{{"echo": "{written}"}}', key)
    assert "abc" not in shown.lower()
    assert redacted(f"so {key}.", key) == "so [key]."
    assert redacted("100 % of a/b", key) == "100 % of a/b"
