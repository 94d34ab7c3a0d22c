"""Protocol "cot": a zero-shot chat prompt that asks for <think> and <answer>, and a strict parser.

Greedy or sampled. An answer that cannot be read counts as wrong and is reported as an abstention. Left out: few-shot
prompts, and reading answers that do not have the form that was asked for.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from fleming.answer import format_ok, parse_answer
from fleming.evaluation.items import Asked, Item, record_of
from fleming.prompt import prompt_ids, question_messages, response_text
from fleming.settings import Config
from model.errors import InputError
from model.sampler import Sample, Sampler, SamplingParams


def describe_cot(cfg: Config) -> str:
    """Return the protocol in one line, to stand beside the score."""
    ev = cfg.evaluate
    answers = "one answer" if ev.samples == 1 else f"{ev.samples} answers"
    drawn = "greedy" if ev.temperature == 0 else f"{answers} a question at temperature {ev.temperature:g}"
    asked = "own instruction" if cfg.instruction else f"the option's {cfg.answer_style}"
    return (
        f"zero-shot chat prompt, <think> and <answer> ({asked}), {drawn}, at most {ev.max_new_tokens} new tokens, "
        "strict parser, abstentions wrong"
    )


def cot_length(sampler: Sampler, cfg: Config, item: Item) -> int:
    """Return the prompt's tokens, to sort by. Raises InputError where the context leaves no room for an answer."""
    length = len(prompt_ids(item.question, sampler.tokenizer, cfg))
    context = sampler.transformer.cfg.max_position_embeddings
    if length + cfg.evaluate.max_new_tokens > context:
        raise InputError(
            f"{item.question.id}: its prompt has {length} tokens; with evaluate.max_new_tokens "
            f"{cfg.evaluate.max_new_tokens} it exceeds the model's context of {context}"
        )
    return length


def cot(sampler: Sampler, asked: Sequence[Asked], cfg: Config, keep: Callable[[dict[str, Any]], object]) -> None:
    """Let the model answer; keep(record) gets each answer as it ends, in any order.

    Its noise is fixed by the seed, the item and the sample index, whatever is sampled beside it.
    """
    params = SamplingParams(
        max_new_tokens=cfg.evaluate.max_new_tokens, temperature=cfg.evaluate.temperature, seed=cfg.seed
    )
    prompts = [prompt_ids(a.item.question, sampler.tokenizer, cfg) for a in asked]
    keys = [f"evaluate {a.item.question.id} {a.item.order} {a.sample}" for a in asked]

    def finish(place: int, _: int, sample: Sample, seconds: float) -> None:
        keep(_record(asked[place].item, asked[place].sample, sample, seconds, sampler, cfg))

    sampler.generate(prompts, params, keys, on_finish=finish)


def _record(item: Item, number: int, sample: Sample, seconds: float, sampler: Sampler, cfg: Config) -> dict[str, Any]:
    if not all(map(math.isfinite, sample.logprobs)):
        raise InputError(f"{item.question.id}: the model's log-probabilities are not finite; are its weights broken?")
    question, response = item.question, response_text(sample, sampler.tokenizer)
    answer = parse_answer(response, question.options)
    return {
        **record_of(item, "cot", number, answer),
        "prompt": question_messages(question, cfg.answer_style, cfg.instruction, cfg.system),
        "response": response,
        "format": format_ok(response, question.options, cfg.answer_style, sample.finish_reason == "stop"),
        "finish_reason": sample.finish_reason,
        "tokens": len(sample.token_ids),
        "time": {"seconds": round(seconds, 3)},
    }
