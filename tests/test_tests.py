"""What the tests themselves must hold to: records are told apart as the format has it, and the mutants still apply."""

import ast
import sys

from support.places import ROOT

TESTS = [path for path in sorted((ROOT / "tests").rglob("*.py")) if path.name != "test_tests.py"]
NO_RECORDS = ("test_anonymise.py",)  # reads notes


def test_no_test_reads_json_lines_by_splitlines():
    """It cuts at U+2028, U+0085 and other characters that a record may hold: such a test passes by luck."""
    found = []
    for path in TESTS:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "splitlines"
            ):
                source = ast.unparse(node.func.value)
                if ("read_text" in source or "read_bytes" in source) and path.name not in NO_RECORDS:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def test_every_mutant_still_applies_to_the_code_and_names_tests_that_exist():
    sys.path.insert(0, str(ROOT / "tests/mutants"))
    from mutants import MUTANTS

    rows = [(path, *row) for path, of_file in MUTANTS.items() for row in of_file]
    wrong = [row[:2] for row in rows if (ROOT / row[0]).read_text().count(row[1]) != 1]
    assert wrong == []
    assert all(old != new for _, old, new, _ in rows)
    named = {word for *_, tests in rows for word in tests.split() if word.endswith(".py")}
    assert all((ROOT / name).exists() for name in named)
    assert len(rows) >= 40
