"""fleming/free_answer.py and judge.py: which free answers are right, and that every stage judges alike."""

import functools
import itertools
import random
import time

import pytest

from fleming.config import load_config
from fleming.free_answer import read_number, short_text
from fleming.judge import judge, style_of
from fleming.prompt import INSTRUCTIONS, asked_messages
from fleming.records import Question
from fleming.rl.reward import medical_reward
from fleming.settings import Config
from model.errors import InputError


@functools.cache
def settings(*overrides):
    return load_config(Config, None, list(overrides))


def free(answer, kind="number", **fields):
    return Question("q", "How much?", {}, answer, answer_kind=kind, **fields)


def right(given, question, cfg=None, finished=True):
    return judge(f"<think>r</think><answer>{given}</answer>", finished, question, cfg or settings()).correct


NUMBERS = [
    ("5", "5"),
    ("5.0", "5"),
    ("-5", "-5"),
    ("−5", "-5"),
    ("+5", "5"),
    (".5", "0.5"),
    ("0,5", "0.5"),
    ("0,125", "0.125"),
    ("1,234", "1234"),
    ("1,234,567.8", "1234567.8"),
    ("1,50,000/mm3", "150000"),
    ("1.234.567", "1234567"),
    ("1 234", "1234"),
    ("1'234", "1234"),
    ("1.234,5", "1234.5"),
    ("１２", "12"),
    ("1.5e3", "1500"),
    ("1.5 × 10^3", "1500"),
    ("1.5x10³", "1500"),
    ("1.5 \\times 10^{3}", "1500"),
    ("25\\%", "25"),
    ("2 million", "2000000"),
    ("3万", "30000"),
    ("5.", "5"),
    ("≈ 5", "5"),
    ("$1,200", "1200"),
    ("5 mg/dL", "5"),
    ("5毫克", "5"),
    ("37 °C", "37"),
    ("12 mL/min/1.73 m2", "12"),
    ("5 of them", "5"),
    ("10^5", "100000"),
    ("10⁻³ mol", "0.001"),
    ("2 hundred", "200"),
    ("2 dozen", "24"),
    ("2百万", "2000000"),
    ("2 millions", "2000000"),
    ("150k/µL", "150000"),
    ("2千克", "2"),
    ("2千单位", "2000"),
    ("2 kg", "2"),
    ("150,000/mm3", "150000"),
    ("150 000 cells per mm3", "150000"),
    *(
        (text, None)
        for text in ("", "five", "5 to 7", "5-7", "5 or 6", "5 ± 1", "120/80", "1.2.3", "1,23,45", "1 23,456")
    ),
    *(
        (text, None)
        for text in ("5+", "5 mg以上", "5以内", "50多岁", "5 mg above", "5*3", "10**2", "2 thousandths")
    ),
    *(
        (text, None)
        for text in ("not 5", "B12", "5 (not 6)", "5 mg, or 6", "5 6", "about 5", "1e999", "9" * 300)
    ),
]


@pytest.mark.parametrize(("text", "value"), NUMBERS)
def test_a_number_is_read_or_nothing_is(text, value):
    found = read_number(text)
    assert (found and str(found.value.normalize().__format__("f"))) == value


UNITS = [  # answer, right answer, with units stripped, required
    ("300 pg/mL", "300 ng/mL", False, False),
    ("13 mIU/L", "13 uIU/L", False, False),
    ("70 inches", "70 cm", False, False),
    ("72/min", "72 bpm", True, True),
    ("16 breaths per minute", "16/min", True, True),
    ("150 cells/mm3", "150/mm³", True, True),
    ("5 mg", "5 mg", True, True),
    ("5mg", "5 mg", True, True),
    ("5 milligrams", "5 mg", True, True),
    ("5 mcg", "5 µg", True, True),
    ("5 ug", "5 μg", True, True),
    ("5", "5 mg", True, False),
    ("5 mg", "5", True, True),
    ("5 g", "5 mg", False, False),
    ("5 mg/L", "5 mg/dL", False, False),
    ("5 mg per dl", "5 mg/dL", True, True),
    ("3 hrs", "3 hours", True, True),
    ("3 years old", "3岁", True, True),
    ("5 apples", "5 apples", True, True),
    ("5 apples", "5", True, True),
    ("5 apples", "5 pears", True, False),
    ("25%", "25 %", True, True),
    ("0.25", "25%", True, False),
    ("25", "25%", True, False),
    ("25%", "0.25", True, True),
    ("2500%", "25%", False, False),
    ("2.5", "25%", False, False),
    ("25‰", "25%", False, False),
    ("25 mg", "25%", False, False),
    ("25%", "25 mg", False, False),
    ("1.5*10^3 mg", "1500 mg", True, True),
    ("5*3", "53", False, False),
    ("**5** mg", "5 mg", True, True),
]


@pytest.mark.parametrize(("given", "gold", "stripped", "required"), UNITS)
def test_units_are_stripped_or_required(given, gold, stripped, required):
    assert right(given, free(gold)) is stripped
    assert right(given, free(gold), settings("free.units=require")) is required


def test_tolerance_is_relative_or_absolute_exact_at_its_end_and_a_questions_own_goes_first():
    for given, ok in (("0.4", True), ("0.2", True), ("0.41", False), ("0.3", True)):
        assert right(given, free("0.3"), settings("free.absolute_tolerance=0.1")) is ok
    for given, ok in (("105", True), ("95", True), ("105.1", False), ("-100", False)):
        assert right(given, free("100"), settings("free.relative_tolerance=0.05")) is ok
    both = settings("free.relative_tolerance=0.05", "free.absolute_tolerance=1")
    assert right("11", free("10"), both)
    assert not right("11.1", free("10"), both)
    assert right("104", free("100"), both)
    assert not right("104", free("100", tolerance=2.0), both)
    assert not right("100.0001", free("100"))


TEXTS = [
    ("Parvovirus B19 infection", "parvovirus b19 infection.", True),
    ("the mitral valve", "Mitral valve", True),
    ("Sjögren's syndrome", "Sjogren syndrome", True),
    ("β-blocker", "beta blocker", True),
    ("mitral-valve", "mitral valve", True),
    ("mitral valve", "tricuspid valve", False),
    ("not malaria", "malaria", False),
    ("Na+", "Na", False),
    ("ER+/PR-", "ER-/PR+", False),
    ("CD4- CD8+", "CD4 CD8+", False),
    ("HBsAg (+)", "HBsAg（-）", False),
    ("Gram +", "Gram -", False),
    ("O−", "O", False),
    ("mitral - valve", "mitral valve", True),
    ("-2", "2", False),
    ("≥5", "5", False),
    ("malaria or dengue", "malaria", False),
    ("heart attack", "myocardial infarction", False),
]


@pytest.mark.parametrize(("given", "gold", "expected"), TEXTS)
def test_a_short_text_is_compared_without_case_accents_articles_and_punctuation(given, gold, expected):
    assert right(given, free(gold, "text")) is expected
    assert right(given, free("something else", "text", aliases=(gold,))) is expected


def test_any_string_is_judged_in_linear_time():
    rng = random.Random(0)
    pieces = [
        "5",
        ",",
        ".",
        " ",
        "-",
        "mg",
        "%",
        "×10^",
        "e",
        "/",
        "\u0300",
        "\u0f73",
        "万",
        "or",
        "\\boxed{",
        "}",
        "$",
    ]
    for _ in range(5_000):
        text = "".join(rng.choices(pieces, k=rng.randrange(1, 12)))
        read_number(text)
        short_text(text)
        right(text, free("5 mg"))
    started = time.process_time()
    for unit in pieces:
        for kind in ("number", "text"):
            right(unit * (40_000 // len(unit)), free("5", kind))
    assert time.process_time() - started < 8


def test_each_style_asks_for_what_it_judges():
    options = Question("q", "Which?", {"A": "one", "B": "two"}, "B")
    styles = {
        ("letter", False): "letter", ("text", False): "text", ("number", False): "letter",
    }  # fmt: skip
    for (style, _), expected in styles.items():
        assert style_of(options, settings(f"answer_style={style}")) == expected
    assert style_of(free("5"), settings()) == "number"
    assert style_of(free("iron", "text"), settings()) == "short"
    asked = asked_messages(free("5"), settings())[0]["content"]
    assert asked == f"How much?\n\n{INSTRUCTIONS['number']}"
    assert asked_messages(options, settings())[0]["content"].endswith(INSTRUCTIONS["letter"])
    assert len(set(INSTRUCTIONS.values())) == 5


@pytest.fixture
def checkers(tmp_path, monkeypatch):
    (tmp_path / "my_checkers.py").write_text(
        "def even(answer, question):\n    return int(answer) % 2 == question.extra['rest']\n"
        "def wrong(answer, question):\n    return 1\n"
    )
    (tmp_path / "my_script.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_checker_of_ones_own_judges_with_the_records_other_columns(checkers):
    cfg = settings("answer_style=free", "free.checker=my_checkers:even")
    odd, even = (free("?", "free", extra={"rest": rest}) for rest in (1, 0))
    assert (right("4", even, cfg), right("4", odd, cfg), right("3", odd, cfg)) == (True, False, True)
    with pytest.raises(ValueError, match="invalid literal"):
        right("four", even, cfg)
    with pytest.raises(InputError, match="expected true or false, returned 1"):
        right("4", even, settings("answer_style=free", "free.checker=my_checkers:wrong"))
    with pytest.raises(InputError, match=r"free\.checker=nowhere:x: cannot be imported"):
        right("4", even, settings("answer_style=free", "free.checker=nowhere:x"))
    with pytest.raises(InputError, match=r"my_script:x: cannot be imported \(0\)"):  # and ends nothing
        right("4", even, settings("answer_style=free", "free.checker=my_script:x"))
    for overrides in (["answer_style=free"], ["free.checker=my_checkers:even"]):
        with pytest.raises(InputError, match=r"answer_style free and free\.checker go together"):
            settings(*overrides)


@pytest.mark.parametrize(
    ("question", "good", "bad"),
    [
        (free("5 mg"), "5", "6"),
        (free("Iron", "text"), "iron", "zinc"),
        (Question("q", "Which?", {"A": "one", "B": "two"}, "B"), "B", "A"),
    ],
)
def test_the_reward_pays_for_a_right_free_answer_as_for_a_right_letter(question, good, bad):
    cfg = settings()
    pay = [
        medical_reward(f"<think>r</think><answer>{text}</answer>", True, question, cfg)
        for text in (good, bad)
    ]
    assert pay == [{"correct": 1, "format": 1, "total": 1.1}, {"correct": 0, "format": 1, "total": 0.1}]
    assert medical_reward(good, True, question, cfg)["total"] == 0


def test_answers_that_say_the_same_are_one_choice_and_no_wrong_one_is_the_right_one():
    question = free("1,000 mg")
    verdicts = [
        judge(f"<answer>{t}</answer>", True, question, settings()) for t in ("1000", "1,000 mg", "7", "7.")
    ]
    assert [v.choice for v in verdicts] == ["1,000 mg", "1,000 mg", "wrong: 7", "wrong: 7"]
    assert [v.correct for v in verdicts] == [True, True, False, False]
    for one, other in itertools.product(verdicts[:2], verdicts[2:]):
        assert one.choice != other.choice
