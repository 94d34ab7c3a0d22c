"""The public training sets: PubMedQA's folds, and the train forms of MedQA, MedMCQA and CMExam."""

import hashlib
import json
from collections import Counter

import pytest
from support.forms import lines, parquet

from fleming.public.curation import FOLDS, pubmedqa_fold
from fleming.public.readers import read_set
from fleming.public.tables import read_rows
from model.errors import InputError


def pmids(questions):
    return [q.id.rpartition("/")[2] for q in questions]


@pytest.fixture
def labelled(shared):
    return shared / "data/benchmarks/pubmedqa/ori_pqal.json"


def test_pubmedqas_folds_part_all_that_is_not_tested(labelled):
    test = set(json.loads(labelled.with_name("test_ground_truth.json").read_text()))
    everything = set(pmids(read_set(labelled).questions))
    held_out = []
    for fold in range(FOLDS):
        train, dev = pubmedqa_fold(labelled, fold)
        assert (len(train), len(dev)) == (450, 50)
        assert ({q.split for q in train}, {q.split for q in dev}) == ({"train"}, {"dev"})
        assert set(pmids(train)) | set(pmids(dev)) == everything - test
        assert not set(pmids(train)) & set(pmids(dev))
        held_out += pmids(dev)
    assert len(held_out) == len(set(held_out)) == 500


def test_fold_0_is_the_one_that_others_have_published(labelled):
    # BioGPT's data/PubMedQA/raw/valid.tsv has these questions in this order, and its test.tsv the test's.
    _, dev = pubmedqa_fold(labelled, 0)
    assert pmids(dev)[:3] == ["15879722", "12607666", "17593459"]
    assert (
        hashlib.sha256(" ".join(pmids(dev)).encode())
        .hexdigest()
        .startswith("97191b5742f289b4a99c5c7d02b454a2")
    )


def test_labels_are_spread_evenly_over_folds(labelled):
    labels = [Counter(q.options[q.answer] for q in pubmedqa_fold(labelled, fold)[1]) for fold in range(FOLDS)]
    for label, least, most in (("yes", 25, 30), ("no", 15, 20), ("maybe", 2, 8)):
        assert all(least <= found[label] <= most for found in labels)


def test_the_hubs_form_has_the_same_folds(labelled, tmp_path):
    rows = [
        {
            "pubid": int(row["@id"]),
            "question": row["QUESTION"],
            "context": {"contexts": row["CONTEXTS"]},
            "final_decision": row["final_decision"],
        }
        for _, row in read_rows(labelled)
    ]
    path = parquet(tmp_path / "ori_pqal.parquet", rows)
    assert pubmedqa_fold(path, 3) == pubmedqa_fold(labelled, 3)
    for changed in (rows[:-1], rows[::-1]):
        with pytest.raises(InputError, match="does not give the published test ids"):
            pubmedqa_fold(lines(tmp_path / "ori_pqal.jsonl", changed), 0)
    for fold in (-1, 10):
        with pytest.raises(InputError, match=f"the folds 0 to 9, not {fold}"):
            pubmedqa_fold(labelled, fold)


def test_the_real_training_files_of_medqa_are_read(shared):
    for file, split, rows in (("medqa_train_50.jsonl", "train", 50), ("medqa_dev_1272.jsonl", "dev", 1272)):
        read = read_set(shared / "data/train" / file)
        assert (read.name, len(read.questions), read.set_aside) == ("medqa", rows, [])
        assert {q.split for q in read.questions} == {split}


def test_the_real_cmexam_sets_rows_with_several_answers_aside(shared):
    path = shared / "data/train/cmexam_5000.csv"
    read = read_set(path)
    several = sum(len(row["Answer"] or "") > 1 for _, row in read_rows(path))
    assert Counter(record["code"] for record in read.set_aside) == {"several_answers": several}
    assert len(read.questions) + several == read.rows == 5000
    assert {q.split for q in read.questions} == {"train"}


def test_medmcqas_train_file_is_for_training_and_multi_has_one_right_option_too(tmp_path):
    # No published explanation says what "multi" means; each such record of the authors' files has one cop.
    row = {
        "opa": "iron",
        "opb": "zinc",
        "opc": "lead",
        "opd": "tin",
        "subject_name": "Dental",
        "topic_name": None,
    }
    rows = [
        {"question": f"Which {i}?", "exp": None, "cop": i % 4 + 1, "id": f"m{i}", "choice_type": kind, **row}
        for i, kind in enumerate(["single", "multi"] * 4)
    ]
    read = read_set(lines(tmp_path / "train.json", rows))
    assert [(q.split, q.answer) for q in read.questions] == [("train", "ABCD"[i % 4]) for i in range(8)]
    assert [q.provenance["groups"]["choice_type"] for q in read.questions[:2]] == ["single", "multi"]


def test_each_real_multi_record_of_medmcqa_has_one_right_option(shared):
    read = read_set(shared / "data/benchmarks/medmcqa/dev.json")
    kinds = Counter(q.provenance["groups"]["choice_type"] for q in read.questions)
    assert (kinds, read.set_aside) == ({"single": 2816, "multi": 1367}, [])
