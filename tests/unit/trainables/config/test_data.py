"""The faults of the sections on data and tasks."""

from __future__ import annotations

import pytest

from tests.helpers.fields import problems
from trainables.config import (
    TrialConfig,
)
from trainables.config.overrides import (
    apply_overrides,
)


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


@pytest.mark.parametrize("text", ["centre", "middle:0.5", "centre:1.5", "centre:nan", ":0.5", ""])
def test_a_further_test_is_a_kind_and_a_ratio(text: str) -> None:
    [line] = problems({"more_tests": [text]})
    assert line.startswith(f"more_tests={text!r} is not kind:ratio")
