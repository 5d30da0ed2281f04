"""How many retain images unlearning may see."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.published import of_imagenet
from trainables.config import TrialConfig, UnlearnConfig
from trainables.data import Dataset, load
from trainables.data.batches import training_rows
from trainables.utils.errors import ConfigError


def available(dataset: Dataset, source: str, **ratios: float) -> dict[str, int]:
    config = TrialConfig(retain_source=source, unlearn=UnlearnConfig(**ratios))
    return {role: len(rows) for role, rows in training_rows(config, dataset).items()}


def test_ratios_cut_the_retain_images_and_leave_the_forget_images(
    imagenet: Path, cache: Path
) -> None:
    dataset = load(of_imagenet(imagenet), cache)  # 8 forget, 4 retain, 8 proxy
    assert available(dataset, "real") == {"retain": 4, "forget": 8}
    assert available(dataset, "real", retainset_ratio=0.25) == {"retain": 2, "forget": 8}
    assert available(dataset, "1:3", retainset_ratio=0.25, opendata_to_forget_ratio=1.0) == {
        "retain": 2,
        "proxy": 6,
        "forget": 8,
    }
    assert available(dataset, "proxy", opendata_to_forget_ratio=0.5) == {"proxy": 4, "forget": 8}
    with pytest.raises(ConfigError, match="asks for 16 proxy training images of the 8 there are"):
        available(dataset, "proxy", opendata_to_forget_ratio=2.0)
    with pytest.raises(ConfigError, match="is below retainset_ratio"):
        UnlearnConfig(retainset_ratio=0.5, opendata_to_forget_ratio=0.25)
