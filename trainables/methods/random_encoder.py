"""Random Encoder: the forget set's encodings are trained towards Gaussian noise.

L = ||E(T(x)) - E0(T(x))||^2 over R + alpha * ||E(T(x)) - g||^2 over F, g ~ N(mean, std of E0's
features) drawn anew at each step; only the encoder moves. Baseline of Li et al. (ICLR 2024),
"Random Encoder", after Tarun et al., 2023. The released code multiplies its forget term by (1 + s),
which is 0 on forget rows; that fault is not repeated.
"""

from __future__ import annotations

import torch

from trainables.methods.base import LossBatch, Method, feature_distance, one_a_row, where_rows
from trainables.models.base import RowLoss
from trainables.utils.rng import normal_like


def rows(batch: LossBatch) -> RowLoss:
    """Returns the distance of features: retain rows to the teacher's, forget rows to noise."""
    targets = []
    with torch.no_grad():
        for each in batch.teacher.encoder_features(batch.inputs):
            mean, std = batch.world.mean_and_std(each)
            noise = mean + std * normal_like(each, batch.generator)
            targets.append(where_rows(batch.forget, noise, each))
    return feature_distance(batch, tuple(targets))


METHOD = Method(name="random_encoder", rows=rows, moves="encoder", places=one_a_row)
