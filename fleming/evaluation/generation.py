"""Protocol "cot": a zero-shot chat prompt that asks for <think> and <answer>, and a strict parser.

Greedy or sampled. An answer that cannot be read counts as wrong and is reported as an abstention. Left out: few-shot
prompts, and reading answers that do not have the form that was asked for.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from fleming.evaluation.answers import Answer, Keep, answer_of
from fleming.evaluation.items import Asked, Item, Key, all_asked
from fleming.evaluation.variants import END_OF_THINKING, ORDERS, VARIANTS, asked_as, cuts_of
from fleming.free_answer import RULES
from fleming.judge import judge, style_of
from fleming.prompt import asked_messages, prompt_ids, response_text
from fleming.public.benchmarks import LoadedBenchmark
from fleming.records import Question
from fleming.settings import FOR_AN_ANSWER, Config
from model.errors import InputError
from model.huggingface.tokenizer import Tokenizer
from model.sampler import Sample, Sampler, SamplingParams
from model.transformer import Transformer


class Half(NamedTuple):
    """A response that goes on."""

    asked: Asked
    ids: list[int]
    """What there is of it."""
    seconds: float
    """That it has taken."""
    forced: bool | None
    """Whether it was made to end its thinking."""


class ChainOfThought:
    """The model reasons and answers."""

    def __init__(self, transformer: Transformer, tokenizer: Tokenizer, cfg: Config):
        self.cfg, self.tokenizer = cfg, tokenizer
        self.context = transformer.cfg.max_position_embeddings
        self.sampler = Sampler(transformer, tokenizer, cfg.evaluate.max_num_seqs)

    @staticmethod
    def describe(cfg: Config, questions: Iterable[Question]) -> str:
        """Return the protocol in one line, to stand beside the score; questions: all that it asks."""
        ev = cfg.evaluate
        answers = "one answer" if ev.samples == 1 else f"{ev.samples} answers"
        drawn = "greedy" if ev.temperature == 0 else f"{answers} a question at temperature {ev.temperature:g}"
        drawn += "".join(f", {name} {value:g}" for name, value in ev.filters.items())
        if ev.thinking_tokens:
            drawn += f", made to answer after {ev.thinking_tokens} tokens of thinking"
        styles = dict.fromkeys(style_of(question, cfg) for question in questions)
        asked = " or ".join(RULES["asks_for"][style] for style in styles)
        if cfg.instruction:
            asked = "own instruction"
        return (
            f"zero-shot chat prompt, <think> and <answer> ({asked}), {drawn}, "
            f"at most {ev.max_new_tokens} new tokens, strict parser, abstentions wrong"
        )

    def plan(self, benchmark: LoadedBenchmark, reliability: bool = False) -> list[Asked]:
        """Return the answers that are wanted. Raises InputError where the context leaves no room for one."""
        ev = self.cfg.evaluate
        orders, variants = (max(ORDERS, ev.reshuffles), VARIANTS) if reliability else (ev.reshuffles, ())
        styles = {style_of(question, self.cfg) for question in benchmark.questions}
        if reliability and styles.isdisjoint({"letter", "text"}):
            raise InputError(
                f"{benchmark.name}: no question is answered by an option: leave out --reliability"
            )
        return all_asked(benchmark, "cot", ev.samples, orders, self.cfg.seed, self._prompt_tokens, variants)

    def plan_cuts(self, plan: Sequence[Asked], answers: Iterable[Answer]) -> list[Asked]:
        """Return what is wanted of the reasoning in the answers to a plan: an answer to each cut of it.

        Left out is reasoning that holds another turn, or leaves the context no room for an answer.
        """
        bases = {asked.key: asked for asked in plan if asked.key[3:] == (0, 0, "")}  # order, sample, variant
        room = self.context - self._answer_tokens(plan)
        cuts: dict[Key, Asked] = {}
        for answer in answers:
            if answer.key not in bases:
                continue
            base = bases[answer.key]
            for name, begun in cuts_of(answer.response or "", base.item.question):
                try:
                    length = base.length + len(self._written(begun))
                except InputError:
                    continue
                key = (*answer.key[:-1], name)
                if length <= room:
                    cuts[key] = Asked(key, replace(base.item, variant=name, begun=begun), 0, length)
        return list(cuts.values())

    def _prompt(self, item: Item) -> list[int]:
        return prompt_ids(item.question, self.tokenizer, asked_as(item.question, item.variant, self.cfg))

    def _prompt_tokens(self, item: Item) -> int:
        length = len(self._prompt(item))
        most = self.cfg.evaluate.max_new_tokens
        if length + most > self.context:
            raise InputError(
                f"{item.question.id}: its prompt has {length} tokens; with evaluate.max_new_tokens "
                f"{most} it exceeds the model's context of {self.context}"
            )
        return length

    def _answer_tokens(self, asked: Iterable[Asked]) -> int:
        """Return how many tokens an answer block may need."""
        texts = {text for a in asked for text in a.item.question.options.values()}
        return FOR_AN_ANSWER + max((len(self.tokenizer.encode(text)) for text in texts), default=0)

    def _written(self, text: str) -> list[int]:
        """Return the ids of the beginning of a response."""
        ids, _ = self.tokenizer.encode_response(text)
        return ids[:-1]  # without the end of the turn

    def answer(self, benchmark: LoadedBenchmark, asked: Sequence[Asked], keep: Keep) -> None:
        """Let the model answer; keep(answer) gets each as it ends, in any order.

        Its noise is fixed by the seed, the item and the sample index, whatever is sampled beside it.
        """
        budget, most = self.cfg.evaluate.thinking_tokens, self.cfg.evaluate.max_new_tokens
        cut = [Half(a, self._written(a.item.begun), 0.0, True) for a in asked if a.item.begun]
        whole = [Half(a, [], 0.0, False if budget else None) for a in asked if not a.item.begun]
        if cut:
            self._go_on(cut, self._answer_tokens(asked), keep)
        if not budget:
            self._go_on(whole, most, keep)
            return

        # What still thinks at the end of its budget is made to begin its answer; what does not may end it.
        halves: list[Half] = []
        ending = self._written(END_OF_THINKING)
        self._go_on(whole, budget, keep, halves.append)
        for i, half in enumerate(halves):
            if "</think>" not in self.tokenizer.opened + self.tokenizer.decode(half.ids):
                halves[i] = half._replace(ids=[*half.ids, *ending], forced=True)
        self._go_on(halves, most - budget - len(ending), keep)

    def _go_on(
        self,
        halves: Sequence[Half],
        tokens: int,
        keep: Keep,
        cut: Callable[[Half], object] | None = None,
    ) -> None:
        """Let responses go on for so many tokens; `cut` gets those that have not ended then, else `keep` does."""
        ev = self.cfg.evaluate
        params = SamplingParams(
            max_new_tokens=tokens, temperature=ev.temperature, seed=self.cfg.seed, **ev.filters
        )
        prompts, keys = [], []
        for asked, ids, _, _ in halves:
            item = asked.item
            prompts.append([*self._prompt(item), *ids])
            variant = f" {item.variant}" if item.variant else ""
            after = ", after its budget" if ids else ""
            keys.append(f"evaluate {item.question.id} {item.order} {asked.sample}{variant}{after}")

        def finish(place: int, _: int, rest: Sample, seconds: float) -> None:
            asked, ids, before, forced = halves[place]
            whole = replace(rest, token_ids=[*ids, *rest.token_ids])
            if cut and rest.finish_reason == "length":
                cut(Half(asked, whole.token_ids, before + seconds, forced))
            else:
                keep(self._read(asked, whole, before + seconds, forced))

        self.sampler.generate(prompts, params, keys, on_finish=finish)

    def _read(self, asked: Asked, sample: Sample, seconds: float, forced: bool | None) -> Answer:
        known = {"tokens": len(sample.token_ids), "time": {"seconds": round(seconds, 3)}, "forced": forced}
        return self._judge(asked, response_text(sample, self.tokenizer), sample.finish_reason, **known)

    def read_again(self, asked: Asked, answer: Answer) -> Answer:
        """Return a stored answer as its response says now, whatever stands beside that."""
        known = {"tokens": answer.tokens, "time": answer.time, "forced": answer.forced}
        return self._judge(asked, answer.response or "", answer.finish_reason, **known)

    def _judge(self, asked: Asked, response: str, finish_reason: str, **known: Any) -> Answer:
        question = asked.item.question
        cfg = asked_as(question, asked.item.variant, self.cfg)
        try:
            verdict = judge(response, finish_reason == "stop", question, cfg)
        except (Exception, SystemExit) as error:  # a checker of one's own: no score is made of its failures
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
