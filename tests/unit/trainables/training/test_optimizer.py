"""The rate of each step: a warm-up, then the schedule."""

from __future__ import annotations

import pytest

from trainables.config import UnlearnConfig
from trainables.training.optimizer import learning_rate


def rates(**options: float | str) -> list[float]:
    config = UnlearnConfig(steps=10, lr=1.0, **options)  # type: ignore[arg-type]
    return [learning_rate(config, step) for step in range(10)]


def test_half_a_cosine_falls_from_the_peak_towards_zero() -> None:
    found = rates(warmup=0.2)
    assert found[:3] == [0.5, 1.0, 1.0]
    assert found[6] == pytest.approx(0.5)
    assert found[2:] == sorted(found[2:], reverse=True)
    assert 0.0 < found[-1] < 0.05


def test_a_constant_rate_stays_at_its_peak_after_the_warm_up() -> None:
    assert rates(warmup=0.2, schedule="constant") == [0.5, *[1.0] * 9]
    assert rates(warmup=0.0, schedule="constant") == [1.0] * 10


def test_a_warm_up_of_most_steps_leaves_the_rest_to_the_schedule() -> None:
    found = rates(warmup=5 / 6)
    assert found[:8] == pytest.approx([step / 8 for step in range(1, 9)])
    assert found[8:] == pytest.approx([1.0, 0.5])
