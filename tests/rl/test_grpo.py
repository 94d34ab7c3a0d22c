"""GRPO's maths against closed forms in float64, and the identities that make a loss what it claims to be."""

import itertools
import math
import statistics
from itertools import pairwise

import pytest
import torch
from support.losses import corrected_loss

from fleming.rl.grpo import (
    LOG_RATIO_LIMIT,
    group_advantages,
    grpo_loss,
    kl_estimate,
    loss_denominator,
)
from fleming.settings.training import preset

CU = torch.tensor([0, 3, 4, 9])  # three responses of 3, 1 and 5 tokens
LENGTHS = [3, 1, 5]
MAX_NEW_TOKENS = 7
AGGREGATIONS = ("sequence_mean", "sequence_sum", "token_mean", "constant")
REWARDS = [1.1, 0.0, 0.1]


def random_inputs(seed=0):
    g = torch.Generator().manual_seed(seed)
    logp, old, ref = (-3 * torch.rand(9, dtype=torch.float64, generator=g) for _ in range(3))
    return logp.requires_grad_(), old, ref, torch.randn(3, dtype=torch.float64, generator=g)


def test_equal_rewards_give_exactly_zero_advantage():
    rewards = torch.tensor([[0.1] * 7, [1.1] * 7, [0.0] * 7, [1 / 3] * 7])
    for normalize in (True, False):
        assert (group_advantages(rewards, normalize) == 0).all()
    assert (group_advantages(torch.tensor([[0.7]])) == 0).all()  # a group of one


def test_advantages_of_any_finite_rewards_are_finite():
    huge = torch.tensor([[1e308, 1e308, -1e308, 0.0], [-1.7e308, 0.0, 1.0, 2.0]], dtype=torch.float64)
    for normalize in (True, False):
        assert group_advantages(huge, normalize).isfinite().all()


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
    loss, _ = grpo_loss(
        logp, old, None, advantages, CU, cfg, loss_denominator(3, 9, cfg.aggregation, MAX_NEW_TOKENS)
    )
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
    loss, metrics = grpo_loss(
        logp, old, ref, advantages, CU, cfg, loss_denominator(3, 9, cfg.aggregation, MAX_NEW_TOKENS)
    )
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, logp)[0], torch.autograd.grad(expected, logp)[0])
    assert metrics["loss"] == loss.detach()


@pytest.mark.parametrize(
    ("name", "high", "scale", "weight"),
    [  # DAPO Eq. 8-12, with its std, clip 0.2 and 0.28, over all 9 tokens; Dr. GRPO 3.2, over 3 answers of at most 7
        ("dapo", 0.28, statistics.stdev(REWARDS) + 1e-6, 1 / 9),
        ("dr_grpo", 0.2, 1.0, 1 / (3 * 7)),
    ],
)
def test_presets_dapo_and_dr_grpo_are_their_papers_loops(name, high, scale, weight):
    logp, old, _, _ = random_inputs(6)
    expected, clipped = torch.zeros((), dtype=torch.float64), 0
    for reward, (begin, end) in zip(REWARDS, pairwise(CU.tolist()), strict=True):
        advantage = (reward - statistics.mean(REWARDS)) / scale
        for t in range(begin, end):
            ratio = torch.exp(logp[t] - old[t])
            plain, bounded = ratio * advantage, ratio.clamp(0.8, 1 + high) * advantage
            expected = expected - min(plain, bounded) * weight
            clipped += int(bounded < plain)
    cfg = preset(name)
    advantages = group_advantages(torch.tensor([REWARDS], dtype=torch.float64), cfg.normalize_std)[0]
    denominator = loss_denominator(3, 9, cfg.aggregation, MAX_NEW_TOKENS)
    loss, metrics = grpo_loss(logp, old, None, advantages, CU, cfg, denominator)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, logp)[0], torch.autograd.grad(expected, logp)[0])
    assert metrics["clipped_tokens"] == clipped
    assert 0 < clipped < 9


OFF_POLICY = [  # length, advantage, mean log ratio of an answer: inside gspo's bounds, above and below them
    (length, advantage, drift)
    for (length, drift), advantage in itertools.product([(3, 2e-4), (1, 6e-4), (5, -6e-4)], (0.7, -1.3))
]


def off_policy(scatter):
    """Log-probs under both policies: each token's log ratio is `scatter` and more off its answer's mean."""
    g = torch.Generator().manual_seed(11)
    logps, olds = [], []
    for length, _, drift in OFF_POLICY:
        logp = -3 * torch.rand(length, dtype=torch.float64, generator=g)
        noise = scatter * torch.randn(length, dtype=torch.float64, generator=g)
        logps.append(logp)
        olds.append(logp - (noise - noise.mean() + drift))
    cuts = torch.tensor([0, *(length for length, _, _ in OFF_POLICY)]).cumsum(0)
    advantages = torch.tensor([advantage for _, advantage, _ in OFF_POLICY], dtype=torch.float64)
    return torch.cat(logps).requires_grad_(), torch.cat(olds), advantages, cuts


def test_preset_gspo_is_its_equations_off_policy():
    """Tokens' own ratios lie 5 % apart, far outside the bounds: only an answer's mean can decide what is clipped."""
    logp, old, advantages, cuts = off_policy(0.05)
    loss, metrics = grpo_loss(logp, old, None, advantages, cuts, preset("gspo"), 6.0)
    expected, slopes, clipped = 0.0, [], 0
    for length, advantage, drift in OFF_POLICY:
        s = math.exp(drift)  # Eq. 7
        bounded = min(max(s, 1 - 3e-4), 1 + 4e-4)
        expected -= min(s * advantage, bounded * advantage) / 6  # Eq. 5: an answer counts once
        free = s * advantage <= bounded * advantage
        slopes += [-s * advantage / length / 6 if free else 0.0] * length
        clipped += length * (not free)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(torch.autograd.grad(loss, logp)[0], torch.tensor(slopes, dtype=torch.float64))
    assert metrics["clipped_tokens"] == clipped == 1 + 5  # 6e-4 with A > 0, and -6e-4 with A < 0
    ratios = sum(length * math.exp(drift) for length, _, drift in OFF_POLICY)
    assert metrics["ratio_sum"].item() == pytest.approx(ratios, rel=1e-12)


def test_preset_cispo_is_its_equations_off_policy_and_no_token_is_lost():
    logp, old, advantages, cuts = off_policy(2.0)
    cfg, tokens = preset("cispo"), int(cuts[-1])
    loss, metrics = grpo_loss(logp, old, None, advantages, cuts, cfg, float(tokens))
    expected, slopes, clipped = 0.0, [], 0
    for i, (begin, end) in enumerate(pairwise(cuts.tolist())):
        for t in range(begin, end):
            ratio = math.exp(logp[t].item() - old[t].item())
            weight = min(ratio, 5.0)  # Eq. 5, without a bound below
            expected -= weight * advantages[i].item() * logp[t].item() / tokens  # Eq. 4
            slopes.append(-weight * advantages[i].item() / tokens)  # the weight itself is held fast
            clipped += ratio > 5.0
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    gradient = torch.autograd.grad(loss, logp)[0]
    torch.testing.assert_close(gradient, torch.tensor(slopes, dtype=torch.float64))
    assert (gradient != 0).all()
    assert 0 < clipped < tokens
    assert metrics["clipped_tokens"] == clipped


def test_at_ratio_one_gspo_and_cispo_are_reinforce():
    logp, _, advantages, cuts = off_policy(0.0)
    for name in ("gspo", "cispo"):
        cfg = preset(name)
        of = (logp, logp.detach(), None, advantages, cuts)
        ours = torch.autograd.grad(grpo_loss(*of, cfg, 6.0)[0], logp)[0]
        plain = preset("paper", aggregation=cfg.aggregation)
        torch.testing.assert_close(ours, torch.autograd.grad(grpo_loss(*of, plain, 6.0)[0], logp)[0])


def test_a_sequences_ratio_of_an_idle_pack_is_none_and_has_a_gradient():
    logp = torch.empty(0, requires_grad=True)
    none = torch.empty(0)
    loss, metrics = grpo_loss(logp, none, None, none, torch.tensor([0]), preset("gspo"), 3.0)
    loss.backward()
    assert (loss, metrics["clipped_tokens"], logp.grad.numel()) == (0, 0, 0)


def test_gradients_of_a_sequences_ratio_are_the_same_bits_on_several_threads():
    g = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 4000, (32,), generator=g)
    cuts = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    start, shift = -3 * torch.rand(cuts[-1], generator=g), 1e-4 * torch.randn(cuts[-1], generator=g)
    advantages, found = torch.randn(cuts[-1], generator=g), set()
    before = torch.get_num_threads()
    torch.set_num_threads(max(2, before))
    for _ in range(40):
        logp = start.clone().requires_grad_()
        grpo_loss(logp, start - shift, None, advantages, cuts, preset("gspo"), 32.0)[0].backward()
        found.add(logp.grad.numpy().tobytes())
    torch.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.parametrize(
    ("aggregation", "denominator", "weights"),
    [
        ("sequence_mean", 3, [1 / 9, 1 / 3, 1 / 15]),  # 1 / (N * length)
        ("sequence_sum", 3, [1 / 3, 1 / 3, 1 / 3]),  # 1 / N
        ("token_mean", 9, [1 / 9, 1 / 9, 1 / 9]),  # 1 / T
        ("constant", 21, [1 / 21, 1 / 21, 1 / 21]),  # 1 / (N * max_new_tokens)
    ],
)
def test_each_aggregation_has_its_denominator_and_its_gradient(aggregation, denominator, weights):
    logp, old, _, advantages = random_inputs(2)
    assert loss_denominator(3, 9, aggregation, MAX_NEW_TOKENS) == denominator
    cfg = preset("grpo", kl_coef=0.0, clip_low=1.0, clip_high=1e9, aggregation=aggregation)
    loss, _ = grpo_loss(logp, old, None, advantages, CU, cfg, denominator)
    scales = [-w * a for w, a, n in zip(weights, advantages.tolist(), LENGTHS, strict=True) for _ in range(n)]
    slope = (
        torch.tensor(scales, dtype=torch.float64) * (logp - old).exp().detach()
    )  # d ratio / d log pi = ratio
    torch.testing.assert_close(loss.detach(), slope.sum())
    torch.testing.assert_close(torch.autograd.grad(loss, logp)[0], slope)


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
    cfg = preset("grpo", kl_coef=0.0)
    loss, metrics = grpo_loss(
        logp,
        torch.zeros(1, dtype=torch.float64),
        None,
        torch.tensor([advantage]),
        torch.tensor([0, 1]),
        cfg,
        1.0,
    )
    loss.backward()
    assert logp.grad.item() == pytest.approx(slope)
    assert metrics["clipped_tokens"] == (slope == 0)


def test_clip_low_and_clip_high_act_on_their_own_side():
    cfg = preset("grpo", kl_coef=0.0, clip_low=0.2, clip_high=0.28)
    for ratio, advantage, clipped in ((1.25, 1.0, 0), (1.29, 1.0, 1), (0.81, -1.0, 0), (0.79, -1.0, 1)):
        logp = torch.tensor([math.log(ratio)], dtype=torch.float64)
        _, metrics = grpo_loss(
            logp, torch.zeros(1), None, torch.tensor([advantage]), torch.tensor([0, 1]), cfg, 1.0
        )
        assert metrics["clipped_tokens"] == clipped


def test_at_ratio_one_the_gradient_is_reinforce():
    logp, _, _, advantages = random_inputs(3)
    clipped, _ = grpo_loss(logp, logp.detach(), None, advantages, CU, preset("grpo", kl_coef=0.0), 3.0)
    plain = preset("grpo", objective="log_prob", kl_estimator="none", kl_coef=0.0)
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
        preset("grpo"),
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
    a, b = (grpo_loss(logp, old, ref, x, CU, preset("grpo"), 3.0)[0] for x in (advantages, spread))
    assert torch.equal(a, b)


def sampled_at(ratios, old):
    """Sampler log-probs whose importance weight, before the cap, is `ratios`."""
    return old - torch.tensor(ratios, dtype=torch.float64).log()


RATIOS = [0.25, 1.0, 1.5, 1.999, 2.001, 5.0, 0.9, 1e3, 1.0]  # three of them above a cap of 2


@pytest.mark.parametrize("objective", ["clipped_ratio", "log_prob"])
def test_importance_correction_multiplies_each_tokens_policy_loss_by_the_capped_ratio(objective):
    logp, old, ref, advantages = random_inputs(7)
    cfg = preset("grpo", objective=objective, kl_coef=0.0, clip_low=1.0, clip_high=1e9, importance_cap=2.0)
    loss, metrics = corrected_loss(logp, old, ref, advantages, CU, cfg, 3.0, sampled_at(RATIOS, old))
    weight = [min(r, 2.0) for r in RATIOS]
    expected, slope = 0.0, []
    for i, (begin, end) in enumerate(pairwise(CU.tolist())):
        for t in range(begin, end):
            x = logp[t].item()
            value, derivative = (x, 1.0) if objective == "log_prob" else (math.exp(x - old[t].item()),) * 2
            scale = -weight[t] * advantages[i].item() / (end - begin) / 3
            expected += scale * value
            slope.append(scale * derivative)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(torch.autograd.grad(loss, logp)[0], torch.tensor(slope, dtype=torch.float64))
    assert metrics["importance_sum"].item() == pytest.approx(sum(weight), rel=1e-12)
    assert metrics["capped_tokens"] == 3
    assert metrics["clamped_tokens"] == 0


def test_no_gradient_flows_through_the_importance_weight():
    logp, _, _, advantages = random_inputs(8)
    sampled = sampled_at(RATIOS, logp.detach()).requires_grad_()
    cfg = preset("grpo", kl_coef=0.0, importance_cap=2.0)
    # logp stands for old_logp as well: its gradient through the ratio cancels, and any left over is the weight's
    loss, _ = corrected_loss(logp, logp, None, advantages, CU, cfg, 3.0, sampled)
    gradient, to_sampler = torch.autograd.grad(loss, (logp, sampled), allow_unused=True)
    assert to_sampler is None
    assert (gradient == 0).all()


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_importance_correction_leaves_the_kl_term_alone(estimator):
    logp, old, ref, advantages = random_inputs(9)
    sampled = sampled_at(RATIOS, old)

    def gradient(kl_coef, cap):
        cfg = preset("grpo", kl_estimator=estimator, kl_coef=kl_coef, importance_cap=cap)
        loss, metrics = corrected_loss(logp, old, ref, advantages, CU, cfg, 3.0, sampled)
        return torch.autograd.grad(loss, logp)[0], metrics

    (plain, _), (plain_kl, off) = gradient(0.0, 0.0), gradient(0.5, 0.0)
    (corrected, _), (corrected_kl, on) = gradient(0.0, 2.0), gradient(0.5, 2.0)
    assert not torch.allclose(corrected, plain)
    torch.testing.assert_close(corrected_kl - corrected, plain_kl - plain)
    assert on["kl"] == off["kl"]
    assert on["policy_loss"] != off["policy_loss"]


def test_a_sampler_that_agrees_changes_nothing():
    logp, old, ref, advantages = random_inputs(10)
    cfg = preset("grpo", importance_cap=2.0)
    off, plain_metrics = grpo_loss(logp, old, ref, advantages, CU, preset("grpo"), 3.0)
    on, metrics = corrected_loss(logp, old, ref, advantages, CU, cfg, 3.0, old)
    assert torch.equal(on, off)
    assert metrics["importance_sum"] == 9
    assert not {"importance_sum", "capped_tokens"} & set(plain_metrics)


def test_a_runaway_importance_ratio_is_clamped_counted_and_stays_finite():
    logp = torch.tensor([-1.0, -1.0, -900.0, -40.0], requires_grad=True)
    old = torch.tensor([-1.0, -1.0, -900.0, -1.0])  # of the last the policy's own ratio runs away, e^-39
    sampled = torch.tensor([-900.0, -1.0, -1.0, -1.0])  # importance ratios e^899, 1, e^-899 and 1
    cfg = preset("grpo", kl_coef=0.0, importance_cap=1e12)  # above e^20: the clamp is what holds
    loss, metrics = corrected_loss(logp, old, None, torch.ones(1), torch.tensor([0, 4]), cfg, 1.0, sampled)
    loss.backward()
    assert metrics["clamped_tokens"] == 3
    assert metrics["capped_tokens"] == 0
    assert metrics["importance_sum"].item() == pytest.approx(math.exp(LOG_RATIO_LIMIT) + 2, rel=1e-6)
    assert loss.isfinite()
    assert logp.grad.isfinite().all()


@pytest.mark.parametrize("ratio", ["token", "sequence"])
@pytest.mark.parametrize("objective", ["clipped_ratio", "clipped_weight"])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_shares_of_micro_batches_add_up_to_the_loss_of_the_whole(aggregation, objective, ratio):
    logp, old, ref, advantages = random_inputs(5)
    sampled = sampled_at(RATIOS, old)
    what = {"aggregation": aggregation, "objective": objective, "ratio": ratio}
    cfg = preset("grpo", kl_coef=0.1, importance_cap=2.0, **what)
    denominator = loss_denominator(3, 9, aggregation, MAX_NEW_TOKENS)

    def share(tokens, sequences, cu_seqlens):
        of = (logp[tokens], old[tokens], ref[tokens], advantages[sequences], cu_seqlens, cfg, denominator)
        return corrected_loss(*of, sampled[tokens])

    whole, metrics = share(slice(0, 9), slice(0, 3), CU)
    parts = [share(slice(0, 4), slice(0, 2), CU[:3]), share(slice(4, 9), slice(2, 3), CU[2:] - 4)]
    added = sum(loss for loss, _ in parts)
    torch.testing.assert_close(added, whole)
    torch.testing.assert_close(torch.autograd.grad(added, logp)[0], torch.autograd.grad(whole, logp)[0])
    for name, value in metrics.items():
        torch.testing.assert_close(sum(m[name] for _, m in parts), value)
