"""How the cold start does on trajectories that it does not learn from: their loss, and the answers to their prompts.

The best checkpoint is the one of the lowest loss, and that is what is exported. Left out: benchmarks (evaluate.py).
"""

from collections import Counter
from collections.abc import Sequence

import torch

from fleming.answer import format_ok, parse_free
from fleming.free_answer import short_text
from fleming.noise import permutation
from fleming.prompt import response_text
from fleming.records import Trajectory
from fleming.settings import Config
from fleming.training.examples import Example
from fleming.training.logprobs import token_logprobs
from fleming.training.metrics import progress_bar
from fleming.training.packing import packs_of
from fleming.training.parallel import World, gather_weights, sampling_copy
from model import Sampler, SamplingParams
from model.errors import InputError
from model.huggingface.tokenizer import Tokenizer
from model.sampler import Sample
from model.transformer import Transformer


def hold_out(
    trajectories: Sequence[Trajectory], count: int, seed: int
) -> tuple[list[Trajectory], list[Trajectory]]:
    """Return (what is learned, what is held out): of questions drawn by the seed all trajectories, `count` at least.

    Raises InputError where nothing would be left to learn.
    """
    of_question = Counter(t.question_id for t in trajectories)
    questions, taken, drawn = list(of_question), 0, set()
    for place in permutation(len(questions), seed, "sft validation"):
        if taken >= count:
            break
        drawn.add(questions[place])
        taken += of_question[questions[place]]
    learned = [t for t in trajectories if t.question_id not in drawn]
    if count and not learned:
        raise InputError(f"sft.validation = {count} holds out all {len(trajectories)} trajectories: lower it")
    return learned, [t for t in trajectories if t.question_id in drawn]


class Validation:
    """Measures a policy on held-out examples. An answer may be twice as long as the longest response among them, as far
    as the context reaches: at that length itself good ones would be cut (docs/cold-start.md)."""

    def __init__(self, examples: Sequence[Example], tokenizer: Tokenizer, cfg: Config, world: World):
        self.examples, self.tokenizer, self.cfg, self.world = examples, tokenizer, cfg, world
        self.longest = max((len(response) for _, response in examples), default=0)

    def due(self, step: int, total: int) -> bool:
        """Whether the step is one after which to measure."""
        return bool(self.examples) and (step % self.cfg.sft.validate_every == 0 or step == total)

    def measure(self, policy: Transformer, step: int) -> dict[str, float]:
        """Return validation_loss, nats a response token; where the responses have answers also, greedily sampled,
        validation_accuracy, the share of answers that say what the response's does, and validation_format, the share
        in the form of <think> and <answer>.
        """
        found = {"validation_loss": self._loss(policy)}
        asked, context = [], policy.cfg.max_position_embeddings
        for prompt, response in self.examples:
            answer = _answer(self.tokenizer.opened + self.tokenizer.decode(response[:-1]))
            if answer and len(prompt) + self.longest <= context:
                asked.append((prompt, answer))
        if not asked:
            return found

        right = formed = 0
        prompts = [prompt for prompt, _ in asked]
        room = min(2 * self.longest, context - max(map(len, prompts)))
        samples = self._sample(policy, prompts, room, step)
        for (_, answer), sample in zip(asked, samples, strict=True):
            text = response_text(sample, self.tokenizer)
            right += _answer(text) == answer
            formed += format_ok(text, {}, "free", sample.finish_reason == "stop")
        return {**found, "validation_accuracy": right / len(asked), "validation_format": formed / len(asked)}

    @torch.no_grad()
    def _loss(self, policy: Transformer) -> float:
        total = 0.0
        for batch in packs_of(self.examples, self.cfg.sft.micro_batch_tokens, self.world):
            logp, _ = token_logprobs(policy, batch)
            total -= logp.sum().item()
        tokens = sum(len(response) for _, response in self.examples)
        return self.world.sum({"loss": total})["loss"] / tokens

    def _sample(self, policy: Transformer, prompts: list[list[int]], room: int, step: int) -> list[Sample]:
        """Return a greedy answer of at most `room` tokens to each. A sharded model's copy lives no longer than this."""
        copy = sampling_copy(policy, self.world)
        gather_weights(policy, copy)
        sampler = Sampler(copy, self.tokenizer)
        params = SamplingParams(max_new_tokens=room, temperature=0.0, seed=self.cfg.seed)

        def answers(part: list[list[int]]) -> list[Sample]:
            name = f"validation, step {step}"
            with progress_bar(len(part), 0, name, self.world, unit="answer", leave=False) as bar:
                groups = sampler.generate(part, params, on_finish=lambda *_: bar.update())
            return [group[0] for group in groups]

        return self.world.divide(prompts, answers)


def _answer(text: str) -> str | None:
    """Return what the answer block says, so that two spellings are one; None where there is none."""
    said = parse_free(text)
    return said and short_text(said)
