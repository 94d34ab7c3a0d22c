"""fleming/public/tables.py: the same rows from every form of table, and one clear line for all that is none."""

import csv
import datetime
import decimal
import gzip
import io
import json
import lzma
import math
import random
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from fleming.delimited import MAX_LINE
from fleming.public.readers import read_set
from fleming.public.tables import read_rows, table_suffix
from model.errors import InputError

ROWS = [
    {"question": "one\u2028two\u2029three\x85four\x0bfive", "opa": " blanks stay ", "opb": "β-blocker"},
    {"question": 'a "quoted" word, and\na second line', "opa": "选项", "opb": "\U0001f600"},
    {"question": "the last", "opa": None, "opb": "µg\\n"},
]


def lines(rows: list[dict], end: str = "\n") -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + end for row in rows).encode()


def document(value: object, indent: int | None = None) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=indent).encode()


def separated(rows: list[dict], encoding: str = "utf-8", delimiter: str = ",", end: str = "\r\n") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(encoding)


def parquet(rows: list[dict]) -> bytes:
    arrow, tables = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    sink = io.BytesIO()
    tables.write_table(arrow.Table.from_pylist(rows), sink)
    return sink.getvalue()


def rows_of(path: Path) -> list[dict]:
    return [row for _, row in read_rows(path)]


def write(path: Path, data: bytes) -> Path:
    path.unlink(missing_ok=True)  # on ext4 faster than to write over it: a cut file is flushed
    path.write_bytes(data)
    return path


BY_ID = {f"{30 + i}": row for i, row in enumerate(ROWS)}
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}
FORMS = {
    "lines.jsonl": lines(ROWS),
    "lines_crlf_bom.jsonl": b"\xef\xbb\xbf" + lines(ROWS, "\r\n"),
    "lines_blank_between.jsonl": b"\n \n" + lines(ROWS, "\n\n"),
    "lines_without_end.jsonl": lines(ROWS).rstrip(b"\n"),
    "lines.json": lines(ROWS),
    "lines_bom.json": b"\xef\xbb\xbf\r\n" + lines(ROWS, "\r\n"),
    "array.jsonl": document(ROWS),
    "array.json": b"\xef\xbb\xbf " + document(ROWS),
    "indented.json": b"\n" + document(ROWS, 2),
    "indented.jsonl": document({"data": ROWS}, 2),
    "in_data.json": document({"data": ROWS}),
    "columns.json": document(COLUMNS),
    "columns_indented.json": document(COLUMNS, 4),
    "columns_numbered.json": document({n: {str(i): v for i, v in enumerate(c)} for n, c in COLUMNS.items()}),
    "columns_other_numbers.json": document(
        {n: {str(7 - i): v for i, v in enumerate(c)} for n, c in COLUMNS.items()}
    ),
    "comma.csv": separated(ROWS),
    "comma_bom.csv": separated(ROWS, "utf-8-sig", end="\n"),
    "comma_blank_lines.csv": separated(ROWS).replace(b"\r\n", b"\r\n\r\n"),
    "tab.tsv": separated(ROWS, delimiter="\t"),
}


@pytest.mark.parametrize("compress", ["", ".gz", ".xz", ".GZ"])
@pytest.mark.parametrize("name", FORMS)
def test_every_form_compressed_or_not_gives_the_same_rows_with_nothing_altered(tmp_path, name, compress):
    packed = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[compress.lower()](FORMS[name])
    path = write(tmp_path / (name + compress), packed)
    assert rows_of(path) == ROWS
    assert table_suffix(path) == Path(name).suffix


@pytest.mark.parametrize("name", ["a.parquet", "a.parquet.gz", "A.PARQUET.XZ"])
def test_parquet_gives_the_same_rows(tmp_path, name):
    pack = {".gz": gzip.compress, ".xz": lzma.compress}.get(Path(name).suffix.lower(), bytes)
    nested = [
        {**row, "options": {"A": "x", "C": None}, "list": ["y"], "cop": float(i)}
        for i, row in enumerate(ROWS)
    ]
    assert rows_of(write(tmp_path / name, pack(parquet(nested * 300)))) == nested * 300


def test_what_json_has_not_is_none_or_text_in_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    day, pair = datetime.date(2020, 1, 2), pyarrow.map_(pyarrow.string(), pyarrow.float64())
    columns = {
        "day": [day],
        "price": [decimal.Decimal("1.50")],
        "image": [b"\0\xff"],
        "far": [[math.inf, 1.0]],
    }
    columns["map"] = pyarrow.array([[("A", 1.0), ("B", math.nan)]], pair)
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    (row,) = rows_of(tmp_path / "a.parquet")
    assert row == {
        "day": "2020-01-02", "price": "1.50", "image": "2 bytes", "far": [None, 1.0], "map": {"A": 1.0, "B": None},
    }  # fmt: skip


def test_each_row_says_where_it_stands(tmp_path):
    for name, data, expected in [
        ("a.jsonl", FORMS["lines_blank_between.jsonl"], [":3", ":5", ":7"]),
        ("b.json", FORMS["array.json"], [": record 1", ": record 2", ": record 3"]),
        ("c.json", document(BY_ID), [": record '30'", ": record '31'", ": record '32'"]),
        ("d.csv", FORMS["comma_blank_lines.csv"], [": record 1", ": record 2", ": record 3"]),
    ]:
        path = write(tmp_path / name, data)
        assert [where.removeprefix(str(path)) for where, _ in read_rows(path)] == expected


def test_rows_by_id_keep_their_id(tmp_path):
    expected = [{**row, "@id": key} for key, row in BY_ID.items()]
    assert rows_of(write(tmp_path / "by_id.json", document(BY_ID))) == expected
    assert rows_of(write(tmp_path / "by_id_indented.json", document(BY_ID, 1))) == expected
    a_line_each = ",\n".join(f'"{key}": {json.dumps(row)}' for key, row in BY_ID.items())
    assert rows_of(write(tmp_path / "by_id_lines.json", f"{{{a_line_each}}}".encode())) == expected


def test_a_file_of_one_record_is_read_in_either_kind(tmp_path):
    row = {"question": "q", "options": {"A": "a"}, "cop": None}
    bare = document(row).replace(b"null", b"NaN")
    for name, data in [
        ("a.json", document(row)),
        ("b.json", document(row) + b"\n"),
        ("c.json", document([row])),
        ("d.json", document(row, 2)),
        ("e.jsonl", document(row)),
        ("f.jsonl", document([row], 2)),
        ("g.json", bare),
        ("h.jsonl", bare),
        ("i.jsonl", document(row, 2)),
    ]:
        assert rows_of(write(tmp_path / name, data)) == [row], name
    assert rows_of(write(tmp_path / "j.json", document({"30": row}))) == [{**row, "@id": "30"}]


def test_a_bare_nan_and_an_empty_cell_are_none(tmp_path):
    expected = [{"a": None, "b": "x"}, {"a": None, "b": None}]
    assert rows_of(write(tmp_path / "a.jsonl", b'{"a": NaN, "b": "x"}\n{"a": NaN, "b": NaN}\n')) == expected
    assert rows_of(write(tmp_path / "a.json", b'[{"a": NaN, "b": "x"}, {"a": null, "b": NaN}]')) == expected
    assert rows_of(write(tmp_path / "a.csv", b'a,b\n,x\n"",\n')) == expected
    nan = [{"a": float("nan"), "b": "x"}, {"a": None, "b": None}]
    assert rows_of(write(tmp_path / "a.parquet", parquet(nan))) == expected


def test_chinese_csv_may_be_gb_18030_and_no_other_text_is_taken_for_it(tmp_path):
    rows = [{"question": "下列哪项是心力衰竭的典型症状", "opa": "呼吸困难 ≥2 次", "opb": "β受体阻滞剂"}]
    assert rows_of(write(tmp_path / "a.csv", separated(rows, "gb18030"))) == rows
    for text, encoding in [
        ("the patient’s blood pressure", "cp1252"),  # 0x92 and "s" are a character of GB 18030
        ("œdème du poumon, température élevée", "cp1252"),
        ("the patient’s “chief” complaint’s end ", "utf-8"),
        ("größer, süß", "latin-1"),  # two letters beyond ASCII in a row are a rare character of GB 18030
        ("température élevée " * 9 + "\ud8e9x", "utf-8"),  # two bytes of UTF-8 are a common one
        (rows[0]["question"], "utf-16"),
    ]:
        data = "question,opa\n".encode(encoding) + (text * 9 + ",x\n").encode(encoding, "surrogatepass")
        torn = data + "’".encode()[:2] if encoding == "utf-8" else data
        with pytest.raises(InputError, match=r"b\.csv: (?:record [12], line [23]: neither UTF-8 nor|UTF-16)"):
            rows_of(write(tmp_path / "b.csv", torn))


def test_a_record_in_another_encoding_is_set_aside_with_its_line(tmp_path):
    cells = ["Qué?", '"Two\nlínes"', *["Fine?"] * 5]
    data = "".join(f"{cell},iron,zinc,A\n" for cell in cells).encode()
    data = data.replace("línes".encode(), "línes".encode("latin-1"))
    found = read_set(write(tmp_path / "a.csv", b"question,A,B,answer\n" + data))
    says = "neither UTF-8 nor Chinese text in GB 18030 (0xed): save it as UTF-8"
    place = f"{tmp_path}/a.csv: record 2, line 3"
    assert found.set_aside == [{"record": place, "code": "encoding", "detail": says}]
    assert [q.question for q in found.questions] == ["Qué?"] + ["Fine?"] * 5
    with pytest.raises(InputError, match=r"b\.csv: its column names are neither UTF-8 nor .*0xe9"):
        read_set(write(tmp_path / "b.csv", "Année,question,answer\n1,Q?,5\n".encode("latin-1")))


BROKEN = {
    "cut_off.jsonl.gz": (gzip.compress(lines(ROWS))[:-9], "broken compression|cannot read"),
    "cut_off.csv.gz": (gzip.compress(separated(ROWS))[:-9], "broken compression|cannot read"),
    "cut_off.json.xz": (lzma.compress(document(ROWS))[:-9], "broken compression|cannot read"),
    "not_gzip.jsonl.gz": (lines(ROWS), "cannot read: Not a gzipped file"),
    "cut_off.jsonl": (lines(ROWS)[:-20], r":3: not strict JSON"),
    "cut_off.json": (document(ROWS, 1)[:-20], "not strict JSON"),
    "cut_off.csv": (separated(ROWS)[:-8], "record 3: 2 cells, the header has 3"),
    "cut_off_in_quotes.csv": (b'a,b\n1,2\n3,"4', "record 2, line 3: not CSV"),
    "rubbish.jsonl": (bytes(range(256)) * 9, "not UTF-8 text but UTF-16 or binary"),
    "rubbish.csv": (bytes(range(256)) * 9, "UTF-16 or binary"),
    "rubbish.parquet": (bytes(range(256)) * 9, "not parquet"),
    "empty.json": (b"", "not strict JSON"),
    "empty.csv": (b"", "column names"),
    "empty.parquet": (b"", "not parquet"),
    "one_column.csv": (b"a\n1\n", "two or more different column names"),
    "column_twice.csv": (b"a,b,a\n1,2,3\n", "two or more different column names"),
    "more_cells.csv": (b"a,b\n1,2\n1,2,3\n", "record 2: 3 cells, the header has 2"),
    "fewer_cells.csv": (b"a,b,c\n1,2,3\n1,2\n", "record 2: 2 cells, the header has 3"),
    "text_behind_quotes.csv": (b'a,b\n1,"2"3\n', "record 1, line 2: not CSV"),
    "number.json": (b"3", ":1: expected a JSON object, found int"),
    "text_over_lines.json": (b'"a\n"', "not strict JSON"),
    "no_columns.json": (b"{}", "expected rows"),
    "list_of_lists.json": (b"[[1, 2]]", "record 1: expected a JSON object, found list"),
    "ragged_columns.json": (b'{"a": [1, 2], "b": [1]}', "expected rows"),
    "ragged_numbers.json": (b'{"a": {"0": 1, "1": 2}, "b": {"0": 1}}', "column 'b' has other row numbers"),
    "key_twice.json": (b'{"7": {"a": 1}, "7": {"a": 2}}', "key '7' twice"),
    "key_twice.jsonl": (b'{"a": 1}\n{"a": 1, "a": 2}\n', ":2: not strict JSON: key 'a' twice"),
    "deep.json": (b"[" * 100_000, "not strict JSON"),
    "deep.jsonl": (b'{"a": 1}\n{"a": ' + b"[" * 100_000 + b"\n", ":2: not strict JSON"),
    "number_in_list.jsonl": (b'{"a": 1}\n3\n', ":2: expected a JSON object"),
    "half_a_pair.jsonl": (b'{"a": "\\ud83d"}\n', ":1: not strict JSON"),
    "infinite.jsonl": (b'{"a": -Infinity}\n', ":1: not strict JSON"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_table_is_one_clear_line_naming_file_and_record(tmp_path, name):
    data, says = BROKEN[name]
    if "parquet" in name:
        pytest.importorskip("pyarrow")
    path = write(tmp_path / name, data)
    with pytest.raises(InputError, match=says) as error:
        rows_of(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_rows_before_a_broken_one_are_not_held_back(tmp_path):
    rows = read_rows(write(tmp_path / "a.csv", b"a,b\n1,2\n3\n"))
    assert next(rows)[1] == {"a": "1", "b": "2"}
    with pytest.raises(InputError, match="record 2"):
        next(rows)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"a\.parquet: reading parquet needs pyarrow: pip install pyarrow"):
        rows_of(write(tmp_path / "a.parquet", b"PAR1"))


@pytest.mark.parametrize(
    ("start", "repeated"),
    [
        (b"a,b\n", b"x"),  # a line without end
        (b"a,b\n", b","),
        (b'a,b\n"', b"x\n"),  # a quote that nothing closes
        (b"a,b\n", b'"\n",'),  # a record of endlessly many cells
        (b"", b"x,"),
    ],
)
def test_a_csv_record_without_end_is_refused_before_it_fills_the_memory(tmp_path, start, repeated):
    path = tmp_path / "a.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(start)
        for _ in range(24):
            file.write(repeated * ((1 << 20) // len(repeated)))
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(InputError, match=f"over {MAX_LINE:,} characters"):
        rows_of(path)
    assert time.process_time() - began < 5
    assert tracemalloc.get_traced_memory()[1] < 40 << 20
    tracemalloc.stop()


def test_a_long_csv_file_is_held_one_record_at_a_time(tmp_path):
    path = tmp_path / "a.csv.gz"
    with gzip.open(path, "wt", compresslevel=1, encoding="utf-8") as file:
        file.write("a,b\n")
        for i in range(30):
            file.write(f'{i},"{"long " * 100_000}"\n')
    tracemalloc.start()
    assert [len(row["b"]) for _, row in read_rows(path)] == [500_000] * 30
    assert tracemalloc.get_traced_memory()[1] < 12 << 20
    tracemalloc.stop()


def test_damaged_bytes_in_any_form_raise_nothing_but_input_errors(tmp_path):
    """Bytes flipped, cut out, put in: what comes out is rows or one clear line."""
    rng = random.Random(0)
    forms = {
        **FORMS,
        "by_id.json": document(BY_ID),
        "gb.csv": separated(ROWS, "gb18030"),
        "a.parquet": parquet(ROWS),
    }
    forms |= {f"{name}.gz": gzip.compress(forms[name]) for name in ("lines.jsonl", "array.json", "comma.csv")}
    forms |= {f"{name}.xz": lzma.compress(forms[name]) for name in ("lines.json", "tab.tsv")}
    inserted = [b"", b'"', b"{", b"[", b"\n", b",", b"\x00", b"\xff", b"NaN"]
    read, refused = 0, []
    for name, data in forms.items():
        path = tmp_path / name
        for _ in range(300 if "parquet" in name else 100):
            damaged = bytearray(data)
            for _ in range(rng.choice([1, 1, 2, 5])):
                at = rng.randrange(len(damaged) + 1)
                damaged[at : at + rng.choice([0, 1, 1, 4, 20])] = rng.choice([*inserted, rng.randbytes(1)])
            try:
                rows_of(write(path, bytes(damaged)))
                read += 1
            except InputError as error:
                refused.append((path, str(error)))
    assert read > 300
    assert len(refused) > 1000
    assert [
        message for path, message in refused if not message.startswith(str(path)) or "\n" in message
    ] == []


HEAD, FIRST = "question,A,B,answer", '"Which, then?",iron,zinc,B'
SHEETS = {
    "semicolons": f"{HEAD}\n{FIRST}\n".replace(",", ";").replace("Which;", "Which,"),
    "Excel's own mark": f"sep=;\n{HEAD}\n{FIRST}\n".replace(",", ";").replace("Which;", "Which,"),
    "tabs": f"{HEAD}\n{FIRST}\n".replace(",", "\t").replace("Which\t", "Which,"),
    "bars": f"{HEAD}\n{FIRST}\n".replace(",", "|").replace("Which|", "Which,"),
    "empty columns and rows": f"{HEAD},,\n{FIRST},,\n,,,,,\n  ,,,,,\n",
    "a title": f"Exam of 2024,,,\n\n,,,\n{HEAD}\n{FIRST}\n",
    "blanks before quotes": 'question, A, B, answer\n"Which, then?", "iron", "zinc", "B"\n',
}


@pytest.mark.parametrize("sheet", SHEETS)
def test_a_sheet_is_read_whatever_divides_it_and_stands_around_it(tmp_path, sheet):
    path = tmp_path / "sheet.csv"
    path.write_text(SHEETS[sheet])
    rows = [row for _, row in read_rows(path) if any(row.values())]
    assert [[*map(str.strip, row)] for row in rows] == [HEAD.split(",")]
    assert [*rows[0].values()] == ["Which, then?", "iron", "zinc", "B"]


def test_a_sheet_that_cannot_be_read_is_told_what_it_is(tmp_path):
    path = tmp_path / "sheet.csv"
    for content, says in {
        b"PK\x03\x04\x14\x00\xff": "Excel's too.*save the sheet as CSV",
        b"\xd0\xcf\x11\xe0\xa1": "an old Excel file",
        f"Item,,,Key\n{HEAD}\n{FIRST}\n".encode(): "a line of groups above them",
    }.items():
        path.write_bytes(content)
        with pytest.raises(InputError, match=says):
            list(read_rows(path))
    path.write_text(f"{FIRST}\n".replace(",", ";").replace("Which;", "Which,"))
    ((_, row),) = read_rows(path, ["question", "A", "B", "answer"])
    assert row["question"] == "Which, then?"
