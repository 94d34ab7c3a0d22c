"""The critic: blind in both calls, strict in what it reads; what it supports waits for a person beside the votes."""

import dataclasses
import json
from collections import Counter

import pytest

from fleming.assets import load_table
from fleming.config import load_config
from fleming.files import read_jsonl, write_jsonl
from fleming.records import Question, to_json
from fleming.refine.critic import criticise, read_verdict
from fleming.refine.decisions import Decision, text_hash
from fleming.settings import Config
from fleming.settings.synth import SynthConfig
from model.errors import InputError

PROMPTS = load_table("critic.yaml")
STEM = "A miner has had a dry cough for nine years. Which dust did he breathe?"


def ask(number: int, answer: str = "B", **fields) -> Question:
    texts = {
        letter: f"{dust} {number}"
        for letter, dust in zip("ABCD", ["quartz", "coal", "lime", "flour"], strict=True)
    }
    return Question(f"q/{number}", STEM, texts, answer, **fields)


def verdict(supported=True, quote="dry cough for nine years", **more) -> str:
    return json.dumps({"supported": supported, "quote": quote, **more})


class Critic:
    """An advocate who always argues, and a judge who rules by the option."""

    name = "scripted critic"

    def __init__(self, rule, argument="<think>Hm.</think>The cough fits."):
        self.rule, self.argument, self.talks = rule, argument, []

    def complete(self, messages, n):
        assert n == 1
        text = messages[-1]["content"]
        self.talks.append(text)
        return [self.rule(text) if "JSON" in text else self.argument]


def config(tmp_path, critic=3, **synth) -> Config:
    return Config(run_dir=str(tmp_path), synth=SynthConfig(critic=critic, **synth))


def run(questions, rule, cfg, decided=None, **more):
    critic, counts = Critic(rule, **more), Counter()
    kept, rejected = criticise(questions, critic, cfg, decided or {}, counts)
    return kept, rejected, counts, critic


def review(tmp_path):
    return [record for _, record in read_jsonl(tmp_path / "data/review.jsonl")]


def test_a_supported_argument_sends_the_question_to_review_with_what_was_said(tmp_path):
    questions = [ask(1), ask(2), ask(3)]
    kept, rejected, counts, critic = run(
        questions, lambda text: verdict("that C. lime 2 is the right" in text), config(tmp_path)
    )
    assert kept == [ask(1), ask(3)]
    assert rejected == [{"code": "in_review", "id": "q/2"}]
    assert counts == {"supported": 1, "refuted": 8}
    (record,) = review(tmp_path)
    found = {"option": "C", "argument": "The cough fits.", "quote": "dry cough for nine years"}
    assert record == {
        "id": "q/2", "text": text_hash(ask(2)), "critic": "scripted critic", "supported": [found],
        "question": to_json(ask(2)),
    }  # fmt: skip
    assert len(critic.talks) == 2 * 9


def test_both_calls_are_blind_to_the_key(tmp_path):
    """With another key the same option is argued for in the same words."""
    talks = [run([ask(1, answer)], lambda text: verdict(False), config(tmp_path))[3].talks for answer in "BA"]
    for option in ("C. lime 1", "D. flour 1"):
        one, other = (
            [text for text in said if f"that {option} is the right answer" in text] for said in talks
        )
        assert len(one) == 2
        assert one == other
    assert not [text for text in talks[0] if "that B. coal 1 is" in text]  # the key is not argued for


def test_so_many_wrong_options_are_drawn_whatever_else_is_asked(tmp_path):
    for critic in (1, 2, 3, 9):
        _, _, counts, first = run([ask(1), ask(2)], lambda text: verdict(False), config(tmp_path, critic))
        assert sum(counts.values()) == 2 * min(critic, 3)
        again = run([ask(2)], lambda text: verdict(False), config(tmp_path, critic))[3]
        assert set(again.talks) <= set(first.talks)
    free = Question("f", "How much?", {}, "7", answer_kind="number")
    assert run([free], lambda text: verdict(), config(tmp_path))[0] == [free]


@pytest.mark.parametrize(
    "reply",
    [
        "", "yes", "{}", "[]", "null", "{" * 100_000, '{"supported": true}', verdict(supported="true"),
        verdict(supported=1), verdict(sure=True), verdict(quote=None), verdict() + " That is all.",
        "I think so: " + verdict(),
        '{"supported": false, "supported": true, "quote": "dry cough for nine years"}', verdict() + verdict(),
        verdict(quote=""), verdict(quote="a dry"), verdict(quote="wet cough for nine years"), verdict(quote="..." * 9),
        "<think>" + verdict() + "</think>",
    ],
)  # fmt: skip
def test_what_is_no_such_reply_or_quotes_what_is_not_there_supports_nothing(tmp_path, reply):
    kept, rejected, counts, _ = run([ask(1)], lambda text: reply, config(tmp_path))
    assert (kept, rejected, counts) == ([ask(1)], [], {"unread": 3})
    assert review(tmp_path) == []


@pytest.mark.parametrize(
    "reply",
    [
        verdict(),
        f"<think>Hm: {verdict(False)}</think>\n{verdict()}",
        f"```json\n{verdict()}\n```",
        verdict(quote="DRY  cough for\nnine years."),
        verdict(quote="silica in the air"),
    ],
)
def test_a_reply_may_think_first_and_quote_in_other_case_and_from_the_context(reply):
    found = read_verdict(reply, ask(1, context="There was silica in the air."))
    assert found
    assert found.supported


def test_a_refutation_needs_no_quotation():
    assert read_verdict(verdict(False, ""), ask(1)).supported is False


def test_where_the_advocate_says_nothing_nobody_is_believed(tmp_path):
    kept, _, counts, critic = run(
        [ask(1)], lambda text: verdict(), config(tmp_path), argument="<think>No.</think> "
    )
    assert (kept, counts) == ([ask(1)], {"unread": 3})
    assert len(critic.talks) == 3  # nor is a judge asked


def test_what_a_person_has_decided_on_is_not_doubted_again(tmp_path):
    questions = [ask(1), ask(2)]
    decided = {
        "q/1": [Decision("q/1", "accept", text_hash(ask(1)))],
        "q/2": [Decision("q/2", "accept", "another text")],
    }
    kept, rejected, _, critic = run(questions, lambda text: verdict(), config(tmp_path), decided)
    assert (kept, [r["id"] for r in rejected]) == ([ask(1)], ["q/2"])
    assert not [text for text in critic.talks if "quartz 1" in text]


def test_its_doubts_stand_behind_those_of_this_runs_votes_and_replace_those_of_another_run(tmp_path):
    for voter, first in (("x", [{"id": "voted"}]), ("", [])):
        write_jsonl(tmp_path / "data/review.jsonl", [{"id": "voted"}], hashed=True)
        run([ask(1)], lambda text: verdict(), config(tmp_path, voter=voter))
        assert [r["id"] for r in review(tmp_path)] == [r["id"] for r in first] + ["q/1"]


def test_a_chinese_question_is_argued_in_chinese_and_both_languages_ask_for_the_same(tmp_path):
    question = dataclasses.replace(ask(1, language="zh"), question="患者干咳九年，吸入了什么粉尘？")
    rejected = run([question], lambda text: verdict(quote="干咳九年"), config(tmp_path))[1]
    assert [r["id"] for r in rejected] == ["q/1"]
    assert PROMPTS["zh"].keys() == PROMPTS["en"].keys() == {"advocate", "judge"}
    for prompts in PROMPTS.values():
        assert '{"supported"' in prompts["judge"].format(option="", argument="")
        assert prompts["judge"].count("{argument}") == prompts["advocate"].count("{option}") == 1


def test_without_a_teacher_the_setting_is_refused():
    with pytest.raises(InputError, match=r"synth\.critic needs a teacher"):
        load_config(Config, None, ["synth.critic=1"])
