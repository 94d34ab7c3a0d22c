"""The toy draws what the repository's own loss does, and what its document says of it."""

import re
import sys
import xml.etree.ElementTree as ET

import pytest
import torch
from support import warm
from support.places import ROOT

from fleming import toy
from fleming.files import write_jsonl
from fleming.rl import grpo
from model.errors import InputError


def end(settings: str, seed: int = 0) -> float:
    """The share of right answers in the last ten steps."""
    curve, _ = toy.learn(settings, seed)
    return sum(curve[-10:]) / 10


def test_it_begins_by_chance_and_learns_what_is_right():
    curve, _ = toy.learn("preset=grpo", 0)
    assert max(curve[:5]) < 0.15
    assert sum(curve[-10:]) / 10 > 0.95


def test_without_a_baseline_a_reward_that_all_get_drowns_the_one_that_teaches():
    for seed in (0, 1):
        assert end("preset=paper no_baseline", seed) < end("preset=paper", seed) - 0.05
    # Where nothing is paid to all, the baseline matters little: only right answers are moved at all.
    assert end("preset=paper no_baseline format_weight=0") > 0.9


def test_of_the_kl_estimators_k1_holds_nothing_and_k2_and_k3_hold():
    k1, k2, k3 = (end(f"preset=grpo kl_coef=1 kl_estimator={name}") for name in ("k1", "k2", "k3"))
    assert k1 > 0.9
    assert max(k2, k3) < 0.4


def test_with_one_update_presets_that_differ_in_a_factor_alone_are_one_curve():
    """AdamW does not see the scale of a loss: with one length's denominator paper and dr_grpo are the same."""
    paper, _ = toy.learn("preset=paper", 0)
    dr_grpo, _ = toy.learn("preset=dr_grpo", 0)
    assert max(abs(a - b) for a, b in zip(paper, dr_grpo, strict=True)) < 0.1


def test_its_advantages_and_its_loss_are_the_repositorys(monkeypatch):
    calls = []
    for name in ("group_advantages", "grpo_loss"):
        assert getattr(toy, name) is getattr(grpo, name)
        original = getattr(toy, name)
        monkeypatch.setattr(toy, name, lambda *a, f=original, n=name: calls.append(n) or f(*a))
    toy.learn("preset=gspo updates_per_rollout=2 stage1.max_steps=3", 0)
    assert calls == ["group_advantages", "grpo_loss", "grpo_loss"] * 3


def test_an_answer_ends_with_its_first_end_or_at_its_last_place():
    torch.manual_seed(0)
    tokens, lengths = toy.sample(torch.zeros(4, toy.PLACES, toy.TOKENS), 50)
    for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True):
        assert length == (row.index(0) + 1 if 0 in row else toy.PLACES)
    table = torch.randn(4, toy.PLACES, toy.TOKENS)
    logp = toy.logps(table, tokens, lengths)
    assert logp.numel() == lengths.sum()
    place = int(lengths[:70].sum())  # the first token of answer 70, to question 1
    assert logp[place] == table[1].log_softmax(-1)[0, tokens[70, 0]]


def test_curves_are_drawn_as_text_and_as_an_image_that_is_well_formed():
    curves = {"a <b> & c": [i // 100 / 3 for i in range(400)], "d": [0.5] * 200, "e": [1.0]}
    text = toy.draw(curves)
    assert " 1.00 |" in text
    assert " 0.00 |" in text
    assert "step 1 to 400" in text
    image = ET.fromstring(toy.svg(curves, "reward"))
    lines = [element for element in image if element.tag.endswith("polyline")]
    assert len(lines) == 3
    assert "a <b> & c" in [element.text for element in image]
    assert toy.draw({"flat": [0.3, 0.3]})  # no division by nothing


def test_the_command_writes_its_image_and_says_each_curve(tmp_path):
    command = [sys.executable, "-m", "fleming.toy", "--svg", str(tmp_path / "a.svg"), "stage1.max_steps=20"]
    done = warm.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"o stage1\.max_steps=20: 0\.\d\d in the last 10 steps", done.stdout)
    image = ET.parse(tmp_path / "a.svg").getroot()
    assert "share of right answers" in [element.text for element in image]


def test_runs_are_drawn_from_their_metrics(tmp_path, capsys):
    for name, rewards in (("one", [0.1, 0.2]), ("two", [0.2, 0.9, 1.1])):
        (tmp_path / name / "grpo").mkdir(parents=True)
        write_jsonl(tmp_path / name / "grpo/metrics.jsonl", [{"reward": reward} for reward in rewards])
    with open(tmp_path / "two/grpo/metrics.jsonl", "a") as log:
        log.write('{"reward": 1.')  # the run writes it now, or was killed
    toy.main(["--runs", str(tmp_path / "one"), str(tmp_path / "two")])
    out = capsys.readouterr().out
    assert "one: 0.15 in the last 2 steps; 0.20 at best" in out
    assert "1.10 |" in out


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["preset=nothing"], "preset"),
        (["grpo"], "expected key.path=value"),
        (["learning_rate=1e38"], "learning_rate is out of its range"),
        (["stage1.max_steps=0"], "a curve has at least one step"),
        (["kl_coef=1e300"], "kl_coef is out of its range"),
        (["a=1", "b=1", "c=1", "d=1", "e=1"], "5 curves; expected 1 to 4"),
        (["--runs"], "of --runs their folders"),
        (["--runs", "nowhere"], "nowhere/grpo/metrics.jsonl: cannot read"),
    ],
)
def test_mistakes_are_one_line(argv, says):
    with pytest.raises(InputError, match=says):
        toy.main(argv)


def test_a_run_without_rewards_is_named(tmp_path):
    (tmp_path / "grpo").mkdir()
    for records in ([], [{"reward": None}], [{"step": 1}]):
        write_jsonl(tmp_path / "grpo/metrics.jsonl", records)
        with pytest.raises(InputError, match=r"metrics\.jsonl: expected steps with a reward each"):
            toy.main(["--runs", str(tmp_path)])
