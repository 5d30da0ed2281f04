"""What measures grey images, and what trials on them draw."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trainables.config import TrialConfig
from trainables.config.overrides import apply_overrides
from trainables.evaluation import extractors
from trainables.evaluation.extractors import DomainCNN
from trainables.evaluation.pretrained_weights import extractor_labels
from trainables.metrics import frechet_distance
from trainables.training.context import Context, TrialSetup, load_setup
from trainables.utils.threads import torch_threads

OPTIONS = {
    "data.source": "fashion",
    "data.train_per_class": 40,
    "data.val_per_class": 2,
    "data.test_per_class": 15,
    "extractor.steps": 30,
    "extractor.batch_size": 32,
    "extractor.dim": 16,
}


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> TrialSetup:
    config = apply_overrides(TrialConfig(), OPTIONS)
    return load_setup(config, Context(cache=tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def network(setup: TrialSetup) -> DomainCNN:
    with torch_threads(1):
        return extractors._train_extractor(setup).eval()


@pytest.fixture(scope="module")
def images(setup: TrialSetup) -> Tensor:
    return setup.dataset.images(setup.dataset.rows("all", "test"))


def in_the_centre(images: Tensor, filled: Tensor) -> Tensor:
    changed = images.clone()
    changed[:, :, 8:24, 8:24] = filled.clamp(0.0, 1.0)[:, :, 8:24, 8:24]
    return changed


def distance(network: DomainCNN, images: Tensor, completed: Tensor) -> float:
    real, found = (network.extract(each).features.numpy() for each in (images, completed))
    return frechet_distance(real, found)


TINTS = [(1.0, 0.0, -1.0), (-1.0, 0.0, 1.0), (-1.0, 2.0, -1.0), (1.0, -0.5, -0.5)]


@pytest.mark.parametrize("tint", TINTS)
def test_tinted_completions_score_worse(
    tint: tuple[float, float, float], network: DomainCNN, images: Tensor
) -> None:
    blurred = functional.avg_pool2d(images, 5, 1, 2)
    grey = distance(network, images, in_the_centre(images, blurred))
    shift = torch.tensor(tint).view(1, 3, 1, 1)
    # as light as it was
    scores = [
        distance(network, images, in_the_centre(images, 0.2 + 0.6 * blurred + size * shift))
        for size in (0.0, 0.05, 0.1, 0.2)
    ]
    assert grey > 0.0
    assert scores == sorted(scores)
    assert scores[2] > 1.02 * scores[0]


def test_distances_of_grey_images_are_those_of_the_network_that_sees_colour(
    network: DomainCNN, images: Tensor
) -> None:
    plain = DomainCNN(10, 16)
    plain.load_state_dict(network.state_dict())
    blurred = in_the_centre(images, functional.avg_pool2d(images, 5, 1, 2))
    usual = distance(plain.eval(), images, blurred)
    assert distance(network, images, blurred) == pytest.approx(usual, rel=1e-3)
    one, other = network.extract(images), plain.extract(images)
    torch.testing.assert_close(one.probabilities, other.probabilities)
    torch.testing.assert_close(one.embeddings.norm(dim=1), other.embeddings.norm(dim=1))


def test_grey_images_are_not_jittered_and_coloured_ones_are(
    setup: TrialSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    strengths: list[float] = []
    plain = extractors.jitter_colours

    def watched(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
        strengths.append(strength)
        return plain(images, strength, generator)

    monkeypatch.setattr(extractors, "jitter_colours", watched)
    config = apply_overrides(setup.config, {"extractor.steps": 1})
    coloured = dataclasses.replace(setup.dataset, grey=None)
    for dataset in (setup.dataset, coloured):
        extractors._train_extractor(TrialSetup(config, dataset, setup.context))
    assert strengths == [0.0, 1.0]
    assert [TrialSetup(config, each).grey is None for each in (setup.dataset, coloured)] == [
        *(False, True),
    ]
    published = dataclasses.replace(config, checkpoint=("weights.pth",))
    assert TrialSetup(published, setup.dataset).grey is None


def test_the_inception_score_is_told_to_be_of_the_ten_classes(
    setup: TrialSetup, tmp_path: Path
) -> None:
    labels = extractor_labels(setup.config, {}, len(setup.dataset.classes))
    assert labels == {
        "fid_extractor": "fashion CNN",
        "is_extractor": "fashion CNN, 10 classes",
        "clip_model": "fashion CNN",
    }
    options = {"data.source": "torchvision", "data.dataset": "CIFAR10", "data.root": "/data"}
    cifar = apply_overrides(TrialConfig(), options)
    assert extractor_labels(cifar, {}, 2)["is_extractor"] == "CIFAR10 CNN, 2 classes"
