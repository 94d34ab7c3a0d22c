"""The maths of GRPO on plain tensors: group advantages and the loss. Knows no model, no text and no process group.

A preset is data (settings/training.py): which objective, which baseline, which KL estimator, how tokens are weighted.
Left out: old log-probs and rollouts (rl/rollout.py), and the optimiser; of DAPO, what is not its loss: dynamic sampling
(its Eq. 11, rl/rollout.py) and overlong shaping (its Eq. 13, rl/reward.py).

Letters: Q questions, G group size, N sequences (Q * G, or a micro-batch's share), T response tokens of all of them.
Equations: "Eq. n" is the Fleming-R1 paper's; DeepSeekMath is arXiv 2402.03300, DAPO 2503.14476, Dr. GRPO 2503.20783,
GSPO 2507.18071, MiniMax-M1 (CISPO) 2506.13585; "k1-k3" are the three estimators of KL(pi || ref) in Schulman's note
"Approximating KL divergence" (2020); TIS is Yao et al., "Your Efficient RL Framework Secretly Brings You Off-Policy RL
Training" (2025).
"""

import torch
from torch import Tensor

from fleming.settings.training import LossConfig

LOG_RATIO_LIMIT = 20.0  # |log ratio| beyond this is clamped before exp, and counted


def group_advantages(rewards: Tensor, normalize_std: bool = True, epsilon: float = 1e-6) -> Tensor:
    """Return A [Q, G] float64 from rewards [Q, G]: how much better each answer is than its own group.

    A = r - mean(r) (Eq. 2-3), over std(r) + epsilon where `normalize_std` (DeepSeekMath 4.1.2); std is the sample
    standard deviation (ddof 1). A group of equal rewards has exactly zero advantage: it is never left to rounding,
    which divided by a std of 1e-17 would be a large number.
    """
    r = rewards.double().clamp(-1e150, 1e150)  # whose squares are finite
    equal = r.amax(-1, keepdim=True) == r.amin(-1, keepdim=True)
    advantages = r - r.mean(-1, keepdim=True)  # Eq. 2, 3
    if normalize_std and r.shape[-1] > 1:
        advantages = advantages / (r.std(-1, keepdim=True) + epsilon)
    return advantages.masked_fill(equal, 0.0)


def importance_weights(
    old_logp: Tensor, sampled_logp: Tensor, cap: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return each token's min(pi_old / pi_sampler, cap) [T] (TIS), detached, and the counts that describe it.

    Advantages are multiplied by it, so it weighs the policy term and never the KL term. old_logp must be the trainer's
    own, recomputed before the first update; sampled_logp is the sampler's.
    """
    log_ratio = (old_logp - sampled_logp).detach()
    ratio = log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    weights = ratio.clamp(max=cap)
    return weights, {
        "importance_sum": weights.sum(),
        "capped_tokens": (ratio > cap).sum(),
        "clamped_tokens": (log_ratio.abs() > LOG_RATIO_LIMIT).sum(),
    }


def kl_estimate(logp: Tensor, ref_logp: Tensor, estimator: str) -> Tensor:
    """Return the per-token estimate of KL(pi || ref) [T], nats; tokens drawn from pi.

    With d = ref_logp - logp: k1 = -d, k2 = d^2 / 2, k3 = exp(d) - 1 - d. As values k1 and k3 are unbiased. As *loss
    terms* under on-policy sampling their expected gradients differ: k1's is zero, k2's is the gradient of the
    reverse KL(pi || ref), k3's is the gradient of the forward KL(ref || pi) (tests/rl/test_grpo.py shows it).
    """
    d = (ref_logp - logp).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return {"k1": lambda: -d, "k2": lambda: d.square() / 2, "k3": lambda: d.exp() - 1 - d}[estimator]()


def token_weights(cu_seqlens: Tensor, aggregation: str) -> Tensor:
    """Return each token's weight [T] before the division by the denominator."""
    lengths = cu_seqlens.diff()
    weights = torch.ones_like(lengths, dtype=torch.float64)
    if aggregation == "sequence_mean":
        weights /= lengths.clamp(min=1)
    return torch.repeat_interleave(weights, lengths)


def loss_denominator(num_sequences: int, num_tokens: int, aggregation: str, max_new_tokens: int) -> float:
    """Return the number that the whole step's loss is divided by.

    num_sequences and num_tokens (of responses) are counted over the whole step, all micro-batches of all ranks, before
    the first backward; sequences of zero advantage count as well. sequence_mean and sequence_sum divide by
    num_sequences, token_mean by num_tokens, constant by num_sequences * max_new_tokens: there an answer's length only
    decides how many terms it adds.
    """
    return float(
        {
            "sequence_mean": num_sequences,
            "sequence_sum": num_sequences,
            "token_mean": num_tokens,
            "constant": num_sequences * max_new_tokens,
        }[aggregation]
    )


def policy_loss(logp: Tensor, ratio: Tensor, advantages: Tensor, cfg: LossConfig) -> Tensor:
    """Return each token's loss [T]; all arguments [T]."""
    if cfg.objective == "log_prob":
        return -logp * advantages  # Eq. 1
    clipped = ratio.clamp(1 - cfg.clip_low, 1 + cfg.clip_high)
    if cfg.objective == "clipped_weight":
        return -clipped.detach() * advantages * logp  # MiniMax-M1 Eq. 4-5
    return -torch.minimum(ratio * advantages, clipped * advantages)  # DeepSeekMath Eq. 3, GSPO Eq. 5


def log_ratios(logp: Tensor, old_logp: Tensor, cu_seqlens: Tensor, level: str) -> Tensor:
    """Return log(pi / pi_old) [T], of each token; at level "sequence" the mean over its sequence (GSPO Eq. 7).

    A token's gradient is then 1 / length of what the ratio of the whole sequence is given.
    """
    log_ratio = logp - old_logp
    if level == "token":
        return log_ratio
    # Of a segment everything adds up in one order, forward and backward, on any number of threads; a sum of indexed
    # places would not. Unsafe leaves out a check that refuses the idle pack, which has no sequence.
    lengths = cu_seqlens.diff()
    means = torch.segment_reduce(log_ratio, "mean", lengths=lengths, unsafe=True)  # [N]
    return torch.repeat_interleave(means, lengths)


def grpo_loss(
    logp: Tensor,
    old_logp: Tensor,
    ref_logp: Tensor | None,
    advantages: Tensor,
    cu_seqlens: Tensor,
    cfg: LossConfig,
    denominator: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return this micro-batch's share of the step's loss, and what to log of it.

    logp, old_logp, ref_logp [T]: log-probs (nats) of the response tokens under the policy, the policy that sampled
    them and the reference, N responses end to end, cut by cu_seqlens [N + 1]. advantages: [N], or [T] already
    spread over tokens. denominator: `loss_denominator` of the *whole* step, so that shares add up to the step's
    loss however it was split; groups of zero variance stay in it.

    At one update a rollout old_logp may be the sampler's own: the ratio is 1 up to rounding, the clip inert and the
    gradient REINFORCE's. Where GRPOConfig.rescores it must be the trainer's, recomputed before the first update.

    Metrics are sums that add over micro-batches the same way: loss, policy_loss and kl are shares; *_tokens are
    counts; ratio_sum is a sum over tokens.
    """
    if advantages.numel() == cu_seqlens.numel() - 1:
        advantages = torch.repeat_interleave(advantages, cu_seqlens.diff())  # [T]
    advantages = advantages.to(logp.dtype)
    weights = (token_weights(cu_seqlens, cfg.aggregation) / denominator).to(logp.dtype)  # [T]

    log_ratio = log_ratios(logp, old_logp, cu_seqlens, cfg.ratio)
    ratio = log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    policy = (policy_loss(logp, ratio, advantages, cfg) * weights).sum()
    loss, metrics = policy, {"policy_loss": policy.detach()}
    if cfg.needs_reference:
        kl = (kl_estimate(logp, ref_logp, cfg.kl_estimator) * weights).sum()
        loss = policy + cfg.kl_coef * kl
        metrics["kl"] = kl.detach()
    metrics["loss"] = loss.detach()
    exponents = []
    if cfg.objective != "log_prob":
        clipped = ratio.clamp(1 - cfg.clip_low, 1 + cfg.clip_high)
        bites = (
            clipped != ratio
            if cfg.objective == "clipped_weight"
            else clipped * advantages < ratio * advantages
        )
        metrics |= {"clipped_tokens": bites.sum(), "ratio_sum": ratio.detach().sum()}
        exponents.append(log_ratio)
    if cfg.needs_reference:
        exponents.append(ref_logp - logp)
    if exponents:
        metrics["clamped_tokens"] = sum((x.abs() > LOG_RATIO_LIMIT).sum() for x in exponents)
    return loss, metrics
