"""Items, scores and comparisons from records made by hand: fleming/evaluation/items.py, scoring.py, comparison.py."""

import dataclasses
import itertools
import json
import math
from collections import Counter
from pathlib import Path

import pytest

from fleming.evaluation.answers import Answer, answer_to_json
from fleming.evaluation.comparison import compare_runs, verdict
from fleming.evaluation.items import all_asked, reshuffle
from fleming.evaluation.report import about_data, about_mean, about_model, describe_comparison, results_table
from fleming.evaluation.scoring import summarise, summarise_all
from fleming.evaluation.statistics import detectable_mean, wilson_interval
from fleming.evaluation.votes import votes_of
from fleming.public.benchmarks import BENCHMARKS, LoadedBenchmark
from fleming.records import Question
from fleming.text import can_reorder
from model.errors import InputError


def question(name: str, answer: str = "A", count: int = 4, **fields) -> Question:
    options = {letter: f"{name} {letter.lower()}" for letter in "ABCDEFGHIJ"[:count]}
    return Question(id=name, options=options, answer=answer, **{"question": f"Which {name}?", **fields})


def loaded(questions, name="mine", **fields) -> LoadedBenchmark:
    return LoadedBenchmark(name, list(questions), [Path("mine.jsonl")], BENCHMARKS.get(name), [], **fields)


def answer(
    q: Question, choice: str | None, order: int = 0, sample: int = 0, name: str = "mine", **fields
) -> Answer:
    given = {
        "benchmark": name,
        "protocol": "cot",
        "id": q.id,
        "order": order,
        "sample": sample,
        "counts": True,
        "options": len(q.options),
        "answer": choice,
        "choice": choice,
        "gold": q.answer,
        "correct": choice == q.answer,
        "prompt": [],
        "response": "",
        "format": choice is not None,
        "finish_reason": "stop" if choice else "length",
        "tokens": 10,
        "time": {"seconds": 0.5},
    }
    return Answer(**given | fields)


# Items


def test_a_reshuffle_moves_options_with_their_texts_and_never_gives_the_published_order():
    q = question("x", "C", 5)
    seen = Counter()
    for order in range(1, 400):
        shown, published = reshuffle(q, order, seed=0)
        assert list(shown.options) == list("ABCDE")
        assert {published[letter]: text for letter, text in shown.options.items()} == q.options
        assert published[shown.answer] == "C"
        assert shown.options != q.options
        seen[shown.answer] += 1
    assert reshuffle(q, 3, seed=0) == reshuffle(q, 3, seed=0) != reshuffle(q, 3, seed=1)
    assert all(50 < seen[letter] < 110 for letter in "ABCDE")  # about 80 each: the right one lands anywhere
    assert reshuffle(question("y", "B", 2), 7, seed=0)[0].answer == "A"  # two options have one other order


@pytest.mark.parametrize(
    ("text", "moves"),
    [
        ("Aspirin", True),
        ("Vitamin A and vitamin D", True),
        ("A and B", False),
        ("Both A and C", False),
        ("a, b & d", False),
        ("All of the above", False),
        ("None of these", False),
        ("none of the above.", False),
        ("Any of the above", False),
        ("above the diaphragm", False),  # a guess on the safe side
        ("以上均非", False),
        ("出血部位", True),
        ("B cells", True),
        ("Both (A) & (C)", False),
        ("a, b are true & c, d are false", False),
        ("Both A and B are correct", False),
        ("Option A and C", False),
        ("option b", False),
        ("A和B", False),
        ("A、B均正确", False),
        ("都不对", False),
        ("Hepatitis A or B", True),
        ("A", True),
        ("None", True),
    ],
)
def test_options_that_speak_of_others_stay_where_they_are(text, moves):
    q = Question(id="x", question="?", options={"A": "one", "B": "two", "C": text}, answer="A")
    assert can_reorder(q.options) is moves


def test_every_sample_of_every_order_is_asked_once():
    fixed = Question(id="z", question="?", options={"A": "one", "B": "all of the above"}, answer="A")
    questions = [question("x"), question("y"), fixed]
    asked = all_asked(loaded(questions), "cot", 3, 2, 0, lambda item: len(item.question.id))
    keys = [a.key for a in asked]
    assert len(set(keys)) == len(keys) == 3 * 3 + 2 * 2  # other orders are asked once
    assert {key[2:5] for key in keys if key[2] == "z"} == {("z", 0, 0), ("z", 0, 1), ("z", 0, 2)}
    assert [a.item.published_letter("A") for a in asked if a.item.order == 0] == ["A"] * 9


# Scores


def test_the_interval_of_several_answers_a_question_is_narrower_than_of_one_and_than_of_none_right():
    questions = [question(str(i)) for i in range(24)]

    def interval(right: int, samples: int) -> tuple[float, float]:
        marks = [
            answer(q, "A" if i * samples + j < right else "B", sample=j)
            for i, q in enumerate(questions)
            for j in range(samples)
        ]
        score = summarise(loaded(questions), marks).score
        return score.accuracy_low, score.accuracy_high

    assert interval(9, 1) == wilson_interval(9, 24)
    assert interval(0, 4) == wilson_interval(0, 24)
    assert interval(1, 4)[1] > interval(0, 4)[1]


def test_abstentions_are_wrong_answers_and_are_reported():
    questions = [question("x"), question("y", "B"), question("z", "C", 10)]
    records = [answer(questions[0], "A"), answer(questions[1], None), answer(questions[2], "D")]
    found = summarise(loaded(questions), records)
    assert (found.score.n, found.score.accuracy) == (3, pytest.approx(1 / 3))
    assert found.score.chance == pytest.approx((0.25 + 0.25 + 0.1) / 3)
    assert (found.details["abstained"], found.details["cut"], found.details["format"]) == pytest.approx(
        (1 / 3, 1 / 3, 2 / 3)
    )
    assert found.details["mean_tokens"] == 10
    assert found.details["calibration"] is None
    assert found.details["option_order"] is None
    table = results_table([("model", found)])
    assert "33.3 [6.1, 79.2]" in table
    assert "20.0" in table


def test_votes_give_pass_at_k_maj_at_k_and_calibration():
    q = question("x", "B")
    records = [answer(q, choice, sample=i) for i, choice in enumerate(["B", "B", "A", None])]
    found = summarise(loaded([q]), records)
    pairs = list(itertools.combinations(["B", "B", "A", None], 2))
    passes = sum("B" in pair for pair in pairs) / len(pairs)
    votes = sum(
        {("B", "B"): 1, ("B", "A"): 0.5, ("B", None): 1, ("A", None): 0}[pair] for pair in pairs
    ) / len(pairs)
    assert found.details["pass_at_k"] == {"1": 0.5, "2": pytest.approx(passes), "4": 1.0}
    assert found.details["maj_at_k"] == {"1": 0.5, "2": pytest.approx(votes), "4": 1.0}
    assert found.details["calibration"]["ece"] == pytest.approx(0.5)  # half the votes, and right
    assert found.details["calibration"]["brier"] == pytest.approx(0.5**2 + 0.25**2)
    assert "pass@k of 4 answers: 50.0 (chance 25.0) for k = 1" in "\n".join(about_model("x", found))


def test_likelihoods_give_calibration():
    questions = [question("x", "A", 2), question("y", "B", 2)]
    records = []
    for q in questions:
        likelihoods = {"A": math.log(0.3), "B": math.log(0.1)}  # normalised over the options: 3/4 and 1/4
        more = {
            "protocol": "loglikelihood",
            "loglikelihoods": likelihoods,
            "correct_by_length": q.answer == "A",
        }
        records.append(answer(q, "A", **more, cut_left=False, finish_reason=None, format=None))
    found = summarise(loaded(questions), records)
    assert found.details["calibration"]["ece"] == pytest.approx(0.25)  # always 75 % sure, half right
    assert found.details["calibration"]["brier"] == pytest.approx((2 * 0.25**2 + 2 * 0.75**2) / 2)
    assert found.details["accuracy_by_length"] == 0.5


def test_robustness_to_order_counts_questions_whose_choice_stays():
    q = {name: question(name) for name in "xyzw"}
    orders = {"x": ["A", "A", "A"], "y": ["A", "B", "A"], "z": [None, None, None], "w": ["B", "B", "B"]}
    records = [answer(q[name], c, order=i) for name, choices in orders.items() for i, c in enumerate(choices)]
    fixed = Question(id="f", question="?", options={"A": "one", "B": "all of the above"}, answer="A")
    records.append(answer(fixed, "A"))  # asked in one order only
    found = summarise(loaded([*q.values(), fixed]), records)
    order = found.details["option_order"]
    assert (order["orders"], order["questions"], order["left_out"]) == (3, 4, 1)
    assert order["accuracies"] == [0.5, 0.25, 0.5]
    assert order["spread"] == 0.25
    assert order["consistency"] == 0.5  # x and w; z never says anything
    assert found.score.accuracy == 0.6  # the published order alone


def test_repeated_stems_count_once_where_the_paper_counts_so():
    twins = [question(str(i), question="Which stem?" if i < 2 else f"Which {i}?") for i in range(4)]
    records = [answer(q, "A" if i in (1, 2) else "B") for i, q in enumerate(twins)]
    plain = summarise(loaded(twins), records)
    assert (plain.score.n, plain.score.accuracy) == (4, 0.5)
    assert "all_rows" not in plain.details
    medbullets = loaded(twins, "medbullets")
    counts = {a.key[2]: a.item.counts for a in all_asked(medbullets, "cot", 1, 0, 0, lambda item: 0)}
    assert counts == {"0": True, "1": False, "2": True, "3": True}
    records = [dataclasses.replace(r, benchmark="medbullets", counts=counts[r.id]) for r in records]
    counted = summarise(medbullets, records)
    assert counted.details["abstained"] == 0
    assert (counted.score.n, counted.score.accuracy) == (3, pytest.approx(1 / 3))
    assert (counted.details["all_rows"].n, counted.details["all_rows"].accuracy) == (4, 0.5)
    assert "all 4 records: 50.0" in "\n".join(about_model("medbullets", counted))


def test_breakdowns_read_the_records_and_name_what_divides_them():
    questions = [
        question("a", difficulty="easy", provenance={"rare": True, "hops": 1}),
        question("b", difficulty="easy", provenance={"rare": False, "hops": 2}),
        question("c", difficulty="difficult", language="zh", provenance={"groups": {"subject": "ENT"}}),
        question("d", source="other", provenance={"groups": "nonsense"}, question="as shown in the figure"),
    ]
    records = [answer(q, "A" if q.id in "ac" else "B") for q in questions]
    by = summarise(loaded(questions), records).details["breakdown"]
    assert set(by) == {
        "difficulty",
        "language",
        "source",
        "rare_entity",
        "hops",
        "flawed",
    }  # one subject divides nothing
    assert {k: (v.n, v.accuracy) for k, v in by["difficulty"].items()} == {
        "easy": (2, 0.5),
        "difficult": (1, 1),
    }
    assert {k: v.accuracy for k, v in by["rare_entity"].items()} == {"True": 1, "False": 0}
    assert by["flawed"]["True"].n == 1
    assert by["language"]["zh"].accuracy_low == wilson_interval(1, 1)[0]


def test_flaws_of_the_data_and_warnings_are_part_of_the_result():
    q = [question("a"), question("b")]
    twice = Question(id="c", question="Which?", options={"A": "same", "B": "same", "C": "other"}, answer="B")
    benchmark = loaded([*q, twice], warnings=["not the same set"])
    found = summarise(benchmark, [answer(x, "A") for x in benchmark.questions])
    assert found.details["data"]["defects"] == {
        "duplicate_options": {"count": 1, "ids": ["c"]},
        "gold_among_duplicates": {"count": 1, "ids": ["c"]},
    }
    assert about_data(found) == [
        "WARNING, mine: not the same set",
        "mine, flaws of the data: duplicate_options 1, gold_among_duplicates 1 (which: results.json)",
    ]


def test_the_mean_of_benchmarks_is_unweighted():
    few, many = [question("x")], [question(f"y{i}") for i in range(9)]
    records = [answer(q, "A", name="one") for q in few] + [answer(q, "B", name="two") for q in many]
    first, second, mean = summarise_all([loaded(few, "one"), loaded(many, "two")], records)
    assert (first.benchmark, second.benchmark, mean.benchmark) == ("one", "two", "mean of 2")
    assert {result.protocol for result in (first, second, mean)} == {"cot"}
    assert mean.score.accuracy == 0.5
    assert mean.details == {"of": ["one", "two"], "papers_nine": False}
    assert {name: q.score for name, q in first.questions.items()} == {"x": 1.0}
    low, high = mean.score.accuracy_low, mean.score.accuracy_high
    one, nine = (
        wilson_interval(1, 1),
        wilson_interval(0, 9),
    )  # no score varies, which is no proof of certainty
    assert low == pytest.approx(0.5 - (1 - one[0]) / 2)
    assert high == pytest.approx(0.5 + nine[1] / 2)
    several = [question(f"z{i}") for i in range(40)]
    records += [answer(q, "A" if i % 2 else "B", name="three") for i, q in enumerate(several)]
    parts = [loaded(few, "one"), loaded(many, "two"), loaded(several, "three")]
    mean = summarise_all(parts, records)[-1].score  # two that never vary and one that does
    half = [
        (1 - one[0], 0),
        (0, nine[1]),
        (0.5 - wilson_interval(20, 40)[0], wilson_interval(20, 40)[1] - 0.5),
    ]
    assert mean.accuracy_low == pytest.approx(0.5 - math.hypot(*(h[0] for h in half)) / 3)
    assert mean.accuracy_high == pytest.approx(0.5 + math.hypot(*(h[1] for h in half)) / 3)


def test_the_mean_is_also_given_without_the_smallest_third():
    benches, answers = [], []
    for name, size in (("one", 40), ("two", 6), ("three", 50)):
        questions = [question(f"{name} {i}") for i in range(size)]
        benches.append(loaded(questions, name))
        answers += [
            answer(q, "A" if i < size // 2 or name == "two" else "B", name=name)
            for i, q in enumerate(questions)
        ]
    *_, mean = summarise_all(benches, answers)
    found = mean.details["without_smallest"]
    assert mean.score.accuracy == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert (found["left_out"], found["score"].accuracy, found["score"].n) == (["two"], 0.5, 90)
    (line,) = about_mean("mean of 3, m", mean)
    assert line.startswith("mean of 3, m: without the smallest (two) 50.0 [")


def test_the_commonest_letter_is_a_level_to_beat():
    questions = [question(str(i), "AABAC"[i]) for i in range(5)]
    found = summarise(loaded(questions), [answer(q, "B") for q in questions])
    assert found.score.commonest_letter == 0.6
    assert "60.0" in results_table([("model", found)])
    assert about_model("x", found)[0] == "x: answers B in 100.0 % of cases; it is right in 20.0 %"


# Comparisons


def run_of(folder: Path, right: dict[str, bool], gold: str = "A", **more) -> Path:
    folder.mkdir(exist_ok=True)
    records = [answer(question(i, gold), gold if r else "B", **more) for i, r in right.items()]
    (folder / "answers.jsonl").write_text("".join(json.dumps(answer_to_json(r)) + "\n" for r in records))
    return folder


def test_a_winner_is_named_only_where_the_interval_excludes_zero(tmp_path):
    names = [f"q{i}" for i in range(100)]
    a = run_of(tmp_path / "a", {n: i < 50 for i, n in enumerate(names)})
    b = run_of(tmp_path / "b", {n: i < 70 for i, n in enumerate(names)})
    c = run_of(tmp_path / "c", {n: i < 49 or i in (60, 61, 62) for i, n in enumerate(names)})
    said = {}
    for x, y in ((a, b), (b, a), (a, c), (a, a)):
        (row,) = compare_runs(x, y).benchmarks
        said[x.name + y.name] = row.difference.verdict
        assert (row.difference.low > 0 or row.difference.high < 0) >= ("better" in row.difference.verdict)
        assert ("better" in describe_comparison(compare_runs(x, y))) == ("better" in row.difference.verdict)
    assert said == {
        "ab": "b is better",
        "ba": "a is better",
        "ac": "no difference shown",
        "aa": "no difference shown",
    }
    (row,) = compare_runs(a, c).benchmarks
    assert (row.difference.wins, row.difference.losses, row.a.n, row.difference.difference) == (
        3,
        1,
        100,
        pytest.approx(0.02),
    )
    assert verdict(0.0, 0.1, 5, 0.01) == verdict(-0.1, 0.0, -5, 0.01) == "no difference shown"
    # one common question, or four won and none lost: the bootstrap's interval excludes 0, the exact test knows better
    for won in (1, 4):
        one = run_of(tmp_path / f"few{won}", {n: i < won for i, n in enumerate(names)})
        none = run_of(tmp_path / "none", dict.fromkeys(names, False))
        (row,) = compare_runs(none, one).benchmarks
        assert row.difference.verdict == "no difference shown"


def test_only_common_questions_count_and_their_gold_must_agree(tmp_path):
    a = run_of(tmp_path / "a", {"x": True, "y": False})
    b = run_of(tmp_path / "b", {"y": True, "z": True})
    (row,) = compare_runs(a, b).benchmarks
    assert (row.a.n, row.only_a, row.only_b, row.difference.difference) == (1, 1, 1, 1.0)
    with pytest.raises(InputError, match=r"y has the right answer C, in .*a it is A"):
        compare_runs(a, run_of(tmp_path / "c", {"y": True}, gold="C"))
    with pytest.raises(InputError, match="no question of one benchmark"):
        compare_runs(a, run_of(tmp_path / "d", {"y": True}, name="other"))
    (tmp_path / "e").mkdir()
    (tmp_path / "e/answers.jsonl").write_text('{"benchmark": "mine"}\n')
    with pytest.raises(InputError, match=r"answers.jsonl:1: field 'protocol' is missing"):
        compare_runs(a, tmp_path / "e")


def test_a_mean_over_benchmarks_says_what_it_could_have_shown(tmp_path):
    folders = []
    for name, share in (("a", 3), ("b", 4)):
        two = [
            run_of(tmp_path / f"{name}{i}", {f"{i}/{q}": q % share == 0 for q in range(60)}, name=f"set{i}")
            for i in "12"
        ]
        (tmp_path / name).mkdir()
        (tmp_path / name / "answers.jsonl").write_text(
            "".join((f / "answers.jsonl").read_text() for f in two)
        )
        folders.append(tmp_path / name)
    found = compare_runs(*folders)
    gains = [(q % 4 == 0) - (q % 3 == 0) for q in range(60)]
    assert (
        found.means[0].detectable
        == detectable_mean([gains, gains])
        < found.benchmarks[0].difference.detectable
    )
    assert "macro average of 2, cot: b minus a -8.3 [" in describe_comparison(found)
    assert (
        f"], detectable {100 * found.means[0].detectable:.1f}: "
        in describe_comparison(found).splitlines()[-1]
    )


def test_damaged_settings_are_an_error_that_names_the_file(tmp_path):
    a = run_of(tmp_path / "a", {"x": True})
    for text in ("{}", "[1]", "null", "{"):
        (a / "settings.json").write_text(text)
        with pytest.raises(InputError, match=r"a/settings\.json: not "):
            compare_runs(a, a)


def test_several_answers_a_question_are_one_score_and_other_orders_are_left_out(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    q = question("x")
    records = [answer(q, c, sample=i) for i, c in enumerate("ABA")] + [answer(q, "B", order=1)]
    (folder / "answers.jsonl").write_text("".join(json.dumps(answer_to_json(r)) + "\n" for r in records))
    (row,) = compare_runs(folder, folder).benchmarks
    assert row.a.n == 1
    assert row.a.accuracy == pytest.approx(2 / 3)
    assert row.difference.test == "sign test"


@pytest.mark.parametrize(
    "prompt", [[], ["text"], {"a": 1}, 3, None, [{"role": "user"}], [{"content": ["x"]}], ""]
)
def test_a_record_of_another_form_is_a_patient_of_its_own(prompt):
    q = question("one")
    assert votes_of([answer(q, "A", prompt=prompt)])["one"].case == "one"


def test_questions_about_one_patient_begin_alike():
    q, long = question("one"), "A woman of 70 years " * 9
    cases = [
        votes_of([answer(q, "A", prompt=[{"role": "user", "content": long + end}])])["one"].case
        for end in "ab"
    ]
    assert cases[0] == cases[1] != votes_of([answer(q, "A", prompt=long[5:])])["one"].case
