"""What is read from running text: which relation, in which direction, affirmed or denied, and what is no statement."""

import time

import pytest

from fleming.checks.statements import Names, read_statements, variants
from fleming.questions.phrases import read_phrases
from fleming.sources.vocabulary import FEATURES, RELATIONS

GOUT, DRUG = "gout", "colchicine"
NAMES = Names(
    (name, name) for name in (GOUT, DRUG, "toe pain", "St. Anthony's fire", "痛风", "秋水仙碱", "pain")
)
TREATS = (GOUT, "treated_by", DRUG)


def read(text):
    return read_statements(text, NAMES)


def said(text):
    """(affirmed, plain, meanings) of each statement that stands."""
    return [(s.affirmed, s.plain, s.meanings) for s in read(text).statements if not s.withdrawn]


@pytest.mark.parametrize("relation", RELATIONS)
def test_every_phrase_of_every_relation_is_read_in_its_direction(relation):
    phrases = [
        *read_phrases("teacher").phrases.get(relation, ()),
        *read_phrases("claims").phrases.get(relation, ()),
    ]
    assert phrases
    for phrase in variants(phrases):
        text = phrase.format(h="aaab", t="bbba")
        names = Names((name, name) for name in ("aaab", "bbba"))
        ((statement),) = read_statements(text, names).statements
        assert ("aaab", relation, "bbba") in statement.meanings, phrase
        assert relation == "interacts_with" or ("bbba", relation, "aaab") not in statement.meanings, phrase
        assert statement.affirmed
        assert statement.plain


def test_every_denial_of_the_template_teacher_is_read_as_one():
    teacher = read_phrases("teacher")
    for relation in [*teacher.nouns, *FEATURES]:
        for key in ("denial" if relation in teacher.nouns else "feature denial", "open denial"):
            for phrase in teacher.phrases[key]:
                text = phrase.format(h=GOUT, t=DRUG, noun=teacher.nouns.get(relation, ""))
                ((affirmed, _, meanings),) = said(text)
                assert (GOUT, relation, DRUG) in meanings, text
                assert not affirmed, text


@pytest.mark.parametrize(
    "text",
    [
        "Gout is treated with colchicine.",
        "So gout is usually treated with colchicine.",
        "Colchicine is used to treat gout!",
        "In addition, colchicine treats GOUT",
        "痛风用秋水仙碱治疗。",
    ],
)
def test_a_plain_statement(text):
    ((affirmed, plain, meanings),) = said(text)
    head, tail = ("痛风", "秋水仙碱") if "痛" in text else (GOUT, DRUG)
    assert (head, "treated_by", tail) in meanings
    assert affirmed
    assert plain


@pytest.mark.parametrize(
    "text",
    ["Gout is not treated with colchicine.", "Colchicine doesn't treat gout.", "Colchicine cannot treat gout.",
     "The drug for gout is never colchicine.", "痛风不用秋水仙碱治疗。"],
)  # fmt: skip
def test_one_not_denies(text):
    ((affirmed, _, meanings),) = said(text)
    assert not affirmed
    assert any(relation == "treated_by" for _, relation, _ in meanings)


@pytest.mark.parametrize(
    "text",
    ["Gout is not not treated with colchicine.", "Is gout treated with colchicine?", "Does colchicine treat gout.",
     "If colchicine treats gout, all is well.", "Some say that colchicine treats gout.", "colchicine, gout, treats",
     "Colchicine may treat gout.", "It is false that colchicine treats gout.", "Colchicine treats nobody with gout.",
     "Colchicine treats gout or toe pain.", "Colchicine must not not be given in gout."],
)  # fmt: skip
def test_what_is_no_statement(text):
    assert said(text) == []


def test_a_clause_of_a_longer_sentence_is_read_but_is_not_plain():
    ((affirmed, plain, meanings),) = said(
        "As we saw before, gout is treated with colchicine, which is an old drug."
    )
    assert (affirmed, plain) == (True, False)
    assert TREATS in meanings


def test_of_names_the_longest_is_meant_and_only_whole_words():
    ((_, _, meanings),) = said("A symptom of gout is toe pain.")
    assert (GOUT, "has_symptom", "toe pain") in meanings
    assert said("A symptom of gouty is painful.") == []
    assert said("A symptom of gout is St. Anthony's fire.") != []


def test_what_is_taken_back_stands_no_more():
    assert said("Colchicine treats gout. That was a mistake.") == []
    assert said("Colchicine treats gout. A symptom of gout is toe pain. I take that back.") == []
    assert len(said("First I think of toe pain. But I do not find toe pain with gout. I correct this.")) == 1
    assert len(said("Colchicine treats gout. It could be pain. But gout usually lacks pain. I go back.")) == 2


@pytest.mark.parametrize(
    ("text", "concluded"),
    [
        ("So the answer is colchicine (B).", [((DRUG,), ""), ((), "B")]),
        ("The answer is B.", [((), "B")]),
        ("**Answer:** B", [((), "B")]),
        ("The correct answer is B: colchicine.", [((), "B"), ((DRUG,), "")]),
        ("所以答案是秋水仙碱。", [(("秋水仙碱",), "")]),
        ("正确答案为B。", [((), "B")]),
        ("The answer is not B.", []),
        ("The answer is B? No.", []),
        ("The answer is B. Wait, no. The answer is A.", [((), "A")]),
        ("Answer B is tempting.", []),
    ],
)
def test_conclusions_name_a_text_a_letter_or_both(text, concluded):
    assert [each for found in read(text).conclusions.values() for each in found] == concluded


def test_uncertainty_is_heard():
    assert read("I know no link from gout to toe pain.").uncertain
    assert read("It cannot be excluded.").uncertain
    assert not read("Colchicine treats gout.").uncertain


def seconds(text):
    """CPU seconds, the lesser of two: other processes share the machine."""

    def once():
        start = time.process_time()
        read(text)
        return time.process_time() - start

    return min(once(), once())


@pytest.mark.parametrize(
    "unit",
    ["gout ", "Colchicine treats gout. ", "Colchicine treats gout. I go back. ", "a", "not ", "\n", "toe ", "gout, ",
     "gout and ", "́", "痛", "It could be gout. ", "- ", "'s ", "never gout. "],
)  # fmt: skip
def test_time_grows_with_the_text(unit):
    small, large = (unit * (size // len(unit.encode())) for size in (50_000, 200_000))
    assert seconds(large) < 12 * seconds(small) + 0.1  # 4 where linear, 16 where quadratic


@pytest.mark.parametrize(
    "text",
    [
        "The drug of choice in gout is colchicine.",
        "Colchicine is the agent of choice for gout.",
        "The first-line therapy for gout is colchicine.",
        "Colchicine is a standard treatment of gout.",
        "Gout is usually managed using colchicine.",
        "Colchicine is recommended for gout.",
        "Initial therapy of gout includes colchicine.",
        "Colchicine is indicated for the treatment of gout.",
    ],
)
def test_usual_wordings_of_a_treatment_are_read(text):
    ((affirmed, plain, meanings),) = said(text)
    assert (affirmed, plain) == (True, True)
    assert TREATS in meanings


@pytest.mark.parametrize(
    ("text", "concluded"),
    [
        ("Option B is correct.", [((), "B")]),
        ("So, B is the correct answer.", [((), "B")]),
        ("Therefore the choice A is right.", [((), "A")]),
        ("Colchicine is the best answer.", [((DRUG,), "")]),
        ("The best choice is C.", [((), "C")]),
        ("Option B is not correct.", []),
        ("Is option B correct?", []),
        ("Vitamin B is correct.", []),
        ("The dose in option B is correct.", []),
        ("If B is correct, the patient would be older.", []),
    ],
)
def test_what_a_sentence_concludes(text, concluded):
    assert [each for found in read(text).conclusions.values() for each in found] == concluded
