"""fleming/public/benchmarks.py: the right file, the published counts, and every flaw of the data said aloud."""

import dataclasses
import json
import time
from pathlib import Path

import pytest
from support.forms import OPTIONS, ROWS, Rows, lines

from fleming.evaluation.loglikelihood import DOCUMENTS
from fleming.public.benchmarks import (
    BENCHMARKS,
    PAPER_NINE,
    LoadedBenchmark,
    defects,
    find_file,
    gold_letters,
    known_sizes,
    load_benchmark,
    load_own,
    skewed,
)
from fleming.records import LETTERS, Question, to_json
from model.errors import InputError


def question(number: int = 0, **fields) -> Question:
    values = {
        "id": f"q{number}",
        "question": f"Stem {number}?",
        "options": dict(OPTIONS),
        "answer": "A",
        **fields,
    }
    return Question(**values)


def numbered(form: str, count: int, **changes) -> Rows:
    ids = ("id", "unique_id", "question_id", "pubid")
    row = ROWS[form]
    return [
        {**row, **{k: i for k in ids if k in row}, "question": f"Stem {i}?", **changes} for i in range(count)
    ]


# Which file


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("careqa", "careqa/CareQA_en.json"),
        ("jmed", "JMED.jsonl"),
        ("medbullets", "Medbullets/medbullets_op4.csv"),
        ("medbullets_op5", "medbullets/medbullets_op5.csv.gz"),
        ("medbullets_op5", "medbullets_op5/medbullets_op5.json"),
        ("medmcqa", "medmcqa/dev.json"),
        ("medmcqa", "medmcqa/validation-00000-of-00001.parquet"),
        ("medqa", "phrases_no_exclude_test.jsonl.xz"),
        ("medqa_op5", "medqa/test.jsonl"),
        ("medxpertqa", "MedXpertQA/medxpertqa_text_input.jsonl"),
        ("pubmedqa", "pubmedqa/ori_pqal.json"),
        ("pubmedqa_1000", "pubmedqa/ori_pqal.json"),
        ("mmlu_pro_biology", "MMLU-Pro/test/../mmlu-pro_biology.jsonl"),
        ("mmlu_pro_health", "mmlu_pro/mmlu-pro_test.parquet"),
        ("cmexam", "cmexam/test_with_annotations.csv"),
    ],
)
def test_a_benchmark_is_found_in_its_folder_or_beside_the_others(tmp_path, name, file):
    path = (
        Path(tmp_path, file).resolve() if ".." not in file else tmp_path / "MMLU-Pro/mmlu-pro_biology.jsonl"
    )
    path.parent.mkdir(exist_ok=True)
    (path.parent / "README.md").touch()
    (path.parent / ".hidden.jsonl").touch()
    path.touch()
    assert find_file(name, tmp_path) == path
    assert find_file(name, path.parent) == path


def test_a_file_named_for_the_benchmark_comes_before_one_that_may_hold_it(tmp_path):
    for file in (
        "medqa/phrases_no_exclude_test.jsonl",
        "medqa/medqa_test.jsonl",
        "phrases_no_exclude_test.jsonl",
    ):
        Path(tmp_path, file).parent.mkdir(exist_ok=True)
        Path(tmp_path, file).touch()
    assert find_file("medqa", tmp_path) == tmp_path / "medqa/phrases_no_exclude_test.jsonl"


def test_several_files_that_may_be_it_are_named_and_none_is_chosen(tmp_path):
    for file in ("medmcqa/dev.json", "medmcqa/dev.json.gz", "MedMCQA/dev.jsonl"):
        Path(tmp_path, file).parent.mkdir(exist_ok=True)
        Path(tmp_path, file).touch()
    files = r"MedMCQA/dev\.jsonl, medmcqa/dev\.json, medmcqa/dev\.json\.gz"
    says = rf"{files} may be medmcqa: .*evaluate\.benchmarks\.medmcqa="
    with pytest.raises(InputError, match=says):
        find_file("medmcqa", tmp_path)


def test_an_absent_file_and_an_unknown_name_say_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"no file of jmed in it, looked for jmed\* there or in jmed/"):
        load_benchmark("jmed", tmp_path)
    with pytest.raises(InputError, match="'medqqa' is none of the benchmarks careqa, jmed"):
        load_benchmark("medqqa", tmp_path)
    with pytest.raises(InputError, match=r"medqa\.jsonl: cannot read: .*No such file"):
        load_benchmark("medqa", tmp_path / "medqa.jsonl")


def test_a_file_of_the_users_own_is_a_benchmark_without_a_published_size(tmp_path):
    loaded = load_benchmark("mine", lines(tmp_path / "mine.jsonl", [to_json(question())]))
    assert loaded == LoadedBenchmark("mine", [question()], [tmp_path / "mine.jsonl"], None, [])
    assert loaded.document == "letters"
    assert loaded.headline == loaded.questions


# Whether it is the right one


def test_a_file_of_another_benchmark_is_refused(tmp_path):
    four = lines(tmp_path / "four.jsonl", numbered("medbullets", 3))
    five = lines(tmp_path / "five.jsonl", numbered("medbullets", 3, ope="a fifth"))
    with pytest.raises(InputError, match=r"5 options, medbullets has 4: is it medbullets_op5\?"):
        load_benchmark("medbullets", five)
    with pytest.raises(InputError, match=r"4 options, medbullets_op5 has 5: is it medbullets\?"):
        load_benchmark("medbullets_op5", four)
    with pytest.raises(InputError, match=r"five\.jsonl:1: not a record of medqa: it lacks 'options'"):
        load_benchmark("medqa", five)
    biology = lines(tmp_path / "mmlu.jsonl", numbered("mmlu_pro", 3, category="biology"))
    with pytest.raises(InputError, match="no question of category 'health'"):
        load_benchmark("mmlu_pro_health", biology)


def test_a_count_that_is_not_the_published_one_is_a_warning(tmp_path):
    rows = [{**row, "cop": 1 + i % 4} for i, row in enumerate(numbered("careqa", 5621))]
    blank = dict.fromkeys(rows[0])
    loaded = load_benchmark("careqa", lines(tmp_path / "a.jsonl", [*rows, blank, blank]))
    assert (len(loaded.questions), len(loaded.set_aside), loaded.warnings) == (5621, 2, [])
    loaded = load_benchmark("careqa", lines(tmp_path / "a.jsonl", [*rows[:-1], blank]))
    assert len(loaded.warnings) == 1
    assert "has 5,620 records, careqa as published has 5,621: not the same set" in loaded.warnings[0]


def test_questions_that_lack_an_option_are_a_warning(tmp_path):
    rows = [*numbered("careqa", 3), {**ROWS["careqa"], "op4": " "}]
    assert (
        "1 of 4 questions have not 4 options"
        in load_benchmark("careqa", lines(tmp_path / "a", rows)).warnings[0]
    )


def test_only_the_named_category_of_a_file_that_has_several_is_asked(tmp_path):
    rows = [{**row, "category": LETTERS[i % 3]} for i, row in enumerate(numbered("mmlu_pro", 7))]
    rows += [{**row, "category": "health", "question_id": 100 + i} for i, row in enumerate(rows[:3])]
    loaded = load_benchmark("mmlu_pro_health", lines(tmp_path / "a.jsonl", rows))
    assert [q.id.rpartition("/")[2] for q in loaded.questions] == ["100", "101", "102"]


@pytest.mark.parametrize(
    ("truth", "says"),
    [
        (None, "missing; it names the 500 questions .* evaluate all of them as pubmedqa_1000"),
        ({}, "expected an object of PMID"),
        ({"1": "perhaps"}, "expected an object of PMID"),
        ({"1": ["no"]}, "expected an object of PMID"),
        (["1"], "expected an object of PMID"),
        ({"1": "no", "7": "no"}, "1 of the questions that .* names are missing"),
        ({"1": "yes"}, "pubmedqa/a/1 has answer 'no', .* has 'yes'"),
    ],
)
def test_the_official_split_needs_a_sound_ground_truth_beside_it(tmp_path, truth, says):
    path = lines(tmp_path / "a.jsonl", numbered("pubmedqa", 3))
    if truth is not None:
        (tmp_path / "test_ground_truth.json").write_text(json.dumps(truth))
    with pytest.raises(InputError, match=says):
        load_benchmark("pubmedqa", path)
    assert len(load_benchmark("pubmedqa_1000", path).questions) == 3


def test_the_nine_of_the_paper_and_what_is_known_of_each():
    assert len(PAPER_NINE) == 9
    assert not {"cmexam", "medqa_op5", "medbullets_op5", "pubmedqa_1000"} & set(PAPER_NINE)
    assert all(known.document in DOCUMENTS for known in BENCHMARKS.values())
    sizes = known_sizes()
    assert sizes["medbullets"] == (308, 298)
    assert sizes["pubmedqa"] == (500, 1000)
    assert sizes["mmluprobiology"] == (717,)


# Flaws


def test_flaws_are_counted_by_id_and_the_questions_stay():
    same = {"A": "iron", "B": " iron", "C": "zinc"}
    questions = [
        question(0, question="Which drug?"),
        question(1, question=" which  DRUG? ", answer="B"),
        question(2, question="Which drug?", context="An abstract."),
        question(3, options=same, answer="C"),
        question(4, options=same, answer="B"),
        question(5, options={"A": "TNF-α", "B": "TNF-β", "C": "tnf-α"}),
        question(6, question="What does the ECG shown in the figure say?"),
        question(7, provenance={"groups": {}, "letters": {"A": "B"}}),
        question(8, question="Which drug?"),
    ]
    assert defects(questions) == {
        "duplicate_stem": ["q1", "q8"],
        "other_gold": ["q1"],
        "duplicate_options": ["q3", "q4"],
        "gold_among_duplicates": ["q4"],
        "mentions_figure": ["q6"],
        "relettered": ["q7"],
    }
    known = BENCHMARKS["medbullets"]
    loaded = LoadedBenchmark("medbullets", questions, [], known, [])
    assert [q.id for q in loaded.headline] == ["q0", "q2", "q3", "q4", "q5", "q6", "q7"]
    assert dataclasses.replace(loaded, known=BENCHMARKS["medqa"]).headline == questions


FIGURES = [
    "An ECG is performed as seen in Figure A.",
    "physical exam is notable for the finding in Figure B",
    "A photograph of the patient's left hand is shown.",
    "A CT scan of the head is shown.",
    "An x-ray of the chest is shown below.",
    "A peripheral blood smear was performed and is shown below.",
    "His chest radiograph was obtained and shown here.",
    "A diffuse rash is present (see image).",
    "Refer to the image below.",
    "the structure indicated by the arrow",
    "The following graph shows two drugs",
    "The picture shows a slide",
    "Identify the nerve marked in the given diagram",
    "胸部平片如图所示，最可能的诊断是",
    "下图中箭头所指",
]
NO_FIGURES = [
    "Laboratory studies are shown below: Na+: 139 mEq/L",
    "The results are shown in the table below.",
    "A summary of tests is shown in the following table",
    "A CT scan of the head is normal and laboratory values are shown below:",
    "What best explains this clinical picture?",
    "The clinical picture shows improvement.",
    "She is preoccupied with her body image and figure.",
    "He exhibits a fine tremor; blood pressure figures of 165/95 were given.",
    "Which of the following images is most likely to be found on an x-ray?",
    "An echocardiogram showed an image compatible with vegetation.",
    "The stem and leaf diagram is a:",
    "Numerous mitotic figures are seen.",
    "心电图示ST段下移及T波倒置",
    "超声心动图中可见",
]


@pytest.mark.parametrize("text", FIGURES)
def test_a_stem_that_speaks_of_a_picture_is_flagged(text):
    assert "mentions_figure" in defects([question(question=text)])


@pytest.mark.parametrize("text", NO_FIGURES)
def test_a_stem_with_its_values_in_text_is_not_flagged_as_speaking_of_a_picture(text):
    assert "mentions_figure" not in defects([question(question=text)])


@pytest.mark.parametrize(
    "part",
    [
        "shown in the ",
        "x",
        "x ",
        "scan of ",
        "scan of a b c d e f g h i j ",
        "the lesion ",
        "results are shown ",
        "examination of ",
        "by the ",
        "图",
        "the following ",
    ],
)
def test_flaws_are_found_in_linear_time(part):
    began = time.process_time()
    defects([question(question=part * (200_000 // len(part)) + tail) for tail in ("", "x" * 200_000)])
    assert time.process_time() - began < 2


def test_a_letter_that_is_right_far_too_often_is_a_warning():
    many = {letter: f"disease {letter}" for letter in LETTERS[:21]}

    def of(golds: str, options: dict[str, str]) -> str | None:
        return next(iter(skewed([question(i, options=options, answer=g) for i, g in enumerate(golds)])), None)

    assert of("A" * 85 + "BCDEF" * 3, many) == "the right answer is A in 85 % of the questions, by chance 5 %"
    assert "is A in 18 %" in of("A" * 13 + LETTERS[:21] * 4, many)
    assert of("A" * 8 + LETTERS[:21] * 4, many) is None  # 13 %, below three times its chance
    assert "is B in 70 %" in of("B" * 70 + "ACD" * 10, OPTIONS)
    assert of("B" * 50 + "ACD" * 16 + "AC", OPTIONS) is None
    assert of("A" * 552 + "B" * 338 + "C" * 110, {"A": "yes", "B": "no", "C": "maybe"}) is None  # PubMedQA
    assert of("A" * 49, OPTIONS) is None  # too few to tell
    shares = gold_letters([question(i, answer=g) for i, g in enumerate("AABC")])
    assert shares == {"A": 0.5, "B": 0.25, "C": 0.25}


def test_a_skewed_file_is_warned_of_where_it_is_loaded_whatever_part_of_it_is_asked(tmp_path):
    rows = [{**row, "cop": 1} for row in numbered("careqa", 60)]
    assert "is A in 100 %" in load_benchmark("careqa", lines(tmp_path / "a.jsonl", rows)).warnings[-1]
    assert "is A in 100 %" in load_own(tmp_path / "a.jsonl", "mine").warnings[-1]


def test_a_users_own_file_of_a_public_form_is_asked_as_that_set_is(tmp_path):
    path = lines(tmp_path / "pubmedqa.jsonl", numbered("pubmedqa", 2))
    loaded = load_own(path, "pubmedqa")
    assert (loaded.document, loaded.known, loaded.warnings) == ("abstract", None, [])
    (tmp_path / "own.jsonl").write_text(
        '{"id": "1", "question": "?", "options": {"A": "a", "B": "b"}, "answer": "B"}'
    )
    assert load_own(tmp_path / "own.jsonl", "pubmedqa").document == "letters"
