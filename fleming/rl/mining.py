"""A round of hard-sample mining (paper, section 3.3): the current model answers the training set, which is sorted anew.

A person may decide on questions that have left for review.jsonl by a file beside it, decisions.jsonl (the form of
fleming/refine/decisions.py): a round reads it before it asks, and what it found stands in the ledger. Left out: what
answers mean for a question (standing.py).
"""

from collections import Counter
from pathlib import Path

from fleming.files import read_jsonl
from fleming.judge import judge
from fleming.records import Question
from fleming.refine.decisions import Decision, read_decisions, text_hash
from fleming.refine.label_check import Votes
from fleming.rl.curriculum import Curriculum
from fleming.rl.rollout import Actor
from fleming.rl.standing import Mined
from fleming.settings import Config
from fleming.training.metrics import progress_bar
from fleming.training.run import Run
from fleming.typed import from_json


def mining_round(run: Run, actor: Actor, curriculum: Curriculum, step: int) -> None:
    """Take in a person's decisions, let the current weights answer what does not rest, and write down what came."""
    world, cfg = run.world, run.cfg
    decisions = world.on_main(decisions_of_review, run.folder)
    run.append("curriculum", *curriculum.decided(step, decisions))
    asked = curriculum.to_ask
    answers = mine(actor, [(i, curriculum.questions[i]) for i in asked], step)
    voter = world.on_main(voter_votes, cfg, curriculum.questions)
    run.append("curriculum", *curriculum.mined(step, asked, answers, voter))
    run.write("review.jsonl", curriculum.waiting())


def mine(actor: Actor, numbered: list[tuple[int, Question]], step: int) -> list[Mined]:
    """Answer each question with the current weights; return what was answered. `numbered`: with its place."""
    cfg = actor.cfg
    n = cfg.grpo.curriculum.mine_samples

    def answers(part: list[tuple[int, Question]]) -> list[tuple[Mined, list[str]]]:
        with progress_bar(len(part) * n, 0, "mining", actor.world, unit="answer", leave=False) as bar:
            groups = actor.answer(part, n, f"mine {step}", on_finish=lambda *_: bar.update())
        return [
            (
                Mined(
                    right=sum(s.reward["correct"] > 0.5 for s in group),
                    votes=Counter(judge(s.response, True, question, cfg).choice or "" for s in group),
                    tokens=sum(len(s.sample.token_ids) for s in group),
                ),
                [s.failure for s in group],
            )
            for (_, question), group in zip(part, groups, strict=True)
        ]

    found = actor.world.divide(numbered, answers)
    actor.count_failures([failure for _, failures in found for failure in failures], f"mining at step {step}")
    return [mined for mined, _ in found]


def decisions_of_review(folder: Path) -> dict[str, list[Decision]]:
    """Return what a person has decided on questions in review, none where there is no file."""
    path = folder / "decisions.jsonl"
    return read_decisions(path) if path.exists() else {}


def voter_votes(cfg: Config, questions: list[Question]) -> dict[str, dict[str, int]]:
    """Return id -> the votes of the label check on the question as it is, none where labels were not checked."""
    path = cfg.question_file.with_name("label_votes.jsonl")
    if not path.exists():
        return {}
    texts = {q.id: text_hash(q) for q in questions}
    votes = (from_json(Votes, record, where) for where, record in read_jsonl(path))
    return {v.id: Counter(vote or "" for vote in v.votes) for v in votes if texts.get(v.id) == v.text}
