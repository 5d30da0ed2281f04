"""Where the time went: phases that follow each other, and the parts of trials."""

from __future__ import annotations

from pathlib import Path

from platform.cli.timing import Phases, trial_times
from platform.plan.build import make_plan
from platform.search.trial_record import Entry
from search_spaces import STUDIES


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


def test_trials_are_split_model_by_model() -> None:
    plan = make_plan(STUDIES["quickstart"], name="a", storage=Path("runs"))
    timing = {"train_s": 6.0, "evaluation_s": 3.0, "artifacts_s": 1.0}
    entries = [
        Entry(trial=trial, state="finished", result={"timing": timing}, duration_s=12.0)
        for trial in plan.trials
        if trial.config.model != "palette_tiny"
    ]
    lost = Entry(trial=plan.trials[-1], state="failed", cause="crash")
    shares = "(unlearning 50%, completing and measuring 25%, pictures and weights 8%)"
    assert trial_times([*entries, lost]) == [
        f"  mae_tiny: 19 trials, 12 s each {shares}",
        f"  mage_tiny: 7 trials, 12 s each {shares}",
    ]
