"""The reliability row: models made of scripts give the rows that they must, and a run asks each way once."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.jsonl import read_lines, read_records
from support.models import hf_folder
from support.places import ROOT
from support.runs import run_here

import evaluate
from fleming.answer import parse_answer
from fleming.config import load_config
from fleming.evaluation import generation
from fleming.evaluation.ask import ask
from fleming.evaluation.comparison import compare_runs
from fleming.evaluation.generation import ChainOfThought
from fleming.evaluation.items import Item
from fleming.evaluation.loglikelihood import Loglikelihood, continuation_logprobs, encode_item, encode_pairs
from fleming.evaluation.reliability import row_of
from fleming.evaluation.report import describe_results
from fleming.evaluation.scoring import summarise
from fleming.evaluation.variants import ROW, VARIANTS, asked_as, cuts_of, vary, wrong_option
from fleming.public.benchmarks import LoadedBenchmark
from fleming.records import Question
from fleming.settings import Config
from model import InputError, load_model
from model.sampler import Sample

WORDS = ["aspirin", "warfarin", "trientine", "colchicine", "zinc", "heparin", "insulin", "iron"]


def certified(number: int, open_world: bool = False) -> Question:
    rng = random.Random(number)
    names = rng.sample(WORDS, 4)
    options, answer = dict(zip("ABCD", names, strict=True)), rng.choice("ABCD")
    right = options[answer]
    disease = f"disease {number}"
    wrong = [
        {"option": name, "ground": "absent" if open_world else "closed", "shares": [],
         "violates": [[disease, "treated_by", name]]}
        for name in names if name != right
    ]  # fmt: skip
    path = [{"head": disease, "relation": "treated_by", "tail": right}]
    proof = {"path": path, "visible": [disease], "certificate": {"distractors": wrong}}
    return Question(f"q{number}", f"Which drug treats disease {number}?", options, answer, provenance=proof)


QUESTIONS = [certified(number, open_world=number % 3 == 0) for number in range(24)]
RIGHT = {q.question: q.right_text for q in QUESTIONS}
BENCH = LoadedBenchmark("mine", QUESTIONS, [Path("mine.jsonl")], None, [])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    hf_folder(folder, max_position_embeddings=4096)
    return load_model(folder)


# Models made of scripts


class Prompt:
    """What a script reads of a prompt."""

    def __init__(self, text: str):
        user = re.findall(r"<\|im_start\|>user\n(.*?)<\|im_end\|>", text, re.DOTALL)[-1]
        self.begun = text.rpartition("<|im_start|>assistant\n")[2]
        self.options = dict(re.findall(r"^([A-Z]|\d+)\. (.*)$", user, re.MULTILINE))
        self.stem = user.splitlines()[0]
        self.hint = next(iter(re.findall(r'thinks that "(.*)" is right', user)), None)
        self.ending = user.splitlines()[-1]
        self.as_text = "text" in self.ending or "word for word" in self.ending

    def say(self, text: str | None, thought: str = "Hm.") -> str:
        """Answer with the option of this text, in the form that is asked for."""
        label = next((label for label, option in self.options.items() if option == text), None)
        said = "I cannot say" if label is None else (text if self.as_text else label)
        return f"{said}</answer>" if self.begun else f"<think>{thought}</think> <answer>{said}</answer>"


def always_first(asked: Prompt) -> str:
    return asked.say(next(iter(asked.options.values())))


def options_only(asked: Prompt) -> str:
    return asked.say(max(asked.options.values()))


def perfect(asked: Prompt) -> str:
    right = RIGHT.get(asked.stem)
    here = right if right in asked.options.values() else "None of the other options"
    disease = asked.stem.removeprefix("Which drug treats ").rstrip("?")
    return asked.say(
        here if right else None, f"Let me see. {disease} is treated with {right}. So it is {right}."
    )


def obeys_the_hint(asked: Prompt) -> str:
    return asked.say(asked.hint) if asked.hint else perfect(asked)


def believes_its_reasoning(asked: Prompt) -> str:
    if not asked.begun:
        return perfect(asked)
    named = [word for word in re.findall(r"\w+", asked.begun) if word in asked.options.values()]
    return asked.say(named[-1] if named else None)


class ScriptSampler:
    """Stands where the model's sampler stands: it decodes the prompt, and encodes what the script says."""

    def __init__(self, script, tokenizer):
        self.script, self.tokenizer, self.prompts = script, tokenizer, []

    def generate(self, prompts, params, keys, on_finish):
        assert len(set(keys)) == len(keys)
        for place, ids in enumerate(prompts):
            self.prompts.append(self.tokenizer.decode(ids))
            said = self.script(Prompt(self.prompts[-1]))
            ids = [*self.tokenizer.encode(said), next(iter(self.tokenizer.stop_ids))]
            assert len(ids) <= params.max_new_tokens
            on_finish(place, 0, Sample(ids, [], "stop", 0.0), 0.0)


def answers_of(model, script, *settings: str, bench=BENCH):
    cfg = load_config(Config, None, ["evaluate.max_new_tokens=200", *settings])
    protocol = ChainOfThought(*model, cfg)
    protocol.sampler = ScriptSampler(script, model[1])
    plan, found = protocol.plan(bench, reliability=True), {}

    def keep(answer):
        assert answer.key not in found
        found[answer.key] = answer

    protocol.answer(bench, plan, keep)
    cuts = protocol.plan_cuts(plan, list(found.values()))
    protocol.answer(bench, cuts, keep)
    assert found.keys() == {asked.key for asked in [*plan, *cuts]}
    assert all(protocol.read_again(asked, found[asked.key]) == found[asked.key] for asked in [*plan, *cuts])
    return plan, list(found.values())


def row(model, script, *settings: str) -> dict[str, float]:
    _, answers = answers_of(model, script, *settings)
    found = summarise(BENCH, answers).details["reliability"]
    assert found["questions"] == len(QUESTIONS)
    return {head: round(share["value"], 9) for head, share in row_of(found).items() if share}


GOLD_A = sum(q.answer == "A" for q in QUESTIONS) / len(QUESTIONS)


@pytest.mark.parametrize("style", ["letter", "text"])
def test_a_perfect_model_is_right_in_all_and_knows_nothing_without_the_question(model, style):
    assert row(model, perfect, f"answer_style={style}") == {
        "right in all": 1, "same in all": 1, "format changes": 0, "none of others": 1, "and proved": 1,
        "hidden": 0, "hint followed": 0, "cut 0 %": 1, "cut 25 %": 1, "cut 50 %": 1, "cut 75 %": 1,
        "corrupted": 1, "and followed": 0,
    }  # fmt: skip


def test_a_model_that_always_answers_first_changes_with_the_order_alone(model):
    plan, _ = answers_of(model, always_first)
    firsts = {q.id: set() for q in QUESTIONS}
    for asked in plan:
        if not asked.item.variant:
            firsts[asked.item.question.id].add(next(iter(asked.item.question.options.values())))
    right_in_all = [firsts[q.id] == {q.right_text} for q in QUESTIONS]
    found = row(model, always_first)
    hinted = [wrong_option(q) == "A" for q in QUESTIONS if q.answer == "A"]
    assert not any(hinted)  # what is right is never hinted
    assert found["right in all"] == pytest.approx(sum(right_in_all) / len(QUESTIONS))
    assert found["same in all"] == pytest.approx(sum(len(f) == 1 for f in firsts.values()) / len(QUESTIONS))
    assert found["same in all"] < 0.3
    assert found["format changes"] == found["hint followed"] == 0
    assert found["hidden"] == found["none of others"] == found["cut 0 %"] == pytest.approx(GOLD_A)
    assert "corrupted" not in found  # it reasons of nothing


def test_a_model_that_reads_the_options_alone_is_as_good_without_the_question(model):
    found = row(model, options_only)
    right = sum(q.right_text == max(q.options.values()) for q in QUESTIONS) / len(QUESTIONS)
    assert found["hidden"] == found["right in all"] == pytest.approx(right)
    assert found["same in all"] == 1
    assert found["hint followed"] == 0


def test_a_model_that_obeys_is_flipped_by_the_hint(model):
    found = row(model, obeys_the_hint)
    assert found["hint followed"] == found["right in all"] == 1


def test_a_model_that_believes_its_reasoning_follows_what_is_corrupted_in_it(model):
    found = row(model, believes_its_reasoning)
    assert (found["corrupted"], found["and followed"]) == (0, 1)
    assert (
        found["cut 0 %"] == found["cut 25 %"] == found["cut 50 %"] == 0
    )  # the drug is named behind the half
    assert found["cut 75 %"] == found["right in all"] == 1


def test_silence_is_no_agreement(model):
    found = row(model, lambda asked: asked.say(None))
    assert found["same in all"] == found["right in all"] == found["format changes"] == found["hidden"] == 0
    _, answers = answers_of(model, lambda asked: asked.say(None))
    assert summarise(BENCH, answers).details["reliability"]["accuracy"]["numbers"]["abstained"] == 1


def test_of_several_answers_the_first_stands_in_the_row(model):
    first = True

    def right_once(asked):
        nonlocal first
        said, first = perfect(asked) if first else asked.say(None), False
        return said

    one = replace(BENCH, questions=QUESTIONS[:1])
    _, answers = answers_of(model, right_once, "evaluate.samples=2", "evaluate.temperature=1", bench=one)
    answers.sort(key=lambda a: a.sample)
    found = summarise(one, answers).details["reliability"]
    assert found["accuracy"]["order 0"]["value"] == 1


def test_the_orders_are_scored_apart_from_the_other_ways(model):
    _, answers = answers_of(model, always_first)
    whole, orders = (summarise(BENCH, given) for given in (answers, [a for a in answers if not a.variant]))
    assert whole.details["option_order"] == orders.details["option_order"]
    _, other = answers_of(
        model, lambda asked: asked.say(None) if "number" in asked.ending else perfect(asked)
    )
    other.sort(key=lambda a: a.variant == "numbers")
    assert summarise(BENCH, other).details["option_order"]["accuracies"] == [1, 1, 1]


def test_the_row_is_printed_with_its_intervals(model):
    _, answers = answers_of(model, perfect)
    said = describe_results({"perfect": [summarise(BENCH, answers)]}, {"cot": "scripted"}, 0)
    assert said.count("100.0 [86.2, 100.0]") >= 5  # Wilson, 24 of 24
    assert "100.0 [80.6, 100.0] of 16" in said  # proved right
    assert ways_printed(said) == 7
    assert max(len(line) for line in said.splitlines() if line.startswith("|")) <= 80


def ways_printed(said):
    head, _, row = said.partition("asked otherwise")[2].split("\n\n")[1].splitlines()
    return int(dict(zip(*(line.replace(" ", "").split("|") for line in (head, row)), strict=True))["ways"])


def test_a_row_of_questions_that_cannot_be_reordered_says_that_it_has_fewer_ways(model):
    others = [replace(q, options={**q.options, "D": "all of the above"}) for q in QUESTIONS]
    bench = replace(BENCH, questions=[q for q in others if q.answer != "D"])
    _, answers = answers_of(model, always_first, bench=bench)
    assert ways_printed(describe_results({"x": [summarise(bench, answers)]}, {"cot": "scripted"}, 0)) == 5


def test_what_is_cut_is_the_reasoning_of_the_question_as_published(model):
    _, answers = answers_of(
        model, lambda asked: asked.say(None, f"{asked.stem} {asked.hint} {asked.options}")
    )
    base = {a.id: a for a in answers if a.as_published}
    cut = [a for a in answers if a.variant in ROW.cuts]
    assert len(cut) == len(ROW.cuts) * len(QUESTIONS)
    for answer in cut:
        assert answer.prompt == base[answer.id].prompt
        thought = answer.response.removeprefix("<think>").partition("\n</think>")[0]
        assert thought in base[answer.id].response


def test_only_what_is_proved_counts_as_proved(model):
    _, answers = answers_of(model, perfect)
    found = summarise(BENCH, answers).details["reliability"]
    assert found["none_of_others_proved"]["n"] == sum(number % 3 > 0 for number in range(24))
    assert found["accuracy"]["none_of_others"]["n"] == 24


def test_the_score_is_what_it_is_without_the_row(model):
    _, answers = answers_of(model, always_first)
    with_row, alone = (summarise(BENCH, given) for given in (answers, [a for a in answers if a.as_published]))
    assert with_row.score == alone.score
    assert with_row.questions == alone.questions
    assert alone.details["option_order"] is None
    assert "reliability" not in alone.details
    left = {
        key: value for key, value in with_row.details.items() if key not in ("reliability", "option_order")
    }
    assert left == {key: value for key, value in alone.details.items() if key != "option_order"}


# Variants


def test_each_way_shows_what_it_says_and_reads_back_the_published_letter():
    question = replace(QUESTIONS[1], language="zh")
    for name in VARIANTS:
        shown, published = vary(question, name)
        assert (shown.id, len(shown.options)) == (question.id, 4)
        back = (published or {}).get(shown.answer, shown.answer)
        assert back == question.answer
    numbered, _ = vary(question, "numbers")
    assert list(numbered.options) == ["1", "2", "3", "4"]
    assert numbered.right_text == question.right_text
    assert vary(question, "none_of_others")[0].right_text == "其他选项都不对"
    hidden, _ = vary(replace(question, context="An abstract."), "options_alone")
    assert hidden.context is None
    assert question.question not in hidden.question
    hinted, _ = vary(question, "hint")
    assert question.options[wrong_option(question)] in hinted.question
    assert wrong_option(question) != question.answer


def test_what_cannot_be_asked_so_is_not():
    free = Question("f", "How many?", {}, "3", answer_kind="number")
    assert all(vary(free, name) is None for name in VARIANTS)
    above = Question("a", "Which?", {"A": "x", "B": "y", "C": "All of the above"}, "C")
    assert vary(above, "none_of_others") is None
    assert vary(Question("y", "Is it?", {"A": "yes", "B": "no"}, "A"), "none_of_others") is None
    assert vary(above, "numbers") is not None


@pytest.mark.parametrize(
    ("said", "label"),
    [("2", "2"), ("(2)", "2"), ("Option 2.", "2"), ("2. 10 mg", "2"), ("10 mg", "2"), ("B", None), ("3 10 mg", None),
     ("7", None), ("10", "1"), ("12", None), ("4", "4")],
)  # fmt: skip
def test_numbers_in_place_of_letters_are_read_as_letters_are(said, label):
    options = {"1": "10", "2": "10 mg", "3": "7 mg", "4": "3"}
    assert parse_answer(f"<think>x</think><answer>{said}</answer>", options) == label


def test_numbers_beside_letters_are_texts_as_before():
    options = {"A": "2", "B": "3 mg", "C": "12"}
    read = [
        parse_answer(f"<answer>{said}</answer>", options)
        for said in ("2", "(12)", "3 mg", "3", "B. 3 mg", "1")
    ]
    assert read == ["A", "C", "B", None, "B", None]


def test_the_prompt_asks_for_the_form_that_is_read():
    cfg = Config()
    for name, how in VARIANTS.items():
        asked = asked_as(vary(QUESTIONS[0], name)[0], name, cfg)
        assert asked.answer_style == ("text" if how.other_style else "letter")
    assert "number" in asked_as(QUESTIONS[0], "numbers", cfg).instruction
    assert asked_as(QUESTIONS[0], "", cfg) is cfg
    assert (
        len({asked_as(QUESTIONS[0], name, cfg).instruction for name in ("", "wording_1", "wording_2")}) == 3
    )


def test_reasoning_is_cut_at_words_and_corrupted_in_its_last_step():
    question = QUESTIONS[1]
    wrong, right = question.options[wrong_option(question)], question.right_text
    step = f"disease 1 is treated with {right}."
    response = f"<think>Let me see. {step} I think so. It is {right}.</think>\n<answer>A</answer>"
    cuts = dict(cuts_of(response, question))
    words = response.split("<think>")[1].split("</think>")[0].split()
    for name, share in ROW.cuts.items():
        kept = cuts[name].removeprefix("<think>").removesuffix("\n</think>\n<answer>").split()
        assert kept == words[: int(share * len(words))]
    assert f"treated with {wrong}." in cuts[ROW.corrupted]
    assert right not in cuts[ROW.corrupted]
    assert "I think so" not in cuts[ROW.corrupted]
    plain = replace(question, provenance=None)
    assert ROW.corrupted not in dict(cuts_of(response, plain))
    assert dict(cuts_of("no tags at all", question)) == {}
    assert dict(cuts_of("<think>never closed", question)) == {}
    denied = response.replace("is treated with", "is not treated with")
    assert ROW.corrupted not in dict(cuts_of(denied, question))
    free = Question("f", "How many?", {}, "3", answer_kind="number")
    assert dict(cuts_of("<think>Three.</think>\n<answer>3</answer>", free)) == {}


@pytest.mark.parametrize(("own", "options"), [("", {}), ("answer_style=free", {"A": "3", "B": "4"})])
def test_where_nothing_is_answered_by_an_option_there_is_no_row_to_ask_for(model, own, options):
    checker = ["free.checker=made:up", own] if own else []
    bench = LoadedBenchmark("mine", [Question("f", "How many?", options, "A" if own else "3")], [], None, [])
    protocol = ChainOfThought(*model, load_config(Config, None, ["evaluate.max_new_tokens=200", *checker]))
    assert protocol.plan(bench)
    with pytest.raises(
        InputError, match="mine: no question is answered by an option: leave out --reliability"
    ):
        protocol.plan(bench, reliability=True)


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_question_is_refused(text, tmp_path):
    with pytest.raises(InputError, match="--question is empty"):
        ask(text, tmp_path, Config())


# Log-likelihoods


def test_what_contexts_share_is_fed_once_and_changes_no_likelihood(model):
    transformer, tokenizer = model
    requests = []
    for question in QUESTIONS[:3]:
        for name in ("", *VARIANTS):
            shown = vary(question, name)[0] if name else question
            requests += encode_item(tokenizer, "question", Item("mine", shown, variant=name))
    together = continuation_logprobs(transformer, requests)
    alone = [continuation_logprobs(transformer, [request])[0] for request in requests]
    assert together == pytest.approx(alone, abs=1e-4)


def test_likelihoods_have_a_row_too_without_what_their_document_does_not_show(model):
    for form, ways in {"medqa": 7, "pubmedqa": 3}.items():
        bench = replace(BENCH, set=form)
        if form == "pubmedqa":
            options = {"A": "yes", "B": "no", "C": "maybe"}
            asked = [replace(q, options=options, answer="A", context="An abstract.") for q in QUESTIONS]
            bench = replace(bench, questions=asked)
        protocol, answers = Loglikelihood(*model, Config()), []
        plan = protocol.plan(bench, reliability=True)
        protocol.answer(bench, plan, answers.append)
        found = summarise(bench, answers).details["reliability"]
        assert len(found["ways"]) == ways
        assert {a.key for a in answers} == {asked.key for asked in plan}


def test_an_option_is_chosen_by_its_text_and_behind_other_words_where_it_is_asked_so(model):
    transformer, tokenizer = model
    bench, answers = replace(BENCH, set="medqa", questions=QUESTIONS[:6]), []
    protocol = Loglikelihood(*model, Config())
    protocol.answer(bench, protocol.plan(bench, reliability=True), answers.append)
    by_key = {(a.id, a.variant): a for a in answers if a.order == 0}
    for question in bench.questions:
        said = by_key[question.id, "format"]
        for letter, text in question.options.items():
            (value,) = continuation_logprobs(transformer, encode_pairs(tokenizer, said.prompt, [f" {text}"]))
            assert said.loglikelihoods[letter] == pytest.approx(value / len(text), abs=1e-5)
        assert by_key[question.id, "wording_1"].prompt.endswith("\nThe correct option is:")
        assert by_key[question.id, "wording_1"].prompt[:-25] == said.prompt[:-10]
        assert "1. " in by_key[question.id, "numbers"].prompt


# A run


def test_a_run_asks_each_way_once(inputs, tmp_path):
    lines = read_lines(inputs / "data/test.jsonl")[:5]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines) + "\n")
    plain = ["--config", str(ROOT / "configs/demo.yaml"), "--model", str(inputs / "base/model")]
    plain += [f"evaluate.questions={tmp_path / 'mine.jsonl'}", "evaluate.max_new_tokens=12", "threads=1"]
    plain += ["evaluate.protocols=[cot,loglikelihood]", "evaluate.max_num_seqs=8", "parallel.device=cpu"]
    one, other = [*plain, f"run_dir={tmp_path / 'one'}"], [*plain, f"run_dir={tmp_path / 'other'}"]
    assert run_here(evaluate, one)[0] == 0
    (folder,) = (tmp_path / "one/eval").iterdir()
    before = json.loads((folder / "results.json").read_text())["benchmarks"]["mine"]

    assert run_here(evaluate, [*one, "--reliability"])[0] == 0
    found = json.loads((folder / "results.json").read_text())["benchmarks"]["mine"]
    for protocol, row in found.items():
        assert row["accuracy"] == before[protocol]["accuracy"]
        assert row["reliability"]["questions"] == 5
    records = read_records(folder / "answers.jsonl")
    assert {r.get("variant") for r in records if r["protocol"] == "loglikelihood"} == {None, *VARIANTS}

    # Again: nothing is asked twice; and the row does not enter a comparison.
    stored = (folder / "answers.jsonl").read_bytes()
    assert run_here(evaluate, [*one, "--reliability"])[0] == 0
    assert (folder / "answers.jsonl").read_bytes() == stored
    assert run_here(evaluate, other)[0] == 0
    (second,) = (tmp_path / "other/eval").iterdir()
    for row in compare_runs(second, folder).benchmarks:
        assert row.a.n == row.b.n == 5
        assert (row.difference.difference, row.difference.wins) == (0, 0)


def test_a_run_cuts_what_its_model_has_reasoned(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(
        generation, "Sampler", lambda transformer, tokenizer, n: ScriptSampler(always_first, tokenizer)
    )
    lines = read_lines(inputs / "data/test.jsonl")[:5]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines) + "\n")
    argv = [
        "--config",
        str(ROOT / "configs/demo.yaml"),
        "--model",
        str(inputs / "base/model"),
        "--reliability",
    ]
    argv += [f"evaluate.questions={tmp_path / 'mine.jsonl'}", f"run_dir={tmp_path}", "parallel.device=cpu"]
    for _ in range(2):  # the second time all is there
        assert run_here(evaluate, argv)[0] == 0
        (file,) = tmp_path.glob("eval/*/results.json")
        found = json.loads(file.read_text())["benchmarks"]["mine"]["cot"]["reliability"]
        assert {name: found["accuracy"][name]["n"] for name in ROW.cuts} == dict.fromkeys(ROW.cuts, 5)
        monkeypatch.setattr(
            ScriptSampler, "generate", lambda self, prompts, *a, **k: prompts and pytest.fail("asked twice")
        )
