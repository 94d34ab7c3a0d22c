"""The fewest facts that decide: what clues say against the rivals that share a disease's core findings.

One fact after another is told, each time the one that rules out most, until three rivals are outweighed, each with all
the diseases that come with it, and a source states something against each. Left out: which findings are core, and what
else may be told (differential.py); the proofs (judging.py).
"""

import copy
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fleming.questions.judging import FOUND, Judge, claimed
from fleming.questions.query import Clue

NEGATIVES = 2  # findings that are said to be absent, at most
OPTIONS = 3  # wrong ones


class Against(NamedTuple):
    """What clues say against the rivals, of all together or one a row."""

    odds: np.ndarray
    """The log-odds of the root against each disease that must be outweighed."""
    found: np.ndarray
    """The same by what the patient has alone."""
    grounded: np.ndarray
    """Whether a source states something against each rival."""

    def rows(self, places: int | Sequence[int]) -> "Against":
        return Against(self.odds[places], self.found[places], self.grounded[places])

    def and_also(self, more: "Against") -> "Against":
        return Against(self.odds + more.odds, self.found + more.found, self.grounded | more.grounded)


class Contest:
    """A root and its rivals, each with the diseases that must be outweighed with it."""

    def __init__(
        self,
        judge: Judge,
        root: str,
        rivals: Mapping[str, Sequence[str]],
        is_new: Callable[[Clue, Sequence[Clue]], bool],
    ) -> None:
        self.judge, self.rules, self.is_new = judge, judge.rules, is_new
        self.names = list(rivals)
        self.places = places = np.array([judge.findings.place[name] for name in rivals], dtype=int)
        # Of each rival the diseases that come with it lie one behind the other.
        every = [judge.findings.place[name] for name in itertools.chain(*rivals.values())]
        self.weights = functools.cache(lambda clue: judge.weights(root, clue, every))
        """Of a clue, the log of how much likelier it is in the root: float64 [diseases that must be outweighed]."""
        self.grounds = functools.cache(lambda clue: judge.grounded(clue)[places])
        """Of a clue, whether it speaks against each rival, as a source states it: bool [rivals]."""
        self.size = np.array([len(found) for found in rivals.values()], dtype=int)
        self.first = np.cumsum([0, *self.size])[:-1]
        family = judge.family(root) if self.rules.min_family else None
        self.family = [family] if family else []
        self.looked_at = slice(None), slice(None)
        self.apart = self.say(self.family).grounded.any(0)
        """Whether the family's history is to rule each rival out: bool [rivals]."""

    def among(self, sharing: np.ndarray) -> "Contest":
        """Return the contest with the rivals that share the core alone: bool [rivals]."""
        few = copy.copy(self)
        few.looked_at = np.flatnonzero(np.repeat(sharing, self.size)), np.flatnonzero(sharing)
        few.names, few.places = list(itertools.compress(self.names, sharing)), self.places[sharing]
        few.size, few.apart = self.size[sharing], self.apart[sharing]
        few.first = np.cumsum([0, *few.size])[:-1]
        return few

    def say(self, clues: Sequence[Clue]) -> Against:
        """Return what each of the clues says, one a row."""
        diseases, rivals = self.looked_at
        odds = np.array([self.weights(clue)[diseases] for clue in clues]).reshape(len(clues), self.size.sum())
        grounded = np.array([self.grounds(clue)[rivals] for clue in clues], dtype=bool)
        is_found = np.array([clue.role in FOUND for clue in clues], dtype=bool)
        return Against(odds, odds * is_found[:, None], grounded.reshape(len(clues), len(self.names)))

    def fewest(
        self, clues: Sequence[Clue], pool: Sequence[Clue], most: int
    ) -> tuple[list[Clue], list[str]] | None:
        """Add as few clues of the pool as rule three rivals out; return all clues and the three; None where none do.

        `most`: of which something is claimed.
        """
        told = [*clues, *self.family]
        left = [clue for clue in pool if clue not in told and self.is_new(clue, told)]
        say, may_say = self.say(told), self.say(left)
        decides = self._deciding(told, say) | self._deciding(left, may_say)
        against = Against(say.odds.sum(0), say.found.sum(0), say.grounded.any(0))
        places = range(len(left))
        while True:
            best, so_far = self.best(against)
            decided = not decides.isdisjoint(told)
            if so_far == 2 * OPTIONS and decided:
                return told, [self.names[place] for place in best]
            roles = ["discriminating"]
            if decided:
                roles.append("family")
            if decided and sum(clue.role == "absent" for clue in told) < NEGATIVES:
                roles.append("absent")
            able = [place for place in places if left[place].role in roles]
            if len(claimed(told)) >= most or not able:
                return None

            gains = self.best(against.and_also(may_say.rows(able)))[1]
            most_gained = int(gains.argmax())
            place = able[most_gained]
            clue = left[place]
            if not decided and clue not in decides:
                return None
            if gains[most_gained] <= so_far + 1e-9:
                return None
            told.append(clue)
            against = against.and_also(may_say.rows(place))
            places = [other for other in places if other != place and self.is_new(left[other], [clue])]

    def _deciding(self, clues: Sequence[Clue], say: Against) -> set[Clue]:
        """Return those that alone weigh enough against a rival."""
        enough = say.odds.max(1, initial=-np.inf) >= math.log(self.rules.min_ratio)
        return {clue for clue in itertools.compress(clues, enough) if clue.role == "discriminating"}

    def best(self, against: Against) -> tuple[np.ndarray, np.ndarray]:
        """Return the places of the three rivals that are best ruled out [..., 3], and how far [...]: 0 to 6, of each
        how far it is outweighed (log-odds, up to the least) and whether it is grounded.

        Where the family's history is to rule some out, it rules out `min_family`, where it can, and never all: it alone
        must not answer. Those that it leaves must be outweighed by what is found too: of a lack alone readers make
        little.
        """

        def share(odds: np.ndarray, least: float) -> np.ndarray:
            return np.minimum(np.minimum.reduceat(odds, self.first, -1), math.log(least)) / math.log(least)

        done = share(against.odds, self.judge.least_odds) + against.grounded  # [..., rivals]
        apart, wanted = self.apart, self.rules.min_family
        if wanted:
            done = np.where(apart, done, np.minimum(done, 2 * share(against.found, self.judge.least_found)))
        # Of those that are as far, the ones apart first.
        order = np.lexsort((np.broadcast_to(~apart, done.shape), -done))
        out = apart[order]
        # First as many apart as are wanted, then one that is not, then the others.
        turn = np.where(out, 2 * (out.cumsum(-1) > wanted), 1 + ((~out).cumsum(-1) > 1))
        best = np.take_along_axis(order, turn.argsort(-1, kind="stable"), -1)[..., :OPTIONS]
        return best, np.sort(np.take_along_axis(done, best, -1), -1).sum(-1)
