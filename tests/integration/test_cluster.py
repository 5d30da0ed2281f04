"""A head and further nodes on loopback: jobs followed, stopped and resumed, and nodes lost."""

from __future__ import annotations

import json
import shlex
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from platform.execution.trial_process import read_result
from tests.helpers.nodes import Nodes, two_workers
from tests.helpers.sweeps import PAIR, run, sweep, times
from trainables.config.names import SNAPSHOT

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(3600)]

STEPS = 400
LONG = (f"unlearn.steps={STEPS}", f"unlearn.eval_every={STEPS}", "unlearn.save_every=10")
TWO = ("max_loss", "ours")
PATIENCE_S = 900

WEIGHTS = "weights.safetensors"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    made = Nodes()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every node has it by the same path: a folder that is mounted everywhere."""
    return tmp_path_factory.mktemp("shared")


def submission(
    nodes: Nodes, storage: Path, *settings: str, options: Sequence[str] = ()
) -> list[str]:
    """The command of a tiny sweep as a job."""
    swept = sweep(storage, *settings, options=options)[3:]
    python = ["--python", sys.executable]
    return [sys.executable, "-m", "platform.submit", *swept, "--address", nodes.dashboard, *python]


def told(ended_out: str, what: str) -> list[str]:
    """The words of a command that a submission tells."""
    (line,) = [line for line in ended_out.splitlines() if line.startswith(f"  to {what} ")]
    return shlex.split(line)[2:]


def ray(command: list[str]) -> list[str]:
    """A command of Ray's, in the environment of these tests."""
    assert command[0] == "ray"
    return [sys.executable, "-m", "ray.scripts.scripts", *command[1:]]


def process_of(trial: Path) -> int | None:
    """The number of the process that runs a trial."""
    try:
        return int(json.loads((trial / ".alive-0").read_text())["pid"])
    except (OSError, ValueError):  # it has just begun, or ended
        return None


def test_a_job_is_followed_stopped_resumed_and_reported(nodes: Nodes, storage: Path) -> None:
    lines: list[str] = []

    def stop(line: str) -> None:
        lines.append(line)
        if line.startswith("[1/2] "):
            command = ray(told("".join(lines), "stop"))
            stopper.append(threading.Thread(target=nodes.call, args=(command,)))
            stopper[0].start()

    stopper: list[threading.Thread] = []
    command = submission(nodes, storage, *PAIR, *LONG, options=["--name", "job", "--no-reuse"])
    stopped = nodes.call(command, stop)
    assert stopper, stopped
    stopper[0].join()
    assert stopped.status == 130, stopped
    assert "Interrupted: 1 of 2 trials outstanding. To go on:" in stopped.out
    assert "Traceback" not in stopped.out + stopped.err
    first = times(storage / "job")
    assert len(first) == 1
    assert nodes.token not in stopped.out + stopped.err

    # the job itself said how it goes on
    again = stopped.out.partition("To go on:\n")[2].splitlines()[0]
    words = shlex.split(again)
    assert words[:3] == ["python", "-m", "platform.submit"]
    resumed = nodes.call([sys.executable, *words[1:], "--python", sys.executable])
    assert resumed.status == 0, resumed
    assert "1 of them done before" in resumed.out
    after = times(storage / "job")
    assert set(after) == {"original", "ours"}
    assert first.items() <= after.items()
    report = [sys.executable, "-m", "analysis.tables", "job", "--storage", str(storage)]
    made = run(report)
    assert made.status == 0, made
    assert list((storage / "job" / "analysis").glob("*.csv"))


def test_a_node_that_is_lost_costs_its_trial_a_retry(nodes: Nodes, storage: Path) -> None:
    lost = nodes.add()
    folder = storage / "lost" / "trials"
    settings = (f"method={','.join(TWO)}", *PAIR[1:], *LONG)
    options = ["--name", "lost", "--address", nodes.address, "--no-reuse"]
    killed: list[str] = []

    def kill() -> None:
        """The node, once the trial that it runs has a snapshot."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and not killed:
            for trial in folder.glob("*"):
                if (trial / SNAPSHOT).exists() and process_of(trial) in nodes.pids(lost):
                    nodes.kill(lost)
                    killed.append(trial.name)
                    break
            time.sleep(0.1)

    killer = threading.Thread(target=kill)
    killer.start()
    ended = nodes.call(sweep(storage, *settings, options=options))
    killer.join()
    assert killed, ended
    assert ended.status == 0, ended
    assert f"{killed[0]} stopped: " in ended.out
    assert "tried again, 1 of at most 2 times" in ended.out
    rows = pq.read_table(storage / "lost" / "results.parquet").to_pylist()
    assert {row["name"]: row["state"] for row in rows} == dict.fromkeys(TWO, "finished")
    assert 0 < read_result(folder / killed[0])["resumed_from"] < STEPS


def test_two_workers_on_two_nodes_are_two_on_one(nodes: Nodes, storage: Path) -> None:
    """Bit for bit. Half of each node's CPU is held, so that neither has room for both."""
    nodes.add()
    results = {}
    for name, on in (("apart", 2), ("together", 1)):
        folder = storage / "spread" / "trials" / name
        ended = nodes.call(two_workers(nodes, str(folder), str(storage / "cache"), name))
        assert ended.status == 0, ended
        assert len(set(ended.out.split())) == on, ended
        results[name] = (read_result(folder)["metrics"], (folder / WEIGHTS).read_bytes())
    assert results["apart"] == results["together"]
