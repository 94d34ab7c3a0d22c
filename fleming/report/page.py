"""The page: everything of a run in one file, data as text that no browser takes for markup, and nothing fetched.

- what is small is one JSON value; answers and questions are packed blocks behind the script, unpacked when opened
- the page is read from disk and filled: assets/report/ has its layout, its style and its script, by hand

Left out: what stands in the run's files (the other modules of this room).
"""

import base64
import gzip
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from fleming.assets import ASSETS, load_table
from fleming.html_page import escape, fill, items, mapping, policy
from fleming.report import data, rollouts, scores
from fleming.report.questions import Questions, kind_of
from fleming.report.reading import Reader, now
from model.errors import InputError

A_BLOCK = 50  # questions
BUDGET = 5_000_000  # bytes of the questions' blocks
PARTS = ("manifest.json", "config.yaml", "data", "sft", "grpo", "eval")


class Report:
    """A run's page; made again, it reads only what has changed."""

    def __init__(self, root: Path, other: Path | None = None):
        for folder in filter(None, [root, other]):
            if not any((folder / part).exists() for part in PARTS):
                raise InputError(
                    f"{folder}: no run: it has none of {', '.join(PARTS)}; name a run's folder (run_dir)"
                )
        self.reader, self.other = Reader(root), Reader(other) if other else None
        self.questions, self._packed = Questions(self.reader), {}
        self.said = ""

    @property
    def stamps(self) -> tuple:
        """What changes whenever a file that the page is of does."""
        return tuple(tuple(r.stamps.items()) for r in (self.reader, self.other) if r)

    def page(self, watching: float = 0) -> list[bytes]:
        """Return the page in pieces. watching: seconds until it loads itself again, 0 for never."""
        reader = self.reader
        starts = reader.json("manifest.json")
        config = _config(starts)
        told = _summary(reader, config)
        steps = self._steps(config)
        given = {stage: scores.answers(reader, stage) for stage in told["stages"]}
        ids = self._numbered(given, steps, told["mining"])
        found = self.questions.get(ids, str(mapping(config.get("data")).get("questions") or ""))
        blocks = self._question_blocks(ids, found, given)
        kinds = [kind_of(found.get(id, {})) for id in ids]
        distinct = list(dict.fromkeys(map(tuple, kinds)))

        about = {
            "name": reader.root.resolve().name,
            "run": shlex.quote(str(reader.root)),
            "made": now(),
            "watching": watching,
            "holder": reader.holder,
            "seed": config.get("seed"),
            "voter": mapping(config.get("synth")).get("voter") if "synth" in starts else None,
            "files": sorted(reader.stamps),
        }
        everything = {
            "about": about,
            "words": load_table("report/words.yaml")
            | {"codes_of_grounds": load_table("cards.yaml")["grounds"]},
            **told,
            "report": reader.json("data/report.json"),
            "rejected": reader.once("data/rejected.jsonl", data.rejected, []),
            "graph": reader.once("data/graph.jsonl", data.graph, {}),
            "manifest": data.manifest(starts),
            "rollouts": _columns(steps, ids),
            "questions": {
                "ids": list(ids),
                "kinds": distinct,
                "kind": [distinct.index(tuple(kind)) for kind in kinds],
                "split": [found.get(id, {}).get("split", "") for id in ids],
                "blocks": len(blocks),
                "a_block": A_BLOCK,
            },
            "asked": _asked(given, ids),
            "other": self._beside(given) if self.other else None,
            "notes": sorted(reader.faults.items()),
        }
        shown = sum(len(step.columns["flags"]) for step in steps.values())
        self.said = f"{shown:,} of {sum(s.all_rollouts for s in steps.values()):,} sampled answers"
        named = chain(
            ((f"q{i}", block) for i, block in enumerate(blocks)),
            ((f"r{number}", step.block) for number, step in steps.items()),
        )
        return list(_filled(everything, named))

    def _steps(self, config: Mapping[str, Any]) -> dict[int, rollouts.Step]:
        """Return step -> its answers, in order."""
        paths = {
            int(p.stem[5:]): p
            for p in self.reader.root.glob("grpo/rollouts/step_*.jsonl")
            if p.stem[5:].isdigit()
        }
        if not paths:
            return {}
        rl = mapping(config.get("grpo"))
        planned = [mapping(rl.get(stage)).get("max_steps") for stage in ("stage1", "stage2")]
        share = rollouts.BUDGET // max(
            len(paths), sum(n for n in planned if isinstance(n, int) and 0 < n < 10**6)
        )
        tokens = rollouts.vocabulary(self.reader, str(config.get("model") or ""))
        found = {}
        for number in sorted(paths):
            name = f"grpo/rollouts/{paths[number].name}"
            step = self.reader.once(name, lambda path: rollouts.read_step(path, tokens, share), None)
            found |= {number: step} if step else {}
        return found

    def _numbered(self, given: Mapping, steps: Mapping, mining: Mapping) -> dict[str, int]:
        """Return question id -> its number on the page: those evaluated first, the others as training came to them."""
        asked = (id for answers in given.values() for questions in answers.values() for id in questions)
        drawn = (group[1] for step in steps.values() for group in step.groups)
        moved = (id for number in mining["rounds"] for ids in number["ids"].values() for id in ids)
        return {id: number for number, id in enumerate(dict.fromkeys(chain(asked, drawn, moved)))}

    def _question_blocks(self, ids: Mapping[str, int], found: Mapping, given: Mapping) -> list[str]:
        """Return the questions with what each stage answered, A_BLOCK a block, as far as there is room."""
        names, blocks, size = list(ids), [], 0
        of_stages = [(stage, "/".join(key), by_id) for stage, a in given.items() for key, by_id in a.items()]
        for start in range(0, len(names), A_BLOCK):
            part = names[start : start + A_BLOCK]
            rows = []
            for id in part:
                answers: dict[str, dict[str, Any]] = {}
                row = dict(found.get(id, {}))
                for stage, asked, by_id in of_stages:
                    if id in by_id:
                        answers.setdefault(asked, {})[stage] = [by_id[id].answer, by_id[id].response]
                        row.setdefault("text", by_id[id].asked)
                        row.setdefault("answer", by_id[id].gold)
                rows.append(row | {"given": answers} if answers else row)
            key = hash(tuple(map(repr, rows)))
            if key not in self._packed:
                text = json.dumps(rows, separators=(",", ":")).encode()
                self._packed[key] = base64.b64encode(gzip.compress(text, 6, mtime=0)).decode()
            size += len(self._packed[key])
            if size > BUDGET:
                break
            blocks.append(self._packed[key])
        return blocks

    def _beside(self, given: Mapping[str, scores.Answers]) -> dict[str, Any]:
        """Return the other run's part, with paired differences where both answered the same questions."""
        told = _summary(self.other, _config(self.other.json("manifest.json")))
        both = [stage for stage in told["stages"] if stage in given]
        of_both = [(scores.answers(self.other, stage), given[stage]) for stage in both]
        tables = [(stage, table) for stage, pair in zip(both, of_both, strict=True) for table in pair]
        pairs = [(i, i + 1) for i in range(0, len(tables), 2)]
        name = self.other.root.resolve().name
        more = {"paired": scores.differences(tables, pairs), "notes": sorted(self.other.faults.items())}
        return {"name": name, **told, **more}


def _config(starts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the last start of the last stage."""
    entries = [mapping(start) for stage in ("synth", "sft", "grpo") for start in items(starts.get(stage))]
    return mapping(entries[-1].get("config")) if entries else {}


def _summary(reader: Reader, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what two runs are compared by."""
    stages = scores.stages(reader, config)
    tables = [(stage, scores.answers(reader, stage)) for stage in stages]
    return {
        "stages": stages,
        "differences": scores.differences(tables, scores.successive(list(stages))),
        "sft": data.columns(reader.log("sft/metrics.jsonl"), 1_000),
        "grpo": data.columns(reader.log("grpo/metrics.jsonl")),
        "mining": data.mining(reader),
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
    keys = dict.fromkeys(key for answers in given.values() for key in answers)
    found = []
    for key in keys:
        asked = list(dict.fromkeys(id for answers in given.values() for id in answers.get(key, {})))
        by_stage = {}
        for stage, answers in given.items():
            if of := answers.get(key):
                by_stage[stage] = "".join(of[id].code if id in of else " " for id in asked)
        found.append(
            {"benchmark": key[0], "protocol": key[1], "ids": [ids[id] for id in asked], "stages": by_stage}
        )
    return found


def _filled(everything: Mapping[str, Any], blocks: Iterator[tuple[str, str]]) -> Iterator[bytes]:
    html, style, script = (
        (ASSETS / "report" / name).read_text(encoding="utf-8")
        for name in ("page.html", "style.css", "script.js")
    )
    kept = {name: f"{{{{{name}}}}}" for name in ("policy", "title", "data", "blocks")}
    template = fill(html, style=style, script=script, **kept)
    value = json.dumps(everything, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    head, tail = re.split(r"\{\{blocks\}\}\n?", template)
    title = f"{everything['about']['name']}: report"
    yield fill(head, policy=policy(template), title=escape(title), data=value).encode()
    for name, block in blocks:
        yield f'<script type="text/plain" id="{name}">{block}</script>\n'.encode()
    yield tail.encode()
