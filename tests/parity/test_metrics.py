"""The metrics compute what the reference evaluator computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.helpers.resize import resize_for_inception
from trainables.evaluation.networks import resize_batch_for_inception
from trainables.metrics import frechet_distance, inception_score


@pytest.fixture(scope="module")
def golden() -> dict[str, NDArray[np.generic]]:
    with np.load(Path(__file__).parent / "data" / "metrics.npz", allow_pickle=False) as stored:
        return dict(stored)


def test_frechet_distance(golden: dict[str, NDArray[np.generic]]) -> None:
    found = frechet_distance(golden["features_a"], golden["features_b"])
    assert found == pytest.approx(float(golden["fid"]), rel=1e-4)


def test_inception_score(golden: dict[str, NDArray[np.generic]]) -> None:
    mean, std = inception_score(golden["probabilities"], splits=10)
    assert mean == pytest.approx(float(golden["is_mean"]), rel=1e-4)
    assert std == pytest.approx(float(golden["is_std"]), rel=1e-4)


def test_resize_before_inception(golden: dict[str, NDArray[np.generic]]) -> None:
    resized = resize_for_inception(golden["image"])
    assert resized.shape == (299, 299, 3)
    assert resized.dtype == np.float32
    wanted = golden["image_resized_299_sample"]
    np.testing.assert_allclose(resized[::13, ::13], wanted, rtol=1e-4, atol=1e-3)


def test_resize_before_inception_in_a_batch(golden: dict[str, NDArray[np.generic]]) -> None:
    image = torch.as_tensor(golden["image"]).permute(2, 0, 1)
    resized = resize_batch_for_inception(torch.stack([image, 255 - image]))
    assert resized.shape == (2, 3, 299, 299)
    wanted = golden["image_resized_299_sample"]
    found = resized[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found[::13, ::13], wanted, rtol=1e-4, atol=1e-3)
