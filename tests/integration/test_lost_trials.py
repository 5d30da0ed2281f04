"""Trials that die or fall silent, budgets that end, and trials that were run before."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from platform.execution.trial_process import read_result
from tests.helpers.sweeps import PAIR, ROOT, Ended, printed, run, sweep, times

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

STEPS = 400
LONG = (f"unlearn.steps={STEPS}", f"unlearn.eval_every={STEPS}", "unlearn.save_every=10")


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lost")


def struck(storage: Path, name: str, number: signal.Signals, *options: str) -> tuple[int, str]:
    """A sweep whose unlearning trial is signalled once it has a snapshot; its status and output."""
    command = sweep(storage, *PAIR, *LONG, options=["--name", name, *options])
    folder = storage / name / "trials" / "ours"
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        while not (folder / "snapshot.safetensors").exists():
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(json.loads((folder / ".alive-0").read_text())["pid"], number)
        out, _ = process.communicate()
    return process.returncode, out


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_trial_is_retried_from_its_snapshot(storage: Path, number: signal.Signals) -> None:
    name = number.name.lower()
    status, out = struck(storage, name, number, "--no-reuse")
    assert status == 0, out
    (line,) = [each for each in out.splitlines() if each.startswith("[") and "stopped" in each]
    assert "ours stopped: worker lost: " in line
    assert "tried again, 1 of at most 2 times" in line
    assert ("no sign of life for 45 s" in line) == (number is signal.SIGSTOP)
    result = read_result(storage / name / "trials" / "ours")
    assert 0 < result["resumed_from"] < STEPS


def interrupted(command: list[str], alive: Path) -> Ended:
    """A session that Ctrl-C ends once a trial gives signs of life."""
    alive.unlink(missing_ok=True)  # a process that was killed leaves it
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while not alive.exists():
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate()
    return Ended(process.returncode, out, err, frozenset())


def test_a_trial_that_may_not_fail_fails_and_is_retried_when_asked(storage: Path) -> None:
    status, out = struck(storage, "once", signal.SIGKILL, "--max-failures", "0", "--no-reuse")
    assert status == 1
    assert "ours failed: worker lost: " in out
    before = times(storage / "once")
    assert set(before) == {"original"}
    program = ["--storage", str(storage), "--name", "once", "--no-reuse"]
    base = sweep(storage)[:3]
    assert run([*base, *program, "--resume"]).status == 1
    assert times(storage / "once") == before
    alive = storage / "once" / "trials" / "ours" / ".alive-0"
    retrying = interrupted([*base, *program, "--retry-failed"], alive)
    assert retrying.status == 130, retrying
    assert "Interrupted: 1 of 2 trials outstanding. To go on:\n" in retrying.out
    # what was asked for is in the ledger: the command need not ask again
    ended = run([*printed(retrying), "--no-reuse", "--no-report"])
    assert ended.status == 0, ended
    after = times(storage / "once")
    assert set(after) == {"original", "ours"}
    assert after["original"] == before["original"]


def test_a_session_ends_after_its_trials_and_after_its_time(storage: Path) -> None:
    command = sweep(storage, *PAIR, *LONG, options=["--name", "short", "--trials", "1"])
    ended = run([*command, "--no-reuse"])
    assert ended.status == 130
    assert "Stopped: 1 trial started (--trials). 1 of 2 trials outstanding." in ended.out
    again = [*sweep(storage)[:3], "--storage", str(storage), "--name", "short", "--resume"]
    ended = run([*again, "--no-reuse", "--time-budget", "1s"])
    assert ended.status == 130
    assert "Stopped: the time budget is spent. 1 of 2 trials outstanding." in ended.out
    assert set(times(storage / "short")) == {"original"}


def test_a_trial_of_another_sweep_is_taken_over_whole(tmp_path: Path) -> None:
    # not where the tests before it leave trials that are the same
    storage = tmp_path
    first, second = (
        run(sweep(storage, *PAIR, options=["--name", name])) for name in ("first", "second")
    )
    assert first.status == second.status == 0, second
    assert "2 trials, 2 of them done before (2 by other sweeps of " in second.out
    for name in ("original", "ours"):
        one, two = (storage / sweep_name / "trials" / name for sweep_name in ("first", "second"))
        left = {path.name: path.read_bytes() for path in one.iterdir()}
        taken = {path.name: path.read_bytes() for path in two.iterdir()}
        assert json.loads(taken.pop("reused.json")) == {"from": f"first/trials/{name}"}
        assert taken == left
    insisted = run(sweep(storage, *PAIR, options=["--name", "third", "--no-reuse"]))
    assert insisted.status == 0
    assert "done before" not in insisted.out
