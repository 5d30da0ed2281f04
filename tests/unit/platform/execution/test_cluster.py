"""What is said of a cluster that cannot be joined, and of a Ray that does not start."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import types
from collections.abc import Iterator

import pytest

from platform.execution import cluster
from platform.execution.cluster import ClusterError


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


def test_ctrl_c_while_ray_is_imported_stays_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "_start", interrupted)
    monkeypatch.setitem(sys.modules, "ray", None)  # it cannot be imported
    with pytest.raises(KeyboardInterrupt), cluster.local(1, 0):
        pass


def test_ctrl_c_waits_until_ray_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def start(*given: object, **options: object) -> None:
        signal.raise_signal(signal.SIGINT)
        done.append("whole")

    monkeypatch.setattr(cluster, "_start", start)
    monkeypatch.setattr(cluster, "leave", lambda: None)
    # a background process of a script ignores it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), cluster.local(1, 0):
            done.append("went on")
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == ["whole"]


def test_sigterm_while_ray_starts_stops_as_ctrl_c_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: object) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
        signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(init=init))
    with pytest.raises(KeyboardInterrupt):
        cluster._start(False)
    assert signal.getsignal(signal.SIGTERM) is before


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


def test_a_ray_that_does_not_start_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(debug: bool, **options: object) -> None:
        raise RuntimeError("The node failed\nto come up in 30 s")

    monkeypatch.setattr(cluster, "_start", late)
    told = r"failed to come up.*--resume goes on"
    with pytest.raises(cluster.StartError, match=told), cluster.local(1, 0):
        raise AssertionError("it did")
