"""Stage 1 with a real teacher, a scripted one: who is taught, what is counted, what a run leaves where none is."""

import json
import re
from collections import Counter

import pytest
from support.jsonl import read_records
from support.places import ROOT
from support.runs import run_here

import synth_data
from fleming.files import read_json
from fleming.public.readers import read_questions, read_trajectories
from fleming.teachers.remembered import Remembered

PUBLIC = [
    {"question": f"A farmer has had a cough for {weeks} weeks. Which of these is it?",
     "options": {"A": f"gout {weeks}", "B": f"croup {weeks}", "C": f"mumps {weeks}"}, "answer": "ABC"[weeks % 3]}
    for weeks in range(2, 26)
]  # fmt: skip


def settings(tmp_path, *more: str) -> list[str]:
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PUBLIC))
    return [
        "--config", str(ROOT / "configs/demo.yaml"),
        f"run_dir={tmp_path / 'run'}", f"synth.public={json.dumps({'mine': str(tmp_path / 'mine.jsonl')})}",
        "base_model.make=false", "answer_style=letter", "synth.rules.tries=2",
        "synth.train_questions=20", "synth.dev_questions=0", "synth.test_questions=0",
        "synth.cold_start_share=1", *more,
    ]  # fmt: skip


class Teacher:
    """Told the right answer, gives it: to some questions at once, to some after a refinement, to some never."""

    name = "scripted"

    def __init__(self, knows: str = "told"):
        self.knows, self.asked = knows, 0

    def complete(self, messages, n):
        self.asked += n
        told = re.search(r"the right answer is ([A-Z])\. ", messages[0]["content"])
        kind = sum(map(ord, messages[0]["content"].split("\n")[0])) % 3
        right = self.knows == "told" and (kind == 0 or (kind == 1 and len(messages) > 1))
        letter = told[1] if right else "Z"
        return [f"<think>What speaks for it is the course.</think> <answer>{letter}</answer>"] * n


@pytest.fixture
def run(tmp_path, monkeypatch):
    def run(teacher, *more):
        data = tmp_path / "run/data"
        kept = teacher and Remembered(
            teacher, data / "teacher_answers.jsonl", "teacher", data / "quarantine.jsonl"
        )
        monkeypatch.setattr(synth_data, "load_teacher", lambda *arguments: kept)
        return run_here(synth_data, settings(tmp_path, *more))

    return run


def test_questions_of_the_graph_and_public_ones_are_worked_out_and_every_one_is_accounted_for(tmp_path, run):
    teacher = Teacher()
    assert run(teacher) == (0, [])
    data = tmp_path / "run/data"
    questions = {q.id: q for q in read_questions(data / "rl.jsonl")}
    kept = {t.question_id: t for t in read_trajectories(data / "cold_start.jsonl")}
    unsolved = {record["id"]: record for record in read_records(data / "unsolved.jsonl")}
    assert kept.keys() | unsolved.keys() == questions.keys()
    assert not kept.keys() & unsolved.keys()
    assert {questions[name].source for name in kept} == {"graph", "user"}
    assert len(questions) > 30
    for name, trajectory in kept.items():
        shown = dict(re.findall(r"^([A-Z])\. (.*)$", trajectory.prompt[-1]["content"], re.M))
        letter = re.search("<answer>(.)</answer>", trajectory.response)[1]
        assert shown[letter] == questions[name].right_text
        assert trajectory.gold_visible
        assert trajectory.refinements in ((), ("self_correction",))
        assert questions[name].extra["teacher"]["right"] == (4 if not trajectory.refinements else 0)
    assert all(questions[name].extra["teacher"]["right"] == 0 for name in unsolved)
    report = read_json(data / "report.json")["trajectories"]
    refined = sum(bool(t.refinements) for t in kept.values())
    assert (report["kept"], report["unsolved"], report["with_refinement"]) == (
        len(kept),
        len(unsolved),
        refined,
    )
    assert [row["solved"] for row in report["funnel"]] == [len(kept) - refined, refined, 0, 0]
    assert min(len(kept) - refined, refined, len(unsolved)) > 2
    assert sum(row["answers"] for row in report["funnel"]) == teacher.asked
    assert report["spent"]["requests"] == report["spent"]["usable"] == teacher.asked
    assert report["pass_at_k"]["1"] == pytest.approx((len(kept) - refined) / len(questions))
    rejected = read_records(data / "rejected.jsonl")
    assert not [record for record in rejected if "trajectory" in record]


def test_a_share_of_all_is_drawn_and_the_same_command_writes_the_same_bytes(tmp_path, run):
    def written():
        return {p.name: p.read_bytes() for p in (tmp_path / "run/data").iterdir() if p.is_file()}

    assert run(Teacher(), "synth.cold_start_share=0.5") == (0, [])
    first = written()
    assert run(Teacher(), "synth.cold_start_share=0.5") == (0, [])
    assert written() == first
    noted = Counter("teacher" in q.extra for q in read_questions(tmp_path / "run/data/rl.jsonl"))
    assert abs(noted[True] - noted[False]) <= 1


def test_no_solved_question_is_a_failure_that_leaves_what_was_tried(tmp_path, run):
    status, (line,) = run(Teacher(knows="nothing"))
    assert status == 2
    assert "the teacher has solved no question" in line
    assert "unsolved.jsonl" in line
    assert (tmp_path / "run/data/cold_start.jsonl").read_bytes() == b""
    assert len(read_records(tmp_path / "run/data/unsolved.jsonl")) > 30


def test_without_one_templates_teach_the_graph_alone_and_nothing_of_an_earlier_run_stays(tmp_path, run):
    assert run(Teacher()) == (0, [])
    assert run(None) == (0, [])
    data = tmp_path / "run/data"
    assert not [path.name for path in data.iterdir() if path.name.startswith("unsolved")]
    assert {t.teacher for t in read_trajectories(data / "cold_start.jsonl")} == {"template"}
    assert {t.question_id[:6] for t in read_trajectories(data / "cold_start.jsonl")} == {"graph/"}
    assert not [q for q in read_questions(data / "rl.jsonl") if q.extra]
    assert read_json(data / "report.json")["trajectories"].keys() == {
        "kept",
        "rejected",
        "with_refinement",
        "claims",
    }


def local_teacher(folder):
    """The settings of a teacher whose folder the manifest names by its hash; who answers is put in its place."""
    (folder / "teacher").mkdir(exist_ok=True)
    (folder / "teacher/config.json").write_text("{}")
    return ["teacher.kind=local", f"teacher.model={folder / 'teacher'}"]


class Critic(Teacher):
    """Supports whatever is argued for on the farmer with a cough for seven weeks."""

    def complete(self, messages, n):
        text = messages[-1]["content"]
        if "Argue as strongly" in text:
            return ["The course fits."] * n
        if "JSON" not in text:
            return super().complete(messages, n)
        held = "cough for 7 weeks" in text
        return [json.dumps({"supported": held, "quote": "cough for 7 weeks"})] * n


def test_what_the_critic_can_support_waits_for_a_person_whose_word_holds(tmp_path, run):
    asked = ["synth.critic=1", *local_teacher(tmp_path)]
    assert run(Critic(), *asked) == (0, [])
    data = tmp_path / "run/data"
    (doubted,) = read_records(data / "review.jsonl")
    assert "7 weeks" in doubted["question"]["question"]
    assert doubted["supported"][0]["option"] != doubted["question"]["answer"]
    assert doubted["id"] not in {q.id for q in read_questions(data / "questions.jsonl")}
    (step,) = [step for step in read_json(data / "report.json")["refinement"] if step["step"] == "critic"]
    assert step["rejected"] == {"in_review": 1}
    assert step["arguments"] == {"refuted": step["questions"] - 1, "supported": 1}

    decision = {"id": doubted["id"], "decision": "accept", "text": doubted["text"]}
    (tmp_path / "decisions.jsonl").write_text(json.dumps(decision) + "\n")
    assert run(Critic(), *asked, f"synth.decisions={tmp_path / 'decisions.jsonl'}") == (0, [])
    assert read_records(data / "review.jsonl") == []
    assert doubted["id"] in {q.id for q in read_questions(data / "rl.jsonl")}


class Writer(Teacher):
    """Tells every case with its sentences in another order, and cannot read."""

    def complete(self, messages, n):
        text = messages[-1]["content"]
        if text.startswith("Rewrite this case"):
            return [text.split("\n\n")[1]] * n
        return ["nothing"] * n if text.startswith("List the facts") else super().complete(messages, n)


def test_what_became_of_each_stem_is_counted_where_the_teacher_rewrites_them(tmp_path, run):
    asked = ["synth.rewrite=true", *local_teacher(tmp_path)]
    assert run(Writer(), *asked) == (0, [])
    data = tmp_path / "run/data"
    fates = read_json(data / "report.json")["sampling"]["rewriting"]
    of_graph = [q for q in read_questions(data / "rl.jsonl") if q.source == "graph"]
    assert sum(fates.values()) == len(of_graph) > 10
    assert "rewritten" not in fates
    assert fates["misread"] > 0
    assert not [q for q in of_graph if "rewritten" in q.provenance]


class Reader:
    """Says of every page that it brings fever."""

    name = "scripted"

    def complete(self, messages, n):
        told = {"relation": "has_feature", "name": "fever", "sentence": "It brings fever to all."}
        return [json.dumps({"relations": [told]})] * n


def test_pages_are_read_by_the_teacher_where_that_is_asked_for(tmp_path, run, monkeypatch):
    box = "{{Infobox medical condition|medication=[[Marshol]]}}"
    pages = {
        "Marsh gout": f"{box}'''Marsh gout''' is a rare disease.\nIt brings fever to all.",
        "Fever": "{{Infobox symptom}}'''Fever''' is a high temperature.",
        "Marshol": "{{Infobox drug}}'''Marshol''' is a medication.",
    }
    saved = [{"asked": title, "title": title, "text": text} for title, text in pages.items()]
    (tmp_path / "pages.jsonl").write_text(json.dumps({"pages": saved}))
    graphs, pose = [], synth_data.pose_questions
    monkeypatch.setattr(synth_data, "pose_questions", lambda g, *more: graphs.append(g) or pose(g, *more))
    for asked in ("true", "false"):
        named = ["teacher.kind=openai", "teacher.model=m", "teacher.address=http://localhost:1/v1"]
        named += [f"synth.wikipedia.pages={tmp_path / 'pages.jsonl'}", f"synth.wikipedia.ask_teacher={asked}"]
        status, (*_, line) = run(Reader(), *named)
        assert (status, "no question can be posed" in line) == (2, True), line  # three pages are too few
    with_teacher, without = ({edge.triple for edge in graph.edges()} for graph in graphs)
    assert without == {("Marsh gout", "treated_by", "marshol")}
    assert with_teacher - without == {("Marsh gout", "has_symptom", "fever")}


def test_a_local_model_computes_on_as_many_threads_as_are_set(run, monkeypatch):
    set_to = []
    monkeypatch.setattr("torch.set_num_threads", set_to.append)
    assert run(Teacher(), "threads=1") == (0, [])
    assert set_to[0] == 1  # and then as the tests have it
