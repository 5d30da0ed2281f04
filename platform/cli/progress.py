"""Shows how a sweep goes: one refreshed line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from platform.plan.plan import Plan, PlannedTrial
from platform.search.trial_record import Entry
from trainables.utils.text import duration

_PLAIN_EVERY_S = 10.0
_CLEAR = "\r\x1b[2K"


class Progress:
    """Tells what was done, what runs, what is best so far, and how long the rest takes.

    Args:
        plan: the sweep.
        stream: where the lines are written.
        at_once: how many trials run at once.
        trial_s: returns the seconds that a trial may take; what finished trials took scales them.
        entries: trials that ended before, in a sweep that goes on.
        total: returns how many trials there are; by default the most that the plan has.
        clock: returns seconds that only grow.
    """

    def __init__(
        self,
        plan: Plan,
        stream: TextIO,
        *,
        at_once: int = 1,
        trial_s: Callable[[PlannedTrial], float] = lambda trial: 0.0,
        entries: tuple[Entry, ...] = (),
        total: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._stream = stream
        self._terminal = stream.isatty()
        self._at_once = max(1, at_once)
        self._trial_s = trial_s
        self._clock = clock
        self._total = total or (lambda: plan.total)
        self._began: dict[str, float] = {}
        self._running: dict[str, float] = {}
        self._steps: dict[str, int] = {}
        # of the finished trials: seconds that they took, and that they were thought to take
        self._took, self._thought = 0.0, 0.0
        for entry in entries:
            if entry.state == "finished":
                self._took += entry.duration_s
                self._thought += trial_s(entry.trial)
        ended = {entry.trial.key for entry in entries if entry.state != "interrupted"}
        # asked once a trial: in a long sweep every look at the clock would ask it of thousands
        self._each = sum(map(trial_s, plan.trials)) / max(len(plan.trials), 1)
        self._waiting = {t.key: trial_s(t) for t in plan.trials if t.key not in ended}
        self._shared_work: dict[str, tuple[float, int, float]] = {}
        self._done = sum(entry.state in ("finished", "pruned") for entry in entries)
        self._failed = sum(entry.state == "failed" for entry in entries)
        self._best: Entry | None = None
        for entry in entries:
            self._consider(entry)
        self._status = ""

    def tell_shared_work(self, label: str, step: int, total: int) -> None:
        """Tells how far work that trials share has come, and how long the rest of it takes.

        Args:
            label: names the work.
            step: steps that are done, of `total`.
            total: steps of the work.
        """
        now = self._clock()
        began, first, told = self._shared_work.get(label, (now, step, -_PLAIN_EVERY_S))
        left = (now - began) / (step - first) * (total - step) if step > first else None
        text = f"{label} {step}/{total}" + ("" if left is None else f", {duration(left)} left")
        if not self._terminal and (step == total or now - told >= _PLAIN_EVERY_S):
            self._line(text)
            told = now
        self._shared_work[label] = (began, first, told)
        self._refresh(text)

    def started(self, trial: PlannedTrial) -> None:
        """Counts a trial as running; this and what follows are of `TrialListener`."""
        self._began[trial.name] = self._clock()
        self._running[trial.name] = self._trial_s(trial)
        self._waiting.pop(trial.key, None)
        self._refresh()

    def reported(self, trial: PlannedTrial, metrics: Mapping[str, Any]) -> None:
        """Shows the step up to which a trial was evaluated."""
        self._steps[trial.name] = int(metrics.get("step", 0))
        self._refresh()

    def finished(self, trial: PlannedTrial, result: Mapping[str, Any]) -> None:
        """Tells the figures of a finished trial."""
        seconds = self._ended(trial)
        self._done += 1
        self._took += seconds
        self._thought += self._trial_s(trial)
        entry = Entry(trial=trial, state="finished", result=result, duration_s=seconds)
        self._consider(entry)
        self._tell(trial, f": {outcome(entry)} ({duration(seconds)})")

    def pruned(self, trial: PlannedTrial, metrics: Mapping[str, Any]) -> None:
        """Tells that a trial was stopped early."""
        self._ended(trial)
        self._done += 1
        step = int(metrics["step"])
        self._tell(trial, f": stopped at step {step}, behind others of its variant")

    def failed(self, trial: PlannedTrial, cause: str, message: str) -> None:
        """Tells why a trial failed."""
        self._ended(trial)
        self._failed += 1
        self._tell(trial, f" failed: {cause}: {message}")

    def retried(
        self, trial: PlannedTrial, cause: str, message: str, attempts: int, most: int
    ) -> None:
        """Tells why an attempt was lost, and that the trial runs again."""
        again = f"tried again, {attempts} of at most {most} times"
        self.put_back(trial, cause, f"{message}; {again}")

    def put_back(self, trial: PlannedTrial, cause: str, message: str) -> None:
        """Tells why an attempt was lost, after which the trial is outstanding."""
        self._ended(trial)
        self._waiting[trial.key] = self._trial_s(trial)
        self._tell(trial, f" stopped: {cause}: {message}")

    def close(self) -> None:
        """Clears the refreshed line."""
        if self._terminal and self._status:
            self._write(_CLEAR)
        self._status = ""

    def status(self) -> str:
        """Puts the sweep into one line: done, running, failed, best so far, time left."""
        running = [
            f"{name} step {self._steps[name]}" if name in self._steps else name
            for name in self._began
        ]
        left = self._outstanding()
        parts = [
            f"{self._count()} done",
            f"{len(running)} running" + (f" ({', '.join(running)})" if running else ""),
            f"{self._failed} failed",
            f"{left - len(running)} waiting",
        ]
        if self._best is not None:
            parts.append(f"best {self._best.trial.name}: {outcome(self._best)}")
        if left:
            parts.append(f"{duration(self.seconds_left())} left")
        return ", ".join(parts)

    def seconds_left(self) -> float:
        """Estimates the seconds left; trials under way have on average half of theirs to go."""
        known = sum(self._waiting.values())
        later = self._outstanding() - len(self._began) - len(self._waiting)
        thought = known + max(0, later) * self._each + sum(self._running.values()) / 2
        pace = self._took / self._thought if self._thought else 1.0
        return pace * thought / self._at_once

    def _tell(self, trial: PlannedTrial, text: str) -> None:
        # on a terminal the refreshed line shows the time left
        shows_left = self._outstanding() and not self._terminal
        left = f"; {duration(self.seconds_left())} left" if shows_left else ""
        self._line(f"{self._count()} {trial.name}{text}{left}")
        self._refresh()

    def _outstanding(self) -> int:
        return self._total() - self._done - self._failed

    def _count(self) -> str:
        return f"[{self._done + self._failed}/{self._total()}]"

    def _ended(self, trial: PlannedTrial) -> float:
        self._steps.pop(trial.name, None)
        self._running.pop(trial.name, None)
        self._waiting.pop(trial.key, None)
        now = self._clock()
        return now - self._began.pop(trial.name, now)

    def _consider(self, entry: Entry) -> None:
        trial = entry.trial
        if entry.state != "finished" or trial.kind == "replicate" or not trial.config.unlearns:
            return
        if self._best is None or entry.rank > self._best.rank:
            self._best = entry

    def _line(self, text: str) -> None:
        self._write(f"{_CLEAR if self._terminal and self._status else ''}{text}\n")
        self._status = ""

    def _refresh(self, text: str | None = None) -> None:
        if self._terminal:
            self._status = text or self.status()
            width = shutil.get_terminal_size().columns - 1
            self._write(f"{_CLEAR}{self._status[:width]}")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def outcome(entry: Entry) -> str:
    """Puts a finished trial into words: its validation figures against the original's."""
    verdict = "" if entry.feasible else ", retains too little"
    # a trial just beyond the limit is not to be read as within a limit that it rounds to
    digits = 4 if 0.0 < entry.violation < 0.01 else 2
    retained = f"{entry.retain_ratio:.{digits}f}"
    return f"forget FD x{entry.forget_ratio:.2f}, retain FD x{retained}{verdict}"
