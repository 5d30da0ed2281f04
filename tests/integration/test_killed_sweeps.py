"""Sweeps that are killed at a random moment and resumed, and sweeps that share a storage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.kills import killed_and_resumed
from tests.reliability.pair import crossed


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
