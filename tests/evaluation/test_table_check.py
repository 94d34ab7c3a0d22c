"""fleming/evaluation/table_check.py: against brute force, on true tables with and without a misprint, on Table 3."""

import gzip
import json
import random
import time
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction

import pytest
from support import runs

from fleming.evaluation import table_check
from fleming.evaluation.table_check import MAX_CELLS, check_table, describe, possible_counts
from model.errors import InputError

PUBLISHED = {
    "careqa": (5621,),
    "jmed": (1000,),
    "medbullets": (308, 298),
    "medmcqa": (4183,),
    "medqa": (1273,),
    "medxpertqa": (2450,),
    "pubmedqa": (500, 1000),
    "mmluprobiology": (717,),
    "mmluprohealth": (818,),
}


def percent(k: int, n: int, decimals: int, rounding: str = ROUND_HALF_UP) -> str:
    """Return 100 k / n as a table prints it, by Decimal: 60 digits decide every tie of the sizes here."""
    with localcontext(prec=60):
        return str((Decimal(100 * k) / n).quantize(Decimal(1).scaleb(-decimals), rounding))


def write(tmp_path, text, name="table.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


def column(report, name):
    return next(c for c in report["columns"] if c["name"] == name)


def impossible(report, name):
    return {
        at["size"]: [(c["model"], c["printed"]) for c in at["impossible"]]
        for at in column(report, name)["known"]
    }


def fitting(report, name):
    """Return the sizes that fit every cell, None where they are too many to list."""
    scan = column(report, name)["scan"]
    return [] if scan["fewest"] else scan["sizes"] and [best["size"] for best in scan["sizes"]]


# The counts


def test_possible_counts_are_those_that_trying_every_k_finds():
    rng = random.Random(0)
    for _ in range(3000):
        n, decimals = rng.randrange(1, 400), rng.randrange(5)
        printed = percent(rng.randrange(n + 1), n, decimals)
        if rng.random() < 0.5:
            printed = str(Decimal(rng.randrange(100 * 10**decimals + 1)).scaleb(-decimals))
        half = Fraction(1, 2 * 10**decimals)
        expected = [k for k in range(n + 1) if abs(Fraction(100 * k, n) - Fraction(printed)) <= half]
        assert list(possible_counts(printed, n)) == expected


def test_rounding_half_up_and_half_to_even_both_pass():
    assert (percent(1, 16, 1), percent(1, 16, 1, ROUND_HALF_EVEN)) == ("6.3", "6.2")  # 6.25
    assert list(possible_counts("6.3", 16)) == list(possible_counts("6.2", 16)) == [1]
    for n in range(1, 200):
        for k in range(n + 1):
            for rounding in (ROUND_HALF_UP, ROUND_HALF_EVEN):
                assert k in possible_counts(percent(k, n, 2, rounding), n)


def test_counts_at_the_ends_and_of_whole_numbers():
    assert list(possible_counts("0.00", 500)) == [0]
    assert list(possible_counts("100.00", 500)) == [500]
    assert list(possible_counts("0", 1000)) == [0, 1, 2, 3, 4, 5]
    assert list(possible_counts("100", 1000)) == [995, 996, 997, 998, 999, 1000]
    assert list(possible_counts("64.46", 500)) == list(possible_counts("64.46", 1000)) == []


@pytest.mark.parametrize(
    ("printed", "n"), [("1e1", 5), ("-1", 5), ("", 5), ("1/2", 5), ("٣", 5), ("50", 0), ("5", -1)]
)
def test_what_is_no_number_or_no_size_is_refused(printed, n):
    with pytest.raises(ValueError, match="plain decimal"):
        possible_counts(printed, n)


# Tables of our own


def as_csv(names, rows, averages=None):
    lines = [",".join(["model", *names] + (["Avg"] if averages else []))]
    for i, row in enumerate(rows):
        lines.append(",".join([f"m{i}", *row] + ([averages[i]] if averages else [])))
    return "\n".join(lines) + "\n"


def test_true_tables_are_never_flagged(tmp_path):
    rng = random.Random(1)
    for trial in range(60):
        decimals = 1 + trial % 2
        sizes = [rng.randrange(60, 1500) for _ in range(4)]
        counts = [[rng.randrange(n + 1) for n in sizes] for _ in range(rng.randrange(2, 15))]
        rounding = [ROUND_HALF_UP, ROUND_HALF_EVEN][trial % 4 // 2]
        rows = [
            [percent(k, n, decimals, rounding) for k, n in zip(row, sizes, strict=True)] for row in counts
        ]
        exact = [sum(Fraction(k, n) for k, n in zip(row, sizes, strict=True)) / 4 for row in counts]
        averages = [percent(a.numerator, a.denominator, decimals, rounding) for a in exact]
        names = [f"Bench {j}" for j in range(4)]
        known = {f"bench{j}": (sizes[j],) for j in range(4)}
        report = check_table(write(tmp_path, as_csv(names, rows, averages)), known)
        for j, name in enumerate(names):
            assert impossible(report, name) == {sizes[j]: []}
            assert column(report, name)["scan"]["fewest"] == 0
            assert fitting(report, name) is None or sizes[j] in fitting(report, name)
        assert report["averages"] == [{"name": "Avg", "of": names, "checked": len(rows), "wrong": []}]
        assert "odd one out" not in describe(report)


def test_one_altered_cell_is_found(tmp_path):
    rng = random.Random(2)
    for _ in range(40):
        sizes = [rng.randrange(100, 300) for _ in range(3)]
        counts = [[rng.randrange(n + 1) for n in sizes] for _ in range(12)]
        rows = [[percent(k, n, 2) for k, n in zip(row, sizes, strict=True)] for row in counts]
        exact = [sum(Fraction(k, n) for k, n in zip(row, sizes, strict=True)) / 3 for row in counts]
        averages = [percent(a.numerator, a.denominator, 2) for a in exact]
        i, j = rng.randrange(12), rng.randrange(3)
        right = rows[i][j]
        while possible_counts(rows[i][j], sizes[j]) or abs(Decimal(rows[i][j]) - Decimal(right)) < Decimal(
            "0.2"
        ):
            rows[i][j] = str(Decimal(rng.randrange(10001)).scaleb(-2))
        report = check_table(
            write(tmp_path, as_csv("abc", rows, averages)),
            dict(zip("abc", ([n] for n in sizes), strict=True)),
        )
        for at, name in enumerate("abc"):
            expected = [(f"m{i}", rows[i][j])] if at == j else []
            assert impossible(report, name) == {sizes[at]: expected}
        scan = column(report, "abc"[j])["scan"]
        assert scan["fewest"] == 1
        odd = next(best["missed"] for best in scan["sizes"] if best["size"] == sizes[j])
        assert [(c["model"], c["printed"]) for c in odd] == [(f"m{i}", rows[i][j])]
        (wrong,) = report["averages"][0]["wrong"]
        assert (wrong["model"], wrong["printed"]) == (f"m{i}", averages[i])
        assert f"odd one out: m{i} {rows[i][j]}" in describe(report)


def test_the_neighbours_of_an_impossible_cell_are_the_nearest_possible_values(tmp_path):
    rng = random.Random(3)
    printed = [str(Decimal(rng.randrange(10001)).scaleb(-2)) for _ in range(300)]
    report = check_table(write(tmp_path, as_csv(["x"], [[p] for p in printed])), {"x": [37]})
    values = [percent(k, 37, 2) for k in range(38)]
    found = column(report, "x")["known"][0]["impossible"]
    assert [c["printed"] for c in found] == [p for p in printed if p not in values]
    for c in found:
        assert c["below"] == max((v for v in values if Decimal(v) < Decimal(c["printed"])), key=Decimal)
        assert c["above"] == min((v for v in values if Decimal(v) > Decimal(c["printed"])), key=Decimal)


def test_the_scan_counts_misses_as_possible_counts_does(tmp_path):
    rng = random.Random(4)
    for _ in range(20):
        cells = [
            str(Decimal(rng.randrange(100 * 10**d + 1)).scaleb(-d)) for d in rng.choices(range(7), k=6)
        ] + ["99"]
        cells += rng.choices(cells, k=3)
        scan = column(check_table(write(tmp_path, as_csv(["x"], [[c] for c in cells])), {}, (1, 300)), "x")[
            "scan"
        ]
        misses = {n: sum(not possible_counts(c, n) for c in cells) for n in range(1, 301)}
        best = [n for n in misses if misses[n] == min(misses.values())]
        assert (scan["fewest"], scan["count"]) == (min(misses.values()), len(best))
        assert scan["sizes"] is None if len(best) > 20 else [b["size"] for b in scan["sizes"]] == best
        for b in scan["sizes"] or ():
            assert [c["printed"] for c in b["missed"]] == [
                c for c in cells if not possible_counts(c, b["size"])
            ]


def test_the_scan_is_exact_at_the_largest_sizes_and_most_decimals(tmp_path):
    cells = [percent(k, 99_991, 6) for k in (1, 12_345, 50_001, 99_990)] + ["100.000000", "0.000000"]
    report = check_table(
        write(tmp_path, as_csv(["x"], [[c] for c in cells])), {"x": [99_991]}, (99_900, 100_000)
    )
    assert fitting(report, "x") == [99_991]
    assert impossible(report, "x") == {99_991: []}


def test_windows_are_twenty_percent_around_the_first_known_size_or_as_given(tmp_path):
    path = write(tmp_path, "model,MMLU-Pro Biology,New\na,50.0,50.0\n")
    report = check_table(path, {"mmluprobiology": (308, 298)})
    assert [(c["scan"]["low"], c["scan"]["high"]) for c in report["columns"]] == [(247, 369), (50, 10_000)]
    assert [at["size"] for at in report["columns"][0]["known"]] == [308, 298]
    assert report["columns"][1]["known"] == []
    assert report["columns"][1]["scan"]["sizes"] is None  # over 20 fit: only how many
    assert report["columns"][1]["scan"]["count"] > 9000
    report = check_table(path, {"mmluprobiology": (308, 298)}, (5, 7))
    assert [(c["scan"]["low"], c["scan"]["high"]) for c in report["columns"]] == [(5, 7)] * 2
    for window in [(0, 5), (7, 5), (1, 10**9)]:
        with pytest.raises(InputError, match="window of sizes"):
            check_table(path, {}, window)


@pytest.mark.parametrize("name", ["Avg", "AVG.", "average", "Mean", "macro", "Macro Avg", "macro-avg"])
def test_the_average_column_is_known_by_its_name(tmp_path, name):
    report = check_table(write(tmp_path, f"model,a,b,{name},c\nm,10.0,20.0,15.0,90.0\n"), {})
    assert report["averages"] == [{"name": name, "of": ["a", "b"], "checked": 1, "wrong": []}]
    assert [c["name"] for c in report["columns"]] == ["a", "b", "c"]


def test_an_average_is_wrong_only_where_no_rounding_explains_it(tmp_path):
    # Cells 10.0 and 20.1 stand for 9.95..10.05 and 20.05..20.15, so for averages of 15.00 to 15.10.
    right = {"15.0", "15.1", "15", "15.05", "15.00", "15.10"}
    wrong = {"14.9", "15.2", "14", "16", "14.99", "15.11", "14.995"}
    for average in right | wrong:
        report = check_table(write(tmp_path, f"model,a,b,avg\nm,10.0,20.1,{average}\n"), {})
        assert [w["printed"] for w in report["averages"][0]["wrong"]] == [average] * (average in wrong)


def test_an_average_that_only_touches_its_bound_is_right(tmp_path):
    text = "model,a,b,avg\nm,10.0,20.0,{}\n"  # 9.95..10.05 and 19.95..20.05, so 14.95..15.05
    for average, wrong in [("14.9", 0), ("15.1", 0), ("14.8", 1), ("15.2", 1)]:
        assert len(check_table(write(tmp_path, text.format(average)), {})["averages"][0]["wrong"]) == wrong


def test_twenty_sizes_are_listed_and_of_more_only_the_number_is_told(tmp_path):
    path = write(tmp_path, "model,a\nm,50.0\n")
    assert fitting(check_table(path, {}, (1000, 1019)), "a") == list(range(1000, 1020))
    report = check_table(path, {}, (1000, 1020))
    assert fitting(report, "a") is None
    assert "a, n = 1000..1020: 21 sizes fit 1 of 1 cells" in describe(report)


def test_rows_with_a_missing_cell_have_no_average_to_check_and_missing_cells_are_counted(tmp_path):
    text = "model,a,b,avg\nm,-,20.0,20.0\nn,n/a,N/A,\no,—, 10 % ,3\np,10.0,20.0%,15.0\nq,1.0,2.0,\n"
    report = check_table(write(tmp_path, text), {})
    assert report["rows"] == 5
    assert report["missing"] == 6
    assert [c["cells"] for c in report["columns"]] == [2, 4]
    assert report["averages"][0]["checked"] == 1
    report = check_table(write(tmp_path, "model,avg,a\nm,90.0,20.0\n"), {})  # nothing to the left of it
    assert report["averages"] == [{"name": "avg", "of": [], "checked": 0, "wrong": []}]


# Reading


def test_forms_of_csv_that_are_read(tmp_path):
    text = '\ufeffModel , Med QA,"B, 2"\r\n\r\n"a\nb", 50.0 ,60 %\r\nc,7,100\r\n'
    report = check_table(write(tmp_path, text), {"medqa": [10]})
    assert [c["name"] for c in report["columns"]] == ["Med QA", "B, 2"]
    assert impossible(report, "Med QA") == {10: [("c", "7")]}
    packed = tmp_path / "table.csv.gz"
    packed.write_bytes(gzip.compress(text.encode("utf-8")))
    assert check_table(packed, {"medqa": [10]})["columns"] == report["columns"]
    assert (
        check_table(write(tmp_path, ",x\na,50.0\n"), {})["rows"] == 1
    )  # the models' column may have no name
    assert check_table(write(tmp_path, "model,x\ra,50.0\r"), {})["rows"] == 1
    assert check_table(write(tmp_path, "model\tx\na\t50.0\n", "table.tsv"), {})["rows"] == 1
    with pytest.raises(InputError, match=r"called \.csv or \.tsv"):
        check_table(write(tmp_path, "[]", "table.json"), {})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected two or more different column names"),
        ("\n\n", "expected two or more different column names"),
        ("model,a\n", "no data rows"),
        ("model\nm\n", "expected two or more different column names"),
        ("model,a,\nm,5,7\n", "record 1: 3 cells, the header has 2"),
        ("model,a, a\nm,5,5\n", "record 1: expected models, then benchmarks, each column named"),
        ("a,a\nm,5\n", "expected two or more different column names"),
        ("model,a\nm\n", "record 1: 1 cells, the header has 2"),
        ("model,a\nm,5,6\n", "record 1: 3 cells, the header has 2"),
        ("model,a\nm,5\n,6\n", "record 2: expected a model"),
        ("model,a\n\nm,5\nn,x\n", "record 2: column 'a': expected a plain number from 0 to 100, found 'x'"),
        ("model,a\nm,100.01\n", "found '100.01'"),
        ("model,a\nm,1000\n", "found '1000'"),
        ("model,a\nm,-5\n", "found '-5'"),
        ("model,a\nm,5e1\n", "found '5e1'"),
        ("model,a\nm,.5\n", "found '.5'"),
        ("model,a\nm,5.\n", "found '5.'"),
        ("model,a\nm,%\n", "found '%'"),
        ("model,a\nm,nan\n", "found 'nan'"),
        ("model,a\nm,５\n", "found '５'"),
        ("model,a\nm,50.1234567\n", "found '50.1234567'"),
        ('model,a\nm,"50,1"\n', "found '50,1'"),
        ("model,a\nm,5\0\n", r"found '5\\x00'"),
        ("model,a\nm,\x1b[2J\n", r"found '\\x1b"),
        ("model,a\nm," + "9" * 100_000 + "\n", "found '9{80}'$"),
        ("model,a\nm," + "9" * 2_000_000 + "\n", "a line of over 1,048,576 characters"),
        ('model,a\nm,5\nn,"5\n' + "x\n" * 9, "line 3: not CSV"),
        ('model,a\nm,"5"6\n', "line 2: not CSV"),
        (b"model,a\nm,5\nm\xe9,5\n", "neither UTF-8 nor Chinese text"),
        ("model,a\nm,5\n".encode("utf-16"), "UTF-16: save it as UTF-8"),
        ("model,a,b\nm,0.644,0.7\nn,0.5,-\n", "no score over 1, expected percentages"),
        ("model,a\n" + "m,5\n" * (MAX_CELLS // 2 + 1), f"over {MAX_CELLS} cells"),
        ("model,a\n" + "m,5\n" * 4_300_000, f"over {MAX_CELLS} cells"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused_by_name_line_and_column(tmp_path, text, says):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=says) as error:
        check_table(path, {})
    assert str(error.value).startswith(str(path))
    assert len(str(error.value)) < 400
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        check_table(tmp_path / "none.csv", {})


def test_a_name_cannot_write_to_the_terminal_and_is_cut(tmp_path):
    path = write(tmp_path, '"m\x1b[2J\n' + "x" * 1000 + f'",a\x07b,{"y" * 1000}\n"\x1b[31mn",50.1,7\n')
    said = describe(check_table(path, {"ab": [3]}))
    assert all(c.isprintable() or c == "\n" for c in said)
    assert "?[31mn 50.1 (nearest 33.3 and 66.7)" in said
    assert max(map(len, said.split("\n"))) < 300


def test_the_largest_table_takes_seconds(tmp_path):
    rng = random.Random(5)
    write(tmp_path, "model,a\n" + "m,5\n" * (MAX_CELLS // 2))
    assert check_table(tmp_path / "table.csv", {})["rows"] == MAX_CELLS // 2
    rows = [[f"{rng.randrange(100)}.{rng.randrange(10**6):06d}"] for _ in range(MAX_CELLS // 2)]
    path = write(tmp_path, as_csv(["x"], rows[: MAX_CELLS // 3 - 1], [r[0] for r in rows]))
    started = time.process_time()
    report = check_table(path, {})
    describe(report)
    assert time.process_time() - started < 20
    assert report["rows"] == MAX_CELLS // 3 - 1


# The command


def test_the_command_prints_what_it_finds_and_a_mistake_is_one_line(tmp_path, capsys):
    path = write(tmp_path, "model,MedQA\na,50.0\nb,50.04\n")
    table_check.main([str(path), "--sizes", "250..330"])
    assert "MedQA, n = 250..330: " in capsys.readouterr().out
    for argv, said in (
        ([str(tmp_path / "absent.csv")], "absent.csv"),
        ([str(path), "--sizes", "many"], "LOW..HIGH"),
        ([str(path), "--sizes", "330..250"], "window of sizes"),
    ):
        status, lines = runs.run_here(table_check, argv)
        assert (status, len(lines)) == (2, 1)
        assert said in lines[0]


# Table 3 of the paper


@pytest.fixture
def table_3(shared):
    return shared / "data" / "paper_table3.csv"


def test_pubmedqa_of_table_3_is_of_500_but_for_one_cell(table_3):
    report = check_table(table_3, PUBLISHED)
    odd = [("HuatuoGPT-O1-7B", "64.46")]
    assert impossible(report, "PubMedQA") == {500: odd, 1000: odd}
    cells = [at["impossible"][0] for at in column(report, "PubMedQA")["known"]]
    assert [(c["below"], c["above"]) for c in cells] == [("64.40", "64.60"), ("64.40", "64.50")]
    scan = column(report, "PubMedQA")["scan"]
    assert (scan["low"], scan["high"], scan["fewest"]) == (400, 600, 1)
    assert [(b["size"], [c["model"] for c in b["missed"]]) for b in scan["sizes"]] == [
        (500, ["HuatuoGPT-O1-7B"])
    ]


def test_the_one_wrong_average_of_table_3_stands_beside_its_one_impossible_score(table_3):
    (average,) = check_table(table_3, PUBLISHED)["averages"]
    assert (average["name"], len(average["of"]), average["checked"]) == ("Avg", 9, 11)
    (wrong,) = average["wrong"]
    assert (wrong["model"], wrong["printed"], wrong["recomputed"]) == ("HuatuoGPT-O1-7B", "56.12", "56.11")


def test_the_sizes_that_table_3_was_made_with(table_3):
    report = check_table(table_3, PUBLISHED)
    assert len(impossible(report, "Medbullets")[308]) == 10
    assert fitting(report, "Medbullets") == [298]
    assert fitting(check_table(table_3, PUBLISHED, (250, 330)), "Medbullets") == [298]
    sizes = {"MedMCQA": 4183, "JMED": 1000, "MedQA": 1273, "MedXpertQA": 2450, "MMLU-Pro Biology": 717}
    for name, n in (sizes | {"MMLU-Pro Health": 818}).items():
        assert impossible(report, name) == {n: []}
        assert fitting(report, name) == [n]
    assert impossible(report, "CareQA") == {5621: []}
    assert 5621 in fitting(
        report, "CareQA"
    )  # at two decimals over half of all scores are possible: nine sizes fit
    assert len(fitting(report, "CareQA")) == 9


def test_the_description_of_table_3_says_so(table_3):
    report = check_table(table_3, PUBLISHED)
    assert json.loads(json.dumps(report)) == report
    said = describe(report).split("\n")
    assert "PubMedQA, n = 500: impossible: HuatuoGPT-O1-7B 64.46 (nearest 64.40 and 64.60)" in said
    assert "PubMedQA, n = 500: odd one out: HuatuoGPT-O1-7B 64.46 (nearest 64.40 and 64.60)" in said
    assert "Medbullets, n = 247..369: 298 fit 11 of 11 cells, others fewer" in said
    assert "  HuatuoGPT-O1-7B: printed 56.12, its cells give 56.11" in said
    assert sum("odd one out" in line for line in said) == 1
