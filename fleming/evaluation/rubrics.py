"""Free answers scored by rubrics: criteria with points, judged by the teacher or by a criterion's own check.

HealthBench's form and rule: of each prompt the points that are met over the positive ones; the mean, within [0, 1].
A judge sees each answer's criteria twice, the second time in reverse; a criterion counts by the mean of the two, and
not at all where either reply cannot be read. Left out: several answers a prompt, and running on several processes.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleming.assets import load_table
from fleming.evaluation.chosen import name_of
from fleming.evaluation.rubric_agreement import agreement, human_agreement, read_labels
from fleming.evaluation.rubric_file import Criterion, Rubric, read_rubrics
from fleming.evaluation.statistics import macro_difference
from fleming.files import AppendLog, check_writable, input_hashes, read_json, read_jsonl, run_lock, write_json
from fleming.prompt import encode_messages, response_text
from fleming.records import Message
from fleming.settings import Config
from fleming.teachers.load import load_teacher
from fleming.teachers.remembered import Completer, Messages, answer_each, behind_thinking, read_reply
from fleming.training.identity import check_same_run
from fleming.training.parallel import compute_dtype, pick_device
from model.errors import InputError
from model.huggingface.weights import load_model
from model.sampler import Sample, Sampler, SamplingParams

JUDGE = load_table("rubrics.yaml")["judge"]


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


def score(scored: Sequence[Sequence[tuple[Criterion, float | None]]], seed: int) -> dict[str, Any] | None:
    """Return HealthBench's score of prompts, each its criteria with how far they are met (None: left out)."""
    shares = []
    for criteria in scored:
        known = [(c.points, met) for c, met in criteria if met is not None]
        if possible := sum(points for points, _ in known if points > 0):
            shares.append(sum(points * met for points, met in known) / possible)
    if not shares:
        return None
    whole = macro_difference([([0.0] * len(shares), shares)], seed)
    return {"n": len(shares)} | {name: min(1.0, max(0.0, value)) for name, value in vars(whole).items()}


def evaluate_rubrics(path: Path, model_folder: Path, cfg: Config) -> str:
    """Answer, judge and score; write rubrics.json and rubric_answers.jsonl; return what to print."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("--rubrics runs in one process: start it without torchrun")
    rubrics, aside = read_rubrics(path)
    labels = read_labels(Path(cfg.evaluate.rubric_labels)) if cfg.evaluate.rubric_labels else []
    judge = load_teacher(cfg, pick_device(cfg.parallel))
    if judge is None and (labels or any(c.check_ is None for r in rubrics for c in r.rubrics)):
        raise InputError(f"{path}: criteria without a check need a judge: set teacher.kind (openai or local)")
    folder = Path(cfg.run_dir, "eval", name_of(str(model_folder)))
    check_writable([folder / "rubrics.json", folder / "rubric_answers.jsonl"])
    with run_lock(cfg.run_dir, "evaluate.py --rubrics"):
        answers = _answers(rubrics, model_folder, folder, cfg)
        texts = {name: said_by(a["response"]) for name, a in answers.items()}
        left = [[c.criterion for c in r.rubrics if c.check_ is None] for r in rubrics]
        jobs = [(r.prompt, texts[r.prompt_id], todo) for r, todo in zip(rubrics, left, strict=True)]
        said = ask_judge(judge, jobs)
        scored, pairs = [], [word for group in said for word in group]
        for r, group in zip(rubrics, said, strict=True):
            judged = iter(group)
            scored.append([(c, _met(c, texts[r.prompt_id], judged)) for c in r.rubrics])
        total = sum(len(r.rubrics) for r in rubrics)
        tags = sorted({tag for r in rubrics for c in r.rubrics for tag in c.tags})
        of_tag = {tag: [[(c, m) for c, m in row if tag in c.tags] for row in scored] for tag in tags}
        teacher = cfg.teacher
        found = {
            "model": str(model_folder),
            "sha256": input_hashes({"rubrics": path}),
            "score": score(scored, cfg.seed),
            "by_tag": {tag: score(rows, cfg.seed) for tag, rows in of_tag.items()},
            "rows_set_aside": aside,
            "answers": len(answers),
            "answers_cut": sum(a["finish_reason"] == "length" for a in answers.values()),
            "criteria": total,
            "criteria_unread": pairs.count(None),
            "share_without_model": 1 - len(pairs) / total,
            "judge": judge
            and {
                "kind": teacher.kind,
                "model": teacher.model,
                "address": teacher.address,
                "name": judge.name,
            },
            "judge_prompt_sha256": hashlib.sha256(JUDGE.encode()).hexdigest(),
            "self_agreement": agreement([word for word in pairs if word]),
            "human_agreement": None,
        }
        if labels:
            found["human_agreement"] = human_agreement(
                labels, {r.prompt_id: r.prompt for r in rubrics}, texts, lambda jobs: ask_judge(judge, jobs)
            )
        write_json(folder / "rubrics.json", found)
    return describe(found)


def said_by(response: str) -> str:
    """Return what stands behind the reasoning; nothing where that never ends."""
    return "" if "<think>" in response and "</think>" not in response else behind_thinking(response)


def _met(criterion: Criterion, answer: str, judged: Iterator[Word]) -> float | None:
    if criterion.check_:
        return float(criterion.check_.holds(answer))
    word = next(judged)
    return None if word is None else sum(word) / 2


def _answers(
    rubrics: Sequence[Rubric], model_folder: Path, folder: Path, cfg: Config
) -> dict[str, dict[str, Any]]:
    """Return prompt_id -> its answer; only what rubric_answers.jsonl lacks is asked for."""
    device, ev = pick_device(cfg.parallel), cfg.evaluate
    prompts = json.dumps([[r.prompt_id, r.prompt] for r in rubrics])
    settings = {
        "sha256 of model": hashlib.sha256(
            json.dumps(sorted(input_hashes({"model": model_folder}).items())).encode()
        ).hexdigest(),
        "sha256 of prompts": hashlib.sha256(prompts.encode()).hexdigest(),
        "dtype": str(compute_dtype(device)),
        **{name: getattr(cfg, name) for name in ("seed", "chat_format", "system", "chat_template_kwargs")},
        **{f"evaluate.{name}": getattr(ev, name) for name in ("temperature", "max_new_tokens")},
        **{f"evaluate.{name}": value for name, value in ev.filters.items()},
    }
    settings = json.loads(json.dumps(settings))
    path, fixed = folder / "rubric_answers.jsonl", folder / "rubric_settings.json"
    if fixed.exists():
        check_same_run(read_json(fixed), settings, str(folder))
    elif path.exists():
        raise InputError(
            f"{fixed}: missing, so nobody knows how its answers were given; move {path.name} away"
        )
    write_json(fixed, settings)
    log = AppendLog(path, hash_lines=True)
    found = {row["prompt_id"]: row for _, row in read_jsonl(path)}
    missing = [r for r in rubrics if r.prompt_id not in found]
    if missing:
        how = compute_dtype(device), device, cfg.chat_format, cfg.chat_template_kwargs
        transformer, tokenizer = load_model(model_folder, *how, check_hashes=False)
        system = [{"role": "system", "content": cfg.system}] if cfg.system else []
        ids = [
            encode_messages([*(system if r.prompt[0]["role"] != "system" else []), *r.prompt], tokenizer, cfg)
            for r in missing
        ]
        for rubric, prompt in zip(missing, ids, strict=True):
            if len(prompt) + ev.max_new_tokens > transformer.cfg.max_position_embeddings:
                raise InputError(
                    f"{rubric.prompt_id}: {len(prompt)} tokens and evaluate.max_new_tokens={ev.max_new_tokens} exceed "
                    f"the model's context of {transformer.cfg.max_position_embeddings}; lower it"
                )

        def keep(place: int, _: int, sample: Sample, __: float) -> None:
            row = {"prompt_id": missing[place].prompt_id, "response": response_text(sample, tokenizer)}
            found[row["prompt_id"]] = row | {"finish_reason": sample.finish_reason}
            log.append(found[row["prompt_id"]])

        params = SamplingParams(
            max_new_tokens=ev.max_new_tokens, temperature=ev.temperature, seed=cfg.seed, **ev.filters
        )
        keys = [f"rubric {r.prompt_id}" for r in missing]
        Sampler(transformer, tokenizer, ev.max_num_seqs).generate(ids, params, keys, on_finish=keep)
    log.sync()
    log.close()
    return found


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
        lines.append(f"people with one another: {share(human['raters'])}; unread {human['unread']}")
    else:
        lines.append("judge with people: not measured (evaluate.rubric_labels)")
    return "\n".join(lines)
