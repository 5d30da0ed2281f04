"""How completions are drawn and measured."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from trainables.config.validation import Checked

FeaturesName = Literal["domain", "inception"]
ProbabilitiesName = Literal["domain", "inception", "places365"]
# options that name a local file in place of the library's weights
WEIGHTS_OPTIONS: dict[str, str] = {
    "inception": "networks.inception_weights",
    "places365": "networks.places_weights",
    "clip": "networks.clip_weights",
}
SamplerName = Literal["default", "ancestral", "ddim"]


@dataclass(frozen=True, kw_only=True)
class ExtractorConfig(Checked):
    """The small CNN, trained on the training images' classes, that measures the embedded data.

    Attributes:
        dim: width of its embedding.
        jitter: how strongly the colours of its training images are changed, in [0, 1]: a network
            that can tell the photographs by colour alone is blind to blurred completions. Grey data
            have none.
        steps, batch_size, lr, seed: of its training.
    """

    dim: int = 64
    jitter: float = 1.0
    steps: int = 300
    batch_size: int = 128
    lr: float = 3e-3
    seed: int = 0

    def _faults(self) -> list[tuple[bool, str]]:
        return [
            (not 0.0 < self.lr < 10.0, f"lr={self.lr} is outside (0, 10)"),
            (not 0.0 <= self.jitter <= 1.0, f"jitter={self.jitter} is outside [0, 1]"),
            *self._below(1, "dim", "steps", "batch_size"),
        ]


@dataclass(frozen=True, kw_only=True)
class NetworksConfig(Checked):
    """Which networks measure: the domain CNN of `ExtractorConfig`, or the paper's.

    Attributes:
        features: of the Frechet distance, `domain` or `inception`, which adds the kernel distance.
        probabilities: of the Inception Score, `domain`, `inception` or `places365` (a ResNet-50).
        embeddings: of the cosine and the t-SNE, `domain` or an open_clip model such as `ViT-H-14`,
            also `hf-hub:ORGANISATION/NAME` or `local-dir:FOLDER`.
        clip_pretrained: open_clip's tag of the weights, which gives their image transform too.
        inception_weights, places_weights, clip_weights: local files; empty for the library's cache
            or download.
        batch_size: images that Inception, the ResNet-50 and CLIP are given at once.
    """

    features: FeaturesName = "domain"
    probabilities: ProbabilitiesName = "domain"
    embeddings: str = "domain"
    clip_pretrained: str = "laion2b_s32b_b79k"
    inception_weights: str = ""
    places_weights: str = ""
    clip_weights: str = ""
    batch_size: int = 64

    def _faults(self) -> list[tuple[bool, str]]:
        return [
            (
                not self.embeddings or self.embeddings.endswith(":"),
                f"embeddings={self.embeddings!r} is neither domain nor a model of open_clip",
            ),
            *self._below(1, "batch_size"),
        ]

    def parts(self) -> dict[str, str]:
        """Returns the network of each part: `domain`, `inception`, `places365` or `clip`.

        The parts are `features`, `probabilities` and `embeddings`.
        """
        clip = "domain" if self.embeddings == "domain" else "clip"
        return {
            "features": self.features,
            "probabilities": self.probabilities,
            "embeddings": clip,
        }

    def weights(self) -> dict[str, str]:
        """Returns the local file of each of the paper's networks in use; empty where none is given.

        Keys are of `inception`, `places365` and `clip`.
        """
        files = {
            "inception": self.inception_weights,
            "places365": self.places_weights,
            "clip": self.clip_weights,
        }
        used = set(self.parts().values())
        return {name: path for name, path in files.items() if name in used}

    def canonical(self) -> NetworksConfig:
        """Returns this section with the fields of networks without a use at their defaults."""
        files = self.weights()
        if not files:
            return NetworksConfig()
        default = NetworksConfig()
        return dataclasses.replace(
            self,
            inception_weights=files.get("inception", ""),
            places_weights=files.get("places365", ""),
            clip_weights=files.get("clip", ""),
            clip_pretrained=self.clip_pretrained if "clip" in files else default.clip_pretrained,
        )


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(Checked):
    """How completions are measured.

    Attributes:
        seed: permutes images before the Inception Score splits, draws completions and the t-SNE;
            in [0, 2^32).
        is_splits: splits of the Inception Score.
        kid_subsets, kid_subset_size: subsets of the kernel distance and images a side in each,
            at most as many as there are; measured where `networks.features=inception`.
        batch_size: images completed at once.
        grid_images: images a side in the sample grid.
        tsne_points: points of each of the four t-SNE groups.
        retain_tolerance: how far above the original's a feasible trial's retain FD may be, 0.10 is
            10 %.
    """

    seed: int = 0
    is_splits: int = 10
    kid_subsets: int = 100
    kid_subset_size: int = 1000
    batch_size: int = 128
    grid_images: int = 6
    tsne_points: int = 60
    retain_tolerance: float = 0.10

    def _faults(self) -> list[tuple[bool, str]]:
        return [
            (not 0 <= self.seed < 2**32, f"seed={self.seed} is outside [0, 2^32)"),
            (self.retain_tolerance < 0.0, f"retain_tolerance={self.retain_tolerance} is below 0"),
            *self._below(1, "is_splits", "batch_size", "grid_images", "tsne_points"),
            *self._below(1, "kid_subsets"),
            *self._below(2, "kid_subset_size"),
        ]


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(Checked):
    """How a model that samples draws its completions; one that completes in one pass ignores it.

    Attributes:
        sampler: of diffusion, `ancestral` (every step of the model's test schedule) or `ddim` (some
            of them); `default` leaves it to the model.
        steps: of `ddim`, or most rounds of MAGE's decoding; 0 leaves it to the model.
    """

    sampler: SamplerName = "default"
    steps: int = 0

    def _faults(self) -> list[tuple[bool, str]]:
        return [
            *self._below(0, "steps"),
            (
                self.sampler == "ancestral" and self.steps > 0,
                f"steps={self.steps} is of ddim: ancestral takes every step of the schedule",
            ),
        ]
