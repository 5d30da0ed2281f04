"""Max Loss: train on the retain set, train away from the forget set.

L = L_task(R) - alpha * L_task(F), over the whole model. Baseline of Li et al. (ICLR 2024), "Max
Loss", after Halimi et al., 2022, and Gandikota et al., 2023. Unbounded below.
"""

from __future__ import annotations

from trainables.methods.base import Method
from trainables.methods.original import rows

METHOD = Method(name="max_loss", rows=rows, moves="model", sign=-1)
