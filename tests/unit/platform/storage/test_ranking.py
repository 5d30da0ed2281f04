"""What is feasible, and which of two measured trials is the better one."""

from __future__ import annotations

import pytest

from platform.storage.ranking import is_feasible, rank


@pytest.mark.parametrize(
    ("violation", "feasible"),
    [(-0.1, True), (0.0, True), (1e-9, False), (float("nan"), False), (None, False)],
)
def test_a_feasible_trial_kept_its_retain_images(violation: float | None, feasible: bool) -> None:
    assert is_feasible(violation) is feasible


def test_the_feasible_come_first_by_their_objective_then_the_others_by_their_violation() -> None:
    figures = [(9.0, 0.3), (-1.0, -0.9), (4.0, 0.01), (2.5, -0.2), (2.0, 0.0)]
    ranked = sorted(figures, key=lambda each: rank(*each), reverse=True)
    assert ranked == [(2.5, -0.2), (2.0, 0.0), (-1.0, -0.9), (4.0, 0.01), (9.0, 0.3)]
