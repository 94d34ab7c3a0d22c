"""What physicians say of a benchmark's questions, and what a score is worth once they are heard.

A file of ratings, one a row: those of MedQA's test questions as published (Google-Health/med-gemini-medqa-relabelling),
or anybody's with the columns `id` or `question`, `answers` (letters that the rater finds right, none: unanswerable) and
`flaws`. A question has a flaw where more than half of its raters say so. Left out: who is right.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleming.evaluation.statistics import question_interval, weighted_interval
from fleming.evaluation.votes import Questions, score_of
from fleming.public.benchmarks import LoadedBenchmark
from fleming.public.tables import Row, read_rows
from fleming.records import LETTERS, Question
from fleming.text import fold, option_key, stem_key, words
from model.errors import InputError

MISSING, NOT_GOLD, AMBIGUOUS = "missing_information", "gold_not_chosen", "ambiguous"
KNOWN = {MISSING, NOT_GOLD, AMBIGUOUS}
NOTHING = {"", "none", "na", "nil", "no", "无"}


@dataclass(frozen=True)
class Rating:
    """One rater's word on one question."""

    answers: frozenset[str]
    """Published letters that are right; none: unanswerable."""
    flaws: frozenset[str]
    """Names of what is wrong with the question."""


@dataclass(frozen=True)
class Annotations:
    """All ratings of a benchmark's questions."""

    file: Path
    of: dict[str, list[Rating]]
    """Question id -> its ratings."""
    unmatched: int
    """Rows about none of its questions."""
    unread: int
    """Rows of another form."""

    def flaws(self, question: Question) -> set[str]:
        """Return what more than half of the raters find wrong."""
        ratings, counts = self.of[question.id], Counter()
        for rating in ratings:
            seen = {NOT_GOLD: question.answer not in rating.answers, AMBIGUOUS: len(rating.answers) > 1}
            counts.update(rating.flaws | {flaw for flaw, is_there in seen.items() if is_there})
        return {flaw for flaw, count in counts.items() if 2 * count > len(ratings)}

    def agreement(self, question: Question) -> float:
        """Return the share of raters whose answers include the gold."""
        ratings = self.of[question.id]
        return sum(question.answer in rating.answers for rating in ratings) / len(ratings)

    def own_answer(self, question: Question) -> str | None:
        """Return the one other letter than the gold that more than half of the raters find right, if there is one."""
        ratings = self.of[question.id]
        counts = Counter(letter for rating in ratings for letter in rating.answers)
        chosen = [letter for letter, count in counts.items() if 2 * count > len(ratings)]
        return chosen[0] if len(chosen) == 1 and chosen[0] != question.answer else None


def read_annotations(path: Path, benchmark: LoadedBenchmark) -> Annotations:
    """Read a file of ratings, and find the benchmark's question that each is about: by id, else by its text.

    A row of another form is counted, not refused. Raises InputError for a file without any rating of its questions.
    """
    by_id = {q.id: q for q in benchmark.questions}
    by_stem: dict[str, list[Question]] = defaultdict(list)
    for q in benchmark.questions:
        by_stem[stem_key(q.question)].append(q)

    found: dict[str, list[Rating]] = defaultdict(list)
    faults, unmatched, unread, why = [], 0, 0, ""
    for _, row in read_rows(path, fault=lambda *fault: faults.append(fault)):
        row = {str(name).strip().casefold(): value for name, value in row.items()} | row  # Answers, ID
        shown = _options(row)
        texts = {*map(_key, shown.values())}
        named = by_id.get(str(row.get("id")))
        same = [named] if named else by_stem.get(stem_key(str(row.get("question", ""))), [])
        same = [q for q in same if not shown or texts == {*map(_key, q.options.values())}]
        if len(same) != 1:
            unmatched += 1
            continue
        try:
            rating = _rating(row, shown, same[0])
        except (KeyError, ValueError) as error:
            unread, why = unread + 1, f" ({error})"
            continue
        found[same[0].id].append(rating)
    if not found:
        unread += len(faults)
        raise InputError(
            f"{path}: no rating of a question of {benchmark.name}: {unmatched} rows are about none of them, {unread} "
            f"cannot be read{why}; expected the columns id or question, answers, flaws"
        )
    return Annotations(path, dict(found), unmatched, unread + len(faults))


def _options(row: Row) -> dict[str, str]:
    """Return the options that the rater saw, letter -> text, where the row has them in columns of their own."""
    return {letter: str(row[letter]) for letter in LETTERS if row.get(letter) not in (None, "")}


def _key(option: str) -> str:
    """Return what an option has in common with itself in another edition, where quotes and full stops may differ."""
    return re.sub("[\"']", "", option_key(option)).strip(" .")


def _rating(row: Row, shown: Mapping[str, str], question: Question) -> Rating:
    """Return the row's rating, with published letters. Raises KeyError or ValueError for another form."""
    if "seen_change" in row:  # the raters answered first, then saw the key, and might change their mind
        when = "seen" if _truth(row["seen_change"]) else "blind"
        letters = _letters(row[f"{when}_answers"]) if _truth(row[f"{when}_answerable"]) else []
        flaws = [MISSING] if _truth(row["important_info_missing"]) else []
    else:
        letters, flaws = _letters(row["answers"]), _flaws(row.get("flaws"))
    published = {_key(text): letter for letter, text in question.options.items()}
    if shown:
        letters = [published[_key(shown[letter])] for letter in letters]
    if not question.options.keys() >= {*letters}:
        raise ValueError(f"no such option among {letters}")
    return Rating(frozenset(letters), frozenset(flaws))


def _parts(value: Any) -> list[str]:
    """Return the items of a list, or of a text that lists them, without those that say there is nothing (n/a)."""
    parts = map(str, value) if isinstance(value, list) else re.split(r"[,;|\n，；、]", str(value or ""))
    return [part for part in parts if "".join(words(part)) not in NOTHING]


def _letters(value: Any) -> list[str]:
    """Return the letters of an answer: "['A', 'C']", "a, c", "a and c"."""
    return [word.upper() for part in _parts(value) for word in words(part) if word != "and"]


def _flaws(value: Any) -> list[str]:
    """Return the names of flaws; blanks are part of a name, but stand between those that are known here."""
    names: list[str] = []
    for part in _parts(value):
        apart = [_name(word) for word in part.split() if word.casefold() != "and"]
        names += apart if KNOWN.issuperset(apart) else [_name(part)]
    return names


def _name(text: str) -> str:
    return "_".join(re.findall(r"\w+", fold(text)))


def _truth(value: Any) -> bool:
    said = str(value).strip().lower()
    if said not in ("true", "false"):
        raise ValueError(f"expected true or false, found {said[:40]!r}")
    return said == "true"


def score_by_raters(
    questions: Sequence[Question], votes: Questions, annotations: Annotations
) -> dict[str, Any] | None:
    """Return what results.json says of one model's votes on the questions that were rated; None where none was.

    without_flawed: the score on those in which no majority sees a flaw. weighted: each question counts as much as its
    raters agree with the gold. disagreeing: where most raters find one other letter right, how often the model gives
    theirs, and how often the gold.
    """
    rated = [q for q in questions if q.id in annotations.of]
    if not rated:
        return None
    flaws = {q.id: annotations.flaws(q) for q in rated}
    sound = [votes[q.id] for q in rated if not flaws[q.id]]
    other = {q.id: letter for q in rated if (letter := annotations.own_answer(q))}
    theirs = [votes[name].of[letter] / votes[name].answers for name, letter in other.items()]
    samples = max(votes[q.id].answers for q in rated)
    scores, agreement = [votes[q.id].score for q in rated], [annotations.agreement(q) for q in rated]
    weighted = weighted_interval(scores, agreement)
    disagreeing = None
    if other:
        as_raters = question_interval(theirs, samples)
        as_gold = question_interval([votes[name].score for name in other], samples)
        disagreeing = {"n": len(other), "as_raters": vars(as_raters), "as_gold": vars(as_gold)}
    return {
        "file": str(annotations.file),
        "rated": len(rated),
        "ratings": sum(len(annotations.of[q.id]) for q in rated),
        "unmatched_rows": annotations.unmatched,
        "unread_rows": annotations.unread,
        "flaws": dict(sorted(Counter(flaw for found in flaws.values() for flaw in found).items())),
        "flawed": len(rated) - len(sound),
        "without_flawed": score_of(sound) if sound else None,
        "weighted": vars(weighted) if weighted else None,
        "disagreeing": disagreeing,
    }
