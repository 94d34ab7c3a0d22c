"""The final table fits a terminal of 80 columns."""

import pytest

from fleming.evaluation import report


@pytest.mark.parametrize("models", [["base", "cold_start", "rl_stage1", "rl_stage2"], ["runs_mine"]])
def test_the_table_fits_80_columns_and_loses_no_cell(monkeypatch, models):
    row = {head: f"{number}.25" for number, head in enumerate(report.COLUMNS)}
    row |= {"benchmark": "medxpertqa", "accuracy [95 %]": "72.2 [68.4, 75.6]"}
    monkeypatch.setattr(report, "_row", lambda model, result: row | {"model": model})
    lines = report.results_table([(model, None) for model in models]).splitlines()
    assert max(map(len, lines)) <= 80
    shown = [cell.strip() for line in lines for cell in line.strip("|").split("|")]
    assert set(row) <= set(shown)
    del row["model"]
    for head, value in row.items():
        assert shown.count(value) >= len(models), head
    assert all(shown.count(model) >= 2 for model in models)  # each part says whose line it is
