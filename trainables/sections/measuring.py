"""How completions are drawn and measured."""

from __future__ import annotations

from dataclasses import dataclass

from trainables.sections.checked import Checked
from trainables.sections.names import SamplerName


@dataclass(frozen=True, kw_only=True)
class ExtractorConfig(Checked):
    """The small CNN, trained on the training images' classes, that measures the embedded data.

    Attributes:
        dim: width of its embedding.
        jitter: how strongly the colours of its training images are changed, in [0, 1]: a network
            that can tell the photographs by colour alone is blind to blurred completions.
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
class EvaluationConfig(Checked):
    """How completions are measured.

    Attributes:
        seed: permutes images before the Inception Score splits, draws completions and the t-SNE;
            in [0, 2^32).
        is_splits: splits of the Inception Score.
        batch_size: images completed at once.
        grid_images: images a side in the sample grid.
        tsne_points: points of each of the four t-SNE groups.
        retain_tolerance: how far above the original's a feasible trial's retain FD may be, 0.10 is
            10 %.
    """

    seed: int = 0
    is_splits: int = 10
    batch_size: int = 128
    grid_images: int = 6
    tsne_points: int = 60
    retain_tolerance: float = 0.10

    def _faults(self) -> list[tuple[bool, str]]:
        return [
            (not 0 <= self.seed < 2**32, f"seed={self.seed} is outside [0, 2^32)"),
            (self.retain_tolerance < 0.0, f"retain_tolerance={self.retain_tolerance} is below 0"),
            *self._below(1, "is_splits", "batch_size", "grid_images", "tsne_points"),
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
