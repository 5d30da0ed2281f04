"""Weights files: bit for bit there and back, and a foreign one changes nothing."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from trainables.models import build_model
from trainables.models.checkpoints import load_weights, save_weights
from trainables.utils.errors import CheckpointError


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: each.clone() for name, each in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and torch.equal(first[name], second[name])
        for name in first
    )


def refusal(path: Path) -> str:
    """The message of a refusal, which is one line, names the file and leaves the model alone."""
    model = network(1)
    before = state(model)
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    assert same(state(model), before)
    return message


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_weights(network(0), path)
    return path


def test_weights_come_back_bit_for_bit(saved: Path) -> None:
    model = network(1)
    assert not same(state(model), state(network(0)))
    load_weights(model, saved)
    assert same(state(model), state(network(0)))
    assert [each.name for each in saved.parent.iterdir()] == [saved.name]


def test_extreme_values_come_back_bit_for_bit(tmp_path: Path) -> None:
    model, other = nn.Linear(3, 1, bias=False), nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-0.0, 1e-45, 3.4e38]]))
    save_weights(model, tmp_path / "w")
    load_weights(other, tmp_path / "w")
    assert torch.equal(model.weight.view(torch.int32), other.weight.view(torch.int32))


def test_a_whole_model_comes_back_bit_for_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model("mae_tiny")
    save_weights(model, tmp_path / "w.safetensors")
    other = build_model("mae_tiny")
    load_weights(other, tmp_path / "w.safetensors")
    assert same(state(model), state(other))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "no such weights file" in refusal(tmp_path / "absent.safetensors")
    assert "no such weights file" in refusal(tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 9, 100, 0.5, 0.9, -1])
def test_a_truncated_file_is_refused(saved: Path, kept: float) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(kept * len(whole))] if 0 < kept < 1 else whole[: int(kept)])
    assert "not a whole safetensors file" in refusal(saved)


def test_a_file_with_bytes_at_its_end_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes() + b"more")
    assert "not a whole safetensors file" in refusal(saved)


class Hostile:
    """Unpickled, it would leave a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.mark,)


def test_text_and_pickles_are_refused_and_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for name, content in {
        "text.safetensors": b"weights: see the other folder\n" * 20,
        "json.safetensors": json.dumps({"0.weight": [1.0]}).encode(),
        "pickle.safetensors": pickle.dumps(Hostile(mark)),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert "not a whole safetensors file" in refusal(tmp_path / name)
    torch.save({"model": Hostile(mark)}, tmp_path / "torch.safetensors")
    assert "not a whole safetensors file" in refusal(tmp_path / "torch.safetensors")
    assert not mark.exists()


def test_a_header_that_lies_about_its_size_is_refused(saved: Path) -> None:
    saved.write_bytes(struct.pack("<Q", 2**62) + saved.read_bytes()[8:])
    assert "not a whole safetensors file" in refusal(saved)


def test_a_header_that_is_quoted_stays_on_one_line(tmp_path: Path) -> None:
    entry = {"dtype": "F32\nand more" * 99, "shape": [1], "data_offsets": [0, 4]}
    header = json.dumps({"0.weight": entry}).encode()
    path = tmp_path / "header.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    assert len(refusal(path)) < 300 + len(str(path))


def changed(**tensors: Tensor | None) -> dict[str, Tensor]:
    """A right state-dict with some tensors replaced, added or, by None, left out."""
    found: dict[str, Tensor | None] = {**network(0).state_dict(), **tensors}
    return {name: each for name, each in found.items() if each is not None}


@pytest.mark.parametrize(
    ("tensors", "part"),
    [
        ({"0.weight": torch.zeros(3, 5)}, "'0.weight': float32 (3, 5), expected float32 (3, 4)"),
        ({"0.weight": torch.zeros(4, 3)}, "'0.weight': float32 (4, 3), expected float32 (3, 4)"),
        ({"0.bias": None}, "'0.bias': absent, expected float32 (3,)"),
        ({"2.bias": torch.zeros(1)}, "'2.bias': float32 (1,), expected none"),
        ({"0.bias": torch.zeros(3).double()}, "float64 (3,), expected float32 (3,)"),
        ({"0.bias": torch.zeros(3).half()}, "float16 (3,), expected float32 (3,)"),
        ({"0.bias": torch.zeros(3, dtype=torch.complex64)}, "complex64 (3,)"),
        ({"1.num_batches_tracked": torch.tensor(0.0)}, "float32 (), expected int64 ()"),
    ],
)
def test_names_shapes_and_types_of_another_model_are_refused(
    tmp_path: Path, tensors: dict[str, Tensor | None], part: str
) -> None:
    path = tmp_path / "other.safetensors"
    save_file(changed(**tensors), path)
    message = refusal(path)
    assert part in message
    assert "1 names, shapes or types differ" in message


def test_a_hostile_name_does_not_fill_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file(changed(**{"0.\nextra\x1b[31m" + "x" * 5000: torch.zeros(1)}), path)
    message = refusal(path)
    assert "\x1b" not in message
    assert len(message) < 300 + len(str(path))


def test_a_wholly_foreign_file_names_a_few_of_its_faults(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({f"layer{i}": torch.zeros(1) for i in range(40)}, path)
    message = refusal(path)
    assert "47 names" in message
    assert len(message) < 400 + len(str(path))
