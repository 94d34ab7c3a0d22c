"""GRPO's maths against closed forms in float64, and the identities that make a loss what it claims to be."""

import math
from itertools import pairwise

import pytest
import torch

from fleming.rl.grpo import (
    LOG_RATIO_LIMIT,
    LossConfig,
    group_advantages,
    grpo_loss,
    kl_estimate,
    loss_denominator,
    preset,
)

CU = torch.tensor([0, 3, 4, 9])  # three responses of 3, 1 and 5 tokens
LENGTHS = [3, 1, 5]


def random_inputs(seed=0):
    g = torch.Generator().manual_seed(seed)
    logp, old, ref = (-3 * torch.rand(9, dtype=torch.float64, generator=g) for _ in range(3))
    return logp.requires_grad_(), old, ref, torch.randn(3, dtype=torch.float64, generator=g)


def test_equal_rewards_give_exactly_zero_advantage():
    rewards = torch.tensor([[0.1] * 7, [1.1] * 7, [0.0] * 7, [1 / 3] * 7])
    for normalize in (True, False):
        assert (group_advantages(rewards, normalize) == 0).all()
    assert (group_advantages(torch.tensor([[0.7]])) == 0).all()  # a group of one


def test_advantages_equal_their_closed_form():
    r = torch.tensor([[1.1, 0.1, 0.0, 1.1]], dtype=torch.float64)
    mean = 2.3 / 4
    std = math.sqrt(sum((x - mean) ** 2 for x in r[0].tolist()) / 3)
    torch.testing.assert_close(group_advantages(r, normalize_std=False), r - mean)
    torch.testing.assert_close(group_advantages(r), (r - mean) / (std + 1e-6))


def test_preset_paper_is_equations_1_to_3_to_the_letter():
    logp, old, _, _ = random_inputs()
    rewards = [1.1, 0.0, 0.1]
    k, mean = 3, sum(rewards) / 3  # Eq. 2
    expected = 0.0
    for i, (begin, end) in enumerate(pairwise(CU.tolist())):
        log_pi_y = logp[begin:end].sum()  # log pi(y_i | x)
        expected = expected - log_pi_y * (rewards[i] - mean) / k  # Eq. 3 in Eq. 1
    advantages = group_advantages(torch.tensor([rewards], dtype=torch.float64), normalize_std=False)[0]
    cfg = preset("paper")
    loss, _ = grpo_loss(logp, old, None, advantages, CU, cfg, loss_denominator(3, 9, cfg.aggregation))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, logp)[0], torch.autograd.grad(expected, logp)[0])


def test_preset_grpo_is_deepseekmath_equation_3():
    logp, old, ref, advantages = random_inputs(1)
    cfg = preset("grpo", kl_coef=0.04)
    expected = torch.zeros((), dtype=torch.float64)
    for i, n in enumerate(LENGTHS):
        for t in range(CU[i], CU[i] + n):
            ratio = torch.exp(logp[t] - old[t])
            surrogate = min(ratio * advantages[i], ratio.clamp(0.8, 1.2) * advantages[i])
            d = ref[t] - logp[t]
            expected = expected - (surrogate - 0.04 * (torch.exp(d) - d - 1)) / n / 3
    loss, metrics = grpo_loss(logp, old, ref, advantages, CU, cfg, loss_denominator(3, 9, cfg.aggregation))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, logp)[0], torch.autograd.grad(expected, logp)[0])
    assert metrics["loss"] == loss.detach()


def test_token_mean_gives_each_token_the_same_weight():
    logp, old, _, advantages = random_inputs(2)
    cfg = LossConfig(kl_coef=0.0, clip_low=10, clip_high=1e9, aggregation="token_mean")
    loss, _ = grpo_loss(logp, old, None, advantages, CU, cfg, loss_denominator(3, 9, cfg.aggregation))
    spread = torch.repeat_interleave(advantages, torch.tensor(LENGTHS))
    torch.testing.assert_close(loss, (-(logp - old).exp() * spread).mean())


@pytest.mark.parametrize(
    ("ratio", "advantage", "slope"),
    [  # d loss / d log pi = -A * ratio where the surrogate is not clipped, else 0
        (0.5, 1.0, -0.5),
        (1.0, 1.0, -1.0),
        (1.5, 1.0, 0.0),
        (0.5, -1.0, 0.0),
        (1.0, -1.0, 1.0),
        (1.5, -1.0, 1.5),
    ],
)
def test_the_clipped_objective_has_the_right_gradient_on_both_sides(ratio, advantage, slope):
    logp = torch.tensor([math.log(ratio)], dtype=torch.float64, requires_grad=True)
    cfg = LossConfig(kl_coef=0.0)
    loss, metrics = grpo_loss(
        logp, torch.zeros(1, dtype=torch.float64), None, torch.tensor([advantage]), torch.tensor([0, 1]), cfg, 1.0
    )
    loss.backward()
    assert logp.grad.item() == pytest.approx(slope)
    assert metrics["clipped_tokens"] == (slope == 0)


def test_clip_low_and_clip_high_act_on_their_own_side():
    cfg = LossConfig(kl_coef=0.0, clip_low=0.2, clip_high=0.28)
    for ratio, advantage, clipped in ((1.25, 1.0, 0), (1.29, 1.0, 1), (0.81, -1.0, 0), (0.79, -1.0, 1)):
        logp = torch.tensor([math.log(ratio)], dtype=torch.float64)
        _, metrics = grpo_loss(logp, torch.zeros(1), None, torch.tensor([advantage]), torch.tensor([0, 1]), cfg, 1.0)
        assert metrics["clipped_tokens"] == clipped


def test_at_ratio_one_the_gradient_is_reinforce():
    logp, _, _, advantages = random_inputs(3)
    clipped, _ = grpo_loss(logp, logp.detach(), None, advantages, CU, LossConfig(kl_coef=0.0), 3.0)
    plain = LossConfig(objective="log_prob", kl_estimator="none", kl_coef=0.0)
    reinforce, _ = grpo_loss(logp, logp.detach(), None, advantages, CU, plain, 3.0)
    torch.testing.assert_close(torch.autograd.grad(clipped, logp)[0], torch.autograd.grad(reinforce, logp)[0])


def test_kl_estimators_have_the_value_and_gradient_that_the_docstring_says():
    """Exact expectations over a 6-letter alphabet: sum over a of pi(a) * estimator(a)."""
    g = torch.Generator().manual_seed(0)
    theta = torch.randn(6, dtype=torch.float64, generator=g, requires_grad=True)
    log_pi, log_ref = theta.log_softmax(0), torch.randn(6, dtype=torch.float64, generator=g).log_softmax(0)
    pi = log_pi.exp().detach()
    reverse = (log_pi.exp() * (log_pi - log_ref)).sum()  # KL(pi || ref)
    forward = (log_ref.exp() * (log_ref - log_pi)).sum()  # KL(ref || pi)
    gradient = lambda x: torch.autograd.grad(x, theta, retain_graph=True)[0]  # noqa: E731
    expected = {name: (pi * kl_estimate(log_pi, log_ref, name)).sum() for name in ("k1", "k2", "k3")}
    torch.testing.assert_close(expected["k1"], reverse)
    torch.testing.assert_close(expected["k3"], reverse)
    torch.testing.assert_close(gradient(expected["k1"]), torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(gradient(expected["k2"]), gradient(reverse))
    torch.testing.assert_close(gradient(expected["k3"]), gradient(forward))
    assert not torch.allclose(gradient(expected["k3"]), gradient(reverse))


def test_a_runaway_log_ratio_is_clamped_and_counted_and_stays_finite():
    logp = torch.tensor([-500.0, -1.0], requires_grad=True)
    loss, metrics = grpo_loss(
        logp,
        torch.tensor([-1.0, -1.0]),
        torch.tensor([-1.0, -1.0]),
        torch.ones(1),
        torch.tensor([0, 2]),
        LossConfig(),
        1.0,
    )
    loss.backward()
    assert metrics["clamped_tokens"] == 2  # once against the old policy, once against the reference
    assert loss.isfinite()
    assert logp.grad.isfinite().all()
    assert (torch.tensor(499.0) > LOG_RATIO_LIMIT).item()


def test_advantages_may_be_given_per_sequence_or_per_token():
    logp, old, ref, advantages = random_inputs(4)
    spread = torch.repeat_interleave(advantages, torch.tensor(LENGTHS))
    a, b = (grpo_loss(logp, old, ref, x, CU, LossConfig(), 3.0)[0] for x in (advantages, spread))
    assert torch.equal(a, b)


@pytest.mark.parametrize("aggregation", ["sequence_mean", "sequence_sum", "token_mean"])
def test_shares_of_micro_batches_add_up_to_the_loss_of_the_whole(aggregation):
    logp, old, ref, advantages = random_inputs(5)
    cfg = LossConfig(aggregation=aggregation, kl_coef=0.1)
    denominator = loss_denominator(3, 9, aggregation)
    whole, _ = grpo_loss(logp, old, ref, advantages, CU, cfg, denominator)
    first, _ = grpo_loss(logp[:4], old[:4], ref[:4], advantages[:2], CU[:3], cfg, denominator)
    second, _ = grpo_loss(logp[4:], old[4:], ref[4:], advantages[2:], CU[2:] - 4, cfg, denominator)
    torch.testing.assert_close(first + second, whole)
