"""A sweep whose ledger another client holds stops in order, and loses nothing by it."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
from pathlib import Path

import pytest

from tests.helpers.ledgers import held
from tests.helpers.sweeps import PAIR, Ended, printed, run, sweep, times, watched

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]


@dataclasses.dataclass(frozen=True)
class Session:
    """A session of a sweep, and when the results were written that it left behind."""

    ended: Ended
    times: dict[str, int]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("held")


@pytest.fixture(scope="module")
def stopped(storage: Path) -> Session:
    """Its ledger is held from its first line on, and until it has ended."""
    with contextlib.ExitStack() as holding:

        def see(process: subprocess.Popen[str], line: str) -> None:
            if line.startswith("Sweep a:"):
                holding.enter_context(held(storage / "a" / "ledger.db"))

        ended = watched(sweep(storage, *PAIR, options=["--name", "a"]), see)
    return Session(ended, times(storage / "a"))


@pytest.fixture(scope="module")
def finished(storage: Path, stopped: Session) -> Session:
    """Resumed by the command that it printed."""
    return Session(run(printed(stopped.ended)), times(storage / "a"))


def test_it_ends_in_130_with_its_table_the_cause_and_how_to_go_on(
    stopped: Session, storage: Path
) -> None:
    assert stopped.ended.status == 130, stopped.ended
    why = f"{storage / 'a' / 'ledger.db'} cannot be written (database is locked)"
    assert f"\nStopped: {why}. 2 of 2 trials outstanding. To go on:\n" in stopped.ended.out
    assert "2 trials did not finish (interrupted 2)" in stopped.ended.out
    assert "Traceback" not in stopped.ended.out + stopped.ended.err
    assert len(stopped.ended.err) < 500
    assert stopped.ended.processes_left() == set()


def test_what_had_ended_meanwhile_is_taken_in_and_not_run_again(
    stopped: Session, finished: Session
) -> None:
    assert finished.ended.status == 0, finished.ended
    assert stopped.times
    assert stopped.times.items() <= finished.times.items()
    assert f"2 trials, {len(stopped.times)} of them done before" in finished.ended.out


def test_the_next_sweep_takes_over_what_was_taken_in(storage: Path, finished: Session) -> None:
    following = run(sweep(storage, *PAIR, options=["--name", "b"]))
    assert following.status == 0, following
    assert "2 trials, 2 of them done before (2 by other sweeps of " in following.out
