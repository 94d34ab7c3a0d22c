"""The curriculum driven by a simulated policy, no model in sight; an independent checker reads its ledger."""

import json
import random
from collections import Counter
from types import SimpleNamespace

import pytest
from support.ledger import LedgerChecker
from support.runs import ALONE

from fleming.config import load_config
from fleming.files import write_jsonl
from fleming.records import Question
from fleming.refine.decisions import Decision, text_hash
from fleming.rl import mining
from fleming.rl.curriculum import Curriculum
from fleming.rl.pools import shares, stage1_pools
from fleming.rl.rollout import Actor, Scored
from fleming.rl.sampled import Sampled
from fleming.rl.standing import Mined, Standing
from fleming.rl.switch import slopes, stage1_over
from fleming.settings import Config
from fleming.settings.training import CurriculumConfig, StageConfig, SwitchConfig
from model.errors import InputError
from model.sampler import Sample

GRADES = ["easy", "moderate", "difficult", None]
SMALL = ["grpo.questions_per_step=7", "grpo.stage1.max_steps=9", "grpo.stage2.max_steps=12"]
SMALL += ["grpo.curriculum.mine_every=3", "grpo.curriculum.mine_samples=2", "grpo.curriculum.review_rounds=2"]
SETTINGS = {
    "the defaults": [],
    "both hard tiers": ["grpo.curriculum.hard=[moderate, difficult]"],
    "other parts": ["grpo.curriculum.stage1_mix={hard: 3, simple: 1}",
                    "grpo.curriculum.stage2_mix={wrong: 1, right: 1}"],
    "by size": ["grpo.curriculum.stage1_mix={}", "grpo.curriculum.stage2_mix={}"],
    "all wrong": ["grpo.curriculum.stage2_mix={wrong: 1, right: 0}"],
    "rest": ["grpo.curriculum.rest=true", "grpo.stage2.max_steps=30"],
    "no review": ["grpo.curriculum.review_rounds=0"],
    "weights": ["grpo.curriculum.repeat_weight=0.5", "grpo.curriculum.none_right_weight=0.7",
                "grpo.curriculum.tier_weights={difficult: 3}"],
    "slope": ["grpo.curriculum.switch={when: slope, min_steps: 2, window: 2, max_slope: 0.01, max_flat: 1}"],
    "flat": ["grpo.curriculum.switch={when: flat_groups, min_steps: 2, window: 2, max_flat: 0.3}"],
    "both": ["grpo.curriculum.switch={when: both, min_steps: 2, window: 2, max_slope: 0.01, max_flat: 0.2}"],
    "tokens": ["grpo.stage1.max_tokens=300", "grpo.stage2.max_tokens=2000"],
    "no stage 1": ["grpo.stage1.max_steps=0"],
    "no stage 2": ["grpo.stage2.max_steps=0"],
    "dynamic sampling": ["grpo.draws=3"],
}  # fmt: skip


def settings(*given: str) -> Config:
    return load_config(Config, None, ["run_dir=runs/simulated", *SMALL, *given])


def questions(count: int, grades=GRADES) -> list[Question]:
    options = dict(zip("ABCD", "wxyz", strict=True))
    return [
        Question(f"q{i}", "?", options, "ABCD"[i % 4], difficulty=grades[i % len(grades)])
        for i in range(count)
    ]


class Policy:
    """Answers each question rightly with a chance of its own, else mostly with one wrong option of its own."""

    def __init__(self, asked: list[Question], seed: int, mislabelled: frozenset[str] = frozenset()):
        self.rng, self.mislabelled = random.Random(seed), mislabelled
        self.chance = {q.id: self.rng.choice([0.0, 0.2, 0.6, 1.0]) for q in asked}

    def answer(self, question: Question) -> str:
        usual = "ABCD"["ABCD".index(question.answer) - 1]
        if question.id in self.mislabelled:
            return usual
        if self.rng.random() < self.chance[question.id]:
            return question.answer
        return self.rng.choice([usual, usual, ""])

    def mined(self, question: Question, n: int) -> Mined:
        answers = [self.answer(question) for _ in range(n)]
        return Mined(answers.count(question.answer), Counter(answers), 5 * n)

    def group(self, question: Question, n: int) -> list[SimpleNamespace]:
        totals = [float(self.answer(question) == question.answer) for _ in range(n)]
        mean = sum(totals) / n
        return [
            SimpleNamespace(
                question_id=question.id, reward={"total": t}, advantage=t - mean, token_ids=[1, 2]
            )
            for t in totals
        ]


def simulate(
    curriculum: Curriculum, policy: Policy, steps: int = 10**9, decisions=lambda step: {}
) -> list[dict]:
    """Go on to the run's end, or for so many steps; return what was written, as it is read back."""
    ledger = curriculum.begin()
    while curriculum.step < curriculum.last_step and steps > 0:
        steps -= 1
        step = curriculum.step + 1
        if curriculum.mining_due:
            ledger += curriculum.decided(step, decisions(step))
            asked = curriculum.to_ask
            n = curriculum.cfg.mine_samples
            ledger += curriculum.mined(
                step, asked, [policy.mined(curriculum.questions[i], n) for i in asked], {}
            )
        parts, drawn, groups = curriculum.parts(), {}, []
        for _ in range(curriculum.rl.draws):
            more = curriculum.draw(parts, [i for places in drawn.values() for i in places])
            parts = Counter()
            for name, places in more.items():
                drawn[name] = drawn.get(name, []) + places
                for i in places:
                    groups.append(policy.group(curriculum.questions[i], 4))
                    parts[name] += not any(r.advantage for r in groups[-1])
        flat = [g for g in groups if not any(r.advantage for r in g)] if curriculum.rl.draws > 1 else []
        ledger += curriculum.stepped(step, Sampled([g for g in groups if g not in flat], flat, drawn, {}))
    return json.loads(json.dumps(ledger))


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("count", [12, 150])
def test_every_decision_can_be_made_again_from_the_ledger(name, count):
    cfg, asked = settings(*SETTINGS[name]), questions(count)
    for seed in range(3):
        policy = Policy(asked, seed, frozenset({"q3", "q4"}))
        ledger = simulate(Curriculum(asked, cfg), policy)
        checker = LedgerChecker(asked, cfg.grpo)
        assert checker.check(ledger) == []
        assert checker.seen["step"] > 2
        assert checker.seen["switch"] == (cfg.grpo.stage2.max_steps > 0)


def test_each_way_to_end_stage_1_is_met_above():
    """Or the checker would have nothing to compare."""
    met = set()
    for given in SETTINGS.values():
        for seed in range(3):
            asked = questions(150)
            ledger = simulate(Curriculum(asked, settings(*given)), Policy(asked, seed))
            met |= {record["because"] for record in ledger if record["event"] == "switch"}
    assert met >= {"max_steps", "max_tokens", "slope", "flat_groups", "slope and flat_groups"}


FORGED = {
    "another question": lambda r: r["event"] == "step" and r["drawn"][min(r["drawn"])].__setitem__(0, "q2"),
    "one more right answer": lambda r: r["event"] == "answers" and not r["right"] and r.update(right=1),
    "another bucket": lambda r: (
        r["event"] == "answers" and r["bucket"] == "wrong" and r.update(bucket="right")
    ),
    "a heavier weight": lambda r: (
        r["event"] == "answers" and r["weight"] > 1 and r.update(weight=r["weight"] * 2)
    ),
    "another ground": lambda r: r["event"] == "switch" and r.update(because="slope"),
    "a review for nothing": lambda r: r["event"] == "review" and r.update(instead="", answer="?"),
    "a higher reward": lambda r: r["event"] == "step" and r["step"] == 5 and r.update(reward=9.0),
}


@pytest.mark.parametrize("forgery", FORGED)
def test_the_checker_finds_a_forged_ledger(forgery):
    asked = questions(60)
    given = ["grpo.curriculum.switch={when: slope, min_steps: 2, window: 2, max_slope: 1}"] * (
        forgery == "a higher reward"
    )
    cfg = settings(*given)
    ledger = simulate(Curriculum(asked, cfg), Policy(asked, 1, frozenset({"q8"})))
    assert LedgerChecker(asked, cfg.grpo).check(ledger) == []
    for record in ledger:
        if FORGED[forgery](record) is not False:
            break
    try:
        faults = LedgerChecker(asked, cfg.grpo).check(ledger)
    except (KeyError, IndexError) as error:
        faults = [repr(error)]
    assert faults


@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_that_reads_its_ledger_back_goes_on_as_if_nothing_had_been(name):
    cfg, asked = settings(*SETTINGS[name]), questions(60)
    whole = simulate(Curriculum(asked, cfg), Policy(asked, 2))
    policy, ledger = Policy(asked, 2), []
    for _ in range(40):  # a step at a time, each by a curriculum that knows the ledger alone
        ledger += simulate(Curriculum(asked, cfg, ledger), policy, 1)
    assert ledger == whole


# Parts and turns


@pytest.mark.parametrize(
    ("mix", "sizes", "count", "steps"),
    [
        ({"hard": 1, "simple": 1}, (99, 99), 64, [(32, 32)] * 3),  # Fig. 2
        ({"wrong": 2, "right": 1}, (99, 99), 6, [(4, 2)] * 3),  # Fig. 2
        ({"wrong": 2, "right": 1}, (99, 99), 64, [(42, 22), (43, 21), (43, 21)]),  # 128 and 64 in three steps
        ({"wrong": 2, "right": 1}, (99, 99), 1, [(0, 1), (1, 0), (1, 0)]),
        ({"hard": 1, "simple": 1}, (99, 99), 7, [(3, 4), (4, 3)]),
        ({"wrong": 2, "right": 1}, (4, 99), 64, [(4, 60)] * 3),  # a pool never repeats inside a step
        ({"wrong": 2, "right": 1}, (0, 99), 6, [(0, 6)] * 2),
        ({"wrong": 1, "right": 0}, (2, 99), 6, [(2, 4)] * 2),  # even those that were to give none
        ({"wrong": 1, "right": 0}, (99, 99), 6, [(6, 0)] * 2),
        ({"wrong": 2, "right": 1}, (2, 3), 64, [(2, 3)] * 2),  # and no step is filled up with repeats
        ({}, (30, 10), 8, [(6, 2)] * 2),
        ({"hard": 0.1, "simple": 0.2}, (99, 99), 3, [(1, 2)] * 3),  # whose sum is no 0.3
    ],
)
def test_the_parts_of_a_step_are_exact_over_steps(mix, sizes, count, steps):
    names = list(mix) or ["wrong", "right"]
    for step, expected in enumerate(steps):
        found = shares(mix, dict(zip(names, sizes, strict=True)), count, step)
        assert tuple(found[name] for name in names) == expected


def test_stage_1_pools_by_grade():
    asked = questions(8)
    assert stage1_pools(asked, CurriculumConfig()) == {
        "hard": [1, 5],
        "simple": [0, 4],
    }  # the paper's two pools
    demo = CurriculumConfig(hard=("moderate", "difficult"))
    assert stage1_pools(asked, demo) == {"hard": [1, 2, 5, 6], "simple": [0, 4]}


def test_only_where_nothing_is_graded_are_the_ungraded_a_pool():
    assert stage1_pools(questions(3, [None]), CurriculumConfig()) == {"ungraded": [0, 1, 2]}
    asked = questions(1, ["easy"]) + questions(10, [None])[1:]
    assert stage1_pools(asked, CurriculumConfig()) == {"hard": [], "simple": [0]}
    curriculum = Curriculum(asked, settings())
    assert curriculum.draw(curriculum.parts()) == {
        "hard": [],
        "simple": [0],
    }  # a step of one group, not of one 7 times
    assert curriculum.describe() == "stage 1: 0 hard, 1 simple; left out: 9 ungraded"
    assert curriculum.begin()[0]["left_out"] == {"ungraded": 9}


def test_two_empty_pools_are_refused():
    with pytest.raises(
        InputError, match=r"stage 1 has nothing to draw: of 50 .* are difficult; name one of these"
    ):
        Curriculum(questions(50, ["difficult"]), settings())
    Curriculum(questions(50, ["difficult"]), settings("grpo.stage1.max_steps=0"))


def draws(curriculum: Curriculum, steps: int) -> list[list[int]]:
    """The places of each step of stage 1, whatever the answers."""
    found = []
    for step in range(curriculum.step + 1, curriculum.step + steps + 1):
        drawn = curriculum.draw(curriculum.parts())
        found.append([i for places in drawn.values() for i in places])
        group = [SimpleNamespace(question_id="q0", reward={"total": 0.5}, advantage=0.0, token_ids=[1])]
        curriculum.stepped(step, Sampled([group], [], drawn, {}))
    return found


def test_an_epoch_draws_each_question_once_and_each_epoch_has_an_order_of_its_own():
    cfg = settings("grpo.questions_per_step=4", "grpo.stage1.max_steps=100", "seed=3")
    steps = draws(Curriculum(questions(10, [None]), cfg), 10)
    assert all(len(set(step)) == 4 for step in steps)  # the step across two epochs too
    drawn = [i for step in steps for i in step]
    for n in range(0, 40, 4):
        assert set(Counter(drawn[:n]).values()) <= {n // 10, n // 10 + 1}
    orders = {
        tuple(sorted(range(10), key=lambda i: [k for k, x in enumerate(drawn) if x == i][e]))
        for e in range(4)
    }
    assert len(orders) == 4
    other = settings("grpo.questions_per_step=4", "grpo.stage1.max_steps=100", "seed=4")
    assert draws(Curriculum(questions(10, [None]), other), 10) != steps


def test_wrong_questions_are_drawn_in_proportion_to_their_weights():
    once = ["grpo.stage1.max_steps=0", "grpo.stage2.max_steps=999", "grpo.curriculum.mine_every=999"]
    cfg = settings(*once, "grpo.questions_per_step=2", "grpo.curriculum.stage2_mix={wrong: 1, right: 0}")
    asked = questions(24, ["easy", "difficult"])
    curriculum = Curriculum(asked, cfg)
    curriculum.begin()
    answers = [Mined(0, {"A": 2}) if i % 3 == 0 else Mined(0, {"B": 2}) for i in range(24)]
    curriculum.mined(1, list(range(24)), answers, {})
    counts = Counter(i for step in draws(curriculum, 360) for i in step)
    weights = [s.weight for s in curriculum.standings]
    assert set(weights) == {1.5, 3.0}
    total = sum(weights)
    for i, weight in enumerate(weights):
        assert abs(counts[i] - 720 * weight / total) <= 1.01


def test_each_round_begins_anew_so_that_no_question_pays_for_draws_at_an_older_weight():
    cfg = settings("grpo.stage1.max_steps=0", "grpo.stage2.max_steps=99", "grpo.curriculum.mine_every=2")
    asked = questions(30)
    curriculum = Curriculum(asked, cfg)
    ledger = simulate(curriculum, Policy(asked, 0), 4)
    before = [standing.drawn for standing in curriculum.standings]
    assert max(before) > 0
    curriculum.mined(5, curriculum.to_ask, [Mined(0, {"A": 2})] * len(curriculum.to_ask), {})
    assert {standing.drawn for standing in curriculum.standings} == {0}
    drawn = Counter(
        name for r in ledger if r["event"] == "step" for ids in r["drawn"].values() for name in ids
    )
    assert [standing.drawn_ever for standing in curriculum.standings] == [drawn[q.id] for q in asked]


def test_each_round_has_an_order_of_its_own():
    once = ["grpo.stage1.max_steps=0", "grpo.curriculum.mine_every=99", "grpo.questions_per_step=5"]
    curriculum, orders = Curriculum(questions(40, [None]), settings(*once)), set()
    curriculum.begin()
    for _ in range(3):
        curriculum.mined(1, range(40), [Mined(2, {"A": 2})] * 40, {})
        orders.add(tuple(curriculum.draw(curriculum.parts())["right"]))
    assert len(orders) == 3


def test_dropped_groups_count_in_the_ledger_and_each_stage_counts_its_own_tokens():
    cfg = settings("grpo.stage1.max_steps=2", "grpo.stage2={max_steps: 9, max_tokens: 7}", "grpo.draws=2")
    curriculum, ends = Curriculum(questions(8), cfg), []
    for step in range(1, 5):
        made = [
            SimpleNamespace(question_id="q1", reward={"total": total}, advantage=total, token_ids=[1, 2])
            for total in (0.0, 1.0)
        ]
        record = curriculum.stepped(step, Sampled([made[1:]], [made[:1]], {}, {}))[0]
        assert (record["reward"], record["flat"], record["tokens"]) == (0.5, 0.5, 4)
        ends.append(curriculum.last_step)
    assert ends == [11, 11, 11, 4]  # with stage 2's second step


# What an answer means


def standing(rounds: list[int], of: int = 4, difficulty="moderate", **cfg) -> Standing:
    found, question = Standing(), questions(1, [difficulty])[0]
    for right in rounds:
        votes = {k: n for k, n in (("A", right), ("D", of - right)) if n}
        found.answered(Mined(right, votes), question, CurriculumConfig(**cfg))
    return found


@pytest.mark.parametrize(
    ("rounds", "difficulty", "bucket", "weight"),
    [
        ([4], "difficult", "right", 1.0),
        ([2], "difficult", "right", 1.0),  # half is right
        ([1], "moderate", "wrong", 1.0),
        ([0], "moderate", "wrong", 1.5),  # 0 of 4 apart from 1 of 4
        ([1], "difficult", "wrong", 2.0),  # above all difficult ones
        ([1, 1, 1], "moderate", "wrong", 3.0),  # and those that fail again and again
        ([1, 1, 4, 1], "moderate", "wrong", 1.0),  # in a row
        ([0, 0], "difficult", "wrong", 6.0),
        ([1], None, "wrong", 1.0),
    ],
)
def test_a_wrong_question_weighs_by_failures_tier_and_whether_none_was_right(
    rounds, difficulty, bucket, weight
):
    found = standing(rounds, difficulty=difficulty)
    assert (found.bucket, found.weight) == (bucket, weight)
    tiers = {"easy": 5.0, "moderate": 5.0, "difficult": 5.0}
    assert standing([1], difficulty=difficulty, tier_weights=tiers).weight == (5.0 if difficulty else 1.0)


def test_a_passed_question_rests_for_a_growing_number_of_rounds():
    cfg = settings("grpo.curriculum.rest=true", "grpo.stage1.max_steps=0", "grpo.stage2.max_steps=60")
    asked, at = questions(30), []
    policy = Policy(asked, 0)
    policy.chance = dict.fromkeys(policy.chance, 1.0) | {"q0": 0.5}
    ledger = simulate(Curriculum(asked, cfg), policy)
    for record in ledger:
        if record["event"] == "answers" and record["question"] == "q1":
            at.append(record["round"])
    assert at == [1, 3, 6, 11, 20]
    rounds = [record for record in ledger if record["event"] == "round"]
    assert [r["resting"] for r in rounds[:3]] == [
        0,
        29 if rounds[1]["asked"] == 1 else rounds[1]["resting"],
        rounds[2]["resting"],
    ]
    assert rounds[0]["asked"] == 30
    assert rounds[1]["asked"] + rounds[1]["resting"] == 30
    assert rounds[2]["back"] >= 29
    assert all(r["back_wrong"] <= r["back"] for r in rounds)
    last, back = {}, Counter()
    for r in [r for r in ledger if r["event"] == "answers"]:
        back[r["round"]] += last.get(r["question"]) == 1.0
        last[r["question"]] = r["pass_rate"]
    assert [r["back"] for r in rounds] == [back[r["round"]] for r in rounds]


def test_a_round_in_which_all_rest_asks_nothing(monkeypatch):
    monkeypatch.setattr(Policy, "answer", lambda policy, question: question.answer)
    asked = questions(12)
    ledger = simulate(Curriculum(asked, settings("grpo.curriculum.rest=true")), Policy(asked, 0))
    assert [r["asked"] for r in ledger if r["event"] == "round"] == [12, 0, 12, 0]


def test_a_label_in_doubt_leaves_and_a_persons_word_brings_it_back():
    cfg = settings("grpo.stage1.max_steps=0", "grpo.stage2.max_steps=24", "grpo.curriculum.review_rounds=3")
    asked = questions(40)
    policy = Policy(asked, 0, frozenset({"q5", "q6", "q7"}))
    policy.chance = dict.fromkeys(policy.chance, 0.9)

    def decisions(step):
        words = {"q5": "accept", "q6": "relabel B", "q7": "drop"} if step > 12 else {}
        return {name: [Decision(name, word)] for name, word in words.items()}

    curriculum = Curriculum(asked, cfg)
    ledger = simulate(curriculum, policy, 12)
    assert [r["question"] for r in ledger if r["event"] == "review"] == ["q5", "q6", "q7"]
    waiting = {record["id"]: record for record in curriculum.waiting()}
    assert waiting["q6"] | {"question": 0} == {
        "id": "q6", "text": waiting["q6"]["text"], "votes": {"B": 6}, "answer": "C", "instead": "B", "share": 1.0,
        "by": "policy", "round": 3, "question": 0,
    }  # fmt: skip
    later = [i for i, r in enumerate(ledger) if r["event"] == "review"][-1]
    drawn = [
        name for r in ledger[later:] if r["event"] == "step" for ids in r["drawn"].values() for name in ids
    ]
    assert not {"q5", "q6", "q7"} & set(drawn)

    ledger += simulate(curriculum, policy, decisions=decisions)
    assert LedgerChecker(asked, cfg.grpo).check(ledger) == []
    back = Curriculum(asked, cfg, ledger)
    assert back.questions[6].answer == "B"
    assert [back.standings[i].left for i in (5, 6, 7)] == [None, None, "dropped"]
    assert back.waiting() == []  # q5 fails again, and is settled
    asked_again = {r["question"] for r in ledger if r["event"] == "answers" and r["round"] == 6}
    assert asked_again >= {"q5", "q6"}
    assert "q7" not in asked_again
    failed = {(r["question"], r["round"]): r["failed"] for r in ledger if r["event"] == "answers"}
    assert (failed["q5", 5], failed["q6", 5]) == (4, 1)  # another answer is failed for the first time


def test_a_round_counts_right_answers_votes_and_tokens_and_has_noise_of_its_own():
    keys, tokens = [], [[5], [5, 6], [5, 6, 7]]

    class Answering(Actor):
        def answer(self, numbered, params, key, keep, bar="", votes=False):
            keys.append(key)
            samples = [Sample(ids, [0.0] * len(ids), "stop", 0.0) for ids in tokens[: params.n]]
            rights, choices = [1.0, 0.0, 1.0], ["A", "", "A"]
            scored = [
                Scored([1], sample, "", {"correct": right, "total": 0.0}, "", choice)
                for sample, right, choice in zip(samples, rights, choices, strict=True)
            ]
            return [[keep(each) for each in scored] for _ in numbered]

    actor = Answering(None, None, settings("grpo.curriculum.mine_samples=3"), ALONE)
    for step in (4, 7):
        found = mining.mine(actor, list(enumerate(questions(2))), step)
        assert found == [Mined(2, Counter({"A": 2, "": 1}), 6)] * 2
    assert len(set(keys)) == 2


def test_a_decision_on_no_question_in_review_is_said(tmp_path, monkeypatch):
    (tmp_path / "decisions.jsonl").write_text('{"id": "q1", "decision": "drop"}\n')
    monkeypatch.setattr(mining, "mine", lambda actor, asked, step: [Mined(1, {"A": 1}) for _ in asked])
    curriculum, said = Curriculum(questions(4), settings("grpo.stage1.max_steps=0")), []
    curriculum.begin()
    nothing = {"append": lambda *_: None, "write": lambda *_: None}
    run = SimpleNamespace(world=ALONE, cfg=settings(), folder=tmp_path, show=said.append, **nothing)
    mining.mining_round(run, None, curriculum, 1)
    assert said == [f"{tmp_path}/decisions.jsonl: 1 not in review, or decided on with another text: q1"]


def test_votes_on_another_text_of_a_question_are_not_used(tmp_path):
    asked, cfg = questions(2), settings(f"data.questions={tmp_path}/rl.jsonl")
    one = {
        "voter": "v",
        "style": "letter",
        "orders": ["ABCD"] * 2,
        "votes": ["B", None],
        "responses": ["", ""],
    }
    texts = {"q0": text_hash(asked[0]), "q1": "of an older text"}
    write_jsonl(
        tmp_path / "label_votes.jsonl", [{"id": name, "text": text, **one} for name, text in texts.items()]
    )
    assert mining.voter_votes(cfg, asked) == {"q0": {"B": 1, "": 1}}
    with open(tmp_path / "label_votes.jsonl", "a") as log:
        log.write('{"id": "q1", "te')  # of a label check that was killed
    assert mining.voter_votes(cfg, asked) == {"q0": {"B": 1, "": 1}}


def test_the_voter_of_the_label_check_has_the_word_where_there_is_one():
    question, cfg = questions(1)[0], CurriculumConfig()
    doubted = standing([0, 0, 0])
    assert doubted.doubt(question, None, cfg) == ("D", 1.0)
    assert doubted.doubt(question, {"A": 5}, cfg) is None  # it says what the label says
    assert doubted.doubt(question, {"C": 4, "A": 1}, cfg) == ("C", 0.8)
    assert doubted.doubt(question, {"": 5}, cfg) is None
    assert doubted.doubt(question, {"C": 2, "A": 1, "": 1}, cfg) == (
        "C",
        0.5,
    )  # as many as the setting asks for
    assert doubted.doubt(question, {"": 3, "C": 3}, cfg) == ("C", 0.5)  # whatever the others abstain from
    assert doubted.doubt(question, {"A": 2, "B": 2}, cfg) is None  # the label has as many
    assert doubted.doubt(questions(2)[1], {"A": 2, "B": 2}, cfg) is None  # and whichever letter comes first
    assert doubted.doubt(question, {}, cfg) == ("D", 1.0)  # a line without votes is none
    assert standing([0, 0]).doubt(question, None, cfg) is None
    assert standing([0, 1, 0, 0]).doubt(question, None, cfg) is None
    assert (
        standing([0, 0, 0], review_rounds=0).doubt(question, None, CurriculumConfig(review_rounds=0)) is None
    )


# The switch


def test_slopes_are_between_the_means_of_neighbouring_windows():
    rewards = [0.0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4]
    assert slopes(rewards, 2) == pytest.approx([0.075, 0.025])  # at steps 6 and 7
    assert slopes(rewards[:4], 2) == pytest.approx([0.1])
    assert slopes(rewards[:3], 2) == []


@pytest.mark.parametrize(
    ("when", "rewards", "flat", "because"),
    [
        ("either", [0.5] * 30, 0.1, "slope"),
        ("either", [i / 30 for i in range(30)], 0.1, None),
        ("either", [i / 30 for i in range(30)], 0.6, "flat_groups"),
        ("either", [0.5] * 30, 0.6, "slope and flat_groups"),
        ("both", [0.5] * 30, 0.1, None),
        ("both", [0.5] * 30, 0.6, "slope and flat_groups"),
        ("slope", [i / 30 for i in range(30)], 0.6, None),
        ("flat_groups", [0.5] * 30, 0.1, None),
        ("never", [0.5] * 30, 0.9, None),
        ("slope", [0.5] * 13, 0.1, None),  # fewer than three windows
        ("flat_groups", [0.5] * 9, 0.9, None),  # before min_steps
    ],
)
def test_stage_1_is_over_by_the_signs_that_the_setting_names(when, rewards, flat, because):
    switch = SwitchConfig(when=when, min_steps=10, window=5)
    over = stage1_over(rewards, [flat] * len(rewards), 0, StageConfig(max_steps=99), switch)
    assert (over and over["because"]) == because


@pytest.mark.parametrize(
    ("steps", "tokens", "because"), [(8, 99, None), (8, 100, "max_tokens"), (9, 0, "max_steps")]
)
def test_stage_1_ends_with_its_last_step_and_once_its_tokens_are_sampled(steps, tokens, because):
    over = stage1_over([0.5] * steps, [0.0] * steps, tokens, StageConfig(9, max_tokens=100), SwitchConfig())
    assert (over and over["because"]) == because


# A run that is extended


def test_a_finished_run_can_be_extended_and_what_is_over_stays():
    asked = questions(60)
    whole = simulate(Curriculum(asked, settings("grpo.stage2.max_steps=20")), Policy(asked, 2))
    policy = Policy(asked, 2)
    short = simulate(Curriculum(asked, settings("grpo.stage2.max_steps=5")), policy)
    longer = Curriculum(asked, settings("grpo.stage2.max_steps=20"), short)
    assert short + simulate(longer, policy) == whole
    for changed, said in {
        "grpo.stage2.max_steps=4": r"grpo.stage2.max_steps = 4: stage 2 has already done 5 steps",
        "grpo.stage1.max_steps=10": r"grpo.stage1.max_steps = 10: stage 1 has ended at step 9; set it back",
        "grpo.stage1.max_steps=8": r"grpo.stage1.max_steps = 8: stage 1 has ended at step 9; set it back",
    }.items():
        with pytest.raises(InputError, match=said):
            Curriculum(asked, settings("grpo.stage2.max_steps=5", changed), short)
    begun = simulate(Curriculum(asked, settings()), Policy(asked, 2), 4)
    with pytest.raises(InputError, match=r"grpo.stage1.max_steps = 3: stage 1 has already done 4 steps"):
        Curriculum(asked, settings("grpo.stage1.max_steps=3"), begun)


@pytest.mark.parametrize("longer", ["grpo.stage1.max_steps=9", "grpo.stage2.max_steps=12"])
def test_so_can_one_that_was_to_end_with_stage_1(longer):
    asked, alone = questions(60), ["grpo.stage1.max_steps=5", "grpo.stage2.max_steps=0"]
    whole = simulate(Curriculum(asked, settings(*alone, longer)), Policy(asked, 2))
    policy = Policy(asked, 2)
    first = Curriculum(asked, settings(*alone))
    short = simulate(first, policy)
    assert first.exports(5) == ["stage1/model"]
    more = Curriculum(asked, settings(*alone, longer), short)
    assert short + simulate(more, policy) == whole
    assert more.exports(more.last_step) == ["stage1/model" if longer.endswith("9") else "stage2/model"]


STEP = {"event": "step", "step": 1, "drawn": {"hard": ["q1"]}, "reward": 0.5, "flat": 0.0, "tokens": 9}


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"event": "step"},
        {"event": "answers", "question": "another"},
        {"step": 2, "pass_rates": {}},
        {**STEP, "drawn": ["q1"]},
        {**STEP, "drawn": None},
        {"event": "answers", "question": "q1", "right": 1, "votes": ["A"]},
        {"event": "decision", "question": "q1", "verdict": 3},
    ],
    ids=str,
)
def test_a_ledger_of_another_version_of_other_questions_or_of_no_run_is_refused(record):
    with pytest.raises(InputError, match=r"curriculum.jsonl: no ledger of this version"):
        Curriculum(questions(5), settings(), [record])


def test_exports_at_the_end_of_each_stage():
    asked = questions(60)
    cfg = settings("grpo.dev_every=4")
    curriculum = Curriculum(asked, cfg)
    ledger = simulate(curriculum, Policy(asked, 2))
    last = curriculum.last_step
    assert last == 21
    assert {s: curriculum.exports(s) for s in range(last + 1) if curriculum.exports(s)} == {
        9: ["stage1/model"], 21: ["stage2/model", "best/model"]
    }  # fmt: skip
    alone = Curriculum(
        asked, settings("grpo.stage2.max_steps=0"), [r for r in ledger if r.get("step", 0) <= 9][:12]
    )
    assert alone.last_step == 9
