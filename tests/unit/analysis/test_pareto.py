"""The front and the hypervolume of each variant."""

import pytest

from analysis.pareto import front_table
from tests.helpers.rows import (
    REFERENCE,
    comparisons_of,
    row,
)


def test_the_hypervolume_is_of_log_ratios_up_to_twice_the_originals_retain():
    default = row("ours", 10.0, 20.0, val_forget=40.0)
    rows = [REFERENCE, default, row("ours", 40.0, 99.0, name="b", kind="search")]
    (comparison,) = comparisons_of(rows)
    (told,) = front_table(comparison).rows
    assert (told["trials"], told["front"]) == (2, 2)
    assert told["test"] == pytest.approx(0.693147**2, rel=1e-5)
    assert told["validation"] == pytest.approx(2 * 0.693147**2, rel=1e-5)
