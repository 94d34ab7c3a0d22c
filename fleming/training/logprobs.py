"""Log-probs of given tokens without ever holding logits for all of them.

[tokens, vocabulary] at 8,000 tokens and 150,000 ids is 5 GB in fp32, several times over with its gradient. Here
the logits exist for one chunk of tokens at a time, and are made again in backward.

Letters: T places of the pack, R scored tokens, C tokens a chunk, D hidden, V vocabulary.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fleming.training.packing import PackedBatch, SharedPrompts
from model.transformer import Transformer

MAX_CHUNK_TOKENS, MAX_CHUNK_LOGITS = 1024, 1 << 25  # 128 MiB of fp32 logits


class _ChunkedLogProbs(torch.autograd.Function):
    """log softmax(h W^T / temperature)[target] for each row, and the entropy of that softmax (no gradient).

    Of W [V, D] the first `limit` rows take part; the others' gradient is zero.
    """

    @staticmethod
    def _logits(hidden, weight, temperature):
        logits = F.linear(hidden, weight).float()  # [C, V]
        return logits.div_(temperature) if temperature != 1 else logits

    @staticmethod
    def forward(ctx, hidden, weight, targets, temperature, chunk_tokens, limit):
        logp = hidden.new_empty(hidden.shape[0], dtype=torch.float32)
        entropy, lse = torch.empty_like(logp), torch.empty_like(logp)
        for begin in range(0, hidden.shape[0], chunk_tokens):
            rows = slice(begin, begin + chunk_tokens)
            logits = _ChunkedLogProbs._logits(hidden[rows], weight[:limit], temperature)
            lse[rows] = logits.logsumexp(-1)
            logp[rows] = logits.gather(-1, targets[rows, None])[:, 0] - lse[rows]
            # H = lse - sum_i p_i * logit_i
            p = (logits - lse[rows, None]).exp_()
            entropy[rows] = lse[rows] - p.mul_(logits).sum(-1)
        ctx.save_for_backward(hidden, weight, targets, lse)
        ctx.temperature, ctx.chunk_tokens, ctx.limit = temperature, chunk_tokens, limit
        ctx.mark_non_differentiable(entropy)
        return logp, entropy

    @staticmethod
    def backward(ctx, grad_logp, _):
        hidden, weight, targets, lse = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        used, grad_used = weight[: ctx.limit], grad_weight[: ctx.limit]
        for begin in range(0, hidden.shape[0], ctx.chunk_tokens):
            rows = slice(begin, begin + ctx.chunk_tokens)
            logits = _ChunkedLogProbs._logits(hidden[rows], used, ctx.temperature)
            scale = grad_logp[rows, None] / ctx.temperature  # [C, 1]
            # d logp / d logits = onehot(target) - softmax(logits)
            grad = logits.sub_(lse[rows, None]).exp_().mul_(-scale)  # [C, V]
            grad.scatter_add_(-1, targets[rows, None], scale)
            grad = grad.to(hidden.dtype)
            grad_hidden[rows] = grad @ used
            if grad.dtype == torch.float32:  # in place: a second [V, D] would be as large as the gradient itself
                grad_used.addmm_(grad.T, hidden[rows])
            else:
                grad_used += grad.T @ hidden[rows]
        return grad_hidden, grad_weight.to(weight.dtype), None, None, None, None


def tokens_per_chunk(vocabulary: int) -> int:
    """Return how many tokens' logits are held at a time."""
    return max(1, min(MAX_CHUNK_TOKENS, MAX_CHUNK_LOGITS // vocabulary))


def chunked_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    temperature: float = 1.0,
    chunk_tokens: int | None = None,
    vocab_limit: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return log-probs of targets under softmax(hidden @ weight.T / temperature) and its entropies, [R], nats, fp32.

    hidden [R, D], weight [V, D], targets [R]. Gradients flow into hidden and weight through the log-probs only.
    vocab_limit: leave the rows of weight from this one on out. (A slice of it would cost another [V, D] in backward.)
    """
    chunk_tokens = chunk_tokens or tokens_per_chunk(weight.shape[0])
    return _ChunkedLogProbs.apply(hidden, weight, targets, temperature, chunk_tokens, vocab_limit)


def token_logprobs(transformer: Transformer, batch: PackedBatch, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Score a packed batch: log-probs and entropies [R] of its response tokens, at the temperature they were drawn at.

    The softmax runs over the ids that exist in the tokenizer, as the sampler's does.
    """
    attend = SharedPrompts(batch)

    def readout(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        scored = hidden[0][batch.predict_at]  # [R, D]
        return chunked_logprobs(scored, weight, batch.targets, temperature, vocab_limit=transformer.vocab_limit)

    return transformer(batch.tokens, batch.positions, attend, readout)
