"""The arms of arms.yaml: what each trains, on which data, by which command, and the hash that says that it is the same.

Left out: carrying them out (runs.py), comparing them (compare.py).
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fleming.typed import from_json
from model.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
ARMS = Path(__file__).with_name("arms.yaml")
ENDLESS = 1_000_000  # steps: the budget of tokens ends a stage
KEPT_AND_SHOWN = {
    "save_every",
    "keep_last",
    "keep_best",
    "keep_every",
    "show_every",
}  # they move no bit of a result


@dataclass(frozen=True)
class Selection:
    """Which training questions, and with what labels."""

    longest: int = 0
    """Only chains of at most so many facts; 0: all."""
    mined: bool = False
    """Limited to the scale's number of questions."""
    planted: float = 0.0
    """The share that gets a wrong label."""


@dataclass(frozen=True)
class Arm:
    """One way to train, as arms.yaml has it."""

    says: str
    trains: str
    begins: str = ""
    budget: str = ""
    first: bool = False
    seconds: float = 0.0
    data: Selection = field(default_factory=Selection)
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scale:
    """How long the stages are."""

    seeds: dict[str, int]
    settings: tuple[str, ...]
    budgets: dict[str, int]
    questions: int
    mine_every: dict[str, int]


@dataclass(frozen=True)
class Comparison:
    """A planned difference: arm minus against."""

    arm: str
    against: str
    family: str
    block: str
    asks: str
    lengths: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All of arms.yaml."""

    config: str
    settings: tuple[str, ...]
    rl: tuple[str, ...]
    sets: tuple[str, ...]
    lengths: tuple[int, ...]
    scales: dict[str, Scale]
    arms: dict[str, Arm]
    comparisons: tuple[Comparison, ...]
    assumed: dict[str, float]
    questions: dict[str, int]
    estimates: dict[str, float]


def read_plan(path: Path = ARMS) -> Plan:
    """Return the plan. Raises InputError for arms, scales and comparisons that name what there is not."""
    plan = from_json(Plan, yaml.safe_load(path.read_text()), str(path))
    for name, arm in plan.arms.items():
        if arm.trains not in ("sft", "stage1", "stage2"):
            raise InputError(f"{path}: {name} trains {arm.trains}: expected sft, stage1 or stage2")
        if (arm.trains == "sft") == bool(arm.begins) or (arm.begins and arm.begins not in plan.arms):
            raise InputError(
                f"{path}: {name} begins from {arm.begins!r}: a cold start from none, RL from an arm"
            )
        if arm.trains != "sft" and any(arm.budget not in scale.budgets for scale in plan.scales.values()):
            raise InputError(f"{path}: {name} has the budget {arm.budget!r}, which not every scale has")
    for comparison in plan.comparisons:
        if missing := {comparison.arm, comparison.against} - plan.arms.keys():
            raise InputError(f"{path}: a comparison names {min(missing)}, which is no arm")
    return plan


def seeds_of(plan: Plan, name: str, scale: str) -> range:
    """Return the seeds that the arm is planned for."""
    return range(plan.scales[scale].seeds["first" if plan.arms[name].first else "others"])


def chain(plan: Plan, name: str) -> list[str]:
    """Return the arms that have to be there for this one, it last."""
    before = plan.arms[name].begins
    return [*(chain(plan, before) if before else []), name]


def training_settings(plan: Plan, name: str, scale: str) -> list[str]:
    """Return the arm's settings as key=value, but for folders, files and the seed."""
    arm, of_scale = plan.arms[name], plan.scales[scale]
    if arm.trains == "sft":
        return [*plan.settings, *arm.settings]
    other = "stage2" if arm.trains == "stage1" else "stage1"
    settings = [*plan.settings, *plan.rl, *of_scale.settings, "grpo.start_from=base"]
    settings += [f"grpo.{other}.max_steps=0", f"grpo.{arm.trains}.max_steps={ENDLESS}"]
    settings += [f"grpo.{arm.trains}.max_tokens={of_scale.budgets[arm.budget]}"]
    if arm.trains == "stage2":
        settings += [f"grpo.curriculum.mine_every={of_scale.mine_every[arm.budget]}"]
    return settings + list(arm.settings)


def deciding_config(plan: Plan) -> dict[str, Any]:
    """Return the plan's config without what is only kept and shown."""
    config = yaml.safe_load((ROOT / plan.config).read_text())
    for section in config.values():
        for name in KEPT_AND_SHOWN & set(section if isinstance(section, dict) else ()):
            del section[name]
    return config


def deciding(settings: Iterable[str]) -> list[str]:
    """Return those of key=value that move a bit of a result."""
    return [setting for setting in settings if setting.partition("=")[0].split(".")[-1] not in KEPT_AND_SHOWN]


def recipe(plan: Plan, name: str, scale: str) -> dict[str, Any]:
    """Return all that decides what the arm is, of the arms before it too; not the seed."""
    arm = plan.arms[name]
    return {
        "config": deciding_config(plan),
        "trains": arm.trains,
        "settings": deciding(training_settings(plan, name, scale)),
        "data": dataclasses.asdict(arm.data),
        "questions": plan.scales[scale].questions if arm.data.mined else 0,
        "sets": [*plan.sets],
        "lengths": [*plan.lengths],
        "begins": recipe_hash(plan, arm.begins, scale) if arm.begins else "",
    }


def recipe_hash(plan: Plan, name: str, scale: str) -> str:
    """Return the recipe's hash."""
    return short_hash(recipe(plan, name, scale))


def short_hash(value: Any) -> str:
    """Return 12 hex digits of the SHA-256 of what JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Place:
    """Where an arm of one seed lies. The folder has the recipe's hash in its name: another recipe, another folder."""

    name: str
    seed: int
    folder: Path
    start: Path
    """The seed's data and base model."""


def place_of(plan: Plan, runs: Path, name: str, seed: int, scale: str) -> Place:
    """Return the arm's place; cold starts are the same at every scale."""
    folder = runs.resolve() / f"seed_{seed}" / f"{name}_{recipe_hash(plan, name, scale)}"
    start = {"config": deciding_config(plan), "settings": deciding(plan.settings)}
    return Place(name, seed, folder, folder.with_name(f"start_{short_hash(start)}"))


def model_of(plan: Plan, place: Place) -> Path:
    """Return the folder to which the arm's training exports its model."""
    trains = plan.arms[place.name].trains
    return place.folder / ("sft/model" if trains == "sft" else f"grpo/{trains}/model")


def kept_models(plan: Plan) -> set[str]:
    """Return the arms whose weights others begin from."""
    return {arm.begins for arm in plan.arms.values() if arm.begins}
