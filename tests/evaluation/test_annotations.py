"""What physicians say of questions: their ratings read, flaws by majority, scores with them; by hand and for real."""

import csv
import hashlib
import json
import math
import random
from collections import Counter, defaultdict

import pytest

from fleming.config import load_config
from fleming.evaluation.annotations import read_annotations, score_by_raters
from fleming.evaluation.chosen import chosen_annotations
from fleming.evaluation.report import _by_raters
from fleming.evaluation.statistics import weighted_interval, wilson_interval
from fleming.evaluation.votes import Votes
from fleming.public.benchmarks import LoadedBenchmark, load_benchmark
from fleming.records import Question
from fleming.settings import Config
from fleming.text import mentions_figure, mentions_lost_table
from model.errors import InputError

OPTIONS = {"A": "gout", "B": "mumps", "C": "croup"}
FILE = "data/benchmarks/medqa/medqa_relabelling.csv"


def ask(name, answer="A"):
    return Question(name, f"What has patient {name}?", dict(OPTIONS), answer)


def bench(*questions):
    return LoadedBenchmark("mine", list(questions), [], None, [])


def written(path, rows):
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("answers", "flaws", "letters", "named"),
    [
        ("a; Ｃ", "", {"A", "C"}, set()),
        ("none", "missing information; typo", set(), {"missing_information", "typo"}),
        (["B"], ["too long"], {"B"}, {"too_long"}),
        ("a and c", "none", {"A", "C"}, set()),
        ("n/a", "-", set(), set()),
        (["N/A"], ["n/a", "typo"], set(), {"typo"}),
        ("b", "missing_information ambiguous", {"B"}, {"missing_information", "ambiguous"}),
        ("b", "Ambiguous and gold_not_chosen", {"B"}, {"gold_not_chosen", "ambiguous"}),
        ("a\nc", "too long\ntypo\n", {"A", "C"}, {"too_long", "typo"}),
        ("['A']", "['too long', 'typo']", {"A"}, {"too_long", "typo"}),
        ("A、C", "题目不清，图缺失；ambiguous", {"A", "C"}, {"题目不清", "图缺失", "ambiguous"}),
        ("无", "无", set(), set()),
    ],
)
def test_a_rater_may_write_letters_and_names_as_people_do(tmp_path, answers, flaws, letters, named):
    row = {"id": "one", "answers": answers, "flaws": flaws}
    [rating] = read_annotations(written(tmp_path / "r.jsonl", [row]), bench(ask("one"))).of["one"]
    assert (rating.answers, rating.flaws) == (letters, named)


def test_columns_may_have_capitals(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("ID,A,B,C,Answers,Flaws\none,croup,gout,mumps,B,Too long\n")
    [rating] = read_annotations(path, bench(ask("one"))).of["one"]
    assert (rating.answers, rating.flaws) == ({"A"}, {"too_long"})


def test_a_rater_who_names_what_his_letters_say_counts_once(tmp_path):
    both = {"id": "one", "answers": "A, B", "flaws": "ambiguous"}
    rows = [both, {"id": "one", "answers": "A"}, {"id": "one", "answers": "A"}]
    question = ask("one")
    assert read_annotations(written(tmp_path / "r.jsonl", rows), bench(question)).flaws(question) == set()


def test_ratings_are_found_by_id_or_text_and_bad_rows_are_counted(tmp_path):
    one, two = ask("one"), ask("two", "B")
    rows = [
        {"id": "one", "answers": ["A"], "flaws": ["missing_information"]},
        {"question": "what has patient ONE ?", "answers": "A, B"},
        {"id": "one", "answers": []},
        # The rater saw the options in another order: the letters follow the texts.
        {"question": two.question, "A": "Mumps.", "B": "croup", "C": "gout", "answers": "['A']", "flaws": ""},
        {"id": "three", "answers": ["A"]},
        {"question": two.question, "A": "cold", "B": "croup", "C": "gout", "answers": "A"},
        {"id": "one", "answers": ["D"]},
        {"id": "one"},
        "{broken",
    ]
    found = read_annotations(written(tmp_path / "r.jsonl", rows), bench(one, two))
    assert [sorted(r.answers) for r in found.of["one"]] == [["A"], ["A", "B"], []]
    assert [sorted(r.answers) for r in found.of["two"]] == [["B"]]
    assert (found.unmatched, found.unread) == (2, 3)
    assert found.flaws(one) == set()  # one of three each
    assert found.agreement(one) == pytest.approx(2 / 3)
    assert found.agreement(two) == 1.0


@pytest.mark.parametrize(
    ("answers", "flaws", "own"),
    [
        (["A", "A", "B"], set(), None),
        (["A", "B", "B"], {"gold_not_chosen"}, "B"),
        (["AB", "AB", "A"], {"ambiguous"}, None),
        (["BC", "BC", "BC"], {"gold_not_chosen", "ambiguous"}, None),  # two letters, not one
        (["", "", "A"], {"gold_not_chosen"}, None),
        (["B", "A"], set(), None),  # half is no majority
        (["BC", "B"], {"gold_not_chosen"}, "B"),
    ],
)
def test_a_flaw_is_what_more_than_half_see(tmp_path, answers, flaws, own):
    q = ask("q")
    rows = [{"id": "q", "answers": list(letters)} for letters in answers]
    found = read_annotations(written(tmp_path / "r.jsonl", rows), bench(q))
    assert found.flaws(q) == flaws
    assert found.own_answer(q) == own


def test_a_file_about_other_questions_is_refused(tmp_path):
    file = written(tmp_path / "r.jsonl", [{"id": "x", "answers": ["A"]}])
    with pytest.raises(InputError, match=r"r\.jsonl: no rating of a question of mine: 1 rows are about none"):
        read_annotations(file, bench(ask("q")))
    cfg = load_config(Config, None, [f"evaluate.annotations={json.dumps({'medqaa': str(file)})}"])
    with pytest.raises(InputError, match=r"evaluate\.annotations\.medqaa"):
        chosen_annotations(cfg, [bench(ask("q"))])
    cfg = load_config(Config, None, [f"evaluate.annotations={json.dumps({'medqa': str(file)})}"])
    assert chosen_annotations(cfg, [bench(ask("x"))]) == {}  # a benchmark that is not asked this time


def test_scores_by_hand(tmp_path):
    """Four questions: one sound and right, one sound and wrong, one flawed, one where the raters say B."""
    questions = [ask(name) for name in "abcd"]
    said = {"a": ["A", "A", "A"], "b": ["A", "A", "B"], "c": ["", "", "A"], "d": ["B", "B", "A"]}
    rows = [{"id": name, "answers": list(letters)} for name, given in said.items() for letters in given]
    annotations = read_annotations(written(tmp_path / "r.jsonl", rows), bench(*questions))
    votes = {
        name: Votes("A", 3, Counter({letter: 2, "A": 2} if letter != "A" else {"A": 4}))
        for name, letter in zip("abcd", "ACBB", strict=True)
    }
    found = score_by_raters(questions, votes, annotations)
    assert (found["rated"], found["ratings"], found["flawed"]) == (4, 12, 2)
    assert found["flaws"] == {"gold_not_chosen": 2}
    assert found["without_flawed"].accuracy == (1 + 0.5) / 2
    weights = [1, 2 / 3, 1 / 3, 1 / 3]
    assert found["weighted"]["value"] == pytest.approx((1 + 0.5 * 4 / 3) / sum(weights))
    assert found["disagreeing"]["n"] == 1
    assert found["disagreeing"]["as_raters"]["value"] == found["disagreeing"]["as_gold"]["value"] == 0.5
    lines = _by_raters(found)
    assert "12 ratings of 4 questions; most raters find 2 flawed (gold_not_chosen 2)" in lines[0]
    assert len(lines) == 3
    assert (
        "ratings of 4 questions (2 rows of r.jsonl cannot be read, 5 are of no question here);"
        in _by_raters(found | {"unread_rows": 2, "unmatched_rows": 5, "file": "r.jsonl"})[0]
    )
    assert _by_raters(found | {"flaws": {}, "flawed": 0})[0].startswith(
        "12 ratings of 4 questions; most raters find 0 flawed; without these"
    )
    assert score_by_raters([ask("e")], votes, annotations) is None


def test_equal_weights_are_wilsons_and_no_weight_is_none():
    scores = [1.0] * 30 + [0.0] * 12
    found = weighted_interval(scores, [0.7] * 42)
    assert found.value == pytest.approx(30 / 42)
    assert (found.low, found.high) == pytest.approx(wilson_interval(30, 42))
    assert weighted_interval(scores, [0.0] * 42) is None


@pytest.mark.parametrize("n", [100, 300, 1273])
def test_the_weighted_interval_covers(n):
    """Weights as the physicians' are: most 1, some thirds, independent of the answers given the weight."""
    rng, inside, runs = random.Random(n), 0, 2000
    weights = [rng.choice([1, 1, 1, 1, 2 / 3, 1 / 3, 0]) for _ in range(n)]
    chance = {w: 0.3 + 0.4 * w for w in set(weights)}
    true = sum(w * chance[w] for w in weights) / sum(weights)
    for _ in range(runs):
        found = weighted_interval([float(rng.random() < chance[w]) for w in weights], weights)
        inside += found.low <= true <= found.high
    assert 0.94 - 2 * math.sqrt(0.94 * 0.06 / runs) < inside / runs < 0.97


def by_hand(shared):
    """The published file, read apart: stem -> its rows."""
    with open(shared / FILE, encoding="utf-8", newline="") as file:
        found = defaultdict(list)
        for row in csv.DictReader(file):
            found[row["question"]].append(row)
    return found


def most(rows, says):
    return 2 * sum(map(says, rows)) > len(rows)


def test_the_physicians_counts_of_medqa_are_the_published_files(shared):
    medqa = load_benchmark("medqa", shared / "data/benchmarks")
    found = read_annotations(shared / FILE, medqa)
    assert (found.unmatched, found.unread, len(found.of)) == (0, 0, 1273)
    flaws = {q.id: found.flaws(q) for q in medqa.questions}
    counts = Counter(flaw for each in flaws.values() for flaw in each)
    assert counts == {"missing_information": 71, "gold_not_chosen": 90, "ambiguous": 8}
    assert sum(map(bool, flaws.values())) == 139

    def final(row):
        when = "seen" if row["seen_change"] == "TRUE" else "blind"
        return row[f"{when}_answers"] if row[f"{when}_answerable"] == "TRUE" else ""

    rows = by_hand(shared)
    missing = {s for s, given in rows.items() if most(given, lambda r: r["important_info_missing"] == "TRUE")}
    other = {s for s, given in rows.items() if most(given, lambda r: f"'{r['answer_idx']}'" not in final(r))}
    several = {s for s, given in rows.items() if most(given, lambda r: final(r).count("'") > 2)}
    assert (len(missing), len(other), len(several), len(missing | other | several)) == (71, 90, 8, 139)


def test_the_flaw_finder_sees_what_physicians_miss(shared):
    """Its wordings were chosen on one half (by a hash of the stem); the other was measured once they stood."""
    recall, precision = {}, {}
    for half in (0, 1):
        rows = {
            s: r for s, r in by_hand(shared).items() if hashlib.sha256(s.encode()).digest()[0] % 2 == half
        }
        flagged = {s for s in rows if mentions_figure(s) or mentions_lost_table(s)}
        missing = {s for s, r in rows.items() if most(r, lambda x: x["important_info_missing"] == "TRUE")}
        some = {s for s in flagged if any(x["info_missing"] == "TRUE" for x in rows[s])}
        recall[half] = len(flagged & missing), len(missing)
        precision[half] = len(some), len(flagged)
    assert recall == {0: (38, 38), 1: (31, 33)}
    assert precision == {0: (58, 59), 1: (46, 50)}
