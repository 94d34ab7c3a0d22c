"""What a record rests on and what it led to: source -> edge -> question -> trajectory, rollouts -> weights -> answer.

    python -m fleming.audit trace RUN "Wilson disease | has_finding | tremor"
    python -m fleming.audit trace RUN graph/0a1b2c3d4e5f6071            a question; with /0 a trajectory
    python -m fleming.audit trace RUN rollout:120/3/5                   step, group, sample
    python -m fleming.audit trace RUN answer:rl_stage2/graph/0a1b2c3d4e5f6071

A `Node` is a record in words, with what it rests on above it and what it led to below. Left out: where lines are found
(index.py); which weights an update has moved, since every step moves all of them.
"""

import json
import shlex
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fleming.audit.index import KINDS, Index, Record, Triple, edge_key, edges_in
from fleming.files import by_step, read_jsonl
from fleming.manifest import current
from fleming.terminal import printable
from model.errors import InputError

MANY = 40  # are told one by one; as_json has all


@dataclass
class Node:
    """A record, in words."""

    title: str
    says: dict[str, Any] = field(default_factory=dict)
    rests_on: list["Node"] = field(default_factory=list)
    led_to: list["Node"] = field(default_factory=list)


def trace(index: Index, name: str) -> Node:
    """Return the node of what is asked for. Raises InputError where no record of the run has that name."""
    kind, _, rest = name.partition(":")
    if kind == "rollout" and rest.count("/") == 2:
        return rollout(index, rest)
    if kind == "answer" and "/" in rest:
        return answer(index, *rest.split("/", 1))
    if fact := index.fact_named(name):
        return edge(index, fact)
    for kind, of_kind in (("question", question), ("trajectory", trajectory)):
        if index.records(f"{kind} {name}", kind):
            return of_kind(index, name)
    raise InputError(
        f"{index.run_dir}: nothing here is called {name!r}, in this case of letters; expected the id of a "
        "question or a trajectory, 'HEAD | RELATION | TAIL', rollout:STEP/GROUP/SAMPLE or answer:NAME/QUESTION"
    )


def edge(index: Index, triple: Triple) -> Node:
    """A fact of the graph: its sources above; the questions that name it below, with what came of them."""
    node = fact(index, triple)
    questions = index.records(edge_key(*triple), "question")
    node.says["questions"] = dict(Counter(record.get("split") for _, record in questions))
    node.led_to = [in_short(index, record) for _, record in questions]
    return node


def fact(index: Index, triple: Triple) -> Node:
    """A fact and its sources."""
    node = Node(f"edge {' | '.join(triple)}")
    for _, record in index.records(edge_key(*triple), "edge"):
        for relation, tail, negated, evidence in record["facts"]:
            if (relation, tail) == triple[1:]:
                node.rests_on += [source(index, row, "denied by " * negated) for row in evidence]
    if not node.rests_on:
        node.says["absent"] = "the graph states no such fact"
    return node


def source(index: Index, row: list, how: str) -> Node:
    """One piece of evidence: the file and its line, or the page and its characters; its licence; what stands there."""
    number, record, end, confidence, frequency, note = row
    [(_, origin), *_] = index.records(f"origin {number}", "edge")
    place = f"characters {record} to {end}" if end >= 0 else f"line {record}"
    says = {"version": origin.get("version"), "read by": origin.get("extractor"), "says": note}
    says |= {"confidence": confidence, "frequency": frequency if frequency >= 0 else None}
    says |= {"licence": origin.get("licence") or "not recorded", "address": origin.get("address")}
    return Node(f"{how}{origin['source']}, {origin['file']}, {place}", known(says))


def in_short(index: Index, record: Record) -> Node:
    """A question in a line, and how much came of it."""
    files = [file for file, _ in index.places_of(f"question {record['id']}")]
    rollouts = [file for file in files if file.startswith("grpo/rollouts/")]
    says = {
        "split": record.get("split"),
        "trajectories": files.count(KINDS["trajectory"][0]),
        "rollouts": len(rollouts),
        "in steps of RL": len(set(rollouts)),
        "answers": sum(file.startswith("eval/") for file in files),
    }
    return Node(f"question {record['id']}", says)


def question(index: Index, name: str) -> Node:
    """A question: the facts that it names above; trajectories, steps, mining and answers below."""
    key, node = f"question {name}", question_above(index, name)
    node.led_to = [learned(index, r) for _, r in index.records(key, "trajectory")]
    node.led_to += rollouts_of(index, key)
    for _, event in index.records(key, "mined"):
        kind = event.pop("event", "event")
        node.led_to.append(Node(f"mining, {kind}", {k: v for k, v in event.items() if k != "question"}))
    for file, given in index.records(key, "answer"):
        node.led_to.append(Node(f"answer:{Path(file).parts[1]}/{name}", told(given)))
    return node


def question_above(index: Index, name: str, counted: bool = False) -> Node:
    """A question and the facts that it names, as something that another record rests on.

    counted: each fact also with how many training questions name it.
    """
    key = f"question {name}"
    if not (found := index.records(key, "question")):
        return Node(key, {"absent": "its file is not here, or was made again"})
    file, record = found[0]
    provenance = record.get("provenance") or {}
    options = record.get("options") or {}
    node = Node(key, known({"file": file, "split": record.get("split"), "source": record.get("source")}))
    node.says |= {"asks": record["question"], "options": options, "answer": record["answer"]}
    node.says |= known({"kind": provenance.get("kind"), "metapath": provenance.get("metapath")})
    for what in ("label_votes", "review"):
        for _, vote in index.records(key, what):
            node.says[what] = {name: value for name, value in vote.items() if name not in ("id", "question")}
    if checked := (record.get("extra") or {}).get("label_check") or provenance.get("label_check"):
        node.says["label_check"] = checked

    roles = roles_of(provenance)
    for triple in dict.fromkeys(edges_in(provenance)):
        above = fact(index, triple)
        above.title = f"{roles.get(triple, 'certificate')}: {above.title}"
        if counted:
            named = [other.get("split") for _, other in index.records(edge_key(*triple), "question")]
            above.says["training questions that name it"] = named.count("train")
        node.rests_on.append(above)
    return node


def roles_of(provenance: Record) -> dict[Triple, str]:
    """Return what each edge is to the question: a step of its path, a fact that rules an option out, or shared."""
    roles: dict[Triple, str] = {}
    for option in (provenance.get("certificate") or {}).get("distractors") or ():
        said = f"{option.get('option')} ({option.get('ground') or 'no ground recorded'})"
        roles |= dict.fromkeys(edges_in(option.get("shares")), "shared with an option")
        roles |= dict.fromkeys(edges_in(option.get("evidence")), f"rules out {said}")
        roles |= dict.fromkeys(edges_in(option.get("violates")), f"violated by {said}")
    return roles | dict.fromkeys(edges_in(provenance.get("path")), "path")


def rollouts_of(index: Index, key: str) -> list[Node]:
    """The steps of RL that sampled a question: how many answers, how many right, and where to look."""
    steps: dict[str, list[Record]] = {}
    for file, record in index.records(key, "rollout"):
        steps.setdefault(file, []).append(record)
    nodes = []
    for file, group in steps.items():
        first = group[0]
        right = sum(r["reward"].get("correct", 0) > 0.5 for r in group)
        says = {"stage": first["stage"], "file": file, "right": f"{right} of {len(group)}"}
        nodes.append(Node(f"rollout:{first['step']}/{first['group']}/0 and on", says))
    return nodes


def trajectory(index: Index, name: str) -> Node:
    """A trajectory: its question and teacher above; the steps of the cold start that learned from it below."""
    [(file, record), *_] = index.records(f"trajectory {name}", "trajectory")
    node = learned(index, record)
    node.says = {"file": file, "response": record["response"], **node.says}
    node.rests_on = [question_above(index, record["question_id"])]
    return node


def learned(index: Index, record: Record) -> Node:
    """A trajectory, its teacher and checks, and the steps of the cold start that learned from it."""
    fields = "teacher", "gold_visible", "attempts", "refinements", "checks"
    node = Node(f"trajectory {record['id']}", {name: record.get(name) for name in fields})
    if index.sft_steps is None:
        node.says["learned in steps"] = "not recorded"
    else:
        steps = index.sft_steps.get(record["id"])
        node.says["learned in steps"] = steps or "none: held out, or longer than the model's context"
        node.led_to = [weights(index, "sft", steps[-1])] if steps else []
    return node


def rollout(index: Index, name: str) -> Node:
    """A sampled answer: its question and the weights that gave it above; the update that it was part of below."""
    try:
        step, group, sample = map(int, name.split("/"))
    except ValueError as error:
        raise InputError(f"rollout:{name}: expected three numbers, rollout:STEP/GROUP/SAMPLE") from error
    path = by_step(index.run_dir / "grpo/rollouts").get(step)
    if not path:
        raise InputError(f"{index.run_dir}: no step {step} of RL in grpo/rollouts")
    file = f"grpo/rollouts/{path.name}"
    records = [record for _, record in read_jsonl(path)]
    places = [i for i, r in enumerate(records) if (r["group"], r["sample"]) == (group, sample)]
    if not places:
        raise InputError(f"{file}: no group {group} with a sample {sample}")
    r = records[places[0]]
    says = {"file": file, "response": r["response"], "answer": r["answer"], "reward": r["reward"]}
    says |= {"advantage": r["advantage"], "seed": r["seed"], "finish_reason": r["finish_reason"]}
    beside = [other["reward"]["total"] for other in records if other["group"] == group]
    says["rewards of its group"] = beside
    above = [question_above(index, r["question_id"]), weights(index, "grpo", step - 1)]
    run = shlex.quote(str(index.run_dir))
    again = f"python -m fleming.rl.replay {run} --step {step} --sample {places[0]}"
    return Node(f"rollout:{name}", says | {"drawn again by": again}, above, [weights(index, "grpo", step)])


def weights(index: Index, stage: str, step: int) -> Node:
    """The weights after a step: the kept checkpoint at it or next behind it, and what of it was exported."""
    if not step:
        inputs = index.manifest.get(stage, [{}])[-1].get("inputs", {})
        return Node(
            f"{stage} began with this model", {k: v for k, v in inputs.items() if k.startswith("model/")}
        )
    kept = by_step(index.run_dir / stage / "checkpoints")
    behind = next((folder.name for at, folder in kept.items() if at >= step), "none was kept")
    says = {"next kept checkpoint": behind}
    says["exported"] = {
        name: sha256
        for start in index.manifest.get(stage, ())  # one that went on has not written again what came before
        for name, sha256 in start["outputs"].items()
        if name.endswith("model.safetensors")
    }
    return Node(f"weights of {stage} after step {step}", says)


def answer(index: Index, name: str, asked: str) -> Node:
    """A benchmark's answer: its question's facts above, with how much was learned from each, and the model."""
    given = [
        record for file, record in index.records(f"question {asked}", "answer") if Path(file).parts[1] == name
    ]
    if not given:
        raise InputError(f"{index.run_dir}: eval/{name} has no answer to {asked!r}")
    first, *others = ({"response": record.get("response")} | told(record) for record in given)
    node = Node(f"answer:{name}/{asked}", first | known({"asked again": others}))
    node.rests_on = [question_above(index, asked, counted=True), model(index, name)]
    return node


def told(given: Record) -> dict[str, Any]:
    fields = "benchmark", "protocol", "order", "sample", "answer", "gold", "correct", "tokens"
    return {name: given[name] for name in fields if name in given}


def model(index: Index, name: str) -> Node:
    """The model of an evaluation, by its hash: which stage here has written it, after how many steps and questions."""
    entries = [
        entry for stage, entry in current(index.manifest) if stage == "evaluate" and entry.get("name") == name
    ]
    if not entries:
        return Node(f"model of eval/{name}", {"not recorded": "the manifest has no entry of this evaluation"})
    inputs = {k: v for k, v in entries[0].get("inputs", {}).items() if k.startswith("model/")}
    node = Node(f"model of eval/{name}", inputs)
    weights_of = {v for k, v in inputs.items() if k.endswith(".safetensors")}
    for stage, entry in current(index.manifest):
        for path, sha256 in entry["outputs"].items():
            if stage != "evaluate" and sha256 in weights_of and path.endswith(".safetensors"):
                says = {"file": path, "commit": entry.get("commit"), "began": entry.get("started")}
                says["read"] = entry.get("inputs")
                node.rests_on.append(Node(f"written by {stage}", says))
    return node


def known(says: dict[str, Any]) -> dict[str, Any]:
    """Return what is said and not empty."""
    return {name: value for name, value in says.items() if value not in (None, "", [], {})}


def as_text(node: Node, depth: int = 0) -> str:
    """Return a node and all around it, indented; what a source or a model says stands as text, without controls."""
    pad = "  " * depth
    lines = [f"{pad}{printable(node.title)}"]
    for name, value in node.says.items():
        value = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        lines.append(f"{pad}    {name}: " + printable(value).replace("\n", f"\n{pad}      "))
    for title, nodes in (("rests on", node.rests_on), ("led to", node.led_to)):
        if nodes:
            lines.append(f"{pad}  {title}:")
            lines += [as_text(inner, depth + 2) for inner in nodes[:MANY]]
            lines += [f"{pad}    and {len(nodes) - MANY:,} more, which --json has"] * (len(nodes) > MANY)
    return "\n".join(lines)


def as_json(node: Node) -> str:
    return json.dumps(asdict(node), ensure_ascii=False, indent=1)
