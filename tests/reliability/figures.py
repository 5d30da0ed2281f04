"""Figures as they are measured, and which of them are not as wanted."""

from __future__ import annotations

import time


class Figures:
    """Prints each figure in a line of its own, at once, and keeps count of faults."""

    def __init__(self) -> None:
        self.faults = 0
        self._began = time.monotonic()

    def tell(self, text: str) -> None:
        """A line, with the minutes since the start."""
        minutes, seconds = divmod(round(time.monotonic() - self._began), 60)
        print(f"{minutes:3d}:{seconds:02d}  {text}", flush=True)

    def hold(self, name: str, value: float, wanted: float) -> None:
        """A figure that is wanted to be exactly this."""
        self._judge(f"{name}: {value:g}, wanted {wanted:g}", value == wanted)

    def at_most(self, name: str, value: float, most: float) -> None:
        """A figure that is wanted to be no larger than this."""
        self._judge(f"{name}: {value:.4g}, wanted at most {most:g}", value <= most)

    def verdict(self) -> int:
        """The last line; returns the exit status."""
        self.tell("all as wanted" if not self.faults else f"{self.faults} not as wanted")
        return int(self.faults > 0)

    def _judge(self, text: str, good: bool) -> None:
        self.faults += not good
        self.tell(text if good else f"{text}: FAULT")
