"""Trajectories of a real teacher, on scripted ones: orders, the shortest, pass@k, refinement, the funnel."""

import dataclasses
import itertools
import json
import random
import re
from collections import Counter

import pytest

from fleming.answer import parse_answer
from fleming.assets import load_table
from fleming.cold_start.checks import normal_form
from fleming.cold_start.trajectories import ROUNDS, RealTeacher, Work
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.records import Question, Trajectory, question_from_json, to_json
from fleming.settings import Config
from fleming.settings.synth import SynthConfig, TrajectoryConfig
from fleming.typed import from_json

GRAPH = KnowledgeGraph()
PROMPTS = load_table("cold_start.yaml")
METALS = ["iron", "zinc", "copper", "lead", "tin"]


def ask(number: int, answer: str = "B", options: int = 4, **fields) -> Question:
    texts = dict(zip("ABCDE", (f"{metal} {number}" for metal in METALS[:options]), strict=False))
    return Question(f"q/{number}", f"Which metal is it in case {number}?", texts, answer, **fields)


def config(style: str = "letter", **rules) -> Config:
    return Config(answer_style=style, synth=SynthConfig(max_words=60, trajectories=TrajectoryConfig(**rules)))


class Seen:
    """What one call of a scripted teacher can go by."""

    def __init__(self, messages, trial: int, question: Question):
        self.messages, self.trial, self.question = messages, trial, question
        lines = messages[0]["content"].splitlines()
        self.shown = {line[0]: line[3:] for line in lines if re.match(r"[A-E]\. ", line)}
        self.letter_of = {text: letter for letter, text in self.shown.items()}
        self.right = self.letter_of.get(question.right_text, question.answer)
        self.wrong = next((letter for letter in self.shown if letter != self.right), "7 g")
        self.round = next((step for step in ROUNDS if self._asks(step)), "sampling")

    def _asks(self, step: str) -> bool:
        last = self.messages[-1]["content"]
        return any(
            prompts[step].split("{words}")[0].replace("{fault}", "") in last for prompts in PROMPTS.values()
        )


class Scripted:
    """A teacher that answers by a rule, `rule(seen) -> text`."""

    name = "scripted"

    def __init__(self, questions, rule):
        self.questions = {question.question: question for question in questions}
        self.rule, self.talks, self.trials = rule, [], Counter()

    def complete(self, messages, n):
        question = self.questions[messages[0]["content"].splitlines()[0]]
        answers = []
        for _ in range(n):
            self.talks.append(messages)
            answers.append(self.rule(Seen(messages, self.trials[question.id], question)))
            self.trials[question.id] += 1
        return answers


def say(answer: str, words: int = 5) -> str:
    return f"<think>{' '.join(f'word{i}' for i in range(words))}</think>\n<answer>{answer}</answer>"


def always_right(seen):
    return say(seen.right)


def never_right(seen):
    return say(seen.wrong)


def right_at_the_third(seen):
    return say(seen.right if seen.trial == 2 else seen.wrong)


def right_after_backtracking(seen):
    return say(seen.right if seen.round == "backtracking" else seen.wrong)


def leaking(seen):
    thought = f"The findings fit, and the correct answer is given as {seen.right}."
    return f"<think>{thought}</think><answer>{seen.right}</answer>"


def silent(seen):
    return ""


def letters_of_the_file(seen):
    return say(seen.question.answer)


def rambling(seen):
    return f"<think>{'It could be so, or else not. ' * 8}</think><answer>{seen.right}</answer>"


def long_winded(seen):
    return say(seen.right, words=100)


def not_finished(seen):
    return f"<think>So it must be <answer>{seen.right}</answer>"


def work_out(questions, rule, cfg=None):
    teacher = Scripted(questions, rule)
    return RealTeacher(teacher, GRAPH, cfg or config()).work_out(questions), teacher


QUESTIONS = [ask(1, "B"), ask(2, "D"), ask(3, "A", options=2), ask(4, "C", options=5)]


# What becomes of each kind of teacher


def test_who_is_always_right_is_asked_k_times_and_never_refined():
    taught, teacher = work_out(QUESTIONS, always_right)
    assert [t.question_id for t in taught.kept] == [q.id for q in QUESTIONS]
    assert len(teacher.talks) == 4 * len(QUESTIONS)
    for trajectory in taught.kept:
        assert (trajectory.attempts, trajectory.refinements, trajectory.gold_visible) == (4, (), True)
        assert trajectory.checks["pass_at_k"] == {"1": 1, "2": 1, "4": 1}
        assert trajectory.checks["codes"] == [None] * 4
    assert taught.unsolved == []


def test_who_is_never_right_is_refined_three_times_and_left_with_all_that_was_tried():
    taught, teacher = work_out(QUESTIONS, never_right)
    assert taught.kept == []
    assert len(teacher.talks) == (4 + 3) * len(QUESTIONS)
    for question, record in zip(QUESTIONS, taught.unsolved, strict=True):
        assert (record["id"], record["question"]) == (question.id, to_json(question))
        assert [attempt["step"] for attempt in record["attempts"]] == ["sampling"] * 4 + list(ROUNDS)
        assert {attempt["code"] for attempt in record["attempts"]} == {"wrong_answer"}
        assert (record["right"], record["pass_at_k"]) == (0, {"1": 0, "2": 0, "4": 0})
    assert [row["rejected"] for row in taught.report["funnel"]] == [
        {"wrong_answer": n} for n in (16, 4, 4, 4)
    ]


def test_the_third_sample_is_kept_where_it_alone_is_right():
    questions = [
        ask(1),
        ask(2, "D"),
        ask(3, "E", options=5),
    ]  # two options would have the third order in one call
    taught, teacher = work_out(questions, right_at_the_third)
    assert len(teacher.talks) == 4 * len(taught.kept) == 12
    for trajectory in taught.kept:
        assert trajectory.id.endswith("/2")
        assert trajectory.checks["codes"] == ["wrong_answer", "wrong_answer", None, "wrong_answer"]
        assert trajectory.checks["pass_at_k"] == {"1": 1 / 4, "2": 1 / 2, "4": 1}


def test_what_backtracking_alone_solves_has_gone_through_all_rounds_and_says_so():
    taught, _ = work_out(QUESTIONS, right_after_backtracking)
    assert {t.refinements for t in taught.kept} == {ROUNDS}
    assert {t.attempts for t in taught.kept} == {7}
    assert [row["solved"] for row in taught.report["funnel"]] == [0, 0, 0, 4]
    assert {t.checks["right"] for t in taught.kept} == {0}  # pass@k is of the samples alone
    few, _ = work_out(QUESTIONS, right_after_backtracking, config(rounds=2))
    assert (len(few.kept), len(few.unsolved)) == (0, 4)


@pytest.mark.parametrize(
    ("rule", "code", "right"),
    [
        (leaking, "leak", 4),
        (rambling, "loop", 4),
        (long_winded, "too_long", 4),
        (not_finished, "bad_format", 0),
        (lambda seen: say(seen.right) + " I hope this helps.", "bad_format", 4),
        (lambda seen: f"The answer is {seen.right}.", "bad_format", 0),
        (lambda seen: f"<think>ok <|im_end|></think><answer>{seen.right}</answer>", "chat_marker", 4),
        (lambda seen: f"<think>  \n</think><answer>{seen.right}</answer>", "bad_format", 4),
        (
            lambda seen: f"<think>The answer is {seen.right}.</think><answer>{seen.right}</answer>",
            "no_reasoning",
            4,
        ),
    ],
)
def test_a_teacher_who_fails_a_check_fails_it_with_its_code_and_counts_for_pass_at_k_as_it_answers(
    rule, code, right
):
    taught, teacher = work_out(QUESTIONS, rule)
    assert taught.kept == []
    codes = {attempt["code"] for record in taught.unsolved for attempt in record["attempts"]}
    assert codes == {code}
    assert {record["right"] for record in taught.unsolved} == {right}
    fault = PROMPTS["en"]["faults"].get(code, PROMPTS["en"]["faults"]["other"])
    assert all(talk[-1]["content"].startswith(fault) for talk in teacher.talks if len(talk) > 1)


def test_silence_is_not_refined():
    taught, teacher = work_out(QUESTIONS, silent)
    assert len(teacher.talks) == 4 * len(QUESTIONS)
    assert {attempt["code"] for record in taught.unsolved for attempt in record["attempts"]} == {"empty"}
    assert [row["questions"] for row in taught.report["funnel"]] == [4, 0, 0, 0]


def test_refinement_goes_on_from_the_last_answer_that_says_anything():
    def mute_at_the_end(seen):
        return "" if seen.trial in (3, 4) else say(seen.wrong, words=seen.trial + 1)

    _, teacher = work_out([ask(1)], mute_at_the_end)
    assert ["word2" in talk[1]["content"] for talk in teacher.talks[4:]] == [True, True, True]
    assert ["word5" in talk[1]["content"] for talk in teacher.talks[4:]] == [False, False, True]
    # The options stand in the order to which that answer was given.
    assert {talk[0]["content"] for talk in teacher.talks[4:]} == {teacher.talks[2][0]["content"]}


def test_a_letter_of_another_order_is_right_only_where_it_happens_to_be():
    questions = [ask(n, "ABCD"[n % 4]) for n in range(40)]
    taught, teacher = work_out(questions, letters_of_the_file)
    of_question = {question.id: question for question in questions}
    shown = [
        Seen(talk, 0, teacher.questions[talk[0]["content"].splitlines()[0]]) for talk in teacher.talks[:160]
    ]
    lucky = sum(seen.right == seen.question.answer for seen in shown)
    assert sum(rates["right"] for rates in taught.pass_at_k.values()) == lucky
    assert 15 < lucky < 70  # about a quarter of 160
    for trajectory in taught.kept:
        assert (
            parse_answer(trajectory.response, {k: k for k in "ABCD"})
            == of_question[trajectory.question_id].answer
        )


# The order of the options


@pytest.mark.parametrize("style", ["letter", "text"])
def test_the_letter_moves_and_the_trajectory_shows_the_order_that_its_teacher_saw(style):
    def answer(seen):
        return say(seen.right if style == "letter" else seen.question.right_text)

    questions = [ask(n, "ABCD"[n % 4]) for n in range(30)]
    taught, teacher = work_out(questions, answer, config(style))
    letters = Counter()
    for question, trajectory in zip(questions, taught.kept, strict=True):
        seen = Seen(trajectory.prompt, 0, question)
        order = trajectory.checks["order"]
        assert [question.options[letter] for letter in order] == list(seen.shown.values())  # the order undone
        right = seen.right if style == "letter" else question.right_text
        assert (
            trajectory.response
            == f"<think>\nword0 word1 word2 word3 word4\n</think>\n<answer>{right}</answer>"
        )
        assert order[list(seen.shown).index(seen.right)] == question.answer
        letters[seen.right] += 1
    assert min(letters[letter] for letter in "ABCD") >= 1
    by_question = [tuple(talk[0]["content"] for talk in teacher.talks[4 * i : 4 * i + 4]) for i in range(30)]
    assert all(len(set(orders)) == 4 for orders in by_question)  # four trials, four orders


def test_options_that_speak_of_others_keep_their_places_and_equal_conversations_are_one_call():
    question = dataclasses.replace(
        ask(1, "D"), options={"A": "iron", "B": "zinc", "C": "lead", "D": "all of the above"}
    )
    calls = []

    class Counting(Scripted):
        def complete(self, messages, n):
            calls.append(n)
            return super().complete(messages, n)

    teacher = Counting([question], right_at_the_third)
    taught = RealTeacher(teacher, GRAPH, config()).work_out([question])
    assert calls == [4]  # or a store would give one answer four times
    assert taught.kept[0].checks["order"] == "ABCD"
    assert taught.kept[0].checks["codes"][2] is None


@pytest.mark.parametrize(
    ("kind", "gold", "said"),
    [("number", "7 mg", "7 mg"), ("number", "7 mg", "0.007 g"), ("text", "gout", "Gout.")],
)
def test_questions_without_options_are_worked_out_too(kind, gold, said):
    question = Question("f/1", "How much?", {}, gold, answer_kind=kind)
    accepted = said != "0.007 g"  # the one parser does not convert units here
    taught, _ = work_out([question], lambda seen: say(said))
    assert bool(taught.kept) is accepted
    if accepted:
        assert taught.kept[0].response.endswith(f"<answer>{said}</answer>")
        assert taught.kept[0].checks["order"] == ""


# Which one is kept


def test_the_shortest_accepted_wins_and_of_equals_the_first():
    lengths = [(9, 4, 4, 7), (3, 8, 2, 2), (5, 5, 5, 5)]
    for number, words in enumerate(lengths):
        taught, _ = work_out([ask(number)], lambda seen, words=words: say(seen.right, words[seen.trial]))
        (kept,) = taught.kept
        assert kept.id == f"q/{number}/teacher/{words.index(min(words))}"
        assert kept.checks["words"] == min(words) + 3  # the tags stand in lines of their own


def test_a_shorter_one_that_fails_is_not_kept():
    taught, _ = work_out([ask(1)], lambda seen: leaking(seen) if seen.trial else say(seen.right, 40))
    assert taught.kept[0].id.endswith("/0")


# What is asked


def test_the_teacher_sees_the_right_answer_or_not_and_the_record_says_which():
    for seen_by, blind in ((True, False), (False, True)):
        taught, teacher = work_out(QUESTIONS, always_right, config(gold_visible=seen_by))
        assert {t.gold_visible for t in taught.kept} == {seen_by}
        assert {rates["gold_visible"] for rates in taught.pass_at_k.values()} == {seen_by}
        assert taught.report["gold_visible"] is seen_by
        for talk in teacher.talks:
            question = teacher.questions[talk[0]["content"].splitlines()[0]]
            seen = Seen(talk, 0, question)
            told = f"the right answer is {seen.right}. {question.right_text}." in talk[0]["content"]
            assert told is seen_by
            assert (talk[0]["content"].count(question.right_text) == 1) is blind  # as an option alone
        for trajectory in taught.kept:
            assert "right answer" not in trajectory.prompt[-1]["content"]


def test_a_chinese_question_is_asked_in_chinese():
    question = ask(1, language="zh")
    _, teacher = work_out([question], right_after_backtracking)
    assert "仅供你参考" in teacher.talks[0][0]["content"]
    assert "For you alone" not in teacher.talks[0][0]["content"]
    assert [talk[-1]["content"].split("。")[0] for talk in teacher.talks[4:]] == ["这没有得出正确答案"] * 3
    _, teacher = work_out([ask(1, language="fr")], always_right)
    assert "For you alone" in teacher.talks[0][0]["content"]


def test_each_round_has_a_prompt_of_its_own_behind_the_answer_without_its_tags():
    _, teacher = work_out([ask(1)], never_right)
    talks = teacher.talks[4:]
    assert [[m["role"] for m in talk] for talk in talks] == [["user", "assistant", "user"]] * 3
    assert len({talk[-1]["content"] for talk in talks}) == 3
    for talk in talks:
        assert "think>" not in talk[1]["content"]  # a template would drop it
        assert "word0" in talk[1]["content"]
        assert "<answer>" in talk[1]["content"]
        assert "{" not in talk[0]["content"] + talk[2]["content"]


def test_the_prompts_of_both_languages_say_the_same_things():
    def places(text):
        return sorted(re.findall(r"\{\w+\}", text))

    english, chinese = PROMPTS["en"], PROMPTS["zh"]
    assert english.keys() == chinese.keys() == {"gold_visible", "blind", "faults", *ROUNDS}
    assert english["faults"].keys() == chinese["faults"].keys()
    for key in english.keys() - {"faults"}:
        assert places(english[key]) == places(chinese[key])


# Counts


def test_pass_at_k_is_the_share_of_all_subsets_that_hold_a_right_sample():
    for right in itertools.product([False, True], repeat=5):
        taught, _ = work_out(
            [ask(1)],
            lambda seen, right=right: say(seen.right if right[seen.trial] else seen.wrong),
            config(samples=5, rounds=0),
        )
        rates = taught.pass_at_k["q/1"]
        assert (rates["samples"], rates["right"]) == (5, sum(right))
        for k in (1, 2, 4, 5):
            subsets = list(itertools.combinations(right, k))
            assert rates["pass_at_k"][str(k)] == pytest.approx(
                sum(map(any, subsets)) / len(subsets), abs=1e-15
            )
        assert rates["pass_at_k"].keys() == {"1", "2", "4", "5"}


def anyhow(seed):
    """Return a teacher of every kind, by question and trial."""
    kinds = [
        always_right,
        never_right,
        leaking,
        silent,
        letters_of_the_file,
        rambling,
        long_winded,
        not_finished,
    ]

    def rule(seen):
        rng = random.Random(f"{seed} {seen.messages} {seen.trial}")
        return say(seen.right, rng.randrange(3, 9)) if rng.random() < 0.08 else rng.choice(kinds[1:])(seen)

    return rule


def test_the_funnel_adds_up_and_agrees_with_the_records():
    questions = [ask(n, "ABCD"[n % 4]) for n in range(60)]
    taught, teacher = work_out(questions, anyhow(1))
    funnel = taught.report["funnel"]
    assert [row["step"] for row in funnel] == ["sampling", *ROUNDS]
    for row in funnel:
        assert row["answers"] == row["accepted"] + sum(row["rejected"].values())
        assert row["solved"] <= row["questions"]
    silent_ones = sum(all(not a["text"].strip() for a in r["attempts"]) for r in taught.unsolved)
    assert silent_ones == 0  # four silent samples of one question are not drawn here
    for before, row in itertools.pairwise(funnel):
        assert row["questions"] == before["questions"] - before["solved"]
        assert row["answers"] == row["questions"]
    assert sum(row["solved"] for row in funnel) == len(taught.kept) > 5
    assert len(taught.kept) + len(taught.unsolved) == 60
    assert taught.report["unsolved"] == len(taught.unsolved) > 5
    assert sum(row["answers"] for row in funnel) == len(teacher.talks)
    # The same counts, from the records alone.
    codes = Counter(code for t in taught.kept for code in t.checks["codes"])
    codes += Counter(attempt["code"] for record in taught.unsolved for attempt in record["attempts"])
    told = Counter()
    for row in funnel:
        told.update(row["rejected"])
        told[None] += row["accepted"]
    assert codes == told
    assert (
        min(told[code] for code in (None, "wrong_answer", "leak", "empty", "loop", "too_long", "bad_format"))
        > 0
    )
    by_round = Counter(t.refinements[-1] if t.refinements else "sampling" for t in taught.kept)
    assert {row["step"]: row["solved"] for row in funnel} == {
        step: by_round[step] for step in ("sampling", *ROUNDS)
    }
    words = [len(t.response.split()) for t in taught.kept]
    assert taught.report["words"] == {"mean": pytest.approx(sum(words) / len(words)), "longest": max(words)}
    ones = [rates["right"] / 4 for rates in taught.pass_at_k.values()]
    assert taught.report["pass_at_k"]["1"] == pytest.approx(sum(ones) / 60)


def test_the_same_questions_and_teacher_give_the_same_records_in_whatever_order_they_come():
    questions = [ask(n, "ABCD"[n % 4]) for n in range(30)]
    first, _ = work_out(questions, anyhow(2))
    again, _ = work_out(questions, anyhow(2))
    assert first == again
    backwards, _ = work_out(questions[::-1], anyhow(2))
    assert backwards.kept == first.kept[::-1]
    assert backwards.pass_at_k == first.pass_at_k
    other, _ = work_out(questions, anyhow(2), dataclasses.replace(config(), seed=1))
    assert [t.checks["order"] for t in other.kept] != [t.checks["order"] for t in first.kept]


def test_no_question_gives_an_empty_report_and_no_error():
    taught, _ = work_out([], always_right)
    assert (taught.kept, taught.unsolved, taught.report["words"]) == ([], [], {})


def test_records_can_be_read_back():
    taught, _ = work_out(QUESTIONS, right_at_the_third)
    for trajectory in taught.kept:
        assert from_json(Trajectory, json.loads(json.dumps(to_json(trajectory))), "x") == trajectory
    noted = taught.noted(QUESTIONS[0])
    assert question_from_json(json.loads(json.dumps(to_json(noted))), "x") == noted
    assert noted.extra["teacher"]["pass_at_k"]["1"] == 0.25
    assert dataclasses.replace(noted, extra={}) == QUESTIONS[0]
    assert taught.noted(ask(99)) == ask(99)


# The normal form


FORMS = {
    "<think>a b</think><answer>B</answer>": "a b",
    "<think>\na b\n</think>\n\n<answer> (B) </answer>\n": "a b",
    "a b\n<answer>B. zinc 1</answer>": "a b",
    "<think>a</think>\nSo b follows.\n<answer>zinc 1</answer>": "a\n\nSo b follows.",
    "a b</think><answer>B</answer>": "a b",
    "Well. <THINK>a</THINK> b <Answer>b</ANSWER>": "Well.\n\na\n\nb",
}
NONE = [
    "",
    "a b",
    "<think>a b</think>B",
    "<think>a b<answer>B</answer>",
    "<think>a</think><think>b</think><answer>B</answer>",
    "<think>a <answer>A</answer></think><answer>B</answer>",
    "<think>a</think><answer>B</answer><answer>B</answer>",
    "<think>a</think><answer>B</answer> Done.",
    "<think>a</think><answer>not B</answer>",
    "<think>a</think><answer>A or B</answer>",
    "<think>a</think><answer>B",
    "<answer>B</answer><think>a</think>",
    "</think>a<think><answer>B</answer>",
]


@pytest.mark.parametrize(("text", "thought"), FORMS.items())
def test_the_normal_form_keeps_every_word_of_the_thought_in_its_order(text, thought):
    question = ask(1)
    for style, answer in (("letter", "B"), ("text", "zinc 1")):
        normal = normal_form(text, question, config(style))
        assert normal == f"<think>\n{thought}\n</think>\n<answer>{answer}</answer>"
        assert normal_form(normal, question, config(style)) == normal


@pytest.mark.parametrize("text", NONE)
def test_what_has_no_normal_form_is_not_bent_into_one(text):
    assert normal_form(text, ask(1), config()) is None


def test_the_normal_form_of_any_pieces_changes_no_word_and_no_answer():
    rng = random.Random(0)
    pieces = [
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "B",
        "A",
        "iron 1",
        "well",
        " ",
        "\n",
        "(B)",
        "zinc 1",
    ]
    question, seen = ask(1), 0
    for _ in range(60_000):
        text = "".join(rng.choices(pieces, k=rng.randrange(4, 10)))
        normal = normal_form(text, question, config())
        if normal is not None:
            seen += 1
            before, _, _ = text.rpartition("<answer>")
            told = re.sub("</?think>", " ", before).split()
            assert re.sub("</?think>", " ", normal.rpartition("<answer>")[0]).split() == told
            assert parse_answer(normal, question.options) == parse_answer(text, question.options)
    assert seen > 100


def test_last_and_pass_at_k_of_a_work_without_answers():
    assert Work(ask(1)).last is None
