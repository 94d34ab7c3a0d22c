"""A teacher behind a server that misbehaves: what is asked how often, what is kept, and that nothing else happens.

The server is a real one, in a thread (support/chat_server.py).
"""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from support.chat_server import ChatServer, said

import fleming.teachers.asking
from fleming.config import load_config
from fleming.files import read_jsonl
from fleming.settings import Config
from fleming.teachers.load import load_teacher
from fleming.teachers.remembered import complete_all
from fleming.teachers.server import refuses
from model.errors import InputError

KEY = "sk-test-0123456789abcdefXYZ"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(fleming.teachers.asking, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("TEACHER_KEY", KEY)


def settings(server, folder, *more):
    return load_config(
        Config,
        None,
        [
            f"run_dir={folder}",
            "teacher.kind=openai",
            "teacher.model=m",
            f"teacher.address={server.address}",
            "teacher.key_env=TEACHER_KEY",
            "teacher.retries=2",
            "teacher.asks=3",
            "teacher.deadline=2",
            *more,
        ],
    )


def teacher(server, folder, *more, offline=False):
    return load_teacher(settings(server, folder, *more), offline=offline)


def talk(*texts):
    return [[{"role": "user", "content": text}] for text in texts]


def kept(folder):
    lines = [record for _, record in read_jsonl(folder / "data/teacher_answers.jsonl")]
    return [record for record in lines if record["code"] != "begun"]


def set_aside(folder):
    path = folder / "data/quarantine.jsonl"
    return [record for _, record in read_jsonl(path)] if path.exists() else []


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


# --- what a reply is worth


GOOD = "<think>\nIron.\n</think>\n<answer>A</answer>"
FORMS = {  # a reply -> what a caller sees
    "in think": (said(GOOD), GOOD),
    "apart": (said("<answer>A</answer>", reasoning_content="Iron."), GOOD),
    "apart, as OpenRouter and vLLM call it now": (said("<answer>A</answer>", reasoning="Iron."), GOOD),
    "apart and not": (said(GOOD, reasoning_content="Iron."), GOOD),
    "apart, closing early": (
        said("<answer>A</answer>", reasoning_content="Iron.</think><answer>B</answer>"),
        "<think>\nIron.<answer>B</answer>\n</think>\n<answer>A</answer>",
    ),
    "apart, and another thought inside": (
        said("Zinc?</think><answer>A</answer>", reasoning_content="Iron."),
        "<think>\nIron.\nZinc?</think><answer>A</answer>",
    ),
    "apart, and another think block": (
        said("<think>Zinc?</think><answer>A</answer>", reasoning="Iron."),
        "<think>\nIron.\nZinc?</think><answer>A</answer>",
    ),
    "opened by the prompt": (said("Iron.\n</think>\n<answer>A</answer>"), GOOD),
    "no reasoning": (said("<answer>A</answer>"), "<answer>A</answer>"),
    "reasoning null": (said("<answer>A</answer>", reasoning_content=None), "<answer>A</answer>"),
    "sorry is no refusal": (said("I'm sorry to hear that. It is A."), "I'm sorry to hear that. It is A."),
    "half a surrogate pair": (said("A\ud800"), None),
    "no usage": ({**said("A"), "usage": None}, "A"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_callers_see_one_form_of_a_reply(form, tmp_path):
    reply, seen = FORMS[form]
    with ChatServer(lambda text, n: reply) as server:
        answer = teacher(server, tmp_path).complete(*talk("q"), 1)
        path, headers, body = server.requests[0]
    if seen is None:  # no strict JSON
        assert answer == [""]
        return
    assert answer == [seen]
    assert len(server.requests) == 1
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body["messages"] == [{"role": "user", "content": "q"}]
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("m", 4096, 0.8)
    assert not {"n", "stream"} & body.keys()


HTML = b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>"
REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but as an AI language model I cannot give a diagnosis.",
    "I cannot provide medical advice. Please see a doctor.",
    "Unfortunately, I am not able to assist with this request.",
    "As an AI, I'm unable to answer medical questions.",
    "This request violates our usage policies.",
    "很抱歉，我不能提供医疗建议。",
    "作为一个人工智能，我无法诊断疾病。",
    "我无法回答这个问题。",
]
NO_REFUSALS = [
    "I cannot exclude iron, so the answer is A.",
    "Sorry for the delay. B.",
    "The patient cannot help herself. A.",
    "We can't rule out B, but A is likelier.",
    "I'm sorry, but I can't help with that. <answer>A</answer>",
    "I'm sorry, but I can't be sure. " + "The iron is low. " * 30,
    "As an AI I would choose A.",
    "无法提供足够的铁",
    "不能帮助诊断的是B",
    "moderate",
    "Unfortunately, we cannot use aspirin in this child. Answer: acetaminophen.",
    "I am afraid that I cannot agree with A; the answer is B.",
    "It is appropriate for me to choose B here.",
    "The question goes against the usual pattern: B is right.",
    "抱歉,这涉及铜代谢,答案是B。",
]


@pytest.mark.parametrize("text", [*REFUSALS, *NO_REFUSALS])
def test_a_refusal_is_told_from_an_answer_that_doubts(text):
    assert refuses(text) == (text in REFUSALS)


NO_CONTENT = {  # a way to misbehave -> the reply, its code, how often it is asked for
    "HTML": (HTML, "html", 3),
    "empty body": (b"", "malformed", 3),
    "empty text": (said(""), "empty", 3),
    "blank text": (said(" \n"), "empty", 3),
    "null text": (said(None), "empty", 3),
    "invisible text": (said("\u200b\ufeff"), "empty", 3),
    "marks alone": (said("<think>Iron.</think> ..."), "empty", 3),
    "a page as the text": (said(HTML.decode()), "html", 3),
    "reasoning alone": (said("", reasoning_content="Iron."), "empty", 3),
    "reasoning in the text alone": (said("<think>Iron.</think>"), "empty", 3),
    "reasoning without end": (said("<think>Iron. <answer>A</answer>"), "empty", 3),
    "truncated JSON": (json.dumps(said("A")).encode()[:-20], "malformed", 3),
    "no object": (b"[]", "malformed", 3),
    "no choices": ({"id": "x"}, "malformed", 3),
    "choices null": ({"choices": None}, "malformed", 3),
    "no choice": ({"choices": []}, "malformed", 3),
    "two choices": ({"choices": said("A")["choices"] * 2}, "malformed", 3),
    "a choice that is a text": ({"choices": ["A"]}, "malformed", 3),
    "no message": ({"choices": [{"finish_reason": "stop"}]}, "malformed", 3),
    "text in parts": (said([{"type": "text", "text": "A"}]), "malformed", 3),
    "text a number": (said(7), "malformed", 3),
    "no finish_reason": (said("A", None), "malformed", 3),
    "a tool call": (said("", "tool_calls"), "malformed", 3),
    "an error with status 200": ({"error": {"message": "no such field", "code": 400}}, "malformed", 3),
    "the filter with status 200": ({"error": {"message": "x", "code": "content_filter"}}, "malformed", 3),
    "cut": (said("<think>Iron", "length"), "cut", 3),
    "cut after the answer": (said(GOOD, "length"), "cut", 3),
    "filtered": (said("", "content_filter"), "refused", 3),
    "refusal": (said(None, refusal="I can't help with that."), "refused", 3),
    "refusal in words": (said("I'm sorry, but I can't assist with that request."), "refused", 3),
    "refusal after reasoning": (said("I cannot provide medical advice.", reasoning="Hm."), "refused", 3),
    "refusal in Chinese": (said("抱歉，我无法回答这个问题。"), "refused", 3),
    "too long for the model": ((400, {}, b'{"error": {"message": "context length"}}'), "bad_request", 1),
    "too large": ((413, {}, b""), "bad_request", 1),
    "not understood": ((422, {}, b'{"detail": [{"msg": "x"}]}'), "bad_request", 1),
    "giant": ("giant", "too_large", 3),
}


@pytest.mark.parametrize("way", NO_CONTENT)
def test_what_is_no_content_is_asked_for_again_a_few_times_and_set_aside(way, tmp_path):
    reply, code, times = NO_CONTENT[way]

    def plan(text, n):
        return reply if text == "bad" else None

    with ChatServer(plan) as server:
        asked = teacher(server, tmp_path)
        answers = asked.complete_all(talk("good", "bad"), 1)
        assert answers[1] == [""]
        assert "good" in answers[0][0]
        assert server.asked == {"good": 1, "bad": times}
        assert [r["code"] for r in kept(tmp_path) if r["code"]] == [code] * times
        (record,) = set_aside(tmp_path)
        assert record["code"] == code
        assert record["messages"] == talk("bad")[0]
        assert record["detail"]
        asked.check_usable()
        # Asked again, in this run or a later one: it stays what it is.
        assert asked.complete_all(talk("good", "bad"), 1) == answers
        assert teacher(server, tmp_path).complete_all(talk("good", "bad"), 1) == answers
        assert len(server.requests) == 1 + times
        assert set_aside(tmp_path) == [record]


def test_a_bad_reply_that_is_followed_by_a_good_one_is_forgotten(tmp_path):
    bad = [HTML, said("A", "length"), None]
    with ChatServer(lambda text, n: bad[n]) as server:
        (answer,) = teacher(server, tmp_path).complete(*talk("q"), 1)
        seeds = {body["seed"] for _, _, body in server.requests}
    assert "q" in answer
    assert len(server.requests) == len(seeds) == 3  # with other noise each time
    assert set_aside(tmp_path) == []


def test_where_nothing_is_of_use_the_run_ends_early_and_says_why(tmp_path):
    with ChatServer(lambda text, n: HTML) as server:
        asked = teacher(server, tmp_path, "teacher.concurrency=1")
        with pytest.raises(InputError, match="none of 16 conversations brought an answer; the last: html"):
            asked.complete_all(talk(*map(str, range(40))), 1)
        assert len(server.requests) == 16 * 3
        few = teacher(server, tmp_path / "few")
        assert few.complete_all(talk("a", "b"), 2) == [["", ""]] * 2
        with pytest.raises(InputError, match=r"none of 4 answers has content; .*quarantine.jsonl says why"):
            few.check_usable()


# --- lost connections


LOST = {
    "429": ((429, {"Retry-After": "0"}, b""), False),
    "500": ((500, {}, b"<html>"), True),
    "503": ((503, {}, b""), False),
    "429 under 200": ({"error": {"message": "rate limit", "code": 429}}, False),
    "429 under 200, as text": ({"error": {"message": "rate limit", "code": "429"}}, False),
    "503 under 200, as vLLM said it": ({"object": "error", "message": "busy", "code": 503}, False),
    "an error under 200": ({"error": "overloaded"}, True),
    "an error under 200, its code empty": ({"error": {"message": "overloaded", "code": None}}, True),
    "502 under 200": ({"error": {"message": "upstream", "code": 502}}, True),
    "reset": ("reset", True),
    "truncated": ("truncated", True),
    "a byte at a time": ("dribble", True),
    "a byte of the headers at a time": ("dribble_headers", True),
}


@pytest.mark.parametrize("way", LOST)
def test_what_is_lost_is_tried_again_and_comes(way, tmp_path):
    reply, _ = LOST[way]
    with ChatServer(lambda text, n: reply if n < 2 else None) as server:
        began = time.monotonic()
        (answer,) = teacher(server, tmp_path, "teacher.deadline=1").complete(*talk("q"), 1)
        assert time.monotonic() - began < 5
    assert "q" in answer
    assert len(server.requests) == 3
    assert len({body["seed"] for _, _, body in server.requests}) == 1  # the very same request
    assert [r["code"] for r in kept(tmp_path)] == ["busy", "busy", ""]
    assert not [r for r in kept(tmp_path) if r["detail"].endswith(":")]  # a time-out has no words of its own


@pytest.mark.parametrize("way", LOST)
def test_a_server_that_is_lost_ends_the_run_and_what_it_fails_at_alone_is_set_aside(way, tmp_path):
    reply, its_fault = LOST[way]
    with ChatServer(lambda text, n: reply) as server:
        with pytest.raises(InputError, match=r"gave up after 3 tries; the last: .*The same command goes on"):
            teacher(server, tmp_path / "all", "teacher.deadline=1").complete(*talk("q"), 1)
        assert len(server.requests) == 3
        assert set_aside(tmp_path / "all") == []

    others = [f"good {i}" for i in range(30)]
    with ChatServer(lambda text, n: reply if text == "bad" else None, delay=0.05) as server:
        asked = teacher(
            server, tmp_path / "one", "teacher.deadline=1", "teacher.concurrency=2", "teacher.asks=1"
        )
        if not its_fault:
            with pytest.raises(InputError, match="gave up after 3 tries"):
                asked.complete_all(talk("bad", *others), 1)
            return
        answers = asked.complete_all(talk("bad", *others), 1)
        assert answers[0] == [""]
        assert all(text for (text,) in answers[1:])
        assert server.asked["bad"] == 3
        assert [record["code"] for record in set_aside(tmp_path / "one")] == ["server_error"]


def test_nobody_there_ends_the_run_and_the_next_goes_on(tmp_path):
    with ChatServer() as server:
        pass
    with pytest.raises(InputError, match="gave up after 3 tries; the last: URLError"):
        teacher(server, tmp_path).complete(*talk("q"), 1)
    with ChatServer() as server:
        server.address = f"http://{'a' * 70}.example/v1"
        with pytest.raises(InputError, match=r"no name of a host|gave up after 3 tries; the last: URLError"):
            teacher(server, tmp_path).complete(*talk("q"), 1)


def test_retry_after_holds_up_every_request_and_has_a_bound(tmp_path, monkeypatch):
    asked_at = []

    def plan(text, n):
        asked_at.append(time.monotonic())
        return (429, {"Retry-After": "1"}, b"") if len(asked_at) == 1 else None

    with ChatServer(plan) as server:
        teacher(server, tmp_path, "teacher.concurrency=1").complete_all(talk("a", "b"), 1)
    assert asked_at[1] - asked_at[0] >= 1.0
    monkeypatch.setattr("fleming.http.LONGEST_WAIT", 0.2)
    asked_at.clear()

    def for_ever(text, n):
        return (429, {"Retry-After": "86400"}, b"") if n == 0 else None

    with ChatServer(for_ever) as server:
        began = time.monotonic()
        assert teacher(server, tmp_path / "b").complete(*talk("a"), 1) != [""]
        assert 0.2 <= time.monotonic() - began < 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_the_key_stays_here(status, tmp_path):
    with ChatServer() as other, ChatServer() as server:
        for target in (f"{other.address}/chat/completions", "file:///etc/passwd", "https://127.0.0.1:9/"):
            server.plan = lambda text, n, target=target: (status, {"Location": target}, b"")
            with pytest.raises(InputError, match=f"HTTP {status}.* not followed; give the address itself"):
                teacher(server, tmp_path).complete(*talk("q"), 1)
        assert other.requests == []
        assert len(server.requests) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_refusal_of_all_ends_the_run_at_once(status, tmp_path):
    body = b'{"error": {"message": "no such model"}}'
    with ChatServer(lambda text, n: (status, {}, body)) as server:
        with pytest.raises(InputError, match=f"HTTP {status} .*no such model"):
            teacher(server, tmp_path, "teacher.concurrency=2").complete_all(talk(*"abcdef"), 1)
        assert len(server.requests) <= 2


# --- the key


@pytest.mark.parametrize("way", ["echo", "echo_error", "echo_broken", "echo_busy", "echo_elsewhere"])
def test_the_key_is_nowhere_even_where_the_server_sends_it_back(way, tmp_path, capfd):
    shown = ""
    with ChatServer(lambda text, n: way) as server:
        try:
            answers = teacher(server, tmp_path).complete_all(talk("a", "b"), 1)
            shown = str(answers)
        except InputError as error:
            shown = str(error)
            while error := error.__cause__:
                shown += str(error)
        assert server.requests[0][1]["Authorization"] == f"Bearer {KEY}"
    shown += on_disk(tmp_path).decode() + "".join(capfd.readouterr())
    assert len(shown) > 50
    for length in (len(KEY), 8):  # nor a beginning of it, where a message is cut
        assert KEY[:length] not in shown
    if way == "echo":
        assert "Bearer [key]" in shown


def test_a_key_that_is_missing_or_none_is_said_without_it(tmp_path, monkeypatch):
    with ChatServer() as server:
        monkeypatch.setenv("TEACHER_KEY", "two words-secret")
        with pytest.raises(InputError, match="TEACHER_KEY holds what is no key") as error:
            teacher(server, tmp_path)
        assert "secret" not in str(error.value)
        monkeypatch.delenv("TEACHER_KEY")
        with pytest.raises(InputError, match="TEACHER_KEY is not set in the environment"):
            teacher(server, tmp_path)
        monkeypatch.setenv("TEACHER_KEY", "EMPTY")  # as servers without a key have it
        server.plan = lambda text, n: said("EMPTY is a word")
        assert teacher(server, tmp_path).complete(*talk("q"), 1) == ["EMPTY is a word"]


# --- what is kept


def test_each_trial_is_asked_for_once_whoever_asks(tmp_path):
    with ChatServer() as server:
        asked = teacher(server, tmp_path)
        three = asked.complete(*talk("q"), 3)
        assert len(set(three)) == 3
        assert asked.complete_all(talk("q", "r", "q"), 2)[0::2] == [three[:2]] * 2
        assert len(server.requests) == 3 + 2
        again = teacher(server, tmp_path)
        assert complete_all(again, talk("q"), 4)[0][:3] == three
        assert len(server.requests) == 6
        for other in ("seed=1", "teacher.temperature=0", "teacher.max_new_tokens=9", "teacher.model=other"):
            teacher(server, tmp_path, other).complete(*talk("q"), 1)
        teacher(server, tmp_path, "teacher.body={top_p: 0.9}").complete(*talk("q"), 1)
        teacher(server, tmp_path, "teacher.chat_template_kwargs={enable_thinking: false}").complete(
            *talk("q"), 1
        )
        assert len(server.requests) == 12  # all that an answer depends on is in its key
        for same in ("teacher.concurrency=1", "teacher.deadline=3", "teacher.max_requests=100"):
            teacher(server, tmp_path, same).complete(*talk("q"), 1)
        assert len(server.requests) == 12


@pytest.mark.usefixtures("signals_heard")
def test_ctrl_c_keeps_what_is_under_way(tmp_path, capfd):
    pressed = []

    def plan(text, n):
        if len(server.requests) >= 6 and not pressed:
            pressed.append(True)
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()

    with ChatServer(plan, delay=0.3) as server:
        with pytest.raises(KeyboardInterrupt):
            teacher(server, tmp_path, "teacher.concurrency=4").complete_all(talk(*map(str, range(30))), 1)
        assert "waiting for the replies that are under way" in capfd.readouterr().err
        stopped = len(server.requests)
        assert stopped == len(kept(tmp_path)) < 30
        teacher(server, tmp_path).complete_all(talk(*map(str, range(30))), 1)
        assert len(server.requests) == 30


def test_the_body_is_laid_over_ours(tmp_path):
    with ChatServer() as server:
        more = "teacher.body={seed: null, max_tokens: null, max_completion_tokens: 99}"
        kwargs = "teacher.chat_template_kwargs={enable_thinking: false}"
        teacher(server, tmp_path, more, kwargs).complete(*talk("q"), 1)
        body = server.requests[0][2]
    assert body == {
        "model": "m",
        "messages": talk("q")[0],
        "temperature": 0.8,
        "max_completion_tokens": 99,
        "chat_template_kwargs": {"enable_thinking": False},
    }


def test_offline_gives_what_is_kept_and_names_what_is_missing(tmp_path, monkeypatch):
    with ChatServer() as server:
        before = teacher(server, tmp_path).complete_all(talk("a", "b"), 2)
    monkeypatch.delenv("TEACHER_KEY")
    offline = teacher(server, tmp_path, offline=True)
    assert offline.complete_all(talk("b", "a"), 2) == before[::-1]
    with pytest.raises(
        InputError, match=r"4 of 6 answers of m .* are missing, the first to 'new'; without --off"
    ):
        offline.complete_all(talk("a", "new", "newer"), 2)


def test_a_damaged_line_of_the_store_is_named(tmp_path):
    with ChatServer() as server:
        teacher(server, tmp_path).complete_all(talk("a", "b"), 1)
        path = tmp_path / "data/teacher_answers.jsonl"
        path.write_bytes(path.read_bytes().replace(b"<answer>A", b"<answer>B", 1))
        with pytest.raises(InputError, match=r"teacher_answers.jsonl:[23]: damaged"):
            teacher(server, tmp_path).complete_all(talk("a", "b"), 1)


def test_no_more_requests_are_under_way_than_the_settings_say(tmp_path):
    """Counted where they are made: the server counts one as under way for a moment after its reply was read."""
    with ChatServer(delay=0.05) as server:
        remembered = teacher(server, tmp_path, "teacher.concurrency=5")
        real, lock, under_way, most = remembered.completer.server.ask, threading.Lock(), [], []

        def ask(*arguments):
            with lock:
                under_way.append(1)
                most.append(len(under_way))
            try:
                return real(*arguments)
            finally:
                with lock:
                    under_way.pop()

        remembered.completer.server.ask = ask
        remembered.complete_all(talk(*map(str, range(40))), 1)
        assert max(most) == 5
        assert server.most_at_once >= 5


# --- caps


CAPS = {  # a cap -> how many of 12 calls it lets through; a reply takes 10 + 20 tokens, at most 33 + 50
    "max_requests=7": 7,
    "max_tokens=200": 4,  # 4 x 30, and 83 more would fit; 5 x 30 + 83 would not
    "max_cost=0.01": 6,  # a token of a prompt 0.0001, of an answer 0.00002
}
PRICES = ("teacher.prompt_price=100", "teacher.answer_price=20")


@pytest.mark.parametrize("cap", CAPS)
@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_cap_ends_the_run_by_name_and_once_raised_it_goes_on(cap, concurrency, tmp_path):
    name, _, value = cap.partition("=")
    texts = [f"{i:02}"[:1] + chr(97 + i) for i in range(12)]  # 2 bytes each
    assert len({len(text) for text in texts}) == 1
    prompt, answer = 2 + 16 * 2, 50
    limit, spent, through = float(value), 0.0, 0
    price = {"max_requests": (1, 0, 0), "max_tokens": (0, 1, 1), "max_cost": (0, 1e-4, 2e-5)}[name]
    worst = price[0] + price[1] * prompt + price[2] * answer
    real = price[0] + price[1] * 10 + price[2] * 20
    while spent + worst <= limit + 1e-12:  # the oracle, one request after the other
        spent, through = spent + real, through + 1
    more = (*PRICES, "teacher.max_new_tokens=50", f"teacher.concurrency={concurrency}")
    with ChatServer(delay=0.02) as server:
        with pytest.raises(InputError, match=rf"teacher.{name} = {value} ends the run: .*raise it") as error:
            teacher(server, tmp_path, f"teacher.{cap}", *more).complete_all(talk(*texts), 1)
        assert "\n" not in str(error.value)
        assert len(server.requests) == len(kept(tmp_path)) == through
        with pytest.raises(InputError, match=f"teacher.{name}"):  # over all runs of the folder
            teacher(server, tmp_path, f"teacher.{cap}", *more).complete_all(talk(*texts), 1)
        assert len(server.requests) == through
        answers = teacher(server, tmp_path, f"teacher.{name}=10000", *more).complete_all(talk(*texts), 1)
        assert all(text for (text,) in answers)
        assert server.asked == dict.fromkeys(texts, 1)


def test_what_a_reply_took_is_counted_in_full_where_the_server_does_not_say(tmp_path):
    replies = [
        {**said("12345678"), "usage": usage}
        for usage in (None, {"prompt_tokens": -1}, {"prompt_tokens": "7"})
    ]
    with ChatServer(lambda text, n: replies[int(text)]) as server:
        teacher(server, tmp_path).complete_all(talk("0", "1", "2"), 1)
    assert {tuple(record["tokens"]) for record in kept(tmp_path)} == {(1 + 16 * 2, 8 + 16)}


def test_a_longer_answer_by_the_body_counts_in_full(tmp_path):
    more = ("teacher.body={max_tokens: null, max_completion_tokens: 500}", "teacher.max_tokens=520")
    with ChatServer() as server, pytest.raises(InputError, match=r"at most 533 more for the next request"):
        teacher(server, tmp_path, *more).complete(*talk("q"), 1)
    assert server.requests == []


def test_tries_that_were_lost_count_too_and_may_have_cost(tmp_path):
    ways = [(500, {}, b""), "reset", None]
    with ChatServer(lambda text, n: ways[n]) as server:
        teacher(server, tmp_path, "teacher.max_new_tokens=50").complete(*talk("q"), 1)
        assert [r["tokens"] for r in kept(tmp_path)] == [[0, 0], [33, 50], [10, 20]]
        with pytest.raises(InputError, match=r"teacher.max_requests = 3 ends the run"):
            teacher(server, tmp_path, "teacher.max_requests=3", "teacher.max_new_tokens=50").complete(
                *talk("r"), 1
            )


def test_an_estimate_stands_before_the_run_and_what_was_spent_in_the_bar(tmp_path, capfd):
    more = (*PRICES, "teacher.max_cost=50", "teacher.max_new_tokens=1000")
    with ChatServer() as server:
        teacher(server, tmp_path, *more).complete_all(talk("q" * 400, "r" * 400), 5)
        out, err = capfd.readouterr()
        assert (
            "teacher: 10 answers to ask for, at most about 1,000 tokens of prompts and 10,000 of answers"
            in out
        )
        assert "0.30 of 50.0 cost; so far" in out  # 1,000 x 0.0001 + 10,000 x 0.00002
        assert (
            "10 requests, 300 tokens, 0.01 of 50.0 cost" in err.replace("\r", "\n").strip().splitlines()[-1]
        )
        teacher(server, tmp_path, *more).complete_all(talk("q" * 400, "r" * 400), 6)
        assert "2 answers to ask for, about 200 tokens of prompts and 40 of answers" in capfd.readouterr().out
