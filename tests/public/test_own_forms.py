"""fleming/public/own.py: questions in the forms that people have, recognised or told, and what is wrong with them."""

import csv
import gzip
import json
import time
from collections import Counter

import pytest
from support.forms import lines, parquet, table

from fleming.config import load_config
from fleming.public.benchmarks import defects, load_benchmark, load_own
from fleming.public.readers import read_questions, read_set, read_trajectories
from fleming.records import to_json
from fleming.refine.gate import write_report
from fleming.settings import Config
from model.errors import InputError

ABCD = {"A": "one", "B": "two", "C": "three", "D": "four"}
TEXTS = list(ABCD.values())


def settings(*overrides: str) -> Config:
    return load_config(Config, None, list(overrides))


def read(path, *overrides):
    return read_set(path, cfg=settings(*overrides))


def lettered(prefix: str, signs) -> dict[str, str]:
    return {f"{prefix}{sign}": text for sign, text in zip(signs, TEXTS, strict=False)}


MCQ = {  # a record of each form; "two" is right
    "ours": {"question": "Which?", "options": ABCD, "answer": "B"},
    "lower case letters": {
        "question": "Which?",
        "options": {k.lower(): v for k, v in ABCD.items()},
        "answer": "b",
    },
    "numbers as keys": {
        "question": "Which?",
        "options": {"1": "one", "2": "two", "3": "x", "4": "y"},
        "answer": "2",
    },
    "a list, the text": {"stem": "Which?", "choices": TEXTS, "correct_answer": "two"},
    "a list with its letters": {
        "question": "Which?",
        "options": [f"{k}. {v}" for k, v in ABCD.items()],
        "answer": "B",
    },
    "the letter with the text": {"question": "Which?", "options": ABCD, "answer": "B. two\n"},
    "ARC": {"question": "Which?", "choices": {"text": TEXTS, "label": list("ABCD")}, "answerKey": "B"},
    "lines": {"Question": "Which?", "Choices": "A. one\nB. two\nC. three\nD. four", "Label": "B"},
    "JSON in a cell": {"question": "Which?", "options": json.dumps(ABCD), "answer": "B"},
    "one line": {"question": "Which?", "options": "A) one B) two C) three D) four", "answer": "Option B"},
    "one line, small": {"question": "Which?", "options": "a ) one , b ) two , c ) three", "answer": "(b)"},
    "numbered lines": {"question": "Which?", "options": "1. one\n2. two\n3. three", "answer": "2"},
    "HTML's lines": {"question": "Which?", "options": "(A) one<br>(B) two<br>(C) three", "answer": "two."},
    "Chinese, one line": {"question": "Which?", "options": "A.一 two B、two\u3000C.三", "answer": "B"},
    "CMB": {"question": "Which?", "option": ABCD, "answer": "B"},
    "HEAD-QA": {
        "problem_text": "Which?",
        "options": [{"aid": i, "atext": text} for i, text in enumerate(TEXTS, start=1)],
        "correct_answers": "two",
    },
    "a missing option": {"question": "Which?", "A": "one", "B": "two", "C": "x", "D": "nan", "answer": "B"},
    "Question, Options, Answer": {"Question": "Which?", "Options": "A. one\nB. two\nC. x", "Answer": "B"},
    "numpy in a cell": {"question": "Which?", "options": "['one' 'two'\n 'three']", "answer": "Two"},
    "keys by name": {
        "question": "Which?",
        "options": {f"option_{k}": v for k, v in ABCD.items()},
        "answer": "option_b",
    },
    "bracketed keys": {
        "question": "Which?",
        "options": {f"({k})": v for k, v in ABCD.items()},
        "answer": "Ｂ",
    },
    "Chinese columns": {"题干": "Which?", "选项A": "one", "选项B": "two", "选项C": "x", "正确答案": "选B"},
    "a prompt's end": {"prompt": "Which?\nA. one\nB. two\nC. three\n\nAnswer:", "answer": "B"},
    "columns A to D": {"question_text": "Which?", **ABCD, "correct_option": "B"},
    "columns op": {"question": "Which?", **lettered("op", "abcd"), "answer": "b"},
    "columns option_1": {"question": "Which?", **lettered("option_", "1234"), "answer": "two"},
    "a column's name": {"question": "Which?", **lettered("Option ", "ABCD"), "Correct Answer": "Option B"},
    "in the prompt, bracketed": {"prompt": "Which?\n(A) one\n(B) two\n(C) three\n(D) four", "answer": "two"},
    "in the prompt": {"prompt": "Which?\nA. one\nB. two\nC. three\nD. four", "ground_truth": "B"},
    "verl": {
        "data_source": "mine",
        "prompt": [{"role": "user", "content": "Which?\nA) one\nB) two\nC) three\nD) four"}],
        "ability": "med",
        "reward_model": {"style": "rule", "ground_truth": "B"},
    },
}


@pytest.mark.parametrize("form", MCQ)
def test_each_form_of_multiple_choice_is_recognised(tmp_path, form):
    (question,) = read(lines(tmp_path / "mine.jsonl", [MCQ[form]])).questions
    assert question.question == "Which?"
    assert question.options[question.answer] == "two"
    assert (question.answer, question.id) == ("B", "mine/1")
    assert len(question.options) in (3, 4)


WRONG = {  # "B" is right, a text that is a letter
    "SciQ": {
        "question": "Which?",
        "correct_answer": "B",
        **lettered("distractor", "123"),
        "support": "It is B.",
    },
    "a trivia server": {"question": "Which?", "correct_answer": "B", "incorrect_answers": TEXTS[:3]},
    "GPQA": {"Question": "Which?", "Correct Answer": "B", **lettered("Incorrect Answer ", "123")},
    "TruthfulQA": {"Question": "Which?", "Best Answer": "B", "Incorrect Answers": "one; two; three"},
    "a list in a cell": {"question": "Which?", "answer": "B", "distractors": "['one', 'two', 'three']"},
}


@pytest.mark.parametrize("form", WRONG)
def test_wrong_options_beside_the_right_text_are_options(tmp_path, form):
    rows = [WRONG[form] | {next(iter(WRONG[form])): f"Which, {i}?"} for i in range(40)]
    questions = read(lines(tmp_path / "mine.jsonl", rows)).questions
    for question in questions:
        assert question.options[question.answer] == "B"
        assert sorted(question.options.values()) == ["B", "one", "three", "two"]
        assert question.extra == ({"support": "It is B."} if form == "SciQ" else {})
    assert len({question.answer for question in questions}) == 4  # its place does not tell
    again = read(lines(tmp_path / "other.jsonl", rows[::-1])).questions
    assert [q.options for q in again[::-1]] == [q.options for q in questions]


def test_wrong_options_may_be_told_fewer_or_say_what_is_right(tmp_path):
    rows = [
        {"q": "Which, 1?", "right": "iron", "w": ["zinc"]},
        {"q": "Which, 2?", "right": "iron", "w": ["iron", "zinc"]},
        {"q": "Which, 3?", "right": "iron", "w": []},
        {"q": "Which, 4?", "right": None, "w": ["zinc"]},
        *({"q": f"Which, {i}?", "right": "zinc", "w": ["iron", "lead"]} for i in range(10)),
    ]
    found = read(lines(tmp_path / "mine.jsonl", rows), "data.columns={question: q, answer: right, wrong: w}")
    first, free, *_ = found.questions
    assert (sorted(first.options.values()), first.right_text) == (["iron", "zinc"], "iron")
    assert (free.options, free.answer) == ({}, "iron")
    assert [record["code"] for record in found.set_aside] == ["answer_ambiguous", "no_label"]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "How much?", "answer": "72"},
        {"question": "How much?", "answer": "He has 8 * 9.\n#### 72"},
        {"problem": "How much?", "solution": 72},
        {"prompt": [{"role": "user", "content": "How much?"}], "reward_model": {"ground_truth": "72"}},
    ],
)
def test_each_form_of_a_free_answer_is_recognised(tmp_path, row):
    (question,) = read(lines(tmp_path / "mine.jsonl", [row])).questions
    assert (question.question, question.options) == ("How much?", {})
    assert (question.answer, question.answer_kind) == ("72", "number")


def test_an_input_stands_below_its_instruction(tmp_path):
    row = {"instruction": "Answer truthfully.", "input": "Which metal?", "output": "copper"}
    (question,) = read(lines(tmp_path / "a.jsonl", [row])).questions
    assert (question.question, question.answer) == ("Answer truthfully.\n\nWhich metal?", "copper")
    (question,) = read(
        lines(tmp_path / "a.jsonl", [{"question": "Q?", "input": "", "answer": "7"}])
    ).questions
    assert question.question == "Q?"
    row = {"question": "What is 2?", "input": "What is 2?", "answer": "7", "note": "n"}
    for asked in (row["question"], "Answer in a word.\nWhat is 2?", "What is 2?\n\nAnswer in a word."):
        (question,) = read(lines(tmp_path / "a.jsonl", [row | {"question": asked}])).questions
        assert (question.question, question.extra) == (asked, {"note": "n"})


def test_a_tables_cell_may_hold_several_answers_or_aliases(tmp_path):
    cells = ["copper", "['Cu', 'cuprum']"], ["copper", "Cu; cuprum; "], ['["copper", "Cu", "cuprum"]', ""]
    rows = [{"question": "Q?", "answer": answer, "aliases": aliases} for answer, aliases in cells]
    found = read(table(tmp_path / "a.csv", rows)).questions
    assert [(q.answer, q.aliases) for q in found] == [("copper", ("Cu", "cuprum"))] * 3
    (question,) = read(lines(tmp_path / "a.jsonl", [{"question": "Q?", "answer": "[0, 1]"}])).questions
    assert (question.answer, question.aliases) == ("[0, 1]", ())  # an interval


def test_the_same_rows_are_read_from_every_kind_of_file(tmp_path):
    rows = [{"stem": f"Which {i}?", "key": "ABCD"[i], "note": "n", **ABCD} for i in range(4)]
    told = "data.columns={question: stem, answer: key, options: [A, B, C, D]}"
    array = tmp_path / "mine.json"
    array.write_text(json.dumps(rows))
    packed = tmp_path / "mine.jsonl.gz"
    packed.write_bytes(gzip.compress(lines(tmp_path / "mine.jsonl", rows).read_bytes()))
    files = [array, packed, table(tmp_path / "mine.csv", rows), parquet(tmp_path / "mine.parquet", rows)]
    found = [read(path, told).questions for path in (*files, tmp_path / "mine.jsonl")]
    assert all(questions == found[0] for questions in found)
    assert [(q.answer, q.extra) for q in found[0]] == [(letter, {"note": "n"}) for letter in "ABCD"]


def test_told_columns_alone_are_read_and_all_others_are_kept_for_the_reward(tmp_path):
    row = {
        "question": "MCQ?",
        "options": ABCD,
        "answer": "B",
        "open": {"q": "Open?"},
        "gold": "Iron",
        "year": 2024,
    }
    path = lines(tmp_path / "a.jsonl", [row])
    (question,) = read(path, "data.columns={question: open.q, answer: gold}").questions
    assert (question.question, question.answer, question.options) == ("Open?", "Iron", {})
    assert question.extra == {k: row[k] for k in ("question", "options", "answer", "open", "year")}
    with pytest.raises(InputError, match=r"no column 'stem', its columns are 'question', 'options'"):
        read(path, "data.columns={question: stem}")
    with pytest.raises(
        InputError, match=r"data\.columns: unknown field 'stem'; the fields are id, question, options"
    ):
        read(path, "data.columns={stem: question}")


def test_beside_a_told_answer_no_other_column_has_a_say(tmp_path):
    row = {"stem": "Which?", "key": "B", "A": "iron", "B": "zinc", "answer": "since the enzyme needs it"}
    path = lines(tmp_path / "a.jsonl", [row])
    (question,) = read(path, "data.columns={question: stem, answer: key, options: [A, B]}").questions
    assert (question.answer, question.extra) == ("B", {"answer": row["answer"]})
    usual = {"question": "Which?", "answer_idx": "B", "A": "iron", "B": "zinc", "answer": "iron"}
    fine = {**usual, "answer": "zinc"}
    found = read(lines(tmp_path / "b.jsonl", [fine, usual, *(fine | {"id": str(i)} for i in range(9))]))
    assert [record["code"] for record in found.set_aside] == [
        "answers_differ"
    ]  # nothing is told: they must agree


def test_up_to_26_options_are_read_by_number_too(tmp_path):
    for count, codes in ((26, []), (27, ["options_unread"])):
        options = {str(i): f"text {i}" for i in range(count)}
        rows = [
            {"question": "Q?", "options": ["a", "b"], "answer": "A"},
            {"question": "Q?", "options": options},
        ]
        found = read(lines(tmp_path / "a.jsonl", [rows[0], rows[1] | {"answer": "text 3"}]))
        assert [record["code"] for record in found.set_aside] == codes


def test_a_table_without_header_says_so_and_can_be_given_one(tmp_path):
    path = tmp_path / "mmlu_test.csv"
    path.write_text('"Which, then?",one,two,three,four,B\nWho?,one,two,three,four,D\n')
    with pytest.raises(InputError, match=r"no header\? then name the columns by data\.header"):
        read(path)
    found = read(path, "data.header=[question,A,B,C,D,answer]").questions
    assert [(q.question, q.answer, q.split) for q in found] == [
        ("Which, then?", "B", "test"),
        ("Who?", "D", "test"),
    ]
    path.write_text("Which?,one,one,two,three,B\n")
    with pytest.raises(InputError, match=r"different column names between ',', .* needs data\.header"):
        read(path)


def test_real_mmlu_tables_without_header_are_read_with_one(shared):
    for name, count in (("anatomy", 135), ("college_medicine", 173), ("medical_genetics", 100)):
        path = shared / f"data/field/mmlu_{name}_test.csv"
        with pytest.raises(InputError, match="no header"):
            read(path)
        found = read(path, "data.header=[question,A,B,C,D,answer]")
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        assert len(rows) == len(found.questions) == count
        assert [[q.question, *q.options.values(), q.answer] for q in found.questions] == rows


def mcq(answers):
    return [{"question": "Which?", "choices": TEXTS, "answer": answer} for answer in answers]


@pytest.mark.parametrize(
    ("answers", "letters"),
    [([0, 1, 3], "ABD"), ([4, 1, 3], "DAC"), (["0", "2.0"], "AC"), (["B", "two", "D"], "BBD")],
)
def test_numbers_of_options_count_from_where_the_file_says(tmp_path, answers, letters):
    assert [q.answer for q in read(lines(tmp_path / "a.jsonl", mcq(answers))).questions] == list(letters)


@pytest.mark.parametrize("name", ["answer_idx", "label"])
def test_a_number_in_a_public_sets_column_of_letters_is_ones_own(tmp_path, name):
    rows = [{"question": "Which?", "options": TEXTS, name: number} for number in (1, [0], 3)]
    found = read(lines(tmp_path / "a.jsonl", rows))
    assert (found.name, [q.answer for q in found.questions]) == ("own", ["B", "A", "D"])
    rows = [{"question": "Which?", "options": TEXTS, "answer_idx": 2, "answer": "two"}]
    assert read(lines(tmp_path / "b.jsonl", rows)).questions[0].answer == "B"  # the text tells how it counts


def test_options_behind_one_another_are_not_guessed(tmp_path):
    fine = {"question": "Fine?", "options": ABCD, "answer": "B"}
    for text in ("A. vitamin B. complex B. iron", "one\ntwo", "A) one C) two", "0.5 mg\n1.5 mg", "1) a A) b"):
        found = read(lines(tmp_path / "a.jsonl", [fine, {**fine, "options": text}]))
        assert [record["code"] for record in found.set_aside] == ["options_unread"], text
    before = time.process_time()
    for text in ("A" + " " * 200_000, "A) a " * 20_000, "(" * 200_000, "['a' " * 9_000, "\n " * 90_000 + "A"):
        for field in ("options", "answer"):
            read(lines(tmp_path / "a.jsonl", [fine, {**fine, field: text, "id": "x"}]))
    assert time.process_time() - before < 20


@pytest.mark.parametrize("answers", [[1, 2, 3], [0, 4, 1]])
def test_a_file_that_does_not_say_from_where_numbers_count_is_refused(tmp_path, answers):
    with pytest.raises(
        InputError, match=r"is answer counted from 0 or from 1\? Of 3 numbers \d are 0.*, as from 1\. Give"
    ):
        read(lines(tmp_path / "a.jsonl", mcq(answers)))


def test_options_that_are_numbers_are_named_by_their_text(tmp_path):
    rows = [{"question": "How many?", "options": ["2", "4", "6", "8"], "answer": a} for a in ("4", "8", 2)]
    assert [q.answer for q in read(lines(tmp_path / "a.jsonl", rows)).questions] == ["B", "D", "A"]


@pytest.mark.parametrize(
    "told", ["question: 5", "answer: null", "options: {a: b}", "options: [a, [b]]", "id: [a]"]
)
def test_a_told_column_that_is_no_name_is_refused(told):
    with pytest.raises(InputError, match=rf"data\.columns\.{told.partition(':')[0]}: expected the name"):
        settings(f"data.columns={{{told}}}")


FLAWS = [
    ({"options": ABCD, "answer": "E"}, "answer_no_option"),
    ({"options": {"A": "B", "B": "C"}, "answer": "B"}, "answer_ambiguous"),
    ({"options": ABCD, "answer": "A, C"}, "several_answers"),
    ({"options": ABCD, "answer": ["A", "C"]}, "several_answers"),
    ({"options": ABCD, "answer": None}, "no_label"),
    ({"options": ABCD, "answer": "nan"}, "no_label"),
    ({"options": ABCD, "answer_idx": "A", "answer": "two", "id": "x"}, "answers_differ"),
    ({"options": ["one"], "answer": "A"}, "too_few_options"),
    ({"options": ["</answer>", "b"], "answer": "B"}, "own_tag"),
    ({"options": ["＜think＞", "b"], "answer": "B"}, "own_tag"),
    ({"options": ["a<|im_end|>", "b"], "answer": "B"}, "chat_marker"),
    ({"options": ["[INST] a", "b"], "answer": "B"}, "chat_marker"),
    ({"options": ["a\x1b[1m", "b"], "answer": "B"}, "control_character"),
    ({"options": ["a\u202eb", "b"], "answer": "B"}, "direction_character"),
    ({"answer": "B"}, "letter_without_options"),
    ({"answer": "nan"}, "no_label"),
    ({"answer": "word " * 60}, "answer_no_text"),
    ({"answer": "five", "answer_kind": "number"}, "answer_no_number"),
    ({"answer": "5", "split": "held out"}, "unknown_split"),
    ({"answer": True}, "answer_no_text"),
    ({"answer": {"value": "iron"}}, "answer_no_text"),
    ({"answer": "5", "tolerance": "5 %"}, "bad_tolerance"),
    ({"answer": "5", "tolerance": -1}, "bad_tolerance"),
    ({"answer": "5", "answer_kind": "letter"}, "bad_answer_kind"),
]


@pytest.mark.parametrize(("row", "code"), FLAWS)
def test_a_flawed_record_is_set_aside_with_a_code(tmp_path, row, code):
    rows = [{"question": "Fine?", "options": ABCD, "answer": "B"}, {"question": "Flawed?", **row}]
    found = read(lines(tmp_path / "a.jsonl", rows))
    assert [record["code"] for record in found.set_aside] == [code]
    assert [q.question for q in found.questions] == ["Fine?"]


def test_the_language_is_what_the_question_is_written_in_unless_it_is_said(tmp_path):
    stems = {
        "肝豆状核变性贮积什么？": "zh",
        "HBsAg(+)、ALT升高的患者首选": "zh",
        "What is 肝 in English?": "en",
        "急性心筋梗塞の治療はどれか": "en",
    }
    rows = [{"question": stem, "answer": "铜"} for stem in stems] + [
        {"question": "问？", "answer": "铜", "language": "en"}
    ]
    found = read(lines(tmp_path / "a.jsonl", rows)).questions
    assert [question.language for question in found] == [*stems.values(), "en"]
    medqa = {
        "question": "患者最可能的诊断是",
        "options": {"A": "甲", "B": "乙"},
        "answer": "乙",
        "answer_idx": "B",
        "meta_info": "卷一",
    }
    found = read(lines(tmp_path / "b.jsonl", [medqa]))
    assert (found.name, found.questions[0].language) == ("medqa", "zh")


def test_a_tolerance_may_have_a_decimal_comma(tmp_path):
    path = table(tmp_path / "a.csv", [{"question": "How much?", "answer": "2,5 mg", "tolerance": "0,1"}])
    assert [question.tolerance for question in read(path).questions] == [0.1]


def test_a_value_of_another_type_than_ours_is_kept_aside_and_refuses_nothing(tmp_path):
    row = {
        "question": "Q?",
        "answer": "Iron",
        "difficulty": 3,
        "language": 7,
        "split": "validation",
        "id": 5.0,
    }
    (question,) = read(lines(tmp_path / "a.jsonl", [row])).questions
    assert (question.id, question.difficulty, question.language, question.split) == ("5", None, "en", "dev")
    assert question.extra == {"difficulty": 3, "language": 7}


def test_what_is_read_can_be_written_and_read_again(tmp_path):
    rows = [
        *MCQ.values(),
        {"question": "Q?", "answer": "Iron", "aliases": ["Fe"], "tolerance": 1, "extra": {"a": 1}},
    ]
    for row in rows:
        (question,) = read(lines(tmp_path / "a.jsonl", [row])).questions
        assert read(lines(tmp_path / "a.jsonl", [to_json(question)])).questions == [question]
    assert (question.aliases, question.tolerance, question.extra) == (("Fe",), 1, {"a": 1})


def test_whole_mmlu_pro_is_read_but_for_five_rows(shared):
    found = read_set(shared / "data/field/mmlu_pro_test_2024-07.jsonl.xz")
    assert (found.rows, len(found.questions)) == (12032, 12027)
    assert Counter(record["code"] for record in found.set_aside) == {"too_few_options": 5}
    path = shared / "data/field/mmlu_pro_test_2024-07.jsonl.xz"
    for name, size in (("mmlu_pro_biology", 717), ("mmlu_pro_health", 818)):
        assert len(load_benchmark(name, path).questions) == size


def test_hles_answers_with_their_letter_and_a_line_break_are_read(shared):
    found = read_set(shared / "data/field/HLE_biomed.jsonl.xz")
    assert (found.name, len(found.questions), found.set_aside) == ("medqa", 103, [])


def test_the_open_forms_of_a_medical_set_are_read(shared):
    path = shared / "data/train/huatuogpt_o1_demo_198.json"
    found = read(path, "data.columns={question: Open-ended Verifiable Question, answer: Ground-True Answer}")
    assert (len(found.questions), found.set_aside) == (198, [])
    assert Counter(q.answer_kind for q in found.questions) == {"text": 188, "number": 10}
    assert len(read_questions(path)) == 198  # and as MedQA's, by its options


def test_nan_as_an_option_is_a_defect_and_a_dev_file_says_that_it_is_one(tmp_path):
    rows = [{"Question": f"Q{i}?", "Options": "A a\nB nan", "Answer": "A"} for i in range(3)]
    loaded = load_benchmark("cmexam", lines(tmp_path / "cmexam_val.jsonl", rows))
    assert len(defects(loaded.questions)["nan_option"]) == 3
    assert {q.split for q in loaded.questions} == {"dev"}
    assert [w for w in loaded.warnings if "by its name it is dev, scores are published on test" in w]
    loaded = load_benchmark("cmexam", lines(tmp_path / "cmexam_test.jsonl", rows))
    assert not [w for w in loaded.warnings if "by its name" in w]


def test_columns_that_are_told_of_one_file_bind_no_other(tmp_path):
    cfg = settings("data.columns={question: stem, answer: key}")
    told = lines(tmp_path / "told.jsonl", [{"stem": "Q?", "key": "Iron", "question": "other", "answer": "7"}])
    usual = lines(tmp_path / "usual.jsonl", [{"question": "Q?", "answer": "Iron"}])
    assert [load_own(path, "mine", cfg).questions[0].answer for path in (told, usual)] == ["Iron", "Iron"]
    with pytest.raises(InputError, match="no column 'stem'"):
        read_set(usual, cfg=cfg)  # a file to learn from must have what was told
    answers = settings("data.columns={prompt: frage, response: antwort}")
    assert read_set(usual, cfg=answers).questions[0].answer == "Iron"
    worked = lines(tmp_path / "worked.jsonl", [{"prompt": "Q?", "response": "A."}])
    assert [t.response for t in read_trajectories(worked, cfg)] == ["A."]
    with pytest.raises(InputError, match=r"unknown field 'promt'; the fields are history, id"):
        read_trajectories(worked, settings("data.columns={promt: prompt, response: response}"))


def test_the_gate_looks_into_files_of_any_form(tmp_path):
    stem = (
        "A patient of 40 years with copper in the liver and rings around both corneas asks what it is, what"
    )
    rows = [{"stem": f"{stem} {i}?", "key": "B", "A": "zinc", "B": f"copper {i}"} for i in range(3)]
    cfg = settings("data.columns={question: stem, answer: key, options: [A, B]}")
    path = lines(tmp_path / "mine.jsonl", rows)
    answers = lines(tmp_path / "sft.jsonl", [{"instruction": f"{stem} 0?", "output": "copper"}])
    benchmark = read_set(path, cfg=cfg).questions[:1]
    files = {"questions": path, "trajectories": answers}
    report = write_report(tmp_path / "report.json", files, {}, {"mine": benchmark}, cfg)
    assert [report["data"][name]["records"] for name in files] == [3, 1]
    assert all(report["data"][name]["leaks"] for name in files)
