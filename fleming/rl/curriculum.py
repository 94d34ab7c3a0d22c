"""Which questions a step draws: stage 1's balanced mix, stage 2's mix of the model's own failures (section 3.3).

All that the curriculum knows it knows from its ledger, curriculum.jsonl: what a step drew and how it went, a question's
answers in each round of mining, the switch between the stages, who left and why. It is read back record by record by
the code that wrote it, so a run that was killed draws what the uninterrupted one would have, and whoever has the ledger
can make every decision again. docs/file-formats.md names the records.

A question waits for its turn: the one whose draws so far, and a share of one by lot, are the fewest for its weight is
drawn next (stride scheduling with a random phase: Waldspurger & Weihl, MIT/LCS/TM-528, 1995). With equal weights these
are epochs, each in a fresh order and without replacement. Left out: who answers when mining (mining.py).
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fleming.records import Question, Rollout, to_json
from fleming.refine.decisions import Decision, relabel, ruling_on, text_hash
from fleming.rl.pools import Pools, lots, shares, stage1_pools
from fleming.rl.sampled import Sampled, teaches
from fleming.rl.standing import Mined, Standing
from fleming.rl.switch import mean, stage1_over
from fleming.settings import Config
from model.errors import InputError

Record = dict[str, Any]


class Curriculum:
    """The training questions, and where the run stands with them by the records of its ledger.

    What makes a decision returns the records to append to the ledger, already taken in.
    """

    def __init__(self, questions: Sequence[Question], cfg: Config, records: Iterable[Record] = ()):
        """records: of the run so far. Raises InputError for those of other questions or of another version, and for
        numbers of steps that the run has already passed."""
        self.questions = list(questions)
        self.rl, self.cfg, self.seed = cfg.grpo, cfg.grpo.curriculum, cfg.seed
        self.places = {q.id: i for i, q in enumerate(questions)}
        self.standings = [Standing() for _ in questions]
        self.reviews: dict[int, Record] = {}
        self.step = self.round = self.stage_tokens = self.tokens = 0
        self.stage1_end: int | None = None
        """The last step of stage 1, once it is over."""
        self.because = ""
        self.rewards: list[float] = []
        self.flat: list[float] = []
        self.of_stage1 = stage1_pools(questions, self.cfg) if self.rl.stage1.max_steps else {}
        try:
            for record in records:
                self._take(record)
        except (AttributeError, KeyError, TypeError, InputError) as error:
            raise InputError(
                f"{cfg.run_dir}/grpo/curriculum.jsonl: no ledger of this version and of these questions ({error}); "
                "choose another run_dir"
            ) from error
        self._check_steps()

    def _check_steps(self) -> None:
        stage1, stage2 = self.rl.stage1.max_steps, self.rl.stage2.max_steps
        if self.stage1_end is None:
            if stage1 < self.step:
                raise InputError(
                    f"grpo.stage1.max_steps = {stage1}: stage 1 has already done {self.step} steps"
                )
        elif self.stage1_end > stage1 or (self.because == "max_steps" and self.stage1_end < stage1):
            raise InputError(
                f"grpo.stage1.max_steps = {stage1}: stage 1 has ended at step {self.stage1_end}; set it back"
            )
        elif self.step > self.stage1_end + stage2:
            done = self.step - self.stage1_end
            raise InputError(f"grpo.stage2.max_steps = {stage2}: stage 2 has already done {done} steps")

    def _note(self, event: str, **fields: Any) -> Record:
        record = {"event": event, **fields}
        self._take(record)
        return record

    # Where the run stands

    @property
    def stage(self) -> int:
        """1 or 2: that of the next step."""
        return 1 if self.stage1_end is None else 2

    @property
    def stage_step(self) -> int:
        """How many steps the stage has done."""
        return self.step - (self.stage1_end or 0)

    @property
    def group_size(self) -> int:
        """Answers a question."""
        return (self.rl.stage1 if self.stage == 1 else self.rl.stage2).group_size

    @property
    def last_step(self) -> int:
        """The run's last step, as far as can be known now."""
        if self.stage == 1:
            return self.rl.stage1.max_steps + self.rl.stage2.max_steps
        if self.rl.stage2.max_tokens and self.stage_tokens >= self.rl.stage2.max_tokens:
            return self.step
        return self.stage1_end + self.rl.stage2.max_steps

    def exports(self, step: int) -> list[str]:
        """Return the folders to which the model goes once the step is done."""
        last = step == self.last_step
        stage1 = last if self.stage == 1 else step == self.stage1_end
        names = ["stage1/model"] if step and stage1 else []
        if last:
            names += [] if stage1 else ["stage2/model"]
            names += ["best/model"] if self.rl.dev_every else []
        return names

    @property
    def pools(self) -> Pools:
        """From which places the next step draws."""
        if self.stage == 1:
            return self.of_stage1
        pools: Pools = {"wrong": [], "right": []}
        for i, standing in enumerate(self.standings):
            if standing.asked and not standing.left:
                pools[standing.bucket].append(i)
        return pools

    @property
    def mining_due(self) -> bool:
        """Whether the next step begins with a round of mining."""
        return self.stage == 2 and self.stage_step % self.cfg.mine_every == 0

    @property
    def to_ask(self) -> list[int]:
        """The places of the questions that a round would ask now."""
        return [i for i, standing in enumerate(self.standings) if not (standing.left or standing.rests)]

    def measures(self, step: int) -> bool:
        """Whether the step is one after which to measure on dev."""
        every = self.rl.dev_every
        return bool(every) and (step % every == 0 or step == self.last_step)

    def shown(self, rollout: Rollout) -> Question:
        """Return the question as the rollout's prompt has it."""
        question = self.questions[self.places[rollout.question_id]]
        return question.in_order(rollout.order) if rollout.order else question

    def settled(self, question: str) -> bool:
        """Whether a person has decided on the question of this id."""
        return question in self.places and self.standings[self.places[question]].settled

    def describe(self) -> str:
        """Return from which pools the next step draws, and what is in none of them."""
        sizes = ", ".join(f"{len(pool)} {name}" for name, pool in self.pools.items())
        outside = self.left_out if self.stage == 1 else Counter(s.left for s in self.standings if s.left)
        left_out = ", ".join(f"{n} {why}" for why, n in sorted(outside.items()))
        return f"stage {self.stage}: {sizes}" + f"; left out: {left_out}" * bool(left_out)

    # What is decided

    def begin(self) -> list[Record]:
        """Return the first records of a ledger, the pools of stage 1 and what is in none of them; and the switch, where
        a run that was to end with stage 1 is to have a second now."""
        records = []
        if not self.step and self.stage == 1:
            sizes = {name: len(pool) for name, pool in self.of_stage1.items()}
            records = [self._note("begin", pools=sizes, left_out=self.left_out)]
        return records + self._switch()

    @property
    def left_out(self) -> dict[str, int]:
        """Difficulty -> questions in no pool of stage 1."""
        inside = {i for pool in self.of_stage1.values() for i in pool}
        outside = (q.difficulty or "ungraded" for i, q in enumerate(self.questions) if i not in inside)
        return dict(Counter(outside)) if inside else {}

    def parts(self) -> dict[str, int]:
        """Return how many questions of each pool the next step draws."""
        mix = self.cfg.stage1_mix if self.stage == 1 else self.cfg.stage2_mix
        sizes = {name: len(pool) for name, pool in self.pools.items()}
        if not any(sizes.values()):
            raise InputError("every question has left the pools; decide on those in grpo/review.jsonl")
        return shares(mix, sizes, self.rl.questions_per_step, self.stage_step)

    def draw(self, parts: Mapping[str, int], taken: Iterable[int] = ()) -> dict[str, list[int]]:
        """Return so many places of each pool, none that the step has taken already: those whose turn it is."""
        pools, taken = self.pools, set(taken)
        return {
            name: heapq.nsmallest(n, (i for i in pools[name] if i not in taken), key=self._turn)
            for name, n in parts.items()
        }

    def _turn(self, place: int) -> float:
        standing = self.standings[place]
        key = f"stage {self.stage} round {self.round} draw {standing.drawn}"
        lot = lots(len(self.standings), self.seed, key)[place]
        return (standing.drawn + lot) / standing.weight

    def stepped(self, step: int, sampled: Sampled) -> list[Record]:
        """Return the records of a step: what it drew and how that went; and the switch, if stage 1 is over by it."""
        every, dropped = [*sampled.groups, *sampled.dropped], sampled.dropped
        named = {name: [self.questions[i].id for i in places] for name, places in sampled.drawn.items()}
        records = [
            self._note(
                "step",
                step=step,
                stage=self.stage,
                drawn=named,
                dropped=[group[0].question_id for group in dropped],
                reward=mean(r.reward["total"] for group in every for r in group),
                flat=mean(not teaches(group) for group in every),
                tokens=sum(len(r.token_ids) for group in every for r in group),
            )
        ]
        return records + self._switch()

    def _switch(self) -> list[Record]:
        """Return the record of the switch, if stage 1 is over by now; its last step alone ends no run's only stage."""
        if self.stage == 2:
            return []
        stage, switch = self.rl.stage1, self.cfg.switch
        over = stage1_over(self.rewards, self.flat, self.stage_tokens, stage, switch)
        if not over or (over["because"] == "max_steps" and not self.rl.stage2.max_steps):
            return []
        return [self._note("switch", after=self.step, **over)]

    def decided(self, step: int, decisions: Mapping[str, Sequence[Decision]]) -> list[Record]:
        """Return the records of the questions in review on which a person has decided."""
        records = []
        for place in sorted(self.reviews):
            question = self.questions[place]
            if ruling := ruling_on(question, decisions.get(question.id, ())):
                relabel(question, ruling)  # refuses an option that there is not
                said = {"verdict": ruling.verdict, "by": ruling.by}
                records.append(self._note("decision", question=question.id, step=step, **said))
        return records

    def mined(
        self,
        step: int,
        asked: Sequence[int],
        answers: Sequence[Mined],
        voter: Mapping[str, Mapping[str, int]],
    ) -> list[Record]:
        """Return the records of a round: of all, of each question asked, and of those that leave for review.

        voter: id -> the votes of whoever checked the labels.
        """
        back = [i for i in asked if self.standings[i].passed] if self.cfg.rest else []
        head = {"round": self.round + 1, "step": step, "asked": len(asked), "back": len(back)}
        head["resting"] = sum(standing.rests > 0 for standing in self.standings)
        head["tokens"] = sum(mined.tokens for mined in answers)
        records = [self._note("round", **head)]
        for place, mined in zip(asked, answers, strict=True):
            said = {"right": mined.right, "votes": dict(mined.votes)}
            record = self._note("answers", question=self.questions[place].id, round=self.round, **said)
            records.append(record | self._described(place))
        records[0]["back_wrong"] = sum(self.standings[i].bucket == "wrong" for i in back)
        records[0]["pools"] = {name: len(pool) for name, pool in self.pools.items()}
        for place in asked:
            question = self.questions[place]
            votes = voter.get(question.id)
            if doubt := self.standings[place].doubt(question, votes, self.cfg):
                said = {"question": question.id, "round": self.round, "answer": question.answer}
                said |= {"instead": doubt[0], "share": doubt[1], "by": "voter" if votes else "policy"}
                records.append(self._note("review", **said))
        return records

    def _described(self, place: int) -> Record:
        """What follows for a question from its answers; for readers, since it is made again from these."""
        standing = self.standings[place]
        names = "bucket", "failed", "none_right", "weight", "drawn_ever"
        said = {name: getattr(standing, name) for name in names}
        return {"pass_rate": standing.right / standing.asked, **said}

    def waiting(self) -> list[Record]:
        """Return what review.jsonl says of the questions that have left and wait for a person's decision."""
        return [
            {
                "id": self.questions[place].id,
                "text": text_hash(self.questions[place]),
                "votes": dict(self.standings[place].votes),
                **{name: review[name] for name in ("answer", "instead", "share", "by", "round")},
                "question": to_json(self.questions[place]),
            }
            for place, review in sorted(self.reviews.items())
        ]

    # What a record says, when it is written and when it is read back

    def _take(self, record: Record) -> None:
        place = self.places[record["question"]] if "question" in record else -1
        standing = self.standings[place]
        self.tokens += record.get("tokens", 0)
        self.stage_tokens += record.get("tokens", 0)
        match record["event"]:
            case "begin":  # the questions and the settings say it
                pass
            case "step":
                self.step = record["step"]
                self.rewards.append(record["reward"])
                self.flat.append(record["flat"])
                for name in (name for ids in record["drawn"].values() for name in ids):
                    self.standings[self.places[name]].drawn += 1
                    self.standings[self.places[name]].drawn_ever += 1
            case "switch":
                self.stage1_end, self.because, self.stage_tokens = record["after"], record["because"], 0
            case "round":
                self.round = record["round"]
                for each in self.standings:
                    each.drawn, each.rests = 0, max(0, each.rests - 1)
            case "answers":
                mined = Mined(record["right"], record["votes"])
                standing.answered(mined, self.questions[place], self.cfg)
            case "review":
                standing.left, self.reviews[place] = "review", record
            case "decision":
                del self.reviews[place]
                decision = Decision(record["question"], record["verdict"])
                self.questions[place] = relabel(self.questions[place], decision)
                if decision.verdict.startswith("relabel"):  # by this answer it has not failed yet
                    standing = self.standings[place] = Standing(drawn_ever=standing.drawn_ever)
                standing.left = "dropped" if decision.verdict == "drop" else None
                standing.settled = True
            case unknown:
                raise KeyError(unknown)
