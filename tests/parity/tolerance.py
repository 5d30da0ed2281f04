"""How near the golden numbers a float32 computation must come."""

from __future__ import annotations

import torch
from torch import Tensor


def assert_close(found: Tensor, wanted: Tensor, name: str) -> None:
    """Within 1e-4 of each number, or 1e-5 of the greatest.

    The golden numbers are rounded themselves: near zero, a computation in float64 is as far from
    them as a fixed 1e-5 allows, so that float32 kernels of another CPU may fall beyond it.
    """
    atol = 1e-5 * float(wanted.abs().max())
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=atol, msg=lambda m: f"{name}: {m}")
