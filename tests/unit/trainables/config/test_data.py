"""The faults of the sections on data and tasks."""

from __future__ import annotations

import pytest

from tests.helpers.fields import problems
from trainables.config import TrialConfig, to_dict
from trainables.config.overrides import apply_overrides
from trainables.utils.hashing import content_key


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5, 2.0])
def test_a_task_removes_a_part_and_keeps_a_part(ratio: float) -> None:
    for task in ("train_task", "test_task"):
        [line] = problems({f"{task}.ratio": ratio})
        assert line == f"{task}.ratio={ratio} is outside (0, 1)"


def test_a_class_has_one_role_and_a_folder_has_a_root() -> None:
    found = problems(
        {
            "data.forget": ["a", "b"],
            "data.retain": ["b"],
            "data.proxy": ["a"],
            "data.source": "folder",
        }
    )
    assert len(found) == 3
    assert any("data.root" in line for line in found)
    assert any("forget and data.retain" in line and "'b'" in line for line in found)
    assert any("forget and data.proxy" in line and "'a'" in line for line in found)


def test_a_root_is_refused_where_no_source_reads_it() -> None:
    [line] = problems({"data.root": "/photos"})
    assert "data.root=/photos is not read by data.source=photos" in line
    assert "--set data.source=folder" in line
    one, other = (
        apply_overrides(TrialConfig(), {"data.source": "folder", "data.root": root})
        for root in ("/one", "/other")
    )
    assert one.key() != other.key()


def test_fields_that_came_later_leave_the_keys_of_earlier_trials() -> None:
    config = TrialConfig()
    values = to_dict(config.canonical())
    assert (values["data"].pop("dataset"), values["data"].pop("download")) == ("", False)
    assert config.key() == content_key(values)


def test_what_is_downloaded_is_the_same_trial_and_another_data_set_is_not() -> None:
    usual = {"data.source": "torchvision", "data.root": "/data", "data.dataset": "CIFAR10"}
    one, downloaded, other = (
        apply_overrides(TrialConfig(), {**usual, **changes}).key()
        for changes in ({}, {"data.download": True}, {"data.dataset": "CIFAR100"})
    )
    assert one == downloaded != other


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"dataset": "CIFAR10"}, "data.dataset needs data.source=torchvision"),
        ({"download": True}, "data.download=true needs data.source=torchvision"),
        (
            {"source": "torchvision", "root": "/data", "dataset": "CIFAR"},
            "data.dataset='CIFAR' is no data set of torchvision that is read here "
            "(close: CIFAR10, CIFAR100)",
        ),
        (
            {"source": "fashion", "root": "/data"},
            "data.root=/data is not read by data.source=fashion: "
            "--set data.source=folder, torchvision, parquet, imagenet or places365",
        ),
    ],
)
def test_a_field_of_another_source_is_refused(fields: dict[str, object], line: str) -> None:
    assert problems({f"data.{name}": value for name, value in fields.items()}) == [line]


@pytest.mark.parametrize("text", ["centre", "middle:0.5", "centre:1.5", "centre:nan", ":0.5", ""])
def test_a_further_test_is_a_kind_and_a_ratio(text: str) -> None:
    [line] = problems({"more_tests": [text]})
    assert line.startswith(f"more_tests={text!r} is not kind:ratio")
