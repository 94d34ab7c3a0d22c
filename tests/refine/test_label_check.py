"""The label check: orders, votes, the log that a killed run goes on with, and a person's decisions."""

import json
import shutil
from dataclasses import replace

import pytest

from fleming.files import read_jsonl
from fleming.records import Question, question_from_json
from fleming.refine.decisions import read_decisions, text_hash
from fleming.refine.label_check import Poll, check_labels, pass_rates, trial_orders
from fleming.teachers.local_model import LocalModel
from model.errors import InputError

TEXTS = ["iron", "zinc", "copper", "lead"]


def ask(number: int, answer: str = "A", options: int = 4, **fields) -> Question:
    texts = [f"{text} {number}" for text in [*TEXTS, "tin", "gold"]][:options]
    return Question(
        f"q/{number}", f"Which metal {number}?", dict(zip("ABCDEF", texts, strict=False)), answer, **fields
    )


def option_lines(messages) -> dict[str, str]:
    lines = messages[-1]["content"].splitlines()
    return {line[0]: line[3:] for line in lines if line[1:3] == ". "}


class Voter:
    """Always answers the option with a text that it likes, by the letter that this has in what it is shown."""

    name = "scripted"

    def __init__(self, liked: str, dies_after: int | None = None):
        self.liked, self.asked, self.dies_after = liked, [], dies_after

    def complete(self, messages, n):
        if self.dies_after == len(self.asked):
            raise KeyboardInterrupt
        shown = option_lines(messages)
        self.asked.append(shown)
        letter = next((letter for letter, text in shown.items() if text.startswith(self.liked)), "?")
        return [f"<think>...</think><answer>{letter}</answer>"] * n


class Together(Voter):
    def complete_all(self, conversations, n):
        return [self.complete(messages, n) for messages in conversations]


def decide(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_voter_that_knows_the_answer_passes_it_in_every_order(tmp_path):
    voter = Voter("copper")
    kept, review, dropped, report = check_labels([ask(1, "C"), ask(2, "A")], Poll(voter, tmp_path, 0))
    assert [q.id for q in kept] == ["q/1"]
    assert not dropped
    assert kept == [ask(1, "C")]
    (waiting,) = review
    assert (waiting["id"], waiting["votes"], waiting["right"]) == ("q/2", ["C"] * 5, 0)
    assert report["by_right"] == {"0": 1, "1": 0, "2": 0, "3": 0, "4": 0, "5": 1}
    assert (report["passed"], report["undecided"], report["failed"]) == (1, 1, 1)
    # What was shown is the options in the order that the record says.
    for shown, order in zip(voter.asked[5:], waiting["orders"], strict=True):
        assert list(shown.values()) == [ask(2).options[letter] for letter in order]
    assert next(iter(read_jsonl(tmp_path / "review.jsonl")))[1] == waiting
    assert question_from_json(waiting["question"], "") == ask(2, "A")


def test_one_who_likes_a_letter_does_not_get_five_of_five(tmp_path):
    class LikesA(Voter):
        def complete(self, messages, n):
            return ["<answer>A</answer>"] * n

    *_, report = check_labels(
        [ask(i, "A") for i in range(200)], Poll(LikesA(""), tmp_path, 0), rule="any_wrong"
    )
    assert report["by_right"]["5"] <= 2
    assert sum(int(n) * count for n, count in report["by_right"].items()) / 1000 == pytest.approx(
        0.25, abs=0.06
    )


@pytest.mark.parametrize(("options", "distinct"), [(2, 2), (3, 5), (4, 5), (6, 5)])
def test_all_orders_differ_while_there_are_orders(options, distinct):
    question = ask(1, options=options)
    orders = trial_orders(question, 0, 5)
    assert len(orders) == 5
    assert len(set(orders)) == distinct
    assert all(sorted(order) == list("ABCDEF"[:options]) for order in orders)
    assert len(set(orders[:2])) == 2
    assert trial_orders(question, 0, 3) == orders[:3]
    assert {tuple(trial_orders(question, seed, 5)) for seed in range(9)} != {tuple(orders)}
    all_six = trial_orders(ask(1, options=3), 0, 12)
    assert len(set(all_six[:6])) == len(set(all_six[6:])) == 6


def test_options_that_speak_of_others_are_not_moved(tmp_path):
    question = Question("q", "Which?", {"A": "iron", "B": "zinc", "C": "Both A and B"}, "C")
    voter = Voter("Both")
    kept, *_ = check_labels([question], Poll(voter, tmp_path, 0))
    assert kept == [question]
    assert voter.asked == [question.options]  # one conversation, five answers
    assert next(iter(read_jsonl(tmp_path / "label_votes.jsonl")))[1]["orders"] == ["ABC"] * 5


def test_two_options_have_as_many_votes_as_any(tmp_path):
    *_, report = check_labels([ask(1, "B", options=2)], Poll(Voter("zinc"), tmp_path, 0))
    assert report["by_right"]["5"] == 1


def test_what_cannot_be_read_is_a_wrong_vote(tmp_path):
    class Rambles(Voter):
        def complete(self, messages, n):
            return ["It is \ud800 surely A. " + "x" * 9000] * n

    _, (waiting,), _, report = check_labels([ask(1)], Poll(Rambles(""), tmp_path, 0))
    assert waiting["votes"] == [None] * 5
    assert report["abstentions"] == 5
    assert {len(text) for text in waiting["responses"]} == {2000}


def test_any_wrong_sends_more_to_review(tmp_path):
    class Wavers(Voter):
        def complete(self, messages, n):
            self.liked = TEXTS[len(self.asked) % 5 == 0]
            return super().complete(messages, n)

    questions = [ask(1, "A"), ask(2, "A")]
    assert len(check_labels(questions, Poll(Wavers(""), tmp_path / "a", 0)).kept) == 2
    _, review, _, _ = check_labels(questions, Poll(Wavers(""), tmp_path / "b", 0), rule="any_wrong")
    assert [record["right"] for record in review] == [4, 4]
    with pytest.raises(InputError, match="none_right, any_wrong"):
        check_labels(questions, Poll(Wavers(""), tmp_path, 0), rule="all")


@pytest.mark.parametrize("kind", [Voter, Together])
def test_a_killed_run_goes_on_and_writes_the_same_bytes(tmp_path, kind):
    questions = [ask(i, "ABCD"[i % 4]) for i in range(70)]
    whole = kind("zinc")
    check_labels(questions, Poll(whole, tmp_path / "whole", 0))
    with pytest.raises(KeyboardInterrupt):
        check_labels(questions, Poll(kind("zinc", dies_after=331), tmp_path / "cut", 0))
    with open(tmp_path / "cut/label_votes.jsonl", "ab") as file:
        file.write(b'{"id": "half a li')  # killed while it wrote
    second = kind("zinc")
    check_labels(questions, Poll(second, tmp_path / "cut", 0))
    assert len(whole.asked) == 350
    assert len(second.asked) == (20 if kind is Voter else 30)
    for name in ("label_votes.jsonl", "review.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()
    again = kind("zinc")
    check_labels(questions, Poll(again, tmp_path / "cut", 0))
    assert not again.asked


def test_votes_on_a_changed_question_by_another_voter_or_seed_are_not_used_again(tmp_path):
    def asks(question, seed=0, name="scripted"):
        voter = Voter("zinc")
        voter.name = name
        check_labels([question], Poll(voter, tmp_path, seed))
        return len(voter.asked)

    assert asks(ask(1)) == 5
    assert asks(ask(1)) == 0
    for changed in (replace(ask(1), question="Which?"), replace(ask(1), context="Read."), ask(1, options=5)):
        assert asks(changed) == 5
    assert asks(ask(1), seed=1) == 5
    assert asks(ask(1), name="another") == 5
    assert asks(ask(1)) == 0


def test_a_pass_rate_is_the_share_of_right_votes_and_no_vote_is_cast_twice(tmp_path):
    class Half(Voter):
        """Knows copper in every second order, and then cannot say."""

        def complete(self, messages, n):
            given = super().complete(messages, n)
            return given if len(self.asked) % 2 else ["copper, I think"] * n

    questions, voter = [ask(1, "C"), ask(2, "A")], Half("copper")
    check_labels(questions, Poll(voter, tmp_path, 0, trials=4))
    assert pass_rates(questions, Poll(voter, tmp_path, 0, 4)) == {"q/1": 0.5, "q/2": 0.0}
    assert len(voter.asked) == 8
    relabelled = replace(questions[1], answer="C")  # another right answer: voted on anew, then not again
    for _ in range(2):
        assert pass_rates([questions[0], relabelled], Poll(voter, tmp_path, 0, 4)) == {"q/1": 0.5, "q/2": 0.5}
        assert len(voter.asked) == 12


def test_decisions_are_applied_by_every_later_run(tmp_path):
    questions = [ask(i, "A") for i in range(6)]
    decisions = decide(
        tmp_path / "decisions.jsonl",
        {"id": "q/0", "decision": "accept"},
        {"id": "q/1", "decision": "relabel B", "by": "kim", "reason": "see guideline"},
        {"id": "q/2", "decision": "drop", "reason": "two are right"},
        {"id": "q/3", "decision": "accept", "text": "another"},
        {"id": "q/4", "decision": "accept", "text": text_hash(questions[4])},
        {"id": "q/9", "decision": "drop"},
    )
    results = []
    for _ in range(2):
        checked = check_labels(questions, Poll(Voter("zinc"), tmp_path / "run", 0), decisions=decisions)
        results.append(checked)
    assert results[0] == results[1]
    assert [(q.id, q.answer) for q in checked.kept] == [("q/0", "A"), ("q/1", "B"), ("q/4", "A")]
    note = {"relabelled_from": "A", "by": "kim", "reason": "see guideline"}
    assert [q.provenance for q in checked.kept] == [None, {"label_check": note}, None]
    assert [(d["id"], d["code"], d["reason"]) for d in checked.dropped] == [
        ("q/2", "dropped_in_review", "two are right")
    ]
    assert [r["id"] for r in checked.review] == ["q/3", "q/5"]
    report = checked.report
    assert [report[n] for n in ("accept", "relabel", "drop", "undecided", "passed")] == [2, 1, 1, 2, 0]
    assert (report["failed"], report["stale_decisions"], report["unknown_decisions"]) == (6, 1, 1)


def test_a_decision_holds_for_what_passed_too_and_lapses_with_its_text(tmp_path):
    question = ask(1, "B", provenance={"hops": 1})
    path = tmp_path / "d.jsonl"
    decide(path, {"id": "q/1", "decision": "relabel D", "text": text_hash(question)})
    (kept,) = check_labels([question], Poll(Voter("zinc"), tmp_path, 0), decisions=path).kept
    assert kept.answer == "D"
    assert kept.provenance["hops"] == 1
    changed = replace(question, question="Which one?")
    assert check_labels([changed], Poll(Voter("zinc"), tmp_path, 0), decisions=path).kept == [changed]


@pytest.mark.parametrize(
    ("records", "complaint"),
    [
        (
            [{"id": "q/1", "decision": "relabel E"}],
            r"d\.jsonl:1: cannot relabel 'q/1' to E: its options are A, B, C, D",
        ),
        ([{"id": "q/1", "decision": "keep"}], r"d\.jsonl:1: expected an id and accept"),
        ([{"id": "q/1", "decision": "relabel"}], r"d\.jsonl:1: expected an id and accept"),
        ([{"id": "q/1", "decision": "relabel BC"}], r"d\.jsonl:1: expected an id and accept"),
        ([{"id": "q/1", "decision": "relabel B C"}], r"d\.jsonl:1: expected an id and accept"),
        ([{"id": "q/1"}], r"d\.jsonl:1: expected an id and accept"),
        ([{"decision": "drop"}], r"d\.jsonl:1: expected an id and accept"),
        ([{"id": "q/1", "decision": "drop", "why": "x"}], r"d\.jsonl:1: unknown field 'why'"),
        ([{"id": 1, "decision": "drop"}], r"d\.jsonl:1: id: expected str"),
        ([{"id": "q/1", "decision": ["drop"]}], r"d\.jsonl:1: decision: expected str"),
        (
            [
                {"id": "q/1", "decision": "drop"},
                {"id": "x", "decision": "drop"},
                {"id": "q/1", "decision": "accept"},
            ],
            r"d\.jsonl:3: accept for 'q/1', but .*d\.jsonl:1 says drop",
        ),
        (
            [{"id": "q", "decision": "drop"}, {"id": "q", "decision": "accept", "text": "t"}],
            r"d\.jsonl:2: accept",
        ),
    ],
)
def test_a_decisions_file_that_cannot_be_meant_is_refused(tmp_path, records, complaint):
    path = decide(tmp_path / "d.jsonl", *records)
    voter = Voter("zinc")
    with pytest.raises(InputError, match=complaint) as refused:
        check_labels([ask(1, "A")], Poll(voter, tmp_path, 0), decisions=path)
    assert not voter.asked  # before any vote is paid for
    assert "\n" not in str(refused.value)


def test_the_same_decision_twice_and_decisions_on_two_texts_are_fine(tmp_path):
    twice = {"id": "q", "decision": "drop"}
    path = decide(tmp_path / "d.jsonl", twice, {"id": "q", "decision": " Drop "})
    assert [d.verdict for d in read_decisions(path)["q"]] == ["drop", "drop"]
    decide(path, {**twice, "text": "1"}, {"id": "q", "decision": "relabel b", "text": "2"})
    assert [d.verdict for d in read_decisions(path)["q"]] == ["drop", "relabel B"]


@pytest.mark.parametrize(
    "line", ['{"id": "q"}', "[]", '{"id": 1, "text": "", "voter": "", "style": ""}', "{"]
)
def test_a_broken_log_of_votes_is_named(tmp_path, line):
    (tmp_path / "label_votes.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=r"label_votes\.jsonl: a JSON array|label_votes\.jsonl:1: "):
        check_labels([ask(1)], Poll(Voter("zinc"), tmp_path, 0))


def test_a_voter_that_gives_too_few_answers_is_named(tmp_path):
    class Short(Voter):
        def complete(self, messages, n):
            return []

    with pytest.raises(InputError, match="scripted did not give 1 texts"):
        check_labels([ask(1)], Poll(Short(""), tmp_path, 0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder of a few thousand weights."""
    from fleming.settings import BaseModelConfig
    from fleming.training.base_model import make_base_model

    shape = {"hidden_size": 16, "intermediate_size": 32, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1}
    cfg = BaseModelConfig(vocab_size=400, head_dim=8, **shape)
    path = tmp_path_factory.mktemp("tiny")
    make_base_model(cfg, ["Which metal? iron zinc"] * 9, [], 0, path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 256}))
    (path / "SHA256SUMS").unlink()
    return path


def test_a_local_models_answers_do_not_depend_on_what_is_asked_beside_it(folder):
    model = LocalModel(folder, max_new_tokens=8, temperature=1.0, max_num_seqs=3)
    conversations = [[{"role": "user", "content": f"Which metal {i}?"}] for i in range(5)]
    together = model.complete_all(conversations, 2)
    assert [model.complete(messages, 2) for messages in conversations] == together
    assert len({text for group in together for text in group}) == 10
    other_seed = LocalModel(folder, max_new_tokens=8, temperature=1.0, seed=1)
    assert other_seed.complete_all(conversations, 2) != together
    assert other_seed.name != model.name
    long = [{"role": "user", "content": "metal " * 300}]
    assert model.complete_all([long, conversations[0]], 2) == [["", ""], together[0]]
    assert model.complete(long, 1) == [""]
    assert model.judged([long], 1) == [("", "too_long")]


def test_a_voter_that_could_never_answer_is_refused_and_does_not_send_all_to_review(folder):
    LocalModel(folder, max_new_tokens=255)
    with pytest.raises(InputError, match="answers of 256 tokens leave a context of 256 no prompt"):
        LocalModel(folder, max_new_tokens=256)


def test_a_local_models_template_gets_what_it_asks_for_by_name(folder, tmp_path):
    from model.huggingface.chat_format import own_template

    qwen3 = shutil.copytree(folder, tmp_path / "qwen3")
    (qwen3 / "chat_template.jinja").write_text(own_template("qwen3"))
    messages = [{"role": "user", "content": "Which metal?"}]
    loud, silent = (LocalModel(qwen3, kwargs, 8) for kwargs in (None, {"enable_thinking": False}))
    ids = [model.tokenizer.encode_chat(messages) for model in (loud, silent)]
    assert silent.tokenizer.decode(ids[1]) == loud.tokenizer.decode(ids[0]) + "<think>\n\n</think>\n\n"
    assert "enable_thinking" in silent.name  # its votes are another's
    assert loud.complete(messages, 1) != silent.complete(messages, 1)


def test_a_local_model_votes_and_a_resumed_run_gives_the_same_bytes(folder, tmp_path):
    questions = [ask(i) for i in range(3)]
    for run in ("a", "b"):
        model = LocalModel(folder, max_new_tokens=6, temperature=1.0)
        _, review, _, report = check_labels(questions, Poll(model, tmp_path / run, 0))
        assert len(review) == 3
        assert report["abstentions"] == 15
        if run == "a":
            (tmp_path / "b").mkdir()
            lines = [
                line + b"\n" for line in (tmp_path / "a/label_votes.jsonl").read_bytes().split(b"\n")[:-1]
            ]
            (tmp_path / "b/label_votes.jsonl").write_bytes(lines[0] + lines[1][:50])
    assert (tmp_path / "a/label_votes.jsonl").read_bytes() == (tmp_path / "b/label_votes.jsonl").read_bytes()
