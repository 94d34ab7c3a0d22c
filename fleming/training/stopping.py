"""A loop that may be stopped at any step: the folder's lock on every rank, and signals as a request to save and leave.

Left out: what is saved (run.py).
"""

import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from fleming.files import run_lock
from fleming.settings import Config
from fleming.terminal import tell
from fleming.training.parallel import World


class StopRequest:
    """Set by SIGTERM, SIGINT or SIGHUP: the loop finishes its step, saves and leaves. A second signal ends at once."""

    def __init__(self, world: World):
        self.signal: int | None = None
        self.world = world

    def __bool__(self) -> bool:
        return self.signal is not None

    def exit(self) -> NoReturn:
        """Leave with the shell's status for the signal (143, 130 or 129), so that a Makefile stops too."""
        if self.world.is_main:
            print("\nstopped as asked, saved; the same command goes on from here", file=sys.stderr)
        sys.exit(128 + (self.signal or signal.SIGTERM))  # or only another rank was asked


@contextlib.contextmanager
def lock_run(cfg: Config, world: World, script: str) -> Iterator[StopRequest]:
    """Lock the run's folder on every rank, and turn signals into a StopRequest, while a loop runs.

    SIGHUP, of a terminal that was closed, may come twice, and stays ignored where it was: by nohup.
    """
    request = StopRequest(world)

    def handle(number: int, _frame: Any) -> None:
        if request and number != signal.SIGHUP:
            raise KeyboardInterrupt
        request.signal = number
        if world.size == 1:  # torchrun says it itself, and sends this also when another process has died
            tell("\nstopping after this step (again to stop at once)\n")

    def give_back(number: int, before: Any) -> None:
        # The second of a closed terminal may come while the process is leaving.
        hung_up = number == request.signal == signal.SIGHUP
        signal.signal(number, signal.SIG_IGN if hung_up else before)

    with contextlib.ExitStack() as stack:
        with world.agree():
            stack.enter_context(run_lock(cfg.run_dir, script, world.rank))
        nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        for number in (signal.SIGTERM, signal.SIGINT, *[signal.SIGHUP] * (not nohup)):
            stack.callback(give_back, number, signal.signal(number, handle))
        yield request
