"""The curriculum as a table: who is in which pool, how many of each a step draws, and in what order."""

from collections import Counter

import pytest

from fleming.records import Question
from fleming.rl.curriculum import draw, shares, stage1_pools, stage2_pools, stage_pools
from fleming.settings.training import CurriculumConfig

GRADES = ["easy", "moderate", "difficult", None, "easy", "moderate"]
QUESTIONS = [Question(str(i), "?", {"A": "a", "B": "b"}, "A", difficulty=g) for i, g in enumerate(GRADES)]
TEN = list(range(10))


@pytest.mark.parametrize(
    ("hard", "simple", "pools"),
    [
        (["moderate"], ["easy"], {"hard": [1, 5], "simple": [0, 4]}),  # the paper's two pools
        (["moderate", "difficult"], ["easy"], {"hard": [1, 2, 5], "simple": [0, 4]}),  # the demo's
        (["difficult"], ["easy", "moderate"], {"hard": [2], "simple": [0, 1, 4, 5]}),
    ],
)
def test_stage_1_pools_by_grade(hard, simple, pools):
    assert stage1_pools(QUESTIONS, hard, simple) == pools


def test_stage_2_pools_by_pass_rate_half_is_right():
    assert stage2_pools([0.0, 0.49, 0.5, 0.75, 1.0, 0.25]) == {"wrong": [0, 1, 5], "right": [2, 3, 4]}


def test_each_stage_has_its_own_pools_and_mix_and_the_ungraded_are_drawn_as_one():
    cfg = CurriculumConfig(stage1_mix={"hard": 3, "simple": 1}, stage2_mix={"wrong": 5, "right": 1})
    rates = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]
    assert stage_pools(1, QUESTIONS, rates, cfg) == ({"hard": [1, 5], "simple": [0, 4]}, cfg.stage1_mix)
    assert stage_pools(2, QUESTIONS, rates, cfg) == ({"wrong": [0, 3], "right": [1, 2, 4, 5]}, cfg.stage2_mix)
    assert stage_pools(1, QUESTIONS[3:4], None, cfg) == ({"ungraded": [0]}, {"ungraded": 1.0})


@pytest.mark.parametrize(
    ("mix", "sizes", "count", "expected"),
    [
        ({"hard": 1, "simple": 1}, (10, 10), 64, {"hard": 32, "simple": 32}),  # Fig. 2
        ({"wrong": 2, "right": 1}, (10, 10), 6, {"wrong": 4, "right": 2}),  # Fig. 2
        ({"wrong": 2, "right": 1}, (10, 10), 64, {"wrong": 43, "right": 21}),  # 42.67 and 21.33
        ({"wrong": 2, "right": 1}, (10, 10), 1, {"wrong": 1, "right": 0}),
        ({"wrong": 2, "right": 1}, (0, 10), 6, {"right": 6}),  # an empty pool's part goes to the others
        ({"wrong": 1, "right": 0}, (0, 10), 6, {"right": 6}),  # even to those that were to have none
        ({"wrong": 1, "right": 0}, (10, 10), 6, {"wrong": 6}),
        ({"hard": 3, "simple": 1}, (10, 10), 8, {"hard": 6, "simple": 2}),
    ],
)
def test_shares(mix, sizes, count, expected):
    pools = {name: list(range(size)) for name, size in zip(mix, sizes, strict=True)}
    assert shares(mix, pools, count) == expected


def test_a_step_draws_its_shares_from_their_own_pools():
    pools = {"wrong": [0, 1, 2, 3, 4], "right": [5, 6, 7, 8, 9]}
    drawn = draw(pools, {"wrong": 2, "right": 1}, 6, 0, seed=0)
    assert [sum(i in pools[name] for i in drawn) for name in pools] == [4, 2]


def test_steps_go_on_where_the_one_before_ended_and_repeat_nothing_within_an_epoch():
    steps = [draw({"all": TEN}, {"all": 1}, 4, step, seed=3) for step in range(10)]
    drawn = [i for step in steps for i in step]
    epochs = [drawn[i : i + 10] for i in range(0, 40, 10)]
    assert all(sorted(epoch) == TEN for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4  # each in a fresh order
    assert Counter(drawn) == dict.fromkeys(TEN, 4)
    assert steps[5] == draw({"all": TEN}, {"all": 1}, 4, 5, seed=3)  # a function of the step alone
    assert steps != [draw({"all": TEN}, {"all": 1}, 4, step, seed=4) for step in range(10)]
