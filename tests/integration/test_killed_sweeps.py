"""Sweeps that are killed at a random moment and resumed lose nothing and double nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability import killed_and_resumed


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_sweep_goes_on(seed: int, tmp_path: Path) -> None:
    found = killed_and_resumed(tmp_path, seed, kills=1)
    assert found.kills == 1
    assert found.faults == 0, found
