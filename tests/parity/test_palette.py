"""Palette computes what the published model computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.parity.tolerance import assert_close
from tests.parity.weights import fill, smooth_images
from trainables.config import TaskConfig
from trainables.methods import METHODS
from trainables.models import build_model
from trainables.models.diffusion import noised

DATA = Path(__file__).parent / "data"
TINY: dict[str, Any] = {
    "image_size": 32,
    "inner_channels": 32,
    "channel_multipliers": (1, 2),
    "attention_rates": (2,),
    "head_channels": 16,
    "res_blocks": 1,
    "train_schedule": {"steps": 50, "start": 1e-4, "end": 0.2},
    "test_schedule": {"steps": 50, "start": 1e-4, "end": 0.2},
    "patch_size": 4,
}
SIZES = {"palette_tiny": ("palette", TINY), "palette_places2": ("palette_places2", {})}


def filled(seed: int) -> Any:
    model = build_model("palette", **TINY).eval()
    fill(model, seed)
    return model


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(DATA / "palette_tiny.npz", allow_pickle=False) as stored:
        return {name: torch.from_numpy(value) for name, value in stored.items()}


@pytest.fixture(scope="module")
def inputs(golden: dict[str, Tensor]) -> dict[str, Tensor]:
    target = 2.0 * smooth_images(2, 3, 32) - 1.0
    hole = build_model("palette", **TINY).hole(3, TaskConfig(kind="centre", ratio=0.5), None)
    drawn = {name: golden[name] for name in ("y_noisy", "y_noisy_forget", "gamma", "noise")}
    return {
        "condition": torch.where(hole, golden["cond_noise"], target),
        "target": target,
        "mask": hole.float(),
        **drawn,
    }


@pytest.mark.parametrize("file", list(SIZES))
def test_names_and_shapes_are_the_published_ones(file: str) -> None:
    published = json.loads((DATA / f"{file}.keys.json").read_text())
    name, options = SIZES[file]
    with torch.device("meta"):
        model = build_model(name, **options)
    assert {name: list(each.shape) for name, each in model.state_dict().items()} == published


def test_images_are_noised_as_published(
    golden: dict[str, Tensor], inputs: dict[str, Tensor]
) -> None:
    found = noised(inputs["target"], golden["noise"], golden["gamma"])
    assert_close(found, golden["y_noisy"], "y_noisy")
    # the released code's forget rows hold nothing but the noise
    forget = golden["labels"].view(-1, 1, 1, 1) < 0
    assert_close(
        torch.where(forget, golden["noise"], found), golden["y_noisy_forget"], "y_noisy_forget"
    )


def test_predictions_are_the_published_ones(
    golden: dict[str, Tensor], inputs: dict[str, Tensor]
) -> None:
    model = filled(2)
    hole = inputs["mask"].bool()
    y_t = torch.where(hole, inputs["y_noisy"], inputs["target"])
    middle = torch.full((3,), 25)
    with torch.inference_mode():
        features = model.features(inputs["condition"], y_t, inputs["gamma"])
        noise = model.denoise(inputs["condition"], y_t, inputs["gamma"])
        mean, log_variance = model.posterior(
            inputs["condition"], inputs["y_noisy"], middle, schedule="train"
        )
    assert_close(model.gammas, golden["gammas"], "gammas")
    assert_close(noise, golden["eps"], "eps")
    assert_close(mean, golden["posterior_mean"], "posterior_mean")
    assert_close(log_variance, golden["posterior_log_variance"], "posterior_log_variance")
    assert f"feature_{len(features)}_mean_std_first" not in golden
    for index, feature in enumerate(features):
        name = f"feature_{index}_mean_std_first"
        found = torch.stack([feature.mean(), feature.std(), feature.flatten()[0]])
        assert_close(found, golden[name], name)
    assert_close(features[-1], golden["last_feature"], "last_feature")


@pytest.mark.parametrize(("method", "name"), [("ours", "ours_loss"), ("max_loss", "max_loss")])
def test_released_losses_are_the_published_ones(
    golden: dict[str, Tensor], inputs: dict[str, Tensor], method: str, name: str
) -> None:
    student, teacher = filled(2), filled(52)
    with torch.inference_mode():
        terms = METHODS[method].loss(
            student,
            teacher,
            inputs,
            golden["labels"] < 0,
            alpha=0.25,
            formulation="released",
        )
    assert_close(terms.total, golden[name], name)
