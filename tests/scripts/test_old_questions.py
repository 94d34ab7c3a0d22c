"""Question files of before: what synth_data.py wrote when its provenance had another form, or none, is still read.

tests/support/data/questions_of_before.jsonl: a short question, one of three hops and a scenario as they were written
then, one whose provenance is null, one whose provenance is nobody's, one with nothing but what is required.
"""

import json

import pytest
from support.places import ROOT

import evaluate
import synth_data
import train_grpo
from fleming.files import read_json, read_jsonl
from fleming.public.readers import read_questions
from fleming.questions import cards
from fleming.refine.difficulty import grade_by_graph

FILE = ROOT / "tests/support/data/questions_of_before.jsonl"


@pytest.fixture(scope="module")
def records():
    return [record for _, record in read_jsonl(FILE)]


def test_their_provenance_is_kept_as_it_is(records):
    questions = read_questions(FILE)
    assert [q.provenance for q in questions] == [record.get("provenance") for record in records]
    assert [q.answer for q in questions] == [record["answer"] for record in records]
    assert questions[2].provenance["metapath"] == "scenario > disease > associated_gene"
    assert set(grade_by_graph(questions).values()) == {None}  # how deep they are they do not say


def test_as_a_public_set_they_are_refined_mixed_and_written(in_process, tmp_path, records):
    few = ["synth.train_questions=60", "synth.dev_questions=0", "synth.test_questions=0"]
    mine = [f"synth.public={json.dumps({'mine': str(FILE)})}", "synth.default_grade={mine: moderate}"]
    assert in_process(synth_data, tmp_path, *few, *mine) == (0, [])
    written = {q.id: q for q in read_questions(tmp_path / "data/rl.jsonl")}
    assert {record["id"] for record in records} <= written.keys()
    assert {written[record["id"]].difficulty for record in records} == {"moderate"}
    assert written[records[0]["id"]].provenance == records[0]["provenance"]
    report = read_json(tmp_path / "data/report.json")
    assert report["parts"] == {"mine": len(records), "graph": 60}
    assert sum(report["splits"]["train"].values()) == 60 + 3  # of the others nobody says how long they are


def test_rl_draws_from_them_and_an_evaluation_asks_them(in_process, inputs, tmp_path, records):
    short = ["grpo.stage1.max_steps=1", "grpo.stage2.max_steps=1", f"data.questions={FILE}"]
    status, lines = in_process(train_grpo, tmp_path, *short)
    assert status == 0, lines
    asked = [r["question_id"] for _, r in read_jsonl(tmp_path / "grpo/rollouts/step_000001.jsonl")]
    assert set(asked) <= {record["id"] for record in records}
    questions = [f"evaluate.questions={FILE}", "evaluate.max_new_tokens=4"]
    status, lines = in_process(
        evaluate, tmp_path, *questions, f"evaluate.models={{base: {inputs}/base/model}}"
    )
    assert status == 0, lines


def test_they_are_shown_as_cards(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/rl.jsonl").write_bytes(FILE.read_bytes())
    assert cards.main([str(tmp_path)]) == 0
    page = (tmp_path / "cards.html").read_text()
    for text in ("tyrosinemia type 1", "renal colic", "nodurale", "preexisting retinopathy"):
        assert text in page
