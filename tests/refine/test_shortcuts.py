"""fleming/refine/shortcuts.py: shortcuts that were planted are found, and where there is none, none is."""

import dataclasses
import json
import math
import random
import sys
import time

import numpy as np
import pytest
from support import warm
from support.places import ROOT

from fleming.evaluation.statistics import wilson_interval
from fleming.files import write_jsonl
from fleming.graph.knowledge_graph import Edge, Entity, KnowledgeGraph
from fleming.records import LETTERS, Question, to_json
from fleming.refine.learned import FOLDS, LEARNED, Learned, cross_fitted, nearest, tokens_of
from fleming.refine.shallow import Columns, root_of
from fleming.refine.shortcuts import conditional_logit, folds, share_right, shortcuts

SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
ALL_OR_NONE = {"signed_logit", "signed_logit_by_root"}  # these see what folds tell; all others must not


def word(rng: random.Random, syllables: int = 4) -> str:
    return "".join(rng.choices(SYLLABLES, k=syllables))


def stem(rng: random.Random, count: int = 12) -> str:
    return " ".join(word(rng, 2) for _ in range(count))


def ask(number: int, stem: str, options, right: int, **fields) -> Question:
    return Question(f"q{number}", stem, dict(zip(LETTERS, options, strict=False)), LETTERS[right], **fields)


def path_of(root: str, answer: str, relation: str = "treated_by") -> dict:
    return {"kind": relation, "path": [{"head": root, "relation": relation, "tail": answer}], "chain": [0]}


def unique_texts(count: int, seed: int, sizes=(4,)) -> list[Question]:
    """Questions without any shortcut: each text is used once."""
    rng = random.Random(seed)
    drawn = [rng.choice(sizes) for _ in range(count)]
    return [
        ask(i, stem(rng), [word(rng, rng.randint(2, 6)) for _ in range(n)], rng.randrange(n))
        for i, n in enumerate(drawn)
    ]


def balanced(count: int, texts: int, seed: int, roots: int = 0) -> list[Question]:
    """Questions of four options each; every text is an option as often, and right in exactly a quarter of the times."""
    rng = random.Random(seed)
    names = [word(rng) for _ in range(texts)]
    questions = []
    while len(questions) < count:
        rng.shuffle(names)
        for begin in range(0, texts - 3, 4):
            options = names[begin : begin + 4]
            for right in range(4):
                shown = rng.sample(options, 4)
                provenance = path_of(f"root {rng.randrange(roots)}", options[right]) if roots else None
                place = shown.index(options[right])
                questions.append(ask(len(questions), stem(rng), shown, place, provenance=provenance))
    return questions


def contains_chance(row: dict) -> bool:
    return row["low"] <= row["chance"] <= row["high"]


# --- what is planted is found


def test_the_longest_option_that_is_right_in_four_of_five_is_found():
    rng = random.Random(1)
    questions = []
    for i in range(400):
        options = [word(rng, size) for size in rng.sample(range(2, 15), 4)]
        longest = max(range(4), key=lambda place: len(options[place]))
        right = longest if rng.random() < 0.8 else rng.choice([p for p in range(4) if p != longest])
        questions.append(ask(i, stem(rng), options, right))
    found = shortcuts(questions)
    for name in ("longest_option", "logit", "surface_logit", "logit_by_root", "surface_logit_by_root"):
        assert found[name]["accuracy"] == pytest.approx(0.8, abs=0.05), name
        assert found[name]["low"] > 0.7, name
    assert found["shortest_option"]["high"] < 0.2
    assert found["prior"]["accuracy"] == 0.25


def test_a_text_that_is_mostly_right_is_found():
    rng = random.Random(2)
    others, favourite = [word(rng) for _ in range(200)], word(rng)
    questions = []
    for i in range(400):
        options = [*rng.sample(others, 3), favourite]
        rng.shuffle(options)
        right = options.index(favourite) if rng.random() < 0.8 else rng.randrange(4)
        provenance = path_of(f"root {i % 100}", options[right])
        questions.append(ask(i, stem(rng), options, right, provenance=provenance))
    found = shortcuts(questions)
    for name in ("prior", "logit", "prior_by_root", "logit_by_root", "most_common_option"):
        assert found[name]["accuracy"] == pytest.approx(0.85, abs=0.06), name
    assert found["surface_logit"]["high"] < 0.5


def test_a_text_that_is_right_in_one_kind_alone_is_found_by_kind():
    rng = random.Random(3)
    questions = []
    for i in range(400):
        options, kind = rng.sample(["alpha", "beta", "gamma", "delta"], 4), rng.randrange(4)
        right = options.index(["alpha", "beta", "gamma", "delta"][kind])
        questions.append(ask(i, stem(rng), options, right, source=f"source {kind}"))
    assert shortcuts(questions)["prior"]["accuracy"] == 1.0


def near_copies(rng: random.Random, roots: int = 80, each: int = 5) -> list[Question]:
    """Questions of a root differ in one word; the right options are other roots' wrong ones."""
    stems, answers, questions = (
        [stem(rng).split() for _ in range(roots)],
        [word(rng) for _ in range(roots)],
        [],
    )
    for root in range(roots):
        for _ in range(each):
            said = [*stems[root]]
            said[rng.randrange(len(said))] = word(rng, 2)
            options = [answers[root], *rng.sample([a for a in answers if a != answers[root]], 3)]
            rng.shuffle(options)
            provenance = path_of(f"root {root}", answers[root])
            right = options.index(answers[root])
            questions.append(ask(len(questions), " ".join(said), options, right, provenance=provenance))
    return questions


def test_near_copies_of_stems_are_found_in_random_folds_and_not_in_folds_by_root():
    found = shortcuts(near_copies(random.Random(4)))
    for name in ("nearest_stem", "logit", "clue_votes"):
        assert found[name]["low"] > 0.9, name
        assert found[f"{name}_by_root"]["low"] <= 0.25, name  # there is nothing to learn of another root
    assert contains_chance(found["prior_by_root"])


def test_a_clue_that_goes_with_a_text_is_found():
    rng = random.Random(5)
    clues, texts = [word(rng) for _ in range(40)], [word(rng) for _ in range(40)]
    questions = []
    for i in range(600):
        sign = rng.randrange(40)
        options = [texts[sign], *rng.sample([t for t in texts if t != texts[sign]], 3)]
        rng.shuffle(options)
        said = [*stem(rng).split(), clues[sign]]
        rng.shuffle(said)
        provenance = path_of(f"root {i}", texts[sign])
        right = options.index(texts[sign])
        questions.append(ask(i, " ".join(said), options, right, provenance=provenance))
    found = shortcuts(questions)
    for name in ("clue_votes", "clue_votes_by_root", "logit", "logit_by_root"):
        assert found[name]["low"] > 0.9, name


def test_overlap_is_the_share_of_the_option_that_the_stem_has():
    said, unsaid = "Fever after Travel to the tropics", "hepatitis jaundice cirrhosis ascites"
    questions = [ask(i, said, ["fever travel tropics " + unsaid, "FEVER", "rash"], 1) for i in range(5)]
    found = shortcuts(questions)
    assert found["word_overlap"]["accuracy"] == found["trigram_overlap"]["accuracy"] == 1.0
    assert found["longest_option"]["accuracy"] == 0.0


def test_the_medoid_is_the_option_most_like_the_others():
    options = ["renal artery stenosis", "renal artery dissection", "renal vein stenosis", "gout"]
    found = shortcuts([ask(i, "s", options, 0) for i in range(5)])
    assert found["medoid_by_words"]["accuracy"] == found["medoid_by_trigrams"]["accuracy"] == 1.0
    found = shortcuts([ask(i, "s", options, 3) for i in range(5)])
    assert found["outlier_by_words"]["accuracy"] == found["outlier_by_trigrams"]["accuracy"] == 1.0


def graph_of(degrees: dict[str, int], relation: str) -> KnowledgeGraph:
    graph = KnowledgeGraph()
    for number in range(max(degrees.values())):
        graph.add_entity(Entity(f"disease {number}", "disease"), "test")
    for name, count in degrees.items():
        graph.add_entity(Entity(name, "drug", synonyms=(f"{name} acid",)), "test")
        for number in range(count):
            graph.add_edge(Edge(f"disease {number}", relation, name), "test")
    return graph


@pytest.mark.parametrize("relation", ["treated_by", "contraindicated_in"])
@pytest.mark.parametrize("sign", [1, -1])
def test_popularity_in_the_graph_and_in_the_relation_asked(relation, sign):
    rng = random.Random(6)
    degrees = {word(rng): rng.randint(1, 60) for _ in range(300)}
    graph = graph_of(degrees, relation)
    questions = []
    for i in range(300):
        options = rng.sample(sorted(degrees), 4)
        if len({degrees[name] for name in options}) < 4:
            continue
        by_degree = sorted(options, key=lambda name: sign * degrees[name])
        right = options.index(by_degree[-1] if rng.random() < 0.8 else rng.choice(by_degree[:3]))
        provenance = path_of("disease 0", options[right], "treated_by")
        shown = [name.upper() if i % 2 else f"{name} acid" for name in options]
        questions.append(ask(i, stem(rng), shown, right, provenance=provenance | {"answer": options[right]}))
    questions.append(ask(999, "no drug", ["neither", "nor"], 0))
    found, most = shortcuts(questions, graph), "most" if sign == 1 else "least"
    row = found[f"{most}_popular_in_graph"]
    assert row["accuracy"] == pytest.approx(0.8, abs=0.07)
    assert row["n"] == len(questions) - 1, "options that are in no graph are not asked of it"
    assert found["logit"]["accuracy"] == pytest.approx(0.8, abs=0.07)
    in_relation = found[f"{most}_popular_in_relation"]["accuracy"]
    assert in_relation == (row["accuracy"] if relation == "treated_by" else 0.25)
    assert "most_popular_in_graph" not in shortcuts(questions)
    unasked = shortcuts([dataclasses.replace(q, provenance=None) for q in questions], graph)
    assert unasked[f"{most}_popular_in_graph"] == row
    assert "most_popular_in_relation" not in unasked, "nobody knows which relation is asked"


# --- where there is none, none is found


def test_without_a_shortcut_no_probe_leaves_chance_more_often_than_its_interval_may():
    rows = []
    for seed in range(8):
        found = shortcuts(unique_texts(300, seed, sizes=(2, 3, 4, 5)), seed=seed)
        rows += [row for name, row in found.items() if row["accuracy"] != row["chance"]]
    left = [row for row in rows if not contains_chance(row)]
    assert len(rows) > 60
    assert len(left) <= 0.1 * len(rows)
    assert all(abs(row["accuracy"] - row["chance"]) < 0.1 for row in rows)


@pytest.mark.parametrize("texts", [4, 24, 400])
def test_texts_that_are_right_in_a_quarter_of_the_times_are_no_shortcut(texts):
    for seed in range(3):
        found = shortcuts(balanced(800, texts, seed))
        assert not [name for name in found.keys() - ALL_OR_NONE if not contains_chance(found[name])]


def test_folds_by_answer_tell_the_key_to_a_signed_logit_alone():
    found = shortcuts(balanced(800, 400, 7))  # without provenance, so by the right answer's text
    assert (
        found["signed_logit_by_root"]["low"] > 0.6
    )  # a wrong option is rarely of the same fold, and unseen too
    assert contains_chance(found["logit_by_root"])
    assert found["prior_by_root"]["accuracy"] == 0.25


def test_random_labels_on_repeated_texts_and_stems_score_chance():
    accuracies = []
    for seed in range(6):
        rng = random.Random(seed)
        names, stems = [word(rng) for _ in range(60)], [stem(rng) for _ in range(100)]
        questions = []
        for i in range(800):
            shown, provenance = rng.sample(names, 4), path_of(f"root {rng.randrange(90)}", "unknown")
            questions.append(ask(i, rng.choice(stems), shown, rng.randrange(4), provenance=provenance))
        found = shortcuts(questions)
        accuracies.append([row["accuracy"] for row in found.values()])
    assert np.abs(np.mean(accuracies, 0) - 0.25).max() < 0.025


def test_what_is_the_key_of_one_other_question_is_no_shortcut():
    """Wrong options are drawn from the other keys: each is the more common by one, which tells of no question."""
    rng = random.Random(20)
    names = [word(rng) for _ in range(600)]
    questions = []
    for i, key in enumerate(names):
        options = [key, *rng.sample([name for name in names if name != key], 3)]
        rng.shuffle(options)
        questions.append(ask(i, stem(rng), options, options.index(key)))
    found = shortcuts(questions)
    assert found["signed_logit"]["low"] > 0.35
    for name in ("logit", "logit_by_root", "prior", "clue_votes", "nearest_stem"):
        assert contains_chance(found[name]), name


def test_what_says_nothing_scores_chance_exactly():
    questions = []
    for i in range(50):
        options = [f"{letter}{i:02}" for letter in "kxqz"[: 2 + i % 3]]
        questions.append(ask(i, "?" if i % 2 else "!", options, i % len(options)))
    found = shortcuts(questions)
    chance = round(sum(1 / len(q.options) for q in questions) / 50, 4)
    for name, row in found.items():
        assert row["chance"] == chance, name
        assert row["accuracy"] == chance, name


# --- nothing leaks


def tables_of(questions: list[Question], fold: np.ndarray) -> list[np.ndarray]:
    columns, tokens = Columns.of_questions(questions), tokens_of(questions)
    return cross_fitted(Learned(columns, tokens, fold, nearest(tokens, 0)), columns, fold)


def test_no_feature_of_a_question_knows_its_own_label_or_one_of_the_test_fold():
    questions = near_copies(random.Random(9), roots=12)
    fold = folds(questions, 0)[""]
    before, columns = tables_of(questions, fold), Columns.of_questions(questions)
    for changed in range(0, len(questions), 7):
        question = questions[changed]
        other = LETTERS[(LETTERS.index(question.answer) + 1) % 4]
        after = tables_of(
            [*questions[:changed], dataclasses.replace(question, answer=other), *questions[changed + 1 :]],
            fold,
        )
        same_fold = fold[columns.of] == fold[changed]
        for test in range(FOLDS):
            unseen = same_fold | (test == fold[changed])
            assert np.array_equal(before[test][unseen], after[test][unseen])
            assert not np.array_equal(before[test], after[test]) or test == fold[changed]


def test_the_same_counts_by_hand():
    """Prior and nearest stem of one question against a loop over the questions that may be learned from."""
    questions = near_copies(random.Random(10), roots=15)
    fold = folds(questions, 3)["_by_root"]
    tables, columns = tables_of(questions, fold), Columns.of_questions(questions)
    for test in range(FOLDS):
        for row in range(0, len(columns.of), 11):
            i = columns.of[row]
            text = columns.texts[columns.text[row]]
            seen = [q for q, f in zip(questions, fold, strict=True) if f not in (test, fold[i])]
            right = sum(q.options[q.answer] == text for q in seen)
            wrong = sum(text in q.options.values() for q in seen) - right
            odds = math.log((right + 0.25) / (wrong + 0.75)) - math.log(1 / 3)
            assert tables[test][row, LEARNED.index("prior")] == pytest.approx(odds)
            closest = max(seen, key=lambda q: cosine(questions, q, questions[i]))
            if cosine(questions, closest, questions[i]) == 0:
                continue
            is_key = closest.options[closest.answer] == text
            assert (tables[test][row, LEARNED.index("nearest_stem")] >= 2) == is_key


def cosine(questions: list[Question], a: Question, b: Question) -> float:
    said = [set(q.question.split()) | set((q.provenance or {}).get("visible", ())) for q in questions]
    words_a, words_b = set(a.question.split()), set(b.question.split())
    idf = {w: math.log((1 + len(questions)) / sum(w in s for s in said)) for w in words_a | words_b}
    length = [math.sqrt(sum(idf[w] ** 2 for w in words)) for words in (words_a, words_b)]
    return sum(idf[w] ** 2 for w in words_a & words_b) / length[0] / length[1]


def test_neighbours_are_those_of_brute_force_and_ties_come_in_a_drawn_order():
    questions = near_copies(random.Random(11), roots=10)
    near, alike = nearest(tokens_of(questions), 0)
    for i, question in enumerate(questions):
        wanted = sorted(
            (cosine(questions, q, question) for q in questions if q is not question), reverse=True
        )
        assert alike[i] == pytest.approx(wanted, abs=1e-6)
        assert alike[i] == pytest.approx(
            [cosine(questions, questions[j], question) for j in near[i]], abs=1e-6
        )
    same = [ask(i, "the same stem", ["a", "b"], 0) for i in range(40)]
    first = nearest(tokens_of(same), 0)[0][:, 0]
    assert len(set(first.tolist())) > 15
    assert not np.array_equal(first, nearest(tokens_of(same), 1)[0][:, 0])


def test_all_questions_of_a_root_are_in_one_fold_and_folds_are_of_one_size():
    questions = near_copies(random.Random(12))
    by_root = folds(questions, 0)["_by_root"]
    roots = [q.provenance["path"][0]["head"] for q in questions]
    assert len(set(zip(roots, by_root.tolist(), strict=True))) == 80
    for fold in folds(questions, 0).values():
        assert set(np.bincount(fold, minlength=FOLDS).tolist()) == {len(questions) // FOLDS}


def test_the_root_is_what_the_path_starts_from():
    edges = [("gout", "has_symptom", "toe pain"), ("gout", "treated_by", "colchicine")]
    path = [dict(zip(("head", "relation", "tail"), edge, strict=True)) for edge in edges]
    patient = {"path": path, "chain": [1], "visible": ["toe pain"], "hidden": ["gout"]}
    diagnosis = {**patient, "path": path[:1], "chain": []}
    named = {"path": path[1:], "visible": ["gout"], "hidden": []}
    backward = {"path": path[1:], "chain": [0], "visible": ["colchicine"], "hidden": []}
    roots = [root_of(ask(0, "s", ["a", "b"], 0, provenance=p)) for p in (patient, diagnosis, named, backward)]
    assert roots == ["root gout", "root gout", "root gout", "root colchicine"]
    assert root_of(ask(0, "s", ["a", "B."], 1)) == "answer b"


# --- the parts


def test_the_logit_is_the_maximum_of_its_likelihood():
    rng = np.random.default_rng(0)
    questions = unique_texts(200, 13, sizes=(2, 3, 7))
    columns = Columns.of_questions(questions)
    table = columns.centred(rng.normal(size=(len(columns.of), 3)))
    weights = conditional_logit(columns, table)

    def loss(w: np.ndarray) -> float:
        total = w @ w / 2
        for i in range(len(questions)):
            scores = table[columns.of == i] @ w
            total += math.log(np.exp(scores).sum()) - scores[columns.right[columns.of == i]][0]
        return total

    for step in np.eye(3) * 1e-4:
        assert (loss(weights + step) - loss(weights - step)) / 2e-4 == pytest.approx(0, abs=1e-5)
    assert np.abs(weights).max() > 0.02


def test_the_interval_is_wilsons_and_ties_are_shared():
    hits = np.array([1.0, 0.0, 0.5, 0.5, 1.0])
    row = share_right(hits, np.full(5, 0.5))
    assert (row["accuracy"], row["chance"], row["n"]) == (0.6, 0.5, 5)
    assert (row["low"], row["high"]) == pytest.approx(wilson_interval(3, 5), abs=1e-4)
    columns = Columns.of_questions([ask(0, "s", "abcd", 1), ask(1, "s", "ab", 0)])
    assert columns.hits(np.array([0, 3, 3, 3, 1, 2.0])).tolist() == [pytest.approx(1 / 3), 0.0]


# --- any file


def test_two_to_twenty_six_options_and_the_same_result_again():
    questions = unique_texts(120, 14, sizes=(2, 5, 26))
    found = shortcuts(questions, seed=3)
    chance = sum(1 / len(q.options) for q in questions) / 120
    assert all(row["chance"] == pytest.approx(chance, abs=1e-4) and row["n"] == 120 for row in found.values())
    assert json.dumps(found) == json.dumps(shortcuts(questions, seed=3))


def test_chinese_questions():
    rng = random.Random(15)
    characters = "患者男性女性发热咳嗽胸痛头晕恶心呕吐腹痛腹泻便血黄疸水肿乏力消瘦贫血出血抽搐昏迷"
    drugs = ["青霉素", "阿司匹林", "地高辛", "胰岛素", "甲氨蝶呤", "环孢素"]
    stems = ["".join(rng.choices(characters, k=20)) for _ in drugs]
    questions = []
    for i in range(240):
        root = i % len(drugs)
        said = [*stems[root]]
        said[rng.randrange(20)] = rng.choice(characters)
        options = [drugs[root], *rng.sample([d for d in drugs if d != drugs[root]], 3)]
        rng.shuffle(options)
        questions.append(ask(i, "".join(said), options, options.index(drugs[root]), language="zh"))
    found = shortcuts(questions)
    assert found["nearest_stem"]["low"] > 0.95
    assert found["logit"]["low"] > 0.95
    overlap = [ask(i, f"患者{d}过敏", ["青霉胺", d, "叶酸"], 1) for i, d in enumerate(drugs)]
    assert shortcuts(overlap)["word_overlap"]["accuracy"] == 1.0


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_few_questions(count):
    found = shortcuts(unique_texts(count, 16))
    assert (found == {}) == (count == 0)
    free = Question(id="free", question="How many?", options={}, answer="7", answer_kind="number")
    assert shortcuts([*unique_texts(count, 16), free]) == found  # it has no option to choose
    assert all(0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1 for row in found.values())


@pytest.mark.parametrize(
    "provenance",
    [{}, {"path": 3}, {"path": [3]}, {"path": [{"head": 1, "relation": "r", "tail": None}]},
     {"path": [{"head": "a", "relation": "r", "tail": "b"}], "chain": ["x"], "visible": [4, "a"], "hidden": 2},
     {"path": [{"head": "a", "relation": "r", "tail": "b"}], "chain": [99], "answer": ["b"], "kind": []}],
)  # fmt: skip
def test_provenance_of_any_form_is_read(provenance):
    graph = graph_of({"b": 2}, "r")
    questions = [ask(i, "stem", ["a", "b"], 0, provenance=provenance) for i in range(6)]
    assert shortcuts(questions, graph)["logit"]["n"] == 6


def test_more_questions_than_are_looked_at_are_drawn_and_it_is_said(monkeypatch):
    monkeypatch.setattr("fleming.refine.shortcuts.MOST", 50)
    row = shortcuts(unique_texts(80, 17))["logit"]
    assert (row["n"], row["of"]) == (50, 80)


def test_three_thousand_questions_take_seconds():
    questions = near_copies(random.Random(18), roots=600)
    began = time.process_time()
    shortcuts(questions)
    assert time.process_time() - began < 20


def test_the_command_prints_a_table_and_ends_with_json(tmp_path):
    questions = near_copies(random.Random(19), roots=10)
    write_jsonl(tmp_path / "questions.jsonl", map(to_json, questions))
    command = [sys.executable, ROOT / "benchmarks/shortcuts.py", tmp_path / "questions.jsonl", "--seed", "2"]
    ran = warm.run(command, capture_output=True, text=True, check=True)
    assert "| nearest stem | " in ran.stdout
    assert json.loads(ran.stdout.splitlines()[-1])["probes"] == shortcuts(questions, seed=2)
    command[2] = tmp_path / "absent.jsonl"
    ran = warm.run(command, capture_output=True, text=True)
    assert ran.returncode != 0
    assert "absent.jsonl" in ran.stderr
    assert "Traceback" not in ran.stderr
