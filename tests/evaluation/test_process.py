"""The checks over stored answers: counts by hand, apart for right and wrong ones."""

import json
from collections import Counter

import pytest
from support.places import ROOT
from support.runs import run_here

import evaluate
from fleming.evaluation.answers import Answer
from fleming.evaluation.process import process_scores
from fleming.evaluation.report import _of_process
from fleming.graph.knowledge_graph import Edge, Entity, Evidence, KnowledgeGraph
from fleming.records import Question
from fleming.sources.facts import Declared, Origin

FACTS = [("gout", "has_symptom", "toe pain"), ("gout", "treated_by", "colchicine")]
QUESTION = Question(
    id="q", question="A patient has toe pain. Which drug helps?", answer="A",
    options={"A": "colchicine", "B": "warfarin"},
    provenance={
        "path": [dict(zip(("head", "relation", "tail"), fact, strict=True)) for fact in FACTS],
        "visible": ["toe pain"],
        "certificate": {"distractors": [{"option": "warfarin", "ground": "closed", "shares": [],
                                         "violates": [["gout", "treated_by", "warfarin"]]}]},
    },
)  # fmt: skip
WHOLE = "A symptom of gout is toe pain. Gout is treated with colchicine."


@pytest.fixture(scope="module")
def graph():
    graph = KnowledgeGraph()
    for name, kind in {
        "gout": "disease",
        "colchicine": "drug",
        "warfarin": "drug",
        "toe pain": "symptom",
    }.items():
        graph.add_entity(Entity(name, kind), "test")
    evidence = (Evidence(Origin("made up", "made_up.tsv", "1", "test"), 1),)
    for fact in FACTS:
        graph.add_edge(Edge(*fact, evidence), "test")
    graph.declared["made up", "treated_by"] = Declared("closed", 1, False)
    return graph


def answer(thought: str, letter: str = "A", order: int = 0, name: str = "q") -> Answer:
    response = f"<think>{thought}</think> <answer>{letter}</answer>"
    given = {"benchmark": "mine", "protocol": "cot", "id": name, "order": order, "sample": 0, "counts": True}
    given |= {"options": 2, "answer": letter, "gold": "A", "correct": letter == "A", "choice": letter}
    given |= {"prompt": [], "format": True, "finish_reason": "stop", "tokens": 9, "time": {}}
    return Answer(**given, response=response)


def test_counts_by_hand(graph):
    plain = Question("p", "What is it?", {"A": "x", "B": "y"}, "A")
    answers = [
        answer(WHOLE),
        answer(f"{WHOLE} 2 x 3 = 6 mg."),
        answer("Gout is treated with colchicine. 20 mg / 4 = 6 mg."),
        answer("Gout is treated with warfarin. 3 + 4 = 7.", "B"),
        answer("I do not know.", "B", name="p"),
    ]
    found = process_scores({"q": QUESTION, "p": plain}, answers, graph)
    right, wrong = found["right"], found["wrong"]
    assert (right["answers"], right["with_sums"], right["with_certificate"]) == (3, 2, 3)
    assert right["sums"] == {"ok": 1, "wrong": 1, "unread": 0, "unit_faults": 0}
    assert right["shares"]["wrong_sum"]["value"] == pytest.approx(1 / 3)
    assert right["shares"]["whole_path"]["value"] == pytest.approx(2 / 3)
    assert right["shares"]["contradicted_claim"]["value"] == 0
    assert (right["path_facts"], right["path_facts_stated"]) == (6, 4)  # the third's fact hangs in the air
    assert right["claims"]["supported"] == 5
    assert (wrong["answers"], wrong["with_sums"], wrong["with_certificate"]) == (2, 1, 1)
    assert wrong["shares"]["wrong_sum"]["value"] == 0
    assert wrong["shares"]["contradicted_claim"]["value"] == 0.5
    assert wrong["path_faults"] == {"false_claim": 1}
    (line,) = _of_process(wrong)
    assert line.startswith(
        "a wrong sum in 0.0 [0.0, 65.8] % (1 have sums), a claim that the graph contradicts in 50.0 ["
    )


def test_without_a_graph_no_claim_and_without_answers_no_group():
    found = process_scores({"q": QUESTION}, [answer(WHOLE, order=1)], None)
    assert found.keys() == {"right"}
    assert found["right"]["claims"] == {}
    assert found["right"]["shares"].keys() == {"wrong_sum"}  # shown in another order: its letters are others
    assert _of_process(found["right"]) == []


def test_a_run_says_it_of_its_own_answers(inputs, tmp_path):
    """Through the script: the answers are stored already, and the graph is the run's own."""
    name = [
        "--config",
        str(ROOT / "configs/demo.yaml"),
        f"run_dir={tmp_path}",
        "threads=1",
        "--model",
        str(inputs / "base/model"),
    ]
    name += [
        f"evaluate.questions={inputs / 'questions.jsonl'}",
        "evaluate.limit=4",
        "evaluate.max_new_tokens=8",
    ]
    for counted, more in ((True, [f"evaluate.graph={inputs / 'data/graph.jsonl'}"]), (False, [])):
        assert run_here(evaluate, [*name, *more])[0] == 0
        (result,) = tmp_path.glob("eval/*/results.json")
        (cot,) = (found["cot"] for found in json.loads(result.read_text())["benchmarks"].values())
        answers = Counter({group: found["answers"] for group, found in cot["process"].items()})
        assert answers.total() == 4
        assert all(("contradicted_claim" in found["shares"]) == counted for found in cot["process"].values())
    status, (line,) = run_here(evaluate, [*name, f"evaluate.graph={tmp_path / 'none.jsonl'}"])
    assert (status, "none.jsonl" in line) == (2, True)
