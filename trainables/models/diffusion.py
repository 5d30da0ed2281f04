"""Gaussian diffusion over a linear schedule of betas: the numbers of each step, and which to take.

Ho et al., "Denoising Diffusion Probabilistic Models" (NeurIPS 2020); `gammas` are the cumulated
products that they call alpha-bar, the name that Palette's files use.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import torch
from torch import Tensor


class Schedule(TypedDict):
    """Betas that rise linearly from `start` to `end` over `steps` steps."""

    steps: int
    start: float
    end: float


SCHEDULE_BUFFERS = (
    "gammas",
    "sqrt_recip_gammas",
    "sqrt_recipm1_gammas",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)


def schedule_buffers(schedule: Schedule) -> dict[str, Tensor]:
    """Computes the tables of a schedule, `(steps,)` float32 each, by the names of the files.

    q(y_(t-1) | y_t, y_0) has mean `posterior_mean_coef1` y_0 + `posterior_mean_coef2` y_t and the
    variance beta_t (1 - gamma_(t-1)) / (1 - gamma_t), which is 0 at the first step and whose
    logarithm is clipped there (Ho et al., 2020, equations 6 and 7).

    Raises:
        ValueError: fewer than two steps, or betas outside (0, 1).
    """
    if schedule["steps"] < 2 or not 0.0 < schedule["start"] <= schedule["end"] < 1.0:
        raise ValueError(f"{schedule} is not two or more steps of rising betas in (0, 1)")
    betas = np.linspace(schedule["start"], schedule["end"], schedule["steps"], dtype=np.float64)
    gammas = np.cumprod(1.0 - betas)
    before = np.append(1.0, gammas[:-1])
    variance = betas * (1.0 - before) / (1.0 - gammas)
    found = (
        gammas,
        np.sqrt(1.0 / gammas),
        np.sqrt(1.0 / gammas - 1.0),
        np.log(np.maximum(variance, 1e-20)),
        betas * np.sqrt(before) / (1.0 - gammas),
        (1.0 - before) * np.sqrt(1.0 - betas) / (1.0 - gammas),
    )
    return {
        name: torch.from_numpy(value).float()
        for name, value in zip(SCHEDULE_BUFFERS, found, strict=True)
    }


def spaced_steps(total: int, count: int) -> list[int]:
    """Returns `count` evenly spaced steps of a schedule of `total`, falling from its last one.

    Raises:
        ValueError: no step, or more than there are.
    """
    if not 1 <= count <= total:
        raise ValueError(f"{count} sampling steps: the schedule has {total}")
    return [round(total * (1.0 - done / count)) - 1 for done in range(count)]


def at_step(values: Tensor, step: Tensor) -> Tensor:
    """Returns the entries of a schedule `(steps,)` at the rows' steps `(B,)`, `(B, 1, 1, 1)`."""
    return values[step].view(-1, 1, 1, 1)


def noised(image: Tensor, noise: Tensor, gamma: Tensor) -> Tensor:
    """Returns sqrt(gamma) image + sqrt(1 - gamma) noise, `(B, C, H, W)`, for gamma `(B,)`."""
    level = gamma.reshape(-1, 1, 1, 1)
    return level.sqrt() * image + (1.0 - level).sqrt() * noise
