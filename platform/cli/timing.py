"""Where the time of a sweep went: its phases one after the other, its trials by their parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from platform.search.trial_record import Entry
from trainables.utils.text import counted, duration

_PARTS = {
    "train_s": "unlearning",
    "evaluation_s": "completing and measuring",
    "artifacts_s": "pictures and weights",
}


class Phases:
    """Phases that follow each other; the first begins with the object.

    Args:
        label: of the first phase, as what it is time for.
        clock: seconds that only grow.
    """

    def __init__(self, label: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = [(label, clock())]

    def begin(self, label: str) -> None:
        """Ends the phase before."""
        self._began.append((label, self._clock()))

    def elapsed(self) -> float:
        """Seconds since the first phase began."""
        return self._clock() - self._began[0][1]

    def describe(self) -> str:
        """Such as `7 min 50 s: 14 s to start, 20 s of shared work, 7 min 16 s of trials`."""
        ends = [*(began for _, began in self._began[1:]), self._clock()]
        parts = [
            f"{duration(end - began)} {label}"
            for (label, began), end in zip(self._began, ends, strict=True)
        ]
        return f"{duration(ends[-1] - self._began[0][1])}: {', '.join(parts)}"


def trial_times(entries: Iterable[Entry]) -> list[str]:
    """What the finished trials of each model spent their time on, a line a model."""
    by_model: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.state == "finished":
            by_model.setdefault(entry.trial.config.model, []).append(entry)
    return [_line(model, finished) for model, finished in by_model.items()]


def _line(model: str, entries: list[Entry]) -> str:
    whole = sum(entry.duration_s for entry in entries)
    spent = {
        text: sum(float(entry.result["timing"].get(part, 0.0)) for entry in entries)
        for part, text in _PARTS.items()
    }
    shares = [f"{text} {seconds / max(whole, 1e-9):.0%}" for text, seconds in spent.items()]
    mean = duration(whole / len(entries))
    return f"  {model}: {counted(len(entries), 'trial')}, {mean} each ({', '.join(shares)})"
