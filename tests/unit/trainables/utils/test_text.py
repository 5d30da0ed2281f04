"""Errors, numbers and durations in words; nested values by dotted names."""

import pytest

from trainables.utils.text import close_names, counted, duration, first_few, flatten, one_line


@pytest.mark.parametrize(
    ("error", "most", "line"),
    [
        (ValueError("a\n  b\tc"), 200, "a b c"),
        (ValueError("x" * 300), 200, "x" * 200),
        (ValueError("x" * 300), None, "x" * 300),
        (TimeoutError(), 200, "TimeoutError"),
        ("two\nlines", 5, "two l"),
        ("", 200, ""),
    ],
)
def test_an_error_is_one_line(error: BaseException | str, most: int | None, line: str) -> None:
    assert one_line(error, most) == line


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-1, "0 s"),
        (59.4, "59 s"),
        (60, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (7800, "2 h 10 min"),
        (864000, "10 days 00 h"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_one_is_not_many() -> None:
    assert [counted(number, "trial") for number in (0, 1, 2)] == ["0 trials", "1 trial", "2 trials"]


def test_many_names_are_cut_short() -> None:
    assert first_few(["a", "b"], 2) == "a, b"
    assert first_few(["a", "b", "c"], 2) == "a, b, ..."


def test_a_misspelt_name_and_one_without_its_section_are_found() -> None:
    known = ["unlearn.steps", "unlearn.lr", "forget_alpha"]
    assert close_names("forget_alhpa", known) == " (close: forget_alpha)"
    assert close_names("train.lr", known) == " (close: unlearn.lr)"
    assert close_names("zzz", known) == ""


def test_nested_values_are_known_by_dotted_names() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": None, "g": {}}) == {
        "a.b.c": 1,
        "a.d": [1, {"e": 2}],
        "f": None,
    }
