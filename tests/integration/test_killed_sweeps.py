"""Sweeps that are killed at a random moment and resumed, and sweeps that share a storage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.sweeps import PAIR, sweep, times
from tests.reliability.kills import killed_and_resumed
from tests.reliability.pair import crossed
from tests.reliability.running import Running


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_sweep_goes_on(seed: int, tmp_path: Path) -> None:
    # soon enough to hit a sweep of a quick machine
    found = killed_and_resumed(tmp_path, seed, kills=1, latest_s=20.0)
    assert found.kills == 1
    assert found.faults == 0, found


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_sweeps_at_once_share_a_storage_and_nothing_else(tmp_path: Path) -> None:
    assert crossed(tmp_path, search=0, equal=False) == []


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_sweeps_without_a_name_that_start_at_one_moment_get_a_name_each(
    tmp_path: Path,
) -> None:
    command = sweep(tmp_path, *PAIR, options=["--no-reuse"])
    with Running(command) as one, Running(command) as other:
        ended = [(each.end(), each.out) for each in (one, other)]
    assert [status for status, _ in ended] == [0, 0], ended
    names = {out.partition("Sweep ")[2].partition(":")[0] for _, out in ended}
    assert names == {"quickstart", "quickstart-2"}
    for name in names:
        assert set(times(tmp_path / name)) == {"original", "ours"}
