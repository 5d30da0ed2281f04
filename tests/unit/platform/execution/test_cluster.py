"""What is said of a cluster that cannot be joined, and what a sweep on one may not name."""

from __future__ import annotations

import dataclasses
import os
import shlex
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform.cli.messages import SUBMITTED_TO, resume_command
from platform.cli.requested_plan import _relative_paths
from platform.execution import cluster
from platform.execution.cluster import ClusterError
from platform.plan.build import make_plan
from search_spaces import STUDIES
from tests.helpers.command import Captured, refused


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Joining sets variables of Ray's."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_where_nobody_listens_that_is_said_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(ClusterError) as caught:
        cluster.join(f"127.0.0.1:{port}")
    assert f"--address 127.0.0.1:{port}: no cluster answers there" in str(caught.value)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("address", ["http://head:8265", "ray://head:10001"])
def test_from_elsewhere_a_sweep_is_submitted(address: str) -> None:
    with pytest.raises(ClusterError, match=r"python -m platform\.submit takes"):
        cluster.join(address)


@pytest.mark.parametrize("address", ["head", "head:port"])
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(ClusterError, match=f"--address {address}: "):
        cluster.join(address)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Failed to connect", "Unauthenticated: RPC error: InvalidAuthToken: missing or incorrect"),
        ("Request failed with status code 401: no", ""),
        ("Token authentication is enabled but no token was found", ""),
    ],
)
def test_a_token_that_is_not_known_is_told_from_an_absent_cluster(line: str, said: str) -> None:
    told = cluster.reason(RuntimeError(line), said)
    assert told == f"the cluster wants a token that it knows: {cluster.AUTH_REMEDY}"
    assert "RAY_AUTH_TOKEN" in told


def test_what_rays_parts_write_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    with cluster._errors_kept(debug=False) as kept:
        os.write(2, b"InvalidAuthToken\n")
        kept.seek(0)
        assert kept.read() == "InvalidAuthToken\n"
    os.write(2, b"seen\n")
    with cluster._errors_kept(debug=True):
        os.write(2, b"seen too\n")
    assert capfd.readouterr().err == "seen\nseen too\n"


def test_paths_on_a_cluster_are_absolute(capsys: Captured, tmp_path: Path) -> None:
    lines = refused(capsys, "--address", "127.0.0.1:1", "--storage", "runs")
    assert lines == [
        "--storage=runs: on a cluster a path is absolute, and the same on every node",
    ]
    plan = make_plan(STUDIES["quickstart"], name="a", storage=tmp_path)
    config = plan.trials[0].config
    data = dataclasses.replace(
        config.data, source="folder", root="photos", split_file="/shared/roles.csv"
    )
    trial = dataclasses.replace(plan.trials[0], config=dataclasses.replace(config, data=data))
    assert _relative_paths(dataclasses.replace(plan, trials=(trial,)), str(tmp_path)) == [
        "data.root=photos: on a cluster a path is absolute, and the same on every node"
    ]


def test_a_sweep_on_a_cluster_goes_on_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(STUDIES["quickstart"], name="a", storage=tmp_path)
    words = shlex.split(resume_command(plan, None, "10.0.0.1:6379"))
    assert words[1:] == [
        *("-m", "platform.sweep", "--name", "a", "--resume", "--address", "10.0.0.1:6379"),
        *("--storage", str(tmp_path)),
    ]
    monkeypatch.setenv(SUBMITTED_TO, "http://head:8265")
    words = shlex.split(resume_command(plan, None, "auto"))
    assert words == [
        *("python", "-m", "platform.submit", "--name", "a", "--resume"),
        *("--address", "http://head:8265", "--storage", str(tmp_path)),
    ]
    assert "platform.sweep" in resume_command(plan, None)


def test_a_ray_that_does_not_start_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(debug: bool, **options: object) -> None:
        raise RuntimeError("The node failed\nto come up in 30 s")

    monkeypatch.setattr(cluster, "_start", late)
    told = r"failed to come up.*--resume goes on"
    with pytest.raises(cluster.StartError, match=told), cluster.local(1, 0):
        raise AssertionError("it did")
