"""The configuration of one trial, whole.

Every random choice of a trial comes from a seed in here, and its `key` is a hash of everything that
can change its result. Its sections are the other files of this folder.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from trainables.config.data import (
    DataConfig,
    LoaderConfig,
    TaskConfig,
    parse_task,
    task_faults,
)
from trainables.config.evaluation import (
    EvaluationConfig,
    ExtractorConfig,
    NetworksConfig,
    SamplingConfig,
)
from trainables.config.names import (
    IMAGE_MULTIPLES,
    REFERENCES,
    Formulation,
    MethodName,
    ModelName,
)
from trainables.config.training import PretrainConfig, UnlearnConfig
from trainables.config.validation import Checked
from trainables.utils.hashing import content_key

# weight of the forget term (Li et al., ICLR 2024)
DEFAULT_ALPHA = 0.25
# what originals learn to complete, unless told otherwise, and the families that learn otherwise
_USUAL_PRETRAINING = ("random:0.5", "centre:0.5")
_PRETRAINING_TASKS: dict[str, tuple[str, ...]] = {"palette": ("hybrid:0.3", "centre:0.5")}
# fields of `data` that came later: unset, they leave the keys of earlier trials as they were
_LATER_DATA = ("dataset", "download")


def retain_share(source: str) -> float | None:
    """Returns the share of real rows among the retain rows of a batch.

    Args:
        source: `real`, `proxy`, `none`, a number in [0, 1] (the share of real images), or `R:P`
            (real to proxy).

    Returns:
        The share in [0, 1], or None where a batch holds no retain rows at all.

    Raises:
        ValueError: the text is none of these.
    """
    if source == "none":
        return None
    if source in ("real", "proxy"):
        return 1.0 if source == "real" else 0.0
    real, colon, proxy = source.partition(":")
    parts = (float(real), float(proxy)) if colon else (float(real), 1.0 - float(real))
    if not all(0.0 <= part < math.inf for part in parts) or not sum(parts):
        raise ValueError(source)
    return parts[0] / sum(parts)


@dataclass(frozen=True, kw_only=True)
class TrialConfig(Checked):
    """One trial: a model, a method and its hyperparameters, the data and the measuring.

    Attributes:
        model, method: names in `trainables.models.MODELS` and `trainables.methods.METHODS`.
        formulation: the form of the losses: `paper`, or `released` for the released code's
            constants.
        retain_source: where the retain rows come from; see `retain_share`.
        forget_alpha: weight of the forget term, 0 or more.
        seed: order of the rows, masks and noise of unlearning.
        checkpoint: published files that hold the original, in place of pretraining: one, or MAGE's
            tokenizer and transformer apart.
        test_task: what the completions that are measured, and searched by, fill in.
        more_tests: further tasks, `kind:ratio` each, that the finished model is measured on too;
            the test task and repetitions count once.
    """

    model: ModelName = "mae_tiny"
    method: MethodName = "ours"
    formulation: Formulation = "paper"
    retain_source: str = "real"
    forget_alpha: float = DEFAULT_ALPHA
    seed: int = 0
    checkpoint: tuple[str, ...] = ()
    data: DataConfig = field(default_factory=DataConfig)
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    train_task: TaskConfig = field(default_factory=lambda: TaskConfig(kind="random", ratio=0.5))
    test_task: TaskConfig = field(default_factory=TaskConfig)
    more_tests: tuple[str, ...] = ()
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    unlearn: UnlearnConfig = field(default_factory=UnlearnConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    networks: NetworksConfig = field(default_factory=NetworksConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def _faults(self) -> list[tuple[bool, str]]:
        multiple = IMAGE_MULTIPLES.get(self.model, 1)  # an unknown model is told of elsewhere
        return [
            *self._method_faults(),
            *task_faults("more_tests", self.more_tests),
            (self.forget_alpha < 0.0, f"forget_alpha={self.forget_alpha} is below 0"),
            (
                self.data.image_size % multiple != 0,
                f"data.image_size={self.data.image_size} is not a multiple of {multiple}, "
                f"as {self.model} needs",
            ),
            (
                self.unlearn.token_cache
                and self.draws_noise_tokens()
                and not self.unlearn.noise_bank,
                "unlearn.token_cache=true leaves ours no images to take noise from: it needs an "
                "unlearn.noise_bank above 0",
            ),
            (
                self.unlearn.token_cache and self.data.augment and not self.data.views,
                "unlearn.token_cache=true holds a number of augmented views, and data.views is 0",
            ),
        ]

    def _method_faults(self) -> list[tuple[bool, str]]:
        """Returns what the method, its retain rows and the original need of each other."""
        try:
            share: float | None = retain_share(self.retain_source)
            known = True
        except ValueError:
            share, known = 0.0, False
        return [
            (
                not known,
                f"retain_source={self.retain_source!r} is not real, proxy, none, "
                "a share in [0, 1] or R:P",
            ),
            (
                self.method == "retain_label" and share is None,
                "retain_label maps forget rows onto retain rows: retain_source=none leaves it none",
            ),
            (
                self.method == "retrained" and bool(self.checkpoint),
                "method=retrained needs an original that is trained here, and checkpoint names "
                "published weights: leave out that method, or give options of pretrain. in place "
                "of checkpoint",
            ),
        ]

    def draws_noise_tokens(self) -> bool:
        """Tells whether the method's steps tokenise noise images."""
        return self.model.startswith("mage_") and self.method == "ours"

    @property
    def unlearns(self) -> bool:
        """Tells whether the method takes unlearning steps."""
        return self.method not in REFERENCES

    def further_tests(self) -> tuple[TaskConfig, ...]:
        """Returns the tasks of `more_tests`, each once and without the test task."""
        found = {task.name: task for task in map(parse_task, self.more_tests)}
        found.pop(self.test_task.name, None)
        return tuple(found.values())

    def batch_rows(self) -> dict[str, int]:
        """Returns the rows of each role in a global batch of unlearning; empty for a reference.

        The number of forget rows and of retain rows does not depend on the retain source.
        """
        share = retain_share(self.retain_source)
        if not self.unlearns:
            return {}
        retain = 0 if share is None else self.unlearn.retain_batch
        real = round(retain * (share or 0.0))
        rows = {"retain": real, "proxy": retain - real, "forget": self.unlearn.forget_batch}
        return {role: count for role, count in rows.items() if count}

    def canonical(self) -> TrialConfig:
        """Returns this trial with the fields that cannot change its result at their defaults."""
        data = dataclasses.replace(self.data, download=False)
        unlearn = dataclasses.replace(self.unlearn, save_every=0)
        if not self.model.startswith("mage_"):
            unlearn = dataclasses.replace(unlearn, token_cache=False)
        if not self.draws_noise_tokens():
            unlearn = dataclasses.replace(unlearn, noise_bank=0)
        tests = tuple(sorted(f"{task.kind}:{task.ratio}" for task in self.further_tests()))
        trial = dataclasses.replace(
            self, data=data, loader=LoaderConfig(), unlearn=unlearn, more_tests=tests
        )
        if self.model.startswith("mae_"):
            trial = dataclasses.replace(trial, sampling=SamplingConfig())
        elif self.model.startswith("mage_"):
            sampling = SamplingConfig(steps=self.sampling.steps)
            trial = dataclasses.replace(trial, sampling=sampling)
        trial = dataclasses.replace(trial, networks=self.networks.canonical())
        if "domain" not in self.networks.parts().values():
            trial = dataclasses.replace(trial, extractor=ExtractorConfig())
        if self.checkpoint:
            trial = dataclasses.replace(trial, pretrain=PretrainConfig())
        if self.unlearns:
            return trial
        return dataclasses.replace(
            trial,
            formulation="paper",
            retain_source="real",
            forget_alpha=0.0,
            seed=0,
            train_task=TrialConfig().train_task,
            unlearn=UnlearnConfig(),
        )

    def pretraining_tasks(self) -> tuple[TaskConfig, ...]:
        """Returns the tasks that the original learns, in turn step by step."""
        family = self.model.partition("_")[0]
        usual = _PRETRAINING_TASKS.get(family, _USUAL_PRETRAINING)
        return tuple(map(parse_task, self.pretrain.tasks or usual))

    def key(self) -> str:
        """Returns twelve hexadecimal digits: equal configurations, equal keys, on every machine."""
        values = to_dict(self.canonical())
        for name in _LATER_DATA:
            if not values["data"][name]:
                del values["data"][name]
        return content_key(values)


def to_dict(config: Any) -> dict[str, Any]:
    """Returns a configuration as nested plain values that JSON can hold."""
    # dataclasses.asdict copies every value, for which a plan of thousands of trials takes minutes
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return to_dict(value) if isinstance(value, Checked) else value
