"""Whether a run of the demo came to the models in the docs, bit for bit, and if not, which known reason there is.

    python -m fleming.training.reproduced RUN_DIR

The documented hashes, and what they were made with, are assets/reproduced.yaml. Other settings, kernels or versions are
no fault: that models differ is said, and the status is 0.
"""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleming.assets import load_table
from fleming.command_line import run_settings
from fleming.config import flat, load_config, run_script, to_dict
from fleming.manifest import read_manifest
from fleming.settings import Config
from fleming.terminal import option_parser
from model.errors import InputError
from model.sums import sums_in

DEMO = Path(__file__).parents[2] / "configs/demo.yaml"
# Settings that move no bit of a model.
ANYTHING = ("run_dir", "seed", "threads", "evaluate", "logger")


def reasons(run_dir: Path, made_with: Mapping[str, str]) -> list[str]:
    """Return what is known to give a run of the demo other bits than the documented ones."""
    mine, demo = (flat(to_dict(cfg)) for cfg in (run_settings(run_dir), load_config(Config, DEMO, [])))
    others = [
        f"{name}={mine.get(name)}"
        for name in sorted(mine.keys() | demo.keys())
        if name.split(".")[0] not in ANYTHING and mine.get(name) != demo.get(name)
    ]
    found = [f"other settings: {', '.join(others)}"] if others else []
    starts: list[Mapping[str, Any]] = [
        entry for stage, entries in read_manifest(run_dir).items() for entry in entries if stage != "evaluate"
    ]
    for name, of_entry in {
        "cpu_kernels": lambda entry: entry.get("cpu_kernels", "not recorded"),
        "torch": lambda entry: entry["versions"]["torch"].partition("+")[0],
        "processes": lambda entry: str(entry["processes"]),
    }.items():
        if strange := {of_entry(entry) for entry in starts} - {made_with[name]}:
            found.append(f"{name} {', '.join(sorted(strange))}, documented {made_with[name]}")
    if platform.machine() != made_with["machine"]:
        found.append(f"machine {platform.machine()}, documented {made_with['machine']}")
    return found


def main(argv: list[str]) -> None:
    parser = option_parser(__doc__)
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path)
    run_dir = parser.parse_args(argv).run_dir
    table, seed = load_table("reproduced.yaml"), run_settings(run_dir).seed
    models = table["models"]
    mine = {folder: sums_in(run_dir / folder).get("model.safetensors") for folder in models[0]}
    if not any(mine.values()):
        raise InputError(f"{run_dir}: none of {', '.join(mine)} is here; run `make demo` first")

    documented = models.get(seed, {})
    for folder, sha256 in mine.items():
        said = "as in the docs" if sha256 == documented.get(folder) else "another than in the docs"
        if folder not in documented:
            said = f"no hash of it for seed {seed} in the docs"
        print(f"{folder}: sha256 {(sha256 or 'absent')[:16]}, {said}")
    if not documented:
        print(f"the docs have seeds {', '.join(map(str, models))}")
    elif all(mine[folder] == sha256 for folder, sha256 in documented.items()):
        print("the same as in the docs: yes, to the last bit")
    else:
        since = reasons(run_dir, table["made_with"]) or [
            "nothing that is known: the code has changed, or it is news"
        ]
        print(f"the same as in the docs: no, since {'; '.join(since)}")


if __name__ == "__main__":
    run_script(main)
