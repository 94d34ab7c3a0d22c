"""Bounds in the right unit (bytes, values, work), and names that lead out of a run's folder."""

import gzip
import lzma
import os
import resource
import subprocess
import sys
import time
import unicodedata

import pytest
from support.places import ROOT

from fleming.files import read_jsonl, run_lock, write_atomic
from fleming.public.tables import read_rows
from fleming.text import fold, name_key, reserved, words
from model.errors import InputError
from model.files import MAX_VALUES, parse_json


def zeros(path, opener, block: bytes, blocks: int):
    with opener(path, "wb") as file:
        for _ in range(blocks):
            file.write(block)
    return path


@pytest.mark.parametrize("read", [read_jsonl, read_rows])
@pytest.mark.parametrize(("name", "opener"), [("bomb.jsonl.gz", gzip.open), ("bomb.jsonl.xz", lzma.open)])
@pytest.mark.parametrize("block", [b" " * 2**20, b"\n" * 2**20])
def test_a_small_file_that_unpacks_to_a_gigabyte_is_refused(monkeypatch, tmp_path, read, name, opener, block):
    monkeypatch.setattr("model.files.MAX_BYTES", 4 << 20)  # or a million lines of nothing take their seconds
    path = zeros(tmp_path / name, opener, block, 8)
    with pytest.raises(InputError, match=r"bomb\.jsonl.*(unpacks to over|over 64 MiB)"):
        list(read(path))


def test_a_line_of_blanks_is_no_blank_line_for_ever(tmp_path):
    path = zeros(tmp_path / "blanks.jsonl", open, b" " * 2**20, 65)
    with pytest.raises(InputError, match=r"blanks\.jsonl:1: one JSON value of over 64 MiB"):
        list(read_jsonl(path))


def test_what_compresses_well_is_read_whole(tmp_path):
    line = b'{"question": "the same again", "n": 1}\n'
    path = zeros(tmp_path / "same.jsonl.gz", gzip.open, line * 1000, 100)
    assert path.stat().st_size * 60 < len(line) * 100_000  # far above what text comes to
    assert sum(1 for _ in read_jsonl(path)) == 100_000


def test_a_line_of_empty_lists_takes_no_gigabyte(tmp_path):
    path = tmp_path / "lists.jsonl"
    path.write_bytes(b'{"a": [' + b"[]," * 13_000_000 + b"[]]}")
    program = f"from fleming.files import read_jsonl; list(read_jsonl({str(path)!r}))"

    def limit():
        resource.setrlimit(resource.RLIMIT_DATA, (400 << 20, 400 << 20))

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, preexec_fn=limit
    )
    assert f"lists.jsonl:1: one JSON value of over {MAX_VALUES:,} values" in done.stderr


@pytest.mark.parametrize("item", [b"[]", b"{}", b"1"])
def test_as_many_values_as_may_be_are_read_and_one_more_is_not(monkeypatch, item):
    monkeypatch.setattr("model.files.MAX_VALUES", 1000)
    per_item = 1 + (item != b"1")  # its comma, and what it opens
    most = 1000 // per_item - 1
    assert len(parse_json(b"[" + b",".join([item] * most) + b"]", "x")) == most
    with pytest.raises(InputError, match="x: one JSON value of over 1,000 values"):
        parse_json(b"[" + b",".join([item] * (most + 3)) + b"]", "x")


FORMAT = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) == "Cf"]


@pytest.mark.parametrize("between", ["", *FORMAT[:6], "\u200d", "\ufeff", "\U000e0041"])
def test_folding_is_linear_where_format_characters_part_a_run_of_marks(between):
    """Normalising sorts a run of marks by their class, in the square of its length."""

    def seconds(count: int) -> float:
        text = "a" + ("\u0301" * 14 + "\u0323" * 14 + between) * (count // 28)
        before = time.process_time()
        fold(text), name_key(text), words(text), reserved(text)
        return time.process_time() - before

    assert seconds(150_000) < 3  # at the square: 20 s for the first of the four


def test_format_characters_change_nothing_wherever_they_stand():
    for text in ("10⁻²", "Sjögren", "e\u0301\u0323", "x⁻¹ µg", "“a”—b"):
        assert fold("\u200d".join(text)) == fold(text)


@pytest.mark.parametrize("kind", ["link", "dangling"])
def test_a_temporary_name_that_is_a_link_is_not_followed(tmp_path, kind):
    precious = tmp_path / "precious"
    if kind == "link":
        precious.write_text("precious")
    (tmp_path / ".a.json.tmp").symlink_to(precious)
    write_atomic(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "new"
    assert not (tmp_path / "a.json").is_symlink()
    assert (precious.read_text() if kind == "link" else precious.exists()) == (
        "precious" if kind == "link" else False
    )


@pytest.mark.parametrize("kind", ["link", "dangling"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_lock_that_is_a_link_is_refused_and_what_it_points_at_is_left(tmp_path, kind, rank):
    precious, run_dir = tmp_path / "precious", tmp_path / "run"
    run_dir.mkdir()
    if kind == "link":
        precious.write_text("precious")
    os.symlink(precious, run_dir / (f".lock.{rank}" if rank else ".lock"))
    with pytest.raises(InputError, match=r"\.lock.*cannot lock.*symbolic link"), run_lock(run_dir, "x", rank):
        pass
    assert (precious.read_text() if kind == "link" else precious.exists()) == (
        "precious" if kind == "link" else False
    )


WRONG = {
    "array.jsonl": (b'[{"a": 1}]', "array.jsonl: a JSON array; expected JSON Lines"),
    "array_over_lines.jsonl": (b'[\n{"a": 1}\n]\n', "a JSON array; expected JSON Lines"),
    "latin.jsonl": ('{"a": "é"}\n'.encode("latin-1"), "not UTF-8 text but Latin-1 .*0xe9 at 7"),
    "utf16.jsonl": ('{"a": "é"}\n'.encode("utf-16"), "not UTF-8 text but UTF-16"),
    "utf16_no_mark.jsonl": (b'{\0"\0a\0"\0:\x001\0}\0', "not UTF-8 text but UTF-16"),
    "packed.jsonl": (gzip.compress(b'{"a": 1}\n'), r"gzip: name it \.gz"),
    "packed_xz.jsonl": (lzma.compress(b'{"a": 1}\n'), r"xz: name it \.xz"),
    "archive.jsonl": (b"PK\x03\x04" + bytes(30), r"a zip archive \(Excel's too\): unpack it"),
    "columns.jsonl": (b"PAR1" + bytes(30), r"parquet: name it \.parquet"),
    "broken.jsonl": (b'{"a": }\n', "broken.jsonl:1: not strict JSON: Expecting value: column 7"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_json_lines_is_called_what_it_is(tmp_path, name):
    content, says = WRONG[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        list(read_jsonl(tmp_path / name))
