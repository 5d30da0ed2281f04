"""Declares when each field of a trial is read, so that no setting is ignored in silence.

`TrialConfig.canonical` says which fields cannot change a result; of those that can, some are still
read only beside others, such as `data.views` where images are augmented.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from trainables.config.names import DDIM_MODELS
from trainables.config.trial import TrialConfig, retain_share, to_dict
from trainables.utils.errors import ConfigError
from trainables.utils.text import flatten


@dataclass(frozen=True)
class Reader:
    """When a field is read.

    Attributes:
        reads: tells whether anything in a trial reads the field.
        when: the same in words, behind `it is read only`.
    """

    reads: Callable[[TrialConfig], bool]
    when: str


def _is_of(config: TrialConfig, family: str) -> bool:
    return config.model.startswith(f"{family}_")


def _has_proxies(config: TrialConfig) -> bool:
    """Tells whether the data may hold proxy images; what a split file holds is not known here."""
    data = config.data
    named = bool(data.forget or data.retain)
    return bool(data.proxy or data.split_file or data.proxy_source == "coco") or not named


def _uses_ddim(config: TrialConfig) -> bool:
    sampler = config.sampling.sampler
    return sampler == "ddim" or (sampler == "default" and config.model in DDIM_MODELS)


def _has_retain_batch(config: TrialConfig) -> bool:
    # without retain rows it is still to be a multiple of `accumulate`
    held = retain_share(config.retain_source) is not None or config.unlearn.accumulate > 1
    return config.unlearns and held


def _caps_retain_rows(config: TrialConfig) -> bool:
    """Tells whether `opendata_to_forget_ratio` can leave out rows of the batches."""
    rows = config.batch_rows()
    return "proxy" in rows or ("retain" in rows and not config.unlearn.retainset_ratio)


def _clip_has_tags(config: TrialConfig) -> bool:
    embeddings = config.networks.embeddings
    return embeddings != "domain" and not embeddings.startswith(("hf-hub:", "local-dir:"))


_ALWAYS = Reader(lambda config: True, "")
_UNLEARNING = Reader(lambda config: config.unlearns, "by methods that unlearn")
_PRETRAINING = Reader(
    lambda config: not config.checkpoint, "where no checkpoint takes the place of pretraining"
)
_TRAINING = Reader(
    lambda config: config.unlearns or not config.checkpoint,
    "where a model is trained: by methods that unlearn, or without a checkpoint",
)
_NAMED_CLASSES = Reader(lambda config: not config.data.split_file, "without data.split_file")
_DOMAIN_CNN = Reader(
    lambda config: "domain" in config.networks.parts().values(),
    "where one of networks.features, probabilities and embeddings is domain",
)
_KERNEL_DISTANCE = Reader(
    lambda config: config.networks.features == "inception", "with networks.features=inception"
)


def _weights_of(network: str, when: str) -> Reader:
    return Reader(lambda config: network in config.networks.weights(), when)


def _fields(section: str, names: str, reader: Reader) -> dict[str, Reader]:
    return {f"{section}.{name}": reader for name in names.split()}


# every field, a default among them never matters; a test holds the names against the configuration
READERS: dict[str, Reader] = {
    **dict.fromkeys(("model", "method", "checkpoint", "more_tests"), _ALWAYS),
    **dict.fromkeys(("formulation", "retain_source", "forget_alpha", "seed"), _UNLEARNING),
    # photographs are never unusable, so that what `strict` asks for holds of them too
    **_fields("data", "source root dataset download split_file proxy_source", _ALWAYS),
    **_fields("data", "image_size seed strict", _ALWAYS),
    **_fields("data", "train_per_class val_per_class test_per_class store", _ALWAYS),
    **_fields("data", "forget retain proxy", _NAMED_CLASSES),
    "data.proxy_root": Reader(
        lambda config: config.data.proxy_source == "coco", "with data.proxy_source=coco"
    ),
    "data.proxy_per_class": Reader(_has_proxies, "where there are proxy images"),
    "data.store_side": Reader(
        lambda config: config.data.store == "parquet", "with data.store=parquet"
    ),
    "data.augment": _TRAINING,
    "data.views": Reader(lambda config: config.data.augment, "with data.augment=true"),
    "loader.workers": _TRAINING,
    "loader.prefetch": Reader(
        lambda config: _TRAINING.reads(config) and config.loader.workers > 0,
        "with loader.workers above 0",
    ),
    **_fields("train_task", "kind ratio", _UNLEARNING),
    **_fields("test_task", "kind ratio", _ALWAYS),
    **_fields("pretrain", "steps lr weight_decay beta1 beta2 clip warmup", _PRETRAINING),
    "pretrain.schedule": Reader(
        lambda config: _PRETRAINING.reads(config) and config.pretrain.warmup < 1.0,
        "where no checkpoint takes the place of pretraining, behind a warmup below 1",
    ),
    **_fields("pretrain", "batch_size seed threads tasks augment shipped", _PRETRAINING),
    **_fields("unlearn", "steps lr weight_decay beta1 beta2 clip warmup", _UNLEARNING),
    "unlearn.schedule": Reader(
        lambda config: config.unlearns and config.unlearn.warmup < 1.0,
        "by methods that unlearn, behind a warmup below 1",
    ),
    **_fields("unlearn", "forget_batch eval_every precision accumulate", _UNLEARNING),
    **_fields("unlearn", "recompute compile save_every", _UNLEARNING),
    "unlearn.retain_batch": Reader(
        _has_retain_batch,
        "by methods that unlearn, where retain_source is not none or unlearn.accumulate is above 1",
    ),
    "unlearn.retainset_ratio": Reader(
        lambda config: "retain" in config.batch_rows(), "where batches hold real retain images"
    ),
    "unlearn.opendata_to_forget_ratio": Reader(
        _caps_retain_rows, "where batches hold proxy images, or real ones without a retainset_ratio"
    ),
    "unlearn.noise_bank": Reader(TrialConfig.draws_noise_tokens, "by ours on a MAGE model"),
    "unlearn.token_cache": Reader(
        lambda config: config.unlearns and _is_of(config, "mage"),
        "by methods that unlearn a MAGE model",
    ),
    "sampling.sampler": Reader(lambda config: _is_of(config, "palette"), "by Palette models"),
    "sampling.steps": Reader(
        lambda config: _is_of(config, "mage") or (_is_of(config, "palette") and _uses_ddim(config)),
        "by MAGE models, and by Palette models with sampling.sampler=ddim",
    ),
    **_fields("extractor", "dim jitter steps batch_size lr seed", _DOMAIN_CNN),
    **_fields("networks", "features probabilities embeddings", _ALWAYS),
    "networks.clip_pretrained": Reader(
        _clip_has_tags, "where networks.embeddings is a model that open_clip knows by name"
    ),
    "networks.inception_weights": _weights_of(
        "inception", "where networks.features or networks.probabilities is inception"
    ),
    "networks.places_weights": _weights_of("places365", "with networks.probabilities=places365"),
    "networks.clip_weights": _weights_of("clip", "where networks.embeddings is not domain"),
    "networks.batch_size": Reader(
        lambda config: bool(config.networks.weights()),
        "where one of networks.features, probabilities and embeddings is not domain",
    ),
    **_fields("evaluation", "seed is_splits batch_size grid_images tsne_points", _ALWAYS),
    "evaluation.retain_tolerance": _ALWAYS,
    **_fields("evaluation", "kid_subsets kid_subset_size", _KERNEL_DISTANCE),
}
DEFAULTS = flatten(to_dict(TrialConfig()))


def unread(name: str, value: Any, configs: Iterable[TrialConfig]) -> str | None:
    """Returns a line where none of some trials reads a field that was set; None where one does.

    Args:
        name: the field, with dots.
        value: what it was set to; its default is never told of.
        configs: the trials.
    """
    reader = READERS[name]
    plain = list(value) if isinstance(value, tuple) else value
    if plain == DEFAULTS[name] or any(map(reader.reads, configs)):
        return None
    said = f"{name}={shown(value)} changes nothing here"
    return f"{said}: it is read only {reader.when}; leave it out"


def shown(value: Any) -> str:
    """Returns a value as the command line takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def refuse_unread(config: TrialConfig) -> None:
    """Refuses a trial that sets what it never reads.

    Raises:
        ConfigError: a line for each such field.
    """
    values = flatten(to_dict(config))
    faults = [line for name in READERS if (line := unread(name, values[name], (config,)))]
    if faults:
        raise ConfigError(faults)
