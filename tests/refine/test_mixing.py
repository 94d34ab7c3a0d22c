"""Mixing: exact counts against brute force, no repeats, nothing that depends on the order of the parts."""

import itertools
import random
from fractions import Fraction

import pytest

from fleming.records import Question
from fleming.refine.mixing import mix
from model.errors import InputError


def part(name: str, size: int) -> list[Question]:
    return [
        Question(f"{name}/{i}", "Which?", {"A": "iron", "B": "zinc"}, "A", source=name) for i in range(size)
    ]


def counts_of(mixed):
    return {name: sum(q.source == name for q in mixed) for name in {q.source for q in mixed}}


def hamilton(shares: dict[str, Fraction], total: int) -> dict[str, int]:
    """The textbook's largest remainder, in fractions; of equal ones the first name."""
    quotas = {name: share * total for name, share in shares.items()}
    seats = {name: int(quota) for name, quota in quotas.items()}
    while sum(seats.values()) < total:
        name = min(quotas, key=lambda name: (seats[name] - quotas[name], name))
        seats[name] += 1
    return seats


def test_proportions_are_exact_and_the_report_counts_what_is_there():
    parts = {"public": part("public", 500), "synthetic": part("synthetic", 900)}
    mixed, report = mix(parts, {"public": 0.3, "synthetic": 0.7}, 1000, seed=0)
    assert counts_of(mixed) == {"public": 300, "synthetic": 700}
    assert len({q.id for q in mixed}) == report["total"] == 1000
    assert report["parts"]["public"] == {"available": 500, "share": 0.3, "taken": 300}
    sources = [q.source for q in mixed]
    assert 200 < sum(a != b for a, b in itertools.pairwise(sources)) < 600  # shuffled


def test_counts_are_those_of_the_textbook_and_the_largest_total_that_of_brute_force():
    rng = random.Random(0)
    for _ in range(150):
        names = "abcd"[: rng.randint(1, 4)]
        sizes = {name: rng.randint(1, 12) for name in names}
        proportions = {name: rng.choice([0.1, 0.2, 0.25, 1, 2, 3, 0.7]) for name in names}
        whole = sum(Fraction(str(p)) for p in proportions.values())
        shares = {name: Fraction(str(p)) / whole for name, p in proportions.items()}
        fits = [
            total
            for total in range(1, sum(sizes.values()) + 1)
            if all(n <= sizes[name] for name, n in hamilton(shares, total).items())
        ]
        parts = {name: part(name, size) for name, size in sizes.items()}
        _, report = mix(parts, proportions, None, seed=1)
        assert report["total"] == max(fits)
        for total in rng.sample(fits, min(3, len(fits))):
            mixed, report = mix(parts, proportions, total, seed=1)
            expected = hamilton(shares, total)
            assert {name: row["taken"] for name, row in report["parts"].items()} == expected
            assert counts_of(mixed) == {name: n for name, n in expected.items() if n}
            assert len({q.id for q in mixed}) == total


def test_the_order_in_which_parts_are_given_does_not_matter_and_the_seed_does():
    parts = {"a": part("a", 50), "b": part("b", 50)}
    turned = dict(reversed(parts.items()))
    one, report = mix(parts, {"a": 1, "b": 3}, 40, seed=0)
    assert mix(turned, {"b": 3, "a": 1}, 40, seed=0) == (one, report)
    other, _ = mix(parts, {"a": 1, "b": 3}, 40, seed=1)
    assert {q.id for q in other} != {q.id for q in one}
    more, _ = mix(parts, {"a": 1, "b": 3}, 60, seed=0)
    assert {q.id for q in one} <= {q.id for q in more}  # a larger total adds to a smaller


def test_a_proportion_of_nought_leaves_a_part_out():
    parts = {"a": part("a", 5), "b": part("b", 5), "c": []}
    mixed, report = mix(parts, {"a": 0.0, "b": 2, "c": 0}, None, 0)
    assert counts_of(mixed) == {"b": 5}
    assert report["parts"]["a"]["taken"] == 0


@pytest.mark.parametrize(
    ("sizes", "proportions", "total", "complaint"),
    [
        ({"a": 5, "b": 5}, {"a": 1, "b": 1}, 20, r"mixing 'a': it has 5 questions, 10 of 20 are wanted"),
        ({"a": 5, "b": 0}, {"a": 1, "b": 1}, None, r"mixing 'b': it has no questions"),
        ({"a": 5}, {"a": 1, "x": 1}, 2, r"mixing 'x': no part has this name; the parts are a"),
        ({"a": 5, "x": 5}, {"a": 1}, 2, r"mixing 'x': this part has no proportion"),
        ({"a": 5}, {"a": -1}, 2, r"mixing 'a': the proportion must be 0 or more, found -1"),
        ({"a": 5}, {"a": float("nan")}, 2, r"mixing 'a': the proportion must be"),
        ({"a": 5}, {"a": float("inf")}, 2, r"mixing 'a': the proportion must be"),
        ({"a": 5}, {"a": 0}, None, r"no part has a proportion above 0"),
        ({"a": 5}, {"a": 1}, 0, r"the total must be at least 1, found 0"),
        ({}, {}, None, r"no part has a proportion above 0"),
    ],
)
def test_what_cannot_be_mixed_is_refused_by_name(sizes, proportions, total, complaint):
    with pytest.raises(InputError, match=complaint):
        mix({name: part(name, size) for name, size in sizes.items()}, proportions, total, 0)


def test_one_id_in_two_parts_is_refused():
    with pytest.raises(InputError, match=r"mixing 'b': id 'a/0' is also in 'a'"):
        mix({"a": part("a", 2), "b": part("a", 1)}, {"a": 1, "b": 1}, 2, 0)


def test_a_tiny_proportion_is_no_trouble():
    parts = {"a": part("a", 20_000), "b": part("b", 3)}
    _, report = mix(parts, {"a": 1, "b": 1e-9}, None, 0)
    assert report["parts"]["a"]["taken"] == 20_000
