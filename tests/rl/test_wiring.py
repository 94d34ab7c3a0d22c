"""train_grpo.py's loop against a plain one: a step per preset is made again from its rollout file alone.

transformers' model scores one answer at a time, the loss is written out token by token from the papers, and what the
loop gave its loss, its gradient, the clipped norm and the learning rate must be the same. The sampler's log-probs are
moved by up to 0.4 on their way: so the sampler's, the trainer's and the reference's cannot be mistaken. Of
mini-batches the answers are cut to several lengths: so no normaliser can be mistaken for another's.
"""

import dataclasses
import itertools
import json
import math
import statistics
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from support.models import hf_folder
from support.runs import ALONE

import train_grpo
from fleming.config import load_config
from fleming.files import write_jsonl
from fleming.records import Question, to_json
from fleming.rl import rollout
from fleming.settings import Config
from fleming.training.metrics import training_flops
from fleming.training.optimizer import GuardedStep, make_adamw, set_learning_rate
from fleming.training.run import Run
from model import load_model

RATE, CLIP, TEMPERATURE, MOST = 1e-2, 0.05, 0.7, 10
GROUP, QUESTIONS = 4, 4
HARD = ("h0", "h1", "h2", "h3")
EASY = ("e0", "e1", "e2", "e3")
PAPER = {"std": False, "ratio": False, "weight": "sequence_sum"}
GRPO = {"std": True, "ratio": True, "high": 0.2, "beta": 0.05, "weight": "sequence_mean"}
DAPO = {"std": True, "ratio": True, "high": 0.28, "weight": "token_mean"}
GSPO = {**GRPO, "ratio": "sequence", "low": 3e-4, "high": 4e-4, "recomputed": True}
del GSPO["beta"]
CISPO = {"std": True, "ratio": "weight", "low": 1.0, "high": 0.01, "weight": "token_mean", "recomputed": True}
CASES = {  # settings, and what the papers say of them
    "grpo": (["grpo.kl_coef=0.05"], GRPO),
    "paper": (["grpo.preset=paper"], PAPER),
    "dapo": (["grpo.preset=dapo"], DAPO),
    "dr_grpo": (["grpo.preset=dr_grpo"], {**DAPO, "std": False, "high": 0.2, "weight": "constant"}),
    "two updates": (["grpo.kl_coef=0.05", "grpo.updates_per_rollout=2"], {**GRPO, "recomputed": True}),
    "two parts": (
        ["grpo.kl_coef=0.05", "grpo.minibatches_per_rollout=2"],
        {**GRPO, "recomputed": True, "parts": 2},
    ),
    "capped": (["grpo.preset=dapo", "grpo.importance_cap=1.2"], {**DAPO, "cap": 1.2, "recomputed": True}),
    "gspo": (["grpo.preset=gspo"], GSPO),
    "gspo in parts": (
        ["grpo.preset=gspo", "grpo.minibatches_per_rollout=2", "grpo.micro_batch_tokens=150"],
        {**GSPO, "parts": 2},
    ),
    "cispo in parts": (
        [
            "grpo.preset=cispo",
            "grpo.clip_high=0.01",
            "grpo.minibatches_per_rollout=2",
            "grpo.micro_batch_tokens=150",
        ],
        {**CISPO, "parts": 2},
    ),
}


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def marks(response, finished, question, cfg):
    """One question's answers are all alike; else the total says nothing about what is correct."""
    number = sum(map(ord, response))
    total = 0.5 if question.id == "h0" else number % 7 / 3
    return {"correct": float(question.id in EASY), "format": 0.0, "total": total}


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny products: more threads only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wiring")
    (folder / "model").mkdir()
    hf_folder(folder / "model", "qwen3")
    grades = dict.fromkeys(HARD, "moderate") | dict.fromkeys(EASY, "easy")
    questions = [
        Question(
            id=name, question=f"Is it {name}?", options={"A": "yes", "B": "no"}, answer="A", difficulty=grade
        )
        for name, grade in grades.items()
    ]
    write_jsonl(folder / "questions.jsonl", map(to_json, questions))
    return folder


class Seen:
    """What a run gave to its loss and to its optimiser, in order."""

    def __init__(self):
        self.packs, self.losses, self.updates, self.taken, self.flops = [], [], [], [], []


def train(folder: Path, run_dir: Path, *settings: str, shift: float = 0.4, cut: bool = False) -> Seen:
    """Run two steps. cut: answers of six lengths, as hardly one of this model's ends by itself."""
    given = [
        f"run_dir={run_dir}",
        f"model={folder / 'model'}",
        f"data.questions={folder / 'questions.jsonl'}",
    ]
    given += [f"grpo.questions_per_step={QUESTIONS}", f"grpo.stage1={{max_steps: 2, group_size: {GROUP}}}"]
    given += ["grpo.stage2.max_steps=0", f"grpo.max_new_tokens={MOST}", f"grpo.temperature={TEMPERATURE}"]
    given += [
        f"grpo.learning_rate={RATE}",
        "grpo.warmup_steps=4",
        f"grpo.grad_clip={CLIP}",
        "grpo.show_every=0",
    ]
    given += [
        "grpo.micro_batch_tokens=300",
        "parallel.device=cpu",
        "chat_format=chatml",
        "instruction=Think.",
    ]
    cfg = load_config(Config, None, [*given, *settings])
    seen = Seen()

    def moved(*arguments):
        sampled = make_rollouts(*arguments)
        shifts = (shift * math.sin(i) for i in range(10**6))
        lengths = itertools.cycle(range(MOST, MOST - 5 * cut - 1, -1))

        def other(r, length):
            logprobs = [x + next(shifts) for x in r.logprobs[:length]]
            return dataclasses.replace(r, token_ids=r.token_ids[:length], logprobs=logprobs)

        groups = [[other(r, next(lengths)) for r in group] for group in sampled.groups]
        return dataclasses.replace(sampled, groups=groups)

    def packed(*arguments):
        seen.packs.append(pack_rollouts(*arguments))
        return seen.packs[-1]

    def loss(*arguments):
        seen.losses.append([x.detach() if isinstance(x, torch.Tensor) else x for x in arguments])
        return grpo_loss(*arguments)

    class Watched(GuardedStep):
        def __call__(self, transformer, optimizer, max_norm):
            named = dict(transformer.named_parameters())
            weights = {name: p.detach().clone() for name, p in named.items()}
            gradients = {name: p.grad.clone() for name, p in named.items()}
            seen.updates.append((len(seen.losses), weights, gradients))
            return super().__call__(transformer, optimizer, max_norm)

    def log(self, record, score, flops, sampler=None):
        seen.flops.append(flops)
        run_log(self, record, score, flops, sampler)

    def step(self, *arguments):
        norm = math.hypot(*(p.grad.norm().item() for group in self.param_groups for p in group["params"]))
        seen.taken.append((norm, {group["lr"] for group in self.param_groups}))
        return adamw_step(self, *arguments)

    make_rollouts, pack_rollouts, grpo_loss = (
        train_grpo.make_rollouts,
        rollout.pack_rollouts,
        train_grpo.grpo_loss,
    )
    adamw_step, run_log = torch.optim.AdamW.step, Run.log
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_grpo, "load_reward", lambda name: marks)
        patch.setattr(train_grpo, "make_rollouts", moved)
        patch.setattr(rollout, "pack_rollouts", packed)
        patch.setattr(train_grpo, "grpo_loss", loss)
        patch.setattr(train_grpo, "GuardedStep", Watched)
        patch.setattr(Run, "log", log)
        patch.setattr(torch.optim.AdamW, "step", step)
        train_grpo.train(cfg, ALONE)
    return seen


class Plain:
    """transformers' model of the folder, with any weights of ours."""

    def __init__(self, folder: Path):
        from transformers import AutoModelForCausalLM

        self.model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).eval()
        ours, tokenizer = load_model(folder / "model", chat_format="chatml")
        self.cfg, self.limit = ours.cfg, tokenizer.size
        self.named = {name.removeprefix("model."): p for name, p in self.model.named_parameters()}
        self.begun = {name: p.detach().clone() for name, p in self.named.items()}

    def score(self, weights: dict, rollouts: list[dict]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Log-probs of each answer's tokens, and the entropies where they were drawn."""
        with torch.no_grad():
            for name, p in self.named.items():
                p.copy_(weights[name])
        logps, entropies = [], []
        for r in rollouts:
            logits = self.model(torch.tensor([r["prompt_ids"] + r["token_ids"]])).logits[0]
            rows = (logits[len(r["prompt_ids"]) - 1 : -1, : self.limit] / TEMPERATURE).log_softmax(-1)
            logps.append(rows.gather(1, torch.tensor(r["token_ids"])[:, None])[:, 0])
            entropies.append(-(rows.exp() * rows).sum(-1))
        return logps, entropies


def advantages_of(rollouts: list[dict], std: bool) -> list[float]:
    totals, found = [r["reward"]["total"] for r in rollouts], []
    for i in range(0, len(totals), GROUP):
        group = totals[i : i + GROUP]
        scale = statistics.stdev(group) + 1e-6 if std else 1.0
        found += [(x - statistics.mean(group)) / scale if len(set(group)) > 1 else 0.0 for x in group]
    return found


def plain_loss(spec: dict, logps, olds, refs, advantages, rollouts) -> torch.Tensor:
    tokens = sum(len(r["token_ids"]) for r in rollouts)
    loss = torch.zeros(())
    for logp, old, ref, advantage, r in zip(logps, olds, refs, advantages, rollouts, strict=True):
        n = len(r["token_ids"])
        weight = {
            "sequence_mean": 1 / n / len(rollouts),
            "sequence_sum": 1 / len(rollouts),
            "token_mean": 1 / tokens,
            "constant": 1 / (len(rollouts) * MOST),
        }[spec["weight"]]
        for t in range(n):
            a = advantage
            if "cap" in spec:
                a *= min(math.exp(old[t] - r["logprobs"][t]), spec["cap"])
            if spec["ratio"]:
                moved = (logp - old).mean() if spec["ratio"] == "sequence" else logp[t] - old[t]
                ratio = torch.exp(moved)
                bounded = ratio.clamp(1 - spec.get("low", 0.2), 1 + spec["high"])
                gain = min(ratio * a, bounded * a)
                if spec["ratio"] == "weight":
                    gain = bounded.detach() * a * logp[t]
            else:
                gain = logp[t] * a
            if "beta" in spec:
                d = ref[t] - logp[t]
                gain = gain - spec["beta"] * (torch.exp(d) - d - 1)
            loss = loss - weight * gain
    return loss


def check_arguments(seen: Seen, first: int, packs, expected: dict) -> None:
    """The losses of one update, sequence by sequence: each was given its own log-probs, old ones and advantages."""
    met = []
    for pack, (logp, old, ref, advantages, cuts, *_) in zip(packs, seen.losses[first:], strict=False):
        for begin, end in pairwise(cuts.tolist()):
            key = tuple(pack.packed.targets[begin:end].tolist())
            met.append(key)
            want = expected[key]
            for name, found in (("logp", logp), ("old", old), ("ref", ref), ("advantage", advantages)):
                if want[name] is not None:
                    torch.testing.assert_close(found[begin:end], want[name], atol=2e-5, rtol=2e-5, msg=name)
                else:
                    assert found is None, name
    assert sorted(met) == sorted(key for key, want in expected.items() if want["live"])


@pytest.mark.parametrize("case", CASES)
def test_two_steps_are_those_of_a_plain_loop_over_their_rollout_files(folder, tmp_path, case):
    settings, spec = CASES[case]
    parts = spec.get("parts", 1)
    seen, plain = train(folder, tmp_path, *settings, cut=parts > 1), Plain(folder)
    metrics = lines(tmp_path / "grpo/metrics.jsonl")
    updates = 2 if case == "two updates" else parts
    assert len(seen.updates) == len(seen.taken) == 2 * updates
    counts = set()
    for step in (1, 2):
        of_step = [b.packed for packs in seen.packs[(step - 1) * parts : step * parts] for b in packs]
        assert seen.flops[step - 1] == updates // parts * training_flops(plain.cfg, of_step)
        rollouts = lines(tmp_path / f"grpo/rollouts/step_{step:06d}.jsonl")
        assert len({tuple(r["token_ids"]) for r in rollouts}) == QUESTIONS * GROUP  # or none could be told
        advantages = advantages_of(rollouts, spec["std"])
        olds = [torch.tensor(r["logprobs"]) for r in rollouts]
        refs = [x.detach() for x in plain.score(plain.begun, rollouts)[0]]
        for update in range(updates):
            number = (step - 1) * updates + update
            of_part = [i // GROUP % parts == update % parts for i in range(len(rollouts))]
            packs = seen.packs[(step - 1) * parts + update % parts]
            assert len(packs) > 1
            last_loss, weights, gradients = seen.updates[number]
            logps, entropies = plain.score(weights, rollouts)
            if update == 0 and parts == 1:  # what was cut was drawn
                drawn = torch.cat(entropies).mean().item()  # over all answers, dead groups too
                assert metrics[step - 1]["entropy"] == pytest.approx(drawn, rel=1e-4)
            if update == 0 and "recomputed" in spec:
                olds = [x.detach() for x in logps]
            expected = {}
            of_all = zip(rollouts, logps, olds, refs, advantages, strict=True)
            for r, logp, old, ref, a in itertools.compress(of_all, of_part):
                weight = (
                    (old - torch.tensor(r["logprobs"])).exp().clamp(max=spec["cap"]) if "cap" in spec else 1
                )
                expected[tuple(r["token_ids"])] = {
                    "logp": logp.detach(),
                    "old": old,
                    "ref": ref if "beta" in spec else None,
                    "advantage": torch.full_like(old, a) * weight,
                    "live": a != 0 or "beta" in spec,
                }
            check_arguments(seen, last_loss - len(packs), packs, expected)

            mine = (logps, olds, refs, advantages, rollouts)
            loss = plain_loss(spec, *(list(itertools.compress(each, of_part)) for each in mine))
            found = dict(zip(plain.named, torch.autograd.grad(loss, plain.named.values()), strict=True))
            largest = max(g.abs().max().item() for g in found.values())
            for name, gradient in found.items():
                torch.testing.assert_close(
                    gradients[name], gradient, atol=2e-4 * largest, rtol=1e-3, msg=name
                )
            norm = math.hypot(*(g.norm().item() for g in found.values()))
            assert norm > 2 * CLIP
            after, rates = seen.taken[number]
            assert after == pytest.approx(CLIP, rel=1e-4)
            assert rates == {RATE * step / 4}  # a warm-up of four steps
            if parts > 1:  # its own normaliser
                count = sum(of_part)
                if spec["weight"] == "token_mean":
                    count = sum(len(r["token_ids"]) for r in itertools.compress(rollouts, of_part))
                assert seen.losses[last_loss - 1][-1] == count
                counts.add(count)
            if updates == 1:
                assert metrics[step - 1]["loss"] == pytest.approx(loss.item(), rel=1e-3, abs=1e-5)
                assert metrics[step - 1]["grad_norm"] == pytest.approx(norm, rel=1e-3)
        assert metrics[step - 1]["groups_with_variance"] == sum(
            len(set(advantages[i : i + GROUP])) > 1 for i in range(0, len(advantages), GROUP)
        )
    assert len(counts) > 1 or spec["weight"] != "token_mean" or parts == 1  # or any part's would do
    assert any(
        r["question_id"] == "h0"
        for s in (1, 2)
        for r in lines(tmp_path / f"grpo/rollouts/step_00000{s}.jsonl")
    )


@pytest.mark.parametrize("preset", ["grpo", "dapo", "gspo", "cispo"])
def test_the_clip_bites_with_four_mini_batches_and_is_inert_with_one(folder, tmp_path, preset):
    """The bounds are near, but for gspo's, which are; of cispo the sampler's rounding is below them too."""
    given = [f"grpo.preset={preset}", "grpo.kl_estimator=none", "grpo.kl_coef=0"]
    given += [] if preset == "gspo" else ["grpo.clip_low=0.001", "grpo.clip_high=0.001"]
    for parts in (1, 4):
        name = f"grpo.minibatches_per_rollout={parts}"
        seen = train(folder, tmp_path / str(parts), *given, name, shift=0.0)
        assert len(seen.updates) == 2 * parts
        for record in lines(tmp_path / f"{parts}/grpo/metrics.jsonl"):
            assert (record["clip_fraction"] > 0) == (parts > 1)
            assert (abs(record["ratio_mean"] - 1) > 1e-6) == (parts > 1)


def asked(run_dir: Path, step: int, group: int) -> list[str]:
    return [r["question_id"] for r in lines(run_dir / f"grpo/rollouts/step_{step:06d}.jsonl")][::group]


def test_stage_1_asks_half_hard_half_simple_and_each_question_once_before_any_twice(folder, tmp_path):
    train(folder, tmp_path, "grpo.preset=dapo")
    steps = [asked(tmp_path, step, GROUP) for step in (1, 2)]
    assert all(sum(name in HARD for name in step) == 2 for step in steps)
    assert sorted(steps[0] + steps[1]) == sorted(HARD + EASY)


def test_stage_2_mines_by_what_is_correct_and_asks_two_wrong_for_one_right(folder, tmp_path):
    """Correct is what is easy, whatever the reward: mined at its first step and every second one after."""
    stage2 = [
        "grpo.stage1.max_steps=1",
        "grpo.stage2={max_steps: 3, group_size: 2}",
        "grpo.questions_per_step=6",
    ]
    train(folder, tmp_path, *stage2, "grpo.curriculum.mine_every=2", "grpo.curriculum.mine_samples=2")
    ledger = lines(tmp_path / "grpo/curriculum.jsonl")
    rounds = [record for record in ledger if record["event"] == "round"]
    assert [record["step"] for record in rounds] == [2, 4]
    assert [record["pools"] for record in rounds] == [{"wrong": 4, "right": 4}] * 2
    rates = {r["question"]: r["pass_rate"] for r in ledger if r["event"] == "answers" and r["round"] == 1}
    assert rates == dict.fromkeys(HARD, 0.0) | dict.fromkeys(EASY, 1.0)
    steps = [asked(tmp_path, step, 2) for step in (2, 3, 4)]
    assert [sum(name in HARD for name in step) for step in steps] == [4, 4, 4]
    assert [sum(name in EASY for name in step) for step in steps] == [2, 2, 2]
    assert set(steps[0] + steps[1]) == {*HARD, *EASY}
    records = lines(tmp_path / "grpo/metrics.jsonl")
    assert [r["stage"] for r in records] == [1, 2, 2, 2]
    assert records[2]["drawn"] == {"wrong": 4, "right": 2}


def test_a_gradient_of_zero_moves_no_weight_though_adamw_has_momentum(folder):
    transformer, _ = load_model(folder / "model", chat_format="chatml")
    optimizer, take = make_adamw(transformer, 0.1), GuardedStep()
    set_learning_rate(optimizer, 1e-2)

    def step(value: float) -> list[torch.Tensor]:
        for p in transformer.parameters():
            p.grad = torch.full_like(p, value)
        take(transformer, optimizer, 1.0)
        moments = [x.clone() for state in optimizer.state.values() for x in state.values()]
        return [p.detach().clone() for p in transformer.parameters()] + moments

    before = step(1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, step(0.0), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(before, step(1.0), strict=True))
