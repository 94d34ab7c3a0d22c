"""Protocol "cot": a zero-shot chat prompt that asks for <think> and <answer>, and a strict parser.

Greedy or sampled. An answer that cannot be read counts as wrong and is reported as an abstention. Left out: few-shot
prompts, and reading answers that do not have the form that was asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fleming.evaluation.answers import Answer, answer_of
from fleming.evaluation.items import Asked, Item, all_asked
from fleming.judge import judge
from fleming.prompt import asked_messages, prompt_ids, response_text
from fleming.public.benchmarks import LoadedBenchmark
from fleming.settings import Config
from model.errors import InputError
from model.huggingface.tokenizer import Tokenizer
from model.sampler import Sample, Sampler, SamplingParams
from model.transformer import Transformer

END_OF_THINKING = "\n</think>\n<answer>"


class ChainOfThought:
    """The model reasons and answers."""

    def __init__(self, transformer: Transformer, tokenizer: Tokenizer, cfg: Config):
        self.cfg, self.tokenizer = cfg, tokenizer
        self.context = transformer.cfg.max_position_embeddings
        self.sampler = Sampler(transformer, tokenizer, cfg.evaluate.max_num_seqs)

    @staticmethod
    def describe(cfg: Config) -> str:
        """Return the protocol in one line, to stand beside the score."""
        ev = cfg.evaluate
        answers = "one answer" if ev.samples == 1 else f"{ev.samples} answers"
        drawn = "greedy" if ev.temperature == 0 else f"{answers} a question at temperature {ev.temperature:g}"
        drawn += "".join(f", {name} {value:g}" for name, value in ev.filters.items())
        if ev.thinking_tokens:
            drawn += f", made to answer after {ev.thinking_tokens} tokens of thinking"
        asked = f"the option's {cfg.answer_style}"
        if cfg.instruction or cfg.answer_style in ("number", "free"):
            asked = "own instruction" if cfg.instruction else f"{cfg.answer_style} answers"
        return (
            f"zero-shot chat prompt, <think> and <answer> ({asked}), {drawn}, "
            f"at most {ev.max_new_tokens} new tokens, strict parser, abstentions wrong"
        )

    def plan(self, benchmark: LoadedBenchmark) -> list[Asked]:
        """Return the answers that are wanted. Raises InputError where the context leaves no room for one."""
        ev = self.cfg.evaluate
        return all_asked(benchmark, "cot", ev.samples, ev.reshuffles, self.cfg.seed, self._prompt_tokens)

    def _prompt_tokens(self, item: Item) -> int:
        length = len(prompt_ids(item.question, self.tokenizer, self.cfg))
        most = self.cfg.evaluate.max_new_tokens
        if length + most > self.context:
            raise InputError(
                f"{item.question.id}: its prompt has {length} tokens; with evaluate.max_new_tokens "
                f"{most} it exceeds the model's context of {self.context}"
            )
        return length

    def answer(
        self, benchmark: LoadedBenchmark, asked: Sequence[Asked], keep: Callable[[Answer], object]
    ) -> None:
        """Let the model answer; keep(answer) gets each as it ends, in any order.

        Its noise is fixed by the seed, the item and the sample index, whatever is sampled beside it.
        """
        ev = self.cfg.evaluate
        first = ev.thinking_tokens or ev.max_new_tokens
        params = SamplingParams(
            max_new_tokens=first, temperature=ev.temperature, seed=self.cfg.seed, **ev.filters
        )
        prompts = [prompt_ids(a.item.question, self.tokenizer, self.cfg) for a in asked]
        keys = [f"evaluate {a.item.question.id} {a.item.order} {a.sample}" for a in asked]
        halves: dict[int, tuple[Sample, float]] = {}  # place -> what has used up its budget of thinking

        def finish(place: int, _: int, sample: Sample, seconds: float) -> None:
            if ev.thinking_tokens and sample.finish_reason == "length":
                halves[place] = sample, seconds
            else:
                keep(self._read(asked[place], sample, seconds, False if ev.thinking_tokens else None))

        self.sampler.generate(prompts, params, keys, on_finish=finish)
        self._go_on(asked, prompts, keys, params, halves, keep)

    def _go_on(
        self,
        asked: Sequence[Asked],
        prompts: Sequence[list[int]],
        keys: Sequence[str],
        params: SamplingParams,
        halves: Mapping[int, tuple[Sample, float]],
        keep: Callable[[Answer], object],
    ) -> None:
        """Let the halves become whole answers; those that still think are made to begin theirs."""
        if not halves:
            return
        ids, _ = self.tokenizer.encode_response(END_OF_THINKING)
        begun = {  # place -> what is written for it
            place: [] if "</think>" in response_text(half, self.tokenizer) else ids[:-1]
            for place, (half, _) in halves.items()
        }
        places = list(halves)
        longest = self.cfg.evaluate.max_new_tokens - params.max_new_tokens - len(ids) + 1
        params = replace(params, max_new_tokens=longest)

        def finish(number: int, _: int, rest: Sample, seconds: float) -> None:
            place = places[number]
            half, before = halves[place]
            whole = replace(rest, token_ids=[*half.token_ids, *begun[place], *rest.token_ids])
            keep(self._read(asked[place], whole, before + seconds, bool(begun[place])))

        self.sampler.generate(
            [[*prompts[place], *halves[place][0].token_ids, *begun[place]] for place in places],
            params,
            [f"{keys[place]}, after its budget" for place in places],
            on_finish=finish,
        )

    def _read(self, asked: Asked, sample: Sample, seconds: float, forced: bool | None) -> Answer:
        known = {"tokens": len(sample.token_ids), "time": {"seconds": round(seconds, 3)}, "forced": forced}
        return self._judge(asked, response_text(sample, self.tokenizer), sample.finish_reason, **known)

    def read_again(self, asked: Asked, answer: Answer) -> Answer:
        """Return a stored answer as its response says now, whatever stands beside that."""
        known = {"tokens": answer.tokens, "time": answer.time, "forced": answer.forced}
        return self._judge(asked, answer.response or "", answer.finish_reason, **known)

    def _judge(self, asked: Asked, response: str, finish_reason: str, **known: Any) -> Answer:
        question, cfg = asked.item.question, self.cfg
        try:
            verdict = judge(response, finish_reason == "stop", question, cfg)
        except Exception as error:  # a checker of one's own; a score must not be made of its failures
            raise InputError(f"{question.id}: free.checker failed: {error!r}: {response[:200]!r}") from error
        return answer_of(
            asked.item,
            asked.sample,
            verdict,
            "cot",
            prompt=asked_messages(question, cfg),
            response=response,
            format=verdict.well_formed,
            finish_reason=finish_reason,
            **known,
        )
