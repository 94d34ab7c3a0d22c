"""A small folder as a finished run leaves it, its files written as the stages write them; made up, so that a test can
change one thing. What a real run writes is in tests/audit/test_card.py too.
"""

from pathlib import Path
from typing import Any

from fleming.files import write_json, write_jsonl

SHA = {
    name: f"{number:064x}"
    for number, name in enumerate(("base", "sft", "stage1", "stage2", "graph", "rl", "test"), 1)
}


def manifest() -> dict[str, Any]:
    config = {
        "model": "",
        "seed": 7,
        "chat_format": None,
        "system": "",
        "instruction": "Think first.",
        "answer_style": "letter",
        "teacher": {"kind": "template", "model": "", "temperature": 0.8},
        "base_model": {"make": True},
        "sft": {"learning_rate": 0.005, "epochs": 3.0, "sequences_per_step": 16},
        "grpo": {
            "preset": "grpo",
            "learning_rate": 0.0002,
            "clip_low": None,
            "stage1": {"group_size": 8, "max_steps": 90},
        },
    }
    entry = {
        "started": "2026-11-29T04:38:16+00:00",
        "commit": "c" * 40,
        "code": "d" * 64,
        "seed": 7,
        "processes": 1,
        "device": "cpu",
        "threads": 2,
        "cpu_kernels": "AVX2",
        "versions": {"python": "3.11.7", "torch": "2.13.0+cpu"},
        "config": config,
    }
    gate = {
        "decontamination": {
            "mode": "require",
            "report": "data/decontamination.json",
            "sha256": "e" * 64,
            "fault": None,
        }
    }
    data = {"data/graph.jsonl": SHA["graph"], "data/rl.jsonl": SHA["rl"]}
    trained = weights("grpo/stage1/model", "stage1") | weights("grpo/stage2/model", "stage2")
    rl = {**entry, **gate, "exact": True, "inputs": {"data.questions": SHA["rl"], **weights("model", "sft")}}
    sft = {**entry, **gate, "exact": False, "inputs": weights("model", "base")}
    return {
        "synth": [
            {
                **entry,
                "inputs": {"synth.graph": "f" * 64},
                "outputs": {**data, **weights("base/model", "base")},
            }
        ],
        "sft": [{**sft, "outputs": weights("sft/model", "sft")}],
        "grpo": [rl, {**rl, "outputs": trained, "root": "9" * 64}],  # stopped once
    }


def weights(folder: str, name: str) -> dict[str, str]:
    return {f"{folder}/config.json": "0" * 64, f"{folder}/model.safetensors": SHA[name]}


def source(name: str, licence: str = "CC0-1.0", commercial: str = "yes", **more: Any) -> dict[str, Any]:
    about = {
        "of": "graph",
        "source": name,
        "records": 40,
        "licence": licence,
        "address": "https://example.org/it",
    }
    return {**about, "commercial": commercial, "condition": "none", **more}


def report() -> dict[str, Any]:
    return {
        "entities": 48,
        "edges": 126,
        "sources": [source("HPO"), source("Hetionet", commercial="mixed")],
        "commercial_use": "parts may forbid it in Hetionet",
        "labels": "not checked",
        "refinement": [{"step": "format", "questions": 60, "kept": 59, "rejected": {"leak": 1}}],
        "difficulty": {"graded_by": "graph", "grades": {"easy": 30, "difficult": 29}},
        "parts": {"graph": 50, "medqa": 9},
        "splits": {"train": {"1": 30, "2": 20}, "dev": {"1": 5}, "test": {"1": 6}},
        "shortcuts": {"logit": {"accuracy": 0.6309, "low": 0.61, "high": 0.65, "chance": 0.25, "n": 61}},
        "trajectories": {"kept": 45, "with_refinement": 11},
    }


def results(accuracy: float = 0.7316, weights_of: str = "stage2") -> dict[str, Any]:
    found = {
        "protocol": "zero-shot chat prompt, <think> and <answer>, greedy",
        "n": 600,
        "accuracy": accuracy,
        "accuracy_low": 0.6948,
        "accuracy_high": 0.7655,
        "chance": 0.2511,
        "abstained": 0.15,
        "format": 0.85,
        "calibration": None,
        "option_order": None,
        "breakdown": {"rare_entity": {"True": {"n": 383, "accuracy": 0.74}}},
    }
    hashes = {**weights("model", weights_of), "test.0": SHA["test"]}
    return {"model": "grpo/stage2/model", "seed": 7, "sha256": hashes, "benchmarks": {"test": {"cot": found}}}


GATE = {"benchmarks": {"medqa": {"questions": 1273, "leaks": 0}}}
QUESTION = {
    "id": "graph/1",
    "question": "Which?",
    "options": {"A": "x", "B": "y"},
    "answer": "B",
    "source": "graph",
    "split": "train",
    "language": "en",
    "context": None,
    "difficulty": None,
    "provenance": None,
}
TRAJECTORY = {
    "id": "graph/1/0",
    "question_id": "graph/1",
    "prompt": [{"role": "user", "content": "Which?"}],
    "response": "<think>x</think><answer>B</answer>",
    "teacher": "template",
    "gold_visible": True,
}
ORIGIN = {
    "kind": "origin",
    "number": 0,
    "source": "HPO",
    "file": "hp.obo",
    "version": "1",
    "extractor": "obo",
    "licence": "HPO licence",
    "address": "https://hpo.jax.org/app/license",
}
ENTITY = {
    "kind": "entity",
    "name": "gout",
    "type": "disease",
    "rare": False,
    "synonyms": [],
    "ids": [],
    "lay": [],
}
FACTS = {
    "kind": "facts",
    "head": "gout",
    "facts": [["has_symptom", "pain", False, [[0, 1, -1, 1.0, -1.0, ""]]]],
}
GRAPH = [ORIGIN, ENTITY, ENTITY | {"name": "pain", "type": "symptom"}, FACTS]
DATA = {"rl": [QUESTION], "dev": [], "questions": [QUESTION] * 2, "cold_start": [TRAJECTORY], "graph": GRAPH}


def made_run(folder: Path) -> Path:
    """Write every file that the card reads, and the data that the pack describes."""
    write_json(folder / "manifest.json", manifest())
    write_json(folder / "data/report.json", report())
    write_json(folder / "data/decontamination.json", GATE)
    write_json(folder / "eval/rl_stage2/results.json", results())
    for name, records in DATA.items():
        write_jsonl(folder / f"data/{name}.jsonl", records, hashed=True)
    (folder / "sft").mkdir()
    (folder / "grpo").mkdir()
    write_jsonl(folder / "sft/metrics.jsonl", [{"step": step, "time": {"step": 30.0}} for step in range(4)])
    steps = [{"step": step, "stage": 1 + (step > 2), "time": {"step": 60.0}} for step in range(5)]
    write_jsonl(folder / "grpo/metrics.jsonl", steps)
    return folder
