"""A session of a sweep: where its time goes, and its report."""

from __future__ import annotations

from platform.cli.session import Phases


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_phases_add_up_to_the_whole() -> None:
    clock = Clock()
    phases = Phases("to start", clock)
    for seconds, label in ((14, "of shared work"), (20, "of trials")):
        clock.now += seconds
        phases.begin(label)
    clock.now += 436
    assert phases.describe() == (
        "7 min 50 s: 14 s to start, 20 s of shared work, 7 min 16 s of trials"
    )
