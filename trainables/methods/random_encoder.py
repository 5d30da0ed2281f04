"""Random Encoder: the forget set's encodings are trained towards Gaussian noise.

L = ||E(T(x)) - E0(T(x))||^2 over R + alpha * ||E(T(x)) - g||^2 over F, g ~ N(mean, std of E0's
features) drawn anew at each
step; only the encoder moves. Baseline of Li et al. (ICLR 2024), "Random Encoder", after Tarun et
al., 2023.
The released code multiplies its forget term by (1 + s), which is 0 on forget rows; that fault is
not repeated.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.config import Formulation
from trainables.methods.base import (
    Method,
    Terms,
    feature_distance,
    one_a_row,
    weigh,
    where_rows,
)
from trainables.models.base import CompletionModel, Inputs
from trainables.utils.distributed import ALONE, World
from trainables.utils.rng import RandomSource, normal_like


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
    """Squared distance of features: retain rows to the teacher's, forget rows to Gaussian noise."""
    with torch.no_grad():
        features = teacher.encoder_features(inputs)
        targets = []
        for each in features:
            mean, std = world.mean_and_std(each)
            noise = mean + std * normal_like(each, generator)
            targets.append(where_rows(forget, noise, each))
    rows = feature_distance(model, inputs, tuple(targets), formulation)
    return weigh(rows, forget, alpha=alpha, sign=1, formulation=formulation, world=world)


METHOD = Method(name="random_encoder", loss=loss, moves="encoder", places=one_a_row)
