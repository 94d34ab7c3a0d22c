"""fleming/public/sets.py: every published form gives the same questions, and what is broken is refused by name."""

import contextlib
import copy
import json
import random
from pathlib import Path

import pytest
from support.forms import (
    DATA,
    FORMS,
    MANY,
    OPTIONS,
    PAIRS,
    ROWS,
    STEM,
    TEXTS,
    Rows,
    lines,
    name_of,
    parquet,
    table,
)

from fleming.public.forms import counted
from fleming.public.readers import read_questions, read_set, read_trajectories
from fleming.public.sets import SETS
from fleming.records import LETTERS, Question, question_from_json, to_json
from model.errors import InputError


def read_one(tmp_path: Path, row: dict, name: str | None = None) -> Question:
    (question,) = read_set(lines(tmp_path / "one_test.jsonl", [row]), name).questions
    return question


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_recognised_and_read_with_nothing_altered(tmp_path, form):
    name, key, groups, _ = FORMS[form]
    decides = [{**ROWS[form], "cop": 4, "id": "other"}] if name == "medmcqa" else []  # a 4: counted from 1
    found = read_set(lines(tmp_path / "some_test.jsonl", [ROWS[form], *decides]), name_of(form))
    expected = Question(
        id=f"{name}/some_test/{key}",
        question=STEM,
        options={"A": "yes", "B": "no", "C": "maybe"} if name == "pubmedqa" else OPTIONS,
        answer="B" if name == "pubmedqa" else "C",
        source=name,
        split="test",
        language="zh" if name in ("cmexam", "jmed") else "en",
        context="First.\nSecond." if name == "pubmedqa" else None,
        provenance={"groups": groups},
    )
    assert found.questions[0] == expected
    assert (found.name, found.rows, found.set_aside, found.describe_set_aside()) == (
        name,
        1 + len(decides),
        [],
        "",
    )


def test_blanks_and_empty_lines_at_the_ends_of_a_text_stay(tmp_path):
    row = {
        **ROWS["medqa"],
        "question": " q\n\n",
        "options": {"A": " a", "B": "b\t"},
        "answer_idx": "B",
        "answer": "b",
    }
    question = read_one(tmp_path, row)
    assert (question.question, question.options) == (" q\n\n", {"A": " a", "B": "b\t"})


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("phrases_no_exclude_test.jsonl", "test"),
        ("phrases_no_exclude_train.jsonl", "train"),
        ("MedQA-Dev.jsonl", "dev"),
        ("validation-00000-of-00001.jsonl", "dev"),
        ("latest_contest.jsonl", "train"),
        ("medqa.jsonl", "train"),
    ],
)
def test_the_split_is_read_from_the_files_name(tmp_path, file, split):
    (question,) = read_questions(lines(tmp_path / file, [ROWS["medqa"]]))
    assert question.split == split
    assert question.id == f"medqa/{file.removesuffix('.jsonl')}/1"


@pytest.mark.parametrize(
    ("form", "split"),
    [
        *(("careqa", "test"), ("medbullets", "test"), ("mmlu_pro", "test"), ("pubmedqa", "test")),
        *(("medqa", "train"), ("cmexam", "train")),
    ],
)
def test_files_of_benchmarks_are_for_testing_unless_their_name_says_train(tmp_path, form, split):
    for name, expected in (("data", split), ("train_data", "train")):
        (question,) = read_questions(lines(tmp_path / f"{name}.jsonl", [ROWS[form]]))
        assert question.split == expected


def test_ids_do_not_depend_on_folder_form_or_the_tool_that_wrote_the_file(tmp_path):
    row = ROWS["mmlu_pro"]
    (tmp_path / "sub").mkdir()
    files = [
        lines(tmp_path / "some_test.jsonl", [row]),
        lines(tmp_path / "sub" / "some_test.json", [{**row, "question_id": 70.0, "answer_index": 2.0}]),
        parquet(tmp_path / "some_test.parquet", [{**row, "question_id": 70.0}]),
    ]
    assert {read_questions(path)[0].id for path in files} == {"mmlu_pro/some_test/70"}


def test_missing_letters_are_closed_up_and_remembered(tmp_path):
    some = {letter: text for letter, text in MANY.items() if letter not in "ADU"}
    expected = dict(zip(LETTERS, some.values(), strict=False))
    for options in (some, str(some), {**MANY, "A": None, "D": " ", "U": ""}):
        question = read_one(tmp_path, {**ROWS["jmed"], "options": options, "answer": "C"}, "jmed")
        assert question.options == expected
        assert question.options[question.answer] == MANY["C"]
        assert question.provenance == {"groups": {}, "letters": dict(zip(LETTERS, some, strict=False))}
    last = read_one(tmp_path, {**ROWS["jmed"], "options": {**MANY, "U": None}, "answer": "C"}, "jmed")
    assert (len(last.options), last.provenance) == (20, {"groups": {}})
    with pytest.raises(InputError, match=r":1: the right option is 'A', the options are B, C"):
        read_one(tmp_path, {**ROWS["jmed"], "options": some, "answer": "A"}, "jmed")


def test_options_that_only_fill_up_mmlu_pro_are_left_out(tmp_path):
    row = {**ROWS["mmlu_pro"], "options": ["N/A", *TEXTS], "answer": "D", "answer_index": 3}
    question = read_one(tmp_path, row)
    assert (question.options, question.answer) == (OPTIONS, "C")
    assert question.provenance["letters"] == {"A": "B", "B": "C", "C": "D", "D": "E"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("A a\\nB b", {"A": "a", "B": "b"}),
        ("A a\r\nB b\r\n", {"A": "a", "B": "b"}),
        ("A. a\nB．b\nC、c\nD：d", {"A": "a", "B": "b", "C": "c", "D": "d"}),
        ("A .5 mg\nB 0.5 mg", {"A": ".5 mg", "B": "0.5 mg"}),  # the point is the number's
        ("A a\n b\nB c", {"A": "a\n b", "B": "c"}),
        ("A a\nBC d\nB b", {"A": "a\nBC d", "B": "b"}),
        ("A a\nB b\nC ", {"A": "a", "B": "b"}),
        ("A a\nB b\nC", {"A": "a", "B": "b"}),
        ("A a\nC c\nE e", {"A": "a", "B": "c", "C": "e"}),
        ("A　a\n　B　b", {"A": "a", "B": "b"}),
    ],
)
def test_cmexam_options_are_lines_that_begin_with_their_letter(tmp_path, options, expected):
    assert read_one(tmp_path, {**ROWS["cmexam"], "Options": options, "Answer": "A"}).options == expected


@pytest.mark.parametrize("options", ["Aspirin\nB b", "a\nB b", "B b\nA a", "A a\nA b", "", "A a", "①a\n②b"])
def test_cmexam_options_of_another_form_are_refused(tmp_path, options):
    with pytest.raises(InputError, match=r":1: .*[oO]ption"):
        read_one(tmp_path, {**ROWS["cmexam"], "Options": options, "Answer": "B"})


def test_records_that_are_no_question_are_set_aside_and_counted_by_reason(tmp_path):
    row = ROWS["cmexam"]
    answers = ["C", " c ", "ABD", "A, C", "B、D", None, "A"]
    found = read_set(lines(tmp_path / "a.jsonl", [{**row, "Answer": a} for a in answers]))
    assert [q.answer for q in found.questions] == ["C", "C", "A"]
    assert [record["code"] for record in found.set_aside] == ["several_answers"] * 3 + ["no_label"]
    assert found.set_aside[0]["record"] == f"{tmp_path}/a.jsonl:3"
    assert found.describe_set_aside() == "4 of 7 records set aside (several_answers 3, no_label 1)"

    blank = dict.fromkeys(ROWS["careqa"])
    found = read_set(lines(tmp_path / "b.jsonl", [blank, ROWS["careqa"], blank]))
    assert (found.rows, len(found.questions)) == (3, 1)
    assert [record["code"] for record in found.set_aside] == ["blank", "blank"]

    for form, field, value, code in [
        ("medxpertqa printed", "label", ["A", "B"], "several_answers"),
        ("medxpertqa printed", "label", [], "no_label"),
        ("jmed literals", "answer", "['A', 'B']", "several_answers"),
        ("pubmedqa", "final_decision", None, "no_label"),
        ("careqa", "question", None, "incomplete"),
        ("careqa", "cop", None, "no_label"),
    ]:
        rows = [ROWS[form], {**ROWS[form], "id": "z", "pubid": 9, "unique_id": "z", field: value}]
        found = read_set(lines(tmp_path / "c.jsonl", rows), name_of(form))
        assert [record["code"] for record in found.set_aside] == [code]


def medmcqa(cops: list[object], explanations: str = "") -> Rows:
    row = ROWS["medmcqa"]
    letters = [*explanations, *" " * len(cops)]
    return [
        {
            **row,
            "id": str(i),
            "cop": cop,
            "exp": f"Ans. {letters[i]} because" if letters[i] != " " else "Because",
        }
        for i, cop in enumerate(cops)
    ]


@pytest.mark.parametrize(
    ("cops", "explanations", "base"),
    [
        ([1, 2, 4], "", 1),
        ([1, 2, 0], "", 0),
        ([0, -1, None], "", 0),
        ([1, 2, 3, 2], "abc", 1),
        ([1, 2, 3, 2], "bcd", 0),
        (["2.0", "1", 3.0], "bac", 1),
        ([4, 2, 3, 1], "dbca", 1),
        ([-1, -1], "", 0),
    ],
)
def test_whether_cop_counts_from_0_or_1_is_told_by_the_file(tmp_path, cops, explanations, base):
    (form,) = SETS["medmcqa"].forms
    assert counted(form, lines(tmp_path / "dev.json", medmcqa(cops, explanations))).base == base


@pytest.mark.parametrize(
    ("cops", "explanations"),
    [
        ([1, 2, 3], ""),  # nothing tells
        ([1, 2, 3], "ab"),  # too few explanations
        ([1, 2, 3, 1, 2], "abcbc"),  # explanations that disagree
        ([0, 4, 1], ""),
        ([0, 1, 2, 3], " abc"),  # one wrong 0 among numbers from 1
        ([4, 1, 2, 3], " bcd"),
    ],
)
def test_a_file_that_does_not_tell_how_cop_counts_is_refused(tmp_path, cops, explanations):
    with pytest.raises(InputError, match=r"dev\.json: is cop counted from 0 or from 1\?"):
        read_set(lines(tmp_path / "dev.json", medmcqa(cops, explanations)))


def test_a_file_of_hidden_labels_has_no_questions(tmp_path):
    with pytest.raises(InputError, match=r"test\.json: no questions in it \(no_label\)"):
        read_set(lines(tmp_path / "test.json", medmcqa([-1, -1.0, "-1"])))


BROKEN = [  # form, what is changed in its record, the code, and what is said
    ("careqa", {"cop": 5}, "answer_no_option", "the right option is '5', the options are A, B, C, D"),
    ("careqa", {"cop": 0}, "answer_no_option", "the right option is '0'"),
    ("careqa", {"cop": 1.5}, "answer_no_option", "the right option is '1.5'"),
    ("careqa", {"cop": True}, "answer_no_option", "the right option is 'True'"),
    ("careqa", {"cop": "1_0"}, "answer_no_option", "the right option is '1_0'"),
    ("careqa", {"op3": None}, "answer_no_option", "the options are A, B, D"),
    ("careqa", {"op1": ["iron"]}, "options_unread", "an option must be a text"),
    ("careqa", {"op1": True}, "options_unread", "an option must be a text"),
    ("careqa", {"question": 7}, "no_text", "question must be a text"),
    ("careqa", {"unique_id": {"a": 1}}, "bad_id", "its id must be a text or a number"),
    ("medbullets", {"answer": "iron"}, "answers_differ", "answer 'iron' is not option C"),
    ("medbullets", {"answer": "A. iron"}, "answers_differ", "answer 'A. iron' is not option C"),
    ("medqa", {"answer": OPTIONS["C"] + "s"}, "answers_differ", "is not option C"),
    ("medqa", {"answer_idx": "E", "answer": None}, "answer_no_option", "the options are A, B, C, D"),
    ("medqa", {"answer_idx": {"C": 1}, "answer": None}, "answer_no_option", "the right option is"),
    ("medqa", {"options": {"A": "iron"}, "answer_idx": "A", "answer": None}, "too_few_options", "1 of two"),
    ("medqa", {"options": TEXTS * 8}, "options_unread", "options must be up to 26 texts"),
    ("medqa", {"options": {**OPTIONS, "AA": "x"}}, "options_unread", "options must be up to 26 texts"),
    ("medqa", {"options": "A"}, "options_unread", "rising letters"),
    ("medqa pairs", {"options": [{"key": "A", "value": "x"}] * 2}, "options_unread", "up to 26 texts"),
    ("medqa pairs", {"options": [{"key": ["A"], "value": "x"}]}, "options_unread", "up to 26 texts"),
    ("medqa endings", {"label": 4}, "answer_no_option", "the right option is '4'"),
    ("medqa endings", {"label": -2}, "answer_no_option", "the right option is '-2'"),
    ("medqa data", {"data": []}, "another_form", ""),
    ("medqa data", {"data": {**DATA, "Correct Option": "A"}}, "answers_differ", "is not option A"),
    ("mmlu_pro", {"answer": "B"}, "answers_differ", "answer 'B' is not option C"),
    ("mmlu_pro", {"answer_index": 9, "answer": None}, "answer_no_option", "the right option is '9'"),
    ("medxpertqa printed", {"label": ["K"]}, "answer_no_option", "the right option is 'K'"),
    ("medxpertqa printed", {"options": {**OPTIONS, "D": "other"}}, "options_differ", "choices at the end"),
    ("medxpertqa", {"images": ["MM-1.jpeg"]}, "has_images", "not MedXpertQA's text part"),
    ("pubmedqa", {"final_decision": "Yes"}, "answer_no_option", "final_decision must be yes, no or maybe"),
    ("pubmedqa", {"context": "First."}, "no_context", "contexts must be a list of texts"),
    ("pubmedqa authors", {"CONTEXTS": []}, "no_context", "contexts must be a list of texts"),
    ("cmexam", {"Answer": "F"}, "answer_no_option", "the right option is 'F'"),
    ("jmed literals", {"options": "{'A': f('x')}"}, "options_unread", "not a Python literal"),
    ("jmed literals", {"options": "{'A': 'x', 'A': 'y'}"}, "options_unread", "a key twice in"),
    ("jmed literals", {"options": "{['A']: 'x'}"}, "options_unread", "not a Python literal"),
    ("jmed literals", {"options": "{'A': '\\ud83d', 'B': 'y'}"}, "options_unread", "not a Python literal"),
    ("jmed literals", {"options": "[" * 90_000}, "options_unread", "not a Python literal"),
    ("jmed literals", {"options": "[" + "-" * 90_000 + "1]"}, "options_unread", "not a Python literal"),
    ("jmed literals", {"answer": "[" + "1+" * 40_000 + "1]"}, "options_unread", "not a Python literal"),
]


@pytest.mark.parametrize(("form", "change", "code", "says"), BROKEN)
def test_a_broken_record_is_set_aside_with_code_and_place_and_refuses_no_file(
    tmp_path, form, change, code, says
):
    fine = {**ROWS[form], "id": "f", "pubid": 1, "unique_id": "f", "question_id": 1}
    found = read_set(lines(tmp_path / "a.jsonl", [fine, {**ROWS[form], **change}]), FORMS[form][0])
    (aside,) = found.set_aside
    assert (aside["record"], aside["code"]) == (f"{tmp_path}/a.jsonl:2", code)
    assert says in aside.get("detail", "")
    assert len(found.questions) == 1
    with pytest.raises(InputError) as error:  # alone it leaves no question
        read_set(lines(tmp_path / "a.jsonl", [{**ROWS[form], **change}]), FORMS[form][0])
    assert str(tmp_path) in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("bad", "of", "refused"), [(1, 2, False), (2, 10, False), (3, 10, True), (2, 3, True)]
)
def test_above_a_share_that_is_printed_the_file_is_refused(tmp_path, bad, of, refused):
    rows = [{**ROWS["medqa"], "answer_idx": "E" if i < bad else "C"} for i in range(of)]
    path = lines(tmp_path / "a.jsonl", rows)
    if not refused:
        found = read_set(path)
        assert found.describe_set_aside() == f"{bad} of {of} records set aside (answer_no_option {bad})"
        return
    with pytest.raises(
        InputError, match=rf"a\.jsonl:1: .*\(answer_no_option\); {bad} of {of} records .* over 20%"
    ):
        read_set(path)


def test_records_that_cannot_be_parsed_are_set_aside_in_every_kind_of_file(tmp_path):
    good = json.dumps(ROWS["medqa"])
    path = tmp_path / "a.jsonl"
    path.write_text(f"{good}\n{good[:-9]}\n{good}\n")
    found = read_set(path)
    assert [(r["record"], r["code"]) for r in found.set_aside] == [(f"{path}:2", "no_object")]
    assert (found.rows, len(found.questions)) == (3, 2)
    path.write_text(f"{good[:-9]}\n{good}\n{good}\n")  # its first line is torn
    found = read_set(path)
    assert [(r["record"], r["code"]) for r in found.set_aside] == [(f"{path}:1", "no_object")]
    path = tmp_path / "a.json"
    path.write_text(f"[{good}, 7, {good}]")
    assert [r["code"] for r in read_set(path).set_aside] == ["no_object"]
    path = tmp_path / "a.csv"
    path.write_text('question,A,B,answer\nq1,a,b,A\nq2,a,b\nq3,a,b,B\n"q4,a,b,B\n' + "q5,a,b,A\n" * 7)
    found = read_set(path)
    assert [r["code"] for r in found.set_aside] == ["cells", "quotes"]
    assert [(q.id, q.answer) for q in found.questions[:3]] == [("a/1", "A"), ("a/3", "B"), ("a/5", "A")]
    assert (found.rows, len(found.questions)) == (11, 9)


def test_one_id_twice_another_form_and_an_empty_file(tmp_path):
    row = ROWS["mmlu_pro"]
    found = read_set(lines(tmp_path / "a.jsonl", [row, row]))
    assert [(r["record"], r["code"]) for r in found.set_aside] == [(f"{tmp_path}/a.jsonl:2", "repeated_id")]
    with pytest.raises(InputError, match=r"a\.jsonl:1: not a record of medqa: it lacks 'answer_idx'"):
        read_set(lines(tmp_path / "a.jsonl", [row]), "medqa")
    other = {"question": "q", "question_id": 2, "answer_index": 1}
    assert [r["code"] for r in read_set(lines(tmp_path / "a.jsonl", [row, other])).set_aside] == [
        "another_form"
    ]
    with pytest.raises(InputError, match=r"a\.jsonl: no questions in it"):
        read_set(lines(tmp_path / "a.jsonl", []))
    with pytest.raises(
        InputError, match=r"its columns are 'text'; known are the public sets, .* verl's rows"
    ):
        read_set(lines(tmp_path / "a.jsonl", [{"text": "t"}]))


# fmt: off
NASTY = [
    None, True, 0, -1, 5, 1.5, 1e22, 10**30, "", " ", "A", "C", "Z", "AB", "\ud83d", "x" * 100_000, "9" * 5000, "1.0",
    "nan", [], [None], ["A"], ["A", "B"], [[["A"]]] * 30, {}, {"A": "a"}, {"A": None}, {"B": ["x"]}, {"letter": "A"},
    PAIRS, "{'A': 'x'}", "{[]: 1}", "{'A': '\\ud83d', 'C': 'c'}", "['A'", "{'A', 'C'}", "[" * 300, "{**{}}", "[f'{1}']",
    "A a\nB b", "A\nC c", "Answer Choices: (A) x", "\x00", "\u2029", OPTIONS, TEXTS,
]
# fmt: on


def mutate(rng: random.Random, row: dict) -> dict:
    """Return the row with one of its values, or of the values inside, replaced, removed, moved or put in."""
    row = copy.deepcopy(row)
    inside, key = row, rng.choice(list(row))
    while isinstance(inside[key], dict | list) and inside[key] and rng.random() < 0.6:
        inside = inside[key]
        key = rng.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
    match rng.randrange(5):
        case 0:
            del inside[key]
        case 1 if isinstance(inside, dict):
            inside[rng.choice(["", "A", "@id", "answer", "images", "context", "options"])] = inside.pop(key)
        case 2 if isinstance(inside, list):
            inside.extend(inside * rng.choice([1, 9]))
        case _:
            inside[key] = copy.deepcopy(rng.choice(NASTY))
    return row


def write_any(folder: Path, rows: Rows, kind: int) -> Path:
    """Write the rows as JSON Lines, an array, CSV or parquet; of rows that no parquet can hold, JSON Lines."""
    if kind == 0:
        return table(folder / "a.csv", rows)
    if kind == 1:
        with contextlib.suppress(Exception):  # values of several types in one column
            return parquet(folder / "a.parquet", rows)
    path = lines(folder / "a.json", rows)
    if kind == 2:
        path.write_text(f"[{','.join(path.read_text().strip().split(chr(10)))}]")
    return path


def test_thousands_of_mutated_records_raise_nothing_but_input_errors(tmp_path):
    """What comes out is sound questions, each record accounted for, or one line naming the file."""
    rng = random.Random(0)
    read, refused, flawed = 0, [], []
    for form, row in ROWS.items():
        other = {**row, "id": "other", "pubid": 1, "unique_id": "other", "question_id": 1}
        other |= {"cop": 4} if form == "medmcqa" else {}
        for i in range(240):
            rows = [other, mutate(rng, row)] if i % 2 else [mutate(rng, mutate(rng, row)), other]
            path = write_any(tmp_path, rows, rng.randrange(8))
            try:
                found = read_set(path, FORMS[form][0] if i % 5 else name_of(form))
            except InputError as error:
                refused.append(str(error))
                continue
            read += 1
            flawed += [record["code"] for record in found.set_aside]
            assert found.rows == 2 == len(found.questions) + len(found.set_aside)
            assert len({q.id for q in found.questions}) == len(found.questions)
            for q in found.questions:
                assert (
                    question_from_json(json.loads(json.dumps(to_json(q), ensure_ascii=False).encode()), "")
                    == q
                )
    assert read > 500
    assert len(refused) > 200
    assert len(flawed) > 1500
    assert len(set(flawed)) > 10
    assert [m for m in refused if not m.startswith(str(tmp_path)) or "\n" in m or len(m) > 1000] == []


def test_trajectories_have_ids_of_their_own_and_an_empty_file_is_refused(tmp_path):
    row = {"id": "t", "question_id": "q", "prompt": [{"role": "user", "content": "?"}], "response": "B"}
    found = read_trajectories(lines(tmp_path / "a.jsonl", [row, {**row, "id": "u"}]))
    assert [trajectory.id for trajectory in found] == ["t", "u"]
    said = []
    found = read_trajectories(lines(tmp_path / "a.jsonl", [row, row]), say=said.append)
    assert len(found) == 1
    assert said == [
        f"{tmp_path}/a.jsonl: 1 of 2 records set aside (repeated_id 1), the first: {tmp_path}/a.jsonl:2"
    ]
    with pytest.raises(InputError, match=r"a\.jsonl: no trajectories in it"):
        read_trajectories(lines(tmp_path / "a.jsonl", []))
