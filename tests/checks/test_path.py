"""The path of a certificate in a text: which facts, in which order, and what else is wrong with the text."""

import dataclasses

import pytest

from fleming.checks.path import follow_path, read_certificate
from fleming.records import Question

PATH = [("gout", "has_symptom", "toe pain"), ("gout", "treated_by", "colchicine"),
        ("colchicine", "has_mechanism", "tubulin binding")]  # fmt: skip
SAID = [
    "A symptom of gout is toe pain.",
    "Gout is treated with colchicine.",
    "Colchicine acts by tubulin binding.",
]
END = "So the answer is tubulin binding (A)."
QUESTION = Question(
    id="q", question="A patient has toe pain. How does the drug work?", answer="A",
    options={"A": "tubulin binding", "B": "enzyme blockade"},
    provenance={
        "path": [dict(zip(("head", "relation", "tail"), fact, strict=True)) for fact in PATH],
        "visible": ["toe pain"],
        "certificate": {"distractors": [{"option": "enzyme blockade", "ground": "closed", "shares": [],
                                         "violates": [["colchicine", "has_mechanism", "enzyme blockade"]]}]},
    },
)  # fmt: skip


def follow(*sentences, question=QUESTION, answer="A"):
    return follow_path(" ".join(sentences), question, answer)


def test_every_fact_in_an_order_in_which_each_follows():
    path = follow(*SAID, END)
    assert (path.facts, path.stated, path.fault, path.unsure) == (3, 3, None, True)


@pytest.mark.parametrize(
    ("sentences", "stated"),
    [
        (SAID[:2], 2),
        ([SAID[2], SAID[1], SAID[0]], 1),  # the first two hang in the air when they are said
        ([SAID[1], SAID[0], SAID[2]], 1),  # so do the other two here
        (
            [SAID[0], "Colchicine is treated with gout.", SAID[2]],
            1,
        ),  # reversed: so the third hangs in the air too
        ([*SAID, "Gout is not treated with colchicine."], 1),
        ([*SAID, "Colchicine is contraindicated in gout."], 1),
        (
            [SAID[0], "Gout is treated with colchicine, which is old.", SAID[2]],
            1,
        ),  # not in a sentence of its own
        ([*SAID[:2], "That was a mistake.", SAID[2]], 0),  # all that was just said is taken back
        ([*SAID[:2], "That was a mistake.", *SAID], 3),
        (["It is said that:", *SAID], 0),
        ([SAID[0], SAID[0], SAID[0]], 1),
    ],
)
def test_a_fact_counts_once_where_it_follows_and_nothing_unsays_it(sentences, stated):
    assert follow(*sentences).stated == stated


def test_a_text_that_affirms_what_is_proven_wrong_is_at_fault():
    assert follow(*SAID, "Colchicine acts by enzyme blockade.").fault == "false_claim"
    assert follow(*SAID, "Colchicine acts by enzyme blockade. I take that back.").fault is None


def test_the_conclusion_must_be_the_answer():
    assert follow(*SAID, END, answer="B").fault == "other_conclusion"
    assert follow(*SAID, "The answer is B.").fault == "other_conclusion"
    assert follow(*SAID, "The answer is A.", END).fault is None


OTHERS = """
My final choice: B.
Correct answer: B
In conclusion, {b} is the most likely diagnosis.
The most probable diagnosis would be {b}.
I'd go with option B.
Which makes {b} the best choice.
By elimination, the answer has to be B.
综上所述，本题选B。
最终答案：B
B选项正确。
由此可见，最可能的诊断是{b}。
""".strip().splitlines()
NO_CONCLUSIONS = """
The second most likely diagnosis is {b}.
The differential diagnosis is {b}.
The explanation is {b}.
Then the diagnosis would be {b}.
Option: {b}.
{b} is the most likely diagnosis where there is a rash.
If that were so, the answer would be B.
I will not pick B.
We are left with tubulin binding and {b}.
B选项不正确。
选项B：{b}。
诊断不是{b}。
""".strip().splitlines()


@pytest.mark.parametrize("text", [*OTHERS, *NO_CONCLUSIONS])
def test_a_conclusion_is_known_in_other_words(text):
    fault = follow(*SAID, text.format(b=QUESTION.options["B"])).fault
    assert (fault == "other_conclusion") == (text in OTHERS)


def test_a_circle_is_a_fault():
    assert follow(*SAID * 2).fault is None
    assert follow(*SAID * 4).fault == "loop"


def test_what_the_question_lacks_must_be_said():
    provenance = {**QUESTION.provenance}
    (wrong,) = provenance["certificate"]["distractors"]
    provenance["certificate"] = {"distractors": [{**wrong, "ground": "absent"}]}
    question = dataclasses.replace(QUESTION, provenance=provenance)
    assert not follow(*SAID, question=question).unsure
    assert follow(*SAID, "I know no link from colchicine to enzyme blockade.", question=question).unsure
    assert follow(*SAID).unsure


@pytest.mark.parametrize(
    "provenance",
    [None, {}, {"path": []}, {"path": "x", "certificate": 3}, {"path": [{"head": 1}]}, {"groups": {}},
     {**QUESTION.provenance, "visible": [1]}, {**QUESTION.provenance, "certificate": {"distractors": [[]]}},
     {**QUESTION.provenance, "path": [{"head": ["a"], "relation": "b", "tail": "c"}]},
     {**QUESTION.provenance, "visible": None}],
)  # fmt: skip
def test_a_provenance_of_another_form_is_no_certificate(provenance):
    question = dataclasses.replace(QUESTION, provenance=provenance)
    assert read_certificate(question) is None
    assert follow(*SAID, END, question=question).facts == 0


def test_the_shipped_form_is_one():
    assert set(read_certificate(QUESTION).path) == set(PATH)
