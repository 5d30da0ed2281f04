"""Where the numbers of a file come from, in one line."""

import dataclasses

import pytest

from analysis.provenance import provenance
from tests.helpers.rows import row, sweep_of


@pytest.mark.parametrize(
    ("environment", "commit"),
    [
        ({"git_commit": "c0ffee", "git_dirty": False}, "c0ffee"),
        ({"git_commit": "c0ffee", "git_dirty": True}, "c0ffee with changes"),
        ({}, "unknown"),
    ],
)
def test_the_commit_is_named_with_its_changes(environment, commit):
    sweep = sweep_of([row("ours", 1.0, 2.0, data_hash=name) for name in ("b", "a", "b")])
    sweep = dataclasses.replace(sweep, environment=environment)
    assert provenance(sweep).line == f"Sweep small, commit {commit}, data a, b."
