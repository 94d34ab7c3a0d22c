"""Which three rivals are taken as best ruled out, against a loop over all triples; and that the fewest clues do it."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest

from fleming.questions.deciding import Against, Contest
from fleming.questions.query import Clue

DISEASES, LEAST, LEAST_FOUND = (1, 3, 1, 2, 1, 1, 4), 20.0, 50.0
RIVALS, FAMILY = len(DISEASES), Clue("inherited_as", "dominant", "family")
CLUES = [Clue("has_symptom", "fever", "core"), Clue("has_symptom", "rash", "absent")]


def contest_of(seed: int, min_family: int) -> Contest:
    """A contest whose judge says of each clue what is drawn once."""
    rng = np.random.default_rng(seed)
    rivals = {f"rival {i}": [f"{i} {j}" for j in range(size)] for i, size in enumerate(DISEASES)}
    names = [*rivals, *itertools.chain(*rivals.values())]
    weights, grounds = {}, {FAMILY: np.arange(len(names)) % 2 == 0}

    def weigh(root, clue, places):
        return weights.setdefault(clue, rng.normal(1, 2, len(names)))[places]

    def ground(clue):
        return grounds.setdefault(clue, rng.random(len(names)) < 0.5)

    judge = SimpleNamespace(
        rules=SimpleNamespace(min_family=min_family, min_ratio=10.0),
        least_odds=LEAST,
        least_found=LEAST_FOUND,
        findings=SimpleNamespace(place={name: place for place, name in enumerate(names)}),
        family=lambda root: FAMILY,
        weights=weigh,
        grounded=ground,
    )
    return Contest(judge, "root", rivals, lambda clue, others: clue not in others)


def how_far(contest: Contest, against: Against, rival: int) -> float:
    of = slice(sum(DISEASES[:rival]), sum(DISEASES[: rival + 1]))
    done = min(min(against.odds[of]), math.log(LEAST)) / math.log(LEAST) + against.grounded[rival]
    if contest.rules.min_family and not contest.apart[rival]:
        done = min(done, 2 * min(min(against.found[of]), math.log(LEAST_FOUND)) / math.log(LEAST_FOUND))
    return done


@pytest.mark.parametrize("min_family", [0, 1, 2])
def test_the_three_best_are_those_of_all_triples_with_enough_of_another_family_and_one_of_this(min_family):
    for seed in range(60):
        contest, rng = contest_of(seed, min_family), np.random.default_rng(seed)
        odds, found = rng.normal(1, 2, (2, sum(DISEASES)))
        against = Against(odds, found, rng.random(RIVALS) < 0.5)

        def fits(triple, apart=contest.apart):
            out = sum(bool(apart[rival]) for rival in triple)
            return min_family == 0 or min_family <= out < 3

        triples = [triple for triple in itertools.combinations(range(RIVALS), 3) if fits(triple)]
        best, far = contest.best(against)
        totals = [sum(how_far(contest, against, rival) for rival in triple) for triple in triples]
        assert far == pytest.approx(max(totals))
        assert fits(best)
        assert sum(how_far(contest, against, rival) for rival in best) == pytest.approx(max(totals))


def test_with_each_clue_only_what_is_found_counts_as_found():
    contest, rng = contest_of(0, 1), np.random.default_rng(0)
    before = Against(*rng.normal(1, 2, (2, sum(DISEASES))), rng.random(RIVALS) < 0.5)
    said = contest.say(CLUES)
    each = before.and_also(said)
    for row, clue in enumerate(CLUES):
        weights = contest.weights(clue)
        assert each.odds[row] == pytest.approx(before.odds + weights)
        assert each.found[row] == pytest.approx(before.found + (weights if clue.role == "core" else 0))
        assert each.grounded[row].tolist() == (before.grounded | contest.grounds(clue)).tolist()
    many = contest.best(each)
    for row in range(len(CLUES)):
        one = contest.best(each.rows(row))
        assert one[0].tolist() == many[0][row].tolist()
        assert one[1] == many[1][row]


@pytest.mark.parametrize("min_family", [0, 1])
def test_what_is_told_rules_the_three_out_in_few_clues_of_which_at_most_two_are_absent(min_family):
    found = [Clue("has_symptom", f"finding {i}", "discriminating") for i in range(6)]
    absent = [Clue("has_symptom", f"lack {i}", "absent") for i in range(6)]
    posed = 0
    for seed in range(60):
        contest = contest_of(seed, min_family)
        sharing = np.random.default_rng(seed).random(RIVALS) < 0.8
        few = contest.among(sharing)
        chosen = few.fewest(CLUES[:1], [*found, *absent], 6)
        if chosen is None:
            continue
        posed += 1
        told, names = chosen
        assert len(told) <= 6
        assert sum(clue.role == "absent" for clue in told) <= 2
        strong = [clue for clue in told if clue in found and contest.weights(clue).max() >= math.log(10)]
        assert strong
        for name in names:
            rival = contest.names.index(name)
            assert sharing[rival]
            assert how_far(contest, together(contest, told), rival) == 2
        # Without the last they stand, or nothing that was told decides.
        assert few.best(together(few, told[:-1]))[1] < 6 or not set(strong) & set(told[:-1])
    assert posed > 20


def together(contest: Contest, clues: list[Clue]) -> Against:
    said = contest.say(clues)
    return Against(said.odds.sum(0), said.found.sum(0), said.grounded.any(0))
