"""Ours: the forget set's encodings are trained towards the original's of Gaussian noise images.

L = ||E(T(x)) - E0(T(x))||^2 over R + alpha * ||E(T(x)) - E0(T(n))||^2 over F, n a Gaussian noise
image; E0 is frozen and only
the encoder moves. The method of Li, Hsu, Chen and Marculescu, "Machine Unlearning for Image-to-
Image Generative Models"
(ICLR 2024). With `retain_source="proxy"` R holds images of other classes: the paper's variant
without the retain set.
`formulation="released"` weighs the distance as the family's released code does: twice for MAGE.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.config import Formulation
from trainables.methods.base import Method, Terms, feature_distance, one_a_row, weigh
from trainables.models.base import CompletionModel, Inputs
from trainables.utils.distributed import ALONE, World
from trainables.utils.rng import RandomSource


def loss(
    model: CompletionModel,
    teacher: CompletionModel,
    inputs: Inputs,
    forget: Tensor,
    *,
    alpha: float = 0.25,
    formulation: Formulation = "paper",
    generator: RandomSource = None,
    world: World = ALONE,
) -> Terms:
    """Squared distance of features to the teacher's, which sees noise images on forget rows."""
    with torch.no_grad():
        targets = teacher.encoder_features(teacher.with_noise_images(inputs, forget, formulation))
    rows = feature_distance(model, inputs, targets, formulation)
    return weigh(rows, forget, alpha=alpha, sign=1, formulation=formulation, world=world)


METHOD = Method(name="ours", loss=loss, moves="encoder", places=one_a_row, noise_images=True)
