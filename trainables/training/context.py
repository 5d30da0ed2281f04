"""What every part of a trial is given: the trial, its images, where it runs and whom it tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from trainables.config import TrialConfig
from trainables.data import Dataset, load
from trainables.training.loop import Parallelise
from trainables.utils.distributed import ALONE, World


@dataclass(frozen=True, kw_only=True)
class Context:
    """Where a trial runs and whom it tells: by default one process on the CPU that tells nobody.

    Attributes:
        folder: where the trial leaves its files.
        cache: where work shared by trials is kept, by content.
        device: of the models.
        world: the processes that share each batch.
        parallelise: wraps what is trained for data parallelism.
        report: called with the metrics of every evaluation, `step` among them; on ranks above 0
            with none, at the same moments.
        report_steps: called with (label, steps done, steps in total) of work that trials share.
        kept: called with each file that another attempt at the trial goes on from.
        threads: torch threads of unlearning and evaluation.
    """

    folder: Path = field(default_factory=lambda: Path("runs/trial"))
    cache: Path = field(default_factory=lambda: Path("runs/cache"))
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    world: World = ALONE
    parallelise: Parallelise = lambda module: module
    report: Callable[[Mapping[str, float]], None] = lambda metrics: None
    report_steps: Callable[[str, int, int], None] = lambda label, step, total: None
    kept: Callable[[Path], None] = lambda path: None
    threads: int = 1


@dataclass(frozen=True)
class TrialSetup:
    """A trial with its images, in its surroundings.

    Attributes:
        config: the trial.
        dataset: its images and their roles.
        context: where it runs and whom it tells.
    """

    config: TrialConfig
    dataset: Dataset
    context: Context = field(default_factory=Context)

    @property
    def grey(self) -> float | None:
        """Returns the mean of grey data; None for colour, and beside published weights."""
        return None if self.config.checkpoint else self.dataset.grey


def load_setup(config: TrialConfig, context: Context) -> TrialSetup:
    """Loads a trial's images, decoded now unless the cache holds them.

    Raises:
        UserError: data that cannot be used.
    """
    return TrialSetup(config, load(config.data, context.cache), context)
