"""Whether a question file can be answered without reading: shallow probes, each an accuracy beside chance.

- one feature at a time: popularity, length, overlap with the stem, likeness of the options, what training questions say
  of an option's text (shallow.py has them)
- a conditional logit over all of them, and one over the surface alone; five folds

Two kinds of folds. In *random* ones, questions of the same root may be in training: what a model sees that is trained
on one part of a file and tested on another. *By root*, all questions of one root (what the path starts from) are in one
fold, so that only what holds of any root can be learned. Without provenance the root is the right answer's text.

Folds by answer tell the key by themselves: it is the one option never seen as a key, since all questions that it is
right in are in the test fold. Folds by root do so as far as answers belong to roots, and random ones too where an
answer is right a few times at most: what is right here was right less often elsewhere, and what is wrong here is more
common in the file, being other questions' key besides. That is no knowledge of the question, and nothing that training
on other questions teaches. So what is learned, and what is common, may only speak *for* an option: its weights are at
least 0, and a learned feature alone is used only where it helped within the training folds; otherwise it says nothing
and scores chance. What is above chance in folds by answer is then carried by words, kinds and options that are always
wrong. `signed_logit` is the same without this bound: what lies between it and `logit` is what the folds tell.

Features that are learned are learned inside the training folds (cross-fitting): a training question's from the other
training folds. Ties are shared, so a feature that says nothing scores chance exactly. The intervals take questions for
independent; where few texts or stems come again and again they are too narrow, by up to a half. Left out: the letter;
popularity without a graph (provenance records the key's edges otherwise than the wrong options').
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from fleming.noise import generator
from fleming.records import Question
from fleming.refine.learned import FOLDS, LEARNED, Learned, cross_fitted, nearest, tokens_of
from fleming.refine.shallow import Columns, Graph, commonness, popularity, root_of, surface

MOST = 8000  # questions that are looked at; of more, as many drawn
Z = 1.959964  # 95 %
RIDGE = 1.0  # of the logit: the precision of its weights, features scaled to one
SINGLE = {  # probe -> (feature, whether its largest or smallest is chosen)
    "longest_option": ("length", 1),
    "shortest_option": ("length", -1),
    "word_overlap": ("word_overlap", 1),
    "trigram_overlap": ("trigram_overlap", 1),
    "medoid_by_words": ("word_likeness", 1),
    "outlier_by_words": ("word_likeness", -1),
    "medoid_by_trigrams": ("trigram_likeness", 1),
    "outlier_by_trigrams": ("trigram_likeness", -1),
}
SINGLE_LEARNED = ("prior", "nearest_stem", "clue_votes")  # of LEARNED


def shortcuts(
    questions: Sequence[Question], graph: Graph | None = None, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Return probe -> {"accuracy", "low", "high", "chance", "n"}, JSON-ready; {} where no question has options.

    low, high: the 95 % Wilson interval. chance: the mean of 1 / options. n: the questions that it could be asked of
    (popularity in the graph: those whose options it all has). Of more than MOST questions, MOST are drawn by counted
    noise, and "of" says how many there are. Names that end in _by_root are of folds by root, see above.
    """
    questions = [question for question in questions if question.options]
    if not questions:
        return {}
    drawn = generator(seed, "shortcuts").permutation(len(questions))[:MOST]
    columns = Columns.of_questions([questions[i] for i in drawn.tolist()])
    everyone = np.ones(len(drawn), bool)
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # hits [N], whose [N]

    features = surface(columns)
    for name, (feature, sign) in SINGLE.items():
        found[name] = columns.hits(sign * features[feature]), everyone
    static = np.stack(list(features.values()), 1)
    common = commonness(columns)
    found["most_common_option"] = columns.hits(common[:, 0]), everyone
    speaks_for = [common, *(columns.extremes(count)[:, :1] for count in common.T)]
    other = [static]
    if graph is not None:
        edges, known = popularity(columns, graph)
        for i, where in enumerate(("graph", "relation")):
            found[f"most_popular_in_{where}"] = columns.hits(edges[:, i]), known[:, i]
            found[f"least_popular_in_{where}"] = columns.hits(-edges[:, i]), known[:, i]
        other += [edges, *(columns.extremes(count) for count in edges.T)]

    tokens = tokens_of(columns.questions)
    near = nearest(tokens, seed)
    for suffix, fold in folds(columns.questions, seed).items():
        learned = cross_fitted(Learned(columns, tokens, fold, near), columns, fold)

        def tried(tables: list[np.ndarray], fit: Callable, fold: np.ndarray = fold) -> tuple:
            return out_of_fold(columns, fold, tables, fit), everyone

        for name in SINGLE_LEARNED:
            feature = [table[:, LEARNED.index(name)] for table in learned]
            found[name + suffix] = tried(feature, only_what_helps(columns))
        tables = [np.hstack([table, *speaks_for, *other]) for table in learned]
        positive = tables[0].shape[1] - sum(block.shape[1] for block in other)
        found["logit" + suffix] = tried(tables, logit(columns, positive))
        found["signed_logit" + suffix] = tried(tables, logit(columns, 0))
        found["surface_logit" + suffix] = tried([static] * FOLDS, logit(columns, 0))
    capped = {"of": len(questions)} if len(questions) > MOST else {}
    return {
        name: {**share_right(hits[whose], 1 / columns.sizes[whose]), **capped}
        for name, (hits, whose) in found.items()
        if whose.any()
    }


def share_right(hits: np.ndarray, chance: np.ndarray) -> dict[str, float]:
    """Return accuracy, interval and chance of the questions' hits and chances, each [n]. Wilson, JASA 22 (1927) 209."""
    n = len(hits)
    p = float(hits.mean())
    centre, half = p + Z * Z / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    low, high = ((centre + side * half) / (1 + Z * Z / n) for side in (-1, 1))
    rounded = {"accuracy": p, "low": max(0.0, low), "high": min(1.0, high), "chance": float(chance.mean())}
    return {**{name: round(value, 4) for name, value in rounded.items()}, "n": n}


# --- folds


def folds(questions: Sequence[Question], seed: int) -> dict[str, np.ndarray]:
    """Return suffix -> each question's fold, 0 to FOLDS - 1: random, and with all questions of one root in one fold.

    Roots come in an order drawn by counted noise, each into the fold that is smallest so far.
    """
    noise = generator(seed, "shortcuts: folds")
    at_random = noise.permutation(len(questions)) % FOLDS
    roots: dict[str, list[int]] = {}
    for i, question in enumerate(questions):
        roots.setdefault(root_of(question), []).append(i)
    members = list(roots.values())
    by_root, sizes = np.empty(len(questions), np.int64), [0] * FOLDS
    for i in noise.permutation(len(members)).tolist():
        smallest = sizes.index(min(sizes))
        by_root[members[i]] = smallest
        sizes[smallest] += len(members[i])
    return {"": at_random, "_by_root": by_root}


def out_of_fold(
    columns: Columns, fold: np.ndarray, tables: Sequence[np.ndarray], fit: Callable
) -> np.ndarray:
    """Return each question's hit by what was fitted without its fold: [N].

    tables: for each test fold the features of all rows, [R] or [R, F]. fit(table, training [N]) -> scores [R].
    """
    hits = np.zeros(len(fold))
    for test in range(FOLDS):
        is_test = fold == test
        hits[is_test] = columns.hits(fit(tables[test], ~is_test))[is_test]
    return hits


# --- what is fitted


def only_what_helps(columns: Columns) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a fit that keeps a feature which in training is above chance by two standard errors, else a constant."""

    def fit(feature: np.ndarray, training: np.ndarray) -> np.ndarray:
        gain = (columns.hits(feature) - 1 / columns.sizes)[training]
        helps = gain.sum() > 2 * math.sqrt((gain**2).sum())
        return feature if helps else np.zeros_like(feature)

    return fit


def logit(columns: Columns, positive: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a fit of the conditional logit (McFadden 1974): scores x . w, the first `positive` weights at least 0."""

    def fit(table: np.ndarray, training: np.ndarray) -> np.ndarray:
        rows = training[columns.of]
        table = columns.centred(table)
        scale = table[rows].std(0) if rows.any() else np.zeros(table.shape[1])
        table = table / np.where(scale > 1e-9, scale, np.inf)
        some = np.flatnonzero(scale > 1e-9)
        weights = np.zeros(table.shape[1])
        part = columns.part(training)
        while len(some):  # a weight that would be negative is 0, and the others are fitted again
            weights[some] = conditional_logit(part, table[rows][:, some])
            wrong = some[(weights[some] < 0) & (some < positive)]
            weights[wrong] = 0.0
            if not len(wrong):
                break
            some = np.setdiff1d(some, wrong)
        return table @ weights

    return fit


def conditional_logit(columns: Columns, table: np.ndarray) -> np.ndarray:
    """Return the weights [F] that maximise sum log softmax(x . w)[right] - RIDGE / 2 |w|^2, by Newton's method.

    table: [R, F], each question's mean taken off.
    """

    def scored(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = table @ weights
        scores -= np.maximum.reduceat(scores, columns.starts)[columns.of]
        log_sum = np.log(columns.sums(np.exp(scores)))
        probabilities = np.exp(scores - log_sum[columns.of])
        loss = log_sum.sum() - scores[columns.right].sum() + RIDGE / 2 * weights @ weights
        return float(loss), probabilities

    weights = np.zeros(table.shape[1])
    loss, p = scored(weights)
    for _ in range(50):
        gradient = table.T @ (p - columns.right) + RIDGE * weights
        means = columns.sums(p[:, None] * table)
        hessian = table.T @ (p[:, None] * table) - means.T @ means + RIDGE * np.eye(len(weights))
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-6:
            tried, p_tried = scored(weights - size * step)
            if tried <= loss:
                break
            size /= 2
        else:
            break
        done = loss - tried < 1e-9 * max(1.0, loss)
        weights, loss, p = weights - size * step, tried, p_tried
        if done:
            break
    return weights
