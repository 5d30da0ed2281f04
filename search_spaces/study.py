"""Defines a study: a question, the variants that answer it, and what is searched for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from optuna.distributions import BaseDistribution

from trainables.config import FamilyName, ModelName, TrialConfig

SearchSampler = Literal["tpe", "nsga2"]
Goal = Literal["feasible", "front"]


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How many trials each variant's search gets, and how their points are chosen.

    Attributes:
        trials: search trials a variant, 0 or more.
        sobol_trials: how many of them are points of a scrambled Sobol sequence, the same for every
            variant; the sampler proposes the others.
        generation: trials that the sampler proposes together; the next ones wait until all these
            have ended. For `nsga2` it is the size of the population.
        sampler: `tpe`, or `nsga2`.
        goal: `feasible` seeks the highest forget distance within the retain tolerance; `front` has
            two objectives, the retain distance down and the forget distance up.
        asha: stop search trials early that lie behind those of their own variant (asynchronous
            successive halving over the evaluations of `unlearn.eval_every`). Which ones depends on
            the order in which trials that run side by side come to an evaluation.
        replicates: how many more seeds a variant's default and its chosen trial are run with.
    """

    trials: int = 4
    generation: int = 4
    sobol_trials: int = 10
    sampler: SearchSampler = "tpe"
    goal: Goal = "feasible"
    asha: bool = False
    replicates: int = 0


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question and the trials that answer it.

    Attributes:
        name: its name on the command line.
        question: what it answers, one line.
        cost: how long it takes on which machine, one line.
        command: the command that runs it.
        base: the trial that every variant derives from.
        models: the models that it runs on, each with the fields in which its trials differ from the
            base, `search.trials` among them; empty for the base's alone.
        others: the same for models that it runs on only where the user names them; they start from
            published weights, as below.
        families: the same for every model of a family, those that the user names among them; a
            model's own fields win over its family's.
        published: originals are published weights, so that a model without a checkpoint is refused
            unless an option of `pretrain.` asks for its training.
        variants: dotted fields of `TrialConfig` in which a variant differs from the base.
        axes: dotted fields with the values that are enumerated, crossed with the variants.
        points: fixed values of fields, such as a paper's, that every variant is also run at where
            its method does not ignore them.
        space: dotted fields that are searched; an axis that a variant's method ignores is left out.
        search: how many trials the search gets, and how their points are chosen.
    """

    name: str
    question: str
    cost: str
    command: str
    base: TrialConfig = field(default_factory=TrialConfig)
    models: Mapping[ModelName, Mapping[str, Any]] = field(default_factory=dict)
    others: Mapping[ModelName, Mapping[str, Any]] = field(default_factory=dict)
    families: Mapping[FamilyName, Mapping[str, Any]] = field(default_factory=dict)
    published: bool = False
    variants: tuple[Mapping[str, Any], ...]
    axes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    points: tuple[Mapping[str, Any], ...] = ()
    space: Mapping[str, BaseDistribution] = field(default_factory=dict)
    search: SearchConfig = field(default_factory=SearchConfig)
