"""A cluster whose nodes share no folder, and a storage in a real S3-compatible server."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform.execution.trial_process import read_result
from tests.helpers.nodes import Nodes, two_workers
from tests.helpers.object_store import VARIABLES, ObjectStore
from tests.helpers.sweeps import PAIR, resumed, sweep, times
from tests.reliability.whole import broken_files, faults, states
from trainables.config.names import SNAPSHOT
from trainables.utils.object_store import Mirror

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(3600)]

STEPS = 400
LONG = (f"unlearn.steps={STEPS}", f"unlearn.eval_every={STEPS}", "unlearn.save_every=10")
WEIGHTS = "weights.safetensors"
PATIENCE_S = 900


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    made = ObjectStore(tmp_path_factory.mktemp("store"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def nodes(store: ObjectStore) -> Iterator[Nodes]:
    made = Nodes(variables=VARIABLES)
    made.add()
    yield made
    made.stop()


@pytest.fixture
def there(
    store: ObjectStore, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The storage's address, one a test."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    return store.address(request.node.name)


def brought(address: str, folder: Path) -> Path:
    """All that a storage holds, on a machine that has not seen it."""
    copy = Mirror(folder, address)
    copy.mark()
    assert copy.pull(folder)
    return folder


def test_a_sweep_that_was_killed_goes_on_from_the_store_on_another_machine(
    nodes: Nodes, there: str, tmp_path: Path
) -> None:
    command = [*sweep(there, *PAIR, *LONG), "--name", "a"]
    command = [*command, "--address", nodes.address, "--debug"]
    killed: list[bool] = []

    def kill() -> None:
        """The driver, once one trial has ended and the other has a snapshot in the store."""
        seen = Mirror(tmp_path / "seen", there)
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and not killed:
            time.sleep(0.2)
            names = {path.name for path in present(seen)}
            if {"result.json", SNAPSHOT} <= names:
                (pid,) = drivers(there)
                os.kill(pid, signal.SIGKILL)
                killed.append(True)

    killer = threading.Thread(target=kill)
    killer.start()
    first = nodes.call(command, machine="first")
    killer.join()
    assert killed, first
    assert first.status == -signal.SIGKILL, first
    before = times(brought(there, tmp_path / "before") / "a")
    assert set(before) == {"original"}

    again = [*resumed(there, "a"), "--address", nodes.address]
    second = nodes.call(again, machine="second")
    assert second.status == 0, second
    assert "1 of them done before" in second.out
    assert VARIABLES["AWS_SECRET_ACCESS_KEY"] not in first.out + first.err + second.out + second.err

    whole = brought(there, tmp_path / "after")
    after = times(whole / "a")
    assert set(after) == {"original", "ours"}
    assert before.items() <= after.items()
    assert 0 < read_result(whole / "a" / "trials" / "ours")["resumed_from"] < STEPS
    assert faults(whole, "a", whole / "a" / "mlflow.db") == []
    assert states(whole / "a" / "mlflow.db") == {"FINISHED": 3}
    assert broken_files(whole) == []
    assert not list(whole.rglob(SNAPSHOT))
    files = {
        trial: sorted(path.name for path in (whole / "a" / "trials" / trial).iterdir())
        for trial in after
    }
    assert files["original"] == files["ours"]
    assert {WEIGHTS, "samples.png", "tsne.png", "config.json"} <= set(files["ours"])

    # both nodes did their part, each in its own folder
    for node in ("1", "2"):
        temporary = nodes.temporary(nodes.address.rpartition(".")[0] + f".{node}")
        assert list(temporary.glob("unlearn-*/cache/data-*/material.json"))
    report = [sys.executable, "-m", "analysis.tables", "a", "--storage", there]
    made = nodes.call(report, machine="third")
    assert made.status == 0, made
    assert list((brought(there, tmp_path / "after") / "a" / "analysis").glob("*.csv"))


def present(copy: Mirror) -> list[Path]:
    """The files of a storage's trials, as they are there now."""
    copy.pull(copy.local / "a" / "trials", exact=True)
    return list((copy.local / "a" / "trials").glob("*/*"))


def drivers(address: str) -> list[int]:
    """The processes that drive a sweep of a storage."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except OSError:  # it has just ended
            continue
        if "platform.sweep" in words and address in words:
            found.append(int(path.parent.name))
    return found


def test_two_workers_on_two_nodes_that_share_no_folder(
    nodes: Nodes, there: str, tmp_path: Path
) -> None:
    results = {}
    for name, on in (("apart", 2), ("together", 1)):
        command = two_workers(nodes, f"spread/trials/{name}", "cache", name, there)
        ended = nodes.call(command)
        assert ended.status == 0, ended
        assert len(set(ended.out.split())) == on, ended
        folder = brought(there, tmp_path / name) / "spread" / "trials" / name
        results[name] = (read_result(folder)["metrics"], (folder / WEIGHTS).read_bytes())
    assert results["apart"] == results["together"]
