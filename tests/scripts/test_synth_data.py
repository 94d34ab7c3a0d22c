"""Stage 1 as a whole: sources, public sets and benchmarks in; clean, graded, mixed questions and trajectories out."""

import json
import random
import subprocess
import sys
import time

import pytest
import yaml
from support import question_checker, warm
from support.drawn_patients import COMPLETE, world
from support.jsonl import read_records
from support.places import ROOT
from support.runs import run_here

import fleming.teachers.remembered
import synth_data
import train_sft
from fleming.config import load_config
from fleming.files import read_json, read_jsonl
from fleming.public.readers import read_questions, read_trajectories
from fleming.questions import cards
from fleming.records import DIFFICULTIES
from fleming.refine.decisions import text_hash
from fleming.refine.gate import gate
from fleming.refine.marks import KIND
from fleming.settings import Config
from fleming.settings.synth import QuestionRules
from fleming.sources.facts import Node
from model.errors import InputError
from model.sums import digest

WORDS = "fever cough rash fatigue nausea vertigo tremor pallor edema stridor ataxia myalgia syncope icterus".split()  # noqa: SIM905


def vignette(rng: random.Random) -> str:
    signs = rng.sample(WORDS, 5)
    return (
        f"A {rng.randrange(20, 80)}-year-old {rng.choice(['teacher', 'farmer', 'sailor', 'baker'])} has had {signs[0]} "
        f"and {signs[1]} for {rng.randrange(2, 9)} weeks since a stay in village number {rng.randrange(1000)}. "
        f"Examination shows {signs[2]}, {signs[3]} and {signs[4]}; sodium is {rng.randrange(120, 150)} mmol/L. "
        "Which of the following is the most likely cause?"
    )


def medqa(rng: random.Random, count: int) -> list[dict]:
    """Questions in MedQA's form, each with options of its own."""
    found = []
    for _ in range(count):
        options = {letter: f"agent {rng.randrange(10**6)}" for letter in "ABCD"}
        answer = rng.choice("ABCD")
        found.append(
            {"question": vignette(rng), "options": options, "answer": options[answer], "answer_idx": answer}
        )
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every input file; what is wrong in each is known."""
    folder = tmp_path_factory.mktemp("synth")
    (folder / "voter").mkdir()
    (folder / "voter/config.json").write_text("{}")  # of a voter that the tests put another in place of
    nodes, facts = ["id\tname\ttype"], ["head\trelation\ttail\tfrequency"]
    for item in world(3):
        if isinstance(item, Node):
            nodes.append(f"{item.key}\t{item.name}\t{item.type}")
        else:
            counts = item.note.removeprefix("frequency ")
            facts.append(f"{item.head}\t{item.relation}\t{item.tail}\t{counts}")
    facts.insert(20, facts[-1].rpartition("\t")[0])  # a short row
    facts.insert(30, f"{facts[-1].partition(chr(9))[0]}\thas_finding\tNOBODY:7\t")
    (folder / "nodes.tsv").write_text("\n".join(nodes) + "\n")
    (folder / "facts.tsv").write_text("\n".join(facts) + "\n")
    columns = {"head": {"id": ["head"]}, "tail": {"id": ["tail"]}, "relation": ["relation"]}
    mapping = {"source": "made up", "nodes": {"id": ["id"], "name": "name", "type_column": "type"}, **columns,
               "notes": ["frequency"], "completeness": COMPLETE}  # fmt: skip
    (folder / "mapping.yaml").write_text(yaml.safe_dump(mapping))
    rng = random.Random(0)
    benchmark, training = medqa(rng, 30), medqa(rng, 60)
    leak = {**benchmark[7], "question": benchmark[7]["question"].upper().replace(" ", "  ")}
    bad = {**training[1], "options": {**training[1]["options"], "A": "same", "B": "same."}}
    bad["answer"] = bad["options"][bad["answer_idx"]]
    dated = {**training[2], "question": training[2]["question"] + " He was seen on March 3, 2019."}
    training += [leak, bad, training[0], dated]
    for name, rows in (("medqa_test.jsonl", benchmark), ("medqa_train.jsonl", training)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def settings(folder, run_dir, *more: str) -> list[str]:
    files = {"mapping": "mapping.yaml", "file": "facts.tsv", "nodes": "nodes.tsv"}
    source = {"kind": "table", "files": {name: str(folder / file) for name, file in files.items()}}
    return [
        f"run_dir={run_dir}",
        f"synth.sources={json.dumps({'world': source})}",
        f"synth.public={json.dumps({'medqa': str(folder / 'medqa_train.jsonl')})}",
        f"evaluate.benchmarks={json.dumps({'medqa': str(folder / 'medqa_test.jsonl')})}",
        "synth.kinds={differential: 3, gene: 2, inheritance: 1}",
        "synth.registers=[clinical]",
        "synth.rules={min_family: 0, min_bits: 2, max_per_root: null, max_per_answer: null}",
        "synth.train_questions=90",
        "synth.dev_questions=6",
        "synth.test_questions=9",
        "synth.default_grade={medqa: moderate}",
        "synth.grade_by=graph",
        "synth.max_words=300",
        "synth.mix={medqa: 1, graph: 1.5}",
        "data.decontamination=require",
        *more,
    ]


def written(run_dir) -> dict[str, bytes]:
    """Every file; decontamination.json, which names the folder, without it and without its hash."""
    files = [path for path in sorted((run_dir / "data").iterdir()) if path.is_file()]
    files = [path for path in files if path.name != "decontamination.json.sha256"]
    return {path.name: path.read_bytes().replace(str(run_dir).encode(), b"RUN") for path in files}


@pytest.fixture(scope="module")
def done(folder):
    run_dir = folder / "done"
    status, lines = run_here(synth_data, settings(folder, run_dir))
    assert (status, lines) == (0, [])
    return run_dir


def test_every_step_is_counted_and_every_rejected_record_kept(done):
    report = read_json(done / "data/report.json")
    steps = {step["step"]: step for step in report["refinement"]}
    assert list(steps) == ["format", "duplicates", "decontamination", "identifiers", "mix"]
    assert steps["format"]["rejected"] == {"duplicate_option": 1}
    assert steps["duplicates"]["rejected"] == {"exact_duplicate": 1}  # with a date it is another question
    assert steps["identifiers"]["removed"] == {"date": 1}
    assert steps["decontamination"]["rejected"] == {"contaminated": 1}
    for name in ("format", "duplicates", "decontamination", "identifiers"):
        assert steps[name]["questions"] - steps[name]["kept"] == sum(steps[name]["rejected"].values())
    rejected = [record for _, record in read_jsonl(done / "data/rejected.jsonl")]
    assert all(record["code"] for record in rejected)
    for name, step in steps.items():
        assert sum(r.get("step") == name for r in rejected) == sum(step.get("rejected", {}).values())
    assert report["set_aside"] == {"cells": 1, "unknown_id": 1}
    (short,) = [r for r in rejected if r["code"] == "cells"]
    assert short["where"].endswith("facts.tsv:21")


def test_the_mix_is_exact_and_graded_and_the_questions_are_proved(done):
    questions = read_questions(done / "data/rl.jsonl")
    report = read_json(done / "data/report.json")
    parts = report["parts"]
    assert abs(parts["medqa"] - sum(parts.values()) / 2.5) < 1
    assert len(questions) == sum(parts.values())
    assert {q.difficulty for q in questions} <= {"easy", "moderate", "difficult"}
    assert {q.difficulty for q in questions if q.source == "medqa"} == {"moderate"}
    of_graph = [q.difficulty for q in questions if q.source == "graph"]
    assert min(map(of_graph.count, DIFFICULTIES)) >= 0.15 * len(of_graph)
    facts = question_checker.Facts(done / "data/graph.jsonl")
    records = [r for _, r in read_jsonl(done / "data/questions.jsonl") if r["source"] == "graph"]
    assert len(records) >= 60
    rules = QuestionRules(min_family=0, min_bits=2, max_per_root=None, max_per_answer=None)
    assert question_checker.faults_of_set(facts, records, rules, 105) == []
    assert question_checker.faults_of_splits(records, "roots") == []
    assert {r["provenance"]["kind"] for r in records} == {"differential", "gene", "inheritance"}
    splits = [r["split"] for r in records]
    assert (splits.count("dev"), splits.count("test")) == (6, 9)
    ids = {q.id for q in questions}
    trajectories = read_trajectories(done / "data/cold_start.jsonl")
    assert trajectories
    assert {t.question_id for t in trajectories} <= ids


def test_the_gate_opens_for_these_files_alone(done, folder, tmp_path):
    cfg = load_config(Config, None, settings(folder, done))
    cleared = gate(cfg, {"data.questions": done / "data/rl.jsonl"})["decontamination"]
    assert (cleared["mode"], cleared["fault"]) == ("require", None)
    other = tmp_path / "rl.jsonl"
    other.write_bytes((done / "data/rl.jsonl").read_bytes() + b"\n")
    with pytest.raises(InputError, match=r"does not cover data\.questions as it is now"):
        gate(cfg, {"data.questions": other})
    # The script itself refuses too, in one line, and writes nothing.
    own = [f"data.trajectories={done / 'data/cold_start.jsonl'}", f"run_dir={tmp_path / 'run'}"]
    status, lines = run_here(train_sft, [*settings(folder, done), *own, f"model={tmp_path}"])
    assert status == 2
    assert "decontamination.json is missing" in lines[-1]
    assert not (tmp_path / "run/manifest.json").exists()


class Voter:
    """Knows every answer but those of some questions; can die."""

    name = "scripted"

    def __init__(self, folder, wrong: int, dies_after: int | None = None):
        rows = read_records(folder / "medqa_train.jsonl")
        self.answers = {row["question"]: row["answer"] for row in rows}
        self.wrong = {row["question"] for row in rows[3 : 3 + wrong]}
        self.dies_after, self.asked = dies_after, 0

    def complete(self, messages, n):
        if self.asked == self.dies_after:
            raise KeyboardInterrupt
        self.asked += 1
        lines = messages[-1]["content"].splitlines()
        shown = {line[3:]: line[0] for line in lines if line[1:3] == ". "}
        right = shown.get(self.answers.get(lines[0]))
        if lines[0] in self.wrong:
            right = next(letter for letter in shown.values() if letter != right)
        return [f"<think>.</think><answer>{right}</answer>"] * n


def test_what_no_vote_gets_right_waits_for_a_person_and_an_interrupted_vote_goes_on(
    folder, tmp_path, monkeypatch
):
    few = [
        "synth.train_questions=3",
        "synth.dev_questions=0",
        "synth.test_questions=0",
        "synth.mix={}",
        f"synth.voter={folder}/voter",
    ]

    def run(name, voter, *more):
        monkeypatch.setattr(synth_data, "load_voter", lambda cfg: voter)
        status, lines = run_here(synth_data, settings(folder, tmp_path / name, *few, *more))
        assert status != 2, lines
        return status

    assert run("whole", Voter(folder, wrong=4)) == 0
    assert run("cut", Voter(folder, wrong=4, dies_after=101)) == 130
    assert not (tmp_path / "cut/data/rl.jsonl").exists()
    again = Voter(folder, wrong=4)
    assert run("cut", again) == 0
    assert again.asked < 60 * 5  # what had been voted on is not asked again
    assert written(tmp_path / "cut") == written(tmp_path / "whole")
    review = [r for _, r in read_jsonl(tmp_path / "whole/data/review.jsonl")]
    waiting = [r["id"] for r in review if r["id"].startswith("medqa/")]
    assert len(waiting) == 4
    assert not {q.id for q in read_questions(tmp_path / "whole/data/rl.jsonl")} & set(waiting)
    other = next(letter for letter in "ABCD" if letter != review[1]["question"]["answer"])
    lines = [{"id": waiting[0], "decision": "accept"}, {"id": waiting[1], "decision": f"relabel {other}"}]
    (tmp_path / "decisions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run("cut", Voter(folder, wrong=4), f"synth.decisions={tmp_path / 'decisions.jsonl'}") == 0
    kept = {q.id: q for q in read_questions(tmp_path / "cut/data/rl.jsonl")}
    assert waiting[0] in kept
    assert kept[waiting[1]].answer == other
    assert waiting[2] not in kept
    [*_, last] = json.loads((tmp_path / "cut/manifest.json").read_text())["synth"]
    assert last["inputs"]["synth.decisions"] == digest(tmp_path / "decisions.jsonl")
    assert last["inputs"]["synth.voter/config.json"] == digest(folder / "voter/config.json")


class Grader(Voter):
    """Finds a question difficult where its length is odd."""

    def complete(self, messages, n):
        text = messages[-1]["content"]
        answers = super().complete(messages, n)
        return ["difficult" if len(text) % 2 else "easy"] * n if "Grade it" in text else answers


def test_a_report_of_other_settings_does_not_stay(folder, tmp_path, monkeypatch):
    few = ["synth.train_questions=3", "synth.dev_questions=0", "synth.test_questions=0", "synth.mix={}"]
    monkeypatch.setattr(synth_data, "load_voter", lambda cfg: Voter(folder, wrong=1))
    assert run_here(synth_data, settings(folder, tmp_path, *few, f"synth.voter={folder}/voter"))[0] == 0
    assert {"review.jsonl", "decontamination.json"} <= set(written(tmp_path))
    assert run_here(synth_data, settings(folder, tmp_path, *few, "data.decontamination=off"))[0] == 0
    assert not {"review.jsonl", "decontamination.json"} & set(written(tmp_path))


def test_grading_by_the_rubric_goes_on_where_it_was_interrupted(folder, tmp_path, monkeypatch):
    few = ["synth.train_questions=3", "synth.dev_questions=0", "synth.test_questions=0", "synth.mix={}"]
    few += [f"synth.voter={folder}/voter", "synth.grade_by=rubric"]
    monkeypatch.setattr(fleming.teachers.remembered, "CHUNK", 10)

    def run(name, voter):
        monkeypatch.setattr(synth_data, "load_voter", lambda cfg: voter)
        return run_here(synth_data, settings(folder, tmp_path / name, *few))[0]

    whole = Grader(folder, wrong=0)
    assert run("whole", whole) == 0
    assert run("cut", Grader(folder, wrong=0, dies_after=whole.asked - 15)) == 130
    with open(tmp_path / "cut/data/grading_answers.jsonl", "a") as log:
        log.write('{"key": "torn by kill -9')
    again = Grader(folder, wrong=0)
    assert run("cut", again) == 0
    assert 15 <= again.asked <= 25
    assert written(tmp_path / "cut") == written(tmp_path / "whole")
    graded = read_json(tmp_path / "cut/data/report.json")["difficulty"]
    assert graded["graded_by"] == "rubric"
    assert set(graded["grades"]) == {"easy", "difficult"}


def test_a_question_of_the_graph_that_was_relabelled_is_not_taught(folder, tmp_path, monkeypatch):
    class Mute:
        name = "mute"

        def complete(self, messages, n):
            return [""] * n

    def run(*more):
        few = ["synth.dev_questions=0", "synth.test_questions=0", "synth.mix={}", "synth.cold_start_share=1"]
        few += ["synth.train_questions=6", f"synth.voter={folder}/voter", "data.decontamination=off"]
        monkeypatch.setattr(synth_data, "load_voter", lambda cfg: Mute())
        return run_here(synth_data, settings(folder, tmp_path, *few, *more))

    status, lines = run()
    assert (status, len(lines)) == (2, 1)
    assert "no training question is left" in lines[0]  # all are in review
    review = [r["question"] for _, r in read_jsonl(tmp_path / "data/review.jsonl")]
    graph = [q for q in review if q["source"] == "graph"]
    wrong = next(letter for letter in graph[0]["options"] if letter != graph[0]["answer"])
    said = [
        {"id": graph[0]["id"], "decision": f"relabel {wrong}"},
        {"id": graph[1]["id"], "decision": "accept"},
    ]
    (tmp_path / "decisions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in said))
    assert run(f"synth.decisions={tmp_path / 'decisions.jsonl'}")[0] == 0
    assert {q.id for q in read_questions(tmp_path / "data/rl.jsonl")} == {graph[0]["id"], graph[1]["id"]}
    taught = [t.question_id for t in read_trajectories(tmp_path / "data/cold_start.jsonl")]
    assert taught == [graph[1]["id"]]


def test_marks_on_question_cards_are_decisions_of_the_next_run_without_a_voter(folder, tmp_path):
    few = ["synth.train_questions=9", "synth.dev_questions=0", "synth.test_questions=3", "synth.mix={}"]
    decisions = f"synth.decisions={tmp_path / 'decisions.jsonl'}"

    def run(*more):
        assert run_here(synth_data, settings(folder, tmp_path, *few, *more)) == (0, [])
        splits = {name: read_questions(tmp_path / f"data/{name}.jsonl") for name in ("rl", "test")}
        return {q.id: q for q in splits["rl"] if q.source == "graph"}, {q.id: q for q in splits["test"]}

    (first, second, *rest), (held, *_) = map(dict.values, run())
    wrong = next(letter for letter in first.options if letter != first.answer)
    said = [
        (first, {"wrong_key": True, "right": wrong}),
        (second, {"two_right": True}),
        (held, {"sound": False}),
    ]
    marks = [{"id": question.id, "text": text_hash(question), **mark} for question, mark in said]
    (tmp_path / "marks.json").write_text(json.dumps({"kind": KIND, "by": "kim", "marks": marks}))
    assert run_here(cards, [str(tmp_path), "--marks", str(tmp_path / "marks.json")]) == (0, [])

    learned, tested = run(decisions)
    assert learned.keys() == {q.id for q in (first, *rest)}
    assert learned[first.id].answer == wrong
    assert held.id not in tested
    rejected = [
        r for _, r in read_jsonl(tmp_path / "data/rejected.jsonl") if r["code"] == "dropped_in_review"
    ]
    assert [(r["step"], r["id"], r["by"]) for r in rejected] == [
        ("decisions: rl", second.id, "kim"),
        ("decisions: test", held.id, "kim"),
    ]
    steps = {step["step"]: step for step in read_json(tmp_path / "data/report.json")["refinement"]}
    assert steps["decisions: rl"]["decisions"] == {"unknown_decisions": 0, "drop": 1, "relabel": 1}

    # The relabelled question is shown with its new answer; who confirms that changes nothing.
    marks = [{"id": first.id, "text": text_hash(learned[first.id]), "sound": True}]
    (tmp_path / "marks.json").write_text(json.dumps({"kind": KIND, "by": "kim", "marks": marks}))
    assert run_here(cards, [str(tmp_path), "--marks", str(tmp_path / "marks.json")]) == (0, [])
    again, _ = run(decisions)
    assert {q.id: q.answer for q in again.values()} == {q.id: q.answer for q in learned.values()}


def test_killed_at_any_moment_and_run_again_it_writes_the_same_bytes(folder, done, tmp_path):
    command = [sys.executable, str(ROOT / "synth_data.py"), *settings(folder, tmp_path)]
    start = time.monotonic()
    for moment in (0.5, 1.2, 2.0):
        with warm.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
            try:
                process.wait(timeout=moment)
            except subprocess.TimeoutExpired:
                process.kill()
    assert warm.run(command, capture_output=True, cwd=ROOT).returncode == 0, time.monotonic() - start
    assert written(tmp_path) == written(done)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ["synth.sources={x: {kind: umls, files: {}}}"],
            "synth.sources.x.kind is 'umls', expected one of hetionet",
        ),
        (
            ["synth.sources={x: {kind: obo, files: {file: nowhere.obo}}}"],
            "synth.sources.x.files.file: no such file",
        ),
        (["synth.sources={x: {kind: obo, files: {path: a.obo}}}"], "source obo: expected paths file"),
        (["synth.public={medqa: nowhere.jsonl}"], "nowhere.jsonl"),
        (["synth.public={graph: a.jsonl}", "synth.default_grade={}"], "synth.public is out of its range"),
        (["synth.grade_by=rubric"], "needs a model: set voter"),
        (["synth.mix={medqa: 1}"], "synth.mix.graph: this part needs a share"),
        (["synth.mix={medqa: 1, graph: 1, medxqa: 1}"], "synth.mix.medxqa: no part has this name"),
        (["synth.voter=nowhere"], "nowhere: no such model folder"),
        (["synth.wikipedia.pages=https://example.org/w/api.php"], "seeds"),
        (["synth.rare_factor=0"], "rare_factor is out of its range"),
        (["synth.rules.min_posterior=2"], "min_posterior is out of its range"),
        (["synth.kinds={riddle: 1}"], "synth.kinds.riddle: no kind has this name"),
        (["synth.style=scenario"], "unknown key synth.style"),
        (["synth.rules.min_shared=50"], "no question can be posed on this graph"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(folder, tmp_path, more, said):
    status, lines = run_here(synth_data, settings(folder, tmp_path / "run", *more))
    assert (status, len(lines)) == (2, 1), lines
    assert said in lines[0]
    assert not [p for p in (tmp_path / "run").rglob("*") if p.is_file() and p.name != ".lock"]


def test_a_benchmarks_test_split_is_not_learned_from(folder, tmp_path):
    public = {"medqa": str(folder / "medqa_test.jsonl")}
    status, lines = run_here(synth_data, settings(folder, tmp_path, f"synth.public={json.dumps(public)}"))
    assert status == 2
    assert "is a test split" in lines[0]
