"""How images reach a training step."""

from __future__ import annotations

from dataclasses import dataclass

from trainables.config.validation import Checked


@dataclass(frozen=True, kw_only=True)
class LoaderConfig(Checked):
    """Processes that read and decode the images of coming steps; they change no result.

    Attributes:
        workers: processes; with 0 a step reads its own images.
        prefetch: steps that each of them is ahead.
    """

    workers: int = 0
    prefetch: int = 2

    def _faults(self) -> list[tuple[bool, str]]:
        return [*self._below(0, "workers"), *self._below(1, "prefetch")]
