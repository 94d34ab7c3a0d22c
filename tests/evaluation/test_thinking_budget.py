"""A budget of thinking: what still thinks is made to answer, with the ids that transformers' model goes on with."""

from dataclasses import replace

import pytest
import torch
from support.models import hf_folder

from fleming.config import load_config
from fleming.evaluation.answers import answer_to_json
from fleming.evaluation.generation import END_OF_THINKING, ChainOfThought
from fleming.prompt import prompt_ids
from fleming.public.benchmarks import LoadedBenchmark
from fleming.records import Question
from fleming.settings import Config
from model import load_model
from model.errors import InputError
from model.sampler import Sampler

BUDGET, MOST = 9, 48
QUESTIONS = [Question(f"q{i}", f"Which of {i}?", {"A": "one", "B": "two"}, "A") for i in range(4)]
BENCH = LoadedBenchmark("mine", QUESTIONS, [], None, [])


def config(*settings):
    return load_config(Config, None, ["parallel.device=cpu", f"evaluate.max_new_tokens={MOST}", *settings])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    hf = hf_folder(folder)
    return hf, load_model(folder)


def answers(loaded, cfg):
    protocol, found = ChainOfThought(*loaded, cfg), {}
    protocol.answer(BENCH, protocol.plan(BENCH), lambda answer: found.setdefault(answer.id, answer))
    return protocol, [found[q.id] for q in QUESTIONS]


def greedy(hf, ids, tokenizer, most):
    given = torch.tensor([ids])
    stop = sorted(tokenizer.stop_ids)
    how = {"max_new_tokens": most, "do_sample": False, "eos_token_id": stop, "pad_token_id": stop[0]}
    return hf.generate(given, attention_mask=torch.ones_like(given), **how)[0, len(ids) :].tolist()


def test_what_still_thinks_is_made_to_answer_and_goes_on_as_transformers_does(model):
    hf, (transformer, tokenizer) = model
    cfg = config(f"evaluate.thinking_tokens={BUDGET}")
    protocol, given = answers((transformer, tokenizer), cfg)
    written = tokenizer.encode_response(END_OF_THINKING)[0][:-1]
    forced = 0
    for question, answer in zip(QUESTIONS, given, strict=True):
        prompt = prompt_ids(question, tokenizer, cfg)
        ids = greedy(hf, prompt, tokenizer, BUDGET)
        if ids[-1] not in tokenizer.stop_ids:
            ids += written
            ids += greedy(hf, [*prompt, *ids], tokenizer, MOST - len(ids))
            forced += 1
        finished = ids[-1] in tokenizer.stop_ids
        assert answer.response == tokenizer.decode(ids[:-1] if finished else ids)
        assert (answer.tokens, answer.finish_reason) == (len(ids), "stop" if finished else "length")
        assert answer.tokens <= MOST
        assert answer.forced == (END_OF_THINKING in answer.response)
    assert forced
    asked = protocol.plan(BENCH)
    assert [protocol.read_again(a, x) for a, x in zip(asked, given, strict=True)] == given
    assert "made to answer after 9 tokens of thinking" in ChainOfThought.describe(cfg, [])


def test_one_who_has_thought_already_only_goes_on(model, monkeypatch):
    _, (transformer, tokenizer) = model
    real, calls = Sampler.generate, []

    def generate(self, prompts, params, keys, on_finish):
        calls.append((prompts, params.max_new_tokens))
        if len(calls) == 1:  # has closed its think block within the budget, and not yet answered
            half = tokenizer.encode_response("<think>a</think> <answer>")[0][:-1]
            for i in range(len(prompts)):
                (sample,) = real(self, [prompts[i]], params)[0]
                on_finish(i, 0, replace(sample, token_ids=half, finish_reason="length"), 0.5)
        else:
            real(self, prompts, params, keys, on_finish=on_finish)

    monkeypatch.setattr(Sampler, "generate", generate)
    _, given = answers((transformer, tokenizer), config(f"evaluate.thinking_tokens={BUDGET}"))
    assert all(answer.forced is False for answer in given)
    assert all(answer.response.startswith("<think>a</think> <answer>") for answer in given)
    assert not [answer for answer in given if END_OF_THINKING in answer.response]
    half = tokenizer.encode_response("<think>a</think> <answer>")[0][:-1]
    assert all(prompt[-len(half) :] == half for prompt in calls[1][0])


def test_without_a_budget_nothing_is_said_of_it(model):
    _, loaded = model
    _, given = answers(loaded, config())
    assert not ["forced" for answer in given if "forced" in answer_to_json(answer)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            ["evaluate.thinking_tokens=20"],
            r"thinking_tokens is 20, and max_new_tokens 48: leave at least 32",
        ),
        (["evaluate.top_p=0.9"], r"need temperature"),
        (["evaluate.min_p=0.1"], r"need temperature"),
        (["evaluate.top_k=5"], r"need temperature"),
        (["evaluate.min_p=1.5", "evaluate.temperature=1"], r"min_p is out of its range"),
    ],
)
def test_settings_that_make_no_sense_together(settings, said):
    with pytest.raises(InputError, match=said):
        config(*settings)


def test_how_it_was_drawn_is_said():
    cfg = config("evaluate.temperature=0.6", "evaluate.top_p=0.95", "evaluate.top_k=20")
    assert "at temperature 0.6, top_p 0.95, top_k 20" in ChainOfThought.describe(cfg, [])


@pytest.mark.parametrize(
    ("style", "options", "kind", "said"),
    [
        ("letter", {"A": "iron", "B": "zinc"}, "text", "the option's letter"),
        ("text", {"A": "iron", "B": "zinc"}, "text", "the option's text"),
        ("letter", {}, "number", "a number"),
        ("number", {}, "text", "a short answer"),
    ],
)
def test_what_is_asked_for_is_said_of_the_questions_that_there_are(style, options, kind, said):
    answer = "A" if options else "5"
    question = Question("q", "Which?", options, answer, answer_kind=kind)
    assert f"({said})" in ChainOfThought.describe(config(f"answer_style={style}"), [question])
