"""One index over a run's records: which lines speak of what, so that a trace reads lines and not files.

It is three arrays in RUN/.audit_index.npz, made at the first question and brought up to date where a file has changed;
the records stay where they are, as JSON Lines. Left out: what the lines mean (trace.py).
"""

import hashlib
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fleming.files import parse_line, read_jsonl, step_of
from fleming.html_page import mapping
from fleming.manifest import read_manifest
from fleming.noise import shuffled
from model.errors import InputError
from model.files import write_atomic

Record = dict[str, Any]
Triple = tuple[str, str, str]
"""Head, relation, tail."""
TRIPLES = {"violates", "shares", "proof"}
"""Under these names of a provenance stand edges as [head, relation, tail]."""
FORM = 3
"""Of the index; another version's is made anew."""
OFFSET_BITS = 40
"""Of a place: the byte at which its line begins; above them the number of its file."""


def edge_key(*triple: str) -> str:
    return "edge " + "\0".join(triple)


def edges_in(value: Any, listed: bool = False) -> Iterator[Triple]:
    """Yield each edge that a question's provenance names, wherever in it: {head, relation, tail}, or three texts.

    listed: the value stands under a name of TRIPLES; three texts elsewhere are three names of something.
    """
    if isinstance(value, dict):
        if {"head", "relation", "tail"} <= value.keys():
            yield str(value["head"]), str(value["relation"]), str(value["tail"])
        for name, inner in value.items():
            yield from edges_in(inner, name in TRIPLES)
    elif isinstance(value, list):
        if listed and len(value) == 3 and all(isinstance(part, str) for part in value):
            yield value[0], value[1], value[2]
        for inner in value:
            yield from edges_in(inner, listed)


def keys_of_fact(record: Record) -> Iterable[str]:
    if record.get("kind") == "origin":
        return [f"origin {record.get('number')}"]
    return dict.fromkeys(edge_key(record["head"], fact[0], fact[1]) for fact in record.get("facts", ()))


def keys_of_question(record: Record) -> Iterable[str]:
    edges = {edge_key(*triple) for triple in edges_in(record.get("provenance"))}
    return [f"question {record.get('id')}", *sorted(edges)]


def keys_of_trajectory(record: Record) -> Iterable[str]:
    return f"trajectory {record.get('id')}", f"question {record.get('question_id')}"


def about_question(name: str):
    """Return what gives the key of the question that a record's field names."""
    return lambda record: [f"question {record[name]}"] if name in record else []


GRAPH, LEDGER = "data/graph.jsonl", "grpo/curriculum.jsonl"
KINDS = {
    "edge": (GRAPH, keys_of_fact),
    "question": ("data/questions.jsonl", keys_of_question),
    "trajectory": ("data/cold_start.jsonl", keys_of_trajectory),
    "label_votes": ("data/label_votes.jsonl", about_question("id")),
    "review": ("data/review.jsonl", about_question("id")),
    "mined": (LEDGER, about_question("question")),
    "rollout": ("grpo/rollouts/step_*.jsonl", about_question("question_id")),
    "answer": ("eval/*/answers.jsonl", about_question("id")),
}
"""Kind of record -> the pattern of its files below the run's folder, and the keys of one."""
OWN = {"grpo": ("questions", keys_of_question), "sft": ("trajectories", keys_of_trajectory)}
"""Stage -> the setting of `data` that may name a file of the user's in place of the run's."""


class Index:
    """The lines of a run by what they speak of."""

    def __init__(self, run_dir: Path):
        self.run_dir = run_dir
        self.manifest = read_manifest(run_dir)
        self.keys_in = {
            path.relative_to(run_dir).as_posix(): keys
            for pattern, keys in KINDS.values()
            for path in sorted(run_dir.glob(pattern))
            if step_of(path) or not path.match("rollouts/*")  # a copy that somebody made has another name
        }
        for stage, (setting, keys) in OWN.items():
            config = self.manifest.get(stage, [{}])[-1].get("config", {})
            if own := mapping(config.get("data")).get(setting):
                self.keys_in[own] = keys
        if not self.keys_in:
            raise InputError(f"{run_dir}: nothing to trace here; expected the folder of a run (run_dir)")
        self.names = list(self.keys_in)
        self.hashes, self.places = self._load()

    def _load(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the hashes of keys, in order, and beside each the place of a line; kept for the next time."""
        cache = self.run_dir / ".audit_index.npz"
        stamps = {"": [FORM], **{name: self._stamp(name) for name in self.names}}
        known, hashes, places = read_cache(cache)
        if known == stamps:
            return hashes, places
        known = known if known.get("") == [FORM] else {}
        numbers = {name: number for number, name in enumerate(name for name in known if name)}
        parts = []
        for number, name in enumerate(tqdm(self.names, "index", unit="file", leave=False, delay=1)):
            if name in known and known[name] == stamps[name]:
                mine = places >> OFFSET_BITS == numbers[name]
                parts.append((hashes[mine], places[mine] & ((1 << OFFSET_BITS) - 1) | number << OFFSET_BITS))
            else:
                parts.append(self._read(name, number))
        hashes, places = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        order = np.lexsort((places, hashes))
        hashes, places = hashes[order], places[order]
        listed = np.frombuffer(json.dumps(stamps).encode(), np.uint8)
        try:
            arrays = io.BytesIO()
            np.savez(arrays, files=listed, hashes=hashes, places=places)
            write_atomic(cache, arrays.getvalue())
        except InputError as error:
            print(f"the index is not kept: {error}")
        return hashes, places

    def path(self, name: str) -> Path:
        return self.run_dir / name  # an absolute path stays what it is

    def _stamp(self, name: str) -> list[int]:
        stat = self.path(name).stat()
        # No archive can set this time: an index that came with the run is not believed.
        return [stat.st_size, stat.st_ctime_ns]

    def _read(self, name: str, number: int) -> tuple[np.ndarray, np.ndarray]:
        hashes, places, offset = [], [], 0
        with open(self.path(name), "rb") as file:
            for i, line in enumerate(file, start=1):
                if not line.endswith(b"\n") and name == LEDGER:
                    break  # half of a line, of a run that was killed or writes it now
                if line.strip():
                    found = [hash_of(key) for key in self._keys(name, line, f"{name}:{i}")]
                    hashes += found
                    places += [number << OFFSET_BITS | offset] * len(found)
                offset += len(line)
        return np.array(hashes, np.uint64), np.array(places, np.int64)

    def _keys(self, name: str, line: bytes, where: str) -> list[str]:
        record = parse_line(line, where)
        try:
            return list(self.keys_in[name](record))
        except (KeyError, TypeError, IndexError) as error:
            raise InputError(
                f"{where}: no record of {name} as docs/file-formats.md has it ({error!r})"
            ) from error

    @cached_property
    def sft_steps(self) -> dict[str, list[int]] | None:
        """Trajectory -> the steps of the cold start that learned from it, by the seed; None: not recorded."""
        starts, order = self.manifest.get("sft"), self.run_dir / "sft/learned.jsonl"
        if not starts or not order.exists():
            return None
        ids = [record["id"] for _, record in read_jsonl(order)]
        cfg = starts[-1]["config"]
        per_step = cfg["sft"]["sequences_per_step"]
        places = math.ceil(cfg["sft"]["epochs"] * len(ids) / per_step) * per_step
        steps: dict[str, list[int]] = {}
        for place in range(places):
            steps.setdefault(shuffled(ids, place, cfg["seed"], "sft epoch"), []).append(place // per_step + 1)
        return steps

    def places_of(self, key: str) -> list[tuple[str, int]]:
        """Return the lines that may speak of a key, each by its file (below the run's folder, or a path of the user's)
        and first byte; one of another key in one of 10^13 cases, as hashes are short."""
        wanted = np.uint64(hash_of(key))
        low, high = np.searchsorted(self.hashes, wanted), np.searchsorted(self.hashes, wanted, "right")
        places = np.unique(self.places[low:high]).tolist()
        return [(self.names[place >> OFFSET_BITS], place & ((1 << OFFSET_BITS) - 1)) for place in places]

    def fact_named(self, name: str) -> Triple | None:
        """Return the fact in the records that "HEAD | RELATION | TAIL" means. Raises InputError where it may mean
        several, since a name may have bars."""
        parts, facts = name.removeprefix("edge:").split("|"), []
        for i, j in combinations(range(1, len(parts)), 2):
            head, relation, tail = ("|".join(part).strip() for part in (parts[:i], parts[i:j], parts[j:]))
            facts.append((head, relation, tail))
        found = [triple for triple in facts if self.places_of(edge_key(*triple))]
        if len(found) > 1:
            raise InputError(f"{self.run_dir}: {name!r} may be any of {found}, as their names have bars")
        return found[0] if found else None

    def records(self, key: str, kind: str) -> list[tuple[str, Record]]:
        """Return (file, record) of the lines of a kind that speak of a key, the user's own files among them."""
        return list(self.records_of([key], kind))

    def records_of(self, keys: Sequence[str], kind: str) -> Iterator[tuple[str, Record]]:
        """Yield the same of the lines that speak of any of the keys, each line once."""
        (_, keys_of), wanted = KINDS[kind], set(keys)
        for name, offset in dict.fromkeys(place for key in keys for place in self.places_of(key)):
            if self.keys_in[name] is keys_of:
                with open(self.path(name), "rb") as file:
                    file.seek(offset)
                    record = parse_line(file.readline(), f"{name}, byte {offset}")
                if not wanted.isdisjoint(keys_of(record)):
                    yield name, record


def hash_of(key: str) -> int:
    """Return 64 bits of a key."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def read_cache(path: Path) -> tuple[Mapping[str, list[int]], np.ndarray, np.ndarray]:
    """Return file -> its size and time, and the arrays; nothing where there is no index, or what is no index."""
    nothing: tuple[dict, np.ndarray, np.ndarray] = {}, np.array([], np.uint64), np.array([], np.int64)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            files = json.loads(arrays["files"].tobytes())
            hashes, places = arrays["hashes"], arrays["places"]
    except (OSError, ValueError, KeyError, EOFError):
        return nothing
    fits = hashes.dtype == np.uint64 and places.dtype == np.int64 and hashes.shape == places.shape
    return (files, hashes, places) if fits and isinstance(files, dict) else nothing
