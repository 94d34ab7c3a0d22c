"""A server that refuses every conversation (it holds another model now, its account is empty: HTTP 400) ends the run.

Seen with transformers serve, restarted with another folder under a run: half the questions were set aside for good.
"""

import pytest
from support.chat_server import ChatServer

from fleming.config import load_config
from fleming.files import read_jsonl
from fleming.settings import Config
from fleming.teachers.load import load_teacher
from fleming.teachers.remembered import HOPELESS
from model.errors import InputError

OTHER_MODEL = (400, {}, b"{\"detail\": \"Server is pinned to 'n'; requested 'm'.\"}")
TEXTS = [f"q{i}" for i in range(3 * HOPELESS)]


def teacher(server, folder, *more, concurrency=1, offline=False):
    settings = ["teacher.kind=openai", "teacher.model=m", f"teacher.address={server.address}", *more]
    settings += [f"run_dir={folder}", f"teacher.concurrency={concurrency}"]
    return load_teacher(load_config(Config, None, settings), offline=offline)


def ask(teacher, texts=TEXTS):
    return [text for (text,) in teacher.complete_all([[{"role": "user", "content": t}] for t in texts], 1)]


def quarantined(folder):
    path = folder / "data/quarantine.jsonl"
    return [record["messages"][0]["content"] for _, record in read_jsonl(path)] if path.exists() else []


@pytest.mark.parametrize("answered", [0, 5])
@pytest.mark.parametrize("concurrency", [1, 6])
def test_the_run_ends_and_the_same_command_asks_for_all_that_was_refused(tmp_path, answered, concurrency):
    first = set(TEXTS[:answered])
    with ChatServer(lambda text, n: None if text in first else OTHER_MODEL) as server:
        assert all(ask(teacher(server, tmp_path), TEXTS[:answered]))
        with pytest.raises(InputError, match=r"refused 16 conversations in a row.*pinned to 'n'"):
            ask(teacher(server, tmp_path, concurrency=concurrency))
        # One or two more a thread: those that were under way, or begun before the row was seen.
        assert answered + HOPELESS <= len(server.requests) <= answered + HOPELESS + 2 * concurrency
    with ChatServer() as server:
        assert all(ask(teacher(server, tmp_path, concurrency=concurrency)))
        assert {body["messages"][0]["content"] for _, _, body in server.requests} == {*TEXTS} - first
        assert len(server.requests) == len(TEXTS) - answered
        assert quarantined(tmp_path) == []
        assert all(ask(teacher(server, tmp_path, offline=True)))


def test_one_that_is_refused_among_others_is_asked_for_once_also_by_a_later_run(tmp_path):
    bad = {*TEXTS[2::3]}
    with ChatServer(lambda text, n: OTHER_MODEL if text in bad else None) as server:
        for offline in (False, False, True):
            answers = ask(teacher(server, tmp_path, offline=offline))
            assert {t for t, answer in zip(TEXTS, answers, strict=True) if not answer} == bad
        assert len(server.requests) == len(TEXTS)
    assert {*quarantined(tmp_path)} == bad


def test_one_that_is_refused_again_when_others_are_not_is_refused_for_good(tmp_path):
    bad = TEXTS[HOPELESS - 1]
    with ChatServer(lambda text, n: OTHER_MODEL) as server, pytest.raises(InputError):
        ask(teacher(server, tmp_path))
    with ChatServer(lambda text, n: OTHER_MODEL if text == bad else None) as server:
        for offline in (False, False, True):
            assert ask(teacher(server, tmp_path, offline=offline)).count("") == 1
        assert len(server.requests) == len(TEXTS)
    assert quarantined(tmp_path) == [bad]


def test_many_that_no_model_can_take_do_not_stand_in_the_way_for_ever(tmp_path):
    bad = {*TEXTS[: HOPELESS + 2]}
    with ChatServer(lambda text, n: OTHER_MODEL if text in bad else None) as server:
        for _ in range(10):
            try:
                answers = ask(teacher(server, tmp_path, "teacher.asks=2"))
                break
            except InputError:
                pass
        assert {t for t, answer in zip(TEXTS, answers, strict=True) if not answer} == bad
        assert len(server.requests) <= 2 * len(bad) + len(TEXTS) - len(bad)
