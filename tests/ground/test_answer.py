"""fleming/answer.py: what is read from a response, what is refused, and that any string is read in linear time."""

import json
import random
import time
from pathlib import Path

import pytest

from fleming.answer import format_ok, parse_answer, parse_free

SHARED = Path(__file__).resolve().parents[3] / "shared"
CASES = SHARED / "cases" / "parser_cases.jsonl"
OUTPUTS = Path(__file__).parents[1] / "cases" / "parser_outputs.jsonl"
MEDQA = SHARED / "data" / "benchmarks" / "medqa" / "phrases_no_exclude_test.jsonl"

DRUGS = {"A": "Ceftriaxone", "B": "Azithromycin", "C": "Vitamin C", "D": "Hepatitis B vaccine"}
SWAPPED = {"A": "B", "B": "A", "C": "E", "D": "d"}
TWINS = {"A": "Aspirin", "B": "aspirin ", "C": "**Aspirin**", "D": "Ibuprofen"}
PREFIX = {"A": "typical", "B": "5 mg", "C": "-5", "D": "B vitamins"}
CLOSED = {"A": "Foo.", "B": "Bar (x)", "C": "“Quoted”", "D": "'twin'", "E": "Twin.", "F": "(+)-F"}
GENES = {"A": "Aa", "B": "aa", "C": "AA", "D": "B"}
SIGNED = {"A": "<5 mg", "B": ">5 mg", "C": "10 mg"}
POWERS = {"A": "2 × 10³", "B": "2 × 10⁴", "C": "30 kg/m²", "D": "Ca²⁺", "E": "2*3", "F": "−5 mV"}
CHINESE = {"A": "阿奇霉素", "B": "头孢曲松", "C": "维生素Ｃ"}

# What stands in the answer block, and what is to be read from it.
INSIDE = [
    (DRUGS, "A", "A"),
    (DRUGS, "d", "D"),
    (DRUGS, "\t\n B \u00a0\u3000", "B"),
    (DRUGS, "(b)", "B"),
    (DRUGS, "（Ｂ）", "B"),
    (DRUGS, "( B ).", "B"),
    (DRUGS, "B)", "B"),
    (DRUGS, "Option B", "B"),
    (DRUGS, "OPTION (B).", "B"),
    (DRUGS, "选项 B。", "B"),
    (DRUGS, "B\u200b", "B"),
    (DRUGS, "\ufeff\u2060B", "B"),
    (DRUGS, "**B.** Azithromycin", "B"),
    (DRUGS, "__B__", "B"),
    (DRUGS, "`B`", "B"),
    (DRUGS, "\\boxed{B}", "B"),
    (DRUGS, "**\\boxed{ B. Azithromycin }**", "B"),
    (DRUGS, "\\boxed{Azithromycin}", "B"),
    (DRUGS, "𝐁", "B"),  # mathematical bold, NFKC
    (DRUGS, "В", None),  # Cyrillic Ve
    (DRUGS, "B: azithromycin", "B"),
    (DRUGS, "b) AZITHROMYCIN", "B"),
    (DRUGS, "(B) Azithromycin", "B"),
    (DRUGS, "Option B - Azithromycin", "B"),
    (DRUGS, "B\nAzithromycin", "B"),
    (DRUGS, "hepatitis\n  b   vaccine", "D"),
    (DRUGS, "C. Vitamin C", "C"),
    (DRUGS, "BAzithromycin", None),
    (DRUGS, "B. Azithromycin 500 mg", None),
    (DRUGS, "B. Azithro", None),
    (DRUGS, "Azithromycin or Ceftriaxone", None),
    (DRUGS, "A, B", None),
    (DRUGS, "[B]", "B"),
    (DRUGS, "【B】", "B"),
    (DRUGS, "［Ｂ］", "B"),
    (DRUGS, '"B"', "B"),
    (DRUGS, "“b”", "B"),
    (DRUGS, "'B'.", "B"),
    (DRUGS, "选B", "B"),
    (DRUGS, "选项：B", "B"),
    (DRUGS, "答案：B。", "B"),
    (DRUGS, "正确答案：B", "B"),
    (DRUGS, "故选B", "B"),
    (DRUGS, "Final answer: B", "B"),
    (DRUGS, "### Answer: B. Azithromycin", "B"),
    (DRUGS, "- B", "B"),
    (DRUGS, "the best is B", None),
    ({"1": "x", "2": "y"}, "-1", None),  # as a hidden label
    (DRUGS, "Option: B", "B"),
    (DRUGS, "Answer: (B)", "B"),
    (DRUGS, "$\\boxed{\\text{B}}$", "B"),
    (DRUGS, "\\(\\mathrm{B}\\)", "B"),
    (DRUGS, "$$B$$", "B"),
    (DRUGS, "B,", "B"),
    (DRUGS, "B;", "B"),
    (DRUGS, "[B)", None),
    (DRUGS, "[A] [B]", None),
    (DRUGS, "选A或B", None),
    (DRUGS, "Azithromycin.", "B"),
    (DRUGS, '"Azithromycin"', "B"),
    (DRUGS, "[B] Azithromycin", "B"),
    (CLOSED, "A. Foo", "A"),
    (CLOSED, "Foo", "A"),
    (CLOSED, "bar (x", "B"),
    (CLOSED, "B. Bar (x)", "B"),
    (CLOSED, "quoted", "C"),
    (CLOSED, "twin", None),  # two are so without what closes them
    (CLOSED, "twin.", "E"),
    (CLOSED, "Foo bar", None),
    (DRUGS, "A or B", None),
    (DRUGS, "A B", None),
    (DRUGS, "BB", None),
    (DRUGS, "((B))", None),
    (DRUGS, "(B", None),
    (DRUGS, "not B", None),
    (DRUGS, "the answer is B", None),
    (DRUGS, "Vitamin", None),
    (DRUGS, "E", None),
    (DRUGS, "optiona", None),
    (DRUGS, "2", None),
    (DRUGS, "**", None),
    (DRUGS, "\u200b", None),
    (DRUGS, "B" + " " * 100_000, None),  # too long to be an answer
    (SWAPPED, "A", "A"),  # always the letter
    (SWAPPED, "b.", "B"),
    (SWAPPED, "A. B", "A"),
    (SWAPPED, "A. A", None),
    (SWAPPED, "e", "C"),  # no such letter, but such a text
    (SWAPPED, "D", "D"),
    (TWINS, "aspirin", None),
    (TWINS, "ASPIRIN", None),
    (TWINS, "C", "C"),
    (TWINS, "B. Aspirin", "B"),  # three have this text; the letter says which
    (TWINS, "ibuprofen", "D"),
    (PREFIX, "Atypical", None),
    (PREFIX, "A typical", "A"),
    (PREFIX, "B 5 mg", "B"),
    (PREFIX, "C -5", "C"),
    (PREFIX, "C: -5", "C"),
    (PREFIX, "-5", "C"),
    (PREFIX, "5", None),
    (PREFIX, "B vitamins", "D"),
    (SIGNED, "<5 mg", "A"),
    (SIGNED, "5 mg", None),  # a comparator is no bracket
    (SIGNED, "<10 mg", None),
    (SIGNED, "10 mg>", None),
    (SIGNED, "<C>", "C"),
    (SIGNED, "C(10 mg)", "C"),
    (SIGNED, "C(5 mg)", None),
    (POWERS, "2 × 10^3", "A"),
    (POWERS, "2 × 103", None),
    (POWERS, "30 kg/m^2", "C"),
    (POWERS, "30 kg/m2", "C"),
    (POWERS, "Ca2+", "D"),
    (POWERS, "23", None),
    (POWERS, "-5 mV", "F"),
    (POWERS, "5 mV", None),
    (CHINESE, "B（头孢曲松）", "B"),
    (CHINESE, "B（阿奇霉素）", None),
    (CHINESE, "选项B", "B"),
    (CHINESE, "选项A：阿奇霉素", "A"),
    (CHINESE, "A阿奇霉素", "A"),
    (CHINESE, "A、头孢曲松", None),
    (CHINESE, "维生素C", "C"),
]

# Whole responses, with DRUGS.
RESPONSES = [
    ("<answer>B</answer>", "B"),
    ("B", None),
    ("r</think><answer>B</answer>", "B"),  # the prompt had opened it
    ("<think>r<answer>B</answer>", None),
    ("<answer>B</answer><think>but", None),
    ("<think>a</think><answer>A</answer><think>b</think><answer>B</answer>", "B"),
    ("<think>a</think><answer>A</answer></think>", None),
    ("<think><think>a</think><answer>A</answer>", "A"),
    ("<THINK>r</Think><Answer>B</ANSWER>", "B"),
    ("<thin\u212a>r<answer>B</answer>", "B"),  # a Kelvin sign makes no think tag
    ("<an\u017fwer>B</answer>", None),
    ("<think>r</think><answer>B", None),
    ("<think>r</think>B</answer>", None),
    ("<think>r</think><answer>B</answer> I mean <answer>A", None),
    ("<think>r</think><answer>A<answer>B</answer>", None),
    ("<think>r</think><answer>B</answer></answer>", "B"),
    ("<think>r</think><answer>B</answer><answer>Azithromycin</answer><answer>(b)</answer>", "B"),
    ("<think>r</think><answer>A</answer><answer>B</answer>", None),
    ("<think>r</think><answer>B</answer><answer></answer>", None),
    ("<think>r</think><answer>B</answer><answer>unsure</answer>", None),
    ("<think>r</think>< answer>B</ answer>", None),
    ("<think>r</think>\\boxed{B}", None),
    ("<think>r</think>**<answer>**B**</answer>**", "B"),
    ("\x00\ud800<think>\udfff</think><answer>B</answer>\x00", "B"),
]


@pytest.mark.parametrize(("options", "inside", "answer"), INSIDE)
def test_what_an_answer_block_names(options, inside, answer):
    assert parse_answer(f"<think>r</think>\n<answer>{inside}</answer>", options) == answer


@pytest.mark.parametrize(("response", "answer"), RESPONSES)
def test_which_block_of_a_response_counts(response, answer):
    assert parse_answer(response, DRUGS) == answer


@pytest.mark.parametrize(
    ("inside", "as_text", "as_letter"),
    [
        ("Aa", "A", None),
        ("AA", "C", None),
        (" aa ", "B", None),
        ("aA", None, None),
        ("B", "D", "B"),
        ("A", "A", "A"),
        ("c", "C", "C"),
        ("C. AA", "C", "C"),
    ],
)
def test_in_style_text_an_options_exact_text_is_always_that_option(inside, as_text, as_letter):
    response = f"<think>r</think><answer>{inside}</answer>"
    assert parse_answer(response, GENES, "text") == as_text
    assert parse_answer(response, GENES) == as_letter


def test_options_of_many_combining_marks_cost_linear_time_once_a_question():
    options = {
        "A": "a" + "\u0300\u0316" * 32_000,
        "B": "\u0f73" * 64_000,
        "C": "\u0344" * 64_000,
        "D": "iron",
    }
    started = time.process_time()
    for _ in range(100):
        assert parse_answer("<answer>iron</answer>", options) == "D"
        assert parse_answer(f"<answer>{options['A']}</answer>", options) == "A"
    assert time.process_time() - started < 10  # 64,000 marks took 10 s an answer


def test_the_answer_block_of_a_free_answer_is_read():
    assert parse_free("<think>r</think><answer> **Iron** </answer>") == "Iron"
    assert parse_free("<think>r</think><answer>$\\boxed{\\text{5 mg}}$</answer>") == "5 mg"
    assert parse_free("<think>r</think><answer>5</answer> so <answer> 5</answer>") == "5"
    for response in ("5", "<answer>5", "<think><answer>5</answer>", "<answer>5</answer><answer>6</answer>"):
        assert parse_free(response) is None
    assert parse_free("<answer></answer>") is None


def test_the_shared_cases_are_all_right():
    if not CASES.exists():
        pytest.skip(f"{CASES} is not here")
    cases = [json.loads(line) for line in CASES.read_text(encoding="utf-8").split("\n") if line]
    wrong = {
        c["id"]: found for c in cases if (found := parse_answer(c["output"], c["options"])) != c["answer"]
    }
    assert len(cases) >= 28
    assert wrong == {}


def test_real_outputs_are_read_as_a_person_reads_them():
    """Outputs of SmolLM2-135M-Instruct to questions of ours: asked plainly, shown two answers, or made to begin with
    <think> ... </think> <answer>. The answers were read by eye, by the rule that only a closed answer block counts."""
    cases = [json.loads(line) for line in OUTPUTS.read_text(encoding="utf-8").split("\n") if line]
    wrong = {
        c["id"]: found for c in cases if (found := parse_answer(c["output"], c["options"])) != c["answer"]
    }
    assert wrong == {}
    assert (len(cases), sum(c["answer"] is not None for c in cases)) == (69, 16)


def test_every_way_to_name_an_option_of_a_real_question_names_it_and_no_other():
    if not MEDQA.exists():
        pytest.skip(f"{MEDQA} is not here")
    abstained = total = 0
    for line in MEDQA.read_text(encoding="utf-8").split("\n"):
        options = json.loads(line)["options"] if line else {}
        for letter, text in options.items():
            for way in (
                text,
                text.upper(),
                f"{letter}. {text}",
                f"({letter}) {text}",
                f"选项{letter}：{text}",
                letter,
            ):
                found = parse_answer(f"<answer>{way}</answer>", options)
                # One question's options are the letters of a figure: there "B" is option B, whose text is "C".
                assert found in ((letter, None) if way.upper() not in options else (way.upper(),))
                total += 1
                abstained += found is None
    assert total > 30_000
    assert abstained < total / 1000


FRAGMENTS = [
    *(
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "<ANSWER>",
        "</Think>",
        "<answer",
        "/answer>",
        "<",
        ">",
        "</",
    ),
    *(
        "A",
        "b",
        "C.",
        "(D)",
        "E",
        "Ｂ",
        "选项",
        "Option ",
        "Azithromycin",
        "vitamin c",
        "Hepatitis B vaccine",
    ),
    *(
        "\\boxed{",
        "}",
        "{",
        "**",
        "`",
        "_",
        " ",
        "\n",
        "\u200b",
        "\ufeff",
        "\u3000",
        "\u2028",
        "\x00",
        "\ud800",
    ),
    *("\u0300\u0316", "İ", "ß", "ﷺ", "각", "\U0001f600", ".", ",", "、", "-", "not "),
]


def test_a_hundred_thousand_random_strings_raise_nothing_and_name_only_real_options():
    rng = random.Random(0)
    answered = 0
    for _ in range(100_000):
        response = "".join(rng.choices(FRAGMENTS, k=rng.randrange(12)))
        if rng.random() < 0.5:
            response = f"<think>r</think><answer>{response}</answer>"
        answer = parse_answer(response, DRUGS)
        assert answer is None or (answer in DRUGS and "<answer>" in response.lower())
        assert format_ok(response, DRUGS, rng.choice(["letter", "text"]), True) in (True, False)
        answered += answer is not None
    assert answered > 1000  # the strings are not so wild that nothing is ever read


@pytest.mark.parametrize(
    "unit",
    [
        *("<answer>", "</answer>", "<answer>B</answer>", "<answer> \u200bB</answer>", "<think>", "</think>"),
        *(
            "<think></think>",
            "<think><answer>",
            "<answer><think>",
            "<answer>B",
            "B</answer>",
            "<",
            "</",
            "</think",
        ),
        *(
            " ",
            "B",
            "( ",
            "( B",
            "\\boxed{",
            "\\boxed{B}",
            "*",
            "\u200b",
            "\u0300\u0316",
            "a\u0316\u0300",
            "ﷺ",
            "İ",
        ),
        *("option ", "选项", "<answer>azithromycin</answer>", f"<answer>{'*' * 200}B</answer>"),
    ],
)
def test_time_is_linear_in_the_length_of_the_worst_strings(unit):
    def seconds(length: int) -> float:
        body = unit * (length // len(unit))
        best = float("inf")
        for _ in range(2):
            started = time.process_time()
            for response in (
                body,
                f"<answer>{body}</answer>",
                f"<think>{body}</think><answer>{body}</answer>",
            ):
                parse_answer(response, DRUGS)
                format_ok(response, DRUGS, "text", True)
            best = min(best, time.process_time() - started)
        return best

    short, long = seconds(50_000), seconds(500_000)
    assert long < 25 * short + 0.02  # quadratic would be 100 times as long


GOOD = "<think>r</think>\n<answer>B</answer>"
FORMATS = [
    (GOOD, "letter", True),
    ("\n <think>r</think><answer>\nB </answer>\n\n", "letter", True),
    ("<think></think><answer>B</answer>", "letter", False),
    ("<think> \n\u200b...</think><answer>B</answer>", "letter", False),
    ("<think>r</think><answer>5 mg</answer>", "number", True),
    ("<think>r</think><answer>five</answer>", "number", False),
    ("<think>r</think><answer>iron</answer>", "short", True),
    ("<think>r</think><answer>...</answer>", "short", False),
    ("<think>r</think><answer> </answer>", "short", False),
    ("<think>r</think><answer>anything, and more</answer>", "free", True),
    ("<think>r</think><answer> </answer>", "free", False),
    ("<think>r</think><answer>b</answer>", "letter", False),
    ("<think>r</think><answer>E</answer>", "letter", False),
    ("<think>r</think><answer>(B)</answer>", "letter", False),
    ("<think>r</think><answer>B.</answer>", "letter", False),
    ("<think>r</think><answer>**B**</answer>", "letter", False),
    ("<think>r</think><answer>Ｂ</answer>", "letter", False),
    ("<think>r</think><answer></answer>", "letter", False),
    ("<think>r</think><answer>Azithromycin</answer>", "letter", False),
    ("<think>r</think><answer>B</answer>", "text", False),
    ("<think>r</think><answer>Azithromycin</answer>", "text", True),
    ("<think>r</think><answer> hepatitis\nB  VACCINE </answer>", "text", True),
    ("<think>r</think><answer>B. Azithromycin</answer>", "text", False),
    ("<think>r</think><answer></answer>", "text", False),
    ("<answer>B</answer>", "letter", False),
    ("r</think><answer>B</answer>", "letter", False),
    ("<think>r<answer>B</answer>", "letter", False),
    ("<think>r</think>B", "letter", False),
    ("<think>r</think><answer>B", "letter", False),
    ("So: " + GOOD, "letter", False),
    (GOOD + " because", "letter", False),
    ("<think>r</think> so <answer>B</answer>", "letter", False),
    (GOOD + "<answer>B</answer>", "letter", False),
    (GOOD + "</answer>", "letter", False),
    ("<think>r</think>" + GOOD, "letter", False),
    ("<think><think>r</think><answer>B</answer>", "letter", False),
    ("<think>is it <answer>A</answer>?</think><answer>B</answer>", "letter", False),
    ("<think>r <ANSWER> r</think><answer>B</answer>", "letter", False),
    ("<answer>B</answer><think>r</think>", "letter", False),
    ("<think>r<answer>B</think></answer>", "letter", False),
    ("<THINK>r</THINK><ANSWER>B</ANSWER>", "letter", False),
    ("", "letter", False),
]


@pytest.mark.parametrize(("response", "style", "expected"), FORMATS)
def test_the_format_is_one_think_block_then_one_answer_block_in_the_asked_style(response, style, expected):
    assert format_ok(response, DRUGS, style, finished=True) is expected


def test_a_truncated_response_is_never_well_formed():
    assert not format_ok(GOOD, DRUGS, "letter", finished=False)


def test_what_is_well_formed_is_read():
    for response, _, expected in FORMATS:
        if expected:
            assert (parse_answer(response, DRUGS) or parse_free(response)) is not None
