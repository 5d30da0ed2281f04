"""Says what an optimiser moves and how: a student's loss, AdamW, the learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainables.config import OptimiserConfig
from trainables.methods import Method, Terms
from trainables.models.base import CompletionModel

_MOMENTS = ("exp_avg", "exp_avg_sq")


class StudentLoss(nn.Module):
    """A student with a method's loss: what data parallelism wraps, since it hooks `forward`."""

    def __init__(self, student: CompletionModel, method: Method) -> None:
        super().__init__()
        self.student = student
        self.method = method
        if isinstance(method.moves, frozenset):
            moved = method.moves
        elif method.moves == "encoder":
            moved = student.encoder_names()
        else:
            moved = frozenset(
                name for name, each in student.named_parameters() if each.requires_grad
            )
        for name, parameter in student.named_parameters():
            parameter.requires_grad_(name in moved)

    def forward(self, *args: Any, **options: Any) -> Terms:
        """Returns the method's loss; see `trainables.methods.base.Method.loss`."""
        return self.method.loss(self.student, *args, **options)


class TrainingState:
    """What a training has moved so far: parameters, and the optimiser's moments."""

    def __init__(self, loss: StudentLoss, optimiser: torch.optim.Optimizer) -> None:
        self._moved = {
            name: each for name, each in loss.student.named_parameters() if each.requires_grad
        }
        self._optimiser = optimiser

    def tensors(self) -> dict[str, Tensor]:
        """Returns all of it by name, as `restore` takes it."""
        moments = self._optimiser.state_dict()["state"]
        return {f"weights/{name}": each.detach() for name, each in self._moved.items()} | {
            f"moments/{index}/{name}": value
            for index, state in moments.items()
            for name, value in state.items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts back what `tensors` gave.

        Raises:
            KeyError: a parameter is missing.
        """
        state = self._optimiser.state_dict()
        state["state"] = {}
        for name, value in tensors.items():
            kind, _, rest = name.partition("/")
            if kind == "moments":
                index, _, part = rest.partition("/")
                state["state"].setdefault(int(index), {})[part] = value
        with torch.no_grad():
            for name, moved in self._moved.items():
                moved.copy_(tensors[f"weights/{name}"])
        self._optimiser.load_state_dict(state)
        for parameter, moments in self._optimiser.state.items():
            for name in _MOMENTS:
                # in the parameter's own memory format, which a fused step asks for
                moments[name] = torch.empty_like(parameter).copy_(moments[name])


def learning_rate(config: OptimiserConfig, step: int) -> float:
    """Returns a step's rate, counted from 0: linear warm-up, then half a cosine or a constant."""
    warm = round(config.warmup * config.steps)
    if step < warm:
        return config.lr * (step + 1) / warm
    progress = (step - warm) / max(config.steps - warm, 1)
    left = 0.5 * (1.0 + math.cos(math.pi * progress)) if config.schedule == "cosine" else 1.0
    return config.lr * left


def adamw(module: nn.Module, config: OptimiserConfig, device: torch.device) -> torch.optim.AdamW:
    """Builds AdamW over what a module trains; 1-d parameters do not decay. Fused on a GPU."""
    moved = [each for each in module.parameters() if each.requires_grad]
    groups = [
        {"params": [p for p in moved if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in moved if p.ndim <= 1], "weight_decay": 0.0},
    ]
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=config.lr, betas=betas, fused=device.type == "cuda")
