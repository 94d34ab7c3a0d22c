"""Run folders for the tests of the report, written by the house's own writers: small, hostile, or of 50,000 answers."""

import base64
import gzip
import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from fleming.files import write_json, write_jsonl
from fleming.records import Question, Rollout, to_json
from model.sums import sums_of

HOSTILE = (
    "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'> <!-- {{title}} {{blocks}} "
    "\u2028\u2029\u202e desrever \u2066\x00\x1b \"'&amp; __proto__ 中文 😀"
)
KINDS = ("named disease", "fact of a disease", "differential")
LETTERS = "ABCD"
END = 256  # the token that ends an answer


def byte_tokenizer() -> dict[str, Any]:
    """Return a tokenizer.json whose tokens are the 256 bytes, and an end."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = {byte: chr(byte) for byte in plain} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    added = [{"id": END, "content": "<|im_end|>", "special": True}]
    model = {"type": "BPE", "vocab": {letter: byte for byte, letter in letters.items()}, "merges": []}
    return {"decoder": {"type": "ByteLevel"}, "added_tokens": added, "model": model}


def proof(number: int, answer: str, rival: str) -> dict[str, Any]:
    """Return a provenance: of a patient with a table of likelihoods for every third question, else of a named path."""
    evidence = [{"source": "graph", "file": "graph.yaml", "record": number + 1, "note": "x" * 500}]
    root, kind = f"disease {number}", KINDS[number % 3]
    ends = [(root, "has_finding", "rash"), (root, "treated_by", answer)]
    path = [{"head": h, "relation": r, "tail": t, "evidence": evidence} for h, r, t in ends]
    wrong = {
        "option": rival, "disease": "measles", "odds": 40.0, "ground": "closed", "evidence": path,
        "shares": [["measles", "has_finding", "rash"], ["measles", "treated_by", rival]],
        "violates": [[root, "treated_by", rival]],
    }  # fmt: skip
    certificate: dict[str, Any] = {"solutions": [answer], "distractors": [wrong]}
    if kind == "differential":
        certificate |= {
            "posterior": 0.97,
            "table": {"clues": ["rash"], "rows": {root: [0.9], "measles": [0.01]}},
        }
    return {
        "kind": kind, "metapath": "findings > disease > treated_by", "hops": 2, "root": root, "path": path,
        "chain": [1], "visible": ["rash"], "hidden": [root], "answer": answer, "rare": number % 2 == 0,
        "certificate": certificate,
    }  # fmt: skip


def question(number: int, split: str, extra: str = "") -> Question:
    options = {letter: f"drug {letter}{number}" for letter in LETTERS}
    stem = f"Which drug helps patient {number}?{extra}"
    told = proof(number, options["B"], options["A"])
    return Question(f"graph/{split}{number}", stem, options, "B", "graph", split, provenance=told)


def rollout(rng: random.Random, step: int, stage: int, group: int, sample: int, extra: str = "") -> Rollout:
    """Return an answer that is right the more often the later the step."""
    answer = rng.choice(["B"] * (1 + step // 2) + ["A", "C", None])
    response = f"<think>{rng.randrange(10)}{extra}</think><answer>{answer or '?'}</answer>"
    ids = [*response.encode(), END]
    correct, form = float(answer == "B"), float(answer is not None)
    return Rollout(
        step=step,
        stage=stage,
        question_id=f"graph/train{(group * 3 + step) % 12}",
        group=group,
        sample=sample,
        seed=0,
        prompt_ids=[1, 2],
        token_ids=ids,
        logprobs=[-((0.002 * rng.randrange(100)) ** 2) * 40 for _ in ids],
        finish_reason="stop",
        entropy=0.5 * len(ids),
        response=response,
        answer=answer,
        reward={"correct": correct, "format": form, "total": correct + 0.1 * form}
        | ({extra: 0.0} if extra else {}),
        advantage=correct - 0.5,
    )


def metric(step: int, stage: int) -> dict[str, Any]:
    time = {"rollout": 1.5, "update": 0.5, "step": 2.0, "peak_gib": 0.5, "sampled_tokens_per_second": 900.0}
    more = {"dev_accuracy": 0.5, "dev_low": 0.4, "dev_high": 0.6} if step % 2 == 0 else {}
    return {
        "step": step, "stage": stage, "reward": 0.1 * step, "correct": 0.09 * step, "format": 0.9, "entropy": 0.3,
        "response_length": 40.0 - step, "clip_fraction": 0.0, "flat_groups": 0.2, "kl": 0.01, "time": time, **more,
    }  # fmt: skip


def given(number: int, choice: str | None, extra: str = "") -> dict[str, Any]:
    story = (
        f"Case {number // 4}: " + "a long story " * 14
    )  # of four questions each: they stand and fall together
    asked = f"{story}Which drug helps patient {number}?{extra}"
    return {
        "benchmark": "test", "protocol": "cot", "id": f"graph/test{number}", "order": 0, "sample": 0, "counts": True,
        "options": 4, "answer": choice, "gold": "B", "correct": choice == "B", "choice": choice,
        "prompt": [{"role": "user", "content": asked}], "response": f"<answer>{choice}</answer>{extra}",
        "format": choice is not None, "finish_reason": "stop", "tokens": 9, "time": {"seconds": 0.1},
    }  # fmt: skip


def results(accuracy: float) -> dict[str, Any]:
    score = {
        "protocol": "zero-shot", "n": 30, "accuracy": accuracy, "accuracy_low": accuracy / 2,
        "accuracy_high": (1 + accuracy) / 2, "chance": 0.25, "commonest_letter": 0.3, "abstained": 0.1, "format": 0.9,
        "mean_tokens": 9.0, "warnings": [], "breakdown": {}, "data": {"files": ["/home/x"]},
        "calibration": {"of": "shares of votes", "ece": 0.1, "brier": 0.3, "bins": [[20, 0.5, 0.4], [10, 0.9, 0.95]]},
        "option_order": {"orders": 2, "questions": 30, "accuracies": [accuracy, 0.4], "spread": 0.1,
                         "chance": 0.25, "consistency": 0.8},
    }  # fmt: skip
    return {"model": "sft/model", "sha256": {"test.0": "ab" * 32}, "benchmarks": {"test": {"cot": score}}}


def write_data(folder: Path, extra: str = "") -> None:
    """Write the data of synth_data.py, as far as a report reads them."""
    asked = [
        question(n, split, extra) for split, count in (("train", 12), ("test", 30)) for n in range(count)
    ]
    write_jsonl(folder / "data/questions.jsonl", map(to_json, asked), hashed=True)
    graph = [
        {"kind": "origin", "number": 0, "source": f"a source{extra}", "file": "graph.yaml", "version": "1",
         "extractor": "hand-written", "licence": "CC BY-NC 4.0", "address": "https://example.org/graph"},
        {"kind": "entity", "name": "measles", "type": "disease", "rare": True},
        {"kind": "entity", "name": "rash", "type": f"finding{extra}", "rare": False},
        {"kind": "facts", "head": "measles", "facts": [["has_finding", "rash", False, [[0, 1, -1, 1.0, -1.0, ""]]]]},
    ]  # fmt: skip
    write_jsonl(folder / "data/graph.jsonl", graph, hashed=True)
    left_out = [{"code": "repeated", "metapath": "a > b", "nodes": [f"measles{extra}"]}] * 5
    left_out.append({"step": "format", "code": f"odd{extra}", "question": {"question": extra or "What?"}})
    write_jsonl(folder / "data/rejected.jsonl", left_out, hashed=True)
    probe = {"accuracy": 0.3, "low": 0.27, "high": 0.33, "chance": 0.25, "n": 42}
    report = {
        "entities": 2, "sampling": {"wanted": 50, "questions": {"a > b": 42}, "rejected": {"repeated": 5}},
        "refinement": [{"step": "format", "questions": 43, "kept": 42, "rejected": {"odd": 1}}],
        "parts": {"graph": 42}, "splits": {"train": {"2": 12}, "test": {"2": 30}},
        "shortcuts": {"longest_option": probe, "logit_by_root": probe}, "trajectories": {"kept": 11},
    }  # fmt: skip
    write_json(folder / "data/report.json", report)


def write_grpo(folder: Path, steps: int = 6, groups: int = 4, samples: int = 4, extra: str = "") -> None:
    """Write the metrics, ledger, answers and tokenizer of a run of RL, its second half in stage 2."""
    rng = random.Random(0)
    stage_of = {step: 1 if step <= steps / 2 else 2 for step in range(1, steps + 1)}
    for step, stage in stage_of.items():
        answers = [rollout(rng, step, stage, g, s, extra) for g in range(groups) for s in range(samples)]
        write_jsonl(folder / f"grpo/rollouts/step_{step:06d}.jsonl", map(to_json, answers), hashed=True)
    write_jsonl(folder / "grpo/metrics.jsonl", [metric(step, stage) for step, stage in stage_of.items()])
    events: list[dict[str, Any]] = [{"event": "begin", "pools": {"hard": 6, "simple": 6}, "left_out": {}}]
    events.append(
        {"event": "switch", "after": steps // 2, "because": "max_steps", "slopes": [0.1], "flat": 0.2}
    )
    for number, wrong in ((1, {0, 1, 2}), (2, {2, 3})):
        for n in range(12 if number == 1 else 11):  # the last one rests
            bucket = "wrong" if n in wrong else "right"
            events.append(
                {"event": "answers", "question": f"graph/train{n}", "round": number, "bucket": bucket}
            )
        at = steps // 2 + number
        events.append({"event": "round", "round": number, "step": at, "asked": 12, "pools": {}})
    write_jsonl(folder / "grpo/curriculum.jsonl", events)
    write_json(folder / "sft/model/tokenizer.json", byte_tokenizer())


def write_eval(folder: Path, extra: str = "") -> None:
    """Write four evaluated stages of 30 questions, each better than the one before."""
    for name, right in (("base", 3), ("cold_start", 12), ("rl_stage1", 17), ("rl_stage2", 21)):
        choices = ["B" if n < right else None if n % 3 else "C" for n in range(30)]
        if name == "rl_stage2":
            choices[0] = "A"
        answers = [given(n, choice, extra) for n, choice in enumerate(choices)]
        write_jsonl(folder / f"eval/{name}/answers.jsonl", answers, hashed=True)
        write_json(folder / f"eval/{name}/results.json", results(sum(c == "B" for c in choices) / 30))


def write_run(folder: Path, extra: str = "", **size: int) -> Path:
    """Write a finished run; extra: a text that stands wherever a model or a source may put one."""
    write_data(folder, extra)
    losses = [{"step": step, "loss": 3.0 / step, "time": {"step": 0.1}} for step in range(1, 9)]
    write_jsonl(folder / "sft/metrics.jsonl", losses)
    write_grpo(folder, extra=extra, **size)
    write_eval(folder, extra)
    start = {
        "started": "2026-01-01T00:00:00+00:00", "commit": "abc", "seed": 0, "device": "cpu", "processes": 1,
        "versions": {"python": "3.11", "torch": "2.13"}, "inputs": {"data": "cd" * 32}, "outputs": {"x": "ef" * 32},
        "config": {"seed": 0, "synth": {"voter": ""}, "grpo": {"stage1": {"max_steps": 3}}},
    }  # fmt: skip
    write_json(folder / "manifest.json", {"synth": [start], "sft": [start], "grpo": [start]})
    return folder


ODD = (None, True, 0, -1, 1e300, -0.5, 10**30, "", "x", "__proto__", [], {}, [[]], {"a": 1}, [1, "x", None])


def changed(value: Any, rng: random.Random) -> Any:
    """Return a JSON value with something else somewhere inside, or without something."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        rest = {k: v for k, v in value.items() if k != key}
        return rest if rng.random() < 0.1 else {**value, key: changed(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        i = rng.randrange(len(value))
        return [*value[:i], changed(value[i], rng), *value[i + 1 :]]
    return rng.choice(ODD)


def spoil(folder: Path, rng: random.Random) -> None:
    """Change records of a few files of a run, which stay JSON; their hashes go."""
    files = sorted(path for path in folder.rglob("*.json*") if path.suffix in (".json", ".jsonl"))
    for path in rng.sample(files, rng.choice([1, 2, 4])):
        records = (
            [json.loads(line) for line in path.read_text().split("\n") if line]
            if path.suffix == ".jsonl"
            else []
        )
        for _ in range(3 if records else 0):
            i = rng.randrange(len(records))
            records[i] = changed(records[i], rng)
        lines = "".join(json.dumps(record) + "\n" for record in records)
        path.write_text(lines or json.dumps(changed(json.loads(path.read_text()), rng)))
        sums_of(path).unlink(missing_ok=True)


class Page(HTMLParser):
    """What a browser finds in the page: tags, and the texts of its scripts by id."""

    def __init__(self, path: Path):
        super().__init__(convert_charrefs=True)
        self.html = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict]] = []
        self.scripts: dict[str, str] = {}
        self._in = ""
        self.feed(self.html)
        self.close()
        self.data = json.loads(self.scripts["data"])

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in = dict(attrs).get("id") or "script" if tag == "script" else ""

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, text):
        if self._in:
            self.scripts[self._in] = self.scripts.get(self._in, "") + text

    def block(self, name: str) -> Any:
        """Return what is packed in a block."""
        return json.loads(gzip.decompress(base64.b64decode(self.scripts[name])))

    def policy(self) -> str:
        found = [attrs["content"] for tag, attrs in self.tags if tag == "meta" and "http-equiv" in attrs]
        return found[0]

    def inside(self, tag: str) -> str:
        """Return what stands in the page's one plain script or style."""
        return re.search(rf"<{tag}>(.*?)</{tag}>", self.html, re.DOTALL)[1]
