"""What variants are judged by: labels of metrics, and the direction in which each is better."""

import pytest

from analysis.criterion import arrow, percent
from tests.helpers.rows import CRITERION


@pytest.mark.parametrize(
    ("metric", "retain", "forget"),
    [("fid", "↓", "↑"), ("kid", "↓", "↑"), ("is", "↑", "↓"), ("clip", "↑", "↓")],
)
def test_good_unlearning_keeps_the_retained_and_loses_the_forgotten(metric, retain, forget):
    assert (arrow("retain", metric), arrow("forget", metric)) == (retain, forget)


def test_a_heading_leaves_out_the_network_that_a_note_names():
    assert [column.heading for column in CRITERION.distance_columns(start="test ")] == [
        "test retain FD ↓",
        "test forget FD ↑",
    ]
    assert CRITERION.networks == "Figures: FD (photos CNN), IS, cosine."
    assert percent(0.05) == "5 %"
