"""The sampled answers of a run, a packed block a step: what the page unpacks when a step is opened.

- beside the blocks stand the numbers by which all answers are filtered at once: reward, advantage, length, flags
- a token's log-probability is kept to about a tenth; the exact numbers are in the run's own files
- where a step takes more than its share of the page, whole groups are left out, evenly over the step, and counted

Left out: prompts (the questions are there), and token ids: the response is cut at its tokens by their lengths.
"""

import base64
import codecs
import functools
import gzip
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from fleming.files import read_jsonl
from fleming.report.reading import Reader
from model.files import read_object

BUDGET = 12_000_000  # bytes of all blocks, as the page has them
SURPRISE, MOST = 16, 78  # steps of the root of a token's -log p, and how many are told apart
RIGHT, WELL_FORMED, CUT, SILENT = 1, 2, 4, 8  # flags of an answer
COLUMNS = {"reward": "<f8", "advantage": "<f8", "tokens": "<u2", "flags": "<u1"}
FOLDERS = ("sft/model", "base/model", "grpo/stage1/model", "grpo/stage2/model")


@dataclass
class Step:
    """What the page has of one step."""

    stage: int
    groups: list[list[Any]]
    """[number of the group, question id, answers] of each that is shown, in the order of the columns' rows."""
    columns: dict[str, bytes]
    block: str
    all_groups: int
    all_rollouts: int


@functools.lru_cache(4096)
def packed(text: str) -> str:
    """Return JSON as a block of the page has it; what is asked for again is not packed again."""
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def vocabulary(reader: Reader, model: str) -> dict[int, bytes]:
    """Return token id -> its bytes, from the first byte-level tokenizer of the run's models; none without one."""
    found = (
        reader.once(f"{folder}/tokenizer.json", _token_bytes, {})
        for folder in (*FOLDERS, os.path.abspath(model))
    )
    return next(filter(None, found), {})


def _token_bytes(path: Path) -> dict[int, bytes]:
    tokenizer = read_object(path)
    if "ByteLevel" not in json.dumps(tokenizer["decoder"]):
        return {}
    # GPT-2's letters for bytes: the printable ones of Latin-1 stand for themselves, the others from U+0100 on.
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}
    vocabulary = tokenizer["model"]["vocab"].items()
    found = {i: bytes(map(letters.get, text)) for text, i in vocabulary if letters.keys() >= set(text)}
    return found | {token["id"]: token["content"].encode() for token in tokenizer["added_tokens"]}


def read_step(path: Path, tokens: Mapping[int, bytes], share: int) -> Step:
    """Return a step's file as the page has it, its block in `share` bytes where one group does not take more."""
    groups: dict[int, list[dict]] = {}
    for _, record in read_jsonl(path):
        groups.setdefault(record["group"], []).append(record)
    whole, every = list(groups.values()), 1.0
    chosen, block = whole, ""
    while not block or (len(block) > share and len(chosen) > 1):
        every *= max(1, 1.05 * len(block) / share)
        chosen = [whole[int(i * every)] for i in range(max(1, int(len(whole) / every)))]
        block = packed(json.dumps([[_sample(record, tokens) for record in group] for group in chosen]))
    rows = numpy.array([_row(record) for group in chosen for record in group], list(COLUMNS.items()))
    return Step(
        stage=int(whole[0][0]["stage"]),
        groups=[[group[0]["group"], str(group[0]["question_id"]), len(group)] for group in chosen],
        columns={name: rows[name].tobytes() for name in COLUMNS},
        block=block,
        all_groups=len(whole),
        all_rollouts=sum(map(len, whole)),
    )


def _row(record: Mapping[str, Any]) -> tuple[float, float, int, int]:
    """Return the numbers of COLUMNS."""
    reward = record["reward"]
    flags = RIGHT * (reward.get("correct", 0) > 0.5) | WELL_FORMED * (reward.get("format", 0) > 0.5)
    flags |= CUT * (record["finish_reason"] == "length") | SILENT * (record["answer"] is None)
    return float(reward["total"]), float(record["advantage"]), min(len(record["token_ids"]), 65535), flags


def _sample(record: Mapping[str, Any], tokens: Mapping[int, bytes]) -> list[Any]:
    """Return [sample, answer, response, lengths, surprises, reward, entropy a token, order]."""
    surprise = numpy.sqrt(numpy.maximum(0, -numpy.array(list(map(float, record["logprobs"])))))
    levels = numpy.minimum(numpy.rint(SURPRISE * surprise), MOST).astype(numpy.uint8) + ord("0")
    lengths = "".join(chr(ord("0") + length) for length in _lengths(record, tokens))
    reward = {name: round(float(value), 4) for name, value in record["reward"].items()}
    entropy = record.get("entropy")  # an old record has none
    per_token = None if entropy is None else round(entropy / max(1, len(record["token_ids"])), 4)
    said = [record["sample"], record["answer"], record["response"]]
    return [*said, lengths, levels.tobytes().decode("ascii"), reward, per_token, record.get("order")]


def _lengths(record: Mapping[str, Any], tokens: Mapping[int, bytes]) -> Sequence[int]:
    """Return how many characters of the response each token writes; none where they do not add up to it."""
    pieces = [tokens.get(token) for token in record["token_ids"]]
    if None in pieces or len(pieces) != len(record["logprobs"]):
        return []
    if record["finish_reason"] != "length":  # the stop id writes nothing
        pieces[-1:] = [b""]
    # A character belongs to the token that ends it.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    shown = [decoder.decode(piece) for piece in pieces]
    return list(map(len, shown)) if "".join(shown) == record["response"] else []
