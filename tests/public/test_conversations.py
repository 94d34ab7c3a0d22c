"""fleming/public/conversations.py: worked answers in the forms that people have, and each turn learned from once."""

import json

import pytest
from support.forms import lines

from fleming.config import load_config
from fleming.public.readers import read_trajectories
from fleming.settings import Config
from model.errors import InputError

USER, BOT = {"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A."}


def read(path, *overrides, say=lambda line: None):
    return read_trajectories(path, load_config(Config, None, list(overrides)), say)


ONE_TURN = {
    "Alpaca": ({"instruction": "Q?", "input": "", "output": "A."}, [USER]),
    "Alpaca with an input": (
        {"instruction": "Say.", "input": "Q?", "output": "A."},
        [{**USER, "content": "Say.\n\nQ?"}],
    ),
    "ShareGPT": (
        {"conversations": [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A."}]},
        [USER],
    ),
    "messages": ({"messages": [USER, BOT]}, [USER]),
    "messages of parts": ({"messages": [{**USER, "content": [{"type": "text", "text": "Q?"}]}, BOT]}, [USER]),
    "system beside": ({"system": "S", "messages": [USER, BOT]}, [{"role": "system", "content": "S"}, USER]),
    "prompt and completion": ({"prompt": "Q?", "completion": "A."}, [USER]),
    "of messages": ({"prompt": [USER], "completion": [BOT]}, [USER]),
    "ours": ({"id": "x", "question_id": "y", "prompt": [USER], "response": "A.", "teacher": "t"}, [USER]),
    "other names": ({"Query": "Q?", "Output": "A."}, [USER]),
    "Dolly": (
        {"instruction": "Say.", "context": "Q?", "response": "A."},
        [{**USER, "content": "Say.\n\nQ?"}],
    ),
    "a question with an instruction": (
        {"instruction": "Answer as a doctor.", "question": "Q?", "response": "A."},
        [USER],
    ),
    "an empty response": ({"prompt": "Q?", "response": "", "completion": "A.", "thinking": False}, [USER]),
    "passages": ({"question": "Q?", "input": " ", "context": {"contexts": ["P."]}, "response": "A."}, [USER]),
    "passages and an input": (
        {"question": "Say.", "input": "Q?", "context": ["P."], "response": "A.", "reasoning": ["W."]},
        [{**USER, "content": "Say.\n\nQ?"}],
    ),
    "a number": (
        {"instruction": "Say.", "input": 5, "output": "A."},
        [{**USER, "content": "Say.\n\n5"}],
    ),
    "a developer's": (
        {"messages": [{"role": "developer", "content": "S"}, USER, BOT]},
        [{"role": "system", "content": "S"}, USER],
    ),
    "question and response": ({"question": "Q?", "response": "A.", "source": "s"}, [USER]),
}


@pytest.mark.parametrize("form", ONE_TURN)
def test_each_form_is_recognised(tmp_path, form):
    row, prompt = ONE_TURN[form]
    (one,) = read(lines(tmp_path / "mine.jsonl", [row]))
    assert (one.prompt, one.response) == (prompt, "A.")
    ids = ("x", "y", "t") if form == "ours" else ("mine/1", "mine/1", "user")
    assert (one.id, one.question_id, one.teacher) == ids


def test_each_answer_of_a_conversation_is_learned_from_with_what_was_said_before_it(tmp_path):
    said = [{"role": "system", "content": "S"}]
    for turn in "123":
        said += [{"role": "user", "content": f"Q{turn}"}, {"role": "assistant", "content": f"A{turn}"}]
    path = lines(tmp_path / "a.jsonl", [{"id": "x", "messages": said}])
    every = read(path)
    assert [(t.id, t.question_id, t.response) for t in every] == [(f"x/{i}", "x", f"A{i}") for i in "123"]
    assert [t.prompt for t in every] == [said[:2], said[:4], said[:6]]
    (last,) = read(path, "data.assistant_turns=last")
    assert (last.id, last.prompt, last.response) == ("x", said[:6], "A3")


def test_history_of_alpaca_is_context_and_not_learned(tmp_path):
    row = {"instruction": "Q2", "output": "A2", "history": [["Q1", "A1"]]}
    (one,) = read(lines(tmp_path / "a.jsonl", [row]))
    assert [message["content"] for message in one.prompt] == ["Q1", "A1", "Q2"]


def test_reasoning_that_stands_by_itself_is_thought_first(tmp_path):
    thought = "<think>\nWhy.\n</think>\n\nA."
    for row in (
        {"Question": "Q?", "Complex_CoT": "Why.", "Response": "A."},
        {"question": "Q?", "complex_cot": "<think>Why.</think>", "response": "A."},
        {"messages": [USER, {**BOT, "reasoning_content": "Why."}]},
        {"messages": [USER, {**BOT, "thinking": "Why."}]},
        {"prompt": "Q?", "response": "A.", "reasoning": "Why."},
        {"prompt": "Q?", "response": "A.", "reasoning": "", "thinking": True, "cot": "Why."},
    ):
        (one,) = read(lines(tmp_path / "a.jsonl", [row]))
        assert one.response == thought
    row = {"prompt": "Q?", "response": thought, "reasoning": "Why."}  # it is there already
    assert read(lines(tmp_path / "a.jsonl", [row]))[0].response == thought


def test_a_tables_cell_may_hold_a_conversation_as_json(tmp_path):
    (tmp_path / "a.csv").write_text(
        f"id,messages\n7,{json.dumps(json.dumps([USER, BOT]))}\n".replace('\\"', '""')
    )
    (one,) = read(tmp_path / "a.csv")
    assert (one.id, one.prompt, one.response) == ("7", [USER], BOT["content"])


def test_told_columns_and_arrays(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"frage": "Q?", "antwort": "A."}]))
    (one,) = read(path, "data.columns={prompt: frage, response: antwort}")
    assert (one.prompt, one.response) == ([USER], "A.")
    with pytest.raises(
        InputError, match=r"has the columns 'frage', 'antwort'; .* messages, ShareGPT, .* Alpaca"
    ):
        read(path)


FLAWS = [
    ({"messages": [USER]}, "no_answer"),
    ({"messages": [BOT, USER]}, "no_answer"),
    ({"messages": [USER, BOT, BOT]}, "turns"),
    ({"messages": [USER, {"role": "tool", "content": "x"}]}, "unknown_role"),
    ({"messages": [USER, {**BOT, "content": ""}]}, "no_text"),
    ({"messages": [USER, {**BOT, "content": [{"type": "image"}]}]}, "no_text"),
    ({"messages": "text"}, "no_answer"),
    ({"messages": 7}, "no_messages"),
    ({"messages": [USER, {**BOT, "reasoning_content": ["Why."]}]}, "no_text"),
    ({"instruction": "Q?", "output": "A.", "history": "Q1"}, "no_messages"),
    ({"instruction": "Q?", "output": "A.", "history": [["Q1"]]}, "no_messages"),
]


@pytest.mark.parametrize(("row", "code"), FLAWS)
def test_a_flawed_conversation_is_set_aside_and_said(tmp_path, row, code):
    said = []
    assert len(read(lines(tmp_path / "a.jsonl", [{"messages": [USER, BOT]}, row]), say=said.append)) == 1
    assert said == [
        f"{tmp_path}/a.jsonl: 1 of 2 records set aside ({code} 1), the first: {tmp_path}/a.jsonl:2"
    ]


def test_the_real_demo_of_a_medical_set_is_read_with_its_reasoning(shared):
    path = shared / "data/train/huatuogpt_o1_demo_198.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    found = read(path)
    assert [t.prompt[0]["content"] for t in found] == [row["Question"] for row in rows]
    assert all(t.response.startswith("<think>\n") and "</think>\n\n" in t.response for t in found)


@pytest.mark.parametrize("mark", [{"weight": 0}, {"train": False}, {"loss": False}])
@pytest.mark.parametrize("system", [[], [{"role": "system", "content": "S"}]])
def test_an_answer_that_is_marked_so_is_context_alone(tmp_path, mark, system):
    kept, other = {**BOT, "content": "learned", "weight": 1}, {**USER, "train": True}
    rows = [
        {"messages": [*system, USER, {**BOT, **mark}, other, kept]},
        {"messages": [*system, USER, kept, USER, {**BOT, **mark}], "system": None if system else "S"},
        {"messages": [*system, USER, {**BOT, **mark}]},
        *({"messages": [USER, BOT]} for _ in range(8)),
    ]
    lines_said: list[str] = []
    first, second, *_ = read(lines(tmp_path / "a.jsonl", rows), say=lines_said.append)
    assert [first.response, second.response] == ["learned", "learned"]
    assert [m["content"] for m in first.prompt[-3:]] == [USER["content"], BOT["content"], USER["content"]]
    assert second.prompt[-1]["content"] == USER["content"]
    assert "1 of 11 records set aside (no_answer 1)" in "\n".join(lines_said)
