"""What a stem points at and lacks, and what only sounds so: tests/cases/exhibits.yaml, a sentence at a time."""

from pathlib import Path

import pytest
import yaml

from fleming.text import mentions_figure, mentions_lost_table

SENTENCES = yaml.safe_load((Path(__file__).parents[1] / "cases/exhibits.yaml").read_text(encoding="utf-8"))


def lacks(stem):
    return mentions_figure(stem) or mentions_lost_table(stem)


@pytest.mark.parametrize("stem", SENTENCES["lost"])
def test_a_stem_that_lacks_its_exhibit_is_found(stem):
    assert lacks(stem)


@pytest.mark.parametrize("stem", SENTENCES["told"])
def test_what_is_told_in_words_is_no_lost_exhibit(stem):
    assert not lacks(stem)


def test_numbers_behind_one_exhibit_do_not_stand_for_the_next():
    table = "The results are shown below. Sodium 131, potassium 5.6, glucose 60."
    assert not lacks(table)
    assert lacks(f"{table} The response to the test is shown.")
