"""The public sets' real files: the published counts, and the same questions from each form that they can take."""

import dataclasses
import gzip
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from support.forms import Rows, lines, parquet, table

from fleming.public.benchmarks import defects, load_benchmark
from fleming.public.forms import counted
from fleming.public.readers import read_set
from fleming.public.sets import SETS
from fleming.public.tables import read_rows
from fleming.records import to_json
from model.errors import InputError


@pytest.mark.parametrize(
    ("name", "questions", "stems", "options", "flaws", "warned"),
    [
        ("medqa", 1273, 1273, {4: 1273}, {}, False),
        ("medmcqa", 4183, 4183, {4: 4183}, {"duplicate_options": 21, "gold_among_duplicates": 4}, False),
        ("medbullets", 308, 298, {4: 308}, {"duplicate_stem": 10}, False),
        ("pubmedqa", 500, 500, {3: 500}, {}, False),
        ("pubmedqa_1000", 1000, 1000, {3: 1000}, {}, False),
        (
            *("mmlu_pro_biology", 717, 634, {10: 617, 9: 33, 8: 13, 7: 5, 6: 6, 5: 2, 4: 40, 3: 1}),
            *({"duplicate_stem": 83}, False),
        ),
        (
            *("careqa", 2798, 2785, {4: 2798}),  # the first part of 5,621
            *({"duplicate_stem": 13, "duplicate_options": 5, "gold_among_duplicates": 3}, True),
        ),
        ("medxpertqa", 244, 244, {10: 244}, {}, True),  # sampled of 2,450
    ],
)
def test_the_real_files_have_the_published_counts(shared, name, questions, stems, options, flaws, warned):
    loaded = load_benchmark(name, shared / "data/benchmarks")
    assert len(loaded.questions) == questions
    assert len(loaded.distinct) == stems
    assert Counter(len(q.options) for q in loaded.questions) == options
    found = {flaw: len(ids) for flaw, ids in defects(loaded.questions).items() if flaw != "mentions_figure"}
    assert found == flaws
    assert len(loaded.warnings) == warned


def test_what_is_known_of_the_real_files_records(shared):
    folder = shared / "data/benchmarks"
    careqa = load_benchmark("careqa", folder)
    path = folder / "careqa/care_qa_first_half.jsonl"
    assert careqa.set_aside == [{"record": f"{path}:{line}", "code": "blank"} for line in (1002, 1003)]
    decisions = {
        name: Counter(q.options[q.answer] for q in load_benchmark(name, folder).questions)
        for name in ("pubmedqa", "pubmedqa_1000")
    }
    assert decisions["pubmedqa"] == {"yes": 276, "no": 169, "maybe": 55}
    assert decisions["pubmedqa_1000"] == {"yes": 552, "no": 338, "maybe": 110}
    with pytest.raises(InputError, match=r"mmlu-pro_biology\.jsonl: no question of category 'health'"):
        load_benchmark("mmlu_pro_health", folder)
    for file, count in (("medxpertqa_sampled_text_input", 244), ("hf_form_first100", 100)):
        questions = read_set(folder / f"medxpertqa/{file}.jsonl").questions
        assert len(questions) == count
        assert not [q.id for q in questions if "Answer Choices" in q.question or "(J)" in q.question]
    assert len(defects(load_benchmark("medbullets", folder).questions)["mentions_figure"]) > 110


def test_no_question_of_the_real_pubmedqa_holds_its_long_answer(shared):
    path = shared / "data/benchmarks/pubmedqa/ori_pqal.json"
    answers = {row["@id"]: row["LONG_ANSWER"] for _, row in read_rows(path)}
    for q in load_benchmark("pubmedqa_1000", path).questions:
        assert answers[q.id.rpartition("/")[2]] not in json.dumps(to_json(q), ensure_ascii=False)


def real(path: Path, count: int | None = None) -> Rows:
    return [row for _, row in read_rows(path)][:count]


def test_the_real_medmcqa_in_the_hubs_form_is_the_same_questions(shared, tmp_path):
    rows = real(shared / "data/benchmarks/medmcqa/dev.json")
    hub = [{**row, "cop": row["cop"] - 1} for row in rows]
    expected = read_set(shared / "data/benchmarks/medmcqa/dev.json").questions
    assert read_set(parquet(tmp_path / "dev.parquet", hub)).questions == expected
    packed = tmp_path / "dev.csv.gz"
    packed.write_bytes(gzip.compress(table(tmp_path / "dev.csv", hub[:500]).read_bytes(), 1))
    assert read_set(packed).questions == expected[:500]
    for base, change in ((1, 0), (0, -1)):  # the explanations tell where there is no 0 and no 4
        few = [{**row, "cop": row["cop"] + change} for row in rows[:200] if 0 < row["cop"] + change < 4]
        path = lines(tmp_path / "dev.json", few)
        assert counted(SETS["medmcqa"].forms[0], path).base == base
        texts = {q.id: q.options[q.answer] for q in read_set(path).questions}
        assert texts == {q.id: q.options[q.answer] for q in expected if q.id in texts}


def test_the_real_files_in_their_other_forms_are_the_same_questions(shared, tmp_path):
    folder = shared / "data/benchmarks"

    medbullets = real(folder / "medbullets/medbullets_op4.csv")
    columns = {name: {str(i): row[name] for i, row in enumerate(medbullets)} for name in medbullets[0]}
    path = tmp_path / "medbullets_op4.json"
    path.write_text(json.dumps(columns), encoding="utf-8")
    assert load_benchmark("medbullets", path).questions == load_benchmark("medbullets", folder).questions

    source = folder / "medxpertqa/medxpertqa_sampled_text_input.jsonl"
    hub = [
        {**row, "options": {o["letter"]: o["content"] for o in row["options"]}, "label": row["label"][0]}
        for row in real(source)
    ]
    bare = [{**row, "question": row["question"].rpartition("\nAnswer Choices:")[0]} for row in hub]
    for rows in (hub, bare):
        assert read_set(lines(tmp_path / source.name, rows)).questions == read_set(source).questions
    assert read_set(parquet(tmp_path / f"{source.stem}.parquet", hub)).questions == read_set(source).questions

    shutil.copy(folder / "pubmedqa/test_ground_truth.json", tmp_path)
    pubmedqa = [
        {
            "pubid": int(row["@id"]),
            "question": row["QUESTION"],
            "context": {"contexts": row["CONTEXTS"], "labels": row["LABELS"], "meshes": row["MESHES"]},
            "long_answer": row["LONG_ANSWER"],
            "final_decision": row["final_decision"],
        }
        for row in real(folder / "pubmedqa/ori_pqal.json")
    ]
    for path in (
        lines(tmp_path / "ori_pqal.jsonl", pubmedqa),
        parquet(tmp_path / "ori_pqal.parquet", pubmedqa),
    ):
        assert load_benchmark("pubmedqa", path).questions == load_benchmark("pubmedqa", folder).questions

    source = folder / "mmlu_pro/mmlu-pro_biology.jsonl"
    others = [
        {**row, "category": "law", "question_id": 10**6 + row["question_id"]} for row in real(source, 50)
    ]
    path = parquet(tmp_path / "mmlu-pro_biology.parquet", others + real(source))
    assert (
        load_benchmark("mmlu_pro_biology", path).questions
        == load_benchmark("mmlu_pro_biology", folder).questions
    )

    source = folder / "careqa/care_qa_first_half.jsonl"
    for write, suffix in ((table, "csv"), (parquet, "parquet")):
        found = read_set(write(tmp_path / f"{source.stem}.{suffix}", real(source)))
        assert found.questions == read_set(source).questions
        assert [record["record"][-11:] for record in found.set_aside] == ["record 1002", "record 1003"]


def test_the_real_medqa_in_the_hubs_forms_is_the_same_questions(shared, tmp_path):
    source = shared / "data/benchmarks/medqa/phrases_no_exclude_test.jsonl"
    plain = [
        dataclasses.replace(q, provenance={"groups": {}}) for q in load_benchmark("medqa", source).questions
    ]
    endings = [
        {
            **{"id": f"test-{i:05}", "sent1": row["question"], "sent2": ""},
            **{f"ending{n}": text for n, text in enumerate(row["options"].values())},
            "label": "ABCD".index(row["answer_idx"]),
        }
        for i, row in enumerate(real(source))
    ]
    data = [
        {
            "id": str(i),
            "data": {
                "Question": row["question"],
                "Options": row["options"],
                "Correct Option": row["answer_idx"],
            },
        }
        for i, row in enumerate(real(source))
    ]
    name = f"{source.stem}.parquet"
    for rows in (endings, data):
        assert load_benchmark("medqa", parquet(tmp_path / name, rows)).questions == plain


def test_the_real_cmexam_has_two_records_of_several_answers_and_may_be_gb_18030(shared, tmp_path):
    source = shared / "data/train/cmexam_5000.csv"
    found = read_set(source)
    assert (found.rows, len(found.questions)) == (5000, 4998)
    assert found.describe_set_aside() == "2 of 5,000 records set aside (several_answers 2)"
    assert {(q.language, q.source) for q in found.questions} == {("zh", "cmexam")}
    rows = [
        {**row, "Options": row["Options"].replace("\\n", "\n"), "Clinical Department": "内科"}
        for row in real(source)
    ]
    path = tmp_path / source.name
    path.write_bytes(table(path, rows).read_bytes().decode().encode("gb18030"))
    assert read_set(path).questions == found.questions
    loaded = load_benchmark("cmexam", path)
    assert "has 5,000 records, cmexam as published has 6,811" in loaded.warnings[0]
