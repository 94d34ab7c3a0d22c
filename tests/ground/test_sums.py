"""model/sums.py: the hash beside what is written, whatever is done to the file, and at whatever moment it ends."""

import contextlib
import hashlib
import itertools
import os
import random
import subprocess

import pytest

from fleming.files import (
    AppendLog,
    check_unlocked,
    check_writable,
    read_json,
    read_jsonl,
    run_lock,
    write_json,
    write_jsonl,
)
from model import sums
from model.errors import InputError
from model.sums import check_sums, remove, sha256_file, sums_of, write_hashed, write_sums

RECORDS = [{"id": i, "text": "选项 " * i, "share": 0.1 * i, "none": None} for i in range(40)]


def flipped(data: bytes, rng: random.Random) -> bytes:
    """One bit is another, or a page (or what there is of one) is zero."""
    if rng.random() < 0.3:
        start = rng.randrange(0, len(data), 4096)
        page = bytes(min(4096, len(data) - start))
        return data[:start] + page + data[start + len(page) :]
    place, bit = rng.randrange(len(data)), rng.randrange(8)
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


def test_the_hash_beside_a_file_is_what_sha256sum_says_and_checks(tmp_path):
    path = tmp_path / "a.jsonl"
    write_jsonl(path, RECORDS, hashed=True)
    known = hashlib.sha256(path.read_bytes()).hexdigest()
    assert sums_of(path).read_text() == f"{known}  a.jsonl\n"
    assert sha256_file(path) == known
    assert [record for _, record in read_jsonl(path)] == RECORDS
    subprocess.run(["sha256sum", "--check", "a.jsonl.sha256"], cwd=tmp_path, check=True, capture_output=True)


@pytest.mark.parametrize("seed", range(30))
def test_a_flipped_bit_or_a_zeroed_page_names_the_file_before_a_record_is_believed(tmp_path, seed):
    rng, path = random.Random(seed), tmp_path / "a.jsonl"
    write_jsonl(path, RECORDS, hashed=True)
    whole = path.read_bytes()
    path.write_bytes(flipped(whole, rng))
    with pytest.raises(InputError, match=r"a\.jsonl: damaged: .*delete .*a\.jsonl\.sha256"):
        next(read_jsonl(path))
    path.write_bytes(whole)
    assert len(list(read_jsonl(path))) == len(RECORDS)
    beside = sums_of(path)
    beside.write_bytes(flipped(beside.read_bytes(), rng))
    try:
        list(read_jsonl(path))
    except InputError:
        return
    # Only the name in it may have changed, or nothing that counts.
    assert beside.read_text(errors="replace").startswith(hashlib.sha256(whole).hexdigest())


def test_a_number_that_is_another_now_is_found_although_it_is_json(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, {"accuracy": 0.25})
    assert read_json(path) == {"accuracy": 0.25}
    path.write_bytes(path.read_bytes().replace(b"0.25", b"0.75"))
    with pytest.raises(InputError, match=r"results\.json: damaged"):
        read_json(path)


def test_a_file_without_a_hash_is_read_as_it_is_and_a_hash_that_is_none_is_refused(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"a": 1}\n')
    assert [record for _, record in read_jsonl(path)] == [{"a": 1}]
    for text in ("", "not a hash\n", f"{'0' * 63}  mine.jsonl\n"):
        sums_of(path).write_text(text)
        with pytest.raises(InputError, match="expected lines of sha256sum"):
            list(read_jsonl(path))


def test_a_list_of_hashes_with_any_byte_changed_is_read_otherwise_or_refused(tmp_path):
    """But for the * that sha256sum may write before a name, and means nothing by."""
    path = tmp_path / sums.SUMS
    write_sums(tmp_path, {"a.json": "0" * 64, "b.safetensors": "f" * 64})
    data, read = path.read_bytes(), sums.read_sums(path)
    for at, other in itertools.product(range(len(data)), [*range(33), 97, 127, 133, 255]):
        path.write_bytes(data[:at] + bytes([other]) + data[at + 1 :])
        with contextlib.suppress(InputError):
            assert sums.read_sums(path) != read or path.read_bytes() == data, (at, other)


def test_killed_at_any_write_the_old_file_or_the_new_one_can_be_read(tmp_path, monkeypatch):
    """Every call that changes the disk is, in turn, the last that happens."""

    class Killed(BaseException):
        pass

    def until(call: int, write) -> bool:
        count = 0

        def dying(real):
            def act(*arguments, **named):
                nonlocal count
                count += 1
                if count > call:
                    raise Killed
                return real(*arguments, **named)

            return act

        with monkeypatch.context() as patch:
            for name in ("replace", "fsync"):
                patch.setattr(os, name, dying(getattr(os, name)))
            try:
                write()
            except Killed:
                return False
        return True

    for begin in ("nothing", "hashed", "without a hash"):
        for call in range(40):
            path = tmp_path / f"{begin}{call}.json"
            if begin == "hashed":
                write_json(path, {"old": True})
            elif begin == "without a hash":
                path.write_text('{"old": true}')
            done = until(call, lambda path=path: write_json(path, {"new": True}))
            there = read_json(path) if path.exists() else None
            assert there in (
                [{"new": True}] if done else [{"new": True}, {"old": True} if begin != "nothing" else None]
            )
            write_json(path, {"new": True})  # the same command again
            assert read_json(path) == {"new": True}
            assert sums_of(path).read_text().count("\n") == 1
            if done:
                break
        assert done
        assert call >= 5


def test_a_folder_is_checked_by_its_list(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    check_sums(tmp_path)  # without a list nothing is known
    write_sums(tmp_path, {name: hashlib.sha256(name.encode()).hexdigest() for name in ("a", "b")})
    check_sums(tmp_path)
    (tmp_path / "b").write_text("c")
    with pytest.raises(InputError, match="b: damaged: "):
        check_sums(tmp_path)
    (tmp_path / "b").unlink()
    with pytest.raises(InputError, match="b: cannot read"):
        check_sums(tmp_path)


@pytest.mark.parametrize("seed", range(30))
def test_a_log_without_a_checkpoint_has_a_hash_in_each_line(tmp_path, seed):
    rng, path = random.Random(seed), tmp_path / "votes.jsonl"
    log = AppendLog(path, hash_lines=True)
    for record in RECORDS:
        log.append(record)
    log.close()
    assert [record for _, record in read_jsonl(path)] == RECORDS
    lines = path.read_bytes().split(b"\n")
    place = rng.randrange(len(RECORDS))
    line = lines[place]
    while lines[place] == line or b"\n" in lines[place]:  # a line more or less is another matter
        lines[place] = flipped(line, rng)
    path.write_bytes(b"\n".join(lines))
    told = []
    known = [record for _, record in read_jsonl(path, fault=lambda where, *_: told.append(where))]
    assert len(known) + len(told) == len(RECORDS)
    if told:
        assert told == [f"{path}:{place + 1}"]
    else:  # the hash's own name is another now: a field that no typed record has
        assert [set(record) - set(RECORDS[0]) for record in known if record not in RECORDS] != [set()]


def test_a_file_that_grows_has_no_hash_beside_it_any_more(tmp_path):
    path = tmp_path / "pages.jsonl"
    write_jsonl(path, [{"a": 1}], hashed=True)
    log = AppendLog(path, hash_lines=True)
    log.append({"b": 2})
    log.close()
    assert [record for _, record in read_jsonl(path)] == [{"a": 1}, {"b": 2}]
    write_jsonl(path, [{"a": 1}], hashed=True)
    path.write_bytes(path.read_bytes().replace(b"1", b"2"))
    with pytest.raises(InputError, match="damaged"):
        AppendLog(path, hash_lines=True)


def test_what_is_deleted_takes_its_hash_along(tmp_path):
    write_hashed(tmp_path / "a", "text")
    remove(tmp_path / "a")
    remove(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_not_read_a_second_time(tmp_path, monkeypatch):
    monkeypatch.setattr(sums, "digest", lambda path: pytest.fail("read again"))
    write_hashed(tmp_path / "a", (b"x" * 1000 for _ in range(10)))
    write_hashed(tmp_path / "a", (b"y" * 1000 for _ in range(10)))
    assert hashlib.sha256(b"y" * 10000).hexdigest() in sums_of(tmp_path / "a").read_text()


def test_whether_a_run_could_write_is_known_without_writing(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/sft").write_text("a file")
    with pytest.raises(InputError, match=r"sft is a file; expected a folder"):
        check_writable([tmp_path / "run/sft/metrics.jsonl"])
    check_writable([tmp_path / "run/grpo/metrics.jsonl", tmp_path / "other/grpo"])
    assert [p.name for p in tmp_path.rglob("*")] == ["run", "sft"]


def test_whether_a_run_holds_the_folder_is_known_without_taking_it(tmp_path):
    check_unlocked(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with (
        run_lock(tmp_path / "run", "train_sft.py"),
        pytest.raises(InputError, match=rf"in use by process {os.getpid()}"),
    ):
        check_unlocked(tmp_path / "run")
    check_unlocked(tmp_path / "run")
