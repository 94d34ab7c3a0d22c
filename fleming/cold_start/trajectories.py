"""Trajectories of a real teacher (paper, 3.2): samples, the shortest accepted, and refinement of what is unsolved.

- each sample shows the options in another order; the trajectory's prompt shows the order that its teacher saw, so that
  no letter in a text is ever rewritten
- gold_visible: the teacher is told the right answer, as in the paper; its pass@k then says how well it writes, and
  otherwise how hard the question is
- a round of refinement goes on from an answer that failed, with a prompt of its own (assets/cold_start.yaml)

Left out: who the teacher is (teachers/), what is accepted (checks.py), the teacher without a model (template.py).
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

from fleming.assets import load_table
from fleming.cold_start.checks import check_trajectory, length, normal_form
from fleming.evaluation.at_k import pass_at_k, sizes
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.judge import judge, style_of
from fleming.prompt import INSTRUCTIONS, asked_messages, question_messages
from fleming.records import Question, Trajectory, to_json
from fleming.refine.label_check import trial_orders
from fleming.settings import Config
from fleming.teachers.remembered import Completer, Messages, answer_each
from model.errors import InputError

ROUNDS = ("self_correction", "path_exploration", "backtracking")
PROMPTS = load_table("cold_start.yaml")


@dataclass(frozen=True)
class Attempt:
    """One answer of the teacher."""

    step: str
    """sampling, or one of ROUNDS."""
    order: str
    """The question's letters in the order shown."""
    text: str
    right: bool
    """Whether the one parser reads the right answer in the text."""
    code: str | None
    """Why it is not kept; None: accepted."""


@dataclass
class Work:
    """A question and what the teacher has said to it."""

    question: Question
    attempts: list[Attempt] = field(default_factory=list)
    best: Trajectory | None = None
    """The shortest that was accepted, the first of equals."""

    @property
    def last(self) -> Attempt | None:
        """The last attempt that says anything."""
        return next((attempt for attempt in reversed(self.attempts) if attempt.text.strip()), None)

    def pass_at_k(self) -> dict[str, Any]:
        """Return the samples, how many were right, and pass@k for k = 1, 2, 4, ... and all."""
        right = [attempt.right for attempt in self.attempts if attempt.step == "sampling"]
        n, c = len(right), sum(right)
        return {"samples": n, "right": c, "pass_at_k": {str(k): pass_at_k(n, c, k) for k in sizes(n)}}


@dataclass(frozen=True)
class Taught:
    """What became of the questions."""

    kept: list[Trajectory]
    rejected: list[dict[str, Any]] = field(default_factory=list)
    """Of the template teacher: trajectories that failed a check."""
    unsolved: list[dict[str, Any]] = field(default_factory=list)
    """Of a real one: questions of which no answer was accepted, with all attempts."""
    pass_at_k: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Question id -> its samples, how many were right, pass@k, and whether the teacher saw the right answer."""
    report: dict[str, Any] = field(default_factory=dict)

    def check_usable(self, folder: Path) -> None:
        """Raise InputError where questions were asked and none was solved."""
        if self.unsolved and not self.kept:
            raise InputError(
                f"the teacher has solved no question; {folder}/unsolved.jsonl says what it wrote"
            )

    def noted(self, question: Question) -> Question:
        """Return the question with what its samples say of it."""
        found = self.pass_at_k.get(question.id)
        return replace(question, extra={**question.extra, "teacher": found}) if found else question


@dataclass(frozen=True)
class RealTeacher:
    completer: Completer
    graph: KnowledgeGraph
    cfg: Config

    def work_out(self, questions: Sequence[Question]) -> Taught:
        """Ask for samples of each question, then in rounds for refinements of what is unsolved."""
        rules = self.cfg.synth.trajectories
        works = [Work(question) for question in questions]
        funnel, unsolved = [], works
        for step in ("sampling", *ROUNDS[: rules.rounds]):
            asked = [(work, order) for work in unsolved for order in self._orders(work, step)]
            talks = [self._conversation(work, step, order) for work, order in asked]
            codes = Counter()
            for (work, order), text in zip(asked, answer_each(self.completer, talks), strict=True):
                codes[self._note(work, step, order, text)] += 1
            row = {
                "step": step,
                "questions": len(unsolved),
                "answers": len(asked),
                "accepted": codes.pop(None, 0),
            }
            solved = sum(work.best is not None for work in unsolved)
            funnel.append({**row, "rejected": dict(sorted(codes.items())), "solved": solved})
            unsolved = [work for work in unsolved if not work.best and work.last]  # silence cannot be refined

        rates = {work.question.id: {**work.pass_at_k(), "gold_visible": rules.gold_visible} for work in works}
        kept = [self._kept(work, rates[work.question.id]) for work in works if work.best]
        left = [_record(work, rates[work.question.id]) for work in works if not work.best]
        report = {"unsolved": len(left), "funnel": funnel, **self._report(kept, rates)}
        return Taught(kept, unsolved=left, pass_at_k=rates, report=report)

    def _orders(self, work: Work, step: str) -> list[str]:
        if step in ROUNDS:
            return [work.last.order]
        return trial_orders(work.question, self.cfg.seed, self.cfg.synth.trajectories.samples, "teacher")

    def _conversation(self, work: Work, step: str, order: str) -> Messages:
        synth, shown = self.cfg.synth, work.question.in_order(order)
        prompts, style = PROMPTS.get(shown.language, PROMPTS["en"]), style_of(shown, self.cfg)
        answer = f"{shown.answer}. {shown.right_text}" if shown.options else shown.answer
        guide = prompts["gold_visible" if synth.trajectories.gold_visible else "blind"]
        guide = guide.format(answer=answer, words=synth.max_words)
        messages = question_messages(shown, style, f"{guide}\n\n{INSTRUCTIONS[style]}")
        if step in ROUNDS:
            fault = prompts["faults"].get(work.last.code, prompts["faults"]["other"])
            again = prompts[step].format(fault=fault, words=synth.max_words)
            # Most chat templates leave thinking out of earlier turns, and with it what is to be refined.
            said = re.sub("</?think>", "", work.last.text).strip()
            messages += [{"role": "assistant", "content": said}, {"role": "user", "content": again}]
        return messages

    def _note(self, work: Work, step: str, order: str, text: str) -> str | None:
        """Add an answer to the work; return why it is not kept, or None."""
        shown = work.question.in_order(order)
        response = normal_form(text, shown, self.cfg)
        code = "bad_format" if text.strip() else "empty"
        if response:
            trajectory = Trajectory(
                id=f"{work.question.id}/teacher/{len(work.attempts)}",
                question_id=work.question.id,
                prompt=asked_messages(shown, self.cfg),
                response=response,
                teacher=self.completer.name,
                gold_visible=self.cfg.synth.trajectories.gold_visible,
                checks={"answer_style": style_of(shown, self.cfg), "order": order, "words": length(response)},
            )
            code = check_trajectory(trajectory, shown, self.graph, self.cfg)
            if code is None and (not work.best or length(response) < work.best.checks["words"]):
                work.best = trajectory
        work.attempts.append(Attempt(step, order, text, judge(text, True, shown, self.cfg).correct, code))
        return code

    def _kept(self, work: Work, rates: dict[str, Any]) -> Trajectory:
        rounds = tuple(attempt.step for attempt in work.attempts if attempt.step in ROUNDS)
        checks = {**work.best.checks, "codes": [attempt.code for attempt in work.attempts], **rates}
        return replace(work.best, attempts=len(work.attempts), refinements=rounds, checks=checks)

    def _report(self, kept: Sequence[Trajectory], rates: dict[str, dict[str, Any]]) -> dict[str, Any]:
        words = [trajectory.checks["words"] for trajectory in kept]
        of_k = [rate["pass_at_k"] for rate in rates.values()]
        spent = getattr(self.completer, "spent", None)  # of this folder, over all runs and all that was asked
        cost = {**vars(spent), "cost": spent.of("max_cost", self.cfg.teacher)} if spent else {}
        return {
            "teacher": self.completer.name,
            "gold_visible": self.cfg.synth.trajectories.gold_visible,
            "pass_at_k": {k: mean(shares[k] for shares in of_k) for k in (of_k[0] if of_k else ())},
            "words": {"mean": mean(words), "longest": max(words)} if words else {},
            "spent": cost,
        }


def _record(work: Work, rates: dict[str, Any]) -> dict[str, Any]:
    attempts = [asdict(attempt) for attempt in work.attempts]
    return {"id": work.question.id, **rates, "attempts": attempts, "question": to_json(work.question)}
