"""Log-probs of given tokens without ever holding logits for all of them.

[tokens, vocabulary] at 8,000 tokens and 150,000 ids is 5 GB in fp32, several times over with its gradient. Here
the logits exist for one chunk of tokens at a time, and are made again in backward.

Letters: T places of the pack, R scored tokens, C tokens a chunk, D hidden, V vocabulary.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fleming.training.packing import PackedBatch, SharedPrompts, take
from model.exact import pad_rows, row_tile
from model.transformer import Transformer, rows_to_multiply

MAX_CHUNK_TOKENS = 1024
MAX_CHUNK_LOGITS = {"cpu": 1 << 25, "cuda": 1 << 27}  # 128 and 512 MiB of fp32 logits
ABSENT = -1e30  # logit of an id that does not exist: its p is 0, and so is p * logit


def _scaled(logits: Tensor, temperature: float, limit: int) -> Tensor:
    """logits [C, V] in the compute dtype -> fp32, divided by the temperature, ids from `limit` on absent."""
    logits = logits.float()
    if temperature != 1:
        logits = logits.div_(temperature)
    logits[:, limit:] = ABSENT
    return logits


def _describe(
    logits: Tensor, targets: Tensor, temperature: float, limit: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log-probs of targets, entropies and logsumexps, [C] fp32."""
    logits = _scaled(logits, temperature, limit)
    # As the sampler has them: of the ids that exist, by this operation.
    every = logits[:, :limit].log_softmax(-1)
    logp = every.gather(-1, targets[:, None])[:, 0]
    entropy = -every.exp().mul_(every).sum(-1)
    return logp, entropy, logits.gather(-1, targets[:, None])[:, 0] - logp


def _gradient(
    logits: Tensor, targets: Tensor, lse: Tensor, grad_logp: Tensor, temperature: float, limit: int
) -> Tensor:
    """Return the gradient of the logits as they came, [C, V]: d logp / d logits = onehot(target) - softmax(logits)."""
    dtype, scale = logits.dtype, grad_logp[:, None] / temperature
    grad = _scaled(logits, temperature, limit).sub_(lse[:, None]).exp_().mul_(-scale)
    return grad.scatter_add_(-1, targets[:, None], scale).to(dtype)


class _ChunkedLogProbs(torch.autograd.Function):
    """log softmax(h W^T / temperature)[target] for each row, and the entropy of that softmax (no gradient).

    Of W [V, D] the first `limit` rows take part; the others' gradient is zero.
    """

    @staticmethod
    def forward(ctx, hidden, weight, targets, temperature, chunk_tokens, limit, compiled):
        logp = hidden.new_empty(hidden.shape[0], dtype=torch.float32)
        entropy, lse = torch.empty_like(logp), torch.empty_like(logp)
        used = weight[: rows_to_multiply(weight, limit)]
        describe = torch.compile(_describe, dynamic=True) if compiled else _describe
        for begin in range(0, hidden.shape[0], chunk_tokens):
            rows = slice(begin, begin + chunk_tokens)
            logits = F.linear(hidden[rows], used)  # [C, V]
            logp[rows], entropy[rows], lse[rows] = describe(logits, targets[rows], temperature, limit)
        ctx.save_for_backward(hidden, weight, targets, lse)
        ctx.settings = temperature, chunk_tokens, limit, compiled
        ctx.mark_non_differentiable(entropy)
        return logp, entropy

    @staticmethod
    def backward(ctx, grad_logp, _):
        hidden, weight, targets, lse = ctx.saved_tensors
        temperature, chunk_tokens, limit, compiled = ctx.settings
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        count = rows_to_multiply(weight, limit)
        used, grad_used = weight[:count], grad_weight[:count]
        gradient = torch.compile(_gradient, dynamic=True) if compiled else _gradient
        for begin in range(0, hidden.shape[0], chunk_tokens):
            rows = slice(begin, begin + chunk_tokens)
            logits = F.linear(hidden[rows], used)
            grad = gradient(logits, targets[rows], lse[rows], grad_logp[rows], temperature, limit)  # [C, V]
            grad_hidden[rows] = grad @ used
            if grad.dtype == torch.float32:
                # In place: a second [V, D] would be as large as the gradient itself.
                grad_used.addmm_(grad.T, hidden[rows])
            else:
                grad_used += grad.T @ hidden[rows]
        return grad_hidden, grad_weight.to(weight.dtype), None, None, None, None, None


def tokens_per_chunk(vocabulary: int, device: str) -> int:
    """Return how many tokens' logits are held at a time on a "cpu" or "cuda" device."""
    most = max(1, min(MAX_CHUNK_TOKENS, MAX_CHUNK_LOGITS[device] // vocabulary))
    return most // row_tile() * row_tile() or most  # whole tiles of rows, for exact.py


def chunked_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    temperature: float = 1.0,
    chunk_tokens: int | None = None,
    vocab_limit: int | None = None,
    compiled: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return log-probs of targets under softmax(hidden @ weight.T / temperature) and its entropies, [R], nats, fp32.

    hidden [R, D], weight [V, D], targets [R]. Gradients flow into hidden and weight through the log-probs only.
    vocab_limit: leave the rows of weight from this one on out. (A slice of it would cost another [V, D] in backward.)
    compiled: what is done to a chunk's logits is compiled to a few passes over them.
    """
    chunk_tokens = chunk_tokens or tokens_per_chunk(weight.shape[0], hidden.device.type)
    limit = weight.shape[0] if vocab_limit is None else vocab_limit
    return _ChunkedLogProbs.apply(hidden, weight, targets, temperature, chunk_tokens, limit, compiled)


def token_logprobs(
    transformer: Transformer, batch: PackedBatch, temperature: float = 1.0, vocab_limit: int | None = None
) -> tuple[Tensor, Tensor]:
    """Score a packed batch: log-probs and entropies [R] of its response tokens, at the temperature they were drawn at.

    The softmax runs over the ids that exist in the tokenizer, as the sampler's does, or those below `vocab_limit`.
    """
    attend = SharedPrompts(batch, transformer.key_tile)
    limit = vocab_limit or transformer.vocab_limit

    def readout(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        scored, targets = take(hidden[0], 0, batch.predict_at), batch.targets  # [R, D], [R]
        how = {"vocab_limit": limit, "compiled": transformer.compiled}
        if not transformer.key_tile:
            return chunked_logprobs(scored, weight, targets, temperature, **how)
        logp, entropy = chunked_logprobs(pad_rows(scored), weight, pad_rows(targets), temperature, **how)
        # Copies: FSDP hooks what forward returns, and a view cannot be hooked safely.
        return logp[: len(targets)].clone(), entropy[: len(targets)].clone()

    return transformer(batch.tokens, batch.positions, attend, readout)
