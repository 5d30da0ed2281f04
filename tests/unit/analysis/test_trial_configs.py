"""The configuration and the test tasks of recorded trials."""

from analysis.trial_configs import flatten, further_tasks, split_task


def test_nested_values_are_flattened():
    assert flatten({"a": {"b": {"c": 1}, "d": [1, 2]}, "e": None}) == {
        "a.b.c": 1,
        "a.d": (1, 2),
        "e": None,
    }


def test_further_tasks_are_those_that_a_trial_was_measured_on():
    row = dict.fromkeys(("retain/fid", "val/retain/fid", "left_0.5/retain/fid"), 1.0)
    assert further_tasks(row | {"right_0.5/retain/fid": None, "left_0.5/forget/fid": 1.0}) == [
        "left_0.5"
    ]
    assert split_task("left_0.5") == ("left", 0.5)
