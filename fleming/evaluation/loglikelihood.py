"""Protocol "loglikelihood": which option the model finds likeliest as the continuation of a plain document.

The rules are lm-evaluation-harness's (tests/evaluation/test_harness.py checks them on real files): its documents for
medqa_4options, medmcqa, careqa_en, pubmedqa and MMLU-Pro, zero-shot; one space before the choice; the split between
context and continuation found by encoding both; a document too long for the model cut on the left; the first of
several equal maxima. The softmax runs over all rows of the output matrix, also those the tokenizer lacks.

Left out: few-shot examples, chat templates, other normalisations than by characters.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from fleming.evaluation.answers import Answer, Keep, answer_of
from fleming.evaluation.items import Asked, Item, all_asked
from fleming.evaluation.variants import ORDERS, VARIANTS
from fleming.public.benchmarks import LoadedBenchmark
from fleming.records import Question
from fleming.settings import Config
from fleming.training.logprobs import token_logprobs
from fleming.training.packing import pack
from model.errors import InputError
from model.huggingface.tokenizer import Tokenizer
from model.transformer import Transformer

BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}  # of one forward: a CPU is fastest while they stay in its cache
SHARED_TOKENS = 16  # that contexts must have in common to be fed once: laying them side by side costs too
Pair = tuple[list[int], list[int]]
"""Context and continuation, in ids."""
Encoded = tuple[Item, list[Pair]]
"""An item and a pair for each of its options."""


class Loglikelihood:
    """The model's likeliest option is its answer."""

    def __init__(self, transformer: Transformer, tokenizer: Tokenizer, cfg: Config):
        self.transformer, self.tokenizer, self.cfg = transformer, tokenizer, cfg

    @staticmethod
    def describe(cfg: Config, questions: Iterable[Question]) -> str:
        """Return the protocol in one line, to stand beside the score."""
        return (
            "likeliest of the options' letters (PubMedQA: yes, no, maybe) after a zero-shot document, "
            "no chat template, lm-evaluation-harness's rules"
        )

    def plan(self, benchmark: LoadedBenchmark, reliability: bool = False) -> list[Asked]:
        """Return the answers that are wanted. Raises InputError where an option adds no token."""
        shows_options = benchmark.document != "abstract"  # else their order and their form cannot matter
        reshuffles = max(self.cfg.evaluate.reshuffles, ORDERS * reliability) if shows_options else 0
        variants = [
            name
            for name, how in (VARIANTS.items() if reliability else ())
            if shows_options or not (how.numbered or how.other_style)
        ]
        if free := next((q.id for q in benchmark.questions if not q.options), None):
            raise InputError(
                f"{free}: has no options; evaluate.protocols loglikelihood chooses among options"
            )

        def length(item: Item) -> int:
            return fed_tokens(encode_item(self.tokenizer, benchmark.document, item))

        return all_asked(benchmark, "loglikelihood", 1, reshuffles, self.cfg.seed, length, variants)

    def answer(self, benchmark: LoadedBenchmark, asked: Sequence[Asked], keep: Keep) -> None:
        """Score what is asked; keep(answer) gets each as it is done."""
        items = [a.item for a in asked]
        for answer in loglikelihood(self.transformer, self.tokenizer, items, benchmark.document):
            keep(answer)


def _lettered(question: Question) -> str:
    return "".join(f"{letter}. {text}\n" for letter, text in question.options.items())


def _mmlu_pro(question: Question) -> str:
    context = f"{question.context}\n" if question.context else ""
    return f"{context}{question.question}\n{_lettered(question)}Answer:"


DOCUMENTS: dict[str, Callable[[Question], str]] = {
    "question": lambda q: f"Question: {q.question}\n{_lettered(q)}Answer:",  # medqa_4options
    "choices": lambda q: f"Question: {q.question}\nChoices:\n{_lettered(q)}Answer:",  # medmcqa, careqa_en
    "abstract": lambda q: f"Abstract: {q.context}\nQuestion: {q.question}\nAnswer:",  # pubmedqa
    "letters": _mmlu_pro,
}


def document_of(item: Item, document: str) -> str:
    """Return the text that is to be gone on with."""
    text = DOCUMENTS[document](item.question)
    variant = VARIANTS.get(item.variant)
    return text.removesuffix("Answer:") + variant.ending if variant and variant.ending else text


def choices_of(question: Question, document: str, as_text: bool = False) -> dict[str, str]:
    """Return letter -> what the document may go on with: the letter, or PubMedQA's words, or the option's text."""
    as_text = as_text or document == "abstract"
    return {letter: text if as_text else letter for letter, text in question.options.items()}


def chooses_text(item: Item) -> bool:
    """Whether an option's text is to be chosen where others choose its letter: texts are as likely as they are short,
    so they are compared by character.
    """
    return item.variant in VARIANTS and VARIANTS[item.variant].other_style


def encode_pairs(tokenizer: Tokenizer, context: str, continuations: Iterable[str]) -> list[Pair]:
    """Return (context, continuation) in ids for each continuation.

    Blanks at the context's end belong to the continuation, as in the model's own tokens.
    """
    head = tokenizer.encode(context.rstrip(), add_special_tokens=True)
    wholes = (tokenizer.encode(context + rest, add_special_tokens=True) for rest in continuations)
    return [(head, whole[len(head) :]) for whole in wholes]


def encode_item(tokenizer: Tokenizer, document: str, item: Item) -> list[Pair]:
    """Return (context, continuation) in ids for each option; document is a key of DOCUMENTS.

    Raises InputError where an option adds no token of its own, so that nothing could be scored.
    """
    text = document_of(item, document)
    choices = choices_of(item.question, document, chooses_text(item))
    pairs = encode_pairs(tokenizer, text, [f" {choice}" for choice in choices.values()])
    if not all(tail for _, tail in pairs):
        raise InputError(f"{item.question.id}: an option adds no token to its document: it is merged")
    return pairs


def fed_tokens(pairs: Sequence[Pair]) -> int:
    """Return how many tokens the model is fed for them: a context once, of a continuation all but the last."""
    heads = {tuple(head) for head, _ in pairs}
    return sum(map(len, heads)) + sum(len(tail) - 1 for _, tail in pairs)


@torch.inference_mode()
def continuation_logprobs(transformer: Transformer, requests: Sequence[Pair]) -> list[float]:
    """Return the log-probability of each continuation after its context, both ids, in one packed forward, nats.

    What contexts begin with alike is fed once; one that leaves the model's no room is cut on the left.
    """
    longest = transformer.cfg.max_position_embeddings
    heads = [head[max(0, len(head) + len(tail) - 1 - longest) :] for head, tail in requests]
    order = sorted(range(len(heads)), key=heads.__getitem__)  # what begins alike stands together
    tails = [requests[i][1] for i in order]
    batch = pack([heads[i] for i in order], tails, share=SHARED_TOKENS).to(transformer.lm_head.weight.device)
    logprobs, _ = token_logprobs(transformer, batch, vocab_limit=transformer.cfg.vocab_size)  # [R]
    parts = logprobs.double().cpu().split(list(map(len, tails)))
    found = {i: part.sum().item() for i, part in zip(order, parts, strict=True)}
    return [found[i] for i in range(len(requests))]


def loglikelihood(
    transformer: Transformer, tokenizer: Tokenizer, items: Iterable[Item], document: str
) -> Iterator[Answer]:
    """Yield the answer to each item, best sorted by length; document: a key of DOCUMENTS."""
    batch: list[Encoded] = []
    size = 0
    most = BATCH_TOKENS[transformer.lm_head.weight.device.type]
    for item in items:
        pairs = encode_item(tokenizer, document, item)
        length = fed_tokens(pairs)
        if batch and size + length > most:
            yield from _score(transformer, batch, document)
            batch, size = [], 0
        batch.append((item, pairs))
        size += length
    if batch:
        yield from _score(transformer, batch, document)


def _score(transformer: Transformer, batch: list[Encoded], document: str) -> Iterator[Answer]:
    began = time.perf_counter()
    scores = iter(continuation_logprobs(transformer, [pair for _, pairs in batch for pair in pairs]))
    seconds = (time.perf_counter() - began) / len(batch)
    longest = transformer.cfg.max_position_embeddings
    for item, pairs in batch:
        found = {letter: next(scores) for letter in item.question.options}
        if not all(map(math.isfinite, found.values())):
            raise InputError(f"{item.question.id}: log-probabilities are not finite; are the weights broken?")
        choices = choices_of(item.question, document, chooses_text(item))
        by_length = {letter: value / len(choices[letter]) for letter, value in found.items()}
        found = by_length if chooses_text(item) else found
        yield answer_of(
            item,
            0,
            max(found, key=found.get),  # the first of equals
            "loglikelihood",
            prompt=document_of(item, document),
            response=None,
            loglikelihoods=found,
            correct_by_length=max(by_length, key=by_length.get) == item.question.answer,
            cut_left=any(len(head) + len(tail) > longest + 1 for head, tail in pairs),
            tokens=sum(len(tail) for _, tail in pairs),
            time={"seconds": round(seconds, 4)},
        )
