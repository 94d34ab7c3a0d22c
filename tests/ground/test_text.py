"""fleming/text.py: what may not make two texts differ, and what must."""

import time
import unicodedata

import pytest

from fleming.text import fold, marks, name_key, option_key, stem_key, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ｎａ＋　１０", "Na+ 10"),
        ("the patient\u2019s \u201chand\u201d", 'the patient\'s "hand"'),
        ("the patient´s hand", "the patient`s hand"),
        ("a \u2013 b", "a - b"),
        ("zero\u200bwidth\u00a0blank\n", "zerowidth blank"),
        ("≧ 5", "≥ 5"),
        ("5 µg", "5 μg"),
        ("Straße", "STRASSE"),
        ("e\u0301", "é"),
    ],
)
def test_width_case_blanks_quotes_and_dashes_fold_away(one, other):
    assert fold(one) == fold(other)
    assert fold(fold(one)) == fold(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [("-2", "2"), ("<5", ">5"), ("10²", "102"), ("2½ ml", "21/2 ml"), ("α", "β"), ("≤5", "<5"), ("Na+", "Na"),
     ("10⁻¹²", "10¹²")],
)  # fmt: skip
def test_signs_comparators_greek_and_powers_tell_options_apart(one, other):
    assert option_key(one) != option_key(other)


def test_a_power_is_one_whatever_its_digits():
    assert fold("5×10¹²/L") == "5×10^12/l"
    assert fold("x⁻¹") == "x^-1"


def test_an_option_keeps_its_case_where_asked():
    assert option_key("Aa.") == option_key("AA")
    assert option_key("Aa.", keep_case=True) != option_key("AA", keep_case=True)


def test_a_stem_is_its_words_and_each_chinese_character_is_one():
    assert words("Ｘ线CT，检查〇〇号 \U00020000.") == [
        "x",
        "线",
        "ct",
        "检",
        "查",
        "〇",
        "〇",
        "号",
        "\U00020000",
    ]
    assert words("カタ・カナ") == ["カ", "タ", "カ", "ナ"]
    assert stem_key("Which is true?\n") == stem_key("which  is TRUE:")


def test_marks_are_numbers_comparators_and_negations():
    assert marks("BP > 140/90, not -2") == sorted([">", "140/90", "not", "-2"])
    assert marks("下列不正确的是") == ["不"]
    assert marks("10-20 mg") == ["10", "20"]
    assert marks("Na+ rises") == ["+"]
    assert marks("HBsAg (-), anti-HBs (+)") == ["+", "-"]
    assert marks("a rash - and fever") == []
    assert marks("A knot, notable") == []
    assert marks("It is 3.5%") != marks("It is 35%")


def test_names_have_one_key_without_accents_and_possessives():
    assert name_key("Sjögren’s syndrome") == name_key("Sjogren syndrome")
    assert name_key("β-thalassemia") == name_key("Beta thalassemia")


def test_folding_is_linear_on_hostile_text():
    text = "".join(map(chr, range(0xA0, 0x3000))) * 30
    before = time.process_time()
    marks(text + "1" * 300_000 + "²" * 300_000 + "+" * 300_000)
    assert time.process_time() - before < 3


def test_every_format_character_goes():
    every = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) == "Cf"]
    assert fold("a" + "".join(every) + "b") == "ab"
