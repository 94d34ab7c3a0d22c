"""One hash for each file that a small run of all four scripts leaves: what must stay the same when code only moves.

    python benchmarks/frozen.py FOLDER [PART ...] > before.txt      and, on the other commit, > after.txt; then diff
    parts: one two stopped demo real (default: all); a part that is there already is only hashed

- one, two: every stage in one process, and in two under torchrun; both RL stages, KL, two updates, both protocols
- stopped: each training script ended by SIGTERM after a few steps, and the same command again; equal to `one`
- demo: the data of configs/demo.yaml. real: those of configs/fleming_r1_7b.yaml on the public graphs in ../shared/data

Left out: clocks, and what may name settings or places (manifest, config.yaml, a checkpoint's state.json). Hashes are
the same on the same kind of processor alone.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[1]
SHARED = (ROOT.parent / "shared/data").resolve()
SMALL = [
    "threads=1",
    "parallel.device=cpu",
    "synth.train_questions=900",
    "synth.cold_start_share=0.3",
    "synth.dev_questions=15",
    "synth.test_questions=30",
    "base_model.num_layers=2",
    "base_model.hidden_size=32",
    "base_model.intermediate_size=64",
    "base_model.num_heads=2",
    "base_model.num_kv_heads=1",
    "base_model.head_dim=16",
    "sft.epochs=1",
    "sft.sequences_per_step=16",
    "sft.save_every=4",
    "grpo.questions_per_step=4",
    "grpo.max_new_tokens=24",
    "grpo.dev_every=0",
    "grpo.kl_coef=0.01",
    "grpo.updates_per_rollout=2",
    "grpo.stage1.max_steps=5",
    "grpo.stage1.group_size=4",
    "grpo.stage2.max_steps=4",
    "grpo.stage2.group_size=6",
    "grpo.curriculum.mine_every=3",
    "grpo.curriculum.mine_samples=2",
    "grpo.save_every=2",
    "grpo.show_every=3",
    "grpo.learning_rate=3e-3",
    "grpo.reward=frozen:many_e",
    "evaluate.max_new_tokens=24",
    "evaluate.protocols=[cot,loglikelihood]",
    "evaluate.samples=2",
    "evaluate.temperature=0.7",
    "evaluate.reshuffles=1",
]
CLOCKS = ("time", "seconds", "last_command")
TRAINING = ("train_sft.py", "train_grpo.py")


def command(script: str, folder: Path, config: str, settings: list[str], processes: int = 1) -> list[str]:
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)] if processes > 1 else []
    return [
        sys.executable,
        *torchrun,
        str(ROOT / script),
        "--config",
        str(ROOT / config),
        f"run_dir={folder}",
        *settings,
    ]


def many_e(response, finished, question, cfg) -> dict[str, float]:
    """A reward that a model of random weights earns too, so that RL has something to learn."""
    count = float(response.count("e"))
    return {"correct": float(count > 16), "format": 0.0, "total": count}


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}


def run(*arguments) -> None:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, env=ENVIRONMENT)
    if done.returncode:
        sys.exit(f"{arguments}: status {done.returncode}\n{done.stderr[-3000:]}")


def stop_and_go_on(script: str, folder: Path, steps: int) -> None:
    """End the script after `steps` steps, and run it again."""
    arguments = command(script, folder, "configs/demo.yaml", SMALL)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(arguments, env=ENVIRONMENT, **quiet)
    log = folder / script[6:-3] / "metrics.jsonl"
    while process.poll() is None and (not log.exists() or log.read_bytes().count(b"\n") < steps):
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    process.wait()
    run(script, folder, "configs/demo.yaml", SMALL)


def real_settings() -> list[str]:
    kg, train = SHARED / "kg", SHARED / "train"
    sources = {
        "disease_ontology": ("obo", {"file": "disease_ontology/DO_rare_slim.obo.gz"}),
        "disease_symptoms": ("disease_symptom", {"file": "disease_ontology/disease-symptom.tsv"}),
        "hpo": ("hpo", {"ontology": "hpo/hp.obo.xz", "annotations": "hpo/phenotype.hpoa.xz",
                        "genes": "hpo/genes_to_phenotype.txt.xz"}),
        "hetionet": ("hetionet", {"nodes": "hetionet/hetionet-v1.0-nodes.tsv.gz", "edges": "hetionet/edges-5k.sif.gz"}),
        "pharmacotherapydb": ("pharmacotherapydb", {"file": "pharmacotherapydb/indications.tsv"}),
    }  # fmt: skip
    sources = {
        name: {"kind": kind, "files": {file: str(kg / path) for file, path in files.items()}}
        for name, (kind, files) in sources.items()
    }
    public = {"medqa": train / "medqa_dev_1272.jsonl", "cmexam": train / "cmexam_5000.csv",
              "pubmedqa": SHARED / "benchmarks/pubmedqa/ori_pqal.json"}  # fmt: skip
    return [
        f"synth.sources={json.dumps(sources)}",
        f"synth.public={json.dumps({name: str(path) for name, path in public.items()})}",
        'synth.mix={medqa: 10, cmexam: 10, pubmedqa: 0.4, graph: 12}',
        "synth.default_grade={medqa: moderate, cmexam: easy, pubmedqa: moderate}",
        f"synth.wikipedia.pages={kg / 'wikipedia/rare_disease_leads.json'}",
        "synth.train_questions=3000", "synth.dev_questions=60", "synth.test_questions=60",
        f"evaluate.benchmark_folder={SHARED / 'benchmarks'}",
    ]  # fmt: skip


def make(part: str, folder: Path, whole: Path) -> None:
    """Run one part into the folder; `whole` is that of part one."""
    scripts = ("synth_data.py", *TRAINING, "evaluate.py")
    if part == "one":
        for script in scripts:
            run(script, folder, "configs/demo.yaml", SMALL)
    elif part == "two":
        for script in scripts:
            run(script, folder, "configs/demo.yaml", SMALL, 1 if script == scripts[0] else 2)
    elif part == "stopped":
        for name in ("data", "base"):
            subprocess.run(["cp", "-r", whole / name, folder], check=True)
        for script, steps in zip(TRAINING, (5, 7), strict=True):
            stop_and_go_on(script, folder, steps)
    elif part == "demo":
        run(scripts[0], folder, "configs/demo.yaml", [])
    elif SHARED.exists():
        run(scripts[0], folder, "configs/fleming_r1_7b.yaml", real_settings())


def content(path: Path, folder: Path) -> bytes:
    """What of the file must stay: all of it, but for clocks, for where it lies, and for the order of tensors."""
    if path.suffix == ".safetensors":
        tensors = load_file(path)
        return b"".join(
            name.encode() + tensors[name].view(-1).view(torch.uint8).numpy().tobytes()
            for name in sorted(tensors)
        )
    data = path.read_bytes().replace(str(folder).encode(), b"")
    if path.name in ("metrics.jsonl", "answers.jsonl", "results.json"):
        lines = data.splitlines() if path.suffix == ".jsonl" else [data]
        data = json.dumps(
            [{k: v for k, v in json.loads(line).items() if k not in CLOCKS} for line in lines]
        ).encode()
    return data


def main(folder: Path, parts: list[str]) -> None:
    for part in parts or ["one", "two", "stopped", "demo", "real"]:
        place, began = folder / part, time.perf_counter()
        if not place.exists():
            place.mkdir(parents=True)
            make(part, place, folder / "one")
        for path in sorted(place.rglob("*")):
            hidden = any(name.startswith(".") for name in path.relative_to(place).parts)
            if (
                path.is_file()
                and not hidden
                and path.name not in ("manifest.json", "config.yaml", "state.json")
            ):
                print(
                    hashlib.sha256(content(path, folder)).hexdigest()[:16],
                    path.relative_to(folder),
                    flush=True,
                )
        print(f"{part}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
