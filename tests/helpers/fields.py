"""Every field of a trial's configuration, with another value that it may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import pytest

from trainables.config import TrialConfig, to_dict
from trainables.config.overrides import apply_overrides, field_types, parse_value
from trainables.utils.errors import ConfigError
from trainables.utils.text import flatten

FIELDS = list(field_types())


def problems(overrides: Mapping[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        apply_overrides(TrialConfig(), overrides)
    return caught.value.problems


# refused beside the other defaults: of the published sets, or of a noise bank
_NOT_ALONE = (
    *("data.root", "data.dataset", "data.download", "data.proxy_source", "data.store"),
    *("data.augment", "unlearn.token_cache"),
)


_OTHERS = {
    "data.source": "photos",
    "method": "random_encoder",  # not retrained, which a checkpoint excludes
    "retain_source": "1:3",
    "data.image_size": "64",
    "pretrain.tasks": "centre:0.25,random:0.75",
    "more_tests": "centre:0.25,random:0.75",
    # even, for two parts
    "unlearn.forget_batch": "34",
    "unlearn.retain_batch": "34",
}


def another(name: str) -> str:
    """A text for a value that the field may have, not its default where there is another."""
    hint = field_types()[name]
    default = flatten(to_dict(TrialConfig()))[name]
    if name in _OTHERS:
        return _OTHERS[name]
    if name in _NOT_ALONE:
        return str(default).lower()
    if get_origin(hint) is Literal:
        others = [choice for choice in get_args(hint) if choice != default]
        return str(others[-1] if others else default)
    if hint is bool:
        return str(not default).lower()
    if hint is float:
        return str(default / 2 or 0.5)
    if hint is int:
        return str(default + 1)
    return f"{name}-a,{name}-b" if get_origin(hint) is tuple else "somewhere"


CHANGEABLE = [
    name
    for name in FIELDS
    if name not in _NOT_ALONE
    and parse_value(name, another(name)) != flatten(to_dict(TrialConfig()))[name]
]


# neither how images are read nor when snapshots are written changes a result; the bank is MAGE's
_UNCOUNTED = ("loader.", "unlearn.save_every", "unlearn.noise_bank")


COUNTED = [name for name in CHANGEABLE if not name.startswith(_UNCOUNTED)]


def changed() -> TrialConfig:
    return apply_overrides(
        TrialConfig(), {name: parse_value(name, another(name)) for name in CHANGEABLE}
    )
