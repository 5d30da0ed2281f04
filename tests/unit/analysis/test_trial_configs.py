"""The configuration and the test tasks of recorded trials."""

import json

from analysis.trial_configs import Configs, further_tasks, split_task
from tests.helpers.rows import row, sweep_of


def test_a_recorded_configuration_is_known_by_dotted_fields():
    config = {"pretrain": {"seed": 3, "tasks": ["a", "b"]}, "checkpoint": None}
    recorded = row("ours", 1.0, 2.0) | {"config": json.dumps(config)}
    assert Configs(sweep_of([recorded])).of(recorded) == {
        "pretrain.seed": 3,
        "pretrain.tasks": ("a", "b"),
        "checkpoint": None,
    }


def test_further_tasks_are_those_that_a_trial_was_measured_on():
    measured = dict.fromkeys(("retain/fid", "val/retain/fid", "left_0.5/retain/fid"), 1.0)
    assert further_tasks(measured | {"right_0.5/retain/fid": None, "left_0.5/forget/fid": 1.0}) == [
        "left_0.5"
    ]
    assert split_task("left_0.5") == ("left", 0.5)
