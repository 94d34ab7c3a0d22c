"""What k of a question's several answers come to: pass@k and maj@k, over all subsets of the answers, in integers.

Left out: drawing subsets, and intervals (statistics.py).
"""

import math
from collections.abc import Mapping, Sequence


def sizes(n: int) -> list[int]:
    """Return the k that are reported of n samples: 1, 2, 4, ... and n."""
    return sorted({2**i for i in range(n.bit_length())} | {n})


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the chance that k of n samples, c of them right, hold a right one: Chen et al., arXiv 2107.03374, Eq. 1.

    Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"expected 0 <= c <= n and 1 <= k <= n, found n {n}, c {c}, k {k}")
    draws, without = math.comb(n, k), math.comb(n - c, k)
    return (draws - without) / draws  # integers to the end: exact for any n


def maj_at_k(votes: Mapping[str | None, int], gold: str, k: int) -> float:
    """Return the exact expected correctness of a majority vote among k of the samples, drawn without replacement.

    votes counts the samples that chose each option; None counts abstentions, which cast no vote. A tie of m options
    with gold among them counts 1 / m; no votes at all count 0. Raises ValueError unless 1 <= k <= samples.
    """
    n, c = sum(votes.values()), votes.get(gold, 0)
    if not 1 <= k <= n or min(votes.values()) < 0:
        raise ValueError(f"expected 1 <= k <= samples and counts >= 0, found k {k}, votes {dict(votes)}")
    scale = math.lcm(*range(1, len(votes) + 1))  # makes every 1 / m an integer
    right = 0
    # Gold is drawn g times; it wins or ties if no other is drawn more often.
    for g in range(1, min(c, k) + 1):
        # Options with fewer than g votes and abstentions cannot matter: they fill the draw, from one pool.
        rivals = [v for option, v in votes.items() if option not in (gold, None) and v >= g]
        pool = n - c - sum(rivals)
        for (drawn, m), ways in _ways(rivals, g, k - g).items():
            rest = math.comb(pool, k - g - drawn)
            right += math.comb(c, g) * ways * rest * (scale // m)
    return right / (scale * math.comb(n, k))


def _ways(rivals: Sequence[int], g: int, most: int) -> dict[tuple[int, int], int]:
    """Return (samples drawn from the rivals, options that g were drawn of, gold's among them) -> number of ways.

    At most g of each rival are drawn, and at most `most` in all.
    """
    ways = {(0, 1): 1}
    for votes in rivals:
        wider: dict[tuple[int, int], int] = {}
        for (drawn, m), number in ways.items():
            for j in range(min(g, most - drawn) + 1):
                state = drawn + j, m + (j == g)
                wider[state] = wider.get(state, 0) + number * math.comb(votes, j)
        ways = wider
    return ways
