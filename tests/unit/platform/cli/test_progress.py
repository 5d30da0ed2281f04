"""What a sweep tells while it runs: plain lines in a file, one refreshed line on a terminal."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest

from platform.cli.progress import Progress, outcome
from platform.plan.build import make_plan
from platform.plan.plan import Plan, PlannedTrial
from platform.search.trial_record import Entry
from tests.helpers.studies import ONE_FAMILY
from trainables.utils.text import duration

CLEAR = "\r\x1b[2K"


class Terminal(io.StringIO):
    """Text that a person reads as it comes."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Shows the seconds that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def plan() -> Plan:
    """The original, Ours at its default, and two points of its search."""
    settings = ["method=original,ours", "retain_source=real", "search.trials=2"]
    return make_plan(ONE_FAMILY, name="a", storage=Path("runs"), overrides=settings)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")


def result_of(forget_ratio: float, violation: float = -0.1) -> dict[str, Any]:
    return {"metrics": {"val/objective": math.log(forget_ratio), "val/violation": violation}}


def ended(trial: PlannedTrial, ratio: float, violation: float = -0.1) -> Entry:
    result = result_of(ratio, violation)
    return Entry(trial=trial, state="finished", result=result, duration_s=4.0)


def test_a_file_gets_a_line_a_trial_and_nothing_else(plan: Plan, clock: Clock) -> None:
    stream = io.StringIO()
    progress = Progress(plan, stream, clock=clock, trial_s=lambda trial: 1.0)
    original, ours, first, _ = plan.trials
    progress.started(original)
    progress.reported(original, {"step": 40})
    clock.now += 3
    progress.finished(original, result_of(1.0, -math.log(1.1)))
    progress.started(ours)
    progress.failed(ours, "non-finite", "val/objective is nan")
    progress.started(first)
    clock.now += 65
    progress.finished(first, result_of(2.5, 0.0))
    progress.close()
    assert stream.getvalue().splitlines() == [
        "[1/4] original: forget FD x1.00, retain FD x1.00 (3 s); 9 s left",
        "[2/4] ours failed: non-finite: val/objective is nan; 6 s left",
        "[3/4] ours-s1: forget FD x2.50, retain FD x1.10 (1 min 05 s); 34 s left",
    ]
    assert stream.getvalue().endswith("\n")


@pytest.mark.usefixtures("wide")
def test_a_terminal_has_one_line_that_is_refreshed(plan: Plan, clock: Clock) -> None:
    stream = Terminal()
    progress = Progress(plan, stream, clock=clock, trial_s=lambda trial: 8.0)
    original = plan.trials[0]
    progress.started(original)
    assert stream.getvalue() == (
        f"{CLEAR}[0/4] done, 1 running (original), 0 failed, 3 waiting, 28 s left"
    )
    progress.reported(original, {"step": 40})
    assert stream.getvalue().rpartition(CLEAR)[2] == (
        "[0/4] done, 1 running (original step 40), 0 failed, 3 waiting, 28 s left"
    )
    clock.now += 2
    progress.finished(original, result_of(1.0, -math.log(1.1)))
    *_, lasting, status = stream.getvalue().split(CLEAR)
    assert lasting == "[1/4] original: forget FD x1.00, retain FD x1.00 (2 s)\n"
    assert status == "[1/4] done, 0 running, 0 failed, 3 waiting, 6 s left"
    progress.close()
    assert stream.getvalue().endswith(status + CLEAR)
    progress.close()
    assert stream.getvalue().endswith(status + CLEAR)


def test_a_narrow_terminal_never_wraps(
    plan: Plan, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    stream = Terminal()
    progress = Progress(plan, stream, clock=clock, trial_s=lambda trial: 1.0)
    for trial in plan.trials:
        progress.started(trial)
    shown = stream.getvalue().split(CLEAR)[1:]
    assert len(shown) == 4
    assert {len(line) for line in shown} == {29}


def test_time_left_follows_the_trials_so_far(plan: Plan, clock: Clock) -> None:
    progress = Progress(plan, io.StringIO(), clock=clock, at_once=2, trial_s=lambda trial: 10.0)
    first, second, third, _ = plan.trials
    assert progress.seconds_left() == 4 * 10 / 2
    progress.started(first)
    progress.started(second)
    assert progress.seconds_left() == (2 + 2 / 2) * 10 / 2
    clock.now += 4
    progress.finished(first, result_of(1.0))
    assert progress.seconds_left() == (2 + 1 / 2) * 4 / 2
    clock.now += 4
    progress.finished(second, result_of(2.0))
    progress.started(third)
    assert progress.seconds_left() == (1 + 1 / 2) * 6 / 2
    progress.failed(third, "crash", "lost")
    assert progress.seconds_left() == 1 * 6 / 2


def test_the_end_has_no_time_left(plan: Plan, clock: Clock) -> None:
    progress = Progress(plan, io.StringIO(), clock=clock, trial_s=lambda trial: 1.0)
    for trial in plan.trials:
        progress.started(trial)
        progress.finished(trial, result_of(1.5))
    assert progress.status() == (
        "[4/4] done, 0 running, 0 failed, 0 waiting, best ours: forget FD x1.50, retain FD x1.00"
    )
    assert progress.seconds_left() == 0.0


def test_the_best_is_feasible_where_any_is_and_never_the_original(plan: Plan, clock: Clock) -> None:
    progress = Progress(plan, io.StringIO(), clock=clock, trial_s=lambda trial: 1.0)
    original, ours, first, second = plan.trials
    progress.finished(original, result_of(9.0))
    assert "best" not in progress.status()
    progress.finished(ours, result_of(8.0, 0.5))
    assert "best ours: forget FD x8.00, retain FD x1.81, retains too little" in progress.status()
    progress.finished(first, result_of(2.0))
    assert "best ours-s1: forget FD x2.00, retain FD x1.00" in progress.status()
    progress.finished(second, result_of(1.5))
    assert "best ours-s1" in progress.status()


def test_a_trial_just_beyond_the_limit_is_not_rounded_to_it(plan: Plan, clock: Clock) -> None:
    progress = Progress(plan, io.StringIO(), clock=clock, trial_s=lambda trial: 1.0)
    progress.finished(plan.trials[1], result_of(2.0, 0.001))
    assert "retain FD x1.1011, retains too little" in progress.status()


def test_a_sweep_that_goes_on_counts_what_ended_before(plan: Plan, clock: Clock) -> None:
    original, ours, first, second = plan.trials
    entries = (
        ended(original, 1.0),
        ended(ours, 3.0),
        Entry(trial=first, state="failed", cause="non-finite"),
        Entry(trial=second, state="interrupted"),
    )
    progress = Progress(
        plan, io.StringIO(), clock=clock, trial_s=lambda trial: 5.0, entries=entries
    )
    assert progress.status() == (
        "[3/4] done, 0 running, 1 failed, 1 waiting, "
        "best ours: forget FD x3.00, retain FD x1.00, 4 s left"
    )


def test_trials_that_tpe_proposes_later_are_waited_for(clock: Clock) -> None:
    settings = ["method=ours", "retain_source=real", "search.trials=14"]
    plan = make_plan(ONE_FAMILY, name="a", storage=Path("runs"), overrides=settings)
    progress = Progress(plan, io.StringIO(), clock=clock, trial_s=lambda trial: 1.0)
    assert progress.status().startswith("[0/15] done, 0 running, 0 failed, 15 waiting")


# --- Shared work -----------------------------------------------------------------------------


def test_shared_work_is_told_at_its_ends_and_every_ten_seconds(plan: Plan, clock: Clock) -> None:
    stream = io.StringIO()
    progress = Progress(plan, stream, clock=clock, trial_s=lambda trial: 1.0)
    for step in range(0, 101, 10):
        progress.tell_shared_work("training the original", step, 100)
        clock.now += 4
    assert stream.getvalue().splitlines() == [
        "training the original 0/100",
        "training the original 30/100, 28 s left",
        "training the original 60/100, 16 s left",
        "training the original 90/100, 4 s left",
        "training the original 100/100, 0 s left",
    ]


def test_shared_work_that_goes_on_counts_from_its_first_step(plan: Plan, clock: Clock) -> None:
    stream = io.StringIO()
    progress = Progress(plan, stream, clock=clock, trial_s=lambda trial: 1.0)
    progress.tell_shared_work("training the original", 80, 100)
    clock.now += 10
    progress.tell_shared_work("training the original", 90, 100)
    assert stream.getvalue().splitlines()[-1] == "training the original 90/100, 10 s left"


@pytest.mark.usefixtures("wide")
def test_shared_work_refreshes_the_line_of_a_terminal(plan: Plan, clock: Clock) -> None:
    stream = Terminal()
    progress = Progress(plan, stream, clock=clock, trial_s=lambda trial: 1.0)
    progress.tell_shared_work("tokens", 1, 4)
    clock.now += 1
    progress.tell_shared_work("tokens", 2, 4)
    assert stream.getvalue() == f"{CLEAR}tokens 1/4{CLEAR}tokens 2/4, 2 s left"
    progress.close()
    assert stream.getvalue().endswith(CLEAR)


# --- Words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1.0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185.0, "3 min 05 s"),
        (3599.9, "1 h 00 min"),
        (7800.0, "2 h 10 min"),
        (360000.0, "100 h 00 min"),
        (863999.0, "239 h 59 min"),
        (864000.0, "10 days 00 h"),
        (1064000.0, "12 days 07 h"),
    ],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_outcome_says_where_too_little_is_kept(plan: Plan) -> None:
    trial = plan.trials[1]
    kept, lost = ended(trial, 2.0, 0.0), ended(trial, 20.0, math.log(2.0))
    assert outcome(kept) == "forget FD x2.00, retain FD x1.10"
    assert outcome(lost) == "forget FD x20.00, retain FD x2.20, retains too little"


def test_how_long_a_trial_may_take_is_not_asked_again_at_every_look(plan: Plan) -> None:
    asked: list[str] = []

    def trial_s(trial: PlannedTrial) -> float:
        asked.append(trial.name)
        return 2.0

    progress = Progress(plan, Terminal(), trial_s=trial_s)
    before = len(asked)
    assert progress.seconds_left() == progress.seconds_left() == 2.0 * plan.total
    assert len(asked) == before
