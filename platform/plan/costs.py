"""Holds what each size of model was measured to take."""

from __future__ import annotations

from dataclasses import dataclass

from trainables.config import ModelName


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one size of model takes on one core of a 2020s server.

    Attributes:
        pretrain_row: seconds an image of a pretraining step.
        unlearn_row: seconds an image of an unlearning step.
        complete_row: seconds to complete and measure one image.
        artifacts: seconds for the pictures, t-SNE and weights of a trial.
        megabytes: size of the files that a trial leaves.
        sampling_steps: the sampler's steps in `complete_row`; other numbers take their share of it.
    """

    pretrain_row: float
    unlearn_row: float
    complete_row: float
    artifacts: float
    megabytes: float
    sampling_steps: int = 1


def _published(
    row: float, *, complete_row: float, megabytes: float, sampling_steps: int = 1
) -> Cost:
    """Returns the cost of a published size, of which pretraining and unlearning take the same."""
    return Cost(
        pretrain_row=row,
        unlearn_row=row,
        complete_row=complete_row,
        artifacts=10.0,
        megabytes=megabytes,
        sampling_steps=sampling_steps,
    )


# Measured on one core without AVX-512, `benchmarks/RESULTS.md` says how; Palette's completion at
# the published size by computation, `mage_tiny` by its training and a sweep on a Xeon.
COSTS: dict[ModelName, Cost] = {
    "mae_tiny": Cost(
        pretrain_row=5e-3, unlearn_row=3.8e-3, complete_row=1.6e-3, artifacts=1.0, megabytes=4.0
    ),
    "mae_vit_base_patch16": _published(3.1, complete_row=1.8, megabytes=480.0),
    "mae_vit_large_patch16": _published(10.5, complete_row=4.6, megabytes=1350.0),
    "mage_tiny": Cost(
        pretrain_row=1.4e-2,
        unlearn_row=8.5e-3,
        complete_row=1.8e-2,
        artifacts=1.5,
        megabytes=2.5,
        sampling_steps=8,
    ),
    "mage_vit_base_patch16": _published(
        22.0, complete_row=28.0, megabytes=840.0, sampling_steps=20
    ),
    "mage_vit_large_patch16": _published(
        23.0, complete_row=38.0, megabytes=1890.0, sampling_steps=20
    ),
    "palette_tiny": Cost(
        pretrain_row=1.6e-2,
        unlearn_row=1.4e-2,
        complete_row=3.7e-2,
        artifacts=1.5,
        megabytes=5.5,
        sampling_steps=10,
    ),
    "palette_places2": _published(15.0, complete_row=28000.0, megabytes=280.0, sampling_steps=2000),
}
