"""GRPO without a model: the repository's own advantages and loss on a table of logits, one curve for each setting.

    python -m fleming.toy [--seed N] [--svg FILE] ["preset=paper" "preset=paper no_baseline" ...]
    python -m fleming.toy --runs RUN_DIR OTHER

A question has logits for each place of its answer, and an answer ends where it draws token 0. It is right where the
token before that is the question's own. Settings are those of grpo (train_grpo.py --help), and `no_baseline`: then the
reward itself is the advantage. --runs draws the rewards of finished runs instead. Left out: a model, a prompt.

Letters: Q questions, G answers to each, N = Q * G, T places, V tokens, R tokens of all answers.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import torch
from torch import Tensor

from fleming.config import load_config, run_script
from fleming.files import read_log
from fleming.rl.grpo import group_advantages, grpo_loss, loss_denominator
from fleming.settings.training import GRPOConfig
from fleming.terminal import option_parser
from model.errors import InputError
from model.files import write_atomic

PLACES, TOKENS = 6, 8
SMALL = ("learning_rate=0.1", "questions_per_step=16", "format_weight=1", "stage1.max_steps=150")
SHOWN = ("preset=grpo", "preset=paper", "preset=paper no_baseline", "preset=grpo kl_coef=1")
MARKS, COLOURS = "oxs^", ("#0072b2", "#d55e00", "#009e73", "#aa3377")


def sample(table: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Draw answers from a table of logits [Q, T, V]; return tokens [N, T] and lengths [N], the end counted."""
    tokens = torch.distributions.Categorical(logits=table).sample((group,)).transpose(0, 1).flatten(0, 1)
    before_the_end = ((tokens == 0).cumsum(1) == 0).sum(1)
    return tokens, (before_the_end + 1).clamp(max=PLACES)


def logps(table: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
    """Return the log-probs [R] of the answers' tokens, end to end."""
    every = table.log_softmax(-1).repeat_interleave(len(tokens) // len(table), 0)  # [N, T, V]
    return every.gather(-1, tokens[..., None])[..., 0][torch.arange(PLACES) < lengths[:, None]]


def learn(settings: str, seed: int) -> tuple[list[float], str]:
    """Return the share of right answers in each step, and a word on the end. Raises InputError for a setting."""
    words = settings.split()
    cfg = load_config(GRPOConfig, None, [*SMALL, *(word for word in words if word != "no_baseline")])
    if not cfg.stage1.max_steps:
        raise InputError(f"{settings}: stage1.max_steps is 0; a curve has at least one step")
    shape = cfg.questions_per_step, cfg.stage1.group_size
    torch.manual_seed(seed % 2**63)
    own = torch.randint(1, TOKENS, shape[:1]).repeat_interleave(shape[1])  # [N]: what is right
    table = torch.randn(shape[0], PLACES, TOKENS, requires_grad=True)
    start = table.detach().clone()
    optimizer = torch.optim.Adam([table], cfg.learning_rate)
    curve, lengths = [], own
    for _ in range(cfg.stage1.max_steps):
        tokens, lengths = sample(table.detach(), shape[1])
        last = tokens.gather(1, torch.stack([lengths - 2, lengths - 1], 1).clamp(min=0))  # [N, 2]
        ended = last[:, 1] == 0
        right = ended & (lengths > 1) & (last[:, 0] == own)
        rewards = cfg.correct_weight * right.double() + cfg.format_weight * ended.double()
        advantages = group_advantages(rewards.view(shape), cfg.loss.normalize_std).flatten()
        if "no_baseline" in words:
            advantages = rewards

        cuts = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        denominator = loss_denominator(len(lengths), int(cuts[-1]), cfg.loss.aggregation, PLACES)
        old, ref = (logps(logits, tokens, lengths).detach() for logits in (table, start))
        for _ in range(cfg.updates_per_rollout):
            logp = logps(table, tokens, lengths)
            loss, _ = grpo_loss(logp, old, ref, advantages, cuts, cfg.loss, denominator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        curve.append(right.double().mean().item())
    now, before = table.detach().log_softmax(-1), start.log_softmax(-1)
    kl = (now.exp() * (now - before)).sum(-1).mean()
    return curve, f"{lengths.double().mean():.1f} tokens an answer, {kl:.2f} nats a place from the start"


def laid(curves: Mapping[str, Sequence[float]], columns: int) -> tuple[list, float, float, int]:
    """Return of each curve (column, mean there), the lowest and the highest of these, and how many steps there are."""
    steps, found = max(map(len, curves.values())), []
    for values in curves.values():
        at = [(x, values[x * steps // columns : (x + 1) * steps // columns]) for x in range(columns)]
        found.append([(x, sum(part) / len(part)) for x, part in at if part])
    means = [mean for curve in found for _, mean in curve]
    return found, min(means), max(max(means), min(means) + 1e-9), steps


def draw(curves: Mapping[str, Sequence[float]], width: int = 60, height: int = 16) -> str:
    """Return the curves as text; * is where several meet."""
    found, low, high, steps = laid(curves, width)
    grid = [[" "] * width for _ in range(height)]
    for mark, curve in zip(MARKS, found, strict=False):
        for x, mean in curve:
            row = grid[round((high - mean) / (high - low) * (height - 1))]
            row[x] = mark if row[x] == " " else "*"
    lines = [f"{high - (high - low) * y / (height - 1):5.2f} |{''.join(row)}" for y, row in enumerate(grid)]
    return "\n".join([*lines, "      +" + "-" * width, f"       step 1 to {steps}"])


def svg(curves: Mapping[str, Sequence[float]], what: str) -> str:
    """Return the curves as an SVG image, each with its name, under what they show."""
    found, low, high, steps = laid(curves, 100)
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 410" font-family="sans-serif" font-size="13">',
        f'<path d="M50 20V300H700" fill="none" stroke="#888"/><text x="600" y="320">step {steps}</text>',
        f'<text x="58" y="14">{what}</text><text x="8" y="26">{high:.2f}</text><text x="8" y="304">{low:.2f}</text>',
    ]
    for i, (name, curve, colour) in enumerate(zip(curves, found, COLOURS, strict=False)):
        places = " ".join(f"{50 + 6.5 * x:.1f},{20 + 280 * (high - y) / (high - low):.1f}" for x, y in curve)
        parts.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="50" y="{340 + 18 * i}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def rewards_of(run: str) -> tuple[list[float], str]:
    """Return the mean reward of each step of a run. Raises InputError where it has none."""
    path = Path(run, "grpo/metrics.jsonl")
    rewards = [record.get("reward") for record in read_log(path)]
    if not rewards or not all(isinstance(reward, int | float) for reward in rewards):
        raise InputError(f"{path}: expected steps with a reward each, as train_grpo.py logs them")
    return rewards, f"{max(rewards):.2f} at best"


def main(argv: list[str]) -> None:
    parser = option_parser(__doc__)
    parser.add_argument("curves", nargs="*", metavar="SETTINGS", help=f"of a curve, by default {SHOWN}")
    parser.add_argument("--runs", action="store_true", help="SETTINGS are folders of runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--svg", metavar="FILE", help="write the curves there too")
    options = parser.parse_args(argv)
    names = list(dict.fromkeys(options.curves or SHOWN))
    if len(names) > len(MARKS) or options.runs > bool(options.curves):
        raise InputError(
            f"command line: {len(names)} curves; expected 1 to {len(MARKS)}, of --runs their folders"
        )
    made = {name: rewards_of(name) if options.runs else learn(name, options.seed) for name in names}
    curves = {name: curve for name, (curve, _) in made.items()}
    what = "mean reward" if options.runs else "share of right answers"
    print(what, draw(curves), sep="\n")
    for mark, (name, (curve, said)) in zip(MARKS, made.items(), strict=False):
        last = curve[-10:]
        print(f"  {mark} {name}: {sum(last) / len(last):.2f} in the last {len(last)} steps; {said}")
    if options.svg:
        write_atomic(Path(options.svg), svg(curves, what))


if __name__ == "__main__":
    run_script(main)
