"""Free answers scored by rubrics: criteria with points, judged by the teacher or by a criterion's own check.

HealthBench's form and rule: of each prompt the points that are met over the positive ones; the mean, within [0, 1].
A judge sees each answer's criteria twice, the second time in reverse; a criterion counts by the mean of the two, and
not at all where either reply cannot be read. Left out: several answers a prompt, and running on several processes.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleming.assets import load_table
from fleming.evaluation.chosen import name_of
from fleming.evaluation.rubric_agreement import agreement, human_agreement, read_labels
from fleming.evaluation.rubric_answers import answer_prompts
from fleming.evaluation.rubric_file import Criterion, Rubric, read_rubrics
from fleming.evaluation.statistics import macro_difference
from fleming.evaluation.votes import mean
from fleming.files import check_writable, input_hashes, run_lock, write_json
from fleming.records import Message
from fleming.settings import Config
from fleming.teachers.load import load_teacher
from fleming.teachers.remembered import Completer, Messages, answer_each, behind_thinking, read_reply
from fleming.training.parallel import pick_device
from model.errors import InputError

JUDGE = load_table("rubrics.yaml")["judge"]
LEFT_OUT = ("unread", "tied", "other_prompts", "flawed_rows")


def judge_talks(prompt: Sequence[Message], answer: str, criteria: Sequence[str]) -> list[Messages]:
    """Return the two conversations that judge an answer: the criteria in order, and in reverse."""
    talks = []
    for shown in (list(criteria), list(criteria)[::-1]):
        numbered = {str(i): text for i, text in enumerate(shown, start=1)}
        material = {"conversation": list(prompt), "answer": answer, "criteria": numbered}
        # As JSON an answer cannot end its own quotation; nor may it write a template's special tokens.
        text = json.dumps(material, ensure_ascii=False, indent=1).replace("<|", "\\u003c|")
        talks.append([{"role": "user", "content": JUDGE.format(material=text)}])
    return talks


@dataclass(frozen=True)
class Reply:
    """All that a judge's reply holds."""

    met: dict[str, bool]


def read_met(reply: str, n: int) -> list[bool] | None:
    """Return what a reply says of each of n criteria; None where it says anything else."""
    found = read_reply(reply, Reply)
    numbers = [str(i) for i in range(1, n + 1)]
    return [found.met[i] for i in numbers] if found and found.met.keys() == {*numbers} else None


Job = tuple[Sequence[Message], str, Sequence[str]]
Word = tuple[bool, bool] | None
"""What the judge says in either order; None: it could not be read."""


def ask_judge(judge: Completer | None, jobs: Sequence[Job]) -> list[list[Word]]:
    """Return the judge's words on the criteria of each (prompt, answer, criteria)."""
    talks = [talk for job in jobs if job[2] for talk in judge_talks(*job)]
    replies: Iterator[str] = iter(answer_each(judge, talks) if talks else [])
    words_: list[list[Word]] = []
    for _, _, criteria in jobs:
        n = len(criteria)
        first, second = (read_met(next(replies), n) if n else [] for _ in range(2))
        unread = first is None or second is None
        words_.append([None] * n if unread else list(zip(first, second[::-1], strict=True)))
    return words_


Scored = list[tuple[Criterion, float | None]]
"""The criteria of a prompt, and how far each is met; None: the judge's reply could not be read."""


def score(scored: Sequence[Scored], seed: int) -> dict[str, Any] | None:
    """Return HealthBench's score of prompts; `unclipped` is the mean as it would be below 0."""
    shares = []
    for criteria in scored:
        known = [(c.points, met) for c, met in criteria if met is not None]
        if possible := sum(points for points, _ in known if points > 0):
            shares.append(sum(points * met for points, met in known) / possible)
    if not shares:
        return None
    whole = macro_difference([([0.0] * len(shares), shares)], seed)
    clipped = {name: min(1.0, max(0.0, value)) for name, value in vars(whole).items()}
    return {"n": len(shares), **clipped, "unclipped": whole.value}


def evaluate_rubrics(path: Path, model_folder: Path, cfg: Config) -> str:
    """Answer, judge and score; write rubrics.json and rubric_answers.jsonl; return what to print."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("--rubrics runs in one process: start it without torchrun")
    rubrics, aside = read_rubrics(path)
    rubrics = rubrics[: cfg.evaluate.limit or None]
    labels, flawed = read_labels(Path(cfg.evaluate.rubric_labels)) if cfg.evaluate.rubric_labels else ([], 0)
    judge = load_teacher(cfg, pick_device(cfg.parallel))
    if judge is None and (labels or any(c.check_ is None for r in rubrics for c in r.rubrics)):
        raise InputError(f"{path}: criteria without a check need a judge: set teacher.kind (openai or local)")
    folder = Path(cfg.run_dir, "eval", name_of(str(model_folder)))
    check_writable([folder / "rubrics.json", folder / "rubric_answers.jsonl"])

    with run_lock(cfg.run_dir, "evaluate.py --rubrics"):
        answers = answer_prompts(rubrics, model_folder, folder, cfg)
        texts = {name: said_by(answer.response) for name, answer in answers.items()}
        scored, words = judge_answers(judge, rubrics, texts)
        teacher = cfg.teacher
        asked = {name: getattr(teacher, name) for name in ("kind", "model", "address", "temperature")}
        found = {
            "model": str(model_folder),
            "sha256": input_hashes({"rubrics": path}),
            **score_all(scored, cfg.seed),
            "rows_set_aside": aside,
            "answers": len(answers),
            "answers_cut": sum(answer.finish_reason == "length" for answer in answers.values()),
            "criteria_unread": words.count(None),
            "judge": judge and {**asked, "name": judge.name},
            "judge_prompt_sha256": hashlib.sha256(JUDGE.encode()).hexdigest(),
            "self_agreement": agreement([word for word in words if word]),
            "human_agreement": None,
        }
        if labels:
            prompts = {rubric.prompt_id: rubric.prompt for rubric in rubrics}
            compared = human_agreement(labels, prompts, texts, lambda jobs: ask_judge(judge, jobs))
            found["human_agreement"] = compared | {"flawed_rows": flawed}
        write_json(folder / "rubrics.json", found)
    return describe(found)


def judge_answers(
    judge: Completer | None, rubrics: Sequence[Rubric], answers: Mapping[str, str]
) -> tuple[list[Scored], list[Word]]:
    """Return how far each criterion is met, prompt by prompt, and all that the judge has said of them."""
    jobs = []
    for rubric in rubrics:
        left = [c.criterion for c in rubric.rubrics if c.check_ is None]
        jobs.append((rubric.prompt, answers[rubric.prompt_id], left))
    said = ask_judge(judge, jobs)
    scored = []
    for rubric, words in zip(rubrics, map(iter, said), strict=True):
        scored.append([(c, _met(c, answers[rubric.prompt_id], words)) for c in rubric.rubrics])
    return scored, [word for words in said for word in words]


def _met(criterion: Criterion, answer: str, words: Iterator[Word]) -> float | None:
    if criterion.check_:
        return float(criterion.check_.holds(answer))
    word = next(words)
    return None if word is None else sum(word) / 2


def score_all(scored: Sequence[Scored], seed: int) -> dict[str, Any]:
    """Return the score, also by tag, and of how many criteria it is."""
    criteria = [c for row in scored for c, _ in row]
    of_tag = {}
    for tag in sorted({tag for c in criteria for tag in c.tags}):
        of_tag[tag] = score([[(c, met) for c, met in row if tag in c.tags] for row in scored], seed)
    return {
        "score": score(scored, seed),
        "by_tag": of_tag,
        "criteria": len(criteria),
        "share_without_model": mean(c.check_ is not None for c in criteria),
    }


def said_by(response: str) -> str:
    """Return what stands behind the reasoning; nothing where that never ends."""
    return "" if "<think>" in response and "</think>" not in response else behind_thinking(response)


def describe(found: dict[str, Any]) -> str:
    """Return the lines for the terminal."""

    def share(value: dict[str, Any] | None) -> str:
        if not value:
            return "none"
        kappa = f", kappa {value['kappa']:.2f}" if value.get("kappa") is not None else ""
        return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}], n {value['n']}{kappa}"

    judge, human = found["judge"], found["human_agreement"]
    lines = [
        f"rubrics: {share(found['score'])} prompts",
        *(f"  {tag}: {share(value)}" for tag, value in found["by_tag"].items()),
        f"judge: {judge['kind']} {judge['model']} {judge['address']}" if judge else "judge: none",
        f"judge's prompt: sha256 {found['judge_prompt_sha256']}",
        f"criteria: {found['criteria']}, {found['share_without_model']:.0%} judged without a model, "
        f"{found['criteria_unread']} left out as the judge's reply could not be read",
        f"answers: {found['answers']}, {found['answers_cut']} cut; rows set aside: {found['rows_set_aside'] or 0}",
        f"judge with itself, order reversed: {share(found['self_agreement'])}",
    ]
    if human:
        lines.append(f"judge with people's majority: {share(human)}, macro F1 {human['macro_f1']:.2f}")
        left = ", ".join(f"{what.replace('_', ' ')} {human[what]}" for what in LEFT_OUT if human[what])
        lines.append(f"people with one another: {share(human['raters'])}; left out: {left or 'none'}")
    else:
        lines.append("judge with people: not measured (evaluate.rubric_labels)")
    return "\n".join(lines)
