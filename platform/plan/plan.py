"""Holds a plan: every trial of a sweep with its stable key, as plain data.

`platform.plan.build` makes it from a study and the user's overrides; `platform.plan.serialization`
writes and reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from optuna.distributions import BaseDistribution

from search_spaces.study import SearchConfig
from trainables.config import TrialConfig

Kind = Literal["default", "grid", "point", "search", "replicate"]
Launcher = Literal["auto", "inline", "train"]


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """One trial.

    Attributes:
        key: `config.key()`: equal trials have equal keys, on every machine.
        group: the variant's label, such as `ours_proxy`.
        name: short, unique in the sweep, and fit for a file name.
        group_name: the name of the `Group` that it belongs to.
        kind: a variant's `default`, another enumerated value (`grid`), a fixed `point` of the
            study, a point of its `search`, or a `replicate`: one of these with another seed.
        number: from 1, of a kind in its group, or of a trial's replicates; 0 for the first two.
        config: the whole configuration.
        params: the searched fields and their values.
    """

    key: str
    group: str
    group_name: str
    name: str
    kind: Kind
    number: int
    config: TrialConfig
    params: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Trials searched together: a variant, or one of its enumerated values.

    Attributes:
        label: the variant's, as in `PlannedTrial.group`; groups of one variant share it.
        name: unique in the sweep; that of the group's own trial.
        config: the trial that search points derive from.
        space: a distribution for each searched field; empty where nothing is searched.
        trials: how many search trials; those above the Sobol ones are proposed as the sweep runs.
        replicates: how often the trial that the search chooses is repeated, once it has ended.
    """

    label: str
    name: str
    config: TrialConfig
    space: dict[str, BaseDistribution] = field(default_factory=dict)
    trials: int = 0
    replicates: int = 0


@dataclass(frozen=True, kw_only=True)
class LaunchConfig:
    """What one trial runs on.

    Attributes:
        workers: processes that share each batch of a trial.
        gpus_per_trial: GPUs of all its workers together; a fraction shares a GPU between trials.
        launcher: `inline` in the trial's own process, `train` by Ray Train, `auto` chooses.
        max_concurrent: most trials at once; None for as many as fit.
    """

    workers: int = 1
    gpus_per_trial: float = 0.0
    launcher: Launcher = "auto"
    max_concurrent: int | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What ends a session before its sweep is over, and when a trial counts as failed.

    No limit changes a result, so that plans hold none.

    Attributes:
        max_failures: lost attempts of a trial that are made again, where another may end well.
        time_budget_s: seconds from the session's start after which it stops; None for no end.
        trials: most trials that the session starts; None for all.
    """

    max_failures: int = 2
    time_budget_s: float | None = None
    trials: int | None = None


@dataclass(frozen=True, kw_only=True)
class Outstanding:
    """What a sweep still has to run.

    Attributes:
        trials: those that are known, in the order in which they run.
        later: how many may follow from the results of others.
        shared: whether the work that trials share is still to be built.
    """

    trials: tuple[PlannedTrial, ...]
    later: int
    shared: bool = True

    @property
    def total(self) -> int:
        """The most trials that are to be run."""
        return len(self.trials) + self.later


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sweep before it runs.

    Attributes:
        name: the sweep's name, and that of its folder in the storage.
        study: the study's name.
        study_file: the user's own file that it is from; empty for one of the product's.
        question: what the study answers.
        storage: the folder that holds sweeps, their cache and their record.
        seed: seeds the search.
        trials: all that is known before the start, in the order in which they run.
        groups: in the order of the study's variants.
        launch: what a trial runs on.
        search: the size of each group's search.
        overrides: the user's `--set KEY=VALUE`, as they were given, without the option's name.
    """

    name: str
    study: str
    study_file: str = ""
    question: str
    storage: Path
    seed: int
    trials: tuple[PlannedTrial, ...]
    groups: tuple[Group, ...]
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    overrides: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The sweep's own folder."""
        return self.storage / self.name

    @property
    def cache(self) -> Path:
        """The folder of the work that trials and sweeps of one storage share, by content."""
        return self.storage / "cache"

    @property
    def total(self) -> int:
        """The most trials there can be, those among them that follow from others' results."""
        return self.whole.total

    @property
    def whole(self) -> Outstanding:
        """What a new sweep has to run."""
        later = sum(
            max(0, group.trials - self.search.sobol_trials) + group.replicates
            for group in self.groups
        )
        return Outstanding(trials=self.trials, later=later)

    def trial_folder(self, trial: PlannedTrial) -> Path:
        """Returns the folder where a trial leaves its files."""
        return self.folder / "trials" / trial.name
