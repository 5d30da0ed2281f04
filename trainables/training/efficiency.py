"""Makes unlearning take less memory or time: bf16, recomputation, compilation."""

from __future__ import annotations

from functools import partial

import torch
from torch.utils.checkpoint import checkpoint

from trainables.config import UnlearnConfig
from trainables.models.base import CompletionModel


def in_bf16(options: UnlearnConfig, device: torch.device) -> bool:
    """Returns whether unlearning on a device runs under bf16 autocast."""
    return options.precision == "bf16" or (options.precision == "auto" and device.type == "cuda")


def ease_blocks(student: CompletionModel, options: UnlearnConfig) -> None:
    """Makes the student's heavy blocks recompute their activations, or compiles them, as asked."""
    for block in student.heavy_blocks():
        if options.recompute:
            # an instance's own forward: a wrapping module would change the names of weights
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        if options.compile:
            block.compile()
