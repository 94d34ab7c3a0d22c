"""Stored answers in the forms of two other tools.

- inspect: a log for `inspect view` (inspect-ai's JSON form, version 2), one a benchmark and protocol
- lm-eval: samples_*.jsonl and results_*.json as lm-evaluation-harness writes them, a line a question

Left out: what nobody recorded: the options apart from the prompt, whether a choice was the greedy one ("None").
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fleming.evaluation.answers import FIELDS_OF, Answer
from fleming.evaluation.stored import Asked, Run, Stored
from fleming.evaluation.votes import mean
from fleming.files import write_jsonl
from fleming.public.sets import DECISIONS
from model.files import write_atomic


def file_name(*names: str) -> str:
    """Return the names as part of a file's name: letters, digits and _; what is lost or cut leaves a hash."""
    whole = "_".join(names)
    safe = re.sub(r"[^A-Za-z0-9_]", "_", whole)[:100]
    return safe if safe == whole else f"{safe}_{hashlib.sha256(repr(names).encode()).hexdigest()[:8]}"


def _messages(answer: Answer) -> list[dict[str, str]]:
    """Return the prompt as chat messages; one that has another form as its JSON."""
    prompt = answer.prompt
    if isinstance(prompt, list) and prompt and all(map(_is_message, prompt)):
        return [{"role": message["role"], "content": message["content"]} for message in prompt]
    return [{"role": "user", "content": prompt if isinstance(prompt, str) else json.dumps(prompt)}]


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.get("role") in ("system", "user", "assistant")
        and isinstance(value.get("content"), str)
    )


# Inspect


def write_inspect(run: Run, answers: dict[Asked, list[Answer]]) -> Iterator[Path]:
    """Write a log of each score's answers; yield its path."""
    for (benchmark, protocol), stored in run.results.items():
        task, of = file_name(benchmark, protocol), answers[benchmark, protocol]
        name = hashlib.sha256(repr((run.folder.name, run.stamp, task)).encode()).hexdigest()[:22]
        path = run.folder / "inspect" / f"{run.stamp}_{task.replace('_', '-')}_{name}.json"
        head = json.dumps(_inspect_head(run, (benchmark, protocol), stored, of, name), ensure_ascii=False)
        write_atomic(path, _inspect_lines(head, run.folder.name, of))
        yield path


def _inspect_lines(head: str, model: str, answers: Sequence[Answer]) -> Iterator[bytes]:
    """Yield the log a sample a line: its head stands first, so that a reader need not read on."""
    yield head.removesuffix("}").encode() + b', "samples": [\n'
    for i, answer in enumerate(answers):
        line = json.dumps(_inspect_sample(model, answer), ensure_ascii=False, allow_nan=False)
        yield (",\n" if i else "").encode() + line.encode()
    yield b"\n]}\n"


def _inspect_head(
    run: Run, asked: Asked, stored: Stored, answers: Sequence[Answer], name: str
) -> dict[str, Any]:
    values = {"stderr": stored.stderr, **vars(stored.score)}
    metrics = {key: {"name": key, "value": value} for key, value in values.items() if value is not None}
    written, ids = run.written.isoformat(), list(dict.fromkeys(answer.id for answer in answers))
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "eval_id": name,
            "run_id": name,
            "task_id": name,
            "created": written,
            "task": "/".join(asked),
            "dataset": {"name": asked[0], "samples": len(ids), "sample_ids": ids, "shuffled": False},
            "model": run.folder.name,
            "config": {"epochs": max(answer.sample for answer in answers) + 1},
            "metadata": {"protocol": stored.described, "warnings": stored.warnings, **_origin(run)},
            "scorers": [{"name": "correct"}],
        },
        "plan": {"name": asked[1], "steps": [{"solver": asked[1]}]},
        "results": {
            "total_samples": len(answers),
            "completed_samples": len(answers),
            "scores": [{"name": "correct", "scorer": "correct", "reducer": "mean", "metrics": metrics}],
        },
        "stats": {"started_at": written, "completed_at": written},
    }


def _origin(run: Run) -> dict[str, Any]:
    return {key: run.about.get(key) for key in ("model", "seed", "sha256")}


def _inspect_sample(model: str, answer: Answer) -> dict[str, Any]:
    said = answer.response if answer.protocol == "cot" else answer.answer
    message = {"role": "assistant", "content": said or "", "source": "generate", "model": model}
    stop = "max_tokens" if answer.finish_reason == "length" else "stop"
    own = {field: getattr(answer, field) for field in (*FIELDS_OF[answer.protocol], "forced", "tokens")}
    prompt = _messages(answer)
    return {
        "id": answer.id,
        "epoch": answer.sample + 1,
        "input": prompt,
        "target": answer.gold,
        "messages": [*prompt, message],
        "output": {"model": model, "choices": [{"message": message, "stop_reason": stop}]},
        "scores": {"correct": {"value": "C" if answer.correct else "I", "answer": answer.answer}},
        "metadata": {"choice": answer.choice, **own},
        "total_time": answer.time.get("seconds"),
    }


# lm-evaluation-harness


def write_lm_eval(run: Run, answers: dict[Asked, list[Answer]]) -> Iterator[Path]:
    """Write the samples of each score, then the results of all; yield each path."""
    whole: dict[str, Any] = defaultdict(dict)
    folder = run.folder / "lm-eval"
    for asked, stored in run.results.items():
        task, hashes = file_name(*asked), hashlib.sha256()
        of: dict[str, list[Answer]] = defaultdict(list)
        for answer in answers[asked]:
            of[answer.id].append(answer)
        path = folder / f"samples_{task}_{run.stamp}.jsonl"
        write_jsonl(path, _harness_samples(stored, of, hashes))
        yield path
        chosen = asked[1] == "loglikelihood"
        names = ["acc", "acc_norm"] if chosen else ["exact_match"]
        values = [stored.score.accuracy, stored.by_length][: len(names)]
        values = {f"{metric},none": value for metric, value in zip(names, values, strict=True)}
        values[f"{names[0]}_stderr,none"] = "N/A" if stored.stderr is None else stored.stderr
        kind = "multiple_choice" if chosen else "generate_until"
        configs = {"task": task, "output_type": kind, "metric_list": [{"metric": m} for m in names]}
        n = len(of)
        rows = {
            "results": {"alias": task, "sample_len": n, **values},
            "group_subtasks": [],
            "configs": {**configs, "description": stored.described, "metadata": {"benchmark": asked[0]}},
            "versions": 0,
            "n-shot": 0,
            "higher_is_better": dict.fromkeys(names, True),
            "n-samples": {"original": n, "effective": n},
            "task_hashes": hashes.hexdigest(),
        }
        for key, row in rows.items():
            whole[key][task] = row
    name = run.folder.name
    whole |= {"config": {"model": "fleming", "model_args": _origin(run)}, "date": run.written.timestamp()}
    whole |= {"model_source": "fleming", "model_name": name, "model_name_sanitized": file_name(name)}
    path = folder / f"results_{run.stamp}.json"
    # Without its hash beside it: the harness would take that for results too.
    write_atomic(path, json.dumps(whole, ensure_ascii=False, indent=2, allow_nan=False))
    yield path


def _harness_samples(
    stored: Stored, questions: dict[str, list[Answer]], hashes: "hashlib._Hash"
) -> Iterator[dict[str, Any]]:
    """Yield a line a question, its several answers as the harness's repeats; `hashes` is given those of the lines."""
    for number, (name, answers) in enumerate(questions.items()):
        first = answers[0]
        doc = {"id": name, "benchmark": first.benchmark, "prompt": first.prompt}
        if first.protocol == "loglikelihood":
            arguments = [(_messages(first)[-1]["content"], f" {c}") for c in _choices(stored, first)]
            filtered = [[str(value), "None"] for value in first.loglikelihoods.values()]
            resps, target = [[pair] for pair in filtered], str(list(first.loglikelihoods).index(first.gold))
            metrics = {"acc": float(first.correct), "acc_norm": float(first.correct_by_length)}
        else:
            arguments = [(json.dumps(_messages(first), ensure_ascii=False), {"until": []})]
            resps, filtered = [[a.response or "" for a in answers]], [a.answer or "" for a in answers]
            target, metrics = first.gold, {"exact_match": mean(a.correct for a in answers)}
        told = json.dumps(doc, indent=2, ensure_ascii=False)
        three = [hashlib.sha256(text.encode()).hexdigest() for text in (told, arguments[0][0], target)]
        hashes.update("".join(three).encode())
        yield {
            "doc_id": number,
            "doc": doc,
            "target": target,
            "arguments": {
                f"gen_args_{i}": {"arg_0": context, "arg_1": rest}
                for i, (context, rest) in enumerate(arguments)
            },
            "resps": resps,
            "filtered_resps": filtered,
            "filter": "none",
            "metrics": list(metrics),
            **dict(zip(("doc_hash", "prompt_hash", "target_hash"), three, strict=True)),
            **metrics,
        }


def _choices(stored: Stored, answer: Answer) -> list[str]:
    """Return what each option's likelihood is of: its letter, or PubMedQA's word."""
    words = {letter: word for word, letter in DECISIONS.items()} if stored.document == "abstract" else {}
    return [words.get(letter, letter) for letter in answer.loglikelihoods]
