"""Protocol "loglikelihood": which option the model finds likeliest as the continuation of a plain document.

The rules are lm-evaluation-harness's (tests/evaluation/test_harness.py checks them on real files): its documents for
medqa_4options, medmcqa, careqa_en, pubmedqa and MMLU-Pro, zero-shot; one space before the choice; the split between
context and continuation found by encoding both; a document too long for the model cut on the left; the first of
several equal maxima. The softmax runs over all rows of the output matrix, also those the tokenizer lacks.

Left out: few-shot examples, chat templates, other normalisations than by characters.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from fleming.evaluation.items import Item, record_of
from fleming.records import Question
from fleming.settings import Config
from fleming.training.logprobs import chunked_logprobs
from model.attention import PackedCausal
from model.errors import InputError
from model.huggingface.tokenizer import Tokenizer
from model.transformer import Transformer

BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}  # packed into one forward: a CPU is fastest while they stay in its cache


def describe_loglikelihood(_: Config) -> str:
    """Return the protocol in one line, to stand beside the score."""
    return (
        "likeliest of the options' letters (PubMedQA: yes, no, maybe) after a zero-shot document, no chat template, "
        "lm-evaluation-harness's rules"
    )


def _lettered(question: Question) -> str:
    return "".join(f"{letter}. {text}\n" for letter, text in question.options.items())


DOCUMENTS: dict[str, Callable[[Question], str]] = {
    "question": lambda q: f"Question: {q.question}\n{_lettered(q)}Answer:",  # medqa_4options
    "choices": lambda q: f"Question: {q.question}\nChoices:\n{_lettered(q)}Answer:",  # medmcqa, careqa_en
    "abstract": lambda q: f"Abstract: {q.context}\nQuestion: {q.question}\nAnswer:",  # pubmedqa
    "letters": lambda q: "".join(  # MMLU-Pro
        [f"{q.context}\n" if q.context else "", f"{q.question}\n{_lettered(q)}Answer:"]
    ),
}


def choices_of(question: Question, document: str) -> dict[str, str]:
    """Return letter -> what the document may go on with: the letter, or PubMedQA's words."""
    return {letter: text if document == "abstract" else letter for letter, text in question.options.items()}


def encode_pairs(tokenizer: Tokenizer, context: str, continuations: Iterable[str]) -> list[tuple[list[int], list[int]]]:
    """Return (context, continuation) in ids for each continuation.

    Blanks at the context's end belong to the continuation, as in the model's own tokens.
    """
    head = tokenizer.encode(context.rstrip(), add_special_tokens=True)
    wholes = (tokenizer.encode(context + rest, add_special_tokens=True) for rest in continuations)
    return [(head, whole[len(head) :]) for whole in wholes]


def encode_item(tokenizer: Tokenizer, document: str, item: Item) -> list[tuple[list[int], list[int]]]:
    """Return (context, continuation) in ids for each option; document is a key of DOCUMENTS.

    Raises InputError where an option adds no token of its own, so that nothing could be scored.
    """
    text, choices = DOCUMENTS[document](item.question), choices_of(item.question, document)
    pairs = encode_pairs(tokenizer, text, [f" {choice}" for choice in choices.values()])
    if not all(tail for _, tail in pairs):
        raise InputError(f"{item.question.id}: an option adds no token to its document; the tokenizer merges them")
    return pairs


def fed_tokens(pairs: Sequence[tuple[list[int], list[int]]]) -> int:
    """Return how many tokens the model is fed for them: documents that differ in nothing fed are fed once."""
    return sum(map(len, {(*head, *tail[:-1]) for head, tail in pairs}))


@torch.inference_mode()
def continuation_logprobs(
    transformer: Transformer, requests: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> list[float]:
    """Return the log-probability of each continuation after its context, both ids, in one packed forward, nats.

    Requests that feed the same tokens (letters after one document) share them.
    """
    context_size = transformer.cfg.max_position_embeddings
    rows: dict[tuple[int, ...], int] = {}  # fed tokens -> where they begin in the pack
    predict_at: list[int] = []
    total = 0
    for head, tail in requests:
        fed = tuple([*head, *tail][-(context_size + 1) : -1])
        if fed not in rows:
            rows[fed], total = total, total + len(fed)
        end = rows[fed] + len(fed)
        predict_at += range(end - len(tail), end)
    device = transformer.lm_head.weight.device
    lengths = torch.tensor([len(fed) for fed in rows])
    bounds = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]).to(torch.int32)
    attend = PackedCausal(bounds.to(device), int(lengths.max()))
    tokens = torch.tensor([t for fed in rows for t in fed], device=device)[None]  # [1, T]
    positions = torch.cat([torch.arange(n) for n in lengths.tolist()]).to(device)[None]  # [1, T]
    targets = torch.tensor([t for _, tail in requests for t in tail], device=device)  # [R]
    places = torch.tensor(predict_at, device=device)  # [R]
    logprobs, _ = transformer(
        tokens, positions, attend, lambda h, w: chunked_logprobs(h[0].index_select(0, places), w, targets)
    )
    parts = logprobs.double().cpu().split([len(tail) for _, tail in requests])
    return [part.sum().item() for part in parts]


def loglikelihood(
    transformer: Transformer,
    tokenizer: Tokenizer,
    items: Sequence[Item],
    document: str,
    keep: Callable[[dict[str, Any]], object],
) -> None:
    """Score each item, best sorted by length; keep(record) gets each as it is done.

    document: a key of DOCUMENTS.
    """
    batch: list[tuple[Item, list[tuple[list[int], list[int]]]]] = []
    size, most = 0, BATCH_TOKENS[transformer.lm_head.weight.device.type]
    for item in items:
        pairs = encode_item(tokenizer, document, item)
        length = fed_tokens(pairs)
        if batch and size + length > most:
            _score(transformer, batch, document, keep)
            batch, size = [], 0
        batch.append((item, pairs))
        size += length
    if batch:
        _score(transformer, batch, document, keep)


def _score(transformer: Transformer, batch: list, document: str, keep: Callable[[dict[str, Any]], object]) -> None:
    began = time.perf_counter()
    scores = iter(continuation_logprobs(transformer, [pair for _, pairs in batch for pair in pairs]))
    seconds = (time.perf_counter() - began) / len(batch)
    longest = transformer.cfg.max_position_embeddings
    for item, pairs in batch:
        found = {letter: next(scores) for letter in item.question.options}
        values = np.array(list(found.values()))
        if not np.isfinite(values).all():
            raise InputError(
                f"{item.question.id}: the model's log-probabilities are not finite; are its weights broken?"
            )
        lengths = np.array([len(choice) for choice in choices_of(item.question, document).values()], dtype=float)
        letters = list(found)
        answer, by_length = letters[int(values.argmax())], letters[int((values / lengths).argmax())]
        keep(
            {
                **record_of(item, "loglikelihood", 0, answer),
                "prompt": DOCUMENTS[document](item.question),
                "response": None,
                "loglikelihoods": found,
                "correct_by_length": by_length == item.question.answer,
                "cut_left": any(len(head) + len(tail) > longest + 1 for head, tail in pairs),
                "tokens": sum(len(tail) for _, tail in pairs),
                "time": {"seconds": round(seconds, 4)},
            }
        )
