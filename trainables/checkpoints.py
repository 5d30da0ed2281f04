"""Weights on disk: safetensors, which cannot carry code."""

from __future__ import annotations

from pathlib import Path

import safetensors
import safetensors.torch
from torch import nn

from trainables.errors import CheckpointError


def save_weights(model: nn.Module, path: Path) -> None:
    """Writes a model's state-dict, renamed into place so that a reader never sees half a file."""
    state = {name: each.detach().cpu().contiguous() for name, each in model.state_dict().items()}
    temporary = path.with_name(path.name + ".part")
    safetensors.torch.save_file(state, temporary)
    temporary.replace(path)


def load_weights(model: nn.Module, path: Path) -> None:
    """Reads what `save_weights` wrote; a refusal leaves the model unchanged.

    Raises:
        CheckpointError: a missing, truncated or foreign file, or names and shapes of another model.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights file")
    try:
        state = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error})") from None
    wanted = {name: tuple(each.shape) for name, each in model.state_dict().items()}
    found = {name: tuple(each.shape) for name, each in state.items()}
    wrong = sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )
    if wrong:
        first = "; ".join(
            f"{name}: {found.get(name, 'absent')}, expected {wanted.get(name, 'none')}"
            for name in wrong[:3]
        )
        raise CheckpointError(f"{path}: {len(wrong)} names or shapes differ ({first})")
    model.load_state_dict(state)
