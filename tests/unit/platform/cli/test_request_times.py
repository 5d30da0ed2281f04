"""How a span of time is written."""

from __future__ import annotations

import re

import pytest

from platform.cli.request import seconds


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("90", 90), ("90s", 90), ("45m", 2700), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400)],
)
def test_a_span_of_time(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "0", "h", "-5m", "5 m", "2d", "1m2h", "nan"])
def test_no_span_of_time(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        seconds(text)
