"""Nested values by dotted names."""

from trainables.utils.nested import flatten


def test_nested_values_are_known_by_dotted_names() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": None, "g": {}}) == {
        "a.b.c": 1,
        "a.d": [1, {"e": 2}],
        "f": None,
    }
