"""An independent reading of curriculum.jsonl: every decision made again from what was observed, and compared."""

import itertools
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np


class LedgerChecker:
    """Walks the records once; `faults` says where a decision is not what the records before it lead to."""

    def __init__(self, questions, rl):
        self.questions, self.rl, self.cfg = {q.id: q for q in questions}, rl, rl.curriculum
        self.answer = {q.id: q.answer for q in questions}
        self.stage, self.began, self.faults = 1, 0, []
        self.rewards, self.flats, self.tokens = [], [], 0
        self.last, self.history = (
            {},
            defaultdict(list),
        )  # id -> (right, of); id -> (share right, votes) of each round that asked it
        self.left, self.settled, self.rests = {}, set(), Counter()
        self.drawn, self.weight = Counter(), {}
        self.round, self.due_reviews, self.seen = 0, {}, Counter()
        self.asked, self.answered = [], []

    def check(self, records) -> list[str]:
        for number, record in enumerate(records, start=1):
            self.number = number
            getattr(self, f"on_{record['event']}")(record)
            self.seen[record["event"]] += 1
        return self.faults

    def expect(self, found, wanted, what):
        if found != wanted:
            self.faults.append(f"line {self.number}: {what}: {found!r}, expected {wanted!r}")

    # stage 1's pools by grade, stage 2's by the last answers

    def pools(self):
        if self.stage == 1:
            if not any(q.difficulty for q in self.questions.values()):
                return {"ungraded": set(self.questions)}
            grades = {"hard": self.cfg.hard, "simple": self.cfg.simple}
            return {k: {i for i, q in self.questions.items() if q.difficulty in v} for k, v in grades.items()}
        inside = [i for i in self.last if i not in self.left]
        wrong = {i for i in inside if Fraction(*self.last[i]) < Fraction(1, 2)}
        return {"wrong": wrong, "right": set(inside) - wrong}

    def on_begin(self, record):
        pools = self.pools() if self.rl.stage1.max_steps else {}
        self.expect(record["pools"], {name: len(pool) for name, pool in pools.items()}, "pools")
        outside = set(self.questions) - set().union(*pools.values()) if pools else set()
        graded = Counter(self.questions[i].difficulty or "ungraded" for i in outside)
        self.expect(record["left_out"], dict(graded), "left out")

    def on_step(self, record):
        self.expect(self.due_reviews, {}, "left for review")
        self.expect(sorted(self.answered), sorted(self.asked), "answered")
        self.expect(record["stage"], self.stage, "stage")
        pools, ids = self.pools(), [i for name in record["drawn"].values() for i in name]
        self.expect(len(ids), len(set(ids)), "questions, none twice")
        for name, drawn in record["drawn"].items():
            self.expect(set(drawn) - pools[name], set(), f"drawn as {name}")
        if self.rl.draws == 1:
            self.expect(record["dropped"], [], "dropped")
            counts = {name: len(drawn) for name, drawn in record["drawn"].items()}
            self.expect(counts, self.parts(pools, record["step"] - self.began), "parts")
        self.drawn.update(ids)
        for name, pool in pools.items():
            if name in record["drawn"]:
                self.fair(pool, name)
        self.rewards.append(record["reward"])
        self.flats.append(record["flat"])
        self.tokens += record["tokens"]
        self.over = self.why_over(record["step"]) if self.stage == 1 else None

    def parts(self, pools, place):
        """The parts of the `place`-th step of a stage: what is due by then less what was due before, then the caps."""
        mix = self.cfg.stage1_mix if self.stage == 1 else self.cfg.stage2_mix
        sizes = {name: len(pool) for name, pool in pools.items()}
        parts = {name: Fraction(str((mix or sizes).get(name, 1))) for name in sizes}
        count, whole = self.rl.questions_per_step, sum(parts.values())
        first, *others = parts
        due = [int(count * n * parts[first] / whole) for n in (place - 1, place)]
        wanted = {first: due[1] - due[0]} | dict.fromkeys(others, count - due[1] + due[0])
        short = {name: max(0, n - sizes[name]) for name, n in wanted.items()}
        for name, other in itertools.permutations(wanted, 2):
            wanted[other] += short[name]
            wanted[name] -= short[name]
        return {name: min(n, sizes[name]) for name, n in wanted.items()}

    def fair(self, pool, name):
        """Nobody is ahead of another by more than a draw each, counted by weight."""
        if len(pool) < 3 * self.rl.questions_per_step * self.rl.draws * max(self.weight.values(), default=1):
            return  # a small pool is drawn whole, whatever the weights
        ahead = max((self.drawn[i] - 1) / self.weight.get(i, 1.0) for i in pool)
        behind = min((self.drawn[i] + 1) / self.weight.get(i, 1.0) for i in pool)
        if ahead > behind + 1e-9:
            self.faults.append(f"line {self.number}: turns in {name}: {ahead} before {behind}")

    def why_over(self, step):
        stage, switch = self.rl.stage1, self.cfg.switch
        if step >= stage.max_steps:
            return "max_steps"
        if stage.max_tokens and self.tokens >= stage.max_tokens:
            return "max_tokens"
        w = switch.window
        if step < max(w, switch.min_steps):
            return None
        total = np.concatenate([[0.0], np.cumsum(self.rewards)])
        means = (total[w:] - total[:-w]) / w  # of every window
        slopes = (means[w:] - means[:-w])[-w:] / w
        slope = len(slopes) == w and slopes.max() < switch.max_slope
        flat = np.mean(self.flats[-w:]) > switch.max_flat
        ends = {
            "never": False,
            "slope": slope,
            "flat_groups": flat,
            "either": slope or flat,
            "both": slope and flat,
        }
        return (
            " and ".join(["slope"] * bool(slope) + ["flat_groups"] * bool(flat))
            if ends[switch.when]
            else None
        )

    def on_switch(self, record):
        expected = self.over if record["after"] else "max_steps"
        self.expect(record["because"], expected, "why the stage is over")
        self.over, self.stage, self.began, self.tokens = None, 2, record["after"], 0
        self.drawn.clear()

    def on_round(self, record):
        self.round += 1
        self.expect(record["round"], self.round, "round")
        self.expect((record["step"] - 1 - self.began) % self.cfg.mine_every, 0, "when mined")
        self.asked = [i for i in self.questions if i not in self.left and not self.rests[i]]
        self.expect(record["asked"], len(self.asked), "asked")
        self.expect(record["resting"], sum(n > 0 for n in self.rests.values()), "resting")
        self.rests = Counter({i: n - 1 for i, n in self.rests.items() if n > 1})
        self.tokens += record["tokens"]
        self.drawn.clear()
        self.answered = []

    def on_answers(self, record):
        name, right = record["question"], record["right"]
        self.answered.append(name)
        n = sum(record["votes"].values())
        self.expect(n, self.cfg.mine_samples, "answers")
        self.expect(record["votes"].get(self.answer[name], 0), right, "right answers among the votes")
        self.last[name] = right, n
        self.history[name].append((Fraction(right, n), record["votes"]))
        failed, none_right, passed = (self.in_a_row(name, test) for test in (
            lambda share: share < Fraction(1, 2), lambda share: share == 0, lambda share: share == 1))  # fmt: skip
        self.expect(record["pass_rate"], right / n, "pass rate")
        self.expect(record["bucket"], "wrong" if failed else "right", "bucket")
        self.expect((record["failed"], record["none_right"]), (failed, none_right), "rounds in a row")
        weight = 1.0
        if failed:
            tier = self.cfg.tier_weights.get(self.questions[name].difficulty, 1.0)
            weight = (1 + self.cfg.repeat_weight * (failed - 1)) * tier
            weight *= self.cfg.none_right_weight if none_right else 1
        if abs(record["weight"] - weight) > 1e-9:
            self.expect(record["weight"], weight, "weight")
        self.weight[name] = weight
        if self.cfg.rest and passed:
            self.rests[name] = 2 ** (passed - 1)
        if doubt := self.doubt(name, none_right):
            self.due_reviews[name] = doubt

    def in_a_row(self, name, test):
        return sum(1 for _ in itertools.takewhile(test, (share for share, _ in reversed(self.history[name]))))

    def doubt(self, name, rounds):
        if not self.cfg.review_rounds or rounds < self.cfg.review_rounds or name in self.settled:
            return None
        votes = sum((Counter(v) for _, v in self.history[name][-rounds:]), Counter())
        most = max((n for choice, n in votes.items() if choice), default=0)
        agreed = Fraction(most, sum(votes.values())) >= Fraction(str(self.cfg.review_agreement))
        return min(choice for choice, n in votes.items() if choice and n == most) if most and agreed else None

    def on_review(self, record):
        self.expect(record["instead"], self.due_reviews.pop(record["question"], None), "reviewed for")
        self.expect(record["answer"], self.answer[record["question"]], "the answer in doubt")
        self.left[record["question"]] = "review"

    def on_decision(self, record):
        name = record["question"]
        self.expect(self.left.pop(name, None), "review", "decided on")
        self.settled.add(name)
        if record["verdict"] == "drop":
            self.left[name] = "dropped"
        elif record["verdict"].startswith("relabel"):
            self.answer[name] = record["verdict"][-1]
            self.history[name].clear()
