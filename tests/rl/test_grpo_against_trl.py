"""Our advantages, loss and gradient against TRL's on the same numbers.

TRL's own code runs: `_generate_and_score_completions` (advantages, token count, importance ratios) and `_compute_loss`.
Stubs stand where it needs a model: the sampled ids, their rewards and their log-probs. All of it is float64.

Where the two differ (TRL 1.16):
- std: both are sample standard deviations (ddof 1); TRL adds 1e-4 to it, we 1e-6. A group of equal rewards keeps its
  rounding error over 1e-4 in TRL, and is exactly zero with us.
- `loss_type` sets the aggregation alone. TRL's default is dapo; Dr. GRPO also needs scale_rewards="none", DAPO
  epsilon_high=0.28. Its beta is 0 by default, ours 1e-3 in the preset grpo.
- TRL multiplies the KL term by the ratio unless use_bias_correction_kl is False; ours never does. At ratio 1 that turns
  k3's gradient into k2's, which is shown below.
- TRL divides grpo and dr_grpo by the sequences of each micro-batch and by the number of micro-batches: our denominator,
  because its micro-batches are of equal size. dapo it divides by the tokens of the whole batch, as we do.
- At one update a rollout TRL takes logp.detach() for old_logp: the ratio is exactly 1.
- The correction between sampler and trainer is by default a *mask* per *sequence* at 3.0; ours is mode token_truncate.
- No log ratio is bounded there; here it is, at 20. These numbers stay within.
"""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from support.losses import corrected_loss
from torch.nn.utils.rnn import pad_sequence

from fleming.rl.grpo import group_advantages, grpo_loss, loss_denominator
from fleming.settings.training import preset

LENGTHS = [3, 1, 5, 2, 4, 5]  # two questions of three answers
REWARDS = torch.tensor([[1.1, 0.0, 0.1], [0.0, 1.1, 1.1]], dtype=torch.float64)
MAX_NEW_TOKENS = 8
TRL_EPSILON = 1e-4
CU = torch.tensor([0, *LENGTHS]).cumsum(0)
pytestmark = pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated")  # TRL's own

LOSSES = {  # what TRL has to be told for each of our presets
    "grpo": {"loss_type": "grpo"},
    "dapo": {"loss_type": "dapo", "epsilon_high": 0.28},
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none"},
    "gspo": {
        "loss_type": "grpo",
        "importance_sampling_level": "sequence",
        "epsilon": 3e-4,
        "epsilon_high": 4e-4,
    },
    "cispo": {"loss_type": "cispo", "epsilon_high": 1.2},  # the highest ratio itself
}
NEARER = {"cispo": {"clip_high": 0.2}}  # than a preset's bound, which none of these numbers reaches


@pytest.fixture(scope="module")
def trl():
    return pytest.importorskip(
        "trl", minversion="1.16", reason="compares with TRL: pip install -r requirements-dev.txt"
    )


def numbers(seed=0):
    """Log-probs under policy (a leaf), old policy, reference and sampler, 20 tokens each, 0.3 nats or so apart."""
    g = torch.Generator().manual_seed(seed)
    noise = lambda: 0.3 * torch.randn(CU[-1], dtype=torch.float64, generator=g)  # noqa: E731
    logp = -0.5 - 2 * torch.rand(CU[-1], dtype=torch.float64, generator=g)
    old = logp + noise()
    # TRL holds the sampler's log-probs in float32: ours are chosen so that they survive that.
    return logp.requires_grad_(), old, logp.detach() + noise(), (old + noise()).float().double()


class Trainer(SimpleNamespace):
    """What the two methods of GRPOTrainer read of their `self`, with TRL's own settings and no model."""

    def __init__(self, trl, folder, rewards, logps, sampled=None, micro_batches=1, **settings):
        n = rewards.numel()
        args = trl.GRPOConfig(
            str(folder),
            per_device_train_batch_size=n // micro_batches,
            gradient_accumulation_steps=micro_batches,
            num_generations=rewards.shape[1],
            max_completion_length=MAX_NEW_TOKENS,
            use_cpu=True,
            bf16=False,
            report_to="none",
            **{"use_bias_correction_kl": False, **settings},
        )
        stub = SimpleNamespace(is_gradient_checkpointing=False, training=True)
        same = lambda x, **_: x  # noqa: E731
        super().__init__(
            args=args,
            model=stub,
            ref_model="reference",
            accelerator=SimpleNamespace(
                device="cpu",
                gather=same,
                reduce=same,
                gather_for_metrics=same,
                num_processes=1,
                process_index=0,
            ),
            beta=args.beta,
            loss_type=args.loss_type,
            epsilon_low=args.epsilon,
            epsilon_high=args.epsilon if args.epsilon_high is None else args.epsilon_high,
            num_iterations=args.num_iterations,
            num_generations=args.num_generations,
            max_completion_length=args.max_completion_length,
            importance_sampling_level=args.importance_sampling_level,
            top_entropy_quantile=args.top_entropy_quantile,
            off_policy_mask_threshold=args.off_policy_mask_threshold,
            multi_objective_aggregation=args.multi_objective_aggregation,
            scale_rewards=args.scale_rewards,
            mask_truncated_completions=args.mask_truncated_completions,
            use_vllm=sampled is not None,
            vllm_importance_sampling_correction=args.vllm_importance_sampling_correction,
            vllm_importance_sampling_mode=args.vllm_importance_sampling_mode,
            vllm_importance_sampling_clip_min=args.vllm_importance_sampling_clip_min,
            vllm_importance_sampling_clip_max=args.vllm_importance_sampling_clip_max,
            current_gradient_accumulation_steps=micro_batches,
            reward_weights=torch.ones(1, dtype=torch.float64),
            reward_func_names=["reward"],
            pad_to_multiple_of=None,
            environment_factories=None,
            environments=None,
            tools=None,
            aux_loss_enabled=False,
            _entropy_bonus_enabled=False,
            _tokenizer=SimpleNamespace(pad_token_id=0),
            _metrics=defaultdict(lambda: defaultdict(list)),
            _logs=defaultdict(lambda: defaultdict(list), prompt=[], completion=[], advantages=[]),
            _pending_extra_logs={},
            _pending_metrics={},
            _generate=lambda prompts: self.generated,
            _calculate_rewards=lambda *_: rewards.reshape(n, 1),
            _get_per_token_logps_and_entropies=self.score,
        )
        ids = [[1] * length for length in LENGTHS]
        texts = ["x"] * n
        logprobs = None if sampled is None else [x.tolist() for x in sampled.split(LENGTHS)]
        self.generated = (
            [[i] for i in range(n)],
            ids,
            None,
            texts,
            logprobs,
            {},
            None,
            None,
        )  # prompt i is token i
        self.logps = logps  # "policy", "old", "reference"

    def score(self, model, input_ids, *_, **__):
        """Padded log-probs of these rows; the padding is nonsense that a mask has to keep out."""
        name = model if isinstance(model, str) else "policy" if torch.is_grad_enabled() else "old"
        padded = pad_sequence(self.logps[name].split(LENGTHS), batch_first=True, padding_value=-len(name))
        rows = padded[input_ids[:, 0]]
        return rows, torch.zeros_like(rows), None

    def loss(self, trl):
        """TRL's loss of the whole batch, the sum over its micro-batches, and the batch as TRL scored it."""
        batch = trl.GRPOTrainer._generate_and_score_completions(self, [{"prompt": "x"}] * len(LENGTHS))
        parts = self.args.gradient_accumulation_steps
        split = {k: v.chunk(parts) if v.dim() else [v] * parts for k, v in batch.items()}
        micro = [{k: v[i] for k, v in split.items()} for i in range(parts)]
        return sum(trl.GRPOTrainer._compute_loss(self, None, part) for part in micro), batch


def agree(ours, theirs, leaf):
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(loss, leaf)[0] for loss in (ours, theirs)]
    assert gradients[0].abs().max() > 1e-3
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("kl_coef", [0.0, 0.04])
@pytest.mark.parametrize("updates", [1, 2])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradient_are_trls(trl, tmp_path, name, updates, kl_coef, micro_batches):
    logp, old, ref, _ = numbers()
    logps = {"policy": logp, "old": old, "reference": ref}
    settings = {"beta": kl_coef, "num_iterations": updates, **LOSSES[name]}
    theirs, batch = Trainer(trl, tmp_path, REWARDS, logps, micro_batches=micro_batches, **settings).loss(trl)
    assert ("old_per_token_logps" in batch) == (updates > 1)

    cfg = preset(name, kl_coef=kl_coef, kl_estimator="k3", **NEARER.get(name, {}))
    advantages = group_advantages(REWARDS, cfg.normalize_std, TRL_EPSILON).flatten()
    denominator = loss_denominator(len(LENGTHS), sum(LENGTHS), cfg.aggregation, MAX_NEW_TOKENS)
    old = old if updates > 1 else logp.detach()
    ours, metrics = grpo_loss(logp, old, ref if kl_coef else None, advantages, CU, cfg, denominator)
    agree(ours, theirs, logp)
    assert (metrics["clipped_tokens"] > 0) == (updates > 1)


def test_trls_default_kl_gradient_is_our_k2_at_one_update(trl, tmp_path):
    logp, old, ref, _ = numbers(2)
    logps = {"policy": logp, "old": old, "reference": ref}
    theirs, _ = Trainer(
        trl, tmp_path, REWARDS, logps, beta=0.04, loss_type="grpo", use_bias_correction_kl=True
    ).loss(trl)
    advantages = group_advantages(REWARDS, True, TRL_EPSILON).flatten()
    of = {
        k: grpo_loss(
            logp, logp.detach(), ref, advantages, CU, preset("grpo", kl_coef=0.04, kl_estimator=k), 6.0
        )[0]
        for k in ("k2", "k3")
    }
    torch.testing.assert_close(of["k3"], theirs, rtol=1e-12, atol=1e-12)  # the value is k3's,
    gradient = {k: torch.autograd.grad(loss, logp)[0] for k, loss in {**of, "theirs": theirs}.items()}
    torch.testing.assert_close(
        gradient["k2"], gradient["theirs"], rtol=1e-12, atol=1e-12
    )  # the gradient k2's
    assert not torch.allclose(gradient["k3"], gradient["theirs"])


@pytest.mark.parametrize("name", LOSSES)
def test_importance_correction_is_trls_token_truncate(trl, tmp_path, name):
    logp, old, ref, sampled = numbers(1)
    settings = {"beta": 0.04, **LOSSES[name]}
    settings |= {"vllm_importance_sampling_mode": "token_truncate", "vllm_importance_sampling_clip_max": 1.2}
    logps = {"policy": logp, "old": old, "reference": ref}
    theirs, batch = Trainer(trl, tmp_path, REWARDS, logps, sampled, **settings).loss(trl)
    assert "old_per_token_logps" in batch  # the trainer's own, recomputed at one update too

    cfg = preset(name, kl_coef=0.04, kl_estimator="k3", importance_cap=1.2, **NEARER.get(name, {}))
    advantages = group_advantages(REWARDS, cfg.normalize_std, TRL_EPSILON).flatten()
    denominator = loss_denominator(len(LENGTHS), sum(LENGTHS), cfg.aggregation, MAX_NEW_TOKENS)
    ours, metrics = corrected_loss(logp, old, ref, advantages, CU, cfg, denominator, sampled)
    agree(ours, theirs, logp)
    assert 0 < metrics["capped_tokens"] < CU[-1]


@pytest.mark.parametrize("scale", ["group", "none"])
def test_advantages_are_trls_but_for_what_is_added_to_the_std(trl, tmp_path, scale):
    rewards = torch.tensor([[1.1, 0.0, 0.1], [0.1, 0.1, 0.1]], dtype=torch.float64)
    logp, old, _, _ = numbers()
    trainer = Trainer(trl, tmp_path, rewards, {"policy": logp, "old": old}, scale_rewards=scale)
    theirs = trainer.loss(trl)[1]["advantages"].view_as(rewards)
    normalize = scale == "group"
    torch.testing.assert_close(
        group_advantages(rewards, normalize, TRL_EPSILON), theirs, rtol=1e-12, atol=1e-12
    )
    assert (group_advantages(rewards, normalize)[1] == 0).all()  # exactly, whatever is added
    if normalize:  # what the two additions come to: a factor of (std + 1e-4) / (std + 1e-6)
        std = rewards[0].std()
        torch.testing.assert_close(
            group_advantages(rewards)[0], theirs[0] * (std + TRL_EPSILON) / (std + 1e-6)
        )
