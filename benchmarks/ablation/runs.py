"""One arm of one seed: its data, its training and its evaluation by the repository's own scripts, and its line.

Whatever is there is not made again, and the scripts go on from their checkpoints, so all of it may be killed anywhere.
Left out: which arms, in which order (__main__.py).
"""

import json
import math
import os
import shutil
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.ablation.arms import (
    ROOT,
    Place,
    Plan,
    chain,
    kept_models,
    model_of,
    place_of,
    recipe_hash,
    short_hash,
    training_settings,
)
from benchmarks.ablation.results import Line, code_version, mask_of
from fleming.files import read_json, read_jsonl, write_jsonl
from fleming.noise import generator, permutation

Record = dict[str, Any]
Run = Callable[[str, list[str], Path], None]
"""run(script, arguments, log) ends well, or raises ArmError or StoppedError."""


class ArmError(Exception):
    """A script ended with another status than 0."""


class StoppedError(Exception):
    """A script ended because it was asked to."""


class Scripts:
    """Starts the repository's scripts; several at once."""

    def __init__(self):
        self.live: set[subprocess.Popen] = set()
        self.stopping = False
        self.guard = threading.Lock()

    def run(self, script: str, arguments: list[str], log: Path) -> None:
        """Run a script to its end, its output added to the log. Raises ArmError with the log's end, StoppedError."""
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(ROOT / script), *arguments]
        with open(log, "ab") as out:
            with self.guard:
                if self.stopping:
                    raise StoppedError
                # A session of its own: Ctrl-C reaches it by stop() alone, once.
                process = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
                self.live.add(process)
            status = process.wait()
            with self.guard:
                self.live.discard(process)
        if status and self.stopping:
            raise StoppedError
        if status:
            lines = log.read_text(errors="replace").rstrip().split("\n")
            raise ArmError(f"{script} ended with status {status}; {log} ends:\n  " + "\n  ".join(lines[-8:]))

    def stop(self) -> None:
        """Ask what runs to save and to end; asked again it ends at once."""
        with self.guard:
            self.stopping = True
            for process in self.live:
                process.terminate()


class Bench:
    """Makes arms, each once even where several threads want it."""

    def __init__(self, plan: Plan, scale: str, runs: Path, run: Run):
        self.plan, self.scale, self.runs, self.run = plan, scale, runs, run
        self.locks: dict[Path, threading.Lock] = defaultdict(threading.Lock)
        self.failed: dict[Path, str] = {}
        self.commit = code_version()

    def line(self, name: str, seed: int) -> Line:
        """Train the arm and what it begins from, evaluate it, and return its line. Raises ArmError and StoppedError."""
        places = [place_of(self.plan, self.runs, each, seed, self.scale) for each in chain(self.plan, name)]
        self._once(places[0].start, self._make_start, places[0])
        model = places[0].start / "base/model"
        for place in places:
            self._once(place.folder, self._train, place, model)
            model = model_of(self.plan, place)
        place = places[-1]
        self.run("evaluate.py", self._evaluation(place, model), place.folder / "log.txt")
        return self._summary(place)

    def tidy(self, name: str, seed: int) -> None:
        """Delete what a finished arm needs no more: checkpoints, rollouts, and weights from which no arm begins."""
        place = place_of(self.plan, self.runs, name, seed, self.scale)
        model = [] if name in kept_models(self.plan) else [model_of(self.plan, place)]
        trained = [
            place.folder / stage / kind for stage in ("sft", "grpo") for kind in ("checkpoints", "rollouts")
        ]
        for folder in (*trained, place.folder / "tensorboard", *model):
            shutil.rmtree(folder, ignore_errors=True)

    def _once(self, folder: Path, make: Callable[..., None], *arguments: Any) -> None:
        with self.locks[folder]:
            if folder in self.failed:
                raise ArmError(f"{folder.name}, from which it begins, has failed")
            try:
                make(*arguments)
            except ArmError as error:
                self.failed[folder] = str(error)
                raise

    def _arguments(self, place: Place, folder: Path, *settings: str) -> list[str]:
        config = str(ROOT / self.plan.config)
        return ["--config", config, f"run_dir={folder}", f"seed={place.seed}", *settings]

    def _make_start(self, place: Place) -> None:
        """Make the seed's data and base model."""
        made = place.start / "made"
        if not made.exists():
            self.run(
                "synth_data.py",
                self._arguments(place, place.start, *self.plan.settings),
                place.start / "log.txt",
            )
            made.touch()

    def _train(self, place: Place, begins: Path) -> None:
        """Train the arm, if its model is not there."""
        if model_of(self.plan, place).exists():
            return
        arm, data = self.plan.arms[place.name], place.start / "data"
        script, key = "train_grpo.py", "questions"
        questions = data / "rl.jsonl"
        if arm.trains == "sft":
            script, key = "train_sft.py", "trajectories"
            questions = data / "cold_start.jsonl"
        if arm.data.longest or arm.data.mined or arm.data.planted:
            questions = self._selected(place, questions)
        settings = [f"model={begins}", f"data.{key}={questions}"]
        settings += training_settings(self.plan, place.name, self.scale)
        self.run(script, self._arguments(place, place.folder, *settings), place.folder / "log.txt")

    def _selected(self, place: Place, source: Path) -> Path:
        """Write the questions or trajectories that the arm learns from beside it; return the file."""
        arm, of_scale = self.plan.arms[place.name], self.plan.scales[self.scale]
        records = [record for _, record in read_jsonl(source)]
        if arm.data.longest:
            lengths = chain_lengths([place.start / "data/rl.jsonl"])
            records = [r for r in records if lengths[r.get("question_id", r["id"])] <= arm.data.longest]
        if arm.data.mined and of_scale.questions:
            drawn = permutation(len(records), place.seed, "ablation: mined")[: of_scale.questions]
            records = [records[i] for i in sorted(drawn)]
        if arm.data.planted:
            records, planted = plant(records, arm.data.planted, place.seed)
            write_jsonl(place.folder / "planted.jsonl", planted)
        chosen = place.folder / source.name
        write_jsonl(chosen, records)
        return chosen

    def _evaluation(self, place: Place, model: Path) -> list[str]:
        sets = {name: str(place.start / f"data/{name}.jsonl") for name in self.plan.sets}
        chosen = json.dumps({place.name: str(model)}), json.dumps(sets)
        settings = [f"evaluate.models={chosen[0]}", f"evaluate.benchmarks={chosen[1]}", *self.plan.settings]
        return self._arguments(place, place.folder, *settings)

    def _summary(self, place: Place) -> Line:
        """Return the line of what lies in the arm's folder."""
        arm = self.plan.arms[place.name]
        stage = "sft" if arm.trains == "sft" else "grpo"
        found = place.folder / "eval" / place.name
        lengths = chain_lengths(place.start / f"data/{name}.jsonl" for name in self.plan.sets)
        answers = {r["id"]: r["correct"] for _, r in read_jsonl(found / "answers.jsonl")}
        if answers.keys() != lengths.keys():
            raise ArmError(f"{found}: {len(answers)} questions answered, of {len(lengths)}")
        right = {n: [answers[q] for q in lengths if lengths[q] == n] for n in sorted(set(lengths.values()))}
        ledger = [r for _, r in read_jsonl(place.folder / "grpo/curriculum.jsonl")] if stage == "grpo" else []
        metrics = [r for _, r in read_jsonl(place.folder / stage / "metrics.jsonl")]
        started = read_json(place.folder / "manifest.json")[stage][-1]
        return Line(
            arm=place.name,
            seed=place.seed,
            scale=self.scale,
            recipe=recipe_hash(self.plan, place.name, self.scale),
            sets={str(n): (sum(of_n), len(of_n)) for n, of_n in right.items()},
            masks={str(n): mask_of(of_n) for n, of_n in right.items()},
            questions=short_hash(list(lengths)),
            whole_path=whole_paths(read_json(found / "results.json"), self.plan.sets),
            steps=len(metrics),
            tokens=sum(r.get("tokens", 0) for r in ledger),
            seconds=round(math.fsum(r["time"]["step"] for r in metrics), 1),
            commit=self.commit,
            cpu_kernels=started["cpu_kernels"],
            planted=review_counts(place.folder / "planted.jsonl", ledger) if arm.data.planted else {},
        )


def chain_lengths(files: Iterable[Path]) -> dict[str, int]:
    """Return id -> facts of the certificate, of all questions of the files in their order."""
    return {r["id"]: len(r["provenance"]["path"]) for file in files for _, r in read_jsonl(file)}


def plant(records: list[Record], share: float, seed: int) -> tuple[list[Record], list[Record]]:
    """Return the questions, that share of them with another of their options as answer, and what was planted."""
    drawn = sorted(permutation(len(records), seed, "ablation: planted")[: round(share * len(records))])
    noise = generator(seed, "ablation: planted label")
    records, planted = list(records), []
    for i in drawn:
        question = records[i]
        others = sorted(set(question["options"]) - {question["answer"]})
        wrong = others[int(noise.integers(len(others)))]
        planted.append({"id": question["id"], "right": question["answer"], "planted": wrong})
        records[i] = question | {"answer": wrong}
    return records, planted


def review_counts(planted: Path, ledger: Iterable[Record]) -> dict[str, int]:
    """Return how many labels were planted, how many questions left for review, and how many of these were planted."""
    wrong = {r["id"] for _, r in read_jsonl(planted)}
    events = list(ledger)
    left = {r["question"] for r in events if r["event"] == "review"}
    rounds = sum(r["event"] == "round" for r in events)
    return {"planted": len(wrong), "left": len(left), "caught": len(left & wrong), "rounds": rounds}


def whole_paths(results: Record, sets: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return right, wrong -> (answers that state the whole path, such answers), from evaluate.py's results."""
    found = {}
    for kind in ("right", "wrong"):
        parts = [results["benchmarks"][name]["cot"]["process"].get(kind) for name in sets]
        parts = [part for part in parts if part and part["with_certificate"]]
        stated = [round(p["shares"]["whole_path"]["value"] * p["with_certificate"]) for p in parts]
        found[kind] = (sum(stated), sum(p["with_certificate"] for p in parts))
    return found
