"""Whether every node reaches the storage of a sweep, and what is said where one does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from platform.execution import nodes
from platform.execution.cluster import ClusterError


def answering(monkeypatch: pytest.MonkeyPatch, *others: Any) -> None:
    """Makes a cluster of this machine and of nodes that answer as given."""

    def ask(function: Callable[..., Any], *values: Any) -> dict[str, Any]:
        answers = [function(*values), *others]
        return {f"10.0.0.{n} (node {n})": answer for n, answer in enumerate(answers, start=1)}

    monkeypatch.setattr(nodes, "on_every_node", ask)


def test_a_folder_that_every_node_writes_to_is_accepted_and_left_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, True)
    nodes.check_storage(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answer", [False, TimeoutError("it does not answer")])
def test_a_node_that_does_not_reach_the_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    answering(monkeypatch, answer)
    with pytest.raises(ClusterError, match=r"every node of the cluster: 10\.0\.0\.2 \(node 2\) "):
        nodes.check_storage(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_the_nodes_own_is_not_the_drivers(tmp_path: Path) -> None:
    assert nodes._reaches(str(tmp_path))
    assert not nodes._reaches(str(tmp_path / "absent"))
    assert not (tmp_path / "absent").exists()


def test_a_node_that_does_not_reach_the_address_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bucket").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    local = nodes.working_copy(f"file://{tmp_path}/bucket").local
    answering(monkeypatch, "")
    nodes.check_storage(local)
    answering(monkeypatch, "--storage file:///bucket cannot be used")
    with pytest.raises(ClusterError, match=r"^node 10\.0\.0\.2 \(node 2\): --storage file"):
        nodes.check_storage(local)
