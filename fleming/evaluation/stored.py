"""What evaluate.py has stored of a model, read back and checked: results.json, and the answers that its scores are of.

Left out: what is made of it (export.py).
"""

import datetime
from collections import defaultdict
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fleming.evaluation.answers import FIELDS_OF, Answer, read_answers
from fleming.evaluation.report import read_results
from fleming.evaluation.votes import Score, score_of, votes_of
from fleming.typed import convert, from_json
from model.errors import InputError

Asked = tuple[str, str]
"""A benchmark and a protocol."""


@dataclass(frozen=True)
class Stored:
    """What results.json says of one benchmark by one protocol."""

    described: str
    """The protocol, in a line."""
    score: Score
    stderr: float | None
    by_length: float | None
    document: str | None
    warnings: list[str]
    breakdown: dict[str, dict[str, Score]]


@dataclass(frozen=True)
class Run:
    """A folder eval/NAME."""

    folder: Path
    about: dict[str, Any]
    """The head of results.json."""
    results: dict[Asked, Stored]
    written: datetime.datetime
    """When results.json was."""

    @property
    def stamp(self) -> str:
        """Return the time as a file's name has it."""
        return self.written.isoformat().replace(":", "-")


def read_run(folder: Path) -> Run:
    """Return what results.json says. Raises InputError for one that is none, or holds what can be no score."""
    about, path = read_results(folder), folder / "results.json"
    results = {}
    for benchmark, by_protocol in about.get("benchmarks", {}).items():
        for protocol, details in by_protocol.items():
            where = f"{path}: {benchmark}, {protocol}"
            if protocol not in FIELDS_OF:
                raise InputError(f"{where}: no protocol; there are {', '.join(FIELDS_OF)}")
            results[benchmark, protocol] = _stored(convert(dict[str, Any], details, where, "details"), where)
    if not results:
        raise InputError(f"{path}: holds no results; run evaluate.py to its end")
    written = datetime.datetime.fromtimestamp(int(path.stat().st_mtime), datetime.UTC)
    return Run(folder, about, results, written)


def _stored(details: dict[str, Any], where: str) -> Stored:
    def read(kind: Any, key: str, usual: Any = None) -> Any:
        return convert(kind, details.get(key, usual), where, key)

    own = {field.name: details[field.name] for field in fields(Score) if field.name in details}
    found = Stored(
        described=read(str, "protocol"),
        score=from_json(Score, own, where),
        stderr=read(float | None, "stderr"),
        by_length=read(float | None, "accuracy_by_length"),
        document=read(str | None, "document"),
        warnings=read(list[str], "warnings", []),
        breakdown=read(dict[str, dict[str, Score]], "breakdown", {}),
    )
    for score in (found.score, *(s for slices in found.breakdown.values() for s in slices.values())):
        shares = [value for name, value in vars(score).items() if name != "n"]
        if score.n < 1 or not all(0 <= share <= 1 for share in shares):
            raise InputError(f"{where}: {score} is no score: n is at least 1, all else from 0 to 1; edited?")
    return found


def answers_of(run: Run) -> dict[Asked, list[Answer]]:
    """Return the answers that each score is of, all of them once in memory. Raises InputError where it is of others."""
    path, seen = run.folder / "answers.jsonl", set()
    answers: dict[Asked, list[Answer]] = defaultdict(list)
    for answer in read_answers(path):
        if answer.key in seen:
            raise InputError(f"{path}: {answer.key} is answered twice, edited?")
        seen.add(answer.key)
        if answer.loglikelihoods is not None and answer.gold not in answer.loglikelihoods:
            raise InputError(
                f"{path}: {answer.id}: {answer.gold!r} is right and none of its options, edited?"
            )
        if answer.counts and answer.as_published and (answer.benchmark, answer.protocol) in run.results:
            answers[answer.benchmark, answer.protocol].append(answer)
    for asked, stored in run.results.items():
        of = answers[asked]
        found = score_of(votes_of(of).values()) if of else None
        if not found or found.n != stored.score.n or abs(found.accuracy - stored.score.accuracy) > 1e-9:
            said = f"its answers have the score {found}, results.json {stored.score}"
            raise InputError(f"{path}: {', '.join(asked)}: {said}; evaluate these questions again")
    return answers
