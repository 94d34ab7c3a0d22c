"""From a trajectory to what is taught: trusted text is encoded as the tokenizer does, and nothing is taught twice."""

import json
from dataclasses import replace

import pytest
from support.chat import OPENED, write_tokenizer

from fleming.answer import format_ok
from fleming.prompt import prompt_ids, question_messages, response_text
from fleming.public.readers import read_trajectories
from fleming.records import Question
from fleming.rl.reward import medical_reward
from fleming.settings import Config, DataConfig
from fleming.training.examples import training_examples
from model.errors import InputError
from model.huggingface.config import ModelConfig
from model.huggingface.tokenizer import Tokenizer
from model.sampler import Sample

SHAPE = {"model_type": "qwen3", "vocab_size": 300, "hidden_size": 8, "intermediate_size": 8}
SHAPE |= {"num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1}
QUESTION = Question("q", "Is it b?", {"A": "yes", "B": "no"}, "B")
ANSWER = "<think>\nIt is.\n</think>\n<answer>B</answer>"


def taught(tmp_path, responses, template=None, prompt=None, extra=()):
    """The examples of a file of these responses to one question, and what was said."""
    cfg = replace(Config(), data=DataConfig(trajectories=str(tmp_path / "t.jsonl")))
    messages = prompt or question_messages(QUESTION, cfg.answer_style)
    rows = [
        {"id": f"t{i}", "question_id": "q", "prompt": messages, "response": r}
        for i, r in enumerate(responses)
    ]
    (tmp_path / "t.jsonl").write_text("\n" + "".join(json.dumps(row) + "\n" for row in rows))
    settings = {"template": template} if template else {}
    tokenizer = Tokenizer.from_folder(write_tokenizer(tmp_path / "m", extra=extra, **settings))
    said, model = [], ModelConfig.from_hf(SHAPE, "config.json")
    trajectories = read_trajectories(tmp_path / "t.jsonl")
    return training_examples(trajectories, tokenizer, model, cfg, said.append)[1], said, tokenizer, cfg


def test_a_written_end_of_turn_is_dropped_and_counted(tmp_path):
    endings = ["", "<|im_end|>", "<|im_end|>\n"]
    examples, said, tokenizer, _ = taught(tmp_path, [ANSWER + ending for ending in endings])
    assert [response for _, response in examples] == [[*tokenizer.encode(ANSWER), tokenizer.end_of_turn]] * 3
    assert len(said) == 1
    assert said[0].startswith("2 responses end in the token that ends a turn")


def test_another_turn_in_a_response_is_refused_with_its_line(tmp_path):
    two = ANSWER + "<|im_end|>\n<|im_start|>user\nAnd now?<|im_end|>\n<|im_start|>assistant\n" + ANSWER
    with pytest.raises(InputError, match=r"t\.jsonl:3: .*'<\|im_end\|>'.*begins or ends a turn"):
        taught(tmp_path, [ANSWER, two])


def test_a_prompt_that_an_assistant_has_ended_is_refused_with_its_line(tmp_path):
    prompt = [{"role": "user", "content": "Is it b?"}, {"role": "assistant", "content": "No."}]
    with pytest.raises(InputError, match=r"t\.jsonl:2: an answer, .* follows another"):
        taught(tmp_path, [ANSWER], prompt=prompt)


def test_tags_that_are_tokens_are_taught_as_tokens_after_the_prompt_of_rl(tmp_path):
    tags = ["<think>", "</think>", "<answer>", "</answer>"]
    ((prompt, response),), _, tokenizer, cfg = taught(tmp_path, [ANSWER], extra=tags)
    assert prompt == prompt_ids(QUESTION, tokenizer, cfg)
    ids = {tag: tokenizer._tokenizer.token_to_id(tag) for tag in tags}
    assert [i for i in response if i in ids.values()] == list(ids.values())
    assert [i for i in prompt if i in ids.values()] == list(ids.values())  # our instruction names all four


@pytest.mark.parametrize("template", [OPENED, OPENED.replace("<think>\\n", "<think>")])
def test_a_think_block_that_the_prompt_opened_counts_for_loss_format_and_parser(template, tmp_path):
    ((prompt, response),), _, tokenizer, cfg = taught(tmp_path, [ANSWER], template)
    assert tokenizer.decode(prompt).endswith("assistant\n" + tokenizer.opened)
    assert tokenizer.decode(response) == "It is.\n</think>\n<answer>B</answer><|im_end|>"

    # As RL and the evaluation read what the model writes there.
    text = response_text(Sample(response, [0.0] * len(response), "stop", 0.0), tokenizer)
    assert text.startswith("<think>")
    assert format_ok(text, QUESTION.options, "letter", True)
    assert medical_reward(text, True, QUESTION, cfg)["total"] == pytest.approx(1.1)
    unclosed = tokenizer.encode("It is. <answer>B</answer>")
    text = response_text(Sample(unclosed, [0.0] * len(unclosed), "length", 0.0), tokenizer)
    assert medical_reward(text, False, QUESTION, cfg)["total"] == 0  # still thinking

    with pytest.raises(InputError, match=r"t\.jsonl:2: the prompt has opened <think>"):
        taught(tmp_path, ["<answer>B</answer>"], template)


def test_the_line_is_the_records_whatever_is_set_aside_before_it_and_however_many_turns_it_has(tmp_path):
    def said(*answers):
        turns = [({"role": "user", "content": "Q?"}, {"role": "assistant", "content": a}) for a in answers]
        return {"messages": [message for turn in turns for message in turn]}

    rows = [said("a", "b", "c"), {"messages": []}, *(said("a", "b"),) * 6, said("a", "b<|im_end|> c")]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cfg = replace(Config(), data=DataConfig(trajectories=str(path)))
    tokenizer = Tokenizer.from_folder(write_tokenizer(tmp_path / "m"))
    model = ModelConfig.from_hf(SHAPE, "config.json")
    with pytest.raises(InputError, match=r"t\.jsonl:9: .*begins or ends a turn"):
        training_examples(read_trajectories(path, cfg), tokenizer, model, cfg, print)
