"""fleming/refine/duplicates.py against brute force: similar pairs are found, and none that differ in what counts."""

import itertools
import random
import time

import numpy as np
import pytest

from fleming.public.benchmarks import load_benchmark
from fleming.records import LETTERS, Question
from fleming.refine.duplicates import SIMILAR, drop_duplicates, jaccard, shingles, signatures

OPTIONS = ["Ethosuximide", "Phenytoin", "Carbamazepine", "Gabapentin"]
STEM = (
    "A 7-year-old girl stares into space for 10 seconds several times a day and does not answer; hyperventilation "
    "brings it on, and the recording shows spikes at 3 Hz. Which drug is the best first treatment for her?"
)
ZH = "女性，35岁，近2个月来发热，乏力伴消瘦，左颈及腹股沟可触及数个黄豆大小的淋巴结，首选的治疗方案是"


def ask(name: str, stem: str = STEM, options=OPTIONS, answer: str = "A", **fields) -> Question:
    return Question(name, stem, dict(zip(LETTERS, options, strict=False)), answer, **fields)


def codes(*questions: Question) -> list[tuple[str, str, str]]:
    kept, rejected = drop_duplicates(questions)
    assert len(kept) + len(rejected) == len(questions)
    return [(r["question"]["id"], r["code"], r["duplicate_of"]) for r in rejected]


def test_exact_duplicates_in_other_clothes_and_another_order_of_options():
    same = ask("b", f"  {STEM.upper()}\n", reversed(OPTIONS), "D")
    assert codes(ask("a"), same, ask("c")) == [("b", "exact_duplicate", "a"), ("c", "exact_duplicate", "a")]


@pytest.mark.parametrize(
    ("before", "after"),
    [("first treatment", "initial treatment"), ("several times a day", "several times each day")],
)
def test_a_changed_word_is_a_near_duplicate(before, after):
    assert codes(ask("a"), ask("b", STEM.replace(before, after))) == [("b", "near_duplicate", "a")]
    assert codes(ask("a", ZH), ask("b", ZH.replace("近2个月来", "2个月来"))) == [("b", "near_duplicate", "a")]


@pytest.mark.parametrize(
    ("before", "after"),
    [("7-year", "17-year"), ("does not answer", "does answer"), ("3 Hz", "3.5 Hz"), ("at 3 Hz", "at > 3 Hz"),
     ("best first", "least good first"), ("10 seconds", "10² seconds")],
)  # fmt: skip
def test_a_number_a_comparator_or_a_negation_makes_another_question(before, after):
    assert codes(ask("a"), ask("b", STEM.replace(before, after))) == []


def test_chinese_negation_and_numbers_make_another_question():
    stem = "关于" + ZH + "正确的是"
    assert codes(ask("a", stem), ask("b", stem.replace("正确", "不正确"))) == []
    assert codes(ask("a", ZH), ask("b", ZH.replace("35岁", "53岁"))) == []


def test_another_gold_or_other_options_make_another_question_and_one_option_less_does_not():
    assert codes(ask("a"), ask("b", answer="B")) == []
    assert codes(ask("a"), ask("b", options=[*OPTIONS[:2], "Valproate", "Lamotrigine"])) == []
    assert codes(ask("a"), ask("b", options=["<5", ">5"]), ask("c", options=[">5", "<5"])) == []
    assert codes(ask("a"), ask("b", options=OPTIONS[:3])) == [("b", "near_duplicate", "a")]


def test_another_context_is_another_question():
    trial = "The trial enrolled many children, whose parents kept a diary of each seizure for the whole school year."
    assert (
        codes(ask("a", "Is it useful?", context=trial), ask("b", "Is it useful?", context="A registry."))
        == []
    )


def test_what_equals_a_rejected_one_is_told_the_one_that_stays():
    near = STEM.replace("first treatment", "initial treatment")
    assert codes(ask("a"), ask("b", near), ask("c", near)) == [
        ("b", "near_duplicate", "a"),
        ("c", "exact_duplicate", "a"),
    ]


def made_up(count: int, rng: random.Random) -> list[Question]:
    """Random stems, half of them earlier ones with some words changed."""
    vocabulary = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(300)]
    stems: list[list[str]] = []
    for _ in range(count):
        stem = (
            list(rng.choice(stems))
            if stems and rng.random() < 0.5
            else rng.choices(vocabulary, k=rng.randint(2, 40))
        )
        for _ in range(rng.randint(0, 3)):
            stem[rng.randrange(len(stem))] = rng.choice(vocabulary)
        stems.append(stem)
    return [ask(str(i), " ".join(stem)) for i, stem in enumerate(stems)]


def test_brute_force_over_all_pairs_finds_the_same():
    questions = made_up(400, random.Random(1))

    def grams(q):  # on its own: no code of ours
        found = q.question.split()
        return {" ".join(found[i : i + 3]) for i in range(max(1, len(found) - 2))}

    first: list[Question] = []
    expected = set()
    for q in questions:
        similar = [len(grams(q) & grams(k)) / len(grams(q) | grams(k)) for k in first]
        if max(similar, default=0) >= SIMILAR:
            expected.add(q.id)
        else:
            first.append(q)
    kept, rejected = drop_duplicates(questions)
    assert len(expected) > 50
    found = {r["question"]["id"] for r in rejected}
    # A pair just as similar as SIMILAR is missed once in a hundred; nothing is rejected that is not similar.
    assert len(found ^ expected) <= 0.02 * len(expected)
    by_id = {q.id: q for q in questions}
    assert all(
        jaccard(grams(by_id[r["question"]["id"]]), grams(by_id[r["duplicate_of"]])) >= SIMILAR
        for r in rejected
    )
    assert {r["duplicate_of"] for r in rejected} <= {q.id for q in kept}


def test_signatures_agree_as_often_as_the_shingles_do():
    texts = [q.question for q in made_up(120, random.Random(2))]
    signed = signatures(texts)
    off = [
        (signed[i] == signed[j]).mean() - jaccard(shingles(texts[i]), shingles(texts[j]))
        for i, j in itertools.combinations(range(len(texts)), 2)
    ]
    assert abs(np.mean(off)) < 0.002
    assert np.abs(off).max() < 5 * (0.25 / signed.shape[1]) ** 0.5


FROZEN = [[1757622202, 776555437, 143618506], [1046957234, 2535229527, 1698434021]]


def test_the_same_everywhere_and_every_time():
    assert signatures(["absence seizures in a child", "癫痫"])[:, :3].tolist() == FROZEN
    questions = made_up(200, random.Random(3))
    assert drop_duplicates(questions) == drop_duplicates(list(questions))


def test_thousands_with_one_stem_and_empty_stems_take_no_time():
    questions = [
        ask(str(i), "Which of the following is true?", [f"yes{i % 5000}", f"b{i}"]) for i in range(4000)
    ]
    questions += [ask(f"e{i}", "?", [f"x{i}", "gold"], "B") for i in range(2000)]
    before = time.process_time()
    _, rejected = drop_duplicates(questions)
    assert time.process_time() - before < 10
    assert not [r for r in rejected if r["question"]["question"] != "?"]
    assert drop_duplicates([]) == ([], [])


def test_medbullets_ten_repeated_stems_are_found(shared):
    loaded = load_benchmark("medbullets", shared / "data/benchmarks")
    kept, rejected = drop_duplicates(loaded.questions)
    assert [q.id for q in kept] == [q.id for q in loaded.distinct]
    assert len(rejected) == 10
