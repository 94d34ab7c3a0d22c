"""Accuracies of parts of a set, by hand-made questions: fleming/evaluation/scoring.py and tables.py."""

import json
from pathlib import Path

import pytest

from fleming.evaluation.answers import Answer, answer_to_json
from fleming.evaluation.export import export
from fleming.evaluation.report import WIDTH, write_results
from fleming.evaluation.scoring import Result, summarise
from fleming.evaluation.statistics import wilson_interval
from fleming.evaluation.tables import SHOWN, describe_slices
from fleming.files import write_jsonl
from fleming.public.benchmarks import LoadedBenchmark, load_own
from fleming.records import Question
from fleming.settings import Config


def posed(number: int, **provenance) -> Question:
    fields = {"language": "zh" if number % 2 else "en", "difficulty": provenance.pop("difficulty", None)}
    options = {letter: f"{number} {letter}" for letter in "ABCD"}
    text = f"Which {number}?"
    return Question(
        id=f"q/{number}", question=text, options=options, answer="A", provenance=provenance, **fields
    )


def clue(needed: str) -> dict:
    return {"relation": "has_symptom", "tail": "x", "role": "core", "counts": None, "needed": needed}


def needs(count: int, idle: int = 1) -> list[dict]:
    """Clues of which `count` are each needed by itself, and others that only add to the odds, or that nothing needs."""
    told = [clue("without it Gout would not be ruled out")] * count
    return told + [clue("1.3 bits"), clue("")][: idle + 1]


def answers(questions: list[Question], right: set[int]) -> list[Answer]:
    return [
        Answer(
            benchmark="mine", protocol="cot", id=q.id, order=0, sample=0, counts=True, options=4,
            answer="A" if i in right else "B", gold="A", correct=i in right, choice="A" if i in right else "B",
            prompt=[], response="", format=True, finish_reason="stop", tokens=1, time={},
        )
        for i, q in enumerate(questions)
    ]  # fmt: skip


def result(questions: list[Question], right: set[int]) -> Result:
    return summarise(LoadedBenchmark("mine", questions, [Path("x")], None, []), answers(questions, right))


QUESTIONS = [
    posed(0, rare=True, hops=2, kind="diagnosis", clues=needs(2), difficulty="difficult"),
    posed(1, rare=True, hops=10, kind="diagnosis", clues=needs(10), difficulty="easy"),
    posed(2, rare=False, hops=2, kind="drug", difficulty="moderate", groups={"body system": "heart"}),
    posed(
        3,
        rare=False,
        hops=3,
        kind="drug",
        clues=needs(2, 0),
        difficulty="easy",
        groups={"body system": "lung"},
    ),
]


def test_every_kind_of_slice_has_its_questions_and_their_accuracy():
    found = result(QUESTIONS, {0, 2}).details["breakdown"]
    counted = {d: {g: (s.n, s.accuracy) for g, s in slices.items()} for d, slices in found.items()}
    assert counted == {
        "language": {"en": (2, 1.0), "zh": (2, 0.0)},
        "difficulty": {"easy": (2, 0.0), "moderate": (1, 1.0), "difficult": (1, 1.0)},
        "rare_entity": {"False": (2, 0.5), "True": (2, 0.5)},
        "hops": {"2": (2, 1.0), "3": (1, 0.0), "10": (1, 0.0)},
        "kind": {"diagnosis": (2, 0.5), "drug": (2, 0.5)},
        "clues_needed": {"2": (2, 0.5), "10": (1, 0.0)},
        "body system": {"heart": (1, 1.0), "lung": (1, 0.0)},
    }
    assert [
        found["rare_entity"]["True"].accuracy_low,
        found["rare_entity"]["True"].accuracy_high,
    ] == pytest.approx(wilson_interval(1, 2))


def test_slices_stand_in_their_own_order():
    found = result(QUESTIONS, set()).details["breakdown"]
    assert list(found["difficulty"]) == ["easy", "moderate", "difficult"]
    assert list(found["hops"]) == ["2", "3", "10"]
    assert list(found["clues_needed"]) == ["2", "10"]


@pytest.mark.parametrize("clues", [3, "x", [], [3, None], {"needed": 1}, [{"needed": 7}], None])
def test_a_provenance_of_another_form_is_of_no_slice_or_needs_none(clues):
    found = result([posed(0, clues=clues), posed(1, clues=needs(1))], {0}).details["breakdown"]
    assert list(found.get("clues_needed", ())) in ([], ["0", "1"])


def test_the_terminal_shows_a_row_a_model_with_n_and_interval_in_bounded_width():
    many = [posed(i, kind=f"{i:03} {'long ' * 30}", hops=i % 3) for i in range(12)]
    text = describe_slices({"before": [result(many, {0, 3})], "after": [result(many, {0, 1, 2, 3})]})
    assert "mine (cot) by kind: 12 slices, in results.json and by --export table" in text
    assert SHOWN < 12
    low, high = (round(100 * x, 1) for x in wilson_interval(2, 4))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert max(map(len, rows)) <= WIDTH
    assert any("0 (n = 4)" in row and "1 (n = 4)" in row for row in rows)
    assert any(row.startswith("| before") and f"50.0 [{low}, {high}]" in row for row in rows)
    assert sum(row.startswith("| after") for row in rows) == sum(row.startswith("| before") for row in rows)

    long_ones = describe_slices({"m": [result(many[:3], set())]})
    assert max(len(line) for line in long_ones.splitlines() if line.startswith("|")) <= WIDTH


def test_exported_slices_have_a_row_a_model_and_a_column_a_slice(tmp_path):
    folders = []
    for name, right in {"before": {0}, "after": {0, 1, 3}}.items():
        folders.append(tmp_path / "eval" / name)
        write_jsonl(
            folders[-1] / "answers.jsonl", map(answer_to_json, answers(QUESTIONS, right)), hashed=True
        )
        write_results(
            folders[-1], {}, {"model": name, "sha256": {}}, [result(QUESTIONS, right)], {"cot": "asked"}
        )
    md, _ = export("table", folders, tmp_path)
    part = md.read_text().split("## mine (cot) by difficulty")[1].split("## ")[0]
    head, _, before, after = [line for line in part.splitlines() if line.startswith("|")]
    assert [c.strip() for c in head.strip("|").split("|")] == [
        "model", "easy (n = 2)", "moderate (n = 1)", "difficult (n = 1)"
    ]  # fmt: skip
    assert [c.split("[")[0].strip() for c in before.strip("|").split("|")] == [
        "before",
        "0.0",
        "0.0",
        "100.0",
    ]
    assert [c.split("[")[0].strip() for c in after.strip("|").split("|")] == [
        "after",
        "100.0",
        "0.0",
        "100.0",
    ]
    stored = json.loads((folders[0] / "results.json").read_text())["benchmarks"]["mine"]["cot"]["breakdown"]
    assert part.count("%")
    assert stored["difficulty"]["easy"]["n"] == 2


def test_a_set_of_ones_own_is_cut_by_the_columns_that_it_has_beside_its_questions(tmp_path):
    path = tmp_path / "exam.csv"
    rows = [
        f"Which {i}?,a {i},b {i},c {i},A,{'heart' if i < 3 else '肺'},hard,{'w' * 90}{i},{i}"
        for i in range(5)
    ]
    path.write_text("\n".join(["question,A,B,C,answer,Body System,difficulty,topic,row", *rows]) + "\n")
    questions = load_own(path, "exam", Config()).questions
    assert [q.difficulty for q in questions] == [None] * 5  # "hard" is none of our grades
    found = result(questions, {0, 1, 4}).details["breakdown"]
    assert found.keys() == {"Body System"}  # one grade divides nothing, a long text names no group
    assert {group: (s.n, s.accuracy) for group, s in found["Body System"].items()} == {
        "heart": (3, 2 / 3), "肺": (2, 0.5)
    }  # fmt: skip
