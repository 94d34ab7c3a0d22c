"""Where a step's record goes beside metrics.jsonl: to TensorBoard where installed, and to a function of one's own.

Left out: anything that may stop or change a run. A logger that fails is said to, and the run goes on.
"""

import importlib.util
import numbers
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fleming.config import flat
from fleming.judge import load_function
from fleming.settings import Config

Log = Callable[[dict[str, Any]], object]


def own_logger(stage: str, cfg: Config) -> list[Log]:
    """Return the function that the setting `logger` names, called as function(stage, record). InputError for none."""
    return [partial(load_function(cfg.logger, "logger"), stage)] if cfg.logger else []


def tensorboard(stage: str, cfg: Config, step: int) -> list[Log]:
    """Return a writer of RUN_DIR/tensorboard/STAGE, where one is installed; it forgets what it had after `step`."""
    if not importlib.util.find_spec("tensorboard"):
        return []
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(Path(cfg.run_dir, "tensorboard", stage)), purge_step=step + 1)

    def write(record: dict[str, Any]) -> None:
        for name, value in numbers_in(record).items():
            writer.add_scalar(name, value, record["step"])
        writer.flush()

    return [write]


def numbers_in(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a nested record by names as time/update."""
    found = flat(record, "/").items()
    return {name: float(value) for name, value in found if isinstance(value, numbers.Real)}


def log_to(loggers: list[Log], record: dict[str, Any]) -> None:
    """Give each logger the record."""
    for log in loggers:
        try:
            log(record)
        except Exception as error:  # whatever a function of the user's raises
            print(f"logger failed at step {record['step']}: {error!r}", file=sys.stderr)
