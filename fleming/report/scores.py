"""What evaluate.py has found of each stage: scores as stored, paired differences, who answered which question.

Left out: the formulas, which are the evaluation's own (evaluation/statistics.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from fleming.evaluation.statistics import holm, paired_difference, verdict
from fleming.files import read_jsonl
from fleming.html_page import mapping
from fleming.report.reading import Reader
from fleming.text import stem_key

USUAL = ("base", "cold_start", "rl_stage1", "rl_stage2")
LONGEST = 20_000  # characters of a text that is shown
CASE = 160  # characters of a prompt: questions that begin alike are about one patient


@dataclass
class Given:
    """A stage's answers to a question, asked as published."""

    gold: str
    answer: str | None
    """Of the first sample, as shown; None: an abstention."""
    response: str
    asked: str
    """The prompt's last message."""
    samples: int = 0
    right: int = 0

    @property
    def code(self) -> str:
        """Return "1" for right (at least half of the samples), "-" for an abstention, "0" for another answer."""
        return "1" if 2 * self.right >= self.samples else "-" if self.answer is None else "0"


Answers = dict[tuple[str, str], dict[str, Given]]
"""(benchmark, protocol) -> question id -> what was given."""


def stages(reader: Reader, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return stage -> results.json, in the order in which the run has its stages."""
    usual = [*mapping(mapping(config.get("evaluate")).get("models")), *USUAL]
    names = {path.parent.name for path in reader.root.glob("eval/*/results.json")}
    order = sorted(names, key=lambda name: (usual.index(name) if name in usual else len(usual), name))
    return {name: reader.json(f"eval/{name}/results.json") for name in order}


def answers(reader: Reader, stage: str) -> Answers:
    """Return a stage's answers to the questions that count."""
    return reader.once(f"eval/{stage}/answers.jsonl", _answers, {})


def _answers(path: Path) -> Answers:
    found: Answers = {}
    for _, record in read_jsonl(path):
        if record["order"] or record.get("variant") or not record["counts"]:
            continue
        prompt = record.get("prompt")
        asked = prompt[-1]["content"] if isinstance(prompt, list) else prompt
        response = str(record["response"] or "")[:LONGEST]
        first = Given(str(record["gold"]), record["answer"], response, str(asked or "")[:LONGEST])
        of = found.setdefault((str(record["benchmark"]), str(record["protocol"])), {})
        given = of.setdefault(str(record["id"]), first)
        given.samples, given.right = given.samples + 1, given.right + bool(record["correct"])
    return found


def settings_that_differ(a: Reader, b: Reader, stage: str) -> list[str]:
    """Return what was set differently for two runs' answers of a stage; the models may differ."""
    first, second = (reader.json(f"eval/{stage}/settings.json") for reader in (a, b))
    names = first.keys() | second.keys()
    return [name for name in names if first.get(name) != second.get(name) and name != "sha256 of model"]


def successive(tables: Sequence[tuple[str, Answers]]) -> list[dict[str, Any]]:
    """Return the differences of each stage to the one before; of four, of the last to the second too."""
    pairs = list(pairwise(range(len(tables))))
    return differences(tables, [*pairs, (1, 3)] if len(tables) == 4 else pairs)


def differences(
    tables: Sequence[tuple[str, Answers]], pairs: Sequence[tuple[int, int]]
) -> list[dict[str, Any]]:
    """Return b minus a for each pair of tables, on their common questions with the same right answer.

    All comparisons by one protocol are one family, as in evaluate.py, whose figures these are.
    """
    found = []
    for (name_a, a), (name_b, b) in ((tables[i], tables[j]) for i, j in pairs):
        for benchmark, protocol in sorted(a.keys() & b.keys()):
            x, y = a[benchmark, protocol], b[benchmark, protocol]
            common = [id for id in x if id in y and x[id].gold == y[id].gold]
            if common:
                cases = [stem_key(x[id].asked[:CASE] or id) for id in common]
                scores = ([given[id].right / given[id].samples for id in common] for given in (x, y))
                d = paired_difference(*scores, clusters=cases)
                said = verdict(d.low, d.high, d.wins - d.losses, d.p_mcnemar)
                about = {"benchmark": benchmark, "protocol": protocol, "a": name_a, "b": name_b}
                found.append({**about, "n": len(common), **asdict(d), "verdict": said})
    for protocol in {row["protocol"] for row in found}:
        family = [row for row in found if row["protocol"] == protocol]
        for row, p in zip(family, holm([row["p_mcnemar"] for row in family]), strict=True):
            row["holm"] = p
    return found
