"""The page: everything of a run in one file, data as text that no browser takes for markup, and nothing fetched.

- what is small is one JSON value; answers and questions are packed blocks behind the script, unpacked when opened
- layout, style and script are assets/report/'s

Left out: what stands in the run's files (the other modules of this room).
"""

import base64
import datetime
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import yaml

from fleming.assets import ASSETS, load_table
from fleming.files import by_step
from fleming.html_page import escape, fill, items, mapping, policy, say
from fleming.report import data, rollouts, scores
from fleming.report.reading import Reader
from model.errors import InputError

PARTS = ("manifest.json", "config.yaml", "data", "sft", "grpo", "eval")
# The first has the others' questions too.
QUESTIONS = ("data/questions.jsonl", "data/rl.jsonl", "data/dev.jsonl", "data/test.jsonl")
STAGES = ("evaluate", "synth", "sft", "grpo")  # the last that there is knows the settings
A_BLOCK = 50  # questions
BUDGET = 5_000_000  # bytes of the questions' blocks


class Report:
    """A run's page; made again, it reads only what has changed."""

    def __init__(self, root: Path, other: Path | None = None):
        for folder in filter(None, [root, other]):
            if not any((folder / part).exists() for part in PARTS):
                raise InputError(f"{folder}: no run: it has none of {', '.join(PARTS)}; name a run's run_dir")
        self.reader, self.other = Reader(root), other and Reader(other)
        self.said = ""
        self._questions: dict[str, dict[str, Any]] = {}  # an empty one was sought in vain

    def page(self, watching: float = 0) -> list[bytes]:
        """Return the page in pieces. watching: seconds until it loads itself again, 0 for never."""
        reader, starts = self.reader, self.reader.json("manifest.json")
        config = _config(starts)
        told, steps = _summary(reader, config), self._steps(config)
        given = {stage: scores.answers(reader, stage) for stage in told["stages"]}
        # Questions by number: those evaluated first, the others as training came to them.
        asked = (id for answers in given.values() for by_id in answers.values() for id in by_id)
        drawn = (id for step in steps.values() for _, id, _ in step.groups)
        moved = (id for mined in told["mining"]["rounds"] for way in data.WAYS for id in mined[way])
        ids = {id: number for number, id in enumerate(dict.fromkeys(chain(asked, drawn, moved)))}
        blocks = self._question_blocks(list(ids), given, say(mapping(config.get("data")).get("questions")))
        shown = sum(len(step.columns["flags"]) for step in steps.values())
        self.said = f"{shown:,} of {sum(step.all_rollouts for step in steps.values()):,} sampled answers"

        everything = {
            "about": {
                "name": reader.root.resolve().name,
                "run": shlex.quote(str(reader.root)),
                "made": datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
                "watching": watching,
                "holder": reader.holder,
                "voter": mapping(config.get("synth")).get("voter") if "synth" in starts else None,
                "models": list(mapping(mapping(config.get("evaluate")).get("models"))),
                "benchmarks": list(load_table("benchmarks.yaml")),
            },
            "words": load_table("report/words.yaml") | {"grounds": load_table("cards.yaml")["grounds"]},
            **told,
            "report": reader.json("data/report.json"),
            "rejected": reader.once("data/rejected.jsonl", data.rejected, []),
            "graph": reader.once("data/graph.jsonl", data.graph, {}),
            "manifest": {
                stage: [{**mapping(s), "config": None} for s in items(of)] for stage, of in starts.items()
            },
            "settings": {stage: _yaml(of) for stage, of in starts.items() if _settings(of)},
            "rollouts": _columns(steps, ids),
            "questions": {
                "ids": list(ids),
                "kinds": [say(mapping(self._questions[id].get("provenance")).get("kind")) for id in ids],
                "a_block": A_BLOCK,
            },
            "asked": _asked(given, ids),
            "other": self._beside(given) if self.other else None,
            "files": sorted(reader.stamps),
            "notes": sorted(reader.faults.items()),
        }
        packed = {f"q{i}": block for i, block in enumerate(blocks)}
        packed |= {f"r{number}": step.block for number, step in steps.items()}
        return list(_filled(everything, packed))

    def _steps(self, config: Mapping[str, Any]) -> dict[int, rollouts.Step]:
        """Return step -> its answers, in order."""
        files = by_step(self.reader.root / "grpo/rollouts")
        rl = mapping(config.get("grpo"))
        planned = [mapping(rl.get(stage)).get("max_steps") for stage in ("stage1", "stage2")]
        planned = sum(n for n in planned if isinstance(n, int) and 0 < n < 100_000)
        share = rollouts.BUDGET // max(len(files), planned, 1)
        tokens = rollouts.vocabulary(self.reader, say(config.get("model"))) if files else {}
        make, found = partial(rollouts.read_step, tokens=tokens, share=share), {}
        for number, path in files.items():
            step = self.reader.once(f"grpo/rollouts/{path.name}", make, None)
            found |= {number: step} if step else {}
        return found

    def _question_blocks(self, ids: list[str], given: Mapping[str, scores.Answers], own: str) -> list[str]:
        """Return the questions with what each stage answered, A_BLOCK a block, as far as there is room."""
        for name in [*QUESTIONS, *([os.path.abspath(own)] if own else [])]:
            if missing := {id for id in ids if id not in self._questions}:
                self.reader.stamps.pop(name, None)  # others are sought in it than before
                self._questions |= self.reader.once(name, partial(data.questions, ids=missing), {})
        self._questions |= {id: {} for id in ids if id not in self._questions}

        parts = [ids[start : start + A_BLOCK] for start in range(0, len(ids), A_BLOCK)]
        blocks = [rollouts.packed(json.dumps([self._question(id, given) for id in part])) for part in parts]
        return [
            block for block, size in zip(blocks, accumulate(map(len, blocks)), strict=True) if size <= BUDGET
        ]

    def _question(self, id: str, given: Mapping[str, scores.Answers]) -> dict[str, Any]:
        found: dict[str, Any] = {"given": {}}
        for stage, tables in given.items():
            for (benchmark, protocol), by_id in tables.items():
                if g := by_id.get(id):
                    found |= {"question": g.asked, "answer": g.gold}
                    stages = found["given"].setdefault(f"{benchmark}/{protocol}", {})
                    stages[stage] = [g.answer, g.response]
        return found | self._questions[id]

    def _beside(self, given: Mapping[str, scores.Answers]) -> dict[str, Any]:
        """Return the other run's part, with paired differences where both answered the same questions."""
        told = _summary(self.other, _config(self.other.json("manifest.json")))
        both = [stage for stage in told["stages"] if stage in given]
        tables = [(stage, of) for stage in both for of in (scores.answers(self.other, stage), given[stage])]
        paired = scores.differences(tables, [(i, i + 1) for i in range(0, len(tables), 2)])
        differ = {
            key for stage in both for key in scores.settings_that_differ(self.other, self.reader, stage)
        }
        about = {"name": self.other.root.resolve().name, "notes": sorted(self.other.faults.items())}
        return {**about, **told, "paired": paired, "differ": sorted(differ)}


def _config(starts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the last start of the last stage."""
    return _settings([start for stage in STAGES for start in items(starts.get(stage))])


def _settings(of: Any) -> dict[str, Any]:
    """Return the settings of the last of a stage's starts."""
    return mapping(mapping(items(of)[-1]).get("config")) if items(of) else {}


def _yaml(of: Any) -> str:
    return yaml.safe_dump(_settings(of), sort_keys=False, allow_unicode=True)


def _summary(reader: Reader, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what two runs are compared by."""
    stages, ledger = scores.stages(reader, config), reader.log("grpo/curriculum.jsonl", data.event)
    tables = [(stage, scores.answers(reader, stage)) for stage in stages]
    return {
        "stages": stages,
        "differences": scores.successive(tables),
        "sft": data.thinned(reader.log("sft/metrics.jsonl")),
        "grpo": data.thinned(reader.log("grpo/metrics.jsonl")),
        "mining": reader.guard("grpo/curriculum.jsonl", lambda: data.mining(ledger), data.mining([])),
    }


def _columns(steps: Mapping[int, rollouts.Step], ids: Mapping[str, int]) -> dict[str, Any]:
    """Return the numbers of all answers, one after another, and where each step and group begins."""
    joined = {name: b"".join(step.columns[name] for step in steps.values()) for name in rollouts.COLUMNS}
    return {
        "steps": [[n, s.stage, len(s.groups), s.all_groups, s.all_rollouts] for n, s in steps.items()],
        "groups": [[group, ids[id], count] for step in steps.values() for group, id, count in step.groups],
        "columns": {name: base64.b64encode(values).decode() for name, values in joined.items()},
        "surprise": rollouts.SURPRISE,
    }


def _asked(given: Mapping[str, scores.Answers], ids: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return for each benchmark and protocol its questions, and of each stage a letter a question (Given.code)."""
    found = []
    for key in dict.fromkeys(key for answers in given.values() for key in answers):
        of = {stage: answers[key] for stage, answers in given.items() if key in answers}
        asked = list(dict.fromkeys(id for by_id in of.values() for id in by_id))
        codes = {
            stage: "".join(by_id[id].code if id in by_id else " " for id in asked)
            for stage, by_id in of.items()
        }
        found.append(
            {"benchmark": key[0], "protocol": key[1], "ids": [ids[id] for id in asked], "stages": codes}
        )
    return found


def _filled(everything: Mapping[str, Any], blocks: Mapping[str, str]) -> Iterator[bytes]:
    folder = ASSETS / "report"
    texts = {
        path.stem: path.read_text("utf-8") for path in folder.iterdir() if path.suffix in (".js", ".css")
    }
    kept = {name: f"{{{{{name}}}}}" for name in ("policy", "title", "data", "blocks")}
    template = fill((folder / "page.html").read_text("utf-8"), **texts, **kept)
    value = json.dumps(everything, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    head, tail = template.split("{{blocks}}\n")
    title = escape(f"{everything['about']['name']}: report")
    yield fill(head, policy=policy(template), title=title, data=value).encode("utf-8", "replace")
    for name, block in blocks.items():
        yield f'<script type="text/plain" id="{name}">{block}</script>\n'.encode()
    yield tail.encode()
