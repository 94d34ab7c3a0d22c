"""How a step's groups become mini-batches: whole groups, one normaliser each, and what a cut answer counts for."""

import math

import pytest
import torch
from support.models import hf_model, ours
from support.runs import ALONE

from fleming.config import load_config
from fleming.records import Question, Rollout
from fleming.rl.grpo import grpo_loss
from fleming.rl.reward import try_reward, whole_reward
from fleming.rl.rollout import mini_batches
from fleming.settings import Config
from fleming.training.logprobs import token_logprobs
from fleming.training.parallel import World
from model.errors import InputError

QUESTION = Question(id="q", question="?", options={"A": "x", "B": "y"}, answer="A")


def settings(*given: str) -> Config:
    return load_config(Config, None, ["run_dir=run", "grpo.max_new_tokens=10", *given])


def group(number: int, *answers: str) -> list[Rollout]:
    """An answer a text: "c" was cut, "0" has no advantage; as many tokens as characters."""
    return [
        Rollout(
            1, 1, f"q{number}", number, i, 0, [number + 1], [7] * len(text), [-1.0] * len(text),
            "length" if "c" in text else "stop", 0.5, text, "A", {"total": 0.0}, 0.0 if "0" in text else 1.0 + i,
        )
        for i, text in enumerate(answers)
    ]  # fmt: skip


GROUPS = [
    group(0, "aa", "0a"),
    group(1, "aaac", "a"),
    group(2, "0", "0"),
    group(3, "c", "cc"),
    group(4, "0a", "aaa"),
]


def lengths(batch) -> list[int]:
    return sorted(n for b in batch.packs for n in b.packed.response_cu_seqlens.diff().tolist())


def test_the_mth_of_m_parts_has_every_mth_group_and_its_own_normaliser():
    batches = mini_batches(GROUPS, settings("grpo.minibatches_per_rollout=2").grpo, False, ALONE)
    assert [batch.denominator for batch in batches] == [6, 4]  # sequences of groups 0, 2, 4 and of 1, 3
    assert [lengths(batch) for batch in batches] == [
        [2, 3],
        [1, 1, 2, 4],
    ]  # those of zero advantage only count
    with_kl = mini_batches(GROUPS, settings("grpo.minibatches_per_rollout=2").grpo, True, ALONE)
    assert lengths(with_kl[0]) == [1, 1, 2, 2, 2, 3]
    tokens = mini_batches(
        GROUPS, settings("grpo.preset=dapo", "grpo.minibatches_per_rollout=5").grpo, False, ALONE
    )
    assert [batch.denominator for batch in tokens] == [4, 5, 2, 3, 5]
    assert len(mini_batches(GROUPS, settings("grpo.minibatches_per_rollout=64").grpo, False, ALONE)) == 5


@pytest.mark.parametrize("preset", ["grpo", "gspo", "cispo"])
def test_each_parts_gradient_is_the_same_on_one_and_two_ranks_and_in_any_micro_batches(preset):
    """Off the policy that sampled, and with a masked answer: shares of ranks and packs add up."""
    transformer = ours(hf_model("qwen3"))
    given = [f"grpo.preset={preset}", "grpo.minibatches_per_rollout=2", "grpo.overlong=mask"]
    given += ["grpo.clip_low=0.1", "grpo.clip_high=0.25"]

    def gradients(ranks: int, micro_batch_tokens: int) -> list[torch.Tensor]:
        rl = settings(*given, f"grpo.micro_batch_tokens={micro_batch_tokens}").grpo
        worlds = [World(rank, ranks, torch.device("cpu"), None) for rank in range(ranks)]
        of_ranks = [mini_batches(GROUPS, rl, rl.loss.needs_reference, world) for world in worlds]
        assert all(len(a.packs) == len(b.packs) for a, b in zip(of_ranks[0], of_ranks[-1], strict=True))
        found = []
        for part in range(2):
            transformer.zero_grad()
            for batches in of_ranks:
                for b in batches[part].packs:
                    logp, _ = token_logprobs(transformer, b.packed)
                    old = logp.detach() - 0.3 * torch.sin(7 * logp.detach())
                    of = (logp, old, old - 0.1, b.advantages, b.packed.response_cu_seqlens, rl.loss)
                    grpo_loss(*of, batches[part].denominator)[0].backward()
            found.append(torch.cat([p.grad.flatten() for p in transformer.parameters()]))
        return found

    whole = gradients(1, 1 << 20)
    assert all(gradient.norm() > 1e-3 for gradient in whole)
    for ranks, tokens in ((1, 1), (1, 6), (2, 1 << 20), (2, 6), (2, 1)):
        for gradient, expected in zip(gradients(ranks, tokens), whole, strict=True):
            assert (gradient - expected).norm() <= 5e-6 * expected.norm()


def test_a_masked_answer_is_no_part_of_the_loss_and_of_its_normaliser():
    rl = settings("grpo.overlong=mask", "grpo.preset=dapo", "grpo.minibatches_per_rollout=5").grpo
    batches = mini_batches(GROUPS, rl, True, ALONE)
    assert [batch.denominator for batch in batches] == [4, 1, 2, math.inf, 5]
    assert [lengths(batch) for batch in batches[:3]] == [[2, 2], [1], [1, 1]]
    for b in batches[3].packs:  # where all were cut there is no gradient
        logp = b.sampled_logp.clone().requires_grad_()
        cuts = b.packed.response_cu_seqlens
        loss, _ = grpo_loss(
            logp, b.old_logp, b.old_logp - 1, b.advantages, cuts, rl.loss, batches[3].denominator
        )
        loss.backward()
        assert torch.equal(logp.grad, torch.zeros_like(logp))


@pytest.mark.parametrize(
    ("length", "penalty"), [(1, 0.0), (6, 0.0), (7, -0.25), (8, -0.5), (10, -1.0)]
)  # DAPO Eq. 13: from 10 - 4 tokens on
def test_the_soft_penalty_falls_over_the_buffer(length, penalty):
    parts = {"correct": 1.0, "format": 0.0, "total": 1.1}
    own = lambda *_: parts  # noqa: E731
    cfg = settings("grpo.overlong=penalty", "grpo.overlong_buffer=4")
    found = whole_reward(own, "", False, length, QUESTION, cfg)
    assert found == {**parts, "overlong": penalty, "total": 1.1 + penalty}
    assert whole_reward(own, "", False, length, QUESTION, settings()) == parts  # by this setting alone


def test_a_reward_that_names_a_part_overlong_itself_is_refused_before_anything_starts():
    own = lambda *_: {"overlong": 0.5, "total": 1.0}  # noqa: E731
    try_reward(own, QUESTION, settings())
    with pytest.raises(InputError, match="overlong is a part of this reward's own"):
        try_reward(own, QUESTION, settings("grpo.overlong=penalty", "grpo.overlong_buffer=4"))


@pytest.mark.parametrize(
    ("given", "rescores"),
    [
        ([], False),
        (["grpo.preset=cispo"], False),
        (["grpo.preset=gspo"], True),
        (["grpo.minibatches_per_rollout=2"], True),
        (["grpo.updates_per_rollout=2"], True),
        (["grpo.importance_cap=2"], True),
    ],
)
def test_whose_old_log_probs_are_taken(given, rescores):
    assert settings(*given).grpo.rescores == rescores


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            ["grpo.preset=paper", "grpo.minibatches_per_rollout=2"],
            "minibatches_per_rollout is 2, but objective log_prob",
        ),
        (["grpo.preset=paper", "grpo.ratio=sequence"], "ratio sequence means nothing .* set it to token"),
        (["grpo.preset=gspo", "grpo.objective=log_prob"], "ratio sequence means nothing .* set it to token"),
        (
            ["grpo.minibatches_per_rollout=5", "grpo.questions_per_step=4"],
            "minibatches_per_rollout is 5, .* to questions_per_step = 4",
        ),
        (["grpo.overlong=penalty", "grpo.overlong_buffer=10"], "lower it below max_new_tokens = 10"),
        (["grpo.overlong=penalty"], "overlong_buffer is 512: every answer would lose"),
        (["grpo.clip_low=1.5"], "clip_low is out of its range"),
    ],
)
def test_settings_that_mean_nothing_together_are_refused(given, says):
    with pytest.raises(InputError, match=says):
        settings(*given)
