"""Ask a teacher for answers, killed by kill -9 a few times and then not; write what it has said.

    python teacher_worker.py OUT KILLS SECONDS CONVERSATIONS key.path=value ...

One process imports torch and forks a child a run, since importing takes longer than asking. Prints how many children
were killed before they had ended.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import fleming.teachers.asking
from fleming.config import load_config
from fleming.settings import Config
from fleming.teachers.load import load_teacher


def ask(out: Path, count: int, settings: list[str]) -> None:
    fleming.teachers.asking.FIRST_WAIT = 0.01
    teacher = load_teacher(load_config(Config, None, settings))
    conversations = [[{"role": "user", "content": f"question {i:04}"}] for i in range(count)]
    answers = teacher.complete_all(conversations, 2)
    out.write_text(json.dumps(answers))


def main(out: str, kills: str, seconds: str, count: str, *settings: str) -> None:
    rng, killed = random.Random(0), 0
    for run in range(int(kills) + 1):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                ask(Path(out), int(count), list(settings))
                status = 0
            finally:
                os._exit(status)
        if run < int(kills):
            time.sleep(rng.uniform(0.0, float(seconds)))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
    print(killed, os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(*sys.argv[1:])
