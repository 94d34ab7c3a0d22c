"""fleming/refine/format_filter.py: each fault is found, and what looks like one is not."""

import time
from collections import Counter

import pytest

from fleming.public.benchmarks import load_benchmark
from fleming.public.readers import read_questions
from fleming.records import LETTERS, Question
from fleming.refine.format_filter import conflicting_stems, format_fault

STEM = "Which drug is first-line for absence seizures?"
DRUGS = ["Ethosuximide", "Phenytoin", "Carbamazepine", "Gabapentin"]


def ask(stem: str = STEM, options=DRUGS, answer: str = "A", **fields) -> Question:
    return Question("q", stem, dict(zip(LETTERS, options, strict=False)), answer, **fields)


def test_a_sound_question_has_no_fault():
    assert format_fault(ask()) is None
    assert format_fault(ask("流行性斑疹伤寒的传播媒介是", ["人虱", "鼠蚤", "恙螨", "蜱"])) is None


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["2", "-2"], None),
        (["<5", ">5"], None),
        (["10²", "102"], None),
        (["α", "β"], None),
        (["AA", "Aa", "aa"], None),
        (["≤ 5", "≤５"], None),  # blanks inside stay
        (["5 mg", "5  mg."], "duplicate_option"),
        (["５ mg", "5 mg"], "duplicate_option"),
        (["发热。", "发热"], "duplicate_option"),
        (["Fever"], "too_few_options"),
        (["Fever", "\u200b \u00a0"], "empty_option"),
    ],
)
def test_options_are_compared_by_what_can_be_seen(options, fault):
    assert format_fault(ask(options=options)) == fault


def test_a_stem_without_words_and_a_gold_that_is_no_option():
    assert format_fault(ask(" ...\u200b? ")) == "empty_stem"
    assert format_fault(ask(answer="E")) == "gold_out_of_range"


SOUND = [
    "Sjögren’s syndrome — naïve α-β Ménière",
    "体温38.5℃，血压120／80mmHg",
    "“心绞痛”",
    "5 µg ± 2 °C ×10⁹/L ½ ≥ É",
    "Ünal Çelik Ñandú",
]


@pytest.mark.parametrize("text", SOUND)
def test_accents_greek_and_chinese_are_no_mojibake(text):
    assert format_fault(ask(f"{text}: which drug?")) is None


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(text, encoding) for text in SOUND for encoding in ("latin-1", "cp1252")]
    + [(text, "gb18030") for text in SOUND[:4]],
)
def test_utf_8_read_as_another_encoding_is_mojibake(text, encoding):
    assert format_fault(ask(text.encode().decode(encoding, "replace"))) == "mojibake"


@pytest.mark.parametrize(
    "text", ["lost \ufffd", "bell \x07", "private \ue123", "锟斤拷", "patient鈥檚 hand", "nul\0", "\ud800"]
)
def test_characters_that_nobody_types_are_mojibake(text):
    assert format_fault(ask(options=[text, "b"])) == "mojibake"


def test_line_breaks_and_tabs_are_none():
    assert format_fault(ask("Hb:\t8 g/dL\r\nWhich drug?\u2028")) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("first<br>second", "markup"), ("H<sub>2</sub>O", "markup"), ('<img src="a.png">', "markup"),
        ("a&nbsp;b", "markup"), ("&lt;5", "markup"), ("&#946;", "markup"),
        ("p<0.05 and b>3", None), ("the width <h> and <h2>", None), ("R&D; AT&T", None), ("a < b", None),
    ],
)  # fmt: skip
def test_tags_and_entities_are_markup_and_comparators_are_not(text, fault):
    assert format_fault(ask(options=[text, "other"])) == fault


@pytest.mark.parametrize(
    "option",
    ["All of the above", "none of these.", "Both of the above", "Any of the above are correct", "Both A and B", "A & C",
     "(a) and (c)", "A, B, C", "A+B", "Neither A nor B", "Options A and B", "Both AB", "Both 1 and 2", "None", "All",
     "以上都是", "以上均不是", "以上说法均正确", "上述答案都不是", "两者均无", "都不对", "A和B", "B或D", "A、C均正确"],
)  # fmt: skip
def test_options_that_speak_of_options_are_found(option):
    assert format_fault(ask(options=[*DRUGS, option])) == "all_or_none_of_the_above"


@pytest.mark.parametrize(
    "option",
    ["Vitamin A and D", "AB", "A", "Both bone forearm fracture", "All-trans retinoic acid", "None, the pH is normal",
     "50%以上", "3个月以上6个月以下", "All organisms require energy", "Above the clavicle", "Hepatitis B and C"],
)  # fmt: skip
def test_options_that_only_sound_so_are_not(option):
    assert format_fault(ask(options=[*DRUGS, option])) is None


def test_letters_that_name_the_stems_own_statements_stay():
    stem = "Consider a) the heart is a pump, b) the lung is a pump. Which hold?"
    assert format_fault(ask(stem, ["a and b", "only a"])) is None


@pytest.mark.parametrize(
    ("stem", "fault"),
    [
        ("The ECG is shown. What is it?", "missing_figure"),
        ("What does Figure A show?", "missing_figure"),
        ("头颅CT如图。病损部位在", "missing_figure"),
        ("死因的标化死亡比见下表。上述资料说明", "missing_figure"),
        ("The results are given in the table below. What is the sensitivity?", "missing_figure"),
        ("Results are in the table below: positive 45 15, negative 5 35. Which holds?", None),
        ("His figure is slender. What is the clinical picture?", None),
        ("An x-ray of the chest shows a mass. What is it?", None),
    ],
)
def test_a_stem_that_speaks_of_what_is_not_there(stem, fault):
    assert format_fault(ask(stem)) == fault


@pytest.mark.parametrize(
    ("stem", "options", "fault"),
    [
        (
            "Which component of zinc oxide-eugenol cement gives strength?",
            ["Zinc oxide", "Rosin"],
            "answer_leaked",
        ),
        ("当地流行钩端螺旋体病，最可能的诊断是", ["钩端螺旋体病", "伤寒"], "answer_leaked"),
        ("Is it zinc oxide or calcium hydroxide?", ["Zinc oxide", "Calcium hydroxide"], None),
        ("An inferior block: the needle is", ["Inferior", "Superior"], None),  # one word is no evidence
        ("Zinc oxides are", ["Zinc oxide", "Rosin"], None),  # not as whole words
        ("He smokes 40 a day. How many?", ["40", "20"], None),
    ],
)
def test_the_right_option_alone_in_the_stem_is_a_leak(stem, options, fault):
    assert format_fault(ask(stem, options)) == fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [("HNO,", "truncated"), ("缺牙数、", "truncated"), ("a drug (of the", "truncated"), ("fever and", "truncated"),
     ("OR", None), ("血糖（5 mmol/L）", None), ("血糖(5 mmol/L）", None), ("fever (38 °C)", None)],
)  # fmt: skip
def test_what_ends_in_the_middle_is_truncated(text, fault):
    assert format_fault(ask(options=[text, "other"])) == fault


def test_endless_texts_are_too_long_and_hostile_ones_take_no_time():
    assert format_fault(ask("word " * 5000)) == "too_long"
    assert format_fault(ask(options=["x" * 3000, "y"])) == "too_long"
    before = time.process_time()
    for text in (
        "shown in the " * 1500,
        "A, " * 6000,
        "&" * 19_000,
        "<br " * 4900,
        "of a " * 3900,
        "以上" * 9000,
        "é" * 19_000,
    ):
        format_fault(ask(text, [text[:1900] + "!", "b"]))
    assert time.process_time() - before < 3


def test_the_same_stem_with_another_gold_rejects_both():
    a, b = ask(), ask(answer="B")
    pair = [Question(**{**vars(a), "id": "a"}), Question(**{**vars(b), "id": "b"})]
    assert conflicting_stems(pair) == {"a": "same_stem_other_gold", "b": "same_stem_other_gold"}
    shuffled = Question("c", STEM.upper(), dict(zip("ABCD", reversed(DRUGS), strict=True)), "D")
    assert conflicting_stems([pair[0], shuffled]) == {}


def test_other_options_under_the_same_stem_are_no_conflict_and_a_shared_one_is():
    def item(name, options):
        return Question(name, "Which is true?", dict(zip(LETTERS, options, strict=False)), "A")

    assert (
        conflicting_stems(
            [item("a", ["Ice is cold", "Fire is cold"]), item("b", ["Snow is white", "Tar is white"])]
        )
        == {}
    )
    found = conflicting_stems(
        [item("a", ["Ice is cold", "Fire is cold"]), item("b", ["Snow is white", "ice is cold."])]
    )
    assert set(found) == {"a", "b"}


def test_another_number_comparator_or_context_is_another_stem():
    def item(name, stem, answer, context=None):
        return Question(name, stem, {"A": "yes", "B": "no"}, answer, context=context)

    assert conflicting_stems([item("a", "BP > 140?", "A"), item("b", "BP < 140?", "B")]) == {}
    assert conflicting_stems([item("a", "Na+ high?", "A"), item("b", "Na high?", "B")]) == {}
    assert (
        conflicting_stems([item("a", "Useful?", "A", "One trial."), item("b", "Useful?", "B", "Another.")])
        == {}
    )


@pytest.mark.parametrize(
    ("answers", "rejected"),
    [
        (["5 mg", "5.0 mg"], ""),
        (["5 mg", "7 mg"], "ab"),
        (["5 mg", "7 mg", "5 mg"], "abc"),
        (["500 mg", "0.5 g"], ""),  # nothing is converted
        (["25 %", "25%", "30 %"], "abc"),
        (["-4", "4"], "ab"),
        (["heart attack", "myocardial infarction"], ""),
        (["1,200", "1200", "unknown"], ""),
    ],
)
def test_two_numbers_are_not_both_the_answer_to_one_stem(answers, rejected):
    kinds = ["text" if answer[0].isalpha() else "number" for answer in answers]
    asked = [
        Question(name, "How much a day?", {}, answer, answer_kind=kind)
        for name, answer, kind in zip("abc", answers, kinds, strict=False)
    ]
    assert "".join(conflicting_stems(asked)) == rejected
    elsewhere = [Question(q.id, f"{q.id}?", {}, q.answer, answer_kind=q.answer_kind) for q in asked]
    assert conflicting_stems(elsewhere) == {}


def test_a_question_s_own_tolerance_says_which_numbers_are_one():
    def asked(name, answer, tolerance=None):
        return Question(name, "How long?", {}, answer, answer_kind="number", tolerance=tolerance)

    assert conflicting_stems([asked("a", "5"), asked("b", "6", 1.0)]) == {}
    assert set(conflicting_stems([asked("a", "5"), asked("b", "6.5", 1.0)])) == {"a", "b"}


def test_what_is_rejected_of_the_real_files(shared):
    def faults(questions):
        return Counter(filter(None, map(format_fault, questions)))

    folder = shared / "data/benchmarks"
    assert faults(load_benchmark("pubmedqa", folder).questions) == {}
    assert faults(load_benchmark("careqa", folder).questions) == {
        "duplicate_option": 5,
        "all_or_none_of_the_above": 3,
    }
    found = faults(read_questions(shared / "data/train/cmexam_5000.csv"))
    assert found.keys() == {
        "all_or_none_of_the_above",
        "missing_figure",
        "duplicate_option",
        "truncated",
        "answer_leaked",
    }
    assert 200 < found.pop("all_or_none_of_the_above") < 230
    assert found.total() < 25


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a </answer> b", "own_tag"),
        ("＜THINK＞ a", "own_tag"),
        ("a <|im_start|> b", "chat_marker"),
        ("a <｜end▁of▁sentence｜>", "chat_marker"),
        ("<start_of_turn> a", "chat_marker"),
        ("a [/INST] b", "chat_marker"),
        ("<<SYS>> a", "chat_marker"),
        ("</s> a", "chat_marker"),
        ("a\u202eb c", "direction_character"),
        ("a\u200fb c", "direction_character"),
        ("a <5 and b>4 and [I] 2", None),
    ],
)
def test_what_no_text_of_a_question_may_hold(text, code):
    assert format_fault(ask(options=[text, "zinc deficiency"])) == code
