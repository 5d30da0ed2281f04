"""Published checkpoints: their real forms load, and nothing else changes a model or runs."""

from __future__ import annotations

import argparse
import io
import pickle
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from trainables.models import CompletionModel, build_model
from trainables.models.checkpoints import load_published, torch_refusal
from trainables.models.diffusion import SCHEDULE_BUFFERS
from trainables.utils.errors import CheckpointError

THIN: dict[str, Any] = {
    "image_size": 16,
    "embed_dim": 16,
    "depth": 1,
    "num_heads": 2,
    "decoder_embed_dim": 16,
    "decoder_depth": 1,
    "decoder_num_heads": 2,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "mae": {**THIN, "patch_size": 4},
    "mage": {
        **THIN,
        "tokenizer": {
            "channels": 4,
            "channel_multipliers": (1, 2),
            "res_blocks": 1,
            "latent_channels": 4,
            "codebook_size": 8,
            "groups": 2,
        },
    },
    "palette": {
        "image_size": 16,
        "inner_channels": 4,
        "channel_multipliers": (1, 2),
        "attention_rates": (2,),
        "head_channels": 4,
        "res_blocks": 1,
        "norm_groups": 2,
        "train_schedule": {"steps": 20, "start": 1e-3, "end": 0.2},
        "test_schedule": {"steps": 12, "start": 1e-3, "end": 0.4},
    },
}


def network(family: str, seed: int) -> CompletionModel:
    torch.manual_seed(seed)
    return build_model(family, **OPTIONS[family])


def state(model: CompletionModel) -> dict[str, Tensor]:
    return {name: each.clone() for name, each in model.state_dict().items()}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def tokenizer_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As the tokenizer's own file names them."""
    return {
        name.removeprefix("vqgan."): each
        for name, each in weights.items()
        if name.startswith("vqgan.")
    }


def transformer_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: each for name, each in weights.items() if not name.startswith("vqgan.")}


def unet_of(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Without the schedule, which a model computes."""
    return {
        f"{prefix}{name}": each for name, each in weights.items() if name not in SCHEDULE_BUFFERS
    }


# --- The real forms --------------------------------------------------------------------------


@pytest.mark.parametrize("family", list(OPTIONS))
@pytest.mark.parametrize("archive", [True, False])
def test_a_whole_checkpoint_loads(family: str, archive: bool, tmp_path: Path) -> None:
    wanted = state(network(family, 1))
    path = tmp_path / "downloaded.pth"
    torch.save({"model": wanted}, path, _use_new_zipfile_serialization=archive)
    model = network(family, 2)
    assert not same(state(model), wanted)
    load_published(model, path)
    assert same(state(model), wanted)
    # the file is mapped while it is read, and may go afterwards
    path.write_bytes(b"")
    assert same(state(model), wanted)


def test_what_a_training_run_keeps_beside_the_weights_is_left_out(tmp_path: Path) -> None:
    wanted = state(network("mage", 1))
    beside = {"epoch": 5, "args": argparse.Namespace(lr=0.1), "optimizer": {"state": {}}}
    torch.save({"model": wanted, **beside}, tmp_path / "checkpoint.pth")
    model = network("mage", 2)
    load_published(model, str(tmp_path / "checkpoint.pth"))
    assert same(state(model), wanted)


@pytest.mark.parametrize("under", ["state_dict", ""])
def test_a_tokenizers_file_fills_the_tokenizer_alone(under: str, tmp_path: Path) -> None:
    wanted = state(network("mage", 1))
    weights = {**tokenizer_of(wanted), "loss.discriminator.main.0.weight": torch.zeros(3)}
    torch.save({under: weights} if under else weights, tmp_path / "vqgan.ckpt")
    model = network("mage", 2)
    before = state(model)
    load_published(model, tmp_path / "vqgan.ckpt")
    assert same(tokenizer_of(state(model)), tokenizer_of(wanted))
    assert same(transformer_of(state(model)), transformer_of(before))


def test_tokenizer_and_transformer_load_apart_in_any_order(tmp_path: Path) -> None:
    wanted = state(network("mage", 1))
    torch.save({"state_dict": tokenizer_of(wanted)}, tmp_path / "vqgan.ckpt")
    torch.save({"model": transformer_of(wanted)}, tmp_path / "mage.pth")
    for order in (("vqgan.ckpt", "mage.pth"), ("mage.pth", "vqgan.ckpt")):
        model = network("mage", 2)
        for name in order:
            load_published(model, tmp_path / name)
        assert same(state(model), wanted)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("schedule", [0, 12, 20])
@pytest.mark.parametrize("teacher", ["", "teacher_denoise_fn.", "teacher.denoise_fn.", "net_ema."])
def test_palettes_file_fills_all_but_the_schedule(
    prefix: str, schedule: int, teacher: str, tmp_path: Path
) -> None:
    wanted = state(network("palette", 1))
    weights = unet_of(wanted, prefix)
    if teacher:
        copied = unet_of(state(network("palette", 3)), "")
        weights |= {f"{prefix}{n.replace('denoise_fn.', teacher)}": e for n, e in copied.items()}
        weights |= {f"{prefix}{teacher.split('.')[0]}.gammas": torch.zeros(3)}
    if schedule:
        weights |= {f"{prefix}{name}": torch.zeros(schedule) for name in SCHEDULE_BUFFERS}
    torch.save(weights, tmp_path / "200_Network.pth")
    model = network("palette", 2)
    assert not same(state(model), wanted)
    load_published(model, tmp_path / "200_Network.pth")
    assert same(state(model), wanted)


def test_a_palette_file_of_other_names_is_refused(tmp_path: Path) -> None:
    whole = unet_of(state(network("palette", 1)), "")
    path = tmp_path / "w.pth"
    name = "denoise_fn.out.2.bias"
    for weights, part in (
        ({**whole, "blocks.0.weight": torch.zeros(1)}, "'blocks.0.weight': float32 (1,), exp"),
        ({**whole, "denoise_fn.new.weight": torch.zeros(1)}, "'denoise_fn.new.weight': float32"),
        ({n: e for n, e in whole.items() if n != name}, f"'{name}': absent, expected float32 (3,)"),
        ({**whole, f"module.{name}": whole[name]}, f"'module.{name}': a second one, expected one"),
    ):
        torch.save(weights, path)
        message = refusal(path, "palette")
        assert "not the whole model: 1 names or shapes differ" in message
        assert part in message
    torch.save({n.replace("denoise_fn.", "teacher_denoise_fn."): e for n, e in whole.items()}, path)
    assert f"not the whole model: {len(whole)} names" in refusal(path, "palette")


def test_weights_of_half_and_of_double_width_load(tmp_path: Path) -> None:
    wanted = state(network("mae", 1))
    for dtype in (torch.float16, torch.float64):
        torch.save({"model": {n: e.to(dtype) for n, e in wanted.items()}}, tmp_path / "w.pth")
        model = network("mae", 2)
        load_published(model, tmp_path / "w.pth")
        assert same(state(model), {n: e.to(dtype).float() for n, e in wanted.items()})


def test_parameters_that_a_method_froze_load_too(tmp_path: Path) -> None:
    wanted = state(network("mae", 1))
    torch.save({"model": dict(network("mae", 1).named_parameters())}, tmp_path / "w.pth")
    model = network("mae", 2).requires_grad_(False)
    load_published(model, tmp_path / "w.pth")
    assert same(state(model), wanted)
    assert not any(each.requires_grad for each in model.parameters())


# --- Refusals --------------------------------------------------------------------------------


def refusal(path: Path, family: str = "mage") -> str:
    """The message of a refusal: one short line, which names the file; the model is unchanged."""
    model = network(family, 2)
    before = state(model)
    with pytest.raises(CheckpointError) as caught:
        load_published(model, path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    assert len(message) < 500 + len(str(path))
    assert same(state(model), before)
    return message


class Hostile:
    """Unpickled, it would leave a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.mark,)


def hostile_files(folder: Path, mark: Path) -> dict[str, bytes]:
    """Files that run code where they are unpickled, in every form that torch reads."""

    def saved(content: object, archive: bool = True) -> bytes:
        file = io.BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=archive)
        return file.getvalue()

    code = Hostile(mark)
    weights = state(network("mage", 1))
    return {
        "pickle": pickle.dumps({"model": code}),
        "archive": saved({"model": code}),
        "legacy": saved({"model": code}, archive=False),
        "beside": saved({"model": weights, "args": code}),
        "within": saved({"model": {**weights, "cls_token": code}}),
        "name": saved({"model": {**weights, "code": code}}),
    }


@pytest.mark.parametrize("kind", ["pickle", "archive", "legacy", "beside", "within", "name"])
def test_code_is_refused_and_not_run(kind: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / "downloaded.pth"
    path.write_bytes(hostile_files(tmp_path, mark)[kind])
    message = refusal(path)
    if kind != "pickle":
        assert "not weights alone" in message
        assert "which was not run" in message
    assert not mark.exists()


def test_text_that_reads_like_a_pickle_is_not_told_of_as_code(tmp_path: Path) -> None:
    path = tmp_path / "roles.csv"
    path.write_text("class,role\ncats,forget\ndogs,retain\n")
    assert "not a whole torch file of weights" in refusal(path)


def test_absent_files_and_folders_are_refused(tmp_path: Path) -> None:
    assert "no such weights file" in refusal(tmp_path / "absent.pth")
    assert "no such weights file" in refusal(tmp_path)


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("kept", [0, 3, 4, 30, 0.3, 0.7, 0.95, -1])
def test_a_truncated_file_is_refused(kept: float, archive: bool, tmp_path: Path) -> None:
    path = tmp_path / "downloaded.pth"
    weights = {"model": state(network("mage", 1))}
    torch.save(weights, path, _use_new_zipfile_serialization=archive)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))] if 0 < kept < 1 else whole[: int(kept)])
    assert "not a whole torch file of weights" in refusal(path)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "downloaded.pth"
    for content in (
        b"<!DOCTYPE html><html>404</html>\n" * 9,
        bytes(1000),
        b"PK\x03\x04" + b"x" * 99,
    ):
        path.write_bytes(content)
        assert "not a whole torch file of weights" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photographs/one.txt", "no weights")
    assert "not a whole torch file of weights" in refusal(path)
    tokenizer = tokenizer_of(state(network("mage", 1)))
    save_file({name: each.contiguous() for name, each in tokenizer.items()}, path)
    assert "not a whole torch file of weights" in refusal(path)


def test_a_program_of_torch_is_refused(tmp_path: Path) -> None:
    """An archive that says it is TorchScript would be handed to another reader."""
    torch.save({"model": state(network("mage", 1))}, tmp_path / "w.pth")
    path = tmp_path / "script.pth"
    with zipfile.ZipFile(tmp_path / "w.pth") as source, zipfile.ZipFile(path, "w") as archive:
        for each in source.namelist():
            archive.writestr(each, source.read(each))
        archive.writestr("w/constants.pkl", pickle.dumps(()))
        archive.writestr("constants.pkl", pickle.dumps(()))
    assert "not a whole torch file of weights" in refusal(path)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ([torch.zeros(3)], "a list; expected names and tensors"),
        (torch.zeros(3), "a Tensor; expected"),
        ({}, "a dict; expected"),
        ({"model": {}}, "a dict; expected"),
        ({"model": {1: torch.zeros(3)}}, "a dict; expected"),
        ({"model": {"conv1.weight": torch.zeros(3)}}, "not the whole model: "),
        ({"epoch": 3, "loss": 0.5}, "not the whole model: "),
    ],
)
def test_a_file_with_something_else_in_it_is_refused(
    content: object, part: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "w.pth")
    assert part in refusal(tmp_path / "w.pth")


def changed(**tensors: object) -> dict[str, object]:
    """A right state-dict with some entries replaced, added or, by None, left out."""
    found = {**state(network("mage", 1)), **tensors}
    return {name: each for name, each in found.items() if each is not None}


NORM = "norm.weight"


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (None, "'norm.weight': absent, expected float32 (16,)"),
        (torch.zeros(17), "'norm.weight': float32 (17,), expected float32 (16,)"),
        (torch.zeros(1).expand(10**15), "float32 (1000000000000000,), expected float32 (16,)"),
        (torch.zeros(16, dtype=torch.int64), "int64 (16,), expected float32 (16,)"),
        (torch.zeros(16, dtype=torch.complex64), "complex64 (16,), expected float32 (16,)"),
        (torch.zeros(16).to_sparse(), "not a plain tensor, expected float32 (16,)"),
        (torch.zeros(16, device="meta"), "not a plain tensor, expected float32 (16,)"),
        ([0.0] * 16, "'norm.weight': list, expected float32 (16,)"),
    ],
)
def test_names_shapes_and_types_of_another_model_are_refused(
    value: object, part: str, tmp_path: Path
) -> None:
    torch.save({"model": changed(**{NORM: value})}, tmp_path / "w.pth")
    message = refusal(tmp_path / "w.pth")
    assert part in message
    assert "not the whole model: 1 names or shapes differ" in message


def test_a_part_is_held_against_that_part(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(state(network("mage", 1)))
    tokenizer["decoder.conv_out.bias"] = torch.zeros(4)
    torch.save({"state_dict": tokenizer}, tmp_path / "vqgan.ckpt")
    message = refusal(tmp_path / "vqgan.ckpt")
    assert "not the tokenizer alone: 1 names" in message
    assert "'vqgan.decoder.conv_out.bias': float32 (4,), expected float32 (3,)" in message
    transformer = transformer_of(state(network("mage", 1)))
    del transformer[NORM], transformer["norm.bias"]
    torch.save({"model": transformer}, tmp_path / "mage.pth")
    assert "not the transformer alone: 2 names" in refusal(tmp_path / "mage.pth")


def test_another_familys_and_another_sizes_files_are_refused(tmp_path: Path) -> None:
    torch.save({"model": state(network("mae", 1))}, tmp_path / "mae.pth")
    assert "not the " in refusal(tmp_path / "mae.pth", "mage")
    torch.save({"model": state(network("mage", 1))}, tmp_path / "mage.pth")
    assert "not the whole model: " in refusal(tmp_path / "mage.pth", "mae")
    larger = build_model("mae", **{**OPTIONS["mae"], "embed_dim": 32})
    torch.save({"model": state(larger)}, tmp_path / "large.pth")
    assert "'blocks.0.attn.proj.bias': float32 (32,), expected float32 (16,)" in refusal(
        tmp_path / "large.pth", "mae"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    weights = torch.zeros(16)
    weights[3] = value
    torch.save({"model": changed(**{NORM: weights})}, tmp_path / "w.pth")
    assert "norm.weight holds NaN or infinity, expected finite" in refusal(tmp_path / "w.pth")


def test_a_hostile_name_stays_on_one_short_line(tmp_path: Path) -> None:
    name = "extra\n\x1b[31m" + "x" * 5000
    torch.save({"model": changed(**{name: torch.zeros(1)})}, tmp_path / "w.pth")
    assert "float32 (1,), expected none" in refusal(tmp_path / "w.pth")


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path: Path) -> None:
    """The archive's record of a tensor is cut, and its pickle still tells the old size."""
    torch.save({"model": {"big": torch.zeros(100_000)}}, tmp_path / "w.pth")
    path = tmp_path / "short.pth"
    with zipfile.ZipFile(tmp_path / "w.pth") as source, zipfile.ZipFile(path, "w") as archive:
        for each in source.namelist():
            whole = source.read(each)
            archive.writestr(each, whole[:8] if each.endswith("data/0") else whole)
    assert "not a whole torch file of weights" in refusal(path)


def test_every_changed_byte_of_the_pickle_is_refused_or_read(tmp_path: Path) -> None:
    """Whatever a spoilt pickle raises, a refusal is one line and the model is unchanged."""
    torch.save({"state_dict": tokenizer_of(state(network("mage", 1)))}, tmp_path / "w.ckpt")
    path = tmp_path / "spoilt.ckpt"
    with zipfile.ZipFile(tmp_path / "w.ckpt") as source:
        files = {each: source.read(each) for each in source.namelist()}
    pickled = next(each for each in files if each.endswith("data.pkl"))
    generator = torch.Generator().manual_seed(0)
    refused = 0
    for _ in range(40):
        spoilt = bytearray(files[pickled])
        place, value = torch.randint(0, 2**31, (2,), generator=generator).tolist()
        spoilt[place % len(spoilt)] = value % 256
        with zipfile.ZipFile(path, "w") as archive:
            for each, content in files.items():
                archive.writestr(each, bytes(spoilt) if each == pickled else content)
        model = network("mage", 2)
        before = state(model)
        message = ""
        try:
            load_published(model, path)
        except CheckpointError as error:
            message = str(error)
        refused += bool(message)
        assert len(message.splitlines()) == bool(message)
        assert not message or same(state(model), before)
    assert refused > 10


@pytest.mark.parametrize("archive", [True, False])
def test_torch_words_its_refusal_of_code_as_it_is_read(archive: bool, tmp_path: Path) -> None:
    path = tmp_path / "code.pth"
    torch.save(shutil.rmtree, path, _use_new_zipfile_serialization=archive)
    with pytest.raises(pickle.UnpicklingError) as caught:
        torch.load(path, weights_only=True)
    code, line = torch_refusal(caught.value)
    said = "torch words its refusals anew: mend trainables.models.checkpoints.torch_refusal"
    assert code == "shutil.rmtree", f"{said}: {caught.value}"
    assert line.startswith("Unsupported"), f"{said}: {caught.value}"
