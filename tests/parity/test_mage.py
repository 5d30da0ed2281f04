"""MAGE computes what the published model computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.parity.tolerance import assert_close
from tests.parity.weights import fill, smooth_images
from trainables.methods import METHODS
from trainables.models import build_model
from trainables.models.mage import MAGE

DATA = Path(__file__).parent / "data"
TINY: dict[str, Any] = {
    "image_size": 64,
    "embed_dim": 64,
    "depth": 2,
    "num_heads": 4,
    "decoder_embed_dim": 64,
    "decoder_depth": 2,
    "decoder_num_heads": 4,
    "tokenizer": {
        "channels": 32,
        "channel_multipliers": (1, 1, 2, 2, 4),
        "res_blocks": 1,
        "latent_channels": 32,
        "codebook_size": 128,
    },
}


@pytest.mark.parametrize(
    ("file", "name", "options"),
    [
        ("mage_tiny", "mage", TINY),
        ("mage_vit_base_patch16", "mage_vit_base_patch16", {}),
        ("mage_vit_base_patch16", "mage", {}),
    ],
)
def test_names_and_shapes_are_the_published_ones(
    file: str, name: str, options: dict[str, Any]
) -> None:
    published = json.loads((DATA / f"{file}.keys.json").read_text())
    with torch.device("meta"):
        model = build_model(name, **options)
    assert {key: list(each.shape) for key, each in model.state_dict().items()} == published


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(DATA / "mage_tiny.npz", allow_pickle=False) as stored:
        return {name: torch.from_numpy(np.asarray(value)) for name, value in stored.items()}


@pytest.fixture(scope="module")
def student() -> MAGE:
    return filled(1)


@pytest.fixture(scope="module")
def teacher(student: MAGE) -> MAGE:
    model = filled(51)
    model.vqgan.load_state_dict(student.vqgan.state_dict())
    return model


def filled(seed: int) -> MAGE:
    model = build_model("mage", **TINY)
    assert isinstance(model, MAGE)
    fill(model, seed)
    return model.eval()


@pytest.fixture(scope="module")
def inputs(student: MAGE, golden: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the model makes of the images, under the recorded masks."""
    return {
        "tokens": student.tokenize(smooth_images(1, 3, 64)),
        "noise_tokens": student.tokenize(smooth_images(8, 3, 64)),
        "drop_mask": golden["drop_mask"].bool(),
        "all_mask": golden["all_mask"].bool(),
    }


def test_tokens_are_the_published_ones(
    inputs: dict[str, Tensor], golden: dict[str, Tensor]
) -> None:
    assert torch.equal(inputs["tokens"], golden["token_indices"])
    assert torch.equal(inputs["noise_tokens"], golden["noise_tokens"])


@torch.inference_mode()
def test_numbers_are_the_published_ones(
    student: MAGE, teacher: MAGE, inputs: dict[str, Tensor], golden: dict[str, Tensor]
) -> None:
    masks = inputs["drop_mask"], inputs["all_mask"]
    latent = student.encode(inputs["tokens"], *masks)
    found = {
        "latent": latent,
        "logits": student.predict(latent, *masks),
        "teacher_latent": teacher.encode(inputs["tokens"], *masks),
        "teacher_noise_latent": teacher.encode(inputs["noise_tokens"], *masks),
        "vqgan_decoded": student.detokenize(inputs["tokens"]),
    }
    for name, value in found.items():
        assert_close(value, golden[name], name)


@torch.inference_mode()
def test_losses_are_the_released_ones(
    student: MAGE, teacher: MAGE, inputs: dict[str, Tensor], golden: dict[str, Tensor]
) -> None:
    forget = golden["labels"] <= 0

    def terms(method: str) -> Any:
        return METHODS[method].loss(
            student, teacher, inputs, forget, alpha=0.25, formulation="released"
        )

    found = {
        "mlm_loss": terms("original").total,
        "max_loss": terms("max_loss").total,
        "max_loss_retain": terms("max_loss").retain,
        "max_loss_forget": terms("max_loss").forget,
        "retain_l2": terms("ours").retain,
        "forget_l2": terms("ours").forget,
    }
    for name, value in found.items():
        assert_close(value, golden[name], name)
    assert_close(terms("ours").total, golden["retain_l2"] + 0.25 * golden["forget_l2"], "ours")


@torch.inference_mode()
def test_paper_terms_are_means_over_their_own_rows(
    student: MAGE, teacher: MAGE, inputs: dict[str, Tensor], golden: dict[str, Tensor]
) -> None:
    """Of three rows one is retain: its released term is 2 / 3 of its mean, forget's 4 / 3."""
    terms = METHODS["ours"].loss(student, teacher, inputs, golden["labels"] <= 0, alpha=0.25)
    assert_close(terms.retain * 2 / 3, golden["retain_l2"], "retain")
    assert_close(terms.forget * 4 / 3, golden["forget_l2"], "forget")
