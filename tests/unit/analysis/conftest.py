"""A small recorded sweep."""

import shutil

import pytest

from tests.helpers.recorded import plan_of, record_sweep


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """The plan of a sweep that was recorded; no test changes it."""
    plan = plan_of(tmp_path_factory.mktemp("runs"))
    record_sweep(plan)
    return plan


@pytest.fixture
def storage(recorded, tmp_path):
    """A copy that a test may damage."""
    shutil.copytree(recorded.storage, tmp_path / "runs")
    return tmp_path / "runs"
