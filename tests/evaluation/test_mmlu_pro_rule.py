"""fleming/evaluation/mmlu_pro_rule.py: equal to the published regular expressions, linear, and to the stored scores."""

import json
import random
import re
import time

import pytest
from support import runs

from fleming.evaluation import mmlu_pro_rule
from fleming.evaluation.mmlu_pro_rule import compare_outputs, official_answer, official_guess
from fleming.graph.knowledge_graph import Entity, KnowledgeGraph
from model.errors import InputError


def published(text):
    """Return (which of the three expressions decided, letter), by the expressions as TIGER-Lab wrote them."""
    if match := re.search(r"answer is \(?([A-J])\)?", text):
        return "answer is", match[1]
    if match := re.search(r".*[aA]nswer:\s*([A-J])", text):
        return "answer:", match[1]
    if match := re.search(r"\b[A-J]\b(?!.*\b[A-J]\b)", text, re.DOTALL):
        return "last letter", match[0]
    return "nothing", None


FRAGMENTS = [
    *(
        "answer is ",
        "answer is",
        "Answer is ",
        "answer",
        "Answer",
        "nswer:",
        "answer:",
        "Answer:",
        "ANSWER:",
        "answer :",
    ),
    *(
        "A",
        "B",
        "C",
        "J",
        "K",
        "a",
        "j",
        "(",
        "(D)",
        ")",
        "E.",
        "x",
        "_",
        "1",
        "*",
        "-",
        "'",
        "é",
        "Ａ",
        "А",
        "你",
        "\u0301",
    ),
    *(
        " ",
        "\n",
        "\r",
        "\r\n",
        "\t",
        "\v",
        "\f",
        "\x1c",
        "\x1f",
        "\x85",
        "\xa0",
        "\u2028",
        "\u2029",
        "\u3000",
        "\u200b",
    ),
    *("\x00", "\ud800", "\U0001f600"),
]


def test_a_hundred_thousand_random_strings_are_read_as_the_published_expressions_read_them():
    rng = random.Random(0)
    decided = dict.fromkeys(("answer is", "answer:", "last letter", "nothing"), 0)
    for _ in range(100_000):
        few = rng.sample(FRAGMENTS, 6)  # of few kinds, so that they meet again
        text = "".join(rng.choices(few, k=rng.randrange(14)))
        branch, letter = published(text)
        assert official_answer(text)[1] == letter, repr(text)
        decided[branch] += 1
    assert min(decided.values()) > 1000


def test_the_second_search_in_strings_made_for_it():
    rng = random.Random(1)
    found = 0
    for _ in range(50_000):
        text = "".join(
            rng.choices(["answer:", "Answer:", "A", "B", "K", " ", "\n", "\r", "\u2028"], k=rng.randrange(12))
        )
        branch, letter = published(text)
        assert official_answer(text)[1] == letter, repr(text)
        found += branch == "answer:"
    assert found > 10_000


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is (C).", "C"),
        ("The answer is C", "C"),
        ("The answer is (C. The answer is (D).", "C"),  # the first
        ("The answer is not A. Answer: B", "B"),
        ("The answer is Aspirin", "A"),
        ("The Answer is (C). So D", "D"),
        ("Answer: A, or answer: B\nAnswer: C", "B"),  # the last of the first line
        ("answer: Answer: B", "B"),
        ("answer: Answer:", "A"),
        ("answer:\n\n\tC D", "C"),
        ("answer: K\nanswer: C", "C"),
        ("Answer: Both", "B"),
        ("A cell divides.", "A"),
        ("it is A, B or C; not D", "D"),
        ("vitamin_B B12 K", None),
        ("", None),
    ],
)
def test_what_is_read(text, letter):
    assert official_answer(text)[1] == letter == published(text)[1]


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "x",
            " ",
            "\n",
            "A ",
            "A",
            "answer is ",
            "answer is (",
            "answer:",
            "answer: ",
            "answer:\n",
            "answer: K",
            "a",
        ),
        *("Answer: A", "answer: A\n", "A\n", "\u2028A", "answer:\u3000\x85"),
    ],
)
def test_time_is_linear_in_the_length_of_the_worst_strings(unit):
    def seconds(length):
        texts = [
            head + unit * (length // len(unit)) + tail
            for head in ("", "answer:")
            for tail in ("", "K", "\nA ")
        ]
        best = float("inf")
        for _ in range(3):
            started = time.process_time()
            for text in texts:
                official_answer(text)
            best = min(best, time.process_time() - started)
        return best

    short, long = seconds(100_000), seconds(1_000_000)
    assert long < 25 * short + 0.05  # quadratic would be 100 times as long


def test_the_guess_is_always_the_first_draw_after_the_seed():
    state = random.getstate()
    assert [official_guess(n) for n in range(2, 11)] == list("BBDDDDGGG")
    assert official_guess() == "G"
    assert random.getstate() == state  # nobody else's draws are touched
    for n in range(2, 11):
        random.seed(12345)
        assert official_guess(n) == "ABCDEFGHIJ"[random.randint(0, n - 1)]
    random.setstate(state)


# Files of our own


def record(text, answer="B", options=("one", "two", "three", "four"), **more):
    return {"options": list(options), "answer": answer, "generated_text": text, **more}


RECORDS = [
    record("The answer is (B).", pred="B"),
    record("Answer: C", pred="C"),
    record("so it is D", pred="A"),  # not what the rule reads
    record("no idea", pred="G"),  # the guess, of ten letters though there are four
    record("no idea", pred=None),  # the guess was kept out of the file
    record("no idea", pred="D"),  # the guess of four letters
    record("A cell divides. <answer>B</answer>"),  # the last letter is the block's too
    record("<think>not D</think><answer>B. two</answer> or C"),
    record("<answer>two</answer>"),
    record("", "G", "abcdefgh"),
]


def as_list(records):
    return json.dumps(records)


def as_lines(records):
    return "".join(json.dumps(r) + "\n\n" for r in records)


@pytest.mark.parametrize("form", [as_list, as_lines, lambda records: "\ufeff \n" + as_list(records)])
def test_both_rules_are_counted_and_compared(tmp_path, form):
    path = tmp_path / "outputs.json"
    path.write_text(form(RECORDS), encoding="utf-8")
    report = compare_outputs(path)
    process = report.pop("process")
    assert [(name, group["answers"]) for name, group in process.items()] == [("right", 2), ("wrong", 8)]
    assert report == {
        "n": 10,
        "set_aside": [],
        "accuracy": {"official": 0.2, "official_with_guess": 0.3, "strict": 0.3},
        "branches": {"answer is": [1, 1], "answer:": [1, 0], "last letter": [3, 1], "nothing": [5, 0]},
        "strict_abstained": 7,
        "pred": {"agree": 3, "agree_by_guess": 1, "differ": 2},
        "pred_differ": [
            {"record": 3, "official": "D", "strict": None, "answer": "B", "pred": "A"},
            {"record": 6, "official": None, "strict": None, "answer": "B", "pred": "D"},
        ],
        "rules_differ": [{"record": 8, "official": "C", "strict": "B", "answer": "B"}],
    }
    assert json.loads(json.dumps(report)) == report


GOOD = record("x")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not strict JSON"),
        ("[]", "no records"),
        ("{", "not strict JSON"),
        ("[1]", "record 1: expected a JSON object"),
        ("[[]]", "record 1: expected a JSON object"),
        (as_list([GOOD, {}, {}]), "record 2: expected an object with options"),
        (as_list([GOOD | {"options": ["one"]}]), "record 1: expected an object with options"),
        (as_list([GOOD | {"options": ["x"] * 27}]), "record 1: expected an object with options"),
        (as_list([GOOD | {"options": ["x", 2]}]), "record 1: expected an object with options"),
        (as_list([GOOD | {"options": {"A": "x", "B": "y"}}]), "record 1: expected an object with options"),
        (as_list([GOOD | {"answer": "E"}]), "record 1: expected answer, a letter from A to D"),
        (as_list([GOOD | {"answer": "b"}]), "record 1: expected answer"),
        (as_list([GOOD | {"answer": ""}]), "record 1: expected answer"),
        (as_list([GOOD | {"answer": ["B"]}]), "record 1: expected answer"),
        (as_list([GOOD | {"generated_text": None}]), "record 1: expected generated_text"),
        (as_list([GOOD | {"pred": 1}]), "record 1: expected generated_text or model_outputs, and pred"),
        (as_list([GOOD | {"pred": ["B"]}]), "record 1: expected generated_text or model_outputs, and pred"),
        (as_lines([GOOD, GOOD, *[GOOD | {"answer": "E"}] * 2]), ":5: expected answer"),
        (as_lines([GOOD]) + "3\n4\n", ":3: expected a JSON object, found int"),
        ('{"answer": NaN}\n', "expected an object with options"),
        ('{"answer": "A", "answer": "B"}\n', "twice"),
        (b"[\xff]", "not UTF-8 text but Latin-1"),
        (as_list([GOOD]).encode("utf-16"), "not UTF-8 text but UTF-16"),
        ('{"data": [1]}', "record 1: expected an object with options"),
    ],
)
def test_a_file_that_holds_no_such_outputs_is_refused_by_name_and_record(tmp_path, text, says):
    path = tmp_path / "outputs.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    with pytest.raises(InputError, match=re.escape(says)) as error:
        compare_outputs(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_flawed_record_is_set_aside_and_either_key_of_the_output_is_read(tmp_path):
    path = tmp_path / "outputs.jsonl"
    flawed = [GOOD | {"options": ["one"]}, GOOD | {"answer": "E"}]
    other = {"model_outputs" if name == "generated_text" else name: value for name, value in GOOD.items()}
    path.write_text(as_list([GOOD, *flawed, *[other] * 9]))
    report = compare_outputs(path)
    assert report["n"] == 10
    assert [line.partition(": expected")[0] for line in report["set_aside"]] == [
        f"{path}: record {n}" for n in (2, 3)
    ]


@pytest.mark.parametrize(
    ("name", "n", "aside", "agree"),
    [
        ("gemini-1.5-flash-002_health", 818, 0, 0.99),
        ("Mistral-7B-Instruct-v0.2_psychology_health", 1614, 2, 0.9),
    ],
)
def test_real_stored_outputs_of_either_key_are_read_but_for_two_rows(shared, name, n, aside, agree):
    report = compare_outputs(shared / f"data/field/mmlu_pro_outputs_{name}.json.xz")
    assert (report["n"], len(report["set_aside"])) == (n, aside)
    assert report["pred"]["agree"] + report["pred"]["agree_by_guess"] > agree * n


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        compare_outputs(tmp_path / "none.json")


def test_the_reasoning_of_stored_outputs_is_checked(tmp_path):
    texts = [
        ("2 mg x 3 = 6 mg. The answer is (B).", "B"),
        ("20 / 4 = 6, so the answer is (B).", "B"),
        ("Gout is treated with colchicine. The answer is (A).", "B"),
    ]
    records = [record(text) | {"options": ["x", "y"], "answer": gold} for text, gold in texts]
    (tmp_path / "outputs.json").write_text(as_list(records))
    graph = KnowledgeGraph()
    for name, kind in (("gout", "disease"), ("colchicine", "drug")):
        graph.add_entity(Entity(name, kind), "test")
    process = compare_outputs(tmp_path / "outputs.json", graph)["process"]
    assert process["right"]["sums"] == {"ok": 1, "wrong": 1, "unread": 0, "unit_faults": 0}
    assert process["right"]["shares"]["wrong_sum"]["value"] == 0.5
    assert (process["wrong"]["answers"], process["wrong"]["claims"]["unknown"]) == (1, 1)


def test_the_command_prints_the_report_and_a_mistake_is_one_line(tmp_path, capsys):
    path = tmp_path / "outputs.json"
    path.write_text(as_list(RECORDS), encoding="utf-8")
    mmlu_pro_rule.main([str(path)])
    assert json.loads(capsys.readouterr().out) == compare_outputs(path)
    status, (line,) = runs.run_here(mmlu_pro_rule, [str(tmp_path / "absent.json")])
    assert (status, "absent.json" in line) == (2, True)


# The stored outputs of Llama 3.1 8B


@pytest.fixture
def stored(shared):
    return shared / "data" / "model_outputs" / "mmlu_pro_biology_llama3.1_8b.json"


def test_every_stored_pred_is_the_rules_answer_or_where_it_has_none_the_guess(stored):
    records = json.loads(stored.read_text(encoding="utf-8"))
    assert len(records) == 717
    for r in records:
        assert r["pred"] == (official_answer(r["generated_text"])[1] or official_guess())
        end = r["generated_text"][-2000:]  # the whole texts would take the published expressions 20 seconds
        assert official_answer(end)[1] == published(end)[1]
    guessed = [r for r in records if official_answer(r["generated_text"])[1] is None]
    assert len(guessed) == 38
    assert {r["pred"] for r in guessed} == {"G"}
    assert min(len(r["options"]) for r in guessed) == 4  # whose options end at D: the draw was of ten letters
    assert sum(r["answer"] == "G" for r in guessed) == 2


def test_the_figures_of_the_stored_outputs(stored):
    report = compare_outputs(stored)
    process = report.pop("process")
    assert {name: group["answers"] for name, group in process.items()} == {"right": 450, "wrong": 267}
    assert report == {
        "n": 717,
        "set_aside": [],
        "accuracy": {"official": 450 / 717, "official_with_guess": 452 / 717, "strict": 0.0},
        "branches": {"answer is": [664, 450], "answer:": [0, 0], "last letter": [15, 0], "nothing": [38, 0]},
        "strict_abstained": 717,  # it was asked for no <answer>
        "pred": {"agree": 679, "agree_by_guess": 38, "differ": 0},
        "pred_differ": [],
        "rules_differ": [],
    }
