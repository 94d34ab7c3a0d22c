"""Questions with free answers go through every step of refining that those with options go through."""

from collections import Counter
from dataclasses import replace

import pytest
from support.forms import lines

from fleming.config import load_config
from fleming.public.curation import read_public
from fleming.records import Question
from fleming.refine.anonymise import anonymise_question
from fleming.refine.decisions import text_hash
from fleming.refine.decontamination import Index, decontaminate
from fleming.refine.duplicates import drop_duplicates
from fleming.refine.label_check import Poll, check_labels, pass_rates
from fleming.refine.steps import drop_faults
from fleming.settings import Config

STEM = "A child of six years weighs twenty kilograms and has a fever; how many milligrams of the syrup make one dose?"


def ask(number: int, answer: str = "300 mg", kind: str = "number", stem: str = STEM, **fields) -> Question:
    return Question(f"q/{number}", stem, {}, answer, answer_kind=kind, **fields)


class Voter:
    name = "scripted"

    def __init__(self, *answers: str):
        self.answers, self.asked = answers, []

    def complete(self, messages, n):
        self.asked.append(messages[-1]["content"])
        return [f"<think>r</think><answer>{answer}</answer>" for answer in self.answers[:n]]


def test_curation_hands_them_on(tmp_path):
    path = lines(
        tmp_path / "mine.jsonl", [{"question": STEM, "answer": "300 mg"}, {"question": "Q?", "answer": None}]
    )
    parts, aside = read_public({"mine": str(path)}, 0)
    assert [(q.answer, q.answer_kind) for q in parts["mine"]] == [("300 mg", "number")]
    assert Counter(record["code"] for record in aside) == {"no_label": 1}


def test_they_have_no_fault_for_want_of_options_but_every_other_one():
    questions = [
        ask(1),
        ask(2, stem="?"),
        ask(3, stem="What does the figure below show?"),
        Question("q/4", "Q?", {}, "B"),
    ]
    kept, rejected = drop_faults(questions)
    assert kept == [ask(1)]
    assert [record["code"] for record in rejected] == ["empty_stem", "missing_figure", "too_few_options"]


def test_the_same_question_with_the_same_answer_is_a_duplicate_and_with_another_is_none():
    again = ask(2, stem=STEM.replace("fever", "high fever"))
    kept, rejected = drop_duplicates([ask(1), again, ask(3, "400 mg"), ask(4)])
    assert [q.id for q in kept] == ["q/1", "q/3"]
    assert [(r["code"], r["duplicate_of"]) for r in rejected] == [
        ("near_duplicate", "q/1"),
        ("exact_duplicate", "q/1"),
    ]


def test_a_benchmarks_question_is_found():
    benchmark = Question("b/1", STEM, {"A": "200 mg", "B": "300 mg"}, "B")
    kept, leaked = decontaminate(
        [ask(1), ask(2, "iron", "text", "Which metal does it store?")], Index({"b": [benchmark]})
    )
    assert ([q.id for q in kept], [r["benchmark_id"] for r in leaked]) == (["q/2"], ["b/1"])


def test_votes_are_judged_as_everywhere(tmp_path):
    voter = Voter("300 mg", "300", "0.3 g", "about right", "300 mg.")
    poll = Poll(voter, tmp_path, 0)
    checked = check_labels([ask(1, tolerance=0.0), ask(2, "copper", "text")], poll, "none_right")
    assert [q.id for q in checked.kept] == ["q/1"]
    assert "only the number" in voter.asked[0]
    assert "in a few words" in voter.asked[1]
    assert checked.report["by_right"] == {"0": 1, "1": 0, "2": 0, "3": 1, "4": 0, "5": 0}
    assert pass_rates([ask(1, tolerance=0.0)], poll) == {"q/1": 0.6}
    assert len(voter.asked) == 2  # the log has them
    strict = load_config(Config, None, ["free.units=require"])
    assert pass_rates([ask(1, tolerance=0.0)], Poll(voter, tmp_path, 0, cfg=strict)) == {"q/1": 0.4}
    assert len(voter.asked) == 3  # by other rules they are other votes


def test_what_a_vote_is_on_holds_aliases_and_tolerance():
    plain = ask(1, "iron", "text")
    assert (
        len({text_hash(q) for q in (plain, replace(plain, aliases=("Fe",)), replace(plain, tolerance=1.0))})
        == 3
    )


@pytest.mark.parametrize(
    "answer", [{"answer": "12 May 1971"}, {"answer": "a spring day", "aliases": ("12 May 1971",)}]
)
def test_what_asks_for_an_identifier_is_left_out(answer):
    question = Question("q", "When was Mr. Smith seen?", {}, answer_kind="text", **answer)
    assert anonymise_question(question)[0] is None
    kept = replace(question, answer="in spring", aliases=())
    assert anonymise_question(kept)[0].question == "When was Mr. [NAME] seen?"
