"""fleming/files.py: strict JSON Lines, whole files or none, logs that are cut back, one run a folder."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleming.files import (
    MAX_BYTES,
    AppendLog,
    read_json,
    read_jsonl,
    run_lock,
    sha256_file,
    write_atomic,
    write_jsonl,
)
from model.errors import InputError
from model.files import replace_folder

REPOSITORY = Path(__file__).resolve().parents[2]


def script(text: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", text, *map(str, arguments)]


def everything_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


# Reading


def test_records_come_with_file_and_line_and_blank_lines_are_skipped(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n   \n{"b": "x"}')
    assert list(read_jsonl(path)) == [(f"{path}:1", {"a": 1}), (f"{path}:4", {"b": "x"})]


def test_only_a_line_feed_ends_a_record(tmp_path):
    path = tmp_path / "a.jsonl"
    text = "one\u2028two\u2029three\x85four\x0bfive"
    path.write_text(
        json.dumps({"a": text}, ensure_ascii=False).replace("\\u000b", "\\u000b") + "\n", encoding="utf-8"
    )
    assert [r for _, r in read_jsonl(path)] == [{"a": text}]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"a": 1', "column 8"),
        (b'{"a": 1} {"b": 2}', "Extra data"),
        (b"[1, 2]", "expected a JSON object, found list"),
        (b"null", "found NoneType"),
        (b'{"a": NaN}', "nan is not"),
        (b'{"a": [-Infinity]}', "-Infinity is not"),
        (b'{"a": 1e999}', "1e999 is not"),
        (b'{"a": 1, "b": 2, "a": 3}', "'a' twice"),
        (b'{"x": {"a": 1, "a": 1}}', "'a' twice"),
        (b'{"a": "\xff"}', "0xff"),
        (b'{"a": "\\ud83d"}', "surrogates"),
        (b'{"a": "\t"}', "control character"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not strict JSON"),
        (b"[" * 100_000, "not strict JSON"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8 text but UTF-16"),
    ],
)
def test_a_bad_line_is_refused_naming_file_and_line(tmp_path, line, says):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"fine": true}\n\n' + line + b'\n{"fine": true}\n')
    records = read_jsonl(path)
    assert next(records)[1] == {"fine": True}
    with pytest.raises(InputError) as error:
        next(records)
    assert str(error.value).startswith(f"{path}:3: ")
    assert says.lower() in str(error.value).lower()
    assert "\n" not in str(error.value)


def test_both_halves_of_a_surrogate_pair_are_one_character(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": "\\ud83d\\ude00"}\n')
    assert next(read_jsonl(path))[1] == {"a": "\U0001f600"}


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path):
    path = tmp_path / "a.jsonl"
    with open(path, "wb") as file:
        file.truncate(40 * MAX_BYTES)  # sparse: 2.5 GiB of zeros on no disk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="one record a line"):
        next(read_jsonl(path))
    with pytest.raises(InputError, match="over 64 MiB"):
        read_json(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * MAX_BYTES // 1024


@pytest.mark.parametrize("read", [read_json, sha256_file, lambda path: next(read_jsonl(path))])
def test_a_missing_file_and_a_folder_are_one_clear_line(tmp_path, read):
    with pytest.raises(InputError, match=r"nothing\.jsonl: cannot read: .*No such file"):
        read(tmp_path / "nothing.jsonl")
    with pytest.raises(InputError, match=r"cannot read: .*directory"):
        read(tmp_path)


def test_read_json_is_as_strict_over_several_lines(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{\n "a": [1, 2.5, null]\n}\n')
    assert read_json(path) == {"a": [1, 2.5, None]}
    path.write_text('{\n "a": 1,\n "a": NaN}')
    with pytest.raises(InputError, match="NaN is not a finite number"):
        read_json(path)
    path.write_text('{\n "a": ,}')
    with pytest.raises(InputError, match="line 2 column 7"):
        read_json(path)


# Writing


def test_what_is_written_is_read_back_one_line_a_record_in_the_order_given(tmp_path):
    path = tmp_path / "made" / "a.jsonl"
    records = [{"z": "选项\u2028\n", "a": [1, 0.1, None, True]}, {}, {"b": {"y": 1, "x": "\U0001f600"}}]
    write_jsonl(path, iter(records))
    assert path.read_bytes().count(b"\n") == 3
    assert "选项" in path.read_text(encoding="utf-8")
    assert [json.dumps(r) for _, r in read_jsonl(path)] == [json.dumps(r) for r in records]


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.jsonl"
    write_atomic(path, "old")

    def records():
        yield {"a": 1}
        raise RuntimeError("the teacher went home")

    with pytest.raises(RuntimeError, match="went home"):
        write_jsonl(path, records())
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_jsonl(path, [{"a": float("nan")}])
    assert path.read_text() == "old"
    assert everything_in(tmp_path) == ["a.jsonl"]


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/a: cannot write: "):
        write_atomic(tmp_path / "file" / "a", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder: cannot write: .*directory"):
        write_atomic(tmp_path / "folder", b"x")
    with (
        pytest.raises(InputError, match=r"file: cannot replace: expected a folder"),
        replace_folder(tmp_path / "file"),
    ):
        pass
    assert everything_in(tmp_path) == ["file", "folder"]


def test_a_disk_that_fills_up_is_one_clear_line_and_leaves_the_old_file(tmp_path):
    write_atomic(tmp_path / "a", "old")
    program = """
import resource, sys
from pathlib import Path
from fleming.files import AppendLog, write_atomic
from model.errors import InputError
from model.files import replace_folder
log = AppendLog(Path(sys.argv[1], "log"))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for write in (lambda: write_atomic(Path(sys.argv[1], "a"), b"x" * 5000), lambda: log.append({"a": "x" * 5000})):
    try:
        write()
    except InputError as error:
        print(error)
log.close()
"""
    done = subprocess.run(script(program, tmp_path), cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{tmp_path}/a: cannot write: ")
    assert lines[1].startswith(f"{tmp_path}/log: cannot append: ")
    assert (tmp_path / "a").read_text() == "old"
    assert everything_in(tmp_path) == ["a", "log"]


def test_a_reader_sees_the_old_file_or_the_new_one_however_the_writer_is_killed(tmp_path):
    path = tmp_path / "a"
    program = """
import itertools, sys
from fleming.files import write_atomic
for i in itertools.count():
    write_atomic(sys.argv[1], bytes([97 + i % 26]) * 200_000)
    if i == 0: print("go", flush=True)
"""
    for _ in range(2):
        with subprocess.Popen(script(program, path), cwd=REPOSITORY, stdout=subprocess.PIPE) as writer:
            writer.stdout.readline()
            for _ in range(50):
                data = path.read_bytes()
                assert len(data) == 200_000
                assert len(set(data)) == 1
            writer.kill()
    write_atomic(path, "new")
    assert everything_in(tmp_path) == ["a"]  # what the killed left is gone with the next write


def test_sha256_is_the_standard_one(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_folder_is_replaced_whole(tmp_path):
    folder = tmp_path / "deep" / "model"
    for text in ("one", "two"):
        with replace_folder(folder) as new:
            assert everything_in(new) == []
            (new / "sub").mkdir()
            (new / "sub" / text).write_text(text)
            assert new.parent == folder.parent
    assert everything_in(tmp_path) == ["deep", "deep/model", "deep/model/sub", "deep/model/sub/two"]


def test_a_folder_stays_as_it_was_where_filling_the_new_one_fails(tmp_path):
    folder = tmp_path / "model"
    with replace_folder(folder) as new:
        (new / "a").write_text("old")

    def fill_and_fail():
        with replace_folder(folder) as new:
            (new / "a").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_and_fail()
    assert (folder / "a").read_text() == "old"
    assert everything_in(tmp_path) == ["model", "model/a"]


def test_what_a_killed_replacement_left_is_mended_by_the_next(tmp_path):
    for left_over in (".model.old", ".model.tmp"):  # killed between the two renames
        (tmp_path / left_over).mkdir()
        (tmp_path / left_over / "a").write_text(left_over)
    with pytest.raises(RuntimeError), replace_folder(tmp_path / "model"):
        raise RuntimeError
    assert (tmp_path / "model" / "a").read_text() == ".model.old"
    assert everything_in(tmp_path) == ["model", "model/a"]


# Logs


def test_a_log_cut_back_and_gone_on_with_equals_one_never_interrupted(tmp_path):
    whole, cut = AppendLog(tmp_path / "whole"), AppendLog(tmp_path / "cut")
    for i in range(10):
        whole.append({"i": i, "text": "选" * i})
    for i in range(4):
        cut.append({"i": i, "text": "选" * i})
    kept = cut.sync()
    assert kept == cut.offset == (tmp_path / "cut").stat().st_size
    cut.append({"i": "never", "text": "seen"})
    with open(tmp_path / "cut", "ab") as file:
        file.write(b'{"torn')
    cut.close()
    again = AppendLog(tmp_path / "cut", keep_bytes=kept)
    for i in range(4, 10):
        again.append({"i": i, "text": "选" * i})
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()
    assert again.offset == whole.offset
    again.close()
    AppendLog(tmp_path / "cut", keep_bytes=0).close()
    assert (tmp_path / "cut").read_bytes() == b""


def test_an_opened_log_loses_a_torn_last_line_and_only_that(tmp_path):
    for before, after in [
        (b'{"a": 1}\n{"b', b'{"a": 1}\n'),
        (b'{"a": 1}\n', b'{"a": 1}\n'),
        (b"torn", b""),
        (b'{"a": 1}\n' + b"x" * 200_000, b'{"a": 1}\n'),
    ]:
        (tmp_path / "log").write_bytes(before)
        log = AppendLog(tmp_path / "log")
        assert log.offset == len(after)
        log.append({"c": 2})
        log.close()
        assert (tmp_path / "log").read_bytes() == after + b'{"c": 2}\n'


@pytest.mark.parametrize("content", [b"", b'{"a": 1}\n'])
def test_a_log_that_was_shortened_is_refused_and_left_alone(tmp_path, content):
    (tmp_path / "log").write_bytes(content)
    with pytest.raises(InputError, match=f"{11 - len(content)} bytes are missing"):
        AppendLog(tmp_path / "log", keep_bytes=11)
    assert (tmp_path / "log").read_bytes() == content


def test_a_record_appended_can_be_read_at_once_by_others(tmp_path):
    log = AppendLog(tmp_path / "log")
    log.append({"a": 1})
    assert [r for _, r in read_jsonl(tmp_path / "log")] == [{"a": 1}]
    log.close()


# The lock

HOLDER = """
import subprocess, sys, time
from fleming.files import run_lock
with run_lock(sys.argv[1], "train_grpo.py"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    print(child.pid, flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_who_holds_the_folder_until_that_one_is_killed(tmp_path):
    with subprocess.Popen(script(HOLDER, tmp_path / "run"), cwd=REPOSITORY, stdout=subprocess.PIPE) as holder:
        child = int(holder.stdout.readline())
        try:
            says = rf"in use by process {holder.pid}, train_grpo\.py, on .* since 20"
            with pytest.raises(InputError, match=says), run_lock(tmp_path / "run", "second.py"):
                pass
            holder.kill()
            holder.wait()
            with run_lock(tmp_path / "run", "third.py"):  # although the holder's child lives on
                assert f"process {os.getpid()}, third.py" in (tmp_path / "run" / ".lock").read_text()
        finally:
            holder.kill()
            os.kill(child, signal.SIGKILL)


def test_the_lock_is_free_again_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), run_lock(tmp_path, "a"):
        raise RuntimeError
    with (
        run_lock(tmp_path, "a"),
        pytest.raises(InputError, match=f"process {os.getpid()}"),
        run_lock(tmp_path, "b"),
    ):
        pass
