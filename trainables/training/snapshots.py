"""Keeps where a killed trial goes on, its training's state and its evaluations, in one file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from trainables.config.names import SNAPSHOT
from trainables.utils.errors import CheckpointError
from trainables.utils.files import replacing
from trainables.utils.text import one_line

_HEADER = "trial"


@dataclass(frozen=True)
class Snapshot:
    """A trial under way.

    Attributes:
        step: steps done.
        tensors: of `TrainingState`.
        history: metrics of every evaluation so far.
    """

    step: int
    tensors: Mapping[str, Tensor]
    history: tuple[Mapping[str, float], ...]


def write_snapshot(folder: Path, snapshot: Snapshot, identity: Mapping[str, str]) -> None:
    """Replaces the snapshot in a trial's folder, whole or not at all.

    Args:
        folder: of the trial.
        snapshot: what to keep.
        identity: what a trial that goes on from it must agree in: its key, code and versions.
    """
    tensors = {name: each.detach().cpu().contiguous() for name, each in snapshot.tensors.items()}
    told = {"identity": dict(identity), "step": snapshot.step, "history": list(snapshot.history)}
    header = json.dumps(told, allow_nan=False)
    path = folder / SNAPSHOT
    metadata = {_HEADER: header, "sha256": _digest(header, tensors)}
    with replacing(path) as beside:
        safetensors.torch.save_file(tensors, beside, metadata=metadata)


def read_snapshot(folder: Path, identity: Mapping[str, str]) -> Snapshot | None:
    """Reads the snapshot in a trial's folder; None where there is none, or it is another trial's.

    Raises:
        CheckpointError: the file is broken or was altered.
    """
    path = folder / SNAPSHOT
    if not path.is_file():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = metadata[_HEADER]
        if metadata["sha256"] != _digest(header, tensors):
            raise ValueError("its content is not what was written")
        told: dict[str, Any] = json.loads(header)
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a whole snapshot ({one_line(error, 120)}); "
            f"remove {path}, and the trial begins anew"
        ) from None
    if told["identity"] != dict(identity):
        return None
    return Snapshot(int(told["step"]), tensors, tuple(told["history"]))


def _digest(header: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        each = tensors[name]
        digest.update(f"{name} {each.dtype} {tuple(each.shape)}\n".encode())
        digest.update(each.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
