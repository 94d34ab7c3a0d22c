"""A round of hard-sample mining (paper, section 3.3): the current model answers the training set, which is sorted anew.

A person may decide on questions that have left for review.jsonl by a file beside it, decisions.jsonl (the form of
fleming/refine/decisions.py): a round reads it before it asks, and what it found stands in the ledger. What is wrong
there is said before weights are read. Left out: what answers mean for a question (standing.py).
"""

from collections import Counter
from pathlib import Path

from fleming.files import read_log
from fleming.records import Question
from fleming.refine.decisions import Decision, apply_decisions, read_decisions, text_hash
from fleming.refine.label_check import Votes
from fleming.rl.curriculum import Curriculum
from fleming.rl.rollout import Actor, Scored
from fleming.rl.standing import Mined
from fleming.settings import Config
from fleming.training.run import Run
from fleming.typed import from_json

DECISIONS = "decisions.jsonl"


def mining_round(run: Run, actor: Actor, curriculum: Curriculum, step: int) -> None:
    """Take in a person's decisions, let the current weights answer what does not rest, and write down what came."""
    world, cfg = run.world, run.cfg
    decisions = world.on_main(decisions_of_review, run.folder)
    run.append("curriculum", *curriculum.decided(step, decisions))
    if idle := [question for question in decisions if not curriculum.settled(question)]:
        said = "not in review, or decided on with another text"
        run.show(f"{run.folder / DECISIONS}: {len(idle)} {said}: {', '.join(idle[:5])}")
    asked = curriculum.to_ask
    answers = mine(actor, [(i, curriculum.questions[i]) for i in asked], step)
    voter = world.on_main(voter_votes, cfg, curriculum.questions)
    run.append("curriculum", *curriculum.mined(step, asked, answers, voter))
    run.write("review.jsonl", curriculum.waiting())


def mine(actor: Actor, numbered: list[tuple[int, Question]], step: int) -> list[Mined]:
    """Answer each question with the current weights; return what was answered. `numbered`: with its place."""
    params = actor.params(actor.cfg.grpo.curriculum.mine_samples)

    def vote(scored: Scored) -> tuple[bool, str, int]:
        return scored.reward["correct"] > 0.5, scored.choice, len(scored.sample.token_ids)

    groups = actor.answer(numbered, params, f"mine {step}", vote, f"mining, step {step}", votes=True)
    answers = [zip(*group, strict=True) for group in groups]
    return [Mined(sum(right), Counter(choices), sum(tokens)) for right, choices, tokens in answers]


def check_words(cfg: Config, questions: list[Question]) -> None:
    """Raise InputError for what a round would refuse: in a person's decisions, in the votes of the label check."""
    apply_decisions(questions, decisions_of_review(Path(cfg.run_dir, "grpo")), Counter())
    voter_votes(cfg, questions)


def decisions_of_review(folder: Path) -> dict[str, list[Decision]]:
    """Return what a person has decided on questions in review, none where there is no file."""
    path = folder / DECISIONS
    return read_decisions(path) if path.exists() else {}


def voter_votes(cfg: Config, questions: list[Question]) -> dict[str, dict[str, int]]:
    """Return id -> the votes of the label check on the question as it is, none where labels were not checked."""
    path = cfg.question_file.with_name("label_votes.jsonl")
    if not path.exists():
        return {}
    texts = {q.id: text_hash(q) for q in questions}
    votes = (from_json(Votes, record, f"{path}:{i}") for i, record in enumerate(read_log(path), start=1))
    return {v.id: Counter(vote or "" for vote in v.votes) for v in votes if texts.get(v.id) == v.text}
