"""What a study is: a question, the variants that answer it, and what is searched for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution

from trainables.config import FamilyName, ModelName, TrialConfig


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How many trials each variant's search gets, and how their points are chosen.

    Attributes:
        trials: search trials a variant, 0 or more.
        sobol_trials: how many of them are points of a scrambled Sobol sequence, the same for every
            variant; those above are asked of TPE.
        generation: trials that TPE proposes together; the next ones wait until all these are told.
    """

    trials: int = 4
    generation: int = 4
    sobol_trials: int = 10


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question and the trials that answer it.

    Attributes:
        name: as on the command line.
        question: what it answers, one line.
        cost: how long it takes and where, one line.
        command: that runs it.
        base: the trial that every variant derives from.
        models: the models that it runs on, each with the fields in which its trials differ from the
            base, `search.trials` among them; empty for the base's alone.
        families: the same of every model of a family, those that the user names among them; a
            model's own fields go before its family's.
        published: originals are published weights, so that a model without a checkpoint is refused
            unless an option of `pretrain.` asks for its training.
        variants: dotted fields of `TrialConfig` in which a variant differs from the base.
        axes: dotted fields with the values that are enumerated, crossed with the variants.
        space: dotted fields that are searched; an axis that a variant's method ignores is left out.
        search: its size.
    """

    name: str
    question: str
    cost: str
    command: str
    base: TrialConfig = field(default_factory=TrialConfig)
    models: Mapping[ModelName, Mapping[str, Any]] = field(default_factory=dict)
    families: Mapping[FamilyName, Mapping[str, Any]] = field(default_factory=dict)
    published: bool = False
    variants: tuple[Mapping[str, Any], ...]
    axes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    space: Mapping[str, BaseDistribution] = field(default_factory=dict)
    search: SearchConfig = field(default_factory=SearchConfig)
