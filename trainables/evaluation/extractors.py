"""Turns images into features, class probabilities and embeddings.

The domain CNN measures data for which Inception and CLIP are absent or meaningless, such as
32-pixel crops. It is trained once, on the training images' classes, so its figures compare
methods on this data alone and are always labelled with its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.config import to_dict
from trainables.data.batches import Pool
from trainables.models.checkpoints import save_weights
from trainables.training.context import TrialSetup
from trainables.utils.cache import build_once
from trainables.utils.errors import NonFiniteError
from trainables.utils.files import write_json
from trainables.utils.hashing import code_version
from trainables.utils.rng import mix_seed
from trainables.utils.threads import torch_threads

T = TypeVar("T")


@dataclass(frozen=True)
class Extracted(Generic[T]):
    """What the metrics need of some images: tensors of a batch, or arrays of a whole set.

    Attributes:
        features: `(B, D)`, for the Frechet distance.
        probabilities: `(B, C)`, for the Inception Score.
        embeddings: `(B, E)`, for the cosine and the t-SNE.
    """

    features: T
    probabilities: T
    embeddings: T


# of one set of images, in float32 as the networks give it
Arrays = Extracted[np.ndarray]


class Extractor(Protocol):
    """A module on one device that measures images."""

    def extract(self, images: Tensor) -> Extracted[Tensor]:
        """Extracts from images `(B, 3, H, W)` in [0, 1]."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yields its weights, which lie on its device."""
        ...


class DomainCNN(nn.Module):
    """A small GroupNorm CNN whose last hidden layer is the embedding.

    Args:
        classes: C, how many classes it tells apart.
        dim: D, width of the embedding.
        grey: the images that it is trained on are grey. It then sees each channel of an image as a
            grey image, so that a tint is as far from grey as a wrong grey value is from the right
            one; distances of grey images stay the same. E is 3 D, and otherwise D.
    """

    def __init__(self, classes: int, dim: int, *, grey: bool = False) -> None:
        super().__init__()
        self.grey = grey
        self.body = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1),
            nn.GroupNorm(8, 32),
            nn.GELU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.GroupNorm(8, 64),
            nn.GELU(),
            nn.Conv2d(64, 96, 3, stride=2, padding=1),
            nn.GroupNorm(8, 96),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(96 * 4, dim),
        )
        self.head = nn.Linear(dim, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns embedding `(B, D)` and logits `(B, C)` of images `(B, 3, H, W)` in [0, 1]."""
        embedding = self.body(images * 2.0 - 1.0)
        return embedding, self.head(functional.gelu(embedding))

    @torch.inference_mode()
    def extract(self, images: Tensor) -> Extracted[Tensor]:
        """Extracts from images `(B, 3, H, W)` in [0, 1]."""
        if not self.grey:
            embedding, logits = self(images)
            return Extracted(embedding, logits.softmax(dim=1), embedding)
        seen = [self(images[:, c : c + 1].expand(-1, 3, -1, -1)) for c in range(3)]
        embedding = torch.cat([each for each, _ in seen], dim=1) / 3**0.5
        shares = torch.stack([logits.softmax(dim=1) for _, logits in seen]).mean(dim=0)
        return Extracted(embedding, shares, embedding)


def domain_network(setup: TrialSetup) -> DomainCNN:
    """Returns the domain CNN of a trial's data, with fresh weights."""
    dataset = setup.dataset
    grey = dataset.grey is not None
    return DomainCNN(len(dataset.classes), setup.config.extractor.dim, grey=grey)


def jitter_colours(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Draws saturation, contrast, brightness and the gain of each channel of images anew.

    Args:
        images: `(B, 3, H, W)` in [0, 1].
        strength: in [0, 1]; 0 leaves the images, 1 takes all colour from some and changes contrast
            and gains by up to 40 %, brightness by up to 0.15.
        generator: of the draws, on the CPU.
    """

    def draw(low: float, high: float, channels: int = 1) -> Tensor:
        spread = torch.rand(len(images), channels, 1, 1, generator=generator)
        return low + (high - low) * spread

    grey = images.mean(dim=1, keepdim=True)
    coloured = grey + (images - grey) * draw(1.0 - strength, 1.0)
    centre = coloured.mean(dim=(1, 2, 3), keepdim=True)
    few, many = 1.0 - 0.4 * strength, 1.0 + 0.4 * strength
    contrasted = centre + (coloured - centre) * draw(few, many)
    brightness = draw(-0.15 * strength, 0.15 * strength)
    return (contrasted * draw(few, many, channels=3) + brightness).clamp(0.0, 1.0)


def extractor_folder(setup: TrialSetup) -> Path:
    """Trains the domain CNN unless the cache holds it; returns its folder."""
    config, dataset, context = setup.config, setup.dataset, setup.context
    material = {
        "extractor": to_dict(config.extractor),
        "data": dataset.fingerprint,
        "code": code_version(
            "trainables.evaluation.extractors",
            "trainables.data",
            "trainables.utils.rng",
        ),
        "torch": str(torch.__version__),
    }

    def build(folder: Path) -> None:
        with torch_threads(1):
            network = _train_extractor(setup)
        save_weights(network, folder / "weights.safetensors")
        rows = np.concatenate([dataset.rows(role, "test") for role in ("retain", "forget")])
        network.eval()
        with torch.inference_mode():
            guessed = network(dataset.images(rows))[1].argmax(dim=1)
        accuracy = float((guessed == dataset.labels(rows)).float().mean())
        write_json(folder / "extractor.json", {"test_accuracy": accuracy})

    return build_once(context.cache, "extractor", material, build)


def _train_extractor(setup: TrialSetup) -> DomainCNN:
    options, dataset = setup.config.extractor, setup.dataset
    torch.manual_seed(mix_seed(options.seed, "extractor"))
    network = domain_network(setup)
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.lr, options.steps)
    pool = Pool(dataset.rows("all", "train"), options.batch_size, False, "extractor")
    chance = torch.Generator().manual_seed(mix_seed(options.seed, "jitter"))
    # what teaches it to look beyond colour is lost on grey images, and blinds it to grey values
    jitter = options.jitter if dataset.grey is None else 0.0
    for step in range(options.steps):
        rows = pool.draw(options.seed, step)
        logits = network(jitter_colours(dataset.images(rows), jitter, chance))[1]
        loss = functional.cross_entropy(logits, dataset.labels(rows), label_smoothing=0.1)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if not bool(torch.isfinite(loss)):
            raise NonFiniteError(f"extractor step {step + 1}: loss {float(loss):g}")
        setup.context.report_steps("extractor", step + 1, options.steps)
    return network
