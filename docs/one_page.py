"""The whole idea on one page: a graph, questions, a cold start, two stages of RL, an evaluation. Plain PyTorch.

    python docs/one_page.py [SEED]      half a minute on one core; what three seeds print: docs/teach.md

Imports nothing of ours. A name of the graph is one token, and all prompts are equally long. Left out, and in the
repository: text, packing, several processes, checkpoints, a reference model and its KL term. Exercises: docs/teach.md.

Letters: Q questions, G answers to each, N = Q * G, P tokens of a prompt, R of the longest response, V vocabulary, H
heads, d their width. Eq. and Fig. are the Fleming-R1 paper's (arXiv 2509.15279); DeepSeekMath is arXiv 2402.03300.
"""

import math
import random
import sys
from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# 1. The knowledge graph, a part of assets/medical_graph.yaml; for teaching, not for clinical use.
GRAPH = """
spinal muscular atrophy: proximal muscle weakness, dysphagia, tremor, muscle cramps, scoliosis; nusinersen.
Pompe disease: proximal muscle weakness, dysphagia, growth failure, hearing loss, scoliosis; alglucosidase alfa.
multiple sclerosis: diplopia, limb paresthesia, unsteady gait, dysarthria, dysphagia, tremor, heat intolerance,
    constipation; natalizumab.
Wilson disease: tremor, dysarthria, dysphagia, unsteady gait, jaundice, absent menses, renal colic, hemolytic anemia,
    cirrhosis, thrombocytopenia; penicillamine.
Fabry disease: limb paresthesia, heat intolerance, hearing loss, abdominal pain attacks, chronic diarrhea,
    growth failure, albuminuria; agalsidase beta.
tyrosinemia type 1: jaundice, growth failure, abdominal pain attacks, cirrhosis, rickets; nitisinone.
cystinosis: growth failure, polyuria, excessive thirst, dysphagia, rickets, hyponatremia, hyperglycemia; cysteamine.
acute intermittent porphyria: abdominal pain attacks, constipation, seizures, proximal muscle weakness,
    limb paresthesia, excessive sweating, tremor, hyponatremia; hemin.
sickle cell disease: bone pain, abdominal pain attacks, jaundice, growth failure, polyuria, hemolytic anemia,
    albuminuria; hydroxyurea.
Graves disease: tremor, heat intolerance, excessive sweating, diplopia, proximal muscle weakness, chronic diarrhea,
    absent menses, hypercalcemia; methimazole.
Hashimoto thyroiditis: constipation, muscle cramps, proximal muscle weakness, limb paresthesia, growth failure,
    absent menses, hyponatremia; levothyroxine.
acromegaly: excessive sweating, limb paresthesia, absent menses, proximal muscle weakness, hyperglycemia; octreotide.
pheochromocytoma: excessive sweating, tremor, abdominal pain attacks, hyperglycemia, hypercalcemia; phenoxybenzamine.
primary hyperparathyroidism: bone pain, renal colic, constipation, polyuria, excessive thirst,
    proximal muscle weakness, hypercalcemia; cinacalcet.
type 1 diabetes: polyuria, excessive thirst, limb paresthesia, hyperglycemia, albuminuria; insulin.
"""
FINDINGS, DRUG = {}, {}
for entry in GRAPH.strip().removesuffix(".").split("."):
    disease, findings, drug = " ".join(entry.split()).replace("; ", ": ").split(": ")
    FINDINGS[disease], DRUG[disease] = findings.split(", "), drug

# 2. Questions on it: a patient has three findings. The diagnosis is one hop away, the drug two.
MARKS = ["<end>", "<think>", "</think>", "<answer>", "</answer>", "diagnosis?", "drug?"]
WORDS = [*MARKS, *FINDINGS, *DRUG.values(), *sorted(set().union(*FINDINGS.values()))]
ID = {word: i for i, word in enumerate(WORDS)}
END, LONGEST = ID["<end>"], 10  # tokens of a response


class Question(NamedTuple):
    prompt: list[str]  # three findings, what is asked, four options
    worked: list[str]  # the right answer with its path, which the cold start shows
    answer: str
    hops: int


def pose(patient: tuple[str, ...], disease: str, hops: int) -> Question:
    """A wrong option shares a finding with the right one, and lacks another: so it is wrong by proof."""
    rivals = [d for d in FINDINGS if d != disease and set(patient) & set(FINDINGS[d])]
    diseases = random.sample([disease, *random.sample(rivals, 3)], 4)
    options = diseases if hops == 1 else [DRUG[d] for d in diseases]
    path = [disease, DRUG[disease]][:hops]
    worked = ["<think>", *path, "</think>", "<answer>", path[-1], "</answer>", "<end>"]
    return Question([*random.sample(patient, 3), MARKS[4 + hops], *options], worked, path[-1], hops)


def make_questions() -> tuple[list[Question], list[Question]]:
    """Return those to learn from, two a patient, and those of the test, one a patient: other patients."""
    train, test = [], []
    for disease in FINDINGS:
        certain = []  # three findings that one disease alone explains
        for patient in combinations(FINDINGS[disease], 3):
            shared = [len({*patient} & {*FINDINGS[d]}) for d in FINDINGS]
            if shared.count(3) == 1 and len(shared) - shared.count(0) > 3:
                certain.append(patient)
        for i, patient in enumerate(random.sample(certain, min(40, len(certain)))):
            if i % 5 < 2:
                test.append(pose(patient, disease, random.choice([1, 2])))
            else:
                train += [pose(patient, disease, hops) for hops in (1, 2)]
    return train, test


# 3. The model, as Llama and Qwen are: RMSNorm, rotary positions, SwiGLU, one matrix for input and output.
def rotate(x: Tensor, start: int, theta: float = 100.0) -> Tensor:
    """Turn each pair of x [N, H, T, d] by its angle at positions start, start + 1, ... (RoFormer Eq. 34)."""
    half = x.shape[-1] // 2
    positions = torch.arange(start, start + x.shape[2])
    angles = positions[:, None] * theta ** (-torch.arange(half) / half)  # [T, d/2]
    a, b = x.chunk(2, -1)
    return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()], -1)


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.RMSNorm(width, eps=1e-6), nn.RMSNorm(width, eps=1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.gate_up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))  # [N, T, 3, H, d]
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # [N, H, T, d]
        start = past[0].shape[2] if past else 0
        q, k = rotate(q, start), rotate(k, start)
        if past:  # decoding: one new token, which sees all before it
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=not past)
        x = x + self.out(heads.transpose(1, 2).flatten(-2))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up), (k, v)


class Transformer(nn.Module):
    def __init__(self, width: int = 64, heads: int = 4, layers: int = 2):
        super().__init__()
        self.embed = nn.Embedding(len(WORDS), width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        for matrix in (p for p in self.parameters() if p.ndim == 2):
            nn.init.normal_(matrix, std=0.08)

    def forward(self, tokens: Tensor, cache: list | None = None) -> Tensor:
        """Return logits [N, T, V] of tokens [N, T]; with a cache, of those that follow what it has seen."""
        cache = cache or [None] * len(self.blocks)
        x = self.embed(tokens)
        for i, block in enumerate(self.blocks):
            x, cache[i] = block(x, cache[i])
        return F.linear(self.norm(x), self.embed.weight)


def encode(rows: list[list[str]]) -> tuple[Tensor, Tensor]:
    """Return ids [N, R], short rows filled up with <end>, and their lengths [N]."""
    longest = max(map(len, rows))
    ids = [[ID[word] for word in row] + [END] * (longest - len(row)) for row in rows]
    return torch.tensor(ids), torch.tensor([len(row) for row in rows])


@torch.no_grad()
def sample(model: Transformer, prompts: Tensor, greedy: bool = False) -> tuple[Tensor, Tensor]:
    """Answer prompts [N, P]; return responses [N, R], filled up with <end>, and lengths [N], one <end> counted."""
    cache = [None] * len(model.blocks)
    logits = model(prompts, cache)[:, -1]  # [N, V]
    drawn, lengths = [], torch.full((len(prompts),), LONGEST)
    while len(drawn) < LONGEST:
        token = logits.argmax(-1) if greedy else torch.multinomial(logits.softmax(-1), 1)[:, 0]
        ended = lengths <= len(drawn)
        drawn.append(token.masked_fill(ended, END))
        lengths[~ended & (token == END)] = len(drawn)
        logits = model(drawn[-1][:, None], cache)[:, -1]
    return torch.stack(drawn, 1), lengths


def response_logp(model: Transformer, prompts: Tensor, responses: Tensor, lengths: Tensor) -> tuple:
    """Return the log-prob of each response token, and which of them are there: both [N, R]."""
    tokens = torch.cat([prompts, responses], 1)
    logits = model(tokens[:, :-1])[:, prompts.shape[1] - 1 :]  # [N, R, V]: a token's are for the next one
    logp = logits.log_softmax(-1).gather(-1, responses[..., None])[..., 0]
    mask = torch.arange(responses.shape[1]) < lengths[:, None]  # by length: the first <end> is learned
    return logp, mask


# 4. The cold start: learn from worked answers.
def sft_loss(logp: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of the response tokens, each counted alike."""
    return -logp[mask].sum() / mask.sum()


def update(model: Transformer, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def cold_start(model: Transformer, taught: list[Question], steps: int = 200) -> None:
    optimizer = torch.optim.AdamW(model.parameters())
    for step in range(1, steps + 1):
        optimizer.param_groups[0]["lr"] = 3e-3 * min(step / 20, 1 - step / (steps + 1))  # up, then down to 0
        batch = random.sample(taught, 32)
        shown = encode([q.prompt for q in batch])[0], *encode([q.worked for q in batch])
        update(model, optimizer, sft_loss(*response_logp(model, *shown)))


# 5. Reinforcement learning: answer in groups, reward what can be verified, learn from differences in a group.
def judge(response: list[str], question: Question) -> tuple[bool, bool]:
    """Return whether it has the form <think> ... </think> <answer> ... </answer> <end>, and the right answer."""
    form = response[:1] == ["<think>"] and response[-5:-3] == ["</think>", "<answer>"]
    form = form and response[-2:] == ["</answer>", "<end>"]
    return form, form and response[-3] == question.answer


def reward(response: list[str], question: Question) -> float:
    form, right = judge(response, question)
    return 1.0 * right + 0.1 * form  # never for length


def answer(model: Transformer, asked: list[Question], greedy: bool = False) -> tuple:
    """Return prompts [N, P], responses [N, R], lengths [N] and the responses' words."""
    prompts, _ = encode([q.prompt for q in asked])
    responses, lengths = sample(model, prompts, greedy)
    texts = [[WORDS[i] for i in row[:n]] for row, n in zip(responses.tolist(), lengths, strict=True)]
    return prompts, responses, lengths, texts


def judged(model: Transformer, asked: list[Question], greedy: bool = False) -> Tensor:
    """Return form and right of an answer to each question, [N, 2], 0 or 1."""
    texts = answer(model, asked, greedy)[-1]
    return torch.tensor([judge(text, q) for text, q in zip(texts, asked, strict=True)]).double()


def group_advantages(rewards: Tensor) -> Tensor:
    """Return (r - mean) / std of each group [Q, G] (Eq. 2-3, DeepSeekMath 4.1.2); of equal rewards exactly 0."""
    r = rewards.double()
    advantages = (r - r.mean(-1, keepdim=True)) / (r.std(-1, keepdim=True) + 1e-6)
    return advantages.masked_fill(r.amax(-1, keepdim=True) == r.amin(-1, keepdim=True), 0.0)


def grpo_loss(logp: Tensor, old: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """The clipped surrogate of [N, R] tokens, each answer the mean over its own (DeepSeekMath Eq. 3)."""
    advantages = advantages.to(logp.dtype)[:, None]
    ratio = (logp - old).exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.28) * advantages)
    weights = mask / mask.sum(1, keepdim=True).clamp(min=1).double() / len(mask)
    return -(surrogate * weights.to(logp.dtype))[mask].sum()


def reinforce(model: Transformer, pools: Callable, mix: tuple[int, int], steps: int, group: int) -> None:
    """Take GRPO steps. Stages differ in the two pools that a step draws from (Fig. 2), and in a group's size."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.0)
    for step in range(steps):
        if step % 10 == 0:
            hard, easy = pools()
        drawn = random.sample(hard, min(mix[0], len(hard))) + random.sample(easy, min(mix[1], len(easy)))
        asked = [q for q in drawn for _ in range(group)]  # Q * G = N
        prompts, responses, lengths, texts = answer(model, asked)
        rewards = torch.tensor([reward(text, q) for text, q in zip(texts, asked, strict=True)])
        advantages = group_advantages(rewards.view(-1, group)).flatten()
        logp, mask = response_logp(model, prompts, responses, lengths)
        update(model, optimizer, grpo_loss(logp, logp.detach(), advantages, mask))
        if step % 10 == 9:
            print(f"  step {step + 1}: reward {rewards.mean():.2f}, of {len(hard)} and {len(easy)} questions")


def mined(model: Transformer, train: list[Question]) -> tuple[list[Question], list[Question]]:
    """Return the questions that the model of now gets wrong most times, and the rest."""
    rates = judged(model, train * 4)[:, 1].view(4, -1).mean(0).tolist()
    rated = list(zip(train, rates, strict=True))
    return [q for q, rate in rated if rate < 0.5], [q for q, rate in rated if rate >= 0.5]


# 6. Evaluation on patients whom nobody has seen: each score with its interval, each stage with what it adds.
def interval(right: Tensor, before: Tensor, z: float = 1.96) -> str:
    """Say the share of right answers (Wilson's interval), and its difference on the same questions; 95 %."""
    n, p = len(right), right.mean().item()
    middle, half = p + z * z / 2 / n, z * math.sqrt(p * (1 - p) / n + (z / 2 / n) ** 2)
    low, high = (100 * abs(middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    gain = 100 * (right - before)
    mean, half = gain.mean(), z * gain.std() / math.sqrt(n)
    return (
        f"{100 * p:4.1f} [{low:4.1f}, {high:4.1f}]  {mean:+5.1f} [{mean - half:+5.1f}, {mean + half:+5.1f}]"
    )


def main(seed: int) -> None:
    random.seed(seed)
    torch.manual_seed(seed)
    train, test = make_questions()
    taught, model = random.sample(train, len(train) // 5), Transformer()
    print(f"{len(train)} questions, {len(taught)} with a worked answer; {len(test)} to be tested on")
    by_hops = [[q for q in train if q.hops == hops] for hops in (2, 1)]  # hard, simple
    stages = {
        "base": lambda: None,
        "cold start": lambda: cold_start(model, taught),
        "RL stage 1": lambda: reinforce(model, lambda: by_hops, (16, 16), steps=40, group=8),
        "RL stage 2": lambda: reinforce(model, lambda: mined(model, train), (22, 10), steps=60, group=16),
    }
    right, table = torch.zeros(len(test)), []
    for name, run in stages.items():
        run()
        before, (form, right) = right, judged(model, test, greedy=True).T
        table.append(f"{name:10}  {100 * form.mean():5.1f}  {interval(right, before)}")
    print("\n             form  accuracy [95 %]    over the stage before", *table, sep="\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
