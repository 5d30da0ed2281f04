"""A plan: every trial of a sweep with its stable key, as plain data. Knows no Ray, MLflow or torch.

`platform.plan.build` makes it from a study and the user's settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from optuna.distributions import (
    BaseDistribution,
    distribution_to_json,
    json_to_distribution,
)

from search_spaces.study import SearchConfig
from trainables.config import TrialConfig, to_dict
from trainables.config.overrides import flatten, from_dict
from trainables.utils.errors import UserError
from trainables.utils.files import write_json
from trainables.utils.hashing import content_key, read_sealed, seal
from trainables.utils.text import one_line

Kind = Literal["default", "grid", "point", "search", "replicate"]
Launcher = Literal["auto", "inline", "train"]


_TEXTS = ("name", "study", "study_file", "question", "storage")


class PlanError(UserError):
    """A `plan.json` that is missing, damaged or not of this program."""


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
        config: the trial, whole.
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
        space: what is searched; empty where nothing is.
        trials: how many search trials; those above the Sobol ones are proposed as the sweep runs.
        replicates: of what the search chooses, once it has ended.
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
        gpus_per_trial: of all its workers together; a fraction shares a GPU between trials.
        launcher: `inline` in the trial's own process, `train` by Ray Train, `auto` chooses.
        max_concurrent: most trials at once; None for as many as fit.
    """

    workers: int = 1
    gpus_per_trial: float = 0.0
    launcher: Launcher = "auto"
    max_concurrent: int | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sweep before it runs.

    Attributes:
        name: of the sweep, and of its folder in the storage.
        study: its name.
        study_file: the user's own file that it is from; empty for one of the product's.
        question: what the study answers.
        storage: the folder that holds sweeps, their cache and their record.
        seed: of the search.
        trials: all that is known before the start, in the order in which they run.
        groups: in the order of the study's variants.
        launch: what a trial runs on.
        search: the size of each group's search.
        settings: the user's, `key=value`, as they were given.
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
    settings: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The sweep's own."""
        return self.storage / self.name

    @property
    def cache(self) -> Path:
        """Work that trials and sweeps of one storage share, by content."""
        return self.storage / "cache"

    @property
    def total(self) -> int:
        """The most trials there can be, those among them that follow from others' results."""
        later = sum(
            max(0, group.trials - self.search.sobol_trials) + group.replicates
            for group in self.groups
        )
        return len(self.trials) + later

    def trial_folder(self, trial: PlannedTrial) -> Path:
        """Where a trial leaves its files."""
        return self.folder / "trials" / trial.name

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return {
            "name": self.name,
            "study": self.study,
            "study_file": self.study_file,
            "question": self.question,
            "storage": str(self.storage),
            "seed": self.seed,
            "settings": list(self.settings),
            "launch": asdict(self.launch),
            "search": asdict(self.search),
            "groups": [
                {
                    "label": group.label,
                    "name": group.name,
                    "config": to_dict(group.config),
                    "space": {n: distribution_to_json(axis) for n, axis in group.space.items()},
                    "trials": group.trials,
                    "replicates": group.replicates,
                }
                for group in self.groups
            ],
            "trials": [
                {
                    "key": trial.key,
                    "group": trial.group,
                    "group_name": trial.group_name,
                    "name": trial.name,
                    "kind": trial.kind,
                    "number": trial.number,
                    "config": to_dict(trial.config),
                    "params": dict(trial.params),
                }
                for trial in self.trials
            ],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """The plan that `to_dict` made.

        Raises:
            PlanError: something is missing, of another type, or unknown to this version.
        """
        try:
            _typed(values, dict.fromkeys(_TEXTS, str))
            _typed(values, {"seed": int, **dict.fromkeys(("settings", "groups", "trials"), list)})
            _typed(values["launch"], {"workers": int, "gpus_per_trial": float | int})
            _typed(values["launch"], {"launcher": str, "max_concurrent": int | None})
            usual = asdict(SearchConfig())
            _typed(values["search"], {n: type(usual[n]) for n in values["search"]})
            return cls(
                name=values["name"],
                study=values["study"],
                study_file=values["study_file"],
                question=values["question"],
                storage=Path(values["storage"]),
                seed=values["seed"],
                settings=tuple(values["settings"]),
                launch=LaunchConfig(**values["launch"]),
                search=SearchConfig(**values["search"]),
                groups=tuple(_group(group) for group in values["groups"]),
                trials=tuple(_trial(trial) for trial in values["trials"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
            raise PlanError(
                f"planned by another version of this program, or altered: {_line(error)}"
            ) from error

    def digest(self) -> str:
        """Twelve hexadecimal digits; equal where a resumed sweep may go on with the other plan."""
        return content_key(self._substance())

    def _substance(self) -> dict[str, Any]:
        """All but the place and how many trials run at once, which change no result."""
        values = self.to_dict()
        for name in ("name", "storage", "settings", "question", "study_file"):
            del values[name]
        del values["launch"]["max_concurrent"]
        return values


def _typed(values: Mapping[str, Any], types: Mapping[str, Any]) -> None:
    """Refuses a value of another type, which would else be met wherever it is used."""
    for name, wanted in types.items():
        if not isinstance(values[name], wanted):
            raise TypeError(f"{name} is {values[name]!r}")


def _group(values: Mapping[str, Any]) -> Group:
    _typed(values, {"label": str, "name": str, "trials": int, "replicates": int})
    space = {name: json_to_distribution(axis) for name, axis in values["space"].items()}
    return Group(**{**values, "config": from_dict(values["config"]), "space": space})


def _trial(values: Mapping[str, Any]) -> PlannedTrial:
    _typed(values, dict.fromkeys(("group", "group_name", "name", "kind"), str))
    _typed(values, {"number": int, "params": dict})
    trial = PlannedTrial(**{**values, "config": from_dict(values["config"])})
    if trial.key != trial.config.key():
        raise ValueError(f"the key of trial {trial.name} is not its configuration's")
    return trial


def _line(error: Exception) -> str:
    text = one_line(error)
    return f"{text} is missing" if isinstance(error, KeyError) else text


def write_plan(plan: Plan) -> Path:
    """Writes `plan.json` into the sweep's folder, in one step."""
    path = plan.folder / "plan.json"
    write_json(path, seal(plan.to_dict()))
    return path


def is_abandoned(folder: Path) -> bool:
    """Whether a folder is what is left of a sweep that was killed before it was planned."""
    if not folder.is_dir() or folder.is_symlink():
        return False
    left = {path.name.removeprefix(".").partition(".")[0] for path in folder.iterdir()}
    planned = (folder / "plan.json").exists()
    return not planned and left <= {"ledger", "manifest", "refused", "plan"}


def read_plan(folder: Path) -> Plan:
    """The plan of a sweep's folder, in the storage where the folder now lies.

    Raises:
        PlanError: `plan.json` is missing, damaged or of another version.
    """
    path = folder / "plan.json"
    try:
        values = read_sealed(path)
    except (OSError, ValueError) as error:
        raise PlanError(f"{path} cannot be read: {_line(error)}") from error
    try:
        return Plan.from_dict({**values, "storage": str(folder.parent), "name": folder.name})
    except PlanError as error:
        raise PlanError(f"{path} was {error}; environment.json names the commit") from error


def difference(old: Plan, new: Plan) -> list[str]:
    """What a resumed sweep would change, a line a field: `name: old -> new`; empty where nothing.

    Args:
        old: as recorded.
        new: as asked for now.
    """
    if old.digest() == new.digest():
        return []
    before, after = old._substance(), new._substance()
    groups = [{each.pop("name"): each for each in plan.pop("groups")} for plan in (before, after)]
    for values in (before, after, *groups[0].values(), *groups[1].values()):
        del values["trials"]  # they follow from all the rest
    pairs = [(before, after), *((groups[0][n], groups[1][n]) for n in groups[0] if n in groups[1])]
    changed = [
        f"{name.removeprefix('config.')}: {was.get(name, 'none')} -> {now.get(name, 'none')}"
        for was, now in ((flatten(was), flatten(now)) for was, now in pairs)
        for name in dict.fromkeys([*was, *now])
        if was.get(name) != now.get(name)
    ]
    changed += [f"variant {name}: no longer there" for name in groups[0] if name not in groups[1]]
    changed += [f"variant {name}: new" for name in groups[1] if name not in groups[0]]
    return list(dict.fromkeys(changed)) or ["the trials that follow from the same options"]
