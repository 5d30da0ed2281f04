"""Ours: the forget set's encodings are trained towards the original's of Gaussian noise images.

L = ||E(T(x)) - E0(T(x))||^2 over R + alpha * ||E(T(x)) - E0(T(n))||^2 over F, n a Gaussian noise
image; E0 is frozen and only the encoder moves. The method of Li, Hsu, Chen and Marculescu, "Machine
Unlearning for Image-to-Image Generative Models" (ICLR 2024). With `retain_source="proxy"` R holds
images of other classes: the paper's variant without the retain set. `formulation="released"`
weighs the distance as the family's released code does: twice for MAGE.
"""

from __future__ import annotations

import torch

from trainables.methods.base import LossBatch, Method, feature_distance, one_a_row
from trainables.models.base import RowLoss


def rows(batch: LossBatch) -> RowLoss:
    """Returns the distance of features to the teacher's, which sees noise on forget rows."""
    with torch.no_grad():
        seen = batch.teacher.with_noise_images(batch.inputs, batch.forget, batch.formulation)
        targets = batch.teacher.encoder_features(seen)
    return feature_distance(batch, targets)


METHOD = Method(name="ours", rows=rows, moves="encoder", places=one_a_row, noise_images=True)
