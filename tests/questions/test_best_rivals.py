"""Which three rivals are taken as best ruled out, against a loop over all triples."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest

from fleming.questions.differential import _Against, _Attempt
from fleming.questions.query import Clue

RIVALS, DISEASES, LEAST, LEAST_FOUND = 7, (1, 3, 1, 2, 1, 1, 4), 20.0, 50.0
CLUES = [Clue("has_symptom", "fever", "core"), Clue("has_symptom", "rash", "absent")]


def drawn(seed: int, min_family: int) -> tuple[_Attempt, _Against, np.ndarray]:
    """An attempt of which only what the choice looks at is made up, what is against its rivals, and who shares."""
    rng = np.random.default_rng(seed)
    attempt = object.__new__(_Attempt)
    attempt.names, attempt.root = [f"rival {i}" for i in range(RIVALS)], "root"
    attempt.first = np.cumsum([0, *DISEASES])[:-1]
    attempt.rules = SimpleNamespace(min_family=min_family)
    attempt.whole = SimpleNamespace(least_odds=LEAST, least_found=LEAST_FOUND, family=lambda root: "family")
    apart = np.arange(RIVALS) % 2 == 0
    attempt.grounds = lambda clue: apart if clue == "family" else rng.random(RIVALS) < 0.5
    weights = {clue: rng.normal(1, 2, sum(DISEASES)) for clue in CLUES}
    attempt.weights = weights.__getitem__
    odds, found = rng.normal(1, 2, (2, sum(DISEASES)))
    return attempt, _Against(odds, found, rng.random(RIVALS) < 0.5), rng.random(RIVALS) < 0.8


def how_far(attempt: _Attempt, against: _Against, rival: int) -> float:
    of = slice(sum(DISEASES[:rival]), sum(DISEASES[: rival + 1]))
    done = min(min(against.odds[of]), math.log(LEAST)) / math.log(LEAST) + against.grounded[rival]
    if attempt.rules.min_family and not attempt.grounds("family")[rival]:
        done = min(done, 2 * min(min(against.found[of]), math.log(LEAST_FOUND)) / math.log(LEAST_FOUND))
    return done


@pytest.mark.parametrize("min_family", [0, 1, 2])
def test_the_three_best_are_those_of_all_triples_with_enough_of_another_family_and_one_of_this(min_family):
    compared = 0
    for seed in range(60):
        attempt, against, sharing = drawn(seed, min_family)
        apart = attempt.grounds("family")

        def fits(triple, apart=apart):
            out = sum(bool(apart[rival]) for rival in triple)
            return min_family == 0 or min_family <= out < 3

        triples = [triple for triple in itertools.combinations(np.flatnonzero(sharing), 3) if fits(triple)]
        if not triples:
            continue
        compared += 1
        best, far = attempt._best(against, sharing)
        totals = [sum(how_far(attempt, against, rival) for rival in triple) for triple in triples]
        assert far == pytest.approx(max(totals))
        assert fits(best)
        assert sum(how_far(attempt, against, rival) for rival in best) == pytest.approx(max(totals))
    assert compared > 30


def test_with_each_clue_only_what_is_found_counts_as_found():
    attempt, against, sharing = drawn(0, 1)
    each = attempt._with(against, CLUES)
    for row, clue in enumerate(CLUES):
        assert each.odds[row] == pytest.approx(against.odds + attempt.weights(clue))
        found = against.found + (attempt.weights(clue) if clue.role == "core" else 0)
        assert each.found[row] == pytest.approx(found)
    many = attempt._best(each, sharing)
    for row in range(len(CLUES)):
        one = attempt._best(_Against(*(field[row] for field in each)), sharing)
        assert one[0].tolist() == many[0][row].tolist()
        assert one[1] == many[1][row]
