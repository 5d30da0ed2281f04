"""Defines the paper's networks, what they are given and what they give; without weights.

Completions are rounded to bytes first, as the released code stores them as image files and its
evaluator reads those; so every network sees the same pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision import transforms
from torchvision.models import inception, resnet50

from trainables.evaluation.extractors import DomainCNN, Extracted

Transform = Callable[[Image.Image], Tensor]

FEATURES = 2048
INCEPTION_CLASSES = 1008
PLACES_CLASSES = 365
_SIDE = 299  # of the images that Inception is given


def to_bytes(images: Tensor) -> Tensor:
    """Rounds images in [0, 1] to bytes."""
    return (images * 255.0).round().clamp(0.0, 255.0).to(torch.uint8)


# --- Inception ---------------------------------------------------------------------------------


class _PoolsInside:
    """Replaces a block's pooling by TensorFlow's, which leaves the padding out of the average.

    Torchvision's blocks are TensorFlow's but for this. Their private `_forward` gives the branches
    before they are joined, the pooled one last; a test says when that has changed.
    """

    branch_pool: nn.Module

    def _pool(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)

    def _forward(self, x: Tensor) -> list[Tensor]:
        branches: list[Tensor] = super()._forward(x)  # type: ignore[misc]
        return [*branches[:-1], self.branch_pool(self._pool(x))]


class _InceptionA(_PoolsInside, inception.InceptionA):  # type: ignore[misc]
    pass


class _InceptionC(_PoolsInside, inception.InceptionC):  # type: ignore[misc]
    pass


class _InceptionE(_PoolsInside, inception.InceptionE):  # type: ignore[misc]
    pass


class _LastInceptionE(_PoolsInside, inception.InceptionE):  # type: ignore[misc]
    def _pool(self, x: Tensor) -> Tensor:
        # the published graph takes the maximum in its last block
        return functional.max_pool2d(x, 3, stride=1, padding=1)


class _FeaturesAndLogits(nn.Linear):
    """`(B, D)` to `(B, D + C)`: the features themselves, then logits without the bias."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([features, functional.linear(features, self.weight)], dim=1)


def fid_inception() -> nn.Module:
    """Builds Inception-v3 of 2015-12-05, the network of FID, with its published weights' names.

    Torchvision's Inception with the four changes of the TensorFlow graph. It maps `(B, 3, 299,
    299)` in [-1, 1) to `(B, 2048 + 1008)`: pooled features and logits.
    """
    network: nn.Module = inception.Inception3(
        num_classes=INCEPTION_CLASSES,
        aux_logits=False,
        transform_input=False,
        init_weights=False,
        inception_blocks=[
            inception.BasicConv2d,
            _InceptionA,
            inception.InceptionB,
            _InceptionC,
            inception.InceptionD,
            _InceptionE,
            inception.InceptionAux,
        ],
    )
    network.Mixed_7c = _LastInceptionE(2048)
    network.fc = _FeaturesAndLogits(FEATURES, INCEPTION_CLASSES)
    return network


def resize_batch_for_inception(images: Tensor) -> Tensor:
    """Resizes a batch on its device as the reference evaluator does, antialiased and not rounded.

    Parmar et al., "On Aliased Resizing and Surprising Subtleties in GAN Evaluation" (CVPR 2022).
    Torch's antialiased bicubic has Pillow's kernel (a = -1/2, widened where it shrinks).

    Args:
        images: `(B, 3, H, W)` bytes.

    Returns:
        `(B, 3, 299, 299)` float32 in [0, 255].
    """
    resized = functional.interpolate(
        images.float(), size=(_SIDE, _SIDE), mode="bicubic", align_corners=False, antialias=True
    )
    return resized.clamp(0.0, 255.0)


class InceptionNetwork(nn.Module):
    """Features and class probabilities by the network of FID.

    The Inception Score's logits have no bias, as in the code of Salimans et al. (NeurIPS 2016).
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = fid_inception()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Returns `features` `(B, 2048)` and `probabilities` `(B, 1008)` of images in [0, 1].

        The graph subtracts 128 from the bytes and divides by 128.
        """
        pixels = resize_batch_for_inception(to_bytes(images))
        features, logits = self.network((pixels - 128.0) / 128.0).tensor_split([FEATURES], dim=1)
        return {"features": features, "probabilities": logits.softmax(dim=1)}


# --- Places and CLIP -----------------------------------------------------------------------------


def transformed(images: Tensor, transform: Transform) -> Tensor:
    """Applies a transform of Pillow images to each of `(B, 3, H, W)` in [0, 1], on their device.

    Image by image on the CPU: the published transforms round to bytes after Pillow's resize.
    """
    pictures = to_bytes(images).permute(0, 2, 3, 1).cpu().numpy()
    return torch.stack([transform(Image.fromarray(each)) for each in pictures]).to(images.device)


class PlacesNetwork(nn.Module):
    """Class probabilities by the ResNet-50 of Places-365 (Zhou et al., TPAMI 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.network: nn.Module = resnet50(weights=None, num_classes=PLACES_CLASSES)
        # of the authors' run_placesCNN_basic.py
        self.transform: Transform = transforms.Compose(
            [
                transforms.Resize((256, 256)),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Returns `probabilities` `(B, 365)` of images `(B, 3, H, W)` in [0, 1]."""
        logits = self.network(transformed(images, self.transform))
        return {"probabilities": logits.softmax(dim=1)}


class ClipNetwork(nn.Module):
    """Embeddings by the image tower of a CLIP model (Radford et al., ICML 2021).

    Args:
        tower: images to embeddings `(B, E)`.
        transform: of the model's own evaluation.
    """

    def __init__(self, tower: nn.Module, transform: Transform) -> None:
        super().__init__()
        self.tower = tower
        self.transform = transform

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Returns `embeddings` `(B, E)`, of length 1, of images `(B, 3, H, W)` in [0, 1]."""
        embeddings = self.tower(transformed(images, self.transform))
        return {"embeddings": functional.normalize(embeddings, dim=1)}


# --- Together ------------------------------------------------------------------------------------


class Networks(nn.Module):
    """Several networks that measure together, each run once a batch.

    Args:
        networks: by name; `domain` is a `DomainCNN`, the others map images to a dict of parts.
        parts: the parts of `Extracted`, each with the name of the network that makes it.
        batch_size: how many images they are given at once.
    """

    def __init__(
        self, networks: Mapping[str, nn.Module], parts: Mapping[str, str], batch_size: int
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(networks)
        self.parts = dict(parts)
        self.batch_size = batch_size

    @torch.inference_mode()
    def extract(self, images: Tensor) -> Extracted[Tensor]:
        """Extracts from images `(B, 3, H, W)` in [0, 1]."""
        done = [self._batch(batch) for batch in images.split(self.batch_size)]
        return Extracted(**{part: torch.cat([each[part] for each in done]) for part in self.parts})

    def _batch(self, images: Tensor) -> dict[str, Tensor]:
        found: dict[str, dict[str, Tensor]] = {
            name: vars(network.extract(images))
            if isinstance(network, DomainCNN)
            else network(images)
            for name, network in self.networks.items()
        }
        return {part: found[name][part] for part, name in self.parts.items()}
