"""fleming/evaluation/loglikelihood.py against transformers, one document and one choice at a time.

The harness itself is asked in test_harness.py; this needs neither it nor real data.
"""

import pytest
import torch
from support.models import hf_model, ours

from fleming.evaluation.items import Item
from fleming.evaluation.loglikelihood import (
    DOCUMENTS,
    choices_of,
    continuation_logprobs,
    encode_pairs,
    loglikelihood,
)
from fleming.records import Question
from model.errors import InputError


class Characters:
    """A tokenizer of one id a character, with an id of its own for a blank before a letter, and a BOS."""

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        ids, i = [1] if add_special_tokens else [], 0
        while i < len(text):
            blank = text[i] == " " and text[i + 1 : i + 2].isalpha()
            ids.append((50 + ord(text[i + 1]) % 50) if blank else 2 + ord(text[i]) % 48)
            i += 1 + blank
        return ids


def expected(hf, head: list[int], tail: list[int], context: int = 512) -> float:
    """Sum the log-probabilities of the tail, by transformers, in the plainest way."""
    ids = [*head, *tail][-(context + 1) :]
    with torch.no_grad():
        logp = hf(torch.tensor([ids[:-1]])).logits[0].double().log_softmax(-1)
    return sum(logp[len(ids) - len(tail) - 1 + i, t].item() for i, t in enumerate(tail))


def test_continuations_of_any_length_score_as_transformers_does_one_by_one(pair):
    transformer, hf = pair
    g = torch.Generator().manual_seed(0)
    draw = lambda n: torch.randint(0, 101, (n,), generator=g).tolist()  # noqa: E731
    head = draw(9)
    requests = [(head, [5]), (head, [6]), (head, [7, 8, 9]), (draw(30), draw(2)), (draw(1), [3])]
    found = continuation_logprobs(transformer, requests)
    assert found == pytest.approx([expected(hf, *request) for request in requests], abs=1e-5)


def test_letters_after_one_document_are_one_row_of_the_forward():
    transformer = ours(hf_model("qwen3"))
    fed = []
    transformer.embed_tokens.register_forward_hook(lambda _, tokens, __: fed.append(tokens[0].numel()))
    continuation_logprobs(transformer, [([1, 2, 3, 4], [letter]) for letter in (5, 6, 7, 8)])
    continuation_logprobs(transformer, [([1, 2, 3, 4], [5, 9]), ([1, 2, 3, 4], [6, 9])])
    assert fed == [4, 4 + 1 + 1]


def test_a_document_too_long_is_cut_on_the_left():
    hf = hf_model("llama", max_position_embeddings=16)
    transformer = ours(hf)
    head = list(range(40))
    (found,) = continuation_logprobs(transformer, [(head, [3, 4])])
    assert found == pytest.approx(expected(hf, head, [3, 4], context=16), abs=1e-5)
    assert found == pytest.approx(continuation_logprobs(transformer, [(head[-15:], [3, 4])])[0], abs=1e-6)


def test_blanks_at_the_documents_end_belong_to_the_choice():
    ((head, tail),) = encode_pairs(Characters(), "Answer:", [" B"])
    assert (head, tail) == (Characters().encode("Answer:", True), [50 + ord("B") % 50])
    assert encode_pairs(Characters(), "Answer: ", ["B"]) == [(head, tail)]
    assert encode_pairs(Characters(), "Answer:\n ", ["B"]) == [(head, Characters().encode("\n B"))]


def test_the_first_of_equal_options_is_chosen_and_lengths_are_those_of_the_choices():
    question = Question(
        id="x",
        question="?",
        context="c",
        options={"A": "maybe", "B": "no", "C": "no", "D": "yes"},
        answer="C",
    )
    (record,) = loglikelihood(ours(hf_model("qwen3")), Characters(), [Item("mine", question)], "abstract")
    values = record.loglikelihoods
    assert values["B"] == values["C"]
    by_length = {letter: value / len(question.options[letter]) for letter, value in values.items()}
    assert record.answer == max(values, key=values.__getitem__)  # the first of several
    assert record.correct_by_length == (max(by_length, key=by_length.__getitem__) == "C")
    twins = Question(id="y", question="?", context="c", options={"A": "no", "B": "no"}, answer="B")
    (record,) = loglikelihood(ours(hf_model("qwen3")), Characters(), [Item("mine", twins)], "abstract")
    assert (record.answer, record.correct, record.correct_by_length) == ("A", False, False)


def test_documents_are_what_the_harness_asks():
    question = Question(
        id="x", question="Which?", context="Text.", options={"A": "yes", "B": "no"}, answer="A"
    )
    assert {name: make(question) for name, make in DOCUMENTS.items()} == {
        "question": "Question: Which?\nA. yes\nB. no\nAnswer:",
        "choices": "Question: Which?\nChoices:\nA. yes\nB. no\nAnswer:",
        "abstract": "Abstract: Text.\nQuestion: Which?\nAnswer:",
        "letters": "Text.\nWhich?\nA. yes\nB. no\nAnswer:",
    }
    assert choices_of(question, "abstract") == {"A": "yes", "B": "no"}
    assert choices_of(question, "letters") == {"A": "A", "B": "B"}


def test_a_choice_without_a_token_of_its_own_is_an_error_that_names_the_question():
    class Swallows(Characters):
        def encode(self, text, add_special_tokens=False):
            return super().encode(text.removesuffix(" A"), add_special_tokens)

    question = Question(id="x", question="?", options={"A": "yes", "B": "no"}, answer="A")
    with pytest.raises(InputError, match="x: an option adds no token"):
        list(loglikelihood(ours(hf_model("qwen3")), Swallows(), [Item("mine", question)], "letters"))
