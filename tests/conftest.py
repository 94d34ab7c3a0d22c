"""Shared fixtures: pairs of tiny models, the real data beside us, and small runs.

FLEMING_ORDER=SEED shuffles files, and tests within a file, so that none can rely on what another has left behind.
"""

import gc
import os
import random
import signal
import tempfile
from pathlib import Path

from fleming.command_line import SAME_KERNELS, SPIN

# Before torch is loaded, here and in what is started here: two processes of tests with two threads each would spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault(*SPIN)
os.environ |= SAME_KERNELS  # as the demo: its figures and hashes are the same on any machine
# What the compiler has kept of other kernels gives numbers that are none.
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/fleming_compiled_avx2")

import pytest
from support.jsonl import read_lines
from support.models import TINY, hf_model, ours
from support.places import SHARED


def pytest_collection_modifyitems(items):
    """Shuffle where FLEMING_ORDER asks for it; a file's tests stay together, as its fixtures are dear."""
    if seed := os.environ.get("FLEMING_ORDER"):
        rng = random.Random(seed)
        files = sorted({item.path for item in items})
        rng.shuffle(files)
        items.sort(key=lambda item: item.nodeid)
        rng.shuffle(items)
        items.sort(key=lambda item: files.index(item.path))


def pytest_collection_finish():
    """What all the imports have made stays: looking through it at each collection is a part of what tests take."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=sorted(TINY))
def pair(request):
    """(ours, transformers') with the same weights, for each architecture."""
    hf = hf_model(request.param)
    return ours(hf), hf


@pytest.fixture
def shared() -> Path:
    """The folder of real data; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the real data in ../shared")
    return SHARED


@pytest.fixture
def signals_heard():
    """SIGINT and SIGHUP are heard, here and in what is started meanwhile, also where nohup or a shell's & had both
    ignored: whoever is started with a signal ignored hands that on.

    SIGHUP does nothing here, so that tests under nohup outlive their terminal; a Python handler is not inherited.
    """
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: lambda *_: None}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory) -> Path:
    """Data and a base model for both scripts, and a reward that random answers earn: what they have of the letter e."""
    from support import runs

    import synth_data

    folder = tmp_path_factory.mktemp("inputs")
    assert runs.run_here(synth_data, runs.arguments(folder, folder)) == (0, [])
    questions = read_lines(folder / "data/rl.jsonl")
    (folder / "questions.jsonl").write_text("".join(f"{line}\n" for line in questions[::7]))
    (folder / "letters.py").write_text(
        "def many_e(response, finished, question, cfg):\n"
        "    count = response.count('e')\n"
        "    return {'correct': float(count > 16), 'format': 0.0, 'total': float(count)}\n"
    )
    return folder


@pytest.fixture
def in_process(inputs, monkeypatch):
    """Run a script in this process with the data and the reward of `inputs`."""
    from support import runs

    monkeypatch.syspath_prepend(str(inputs))
    return lambda module, run_dir, *settings: runs.run_here(
        module, runs.arguments(inputs, run_dir, *settings)
    )
