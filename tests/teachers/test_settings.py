"""Settings of the teacher that need or exclude one another: one line with the key and the way out, never a secret."""

import pytest

from fleming.config import load_config
from fleming.settings import Config
from model.errors import InputError

SERVER = ["teacher.kind=openai", "teacher.model=m", "teacher.address=http://localhost:8000/v1"]
WRONG = [  # settings, and what the line must say
    (["teacher.kind=openai"], ["teacher.model is empty", "set it"]),
    (["teacher.kind=openai", "teacher.model=m"], ["teacher.address is empty", "set it"]),
    (["teacher.kind=local"], ["teacher.model is empty", "set it"]),
    (["teacher.model=m"], ["teacher.model is set, but kind is template", "set kind"]),
    (["teacher.kind=local", "teacher.model=m", "teacher.key_env=K"], ["key_env is set, but kind is local"]),
    (["teacher.kind=local", "teacher.model=m", "teacher.max_tokens=9"], ["max_tokens is set, but kind is"]),
    (
        [*SERVER, "teacher.key_env=sk-SECRET"],
        ["teacher.key_env is no name of an environment variable", "export"],
    ),
    ([*SERVER, "teacher.key_env=hf_SECRETx"], ["teacher.key_env is no name of an environment variable"]),
    ([*SERVER, "teacher.address=http://me:SECRET@host/v1"], ["address may hold no user", "key_env instead"]),
    ([*SERVER, "teacher.address=http://host/v1?key=SECRET"], ["address may hold no user", "key_env instead"]),
    ([*SERVER, "teacher.address=host:8000"], ["address is no http(s) address"]),
    ([*SERVER, "teacher.address=file:///etc/passwd"], ["address is no http(s) address"]),
    ([*SERVER, "teacher.address=http://[::1"], ["address is no http(s) address"]),
    ([*SERVER, "teacher.address=http://host:x/v1"], ["address is no http(s) address"]),
    ([*SERVER, "teacher.address='http://host/v 1'"], ["address is no http(s) address"]),
    ([*SERVER, "teacher.body={n: 4}"], ["teacher.body.n is set by us"]),
    ([*SERVER, "teacher.body={stream: true}"], ["teacher.body.stream is set by us"]),
    *(
        ([*SERVER, f"teacher.{name}={body}"], [f"teacher.{name} is no JSON", "in quotes"])
        for name in ("body", "chat_template_kwargs")
        for body in ("{d: 2020-01-01}", "{x: {y: [.nan]}}", "{x: !!set {a}}")
    ),
    *(
        (
            [*SERVER, "teacher.max_tokens=9000", f"teacher.body={{{body}}}"],
            [f"teacher.body.{body.split(':')[0]} lets"],
        )
        for body in (
            "max_tokens: null",
            "max_tokens: '50000'",
            "max_tokens: -1",
            "max_tokens: true",
            "best_of: 5",
            "max_completion_tokens: 5.5",
            "n_predict: -1",
        )
    ),
    ([*SERVER, "teacher.max_cost=5"], ["max_cost needs prices", "prompt_price"]),
    ([*SERVER, "teacher.max_cost=0"], ["teacher.max_cost", "above 0"]),
    ([*SERVER, "teacher.asks=0"], ["teacher.asks", "from 1 to 20"]),
    ([*SERVER, "teacher.concurrency=0"], ["teacher.concurrency", "from 1 to 512"]),
    ([*SERVER, "teacher.deadline=0.1"], ["teacher.deadline", "from 1"]),
    (["synth.voter=teacher"], ["synth.voter is teacher, but teacher.kind is template", "./teacher"]),
    (
        [*SERVER, "synth.voter=teacher", "synth.voter_chat_template_kwargs={a: 1}"],
        ["voter_chat_template_kwargs is for a voter of its own", "teacher.chat_template_kwargs"],
    ),
]


@pytest.mark.parametrize(("settings", "said"), WRONG, ids=[" ".join(s[-1:]) for s, _ in WRONG])
def test_settings_without_sense_are_one_line_without_a_secret(settings, said):
    with pytest.raises(InputError) as error:
        load_config(Config, None, settings)
    for part in said:
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert "SECRET" not in str(error.value)


def test_settings_with_sense_are_taken():
    load_config(
        Config, None, [*SERVER, "teacher.max_cost=5", "teacher.answer_price=2", "synth.voter=teacher"]
    )
    load_config(Config, None, ["teacher.kind=local", "teacher.model=m", "synth.voter=teacher"])
    load_config(Config, None, ["synth.voter=./teacher"])
    free = "teacher.body={max_tokens: null, best_of: 5}"
    load_config(Config, None, [*SERVER, free])
    load_config(Config, None, [*SERVER, free, "teacher.max_requests=5"])
    bound = "teacher.body={max_tokens: null, max_completion_tokens: 50, best_of: null}"
    load_config(Config, None, [*SERVER, bound, "teacher.max_tokens=500"])
