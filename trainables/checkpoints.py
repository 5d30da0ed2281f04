"""Weights on disk: safetensors, which cannot carry code."""

from __future__ import annotations

from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn

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
        CheckpointError: a missing, truncated or foreign file, or the names, shapes or types of
            another model.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights file")
    try:
        state = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        # the reason may quote the file
        raise CheckpointError(f"{path}: not a whole safetensors file ({error!r:.200})") from None
    wanted = {name: _describe(each) for name, each in model.state_dict().items()}
    found = {name: _describe(each) for name, each in state.items()}
    wrong = sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )
    if wrong:
        # a foreign file's names may be long or hold line ends
        first = "; ".join(
            f"{name!r:.80}: {found.get(name, 'absent')}, expected {wanted.get(name, 'none')}"
            for name in wrong[:3]
        )
        raise CheckpointError(f"{path}: {len(wrong)} names, shapes or types differ ({first})")
    model.load_state_dict(state)


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
